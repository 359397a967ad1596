//! One customer's order from the first click to its end, with the warehouse's part in it.

use anyhow::{Context, bail};
use domain::ids::OrderId;
use serde_json::json;

use super::client::{Answer, Client};
use super::script::{Part, Story};

/// The shop of one run: what its keys, products and customers are called.
#[derive(Debug, Clone)]
pub struct Shop {
    /// The way to the server.
    pub client: Client,
    /// Names this run, so that a second one on the same server has keys and products of its own.
    pub run: String,
}

/// Products of a run; orders take one or two of them.
pub const PRODUCTS: usize = 8;
/// Pieces that nobody has: an order for them is short.
const TOO_MANY: i64 = 1_000_000;

/// How an order ended, by the read models.
#[derive(Debug, Clone)]
pub struct End {
    /// The order that ended.
    pub order: OrderId,
    /// What it was to be.
    pub part: Part,
    /// The order's status.
    pub status: String,
    /// Its payment's.
    pub payment: String,
}

impl Shop {
    /// The SKU of a product of this run.
    pub fn sku(&self, product: usize) -> String {
        format!("{}-{}", self.run, product % PRODUCTS)
    }

    /// Products, prices and `pieces` of stock each, and a count that found three fewer.
    ///
    /// # Errors
    /// If a command is refused.
    pub async fn stock_up(&self, pieces: i64) -> anyhow::Result<()> {
        for product in 0..PRODUCTS {
            let sku = self.sku(product);
            let price = json!({"amount": 995 + 500 * product, "currency": "EUR"});
            let body = json!({"sku": sku, "name": format!("Demo product {product}"), "price": price});
            self.ask("/v1/products", &format!("{sku}-create"), &body).await?;
            let path = format!("/v1/stock/{sku}/main");
            self.ask(&format!("{path}/receive"), &format!("{sku}-receive"), &json!({"quantity": pieces})).await?;
            let count = json!({"delta": -3, "reason": "count"});
            self.ask(&format!("{path}/adjust"), &format!("{sku}-adjust"), &count).await?;
        }
        Ok(())
    }

    /// Places the `n`-th order and goes with it to its end.
    ///
    /// # Errors
    /// If the server refuses what it must not refuse, or gives no answer.
    pub async fn live_through(&self, n: usize, part: Part) -> anyhow::Result<End> {
        let placed = self.place(n, part).await.with_context(|| format!("order {n} ({})", part.case))?;
        let id = placed.text("id").to_owned();
        let end = self.story(&id, placed, part.story).await.with_context(|| format!("order {id} ({})", part.case))?;
        Ok(End {
            order: id.parse().context("the order's id")?,
            part,
            status: end.text("status").to_owned(),
            payment: end.text("payment_status").to_owned(),
        })
    }

    async fn place(&self, n: usize, part: Part) -> anyhow::Result<Answer> {
        let short = part.story == Story::Shortage;
        let mut lines = vec![json!({"sku": self.sku(n), "quantity": 1 + n % 3})];
        if !n.is_multiple_of(4) {
            let quantity = if short { TOO_MANY } else { 1 };
            lines.push(json!({"sku": self.sku(n + 1 + n % 5), "quantity": quantity}));
        } else if short {
            lines.push(json!({"sku": self.sku(n + 1), "quantity": TOO_MANY}));
        }
        let customer = domain::ids::derive(&["demo-customer", &self.run, &(n % 40).to_string()]);
        let body = json!({"customer_id": customer, "lines": lines, "payment_method": part.token, "tags": [self.run]});
        self.ask("/v1/orders", &format!("{}-order-{n}", self.run), &body).await
    }

    async fn story(&self, order: &str, placed: Answer, story: Story) -> anyhow::Result<Answer> {
        let rested = self.client.settled(order, placed.position()).await?;
        match story {
            Story::Declined | Story::Abandoned | Story::Shortage => Ok(rested),
            Story::Delivered => {
                let ready = self.ready(order, &rested).await?;
                self.deliver(order, ready.position()).await
            }
            Story::CancelledBeforeCapture => self.cancel(order).await,
            Story::CancelledAfterCapture => {
                let hold = json!({"reason": "INCORRECT_ADDRESS"});
                self.ask(&format!("/v1/orders/{order}/hold"), &self.key(order, "hold"), &hold).await?;
                let ready = self.ready(order, &rested).await?;
                let held = self.client.settled(order, ready.position()).await?;
                if held.text("payment_status") != "captured" {
                    bail!("held and packed, it should be captured: {}", held.body);
                }
                self.cancel(order).await
            }
            Story::CancelRacesDispatch => {
                let (ready, cancelled) = tokio::join!(self.try_ready(order, &rested), self.cancel_later(order));
                let (ready, cancelled) = (ready?, cancelled?);
                let position = ready.position().max(cancelled.position());
                let rested = self.client.settled(order, position).await?;
                if rested.text("status") == "shipped" { self.deliver(order, position).await } else { Ok(rested) }
            }
        }
    }

    /// The warehouse has packed it.
    async fn ready(&self, order: &str, rested: &Answer) -> anyhow::Result<Answer> {
        self.try_ready(order, rested).await?.good()
    }

    async fn try_ready(&self, order: &str, rested: &Answer) -> anyhow::Result<Answer> {
        let shipment = rested.text("shipment_id");
        if shipment.is_empty() {
            bail!("it waits for the warehouse, yet there is no shipment: {}", rested.body);
        }
        self.client.post(&format!("/v1/shipments/{shipment}/ready"), &self.key(order, "ready"), &json!({})).await
    }

    /// It arrives, once it has left.
    async fn deliver(&self, order: &str, since: Option<u64>) -> anyhow::Result<Answer> {
        let gone = self.client.settled(order, since).await?;
        let path = format!("/v1/shipments/{}/deliver", gone.text("shipment_id"));
        let delivered = self.ask(&path, &self.key(order, "deliver"), &json!({})).await?;
        self.client.settled(order, delivered.position()).await
    }

    async fn cancel(&self, order: &str) -> anyhow::Result<Answer> {
        let cancelled = self.try_cancel(order).await?.good()?;
        self.client.settled(order, cancelled.position()).await
    }

    /// Cancels after some hesitation, another for each order: the later it comes, the further the dispatch is.
    async fn cancel_later(&self, order: &str) -> anyhow::Result<Answer> {
        let looks = order.bytes().next_back().unwrap_or_default() % 8;
        for _ in 0..looks {
            self.client.get(&format!("/v1/orders/{order}")).await?;
        }
        self.try_cancel(order).await
    }

    async fn try_cancel(&self, order: &str) -> anyhow::Result<Answer> {
        let body = json!({"reason": "changed my mind"});
        self.client.post(&format!("/v1/orders/{order}/cancel"), &self.key(order, "cancel"), &body).await
    }

    async fn ask(&self, path: &str, key: &str, body: &serde_json::Value) -> anyhow::Result<Answer> {
        self.client.post(path, key, body).await?.good().with_context(|| format!("POST {path}"))
    }

    fn key(&self, order: &str, verb: &str) -> String {
        format!("{}-{verb}-{order}", self.run)
    }
}
