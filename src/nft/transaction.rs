//! One batch of changes, sent and acknowledged as a whole, and lists read from the kernel.

use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;

use nftnl::{
    Batch, Chain, ChainType, FinalizedBatch, Hook, MsgType, Policy, ProtoFamily, Rule, Table,
};
use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::error::NftError;
use super::spec::{ChainHook, ChainSpec, QueueKind};
use super::{expr, passing};
use crate::netlink::attr::{Request, messages};

/// The nf_tables subsystem of nfnetlink.
pub(super) const SUBSYS_NFTABLES: u16 = 10;
/// NFPROTO_IPV6, the family of our table.
pub(super) const FAMILY_IP6: u8 = 10;
/// How long a list may take; the kernel answers at once.
const ANSWER_SECONDS: i64 = 5;
const BUFFER: usize = 1 << 17;

/// Changes that the kernel makes all or none of.
pub(super) struct Transaction {
    batch: Batch,
    /// What each message is about, in order.
    labels: Vec<String>,
}

impl Transaction {
    pub fn new() -> Transaction {
        Transaction { batch: Batch::new(), labels: Vec::new() }
    }

    pub fn add_table(&mut self, name: &CStr) -> Table {
        let table = Table::new(name, ProtoFamily::Ipv6);
        self.batch.add(&table, MsgType::Add);
        self.labels.push(format!("table {}", name.to_string_lossy()));
        table
    }

    pub fn delete_table(&mut self, name: &CStr) {
        self.batch.add(&Table::new(name, ProtoFamily::Ipv6), MsgType::Del);
        self.labels.push(format!("deletion of table {}", name.to_string_lossy()));
    }

    /// The set of signs of life with its first element.
    pub fn add_alive_set(&mut self, table: &Table) {
        let set = expr::alive_set(table);
        self.batch.add(&set, MsgType::Add);
        self.labels.push("set alive".into());
        for message in set.elems_iter() {
            self.batch.add(&message, MsgType::Add);
            self.labels.push("element of set alive".into());
        }
    }

    /// The set of pairs that pass, empty.
    pub fn add_passing_set(&mut self, table: &Table) {
        self.batch.add(&passing::set(table), MsgType::Add);
        self.labels.push("set passing".into());
    }

    /// A chain that no hook leads to.
    pub fn add_loose_chain<'t>(&mut self, table: &'t Table, name: &CStr) -> Chain<'t> {
        let chain = Chain::new(name, table);
        self.batch.add(&chain, MsgType::Add);
        self.labels.push(format!("chain {}", name.to_string_lossy()));
        chain
    }

    pub fn add_rule(&mut self, rule: &Rule<'_>, label: &str) {
        self.batch.add(rule, MsgType::Add);
        self.labels.push(format!("rule \"{label}\""));
    }

    /// A chain with all its rules.
    pub fn add_chain(
        &mut self,
        table: &Table,
        spec: &ChainSpec,
        kind: QueueKind,
    ) -> Result<(), NftError> {
        let name = CString::new(spec.name).map_err(|_| NftError::BadSpec("chain name"))?;
        let mut chain = Chain::new(&name, table);
        let hook = match spec.hook {
            ChainHook::Prerouting => Hook::PreRouting,
            ChainHook::Input => Hook::In,
            ChainHook::Output => Hook::Out,
        };
        chain.set_type(ChainType::Filter);
        chain.set_hook(hook, spec.priority);
        chain.set_policy(Policy::Accept);
        self.batch.add(&chain, MsgType::Add);
        self.labels.push(format!("chain {}", spec.name));
        for line in &spec.rules {
            let mut rule = Rule::new(&chain);
            expr::add_line(&mut rule, line, kind);
            let comment = CString::new(line.comment).map_err(|_| NftError::BadSpec("comment"))?;
            rule.set_comment(&comment).map_err(NftError::BadSpec)?;
            self.add_rule(&rule, line.comment);
        }
        Ok(())
    }

    /// Ends the batch without sending it.
    pub fn finish(self) -> (FinalizedBatch, Vec<String>) {
        (self.batch.finalize(), self.labels)
    }

    /// Sends the batch; `Ok` means that the kernel acknowledged every message of it.
    pub fn commit(self) -> Result<(), NftError> {
        let (batch, labels) = self.finish();
        let socket = open()?;
        if let Err(e) = socket.send_all(&batch) {
            return Err(e.into());
        }
        // The kernel works through a batch while it is being sent, so all answers are there already.
        let seqs = batch.sequence_numbers();
        let span = seqs.end.saturating_sub(seqs.start) as usize;
        // Newer kernels acknowledge the batch's begin and end as well, which then have numbers of their own.
        let first = if span > labels.len() { seqs.start + 1 } else { seqs.start };
        let mut acked = vec![false; labels.len()];
        let mut refused: Option<NftError> = None;
        let mut buf = vec![0; BUFFER];
        loop {
            let len = match socket::recv(socket.as_raw_fd(), &mut buf, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => len,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(NftError::Io(e.into())),
            };
            for message in messages(buf.get(..len).unwrap_or_default()) {
                let Some(errno) = message.error() else { continue };
                let place = message.seq.checked_sub(first).map(|i| i as usize);
                if errno == 0 {
                    if let Some(seen) = place.and_then(|i| acked.get_mut(i)) {
                        *seen = true;
                    }
                } else if refused.is_none() {
                    let what =
                        place.and_then(|i| labels.get(i)).map_or("the batch", String::as_str);
                    refused = Some(NftError::kernel(what, errno));
                }
            }
        }
        match refused {
            Some(e) => Err(e),
            None if acked.iter().all(|&a| a) => Ok(()),
            None => Err(NftError::Garbled("acknowledgement of a batch")),
        }
    }
}

fn open() -> Result<mnl::Socket, NftError> {
    Ok(mnl::Socket::new(mnl::Bus::Netfilter)?)
}

/// Asks for all objects of one kind in family ip6, narrowed to a table by attribute 1, and gives the payload of
/// each (behind nfnetlink's own 4 octets) to `each`.
pub(super) fn list(
    get: i32,
    table: &CStr,
    what: &'static str,
    mut each: impl FnMut(&[u8]),
) -> Result<(), NftError> {
    const SEQ: u32 = 1;
    let socket = open()?;
    socket::setsockopt(
        &borrow(&socket),
        sockopt::ReceiveTimeout,
        &TimeVal::seconds(ANSWER_SECONDS),
    )
    .map_err(|e| NftError::Io(e.into()))?;
    let request = Request::new(SUBSYS_NFTABLES << 8 | get as u16, libc::NLM_F_DUMP, SEQ)
        .head(&[FAMILY_IP6, 0, 0, 0])
        .attr(1, table.to_bytes_with_nul())
        .finish();
    socket.send(&request)?;
    let mut buf = vec![0; BUFFER];
    loop {
        let len = match socket::recv(socket.as_raw_fd(), &mut buf, MsgFlags::empty()) {
            Ok(len) => len,
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(NftError::Io(e.into())),
        };
        for message in messages(buf.get(..len).unwrap_or_default()) {
            match message.error() {
                Some(0) | None => {}
                Some(errno) => return Err(NftError::kernel(format!("list of {what}"), errno)),
            }
            if i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0 {
                return Err(NftError::kernel(format!("list of {what}"), libc::EINTR));
            }
            if message.is_done() {
                return Ok(());
            }
            if message.seq == SEQ && message.kind >> 8 == SUBSYS_NFTABLES {
                each(message.payload.get(4..).unwrap_or_default());
            }
        }
    }
}

#[allow(unsafe_code)]
fn borrow(socket: &mnl::Socket) -> std::os::fd::BorrowedFd<'_> {
    // SAFETY: the descriptor stays open as long as the socket, whose lifetime the result carries.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}
