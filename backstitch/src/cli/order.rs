//! `backstitch order`: what happened to an order, over all of its streams.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use terminal::Exit;
use terminal::output::{self, Table, Tone};

use super::server::client::{Client, PAGE, Page, Target};

/// Orders: what happened to one, over all of its streams.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch order timeline 4QX9K2M7R1TB          # by its number,
  backstitch order timeline 0198c0de-… --all      # or its id; also each step of its sagas")]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What happened to an order, oldest first: order, payment, shipment, stock, sagas, and what people did.
    Timeline {
        #[command(flatten)]
        target: Target,
        /// The order's id or number.
        id: String,
        /// Also each step of its sagas, with the commands they sent.
        #[arg(long)]
        all: bool,
    },
}

/// Something that happened.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Entry {
    position: u64,
    stream: String,
    version: u64,
    r#type: String,
    actor: String,
    summary: String,
    occurred_at: DateTime<Utc>,
    #[serde(flatten)]
    more: serde_json::Map<String, Value>,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`terminal::Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        let Verb::Timeline { target, id, all } = self.verb;
        let client = Client::new(&target)?;
        let mut entries = entries(&client, &id).await?;
        if all {
            let mut steps = steps(&client, &id).await?;
            // What is in both is told with who did it.
            let known: HashSet<u64> = entries.iter().map(|entry| entry.position).collect();
            steps.retain(|step| !known.contains(&step.position));
            entries.extend(steps);
            entries.sort_by_key(|entry| entry.position);
        }
        if target.json {
            output::json(&json!({ "items": entries }))?;
        } else {
            print(&entries);
        }
        Ok(Exit::Done)
    }
}

async fn entries(client: &Client, id: &str) -> anyhow::Result<Vec<Entry>> {
    let (mut entries, mut query) = (Vec::new(), vec![("limit", PAGE.to_string())]);
    loop {
        let page = client.get(&format!("/v1/orders/{id}/timeline"), &query).await?;
        let next = page["next"].as_str().map(str::to_owned);
        let page: Page<Entry> = serde_json::from_value(page)?;
        entries.extend(page.items);
        match next {
            Some(next) => query = vec![("limit", PAGE.to_string()), ("cursor", next)],
            None => return Ok(entries),
        }
    }
}

/// Each event of the order's sagas, as the sagas themselves tell it.
async fn steps(client: &Client, id: &str) -> anyhow::Result<Vec<Entry>> {
    #[derive(Deserialize)]
    struct Saga {
        id: String,
        r#type: String,
    }
    #[derive(Deserialize)]
    struct Step {
        version: u64,
        position: u64,
        #[serde(rename = "type")]
        event_type: String,
        at: DateTime<Utc>,
        step: Option<String>,
        summary: String,
    }
    #[derive(Deserialize)]
    struct Story {
        items: Vec<Step>,
    }
    let order = client.get(&format!("/v1/orders/{id}"), &[]).await?;
    let order = order["id"].as_str().unwrap_or(id).to_owned();
    let sagas: Page<Saga> = client.get_as("/v1/sagas", &[("order_id", order), ("limit", PAGE.to_string())]).await?;
    let mut entries = Vec::new();
    for saga in sagas.items {
        let story: Story = client.get_as(&format!("/v1/sagas/{}/timeline", saga.id), &[]).await?;
        for step in story.items {
            let about = step.step.map(|name| format!("{name}: ")).unwrap_or_default();
            entries.push(Entry {
                position: step.position,
                stream: format!("saga_{}", saga.id),
                version: step.version,
                r#type: step.event_type,
                actor: format!("saga:{}", saga.r#type),
                summary: format!("{about}{}", step.summary),
                occurred_at: step.at,
                more: serde_json::Map::new(),
            });
        }
    }
    Ok(entries)
}

fn print(entries: &[Entry]) {
    let mut table = Table::new(&["at", ">after", "stream", ">#", "*event", "who", "what"]);
    let mut before: Option<DateTime<Utc>> = None;
    for entry in entries {
        let after = before.map(|before| format!("+{}", output::duration(entry.occurred_at - before)));
        before = Some(entry.occurred_at);
        table.row(
            tone(&entry.r#type),
            [
                entry.occurred_at.format("%F %T%.3fZ").to_string(),
                after.unwrap_or_default(),
                output::short(&entry.stream),
                entry.version.to_string(),
                entry.r#type.clone(),
                entry.actor.clone(),
                entry.summary.clone(),
            ],
        );
    }
    table.print();
}

/// The tone of an event, by its name.
pub(super) fn tone(event: &str) -> Tone {
    match event {
        "StepFailed" | "SagaNeedsAttention" | "PaymentDeclined" | "CaptureFailed" | "RefundFailed" | "VoidFailed"
        | "OrderRejected" | "ShipmentLost" => Tone::Bad,
        "CompensationStarted" | "SagaHandedOver" | "OrderCancelled" | "PaymentOutcomeUnknown" | "OperatorActed" => {
            Tone::Warn
        }
        _ => Tone::Plain,
    }
}
