//! The whole system as a value: started, stopped, killed. `serve` runs one, tests run many.
//!
//! *Invariant:* whatever a system started has ended when `stop` or `kill` returns, so that another one can be started
//! on the same folder at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use event_store::sqlite::{SqliteOptions, SqliteStore};
use service_kit::health::HealthReport;
use service_kit::{Clock, StartError};
use tokio::runtime::Runtime;

use crate::config::Config;
use crate::wiring::{self, Parts};

/// How long the runtime may take to drop its tasks: they do so at their next await; what blocks is left behind.
const RUNTIME_END: Duration = Duration::from_secs(2);

/// A running system.
pub struct System {
    runtime: Option<Runtime>,
    parts: Parts,
    /// Where it listens.
    pub address: SocketAddr,
    /// The folder of its data.
    pub data: PathBuf,
    /// Its time.
    pub clock: Clock,
    /// Its log.
    pub store: Arc<SqliteStore>,
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "System({}, {})", self.address, self.data.display())
    }
}

impl System {
    /// Starts everything on a runtime of its own and returns as soon as commands are taken: Postgres may still be on
    /// its way, see [`Self::health`] and [`Self::fatal`].
    ///
    /// # Errors
    /// [`StartError`]: the folder, the log or the port cannot be used.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::start_with(config, clock, SqliteOptions::default()).await
    }

    /// As [`Self::start`], on a log with options of the caller's choice: tests order its failures with them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(config: Config, clock: Clock, log: SqliteOptions) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("backstitch").build();
        let runtime =
            runtime.map_err(|error| StartError::new(format!("no threads can be started: {error}"), "ulimit -u"))?;
        let data = config.data.dir.clone();
        let started = runtime.spawn(wiring::start(config, clock.clone(), log)).await;
        let parts = started.unwrap_or_else(|error| Err(StartError::new(error, "this is a fault of Backstitch's own")));
        match parts {
            Ok(parts) => {
                let (address, store) = (parts.address, Arc::clone(&parts.store));
                Ok(Self { runtime: Some(runtime), parts, address, data, clock, store })
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// `http://…`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How each dependency is.
    pub fn health(&self) -> HealthReport {
        self.parts.health.report()
    }

    /// How to look into the read models' Postgres, once it runs.
    pub fn postgres(&self) -> Option<String> {
        self.parts.postgres_url.borrow().clone()
    }

    /// What clients of the log connect with, if it is served.
    pub fn served_log(&self) -> Option<&str> {
        self.parts.served_log.as_deref()
    }

    /// Where the read models' Postgres is or will be, for people.
    pub fn postgres_place(&self) -> &str {
        &self.parts.postgres_place
    }

    /// Waits until everything that was asked for is up, Postgres and the read models included.
    ///
    /// # Errors
    /// What made the system fail meanwhile.
    pub async fn up(&self) -> Result<(), StartError> {
        let mut everything = self.parts.everything_up.clone();
        tokio::select! {
            _ = everything.wait_for(|up| *up) => Ok(()),
            error = self.fatal() => Err(error),
        }
    }

    /// Waits until something happens that the system cannot go on after; for ever if nothing does.
    pub async fn fatal(&self) -> StartError {
        let mut fatal = self.parts.fatal.clone();
        let failed = fatal.wait_for(Option::is_some).await.ok().and_then(|error| error.clone());
        match failed {
            Some(error) => error,
            None => std::future::pending().await, // The system has ended; nothing can fail any more.
        }
    }

    /// Stops cleanly, in less than 5 s: no new requests, then nothing that appends, then the log, then Postgres.
    pub async fn stop(mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if let Err(error) = runtime.spawn(self.parts.clone().stop()).await {
            tracing::error!(%error, "stopping failed");
        }
        end(runtime).await;
    }

    /// Drops everything where it stands, as far as a process can do that to itself: no answers, no goodbyes. Tasks end
    /// at their next await; what the log had queued may or may not be durable, as after a `kill -9`.
    pub async fn kill(mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        end(runtime).await;
        self.store.close().await; // Gives the folder free.
        self.parts.drop_postgres().await;
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // A runtime may not be dropped where one runs: this does not wait.
        }
    }
}

async fn end(runtime: Runtime) {
    // Waiting blocks, so it has a thread of its own; that one ends within the bound.
    let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(RUNTIME_END)).await;
    if let Err(error) = ended {
        tracing::error!(%error, "the runtime did not end");
    }
}
