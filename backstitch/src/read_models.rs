//! The read side's Postgres: a private one, started beside the write path and not before it, or a given one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use projection_service::{Progress, State};
use service_kit::Tasks;
use service_kit::health::Reporter;
use service_kit::postgres::{PostgresError, PrivatePostgres, Settings};
use tokio::sync::watch;

use crate::system::StartError;

/// The read models' database in the private cluster.
pub(crate) const DATABASE: &str = "backstitch";
/// How often the read models are looked at: until they are up, so that the start is told when it is, and after that
/// for `/health`.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// The private cluster, once it runs; taken out to be stopped.
pub(crate) type Slot = Arc<Mutex<Option<PrivatePostgres>>>;

/// Where the read models' Postgres comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A running one, by URL.
    Given(String),
    /// A private one in this folder.
    Private(PathBuf),
}

impl Source {
    /// For people; never a password.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Given(url) => {
                let place = url.rsplit_once('@').map_or(url.as_str(), |(_, place)| place);
                format!("Postgres at {}", place.trim_start_matches("postgres://").trim_start_matches("postgresql://"))
            }
            Self::Private(folder) => format!("Postgres (private), {}", folder.display()),
        }
    }
}

/// Starts the cluster if it is private, and tells `url` when it can be asked. What makes that impossible is `fatal`.
pub(crate) async fn open(
    source: Source,
    slot: Slot,
    url: watch::Sender<Option<String>>,
    fatal: Arc<watch::Sender<Option<StartError>>>,
    tasks: Tasks,
) {
    let folder = match source {
        Source::Given(given) => {
            url.send_replace(Some(given));
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
    let failed = |error: &PostgresError| StartError::of_postgres(error);
    let postgres = PrivatePostgres::start(folder, Settings::server()).await.map_err(|error| failed(&error))?;
    let url = postgres.database(DATABASE).await.map_err(|error| {
        StartError::new(
            format_args!("the private Postgres cannot make its database: {error}"),
            "read postgres.log in the data folder",
        )
    });
    let (socket, ms) = (postgres.url(DATABASE), begun.elapsed().as_millis());
    // Held for a move only; a panic elsewhere leaves it whole.
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(postgres);
    tracing::info!(url = %socket, ms, "the private Postgres runs; look in with psql");
    url
}

/// Tells how the read models are until the service stops; `up` becomes true once all of them follow the log.
pub(crate) async fn watch_over(progress: Arc<Progress>, health: Reporter, up: watch::Sender<bool>, tasks: Tasks) {
    let stopping = tasks.stopping();
    loop {
        let statuses = progress.statuses();
        let trouble = statuses.iter().find(|status| match status.state {
            State::Running => false,
            State::Starting | State::Stopped | State::Down => true,
        });
        match trouble {
            None => {
                let behind = statuses.iter().map(|status| status.position).min().unwrap_or_default();
                health.up_with(format_args!("at position {behind}"));
                up.send_if_modified(|up| !std::mem::replace(up, true));
            }
            Some(status) => {
                let why = status.last_error.as_deref().unwrap_or("Postgres is being started");
                let detail = format!("{}: {why}", status.name);
                match status.state {
                    State::Starting => health.starting(detail),
                    State::Running | State::Stopped | State::Down => health.down(detail),
                }
            }
        }
        let pause = if *up.borrow() { LOOK.1 } else { LOOK.0 };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let place = |url: &str| Source::Given(url.to_owned()).place();
        assert_eq!(place("postgres://user:secret@db.example/shop"), "Postgres at db.example/shop");
        assert_eq!(place("postgres:///shop?host=/run"), "Postgres at /shop?host=/run");
    }
}
