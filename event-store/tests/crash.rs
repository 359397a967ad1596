//! Rule: what was acknowledged before `kill -9` is there afterwards, at the version and position that were told; nothing is
//! there twice, nothing between is missing, and the log goes on.
//!
//! The program starts itself as a child that appends from several tasks and prints each acknowledgement; it kills the child
//! at a different moment each round, and then reads the log that all rounds share.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use event_store::conformance::event;
use event_store::sqlite::check;
use event_store::{Append, Direction, EventStore, Expected, Filter, Position, SqliteOptions, SqliteStore, StreamName};
use tokio::task::JoinSet;

/// Names the folder in which the child appends.
const CHILD: &str = "BACKSTITCH_CRASH_CHILD";
/// Acknowledgements after which the child of each round is killed: in its first commit, early, in the midst of checkpoints.
const KILLED_AFTER: [usize; 8] = [0, 1, 7, 40, 150, 400, 700, 1_000];
const WRITERS: u64 = 8;
/// With the payload of 4 KB a checkpoint about every 60 events: some rounds die in one.
const WAL_BYTES: u64 = 512 << 10;

fn main() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return append_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<(String, u64), u64> = HashMap::new();
    for (round, kill_after) in KILLED_AFTER.into_iter().enumerate() {
        acknowledged.extend(run_and_kill(dir.path(), kill_after));
        let there = read_back(dir.path());
        for (event, position) in &acknowledged {
            assert_eq!(there.get(event), Some(position), "round {round}: {event:?} was acknowledged");
        }
        println!("round {round}: {} acknowledged, {} there", acknowledged.len(), there.len());
    }
    assert!(acknowledged.len() > 2_000, "the rounds did append: {}", acknowledged.len());
}

/// The acknowledgements that a child printed before it was killed.
fn run_and_kill(dir: &Path, kill_after: usize) -> Vec<((String, u64), u64)> {
    let mut child =
        Command::new(std::env::current_exe().unwrap()).env(CHILD, dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    let parse = |line: String| {
        let mut words = line.split(' ');
        let (stream, version) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        // The line that the kill cut off was not told.
        Some(((stream, version), words.next()?.strip_suffix('.')?.parse().ok()?))
    };
    told.extend(lines.by_ref().take(kill_after).map_while(Result::ok).filter_map(parse));
    child.kill().unwrap();
    told.extend(lines.map_while(Result::ok).filter_map(parse));
    child.wait().unwrap();
    told
}

/// All events of the log, which is whole: stream and version, and the position.
fn read_back(dir: &Path) -> HashMap<(String, u64), u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let there = runtime.block_on(async {
        let store = SqliteStore::open(dir, SqliteOptions::default()).unwrap();
        let mut there = HashMap::new();
        let mut from = Position::START;
        loop {
            let page = store.read_all(from, Direction::Forward, 1_000, &Filter::default()).await.unwrap();
            let Some(last) = page.last() else { break };
            from = last.position;
            there.extend(page.iter().map(|event| ((event.stream.to_string(), event.version), event.position.0)));
        }
        store.close().await;
        there
    });
    let report = check(dir, &mut |_, _| {}).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.events, there.len() as u64);
    there
}

fn append_until_killed(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let options = SqliteOptions { wal_bytes: WAL_BYTES, ..SqliteOptions::default() };
        let store = SqliteStore::open(dir, options).unwrap();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(async move {
                let of: StreamName = format!("order-{writer}").parse().unwrap();
                let head = store.read_stream(&of, u64::MAX, Direction::Backward, 1).await.unwrap();
                let mut version = head.first().map_or(0, |event| event.version + 1);
                loop {
                    let expected = Expected::at(version.checked_sub(1));
                    let append = Append { stream: of.clone(), expected, events: vec![event(&of, version, 4_000)] };
                    let appended = store.append(append).await.unwrap().durable().await.unwrap();
                    // One write of one line; the dot tells a whole line from one that the kill cut off.
                    let line = format!("{of} {version} {}.\n", appended.position);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    version += 1;
                }
            });
        }
        while writers.join_next().await.is_some() {}
    });
}
