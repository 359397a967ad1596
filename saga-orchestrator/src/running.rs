//! The shop's sagas, run: the runner with the shop's settings.

use std::sync::Arc;

use event_store::EventStore;
use saga_engine::DefinitionError;
use saga_runner::{CommandPort, Limits, Partitions, Setup};
use service_kit::{Clock, Tasks};

use crate::config::SagaConfig;
use crate::shop::ShopSagas;

/// The running sagas of the shop.
pub type Sagas = saga_runner::Sagas<ShopSagas>;

/// The stream whose snapshot is the checkpoint on one machine, whose only partition is the whole log.
pub const CHECKPOINT_STREAM: &str = "saga_checkpoint-0";

/// What the sagas are started with where this many partitions distribute orders as Kafka does.
pub fn setup(
    store: Arc<dyn EventStore>,
    commands: Arc<dyn CommandPort>,
    clock: Clock,
    tasks: &Tasks,
    config: SagaConfig,
    partitions: u32,
) -> Setup<ShopSagas> {
    let limits = Limits { window: config.window, workers: config.workers, cached_sagas: config.cached_sagas };
    let partitions = Partitions { count: partitions, of: event_store::partition::of };
    Setup { store, commands, clock, tasks: tasks.clone(), settings: config, limits, partitions }
}

/// Starts the sagas of a log whose only partition is the whole of it.
///
/// # Errors
/// [`DefinitionError`]: a table cannot be followed; nothing was started.
pub fn start(
    store: Arc<dyn EventStore>,
    commands: Arc<dyn CommandPort>,
    clock: Clock,
    tasks: &Tasks,
    config: SagaConfig,
) -> Result<Sagas, DefinitionError> {
    Sagas::start(setup(store, commands, clock, tasks, config, 1))
}
