//! The bank as a process of its own: called over HTTP, telling by HTTP, and killed in the middle.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command as Program};

use super::*;
use crate::http::webhooks;
use crate::provider::port::RequestKey;
use crate::provider::simulated::client::HttpProvider;
use crate::provider::simulated::server::{ServerConfig, serve};

/// Set in the process that is to be the bank: its ledger, where to listen, where webhooks go.
const BANK: &str = "BACKSTITCH_TEST_BANK";
const READY: &str = "the bank listens on ";

fn server(listen: SocketAddr, ledger: &Path, webhook_url: Option<String>) -> ServerConfig {
    let config = config();
    let secret = config.webhook_secret.expect("set there");
    ServerConfig { listen, ledger: ledger.to_owned(), webhook_url, secret, simulated: config.simulated }
}

/// Not a rule but the other process: the test binary run again by [`Bank::start`]. Alone it has nothing to do.
#[tokio::test]
async fn this_process_is_the_bank_when_it_is_told_so() {
    let Ok(told) = std::env::var(BANK) else { return };
    let [ledger, listen, url] = told.split('|').collect::<Vec<_>>()[..] else { panic!("{BANK} has three parts") };
    let config = server(listen.parse().expect("an address"), Path::new(ledger), Some(url.to_owned()));
    let address = serve(config, Clock::system(), &Tasks::new()).await.expect("the bank serves");
    println!("\n{READY}{address}");
    // Until the parent ends, or kills.
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    ended.await.expect("no panic").expect("readable");
}

/// A bank in another process.
struct Bank {
    child: Child,
    address: SocketAddr,
}

impl Bank {
    async fn start(ledger: &Path, listen: SocketAddr, webhook_url: &str) -> Self {
        let told = format!("{}|{listen}|{webhook_url}", ledger.display());
        let name = "provider::tests::over_http::this_process_is_the_bank_when_it_is_told_so";
        let mut child = Program::new(std::env::current_exe().expect("this test's own binary"))
            .args(["--exact", name, "--nocapture"])
            .env(BANK, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the test binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = tokio::time::timeout(PATIENCE, async {
            loop {
                let line = lines.next_line().await.expect("readable").expect("the bank says where it listens");
                if let Some(address) = line.strip_prefix(READY) {
                    return address.parse().expect("an address");
                }
            }
        });
        let address = address.await.expect("the bank starts");
        Self { child, address }
    }

    /// `kill -9`.
    async fn kill(mut self) -> SocketAddr {
        self.child.kill().await.expect("it runs");
        self.address
    }
}

/// A shop whose bank is at `url`, and where that one tells.
async fn shop(folder: &Path) -> (Process, TcpListener, String) {
    let process = Process::open(folder);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (process, listener, format!("http://{address}/v1/payments/webhooks/simulated"))
}

fn call(process: &mut Process, listener: TcpListener, bank: SocketAddr) -> Arc<HttpProvider> {
    // Patient beyond a busy machine's stutter: what is not answered in time here is withheld by script.
    let config = ProviderConfig { url: format!("http://{bank}"), call_timeout_ms: 1_000, ..config() };
    let secret = config.webhook_secret.clone().expect("set there");
    let port = Arc::new(HttpProvider::new(&config, secret).expect("a client"));
    let provider = process.start_with(port.clone(), None, config);
    let (router, _) = webhooks::router(provider).split_for_parts();
    let stopping = process.tasks.stopping();
    process.tasks.spawn("edge", async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            served = axum::serve(listener, router).into_future() => served.expect("it serves"),
        }
    });
    port
}

const TOKENS: [&str; 8] = [
    "tok_approve",
    "tok_3ds_approve",
    "tok_timeout_charged",
    "tok_timeout_not_charged",
    "tok_error_twice",
    "tok_webhook_first",
    "tok_duplicate_webhooks",
    "tok_lost_webhook",
];

#[tokio::test]
async fn every_script_ends_the_same_over_http() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut process, listener, webhook_url) = shop(folder.path()).await;
    let free = "127.0.0.1:0".parse().expect("an address");
    let bank = server(free, &folder.path().join("bank.jsonl"), Some(webhook_url));
    let bank = serve(bank, process.clock.clone(), &process.tasks).await.expect("the bank serves");
    let port = call(&mut process, listener, bank);
    for (payment, token) in (1..).zip(TOKENS) {
        process.send(payment, authorize(payment, token)).await;
    }
    for (payment, token) in (1..).zip(TOKENS) {
        process.until(payment, token, is_authorized).await;
    }
    process.send(100, authorize(100, "tok_decline.no_funds")).await;
    process.until(100, "declined", |payment| payment.status == Status::Declined).await;
    let count = TOKENS.len() as u64;
    let statement = statement(&*port).await;
    assert_eq!((statement.effects, statement.payments), (count, count + 1));
    process.crash().await;
}

#[tokio::test]
async fn a_bank_killed_again_and_again_still_takes_each_sum_once() {
    const PAYMENTS: u128 = 40;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = folder.path().join("bank.jsonl");
    let (mut process, listener, webhook_url) = shop(folder.path()).await;
    let free = "127.0.0.1:0".parse().expect("an address");
    let mut bank = Bank::start(&ledger, free, &webhook_url).await;
    let port = call(&mut process, listener, bank.address);
    let token = |payment: u128| TOKENS[payment as usize % TOKENS.len()];
    for payment in 1..=PAYMENTS {
        process.send(payment, authorize(payment, token(payment))).await;
        if payment % 13 == 0 {
            // In the middle: some calls are answered, some done and not answered, some not even sent.
            process.until(payment - 12, "seen by the bank", |payment| payment.status != Status::Requested).await;
            let address = bank.kill().await;
            bank = Bank::start(&ledger, address, &webhook_url).await;
        }
    }
    for payment in 1..=PAYMENTS {
        process.send(payment, authorize(payment, token(payment))).await; // As the saga does, again.
        process.until(payment, token(payment), is_authorized).await;
        process.send(payment, capture()).await;
        if payment == PAYMENTS / 2 {
            let address = bank.kill().await;
            bank = Bank::start(&ledger, address, &webhook_url).await;
        }
    }
    for payment in 1..=PAYMENTS {
        process.until(payment, "captured", |payment| payment.status == Status::Captured).await;
    }
    let statement = statement(&*port).await;
    let totals = statement.totals["EUR"];
    let sum = 1_000 * PAYMENTS as i64;
    assert_eq!((totals.authorized, totals.captured, totals.voided, totals.refunded), (sum, sum, 0, 0));
    assert_eq!(u128::from(statement.effects), 2 * PAYMENTS);
    drop(bank);
    process.crash().await;
}

#[tokio::test]
async fn a_bank_that_is_not_there_leaves_nothing_decided() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address");
    let config = ProviderConfig { url: format!("http://{nobody}"), ..config() };
    let port = HttpProvider::new(&config, secrets()).expect("a client");
    let key = RequestKey { payment_id: payment_id(1), request_id: request_id(1) };
    let void = Void { key, order_id: OrderId::default() };
    assert!(matches!(port.void(&void).await, Err(ProviderError::Transient { .. })), "it was never sent");
    // Somebody who hangs up after the request: it may have been done.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let tasks = Tasks::new();
    tasks.spawn("rude", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    let config = ProviderConfig { url: format!("http://{address}"), ..config };
    let port = HttpProvider::new(&config, secrets()).expect("a client");
    assert!(matches!(port.void(&void).await, Err(ProviderError::Unknown { .. })), "it may have been done");
    drop(folder);
}

/// What something on the way answers, one request after another: pages of a proxy, and documents that are not the bank's.
const PAGES: [(u16, &str); 4] = [
    (404, "<html><body>default backend - 404</body></html>"),
    (403, "<html><body>no</body></html>"),
    (400, r#"{"type":"/problems/quota","title":"Too much","status":400}"#),
    (404, r#"{"type":"about:blank","title":"Not Found","status":404}"#),
];

#[tokio::test]
async fn a_page_of_something_on_the_way_is_no_outcome() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut process, listener, _) = shop(folder.path()).await;
    let (on_the_way, seen) =
        (TcpListener::bind("127.0.0.1:0").await.expect("a free port"), Arc::new(AtomicU32::new(0)));
    let address = on_the_way.local_addr().expect("an address");
    let counted = seen.clone();
    let routes = crate::provider::simulated::server::router(bank(folder.path())).layer(axum::middleware::from_fn(
        move |request: axum::extract::Request, next: axum::middleware::Next| {
            let nth = counted.fetch_add(1, Ordering::SeqCst) as usize;
            async move {
                match PAGES.get(nth) {
                    Some((status, page)) => {
                        let status = axum::http::StatusCode::from_u16(*status).expect("a status");
                        axum::response::IntoResponse::into_response((status, *page))
                    }
                    None => next.run(request).await,
                }
            }
        },
    ));
    process.tasks.spawn("on-the-way", async move {
        let _ = axum::serve(on_the_way, routes).await;
    });
    call(&mut process, listener, address);
    process.send(1, authorize(1, "tok_approve")).await;
    process.until(1, "authorized", is_authorized).await;
    assert_eq!(process.types(1).await, ["PaymentAuthorizationRequested", "PaymentAuthorized"]);
    assert!(seen.load(Ordering::SeqCst) as usize > PAGES.len());
    process.store.close().await;
}
