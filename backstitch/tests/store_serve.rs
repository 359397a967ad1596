//! `backstitch store serve` as a process: it starts, says where, refuses what would be wrong, drains; and killed (`kill -9`)
//! under appends it loses nothing that it acknowledged, and writes nothing twice.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use event_store::conformance::append;
use event_store::kurrentdb::KurrentStore;
use event_store::sqlite::check;
use event_store::{
    AppendError, Direction, EventStore, Expected, Filter, Position, RecordedEvent, SqliteOptions, SqliteStore,
    StreamName,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long anything may take before a test gives up; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn store_serve(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstitch"));
    command.args(["store", "serve", "--data"]).arg(data).args(arguments);
    command.env_remove("DATABASE_URL").env("RUST_LOG", "info").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running server; killed when dropped.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it said clients connect with.
    url: String,
}

impl Server {
    fn start(data: &Path, listen: &str) -> Self {
        let mut child = store_serve(data, &["--listen", listen]).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        out.read_line(&mut url).unwrap();
        assert!(url.starts_with("kurrentdb://"), "{url:?}");
        Self { child, out, url: url.trim().to_owned() }
    }

    /// `127.0.0.1:port`
    fn address(&self) -> &str {
        self.url.trim_start_matches("kurrentdb://").trim_end_matches("?tls=false")
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM; what it said on stderr, and its exit code.
    fn terminate(mut self) -> (String, Option<i32>) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: a signal to a child of ours that was not waited for yet: the number is its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "stdout has one line and no more");
        let code = self.child.wait().unwrap().code();
        (said, code)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn whole_log(data: &Path) -> Vec<RecordedEvent> {
    let store = SqliteStore::open(data, SqliteOptions::default()).unwrap();
    let (mut log, mut from) = (Vec::new(), Position::START);
    loop {
        let page = store.read_all(from, Direction::Forward, 1_000, &Filter::default()).await.unwrap();
        let Some(last) = page.last() else { break };
        from = last.position;
        log.extend(page);
    }
    store.close().await;
    log
}

/// What the writers of the crash test share.
struct Load {
    url: String,
    /// How many appends were acknowledged, to kill in the midst of them.
    acknowledged: watch::Sender<u64>,
    enough: AtomicBool,
    unknown: AtomicU64,
}

/// Appends to one stream until it is enough, each append with the same ids until it is acknowledged. What was acknowledged:
/// version and position.
async fn write(load: Arc<Load>, store: Arc<KurrentStore>, writer: usize) -> (StreamName, Vec<(u64, Position)>) {
    let stream: StreamName = format!("order-{writer}").parse().unwrap();
    let mut told = Vec::new();
    let mut next = 0;
    while !load.enough.load(Ordering::Relaxed) {
        match store.append(append(&stream, Expected::at(u64::checked_sub(next, 1)), next, 1)).await {
            Ok(ticket) => {
                let appended = ticket.durable().await.unwrap();
                assert_eq!(appended.version, next);
                told.push((next, appended.position));
                next += 1;
                load.acknowledged.send_modify(|count| *count += 1);
            }
            Err(AppendError::Unknown { .. } | AppendError::EpochEnded { .. }) => {
                load.unknown.fetch_add(1, Ordering::Relaxed);
            }
            Err(AppendError::Unavailable { .. } | AppendError::Overloaded) => tokio::task::yield_now().await,
            Err(
                error @ (AppendError::Conflict { .. }
                | AppendError::Refused { .. }
                | AppendError::Unwritable { .. }
                | AppendError::Damaged { .. }),
            ) => {
                panic!("{}: {error}", load.url)
            }
        }
    }
    (stream, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_log_killed_repeatedly_under_appends_loses_and_doubles_nothing() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(dir.path(), "127.0.0.1:0");
    let (url, address) = (server.url.clone(), server.address().to_owned());
    let store = KurrentStore::connect(&url).await.unwrap();
    let (acknowledged, mut count) = watch::channel(0);
    let load = Load { url, acknowledged, enough: AtomicBool::new(false), unknown: AtomicU64::new(0) };
    let load = Arc::new(load);
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        writers.spawn(write(load.clone(), store.clone(), writer));
    }
    let mut kills = Vec::new();
    for more in [50, 400, 400, 400] {
        let wanted = *count.borrow() + more;
        tokio::time::timeout(PATIENCE, count.wait_for(|count| *count >= wanted)).await.unwrap().unwrap();
        server.kill();
        kills.push(*count.borrow());
        server = Server::start(dir.path(), &address);
    }
    let wanted = kills[3] + 200;
    tokio::time::timeout(PATIENCE, count.wait_for(|count| *count >= wanted)).await.unwrap().unwrap();
    load.enough.store(true, Ordering::Relaxed);
    let told = tokio::time::timeout(PATIENCE, writers.join_all()).await.unwrap();
    let (said, code) = server.terminate();
    assert_eq!(code, Some(0), "{said}");
    let log = whole_log(dir.path()).await;
    let there: HashMap<(&StreamName, u64), Position> =
        log.iter().map(|event| ((&event.stream, event.version), event.position)).collect();
    let mut acknowledged = 0;
    for (stream, told) in &told {
        for (version, position) in told {
            assert_eq!(there.get(&(stream, *version)), Some(position), "{stream} {version} was acknowledged");
            acknowledged += 1;
        }
        // Whatever a kill left unanswered was sent again until it was answered, so nothing else is there.
        let of_stream = log.iter().filter(|event| event.stream == *stream).count();
        assert_eq!(of_stream, told.len(), "{stream} has what was acknowledged, once");
    }
    assert!(acknowledged >= wanted, "{acknowledged} appends, kills at {kills:?}");
    let ids: std::collections::HashSet<_> = log.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), log.len(), "no event twice");
    let report = check(dir.path(), &mut |_, _| {}).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

#[tokio::test]
async fn it_says_where_it_listens_and_ends_on_a_signal_with_what_it_took_on_disk() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path(), "127.0.0.1:0");
    let store = KurrentStore::connect(&server.url).await.unwrap();
    let stream: StreamName = "order-1".parse().unwrap();
    store.append(append(&stream, Expected::NoStream, 0, 3)).await.unwrap().durable().await.unwrap();
    // An open subscription does not hold the end up.
    let mut subscription = store.subscribe(Position::START, Filter::default()).await.unwrap();
    assert!(subscription.next().await.unwrap().is_ok());
    let (said, code) = tokio::task::spawn_blocking(|| server.terminate()).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("SIGTERM") && said.contains("stopped"), "{said}");
    assert!(dir.path().join("events.mark").exists(), "a clean stop");
    assert_eq!(whole_log(dir.path()).await.len(), 3);
}

fn refused(data: &Path, arguments: &[&str]) -> String {
    let output = store_serve(data, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_cannot_be_served_is_refused_with_the_reason_and_the_way_out() {
    let dir = TempDir::new().unwrap();
    let open = refused(dir.path(), &["--listen", "0.0.0.0:0"]);
    assert!(open.contains("everybody") && open.contains("hint:") && open.contains("PASSWORD"), "{open}");
    let half = refused(dir.path(), &["--listen", "127.0.0.1:0", "--user", "shop"]);
    assert!(half.contains("`password`"), "{half}");
    let server = Server::start(dir.path(), "127.0.0.1:0");
    let locked = refused(dir.path(), &["--listen", "127.0.0.1:0"]);
    assert!(locked.contains("in use by another"), "{locked}");
    let other = TempDir::new().unwrap();
    let taken = refused(other.path(), &["--listen", server.address()]);
    assert!(taken.contains(server.address()) && taken.contains("hint:"), "{taken}");
}
