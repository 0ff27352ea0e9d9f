//! The identity on disk, and what the `identity` commands do.
//!
//! ```text
//! /var/lib/shim6/            the state directory
//!   identity/                0700
//!     pds                    0600  CGA Parameters as RFC 3972, section 3, lays them out, with the first prefix in use
//!     key.pem                0600  the RSA private key, PKCS#8 in PEM, unencrypted; absent with method hba
//!     identity.toml          0600  format = 1, method = "hba-cga", sec = 0, prefixes = ["2001:db8:1:2::/64", ...]
//!   identity.old/            the identity that was replaced last, in the same form
//! ```
//!
//! The directory is replaced as a whole, in one atomic step, so that parameters and key never belong to different
//! identities. The key is used for signing locator lists and for nothing else.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv6Addr;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};
use rand::RngCore;
use serde::{Deserialize, Serialize};

use crate::addr::Prefix;
use crate::cga::pds::MAX_LEN;
use crate::cga::{
    self, GenerateError, GenerateParams, Identity, KeyError, Method, Pds, PdsError, Progress, Sec,
    SignError, SigningKey,
};

mod describe;

pub use describe::{IdentityDescription, KeyDescription, MemberDescription, VerifyReport};

/// Name of the directory inside the state directory.
const DIR: &str = "identity";
/// Where a new identity is written before it takes its place.
const NEW: &str = "identity.new";
/// Where the replaced identity stays.
const OLD: &str = "identity.old";
const PDS_FILE: &str = "pds";
const KEY_FILE: &str = "key.pem";
const META_FILE: &str = "identity.toml";
/// The only version of the layout so far.
const FORMAT: u32 = 1;
/// A private key or description longer than this is none.
const MAX_TEXT: u64 = 64 * 1024;

/// What went wrong with an identity, in which file, and what helps.
#[derive(Debug)]
pub enum IdentityError {
    /// A file or directory cannot be read.
    Read(PathBuf, io::Error),
    /// A file or directory cannot be written.
    Write(PathBuf, io::Error),
    /// A file to be written exists; it may be somebody's only copy of a key.
    Exists(PathBuf),
    /// The stored identity lacks a file.
    Incomplete(PathBuf),
    /// Others than the owner may read the private key (its mode given), so it has to count as known.
    Exposed(PathBuf, u32),
    /// The stored description cannot be read, or contradicts the parameters.
    Description(PathBuf, String),
    /// The file holds no usable CGA parameters.
    Pds(PathBuf, PdsError),
    /// The file holds no usable private key.
    Key(PathBuf, KeyError),
    /// Parameters, key and prefixes do not make an identity.
    Parts(PathBuf, cga::IdentityError),
    /// There is no identity yet.
    None(PathBuf),
    /// The identity has no private key that could be exported.
    NoKey,
    /// A new identity could not be made.
    Generate(GenerateError),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Read(path, e) => {
                write!(f, "cannot read {}: {e}{}", path.display(), remedy(e))
            }
            IdentityError::Write(path, e) => {
                write!(f, "cannot write {}: {e}{}", path.display(), remedy(e))
            }
            IdentityError::Exists(path) => write!(
                f,
                "{} exists and is not overwritten; name another file or remove it",
                path.display()
            ),
            IdentityError::Incomplete(path) => write!(
                f,
                "{} is missing from the stored identity; restore it, or make a new identity with \
                 `shim6ctl identity generate` (all addresses change)",
                path.display()
            ),
            IdentityError::Exposed(path, mode) => write!(
                f,
                "{} may be read by others (mode {mode:03o}); run `chmod 600 {}`, or make a new \
                 identity if somebody may have read it",
                path.display(),
                path.display()
            ),
            IdentityError::Description(path, why) => write!(
                f,
                "{}: {why}; restore it, or import the parameters again with `shim6ctl identity \
                 import`",
                path.display()
            ),
            IdentityError::Pds(path, e) => write!(
                f,
                "{}: {e}; the file has to hold CGA parameters in binary, as RFC 3972 lays them out",
                path.display()
            ),
            IdentityError::Key(path, e) => write!(f, "{}: {e}", path.display()),
            IdentityError::Parts(path, e) => write!(f, "{}: {e}", path.display()),
            IdentityError::None(path) => write!(
                f,
                "there is no identity in {}; make one with `shim6ctl identity generate --prefix …`",
                path.display()
            ),
            IdentityError::NoKey => {
                f.write_str("this identity has no private key to export; leave out the file for it")
            }
            IdentityError::Generate(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for IdentityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            IdentityError::Read(_, e) | IdentityError::Write(_, e) => Some(e),
            IdentityError::Pds(_, e) => Some(e),
            IdentityError::Key(_, e) => Some(e),
            IdentityError::Parts(_, e) => Some(e),
            IdentityError::Generate(e) => Some(e),
            _ => None,
        }
    }
}

/// What helps against the commonest failures of the file system.
fn remedy(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::PermissionDenied => " (run this as root)",
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::Unsupported => {
            " (choose another place with --state-dir)"
        }
        io::ErrorKind::StorageFull => " (make room and try again)",
        _ => "",
    }
}

/// `identity.toml`.
#[derive(Serialize, Deserialize)]
struct Meta {
    format: u32,
    method: String,
    sec: u8,
    prefixes: Vec<Prefix>,
}

/// Reads a file that may not be longer than `max` octets; `None` if it does not exist.
fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, IdentityError> {
    let failed = |e| IdentityError::Read(path.to_owned(), e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mut octets = Vec::new();
    file.take(max + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() as u64 > max {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "longer than it can be")));
    }
    Ok(Some(octets))
}

/// Reads a file that has to exist.
fn read_given(path: &Path, max: u64) -> Result<Vec<u8>, IdentityError> {
    let missing = || IdentityError::Read(path.to_owned(), io::ErrorKind::NotFound.into());
    read(path, max)?.ok_or_else(missing)
}

/// Reads the stored identity; `None` if there is none.
///
/// # Errors
/// A file is missing, unreadable, exposed to others or does not fit the rest; the message names the file and what
/// to do.
// req: CG-7.4-01
pub fn load(state_dir: &Path) -> Result<Option<Identity>, IdentityError> {
    let dir = state_dir.join(DIR);
    match fs::symlink_metadata(&dir) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(IdentityError::Read(dir, e)),
    }

    let path = dir.join(META_FILE);
    let text = read(&path, MAX_TEXT)?.ok_or_else(|| IdentityError::Incomplete(path.clone()))?;
    let wrong = |why: String| IdentityError::Description(path.clone(), why);
    let text = String::from_utf8(text).map_err(|_| wrong("not a text file".into()))?;
    let meta: Meta = toml::from_str(&text).map_err(|e| wrong(e.message().to_owned()))?;
    if meta.format != FORMAT {
        return Err(wrong(format!("format {} is not known to this version", meta.format)));
    }
    let method: Method = meta.method.parse().map_err(wrong)?;
    let sec =
        Sec::new(meta.sec).ok_or_else(|| wrong(format!("sec is {}, not 0 to 2", meta.sec)))?;

    let pds_path = dir.join(PDS_FILE);
    let pds = read(&pds_path, MAX_LEN as u64)?
        .ok_or_else(|| IdentityError::Incomplete(pds_path.clone()))?;
    let parsed = Pds::parse(&pds).map_err(|e| IdentityError::Pds(pds_path.clone(), e))?;
    if Method::of(&parsed) != method {
        let why = format!("method is {method}, but the parameters are of {}", Method::of(&parsed));
        return Err(wrong(why));
    }

    let key_path = dir.join(KEY_FILE);
    let key = match read(&key_path, MAX_TEXT)? {
        Some(pem) => {
            check_private(&key_path)?;
            let key = SigningKey::from_pem(&pem);
            Some(key.map_err(|e| IdentityError::Key(key_path.clone(), e))?)
        }
        // A set with a key may have been imported without it.
        None if method != Method::Cga => None,
        None => return Err(IdentityError::Incomplete(key_path)),
    };
    Identity::from_parts(&pds, key, &meta.prefixes, Some(sec))
        .map(Some)
        .map_err(|e| IdentityError::Parts(dir, e))
}

/// Refuses a private key that group or others may read.
fn check_private(path: &Path) -> Result<(), IdentityError> {
    let metadata = fs::metadata(path).map_err(|e| IdentityError::Read(path.to_owned(), e))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed(path.to_owned(), mode));
    }
    Ok(())
}

/// Writes a file of mode 0600 that must not exist, down to the disk.
fn write_new(path: &Path, octets: &[u8]) -> Result<(), IdentityError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(octets)?;
        file.sync_all()
    };
    write().map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => IdentityError::Exists(path.to_owned()),
        _ => IdentityError::Write(path.to_owned(), e),
    })
}

/// Removes a directory, if it is there.
fn remove(dir: &Path) -> Result<(), IdentityError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(IdentityError::Write(dir.to_owned(), e))
        }
        _ => Ok(()),
    }
}

/// Stores an identity; the one before it, if any, is kept as `identity.old`.
///
/// The state directory is made (0700) if it does not exist. After a crash at any moment [`load`] finds either the old
/// identity or the new one.
///
/// # Errors
/// The file system refuses; nothing has changed then.
// req: CG-7.4-01
pub fn store(state_dir: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |e: io::Error| IdentityError::Write(path, e)
    };
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(at(state_dir))?;
    let parent = File::open(state_dir).map_err(at(state_dir))?;
    // The daemon and the command line may both want to store.
    let parent = Flock::lock(parent, FlockArg::LockExclusive)
        .map_err(|(_, e)| IdentityError::Write(state_dir.to_owned(), e.into()))?;

    let (dir, new, old) = (state_dir.join(DIR), state_dir.join(NEW), state_dir.join(OLD));
    remove(&new)?;
    DirBuilder::new().mode(0o700).create(&new).map_err(at(&new))?;
    let meta = Meta {
        format: FORMAT,
        method: identity.method().to_string(),
        sec: identity.sec().value(),
        prefixes: identity.prefixes().to_vec(),
    };
    let meta = toml::to_string(&meta)
        .map_err(|e| IdentityError::Description(new.join(META_FILE), e.to_string()))?;
    write_new(&new.join(META_FILE), meta.as_bytes())?;
    write_new(&new.join(PDS_FILE), identity.pds().as_bytes())?;
    if let Some(key) = identity.key() {
        let path = new.join(KEY_FILE);
        let pem = key.to_pem().map_err(|e| IdentityError::Key(path.clone(), e))?;
        write_new(&path, &pem)?;
    }
    File::open(&new).and_then(|d| d.sync_all()).map_err(at(&new))?;

    let swapped = exchange(&new, &dir).map_err(at(&dir))?;
    if swapped {
        // What was replaced now has the name of the new one.
        remove(&old)?;
        fs::rename(&new, &old).map_err(at(&old))?;
    }
    parent.sync_all().map_err(at(state_dir))
}

/// Puts `new` in the place of `dir` in one step. Says whether there was something in that place; it is now at `new`.
fn exchange(new: &Path, dir: &Path) -> io::Result<bool> {
    if matches!(fs::symlink_metadata(dir), Err(e) if e.kind() == io::ErrorKind::NotFound) {
        return fs::rename(new, dir).map(|()| false);
    }
    match renameat2(AT_FDCWD, new, AT_FDCWD, dir, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this file system cannot exchange directories in one step",
        )),
        Err(e) => Err(e.into()),
    }
}

/// Makes and stores a new identity.
///
/// `progress` gets a line now and then: for a long search one for each thousandth of the expected work. Setting `stop`
/// ends the work within milliseconds, and nothing is stored.
///
/// Where the crypto policy of the host forbids the signatures that the method needs, the identity is made with method
/// `hba` instead; `progress` is told, and the result's method shows it.
///
/// # Errors
/// [`IdentityError::Generate`], or those of [`store`].
// req: CG-7.1-01, HB-8.1-02
pub fn generate(
    state_dir: &Path,
    params: GenerateParams,
    rng: &mut dyn RngCore,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<Identity, IdentityError> {
    let mut attempt = |params: GenerateParams, progress: &mut dyn FnMut(&str)| {
        let mut shown = None;
        Identity::generate(params, rng, &mut |step| {
            let mark = match step {
                Progress::GeneratingKey { .. } => 0,
                Progress::Searching { tried, expected } => {
                    1 + tried.saturating_mul(1000) / expected
                }
            };
            if shown.replace(mark) != Some(mark) {
                progress(&line(step));
            }
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    };
    let made = match attempt(params.clone(), progress) {
        Err(e) => match without_signatures(&params, &e) {
            Some(params) => {
                progress(&format!("{e}; making an identity with method hba instead"));
                attempt(params, progress)
            }
            None => Err(e),
        },
        made => made,
    };
    let identity = made.map_err(IdentityError::Generate)?;
    store(state_dir, &identity)?;
    Ok(identity)
}

/// The same identity for other prefixes, where nothing in it is bound to those of before: a CGA needs no new key and no
/// new search. `None` if it is of another kind than what is asked for.
// req: CG-4-03
pub fn moved(old: &Identity, asked: (Method, Sec), prefixes: &[Prefix]) -> Option<Identity> {
    let fits = old.method() == Method::Cga && asked == (Method::Cga, old.sec());
    fits.then(|| old.with_prefixes(prefixes).ok()).flatten()
}

/// What to make instead, if an identity could not be made because the host forbids SHA-1 signatures.
pub fn without_signatures(
    params: &GenerateParams,
    error: &GenerateError,
) -> Option<GenerateParams> {
    (*error == GenerateError::Sign(SignError::Sha1Forbidden)).then(|| GenerateParams {
        method: Method::Hba,
        key: None,
        ..params.clone()
    })
}

/// A step of the work in words.
fn line(step: Progress) -> String {
    match step {
        Progress::GeneratingKey { bits } => format!("making an RSA key of {bits} bits"),
        Progress::Searching { tried, expected } => {
            let done = tried as f64 / expected as f64;
            let chance = 100.0 * (1.0 - (-done).exp());
            format!(
                "searching: {tried} hashes of about {expected}; chance to be done by now {chance:.1} %"
            )
        }
    }
}

/// Takes over an identity from files and stores it.
///
/// `prefixes` are those to use; if empty, those that the parameters name (see [`Identity::from_parts`]).
///
/// # Errors
/// A file cannot be read, its contents do not fit together, or storing fails.
pub fn import(
    state_dir: &Path,
    pds: &Path,
    key: Option<&Path>,
    prefixes: &[Prefix],
) -> Result<Identity, IdentityError> {
    let octets = read_given(pds, MAX_LEN as u64)?;
    Pds::parse(&octets).map_err(|e| IdentityError::Pds(pds.to_owned(), e))?;
    let key = match key {
        Some(path) => {
            let pem = read_given(path, MAX_TEXT)?;
            let key = SigningKey::from_pem(&pem);
            Some(key.map_err(|e| IdentityError::Key(path.to_owned(), e))?)
        }
        None => None,
    };
    let identity = Identity::from_parts(&octets, key, prefixes, None)
        .map_err(|e| IdentityError::Parts(pds.to_owned(), e))?;
    store(state_dir, &identity)?;
    Ok(identity)
}

/// Copies the stored identity's parameters, and its private key if asked for, into new files of mode 0600.
///
/// # Errors
/// There is no identity or no key, or a file exists or cannot be written.
// req: CG-7.4-01
pub fn export(
    state_dir: &Path,
    out_pds: &Path,
    out_key: Option<&Path>,
) -> Result<Identity, IdentityError> {
    let identity = load(state_dir)?.ok_or_else(|| IdentityError::None(state_dir.join(DIR)))?;
    let pem = match out_key {
        Some(path) => {
            let key = identity.key().ok_or(IdentityError::NoKey)?;
            let pem = key.to_pem().map_err(|e| IdentityError::Key(path.to_owned(), e))?;
            Some((path, pem))
        }
        None => None,
    };
    // Of two files neither is written if one of them exists.
    for path in [Some(out_pds), out_key].into_iter().flatten() {
        if fs::symlink_metadata(path).is_ok() {
            return Err(IdentityError::Exists(path.to_owned()));
        }
    }
    write_new(out_pds, identity.pds().as_bytes())?;
    if let Some((path, pem)) = pem {
        write_new(path, &pem)?;
    }
    Ok(identity)
}

/// Whether an address is bound to the parameters in a file, and how.
///
/// # Errors
/// The file cannot be read or holds no CGA parameters.
pub fn verify(pds: &Path, address: Ipv6Addr) -> Result<VerifyReport, IdentityError> {
    let octets = read_given(pds, MAX_LEN as u64)?;
    let pds = Pds::parse(&octets).map_err(|e| IdentityError::Pds(pds.to_owned(), e))?;
    Ok(VerifyReport::new(&pds, address))
}

/// An identity for people and programs to read; the private key is not part of it.
pub fn describe(identity: &Identity) -> IdentityDescription {
    IdentityDescription::new(identity)
}

#[cfg(test)]
mod tests;
