//! Least power: after start the daemon keeps CAP_NET_ADMIN and CAP_NET_RAW and nothing else, under a user of its own
//! where the host has one.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, User};
use std::fmt;
use std::path::Path;

/// The account that the daemon runs as if it exists.
pub const USER: &str = "shim6";

/// Why privileges are missing or could not be given up.
#[derive(Debug)]
pub enum PrivilegeError {
    /// A capability is missing.
    Missing(Capability),
    /// The operating system refused a step.
    Refused(String),
    /// Privileges were given up, yet could be taken back.
    CameBack,
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivilegeError::Missing(cap) => write!(
                f,
                "{cap} is missing: start shim6d as root, or give it CAP_NET_ADMIN and CAP_NET_RAW \
                 (AmbientCapabilities= in its unit file)"
            ),
            PrivilegeError::Refused(what) => write!(f, "cannot give up privileges: {what}"),
            PrivilegeError::CameBack => {
                f.write_str("privileges were given up but could be taken back: refusing to run")
            }
        }
    }
}

impl std::error::Error for PrivilegeError {}

/// What the daemon needs for as long as it runs: rules, addresses, routes, queues; raw sockets.
const NEEDED: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];

/// Says whether everything that the daemon needs is there.
pub fn check() -> Result<(), PrivilegeError> {
    for cap in NEEDED {
        let held = caps::has_cap(None, CapSet::Effective, cap)
            .map_err(|e| PrivilegeError::Refused(e.to_string()))?;
        if !held {
            return Err(PrivilegeError::Missing(cap));
        }
    }
    Ok(())
}

/// Gives up everything that is not needed, and proves that it cannot be had back. `owned` are directories which the
/// daemon goes on writing to; they are handed to the account. Must run before any thread starts.
///
/// Without the account [`USER`] the daemon stays root by number, with two capabilities only.
pub fn drop_all_but_network(owned: &[&Path]) -> Result<Option<String>, PrivilegeError> {
    let refused =
        |what: &str, e: &dyn fmt::Display| PrivilegeError::Refused(format!("{what}: {e}"));
    let needed: CapsHashSet = NEEDED.into_iter().collect();
    let account = if Uid::effective().is_root() {
        User::from_name(USER).map_err(|e| refused("user shim6", &e))?
    } else {
        None
    };
    if let Some(user) = &account {
        for dir in owned {
            hand_over(dir, user.uid, user.gid).map_err(|e| refused("chown", &e))?;
        }
        caps::securebits::set_keepcaps(true).map_err(|e| refused("keepcaps", &e))?;
        nix::unistd::setgroups(&[user.gid]).map_err(|e| refused("setgroups", &e))?;
        nix::unistd::setresgid(user.gid, user.gid, user.gid).map_err(|e| refused("setgid", &e))?;
        nix::unistd::setresuid(user.uid, user.uid, user.uid).map_err(|e| refused("setuid", &e))?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        caps::clear(None, set).map_err(|e| refused("capabilities", &e))?;
    }
    // The bounding set needs CAP_SETPCAP, which a service manager may have kept from us: then it is empty anyway.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for cap in caps::all() {
            if !needed.contains(&cap) {
                let _ = caps::drop(None, CapSet::Bounding, cap);
            }
        }
    }
    caps::set(None, CapSet::Effective, &needed).map_err(|e| refused("capabilities", &e))?;
    caps::set(None, CapSet::Permitted, &needed).map_err(|e| refused("capabilities", &e))?;
    prove(&needed, account.is_some())?;
    Ok(account.map(|u| u.name))
}

/// Tries to take back what was given up.
fn prove(needed: &CapsHashSet, changed_user: bool) -> Result<(), PrivilegeError> {
    let mut more = needed.clone();
    more.insert(Capability::CAP_SYS_ADMIN);
    if caps::set(None, CapSet::Permitted, &more).is_ok() {
        return Err(PrivilegeError::CameBack);
    }
    if changed_user && nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(PrivilegeError::CameBack);
    }
    Ok(())
}

fn hand_over(dir: &Path, uid: Uid, gid: Gid) -> Result<(), nix::Error> {
    nix::unistd::chown(dir, Some(uid), Some(gid))?;
    if let Ok(entries) = std::fs::read_dir(dir) {
        for entry in entries.flatten() {
            // Symbolic links are not followed out of the directory.
            let plain = entry.file_type().is_ok_and(|t| t.is_file() || t.is_dir());
            if plain {
                hand_over_one(&entry.path(), uid, gid)?;
            }
        }
    }
    Ok(())
}

fn hand_over_one(path: &Path, uid: Uid, gid: Gid) -> Result<(), nix::Error> {
    if path.is_dir() {
        return hand_over(path, uid, gid);
    }
    nix::unistd::chown(path, Some(uid), Some(gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The drop itself is irreversible, so it runs in a child of its own.
    #[test]
    fn privileges_given_up_stay_given_up() {
        if std::env::var_os("SHIM6_TEST_DROP").is_some() {
            drop_all_but_network(&[]).unwrap();
            assert!(check().is_ok(), "the two that are needed are still there");
            assert!(!caps::has_cap(None, CapSet::Permitted, Capability::CAP_SYS_ADMIN).unwrap());
            println!("dropped");
            std::process::exit(0);
        }
        if !Uid::effective().is_root() {
            println!("SKIP: needs root");
            assert!(
                std::env::var_os("SHIM6_EXPECT_ALL").is_none(),
                "skipped where root was expected"
            );
            return;
        }
        let me = std::env::current_exe().unwrap();
        let out = Command::new(me)
            .args([
                "--exact",
                "daemon::privilege::tests::privileges_given_up_stay_given_up",
                "--nocapture",
            ])
            .env("SHIM6_TEST_DROP", "1")
            .output()
            .unwrap();
        assert!(
            out.status.success() && String::from_utf8_lossy(&out.stdout).contains("dropped"),
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
