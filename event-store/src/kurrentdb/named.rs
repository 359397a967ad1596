//! The log that the settings name, for processes without a log of their own.

use std::sync::Arc;

use eventstore_client::SettingsError;

use super::{Health, KurrentStore};
use crate::EventStoreConfig;

/// The reason why the log of another process cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum NotNamed {
    /// The settings name no log.
    #[error("no event store: `event_store.url` is not set, and {0} has no log of its own")]
    Missing(&'static str),
    /// The URL is not an address, or one that must not be used.
    #[error("`event_store.url` cannot be used: {0}")]
    Unusable(SettingsError),
}

impl NotNamed {
    /// The command for the operator to type.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Missing(_) => {
                "export BACKSTITCH__EVENT_STORE__URL='kurrentdb://127.0.0.1:2113?tls=false'   # backstitch store serve"
            }
            Self::Unusable(_) => "kurrentdb://user:password@host:2113?tls=false",
        }
    }
}

impl KurrentStore {
    /// Opens the log that `[event_store] url` names, for `who` ("a relay"). An unreachable log is not an error: its
    /// answer is awaited.
    ///
    /// # Errors
    /// [`NotNamed`].
    pub async fn named(config: &EventStoreConfig, who: &'static str) -> Result<Arc<Self>, NotNamed> {
        let url = config.url.as_ref().ok_or(NotNamed::Missing(who))?;
        Self::connect(url.reveal()).await.map_err(NotNamed::Unusable)
    }

    /// Describes for people what [`Self::health`] shows: where the log is and its version, or why it cannot be used.
    pub fn describes(&self) -> impl Fn(&Health) -> Result<String, String> + use<> {
        let address = self.address().to_owned();
        move |health| match health {
            Health::Connected { version, .. } => Ok(format!("{address}, {version}")),
            Health::Away { attempts, reason, .. } => Err(format!("{address} is away ({attempts} tries): {reason}")),
            Health::Closed => Err("closed".to_owned()),
        }
    }
}
