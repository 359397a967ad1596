//! The read side as one of several replicas over one Postgres: each feeds the partitions that it is given, all answer.

use std::sync::Arc;

use event_store::{EventStore, Source};
use service_kit::{Clock, Tasks};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::database::Database;
use crate::progress::Progress;
use crate::rebuild::{Rebuilds, Wake};
use crate::regroup::Regroup;
use crate::repair::Desk;
use crate::replica::Replica;
use crate::report::Reporter;
use crate::runner::Runner;
use crate::{Config, Handle, turn};

/// What feeds partitions in this replica. Cheap to clone.
#[derive(Clone)]
pub struct Feeder {
    handle: Handle,
    board: Arc<Board>,
    names: Vec<&'static str>,
}

/// Starts to answer for the read models of all replicas; partitions are fed when the [`Feeder`] is given them. As
/// [`crate::start`] otherwise.
pub fn start_shared(
    store: Arc<dyn EventStore>,
    replica: Replica,
    url: watch::Receiver<Option<String>>,
    (clock, tasks): (Clock, Tasks),
    config: &Config,
) -> (Handle, Feeder) {
    let names = config.names();
    let progress = Progress::new(names.iter().copied());
    let database = Database::new(url, replica.partitions);
    let regroup = Arc::new(Regroup::across(database.clone()));
    let board = Board::new(database.clone(), Arc::clone(&progress), Arc::clone(&regroup), replica.partitions);
    tasks.spawn("read-models-board", Arc::clone(&board).run(tasks.clone()));
    let wake = Arc::<Wake>::default();
    let rebuilds = Rebuilds {
        store: Arc::clone(&store),
        replica: replica.clone(),
        database: database.clone(),
        progress: Arc::clone(&progress),
        regroup: Arc::clone(&regroup),
        wake: Arc::clone(&wake),
        tasks: tasks.clone(),
    };
    tasks.spawn("generations", turn::take_turns(database.clone(), rebuilds));
    let closing = (tasks.stopping(), database.clone());
    tasks.spawn("read-models-close", async move {
        closing.0.cancelled().await;
        closing.1.close().await;
    });
    let (desk, shared) = (Desk::default(), Some(Arc::clone(&board)));
    let live = Arc::default();
    let handle = Handle { progress, regroup, live, wake, desk, database, store, clock, tasks, replica, board: shared };
    (handle.clone(), Feeder { handle, board, names })
}

impl Feeder {
    /// Feeds the read models from a partition until `revoked` fires or the service stops. When this returns, nothing more
    /// of it is written by this replica.
    pub async fn feed(&self, source: Arc<dyn Source>, revoked: CancellationToken) {
        let (handle, partition) = (&self.handle, source.partition());
        let stopping = revoked.child_token();
        let runner = Runner {
            store: Arc::clone(&handle.store),
            source,
            replica: handle.replica.clone(),
            database: handle.database.clone(),
            report: Reporter {
                progress: Arc::clone(&handle.progress),
                board: Some(Arc::clone(&self.board)),
                partition,
            },
            regroup: Arc::clone(&handle.regroup),
            stopping: stopping.clone(),
            names: self.names.clone(),
        };
        let mut requests = handle.desk.open(partition);
        let ending = handle.tasks.stopping();
        {
            let mut running = std::pin::pin!(runner.run(&mut requests));
            tokio::select! {
                () = &mut running => {}
                () = ending.cancelled() => {
                    stopping.cancel();
                    running.await;
                }
            }
        }
        handle.desk.close(partition, requests);
    }
}

impl std::fmt::Debug for Feeder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feeder({})", self.handle.replica.name)
    }
}
