//! `backstitch saga`: where each order is on its way, why it waits, and how it came there.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::Deserialize;

use super::client::{Client, PAGE, Target};
use super::output::{self, Table, Tone};
use super::stream::Page;
use super::{Exit, Failure};

/// Sagas: where each order is on its way, why it waits, how it came there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch saga list --state needs_attention
  backstitch saga list --stuck-for 5m")]
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
        /// Only those in this state: running, waiting, compensating, needs_attention, completed, compensated,
        /// handed_over.
        #[arg(long)]
        state: Option<String>,
        /// Only of this type, such as order_fulfilment or order_refund.
        #[arg(long = "type", value_name = "TYPE")]
        saga_type: Option<String>,
        /// Only those that have not ended and to which nothing has happened for this long, such as 5m or 2h.
        #[arg(long, value_name = "TIME")]
        stuck_for: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

#[derive(Debug, Deserialize)]
struct Line {
    id: String,
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
            Verb::List { target, state, saga_type, stuck_for, limit } => {
                let mut query = vec![("limit", limit.clamp(1, PAGE).to_string())];
                query.extend(state.map(|state| ("state", state)));
                query.extend(saga_type.map(|saga_type| ("type", saga_type)));
                query.extend(stuck_for.map(|time| ("stuck_for", time)));
                list(&target, &query).await
            }
        }
    }
}

/// The tone of a state.
fn tone(state: &str) -> Tone {
    match state {
        "needs_attention" => Tone::Bad,
        "compensating" | "handed_over" | "compensated" => Tone::Warn,
        "completed" => Tone::Good,
        _ => Tone::Plain,
    }
}

async fn list(target: &Target, query: &[(&str, String)]) -> anyhow::Result<Exit> {
    let answer = Client::new(target)?.get("/v1/sagas", query).await?;
    if target.json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let page: Page<Line> = serde_json::from_value(answer)?;
    let mut table =
        Table::new(&["saga", "state", "step", ">tries", "started", "last change", "waits for / last error"]);
    for line in &page.items {
        let why = line.waits_for.first().or(line.last_error.as_ref()).cloned().unwrap_or_default();
        let changed = line.changed_at.map(|at| at.format("%F %TZ").to_string()).unwrap_or_default();
        table.row(
            tone(&line.state),
            [
                line.id.clone(),
                line.state.clone(),
                line.step.clone().unwrap_or_default(),
                line.attempts.to_string(),
                line.started_at.format("%F %TZ").to_string(),
                changed,
                why,
            ],
        );
    }
    table.print();
    if page.has_more {
        eprintln!("\nmore: --limit {PAGE}, or narrow it down with --state, --type, --stuck-for");
    }
    Ok(Exit::Done)
}

/// A saga as people name it: `order_fulfilment-<id>`, its stream, an order's id, or an order's number.
#[allow(dead_code)]
async fn saga_id(client: &Client, named: &str) -> anyhow::Result<String> {
    if let Some(id) = named.strip_prefix("saga_") {
        return Ok(id.to_owned());
    }
    if named.parse::<uuid::Uuid>().is_ok() {
        return Ok(format!("order_fulfilment-{named}"));
    }
    if named.contains('-') {
        return Ok(named.to_owned());
    }
    let order = client.get(&format!("/v1/orders/{named}"), &[]).await?;
    match order["id"].as_str() {
        Some(id) => Ok(format!("order_fulfilment-{id}")),
        None => Err(Failure::no(format!("`{named}` names no saga and no order"), "backstitch saga list")),
    }
}
