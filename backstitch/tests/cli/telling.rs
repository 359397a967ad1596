//! What a server tells while it works: a log line for a request, an order and a saga's end, and the numbers from the start.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;

use tempfile::TempDir;

use super::canary::{Running, address_of, get};

fn post(address: &str, path: &str, key: &str, body: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nIdempotency-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 201") || text.starts_with("HTTP/1.1 200"), "{text}");
}

/// Numbers that an alert is written with: there from the start, each with its `# HELP`.
const FROM_THE_START: &[&str] = &[
    "backstitch_log_position ",
    "backstitch_http_shed_total{class=\"command\",reason=\"full\"} 0",
    "backstitch_http_shed_total{class=\"heavy\",reason=\"memory\"} 0",
    "backstitch_provider_failures_total 0",
    "backstitch_provider_inbox_total 0",
    "backstitch_commands_total{command=\"PlaceOrder\",outcome=\"unavailable\"} 0",
    "backstitch_projection_lag_events{projection=\"orders\"} ",
    "backstitch_projection_position{projection=\"orders\"} ",
];

#[test]
fn a_server_logs_requests_orders_and_sagas_and_counts_from_the_start() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let (data, config) = (data.to_str().unwrap(), folder.path().join("backstitch.toml"));
    // Nobody answers there: the read models are away, which has to show in their lag.
    std::fs::write(&config, "[postgres]\nurl = \"postgres://127.0.0.1:1/shop\"\n").unwrap();
    let config = config.to_str().unwrap();
    let mut server = Running::start("info", &["serve", "--config", config, "--data", data, "--listen", "127.0.0.1:0"]);
    let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
    let mut stderr = BufReader::new(server.0.stderr.take().unwrap());
    let address = address_of(&Running::until(&mut stdout, "Ctrl-C stops"));
    let metrics = get(&address, "/metrics");
    for number in FROM_THE_START {
        let name = number.split(['{', ' ']).next().unwrap();
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} has no HELP: {metrics}");
        assert!(metrics.lines().any(|line| line.starts_with(number)), "{number}: {metrics}");
    }
    post(&address, "/v1/products", "p", r#"{"sku":"MUG","name":"A mug","price":{"amount":1299,"currency":"EUR"}}"#);
    post(&address, "/v1/stock/MUG/main/receive", "s", r#"{"quantity":10}"#);
    let order = r#"{"customer_id":"7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11","lines":[{"sku":"MUG","quantity":2}],"payment_method":"tok_decline"}"#;
    post(&address, "/v1/orders", "o", order);
    let log = Running::until(&mut stderr, "a saga ended");
    for told in
        ["an order was placed", "\"path\":\"/v1/orders\"", "\"status\":201", "backstitch::access", "compensated"]
    {
        assert!(log.contains(told), "{told}: {log}");
    }
    assert!(!metrics.contains("backstitch_http_shed_total 0"), "a series without labels: {metrics}");
    assert!(!log.contains("/metrics"), "probes are told at `debug`: {log}");
    let reading = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap());
    server.terminate(stdout);
    reading.join().unwrap();
}
