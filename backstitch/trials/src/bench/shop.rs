//! The shop that is measured: the system as `serve` runs it, in this process, with only the parts that a bench is about.

use std::net::SocketAddr;
use std::sync::Arc;

use all_in_one::{Config, System};
use command_service::provider::Mode;
use event_store::EventStore;
use service_kit::Clock;

use super::Options;

/// Which parts run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// HTTP, commands, log.
    WritePath,
    /// And sagas, with the provider that answers at once.
    Sagas,
    /// And read models.
    Everything,
}

/// A running shop.
#[derive(Debug)]
pub struct Shop {
    system: System,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Starts a shop in a folder of its own, on a free port, and waits until all of it is up.
///
/// # Errors
/// If it does not start.
pub async fn start(options: &Options, case: &str, parts: Parts) -> anyhow::Result<Shop> {
    let shop = opened(options, case, parts).await?;
    shop.up().await?;
    Ok(shop)
}

/// Starts a shop and returns as soon as it takes commands.
///
/// # Errors
/// If it does not start.
pub async fn opened(options: &Options, case: &str, parts: Parts) -> anyhow::Result<Shop> {
    let mut config = Config::default();
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.data.dir = options.folder(case)?;
    config.provider.mode = Mode::Instant;
    (config.run.sagas, config.run.projections) = match parts {
        Parts::WritePath => (false, false),
        Parts::Sagas => (true, false),
        Parts::Everything => (true, true),
    };
    let system = System::start(config, Clock::system()).await?;
    Ok(Shop { address: system.address, system })
}

impl Shop {
    /// Its log.
    pub fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.system.store) as Arc<dyn EventStore>
    }

    /// Waits until all that was asked for is up.
    ///
    /// # Errors
    /// What made it fail meanwhile.
    pub async fn up(&self) -> anyhow::Result<()> {
        Ok(self.system.up().await?)
    }

    /// `http://…`
    pub fn url(&self) -> String {
        self.system.url()
    }

    /// Stops it cleanly.
    pub async fn stop(self) {
        self.system.stop().await;
    }
}
