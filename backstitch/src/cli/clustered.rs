//! The verbs that need the parts of a cluster.

pub use command_service::service::Args as CommandService;
pub use projection_service::service::Args as ProjectionService;
pub use saga_orchestrator::service::Args as SagaOrchestrator;
pub use trials::torture::Args as Torture;

pub use super::bus::Args as Bus;
pub use super::cluster::Args as Cluster;
pub use super::processes::relay::Args as Relay;
