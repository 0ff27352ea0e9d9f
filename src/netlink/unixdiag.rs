//! Whose the Unix sockets of a name are (sock_diag). Nobody has to answer, so nobody can keep us waiting.
//!
//! ```text
//!  request: unix_diag_req, 24 octets              answer: unix_diag_msg, 16 octets, and attributes
//!   0 family  4 states (bit mask)                  0 family  1 type  2 state  4 inode  8 cookie
//!   8 inode  12 what to show  16 cookie            0 name    7 uid of its maker
//! ```

use super::NetlinkError;
use super::attr::{Request, attr, u32_at};
use super::socket::list_sockets;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// What to show, and as which attribute.
const SHOW_NAME: u32 = 1;
const SHOW_UID: u32 = 1 << 6;
const NAME: u16 = 0;
const UID: u16 = 7;
/// Bound, and listening. Connections have the name of whom they went to, too.
const STATES: u32 = 1 << 7 | 1 << 10;

/// Who made the stream sockets that are bound to an abstract name in this network namespace.
///
/// # Errors
/// When the kernel gives no list.
pub fn owners_of_name(name: &str) -> Result<Vec<u32>, NetlinkError> {
    let mut head = [0; 24];
    head[0] = libc::AF_UNIX as u8;
    head[4..8].copy_from_slice(&STATES.to_ne_bytes());
    head[12..16].copy_from_slice(&(SHOW_NAME | SHOW_UID).to_ne_bytes());
    // Of no one in particular.
    head[16..].fill(0xff);
    let request = Request::new(SOCK_DIAG_BY_FAMILY, libc::NLM_F_DUMP, 1).head(&head).finish();
    let mut found = Vec::new();
    list_sockets(&request, "list Unix sockets", |answer| found.extend(owner(answer, name)))?;
    Ok(found)
}

/// One answer, if it is about that name.
fn owner(answer: &[u8], name: &str) -> Option<u32> {
    let attrs = answer.get(16..)?;
    let stream = i32::from(*answer.get(1)?) == libc::SOCK_STREAM;
    let (zero, rest) = attr(attrs, NAME)?.split_first()?;
    (stream && *zero == 0 && rest == name.as_bytes()).then_some(u32_at(attr(attrs, UID)?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

    #[test]
    fn the_owner_of_a_name_is_found() {
        let name = format!("shim6-test-diag-{}", std::process::id());
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let _other_type = UnixDatagram::bind_addr(&addr).unwrap();
        assert_eq!(owners_of_name(&name).unwrap(), [0_u32; 0]);
        let listener = UnixListener::bind_addr(&addr).unwrap();
        let _waiting = UnixStream::connect_addr(&addr).unwrap();
        let _there = UnixStream::connect_addr(&addr).unwrap();
        let _accepted = listener.accept().unwrap();
        assert_eq!(owners_of_name(&name).unwrap(), [nix::unistd::geteuid().as_raw()]);
        assert_eq!(owners_of_name(&name[1..]).unwrap(), [0_u32; 0]);
        drop(listener);
        assert_eq!(owners_of_name(&name).unwrap(), [0_u32; 0]);
    }

    #[test]
    fn damaged_answers_are_about_nobody() {
        let mut answer = vec![1, 1, 10, 0];
        answer.extend([0; 12]);
        answer.extend([6, 0, 0, 0, 0, b'x', 0, 0, 8, 0, 7, 0, 5, 0, 0, 0]);
        assert_eq!(owner(&answer, "x"), Some(u32::from_ne_bytes([5, 0, 0, 0])));
        for cut in 0..answer.len() {
            assert_eq!(owner(&answer[..cut], "x"), None);
        }
    }
}
