//! Which files a served log is made of, and who else has them open.
//!
//! A file that is moved away stays the same file for a process that has it open: commits would go on into a place where
//! nobody looks for them. So the files are compared with their names again and again.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::open::{shm_path, wal_path};

/// Byte ranges of the index file (`-shm`) that readers lock. Source: sqlite.org/walformat.html, §2.3.1 (locks 3 to 7 stand at
/// bytes 123 to 127).
const READ_LOCKS: std::ops::RangeInclusive<u64> = 123..=127;
/// Other processes named in one log message.
const NAMED_MAX: usize = 5;

/// What a file is, whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

fn id_of(path: &Path) -> io::Result<Option<FileId>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some(FileId(file.dev(), file.ino()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The files of a log that is being served.
pub(super) struct Files {
    path: PathBuf,
    log: Option<FileId>,
    /// Held for a copy only.
    wal: Mutex<Option<FileId>>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gone {
    /// The log itself.
    Log(String),
    /// Its write-ahead log.
    Wal(String),
}

impl Gone {
    pub fn reason(&self) -> &str {
        match self {
            Self::Log(reason) | Self::Wal(reason) => reason,
        }
    }
}

impl Files {
    /// The files as they stand now.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), log: id_of(path)?, wal: Mutex::new(id_of(&wal_path(path))?) })
    }

    /// What is not where it was, if anything.
    pub fn gone(&self) -> Option<Gone> {
        if let Some(why) = differs(&self.path, self.log) {
            let way_out = "put the file back, or stop the server and restore a backup";
            return Some(Gone::Log(format!("{why} while it is being served: {way_out}")));
        }
        let wal = *self.wal.lock();
        let why = differs(&wal_path(&self.path), wal)?;
        Some(Gone::Wal(format!("{why} while it is being served: restart the process")))
    }

    /// The processes that read the log, besides this one, for a log message. Only what the system tells: Linux, and locks of
    /// the same process namespace.
    pub fn other_readers(&self) -> String {
        let Ok(shm) = fs::metadata(shm_path(&self.path)) else { return "unknown".to_owned() };
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let mut pids: Vec<i64> = locks.lines().filter_map(|line| reader(line, shm.ino())).collect();
        pids.sort_unstable();
        pids.dedup();
        let own = i64::from(std::process::id());
        pids.retain(|pid| *pid != own);
        if pids.is_empty() {
            return "none that the system names; a read of this server itself, or of another container".to_owned();
        }
        let names: Vec<String> = pids.iter().take(NAMED_MAX).map(|pid| named(*pid)).collect();
        names.join(", ")
    }
}

fn differs(path: &Path, known: Option<FileId>) -> Option<String> {
    let known = known?;
    let path_text = path.display();
    match id_of(path) {
        Ok(Some(id)) if id == known => None,
        Ok(Some(_)) => Some(format!("another file stands in the place of `{path_text}`")),
        Ok(None) => Some(format!("`{path_text}` was moved away or removed")),
        Err(error) => Some(format!("`{path_text}` cannot be looked at ({error})")),
    }
}

/// The process of a line of `/proc/locks` that holds a read lock of the index. Such a line is
/// `1: POSIX  ADVISORY  READ  1234 fd:01:5678 123 123`. Source: proc_locks(5).
fn reader(line: &str, inode: u64) -> Option<i64> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "READ").skip(1);
    let (pid, file) = (words.next()?.parse().ok()?, words.next()?);
    let (first, last) = (words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
    let of_this_file = file.rsplit(':').next()?.parse() == Ok(inode);
    (of_this_file && first <= *READ_LOCKS.end() && last >= *READ_LOCKS.start()).then_some(pid)
}

fn named(pid: i64) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} (`{}`)", name.trim()),
        Err(_) => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_system_names_the_process_that_reads() {
        let line = "3: POSIX  ADVISORY  READ  4711 fe:00:1234 124 124";
        assert_eq!(reader(line, 1234), Some(4711));
        assert_eq!(reader(line, 99), None, "another file");
        assert_eq!(reader("3: POSIX  ADVISORY  READ  4711 fe:00:1234 128 128", 1234), None, "another lock");
        assert_eq!(reader("3: POSIX  ADVISORY  WRITE 4711 fe:00:1234 123 123", 1234), None);
    }
}
