//! Update Requests and Acknowledgements (RFC 5533, 10).

use crate::addr::RequestNonce;
use crate::proto::Time;

/// An Update Request that is out, or wanted.
#[derive(Clone, Debug)]
pub struct Update {
    /// Request Nonce, the same for all retransmissions.
    pub nonce: RequestNonce,
    /// The message carries the locator list.
    pub list: bool,
    /// It carries preferences.
    pub preferences: bool,
    /// It carries PDS and signature even if the peer should know the PDS.
    pub full: bool,
    /// It carries the Keepalive Timeout option.
    pub keepalive_timeout: bool,
    /// Transmissions so far.
    pub tries: u32,
    /// When to send (again).
    pub timer: Time,
    /// How often an Error made us ask anew.
    pub corrections: u32,
}
