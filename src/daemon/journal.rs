//! The context journal: what a restarted daemon needs to go on where the last one stopped.
//!
//! A file of records, each appended in one write and checked by a digest; compacted by an atomic rename. It belongs to
//! one boot of one network namespace and is worth nothing ten minutes after its last sign of life. Whatever is wrong
//! with it, reading never fails: records from the first bad one on do not exist.
//!
//! ```text
//! record:  length u32 | kind u8 | id u64 | time u64 | payload … | digest (8 octets of SHA-256 over all before it)
//!          (big endian; length counts kind, id, time and payload)
//! kinds:   0 header, payload = what the journal is bound to
//!          1 put, payload = the saved context     2 drop     3 alive
//! ```

use crate::proto::Time;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A journal whose last sign of life is older counts as empty.
pub const MAX_AGE: Duration = Duration::from_secs(600);

/// Larger files are not read at all.
const MAX_FILE: u64 = 1 << 30;
/// Larger records are a sign of corruption.
const MAX_RECORD: usize = 1 << 20;
const FIXED: usize = 1 + 8 + 8;
const DIGEST: usize = 8;

const HEADER: u8 = 0;
const PUT: u8 = 1;
const DROP: u8 = 2;
const ALIVE: u8 = 3;

/// What a journal belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Inode of the network namespace. The kernel gives it to another one when this one is gone.
    pub netns: u64,
    /// Cookie of the network namespace, never given twice in one boot; 0 if this kernel has none.
    pub cookie: u64,
}

impl Binding {
    /// That of this process.
    pub fn current() -> io::Result<Binding> {
        use std::os::unix::fs::MetadataExt;
        Ok(Binding {
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            netns: fs::metadata("/proc/self/ns/net")?.ino(),
            cookie: super::sockets::descriptor::own_netns().unwrap_or(0),
        })
    }

    fn payload(&self) -> Vec<u8> {
        format!("shim6 journal 2 {} {} {}", self.boot_id, self.netns, self.cookie).into_bytes()
    }
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Absent until the journal begins: what an earlier daemon left stays until its contexts are taken over.
    file: Option<File>,
    binding: Binding,
    live: BTreeMap<u64, (u64, Vec<u8>)>,
    /// Octets that the records of `live` take.
    live_octets: usize,
    written: usize,
}

impl Journal {
    /// Opens the journal at `path` and reads what an earlier daemon left for the same binding: the saved contexts are
    /// the second value. Nothing is written before [`Journal::begin`], so that a daemon that fails to start loses
    /// nothing.
    pub fn open(path: &Path, binding: Binding, now: Time) -> io::Result<(Journal, Vec<Vec<u8>>)> {
        let old = match fs::metadata(path) {
            Ok(meta) if meta.len() <= MAX_FILE => fs::read(path)?,
            Ok(_) => Vec::new(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let saved = replay(&old, &binding, now).into_values().map(|(_, bytes)| bytes).collect();
        let journal = Journal {
            path: path.to_owned(),
            file: None,
            binding,
            live: BTreeMap::new(),
            live_octets: 0,
            written: 0,
        };
        Ok((journal, saved))
    }

    /// Replaces the file by one with the contexts put so far. Ids of the old engine mean nothing to the new one: what
    /// was saved has to be put again before this.
    pub fn begin(&mut self, now: Time) -> io::Result<()> {
        let (file, written) = fresh(&self.path, &self.binding, &self.live, now)?;
        self.file = Some(file);
        self.written = written;
        Ok(())
    }

    /// Saves or replaces a context.
    pub fn put(&mut self, id: u64, now: Time, bytes: Vec<u8>) -> io::Result<()> {
        if self.live.get(&id).is_some_and(|(_, old)| *old == bytes) {
            return Ok(());
        }
        self.append(PUT, id, now, &bytes)?;
        self.live_octets += octets(&bytes);
        if let Some((_, old)) = self.live.insert(id, (now.nanos(), bytes)) {
            self.live_octets -= octets(&old);
        }
        self.compact_if_due(now)
    }

    /// Forgets a context.
    pub fn remove(&mut self, id: u64, now: Time) -> io::Result<()> {
        let Some((_, old)) = self.live.remove(&id) else { return Ok(()) };
        self.live_octets -= octets(&old);
        self.append(DROP, id, now, &[])?;
        self.compact_if_due(now)
    }

    /// Leaves a sign of life; wanted at least every few minutes.
    pub fn alive(&mut self, now: Time) -> io::Result<()> {
        self.append(ALIVE, 0, now, &[])?;
        self.compact_if_due(now)
    }

    /// Contexts that a restart would find.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether a restart would find nothing.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Removes the file: the daemon stops for good and leaves nothing behind.
    pub fn delete(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    fn append(&mut self, kind: u8, id: u64, now: Time, payload: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let bytes = record(kind, id, now.nanos(), payload);
        self.written += bytes.len();
        file.write_all(&bytes)
    }

    /// Rewrites the file once it is mostly history.
    fn compact_if_due(&mut self, now: Time) -> io::Result<()> {
        if self.written < 64 * 1024 || self.written < 4 * self.live_octets {
            return Ok(());
        }
        self.begin(now)
    }
}

/// Octets of a record with this payload.
fn octets(payload: &[u8]) -> usize {
    4 + FIXED + payload.len() + DIGEST
}

fn record(kind: u8, id: u64, time: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + FIXED + payload.len() + DIGEST);
    bytes.extend_from_slice(&((FIXED + payload.len()) as u32).to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&time.to_be_bytes());
    bytes.extend_from_slice(payload);
    let digest = openssl::sha::sha256(&bytes);
    bytes.extend_from_slice(&digest[..DIGEST]);
    bytes
}

/// A whole record, and what follows it.
struct Record<'a> {
    kind: u8,
    id: u64,
    time: u64,
    payload: &'a [u8],
    rest: &'a [u8],
}

/// Splits off the next whole record.
fn next_record(bytes: &[u8]) -> Option<Record<'_>> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if !(FIXED..=MAX_RECORD).contains(&length) {
        return None;
    }
    let (body, digest) = (bytes.get(..4 + length)?, bytes.get(4 + length..4 + length + DIGEST)?);
    if openssl::sha::sha256(body)[..DIGEST] != *digest {
        return None;
    }
    let id = u64::from_be_bytes(body.get(5..13)?.try_into().ok()?);
    let time = u64::from_be_bytes(body.get(13..21)?.try_into().ok()?);
    Some(Record {
        kind: *body.get(4)?,
        id,
        time,
        payload: body.get(21..)?,
        rest: bytes.get(4 + length + DIGEST..)?,
    })
}

/// What the file says, if it is bound to `binding` and young enough.
fn replay(mut bytes: &[u8], binding: &Binding, now: Time) -> BTreeMap<u64, (u64, Vec<u8>)> {
    let mut live = BTreeMap::new();
    let mut last = 0;
    let mut first = true;
    while let Some(Record { kind, id, time, payload, rest }) = next_record(bytes) {
        if first && (kind != HEADER || payload != binding.payload()) {
            return BTreeMap::new();
        }
        first = false;
        last = last.max(time);
        match kind {
            PUT => {
                live.insert(id, (time, payload.to_vec()));
            }
            DROP => {
                live.remove(&id);
            }
            _ => {}
        }
        bytes = rest;
    }
    // A time in the future cannot be of this boot.
    if last > now.nanos() || now.since(Time::from_nanos(last)) > MAX_AGE {
        return BTreeMap::new();
    }
    live
}

/// Writes a new file beside the old one and renames it into place.
fn fresh(
    path: &Path,
    binding: &Binding,
    live: &BTreeMap<u64, (u64, Vec<u8>)>,
    now: Time,
) -> io::Result<(File, usize)> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&temporary)?;
    let mut bytes = record(HEADER, 0, now.nanos(), &binding.payload());
    for (id, (time, payload)) in live {
        bytes.extend_from_slice(&record(PUT, *id, *time, payload));
    }
    file.write_all(&bytes)?;
    fs::rename(&temporary, path)?;
    Ok((file, bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding { boot_id: "b".into(), netns: 7, cookie: 70 }
    }

    fn filled(dir: &Path) -> PathBuf {
        let path = dir.join("contexts.journal");
        let (mut j, saved) = Journal::open(&path, binding(), Time::from_secs(100)).unwrap();
        assert!(saved.is_empty());
        j.begin(Time::from_secs(100)).unwrap();
        j.put(1, Time::from_secs(101), b"one".to_vec()).unwrap();
        j.put(2, Time::from_secs(102), b"two".to_vec()).unwrap();
        j.put(1, Time::from_secs(103), b"one again".to_vec()).unwrap();
        j.remove(2, Time::from_secs(104)).unwrap();
        j.put(3, Time::from_secs(105), b"three".to_vec()).unwrap();
        path
    }

    fn reopen(path: &Path, binding: Binding, now: Time) -> Vec<Vec<u8>> {
        Journal::open(path, binding, now).unwrap().1
    }

    #[test]
    fn a_restart_finds_the_latest_of_each_context() {
        let dir = tempfile::tempdir().unwrap();
        let path = filled(dir.path());
        let saved = reopen(&path, binding(), Time::from_secs(110));
        assert_eq!(saved, [b"one again".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn a_daemon_that_fails_to_start_leaves_the_contexts_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = filled(dir.path());
        let now = Time::from_secs(110);
        // Takes one context over, under another name, and ends before it begins.
        let (mut j, saved) = Journal::open(&path, binding(), now).unwrap();
        assert_eq!(saved.len(), 2);
        j.put(7, now, saved[0].clone()).unwrap();
        drop(j);
        assert_eq!(reopen(&path, binding(), now), saved);
        // The next one succeeds; what it does not take over is gone.
        let (mut j, saved) = Journal::open(&path, binding(), now).unwrap();
        j.put(7, now, saved[0].clone()).unwrap();
        j.begin(now).unwrap();
        assert_eq!(reopen(&path, binding(), now), saved[..1]);
    }

    #[test]
    fn another_boot_another_namespace_and_old_age_count_as_empty() {
        let now = Time::from_secs(110);
        for (b, t) in [
            (Binding { boot_id: "c".into(), ..binding() }, now),
            (Binding { netns: 8, ..binding() }, now),
            (Binding { cookie: 71, ..binding() }, now),
            (binding(), Time::from_secs(105 + 601)),
            (binding(), Time::from_secs(90)),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = filled(dir.path());
            assert!(reopen(&path, b, t).is_empty());
        }
    }

    #[test]
    fn this_process_has_a_namespace_that_stays_the_same() {
        let b = Binding::current().unwrap();
        assert_eq!(b, Binding::current().unwrap());
        assert!(b.netns != 0 && b.boot_id.len() == 36, "{b:?}");
        // Kernels since 5.14; an inode alone would be given to the next namespace.
        assert_ne!(b.cookie, 0);
    }

    #[test]
    fn a_sign_of_life_keeps_it_young() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (mut j, _) = Journal::open(&path, binding(), Time::from_secs(100)).unwrap();
        j.begin(Time::from_secs(100)).unwrap();
        j.put(1, Time::from_secs(100), b"x".to_vec()).unwrap();
        j.alive(Time::from_secs(700)).unwrap();
        assert_eq!(reopen(&path, binding(), Time::from_secs(1200)).len(), 1);
    }

    #[test]
    fn truncated_at_every_octet_it_gives_whole_records_only() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = fs::read(filled(dir.path())).unwrap();
        let mut sizes = Vec::new();
        for cut in 0..=bytes.len() {
            let path = dir.path().join("cut");
            fs::write(&path, &bytes[..cut]).unwrap();
            let saved = reopen(&path, binding(), Time::from_secs(110));
            for s in &saved {
                assert!([&b"one"[..], b"two", b"one again", b"three"].contains(&s.as_slice()));
            }
            sizes.push(saved.len());
        }
        assert_eq!((sizes[0], sizes[bytes.len()]), (0, 2));
    }

    #[test]
    fn any_flipped_octet_ends_the_reading_there() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = fs::read(filled(dir.path())).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x55;
            let path = dir.path().join("bad");
            fs::write(&path, &bad).unwrap();
            assert!(reopen(&path, binding(), Time::from_secs(110)).len() <= 2, "octet {at}");
        }
    }

    #[test]
    fn the_file_is_private_and_stays_small() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (mut j, _) = Journal::open(&path, binding(), Time::from_secs(1)).unwrap();
        j.begin(Time::from_secs(1)).unwrap();
        for n in 0..20_000u64 {
            j.put(n % 3, Time::from_secs(2), n.to_be_bytes().to_vec()).unwrap();
        }
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert!(meta.len() < 100_000, "{} octets", meta.len());
        assert_eq!(j.len(), 3);
        j.delete().unwrap();
        assert!(!path.exists());
    }
}
