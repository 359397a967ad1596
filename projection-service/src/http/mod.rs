//! The read side's edge: a file per resource, `params` for what a request says, `consistency` for how new an answer
//! must be, `page` and `cursor` for lists.
//!
//! *Invariant:* an answer says the position that it reflects (`X-Position`): what is at or below, and concerns it, is in it.
//! *Invariant:* Postgres away means 503 with `Retry-After`, never a wrong or an empty answer.

mod answer;
mod comparison;
mod consistency;
mod cursor;
mod dead_letters;
mod events;
mod find;
mod generations;
mod lineage;
mod log_end;
mod orders;
mod page;
mod params;
mod payments;
mod products;
mod projections;
mod range;
mod reports;
mod sagas;
mod shipments;
pub mod sse;
mod stale;
mod stock;
mod streams;
mod wanted;

use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Handle;

/// All routes of the read side.
pub fn router(handle: Handle) -> OpenApiRouter {
    routes().with_state(handle)
}

/// What the routes here are, for the contract.
pub fn openapi() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Handle> {
    OpenApiRouter::new()
        .routes(routes!(orders::list))
        .routes(routes!(orders::show))
        .routes(routes!(orders::timeline))
        .routes(routes!(orders::of_customer))
        .routes(routes!(payments::list))
        .routes(routes!(payments::show))
        .routes(routes!(shipments::list))
        .routes(routes!(shipments::show))
        .routes(routes!(stock::list))
        .routes(routes!(stock::show))
        .routes(routes!(stock::reservations))
        .routes(routes!(products::list))
        .routes(routes!(products::show))
        .routes(routes!(sagas::list))
        .routes(routes!(sagas::incidents))
        .routes(routes!(reports::sales_by_day))
        .routes(routes!(projections::list))
        .routes(routes!(generations::show))
        .routes(routes!(generations::rebuild))
        .routes(routes!(generations::roll_back))
        .routes(routes!(generations::retire))
        .routes(routes!(generations::replay))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::show))
        .routes(routes!(dead_letters::try_it))
        .routes(routes!(dead_letters::retry))
        .routes(routes!(dead_letters::discard))
        .routes(routes!(streams::list))
        .routes(routes!(streams::show))
        .routes(routes!(streams::stats))
        .routes(routes!(events::list))
        .routes(routes!(find::find))
        .routes(routes!(lineage::show))
}
