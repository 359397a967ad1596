//! `backstitch provider-sim`: the simulated payment provider as a process of its own, so that a `kill -9` of the server
//! cannot wipe what "the bank" did.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use command_service::provider::ProviderConfig;
use command_service::provider::config::SimulatedConfig;
use command_service::provider::simulated::server::{self, ServeError, ServerConfig};
use serde::Deserialize;
use service_kit::telemetry::{self, LogConfig};
use service_kit::{Clock, Tasks, shutdown};
use terminal::{Exit, Failure, output};

/// How long what is under way may take to end: a ledger's sync takes milliseconds.
const GRACE: Duration = Duration::from_secs(2);

/// The simulated payment provider as a process of its own, with its own synced ledger.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example, in two terminals:
  export BACKSTITCH__PROVIDER__WEBHOOK_SECRET=at-least-24-bytes-and-the-same-for-both
  backstitch provider-sim --ledger /tmp/bank/ledger.jsonl
  backstitch serve --provider http://127.0.0.1:7401")]
pub struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7401", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The ledger's file; made if it is not there.
    #[arg(long, default_value = "provider-ledger.jsonl", value_name = "FILE")]
    ledger: PathBuf,
    /// Where its webhooks go.
    #[arg(long, default_value = "http://127.0.0.1:7400/v1/payments/webhooks/simulated", value_name = "URL")]
    webhook_url: String,
    /// Where its chances come from: the same seed and calls give the same delays [default: as in `[provider.simulated]`].
    #[arg(long)]
    seed: Option<u64>,
    /// How long customers, failing refunds and late successes take, in milliseconds [default: as there].
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// How long an answer is withheld by the time-out scripts, in milliseconds [default: as there].
    #[arg(long, value_name = "MS")]
    withheld_ms: Option<u64>,
    /// The settings file [default: backstitch.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What it takes of all settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `[provider]`: the secret, and how the simulation behaves.
    pub provider: ProviderConfig,
    /// `[log]`
    pub log: LogConfig,
}

impl Args {
    /// Runs until a signal comes.
    ///
    /// # Errors
    /// A [`Failure`] when it cannot start.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let file = service_kit::config::file(self.config.as_deref());
        let (settings, started) = service_kit::config::load_to_tell::<Settings>("provider-sim", file.as_deref())
            .map_err(|error| Failure::no_answer(error, "backstitch config check"))?;
        telemetry::start(&settings.log)?;
        started.warn_of_exposed();
        let secret = settings.provider.webhook_secret.ok_or_else(|| {
            Failure::no_answer(
                "there is no secret to sign webhooks with: `webhook_secret` in `[provider]` is not set",
                "export BACKSTITCH__PROVIDER__WEBHOOK_SECRET=…   # the same as the server's",
            )
        })?;
        let simulated = settings.provider.simulated;
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let signal = shutdown::signalled()?;
        let config = ServerConfig {
            listen: self.listen,
            ledger: self.ledger.clone(),
            webhook_url: Some(self.webhook_url.clone()),
            secret,
            simulated: SimulatedConfig {
                seed: self.seed.unwrap_or(simulated.seed),
                delay_ms: self.delay_ms.unwrap_or(simulated.delay_ms),
                withheld_ms: self.withheld_ms.unwrap_or(simulated.withheld_ms),
                ..simulated
            },
        };
        let ledger = self.ledger.display();
        let address = server::serve(config, clock, &tasks).await.map_err(|error| {
            let hint = match &error {
                ServeError::Ledger(_) => format!("ls -l {ledger}; --ledger names another file"),
                ServeError::Listen { .. } => "backstitch provider-sim --listen 127.0.0.1:0".to_owned(),
                ServeError::Client(_) => {
                    "--webhook-url http://127.0.0.1:7400/v1/payments/webhooks/simulated".to_owned()
                }
            };
            let mut what = error.to_string();
            if let Some(cause) = std::error::Error::source(&error) {
                what.push_str(&format!(": {cause}"));
            }
            Failure::no_answer(what, hint)
        })?;
        output::announce(format_args!("The simulated payment provider serves http://{address}"));
        output::announce(format_args!("  ledger       {ledger}   (http://{address}/ledger)"));
        output::announce(format_args!("  webhooks to  {}", self.webhook_url));
        tracing::info!(signal = signal.await, "stopping");
        tasks.shut_down(GRACE).await;
        Ok(Exit::Done)
    }
}
