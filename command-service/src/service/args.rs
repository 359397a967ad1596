//! `command-service` on the command line, the same in its own binary and as a verb of `backstitch`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use event_store::EventStore;
use service_kit::config;
use service_kit::{Clock, Health, StartError, Tasks, shutdown, telemetry};

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
  export BACKSTITCH__PROVIDER__MODE=http BACKSTITCH__PROVIDER__WEBHOOK_SECRET=a-secret-of-both
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
        let config = self.config()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("command-service").build();
        let runtime =
            runtime.map_err(|error| StartError::new(format!("no threads can be started: {error}"), "ulimit -u"))?;
        let served = runtime.spawn(serve(config)).await;
        runtime.shutdown_background(); // All that it had to do has ended in `serve`.
        served.unwrap_or_else(|error| Err(StartError::new(error, "this is a fault of Backstitch's own")))
    }

    fn config(&self) -> Result<Config, StartError> {
        let settings = config::load(config::file(self.config.as_deref()).as_deref());
        let mut config: Config =
            settings.map_err(|error| StartError::new(error, "backstitch config show   # every key with its value"))?;
        if let Some(listen) = self.listen {
            config.http.listen = listen;
        }
        config.grpc.listen = self.grpc_listen.or(config.grpc.listen);
        if let Some(contexts) = &self.contexts {
            config.command.contexts = contexts.clone();
        }
        Ok(config)
    }
}

async fn serve(config: Config) -> Result<(), StartError> {
    telemetry::start(&config.log)
        .map_err(|error| StartError::new(error, "RUST_LOG=info backstitch command-service"))?;
    let no_signals = |error| StartError::new(format_args!("signals cannot be waited for: {error}"), "ulimit -a");
    let signal = shutdown::signalled().map_err(no_signals)?; // Before anything runs: an early Ctrl-C stops cleanly too.
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
    let second = shutdown::signalled().map_err(no_signals)?;
    tokio::select! {
        () = service.stop() => {}
        _ = second => return Err(StartError::new("stopped at once by a second signal", "what was open is sent again")),
    }
    store.close();
    watch.shut_down(WATCH_GRACE).await;
    tracing::info!("stopped");
    Ok(())
}
