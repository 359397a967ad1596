//! The requests that the benches over HTTP send: a small catalogue with more stock than any run can sell, and orders of
//! two items, as bytes that only need their key filled in.

use std::net::SocketAddr;

use anyhow::Context;
use serde_json::json;

use crate::demo::client::{Client, PATIENCE};

/// Products, so that orders spread over stock streams as in a shop; each order takes two of them.
pub const PRODUCTS: usize = 64;
/// Pieces of each product; the most that one command may receive. 64 of them last for 32 million orders.
const PIECES: i64 = 1_000_000;

/// Fills the shop: products with prices and stock.
///
/// # Errors
/// If a command is refused.
pub async fn stock_up(address: SocketAddr) -> anyhow::Result<()> {
    let client = Client::new(&format!("http://{address}"), PATIENCE)?;
    for product in 0..PRODUCTS {
        let sku = format!("BENCH-{product:03}");
        let price = json!({"amount": 1_000 + product, "currency": "EUR"});
        let body = json!({"sku": sku, "name": format!("Bench product {product}"), "price": price});
        client.post("/v1/products", &format!("product-{product}"), &body).await?.good().context("a product")?;
        let path = format!("/v1/stock/{sku}/main/receive");
        let body = json!({"quantity": PIECES});
        client.post(&path, &format!("receive-{product}"), &body).await?.good().context("its stock")?;
    }
    Ok(())
}

/// Writes `POST /v1/orders` for the `n`-th order of client `client`: two items, a key of its own.
pub fn place(client: usize, n: u64, into: &mut Vec<u8>) {
    use std::io::Write as _;
    let spread = client + usize::try_from(n).unwrap_or(0);
    let (first, second) = (spread % PRODUCTS, (spread + 1 + client % 7) % PRODUCTS);
    let second = if first == second { (second + 1) % PRODUCTS } else { second };
    let mut body = [0_u8; 512];
    let mut rest = &mut body[..];
    // 512 bytes hold it: the numbers have fixed widths. Were one longer, the server would refuse the cut-off JSON.
    let _ = write!(
        rest,
        "{{\"customer_id\":\"00000000-0000-4000-8000-{client:012}\",\"lines\":[\
         {{\"sku\":\"BENCH-{first:03}\",\"quantity\":1}},{{\"sku\":\"BENCH-{second:03}\",\"quantity\":2}}],\
         \"payment_method\":\"tok_approve\"}}",
    );
    let length = 512 - rest.len();
    let _ = write!(
        into,
        "POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         idempotency-key: bench-{client:04}-{n:012}\r\ncontent-length: {length}\r\n\r\n",
    ); // Writing to a Vec cannot fail.
    into.extend_from_slice(&body[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_two_different_items_and_a_key_of_its_own() {
        let mut keys = std::collections::BTreeSet::new();
        for (client, n) in (0..100).flat_map(|client| (0..70).map(move |n| (client, n))) {
            let mut request = Vec::new();
            place(client, n, &mut request);
            let text = String::from_utf8(request).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_ne!(body["lines"][0]["sku"], body["lines"][1]["sku"]);
            keys.insert(head.lines().find(|line| line.starts_with("idempotency-key")).unwrap().to_owned());
        }
        assert_eq!(keys.len(), 7_000);
    }
}
