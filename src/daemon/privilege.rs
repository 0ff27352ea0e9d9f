//! Least power: after start the daemon keeps CAP_NET_ADMIN and CAP_NET_RAW and nothing else, under a user of its own
//! where the host has one.

use caps::{CapSet, Capability, CapsHashSet};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Gid, Uid, User};
use std::fmt;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
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
    }
    nix::sys::prctl::set_no_new_privs().map_err(|e| refused("no_new_privs", &e))?;
    // Before the account changes: that empties the effective set. A service manager may have kept CAP_SETPCAP from us;
    // then the bounding set stays as it is, and no_new_privs alone keeps programs from giving what is in it.
    let bound = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)
        .map_err(|e| refused("capabilities", &e))?;
    if bound {
        for cap in beyond(&needed)? {
            caps::drop(None, CapSet::Bounding, cap).map_err(|e| refused("bounding set", &e))?;
        }
    }
    if let Some(user) = &account {
        caps::securebits::set_keepcaps(true).map_err(|e| refused("keepcaps", &e))?;
        nix::unistd::setgroups(&[user.gid]).map_err(|e| refused("setgroups", &e))?;
        nix::unistd::setresgid(user.gid, user.gid, user.gid).map_err(|e| refused("setgid", &e))?;
        nix::unistd::setresuid(user.uid, user.uid, user.uid).map_err(|e| refused("setuid", &e))?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        caps::clear(None, set).map_err(|e| refused("capabilities", &e))?;
    }
    caps::set(None, CapSet::Effective, &needed).map_err(|e| refused("capabilities", &e))?;
    caps::set(None, CapSet::Permitted, &needed).map_err(|e| refused("capabilities", &e))?;
    prove(&needed, account.is_some(), bound)?;
    Ok(account.map(|u| u.name))
}

/// What of the bounding set is not needed.
fn beyond(needed: &CapsHashSet) -> Result<CapsHashSet, PrivilegeError> {
    let bounding = caps::read(None, CapSet::Bounding)
        .map_err(|e| PrivilegeError::Refused(format!("bounding set: {e}")))?;
    Ok(bounding.difference(needed).copied().collect())
}

/// Tries to take back what was given up, and looks whether a program could give it back.
fn prove(needed: &CapsHashSet, changed_user: bool, bound: bool) -> Result<(), PrivilegeError> {
    let mut more = needed.clone();
    more.insert(Capability::CAP_SYS_ADMIN);
    if caps::set(None, CapSet::Permitted, &more).is_ok() {
        return Err(PrivilegeError::CameBack);
    }
    if changed_user && nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(PrivilegeError::CameBack);
    }
    let kept = nix::sys::prctl::get_no_new_privs()
        .map_err(|e| PrivilegeError::Refused(format!("no_new_privs: {e}")))?;
    if !kept || bound && !beyond(needed)?.is_empty() {
        return Err(PrivilegeError::CameBack);
    }
    Ok(())
}

/// Whether a user is one that this daemon trusts: root, the account [`USER`], or whoever runs it. Each of them could keep
/// it from running anyway.
pub fn may_be_a_daemon(user: u32) -> bool {
    let account = || User::from_name(USER).ok().flatten().map(|u| u.uid.as_raw());
    user == 0 || user == Uid::effective().as_raw() || Some(user) == account()
}

/// Whether nobody but root and the daemon's own account can change what is in a directory: otherwise files that the
/// daemon reads or makes there could be somebody else's.
///
/// # Errors
/// Why not, and what helps.
pub fn check_directory(dir: &Path) -> Result<(), String> {
    let show = dir.display();
    let meta = fs::metadata(dir).map_err(|e| format!("{show}: {e}"))?;
    let owner = meta.uid();
    if !may_be_a_daemon(owner) {
        return Err(format!(
            "{show} belongs to user {owner}, who could exchange files in it: give it to root (chown \
             root {show}), or name another directory"
        ));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!(
            "{show} can be written by others: run chmod go-w {show}, or name another directory"
        ));
    }
    Ok(())
}

/// How deep directories of ours are nested at most.
const DEPTH: u32 = 3;

/// Gives a directory and the files in it to an account. The account may have had it before, so nothing in it is trusted:
/// neither symbolic links nor files with other names elsewhere are touched, whoever exchanges them meanwhile.
fn hand_over(dir: &Path, uid: Uid, gid: Gid) -> Result<(), nix::Error> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    hand_over_open(&nix::fcntl::open(dir, flags, Mode::empty())?, dir, (uid, gid), DEPTH)
}

fn hand_over_open(
    dir: &OwnedFd,
    path: &Path,
    to: (Uid, Gid),
    depth: u32,
) -> Result<(), nix::Error> {
    nix::unistd::fchown(dir, Some(to.0), Some(to.1))?;
    // Names only: each is opened relative to the directory that is open.
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries.flatten() {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let name = entry.file_name();
        // Sockets and symbolic links cannot be opened so.
        let Ok(fd) = nix::fcntl::openat(dir, name.as_os_str(), flags, Mode::empty()) else {
            continue;
        };
        let stat = nix::sys::stat::fstat(&fd)?;
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG if stat.st_nlink == 1 => {
                nix::unistd::fchown(&fd, Some(to.0), Some(to.1))?;
            }
            SFlag::S_IFDIR if depth > 0 => {
                hand_over_open(&fd, &path.join(&name), to, depth - 1)?;
            }
            _ => {}
        }
    }
    Ok(())
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
            assert_eq!(caps::read(None, CapSet::Bounding).unwrap(), NEEDED.into_iter().collect());
            assert!(nix::sys::prctl::get_no_new_privs().unwrap());
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

    fn is_root() -> bool {
        let root = Uid::effective().is_root();
        if !root {
            println!("SKIP: needs root");
            assert!(std::env::var_os("SHIM6_EXPECT_ALL").is_none(), "root was expected");
        }
        root
    }

    #[test]
    fn only_files_of_the_directory_itself_are_handed_over() {
        if !is_root() {
            return;
        }
        let base = tempfile::tempdir().unwrap();
        let (ours, theirs) = (base.path().join("state"), base.path().join("shadow"));
        fs::create_dir_all(ours.join("identity")).unwrap();
        for file in [&theirs, &ours.join("plain"), &ours.join("identity/key.pem")] {
            fs::write(file, "x").unwrap();
        }
        std::os::unix::fs::symlink(&theirs, ours.join("link")).unwrap();
        std::os::unix::fs::symlink(base.path(), ours.join("directory")).unwrap();
        fs::hard_link(&theirs, ours.join("name")).unwrap();
        let (uid, gid) = (Uid::from_raw(54_321), Gid::from_raw(54_322));
        hand_over(&ours, uid, gid).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        for given in [&ours, &ours.join("plain"), &ours.join("identity/key.pem")] {
            assert_eq!(owner(given), 54_321, "{}", given.display());
        }
        assert_eq!((owner(&theirs), owner(base.path())), (0, 0));
    }

    #[test]
    fn directories_that_others_can_change_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check_directory(dir.path()), Ok(()));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(check_directory(dir.path()).unwrap_err().contains("go-w"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(check_directory(&dir.path().join("missing")).is_err());
        if is_root() {
            std::os::unix::fs::chown(dir.path(), Some(54_321), None).unwrap();
            assert!(check_directory(dir.path()).unwrap_err().contains("54321"));
        }
    }
}
