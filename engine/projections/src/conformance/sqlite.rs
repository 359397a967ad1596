//! The suite on SQLite.

use std::path::PathBuf;
use std::sync::Arc;

use engine_runtime::Tasks;
use event_store::{EventStore, Position, RecordedEvent};
use eventsourcing::Namespace;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::{BOUND, Bench, Delivered, Projections, Rows, Subjects, fold};
use crate::embedded::file::{self, Unwritten, Writer};
use crate::embedded::member::{Member, Seat, write};
use crate::embedded::{EmbeddedModel, EmbeddedReadModels, OpenError, Setup, Sqlite};

/// The read models of a program, a log for them, and a folder in which nothing else is.
pub struct EmbeddedSubject {
    /// The namespace of the program.
    pub ids: Namespace,
    /// The read models. No event of the log may park a stream of theirs.
    pub models: Vec<EmbeddedModel>,
    /// A log with events of several streams that they take, several of each.
    pub store: Arc<dyn EventStore>,
    /// The folder of the file. Each rule makes the file anew.
    pub folder: PathBuf,
    /// What random choices follow from.
    pub seed: u64,
}

impl Subjects for EmbeddedSubject {
    type Bench = File;

    async fn bench(&self) -> File {
        let (models, store) = (self.models.clone(), Arc::clone(&self.store));
        File { ids: self.ids, models, store, path: self.folder.join("conformance.db") }
    }

    fn log(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

/// The file at work.
pub struct File {
    ids: Namespace,
    models: Vec<EmbeddedModel>,
    store: Arc<dyn EventStore>,
    path: PathBuf,
}

impl File {
    /// Opens the file without its lock, so that the epoch alone tells who may write.
    fn writer(&self) -> Writer {
        Writer::open(&self.path, None, self.ids, &self.models).unwrap()
    }

    fn reader(&self) -> Connection {
        file::connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }

    async fn open(&self, tasks: &Tasks) -> Result<EmbeddedReadModels, OpenError> {
        let (path, models, store) = (self.path.clone(), self.models.clone(), Arc::clone(&self.store));
        EmbeddedReadModels::open(Setup { path, ids: self.ids, models, store, tasks: tasks.clone() }).await
    }
}

impl Bench for File {
    type Store = Sqlite;
    type Runner = Runner;

    async fn empty(&self) {
        for beside in ["", "-wal", "-shm"] {
            let path = format!("{}{beside}", self.path.display());
            assert!(std::fs::remove_file(&path).is_ok() || !PathBuf::from(&path).exists(), "{path} is still there");
        }
        self.writer();
    }

    async fn start(&self) -> Runner {
        let writer = self.writer();
        let seat = |model: &EmbeddedModel| Member::new(Seat::stored(&writer.connection, *model).unwrap());
        let members = self.models.iter().map(seat).collect();
        Runner { writer, members }
    }

    async fn write(&self, runner: Runner, Delivered(mut batch): Delivered) -> Option<Runner> {
        let Runner { mut writer, members } = runner;
        batch.keeps = true;
        match write(&mut writer, &*self.store, members, &batch).await {
            Ok((members, _)) => Some(Runner { writer, members }),
            Err(Unwritten::Fenced) => None,
            Err(error @ Unwritten::Sqlite(_)) => panic!("{error}"),
        }
    }

    async fn positions(&self) -> Vec<(&'static str, Position)> {
        let sql = self.reader();
        self.models.iter().map(|model| (model.name, file::position(&sql, model).unwrap())).collect()
    }

    fn projections(&self) -> Projections<Sqlite> {
        self.models.iter().map(|model| (model.make)()).collect()
    }

    async fn apply(&self, projections: Projections<Sqlite>, events: Vec<Arc<RecordedEvent>>) -> Projections<Sqlite> {
        let applying = async |sql: &mut Connection| fold::<Sqlite>(sql, &*self.store, projections, &events).await;
        self.writer().tx(applying).await.unwrap()
    }

    async fn die(&self, events: Vec<Arc<RecordedEvent>>) {
        let dying = async |sql: &mut Connection| {
            fold::<Sqlite>(sql, &*self.store, self.projections(), &events).await?;
            Err::<(), _>(std::io::Error::other("killed").into())
        };
        let killed = self.writer().tx(dying).await;
        assert!(matches!(killed, Err(Unwritten::Sqlite(_))));
    }

    async fn rows(&self) -> Rows {
        let sql = self.reader();
        let mut rows = Rows::new();
        for table in self.models.iter().flat_map(|model| model.tables) {
            let mut statement = sql.prepare(&format!("select * from {table}")).unwrap();
            let cells = 0..statement.column_count();
            let text = |row: &rusqlite::Row<'_>| {
                let cells =
                    cells.clone().map(|cell| row.get::<_, Value>(cell)).collect::<rusqlite::Result<Vec<_>>>()?;
                Ok(format!("{cells:?}"))
            };
            let mut found: Vec<String> = statement.query_map([], text).unwrap().map(Result::unwrap).collect();
            found.sort();
            rows.insert((*table).to_owned(), found);
        }
        rows
    }

    async fn rebuild(&self, head: Position) {
        let tasks = Tasks::new();
        let opened = self.open(&tasks).await.unwrap();
        let second = self.open(&tasks).await;
        assert!(matches!(second.map(drop), Err(OpenError::Locked { .. })), "a second one opens the same file");
        assert!(opened.reached(head, BOUND).await, "{:?}", opened.standing());
        let before = self.rows().await;
        for model in &self.models {
            let rebuilt = opened.rebuild(model.name).await.unwrap();
            assert!(rebuilt.moved(), "{} was not folded again", model.name);
        }
        assert_eq!(self.rows().await, before);
        assert!(opened.reached(head, BOUND).await, "{:?}", opened.standing());
        assert!(tasks.shut_down(BOUND).await, "the follower did not stop");
    }
}

/// The read models as a program that has just started has them.
pub struct Runner {
    writer: Writer,
    members: Vec<Member>,
}
