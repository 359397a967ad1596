//! The cluster's Postgres: the private one of `serve`, kept by a process of its own at a port that stays.

use std::path::Path;

use all_in_one::read_models::DATABASE;
use all_in_one::start_errors;
use service_kit::postgres::{PostgresError, PrivatePostgres, Settings};
use service_kit::shutdown;
use terminal::Failure;

/// Keeps a Postgres in `folder` at `port` until a signal comes; one that is killed is started again.
///
/// # Errors
/// If it does not start.
pub async fn keep(folder: &Path, port: u16) -> anyhow::Result<()> {
    let signal = shutdown::signalled()?;
    let failed = |error: PostgresError| Failure::not_started(start_errors::of_postgres(&error));
    let settings = Settings { port: Some(port), max_connections: 120, ..Settings::server() };
    let postgres = PrivatePostgres::start(folder, settings).await.map_err(failed)?;
    postgres.database(DATABASE).await?;
    tracing::info!(port, "Postgres runs");
    signal.await;
    postgres.stop().await;
    Ok(())
}
