//! A command, for people: what it moves, and what of it cannot be undone.

use domain::money::Money;
use domain::saga::{Facts, IssuedCommand};
use domain::{Command, order, payment, shipment, stock};

use super::state::State;

/// A command that is, or would be, sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Its name.
    pub command: String,
    /// The stream that it is for.
    pub target: String,
    /// The money that it moves or lets go.
    pub amount: Option<Money>,
    /// What of it cannot be undone.
    pub lasting: Option<&'static str>,
}

/// Commands, for people.
pub(super) fn sent(state: &State, commands: &[IssuedCommand]) -> Vec<Sent> {
    commands.iter().map(|command| one_sent(state, command)).collect()
}

pub(super) fn one_sent(state: &State, command: &IssuedCommand) -> Sent {
    let parsed = command.body.parse().ok();
    let all = state.facts.as_ref().and_then(Facts::amount);
    let amount = match &parsed {
        Some(Command::Payment { command, .. }) => match command {
            payment::Command::RequestPaymentAuthorization(c) => Some(c.amount),
            payment::Command::RequestPaymentCapture(c) => Some(c.amount),
            payment::Command::RequestPaymentRefund(c) => Some(c.amount),
            payment::Command::RequestPaymentVoid(_) | payment::Command::ExpirePayment(_) => all,
            payment::Command::RecordProviderResult(_) | payment::Command::MarkPaymentOutcomeUnknown(_) => None,
        },
        Some(Command::Order { .. } | Command::Stock { .. } | Command::Shipment { .. } | Command::Product { .. })
        | None => None,
    };
    let (name, target) = (command.name.clone(), command.target.clone());
    Sent { command: name, target, amount, lasting: parsed.as_ref().and_then(lasting) }
}

/// What of a command cannot be undone, only made good.
pub(super) fn lasting(command: &Command) -> Option<&'static str> {
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
