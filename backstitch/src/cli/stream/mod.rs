//! `backstitch stream`: the events of one thing, its state after each of them, or everything live.

mod replay;
mod tail;

use clap::Subcommand;
use event_store::RecordedEvent;
use serde::Deserialize;
use terminal::Exit;
use terminal::output::{self, Table, Tone};

use crate::cli::server::client::{Client, PAGE, Page, Target};

/// Streams: the events of one thing, replayed, or live.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch stream list --category order
  backstitch stream read order-0198c0de-0000-5000-8000-000000000000
  backstitch stream read stock-MUG@main --backward --limit 5
  backstitch stream replay stock-MUG@main --to-version 3
  backstitch stream tail --category payment")]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Streams by name.
    List {
        #[command(flatten)]
        target: Target,
        /// Only this category: order, payment, shipment, stock, product, saga_order_fulfilment …
        #[arg(long)]
        category: Option<String>,
        /// Only names after this one.
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// The events of a stream.
    Read {
        #[command(flatten)]
        target: Target,
        /// The stream, such as `order-<id>` or `stock-<sku>@<location>`.
        name: String,
        /// From this version on, itself included [default: the first; with --backward the last].
        #[arg(long, value_name = "VERSION")]
        from: Option<u64>,
        /// Newest first.
        #[arg(long)]
        backward: bool,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Folds a stream event by event with the rules of the domain, and shows what each event changed.
    Replay {
        #[command(flatten)]
        target: Target,
        /// The stream.
        name: String,
        #[command(flatten)]
        until: replay::Until,
    },
    /// Events as they happen, until Ctrl-C.
    Tail {
        #[command(flatten)]
        target: Target,
        /// Only streams of this category.
        #[arg(long)]
        category: Option<String>,
        /// From after this position on, instead of from now.
        #[arg(long, value_name = "POSITION")]
        after: Option<u64>,
    },
}

#[derive(Debug, Deserialize)]
struct StreamLine {
    stream: String,
    version: u64,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`terminal::Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::List { target, category, after, limit } => list(&target, category, after, limit).await,
            Verb::Read { target, name, from, backward, limit } => read(&target, &name, from, backward, limit).await,
            Verb::Replay { target, name, until } => replay::run(&target, &name, &until).await,
            Verb::Tail { target, category, after } => tail::run(&target, category.as_deref(), after).await,
        }
    }
}

async fn list(target: &Target, category: Option<String>, after: Option<String>, limit: usize) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    let mut query = vec![("limit", limit.clamp(1, PAGE).to_string())];
    query.extend(category.map(|category| ("category", category)));
    query.extend(after.map(|after| ("after", after)));
    let answer = client.get("/v1/streams", &query).await?;
    if target.json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let page: Page<StreamLine> = serde_json::from_value(answer)?;
    let mut table = Table::new(&["stream", ">version"]);
    for line in &page.items {
        table.row(Tone::Plain, [line.stream.clone(), line.version.to_string()]);
    }
    table.print();
    if let (true, Some(last)) = (page.has_more, page.items.last()) {
        output::note(format_args!("\nmore: --after {}", last.stream));
    }
    Ok(Exit::Done)
}

async fn read(target: &Target, name: &str, from: Option<u64>, backward: bool, limit: usize) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    let direction = if backward { "backward" } else { "forward" };
    let mut query = vec![("direction", direction.to_owned()), ("limit", limit.clamp(1, PAGE).to_string())];
    query.extend(from.map(|from| ("from", from.to_string())));
    let answer = client.get(&format!("/v1/streams/{name}"), &query).await?;
    if target.json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let page: Page<RecordedEvent> = serde_json::from_value(answer)?;
    let mut table = Table::new(&[">version", ">position", "at", "type", "by", "data"]);
    for event in &page.items {
        table.row(
            Tone::Plain,
            [
                event.version.to_string(),
                event.position.to_string(),
                event.metadata.occurred_at.format("%F %T%.3fZ").to_string(),
                event.event_type.to_string(),
                event.metadata.actor.clone(),
                event.data.get().to_owned(),
            ],
        );
    }
    table.print();
    if let (true, Some(last)) = (page.has_more, page.items.last()) {
        let next = if backward { last.version.saturating_sub(1) } else { last.version + 1 };
        output::note(format_args!("\nmore: --from {next}"));
    }
    Ok(Exit::Done)
}

/// All events of a stream, oldest first, page by page.
pub(crate) async fn all_events(client: &Client, name: &str) -> anyhow::Result<Vec<RecordedEvent>> {
    let (mut events, mut from) = (Vec::new(), 0);
    loop {
        let query = [("from", from.to_string()), ("limit", PAGE.to_string())];
        let page: Page<RecordedEvent> = client.get_as(&format!("/v1/streams/{name}"), &query).await?;
        let Some(last) = page.items.last() else { return Ok(events) };
        from = last.version + 1;
        events.extend(page.items);
        if !page.has_more {
            return Ok(events);
        }
    }
}
