//! In the place of `edges`, in a program without the parts of a cluster: settings that ask for them are refused.

use std::sync::Arc;
use std::time::Duration;

use command_service::WriteSide;
use event_store::EventStore;
use service_kit::{Health, StartError, Tasks};

use crate::config::Config;

/// No ports for other processes.
pub(crate) struct Edges;

impl Edges {
    #[expect(clippy::unused_async, reason = "as in `edges`, where ports are taken")]
    pub(crate) async fn bind(config: &Config) -> Result<Self, StartError> {
        if config.grpc.listen.is_some() {
            return Err(StartError::without_cluster("`[grpc] listen`"));
        }
        if config.event_store.listen.is_some() {
            return Err(StartError::without_cluster("`[event_store] listen` (--event-store-listen)"));
        }
        Ok(Self)
    }

    pub(crate) fn serve(
        self,
        _: &Config,
        _: (&Arc<dyn EventStore>, &WriteSide),
        _: &Health,
        _: &Tasks,
        _: Duration,
    ) -> Option<Arc<str>> {
        None
    }
}
