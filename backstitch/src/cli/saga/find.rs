//! Which saga a person means, who names it as it comes: by its id, its stream, or its order's id or number.

use serde::Deserialize;
use terminal::{Failure, output};
use uuid::Uuid;

use crate::cli::server::client::{Client, Page};

/// What a person named.
enum Named {
    Saga(String),
    Order(String),
}

async fn named(client: &Client, text: &str) -> anyhow::Result<Named> {
    if let Some(id) = text.strip_prefix("saga_") {
        return Ok(Named::Saga(id.to_owned()));
    }
    let order = text.strip_prefix("order-").unwrap_or(text);
    if order.parse::<Uuid>().is_ok() {
        return Ok(Named::Order(order.to_owned()));
    }
    if text.contains('-') {
        return Ok(Named::Saga(text.to_owned()));
    }
    let found = client.get(&format!("/v1/orders/{text}"), &[]).await?;
    match found["id"].as_str() {
        Some(id) => Ok(Named::Order(id.to_owned())),
        None => Err(Failure::no(format!("`{text}` names no saga and no order"), "backstitch saga list")),
    }
}

/// The saga that is named; of an order its fulfilment.
pub(super) async fn told(client: &Client, text: &str) -> anyhow::Result<String> {
    Ok(match named(client, text).await? {
        Named::Saga(id) => id,
        Named::Order(order) => format!("order_fulfilment-{order}"),
    })
}

/// A saga of an order.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    state: String,
    ended_at: Option<String>,
    handed_over_to: Option<String>,
}

/// The saga that is named; of an order the one that drives it now, which is said on stderr where it is not its
/// fulfilment.
pub(super) async fn driving(client: &Client, text: &str) -> anyhow::Result<String> {
    let order = match named(client, text).await? {
        Named::Saga(id) => return Ok(id),
        Named::Order(order) => order,
    };
    let fulfilment = format!("order_fulfilment-{order}");
    let page: Page<Line> =
        client.get_as("/v1/sagas", &[("order_id", order.clone()), ("limit", "200".to_owned())]).await?;
    let open: Vec<&Line> = page.items.iter().filter(|saga| saga.ended_at.is_none()).collect();
    let called: Vec<&Line> = open.iter().copied().filter(|saga| saga.state == "needs_attention").collect();
    let meant = match (called.as_slice(), open.as_slice()) {
        ([one], _) | ([], [one]) => one.id.clone(),
        // All have ended: what the fulfilment was handed over to, if it was, tells how.
        ([], []) => {
            page.items.iter().find_map(|saga| saga.handed_over_to.clone()).unwrap_or_else(|| fulfilment.clone())
        }
        (several, _) if several.len() > 1 => return Err(which(several)),
        (_, several) => return Err(which(several)),
    };
    if meant != fulfilment {
        output::note(format_args!("{meant} drives the order now"));
    }
    Ok(meant)
}

fn which(several: &[&Line]) -> anyhow::Error {
    let names: Vec<String> = several.iter().map(|saga| format!("{} ({})", saga.id, saga.state)).collect();
    let hint = format!("name the saga: {}", several.first().map_or("", |saga| saga.id.as_str()));
    Failure::no(format!("several sagas of the order are open: {}", names.join(", ")), hint)
}
