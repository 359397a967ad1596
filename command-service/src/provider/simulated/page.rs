//! The page at a payment's `action_url`, where a customer of the simulated provider confirms or gives up.

use domain::ids::PaymentId;

use super::Customer;

/// The page of a payment. It stands alone: no script, no style from elsewhere. Only ids and fixed words are in it.
pub fn page(payment: PaymentId, customer: Customer) -> String {
    let form = |action: &str, label: &str| {
        format!(r#"<form method="post" action="{payment}/{action}"><button>{label}</button></form>"#)
    };
    let body = match customer {
        Customer::Awaited => format!(
            "<p>Payment {payment} waits for its customer.</p>{}{}",
            form("approve", "Approve"),
            form("abandon", "Abandon")
        ),
        Customer::Done => format!("<p>Payment {payment} does not wait for its customer any more.</p>"),
    };
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Simulated provider</title>\
         <h1>Simulated payment provider</h1>{body}</html>"
    )
}
