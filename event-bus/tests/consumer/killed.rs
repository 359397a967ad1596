//! The program of `docs/consuming-events.md`, killed with -9 in the midst of its work, again and again.

use std::process::{Child, Command, Stdio};

use event_bus::testing::Kafka;
use event_store::RecordedEvent;
use serde_json::value::RawValue;
use sqlx::{Connection as _, PgConnection};

use crate::shop::{BOUND, Shop, eventually, placed};

#[path = "../../examples/invoices.rs"]
mod invoices;

/// Set in the environment of the program: this test's own binary, which then is nothing but the program.
const BE_THE_PROGRAM: &str = "BE_THE_PROGRAM";
/// The name of the test below, for the program to find it.
const TEST: &str = "killed::a_program_that_is_killed_again_and_again_writes_each_invoice_once";

/// Killed when the test ends, however it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(shop: &Shop, url: &str) -> Running {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact"])
        .env(BE_THE_PROGRAM, "1")
        .env("BACKSTITCH__BUS__BROKERS", shop.config.brokers.as_deref().unwrap())
        .env("BACKSTITCH__BUS__TOPIC", &shop.topic)
        .env("BACKSTITCH__BUS__SESSION_TIMEOUT_MS", "1000")
        .env("DATABASE_URL", url)
        .stdout(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

fn order(number: u64) -> RecordedEvent {
    let data = format!("{{\"number\":\"{number}\",\"totals\":{{\"total\":{{\"amount\":1999,\"currency\":\"EUR\"}}}}}}");
    RecordedEvent { data: RawValue::from_string(data).unwrap(), ..placed(&number.to_string(), 0, number + 1) }
}

#[test]
fn a_program_that_is_killed_again_and_again_writes_each_invoice_once() {
    if std::env::var_os(BE_THE_PROGRAM).is_some() {
        return invoices::main().unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(kill_it_again_and_again());
}

/// An invoice with a number on which the test has its hand waits until it lets go.
const STANDS_STILL: &[&str] = &[
    "create function stand_still() returns trigger language plpgsql as $$
     begin perform pg_advisory_xact_lock_shared(new.order_number::bigint); return new; end $$",
    "create trigger stand_still before insert on invoices for each row execute function stand_still()",
];

async fn kill_it_again_and_again() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 2).await;
    let url = shop.url.clone();
    let parts: Vec<Vec<RecordedEvent>> =
        (0..2_u64).map(|part| (0..1_500).map(|n| order(part * 10_000 + n)).collect()).collect();
    let mut program = start(&shop, &url);
    let there = "select to_regclass('invoices') is not null";
    eventually("the program has its table", async || {
        sqlx::query_scalar(there).fetch_one(&shop.pool).await.ok().filter(|there| *there)
    })
    .await;
    for sql in STANDS_STILL {
        sqlx::query(*sql).execute(&shop.pool).await.unwrap();
    }
    for round in 0..5_usize {
        // In the midst of what is published now, and at another place in each round.
        let at = i64::try_from(round % 2 * 10_000 + round * 300 + 40 + 50 * round).unwrap();
        let mut hand = PgConnection::connect_with(&shop.pool.connect_options()).await.unwrap();
        sqlx::query("select pg_advisory_lock($1)").bind(at).execute(&mut hand).await.unwrap();
        for (partition, events) in (0..).zip(&parts) {
            shop.publish(partition, &events[round * 300..(round + 1) * 300]).await;
        }
        eventually("it stands in the midst of its work", async || {
            let waits = "select true from pg_locks where locktype = 'advisory' and not granted
                and database = (select oid from pg_database where datname = current_database())";
            sqlx::query_scalar(waits).fetch_optional(&shop.pool).await.unwrap().filter(|waits: &bool| *waits)
        })
        .await;
        program.0.kill().unwrap();
        program.0.wait().unwrap();
        let written = shop.count("select count(*) from invoices").await;
        assert!(written < 600 * i64::try_from(round + 1).unwrap(), "work is left: {written} invoices in round {round}");
        sqlx::query("select pg_advisory_unlock($1)").bind(at).execute(&mut hand).await.unwrap();
        program = start(&shop, &url);
    }
    shop.until("select count(*) from invoices", 3_000).await;
    shop.until("select count(distinct order_number) from invoices", 3_000).await;
    // Told to stop, it ends by itself.
    let pid = i32::try_from(program.0.id()).unwrap();
    // SAFETY: kill(2) takes any two numbers; the child is not reaped yet, so the pid is its own.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    let status = tokio::time::timeout(BOUND, tokio::task::spawn_blocking(move || program.0.wait().unwrap()));
    assert!(status.await.unwrap().unwrap().success());
}
