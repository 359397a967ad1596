//! A log in a folder of its own, served by this process, that can be stopped and started again on the same port.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use event_store::serve::{ServeOptions, Server};
use event_store::sqlite::Faults;
use event_store::{EventStoreConfig, SqliteOptions, SqliteStore};
use secret::Key;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

/// A served log.
pub struct Served {
    pub address: SocketAddr,
    pub log: Arc<SqliteStore>,
    pub faults: Faults,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    /// The server's own: when it is shut down, nothing of the server goes on.
    runtime: Option<Runtime>,
}

impl Served {
    /// Serves the log in the folder; on a free port, or on the one it had.
    pub async fn start(dir: &Path, address: Option<SocketAddr>) -> Self {
        Self::start_for(dir, address, None).await
    }

    /// The same for one user with a password.
    pub async fn start_for(dir: &Path, address: Option<SocketAddr>, user: Option<(&str, &str)>) -> Self {
        let faults = Faults::default();
        let options = SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() };
        let log = SqliteStore::open(dir, options).unwrap();
        let address = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = EventStoreConfig {
            listen: Some(address),
            user: user.map(|(user, _)| user.to_owned()),
            password: user.map(|(_, password)| Key::new(password).unwrap()),
            ..EventStoreConfig::default()
        };
        let options = ServeOptions::from_config(&config).unwrap().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, bind) = oneshot::channel();
        let its_log = log.clone();
        let serving = runtime.spawn(async move {
            let server = Server::bind(its_log, options).await.unwrap();
            bound.send(server.address).unwrap();
            server.run(async move { drop(stopped.await) }).await.unwrap();
        });
        Self { address: bind.await.unwrap(), log, faults, stop: Some(stop), serving, runtime: Some(runtime) }
    }

    /// Stops as a server is stopped: appends on their way are answered.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.serving).await.unwrap();
        self.kill().await;
    }

    /// Stops in the middle of everything: connections break, answers are lost.
    pub async fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10))).await.unwrap();
        self.log.close().await;
    }

    /// What a client connects with.
    pub fn url(&self) -> String {
        url(self.address)
    }
}

/// What a client connects with; its pauses are short, as tests are.
pub fn url(address: SocketAddr) -> String {
    format!("kurrentdb://{address}?tls=false&discoveryInterval=10&gossipTimeout=1000")
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
