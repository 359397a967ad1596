//! What feeds partitions in one of several replicas over one Postgres.

use std::sync::Arc;

use event_store::Source;
use tokio_util::sync::CancellationToken;

use crate::engine::ProjectionEngine;
use crate::feeding::report::Reporter;
use crate::progress::board::Board;

/// What feeds partitions in this replica. Cheap to clone.
#[derive(Clone)]
pub struct Feeder {
    engine: ProjectionEngine,
    board: Arc<Board>,
}

impl Feeder {
    pub(crate) fn new(engine: ProjectionEngine, board: Arc<Board>) -> Self {
        Self { engine, board }
    }

    /// Feeds the read models from a partition until `revoked` fires or the service stops. When this returns, nothing more
    /// of it is written by this replica.
    pub async fn feed(&self, source: Arc<dyn Source>, revoked: CancellationToken) {
        let (engine, partition) = (&self.engine, source.partition());
        let stopping = revoked.child_token();
        let progress = Arc::clone(engine.progress());
        let report = Reporter { progress, board: Some(Arc::clone(&self.board)), partition };
        let runner = engine.runner(source, report, stopping.clone());
        let mut requests = engine.desk.open(partition);
        let ending = engine.tasks.stopping();
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
        engine.desk.close(partition, requests);
    }
}

impl std::fmt::Debug for Feeder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feeder({})", self.engine.replica().name)
    }
}
