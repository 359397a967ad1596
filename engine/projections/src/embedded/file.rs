//! The file: who holds it, its tables, and its transactions.
//!
//! `backstitch_file` has one row: the log that the rows were folded from (the id of its first event), and the epoch, which each
//! opening raises. `backstitch_checkpoints` has a row for each read model: its shape, its tables, and the position up to which
//! the log is in its rows. `backstitch_parked` is told in `parked.rs`. `application_id` says "BsRm", `user_version` the format.
//!
//! Beside the file stands `<file>-lock`, locked (`flock`) by the process that has the file open. It is a file of its own because
//! closing a second descriptor of an SQLite file would give back the locks that SQLite holds on it. The epoch is for the
//! case that the lock is of no use, as on some network drives: a transaction of an older epoch does not commit.
//!
//! *Invariant:* rows, parked streams, checkpoints and the look at the epoch are one transaction.
//!
//! Commits are not synced (`synchronous=normal`): after a power cut the file is whole, and may lack the last commits. The log has
//! what they were folded from, and the checkpoint is lost with the rows, so they are folded again.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use event_store::{Position, file_rights};
use eventsourcing::Namespace;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use crate::embedded::{EmbeddedModel, OpenError, SqliteError, parked};
use crate::projecting::changes::{signed, unsigned};

/// "BsRm": read models of Backstitch.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"BsRm");
/// The format of the tables that are not the program's.
const FORMAT: i32 = 1;
/// How long a statement waits for somebody else's transaction, such as that of a person with `sqlite3`.
const WAITS: Duration = Duration::from_secs(5);
/// Statements kept prepared: several for each of some ten read models.
const STATEMENTS: usize = 64;
/// The write-ahead log is cut back to this after it has grown with a rebuild. Bytes.
const WAL_BYTES: i64 = 64 << 20;

const DDL: &str = "
create table if not exists backstitch_file (
    one integer primary key check (one = 1), log text, epoch integer not null) strict;
insert into backstitch_file (one, epoch) values (1, 0) on conflict do nothing;
create table if not exists backstitch_checkpoints (
    projection text primary key, shape text not null, tables text not null, position integer not null
) strict, without rowid;
";

const TAKE_OVER: &str = "update backstitch_file set epoch = epoch + 1 returning epoch";
const EPOCH: &str = "select epoch from backstitch_file";
const LOG: &str = "select log from backstitch_file";
const BIND: &str = "update backstitch_file set log = ?1 where log is null";
const STORED: &str = "select shape, tables from backstitch_checkpoints where projection = ?1";
const POSITION: &str = "select position from backstitch_checkpoints where projection = ?1";
const BEGIN_AGAIN: &str = "
insert or replace into backstitch_checkpoints (projection, shape, tables, position) values (?1, ?2, ?3, 0)";
const ADVANCE: &str = "update backstitch_checkpoints set position = ?2 where projection = ?1";

/// Why a transaction did not commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwritten {
    #[error("another process has taken the file over")]
    Fenced,
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
}

impl From<rusqlite::Error> for Unwritten {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.into())
    }
}

/// Takes a file for this process.
pub(crate) fn hold(path: &Path) -> Result<File, OpenError> {
    let beside = lock_path(path);
    let unusable =
        |source: std::io::Error| OpenError::Unusable { path: path.display().to_string(), source: source.into() };
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&beside).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    name.into()
}

/// The connection that writes. The file is free again when it is dropped.
pub(crate) struct Writer {
    pub connection: Connection,
    epoch: i64,
    /// The log that the rows were folded from is known.
    pub bound: bool,
    _lock: Option<File>,
}

impl Writer {
    /// Opens a file, makes its tables, and raises its epoch. A read model whose shape is another one begins again with empty
    /// tables.
    pub fn open(path: &Path, lock: Option<File>, ids: Namespace, models: &[EmbeddedModel]) -> Result<Self, OpenError> {
        let unusable = |source: SqliteError| OpenError::Unusable { path: path.display().to_string(), source };
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
            .map_err(|error| unusable(error.into()))?;
        identify(path, &connection)?;
        // The files beside it get the rights of the file. Where they cannot be changed, they stay as they are.
        if let Err(error) = file_rights::tighten(path) {
            tracing::warn!(path = %path.display(), %error, "the rights of the read models' file cannot be changed");
        }
        let epoch = prepare(&mut connection, ids, models).map_err(|error| unusable(error.into()))?;
        Ok(Self { connection, epoch, bound: false, _lock: lock })
    }

    /// Runs `work` in a transaction. It commits only if `work` succeeds and the epoch is still ours.
    pub async fn tx<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, SqliteError>,
    ) -> Result<T, Unwritten> {
        let epoch = self.epoch;
        let mut transaction = Transaction::begin(&mut self.connection)?;
        // Nobody can raise it from here to the end of the transaction.
        if transaction.0.query_row(EPOCH, [], |row| row.get::<_, i64>(0))? != epoch {
            return Err(Unwritten::Fenced);
        }
        let done = work(&mut *transaction.0).await?;
        transaction.commit()?;
        // Durable from here, as far as a process that dies is concerned.
        Ok(done)
    }

    /// Whether the rows are of the log that begins with this event. Where that is not known yet, they are from now on.
    pub async fn bind(&mut self, first: uuid::Uuid) -> Result<bool, Unwritten> {
        let name = first.simple().to_string();
        let known: Option<String> = self.connection.query_row(LOG, [], |row| row.get(0))?;
        if let Some(known) = known {
            self.bound = known == name;
            return Ok(self.bound);
        }
        self.tx(async |sql| Ok(sql.execute(BIND, [&name])?)).await?;
        self.bound = true;
        Ok(true)
    }
}

/// A transaction that is undone when it is dropped, also by a panic.
struct Transaction<'c>(&'c mut Connection);

impl<'c> Transaction<'c> {
    fn begin(connection: &'c mut Connection) -> rusqlite::Result<Self> {
        connection.execute_batch("begin immediate")?;
        Ok(Self(connection))
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        self.0.execute_batch("commit")
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // A transaction that has committed, or that SQLite has undone by itself (a full disk), is none any more.
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("rollback")
        {
            tracing::error!(%error, "a transaction of the read models could not be undone");
        }
    }
}

/// Opens a connection to the file.
pub(crate) fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(WAITS)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Refuses a file that is not ours, before anything is written to it.
fn identify(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let foreign = |what: &str| OpenError::Foreign { path: path.display().to_string(), what: what.to_owned() };
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let read = || -> rusqlite::Result<(i32, i32, i64)> {
        let tables = connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0))?;
        Ok((number("application_id")?, number("user_version")?, tables))
    };
    match read() {
        Ok((APPLICATION_ID, FORMAT, _)) | Ok((0, 0, 0)) => Ok(()),
        Ok((APPLICATION_ID, ..)) => Err(foreign("it is of another format, and so of another release")),
        Ok(_) => Err(foreign("it is an SQLite file of another program")),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            Err(foreign("it is no SQLite file"))
        }
        Err(error) => Err(OpenError::Unusable { path: path.display().to_string(), source: error.into() }),
    }
}

/// Makes what is not there, and gives the epoch that is ours.
fn prepare(connection: &mut Connection, ids: Namespace, models: &[EmbeddedModel]) -> rusqlite::Result<i64> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES, |_| Ok(()))?;
    let mut transaction = Transaction::begin(connection)?;
    let sql = &mut *transaction.0;
    sql.pragma_update(None, "application_id", APPLICATION_ID)?;
    sql.pragma_update(None, "user_version", FORMAT)?;
    sql.execute_batch(DDL)?;
    sql.execute_batch(parked::DDL)?;
    for model in models {
        let shape = model.shape(ids);
        let stored = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let stored = sql.query_row(STORED, [model.name], stored).optional()?;
        match &stored {
            Some((known, _)) if *known == shape => continue,
            Some(_) => tracing::warn!(read_model = model.name, "it has another shape: folding it again"),
            None => {}
        }
        begin_again(sql, model, &shape, &stored.map(|(_, tables)| tables).unwrap_or_default())?;
    }
    let epoch = sql.query_row(TAKE_OVER, [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(epoch)
}

/// Makes the tables of a read model anew, inside a transaction. `before`: those that it had, apart by spaces.
fn begin_again(sql: &Connection, model: &EmbeddedModel, shape: &str, before: &str) -> rusqlite::Result<()> {
    for table in before.split(' ').filter(|table| !table.is_empty()) {
        sql.execute_batch(&format!("drop table if exists \"{table}\""))?;
    }
    for ddl in model.ddl {
        sql.execute_batch(ddl)?;
    }
    parked::forget(sql, model.name)?;
    sql.execute(BEGIN_AGAIN, params![model.name, shape, model.tables.join(" ")]).map(drop)
}

/// Empties a read model inside a transaction: no rows, nothing parked, at the beginning of the log.
pub(crate) fn empty(sql: &Connection, model: &EmbeddedModel) -> rusqlite::Result<()> {
    let (shape, tables): (String, String) =
        sql.query_row(STORED, [model.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    begin_again(sql, model, &shape, &tables)
}

/// Where a read model stands.
pub(crate) fn position(sql: &Connection, model: &EmbeddedModel) -> rusqlite::Result<Position> {
    sql.prepare_cached(POSITION)?.query_row([model.name], |row| row.get(0)).map(|at| Position(unsigned(at)))
}

/// Moves the checkpoint of a read model, inside the transaction that writes its rows.
pub(crate) fn advance(sql: &Connection, model: &EmbeddedModel, to: Position) -> rusqlite::Result<()> {
    match sql.prepare_cached(ADVANCE)?.execute(params![model.name, signed(to.0)])? {
        1 => Ok(()),
        rows => Err(rusqlite::Error::StatementChangedRows(rows)),
    }
}
