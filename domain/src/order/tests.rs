use super::*;
use crate::aggregate::Aggregate;
use crate::ids::{CustomerId, OrderId, ShipmentId};
use crate::money::{Currency, Money};
use crate::quantity::Quantity;
use crate::testing::{Given, at};

mod dispatching;
mod holds;
mod placing;
mod prices;
mod properties;

const ORDER: OrderId = OrderId(uuid::Uuid::from_u128(1));
const CUSTOMER: CustomerId = CustomerId(uuid::Uuid::from_u128(2));
const SHIPMENT: ShipmentId = ShipmentId(uuid::Uuid::from_u128(3));
const OTHER_SHIPMENT: ShipmentId = ShipmentId(uuid::Uuid::from_u128(4));

fn given(events: impl IntoIterator<Item = Event>) -> Given<Order> {
    Given::events(events)
}

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

fn line(line: u32, item: &str, quantity: i64, unit_price: i64, tax_share: i64) -> OrderLine {
    OrderLine {
        line,
        item: item.parse().unwrap(),
        name: "Mug".into(),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: eur(unit_price),
        net: eur(unit_price * quantity),
        discount_share: eur(0),
        tax_share: eur(tax_share),
    }
}

fn placing() -> PlaceOrder {
    PlaceOrder {
        order_id: ORDER,
        customer_id: CUSTOMER,
        lines: vec![line(1, "MUG-1@main", 2, 1_000, 400), line(2, "PEN@main", 1, 500, 150)],
        totals: Totals { subtotal: eur(2_500), discount: eur(0), tax: eur(550), shipping: eur(400), total: eur(3_450) },
        payment_method: "tok_approve".into(),
        tags: vec!["gift".into()],
        expected_total: None,
    }
}

fn placed() -> Event {
    let c = placing();
    Event::OrderPlaced(OrderPlaced {
        order_id: ORDER,
        number: ORDER.number(),
        customer_id: CUSTOMER,
        lines: c.lines,
        totals: c.totals,
        payment_method: c.payment_method,
        tags: c.tags,
        placed_at: at(0),
    })
}

fn assess(assessment: RiskAssessment) -> Command {
    Command::AssessOrderRisk(AssessOrderRisk { assessment, assessed_by: "rules-1".into(), by_person: false })
}

/// A person's verdict.
fn judge(assessment: RiskAssessment) -> Command {
    Command::AssessOrderRisk(AssessOrderRisk { assessment, assessed_by: "rules-1".into(), by_person: true })
}

fn assessed(assessment: RiskAssessment) -> Event {
    Event::OrderRiskAssessed(OrderRiskAssessed { assessment, assessed_by: "rules-1".into() })
}

fn confirm() -> Command {
    Command::ConfirmOrder(ConfirmOrder {})
}

fn confirmed() -> Event {
    Event::OrderConfirmed(OrderConfirmed {})
}

fn reject() -> Command {
    Command::RejectOrder(RejectOrder { reason: RejectReason::OutOfStock })
}

fn rejected() -> Event {
    Event::OrderRejected(OrderRejected { reason: RejectReason::OutOfStock })
}

fn hold(reason: HoldReason) -> Command {
    Command::HoldOrder(HoldOrder { reason })
}

fn held(reason: HoldReason) -> Event {
    Event::OrderHeld(OrderHeld { reason })
}

fn release() -> Command {
    Command::ReleaseOrderHold(ReleaseOrderHold { reason: None })
}

fn release_of(reason: HoldReason) -> Command {
    Command::ReleaseOrderHold(ReleaseOrderHold { reason: Some(reason) })
}

fn hold_released(reason: HoldReason) -> Event {
    Event::OrderHoldReleased(OrderHoldReleased { reason: Some(reason) })
}

/// As it was written up to 0.2.0.
fn all_holds_released() -> Event {
    Event::OrderHoldReleased(OrderHoldReleased { reason: None })
}

fn request_cancellation() -> Command {
    Command::RequestOrderCancellation(RequestOrderCancellation { reason: "changed my mind".into() })
}

fn cancellation_requested() -> Event {
    Event::OrderCancellationRequested(OrderCancellationRequested { reason: "changed my mind".into() })
}

fn cancel() -> Command {
    Command::CancelOrder(CancelOrder { reason: "customer_request".into() })
}

fn cancelled() -> Event {
    Event::OrderCancelled(OrderCancelled { reason: "customer_request".into() })
}

fn allow_dispatch() -> Command {
    Command::AllowOrderDispatch(AllowOrderDispatch {})
}

fn dispatch_allowed() -> Event {
    Event::OrderDispatchAllowed(OrderDispatchAllowed {})
}

fn record_shipped(shipment_id: ShipmentId) -> Command {
    Command::RecordOrderShipped(RecordOrderShipped { shipment_id })
}

fn shipped() -> Event {
    Event::OrderShipped(OrderShipped { shipment_id: SHIPMENT })
}

fn complete() -> Command {
    Command::CompleteOrder(CompleteOrder {})
}

fn completed() -> Event {
    Event::OrderCompleted(OrderCompleted {})
}

/// How an order gets to each status.
fn past(status: Status) -> Vec<Event> {
    match status {
        Status::None => vec![],
        Status::Pending => vec![placed()],
        Status::Confirmed => vec![placed(), confirmed()],
        Status::Dispatching => vec![placed(), confirmed(), dispatch_allowed()],
        Status::Shipped => vec![placed(), confirmed(), dispatch_allowed(), shipped()],
        Status::Completed => vec![placed(), confirmed(), dispatch_allowed(), shipped(), completed()],
        Status::CancelPending => vec![placed(), confirmed(), cancellation_requested()],
        Status::Cancelled => vec![placed(), confirmed(), cancellation_requested(), cancelled()],
        Status::Rejected => vec![placed(), rejected()],
    }
}

const STATUSES: [Status; 9] = [
    Status::None,
    Status::Pending,
    Status::Confirmed,
    Status::Dispatching,
    Status::Shipped,
    Status::Completed,
    Status::CancelPending,
    Status::Cancelled,
    Status::Rejected,
];

/// What a command comes to.
enum Then {
    /// These events; the command again is nothing.
    Events(Vec<Event>),
    /// It is already so.
    Nothing,
    /// The answer is no.
    Rejected(Rejection),
}

use Then::{Events, Nothing, Rejected as No};

/// What a command comes to in every status, in the order of [`STATUSES`]: no case is left to chance.
#[track_caller]
fn in_every_status(command: &Command, expected: [Then; 9]) {
    for (status, then) in STATUSES.into_iter().zip(expected) {
        let asked = given(past(status));
        assert_eq!(asked.state().status, status);
        let asked = asked.when(command.clone());
        match then {
            Events(events) => _ = asked.then(events).when(command.clone()).then_nothing(),
            Nothing => _ = asked.then_nothing(),
            No(rejection) => _ = asked.then_rejected(rejection),
        }
    }
}

#[test]
fn only_a_pending_order_is_assessed() {
    in_every_status(
        &assess(RiskAssessment::Approve),
        [
            No(Rejection::NotFound),
            Events(vec![assessed(RiskAssessment::Approve)]),
            No(Rejection::NotPending),
            No(Rejection::NotPending),
            No(Rejection::NotPending),
            No(Rejection::Completed),
            No(Rejection::CancelPending),
            No(Rejection::Cancelled),
            No(Rejection::Rejected),
        ],
    );
}

#[test]
fn a_review_holds_the_order_in_the_same_append() {
    let review = [assessed(RiskAssessment::Review), held(HoldReason::HighRiskOfFraud)];
    let after = given([placed()]).when(assess(RiskAssessment::Review)).then(review);
    let after = after.when(assess(RiskAssessment::Review)).then_nothing();
    assert_eq!(after.state().held(), Some(HoldReason::HighRiskOfFraud));
}

#[test]
fn who_reviews_lets_the_order_go_on_or_not() {
    let review = || given([placed(), assessed(RiskAssessment::Review), held(HoldReason::HighRiskOfFraud)]);
    let go = [assessed(RiskAssessment::Approve), hold_released(HoldReason::HighRiskOfFraud)];
    review().when(assess(RiskAssessment::Approve)).then(go).when(assess(RiskAssessment::Approve)).then_nothing();
    let refused = review().when(assess(RiskAssessment::Refuse)).then([assessed(RiskAssessment::Refuse)]);
    refused.when(assess(RiskAssessment::Review)).then_nothing();
    // A hold for another reason is not the reviewer's to release.
    let both = review().when(hold(HoldReason::IncorrectAddress)).then([held(HoldReason::IncorrectAddress)]);
    let go = [assessed(RiskAssessment::Approve), hold_released(HoldReason::HighRiskOfFraud)];
    let after = both.when(judge(RiskAssessment::Approve)).then(go);
    assert_eq!(after.state().holds, [HoldReason::IncorrectAddress]);
}

#[test]
fn a_risk_is_assessed_once_unless_it_is_under_review() {
    for (first, second) in [
        (RiskAssessment::Approve, RiskAssessment::Refuse),
        (RiskAssessment::Approve, RiskAssessment::Review),
        (RiskAssessment::Refuse, RiskAssessment::Approve),
    ] {
        given([placed(), assessed(first)]).when(assess(second)).then_rejected(Rejection::RiskAlreadyAssessed);
    }
}

#[test]
fn a_pending_order_is_confirmed_once() {
    in_every_status(
        &confirm(),
        [
            No(Rejection::NotFound),
            Events(vec![confirmed()]),
            Nothing,
            Nothing,
            Nothing,
            Nothing,
            No(Rejection::CancelPending),
            No(Rejection::Cancelled),
            No(Rejection::Rejected),
        ],
    );
    given([placed(), held(HoldReason::Other)]).when(confirm()).then([confirmed()]);
}

#[test]
fn only_a_pending_order_is_rejected() {
    in_every_status(
        &reject(),
        [
            No(Rejection::NotFound),
            Events(vec![rejected()]),
            No(Rejection::NotPending),
            No(Rejection::NotPending),
            No(Rejection::NotPending),
            No(Rejection::Completed),
            No(Rejection::CancelPending),
            No(Rejection::Cancelled),
            Nothing,
        ],
    );
}

#[test]
fn an_order_is_held_until_its_dispatch_is_allowed() {
    in_every_status(
        &hold(HoldReason::Other),
        [
            No(Rejection::NotFound),
            Events(vec![held(HoldReason::Other)]),
            Events(vec![held(HoldReason::Other)]),
            No(Rejection::DispatchAlreadyAllowed),
            No(Rejection::DispatchAlreadyAllowed),
            No(Rejection::Completed),
            No(Rejection::CancelPending),
            No(Rejection::Cancelled),
            No(Rejection::Rejected),
        ],
    );
    let otherwise = given([placed(), held(HoldReason::Other)]).when(hold(HoldReason::IncorrectAddress));
    otherwise.then([held(HoldReason::IncorrectAddress)]);
}

#[test]
fn what_is_not_held_needs_no_release() {
    in_every_status(
        &release(),
        [
            No(Rejection::NotFound),
            Nothing,
            Nothing,
            Nothing,
            Nothing,
            Nothing,
            No(Rejection::CancelPending),
            No(Rejection::Cancelled),
            No(Rejection::Rejected),
        ],
    );
}

#[test]
fn a_held_order_goes_on_when_released() {
    for status in [Status::Pending, Status::Confirmed] {
        let held = given(past(status).into_iter().chain([held(HoldReason::Other)]));
        held.when(release()).then([hold_released(HoldReason::Other)]).when(release()).then_nothing();
    }
    let leaving = [placed(), held(HoldReason::Other), cancellation_requested()];
    given(leaving).when(release()).then_rejected(Rejection::CancelPending);
}

#[test]
fn an_order_can_be_called_off_until_its_dispatch_is_allowed() {
    in_every_status(
        &request_cancellation(),
        [
            No(Rejection::NotFound),
            Events(vec![cancellation_requested()]),
            Events(vec![cancellation_requested()]),
            No(Rejection::DispatchAlreadyAllowed),
            No(Rejection::DispatchAlreadyAllowed),
            No(Rejection::Completed),
            Nothing,
            Nothing,
            No(Rejection::Rejected),
        ],
    );
}

#[test]
fn sagas_cancel_what_was_confirmed_or_is_being_called_off() {
    in_every_status(
        &cancel(),
        [
            No(Rejection::NotFound),
            No(Rejection::Pending),
            Events(vec![cancelled()]),
            Events(vec![cancelled()]),
            No(Rejection::Shipped),
            No(Rejection::Completed),
            Events(vec![cancelled()]),
            Nothing,
            No(Rejection::Rejected),
        ],
    );
}
