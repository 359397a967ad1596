//! `projection-service` on the command line, the same in its own binary and as a verb of `backstitch`.

use std::net::SocketAddr;
use std::path::PathBuf;

use service_kit::{Clock, StartError, config, shutdown, telemetry};

use super::{Config, Service};

/// Runs the read side as one of several replicas: partitions of the bus into one Postgres, queries over HTTP.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings come from the defaults, then `backstitch.toml` (here, or --config), then the environment
(`BACKSTITCH__BUS__BROKERS` is `brokers` in `[bus]`), then these options; the last one wins.

Examples, beside `backstitch store serve`, `backstitch relay`, Kafka and Postgres:
  export BACKSTITCH__EVENT_STORE__URL='kurrentdb://127.0.0.1:2113?tls=false'
  export BACKSTITCH__BUS__BROKERS=127.0.0.1:9092 DATABASE_URL=postgres://user:password@host/shop
  backstitch projection-service --listen 127.0.0.1:7421
  backstitch projection-service --listen 127.0.0.1:7422   # shares the partitions with the first")]
pub struct Args {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7400].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The settings file [default: backstitch.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Args {
    /// Runs until a signal comes, on a runtime with a thread for each processor.
    ///
    /// # Errors
    /// [`StartError`] when it cannot start or go on.
    pub async fn run(self) -> Result<(), StartError> {
        let config = self.config()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("projections").build();
        let runtime =
            runtime.map_err(|error| StartError::new(format!("no threads can be started: {error}"), "ulimit -u"))?;
        let served = runtime.spawn(serve(config)).await;
        runtime.shutdown_background(); // All that it had to do has ended in `serve`.
        served.unwrap_or_else(|error| Err(StartError::new(error, "this is a fault of Backstitch's own")))
    }

    fn config(&self) -> Result<Config, StartError> {
        let settings = config::load(config::file(self.config.as_deref()).as_deref());
        let mut config: Config = settings
            .map_err(|error| StartError::new(error, "projection-service --help; docs/backstitch.toml has every key"))?;
        if let Some(listen) = self.listen {
            config.http.listen = listen;
        }
        Ok(config)
    }
}

async fn serve(config: Config) -> Result<(), StartError> {
    telemetry::start(&config.log)
        .map_err(|error| StartError::new(error, "RUST_LOG=info backstitch projection-service"))?;
    let no_signals = |error| StartError::new(format_args!("signals cannot be waited for: {error}"), "ulimit -a");
    let signal = shutdown::signalled().map_err(no_signals)?; // Before anything runs: an early Ctrl-C stops cleanly too.
    let service = Service::start(&config, Clock::system()).await?;
    tracing::info!(http = %service.address, postgres = service.postgres_place, "the projection service answers queries");
    let outcome = tokio::select! {
        name = signal => {
            tracing::info!(signal = name, "stopping");
            Ok(())
        }
        error = service.fatal() => Err(error),
    };
    let second = shutdown::signalled().map_err(no_signals)?;
    tokio::select! {
        () = service.stop() => {}
        _ = second => return Err(StartError::new("stopped at once by a second signal", "backstitch projection-service   # goes on where it was")),
    }
    tracing::info!("stopped");
    outcome
}
