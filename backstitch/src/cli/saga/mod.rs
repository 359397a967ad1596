//! `backstitch saga`: where each order is on its way, why it waits, and how it came there.

mod act;
mod find;
mod incidents;
mod plan;
mod set;
mod story;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use clap::Subcommand;
use domain::ids::OrderId;
use domain::saga::{ErrorKind, SagaState};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use terminal::Exit;
use terminal::output::{self, Table, Tone};

use crate::cli::server::client::{Client, Page, Target};
use crate::cli::server::suggest;

/// Sagas: where each order is on its way, why it waits, how it came there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch saga list --state needs_attention
  backstitch saga incidents                       # who needs a person, by what stands against them
  backstitch saga list --stuck-for 5m
  backstitch saga why 4QX9K2M7R1TB                # by the order's number,
  backstitch saga timeline 0198c0de-…             # its id,
  backstitch saga show order_refund-0198c0de-…    # or the saga's
  backstitch saga plan 4QX9K2M7R1TB --if-fails    # what a failure now would mean
  backstitch saga retry 4QX9K2M7R1TB --reason \"the bank has raised our limit\"
  backstitch saga retry --where state=needs_attention,step=refund --rate 5/s --reason \"the bank is back\"
  backstitch saga graph order_fulfilment --format dot | dot -Tsvg > fulfilment.svg")]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Sagas, newest first.
    List {
        #[command(flatten)]
        target: Target,
        /// Only those in this state.
        #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(SagaState::NAMES))]
        state: Option<String>,
        /// Only of this type, such as order_fulfilment or order_refund.
        #[arg(long = "type", value_name = "TYPE", value_parser = suggest::saga_type(), hide_possible_values = true)]
        saga_type: Option<String>,
        /// Only those that have not ended and to which nothing has happened for this long, such as 5m or 2h.
        #[arg(long, value_name = "TIME")]
        stuck_for: Option<String>,
        /// Only those at this step, such as refund.
        #[arg(long, value_parser = suggest::step(), hide_possible_values = true)]
        step: Option<String>,
        /// Only with this kind of trouble.
        #[arg(long, value_name = "KIND", value_parser = clap::builder::PossibleValuesParser::new(ErrorKind::NAMES))]
        error_kind: Option<String>,
        /// Only those that follow this version of their table of steps.
        #[arg(long, value_name = "N")]
        definition_version: Option<u32>,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
        limit: usize,
        /// Where the list before ended, as it said.
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
    /// Sagas that need a person, counted by cause, with what to type.
    Incidents {
        #[command(flatten)]
        target: Target,
        /// Only of this type, such as order_refund.
        #[arg(long = "type", value_name = "TYPE", value_parser = suggest::saga_type(), hide_possible_values = true)]
        saga_type: Option<String>,
    },
    /// How a saga stands: each step, both ways.
    Show(One),
    /// Each event of a saga with its time, cause and duration: the way forward and the way back.
    Timeline(One),
    /// What a saga waits for, since when, the last error, the next attempt, and what can be done.
    Why(One),
    /// What follows if all goes well; with --if-fails also what a failure now would mean.
    Plan {
        #[command(flatten)]
        one: One,
        /// The exact compensations, amounts and irreversible steps that a failure now would mean.
        #[arg(long)]
        if_fails: bool,
    },
    /// Sends the step that is stuck, or waits, again now: after a definite failure as a new request.
    Retry(act::Args),
    /// Takes the step that is stuck as done, because somebody did it outside; refused where a rule would break.
    Skip(act::Args),
    /// Compensates the saga; only before its pivot, the point of no return.
    Compensate(act::Args),
    /// Clears `needs_attention`; the saga goes on waiting.
    Resume(act::Args),
    /// Has the order taken back by order_refund; only after the point of no return, before dispatch.
    HandOver(act::Args),
    /// The steps of a saga, marked with how they stand, or those of a type, as a graph.
    Graph {
        #[command(flatten)]
        target: Target,
        /// A saga or order, or a type such as order_fulfilment.
        #[arg(value_name = "ID|TYPE", value_parser = suggest::saga_type(), hide_possible_values = true)]
        of: String,
        /// How it is written.
        #[arg(long, value_enum, default_value_t = Format::Mermaid)]
        format: Format,
    },
}

/// One saga.
#[derive(Debug, clap::Args)]
struct One {
    #[command(flatten)]
    target: Target,
    /// The saga (`order_fulfilment-<id>`), its stream, or its order's id or number.
    id: String,
}

/// How a graph is written.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For Markdown and mermaid.js.org.
    Mermaid,
    /// For Graphviz.
    Dot,
}

#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    order_id: OrderId,
    state: String,
    step: Option<String>,
    attempts: i64,
    last_error: Option<String>,
    #[serde(default)]
    waits_for: Vec<String>,
    started_at: DateTime<Utc>,
    changed_at: Option<DateTime<Utc>>,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::List { target, state, saga_type, stuck_for, step, error_kind, definition_version, limit, cursor } => {
                let mut query = Vec::new();
                query.extend(state.map(|state| ("state", state)));
                query.extend(saga_type.map(|saga_type| ("type", saga_type)));
                query.extend(stuck_for.map(|time| ("stuck_for", time)));
                query.extend(step.map(|step| ("step", step)));
                query.extend(error_kind.map(|kind| ("error_kind", kind)));
                query.extend(definition_version.map(|version| ("definition_version", version.to_string())));
                list(&target, &query, cursor, limit).await
            }
            Verb::Incidents { target, saga_type } => incidents::run(&target, saga_type).await,
            Verb::Show(one) => one.tell("", story::show).await,
            Verb::Timeline(one) => one.tell("/timeline", story::timeline).await,
            Verb::Why(one) => one.why().await,
            Verb::Plan { one, if_fails } => one.plan(if_fails).await,
            Verb::Retry(act) => act.run("retry").await,
            Verb::Skip(act) => act.run("skip").await,
            Verb::Compensate(act) => act.run("compensate").await,
            Verb::Resume(act) => act.run("resume").await,
            Verb::HandOver(act) => act.run("hand-over").await,
            Verb::Graph { target, of, format } => graph(&target, &of, format).await,
        }
    }
}

impl One {
    /// Asks for one view of the saga, and prints it.
    async fn tell<T: DeserializeOwned>(&self, view: &str, print: fn(T)) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let id = find::told(&client, &self.id).await?;
        let answer = client.get(&format!("/v1/sagas/{id}{view}"), &[]).await?;
        if self.target.json {
            output::json(&answer)?;
        } else {
            print(serde_json::from_value(answer)?);
        }
        Ok(Exit::Done)
    }

    /// Of an order, the saga that drives it now: after a hand-over its fulfilment waits for nothing any more.
    async fn why(&self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let id = find::driving(&client, &self.id).await?;
        let answer = client.get(&format!("/v1/sagas/{id}/why"), &[]).await?;
        if self.target.json {
            output::json(&answer)?;
        } else {
            story::why(serde_json::from_value(answer)?);
        }
        Ok(Exit::Done)
    }

    async fn plan(&self, if_fails: bool) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let id = find::driving(&client, &self.id).await?;
        let answer = client.get(&format!("/v1/sagas/{id}/plan"), &[("if_fails", if_fails.to_string())]).await?;
        if self.target.json {
            output::json(&answer)?;
        } else {
            plan::print(serde_json::from_value(answer)?);
        }
        Ok(Exit::Done)
    }
}

async fn graph(target: &Target, of: &str, format: Format) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    let format = match format {
        Format::Mermaid => "mermaid",
        Format::Dot => "dot",
    };
    // Types are words; sagas and orders have digits or an id in their names.
    let is_type = of.contains('_') && of.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let path = if is_type {
        format!("/v1/saga-types/{of}/graph")
    } else {
        format!("/v1/sagas/{}/graph", find::told(&client, of).await?)
    };
    let graph = client.get_text(&path, &[("format", format.to_owned())]).await?;
    if target.json {
        output::json(&serde_json::json!({ "of": of, "format": format, "graph": graph }))?;
    } else {
        output::line(graph.trim_end());
    }
    Ok(Exit::Done)
}

/// The tone of a state.
pub(super) fn tone(state: &str) -> Tone {
    match state {
        "needs_attention" => Tone::Bad,
        "compensating" | "handed_over" | "compensated" => Tone::Warn,
        "completed" => Tone::Good,
        _ => Tone::Plain,
    }
}

/// Sagas whose orders are looked up at the same time.
const LOOK_UPS: usize = 8;

async fn list(target: &Target, query: &[(&str, String)], cursor: Option<String>, limit: usize) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    let answer = client.pages("/v1/sagas", query, cursor, limit).await?;
    if target.json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let next = answer["next"].as_str().map(str::to_owned);
    let page: Page<Line> = serde_json::from_value(answer)?;
    let orders = orders(&client, &page.items).await;
    let mut table = Table::new(&[
        "!order",
        "saga",
        "*state",
        "step",
        ">tries",
        "customer",
        ">amount",
        "last change",
        "waits for / last error",
    ]);
    for line in &page.items {
        let why = line.waits_for.first().or(line.last_error.as_ref()).cloned().unwrap_or_default();
        let changed = line.changed_at.unwrap_or(line.started_at).format("%m-%d %H:%M:%S").to_string();
        let (customer, amount) = orders.get(&line.order_id).cloned().unwrap_or_default();
        table.row(
            tone(&line.state),
            [
                line.order_id.number(),
                output::short(&line.id),
                line.state.clone(),
                line.step.clone().unwrap_or_default(),
                line.attempts.to_string(),
                output::short(&customer),
                amount,
                changed,
                why,
            ],
        );
    }
    table.print();
    if let Some(next) = next {
        let shown = page.items.len();
        output::note(format_args!("\n{shown} are shown; more: --limit N, or the same with --cursor {next}"));
    }
    Ok(Exit::Done)
}

/// The customer and the amount of each order. Without the read model of orders, the list leaves both out.
async fn orders(client: &Client, lines: &[Line]) -> BTreeMap<OrderId, (String, String)> {
    let ids: BTreeSet<OrderId> = lines.iter().map(|line| line.order_id).collect();
    let asked = futures_util::stream::iter(ids).map(|id| async move {
        let order = client.get(&format!("/v1/orders/{id}"), &[]).await.ok()?;
        Some((id, (order["customer_id"].as_str()?.to_owned(), money(&order["total"]))))
    });
    asked.buffer_unordered(LOOK_UPS).filter_map(|found| async { found }).collect().await
}

/// A money amount as people write it, such as `12.99 EUR`; empty if it is not an amount.
fn money(value: &serde_json::Value) -> String {
    let money: Option<domain::money::Money> = serde_json::from_value(value.clone()).ok();
    money.map_or_else(String::new, |money| money.to_string())
}
