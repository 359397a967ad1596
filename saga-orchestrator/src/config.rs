//! What an operator may set, with the defaults of the table in `order_fulfilment`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use saga_engine::process::{self, Retry, Settings};

/// The section `[saga]`. Times are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SagaConfig {
    /// How long a command may stay without an answer before it counts as unavailable. Default 10 s.
    #[serde(deserialize_with = "service_kit::config::within::<1, 300, _, _>")]
    pub command_timeout_s: u64,
    /// How long the provider may be silent before it is asked again; doubles up to 10 times as much. Default 30 s.
    #[serde(deserialize_with = "service_kit::config::within::<1, 3600, _, _>")]
    pub provider_check_s: u64,
    /// How long a customer has to finish the payment (3-D Secure), and an unknown payment to become known. Default 30 min.
    #[serde(deserialize_with = "service_kit::config::within::<1, 604800, _, _>")]
    pub three_ds_timeout_s: u64,
    /// How often holds of stock are renewed before they are committed: half of their life. Default 7.5 min.
    #[serde(deserialize_with = "service_kit::config::within::<1, 840, _, _>")]
    pub renew_every_s: u64,
    /// How long a held order may wait for the risk review before it is refused. Default 24 h.
    #[serde(deserialize_with = "service_kit::config::within::<1, 7776000, _, _>")]
    pub risk_review_s: u64,
    /// After how long without the warehouse's word a person is called. Default 72 h.
    #[serde(deserialize_with = "service_kit::config::within::<1, 7776000, _, _>")]
    pub warehouse_alert_s: u64,
    /// How long before a card's hold lapses a person is called if it is not captured. Default 24 h.
    #[serde(deserialize_with = "service_kit::config::within::<1, 2592000, _, _>")]
    pub capture_margin_s: u64,
    /// After how long without the provider's word on an unknown or late payment a person is called. Default 10 min.
    #[serde(deserialize_with = "service_kit::config::within::<1, 7776000, _, _>")]
    pub reconciliation_alert_s: u64,
    /// After how long without an answer of the command service a person is called; the saga goes on trying, and the first
    /// answer takes the call back. Default 5 min.
    #[serde(deserialize_with = "service_kit::config::within::<1, 86400, _, _>")]
    pub unanswered_alert_s: u64,
    /// The wait before the first retry, in ms; it doubles with each. Default 200 ms.
    #[serde(deserialize_with = "service_kit::config::within::<1, 60000, _, _>")]
    pub retry_base_ms: u64,
    /// The longest wait between retries; ten times as long when nobody has answered for hours, and up to 6 h after days.
    /// Default 60 s.
    #[serde(deserialize_with = "service_kit::config::within::<1, 3600, _, _>")]
    pub retry_cap_s: u64,
    /// Sagas whose steps may run at once; inputs are always taken in. Default 512: twice the benched load.
    #[serde(deserialize_with = "service_kit::config::within::<1, 65536, _, _>")]
    pub window: usize,
    /// Workers, each with its own orders. Default 2: the smallest machine that is meant has two cores.
    #[serde(deserialize_with = "service_kit::config::within::<1, 64, _, _>")]
    pub workers: usize,
    /// Saga states kept in memory, each some KB. Default 4 096 in all.
    #[serde(deserialize_with = "service_kit::config::within::<1, 1000000, _, _>")]
    pub cached_sagas: usize,
    /// Where the command service's replicas take commands by gRPC, with commas between, such as
    /// `http://127.0.0.1:7405,http://127.0.0.1:7406`; one that serves only some contexts is
    /// `order+stock=http://127.0.0.1:7407`. None: in this process.
    pub commands_url: Option<String>,
    /// The rules of the risk check.
    pub risk: RiskRules,
}

impl Default for SagaConfig {
    fn default() -> Self {
        Self {
            command_timeout_s: 10,
            provider_check_s: 30,
            three_ds_timeout_s: 30 * 60,
            renew_every_s: 450,
            risk_review_s: 24 * 3600,
            warehouse_alert_s: 72 * 3600,
            capture_margin_s: 24 * 3600,
            reconciliation_alert_s: 600,
            unanswered_alert_s: 5 * 60,
            retry_base_ms: 200,
            retry_cap_s: 60,
            window: 512,
            workers: 2,
            cached_sagas: 4096,
            commands_url: None,
            risk: RiskRules::default(),
        }
    }
}

/// Rules of the risk check by the order's total, in minor units by currency. None: everything is approved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RiskRules {
    /// Above this a person must look.
    pub review_above: BTreeMap<String, i64>,
    /// Above this the order is refused.
    pub refuse_above: BTreeMap<String, i64>,
}

/// The times that rows of a table name; an operator sets how long each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Until a command counts as unavailable.
    Command,
    /// Until the provider is asked again.
    ProviderCheck,
    /// For the customer to pay.
    ThreeDs,
    /// Between renewals of a hold of stock.
    Renewal,
    /// For the risk review.
    RiskReview,
    /// For the warehouse.
    Warehouse,
    /// Between the alert and the moment a card's hold lapses.
    CaptureMargin,
    /// For the provider to say what became of a payment.
    Reconciliation,
    /// Without an answer of the command service.
    Unanswered,
}

impl SagaConfig {
    /// How long a time is.
    pub fn duration(&self, time: Time) -> Duration {
        Duration::from_secs(match time {
            Time::Command => self.command_timeout_s,
            Time::ProviderCheck => self.provider_check_s,
            Time::ThreeDs => self.three_ds_timeout_s,
            Time::Renewal => self.renew_every_s,
            Time::RiskReview => self.risk_review_s,
            Time::Warehouse => self.warehouse_alert_s,
            Time::CaptureMargin => self.capture_margin_s,
            Time::Reconciliation => self.reconciliation_alert_s,
            Time::Unanswered => self.unanswered_alert_s,
        })
    }
}

impl Settings for SagaConfig {
    type Time = Time;

    fn duration(&self, time: Time) -> Duration {
        Self::duration(self, time)
    }

    fn retry(&self) -> Retry {
        Retry { base: Duration::from_millis(self.retry_base_ms), cap: Duration::from_secs(self.retry_cap_s) }
    }
}

impl process::Time for Time {
    const COMMAND: Self = Self::Command;
    const CHECK: Self = Self::ProviderCheck;
    const UNANSWERED: Self = Self::Unanswered;
}
