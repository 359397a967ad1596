//! The HTTP API of the write side: one file per resource, `extract` for headers and bodies, `problems` for refusals.

pub mod extract;
pub mod orders;
pub mod problems;
pub mod products;
pub mod reply;
pub mod schema;
pub mod shipments;
pub mod stock;
pub mod webhooks;

use axum::extract::Request;
use axum::middleware::{self, Next};
use domain::order::pricing::PricingPolicy;
use service_kit::Problem;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::CommandBus;
use crate::contexts::{Context, Contexts};

/// The state that the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    /// The bus that commands are sent to.
    pub bus: CommandBus,
    /// The pricing of orders: tax and shipping.
    pub pricing: std::sync::Arc<PricingPolicy>,
}

impl HttpState {
    /// The state of handlers that send commands to `bus`.
    pub fn new(bus: CommandBus, pricing: PricingPolicy) -> Self {
        Self { bus, pricing: std::sync::Arc::new(pricing) }
    }
}

/// All routes of the write side.
pub fn router(state: HttpState) -> OpenApiRouter {
    router_of(state, &Contexts::default())
}

/// The routes of the write side; those of contexts that are not served here answer 421.
pub fn router_of(state: HttpState, served: &Contexts) -> OpenApiRouter {
    by_context()
        .into_iter()
        .map(|(context, routes)| if served.has(context) { routes } else { closed(routes, context, served) })
        .fold(OpenApiRouter::new(), OpenApiRouter::merge)
        .with_state(state)
}

/// The same routes, with nothing behind them.
fn closed(routes: OpenApiRouter<HttpState>, context: Context, served: &Contexts) -> OpenApiRouter<HttpState> {
    let detail = elsewhere(context, served);
    routes.layer(middleware::from_fn(move |_: Request, _: Next| {
        let problem = Problem::misdirected(&detail);
        async move { problem }
    }))
}

/// Where else to ask.
pub(crate) fn elsewhere(context: Context, served: &Contexts) -> String {
    format!("`{}` is not served here, only {served}; ask a process that does; nothing was done", context.name())
}

/// What the routes here and the provider's are, for the contract.
pub fn openapi() -> OpenApi {
    let mut whole = routes().into_openapi();
    whole.merge(webhooks::openapi());
    whole
}

fn routes() -> OpenApiRouter<HttpState> {
    by_context().into_iter().fold(OpenApiRouter::new(), |all, (_, routes)| all.merge(routes))
}

fn by_context() -> [(Context, OpenApiRouter<HttpState>); 4] {
    [
        (Context::Product, products::router()),
        (Context::Stock, stock::router()),
        (Context::Order, orders::router()),
        (Context::Shipment, shipments::router()),
    ]
}
