//! Flows of payload: who sends what when.

use crate::bulk::Bulk;
use crate::world::{Next, Segment, World};
use shim6::addr::UlidPair;
use std::time::Duration;

/// A flow of payload between two hosts.
#[derive(Clone, Debug)]
pub enum Traffic {
    /// A packet every so often, never answered.
    OneWay(Duration),
    /// A packet every so often, each answered at once.
    Echo(Duration),
    /// One segment at a time; the next when the last is acknowledged; retransmission with doubling time-out.
    Tcp { rto: Duration },
    /// So many segments are under way.
    Bulk { window: usize },
}

#[derive(Clone, Debug)]
pub struct Flow {
    pub from: usize,
    pub ulids: UlidPair,
    pub traffic: Traffic,
    pub running: bool,
    pub seq: u64,
    pub acked: u64,
    pub bulk: Bulk,
    rto: Duration,
    timer: u64,
}

impl Flow {
    /// A flow that sends nothing by itself.
    pub fn idle(ulids: UlidPair) -> Flow {
        Flow {
            from: 0,
            ulids,
            traffic: Traffic::OneWay(Duration::from_secs(3600)),
            running: false,
            seq: 0,
            acked: 0,
            bulk: Bulk::default(),
            rto: Duration::ZERO,
            timer: 0,
        }
    }
}

impl World {
    /// Starts a flow on the first ULIDs of two hosts.
    pub fn flow(&mut self, from: usize, to: usize, traffic: Traffic) -> usize {
        let rto = match traffic {
            Traffic::Tcp { rto } => rto,
            _ => Duration::ZERO,
        };
        let ulids = self.ulids(from, to);
        let running = true;
        let bulk = Bulk::new(if let Traffic::Bulk { window } = traffic { window } else { 0 });
        let (seq, acked, timer) = (0, 0, 0);
        self.flows.push(Flow { from, ulids, traffic, running, seq, acked, bulk, rto, timer });
        let f = self.flows.len() - 1;
        self.schedule(self.now, Next::Tick(f, 0));
        f
    }

    pub fn stop(&mut self, flow: usize) {
        self.flows[flow].running = false;
    }

    pub fn tick(&mut self, f: usize, timer: u64) {
        let flow = &mut self.flows[f];
        if !flow.running || timer != flow.timer {
            return;
        }
        let wait = match flow.traffic {
            Traffic::OneWay(gap) | Traffic::Echo(gap) => {
                flow.seq += 1;
                gap
            }
            Traffic::Tcp { .. } => {
                if flow.seq == flow.acked {
                    flow.seq += 1;
                } else {
                    flow.rto = (flow.rto * 2).min(Duration::from_secs(120));
                }
                flow.rto
            }
            Traffic::Bulk { .. } => {
                // The first tick begins, all others are time-outs.
                if flow.seq > 0 {
                    flow.bulk.give_up();
                }
                return self.push(f);
            }
        };
        let (from, ulids, seq) = (flow.from, flow.ulids, flow.seq);
        self.schedule(self.now + wait, Next::Tick(f, timer));
        self.transmit_data(from, ulids, Segment { flow: f, seq, ack: false, cause: 0 });
    }

    /// A bulk flow sends what it may.
    fn push(&mut self, f: usize) {
        let now = self.now;
        let flow = &mut self.flows[f];
        let due = flow.bulk.due(now);
        flow.seq = flow.bulk.newest();
        flow.timer += 1;
        let (from, ulids, timer) = (flow.from, flow.ulids, flow.timer);
        let patience = flow.bulk.patience();
        self.schedule(now + patience, Next::Tick(f, timer));
        for seq in due {
            self.transmit_data(from, ulids, Segment { flow: f, seq, ack: false, cause: 0 });
        }
    }

    pub fn flow_acked(&mut self, segment: Segment) {
        let now = self.now;
        let flow = &mut self.flows[segment.flow];
        if let Traffic::Bulk { .. } = flow.traffic {
            flow.acked = flow.acked.max(segment.seq);
            flow.bulk.acknowledged(now, segment.seq, segment.cause);
            if flow.running {
                self.push(segment.flow);
            }
            return;
        }
        if segment.seq > flow.acked {
            flow.acked = segment.seq;
            if let Traffic::Tcp { rto } = flow.traffic {
                flow.rto = rto;
                flow.timer += 1;
                let (f, timer) = (segment.flow, flow.timer);
                self.schedule(self.now + Duration::from_millis(20), Next::Tick(f, timer));
            }
        }
    }
}
