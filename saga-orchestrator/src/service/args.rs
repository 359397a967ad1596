//! `saga-orchestrator` on the command line, the same in its own binary and as a verb of `backstitch`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use service_kit::{Clock, Health, StartError, Tasks, process, telemetry};

use super::{Config, Service, open_log};
use crate::CommandsClient;

/// How long what watches over the log may take to end.
const WATCH_GRACE: Duration = Duration::from_millis(200);

/// Runs the sagas as one of several processes over a shared log: fed by Kafka, commands by gRPC.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings come from the defaults, then `backstitch.toml` (here, or --config), then the environment
(`BACKSTITCH__BUS__BROKERS` is `brokers` in `[bus]`), then these options; the last one wins.

Examples, beside `backstitch store serve`, `backstitch relay` and `backstitch command-service`:
  export BACKSTITCH__EVENT_STORE__URL='kurrentdb://127.0.0.1:2113?tls=false'
  export BACKSTITCH__BUS__BROKERS=127.0.0.1:9092
  export BACKSTITCH__SAGA__COMMANDS_URL=http://127.0.0.1:7405,http://127.0.0.1:7406
  backstitch saga-orchestrator --listen 127.0.0.1:7431")]
pub struct Args {
    /// Where to listen for HTTP; port 0 takes a free one [default: 127.0.0.1:7400].
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
    /// [`StartError`] when it cannot start, or not go on.
    pub async fn run(self) -> Result<(), StartError> {
        process::on_all_processors("saga-orchestrator", serve(self.config()?)).await
    }

    fn config(&self) -> Result<Config, StartError> {
        let (mut config, mut started) = process::settings::<Config>("saga-orchestrator", self.config.as_deref())?;
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
        .map_err(|error| StartError::new(error, "RUST_LOG=info backstitch saga-orchestrator"))?;
    let signal = process::signal()?;
    let commands = Arc::new(commands(&config)?);
    let (clock, watch) = (Clock::system(), Tasks::new());
    let health = Health::new(clock.clone());
    let store = open_log(&config, &health, &watch).await?;
    let service = Service::start(&config, store.clone(), commands, health, clock).await?;
    let (http, brokers) = (service.address, config.bus.brokers.as_deref().unwrap_or_default());
    tracing::info!(%http, brokers, event_store = store.address(), "the saga orchestrator runs what is assigned to it");
    let outcome = tokio::select! {
        signal = signal => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        error = service.fatal() => Err(error),
    };
    let stops = async {
        service.stop().await;
        store.close();
        watch.shut_down(WATCH_GRACE).await;
    };
    process::stop(stops, "another replica continues where it stopped").await.and(outcome)
}

/// The way to those who carry commands out.
fn commands(config: &Config) -> Result<CommandsClient, StartError> {
    const HINT: &str =
        "export BACKSTITCH__SAGA__COMMANDS_URL=http://127.0.0.1:7405   # backstitch command-service --grpc-listen";
    let Some(urls) = &config.saga.commands_url else {
        return Err(StartError::new("nobody to send commands to: `saga.commands_url` is not set", HINT));
    };
    let addresses = urls.split(',').map(|url| url.trim().parse()).collect::<Result<Vec<_>, String>>();
    let client = addresses.and_then(CommandsClient::new);
    client.map_err(|error| StartError::new(format_args!("`saga.commands_url`: {error}"), HINT))
}
