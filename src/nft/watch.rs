//! Notices when somebody touches our table: `nft flush ruleset` takes it along with everything else.

use tokio::io::unix::AsyncFd;

use super::transaction::{FAMILY_IP6, SUBSYS_NFTABLES};
use super::{NftError, TABLE_C};
use crate::netlink::attr::{attr, messages};
use crate::netlink::socket::{NlSocket, Protocol};

/// The multicast group of nf_tables' events, as the bit of a bind address.
const GROUP_NFTABLES: u32 = 1 << (7 - 1);

/// What happened to our table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Change {
    /// Chains, rules or sets came or went. What happens to the elements of sets does not count.
    Touched,
    /// Events were lost, so anything may have happened.
    Lost,
    /// The table was deleted.
    Deleted,
}

/// A subscription to nf_tables' events in the network namespace of the thread that opened it.
///
/// Our own installations are reported too: after each change call [`verify`](super::verify), and
/// [`install`](super::install) only if the answer is not [`Intact`](super::Presence::Intact).
pub struct RuleWatch {
    socket: AsyncFd<NlSocket>,
    buf: Vec<u8>,
}

impl RuleWatch {
    /// Subscribes. Must be called within a tokio run time.
    ///
    /// # Errors
    /// [`NftError::Io`] if the socket cannot be had.
    pub fn open() -> Result<RuleWatch, NftError> {
        let socket = NlSocket::open(Protocol::Netfilter, GROUP_NFTABLES)?;
        Ok(RuleWatch { socket: socket.into_async()?, buf: vec![0; 1 << 16] })
    }

    /// Waits until somebody touches our table; several events at once count as the gravest of them.
    ///
    /// Cancel-safe: an event that was read is never lost.
    ///
    /// # Errors
    /// [`NftError::Io`] if the socket fails.
    pub async fn changed(&mut self) -> Result<Change, NftError> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut worst = None;
            loop {
                match ready.get_inner().try_receive(&mut self.buf) {
                    Ok(Some(len)) => {
                        let octets = self.buf.get(..len).unwrap_or_default();
                        worst = worst.max(messages(octets).filter_map(concerns_us).max());
                    }
                    Ok(None) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                        worst = worst.max(Some(Change::Lost));
                    }
                    Err(e) => return Err(e.into()),
                }
            }
            if let Some(change) = worst {
                return Ok(change);
            }
        }
    }
}

fn concerns_us(message: crate::netlink::attr::Message<'_>) -> Option<Change> {
    const NAME_OF_TABLE: u16 = 1;
    if message.kind >> 8 != SUBSYS_NFTABLES || message.payload.first() != Some(&FAMILY_IP6) {
        return None;
    }
    let change = match i32::from(message.kind & 0xff) {
        libc::NFT_MSG_DELTABLE => Change::Deleted,
        libc::NFT_MSG_NEWTABLE
        | libc::NFT_MSG_NEWCHAIN
        | libc::NFT_MSG_DELCHAIN
        | libc::NFT_MSG_NEWRULE
        | libc::NFT_MSG_DELRULE
        | libc::NFT_MSG_NEWSET
        | libc::NFT_MSG_DELSET => Change::Touched,
        _ => return None,
    };
    let table = attr(message.payload.get(4..)?, NAME_OF_TABLE)?;
    (table == TABLE_C.to_bytes_with_nul()).then_some(change)
}
