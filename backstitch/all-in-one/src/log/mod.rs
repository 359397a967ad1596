//! The embedded log of a process: how the settings open it, the port where others may use it, and how it is.

pub mod health;

use std::path::Path;
use std::sync::Arc;

use event_store::OpenError;
use event_store::sqlite::{SqliteOptions, SqliteStore};
use service_kit::StartError;

use crate::config::Config;
use crate::start_errors;

/// How the log is opened, by the settings.
pub fn options(config: &Config, log: SqliteOptions) -> SqliteOptions {
    let (dir, settings) = (&config.data.dir, &config.event_store);
    SqliteOptions {
        // What is served may be written by others.
        shared: log.shared || settings.listen.is_some(),
        wal_limit_bytes: settings.wal_limit_mb.saturating_mul(1 << 20),
        min_free_percent: settings.min_free_disk_percent,
        traces: vec![dir.join("postgres/data/PG_VERSION"), dir.join(command_service::provider::LEDGER)],
        ..log
    }
}

/// Opens the log of a data folder, which is made where there is none.
///
/// # Errors
/// [`StartError`]: the folder or the log cannot be used.
pub async fn open(dir: &Path, options: SqliteOptions) -> Result<Arc<SqliteStore>, StartError> {
    // Absolute: `/health` and messages name the log to people and tools that are in other folders.
    let folder = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let opened = tokio::task::spawn_blocking(move || {
        make_folder(&folder)?;
        SqliteStore::open(&folder, options)
    });
    match opened.await {
        Ok(opened) => opened.map_err(|error| start_errors::of_log(&error, dir)),
        Err(panic) => {
            Err(StartError::new(panic, "this is a fault of Backstitch's own; keep a copy of the data folder"))
        }
    }
}

/// Makes the data folder, such that the user of the private Postgres can get to his part of it and nobody can look around.
fn make_folder(dir: &Path) -> Result<(), OpenError> {
    service_kit::rights::data_folder(dir, "events.db")
        .map_err(|error| OpenError::Unusable { path: dir.display().to_string(), reason: error.to_string() })
}
