//! What this kernel can do, found by trying it in a scratch table that no hook leads to.

use std::ffi::CString;

use nftnl::expr::Counter;
use nftnl::{Rule, Table};
use nix::errno::Errno;

use super::spec::QueueKind;
use super::transaction::Transaction;
use super::{Capabilities, NftError};
use super::{expr, passing};
use crate::netlink::attr::{Request, messages};
use crate::netlink::socket::{NlSocket, Protocol};

/// Tries in the current network namespace, and removes what it made.
///
/// # Errors
/// [`NftError::Permission`], [`NftError::NoNfTables`] or [`NftError::NoNfnetlinkQueue`] if nothing can work at
/// all; lack of single abilities is in the answer.
pub fn probe() -> Result<Capabilities, NftError> {
    attempt(none, |rule| rule.add_expr(&Counter)).map_err(|e| match e {
        NftError::Kernel { errno, .. } if errno != libc::EBUSY => NftError::NoNfTables,
        e => e,
    })?;
    nfnetlink_queue()?;
    let queue = |kind| accepted(attempt(none, |rule| expr::add_queue(rule, kind, 0, 1, true)));
    let heartbeat = super::teller::possible()
        && accepted(attempt(Transaction::add_alive_set, |rule| {
            expr::add_show_life(rule);
            expr::add_alive(rule);
        }))?;
    Ok(Capabilities {
        native_queue: queue(QueueKind::Native)?,
        xt_queue: queue(QueueKind::XtCompat)?,
        fib: accepted(attempt(none, |rule| rule.add_expr(&expr::FibDaddrType)))?,
        heartbeat,
        passing: heartbeat
            && accepted(attempt(Transaction::add_passing_set, |rule| {
                passing::add_told(rule, 0);
                passing::add_change(rule, true);
                passing::add_change(rule, false);
                passing::add_lookup(rule);
            }))?,
    })
}

/// Nothing but the rule is needed.
fn none(_: &mut Transaction, _: &Table) {}

/// One rule in one chain of a table of its own, which is deleted again whatever happens.
///
/// `prepare` may add to the table before the rule is made.
fn attempt(
    prepare: impl FnOnce(&mut Transaction, &Table),
    fill: impl FnOnce(&mut Rule<'_>),
) -> Result<(), NftError> {
    let name = CString::new(format!("shim6-probe-{}", std::process::id()))
        .map_err(|_| NftError::BadSpec("table name"))?;
    let mut trial = Transaction::new();
    trial.add_table(&name);
    trial.delete_table(&name);
    let table: Table = trial.add_table(&name);
    prepare(&mut trial, &table);
    let chain = trial.add_loose_chain(&table, c"probe");
    let mut rule = Rule::new(&chain);
    fill(&mut rule);
    trial.add_rule(&rule, "probe");
    trial.commit()?;
    let mut undo = Transaction::new();
    undo.delete_table(&name);
    undo.commit()
}

/// A refusal of the kernel is an answer; everything else is a failure.
fn accepted(result: Result<(), NftError>) -> Result<bool, NftError> {
    match result {
        Ok(()) => Ok(true),
        Err(NftError::Kernel { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Sends a command that has done nothing since Linux 3.8, but needs the subsystem to be there.
fn nfnetlink_queue() -> Result<(), NftError> {
    const SUBSYS_QUEUE: u16 = 3;
    const MSG_CONFIG: u16 = 2;
    const CFG_CMD: u16 = 1;
    const CMD_PF_UNBIND: u8 = 4;
    let socket = NlSocket::open(Protocol::Netfilter, 0)?;
    let request = Request::new(SUBSYS_QUEUE << 8 | MSG_CONFIG, libc::NLM_F_ACK, 1)
        .head(&[0, 0, 0, 0])
        .attr(CFG_CMD, &[CMD_PF_UNBIND, 0, 0, libc::AF_INET6 as u8])
        .finish();
    socket.send(&request)?;
    let mut buf = vec![0; 8192];
    let len = socket.receive(&mut buf)?;
    let errno = messages(buf.get(..len).unwrap_or_default()).find_map(|m| m.error());
    match errno {
        Some(0) => Ok(()),
        Some(libc::EPERM) => Err(NftError::Permission),
        Some(errno) if errno == Errno::EINVAL as i32 => Err(NftError::NoNfnetlinkQueue),
        Some(errno) => Err(NftError::kernel("a queue command", errno)),
        None => Err(NftError::Garbled("answer to a queue command")),
    }
}
