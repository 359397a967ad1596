//! Read models in an SQLite file, for a program without Postgres.
//!
//! The promises are those of Postgres where both have the feature: rows and checkpoint are one transaction, an event that
//! comes again changes nothing, gaps are filled from the log, an event that cannot be applied parks its stream only. There are
//! no generations beside each other, no comparison and no replicas: a file belongs to one process and one log.
//!
//! `model.rs` says what a read model is and `rows.rs` makes its projection short; `file.rs` has the file, its lock and its
//! transactions, `member.rs` what happens in one of them, `follower.rs` the loop over the log, `readers.rs` the queries.
//!
//! *Invariant:* everything in the file can be thrown away and folded again.

pub(crate) mod file;
mod follower;
pub(crate) mod member;
mod model;
mod parked;
mod readers;
pub mod rows;
mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine_runtime::Tasks;
use event_store::{EventStore, Position, ReadError, StreamName};
use eventsourcing::Namespace;
use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::DropGuard;

pub use rusqlite;

pub use self::model::EmbeddedModel;
pub use self::sqlite::{Sqlite, SqliteError};
use crate::dead_letters::{Letter, Letters};
use crate::embedded::file::Writer;
use crate::embedded::follower::{Ended, Follower, Request, check_log};
use crate::embedded::readers::Readers;
use crate::projecting::projection::Applied;

/// Rebuilds that wait for the follower: people ask for one at a time.
const MOST_REQUESTS: usize = 16;

/// What read models in a file need.
pub struct Setup {
    /// The file. It is made where there is none; beside it stand `<file>-wal`, `<file>-shm` and `<file>-lock`.
    pub path: PathBuf,
    /// The namespace in which the fingerprints of the tables are derived. It never changes, else all is folded again.
    pub ids: Namespace,
    /// The read models. One that stands in the file and not here stays as it is.
    pub models: Vec<EmbeddedModel>,
    /// The log that they follow.
    pub store: Arc<dyn EventStore>,
    /// The tasks of the program: the read models stop with them.
    pub tasks: Tasks,
}

/// Why the read models were not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file, or this one has it open already.
    #[error("the read models `{path}` are in use by another process; stop that one first, or choose another file")]
    Locked {
        /// The file.
        path: String,
    },
    /// The file is not ours.
    #[error("`{path}` does not hold read models: {what}; choose another file, or move this one away")]
    Foreign {
        /// The file.
        path: String,
        /// What does not fit.
        what: String,
    },
    /// The rows were folded from another log.
    #[error("the read models `{path}` are of another log; give this log a file of its own, or delete that one")]
    OtherLog {
        /// The file.
        path: String,
    },
    /// The log has lost its end since the rows were folded.
    #[error(
        "the read models `{path}` have seen position {seen}, the log ends at {head}: its end is missing; restore it, or, \
         if it was restored from an older backup, delete `{path}`, and the read models are folded again"
    )]
    Ahead {
        /// The file.
        path: String,
        /// The furthest position in it.
        seen: Position,
        /// The last position of the log.
        head: Position,
    },
    /// SQLite or the system refused.
    #[error("the read models `{path}` cannot be opened")]
    Unusable {
        /// The file.
        path: String,
        /// What SQLite or the system says.
        source: SqliteError,
    },
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[source] ReadError),
}

/// Why a read model was not folded again. Its rows are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no read model of this name.
    #[error("no read model is named `{0}`")]
    Unknown(String),
    /// The program stops, or the follower has stopped.
    #[error("the read models are not followed any more; ask again after the next start")]
    Stopped,
    /// The log could not be read, or SQLite refused.
    #[error("`{name}` could not be folded again")]
    Failed {
        /// The read model.
        name: String,
        /// What SQLite or the log says.
        source: SqliteError,
    },
}

/// How one read model stands.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The name of the read model.
    pub name: &'static str,
    /// Everything at or below is in its rows. 0 until the start has tried again what was parked.
    pub position: Position,
    /// Events folded since the start; those of a rebuild are not counted.
    pub folded: u64,
    /// Events of unknown types, moved past since the start.
    pub skipped: u64,
    /// Its streams that stand still, and where.
    pub parked: Letters,
    /// Why it goes no further until the next start, as when its tables are not as its statements want them.
    pub stopped: Option<String>,
}

/// How all read models stand.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Each read model, in the order in which they were given.
    pub models: Vec<Status>,
    /// The last thing that did not work, until it works again. It is tried again by itself.
    pub last_error: Option<String>,
}

/// Read models at work: a follower that writes, and connections that read. Cheap to clone. The follower stops when the program's
/// tasks do, or when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct EmbeddedReadModels {
    models: Arc<[EmbeddedModel]>,
    shown: watch::Receiver<Standing>,
    requests: mpsc::Sender<Request>,
    readers: Readers,
    _stop: Arc<DropGuard>,
}

impl EmbeddedReadModels {
    /// Opens the file for this process alone, makes tables where there are none or where they have another shape, and follows
    /// the log from the lowest checkpoint.
    ///
    /// # Errors
    /// [`OpenError`]. Nothing is followed then.
    pub async fn open(setup: Setup) -> Result<Self, OpenError> {
        let Setup { path, ids, models, store, tasks } = setup;
        let (handle, log, file, all) = (Handle::current(), Arc::clone(&store), path.clone(), models.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let lock = file::hold(&file)?;
            let mut writer = Writer::open(&file, Some(lock), ids, &all)?;
            let checked = handle.block_on(check_log(&mut writer, &*log, &all));
            checked.map_err(|ended| refused(file.display().to_string(), ended))?;
            Ok(writer)
        });
        let broken = |error| OpenError::Unusable {
            path: path.display().to_string(),
            source: std::io::Error::other(error).into(),
        };
        let writer = opening.await.map_err(broken)??;
        let status = |model: &EmbeddedModel| Status { name: model.name, ..Status::default() };
        let standing = Standing { models: models.iter().map(status).collect(), last_error: None };
        let (shown, (sender, requests)) = (watch::Sender::new(standing), mpsc::channel(MOST_REQUESTS));
        let stopping = tasks.stopping().child_token();
        let opened = Self {
            models: models.as_slice().into(),
            shown: shown.subscribe(),
            requests: sender,
            readers: Readers::of(path),
            _stop: Arc::new(stopping.clone().drop_guard()),
        };
        follow(&tasks, Follower { models, store, writer, shown, requests, stopping });
        Ok(opened)
    }

    /// Waits until the rows of all read models contain a position, at most `within`. Whether they do.
    pub async fn reached(&self, position: Position, within: Duration) -> bool {
        let mut shown = self.shown.clone();
        let all = shown.wait_for(|shown| shown.models.iter().all(|model| model.position >= position));
        matches!(tokio::time::timeout(within, all).await, Ok(Ok(_)))
    }

    /// Runs a query on a connection that reads. All that it reads reflects one position of each read model, which is not below
    /// any that [`Self::reached`] has confirmed before.
    ///
    /// # Errors
    /// What SQLite says; [`SqliteError::Io`] if the query panics.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SqliteError> {
        self.readers.read(query).await
    }

    /// How the read models stand.
    pub fn standing(&self) -> Standing {
        self.shown.borrow().clone()
    }

    /// The streams that stand still, each with its read model and the event that cannot be applied. All are tried again at
    /// the next start, and by a rebuild.
    pub fn parked(&self) -> Vec<(&'static str, StreamName, Letter)> {
        let shown = self.shown.borrow();
        let letters = shown.models.iter().flat_map(|model| model.parked.iter().map(move |at| (model.name, at)));
        letters.map(|(name, (stream, letter))| (name, stream.clone(), letter.clone())).collect()
    }

    /// Folds a read model again from the beginning of the log, in one transaction, and waits for it. Readers see the rows that
    /// are there until it commits; meanwhile no read model goes on. A process that dies in the middle has changed nothing.
    /// Dropped while it waits, it is done all the same.
    ///
    /// # Errors
    /// [`RebuildError`]. The rows are as they were.
    pub async fn rebuild(&self, name: &str) -> Result<Applied, RebuildError> {
        let model = self.models.iter().find(|model| model.name == name).copied();
        let model = model.ok_or_else(|| RebuildError::Unknown(name.to_owned()))?;
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { model, reply }).await.map_err(|_| RebuildError::Stopped)?;
        answer.await.unwrap_or(Err(RebuildError::Stopped))
    }
}

/// Why a file is not opened that was looked at already.
fn refused(path: String, ended: Ended) -> OpenError {
    let gone = |what: Ended| SqliteError::Io(std::io::Error::other(what.to_string()));
    match ended {
        Ended::OtherLog => OpenError::OtherLog { path },
        Ended::Ahead { seen, head } => OpenError::Ahead { path, seen, head },
        Ended::Log(error) => OpenError::Log(error),
        Ended::Sqlite(source) => OpenError::Unusable { path, source },
        ended @ (Ended::Stopping | Ended::Fenced) => OpenError::Unusable { path, source: gone(ended) },
    }
}

/// Runs the follower on a thread of its own, as a task of the program.
fn follow(tasks: &Tasks, follower: Follower) {
    let handle = Handle::current();
    let running = tokio::task::spawn_blocking(move || handle.block_on(follower.run()));
    tasks.spawn("embedded-read-models", async move {
        if let Err(error) = running.await {
            tracing::error!(%error, "the follower of the read models has panicked; they stand still");
        }
    });
}
