//! The network between the addresses: each direction of each pair is a link of its own.

use crate::pool::{ADDRESSES, HOSTS, place};
use std::net::Ipv6Addr;

const N: usize = HOSTS * ADDRESSES;

/// What happens to packets that get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// Milliseconds for every packet.
    pub delay: u32,
    /// Further milliseconds at random: packets overtake each other.
    pub jitter: u32,
    /// Packets of a thousand that are lost.
    pub loss: u32,
    /// Packets of a thousand that come twice.
    pub twice: u32,
    /// Packets of a thousand that arrive damaged.
    pub damage: u32,
}

impl Quality {
    /// Nothing is lost or damaged.
    pub fn is_clean(&self) -> bool {
        self.loss == 0 && self.damage == 0
    }
}

/// One direction between two addresses.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// One bit for each fault that cuts it.
    cut: u64,
    /// The fault whose quality applies, and that quality.
    noise: Option<(u8, Quality)>,
}

#[derive(Clone, Debug)]
pub struct Net {
    base: Quality,
    links: Vec<Link>,
}

/// An address of the simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    pub host: usize,
    pub at: usize,
}

impl Spot {
    pub fn of(a: Ipv6Addr) -> Option<Spot> {
        place(a).map(|(host, at)| Spot { host, at })
    }

    pub fn index(self) -> usize {
        self.host * ADDRESSES + self.at
    }
}

/// Which links a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// From the first to the second.
    OneWay(Spot, Spot),
    /// Both ways.
    Pair(Spot, Spot),
    /// Everything from an address (provider, outbound).
    From(Spot),
    /// Everything to an address (provider, inbound).
    To(Spot),
    /// Everything from and to an address (provider).
    Address(Spot),
    /// Everything between two hosts.
    Hosts(usize, usize),
    /// Everything from one host to another.
    HostsOneWay(usize, usize),
    /// All there is.
    All,
}

impl Where {
    fn hits(self, from: Spot, to: Spot) -> bool {
        match self {
            Where::OneWay(a, b) => (from, to) == (a, b),
            Where::Pair(a, b) => (from, to) == (a, b) || (from, to) == (b, a),
            Where::From(a) => from == a,
            Where::To(a) => to == a,
            Where::Address(a) => from == a || to == a,
            Where::Hosts(a, b) => (from.host, to.host) == (a, b) || (from.host, to.host) == (b, a),
            Where::HostsOneWay(a, b) => (from.host, to.host) == (a, b),
            Where::All => true,
        }
    }
}

impl Net {
    pub fn new(base: Quality) -> Net {
        Net { base, links: vec![Link { cut: 0, noise: None }; N * N] }
    }

    fn at(from: Spot, to: Spot) -> usize {
        from.index() * N + to.index()
    }

    /// What the link does; `None` if it is cut.
    pub fn quality(&self, from: Spot, to: Spot) -> Option<Quality> {
        let l = &self.links[Net::at(from, to)];
        (l.cut == 0).then(|| l.noise.map_or(self.base, |(_, q)| q))
    }

    fn each(&mut self, place: Where, f: impl Fn(&mut Link)) {
        for from in 0..N {
            for to in 0..N {
                let spot = |i: usize| Spot { host: i / ADDRESSES, at: i % ADDRESSES };
                if place.hits(spot(from), spot(to)) {
                    f(&mut self.links[from * N + to]);
                }
            }
        }
    }

    pub fn cut(&mut self, fault: u8, place: Where) {
        self.each(place, |l| l.cut |= 1 << fault);
    }

    pub fn noise(&mut self, fault: u8, place: Where, q: Quality) {
        self.each(place, |l| l.noise = Some((fault, q)));
    }

    /// Ends one fault.
    pub fn repair(&mut self, fault: u8) {
        for l in &mut self.links {
            l.cut &= !(1 << fault);
            if l.noise.is_some_and(|(f, _)| f == fault) {
                l.noise = None;
            }
        }
    }

    /// Ends all noise; cuts stay.
    pub fn calm(&mut self) {
        self.links.iter_mut().for_each(|l| l.noise = None);
    }

    /// Ends everything.
    pub fn whole(&mut self) {
        self.links.fill(Link { cut: 0, noise: None });
    }
}
