//! `projection-service` on the command line, the same in its own binary and as a verb of `backstitch`.

use std::net::SocketAddr;
use std::path::PathBuf;

use service_kit::{Clock, StartError, process, telemetry};

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
        process::on_all_processors("projections", serve(self.config()?)).await
    }

    fn config(&self) -> Result<Config, StartError> {
        let (mut config, mut started) = process::settings::<Config>("projection-service", self.config.as_deref())?;
        if let Some(listen) = self.listen {
            config.http.listen = listen;
            started.option("http.listen", listen.to_string(), "--listen");
        }
        config.started = started;
        Ok(config)
    }
}

async fn serve(config: Config) -> Result<(), StartError> {
    telemetry::start(&config.log)
        .map_err(|error| StartError::new(error, "RUST_LOG=info backstitch projection-service"))?;
    let signal = process::signal()?;
    let service = Service::start(&config, Clock::system()).await?;
    tracing::info!(http = %service.address, postgres = service.postgres_place, "the projection service answers queries");
    let outcome = tokio::select! {
        name = signal => {
            tracing::info!(signal = name, "stopping");
            Ok(())
        }
        error = service.fatal() => Err(error),
    };
    process::stop(service.stop(), "another replica continues where it stopped").await.and(outcome)
}
