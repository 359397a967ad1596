//! `backstitch serve`: the whole system until Ctrl-C.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use all_in_one::{Config, System, config};
use command_service::provider::{Mode, ProviderConfig};
use event_store::SqliteOptions;
use service_kit::{Clock, StartError, shutdown, telemetry};
use terminal::{Exit, Failure, output};

/// How long a fault of the set-up takes to show: it is found before the first process is started.
const SHOWS_AT_ONCE: Duration = Duration::from_millis(300);

/// Runs everything in one process: log, commands, read models, sagas, one HTTP port.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings come from the defaults, then `backstitch.toml` (here, or --config), then the environment
(`BACKSTITCH__HTTP__LISTEN` is `listen` in `[http]`), then these options; the last one wins.

Examples:
  backstitch serve
  backstitch serve --data /srv/shop --listen 0.0.0.0:7400
  DATABASE_URL=postgres://user:password@host/shop backstitch serve
  backstitch serve --provider http://127.0.0.1:7401   # beside `backstitch provider-sim`
  backstitch serve --event-store-listen 127.0.0.1:2113   # the log for other processes, too
  backstitch serve --provider instant --no-projections --no-sagas   # only commands, as `bench commands` does")]
pub struct Args {
    /// The folder of the log, the private Postgres and the simulated bank [default: /var/lib/backstitch for root, else
    /// ~/.local/share/backstitch].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7400].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Serves the log to other processes, over KurrentDB's gRPC protocol, at this address [default: not].
    #[arg(long, value_name = "ADDRESS:PORT")]
    event_store_listen: Option<SocketAddr>,
    /// The settings file [default: backstitch.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The payment provider: `in-process` (simulated, its ledger in the data folder), `instant` (simulated, keeps
    /// nothing: for benches), or the URL of a `backstitch provider-sim` [default: in-process].
    #[arg(long, value_name = "PROVIDER", value_parser = provider)]
    provider: Option<Provider>,
    /// Keeps no read models and needs no Postgres; queries answer 503.
    #[arg(long)]
    no_projections: bool,
    /// Runs no sagas: orders stay as they were placed.
    #[arg(long)]
    no_sagas: bool,
    #[command(flatten)]
    log: LogFolder,
}

/// What the operator says about a log that is not as a server left it.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct LogFolder {
    /// Begins with an empty log though the folder shows that there was another one, whose files are kept under other names.
    #[arg(long)]
    new_log: bool,
    /// Opens a log that looks like a copy without its write-ahead log, because a tool such as sqlite3 has merged that.
    #[arg(long)]
    accept_missing_wal: bool,
}

impl LogFolder {
    /// How the log is opened.
    pub(crate) fn options(self) -> SqliteOptions {
        let Self { new_log, accept_missing_wal } = self;
        SqliteOptions { new_log, accept_missing_wal, ..SqliteOptions::default() }
    }
}

impl Args {
    /// Runs until a signal comes.
    ///
    /// # Errors
    /// A [`Failure`] when it cannot start or go on.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let config = self.config().map_err(Failure::not_started)?;
        let (run, provider) = (config.run, config.provider.clone());
        telemetry::start(&config.log).map_err(|error| Failure::no_answer(error, "RUST_LOG=info backstitch serve"))?;
        let signal = shutdown::signalled()?; // Before anything runs: an early Ctrl-C stops cleanly too.
        let system =
            System::start_with(config, Clock::system(), self.log.options()).await.map_err(Failure::not_started)?;
        // What cannot work (no Postgres binaries, a folder that its user cannot enter) shows at once: told instead of the
        // banner, not after it. A first start makes a cluster for a second, and is not waited for.
        tokio::select! {
            error = system.fatal() => {
                system.stop().await;
                return Err(Failure::not_started(error));
            }
            _ = system.up() => {}
            () = tokio::time::sleep(SHOWS_AT_ONCE) => {}
        }
        banner(&system, run, &provider);
        let outcome = tokio::select! {
            name = signal => {
                tracing::info!(signal = name, "stopping");
                Ok(Exit::Done)
            }
            error = system.fatal() => Err(Failure::not_started(error)),
        };
        let second = shutdown::signalled()?;
        tokio::select! {
            () = system.stop() => {}
            _ = second => return Err(Failure::no_answer("stopped at once by a second signal", "backstitch serve   # continues where it stopped")),
        }
        tracing::info!("stopped");
        outcome
    }

    fn config(&self) -> Result<Config, StartError> {
        let settings = config::load_to_tell("serve", self.config.as_deref());
        let mut config = settings
            .map_err(|error| StartError::new(error, "backstitch serve --help; docs/backstitch.toml has every key"))?;
        if let Some(dir) = &self.data {
            config.data.dir.clone_from(dir);
            config.started.option("data.dir", dir.display().to_string(), "--data");
        }
        if let Some(listen) = self.listen {
            config.http.listen = listen;
            config.started.option("http.listen", listen.to_string(), "--listen");
        }
        if let Some(listen) = self.event_store_listen {
            config.event_store.listen = Some(listen);
            config.started.option("event_store.listen", listen.to_string(), "--event-store-listen");
        }
        if let Some(url) = &config.event_store.url {
            return Err(StartError::new(
                format_args!("`serve` keeps a log of its own, but `url` of `[event_store]` names another: {url}"),
                "backstitch command-service; backstitch projection-service; …   # the services of a cluster, or take `url` out",
            ));
        }
        self.choose_parts(&mut config);
        Ok(config)
    }

    /// Which provider is called, and which parts run.
    fn choose_parts(&self, config: &mut Config) {
        const PROVIDER: &str = "--provider";
        match self.provider.clone() {
            Some(Provider::Here(mode)) => config.provider.mode = mode,
            Some(Provider::Process(url)) => {
                config.started.option("provider.url", url.clone(), PROVIDER);
                (config.provider.mode, config.provider.url) = (Mode::Http, url);
            }
            None => {}
        }
        if self.provider.is_some() {
            config.started.option("provider.mode", config.provider.mode.to_string(), PROVIDER);
        }
        if self.no_projections {
            config.run.projections = false;
            config.started.option("run.projections", false, "--no-projections");
        }
        if self.no_sagas {
            config.run.sagas = false;
            config.started.option("run.sagas", false, "--no-sagas");
        }
    }
}

/// What `--provider` names.
#[derive(Debug, Clone)]
enum Provider {
    /// One in this process.
    Here(Mode),
    /// A process of its own, by URL.
    Process(String),
}

fn provider(text: &str) -> Result<Provider, String> {
    match text {
        "in-process" => Ok(Provider::Here(Mode::InProcess)),
        "instant" => Ok(Provider::Here(Mode::Instant)),
        url if url.starts_with("http://") && !url.contains('@') => Ok(Provider::Process(url.to_owned())),
        _ => Err("give `in-process`, `instant` or a URL such as http://127.0.0.1:7401".to_owned()),
    }
}

/// Where things are, and what to try first.
fn banner(system: &System, run: config::Run, provider: &ProviderConfig) {
    let (url, data) = (system.url(), system.data.display());
    let off = |on: bool, text: String| if on { text } else { "off".to_owned() };
    output::announce(format_args!("Backstitch {} serves {url}", crate::cli::VERSION));
    let paid = match provider.mode {
        Mode::InProcess => format!("simulated provider, in process   ({url}/v1/provider/ledger)"),
        Mode::Instant => "simulated provider, instant: keeps nothing".to_owned(),
        Mode::Http => format!("provider at {}", provider.url),
    };
    let rows = [
        ("API", format!("{url}/docs   (OpenAPI 3.1: {url}/openapi.json)")),
        ("health", format!("{url}/health")),
        ("data", data.to_string()),
        ("event log", system.store.path().display().to_string()),
        ("served log", system.served_log().map_or_else(|| "off".to_owned(), str::to_owned)),
        ("read models", system.postgres_place().to_owned()),
        ("payments", paid),
        ("sagas", off(run.sagas, "on".to_owned())),
    ];
    for (name, value) in rows {
        output::announce(format_args!("  {name:<12} {value}"));
    }
    output::announce("\nA first product (README.md goes on from here; Ctrl-C stops):\n");
    output::announce(format_args!(
        "  curl -sS {url}/v1/products -H 'Content-Type: application/json' -H 'Idempotency-Key: first-product' \\\n    \
         -d '{{\"sku\":\"MUG\",\"name\":\"A mug\",\"price\":{{\"amount\":1299,\"currency\":\"EUR\"}}}}'\n"
    ));
}
