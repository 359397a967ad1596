//! The log as an operator's tool: exported, imported, backed up, checked and searched with the program that people type.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use event_store::conformance::event;
use event_store::export::{Header, LineWriter, read};
use event_store::sqlite::LogFile;
use event_store::{Append, EventStore, Expected, Position, RecordedEvent, SqliteOptions, SqliteStore, StreamName};
use serde_json::Value;
use service_kit::postgres::testing::fresh_database;
use trials::demo::{Ledger, live};

use crate::world::{PROGRAM, Shopper, World};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_remove("BACKSTITCH_URL").env_remove("DATABASE_URL");
    command
}

async fn run(arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Runs what must succeed; its stdout.
async fn done(arguments: &[&str]) -> String {
    let output = run(arguments).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs what must be answered with no; its stdout and stderr.
async fn refused(arguments: &[&str]) -> (String, String) {
    let output = run(arguments).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains("\nhint: ") || said.contains("\"hint\":"), "{said}");
    (String::from_utf8(output.stdout).unwrap(), said)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn exported(file: &Path) -> Vec<RecordedEvent> {
    read(BufReader::new(fs::File::open(file).unwrap())).unwrap()
}

fn problems(report: &str) -> String {
    let report: Value = serde_json::from_str(report).unwrap();
    report["problems"].to_string()
}

/// A shop in the midst of a hundred orders, its Postgres, and a folder beside it. An export was taken while they ran.
async fn busy_shop() -> (World, String, tempfile::TempDir) {
    let postgres = fresh_database().await.unwrap();
    let shop = World::start_with(&[("BACKSTITCH__POSTGRES__URL", postgres.clone())]).await;
    let safe = tempfile::tempdir().unwrap();
    let (url, bank) = (shop.processes.server.url.clone(), shop.processes.provider.url.clone());
    let customers = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(&url, &Ledger::Provider(bank), "LOG", 100)).unwrap()
    });
    shop.until_in_log_of_any("OrderConfirmed").await;
    let early = safe.path().join("early.jsonl");
    done(&["store", "export", "--data", text(&shop.processes.data()), "--to", text(&early)]).await;
    assert!(!customers.is_finished(), "it was exported while the server wrote");
    customers.await.unwrap();
    (shop, postgres, safe)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_busy_shop_is_exported_imported_backed_up_checked_and_searched() {
    let (shop, postgres, safe) = busy_shop().await;
    let data = shop.processes.data();
    let data = text(&data);
    let file = safe.path().join("log.jsonl");
    done(&["store", "export", "--data", data, "--to", text(&file)]).await;
    let (log, early) = (exported(&file), exported(&safe.path().join("early.jsonl")));
    assert!(log.len() > 2_000 && early.len() < log.len(), "{} events, {} early", log.len(), early.len());
    assert!(early.iter().zip(&log).all(|(early, event)| early.id == event.id), "what was exported early is a prefix");

    // Imported, it is the same log.
    let copy = safe.path().join("copy");
    done(&["store", "import", text(&file), "--data", text(&copy)]).await;
    let again = safe.path().join("again.jsonl");
    done(&["store", "export", "--data", text(&copy), "--to", text(&again)]).await;
    assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap(), "not a byte differs");
    assert_eq!(
        done(&["store", "export", "--data", text(&copy), "--to", "-"]).await.into_bytes(),
        fs::read(&file).unwrap()
    );
    let report: Value =
        serde_json::from_str(&done(&["store", "check", "--data", text(&copy), "--json"]).await).unwrap();
    assert_eq!((&report["events"], &report["structure"]), (&log.len().into(), &true.into()));
    assert!(report["read_models"]["not_asked"].as_str().unwrap().contains("--postgres"), "{report}");
    refused(&["store", "export", "--data", data, "--to", text(&file)]).await;

    // A backup of an earlier position is a prefix, and the read models have seen more than it holds.
    let (early_copy, middle) = (safe.path().join("early"), log.len() / 2);
    let to = middle.to_string();
    let made = done(&["store", "backup", text(&early_copy), "--data", data, "--to-position", &to, "--json"]).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let end = usize::try_from(made["position"].as_u64().unwrap()).unwrap();
    assert!(end <= middle && end + 50 > middle, "{made}");
    let prefix = safe.path().join("prefix.jsonl");
    done(&["store", "export", "--data", text(&early_copy), "--to", text(&prefix)]).await;
    assert!(exported(&prefix).iter().map(|event| event.id).eq(log[..end].iter().map(|event| event.id)));

    let whole = done(&["store", "check", "--data", data, "--postgres", &postgres, "--json"]).await;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert!(whole["read_models"]["checkpoints"].as_array().unwrap().len() > 3, "{whole}");
    let (report, _) =
        refused(&["store", "check", "--data", text(&early_copy), "--postgres", &postgres, "--json"]).await;
    assert!(problems(&report).contains("the read model `orders`") && report.contains("its end is missing"), "{report}");
    let other = safe.path().join("other");
    other_log(&other).await;
    let (report, _) = refused(&["store", "check", "--data", text(&other), "--postgres", &postgres, "--json"]).await;
    assert!(problems(&report).contains("is of another log"), "{report}");
    let (_, said) = refused(&["store", "import", text(&file), "--data", text(&other)]).await;
    assert!(said.contains("is another log") && said.contains(text(&other)), "{said}");

    finds(&shop, data, &log).await;
}

/// A log of other events.
async fn other_log(dir: &Path) {
    let store = SqliteStore::open(dir, SqliteOptions::default()).unwrap();
    let of: StreamName = "order-other".parse().unwrap();
    let events = vec![event(&of, 0, 20)];
    let append = Append { stream: of, expected: Expected::NoStream, events };
    store.append(append).await.unwrap().durable().await.unwrap();
    store.close().await;
}

/// A type that is misspelt is named, and the answer is no.
async fn finds_nothing(url: &str) {
    let nothing = run(&["events", "find", "--url", url, "--type", "Nope"]).await;
    let said = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("no event type `Nope`"), "{said}");
}

/// What is found, by a running server and in its folder, is what a plain look at all events finds.
async fn finds(shop: &World, data: &str, log: &[RecordedEvent]) {
    let url = shop.processes.server.url.as_str();
    let of = |event: &RecordedEvent| serde_json::from_str::<Value>(event.data.get()).unwrap();
    let amount = |event: &RecordedEvent| of(event)["amount"]["amount"].as_i64();
    let first = log.iter().find(|event| &*event.event_type == "OrderPlaced").unwrap();
    let (correlation, stream) = (first.metadata.correlation_id.to_string(), first.stream.to_string());
    let half = log[log.len() / 2].metadata.occurred_at;
    let moment = half.to_rfc3339();
    type Fits<'a> = Box<dyn Fn(&RecordedEvent) -> bool + 'a>;
    let searches: Vec<(Vec<&str>, Fits<'_>)> = vec![
        (vec!["--type", "OrderPlaced"], Box::new(|event| &*event.event_type == "OrderPlaced")),
        (
            vec!["--category", "payment", "--where", "data.amount.amount>2000"],
            Box::new(|event| event.stream.category() == "payment" && amount(event).is_some_and(|amount| amount > 2000)),
        ),
        (
            vec!["--where", "data.amount.amount<5000", "--where", "data.amount.currency=EUR"],
            Box::new(|event| {
                amount(event).is_some_and(|amount| amount < 5000) && of(event)["amount"]["currency"] == "EUR"
            }),
        ),
        (
            vec!["--stream", &stream, "--where", "data.reason!=out_of_stock"],
            Box::new(|event| event.stream == first.stream && of(event)["reason"] != "out_of_stock"),
        ),
        (
            vec!["--where", "metadata.actor~saga", "--type", "StockReserved"],
            Box::new(|event| event.metadata.actor.contains("saga") && &*event.event_type == "StockReserved"),
        ),
        (
            vec!["--correlation", &correlation],
            Box::new(|event| event.metadata.correlation_id == first.metadata.correlation_id),
        ),
        (
            vec!["--since", &moment, "--type", "OrderConfirmed,OrderRejected"],
            Box::new(|event| {
                event.metadata.occurred_at >= half && ["OrderConfirmed", "OrderRejected"].contains(&&*event.event_type)
            }),
        ),
        (
            vec!["--until", &moment, "--actor", &first.metadata.actor],
            Box::new(|event| event.metadata.occurred_at <= half && event.metadata.actor == first.metadata.actor),
        ),
    ];
    for (arguments, fits) in searches {
        let expected: Vec<u64> = log.iter().filter(|event| fits(event)).map(|event| event.position.0).collect();
        assert!(!expected.is_empty(), "{arguments:?}: something is to be found");
        for place in [["--url", url], ["--data", data]] {
            let all = [&["events", "find", "--json", "--limit", "100000"], place.as_slice(), &arguments].concat();
            let found = done(&all).await;
            let found: serde_json::Value = serde_json::from_str(&found).unwrap();
            let found: Vec<RecordedEvent> = serde_json::from_value(found["items"].clone()).unwrap();
            let found: Vec<u64> = found.iter().map(|event| event.position.0).collect();
            assert_eq!(found, expected, "{arguments:?} in {place:?}");
        }
    }
    let table = done(&["events", "find", "--url", url, "--type", "OrderPlaced", "--limit", "3"]).await;
    assert!(table.starts_with("POSITION") && table.lines().count() == 4, "{table}");
    finds_nothing(url).await;
    for (wrong, why) in [("sku=1", "begins neither"), ("data.sku", "no operator"), ("data.sku!1", "`!` is no operator")]
    {
        let output = run(&["events", "find", "--url", url, "--where", wrong]).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{wrong}");
        let answer = shop.client.text(&format!("/v1/events/find?where={wrong}")).await;
        assert!(answer.is_err() || answer.unwrap().contains("where"), "the server refuses it, too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_private_postgres_is_asked_beside_a_server_and_without_one() {
    let mut shop = World::start_with(&[]).await;
    shop.product("MUG", 10).await;
    shop.placed_and_settled("one", &[("MUG", 1)], "tok_approve").await;
    let (data, safe) = (shop.processes.data(), tempfile::tempdir().unwrap());
    let data = text(&data);
    let early = safe.path().join("early");
    done(&["store", "backup", text(&early), "--data", data, "--to-position", "5"]).await;
    let beside = done(&["store", "check", "--data", data, "--json"]).await;
    shop.processes.server.stop().await.unwrap();
    let without = done(&["store", "check", "--data", data, "--json"]).await;
    for report in [beside, without] {
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["read_models"]["not_asked"], Value::Null, "{report}");
        assert!(report["read_models"]["checkpoints"].as_array().unwrap().len() > 3, "{report}");
        assert!(report["saga_checkpoint"].as_u64() <= report["position"].as_u64(), "{report}");
    }
    // The end of the log is lost: an older backup stands in its place.
    fs::copy(early.join("events.db"), Path::new(data).join("events.db")).unwrap();
    let (report, said) = refused(&["store", "check", "--data", data, "--json"]).await;
    let problems = problems(&report);
    assert!(problems.contains("the mark of the last clean stop has seen"), "{report}");
    assert!(problems.contains("the read model `orders`") && problems.contains("restore it"), "{report}");
    assert!(said.contains("problems in"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_goes_on_where_it_was() {
    const EVENTS: u64 = 80_000;
    let safe = tempfile::tempdir().unwrap();
    let (file, copy) = (safe.path().join("log.jsonl"), safe.path().join("copy"));
    large_export(&file, EVENTS);
    let mut importing = command(&["store", "import", text(&file), "--data", text(&copy)]);
    let mut importing = importing.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Killed once its first batch is there, in the middle of a later one.
    let head = || LogFile::open(&copy).ok().and_then(|log| log.head().ok()).unwrap_or_default();
    while head() == Position::START {
        assert!(importing.try_wait().unwrap().is_none(), "it ended before it was killed");
    }
    importing.kill().unwrap();
    importing.wait().unwrap();
    let there = head();
    assert!(there > Position::START && there < Position(EVENTS), "killed in the middle: {there}");
    let served = run(&["serve", "--data", text(&copy), "--listen", "127.0.0.1:0"]).await;
    assert_eq!(served.status.code(), Some(2), "nobody serves half a log");
    assert!(String::from_utf8_lossy(&served.stderr).contains("store import"));
    let made = done(&["store", "import", text(&file), "--data", text(&copy), "--json"]).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((made["there"].as_u64(), made["events"].as_u64()), (Some(there.0), Some(EVENTS - there.0)));
    done(&["store", "check", "--data", text(&copy)]).await;
    let again = safe.path().join("again.jsonl");
    done(&["store", "export", "--data", text(&copy), "--to", text(&again)]).await;
    assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap(), "not a byte differs");
}

/// The export of a log that nobody had to write.
fn large_export(file: &Path, events: u64) {
    let streams: Vec<StreamName> = (0..100).map(|number| format!("order-{number}").parse().unwrap()).collect();
    let recorded = |position: u64| {
        let (of, version) = (&streams[usize::try_from(position % 100).unwrap()], (position - 1) / 100);
        let new = event(of, version, 20);
        // Streams begin in the first hundred positions, whichever is first.
        RecordedEvent {
            id: new.id,
            stream: of.clone(),
            version,
            position: Position(position),
            event_type: new.event_type,
            schema_version: new.schema_version,
            data: new.data,
            recorded_at: new.metadata.occurred_at,
            metadata: new.metadata,
        }
    };
    let header = Header::new(Position(1), Position(events), Some(recorded(1).id));
    let out = std::io::BufWriter::new(fs::File::create(file).unwrap());
    let mut writer = LineWriter::begin(out, header).unwrap();
    (1..=events).for_each(|position| writer.event(&recorded(position)).unwrap());
    writer.end().unwrap();
}
