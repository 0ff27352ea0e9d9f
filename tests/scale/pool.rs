//! Identities made once and shared by all scenarios: no scenario makes a key or a set of its own.

use crate::rng::Chance;
use shim6::addr::Prefix;
use shim6::cga::{GenerateParams, Identity, Method, SigningKey};
use std::net::Ipv6Addr;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

/// Hosts of a scenario at most.
pub const HOSTS: usize = 5;
/// Addresses of a host at most, those that come later included.
pub const ADDRESSES: usize = 5;
/// Sets for each host and size.
const VARIANTS: usize = 6;

/// How a host's addresses are bound together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Hash-based addresses.
    Hba,
    /// Hash-based addresses and a key: others can be added by signature.
    HbaCga,
    /// Addresses with a key only.
    Cga,
    /// One ordinary address.
    Plain,
}

pub struct Pool {
    sets: Vec<Vec<Vec<Arc<Identity>>>>,
    keyed: Vec<Vec<Arc<Identity>>>,
}

/// 2001:db8:host:provider::/64, both counted from 1.
pub fn prefix(host: usize, provider: usize) -> Prefix {
    let (h, p) = (host as u16 + 1, provider as u16 + 1);
    Prefix::of(Ipv6Addr::new(0x2001, 0xdb8, h, p, 0, 0, 0, 0))
}

/// Host and provider of an address of the simulated network.
pub fn place(a: Ipv6Addr) -> Option<(usize, usize)> {
    let s = a.segments();
    let at = |n: u16, bound: usize| usize::from(n).checked_sub(1).filter(|n| *n < bound);
    ((s[0], s[1]) == (0x2001, 0xdb8)).then_some(())?;
    Some((at(s[2], HOSTS)?, at(s[3], ADDRESSES)?))
}

fn make(host: usize, providers: usize, method: Method, variant: usize) -> Arc<Identity> {
    let prefixes = (0..providers).map(|p| prefix(host, p)).collect();
    let mut params = GenerateParams::new(method, prefixes);
    if method.has_key() {
        // Short keys: the arithmetic is the same, and signing costs a tenth.
        let file = ["rsa1024.pem", "rsa1024b.pem"][host % 2];
        let path = format!("{}/tests/data/vectors/keys/{file}", env!("CARGO_MANIFEST_DIR"));
        let pem = std::fs::read(path).expect("a key among the test data");
        params.key = Some(SigningKey::from_pem(&pem).expect("a usable key"));
    }
    let mut rng = Chance::new(20_261_122, (host * 100 + providers * 10 + variant) as u64);
    let made = Identity::generate(params, &mut rng, &mut |_| ControlFlow::Continue(()));
    Arc::new(made.expect("an identity"))
}

/// The pool, made on first use.
pub fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool {
        sets: (0..HOSTS)
            .map(|h| {
                let of = |n| (0..VARIANTS).map(|v| make(h, n, Method::Hba, v)).collect();
                (1..=ADDRESSES).map(of).collect()
            })
            .collect(),
        keyed: (0..HOSTS)
            .map(|h| vec![make(h, 2, Method::HbaCga, 0), make(h, 1, Method::Cga, 1)])
            .collect(),
    })
}

impl Pool {
    /// The identity of a host, and all addresses it may come to have.
    pub fn of(
        &self,
        host: usize,
        kind: Kind,
        addresses: usize,
        variant: usize,
    ) -> (Option<Arc<Identity>>, Vec<Ipv6Addr>) {
        let plain = |p: usize| prefix(host, p).with_iid([0, 0, 0, 0, 0, 0, 0x0a, 1]);
        match kind {
            Kind::Hba => {
                let id = self.sets[host][addresses - 1][variant % VARIANTS].clone();
                let members = id.members().to_vec();
                (Some(id), members)
            }
            Kind::HbaCga | Kind::Cga => {
                let id = self.keyed[host][usize::from(kind == Kind::Cga)].clone();
                let mut addrs = id.members().to_vec();
                addrs.extend((addrs.len()..addresses).map(plain));
                (Some(id), addrs)
            }
            Kind::Plain => (None, vec![plain(0)]),
        }
    }
}
