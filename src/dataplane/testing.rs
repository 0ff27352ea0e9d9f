//! What the tests of this module share: packets, contexts, a kernel that is not there.

use super::bulk::Ends;
use super::config::{Backend, DataplaneConfig, HeldConfig, ReassemblyConfig};
use super::inject::{Inject, SendError};
use super::pathmtu::Routes;
use super::segment::Pieces;
use crate::addr::{ContextTag, Fii, Locator, LocatorPair, Ulid, UlidPair};
use crate::proto::config::HeuristicConfig;
use crate::proto::{ContextId, Forward, Inbound, Outbound, Time, WakeOn};
use crate::wire::checksum;
use crate::wire::ipv6::{Ipv6Header, protocol};
use nix::errno::Errno;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

pub const US: &str = "2001:db8:a1::1";
pub const US_TOO: &str = "2001:db8:a2::1";
pub const PEER: &str = "2001:db8:b1::1";
pub const PEER_TOO: &str = "2001:db8:b2::1";
pub const ROUTER: &str = "2001:db8:ff::1";

pub fn a(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

pub fn ulids() -> UlidPair {
    UlidPair { local: Ulid(a(US)), peer: Ulid(a(PEER)) }
}

pub fn locators() -> LocatorPair {
    LocatorPair { local: Locator(a(US_TOO)), peer: Locator(a(PEER_TOO)) }
}

pub fn local_tag() -> ContextTag {
    ContextTag::from_masked(0x1234_5678_9abc)
}

pub fn peer_tag() -> ContextTag {
    ContextTag::from_masked(0x7fff_ffff_ffff)
}

pub fn plain() -> Forward {
    Forward {
        id: ContextId(7),
        ulids: ulids(),
        fii: Fii::DEFAULT,
        local_tag: local_tag(),
        outbound: Outbound::Plain,
        inbound: Inbound::Unmap,
        hold: false,
        watch: false,
        wake: WakeOn::Nothing,
    }
}

pub fn tagged() -> Forward {
    Forward { outbound: Outbound::Tagged(locators(), peer_tag()), ..plain() }
}

/// An IPv6 packet.
pub fn packet(src: &str, dst: &str, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: 0x12345,
        payload_length: u16::try_from(payload.len()).unwrap(),
        next_header,
        hop_limit: 64,
        src: a(src),
        dst: a(dst),
    };
    [&header.emit()[..], payload].concat()
}

/// A UDP packet with a right checksum.
pub fn udp(src: &str, dst: &str, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len() + 8).unwrap();
    let mut d = [&[0x10, 1, 0x10, 2][..], &len.to_be_bytes(), &[0, 0], data].concat();
    let sum = checksum::udp(checksum::transport(a(src), a(dst), protocol::UDP, &d));
    d[6..8].copy_from_slice(&sum.to_be_bytes());
    packet(src, dst, protocol::UDP, &d)
}

/// A TCP packet with a right checksum; `options` is padded by the caller.
pub fn tcp(src: &str, dst: &str, seq: u32, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let mut s = vec![0x20, 1, 0x20, 2];
    s.extend_from_slice(&seq.to_be_bytes());
    s.extend_from_slice(&77u32.to_be_bytes());
    s.push((((20 + options.len()) / 4) << 4) as u8);
    s.push(flags);
    s.extend_from_slice(&[0x12, 0x34, 0, 0, 0, 0]);
    s.extend_from_slice(options);
    s.extend_from_slice(data);
    let sum = checksum::transport(a(src), a(dst), protocol::TCP, &s);
    s[16..18].copy_from_slice(&sum.to_be_bytes());
    packet(src, dst, protocol::TCP, &s)
}

/// Octets that differ from place to place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

pub fn config(clock: fn() -> Time) -> DataplaneConfig {
    DataplaneConfig {
        queues_140: 0..0,
        queues_plain: 0..0,
        mark: 0x5533_0000,
        mark_mask: 0xffff_0000,
        leave_alone: Some(0x5532_0000),
        heuristic: HeuristicConfig::default(),
        heuristic_pairs: 1024,
        held: HeldConfig::default(),
        reassembly: ReassemblyConfig::default(),
        deliver_all_icmp: false,
        clock,
        backend: Backend::default(),
        tier: super::config::Tier::default(),
    }
}

/// Our port in [`tcp`] packets, and what TCP puts into each of its segments.
pub const TCP_PORT: u16 = 0x2001;
pub const SEGMENT: usize = 1440;

/// Routes whose MTU the test sets.
#[derive(Clone, Debug)]
pub struct TestRoutes(pub Arc<Mutex<Result<usize, Errno>>>);

impl TestRoutes {
    pub fn new(mtu: usize) -> TestRoutes {
        TestRoutes(Arc::new(Mutex::new(Ok(mtu))))
    }
}

impl Routes for TestRoutes {
    fn mtu(&mut self, _: LocatorPair) -> Result<usize, Errno> {
        *self.0.lock().unwrap()
    }

    fn segment_size(&mut self, (us, _): &Ends) -> Option<usize> {
        (us.port() == TCP_PORT).then_some(SEGMENT)
    }
}

/// Remembers what would have been sent.
#[derive(Clone, Debug, Default)]
pub struct TestSocket {
    pub sent: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Of each call that sent many.
    pub marks: Arc<Mutex<Vec<u32>>>,
    /// What a worker's queue saw of this.
    pub flushes: Arc<Mutex<Vec<(usize, usize)>>>,
    pub fails: Arc<Mutex<Option<SendError>>>,
}

impl TestSocket {
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.sent.lock().unwrap())
    }
}

impl Inject for TestSocket {
    fn inject(&mut self, packet: &[u8]) -> Result<(), SendError> {
        if let Some(e) = *self.fails.lock().unwrap() {
            return Err(e);
        }
        self.sent.lock().unwrap().push(packet.to_vec());
        Ok(())
    }

    fn inject_all(
        &mut self,
        packets: &Pieces,
        mark: u32,
        told: &mut dyn FnMut(Result<(), SendError>),
    ) {
        self.marks.lock().unwrap().push(mark);
        packets.iter().for_each(|p| told(self.inject(p)));
    }
}

/// Two threads read over and over, each at least once, while this one writes.
pub fn read_meanwhile(read: impl Fn() + Sync, write: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        let readers = [0, 1].map(|_| {
            s.spawn(|| {
                let mut reads = 0u64;
                while !done.load(Relaxed) || reads == 0 {
                    read();
                    reads += 1;
                }
                reads
            })
        });
        write();
        done.store(true, Relaxed);
        assert!(readers.map(|r| r.join().unwrap()).iter().all(|n| *n > 0));
    });
}
