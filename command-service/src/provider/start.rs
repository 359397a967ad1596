//! Assembles the provider from its settings: the port, the driver, the intake, and the simulated provider's webhooks.

use std::path::Path;
use std::sync::Arc;

use event_store::EventStore;
use service_kit::{Clock, Tasks};

use super::config::{Mode, ProviderConfig, WebhookSecrets};
use super::driver;
use super::inbox::Inbox;
use super::intake::Intake;
use super::port::PaymentProvider;
use super::simulated::Simulator;
use super::simulated::client::HttpProvider;
use super::simulated::ledger::LedgerError;
use super::wake::Queue;
use crate::CommandBus;

/// Where the in-process provider's ledger lies in the data folder.
pub const LEDGER: &str = "provider/ledger.jsonl";

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The in-process provider's ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// `http` without a secret.
    #[error("`provider.mode` is `http` but `provider.webhook_secret` is not set; give both processes the same one")]
    NoSecret,
    /// The client.
    #[error("no client for `{url}` can be made; check `provider.url`")]
    Client {
        /// The setting.
        url: String,
        /// What reqwest says.
        #[source]
        source: reqwest::Error,
    },
}

/// A provider that is open and not yet called.
pub struct Opened {
    config: ProviderConfig,
    port: Arc<dyn PaymentProvider>,
    simulator: Option<Simulator>,
}

/// A running provider, for the HTTP API. Cheap to clone.
#[derive(Clone)]
pub struct Provider {
    /// The port to the provider.
    pub port: Arc<dyn PaymentProvider>,
    /// The intake of the provider's webhooks.
    pub intake: Intake,
    /// The results that fit no payment so far.
    pub inbox: Inbox,
    /// The kind of provider that runs.
    pub mode: Mode,
    /// URL of the provider's process, for the mode `http`.
    pub url: Option<String>,
    /// The simulated provider in this process, where customers can act.
    pub simulator: Option<Simulator>,
}

/// Opens the provider. `data_dir` holds the in-process ledger; `base_url` is where this process is reached, such as
/// `http://127.0.0.1:7400` (customers confirm there).
///
/// # Errors
/// [`StartError`].
pub fn open(config: &ProviderConfig, data_dir: &Path, base_url: &str, clock: &Clock) -> Result<Opened, StartError> {
    let config = config.clone();
    let (port, simulator): (Arc<dyn PaymentProvider>, _) = match config.mode {
        Mode::InProcess => {
            let ledger = config.ledger.clone().unwrap_or_else(|| data_dir.join(LEDGER));
            let secret = config.webhook_secret.clone().unwrap_or_else(WebhookSecrets::random);
            let base = format!("{}/v1/provider", base_url.trim_end_matches('/'));
            let simulator = Simulator::open(&ledger, &config.simulated, secret, &base, clock.clone())?;
            (Arc::new(simulator.clone()), Some(simulator))
        }
        Mode::Instant => {
            let simulator = Simulator::instant(&config.simulated, clock.clone());
            (Arc::new(simulator.clone()), Some(simulator))
        }
        Mode::Http => {
            let secret = config.webhook_secret.clone().ok_or(StartError::NoSecret)?;
            let client = |source| StartError::Client { url: config.url.clone(), source };
            (Arc::new(HttpProvider::new(&config, secret).map_err(client)?), None)
        }
    };
    Ok(Opened::over(config, port, simulator))
}

impl Opened {
    /// Any provider, and the simulated one behind it whose webhooks are to be delivered here.
    pub(super) fn over(config: ProviderConfig, port: Arc<dyn PaymentProvider>, simulator: Option<Simulator>) -> Self {
        Self { config, port, simulator }
    }

    /// Starts the driver, and the webhooks of a provider in this process.
    pub fn start(
        self,
        queue: Queue,
        bus: CommandBus,
        store: Arc<dyn EventStore>,
        clock: Clock,
        tasks: &Tasks,
    ) -> Provider {
        driver::start(queue, bus.clone(), self.port.clone(), clock.clone(), tasks, &self.config);
        let intake = Intake::new(bus, store.clone(), self.port.clone(), clock.clone());
        let inbox = Inbox::default();
        inbox.start(intake.clone(), store, clock, tasks);
        if let (Some(simulator), Mode::InProcess) = (&self.simulator, self.config.mode) {
            let intake = intake.clone();
            // No HTTP in between, but the same bytes, signature and intake.
            let deliver = move |headers, body: bytes::Bytes| -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
                let intake = intake.clone();
                Box::pin(
                    async move { intake.receive(&headers, &body).await.map(|_| ()).map_err(|error| error.to_string()) },
                )
            };
            simulator.start(Arc::new(deliver), tasks);
        }
        let url = (self.config.mode == Mode::Http).then_some(self.config.url);
        Provider { port: self.port, intake, inbox, mode: self.config.mode, url, simulator: self.simulator }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(settings: serde_json::Value) -> Result<Opened, StartError> {
        let config: ProviderConfig = serde_json::from_value(settings).expect("valid settings");
        let folder = tempfile::tempdir().expect("a temporary folder");
        open(&config, folder.path(), "http://127.0.0.1:7400/", &Clock::system())
    }

    #[tokio::test]
    async fn a_provider_of_another_process_needs_the_secret_that_it_signs_with() {
        let without = serde_json::json!({"mode": "http"});
        assert!(matches!(opened(without), Err(StartError::NoSecret)));
        let with =
            opened(serde_json::json!({"mode": "http", "webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}));
        assert!(with.is_ok_and(|opened| opened.simulator.is_none()));
    }

    #[tokio::test]
    async fn within_the_process_nothing_need_be_set_and_the_ledger_lies_in_the_data_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config: ProviderConfig = serde_json::from_str("{}").expect("valid settings");
        let opened = open(&config, folder.path(), "http://127.0.0.1:7400/", &Clock::system()).expect("it opens");
        assert!(opened.simulator.is_some() && folder.path().join(LEDGER).is_file());
        let again = open(&config, folder.path(), "http://127.0.0.1:7400/", &Clock::system());
        assert!(matches!(again, Err(StartError::Ledger(LedgerError::Locked { .. }))), "one process a ledger");
    }

    #[test]
    fn a_setting_that_is_not_known_is_refused_and_a_secret_is_never_shown() {
        let misspelt = serde_json::from_value::<ProviderConfig>(serde_json::json!({"call_timeout": 5}));
        assert!(misspelt.is_err());
        let config: ProviderConfig =
            serde_json::from_value(serde_json::json!({"webhook_secret": "do not tell it to anybody"}))
                .expect("valid settings");
        assert!(!format!("{config:?}").contains("do not tell"));
    }
}
