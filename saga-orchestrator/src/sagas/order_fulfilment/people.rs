//! What people may decide about the fulfilment of an order.
//!
//! *Invariant:* nobody sells what is not held, no goods leave without money, and the order stream stays the arbiter: what
//! stands for one of these counts as done only when the saga did it.

use domain::saga::{Direction, LegStatus};

use super::super::shop::{Leg, People, State};

pub(super) const PEOPLE: People = People { skips, keeps };

fn skips(_: &State, leg: &Leg) -> Result<&'static str, &'static str> {
    match leg.direction {
        Direction::Do => skips_forward(leg),
        Direction::Undo => skips_back(leg),
        Direction::Renew => Err("a hold of stock is renewed, or it ends"),
    }
}

fn skips_forward(leg: &Leg) -> Result<&'static str, &'static str> {
    match leg.step.name {
        "record_shipped" if leg.all_done() => Ok("the order counts as delivered, whatever became of the shipment"),
        "record_shipped" => Err("the order does not know yet that its goods have left"),
        "reserve" | "commit" => Err("pieces that are not held would be sold twice"),
        "authorise" | "capture" => Err("goods would leave without money"),
        "assess_risk" => Err("nobody would have looked at the risk"),
        "risk_review" => Err("nobody has said what was found; say it: POST /v1/orders/{id}/assess"),
        "hold_released" => Err("the order is held; release it: POST /v1/orders/{id}/release"),
        "confirm" => Err("the order would stay pending"),
        "plan_shipment" => Err("the shipment would not be ready; mark it ready: POST /v1/shipments/{id}/ready"),
        "allow_dispatch" => Err("the order alone says whether its goods may leave"),
        "dispatch" => Err("the warehouse would still have the goods"),
        "ship_items" => Err("the stock would still count what has left"),
        _ => Err("the order would never end"),
    }
}

fn skips_back(leg: &Leg) -> Result<&'static str, &'static str> {
    match leg.step.name {
        "authorise" if leg.status == LegStatus::Open && !leg.all_done() => {
            Err("the payment has not answered yet: money that it takes until then would be kept; wait for its answer")
        }
        "authorise" if leg.commands.iter().any(|(sent, _)| sent.name == "RequestPaymentRefund") => {
            Ok("the money counts as given back by hand; the payment's own books do not show it")
        }
        "authorise" => {
            Ok("the hold on the money counts as let go at the provider; the payment's own books do not show it")
        }
        "reserve" => Err("the pieces would stay held for ever"),
        "plan_shipment" => Err("the goods could still leave"),
        _ => Err("the order would never end"),
    }
}

/// Once the goods are, or may be, on their way there is nothing to take back.
fn keeps(state: &State) -> Option<&'static str> {
    match state.latest("dispatch")?.status {
        LegStatus::Open => Some("the dispatch is on its way and its outcome not known: the goods may have left"),
        LegStatus::Succeeded => Some("the goods have left; have them returned instead"),
        LegStatus::Failed | LegStatus::Stuck => None,
    }
}
