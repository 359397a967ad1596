//! The same read model in an SQLite file: a program without Postgres.

mod conformance;
mod faults;
mod following;
mod refusals;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine_runtime::Tasks;
use event_store::Position;
use projection_engine::embedded::{EmbeddedModel, EmbeddedReadModels, OpenError, Setup};
use tempfile::TempDir;

use crate::box_office::{BOUND, BoxOffice};
use crate::table::IDS;

/// A box office, and a folder for the file of its read models.
struct Hall {
    office: BoxOffice,
    path: PathBuf,
    _folder: Option<TempDir>,
}

impl Hall {
    fn open() -> Self {
        let folder = TempDir::new().unwrap();
        Self {
            office: BoxOffice::without_database(),
            path: folder.path().join("read-models.db"),
            _folder: Some(folder),
        }
    }

    /// With the log and the file of a folder.
    fn in_folder(folder: &Path) -> Self {
        Self { office: BoxOffice::in_folder(folder), path: folder.join("read-models.db"), _folder: None }
    }

    async fn start(&self, model: EmbeddedModel) -> Running {
        self.try_start(model).await.unwrap()
    }

    async fn try_start(&self, model: EmbeddedModel) -> Result<Running, OpenError> {
        self.try_start_over(&self.office, model).await
    }

    /// Over the log of another box office.
    async fn try_start_over(&self, office: &BoxOffice, model: EmbeddedModel) -> Result<Running, OpenError> {
        let tasks = Tasks::new();
        let setup = Setup {
            path: self.path.clone(),
            ids: IDS,
            models: vec![model],
            store: office.store.clone(),
            tasks: tasks.clone(),
        };
        Ok(Running { models: EmbeddedReadModels::open(setup).await?, tasks })
    }

    /// Runs SQL on the file, as a person with `sqlite3` would.
    fn execute(&self, sql: &str) -> usize {
        rusqlite::Connection::open(&self.path).unwrap().execute(sql, []).unwrap()
    }
}

/// The read models at work.
struct Running {
    models: EmbeddedReadModels,
    tasks: Tasks,
}

impl Running {
    async fn reached(&self, position: Position) {
        assert!(self.models.reached(position, BOUND).await, "{:?}", self.models.standing());
    }

    /// Each seat with its state, its guest, how often it was held, and the version that the row has reached.
    async fn seats(&self) -> Vec<String> {
        const SEATS: &str = "select concat_ws(' ', seat, state, guest, holds, stream_version) from seats order by seat";
        let seats = |sql: &rusqlite::Connection| sql.prepare(SEATS)?.query_map([], |row| row.get(0))?.collect();
        self.models.read(seats).await.unwrap()
    }

    async fn stop(self) {
        assert!(self.tasks.shut_down(BOUND).await, "the follower did not stop");
    }
}

/// How long a wait may take that is to end in vain.
const IN_VAIN: Duration = Duration::from_millis(50);
