//! Address pairs whose packets the kernel passes by itself, counting them.
//!
//! ```text
//!  Passing::enter ── datagram to ::1, our mark ──► chain beat:     add @passing { key }
//!  Passing::leave ── datagram to ::1, our mark ──► chain beat:     delete @passing { key }
//!  packet of the pair ───────────────────────────► input, output:  @passing? counted and passed, else queued
//!  Passing::read ◄── netlink ─────────────────────  packets and octets
//! ```
//!
//! As with signs of life the set is changed by packets and not by transactions, for the same reasons; and the change is
//! done when the call returns, because the loopback interface carries the datagram through the chain at once. If the
//! daemon ends without a word the pairs stay in the set, and pass, as everything else does then.
//!
//! ```text
//!  datagram: | kind (1) | 0 (3) | source (16) | destination (16) | protocol (1) |
//!  key:      | source (16) | destination (16) | protocol (1) | 0 (3) |
//! ```
#![allow(unsafe_code)]

use std::net::Ipv6Addr;
use std::ptr::NonNull;

use nftnl::expr::{Cmp, CmpOp, Expression, Ipv6HeaderField, Meta, NetworkHeaderField, Payload};
use nftnl::nftnl_sys as sys;
use nftnl::set::{Set, SetKey};
use nftnl::{ProtoFamily, Rule, Table};

use super::error::NftError;
use super::expr::alloc;
use super::spec::{PASSING_SIZE, RuleSpec, TOLD_ENTER, TOLD_LEAVE};
use super::teller::Teller;
use super::transaction::{FAMILY_IP6, SUBSYS_NFTABLES};
use crate::netlink::attr::{Request, attr, attrs, messages};
use crate::netlink::socket::{NlSocket, Protocol};

/// The name of [`PASSING`](super::spec::PASSING) for netlink.
const PASSING_C: &std::ffi::CStr = c"passing";
/// Its number in our transaction.
const ID: u32 = 2;
/// The operation "delete" of dynset, which the libc crate lacks.
const DYNSET_DELETE: u32 = 2;
/// Registers of 16 octets; a concatenated key begins at the first one.
const REGISTERS: [u32; 3] = [1, 2, 3];
/// Octets of a key.
const KEY: usize = 36;
/// Octets of a datagram.
const DATAGRAM: usize = 37;
/// Where a datagram's fields begin, from the UDP header on.
const TOLD: [(u32, u32); 3] = [(12, 16), (28, 16), (44, 1)];

/// An element: packets of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PassingKey {
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// The last header's protocol.
    pub protocol: u8,
}

/// What the kernel has counted for an element since it is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PassingCount {
    /// Packets; that which made the element counts as one.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
}

impl PassingCount {
    /// The datagram that makes an element, counted by it: headers of IPv6 and UDP, and what it tells.
    pub const FRESH: PassingCount = PassingCount { packets: 1, octets: (40 + 8 + DATAGRAM) as u64 };
}

impl SetKey for PassingKey {
    /// nft's number for `ipv6_addr . ipv6_addr . inet_proto`.
    const TYPE: u32 = (8 << 6 | 8) << 6 | 12;
    const LEN: u32 = KEY as u32;

    fn data(&self) -> Box<[u8]> {
        let mut key = [0; KEY];
        key[..16].copy_from_slice(&self.src.octets());
        key[16..32].copy_from_slice(&self.dst.octets());
        key[32] = self.protocol;
        Box::new(key)
    }
}

impl PassingKey {
    fn parse(key: &[u8]) -> Option<PassingKey> {
        let (src, rest) = key.split_first_chunk::<16>()?;
        let (dst, rest) = rest.split_first_chunk::<16>()?;
        Some(PassingKey { src: (*src).into(), dst: (*dst).into(), protocol: *rest.first()? })
    }

    fn datagram(&self, kind: u8) -> [u8; DATAGRAM] {
        let mut octets = [0; DATAGRAM];
        octets[0] = kind;
        octets[4..20].copy_from_slice(&self.src.octets());
        octets[20..36].copy_from_slice(&self.dst.octets());
        octets[36] = self.protocol;
        octets
    }
}

/// The set, empty.
pub(super) fn set(table: &Table) -> Set<'_, PassingKey> {
    let set = Set::new_named(PASSING_C, ID, table, ProtoFamily::Ipv6);
    // Only what nft can list: its version 1.0.6 breaks down at a set whose elements say when they were last used.
    let counter = alloc(c"counter");
    // SAFETY: the set is alive and nobody else has it; these are its attributes with their types. It takes the fresh
    // expression over and frees it with itself.
    unsafe {
        let set = set.as_ptr().as_ptr();
        let flags = libc::NFT_SET_EVAL as u32;
        sys::nftnl_set_set_u32(set, sys::NFTNL_SET_FLAGS as u16, flags);
        sys::nftnl_set_set_u32(set, sys::NFTNL_SET_DESC_SIZE as u16, PASSING_SIZE);
        sys::nftnl_set_add_expr(set, counter.as_ptr());
    }
    set
}

/// Octets from the transport header on into a register.
struct FromTransport {
    offset: u32,
    len: u32,
    register: u32,
}

impl Expression for FromTransport {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = alloc(c"payload");
        load(expr, libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, self.offset, self.len, self.register);
        expr
    }
}

/// An address of the IPv6 header into a register.
struct Address {
    field: Ipv6HeaderField,
    register: u32,
}

impl Expression for Address {
    fn to_expr(&self, rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = Payload::Network(NetworkHeaderField::Ipv6(self.field)).to_expr(rule);
        // SAFETY: `expr` is a fresh expression of kind payload, and this is its attribute with its type.
        unsafe {
            let attribute = sys::NFTNL_EXPR_PAYLOAD_DREG as u16;
            sys::nftnl_expr_set_u32(expr.as_ptr(), attribute, self.register);
        }
        expr
    }
}

fn load(expr: NonNull<sys::nftnl_expr>, base: u32, offset: u32, len: u32, register: u32) {
    // SAFETY: `expr` is a fresh expression of kind payload, and these are its attributes with their types.
    unsafe {
        let expr = expr.as_ptr();
        sys::nftnl_expr_set_u32(expr, sys::NFTNL_EXPR_PAYLOAD_DREG as u16, register);
        sys::nftnl_expr_set_u32(expr, sys::NFTNL_EXPR_PAYLOAD_BASE as u16, base);
        sys::nftnl_expr_set_u32(expr, sys::NFTNL_EXPR_PAYLOAD_OFFSET as u16, offset);
        sys::nftnl_expr_set_u32(expr, sys::NFTNL_EXPR_PAYLOAD_LEN as u16, len);
    }
}

/// The last header's protocol into a register.
struct L4Proto {
    register: u32,
}

impl Expression for L4Proto {
    fn to_expr(&self, rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = Meta::L4Proto.to_expr(rule);
        // SAFETY: `expr` is a fresh expression of kind meta, and this is its attribute with its type.
        unsafe {
            let attribute = sys::NFTNL_EXPR_META_DREG as u16;
            sys::nftnl_expr_set_u32(expr.as_ptr(), attribute, self.register);
        }
        expr
    }
}

/// Whether the key in the registers is in the set; counts if so.
struct Lookup;

impl Expression for Lookup {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = alloc(c"lookup");
        // SAFETY: `expr` is a fresh expression of kind lookup, and these are its attributes with their types; the
        // library copies the name.
        unsafe {
            let expr = expr.as_ptr();
            sys::nftnl_expr_set_u32(expr, sys::NFTNL_EXPR_LOOKUP_SREG as u16, REGISTERS[0]);
            sys::nftnl_expr_set_str(expr, sys::NFTNL_EXPR_LOOKUP_SET as u16, PASSING_C.as_ptr());
        }
        expr
    }
}

/// Adds the key in the registers to the set, or deletes it.
struct Change {
    enter: bool,
}

impl Expression for Change {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = alloc(c"dynset");
        let operation = if self.enter { libc::NFT_DYNSET_OP_ADD as u32 } else { DYNSET_DELETE };
        // SAFETY: `expr` is a fresh expression of kind dynset, and these are its attributes with their types; the
        // library copies the name.
        unsafe {
            let expr = expr.as_ptr();
            sys::nftnl_expr_set_u32(expr, sys::NFTNL_EXPR_DYNSET_SREG_KEY as u16, REGISTERS[0]);
            sys::nftnl_expr_set_u32(expr, sys::NFTNL_EXPR_DYNSET_OP as u16, operation);
            sys::nftnl_expr_set_str(
                expr,
                sys::NFTNL_EXPR_DYNSET_SET_NAME as u16,
                PASSING_C.as_ptr(),
            );
        }
        expr
    }
}

/// Goes on only for packets of pairs that pass.
pub(super) fn add_lookup(rule: &mut Rule<'_>) {
    let [src, dst, protocol] = REGISTERS;
    rule.add_expr(&Address { field: Ipv6HeaderField::Saddr, register: src });
    rule.add_expr(&Address { field: Ipv6HeaderField::Daddr, register: dst });
    rule.add_expr(&L4Proto { register: protocol });
    rule.add_expr(&Lookup);
}

/// Goes on only for datagrams of this kind; one without contents is of none.
pub(super) fn add_told(rule: &mut Rule<'_>, kind: u8) {
    rule.add_expr(&FromTransport { offset: 8, len: 1, register: REGISTERS[0] });
    rule.add_expr(&Cmp::new(CmpOp::Eq, kind));
}

/// Changes the set as a datagram tells.
pub(super) fn add_change(rule: &mut Rule<'_>, enter: bool) {
    for ((offset, len), register) in TOLD.into_iter().zip(REGISTERS) {
        rule.add_expr(&FromTransport { offset, len, register });
    }
    rule.add_expr(&Change { enter });
}

/// The set in the kernel.
#[derive(Debug)]
pub struct Passing {
    teller: Teller,
    netlink: NlSocket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Passing {
    /// Opens the sockets, in the network namespace of the calling thread. Needs CAP_NET_ADMIN here, and for
    /// [`Passing::read`] later.
    ///
    /// # Errors
    /// [`NftError::BadSpec`] if the specification has no such set; [`NftError::Permission`]; [`NftError::Io`].
    pub fn open(spec: &RuleSpec) -> Result<Passing, NftError> {
        if !spec.passing {
            return Err(NftError::BadSpec("the rules know no pairs that pass"));
        }
        let teller = Teller::open(spec.mark)?;
        let netlink = NlSocket::open(Protocol::Netfilter, 0)?;
        Ok(Passing { teller, netlink, buffer: vec![0; 1 << 17], sequence: 0 })
    }

    /// Lets packets with this key pass from now on. A fresh element has counted what made it ([`PassingCount::FRESH`]).
    /// The kernel keeps deleted elements for about a second, and may refuse
    /// a key that came and went dozens of times meanwhile, without a word: its packets stay in the queues.
    ///
    /// # Errors
    /// [`NftError::TableMissing`] if there are no rules that would; [`NftError::Io`].
    pub fn enter(&mut self, key: PassingKey) -> Result<(), NftError> {
        self.teller.tell(&key.datagram(TOLD_ENTER))
    }

    /// Has packets with this key queued from now on.
    ///
    /// # Errors
    /// As [`Passing::enter`].
    pub fn leave(&mut self, key: PassingKey) -> Result<(), NftError> {
        self.teller.tell(&key.datagram(TOLD_LEAVE))
    }

    /// What has been counted, for each element.
    ///
    /// # Errors
    /// [`NftError`] if the kernel cannot be asked; with EINTR, somebody loads rules at this moment.
    pub fn read(&mut self, mut each: impl FnMut(PassingKey, PassingCount)) -> Result<(), NftError> {
        const LIST_TABLE: u16 = 1;
        const LIST_SET: u16 = 2;
        const LIST_ELEMENTS: u16 = 3;
        self.sequence = self.sequence.wrapping_add(1);
        let kind = SUBSYS_NFTABLES << 8 | libc::NFT_MSG_GETSETELEM as u16;
        let request = Request::new(kind, libc::NLM_F_DUMP, self.sequence)
            .head(&[FAMILY_IP6, 0, 0, 0])
            .attr(LIST_TABLE, super::TABLE_C.to_bytes_with_nul())
            .attr(LIST_SET, PASSING_C.to_bytes_with_nul())
            .finish();
        self.netlink.send(&request)?;
        let mut interrupted = false;
        loop {
            let len = self.netlink.receive(&mut self.buffer)?;
            for message in messages(self.buffer.get(..len).unwrap_or_default()) {
                // What is left of an earlier list that was given up.
                if message.seq != self.sequence {
                    continue;
                }
                match message.error() {
                    Some(0) | None => {}
                    Some(libc::ENOENT) => return Err(NftError::TableMissing),
                    Some(errno) => return Err(NftError::kernel("list of pairs that pass", errno)),
                }
                interrupted |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                if message.is_done() {
                    return match interrupted {
                        true => Err(NftError::kernel("list of pairs that pass", libc::EINTR)),
                        false => Ok(()),
                    };
                }
                let body = message.payload.get(4..).unwrap_or_default();
                for (_, element) in attrs(attr(body, LIST_ELEMENTS).unwrap_or_default()) {
                    if let Some((key, count)) = parse(element) {
                        each(key, count);
                    }
                }
            }
        }
    }
}

/// One element of a list.
fn parse(element: &[u8]) -> Option<(PassingKey, PassingCount)> {
    const KEY: u16 = 1;
    const EXPRESSION: u16 = 7;
    const DATA_VALUE: u16 = 1;
    const DATA: u16 = 2;
    const COUNTER_BYTES: u16 = 1;
    const COUNTER_PACKETS: u16 = 2;
    let key = PassingKey::parse(attr(attr(element, KEY)?, DATA_VALUE)?)?;
    let counter = attr(attr(element, EXPRESSION)?, DATA)?;
    let number = |kind| Some(u64::from_be_bytes(*attr(counter, kind)?.first_chunk()?));
    let (packets, octets) = (number(COUNTER_PACKETS)?, number(COUNTER_BYTES)?);
    Some((key, PassingCount { packets, octets }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PassingKey = PassingKey {
        src: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
        dst: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2),
        protocol: 6,
    };

    fn nest(list: &[(u16, &[u8])]) -> Vec<u8> {
        let put = |r: Request, (kind, value): &(u16, &[u8])| r.attr(*kind, value);
        list.iter().fold(Request::new(0, 0, 0), put).finish()[16..].to_vec()
    }

    #[test]
    fn a_datagram_tells_the_key_where_the_rules_look() {
        let told = KEY.datagram(TOLD_ENTER);
        // Offsets count from the UDP header.
        let [src, dst, protocol] =
            TOLD.map(|(at, len)| &told[at as usize - 8..(at + len) as usize - 8]);
        assert_eq!(told[0], TOLD_ENTER);
        assert_eq!(src, KEY.src.octets());
        assert_eq!(dst, KEY.dst.octets());
        assert_eq!(protocol, [6]);
        assert_eq!(PassingKey::parse(&KEY.data()), Some(KEY));
        assert_eq!(KEY.data().len(), PassingKey::LEN as usize);
    }

    #[test]
    fn elements_are_read_with_their_counters() {
        let key = nest(&[(1, &nest(&[(1, &KEY.data())]))]);
        let counter = nest(&[(1, &1500u64.to_be_bytes()), (2, &3u64.to_be_bytes())]);
        let counter = nest(&[(7, &nest(&[(1, b"counter\0"), (2, &counter)]))]);
        let got = parse(&[key.clone(), counter].concat());
        assert_eq!(got, Some((KEY, PassingCount { packets: 3, octets: 1500 })));
        assert_eq!(parse(&key), None, "not of our set");
        assert_eq!(parse(&[]), None);
    }
}
