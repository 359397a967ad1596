//! The write side for other processes: `schemas/proto/backstitch/v1` over gRPC, with health and reflection.
//!
//! *Invariant:* a command from here goes the same way as one from HTTP, through the bus; nothing is decided here.

mod commands;
mod deadline;
mod events;
mod request;
mod status;

use std::sync::Arc;
use std::time::Duration;

use domain::order::pricing::PricingPolicy;
use event_store::EventStore;
use service_kit::serve::{self, Options, Protocols};
use service_kit::{Health, Limits, Tasks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use self::commands::CommandsService;
use self::events::EventsService;
use self::proto::commands_server::CommandsServer;
use self::proto::events_server::EventsServer;
use crate::CommandBus;
use crate::contexts::Contexts;

/// The messages and stubs of `schemas/proto/backstitch/v1`.
#[allow(missing_docs, clippy::all, clippy::wildcard_enum_match_arm, reason = "generated; the .proto files tell")]
pub mod proto {
    tonic::include_proto!("backstitch.v1");
}

/// What the services are, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// What a request has besides its body: ids, names and what HTTP/2 adds.
const ENVELOPE_BYTES: usize = 16 * 1024;

/// Calls that one connection may have under way: what an orchestrator has in flight, a few times over.
const STREAMS_PER_CONNECTION: u32 = 1_024;

/// How often the health service looks how the process is.
const HEALTH_EVERY: Duration = Duration::from_millis(250);

/// The parts of the write side that gRPC serves.
pub struct Served {
    /// The bus that commands are sent to.
    pub bus: CommandBus,
    /// The log, for the clients that follow it.
    pub store: Arc<dyn EventStore>,
    /// The pricing of orders; a client's order is compared with it.
    pub pricing: Arc<PricingPolicy>,
    /// The kinds of aggregates whose commands are accepted.
    pub contexts: Contexts,
    /// The edge's bounds: the size of a body, the time of an answer, how many are under way.
    pub limits: Limits,
    /// What the health service tells.
    pub health: Health,
}

/// Serves until `tasks` stops; then takes no new calls and gives those that are open `grace` to end.
pub fn start(listener: TcpListener, served: Served, tasks: &Tasks, grace: Duration) {
    let stop = tasks.stopping();
    let (reporter, health) = tonic_health::server::health_reporter();
    tasks.spawn("grpc-health", tell_health(reporter, served.health.clone(), stop.clone()));
    let limits = served.limits.clone();
    let bytes = limits.body_bytes + ENVELOPE_BYTES;
    let followers = EventsService::new(served.store, stop.clone());
    let at_once = limits.at_once.commands.min(limits.concurrent_requests);
    let commands = CommandsService::new(served.bus, served.pricing, served.contexts, at_once);
    let mut routes = Routes::new(health)
        .add_service(CommandsServer::new(commands).max_decoding_message_size(bytes))
        .add_service(EventsServer::new(followers).max_decoding_message_size(bytes));
    match reflection() {
        Ok(reflection) => routes = routes.add_service(reflection),
        Err(error) => tracing::error!(%error, "the gRPC services cannot be described by reflection"),
    }
    let router = deadline::within(routes.into_axum_router(), Duration::from_millis(limits.request_timeout_ms));
    let protocols = Protocols::Grpc { streams: STREAMS_PER_CONNECTION };
    let options = Options { protocols, ..Options::new("grpc", &limits, grace) };
    let pulse = served.health.pulse("grpc");
    tasks.spawn("grpc", async move { serve::run(listener, router, options, Some(pulse), stop).await });
}

fn reflection() -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
    tonic_reflection::server::Error,
> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
}

/// Says of each service what `/health/ready` says of the process.
async fn tell_health(reporter: tonic_health::server::HealthReporter, health: Health, stop: CancellationToken) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    loop {
        let status = if health.report().ready && !stop.is_cancelled() { Serving } else { NotServing };
        for service in ["", "backstitch.v1.Commands", "backstitch.v1.Events"] {
            reporter.set_service_status(service, status).await;
        }
        if stop.is_cancelled() {
            return;
        }
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(HEALTH_EVERY) => {} }
    }
}
