//! The read side's Postgres: a private one, started beside the write path and not before it, or a given one.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use service_kit::postgres::{PostgresError, PrivatePostgres, Settings};
use service_kit::secret::SecretUrl;
use service_kit::{StartError, Tasks};
use tokio::sync::watch;

use crate::start_errors;

/// The read models' database in the private cluster.
pub const DATABASE: &str = "backstitch";

/// The private cluster, once it runs; taken out to be stopped.
pub type Slot = Arc<Mutex<Option<PrivatePostgres>>>;

/// Where the read models' Postgres comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A running one, by URL.
    Given(SecretUrl),
    /// A private one in this folder.
    Private(PathBuf),
}

impl Source {
    /// For people; never a password.
    pub fn place(&self) -> String {
        match self {
            Self::Given(url) => projection_service::config::place(url),
            Self::Private(folder) => format!("Postgres (private), {}", folder.display()),
        }
    }
}

/// Starts the cluster if it is private, and tells `url` when it can be asked. What makes that impossible is `fatal`.
pub async fn open(
    source: Source,
    slot: Slot,
    url: watch::Sender<Option<String>>,
    fatal: Arc<watch::Sender<Option<StartError>>>,
    tasks: Tasks,
) {
    let folder = match source {
        Source::Given(given) => {
            url.send_replace(Some(given.reveal().to_owned()));
            return tasks.stopping().cancelled().await; // The sender lives as long as the system.
        }
        Source::Private(folder) => folder,
    };
    // Not dropped half-way by a stop: a cluster that is being made would be left unfinished. It takes about a second.
    match private(&folder, &slot).await {
        Ok(ready) => {
            url.send_replace(Some(ready));
            tasks.stopping().cancelled().await;
        }
        Err(error) => _ = fatal.send_replace(Some(error)),
    }
}

async fn private(folder: &std::path::Path, slot: &Slot) -> Result<String, StartError> {
    let begun = tokio::time::Instant::now();
    let failed = |error: &PostgresError| start_errors::of_postgres(error);
    let postgres = PrivatePostgres::start(folder, Settings::server()).await.map_err(|error| failed(&error))?;
    let url = postgres.database(DATABASE).await.map_err(|error| {
        StartError::new(
            format_args!("the private Postgres cannot make its database: {error}"),
            "read postgres.log in the data folder",
        )
    });
    let (socket, ms) = (postgres.url(DATABASE), begun.elapsed().as_millis());
    // Held for a move only.
    *slot.lock() = Some(postgres);
    tracing::info!(url = %socket, ms, "the private Postgres runs; look in with psql");
    url
}
