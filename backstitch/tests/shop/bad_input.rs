//! What nobody should send: each gets a problem document that names what is at fault, and the log stays as it was.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{Shopper, World, order_body};

/// A request that must be refused: what it is, its path, its body as it goes over the wire, status and field at fault.
type Case = (&'static str, &'static str, String, u16, &'static str);

fn order_with(field: &str, value: Value) -> String {
    let mut body = order_body(&[("MUG", 1)], "tok_approve");
    match body.pointer_mut(field) {
        Some(place) => *place = value,
        None => body[field.trim_start_matches('/')] = value,
    }
    body.to_string()
}

fn cases() -> Vec<Case> {
    let product = |price: Value| json!({"sku": "BAD", "name": "Bad", "price": price}).to_string();
    let orders = "/v1/orders";
    vec![
        ("broken JSON", orders, "{\"customer_id\": ".to_owned(), 400, ""),
        ("no JSON at all", orders, "hello".to_owned(), 400, ""),
        ("an empty body", orders, String::new(), 400, ""),
        ("an unknown field", orders, order_with("/colour", json!("red")), 400, "/colour"),
        ("a price from the client", orders, order_with("/total", json!(1)), 400, "/total"),
        ("no lines", orders, order_with("/lines", json!([])), 400, "/lines"),
        ("a word for a number", orders, order_with("/lines/0/quantity", json!("one")), 400, "/lines/0/quantity"),
        ("a quantity of 0", orders, order_with("/lines/0/quantity", json!(0)), 400, "/lines/0/quantity"),
        ("a negative quantity", orders, order_with("/lines/0/quantity", json!(-1)), 400, "/lines/0/quantity"),
        ("a quantity of 10⁹", orders, order_with("/lines/0/quantity", json!(1_000_000_000)), 400, "/lines/0/quantity"),
        ("more than 64 bits", orders, order_with("/lines/0/quantity", json!(1e30)), 400, "/lines/0/quantity"),
        ("half a piece", orders, order_with("/lines/0/quantity", json!(0.5)), 400, "/lines/0/quantity"),
        ("no UUID", orders, order_with("/customer_id", json!("me")), 400, "/customer_id"),
        ("a SKU with a slash", orders, order_with("/lines/0/sku", json!("a/b")), 400, "/lines/0/sku"),
        ("an unknown currency", orders, order_with("/currency", json!("EUX")), 400, "/currency"),
        ("a currency in lower case", orders, order_with("/currency", json!("eur")), 400, "/currency"),
        ("no payment method", orders, order_with("/payment_method", json!("")), 400, "/payment_method"),
        ("a negative price", "/v1/products", product(json!({"amount": -1, "currency": "EUR"})), 400, "/price/amount"),
        (
            "a price in floats",
            "/v1/products",
            product(json!({"amount": 9.99, "currency": "EUR"})),
            400,
            "/price/amount",
        ),
        ("gold", "/v1/products", product(json!({"amount": 1, "currency": "XAU"})), 400, "/price/currency"),
        (
            "a price beyond any order",
            "/v1/products",
            product(json!({"amount": i64::MAX, "currency": "EUR"})),
            400,
            "/price/amount",
        ),
        ("nothing received", "/v1/stock/MUG/main/receive", json!({"quantity": 0}).to_string(), 400, "/quantity"),
        ("no adjustment", "/v1/stock/MUG/main/adjust", json!({"delta": 0, "reason": "x"}).to_string(), 400, "/delta"),
        ("an order that is no UUID", "/v1/orders/seven/cancel", "{}".to_owned(), 400, "path:id"),
        (
            "an order that is not there",
            "/v1/orders/0198c0de-0000-7000-8000-00000000dead/cancel",
            "{}".to_owned(),
            404,
            "",
        ),
    ]
}

/// Texts with characters that no text may have.
fn texts() -> Vec<Case> {
    let orders = "/v1/orders";
    vec![
        (
            "a terminal's escape",
            "/v1/orders/0198c0de-0000-7000-8000-00000000dead/cancel",
            json!({"reason": "a\u{1b}[2J"}).to_string(),
            400,
            "/reason",
        ),
        (
            "a C1 control character",
            orders,
            order_with("/payment_method", json!("tok\u{9b}31m")),
            400,
            "/payment_method",
        ),
        ("text turned around", orders, order_with("/tags", json!(["ok", "a\u{202e}b"])), 400, "/tags/1"),
        ("an isolate", "/v1/products", json!({"sku": "BAD", "name": "a\u{2066}b"}).to_string(), 400, "/name"),
        ("a line separator", "/v1/products", json!({"sku": "BAD", "name": "a\u{2028}b"}).to_string(), 400, "/name"),
        ("a byte order mark", "/v1/products", json!({"sku": "BAD", "name": "\u{feff}Mug"}).to_string(), 400, "/name"),
        (
            "a name that nobody can see",
            "/v1/products",
            json!({"sku": "BAD", "name": "\u{200b}\u{200d}", "price": {"amount": 1, "currency": "EUR"}}).to_string(),
            400,
            "/name",
        ),
        (
            "a reason that nobody can see",
            "/v1/orders/0198c0de-0000-7000-8000-00000000dead/cancel",
            json!({"reason": "\u{3164}"}).to_string(),
            400,
            "/reason",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_the_field_at_fault_and_leaves_the_log_untouched() {
    let shop = World::start().await;
    shop.product("MUG", 10).await;
    let before = shop.books().await.position;
    let http = reqwest::Client::new();
    let mut wrong = Vec::new();
    let cases = [cases(), texts()].concat();
    for (n, (case, path, body, expected, field)) in cases.iter().enumerate() {
        let request =
            http.post(format!("{}{path}", shop.processes.server.url)).header("idempotency-key", format!("bad-{n}"));
        let response = request.header("content-type", "application/json").body(body.clone()).send().await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let problem: Value = response.json().await.unwrap();
        let fields: Vec<&str> =
            problem["errors"].as_array().into_iter().flatten().filter_map(|error| error["field"].as_str()).collect();
        let named = field.is_empty() || fields.contains(field);
        let told = problem["type"].as_str().is_some_and(|kind| kind.starts_with("/problems/"));
        if status != *expected || kind != "application/problem+json" || !told || !named {
            wrong.push(format!("{case}: {status} {kind} {problem}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(shop.books().await.position, before, "the log is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_queries_are_refused_with_the_parameter_at_fault() {
    let shop = World::start().await;
    let queries = [
        ("/v1/orders?cursor=%21%21", "query:cursor"),
        ("/v1/orders?cursor=bm90IG91cnM", "query:cursor"),
        ("/v1/orders?limit=0", "query:limit"),
        ("/v1/orders?limit=100000", "query:limit"),
        ("/v1/orders?status=lost-in-thought", "query:status"),
        ("/v1/orders?from=yesterday", "query:from"),
        ("/v1/orders?customer=me", "query:customer"),
        ("/v1/orders?colour=red", "query:colour"),
        ("/v1/events?after=-1", "query:after"),
        ("/v1/sagas?stuck_for=long", "query:stuck_for"),
    ];
    let mut wrong = Vec::new();
    for (path, field) in queries {
        let answer = shop.client.get(path).await.unwrap();
        let named = answer.body["errors"].as_array().is_some_and(|errors| errors.iter().any(|e| e["field"] == field));
        if answer.status != 400 || !named {
            wrong.push(format!("{path}: {} {}", answer.status, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_10_mb_is_refused_before_it_is_read() {
    let shop = World::start().await;
    let before = shop.books().await.position;
    let address = shop.processes.server.url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nidempotency-key: big\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        10 * 1024 * 1024
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Not one byte of the body was sent: the answer is there because the length alone says no.
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert_eq!(shop.books().await.position, before, "the log is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_cost_nothing_but_their_connection() {
    let shop = World::start().await;
    let address = shop.processes.server.url.trim_start_matches("http://").to_owned();
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET / HTTP/9.9\r\n\r\n", &[0_u8; 4096]] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await; // A reset is as good as an answer here.
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(shop.client.get("/health/live").await.unwrap().status, 204, "it serves on");
}
