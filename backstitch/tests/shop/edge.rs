//! The port of a running server: what waits keeps nobody out and is answered at the end, and who may call.

use reqwest::StatusCode;
use service_kit::Problem;
use service_kit::postgres::testing::fresh_database;
use tokio::task::JoinSet;

use crate::world::{PATIENCE, Shopper as _, World, metric};

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_wait_keep_nobody_else_out_and_are_answered_when_the_server_stops() {
    const AT_ONCE: usize = 8;
    let settings = [
        ("BACKSTITCH__POSTGRES__URL", fresh_database().await.unwrap()),
        ("BACKSTITCH__LIMITS__AT_ONCE__LONG_WAITS", AT_ONCE.to_string()),
    ];
    let mut shop = World::start_with(&settings).await;
    shop.product("MUG", 1000).await;
    let (http, url) = (reqwest::Client::new(), shop.processes.server.url.clone());
    while http.get(format!("{url}/health/ready")).send().await.unwrap().status() != StatusCode::OK {}
    // A position that the log never comes to while the test runs.
    let wait = || {
        let read = http.get(format!("{url}/v1/products/MUG"));
        read.header("x-min-position", "999999999").header("prefer", "wait=30").timeout(PATIENCE)
    };
    let mut waiting: JoinSet<_> = (0..AT_ONCE).map(|_| wait().send()).collect();
    while metric(&shop.client, "backstitch_http_in_flight", "long-wait").await < 8.0 {}
    for n in 0..20 {
        let refused = wait().send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(refused.json::<Problem>().await.unwrap().slug(), "overloaded");
        for path in ["/health/live", "/health/ready", "/metrics", "/v1/products/MUG", "/v1/products"] {
            let answer = http.get(format!("{url}{path}")).send().await.unwrap();
            let status = answer.status();
            assert!(status.is_success(), "{path}: {status} {}", answer.text().await.unwrap());
        }
        shop.place(&format!("order-{n}"), &[("MUG", 1)], "tok_approve").await;
    }
    assert!(metric(&shop.client, "backstitch_http_shed_total", "long-wait").await >= 20.0);
    assert!(metric(&shop.client, "backstitch_http_shed_total", "command").await < 1.0);
    shop.processes.server.stop().await.unwrap();
    while let Some(answer) = waiting.join_next().await {
        let answer = answer.unwrap().expect("an answer, no broken connection");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_this_machine_is_nothing_for_pages_of_other_sites() {
    let shop = World::start_with(&[("BACKSTITCH__RUN__PROJECTIONS", "false".to_owned())]).await;
    let (http, url) = (reqwest::Client::new(), shop.processes.server.url.clone());
    let ask = |path: &str, header: &'static str, value: &'static str| {
        let request = http.get(format!("{url}{path}")).header(header, value);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(ask("/openapi.json", "host", "evil.example").await, 403);
    assert_eq!(ask("/openapi.json", "origin", "https://evil.example").await, 403);
    assert_eq!(ask("/openapi.json", "host", "localhost").await, 200);
    assert_eq!(ask("/health/live", "host", "probe.example").await, 204, "probes call by any name");
}
