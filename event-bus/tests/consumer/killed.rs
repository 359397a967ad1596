//! The program of `docs/consuming-events.md`, killed with -9 in the midst of its work, again and again.

use std::process::{Child, Command, Stdio};

use event_bus::testing::Kafka;
use event_store::RecordedEvent;
use serde_json::value::RawValue;

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

async fn kill_it_again_and_again() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 2).await;
    let url = shop.url.clone();
    let parts: Vec<Vec<RecordedEvent>> =
        (0..2_u64).map(|part| (0..1_500).map(|n| order(part * 10_000 + n)).collect()).collect();
    let mut kills_with_work_left = 0;
    let mut program = start(&shop, &url);
    let there = "select to_regclass('invoices') is not null";
    eventually("the program has its table", async || {
        sqlx::query_scalar(there).fetch_one(&shop.pool).await.ok().filter(|there| *there)
    })
    .await;
    for round in 0..5_usize {
        for (partition, events) in (0..).zip(&parts) {
            shop.publish(partition, &events[round * 300..(round + 1) * 300]).await;
        }
        // In the midst of what was just published, and at another place in each round.
        let some = 600 * i64::try_from(round).unwrap() + 60;
        let reached = async || {
            let count: i64 = sqlx::query_scalar("select count(*) from invoices").fetch_one(&shop.pool).await.unwrap();
            Some(count).filter(|count| *count >= some)
        };
        eventually("it works", reached).await;
        program.0.kill().unwrap();
        program.0.wait().unwrap();
        let written = shop.count("select count(*) from invoices").await;
        kills_with_work_left += i32::from(written < 600 * i64::try_from(round + 1).unwrap());
        program = start(&shop, &url);
    }
    assert!(kills_with_work_left > 0, "it was killed in the midst of its work");
    shop.until("select count(*) from invoices", 3_000).await;
    shop.until("select count(distinct order_number) from invoices", 3_000).await;
    // Told to stop, it ends by itself.
    let pid = i32::try_from(program.0.id()).unwrap();
    // SAFETY: kill(2) takes any two numbers; the child is not reaped yet, so the pid is its own.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    let status = tokio::time::timeout(BOUND, tokio::task::spawn_blocking(move || program.0.wait().unwrap()));
    assert!(status.await.unwrap().unwrap().success());
}
