//! The shop as a process of the saga engine: its commands, its facts from outside, and what the engine must know of them.

use domain::ids::{NAMESPACE, PaymentId, ShipmentId, reconciliation_id};
use domain::money::Money;
use domain::saga::{Facts, Note, Shop, Source};
use domain::{Command, order, payment, shipment, stock};
use eventsourcing::Namespace;
use uuid::Uuid;

use crate::config::{SagaConfig, Time};
use saga_engine::process::Process;
use saga_engine::{definition, engine};

/// The sagas of the shop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShopSagas;

/// The state of a saga of the shop.
pub type State = engine::State<ShopSagas>;
/// One step attempt in one direction.
pub type Leg = engine::Leg<ShopSagas>;
/// An input of a saga of the shop.
pub type Input = engine::Input<ShopSagas>;
/// The beginning of a saga of the shop.
pub type Begin = engine::Begin<ShopSagas>;
/// A saga: its table of steps, and what it makes of the outside.
pub type Definition = definition::Definition<ShopSagas>;
/// A row of a table.
pub type Step = definition::Step<ShopSagas>;
/// The way back of a step.
pub type Undo = definition::Undo<ShopSagas>;
/// A fact from outside that must follow a step's commands.
pub type Awaited = definition::Awaited<ShopSagas>;
/// Keeping alive what a step did, until another one has begun.
pub type Keep = definition::Keep<ShopSagas>;
/// When a step has taken too long, and what then.
pub type Limit = definition::Limit<Time>;
/// What a fact from outside means to a saga.
pub type Heard = definition::Heard<Note>;
/// What people may decide about a saga.
pub type People = definition::People<ShopSagas>;
/// What the functions of a row may know.
pub type Ctx<'a> = definition::Ctx<'a, ShopSagas>;

/// A fact from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Outside {
    /// An event of the order.
    Order(order::Event),
    /// An event of one of its payments.
    Payment(PaymentId, payment::Event),
    /// An event of its shipment.
    Shipment(ShipmentId, shipment::Event),
}

impl Process for ShopSagas {
    type Story = Shop;
    type Command = Command;
    type Outside = Outside;
    type Settings = SagaConfig;

    const DEFINITIONS: &'static [&'static Definition] = super::ALL;
    const IDS: Namespace = NAMESPACE;

    fn saga_id(source: &Source, facts: &Facts) -> Uuid {
        match facts {
            Facts::Order(facts) => facts.order_id.0,
            Facts::Refund(facts) => facts.order_id.0,
            Facts::Reconciliation(_) => reconciliation_id(&source.stream, source.version),
        }
    }

    fn target(command: &Command) -> String {
        command.stream()
    }

    fn command_name(command: &Command) -> &'static str {
        command.name()
    }

    fn lasting(command: &Command) -> Option<&'static str> {
        match command {
            Command::Payment { command, .. } => match command {
                payment::Command::RequestPaymentCapture(_) => Some("money is captured: it can only be refunded"),
                payment::Command::RequestPaymentRefund(_) => Some("money that was captured is given back"),
                payment::Command::RequestPaymentVoid(_) | payment::Command::ExpirePayment(_) => {
                    Some("the hold on the money is let go")
                }
                payment::Command::RequestPaymentAuthorization(_)
                | payment::Command::RecordProviderResult(_)
                | payment::Command::MarkPaymentOutcomeUnknown(_) => None,
            },
            Command::Shipment { command, .. } => match command {
                shipment::Command::DispatchShipment(_) => Some("the goods leave the warehouse"),
                shipment::Command::CancelShipment(_) => Some("the shipment is cancelled"),
                shipment::Command::PlanShipment(_)
                | shipment::Command::MarkShipmentReady(_)
                | shipment::Command::DeliverShipment(_)
                | shipment::Command::ReportShipmentLost(_) => None,
            },
            Command::Stock { command: stock::Command::ShipStock(_), .. } => Some("the pieces leave the stock"),
            Command::Order { command: order::Command::RejectOrder(_), .. } => Some("the order is rejected"),
            Command::Order { command: order::Command::CancelOrder(_), .. } => Some("the order is cancelled"),
            Command::Order { .. } | Command::Stock { .. } | Command::Product { .. } => None,
        }
    }
}

/// The money that a command of a saga with these facts moves or lets go.
pub fn amount(command: &Command, facts: Option<&Facts>) -> Option<Money> {
    match command {
        Command::Payment { command, .. } => match command {
            payment::Command::RequestPaymentAuthorization(c) => Some(c.amount),
            payment::Command::RequestPaymentCapture(c) => Some(c.amount),
            payment::Command::RequestPaymentRefund(c) => Some(c.amount),
            payment::Command::RequestPaymentVoid(_) | payment::Command::ExpirePayment(_) => {
                facts.and_then(Facts::amount)
            }
            payment::Command::RecordProviderResult(_) | payment::Command::MarkPaymentOutcomeUnknown(_) => None,
        },
        Command::Order { .. } | Command::Stock { .. } | Command::Shipment { .. } | Command::Product { .. } => None,
    }
}
