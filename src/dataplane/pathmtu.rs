//! Path MTUs of locator pairs: what the route says, lowered by Packet Too Big messages about our tagged packets.

use super::bulk::{Ends, TcpSizes};
use super::counters::{Counter, Counters};
use crate::addr::LocatorPair;
use crate::proto::Time;
use arc_swap::ArcSwap;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn6, bind, connect, setsockopt, socket, sockopt,
};
use std::collections::HashMap;
use std::net::SocketAddrV6;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The smallest MTU that IPv6 allows.
pub const MIN_MTU: usize = 1280;
/// A lowered MTU is forgotten after this time (RFC 8201, 4: ten minutes).
const LOWERED_FOR: Duration = Duration::from_secs(600);
/// A route is asked again after this time.
const CACHED_FOR: Duration = Duration::from_secs(2);
/// Pairs remembered at a time, each of cache and lowered ones.
const PAIRS: usize = 4096;
/// UDP port "discard": the look-up sends nothing, but connecting wants a port.
const ANY_PORT: u16 = 9;

/// Asks for a route.
pub trait Routes {
    /// The MTU of the route from the local to the peer's locator.
    ///
    /// # Errors
    /// The kernel's answer; no route or no such address among them.
    fn mtu(&mut self, pair: LocatorPair) -> Result<usize, Errno>;

    /// Octets of data that TCP puts into each segment of a flow of this host; `None` if that is not to be found out.
    fn segment_size(&mut self, flow: &Ends) -> Option<usize>;
}

/// Routes of this network namespace.
// req: S6-15.4-01
#[derive(Debug)]
pub struct KernelRoutes {
    /// Mark of our packets, so that policy routing treats the look-up as it treats them.
    mark: u32,
    /// Opened by the thread that asks first.
    sizes: Option<Result<TcpSizes, Errno>>,
}

impl KernelRoutes {
    /// Routes for packets with this mark, in the network namespace of the thread that asks for them.
    pub fn new(mark: u32) -> KernelRoutes {
        KernelRoutes { mark, sizes: None }
    }
}

impl Routes for KernelRoutes {
    fn mtu(&mut self, pair: LocatorPair) -> Result<usize, Errno> {
        let s = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&s, sockopt::Mark, &self.mark)?;
        bind(s.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(pair.local.0, 0, 0, 0)))?;
        connect(s.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(pair.peer.0, ANY_PORT, 0, 0)))?;
        connected_mtu(&s)
    }

    fn segment_size(&mut self, flow: &Ends) -> Option<usize> {
        let open = || {
            TcpSizes::open().inspect_err(|e| {
                log::warn!("the kernel tells no segment sizes, and has to cut packets itself: {e}");
            })
        };
        self.sizes.get_or_insert_with(open).as_ref().ok()?.size(flow).ok()
    }
}

#[allow(unsafe_code)]
fn connected_mtu(s: &OwnedFd) -> Result<usize, Errno> {
    let mut mtu: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to locals that outlive the call, and `len` is the size of `mtu`.
    let result = unsafe {
        libc::getsockopt(
            s.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU,
            std::ptr::from_mut(&mut mtu).cast(),
            &raw mut len,
        )
    };
    Errno::result(result)?;
    Ok(usize::try_from(mtu).unwrap_or(0).max(MIN_MTU))
}

/// MTUs that Packet Too Big messages lowered; shared by all workers.
#[derive(Debug, Default)]
pub struct LoweredMtus {
    table: ArcSwap<HashMap<LocatorPair, (usize, Time)>>,
    generation: AtomicU64,
}

impl LoweredMtus {
    /// Notes that a link on the path takes only `mtu` octets.
    pub fn lower(&self, pair: LocatorPair, mtu: usize, now: Time) {
        let mtu = mtu.max(MIN_MTU);
        self.table.rcu(|old| {
            let mut new: HashMap<_, _> =
                old.iter().filter(|(_, (_, until))| *until > now).map(|(k, v)| (*k, *v)).collect();
            let lower = new.get(&pair).is_none_or(|(present, _)| mtu <= *present);
            if lower && (new.len() < PAIRS || new.contains_key(&pair)) {
                new.insert(pair, (mtu, now + LOWERED_FOR));
            }
            Arc::new(new)
        });
        self.generation.fetch_add(1, Relaxed);
    }

    fn get(&self, pair: LocatorPair, now: Time) -> Option<usize> {
        let table = self.table.load();
        if table.is_empty() {
            return None;
        }
        table.get(&pair).filter(|(_, until)| *until > now).map(|(mtu, _)| *mtu)
    }
}

/// One worker's view of path MTUs.
#[derive(Debug)]
pub struct PathMtus<R> {
    routes: R,
    lowered: Arc<LoweredMtus>,
    seen_generation: u64,
    cache: HashMap<LocatorPair, (Result<usize, Errno>, Time)>,
}

impl<R: Routes> PathMtus<R> {
    /// A view with an empty cache.
    pub fn new(routes: R, lowered: Arc<LoweredMtus>) -> PathMtus<R> {
        PathMtus { routes, lowered, seen_generation: 0, cache: HashMap::new() }
    }

    /// See [`Routes::segment_size`].
    pub fn segment_size(&mut self, flow: &Ends) -> Option<usize> {
        self.routes.segment_size(flow)
    }

    /// The most octets that a packet on this pair may have.
    ///
    /// # Errors
    /// No route, or the local address is gone.
    pub fn get(
        &mut self,
        pair: LocatorPair,
        now: Time,
        counters: &Counters,
    ) -> Result<usize, Errno> {
        let generation = self.lowered.generation.load(Relaxed);
        if generation != self.seen_generation {
            self.seen_generation = generation;
            self.cache.clear();
        }
        if let Some((mtu, until)) = self.cache.get(&pair)
            && *until > now
        {
            return *mtu;
        }
        let mtu = match self.routes.mtu(pair) {
            Ok(mtu) => Ok(self.lowered.get(pair, now).map_or(mtu, |lowered| lowered.min(mtu))),
            Err(
                e @ (Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::EADDRNOTAVAIL
                | Errno::EACCES
                | Errno::EINVAL
                | Errno::ENETDOWN
                | Errno::ENODEV),
            ) => Err(e),
            Err(_) => {
                counters.count(Counter::MtuUnknown);
                Ok(MIN_MTU)
            }
        };
        if self.cache.len() >= PAIRS {
            self.cache.clear();
        }
        // A failure is asked again at once when the next second begins, not for each packet.
        let keep = if mtu.is_ok() { CACHED_FOR } else { Duration::from_millis(100) };
        self.cache.insert(pair, (mtu, now + keep));
        mtu
    }

    /// Notes that a link on the path takes only `mtu` octets.
    pub fn lower(&self, pair: LocatorPair, mtu: usize, now: Time) {
        self.lowered.lower(pair, mtu, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Locator;

    struct Fixed(Result<usize, Errno>, u32);

    impl Routes for Fixed {
        fn mtu(&mut self, _: LocatorPair) -> Result<usize, Errno> {
            self.1 += 1;
            self.0
        }

        fn segment_size(&mut self, _: &Ends) -> Option<usize> {
            None
        }
    }

    fn pair(n: u16) -> LocatorPair {
        let at = |side| Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, side, 0, 0, 0, 0, n));
        LocatorPair { local: at(1), peer: at(2) }
    }

    #[test]
    fn a_lowered_mtu_counts_for_its_pair_and_time_only() {
        let lowered = Arc::new(LoweredMtus::default());
        let mut mtus = PathMtus::new(Fixed(Ok(1500), 0), Arc::clone(&lowered));
        let counters = Counters::default();
        let at = Time::from_secs;
        assert_eq!(mtus.get(pair(1), at(1), &counters), Ok(1500));
        assert_eq!(mtus.get(pair(1), at(2), &counters), Ok(1500));
        assert_eq!(mtus.routes.1, 1, "the second look-up comes from the cache");
        lowered.lower(pair(1), 1400, at(2));
        lowered.lower(pair(1), 1450, at(2));
        assert_eq!(mtus.get(pair(1), at(2), &counters), Ok(1400));
        assert_eq!(mtus.get(pair(2), at(2), &counters), Ok(1500));
        assert_eq!(mtus.get(pair(1), at(601), &counters), Ok(1400));
        assert_eq!(mtus.get(pair(1), at(700), &counters), Ok(1500));
        lowered.lower(pair(1), 68, at(700));
        assert_eq!(mtus.get(pair(1), at(700), &counters), Ok(MIN_MTU));
    }

    #[test]
    fn a_missing_route_is_an_error_and_anything_else_means_1280() {
        let counters = Counters::default();
        let mut mtus = PathMtus::new(Fixed(Err(Errno::ENETUNREACH), 0), Arc::default());
        assert_eq!(mtus.get(pair(1), Time::ZERO, &counters), Err(Errno::ENETUNREACH));
        let mut mtus = PathMtus::new(Fixed(Err(Errno::EMFILE), 0), Arc::default());
        assert_eq!(mtus.get(pair(1), Time::ZERO, &counters), Ok(MIN_MTU));
        assert_eq!(counters.get(Counter::MtuUnknown), 1);
    }

    #[test]
    fn both_tables_are_bounded() {
        let lowered = Arc::new(LoweredMtus::default());
        let mut mtus = PathMtus::new(Fixed(Ok(1500), 0), Arc::clone(&lowered));
        for n in 0..(PAIRS as u16 + 10) {
            assert_eq!(mtus.get(pair(n), Time::ZERO, &Counters::default()), Ok(1500));
        }
        assert!(mtus.cache.len() <= PAIRS);
        let mut full = HashMap::new();
        for n in 0..PAIRS as u16 {
            full.insert(pair(n), (1400, Time::from_secs(10)));
        }
        lowered.table.store(Arc::new(full));
        lowered.lower(pair(9999), 1300, Time::ZERO);
        lowered.lower(pair(1), 1300, Time::ZERO);
        assert_eq!(lowered.table.load().len(), PAIRS);
        assert_eq!(lowered.get(pair(1), Time::ZERO), Some(1300));
    }
}
