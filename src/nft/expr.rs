//! The expressions that `nftnl` lacks, and the rules of a specification as nftnl objects.
//!
//! ```text
//!  info of the xt target NFQUEUE, revision 3 (host byte order)
//!   0             2             4             6             8
//!  +-------------+-------------+-------------+-------------+
//!  | first queue | queue count | flags       | padding 0   |
//!  +-------------+-------------+-------------+-------------+
//! ```
//! Flag 1 is bypass, flag 2 spreads by processor. The latter is never set, here or in the native expression:
//! the kernel then picks the queue by a hash of the address pair that is the same for both directions, and a
//! flow stays on one queue.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::net::Ipv6Addr;
use std::ptr::NonNull;

use nftnl::expr::{
    Bitwise, Cmp, CmpOp, Counter, Expression, Icmpv6HeaderField, Ipv6HeaderField, Meta,
    NetworkHeaderField, Payload, TransportHeaderField, Verdict,
};
use nftnl::nftnl_sys as sys;
use nftnl::set::{Set, SetKey};
use nftnl::{ProtoFamily, Rule, Table};

use super::passing;
use super::spec::{
    ALIVE_SIZE, Action, ETHERTYPE_IPV6, HEARTBEAT_TIMEOUT, Match, QueueKind, RuleLine,
};

/// The index of the loopback interface, the same in every network namespace.
const LOOPBACK_IFINDEX: u32 = 1;
/// The route type of addresses of this host.
const RTN_LOCAL: u32 = 2;
const FLAG_BYPASS: u16 = 1;
const REG_1: u32 = 1;
/// The name of [`ALIVE`](super::spec::ALIVE) for netlink.
const ALIVE_C: &CStr = c"alive";

/// An expression of the given kind without any attribute yet.
pub(super) fn alloc(name: &'static CStr) -> NonNull<sys::nftnl_expr> {
    // SAFETY: the name is a NUL-terminated constant; the library copies nothing of it.
    let expr = unsafe { sys::nftnl_expr_alloc(name.as_ptr()) };
    // The library knows all kinds used here, so only lack of memory ends in NULL, which `nftnl` itself
    // answers by aborting.
    NonNull::new(expr).unwrap_or_else(|| std::process::abort())
}

/// nf_tables' own `queue`.
struct Queue {
    first: u16,
    count: u16,
    bypass: bool,
}

impl Expression for Queue {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = alloc(c"queue");
        let flags = if self.bypass { FLAG_BYPASS } else { 0 };
        // SAFETY: `expr` is a fresh expression of kind queue, and these are its attributes with their types.
        unsafe {
            sys::nftnl_expr_set_u16(expr.as_ptr(), sys::NFTNL_EXPR_QUEUE_NUM as u16, self.first);
            sys::nftnl_expr_set_u16(expr.as_ptr(), sys::NFTNL_EXPR_QUEUE_TOTAL as u16, self.count);
            sys::nftnl_expr_set_u16(expr.as_ptr(), sys::NFTNL_EXPR_QUEUE_FLAGS as u16, flags);
        }
        expr
    }
}

/// The xt target NFQUEUE, revision 3.
struct XtNfqueue {
    first: u16,
    count: u16,
    bypass: bool,
}

impl XtNfqueue {
    const REVISION: u32 = 3;

    fn info(&self) -> [u8; 8] {
        let mut info = [0; 8];
        info[0..2].copy_from_slice(&self.first.to_ne_bytes());
        info[2..4].copy_from_slice(&self.count.to_ne_bytes());
        let flags = if self.bypass { FLAG_BYPASS } else { 0 };
        info[4..6].copy_from_slice(&flags.to_ne_bytes());
        info
    }
}

impl Expression for XtNfqueue {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = alloc(c"target");
        let info = self.info();
        // The library takes ownership of the info and releases it with free(3).
        // SAFETY: malloc may be called with any size.
        let owned = unsafe { libc::malloc(info.len()) }.cast::<u8>();
        if owned.is_null() {
            std::process::abort();
        }
        // SAFETY: `owned` points to `info.len()` octets that nobody else knows of; `expr` is a fresh
        // expression of kind target, and these are its attributes with their types.
        unsafe {
            std::ptr::copy_nonoverlapping(info.as_ptr(), owned, info.len());
            sys::nftnl_expr_set_str(
                expr.as_ptr(),
                sys::NFTNL_EXPR_TG_NAME as u16,
                c"NFQUEUE".as_ptr(),
            );
            sys::nftnl_expr_set_u32(expr.as_ptr(), sys::NFTNL_EXPR_TG_REV as u16, Self::REVISION);
            sys::nftnl_expr_set(
                expr.as_ptr(),
                sys::NFTNL_EXPR_TG_INFO as u16,
                owned.cast(),
                info.len() as u32,
            );
        }
        expr
    }
}

/// `fib daddr type` into register 1.
pub(super) struct FibDaddrType;

impl Expression for FibDaddrType {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        const RESULT_ADDRTYPE: u32 = 3;
        const FLAG_DADDR: u32 = 2;
        let expr = alloc(c"fib");
        // SAFETY: `expr` is a fresh expression of kind fib, and these are its attributes with their types.
        unsafe {
            sys::nftnl_expr_set_u32(expr.as_ptr(), sys::NFTNL_EXPR_FIB_DREG as u16, REG_1);
            sys::nftnl_expr_set_u32(
                expr.as_ptr(),
                sys::NFTNL_EXPR_FIB_RESULT as u16,
                RESULT_ADDRTYPE,
            );
            sys::nftnl_expr_set_u32(expr.as_ptr(), sys::NFTNL_EXPR_FIB_FLAGS as u16, FLAG_DADDR);
        }
        expr
    }
}

/// `@alive`: whether register 1 is in the set.
pub(super) struct LookupAlive;

impl Expression for LookupAlive {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = alloc(c"lookup");
        // The set is named, not numbered: numbers do not outlive the transaction, and read-back compares.
        // SAFETY: `expr` is a fresh expression of kind lookup, and these are its attributes with their types; the
        // library copies the name.
        unsafe {
            sys::nftnl_expr_set_u32(expr.as_ptr(), sys::NFTNL_EXPR_LOOKUP_SREG as u16, REG_1);
            sys::nftnl_expr_set_str(
                expr.as_ptr(),
                sys::NFTNL_EXPR_LOOKUP_SET as u16,
                ALIVE_C.as_ptr(),
            );
        }
        expr
    }
}

/// `update @alive`: makes the element that register 1 holds last anew.
pub(super) struct UpdateAlive;

impl Expression for UpdateAlive {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = alloc(c"dynset");
        // SAFETY: `expr` is a fresh expression of kind dynset, and these are its attributes with their types; the
        // library copies the name.
        unsafe {
            sys::nftnl_expr_set_u32(expr.as_ptr(), sys::NFTNL_EXPR_DYNSET_SREG_KEY as u16, REG_1);
            sys::nftnl_expr_set_u32(
                expr.as_ptr(),
                sys::NFTNL_EXPR_DYNSET_OP as u16,
                libc::NFT_DYNSET_OP_UPDATE as u32,
            );
            sys::nftnl_expr_set_str(
                expr.as_ptr(),
                sys::NFTNL_EXPR_DYNSET_SET_NAME as u16,
                ALIVE_C.as_ptr(),
            );
        }
        expr
    }
}

/// The key of the set of signs of life.
pub(super) struct EtherType(u16);

impl SetKey for EtherType {
    /// nft's number for `ether_type`.
    const TYPE: u32 = 10;
    const LEN: u32 = 2;

    fn data(&self) -> Box<[u8]> {
        Box::new(self.0.to_be_bytes())
    }
}

/// The set of signs of life with its first element. A member of a transaction needs a number of its own; ours has
/// this set only.
pub(super) fn alive_set(table: &Table) -> Set<'_, EtherType> {
    const ID: u32 = 1;
    let flags = (libc::NFT_SET_TIMEOUT | libc::NFT_SET_EVAL) as u32;
    let timeout = u64::try_from(HEARTBEAT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    let mut set = Set::new_named(ALIVE_C, ID, table, ProtoFamily::Ipv6);
    // SAFETY: the set is alive and nobody else has it; these are its attributes with their types.
    unsafe {
        let set = set.as_ptr().as_ptr();
        sys::nftnl_set_set_u32(set, sys::NFTNL_SET_FLAGS as u16, flags);
        sys::nftnl_set_set_u64(set, sys::NFTNL_SET_TIMEOUT as u16, timeout);
        sys::nftnl_set_set_u32(set, sys::NFTNL_SET_DESC_SIZE as u16, ALIVE_SIZE);
    }
    set.add(&EtherType(ETHERTYPE_IPV6));
    set
}

fn add_prefix(rule: &mut Rule<'_>, field: Ipv6HeaderField, prefix: Ipv6Addr, len: u8) {
    rule.add_expr(&Payload::Network(NetworkHeaderField::Ipv6(field)));
    let mask = if len == 0 { 0 } else { u128::MAX << (128 - u32::from(len.min(128))) };
    if len < 128 {
        let none = [0u8; 16];
        rule.add_expr(&Bitwise::new(&mask.to_be_bytes()[..], &none[..]));
    }
    rule.add_expr(&Cmp::new(CmpOp::Eq, Ipv6Addr::from_bits(prefix.to_bits() & mask)));
}

fn add_match(rule: &mut Rule<'_>, m: Match) {
    match m {
        Match::Mark { value, mask } => {
            rule.add_expr(&Meta::Mark { set: false });
            rule.add_expr(&Bitwise::new(mask, 0u32));
            rule.add_expr(&Cmp::new(CmpOp::Eq, value));
        }
        Match::MarkNot { value, mask } => {
            rule.add_expr(&Meta::Mark { set: false });
            rule.add_expr(&Bitwise::new(mask, 0u32));
            rule.add_expr(&Cmp::new(CmpOp::Neq, value));
        }
        Match::L4Proto(proto) => {
            rule.add_expr(&Meta::L4Proto);
            rule.add_expr(&Cmp::new(CmpOp::Eq, proto));
        }
        Match::DaddrLocal => {
            rule.add_expr(&FibDaddrType);
            rule.add_expr(&Cmp::new(CmpOp::Eq, RTN_LOCAL));
        }
        Match::IifLoopback => {
            rule.add_expr(&Meta::Iif);
            rule.add_expr(&Cmp::new(CmpOp::Eq, LOOPBACK_IFINDEX));
        }
        Match::OifLoopback => {
            rule.add_expr(&Meta::Oif);
            rule.add_expr(&Cmp::new(CmpOp::Eq, LOOPBACK_IFINDEX));
        }
        Match::Saddr(prefix, len) => add_prefix(rule, Ipv6HeaderField::Saddr, prefix, len),
        Match::Daddr(prefix, len) => add_prefix(rule, Ipv6HeaderField::Daddr, prefix, len),
        Match::Icmpv6Type(from, to) => {
            rule.add_expr(&Meta::L4Proto);
            rule.add_expr(&Cmp::new(CmpOp::Eq, libc::IPPROTO_ICMPV6 as u8));
            rule.add_expr(&Payload::Transport(TransportHeaderField::Icmpv6(
                Icmpv6HeaderField::Type,
            )));
            rule.add_expr(&Cmp::new(CmpOp::Gte, from));
            rule.add_expr(&Cmp::new(CmpOp::Lte, to));
        }
        Match::Alive => add_alive(rule),
        Match::Passing => passing::add_lookup(rule),
        Match::Told(kind) => passing::add_told(rule, kind),
    }
}

/// Goes on only while the last sign of life lasts.
pub(super) fn add_alive(rule: &mut Rule<'_>) {
    rule.add_expr(&Meta::Protocol);
    rule.add_expr(&LookupAlive);
}

/// A sign of life.
pub(super) fn add_show_life(rule: &mut Rule<'_>) {
    rule.add_expr(&Meta::Protocol);
    rule.add_expr(&UpdateAlive);
}

/// Adds the queue expression of the given kind.
pub(super) fn add_queue(
    rule: &mut Rule<'_>,
    kind: QueueKind,
    first: u16,
    count: u16,
    bypass: bool,
) {
    match kind {
        QueueKind::Native => rule.add_expr(&Queue { first, count, bypass }),
        QueueKind::XtCompat => rule.add_expr(&XtNfqueue { first, count, bypass }),
    }
}

/// Adds all of a line's expressions: conditions, counter, action.
pub(super) fn add_line(rule: &mut Rule<'_>, line: &RuleLine, kind: QueueKind) {
    for m in &line.matches {
        add_match(rule, *m);
    }
    rule.add_expr(&Counter);
    match line.action {
        Action::Accept => rule.add_expr(&Verdict::Accept),
        Action::Drop => rule.add_expr(&Verdict::Drop),
        Action::ShowLife => {
            add_show_life(rule);
            rule.add_expr(&Verdict::Accept);
        }
        Action::Enter | Action::Leave => {
            passing::add_change(rule, line.action == Action::Enter);
            rule.add_expr(&Verdict::Accept);
        }
        Action::Queue { first, count, bypass } => add_queue(rule, kind, first, count, bypass),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xt_info_has_the_kernel_s_layout() {
        let info = XtNfqueue { first: 0x1234, count: 2, bypass: true }.info();
        let mut want = Vec::new();
        want.extend(0x1234u16.to_ne_bytes());
        want.extend(2u16.to_ne_bytes());
        want.extend(1u16.to_ne_bytes());
        want.extend([0, 0]);
        assert_eq!(info.as_slice(), want);
        assert_eq!(XtNfqueue { first: 1, count: 1, bypass: false }.info()[4..], [0; 4]);
    }
}
