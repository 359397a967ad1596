//! Opening and closing: the lock, the checks, the connections.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::checkpoint::PAGE_BYTES;
use super::load::UNFINISHED;
use super::schema::{APPLICATION_ID, FORMAT};
use super::writer::End;
use super::{Shared, SqliteOptions, in_service};
use crate::{OpenError, Position, ReadError};

/// The log in its folder.
pub const LOG_FILE: &str = "events.db";
const LOCK_FILE: &str = "lock";
/// How often a lock that somebody has is tried again: a tool that asks whether a folder is served has it for a moment.
const LOCK_TRIES: u32 = 5;
/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// How far the log had come at the last clean stop; one of the witnesses.
pub(super) const MARK_FILE: &str = "events.mark";
/// How long a statement waits for another connection's lock: a checkpoint that ends, or a reader's recovery.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// The same for the last checkpoint of a clean stop: it need not succeed, the next start does it.
const BUSY_AT_STOP: Duration = Duration::from_secs(1);
/// Pages (as KiB, negative by SQLite's convention) the writer keeps: the hot leaves of the index on (stream, version).
const WRITER_CACHE_KIB: i64 = -32_768;
/// The same for each reader.
const READER_CACHE_KIB: i64 = -8_192;
/// The SQLite that we ship; earlier ones have a fault in the reset of the write-ahead log (fixed in 3.51.3).
const LEAST_SQLITE: i32 = 3_051_003;

const IDENTITY: &str = "select (select * from pragma_application_id), (select * from pragma_user_version)";
const TABLES: &str =
    "select count(*) from sqlite_schema where name in ('streams', 'events', 'categories', 'snapshots', 'log')";
/// `busy, frames in the log, frames copied`.
pub(super) const PASSIVE: &str = "pragma wal_checkpoint(passive)";
/// The same.
const TRUNCATE: &str = "pragma wal_checkpoint(truncate)";

/// A log that was opened and checked.
pub(super) struct Opened {
    /// Held as long as the store lives.
    pub lock: File,
    pub path: PathBuf,
    pub connection: Connection,
    pub end: End,
}

/// Opens the log of a folder to be served, or creates one.
pub(super) fn open(dir: &Path, options: &SqliteOptions) -> Result<Opened, OpenError> {
    if dir.join(UNFINISHED).exists() {
        let reason = format!(
            "an import into it has not ended; do it again (`backstitch store import FILE --data {0}`), it goes on where it \
             was; to serve what is there as it is, remove `{0}/{UNFINISHED}`",
            dir.display()
        );
        return Err(OpenError::Unusable { path: dir.join(LOG_FILE).display().to_string(), reason });
    }
    open_unfinished(dir, options)
}

/// The same for a log that is being filled.
pub(super) fn open_unfinished(dir: &Path, options: &SqliteOptions) -> Result<Opened, OpenError> {
    assert!(rusqlite::version_number() >= LEAST_SQLITE, "built with a SQLite that can lose commits");
    fs::create_dir_all(dir).map_err(|error| unusable(dir, &error))?;
    let (lock, lock_was_there) = take_lock(dir)?;
    let path = dir.join(LOG_FILE);
    match fs::metadata(&path) {
        Ok(_) => super::damage_note::check(dir, &path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let created = super::creation::create(dir, &path, lock_was_there, options);
            if created.is_err() && !lock_was_there {
                let _ = fs::remove_file(dir.join(LOCK_FILE)); // No sign of a log that never was.
            }
            created?;
        }
        Err(error) => return Err(unusable(&path, &error)),
    }
    private(dir);
    check_at_rest(&path)?;
    let wal_bytes = in_service::wal_bytes(&path);
    let connection = connect_writer(&path).map_err(|error| of_sqlite(&path, &error))?;
    check_identity(&path, &connection)?;
    let end = End::read(&connection).map_err(|error| of_sqlite(&path, &error))?;
    if !options.accept_missing_wal {
        in_service::check_copy(dir, &path, &connection, wal_bytes, Position(end.position))?;
    }
    // Before anything is served: what an earlier process left in the write-ahead log is made durable.
    let is_all_in_file = settle_wal(&path, &connection).map_err(|error| of_sqlite(&path, &error))?;
    if is_all_in_file {
        check_length(&path, &connection)?;
    }
    super::check::check_end(&path, &connection)?;
    check_witnesses(dir, &path, &end, options)?;
    Ok(Opened { lock, path, connection, end })
}

/// What can be said of a log that nobody serves before it is opened for writing: that it is ours, of a format that we know,
/// and that its write-ahead log has lost no synced commit. All who open such a log begin with this. Nothing is written.
pub(super) fn check_at_rest(path: &Path) -> Result<(), OpenError> {
    check_header(path)?;
    if let Some(what) = super::wal::torn(path, super::wal::check(path)?) {
        tracing::info!(log = %path.display(), what, "the write-ahead log has a torn tail");
    }
    // The format of a log that a newer release has raised may stand in the write-ahead log only. A connection that writes
    // would merge that into the file, even if it is closed at once.
    let connection = connect_reader(path).map_err(|error| of_sqlite(path, &error))?;
    check_identity(path, &connection)
}

/// Takes the rights of other users away from our files. Failures are logged: a file of somebody else stays as it is.
fn private(dir: &Path) {
    let log = dir.join(LOG_FILE);
    for path in [log.clone(), wal_path(&log), shm_path(&log), dir.join(LOCK_FILE), dir.join(MARK_FILE)] {
        match crate::file_rights::tighten(&path) {
            Ok(Some(before)) => {
                tracing::warn!(file = %path.display(), before = format!("{before:o}"), "other users could open this file; its rights were tightened");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(file = %path.display(), %error, "the rights of this file cannot be tightened"),
        }
    }
}

/// Writes down that the log is served from now on: before anything else is written.
pub(super) fn begin_service(dir: &Path, path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let noted = in_service::set(connection).and_then(|()| checkpoint(connection, PASSIVE));
    match noted {
        Ok(_) => {}
        // On a full disk the log can be read all the same, and the writer tells of it.
        Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure)) => {
            tracing::warn!(log = %path.display(), %error, "it could not be noted that the log is being served");
        }
        Err(error) => return Err(of_sqlite(path, &error)),
    }
    if let Err(error) = mark_in_service(dir) {
        tracing::warn!(log = %path.display(), %error, "it could not be noted beside the mark that the log is being served");
    }
    Ok(())
}

/// Opens the writer's connection anew after a failure, and reads the end of the log.
pub(super) fn reopen(shared: &Shared) -> rusqlite::Result<(Connection, End)> {
    shared.options.faults.reopen()?;
    if let Some(gone) = shared.files.gone() {
        return Err(refusal(gone.reason()));
    }
    let connection = connect_writer(&shared.path)?;
    shared.options.faults.limit_pages(&connection)?;
    settle_wal(&shared.path, &connection)?;
    let end = End::read(&connection)?;
    Ok((connection, end))
}

/// The last things of a clean stop: an empty write-ahead log, and the mark.
pub(super) fn close_cleanly(shared: &Shared, connection: Connection, position: u64) {
    let emptied = connection.busy_timeout(BUSY_AT_STOP).and_then(|()| {
        // Only once the row is gone may the write-ahead log become empty.
        in_service::clear(&connection)?;
        truncate_wal(&connection)
    });
    if let Err(error) = emptied {
        exit_if_sync_failed(shared, &error);
        tracing::warn!(log = %shared.path.display(), %error, "the last checkpoint failed; the next start does it");
    }
    drop(connection);
    if let Some(dir) = shared.path.parent()
        && let Err(error) = write_mark(dir, position)
    {
        tracing::warn!(log = %shared.path.display(), %error, "the mark of a clean stop could not be written");
    }
}

/// After a failed sync nothing that the system says of the file can be trusted: leave at once, and let the next start
/// read what is really there. (In tests the order to leave is only taken down.)
pub(super) fn exit_if_sync_failed(shared: &Shared, error: &rusqlite::Error) {
    let code = error.sqlite_error().map(|error| error.extended_code);
    if matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)) {
        tracing::error!(log = %shared.path.display(), %error, "the disk failed to sync: leaving at once");
        (shared.options.on_failed_sync)();
    }
}

/// The sign that a folder is used: another process can neither serve nor fill it as long as this lives.
#[derive(Debug)]
pub struct FolderLock {
    _lock: File,
}

/// Takes a folder for this process.
///
/// # Errors
/// [`OpenError::Locked`]: another process serves or fills it.
pub fn hold(dir: &Path) -> Result<FolderLock, OpenError> {
    take_lock(dir).map(|(lock, _)| FolderLock { _lock: lock })
}

/// Takes the lock of a folder; and whether its file was there before.
fn take_lock(dir: &Path) -> Result<(File, bool), OpenError> {
    let path = dir.join(LOCK_FILE);
    for tried in 0.. {
        let was_there = path.exists();
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| unusable(dir, &error))?;
        match lock.try_lock() {
            // The file may have been removed between its opening and its locking, by a creation that failed.
            Ok(()) if is_at(&lock, &path) => return Ok((lock, was_there)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if tried < LOCK_TRIES => {}
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => return Err(unusable(&path, &error)),
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Err(OpenError::Locked { path: dir.display().to_string() })
}

/// Whether an open file is the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (opened.dev(), opened.ino()) == (named.dev(), named.ino())
}

/// Whether a process serves or fills the log of a folder at this moment. A folder whose lock cannot be looked at counts as
/// served.
pub fn is_served(dir: &Path) -> bool {
    match File::open(dir.join(LOCK_FILE)) {
        Ok(lock) => lock.try_lock_shared().is_err(), // Given back at once, with the file.
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// Whether the file says of itself that it is ours, and in a format that we know: read before SQLite touches it.
fn check_header(path: &Path) -> Result<(), OpenError> {
    let mut header = [0_u8; 100];
    let mut file = File::open(path).map_err(|error| unusable(path, &error))?;
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(foreign(path, "it is shorter than the header of one (was it truncated?)"));
        }
        Err(error) => return Err(unusable(path, &error)),
    }
    if &header[..16] != b"SQLite format 3\0" {
        return Err(foreign(path, "it is not an SQLite file"));
    }
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    identify(path, number(68), number(60))
}

fn check_identity(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let read = || -> rusqlite::Result<((i32, i32), i64)> {
        let identity = connection.query_row(IDENTITY, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((identity, connection.query_row(TABLES, [], |row| row.get(0))?))
    };
    let ((application, format), tables) = read().map_err(|error| of_sqlite(path, &error))?;
    identify(path, application, format)?;
    if tables == 5 { Ok(()) } else { Err(foreign(path, "it lacks tables of a log")) }
}

fn identify(path: &Path, application: i32, format: i32) -> Result<(), OpenError> {
    if application != APPLICATION_ID {
        return Err(foreign(path, "it is an SQLite file of another program"));
    }
    if format > FORMAT {
        let what =
            format!("it has format {format}, this version knows up to {FORMAT}: start a newer Backstitch with it");
        return Err(foreign(path, &what));
    }
    if format < 1 { Err(foreign(path, &format!("its format {format} was never one"))) } else { Ok(()) }
}

/// The file is as long as its own count of pages says. Only where nothing is left in the write-ahead log: the count is that of
/// both.
fn check_length(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let pages: i64 =
        connection.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(|error| of_sqlite(path, &error))?;
    let length = fs::metadata(path).map_err(|error| unusable(path, &error))?.len();
    if length < pages.cast_unsigned() * PAGE_BYTES {
        let what = format!("it has {length} bytes, but {pages} pages of {PAGE_BYTES} (was it truncated?)");
        return Err(OpenError::Damaged { path: path.display().to_string(), what });
    }
    Ok(())
}

fn check_witnesses(dir: &Path, path: &Path, end: &End, options: &SqliteOptions) -> Result<(), OpenError> {
    let mark = read_mark(dir)?;
    let mark =
        mark.map(|position| (format!("the mark of the last clean stop `{}`", dir.join(MARK_FILE).display()), position));
    for (witness, seen) in options.witnesses.iter().cloned().chain(mark) {
        if seen.0 > end.position {
            let log = Position(end.position);
            return Err(OpenError::TailMissing { path: path.display().to_string(), log, witness, seen });
        }
    }
    Ok(())
}

pub(super) fn read_mark(dir: &Path) -> Result<Option<Position>, OpenError> {
    let path = dir.join(MARK_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(position) => Ok(Some(position)),
            Err(_) => Err(OpenError::Damaged {
                path: path.display().to_string(),
                what: "it holds no position; remove it to start without this witness".to_owned(),
            }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&path, &error)),
    }
}

pub(super) fn write_mark(dir: &Path, position: u64) -> std::io::Result<()> {
    replace(dir, MARK_FILE, &format!("{position}\n"))
}

/// Notes beside the mark that the log is being served since: a tab behind the position, which earlier releases pass over.
pub(super) fn mark_in_service(dir: &Path) -> std::io::Result<()> {
    match fs::read_to_string(dir.join(MARK_FILE)) {
        Ok(text) if !text.contains('\t') => replace(dir, MARK_FILE, &format!("{}\t\n", text.trim())),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where the last clean stop left the log, unless it was served after that.
pub(super) fn stopped_cleanly_at(dir: &Path) -> Option<Position> {
    let text = fs::read_to_string(dir.join(MARK_FILE)).ok()?;
    if text.contains('\t') { None } else { text.trim().parse().ok() }
}

/// Puts a small file in the place of an older one, whole and durable.
pub(super) fn replace(dir: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let draft = dir.join(format!("{name}.new"));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// A connection that writes: every commit is synced, checkpoints happen only on order.
pub(super) fn connect_writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    // A write-ahead log is emptied on request only: the last connection closed after a failure leaves it as it is.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "cache_size", READER_CACHE_KIB)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// A connection to a log that another process may serve, checked to be one. Nothing is written, not even a recovery. Damage of
/// the write-ahead log is not looked for: for `check`, which tells of it and goes on.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    check_header(path)?;
    let connection = connect_reader(path).map_err(|error| of_sqlite(path, &error))?;
    match check_identity(path, &connection) {
        Ok(()) => Ok(connection),
        // A folder where nothing can be created: readable all the same if no write-ahead log has to be read.
        Err(OpenError::Unusable { .. }) if in_service::wal_bytes(path) == 0 => {
            let connection = connect_immutable(path).map_err(|error| of_sqlite(path, &error))?;
            check_identity(path, &connection)?;
            Ok(connection)
        }
        Err(error) => Err(error),
    }
}

/// The same, for those who copy the log or count on all of it: what a start would refuse is refused here, too.
pub(super) fn open_whole(dir: &Path) -> Result<Connection, OpenError> {
    let path = dir.join(LOG_FILE);
    let wal_bytes = in_service::wal_bytes(&path);
    if !is_served(dir) {
        check_header(&path)?;
        super::wal::check(&path)?;
    }
    let connection = open_to_read(&path)?;
    let end = End::read(&connection).map_err(|error| of_sqlite(&path, &error))?;
    in_service::check_copy(dir, &path, &connection, wal_bytes, Position(end.position))?;
    check_witnesses(dir, &path, &end, &SqliteOptions::default())?;
    Ok(connection)
}

/// A connection to a file that nobody changes.
fn connect_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    // The characters that a URI gives a meaning; all others stand for themselves.
    let text = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Connection::open_with_flags(format!("file:{text}?immutable=1"), flags)
}

/// Makes durable what stands in the write-ahead log: copies it into the file as far as readers allow, and syncs what they hold.
/// A reader of another process, which may be open for hours, is waited for no longer than [`BUSY_AT_STOP`]. While the row of
/// [`in_service`] stands in the log, the write-ahead log is not emptied. Says whether the file has all of it: where a reader
/// was in the way, pages that the log counts may stand in the write-ahead log only.
pub(super) fn settle_wal(path: &Path, connection: &Connection) -> rusqlite::Result<bool> {
    let (busy, left) = if in_service::is_set(connection)? {
        checkpoint(connection, PASSIVE)?
    } else {
        connection.busy_timeout(BUSY_AT_STOP)?;
        let settled = checkpoint(connection, TRUNCATE);
        connection.busy_timeout(BUSY)?;
        settled?
    };
    let is_all_in_file = !busy && left == 0;
    if !is_all_in_file {
        File::open(wal_path(path)).and_then(|wal| wal.sync_all()).map_err(|error| {
            let code = ffi::Error::new(ffi::SQLITE_IOERR_FSYNC);
            rusqlite::Error::SqliteFailure(code, Some(format!("the write-ahead log cannot be synced: {error}")))
        })?;
        tracing::warn!(log = %path.display(), "a reader of another process has the log open; its write-ahead log stays as it is");
    }
    Ok(is_all_in_file)
}

/// One checkpoint: whether it found something in its way, and how many frames of the write-ahead log are left to be copied.
pub(super) fn checkpoint(connection: &Connection, how: &str) -> rusqlite::Result<(bool, i64)> {
    connection.prepare_cached(how)?.query_row([], |row| {
        Ok((row.get::<_, i64>(0)? != 0, row.get::<_, i64>(1)?.max(0) - row.get::<_, i64>(2)?.max(0)))
    })
}

/// Copies all of the write-ahead log into the file and empties it.
pub(super) fn truncate_wal(connection: &Connection) -> rusqlite::Result<()> {
    let busy: i64 = connection.query_row(TRUNCATE, [], |row| row.get(0))?;
    if busy == 0 {
        return Ok(());
    }
    let why = "a reader kept the write-ahead log open".to_owned();
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), Some(why)))
}

/// The same, as far as readers allow: what they hold stays in it.
pub(super) fn empty_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row(TRUNCATE, [], |_| Ok(()))
}

/// The write-ahead log of a file.
pub(super) fn wal_path(path: &Path) -> PathBuf {
    with_suffix(path, "-wal")
}

/// Its index, which lives as long as somebody has the file open.
pub(super) fn shm_path(path: &Path) -> PathBuf {
    with_suffix(path, "-shm")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn unusable(path: &Path, error: &std::io::Error) -> OpenError {
    let path = path.display().to_string();
    let refused = matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied);
    let way_out = if refused { "; make it writable for this user, or give another --data folder" } else { "" };
    let reason = format!("{error}{way_out}");
    OpenError::Unusable { path, reason }
}

fn foreign(path: &Path, what: &str) -> OpenError {
    OpenError::Foreign { path: path.display().to_string(), what: what.to_owned() }
}

/// What a failure to read means to who opens.
pub(super) fn of_read(path: &Path, error: ReadError) -> OpenError {
    let path_text = path.display().to_string();
    match error {
        ReadError::Damaged { position: Position::START, what, .. } => OpenError::Damaged { path: path_text, what },
        ReadError::Damaged { position, what, .. } => {
            OpenError::Damaged { path: path_text, what: format!("at position {position}: {what}") }
        }
        ReadError::Unavailable { reason, .. } => OpenError::Unusable { path: path_text, reason },
    }
}

/// A refusal of our own where SQLite's are handed on.
pub(super) fn refusal(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(why.to_owned()))
}

/// What SQLite's refusal to open means.
pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> OpenError {
    let (path_text, reason) = (path.display().to_string(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => foreign(path, &reason),
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path: path_text, what: reason },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => OpenError::Unusable {
            path: path_text,
            reason: format!("{reason}; make it writable for this user, or give another --data folder"),
        },
        Some(_) | None => OpenError::Unusable { path: path_text, reason },
    }
}
