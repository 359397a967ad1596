//! What people see: each verb's words over answers that are always the same, compared with what was looked over.
//!
//! `BACKSTITCH_GOLDEN=write cargo test -p backstitch --features cluster --test operator output` writes them anew; look at the difference.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use axum::http::{StatusCode, Uri, header};
use serde_json::Value;

use crate::desk::types;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/said").join(name)
}

/// A server that knows some answers by heart: by path, whatever the query says.
async fn server() -> String {
    let text = fs::read_to_string(golden("answers.json")).unwrap();
    let answers: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let answer = move |uri: Uri| {
        let found = answers.get(uri.path()).cloned();
        async move {
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            let missing = serde_json::json!({"type": "/problems/not-found", "title": "Not found", "status": 404});
            (status, [(header::CONTENT_TYPE, "application/json")], found.unwrap_or(missing).to_string())
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer);
    #[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_verb_says_is_what_was_looked_over() {
    const REFUND: &str = "order_refund-00000000-0000-5000-8000-000000000001";
    const ORDER: &str = "00000000-0000-5000-8000-000000000001";
    let url = server().await;
    let verbs: &[(&str, &[&str])] = &[
        ("saga-list.txt", &["saga", "list"]),
        ("saga-incidents.txt", &["saga", "incidents"]),
        ("saga-show.txt", &["saga", "show", REFUND]),
        ("saga-why.txt", &["saga", "why", REFUND]),
        ("saga-timeline.txt", &["saga", "timeline", REFUND]),
        ("saga-plan.txt", &["saga", "plan", REFUND, "--if-fails"]),
        ("saga-retry.txt", &["saga", "retry", REFUND, "--reason", "the bank is back", "--dry-run"]),
        ("saga-retry-set.txt", &["saga", "retry", "--where", "step=refund", "--reason", "the bank is back", "--yes"]),
        ("order-timeline.txt", &["order", "timeline", ORDER]),
        ("order-timeline-all.txt", &["order", "timeline", ORDER, "--all"]),
        ("lineage.txt", &["lineage", ORDER]),
        ("lineage.mmd", &["lineage", ORDER, "--format", "mermaid"]),
        ("lineage.dot", &["lineage", ORDER, "--format", "dot"]),
    ];
    let mut differ = Vec::new();
    for (name, arguments) in verbs {
        let said = types(&url, arguments).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.out, said.err);
        if std::env::var("BACKSTITCH_GOLDEN").is_ok_and(|mode| mode == "write") {
            fs::write(golden(name), &said.out).unwrap();
        } else if fs::read_to_string(golden(name)).unwrap_or_default() != said.out {
            differ.push(format!("{name} differs; it is now:\n{}", said.out));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_old_logs_and_providers_say_is_shown_and_never_obeyed_by_a_terminal() {
    const EVIL: &str = "paid\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}\u{9b}31m";
    let entry = serde_json::json!({
        "position": 1, "stream": "order-1", "version": 0, "type": "OrderPlaced", "actor": EVIL, "summary": EVIL,
        "occurred_at": "2026-11-21T10:00:00Z",
    });
    let timeline = serde_json::json!({ "items": [entry], "has_more": false, "next": null });
    let problem = serde_json::json!({ "type": "/problems/x", "title": EVIL, "detail": EVIL, "status": 409 });
    let why = serde_json::json!({
        "id": "order_fulfilment-1", "state": "waiting", "summary": EVIL, "can_do": [EVIL],
        "waits": [{ "step": "authorise", "direction": "do", "waits_for": EVIL, "from": EVIL, "since": "2026-11-21T10:00:00Z",
            "for_s": 1, "attempts": 1, "last_error": { "code": "x", "detail": EVIL }, "next_attempt": null, "deadline": null,
            "stuck": true }],
    });
    let answer = move |uri: Uri| {
        let (status, body) = match uri.path() {
            "/v1/orders/A/timeline" => (StatusCode::OK, timeline.clone()),
            "/v1/sagas/order_fulfilment-1/why" => (StatusCode::OK, why.clone()),
            _ => (StatusCode::CONFLICT, problem.clone()),
        };
        async move { (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer);
    #[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    for arguments in [
        &["order", "timeline", "A"][..],
        &["order", "timeline", "A", "--json"],
        &["saga", "why", "order_fulfilment-1"],
        &["saga", "why", "order_fulfilment-1", "--json"],
        &["saga", "list"],
        &["saga", "list", "--json"],
        &["stream", "list"],
    ] {
        let said = types(&url, arguments).await;
        let all = format!("{}{}", said.out, said.err);
        assert!(all.contains("owned"), "{arguments:?} tells it: {all}");
        let acts = all.chars().find(|char| *char != '\n' && service_kit::text::acts(*char));
        assert_eq!(acts, None, "{arguments:?}: {all:?}");
        if arguments.contains(&"--json") {
            let text = if said.code == Some(0) { said.out } else { said.err };
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(value.to_string().contains("owned"), "an error is JSON too: {value}");
        }
    }
}
