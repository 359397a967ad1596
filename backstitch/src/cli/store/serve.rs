//! `backstitch store serve`: the log, and nothing else, for other processes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use all_in_one::edges::{self, IN_THE_CLEAR};
use all_in_one::{config, log};
use anyhow::Context;
use event_store::serve::{Bound, ServeError, ServeOptions};
use event_store::{EventStore, EventStoreConfig, SqliteStore};
use service_kit::{Tasks, shutdown, telemetry};
use terminal::{Exit, Failure, output};

use crate::cli::processes::serve::LogFolder;

/// Where KurrentDB listens too, so that clients find it.
const PORT: u16 = 2113;

/// The log on its own, served to other processes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints one line to stdout when it answers: what clients connect with. SIGTERM or Ctrl-C ends it when
what is on its way is answered. A subset of the protocol, one node: docs/operating.md says what is left out.

The password comes from the settings only, so that no list of processes shows it: `password` in
`[event_store]`, or BACKSTITCH__EVENT_STORE__PASSWORD. Without one it listens on loopback addresses only.

Examples:
  backstitch store serve
  backstitch store serve --data /srv/log --listen 127.0.0.1:2113
  BACKSTITCH__EVENT_STORE__PASSWORD=… backstitch store serve --listen 0.0.0.0:2113 --user shop \\
    --tls-cert server.pem --tls-key server-key.pem")]
pub struct Args {
    /// The data folder; a log is made where there is none [default: /var/lib/backstitch for root, else
    /// ~/.local/share/backstitch].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:2113].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Who may use it; the password is in the settings.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The certificate (chain), PEM: clients then need `tls=true`.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The settings file [default: backstitch.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    log: LogFolder,
}

impl Args {
    /// Serves until a signal comes.
    ///
    /// # Errors
    /// A [`Failure`] when it cannot start or go on.
    pub async fn run(self) -> anyhow::Result<Exit> {
        // The command line's runtime has one thread; appends and readers need all cores. It is not dropped while waiting.
        let served = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("store").build()?;
            runtime.block_on(self.serve())
        });
        served.await.context("serving the log panicked")?
    }

    async fn serve(self) -> anyhow::Result<Exit> {
        let settings = config::load_to_tell("store-serve", self.config.as_deref());
        let settings = settings.map_err(|error| Failure::no_answer(error, "backstitch store serve --help"))?;
        telemetry::start(&settings.log)
            .map_err(|error| Failure::no_answer(error, "RUST_LOG=info backstitch store serve"))?;
        settings.started.warn_of_exposed();
        let signal = shutdown::signalled()?; // Before anything runs: an early Ctrl-C stops cleanly too.
        let mut settings = settings;
        settings.data.dir = self.data.clone().unwrap_or(settings.data.dir);
        let log = log::options(&settings, self.log.options());
        let options = options(self.over(settings.event_store))?;
        let in_the_clear = options.is_in_the_clear();
        // Before the log is opened: a start without a port leaves no data folder behind.
        let port = options.bind().await.map_err(|error| failure(&error))?;
        if in_the_clear {
            tracing::warn!("{IN_THE_CLEAR}");
        }
        let store = log::open(&settings.data.dir, log).await.map_err(Failure::not_started)?;
        let tasks = Tasks::new();
        log::health::watch(Arc::clone(&store), None, &tasks);
        let ended = serve_until(signal, &store, port).await;
        tasks.stop();
        store.close().await;
        ended?;
        tracing::info!("stopped");
        Ok(Exit::Done)
    }

    /// The settings, with what was typed in their place.
    fn over(self, settings: EventStoreConfig) -> EventStoreConfig {
        let listen = self.listen.or(settings.listen);
        EventStoreConfig {
            listen: Some(listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))),
            user: self.user.or(settings.user),
            tls_cert: self.tls_cert.or(settings.tls_cert),
            tls_key: self.tls_key.or(settings.tls_key),
            ..settings
        }
    }
}

fn options(config: EventStoreConfig) -> anyhow::Result<ServeOptions> {
    let options = ServeOptions::from_config(&config).map_err(|error| failure(&error))?;
    options.context("an address to listen on was set above")
}

async fn serve_until(
    signal: impl Future<Output = &'static str> + Send,
    store: &Arc<SqliteStore>,
    port: Bound,
) -> anyhow::Result<()> {
    let server = port.serve(Arc::clone(store) as Arc<dyn EventStore>);
    tracing::info!(log = %store.path().display(), position = %*store.head().borrow(), "the log is served");
    output::announce(server.connection_string());
    let stop = async {
        let signal = signal.await;
        tracing::info!(signal, "stopping");
    };
    server.run(stop).await.map_err(|error| failure(&error))
}

/// A failure to serve the log, with the way out.
fn failure(error: &ServeError) -> anyhow::Error {
    Failure::not_started(edges::of_served_log(error))
}
