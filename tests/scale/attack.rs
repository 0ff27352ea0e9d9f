//! Those who disturb: strangers that flood, listeners that repeat and forge, and events at the worst moment.

use crate::host::{Heard, Presence, Segment};
use crate::matrix::On;
use crate::net::Spot;
use crate::plan::{Flood, Wish};
use crate::world::{World, is_i1, reverse, whole};
use shim6::addr::{
    ContextTag, Fii, Generation, InitNonce, Locator, LocatorPair, ProbeNonce, RequestNonce,
    ResponderNonce, Ulid, UlidPair,
};
use shim6::proto::{Command, Keep, Notice, Transmit};
use shim6::wire::Message;
use shim6::wire::control::{
    ErrorCode, ErrorMessage, I1, I2, I2bis, Keepalive, Probe, ProbeReport, ProbeState, R1, R1bis,
    R2, UpdateAck, UpdateRequest,
};
use shim6::wire::option::{LocatorEntry, LocatorList, Options, UlidPairOption, VerificationMethod};
use std::net::Ipv6Addr;

impl World {
    /// An address that nobody in the network has.
    fn stranger(&mut self) -> Ipv6Addr {
        let word = self.rng.word();
        Ipv6Addr::new(0x2001, 0xdb8, 0xff00, word as u16, 0, 0, (word >> 16) as u16, 1)
    }

    /// Strangers send so many messages to a host, all at once.
    pub fn flood(&mut self, h: usize, kind: Flood, count: u32) {
        if self.hosts[h].engine.is_none() || self.hosts[h].is_frozen(self.now) {
            return;
        }
        if kind == Flood::Crowd {
            return self.crowd(h, count);
        }
        let contexts = |w: &World| w.hosts[h].engine.as_ref().map_or(0, |e| e.context_count());
        let traces = |w: &World| w.traces(h);
        let (before, sent, traced) = (contexts(self), self.hosts[h].transmitted, traces(self));
        for _ in 0..count {
            let Some(us) = self.hosts[h].addresses.first().map(|a| a.ip) else { return };
            let (src, dst, message) = self.forged(h, us, kind);
            self.tally.attacks += 1;
            let heard = Heard { packet: whole(src, dst, &message), about: None };
            self.control(h, heard);
        }
        if contexts(self) > before {
            self.broken("strangers make no contexts", |w| format!("{before} to {}", contexts(w)));
        }
        // Each I1 gets one R1, which is no larger than twice the I1 and leaves nothing behind; all else is limited.
        let replies = self.hosts[h].transmitted - sent;
        let limits = &self.hosts[h].config.limits;
        // R1bis and Error messages at one moment: the bursts of both limits.
        let answers = u64::from(limits.r1bis_burst + limits.errors_per_second);
        let bound = match kind {
            Flood::I1 => u64::from(count.min(limits.r1_per_second)),
            Flood::I2 | Flood::Answers | Flood::Tags | Flood::Noise => answers,
            // The answers to Probes are limited for each context; a life sign may begin a schedule.
            Flood::Probes | Flood::Lists | Flood::Crowd => answers + 12,
        };
        if replies > bound {
            self.broken("strangers cause no storm", |_| format!("{kind:?}: {replies} > {bound}"));
        }
        let left = traces(self) - traced;
        if left as u64 > replies {
            self.broken("a flood leaves no more traces than answers", |_| {
                format!("{kind:?}: {left} of {replies}")
            });
        }
        self.judge_tables(h);
    }

    /// Prefixes that the limits on answers remember.
    fn traces(&self, h: usize) -> usize {
        let Some(e) = &self.hosts[h].engine else { return 0 };
        let prefixes = e.tables().into_iter().find(|t| t.name == "prefixes");
        prefixes.map_or(0, |t| t.entries)
    }

    /// No table is larger than it may be. Limits are so tight that all but the prefixes' come up against theirs.
    pub fn judge_tables(&mut self, h: usize) {
        let Some(e) = &self.hosts[h].engine else { return };
        let names = e.counters().len() + e.drops().len();
        let over = e.tables().into_iter().find(|t| t.entries > t.bound);
        for (full, t) in self.tally.full.iter_mut().zip(e.tables()) {
            *full += u64::from(t.entries == t.bound);
        }
        if over.is_some() || names > 200 {
            self.broken("tables are bounded", |_| format!("host {h}: {over:?}, {names} names"));
        }
    }

    /// Payload of many strangers: contexts are tried as far as there is room.
    fn crowd(&mut self, h: usize, count: u32) {
        let Some(us) = self.hosts[h].addresses.first().map(|a| a.ip) else { return };
        for _ in 0..count {
            let peer = Ulid(self.stranger());
            self.tally.attacks += 1;
            self.notice(h, Notice::Heuristic(UlidPair { local: Ulid(us), peer }));
        }
        self.judge_tables(h);
    }

    /// Nobody in the network has the address that a message goes to. Half of such hosts refuse protocol 140 aloud.
    pub fn stranger_refuses(&mut self, h: usize, t: Transmit) {
        if t.dst.0.segments()[6].is_multiple_of(2) {
            self.refuse_aloud(h, t);
        }
    }

    /// Somebody refuses an I1, as a kernel does that does not know protocol 140.
    pub fn refuse_aloud(&mut self, h: usize, t: Transmit) {
        if is_i1(&t.message) {
            let (src, dst, quoted) = (t.src, t.dst, t.message);
            self.tell(h, Notice::ControlRefused { icmp_type: 4, icmp_code: 1, src, dst, quoted });
        }
    }

    fn forged(&mut self, h: usize, us: Ipv6Addr, kind: Flood) -> (Ipv6Addr, Ipv6Addr, Vec<u8>) {
        let stranger = self.stranger();
        let word = self.rng.word();
        let tag = ContextTag::from_masked(word);
        let nonce = InitNonce(word as u32);
        let responder_nonce = ResponderNonce((word >> 32) as u32);
        let about = UlidPairOption { sender: Ulid(stranger), receiver: Ulid(us) };
        let options = Options {
            ulid_pair: (word & 1 == 0).then_some(about),
            validator: Some(vec![word as u8; 16]),
            ..Options::default()
        };
        let known = self.hosts[h].ctxs.first().map(|c| (c.local_tag, c.ulids));
        let message = match (kind, word % 6) {
            (Flood::I1, _) => {
                let options = Options { validator: None, ..options };
                Message::I1(I1 { initiator_tag: tag, init_nonce: nonce, options })
            }
            (Flood::I2, 0..=2) => {
                let initiator_tag = tag;
                Message::I2(I2 { initiator_tag, init_nonce: nonce, responder_nonce, options })
            }
            (Flood::I2, _) => Message::I2bis(I2bis {
                initiator_tag: tag,
                init_nonce: nonce,
                responder_nonce,
                packet_tag: tag,
                options,
            }),
            (Flood::Answers, n) => {
                let options = Options { ulid_pair: None, ..options };
                match n {
                    0 | 1 => Message::R1(R1 { init_nonce: nonce, responder_nonce, options }),
                    2 | 3 => {
                        let options = Options::default();
                        Message::R2(R2 { responder_tag: tag, init_nonce: nonce, options })
                    }
                    _ => Message::R1bis(R1bis { packet_tag: tag, responder_nonce, options }),
                }
            }
            (Flood::Tags | Flood::Crowd, n) => {
                tagged(n, tag, (Locator(stranger), Locator(us)), word)
            }
            (Flood::Probes, _) => {
                let Some((tag, ulids)) = known else { return (stranger, us, vec![0; 8]) };
                let ends = (ulids.peer.locator(), ulids.local.locator());
                let m = tagged(3 + word % 3, tag, ends, word);
                return (ulids.peer.0, ulids.local.0, m.emit());
            }
            (Flood::Lists, _) => {
                let Some((tag, ulids)) = known else { return (stranger, us, vec![0; 8]) };
                let entries = vec![
                    LocatorEntry { locator: ulids.peer.locator(), method: VerificationMethod::Hba },
                    LocatorEntry { locator: Locator(stranger), method: VerificationMethod::Hba },
                ];
                let generation = Generation(word as u32);
                let options = Options {
                    locator_list: Some(LocatorList { generation, entries }),
                    ..Options::default()
                };
                let request_nonce = RequestNonce(word as u32);
                let m = UpdateRequest { receiver_tag: tag, request_nonce, options };
                return (ulids.peer.0, ulids.local.0, Message::UpdateRequest(m).emit());
            }
            (Flood::Noise, n) => {
                let mut octets = vec![0u8; 8 * (1 + (word >> 8) as usize % 20)];
                octets.iter_mut().for_each(|o| *o = self.rng.word() as u8);
                octets[1] = (octets.len() / 8 - 1) as u8;
                if n > 0 {
                    octets[2] = (word >> 16) as u8 & 0x7f;
                    octets[3] &= 0xfe;
                    octets[4..6].fill(0);
                    let sum = shim6::wire::checksum::internet(&octets);
                    octets[4..6].copy_from_slice(&sum.to_be_bytes());
                }
                return (stranger, us, octets);
            }
        };
        (stranger, us, message.emit())
    }

    /// Somebody repeats a message that a host has received before; about a certain context if he can.
    pub fn replay(&mut self, h: usize, about: Option<(UlidPair, Fii)>) {
        if self.hosts[h].engine.is_none() || self.hosts[h].is_frozen(self.now) {
            return;
        }
        let archive = &self.hosts[h].archive;
        let fit: Vec<&Heard> =
            archive.iter().filter(|a| about.is_none() || a.about == about).collect();
        if fit.is_empty() {
            return;
        }
        let heard = fit[self.rng.below(fit.len())].clone();
        self.tally.attacks += 1;
        self.control(h, heard);
    }

    /// The moment somebody waited for: whatever is unlikely just now happens.
    pub fn ambush(&mut self, h: usize, ulids: UlidPair, fii: Fii) {
        if self.peace || self.hosts[h].engine.is_none() || self.hosts[h].is_frozen(self.now) {
            return;
        }
        self.disturb();
        self.note(|| format!("ambush on host {h}, {ulids}"));
        // A ULID pair that is held down is rare, and worth more trouble.
        let down = self.hosts[h].find(ulids, fii).is_none();
        for _ in 0..if down { 8 + self.rng.below(28) } else { 2 + self.rng.below(12) } {
            if self.rng.permille(if down { 350 } else { 100 }) {
                self.relic(h, ulids, fii);
                continue;
            }
            let host = &self.hosts[h];
            let known = host.ctxs.iter().find(|c| c.ulids == ulids && c.fii == fii);
            let grave = host.graves.iter().find(|g| g.1 == ulids && g.2 == fii).map(|g| g.0);
            let Some(id) = known.map(|c| c.id).or(grave) else { return };
            let activity = known.map(|c| c.activity).unwrap_or_default();
            let pick = self.rng.below(1000);
            let spot = Spot { host: h, at: self.rng.below(host.addresses.len()) };
            let pair = LocatorPair { local: ulids.local.locator(), peer: ulids.peer.locator() };
            match self.rng.below(34) {
                0..=9 => self.replay(h, Some((ulids, fii))),
                10 => self.command_for(h, id, On::Explore, pick),
                11 => self.command_for(h, id, On::Test, pick),
                12 => self.command_for(h, id, On::InUse, pick),
                13 => self.command_for(h, id, On::Discard, pick),
                14 => {
                    let n = self.flows.iter().position(|f| f.ulids == ulids && f.fii == fii);
                    if let Some(n) = n {
                        self.establish(n);
                    }
                }
                15 => self.notice(h, Notice::Active(id, activity)),
                16 => self.notice(h, Notice::PayloadInSetup(id)),
                17 => {
                    self.count_tests(h, 1);
                    let (icmp_type, icmp_code) = self.rng.pick(&[(1, 0), (4, 1), (3, 0)]);
                    self.notice(h, Notice::PayloadRefused { context: id, icmp_type, icmp_code });
                }
                18 => self.notice(h, Notice::SendFailed { src: pair.local, dst: pair.peer }),
                19 => {
                    // An error about an I1 that this context could have sent.
                    let tag = known.map_or(ContextTag::from_masked(7), |c| c.local_tag);
                    let init_nonce = InitNonce(pick as u32);
                    let options = Options::default();
                    let i1 = Message::I1(I1 { initiator_tag: tag, init_nonce, options });
                    let (src, dst, quoted) = (pair.local, pair.peer, i1.emit());
                    let (icmp_type, icmp_code) = self.rng.pick(&[(4, 1), (1, 4)]);
                    self.notice(
                        h,
                        Notice::ControlRefused { icmp_type, icmp_code, src, dst, quoted },
                    );
                }
                23 => {
                    // An Error about a request or Keepalive that it could have sent.
                    let tag = known.and_then(|c| c.peer_tag).unwrap_or(ContextTag::from_masked(7));
                    let kind = 2 * (pick as u64 % 2);
                    let ours = tagged(kind, tag, (pair.local, pair.peer), pick as u64).emit();
                    let about = whole(ulids.local.0, ulids.peer.0, &ours);
                    let error = ErrorMessage::about(&about, 40, (ErrorCode::VerificationFailed, 8));
                    let error = Message::Error(error).emit();
                    let packet = whole(ulids.peer.0, ulids.local.0, &error);
                    self.control(h, Heard { packet, about: Some((ulids, fii)) });
                }
                20 => self.notice(h, Notice::Heuristic(ulids)),
                21 => self.set_address(spot, Presence::Present, self.now.nanos() & 1 == 0, false),
                22 => {
                    let to = self.rng.pick(&[Presence::Unusable, Presence::Unreachable]);
                    self.set_address(spot, to, false, false);
                }
                24 if spot.at > 0 => self.set_address(spot, Presence::Absent, false, false),
                25 => self.steer_for(h, id, pick, Wish::Switch(Keep::No)),
                26 => self.steer_for(h, id, pick, Wish::GiveUp),
                27 => self.steer_for(h, id, pick, Wish::Release),
                28 => self.steer_for(h, id, pick, Wish::Settings),
                29 => {
                    let rule = crate::plan::rule(&mut self.rng);
                    self.decide(spot, rule);
                }
                30 | 31 => self.peer_begins(ulids, fii),
                32 => self.garble(h, ulids, fii),
                _ => self.replay(h, Some((ulids, fii))),
            }
        }
    }

    /// The peer has lost the context, or never had one, and asks for it just now.
    fn peer_begins(&mut self, ulids: UlidPair, fii: Fii) {
        let Some(h) = Spot::of(ulids.peer.0).map(|s| s.host).filter(|h| *h < self.hosts.len())
        else {
            return;
        };
        if fii != Fii::DEFAULT
            || self.hosts[h].engine.is_none()
            || self.hosts[h].is_frozen(self.now)
        {
            return;
        }
        let ulids = reverse(ulids);
        if let Some(i) = self.hosts[h].find(ulids, fii) {
            self.command_for(h, self.hosts[h].ctxs[i].id, On::Discard, 0);
        }
        let state = self.hosts[h].state_of(ulids, fii, self.now);
        self.tally.matrix.hit(state, On::Establish);
        self.on(h, None, |e, cx| e.handle_command(cx, Command::Establish(ulids)).is_ok());
        self.arm(h);
    }

    /// A message that was received before comes once more, damaged.
    fn garble(&mut self, h: usize, ulids: UlidPair, fii: Fii) {
        let about = Some((ulids, fii));
        let mut fit = self.hosts[h].archive.iter().filter(|a| a.about == about);
        let Some(mut heard) = fit.next().cloned() else { return };
        let at = 40 + self.rng.below(heard.packet.len() - 40);
        heard.packet[at] ^= 1 << self.rng.below(8);
        self.tally.attacks += 1;
        self.control(h, heard);
    }

    /// A message or packet that nobody expects in the present state of a context, in the name of the peer: with the
    /// context's tags if there is one, else with tags that nobody has any more.
    fn relic(&mut self, h: usize, ulids: UlidPair, fii: Fii) {
        self.tally.attacks += 1;
        let word = self.rng.word();
        let known = self.hosts[h].find(ulids, fii).map(|i| &self.hosts[h].ctxs[i]);
        let old = ContextTag::from_masked(word);
        let local_tag = known.map_or(old, |c| c.local_tag);
        let peer_tag = known.and_then(|c| c.peer_tag).unwrap_or(old);
        let (src, dst) = (ulids.peer, ulids.local);
        let validator = Some(vec![word as u8; 16]);
        let responder_nonce = ResponderNonce(word as u32);
        let message = match self.rng.below(7) {
            0 => {
                let init_nonce = InitNonce((word >> 32) as u32);
                let forked = (fii != Fii::DEFAULT).then_some(fii);
                let options = Options { validator, fii: forked, ..Options::default() };
                Message::I2(I2 { initiator_tag: old, init_nonce, responder_nonce, options })
            }
            1 => {
                let options = Options { validator, ..Options::default() };
                Message::R1bis(R1bis { packet_tag: peer_tag, responder_nonce, options })
            }
            n @ 2..=5 => {
                let kind = [0, 1, 4, 5][n - 2];
                tagged(kind, local_tag, (src.locator(), dst.locator()), word)
            }
            _ => {
                let flow = self.flows.iter().position(|f| {
                    f.fii == fii && (f.ulids == ulids || crate::world::reverse(f.ulids) == ulids)
                });
                let Some(n) = flow else { return };
                let spoilt = self.hosts[h].find(ulids, fii).is_some();
                let segment = Segment { flow: n as u16, seq: 0, ack: false, again: false };
                return self.tagged(h, src.0, dst.0, local_tag, segment, spoilt);
            }
        };
        let packet = whole(src.0, dst.0, &message.emit());
        self.control(h, Heard { packet, about: Some((ulids, fii)) });
    }
}

/// A message that names a context by a tag.
fn tagged(n: u64, tag: ContextTag, (src, dst): (Locator, Locator), word: u64) -> Message {
    let options = Options::default();
    let request_nonce = RequestNonce(word as u32);
    let report = ProbeReport { src, dst, nonce: ProbeNonce(word as u32), data: 0 };
    let probe = |state, received| {
        Message::Probe(Probe {
            receiver_tag: tag,
            state,
            sent: vec![report],
            received,
            options: Options::default(),
        })
    };
    match n {
        0 => Message::UpdateRequest(UpdateRequest { receiver_tag: tag, request_nonce, options }),
        1 => Message::UpdateAck(UpdateAck { receiver_tag: tag, request_nonce, options }),
        2 => Message::Keepalive(Keepalive { receiver_tag: tag, options }),
        3 => probe(ProbeState::Exploring, Vec::new()),
        4 => probe(ProbeState::InboundOk, vec![ProbeReport { src: dst, dst: src, ..report }]),
        _ => probe(ProbeState::Operational, vec![ProbeReport { src: dst, dst: src, ..report }]),
    }
}
