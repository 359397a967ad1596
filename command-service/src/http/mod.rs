//! The write side's edge: one file per resource, `extract` for headers and bodies, `problems` for refusals.

use utoipa_axum::router::OpenApiRouter;

use crate::CommandBus;

/// What the handlers need. Cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    /// Where commands go.
    pub bus: CommandBus,
}

/// All routes of the write side.
pub fn router(state: HttpState) -> OpenApiRouter {
    OpenApiRouter::new().with_state(state)
}
