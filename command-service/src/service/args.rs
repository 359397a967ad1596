//! `command-service` on the command line, the same in its own binary and as a verb of `backstitch`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use event_store::EventStore;
use service_kit::{Clock, Health, StartError, Tasks, process, telemetry};

use super::{Config, Service, open_log};
use crate::contexts::Contexts;

/// How long what watches over the log may take to end.
const WATCH_GRACE: Duration = Duration::from_millis(200);

/// Runs the write side as one of several processes over a shared log: commands by HTTP and gRPC, the payment provider.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings come from the defaults, then `backstitch.toml` (here, or --config), then the environment
(`BACKSTITCH__GRPC__LISTEN` is `listen` in `[grpc]`), then these options; the last one wins.

Examples, beside `backstitch store serve` and `backstitch provider-sim`:
  export BACKSTITCH__EVENT_STORE__URL='kurrentdb://127.0.0.1:2113?tls=false'
  export BACKSTITCH__PROVIDER__MODE=http
  export BACKSTITCH__PROVIDER__WEBHOOK_SECRET=at-least-24-bytes-and-the-same-for-both
  backstitch command-service --listen 127.0.0.1:7411 --grpc-listen 127.0.0.1:7405
  backstitch command-service --listen 127.0.0.1:7412 --contexts order,product   # only these")]
pub struct Args {
    /// Where to listen for HTTP; port 0 takes a free one [default: 127.0.0.1:7400].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where to listen for gRPC; port 0 takes a free one [default: nowhere].
    #[arg(long, value_name = "ADDRESS:PORT")]
    grpc_listen: Option<SocketAddr>,
    /// What to serve: any of order,payment,stock,product,shipment [default: all].
    #[arg(long, value_name = "CONTEXTS")]
    contexts: Option<Contexts>,
    /// The settings file [default: backstitch.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Args {
    /// Runs until a signal comes, on a runtime with a thread for each processor.
    ///
    /// # Errors
    /// [`StartError`] when it cannot start.
    pub async fn run(self) -> Result<(), StartError> {
        process::on_all_processors("command-service", serve(self.config()?)).await
    }

    fn config(&self) -> Result<Config, StartError> {
        let (mut config, mut started) = process::settings::<Config>("command-service", self.config.as_deref())?;
        if let Some(listen) = self.listen {
            config.http.listen = listen;
            started.option("http.listen", listen.to_string(), "--listen");
        }
        if let Some(listen) = self.grpc_listen {
            config.grpc.listen = Some(listen);
            started.option("grpc.listen", listen.to_string(), "--grpc-listen");
        }
        if let Some(contexts) = &self.contexts {
            config.command.contexts = contexts.clone();
            started.option("command.contexts", contexts.to_string(), "--contexts");
        }
        config.started = started;
        Ok(config)
    }
}

async fn serve(config: Config) -> Result<(), StartError> {
    telemetry::start(&config.log)
        .map_err(|error| StartError::new(error, "RUST_LOG=info backstitch command-service"))?;
    let signal = process::signal()?;
    let (clock, watch) = (Clock::system(), Tasks::new());
    let health = Health::new(clock.clone());
    let store = open_log(&config, &health, &watch).await?;
    let log: Arc<dyn EventStore> = store.clone();
    let service = Service::start(&config, log, health, clock).await?;
    let grpc = service.grpc.map_or("off".to_owned(), |address| address.to_string());
    let (http, contexts) = (service.address, &config.command.contexts);
    tracing::info!(%http, grpc, %contexts, event_store = store.address(), "the command service takes commands");
    let signal = signal.await;
    tracing::info!(signal, "stopping");
    let stops = async {
        service.stop().await;
        store.close();
        watch.shut_down(WATCH_GRACE).await;
    };
    process::stop(stops, "what was open is sent again").await
}
