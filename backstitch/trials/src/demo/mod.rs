//! `backstitch demo`: a shop that lives for some hundred orders, and the proof that what is left adds up.
//!
//! The proof is computed by folding the log; the provider's ledger and the read models are then held against it.
//! *Invariant:* a server that is killed and started again in between changes nothing of what is proven.

pub mod books;
pub mod client;
pub mod compare;
pub mod drive;
pub mod proof;
pub mod report;
pub mod script;
pub mod server;

use std::collections::BTreeSet;

use anyhow::Context;
use command_service::provider::statement::Statement;
use domain::ids::Sku;
use futures_util::stream::{self, StreamExt};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use terminal::{Exit, Failure, output};

use self::books::Books;
use self::client::{Client, PATIENCE};
use self::drive::{End, PRODUCTS, Shop};
use self::proof::{Check, Scope};
use self::script::PATTERN;
use self::server::Processes;

/// Customers at a time: enough to keep a shop busy, few enough to watch.
pub const CUSTOMERS: usize = 24;

/// Runs a shop through some hundred orders that go well and badly, then proves from its log that everything adds up.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Without --url a server and a payment provider are started for the run, each a process of its own, and removed after it.

Examples:
  backstitch demo
  backstitch demo --orders 1000
  backstitch demo --url http://127.0.0.1:7400   # against a running server; kill and restart it meanwhile

Exit 1 if it does not add up.")]
pub struct Args {
    /// How many orders.
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub orders: u32,
    /// A running server; else one is started for the run.
    #[arg(long, env = "BACKSTITCH_URL", value_name = "URL")]
    pub url: Option<String>,
    /// The payment provider's process, whose ledger is asked directly; else the server is asked for it.
    #[arg(long, value_name = "URL")]
    pub provider_url: Option<String>,
    /// One JSON object: how the orders ended, and each claim of the proof.
    #[arg(long)]
    pub json: bool,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// How each order ended.
    pub ends: Vec<End>,
    /// The proof.
    pub checks: Vec<Check>,
    /// The books it was computed from.
    pub books: Books,
}

impl Outcome {
    /// Whether everything adds up and every order ended as its story allows.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}

impl Args {
    /// Runs the demo and prints what came of it.
    ///
    /// # Errors
    /// If a server cannot be started or gives no answer.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let (processes, url) = match &self.url {
            Some(url) => (None, url.clone()),
            None => {
                let program = std::env::current_exe().context("where this program lies")?;
                output::note(format_args!("starting a server and a payment provider for the run …"));
                let processes = Processes::start(&program, &[]).await?;
                let url = processes.server.url.clone();
                (Some(processes), url)
            }
        };
        let ledger = match (&self.provider_url, &processes) {
            (Some(provider), _) => Ledger::Provider(provider.clone()),
            (None, Some(processes)) => Ledger::Provider(processes.provider.url.clone()),
            (None, None) => Ledger::Server,
        };
        let run = name_of_run()?;
        let outcome = live(&url, &ledger, &run, self.orders as usize).await.map_err(|error| {
            Failure::no_answer(format!("{error:#}"), format!("curl -s {url}/health   # what is missing?"))
        })?;
        report::print(&outcome, self.json)?;
        if let Some(mut processes) = processes {
            processes.server.stop().await?;
        }
        Ok(if outcome.holds() { Exit::Done } else { Exit::No })
    }
}

/// Whom to ask for the provider's ledger.
#[derive(Debug, Clone)]
pub enum Ledger {
    /// The provider's own process, at this address.
    Provider(String),
    /// The server, which passes the question on.
    Server,
}

/// A name that no other run on the same server has: the moment and the process.
pub fn name_of_run() -> anyhow::Result<String> {
    let now = service_kit::Clock::system().now().timestamp_millis();
    let drawn = domain::ids::derive(&["demo-run", &now.to_string(), &std::process::id().to_string()]);
    Ok(format!("DEMO-{}", &drawn.simple().to_string()[..10]))
}

/// Lives through `orders` orders at `url` and proves what is left.
///
/// # Errors
/// If the server gives no answer, or refuses what it must not refuse.
pub async fn live(url: &str, ledger: &Ledger, run: &str, orders: usize) -> anyhow::Result<Outcome> {
    let client = Client::new(url, PATIENCE)?;
    let shop = Shop { client: client.clone(), run: run.to_owned() };
    // Every piece of every order comes from stock, however the orders fall: 6 pieces an order at most.
    shop.stock_up(i64::try_from(orders)? * 6 + 100).await?;
    let ends = place_all(&shop, orders).await?;
    prove(&shop, ledger, ends).await
}

/// Proves what a run has left, once all of its orders have ended.
///
/// # Errors
/// If the server gives no answer.
pub async fn prove(shop: &Shop, ledger: &Ledger, ends: Vec<End>) -> anyhow::Result<Outcome> {
    let client = &shop.client;
    let scope = scope(shop, &ends)?;
    let books = Books::read(client).await?;
    let mut checks = proof::of_the_log(&books, &scope);
    let statement = statement(client, ledger).await?;
    checks.extend(proof::of_the_provider(&books, &scope, &statement));
    checks.extend(compare::read_models(client, &books, &scope).await?);
    checks.push(endings(&ends));
    Ok(Outcome { ends, checks, books })
}

/// After this long without an order that ends, it is said what the rest wait for.
const QUIET: std::time::Duration = std::time::Duration::from_secs(3);

async fn place_all(shop: &Shop, orders: usize) -> anyhow::Result<Vec<End>> {
    let bar = ProgressBar::new(orders as u64);
    let template = "orders {bar:40} {pos}/{len}  {rate}  {elapsed}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            _ = write!(out, "{:.1}/s", state.per_sec()); // Into memory: it cannot fail.
        };
        bar.set_style(style.with_key("rate", rate));
    }
    let lives = stream::iter(0..orders).map(|n| shop.live_through(n, PATTERN[n % PATTERN.len()]));
    let mut lives = lives.buffer_unordered(CUSTOMERS);
    let mut ends = Vec::with_capacity(orders);
    loop {
        let end = tokio::select! {
            end = lives.next() => end,
            () = tokio::time::sleep(QUIET) => {
                let left = orders - ends.len();
                let why = format!("{left} orders wait for what their scripts hold back: a payment provider that is silent for 30 s");
                // Without a terminal there is no bar.
                if bar.is_hidden() && bar.message().is_empty() {
                    output::note(&why);
                }
                bar.set_message(why);
                continue;
            }
        };
        let Some(end) = end else { break };
        ends.push(end?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(ends)
}

fn scope(shop: &Shop, ends: &[End]) -> anyhow::Result<Scope> {
    let skus: Result<BTreeSet<Sku>, _> = (0..PRODUCTS).map(|product| shop.sku(product).parse()).collect();
    Ok(Scope { orders: ends.iter().map(|end| end.order).collect(), skus: skus? })
}

/// Every order must have ended as its story allows.
fn endings(ends: &[End]) -> Check {
    let wrong = ends.iter().filter(|end| !end.part.story.may_end(&end.status, &end.payment));
    let told = wrong.map(|end| format!("{} ({}): {} / {}", end.order, end.part.case, end.status, end.payment));
    Check::each("every order ended as its story allows", ends.len(), told)
}

/// The provider's own account, all of its pages.
///
/// # Errors
/// If it is not given.
pub async fn statement(client: &Client, ledger: &Ledger) -> anyhow::Result<Statement> {
    let mut whole: Option<Statement> = None;
    loop {
        let after = whole.as_ref().and_then(|statement| statement.entries.last());
        let query = after.map_or(String::new(), |entry| format!("?after={}", entry.payment_id));
        let text = match ledger {
            Ledger::Provider(url) => Client::new(url, PATIENCE)?.text(&format!("/ledger{query}")).await?,
            Ledger::Server => client.text(&format!("/v1/provider/ledger{query}")).await?,
        };
        let page: Statement = serde_json::from_str(&text).context("the provider's ledger cannot be read")?;
        let has_more = page.has_more && !page.entries.is_empty();
        whole = Some(match whole {
            None => page,
            Some(mut statement) => {
                statement.entries.extend(page.entries);
                statement
            }
        });
        if !has_more {
            return whole.context("a ledger has at least one page");
        }
    }
}
