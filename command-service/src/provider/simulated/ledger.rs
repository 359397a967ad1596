//! The simulated provider's ledger on disk: what "the bank" did survives a `kill -9` of everybody.
//!
//! # Format
//! A text file, one line an atomic group of records: `{"crc":<u32>,"records":[…]}` and a line feed. `crc` is the CRC-32
//! (ISO-HDLC) of the bytes of the `records` value as they stand. The first line holds one `opened` record with the
//! format's number. A line is valid if it parses and its CRC fits.
//!
//! The file is read from its beginning. A crash can leave a torn last line (and, after a power cut, several of one
//! write). The bytes after the last valid line are cut off, because no request in them was ever answered. An invalid
//! line *before* a valid one is damage: the file is refused. Lines are synced (`fdatasync`) before any answer; one sync
//! serves all lines that wait for it.
//!
//! After a write or sync that failed, what the file has behind the last synced line is not known. So the lines since then are
//! kept in memory, in their order; each further attempt cuts the file off behind the last synced line and writes all of them
//! again. Until one succeeds the ledger is *behind*, and the simulator decides on nothing more ([`Ledger::recovered`]), so
//! that what is kept is bounded by the calls that were under way.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::record::Record;

/// The format of the file.
pub const FORMAT: u32 = 1;

/// Why a ledger was not opened, or can no longer be written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The system refused.
    #[error("the provider's ledger `{path}` cannot be used; make it writable or give another path")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("the provider's ledger `{path}` is in use by another process; stop that one or give another path")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Not ours, or damaged.
    #[error("the provider's ledger `{path}` is not valid at line {line}: {what}; restore it or move it away")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What does not fit.
        what: String,
    },
    /// A write failed. It is tried again with each call.
    #[error("the provider's ledger `{path}` cannot be written ({reason}); free space, it goes on by itself")]
    Stopped {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    crc: u32,
    #[serde(borrow)]
    records: &'a RawValue,
}

/// How far a line is on its way to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// An open ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    path: Arc<PathBuf>,
    waiting: Arc<Mutex<Waiting>>,
    disk: Arc<Mutex<Disk>>,
    /// The last line on the disk.
    synced: Arc<AtomicU64>,
    /// The last attempt to write failed.
    behind: Arc<AtomicBool>,
    pub(super) faults: Faults,
}

/// Failures on order, for tests.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    full: Arc<AtomicBool>,
}

impl Faults {
    /// As if the disk was full, after half of what is written.
    #[cfg(test)]
    pub(super) fn fill_disk(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        file.write_all(bytes)
    }
}

/// Lines not yet handed to the disk. Bounded by the calls under way, which wait for them.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    last: u64,
}

#[derive(Debug)]
struct Disk {
    file: File,
    /// Bytes of the file up to the end of the last synced line.
    synced: u64,
    /// Lines that a failed attempt took from those that wait.
    unwritten: Vec<u8>,
    /// The last attempt failed: the file may have anything behind the last synced line.
    failed: bool,
}

impl Ledger {
    /// Opens or makes the file and hands every record in it to `apply`, in order.
    pub(super) fn open(path: &Path, mut apply: impl FnMut(&Record)) -> Result<Self, LedgerError> {
        let unusable = |source| LedgerError::Unusable { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unusable)?;
        }
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(unusable)?;
        match event_store::file_rights::tighten(path) {
            Ok(Some(_)) => {
                tracing::warn!(path = %path.display(), "other users could open the ledger; its rights were tightened")
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "the ledger's rights cannot be tightened"),
        }
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => LedgerError::Locked { path: path.to_owned() },
            std::fs::TryLockError::Error(source) => unusable(source),
        })?;
        let valid = replay(path, &file, &mut apply)?;
        let length = file.metadata().map_err(unusable)?.len();
        if length > valid {
            tracing::warn!(path = %path.display(), bytes = length - valid, "cut off the ledger's torn end");
            file.set_len(valid).map_err(unusable)?;
        }
        file.seek(SeekFrom::Start(valid)).map_err(unusable)?;
        let mut synced = valid;
        if valid == 0 {
            let header = line(&[Record::Opened { format: FORMAT }]);
            file.write_all(&header).map_err(unusable)?;
            synced = header.len() as u64;
        }
        file.sync_all().map_err(unusable)?;
        sync_folder(path).map_err(unusable)?; // The file's name must survive a power cut too.
        let disk = Arc::new(Mutex::new(Disk { file, synced, unwritten: Vec::new(), failed: false }));
        let (behind, faults) = (Arc::default(), Faults::default());
        let path = Arc::new(path.to_owned());
        Ok(Self { path, waiting: Arc::default(), disk, synced: Arc::default(), behind, faults })
    }

    /// Adds a line to be written. The order of the calls is the order of the lines.
    pub(super) fn push(&self, records: &[Record]) -> Mark {
        // A short critical section without waiting; a poisoned lock still guards whole lines.
        let mut waiting = self.waiting.lock();
        waiting.bytes.extend_from_slice(&line(records));
        waiting.last += 1;
        Mark(waiting.last)
    }

    /// The last line pushed so far.
    pub(super) fn last(&self) -> Mark {
        Mark(self.waiting.lock().last)
    }

    /// Waits until a line is on the disk. Dropped meanwhile, the write still comes to its end.
    pub(super) async fn synced(&self, mark: Mark) -> Result<(), LedgerError> {
        if self.synced.load(Ordering::Acquire) >= mark.0 {
            return Ok(());
        }
        let ledger = self.clone();
        let written = tokio::task::spawn_blocking(move || ledger.write_up_to(mark)).await;
        written.unwrap_or_else(|error| Err(self.stopped(error.to_string())))
    }

    /// Whether all lines could be written so far; if not, tries it again.
    pub(super) async fn recovered(&self) -> Result<(), LedgerError> {
        if self.behind.load(Ordering::Acquire) { self.synced(self.last()).await } else { Ok(()) }
    }

    fn write_up_to(&self, mark: Mark) -> Result<(), LedgerError> {
        let mut disk = self.disk.lock();
        if self.synced.load(Ordering::Acquire) >= mark.0 {
            return Ok(()); // Another's sync carried this line too.
        }
        let (bytes, last) = {
            let mut waiting = self.waiting.lock();
            (std::mem::take(&mut waiting.bytes), waiting.last)
        };
        disk.unwritten.extend_from_slice(&bytes);
        if let Err(error) = disk.write(&self.faults) {
            disk.failed = true;
            self.behind.store(true, Ordering::Release);
            return Err(self.stopped(error.to_string()));
        }
        // Durable from here.
        self.synced.store(last, Ordering::Release);
        if self.behind.swap(false, Ordering::AcqRel) {
            tracing::info!(path = %self.path.display(), "the provider's ledger can be written again");
        }
        Ok(())
    }

    fn stopped(&self, reason: String) -> LedgerError {
        LedgerError::Stopped { path: self.path.to_path_buf(), reason }
    }
}

impl Disk {
    /// Writes and syncs what is not on the disk. It is kept until that has succeeded.
    fn write(&mut self, faults: &Faults) -> std::io::Result<()> {
        if self.failed {
            self.file.set_len(self.synced)?;
            self.file.seek(SeekFrom::Start(self.synced))?;
        }
        faults.write(&mut self.file, &self.unwritten)?;
        self.file.sync_data()?;
        self.synced += self.unwritten.len() as u64;
        self.unwritten = Vec::new();
        self.failed = false;
        Ok(())
    }
}

fn line(records: &[Record]) -> Vec<u8> {
    let records = serde_json::value::to_raw_value(records)
        .expect("records are enums of strings, numbers and lists with string keys, which serialise");
    let crc = crc32fast::hash(records.get().as_bytes());
    let mut line = serde_json::to_vec(&Line { crc, records: &records }).expect("a number and a valid JSON text");
    line.push(b'\n');
    line
}

/// Reads all lines; the length of what is valid.
fn replay(path: &Path, file: &File, apply: &mut impl FnMut(&Record)) -> Result<u64, LedgerError> {
    let unusable = |source| LedgerError::Unusable { path: path.to_owned(), source };
    let damaged = |line, what: String| LedgerError::Damaged { path: path.to_owned(), line, what };
    let (mut reader, mut bytes) = (BufReader::new(file), Vec::new());
    let (mut valid, mut end, mut number) = (0, 0, 0);
    let header = line(&[Record::Opened { format: FORMAT }]);
    let mut torn: Option<(u64, String)> = None;
    loop {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes).map_err(unusable)?;
        if read == 0 {
            return Ok(valid);
        }
        (number, end) = (number + 1, end + read as u64);
        match read_line(&bytes) {
            // A header that was torn holds nothing yet; anything else in its place is somebody's file.
            Err(_) if number == 1 && !header.starts_with(&bytes) => {
                return Err(damaged(1, "it does not begin as a ledger".to_owned()));
            }
            Err(Invalid::Torn(what)) => torn = torn.or(Some((number, what))),
            Err(Invalid::Unknown(what)) => return Err(damaged(number, what)),
            Ok(records) => {
                if let Some((line, what)) = torn {
                    return Err(damaged(line, what));
                }
                if number == 1 && records != [Record::Opened { format: FORMAT }] {
                    return Err(damaged(1, format!("it is not of format {FORMAT}")));
                }
                records.iter().for_each(&mut *apply);
                valid = end;
            }
        }
    }
}

/// Why a line is not valid.
enum Invalid {
    /// As a crash leaves it.
    Torn(String),
    /// It is whole, and says what this program does not know.
    Unknown(String),
}

fn read_line(bytes: &[u8]) -> Result<Vec<Record>, Invalid> {
    let torn = |what: &str| Invalid::Torn(what.to_owned());
    let text = bytes.strip_suffix(b"\n").ok_or_else(|| torn("it has no end"))?;
    let line: Line<'_> = serde_json::from_slice(text).map_err(|_| torn("it is not a line of a ledger"))?;
    if crc32fast::hash(line.records.get().as_bytes()) != line.crc {
        return Err(torn("its CRC does not fit"));
    }
    serde_json::from_str(line.records.get()).map_err(|error| Invalid::Unknown(error.to_string()))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}
