//! The official Node client, `@kurrent/kurrentdb-client`: `tests/clients/contract.js`.

use super::official_python::{installed, numbers, run, script};
use super::*;

#[tokio::test]
async fn the_node_client_gets_along_with_the_served_log() {
    let served = Served::start().await;
    let mut node = tokio::process::Command::new(installed("bin/node"));
    node.env("NODE_PATH", installed("node/node_modules")).arg(script("contract.js")).arg(served.url());
    run(node).await;
    let log = served.log().await;
    assert_eq!(numbers(&log, "order-1"), [1, 2, 3, 6]);
    assert_eq!(numbers(&log, "order-2"), [4, 5, 7]);
    for stream in 0..10 {
        let mut many = numbers(&log, &format!("order-many-{stream}"));
        many.sort_unstable();
        assert_eq!(many, (0..50).map(|n| 1_000 + stream + 10 * n).collect::<Vec<u128>>());
    }
    assert_eq!(log.len(), 4 + 3 + 500, "what was refused is not there, and nothing twice");
    served.stop().await;
}
