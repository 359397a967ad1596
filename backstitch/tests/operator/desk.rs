//! What the person on call types, and what comes back.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use trials::demo::client::Answer;

use crate::world::{PROGRAM, Shopper, World};

/// What a verb said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The data, of a verb that was done.
    pub fn done(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        &self.out
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(self.done()).unwrap()
    }
}

/// Types a verb; there is no terminal, so whatever asks is not answered.
pub async fn types(url: &str, arguments: &[&str]) -> Said {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(arguments).env("BACKSTITCH_URL", url).env("NO_COLOR", "1").env("USER", "olga");
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// The shop's command line.
pub async fn desk(shop: &World, arguments: &[&str]) -> Said {
    types(&shop.processes.server.url, arguments).await
}

/// An order that was cancelled after its money was taken, and whose refund the bank refuses the first time.
pub async fn stuck_refund(shop: &World, key: &str, token: &str) -> Answer {
    let order = shop.placed_and_settled(key, &[("MUG", 1)], token).await;
    let path = format!("/v1/orders/{}/hold", order.text("id"));
    shop.ask(&path, &json!({"reason": "INCORRECT_ADDRESS"})).await;
    let held = shop.ready(&order).await;
    assert_eq!(held.text("payment_status"), "captured");
    let stuck = shop.cancel(order.text("id")).await;
    assert_eq!((stuck.text("status"), stuck.text("payment_status")), ("cancel_pending", "refund_failed"));
    stuck
}

/// The order, once nothing happens to it by itself any more, after all that the log has now.
pub async fn settled(shop: &World, order: &str) -> Answer {
    let stats = shop.client.get("/v1/store/stats").await.unwrap().good().unwrap();
    shop.settled(order, stats.body["position"].as_u64()).await
}
