//! The write side's edge: one file per resource, `extract` for headers and bodies, `problems` for refusals.

pub mod extract;
pub mod orders;
pub mod problems;
pub mod products;
pub mod reply;
pub mod schema;
pub mod shipments;
pub mod stock;
pub mod webhooks;

use domain::order::pricing::PricingPolicy;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::CommandBus;

/// What the handlers need. Cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    /// Where commands go.
    pub bus: CommandBus,
    /// What orders cost besides their lines.
    pub pricing: std::sync::Arc<PricingPolicy>,
}

impl HttpState {
    /// Handlers over `bus`.
    pub fn new(bus: CommandBus, pricing: PricingPolicy) -> Self {
        Self { bus, pricing: std::sync::Arc::new(pricing) }
    }
}

/// All routes of the write side.
pub fn router(state: HttpState) -> OpenApiRouter {
    routes().with_state(state)
}

/// What the routes here and the provider's are, for the contract.
pub fn openapi() -> OpenApi {
    let mut whole = routes().into_openapi();
    whole.merge(webhooks::openapi());
    whole
}

fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .merge(products::router())
        .merge(stock::router())
        .merge(orders::router())
        .merge(shipments::router())
}
