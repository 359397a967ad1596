//! The one table from refusals to problem documents. `docs/problems/<code>.md` says more about each.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use service_kit::Problem;
use service_kit::request::mark_replayed;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::bus::SendError;
use crate::preconditions::Unmet;

/// How a refusal leaves the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// `domain::Rejected::code`, and the last part of the problem's type.
    pub code: &'static str,
    /// 400: no state would allow it; 404: there is no such thing; 409: the state does not allow it.
    pub status: StatusCode,
    /// Always the same for a code.
    pub title: &'static str,
    /// The field at fault, a JSON pointer, where it is always the same.
    pub field: Option<&'static str>,
}

const fn invalid(code: &'static str, title: &'static str, field: &'static str) -> Row {
    Row { code, status: StatusCode::BAD_REQUEST, title, field: Some(field) }
}

const fn conflict(code: &'static str, title: &'static str) -> Row {
    Row { code, status: StatusCode::CONFLICT, title, field: None }
}

/// All refusals of the domain, by code.
pub const TABLE: &[Row] = &[
    Row { code: "not-found", status: StatusCode::NOT_FOUND, title: "There is no such thing", field: None },
    conflict("already-exists", "It exists already, and differs"),
    // Products
    invalid("reserved-sku", "The SKU cannot be part of a path", "/sku"),
    invalid("price-out-of-range", "The price is out of range", "/price/amount"),
    invalid("name-length", "The name is too long or too short", "/name"),
    Row {
        code: "currency-mismatch",
        status: StatusCode::CONFLICT,
        title: "The currency is another one",
        field: Some("/price/currency"),
    },
    // Stock
    conflict("out-of-stock", "There are too few pieces"),
    conflict("reservation-ended", "The reservation has ended"),
    conflict("reservation-not-found", "There is no such reservation"),
    conflict("reservation-differs", "The reservation holds something else"),
    conflict("reservation-not-due", "The reservation still holds"),
    conflict("reservation-committed", "The reservation is committed"),
    conflict("reservation-not-committed", "The reservation is not committed"),
    conflict("reservation-shipped", "The reserved pieces have left the house"),
    conflict("too-much-stock", "There would be too many pieces"),
    invalid("invalid-delta", "The adjustment is out of range", "/delta"),
    invalid("reason-length", "The reason is too long or too short", "/reason"),
    conflict("adjustment-too-low", "The pieces are promised or not there"),
    conflict("restock-exceeds-shipped", "More came back than was shipped"),
    // Payments
    conflict("authorization-exists", "The payment was begun already, and differs"),
    conflict("payment-voided", "The payment was given up"),
    invalid("amount-out-of-range", "The amount is out of range", "/amount"),
    conflict("payment-not-authorized", "No money is held"),
    conflict("payment-authorized", "Money is held"),
    conflict("capture-exceeds-authorized", "More would be taken than is held"),
    conflict("capture-open", "Money is being taken"),
    conflict("void-open", "The hold is being let go"),
    conflict("payment-captured", "The money was taken"),
    conflict("payment-not-captured", "No money was taken"),
    conflict("refund-exceeds-captured", "More would be given back than was taken"),
    conflict("nothing-to-refund", "All that was taken is given back"),
    conflict("payment-succeeded-late", "The payment succeeded after its end"),
    conflict("request-reused", "The request's id stands for something else"),
    conflict("too-many-requests", "The payment has had too many requests"),
    conflict("unknown-request", "The payment has no such request"),
    conflict("result-mismatch", "The result does not fit the request"),
    conflict("amount-mismatch", "The amount is not the one that was asked for"),
    // Orders
    invalid("line-count", "There are too many or too few lines", "/lines"),
    invalid("invalid-line", "A line does not add up", "/lines"),
    invalid("too-many-pieces", "There are too many pieces of one item", "/lines"),
    invalid("several-locations", "The order would be shipped from several locations", "/lines"),
    invalid("total-out-of-range", "The order costs more than an order may", "/lines"),
    invalid("payment-method-length", "The payment method is too long or too short", "/payment_method"),
    invalid("invalid-tags", "The labels are too many or too long", "/tags"),
    conflict("product-not-for-sale", "A product cannot be ordered"),
    Row {
        code: "price-changed",
        status: StatusCode::CONFLICT,
        title: "The order costs something else",
        field: Some("/expected_total"),
    },
    conflict("totals-mismatch", "The totals do not add up"),
    conflict("risk-already-assessed", "The risk was assessed already"),
    conflict("order-not-under-review", "The order is not under review"),
    conflict("order-under-review", "The order is under review"),
    conflict("several-holds", "The order has several holds"),
    conflict("order-not-pending", "The order is past that"),
    conflict("order-pending", "The order is not confirmed yet"),
    conflict("order-held", "The order is held"),
    conflict("order-cancel-pending", "The order is being cancelled"),
    conflict("dispatch-already-allowed", "The goods are about to leave the house"),
    conflict("dispatch-not-allowed", "The goods may not leave the house"),
    conflict("order-shipped", "The goods have left the house"),
    conflict("order-not-shipped", "The goods have not left the house"),
    conflict("order-completed", "The order is completed"),
    conflict("order-cancelled", "The order is cancelled"),
    conflict("order-rejected", "The order was rejected"),
    // Shipments
    conflict("shipment-cancelled", "The shipment is cancelled"),
    conflict("shipment-not-ready", "The shipment is not packed"),
    conflict("shipment-not-dispatched", "The shipment has not left the house"),
    conflict("shipment-dispatched", "The shipment has left the house"),
    conflict("shipment-delivered", "The shipment has arrived"),
    conflict("shipment-lost", "The shipment is lost"),
];

/// The row of a code.
pub fn row(code: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.code == code)
}

/// The problem of a code, without a field.
pub fn named(code: &str, detail: impl std::fmt::Display) -> Problem {
    // The tests show that every code has a row; a code without one would still be a refusal.
    let row = row(code).copied().unwrap_or(conflict("refused", "The state does not allow it"));
    Problem::new(row.status, row.code, row.title).detail(detail)
}

/// A refusal to be sent: a problem document, and whether it is the first answer again.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    problem: Problem,
    replayed: bool,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, replayed: false }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> axum::response::Response {
        let mut response = self.problem.into_response();
        mark_replayed(response.headers_mut(), self.replayed);
        response
    }
}

/// Why a command is not sent at all, as it is said.
pub(crate) fn unmet(why: Unmet) -> Refusal {
    match why {
        Unmet::Missing(detail) => Problem::not_found(detail).into(),
        Unmet::Send(error) => refused(error),
    }
}

/// Why there is no good answer, as it is sent.
pub fn refused(error: SendError) -> Refusal {
    let replayed = matches!(error, SendError::Rejected { replayed: true, .. });
    Refusal { problem: problem(error), replayed }
}

fn problem(error: SendError) -> Problem {
    let detail = error.to_string();
    match error {
        SendError::Rejected { code, .. } => {
            let problem = named(code, &detail);
            match row(code).and_then(|row| row.field) {
                Some(field) => problem.field(field, &detail),
                None => problem,
            }
        }
        SendError::PreconditionFailed { .. } => {
            Problem::version_mismatch(detail, "is not the current ETag; read it again and decide anew")
        }
        SendError::KeyReused => Problem::key_reused().detail(detail),
        SendError::InFlight => Problem::in_flight().detail(detail),
        SendError::TooLate { .. } => {
            Problem::new(StatusCode::CONFLICT, "too-late", "The command came after its deadline").detail(detail)
        }
        SendError::Busy { .. } | SendError::Unavailable { .. } => Problem::unavailable(detail, 1),
        SendError::Full { retry_after_s, .. } => Problem::unavailable(detail, retry_after_s),
        SendError::Damaged { .. } => Problem::log_damaged(detail),
    }
}

/// The answers that every command may have besides its own.
pub struct Refusals;

impl utoipa::IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = |(status, description): (&str, &str)| {
            let schema = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let response =
                ResponseBuilder::new().description(description).content("application/problem+json", content).build();
            (status.to_owned(), RefOr::T(response))
        };
        [
            ("400", "Not valid; `errors` names the fields"),
            ("404", "There is no such thing"),
            ("409", "The state does not allow it, or the same request is still being carried out (`Retry-After`)"),
            ("412", "The version is not the one that `If-Match` names"),
            ("413", "The body is too large"),
            ("415", "The body is not JSON"),
            ("421", "Only in a cluster: this process does not serve it, another one does; nothing was done"),
            ("422", "The `Idempotency-Key` was used before with another body"),
            ("503", "Not now; nothing was lost, repeat it with the same key (`Retry-After`)"),
        ]
        .map(problem)
        .into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_refusal_of_the_domain_has_one_row_and_every_row_is_one() {
        let rejections = domain::Kind::ALL.iter().map(|kind| kind.rejections);
        let codes = rejections.chain([<domain::order::pricing::PricingError as domain::Rejected>::CODES]);
        let domain: BTreeSet<&str> = codes.flatten().copied().collect();
        let table: BTreeSet<&str> = TABLE.iter().map(|row| row.code).collect();
        assert_eq!(domain, table);
        assert_eq!(table.len(), TABLE.len(), "a code stands in two rows");
    }

    #[test]
    fn no_refusal_is_a_5xx() {
        assert!(TABLE.iter().all(|row| row.status.is_client_error()));
    }
}
