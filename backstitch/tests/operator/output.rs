//! What people see: each verb's words over answers that are always the same, compared with what was looked over.
//!
//! `BACKSTITCH_GOLDEN=write cargo test -p backstitch --test operator output` writes them anew; look at the difference.

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
