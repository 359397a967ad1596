//! What operators and programs see of sagas, read from the log: it works without Postgres.

use std::sync::Arc;

use event_store::EventStore;
use service_kit::Clock;
use utoipa_axum::router::OpenApiRouter;

/// The way to the sagas, for whoever shows them. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Clock,
}

impl Handle {
    /// The store whose sagas are shown.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Shows the sagas of a store, also one that runs elsewhere.
    pub fn new(store: Arc<dyn EventStore>, clock: Clock) -> Self {
        Self { store, clock }
    }
}

/// The routes of `/v1/sagas` and `/v1/saga-types`.
pub fn router(handle: Handle) -> OpenApiRouter {
    OpenApiRouter::new().with_state(handle)
}
