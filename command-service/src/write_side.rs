//! The write side put together, the same in one process with everything and in a process of its own: the bus, the payment
//! provider with its driver, and the routes of the contexts that are served.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use domain::order::pricing::PricingPolicy;
use event_store::EventStore;
use service_kit::{Clock, Problem, StartError, Tasks};
use utoipa_axum::router::OpenApiRouter;

use crate::bus::CommandBus;
use crate::contexts::{Context, Contexts};
use crate::http::{self, HttpState, webhooks};
use crate::provider::start::StartError as ProviderError;
use crate::provider::{self, Provider, ProviderConfig};

/// The settings of the write side.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The payment provider that is called.
    pub provider: &'a ProviderConfig,
    /// The pricing of orders: tax and shipping.
    pub pricing: PricingPolicy,
    /// The kinds of aggregates that are served.
    pub contexts: Contexts,
    /// The folder in which a provider within this process keeps its ledger.
    pub data_dir: &'a Path,
    /// The URL of this process, such as `http://127.0.0.1:7400`.
    pub base_url: &'a str,
}

/// The running write side. Cheap to clone.
#[derive(Clone)]
pub struct WriteSide {
    /// The bus that commands are sent to.
    pub bus: CommandBus,
    /// The pricing of orders: tax and shipping.
    pub pricing: Arc<PricingPolicy>,
    /// The kinds of aggregates that are served.
    pub contexts: Contexts,
    provider: Option<Provider>,
}

impl WriteSide {
    /// Starts it over a log; it ends when `tasks` stops. The provider's driver runs only where payments are served.
    ///
    /// # Errors
    /// [`StartError`]: the provider cannot be used.
    pub fn start(
        settings: Settings<'_>,
        log: &Arc<dyn EventStore>,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let Settings { provider, pricing, contexts, data_dir, base_url } = settings;
        let opened = if contexts.has(Context::Payment) {
            let opened = provider::open(provider, data_dir, base_url, clock);
            Some(opened.map_err(|error| of_provider(&error))?)
        } else {
            None
        };
        let (wake, queue) = provider::channel();
        let bus = CommandBus::new(Arc::clone(log), clock.clone(), tasks.clone(), wake);
        let start = |opened: provider::Opened| opened.start(queue, bus.clone(), Arc::clone(log), clock.clone(), tasks);
        let provider = opened.map(start);
        Ok(Self { bus, pricing: Arc::new(pricing), contexts, provider })
    }

    /// The routes of what is served; those of other contexts answer 421.
    pub fn router(&self) -> OpenApiRouter {
        let state = HttpState { bus: self.bus.clone(), pricing: Arc::clone(&self.pricing) };
        let router = http::router_of(state, &self.contexts);
        match &self.provider {
            Some(provider) => router.merge(webhooks::router(provider.clone())),
            None => router.merge(OpenApiRouter::from(no_payments(&self.contexts))),
        }
    }
}

/// What the payment provider's routes answer where payments are not served.
fn no_payments(contexts: &Contexts) -> Router {
    let detail = http::elsewhere(Context::Payment, contexts);
    let elsewhere = any(move || async move { Problem::misdirected(detail) });
    let paths = ["/v1/payments/{*rest}", "/v1/provider", "/v1/provider/{*rest}", "/v1/provider-inbox"];
    paths.into_iter().fold(Router::new(), |router, path| router.route(path, elsewhere.clone()))
}

fn of_provider(error: &ProviderError) -> StartError {
    let hint = match error {
        ProviderError::Ledger(_) => "keep a copy of the ledger; `[provider] ledger` names another file",
        ProviderError::NoSecret => "export BACKSTITCH__PROVIDER__WEBHOOK_SECRET=…   # the same for both processes",
        ProviderError::Client { .. } => "backstitch serve --provider http://127.0.0.1:7401",
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    StartError::new(format_args!("the payment provider cannot be used: {error}{cause}"), hint)
}
