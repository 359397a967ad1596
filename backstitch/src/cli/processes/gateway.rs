//! `backstitch gateway`: the front door of a cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gateway::GatewayConfig;
use serde::Deserialize;
use service_kit::config::{self, ConfigError, Started};
use service_kit::telemetry::LogConfig;
use service_kit::{Clock, Limits, shutdown, telemetry};
use terminal::{Exit, Failure, output};

/// What the gateway takes of all settings.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    pub limits: Limits,
    pub log: LogConfig,
    pub gateway: GatewayConfig,
    /// What the gateway tells of them.
    #[serde(skip)]
    pub started: Started,
}

impl Settings {
    /// Reads them from `file`, else from `backstitch.toml` here if there is one, then from the environment.
    fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let (settings, started) = config::load_to_tell::<Self>("gateway", config::file(file).as_deref())?;
        Ok(Self { started, ..settings })
    }
}

/// The front door of a cluster: one address before the replicas of all services.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings: `[gateway]` and `[limits]` of `backstitch.toml`, BACKSTITCH__GATEWAY__COMMANDS and so on, then these options.
What does not answer is asked again at the next replica if that is safe: reading, and whatever has an Idempotency-Key.

Examples:
  backstitch gateway --commands http://a:7411,http://b:7412 --queries http://a:7421,http://b:7422 \\
    --sagas http://a:7431
  backstitch gateway --listen 0.0.0.0:7400")]
pub struct Args {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7400].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Base URLs of the command-service replicas, separated by commas.
    #[arg(long, value_name = "URLS")]
    commands: Option<String>,
    /// Base URLs of the projection-service replicas, separated by commas.
    #[arg(long, value_name = "URLS")]
    queries: Option<String>,
    /// Base URLs of the saga-orchestrator replicas, separated by commas.
    #[arg(long, value_name = "URLS")]
    sagas: Option<String>,
    /// The settings file [default: backstitch.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Args {
    /// Runs until a signal comes.
    ///
    /// # Errors
    /// A [`Failure`] when it cannot start.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let failed = |error: anyhow::Error| Failure::no_answer(format!("{error:#}"), "backstitch gateway --help");
        let mut settings = Settings::load(self.config.as_deref()).map_err(|error| failed(error.into()))?;
        let (given, started) = (&mut settings.gateway, &mut settings.started);
        if let Some(listen) = self.listen {
            given.listen = listen;
            started.option("gateway.listen", listen.to_string(), "--listen");
        }
        for (option, name, key) in [
            (self.commands, "commands", &mut given.commands),
            (self.queries, "queries", &mut given.queries),
            (self.sagas, "sagas", &mut given.sagas),
        ] {
            if let Some(urls) = option {
                started.option(&format!("gateway.{name}"), urls.clone(), &format!("--{name}"));
                *key = urls;
            }
        }
        telemetry::start(&settings.log).map_err(|error| failed(error.into()))?;
        let signal = shutdown::signalled()?;
        let running = gateway::start(&settings.gateway, settings.limits, &settings.started, Clock::system())
            .await
            .map_err(failed)?;
        output::announce(format_args!("The gateway listens on http://{}", running.address));
        tracing::info!(signal = signal.await, "stopping");
        running.stop().await;
        Ok(Exit::Done)
    }
}
