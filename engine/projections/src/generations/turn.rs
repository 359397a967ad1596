//! One replica at a time works on generations: the one that holds a lock of Postgres, for as long as its connection lives.
//!
//! Two that work at once would do no harm (`rebuild.rs`), only everything twice. So the lock need not be exact; it must be
//! free soon after its holder has died, and Postgres sees to that when the connection ends.

use std::time::Duration;

use engine_runtime::pg;
use sqlx::{Connection as _, PgConnection};

use crate::database::{ANSWER_BOUND, Database};
use crate::generations::rebuild::Rebuilds;

/// The advisory lock of the process that works on generations.
const TURN: i64 = 0x6261_636b_7374_6765;
const TRY: &str = "select pg_try_advisory_lock($1)";
/// Between two tries to get it, and two looks at whether it is still held.
const LOOK: Duration = Duration::from_secs(1);

/// Works on generations whenever it is this replica's turn, until the service stops.
pub(crate) async fn take_turns(database: Database, rebuilds: Rebuilds) {
    let stopping = rebuilds.tasks.stopping();
    let turns = async {
        loop {
            match turn(&database, &rebuilds).await {
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "it cannot be seen whose turn it is to work on generations"),
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = turns => {}
        () = stopping.cancelled() => {}
    }
}

/// Tries until the lock is to be had, over one connection, and works for as long as it is held.
async fn turn(database: &Database, rebuilds: &Rebuilds) -> Result<(), sqlx::Error> {
    rebuilds.progress.started().await;
    let Some(pool) = database.writer().await? else { return std::future::pending().await };
    // Taken out of the pool: the lock goes with the connection, and must not go back into the pool with it.
    let mut connection = pg::detach(&pool).await?;
    while !answered(sqlx::query_scalar::<_, bool>(TRY).bind(TURN).fetch_one(&mut connection)).await? {
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!("this replica works on generations from now on");
    tokio::select! {
        () = rebuilds.work() => Ok(()),
        error = lost(&mut connection) => Err(error),
    }
}

/// What Postgres says within the time that it has for an answer.
async fn answered<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(ANSWER_BOUND, answer).await.unwrap_or_else(|_| Err(pg::late(ANSWER_BOUND)))
}

/// Waits until the connection has ended, or does not answer, and says why.
async fn lost(connection: &mut PgConnection) -> sqlx::Error {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = answered(connection.ping()).await {
            return error;
        }
    }
}
