//! The settings of `serve`: the settings of each service with their defaults, together as the sections of
//! `backstitch.toml`.

use std::path::{Path, PathBuf};

use projection_service::config::PostgresConfig;
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::telemetry::LogConfig;
use service_kit::{HttpConfig, Limits};

use gateway::GatewayConfig;

/// Everything that can be set. A key `k` of the section `[s]` is `BACKSTITCH__S__K` in the environment. Sections of other
/// processes are passed by, unknown ones are refused: see [`service_kit::config`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `[http]`
    pub http: HttpConfig,
    /// `[grpc]`: commands and followers from other processes.
    pub grpc: command_service::config::GrpcConfig,
    /// `[limits]`: bounds of the edge.
    pub limits: Limits,
    /// `[pricing]`: tax and shipping.
    pub pricing: domain::order::pricing::PricingPolicy,
    /// `[data]`
    pub data: Data,
    /// `[event_store]`: which log, and whether ours is served to other processes.
    pub event_store: event_store::EventStoreConfig,
    /// `[postgres]`
    pub postgres: PostgresConfig,
    /// `[projections]`: the read side.
    pub projections: projection_service::Config,
    /// `[provider]`: which payment provider is called.
    pub provider: command_service::provider::ProviderConfig,
    /// `[saga]`: how long things may take, how often they are tried.
    pub saga: saga_orchestrator::SagaConfig,
    /// `[log]`: what is logged, and how.
    pub log: LogConfig,
    /// `[run]`: which parts run.
    pub run: Run,
    /// `[gateway]`: the front door of a cluster.
    pub gateway: GatewayConfig,
    /// What the process tells of them.
    #[serde(skip)]
    pub started: Started,
}

/// `[data]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// The folder of the log, the private Postgres and the simulated bank's ledger.
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: default_dir() }
    }
}

/// `[run]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// Whether read models are kept and queries answered. Without, no Postgres is needed.
    pub projections: bool,
    /// Whether sagas run. Without, orders stay as they were placed.
    pub sagas: bool,
}

impl Default for Run {
    fn default() -> Self {
        Self { projections: true, sagas: true }
    }
}

/// Where data lies when nobody says: `/var/lib/backstitch` for root (the private Postgres runs as another user, who
/// cannot enter root's home), else `backstitch` in `$XDG_DATA_HOME` or `~/.local/share`.
pub fn default_dir() -> PathBuf {
    // SAFETY: geteuid has no preconditions and cannot fail (geteuid(2)).
    if unsafe { libc::geteuid() } == 0 {
        return PathBuf::from("/var/lib/backstitch");
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    home.map_or_else(|| PathBuf::from("data"), |home| home.join("backstitch"))
}

/// Where something is kept that can be made again, such as a cluster to try things out: `/var/lib/backstitch-NAME` for root
/// (for the reason that [`default_dir`] has), else `backstitch/NAME` in `$XDG_STATE_HOME` or `~/.local/state`.
pub fn state_dir(name: &str) -> PathBuf {
    // SAFETY: geteuid has no preconditions and cannot fail (geteuid(2)).
    if unsafe { libc::geteuid() } == 0 {
        return PathBuf::from(format!("/var/lib/backstitch-{name}"));
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map_or_else(|| PathBuf::from("backstitch-state"), |state| state.join("backstitch")).join(name)
}

/// Reads the settings: `file`, else `backstitch.toml` here if there is one, then the environment (`DATABASE_URL` too).
///
/// # Errors
/// [`service_kit::config::ConfigError`], naming the key.
pub fn load(file: Option<&Path>) -> Result<Config, service_kit::config::ConfigError> {
    service_kit::config::load(service_kit::config::file(file).as_deref())
}

/// The same, with what `process` tells of them.
///
/// # Errors
/// As [`load`].
pub fn load_to_tell(process: &'static str, file: Option<&Path>) -> Result<Config, service_kit::config::ConfigError> {
    let file = service_kit::config::file(file);
    let (config, mut started) = service_kit::config::load_to_tell::<Config>(process, file.as_deref())?;
    started.default_value("data.dir", config.data.dir.display().to_string());
    Ok(Config { started, ..config })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_settings_are_all_known_and_are_the_defaults() {
        let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/backstitch.toml");
        let read: Config = service_kit::config::load(Some(Path::new(documented))).unwrap();
        // Shown as text: the parts have no equality in common, and a difference names itself.
        assert_eq!(format!("{read:#?}"), format!("{:#?}", Config::default()));
    }
}
