//! The official Python client, `kurrentdbclient`: `tests/clients/contract.py`.

use super::*;

/// Where `script/clients` puts the clients.
pub fn installed(what: &str) -> std::path::PathBuf {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("clients").join(what);
    assert!(path.exists(), "{} is missing: run script/clients first (script/test does)", path.display());
    path
}

/// Runs a script and expects that it ends well; its output, if not.
pub async fn run(mut command: tokio::process::Command) {
    let output = within(command.kill_on_drop(true).output()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}: {}\n{out}\n{err}", command, output.status);
}

pub fn script(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// The numbers of the events of a stream, in its order, as the log says itself.
pub fn numbers(log: &[RecordedEvent], stream: &str) -> Vec<u128> {
    log.iter().filter(|event| event.stream.as_str() == stream).map(|event| event.id.as_u128()).collect()
}

#[tokio::test]
async fn the_python_client_gets_along_with_the_served_log() {
    let served = Served::start().await;
    let mut python = tokio::process::Command::new(installed("venv/bin/python"));
    python.arg(script("contract.py")).arg(served.url());
    run(python).await;
    let log = served.log().await;
    assert_eq!(numbers(&log, "order-1"), [1, 2, 3, 6]);
    assert_eq!(numbers(&log, "order-2"), [4, 5, 7]);
    let mut many = numbers(&log, "order-many");
    many.sort_unstable();
    let wanted = (1..=4).flat_map(|writer| 1_000 * writer..1_000 * writer + 25);
    assert_eq!(many, wanted.collect::<Vec<u128>>());
    assert_eq!(log.len(), 4 + 3 + 100, "what was refused is not there, and nothing twice");
    served.stop().await;
}
