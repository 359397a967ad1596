//! Commands over gRPC, as another process sends them.

use std::sync::Arc;
use std::time::Duration;

use command_service::contexts::Contexts;
use command_service::grpc::proto::command_reply::Answer;
use command_service::grpc::proto::command_request::Sender;
use command_service::grpc::proto::commands_client::CommandsClient;
use command_service::grpc::proto::events_client::EventsClient;
use command_service::grpc::proto::{Accepted, Client, CommandReply, CommandRequest, Machine};
use command_service::grpc::{self, Served};
use domain::order::pricing::PricingPolicy;
use domain::{order, product};
use service_kit::{Clock, Health, Limits, Tasks};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::gate::Gated;
use crate::orders::product as make_product;
use crate::world::{ITEM, World, adjust, id, receive, reserve};

/// A gRPC server over a world.
pub struct Server {
    pub channel: Channel,
    pub health: Health,
    pub tasks: Tasks,
}

impl Server {
    pub async fn over(world: &World) -> Self {
        Self::with(world, Contexts::default(), Limits::default()).await
    }

    pub async fn with(world: &World, contexts: Contexts, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (health, tasks) = (Health::new(Clock::system()), Tasks::new());
        let served = Served {
            bus: world.bus.clone(),
            store: world.store.clone(),
            pricing: Arc::new(PricingPolicy::default()),
            contexts,
            limits,
            health: health.clone(),
        };
        grpc::start(listener, served, &tasks, Duration::from_secs(5));
        let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
        Self { channel, health, tasks }
    }

    pub fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel.clone())
    }

    async fn send(&self, request: CommandRequest) -> Result<CommandReply, Status> {
        CommandsClient::new(self.channel.clone()).execute(request).await.map(tonic::Response::into_inner)
    }

    async fn accepted(&self, request: CommandRequest) -> Accepted {
        match self.send(request).await.unwrap().answer {
            Some(Answer::Accepted(accepted)) => accepted,
            other => panic!("{other:?}"),
        }
    }

    /// The code of the rejection that it must be, and whether it is the first answer again.
    async fn rejected(&self, request: CommandRequest) -> (String, bool) {
        match self.send(request).await.unwrap().answer {
            Some(Answer::Rejected(rejected)) => (rejected.code, rejected.replayed),
            other => panic!("{other:?}"),
        }
    }

    /// The status that it must be, with the reason in its details.
    async fn refused(&self, request: CommandRequest) -> (Code, String) {
        let status = self.send(request).await.unwrap_err();
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default();
        (status.code(), reason)
    }
}

fn request(command: &domain::Command, sender: Sender) -> CommandRequest {
    CommandRequest {
        name: command.name().to_owned(),
        body: serde_json::to_vec(command).unwrap().into(),
        correlation_id: String::new(),
        traceparent: String::new(),
        actor: "saga:test".to_owned(),
        sender: Some(sender),
    }
}

fn machine(number: u128, command: &domain::Command) -> CommandRequest {
    let id = id(number).to_string();
    request(command, Sender::Machine(Machine { command_id: id.clone(), causation_id: id, ..Machine::default() }))
}

fn client(key: &str, command: &domain::Command) -> CommandRequest {
    request(command, Sender::Client(Client { idempotency_key: key.to_owned(), if_match: None }))
}

#[tokio::test]
async fn a_command_sent_twice_has_one_effect_and_its_metadata_is_in_its_events() {
    let world = World::new();
    world.receive(3).await;
    let server = Server::over(&world).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = CommandRequest {
        correlation_id: id(77).to_string(),
        traceparent: traceparent.to_owned(),
        ..machine(1, &reserve(1))
    };
    let first = server.accepted(request.clone()).await;
    assert_eq!((first.version, first.changed, first.position), (Some(1), true, world.head().0));
    let again = server.accepted(request).await;
    assert_eq!((again.version, again.changed, again.position), (Some(1), false, first.position));
    let events = world.events(ITEM).await;
    let metadata = &events[1].metadata;
    assert_eq!(events.len(), 2);
    assert_eq!((metadata.command_id, metadata.correlation_id), (id(1), id(77)));
    assert_eq!((metadata.traceparent.as_deref(), metadata.actor.as_str()), (Some(traceparent), "saga:test"));
}

#[tokio::test]
async fn a_refusal_by_the_rules_is_an_answer_and_comes_again_to_a_client() {
    let world = World::selling().await;
    let server = Server::over(&world).await;
    assert_eq!(server.rejected(machine(1, &reserve(1))).await, ("out-of-stock".to_owned(), false));
    world.receive(1).await;
    let no = ("adjustment-too-low".to_owned(), false);
    assert_eq!(server.rejected(client("k", &adjust(-5))).await, no);
    assert_eq!(server.rejected(client("k", &adjust(-5))).await, (no.0, true));
}

#[tokio::test]
async fn a_repeat_is_answered_again_and_another_body_under_its_key_is_refused() {
    let world = World::selling().await;
    let server = Server::over(&world).await;
    let first = server.accepted(client("k", &receive(5))).await;
    let again = server.accepted(client("k", &receive(5))).await;
    assert_eq!((again.version, again.position, again.replayed), (first.version, first.position, true));
    let reused = server.refused(client("k", &receive(6))).await;
    assert_eq!(reused, (Code::AlreadyExists, "idempotency-key-reused".to_owned()));
    let mut conditional = client("l", &receive(1));
    conditional.sender = Some(Sender::Client(Client { idempotency_key: "l".to_owned(), if_match: Some(7) }));
    assert_eq!(server.refused(conditional).await, (Code::Aborted, "version-mismatch".to_owned()));
    assert_eq!(world.events(ITEM).await.len(), 1);
}

/// An adjustment with this reason.
fn counted(reason: &str) -> domain::Command {
    let domain::Command::Stock { id, .. } = adjust(1) else { panic!("an adjustment is of stock") };
    let command = domain::stock::AdjustStock { delta: 1, reason: reason.to_owned() };
    domain::Command::Stock { id, command: domain::stock::Command::AdjustStock(command) }
}

#[tokio::test]
async fn bad_input_is_refused_with_the_field_at_fault_and_leaves_the_log_untouched() {
    let world = World::new();
    let server = Server::over(&world).await;
    let good = || machine(1, &receive(1));
    let sent_by = |command_id: &str, causation_id: &str, seconds| {
        let not_after = Some(prost_types::Timestamp { seconds, nanos: 0 });
        let (command_id, causation_id) = (command_id.to_owned(), causation_id.to_owned());
        CommandRequest {
            sender: Some(Sender::Machine(Machine { command_id, causation_id, not_after, ..Machine::default() })),
            ..good()
        }
    };
    let one = id(1).to_string();
    let cases = [
        ("body", CommandRequest { body: "{".into(), ..good() }),
        ("body", CommandRequest { body: r#"{"aggregate":"moon"}"#.into(), ..good() }),
        ("name", CommandRequest { name: "AdjustStock".to_owned(), ..good() }),
        ("actor", CommandRequest { actor: String::new(), ..good() }),
        ("actor", CommandRequest { actor: "a\nb".to_owned(), ..good() }),
        ("sender", CommandRequest { sender: None, ..good() }),
        ("correlation_id", CommandRequest { correlation_id: "7".to_owned(), ..good() }),
        ("traceparent", CommandRequest { traceparent: "7".to_owned(), ..good() }),
        ("machine.command_id", sent_by("7", &one, 0)),
        ("machine.causation_id", sent_by(&one, "", 0)),
        ("machine.not_after", sent_by(&one, &one, i64::MAX)),
        ("body/command/reason", client("k", &counted("a\u{1b}[2Jb"))),
        ("body/command/reason", client("k", &counted("a\u{202e}b"))),
        ("client.idempotency_key", client("", &receive(1))),
        ("client.idempotency_key", client(&"k".repeat(256), &receive(1))),
    ];
    for (field, request) in cases {
        let status = server.send(request).await.unwrap_err();
        let details = status.get_error_details();
        let named = details.bad_request().map(|bad| bad.field_violations[0].field.clone());
        assert_eq!((status.code(), named.as_deref()), (Code::InvalidArgument, Some(field)), "{status:?}");
    }
    let large = CommandRequest { body: vec![b' '; 100_000].into(), ..good() };
    assert_eq!(server.send(large).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(world.head().0, 0);
}

#[tokio::test]
async fn a_command_after_its_deadline_is_refused_as_too_late() {
    let world = World::new();
    let server = Server::over(&world).await;
    let mut late = machine(1, &receive(1));
    let not_after = Some(prost_types::Timestamp { seconds: 0, nanos: 0 });
    let id = id(1).to_string();
    late.sender =
        Some(Sender::Machine(Machine { command_id: id.clone(), causation_id: id, not_after, ..Machine::default() }));
    assert_eq!(server.refused(late).await, (Code::FailedPrecondition, "too-late".to_owned()));
}

/// The command of an order of two pieces of `A`, with the prices that HTTP gave it.
async fn priced_over_http(world: &World) -> order::PlaceOrder {
    let placed = world.post("/v1/orders", "http", &crate::orders::order(&[("A", 2)])).await;
    let stored = world.events(&format!("order-{}", placed.body["id"].as_str().unwrap())).await;
    let order::Event::OrderPlaced(said) =
        order::Event::decode("OrderPlaced", stored[0].schema_version, stored[0].data.get()).unwrap()
    else {
        panic!("{stored:?}")
    };
    order::PlaceOrder {
        order_id: domain::ids::OrderId(id(9)),
        customer_id: said.customer_id,
        lines: said.lines,
        totals: said.totals,
        payment_method: said.payment_method,
        tags: said.tags,
        expected_total: None,
    }
}

fn place(command: &order::PlaceOrder) -> domain::Command {
    domain::Command::Order { id: command.order_id, command: order::Command::PlaceOrder(command.clone()) }
}

#[tokio::test]
async fn both_edges_refuse_an_order_that_has_no_price_for_the_same_reason() {
    let world = World::new();
    for sku in ["A", "OFF"] {
        make_product(&world, sku, 1_000).await;
    }
    let mut in_dollars = crate::orders::product_body("USD", 1_000);
    in_dollars["price"]["currency"] = serde_json::json!("USD");
    assert_eq!(world.post("/v1/products", "USD", &in_dollars).await.status, 201);
    world.post("/v1/products/OFF/discontinue", "d", &serde_json::json!({})).await;
    let server = Server::over(&world).await;
    let command = priced_over_http(&world).await;
    for (sku, code) in [("NONE", "product-not-for-sale"), ("OFF", "product-not-for-sale"), ("USD", "currency-mismatch")]
    {
        let answer = world.post("/v1/orders", sku, &crate::orders::order(&[("A", 2), (sku, 1)])).await;
        let problem: service_kit::Problem = serde_json::from_value(answer.body).unwrap();
        assert_eq!(problem.slug(), code);
        let mut both = command.clone();
        both.lines.push(order::OrderLine {
            line: 2,
            item: format!("{sku}@main").parse().unwrap(),
            ..both.lines[0].clone()
        });
        assert_eq!(server.rejected(client(sku, &place(&both))).await, (code.to_owned(), false));
    }
    let none = order::PlaceOrder { lines: Vec::new(), ..command.clone() };
    assert_eq!(server.rejected(client("none", &place(&none))).await.0, "line-count");
    let many = order::PlaceOrder { lines: vec![command.lines[0].clone(); 101], ..command.clone() };
    assert_eq!(server.rejected(client("many", &place(&many))).await.0, "line-count");
    let spaced = order::PlaceOrder { payment_method: "tok approve".to_owned(), ..command };
    assert_eq!(server.rejected(client("spaced", &place(&spaced))).await.0, "payment-method-length");
}

#[tokio::test]
async fn an_order_from_a_client_is_taken_at_our_prices_only() {
    let world = World::new();
    make_product(&world, "A", 1_000).await;
    let server = Server::over(&world).await;
    let mut command = priced_over_http(&world).await;
    let mut cheaper = command.clone();
    cheaper.lines[0].unit_price.amount = 1;
    assert_eq!(server.rejected(client("o", &place(&cheaper))).await.0, "price-changed");
    assert!(server.accepted(client("p", &place(&command))).await.changed);
    world.post("/v1/products/A/discontinue", "d", &serde_json::json!({})).await;
    assert!(server.accepted(client("p", &place(&command))).await.replayed, "it was answered before");
    command.tags = vec!["later".to_owned()];
    assert_eq!(server.rejected(client("q", &place(&command))).await.0, "product-not-for-sale");
}

#[tokio::test]
async fn what_only_machines_send_is_denied_to_clients() {
    let world = World::selling().await;
    world.receive(1).await;
    let server = Server::over(&world).await;
    assert_eq!(server.refused(client("k", &reserve(1))).await, (Code::PermissionDenied, "not-for-clients".to_owned()));
    assert_eq!(world.events(ITEM).await.len(), 1);
}

#[tokio::test]
async fn commands_of_contexts_that_are_not_served_are_misdirected() {
    let world = World::new();
    let server = Server::with(&world, "product".parse().unwrap(), Limits::default()).await;
    assert_eq!(server.refused(machine(1, &receive(1))).await, (Code::FailedPrecondition, "misdirected".to_owned()));
    let sku: domain::ids::Sku = "A".parse().unwrap();
    let command = product::Command::CreateProduct(product::CreateProduct {
        sku: sku.clone(),
        name: "A".to_owned(),
        price: domain::money::Money::new(1, domain::money::Currency::EUR),
        active: true,
    });
    let create = domain::Command::Product { id: sku, command };
    assert!(server.accepted(machine(2, &create)).await.changed);
}

#[tokio::test]
async fn commands_beyond_the_bound_are_told_when_to_come_back() {
    let mut gate = None;
    let world = World::over(|log| gate.insert(Gated::new(log)).clone());
    let gate = gate.unwrap();
    let server =
        Server::with(&world, Contexts::default(), Limits { concurrent_requests: 1, ..Limits::default() }).await;
    gate.close();
    let mut appended = gate.watch_appends();
    let first = server.send(machine(1, &receive(1)));
    let second = async {
        appended.wait_for(|count| *count == 1).await.unwrap();
        let status = server.send(machine(2, &receive(1))).await.unwrap_err();
        gate.open();
        status
    };
    let (first, status) = tokio::join!(first, second);
    let after = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(after.is_some_and(|after| after > Duration::ZERO), "{status:?}");
    assert!(first.is_ok() && server.send(machine(2, &receive(1))).await.is_ok(), "the room is given back");
}

#[tokio::test]
async fn the_health_service_says_what_the_process_says_and_reflection_knows_every_service() {
    let world = World::new();
    let server = Server::over(&world).await;
    let mut client = HealthClient::new(server.channel.clone());
    let request = HealthCheckRequest { service: "backstitch.v1.Commands".to_owned() };
    let mut told = client.watch(request).await.unwrap().into_inner();
    let serving = tonic_health::pb::health_check_response::ServingStatus::Serving as i32;
    while told.message().await.unwrap().unwrap().status != serving {}
    server.health.stopping();
    while told.message().await.unwrap().unwrap().status == serving {}

    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(server.channel.clone())
        .server_reflection_info(futures_util::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["backstitch.v1.Commands", "backstitch.v1.Events", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_answers_what_it_has_taken_and_takes_nothing_more() {
    let mut gate = None;
    let world = World::over(|log| gate.insert(Gated::new(log)).clone());
    let gate = gate.unwrap();
    let server = Server::over(&world).await;
    gate.close();
    let mut appended = gate.watch_appends();
    let taken = server.send(machine(1, &receive(1)));
    let stopped = async {
        appended.wait_for(|count| *count == 1).await.unwrap();
        server.tasks.stop();
        gate.open();
    };
    let (answer, ()) = tokio::join!(taken, stopped);
    assert!(answer.is_ok(), "{answer:?}");
    assert!(server.tasks.shut_down(Duration::from_secs(5)).await);
    let refused = server.send(machine(2, &receive(1))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn a_client_cannot_cancel_an_unplanned_shipment_or_receive_an_unknown_product() {
    let world = World::new();
    let server = Server::over(&world).await;
    let shipment_id = domain::ids::ShipmentId(id(9));
    let cancel = domain::shipment::CancelShipment { order_id: domain::ids::OrderId(id(8)), reason: "no".to_owned() };
    let command = domain::shipment::Command::CancelShipment(cancel);
    let cancel = domain::Command::Shipment { id: shipment_id, command };
    assert_eq!(server.rejected(client("k", &cancel)).await.0, "not-found");
    assert_eq!(server.rejected(client("l", &receive(1))).await.0, "not-found");
    assert_eq!(world.head().0, 0, "nothing was written");
    assert!(server.accepted(machine(1, &cancel)).await.changed, "a saga may: the plan that comes later is refused");
}
