//! `backstitch lineage`: where something came from and what followed from it, as a tree, a graph, or JSON.

mod graph;

use std::collections::{HashMap, HashSet};

use projection_service::lineage::{Graph, Kind, Node};
use serde::Deserialize;
use terminal::Exit;
use terminal::output::{self, Table, Tone};
use uuid::Uuid;

use crate::cli::order;
use crate::cli::server::client::{Client, Target};

/// Where something came from and what followed: requests, events, saga steps, commands, provider calls.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch lineage 4QX9K2M7R1TB                          # all of an order
  backstitch lineage 0198c0de-…                            # an event, command, request, correlation
  backstitch lineage payment-0198c0de-…                    # a stream
  backstitch lineage 4711                                  # the event at a position of the log
  backstitch lineage 4QX9K2M7R1TB --format dot | dot -Tsvg > order.svg")]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// An order's id or number, a saga's id, a stream, a position, or the id of an event, command or request.
    #[arg(value_name = "ID|EVENT")]
    id: String,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "json")]
    format: Format,
}

/// How a lineage is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A tree: what followed stands below, further in.
    Table,
    /// For Markdown and mermaid.js.org, grouped by stream.
    Mermaid,
    /// For Graphviz, grouped by stream.
    Dot,
    /// As the server tells it.
    Json,
}

/// What `GET /v1/lineage/{id}` tells.
#[derive(Debug, Deserialize)]
struct Lineage {
    roots: Vec<Uuid>,
    #[serde(flatten)]
    graph: Graph,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`terminal::Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        let answer = Client::new(&self.target)?.get(&format!("/v1/lineage/{}", self.id), &[]).await?;
        if self.target.json || self.format == Format::Json {
            output::json(&answer)?;
            return Ok(Exit::Done);
        }
        let lineage: Lineage = serde_json::from_value(answer)?;
        match self.format {
            Format::Mermaid => output::line(graph::mermaid(&lineage.graph).trim_end()),
            Format::Dot => output::line(graph::dot(&lineage.graph).trim_end()),
            Format::Table | Format::Json => table(&lineage).print(),
        }
        Ok(Exit::Done)
    }
}

/// The tree: each node below the first of its causes; of further ones the place is named.
fn table(lineage: &Lineage) -> Table {
    let graph = &lineage.graph;
    let mut below: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    let mut cause: HashMap<Uuid, &str> = HashMap::new();
    for edge in &graph.edges {
        below.entry(edge.from).or_default().push(edge.to);
        cause.entry(edge.to).or_insert(&edge.why);
    }
    let nodes: HashMap<Uuid, &Node> = graph.nodes.iter().map(|node| (node.id, node)).collect();
    let mut table = Table::new(&["at", "*what", ">position", "stream", "who", "says"]);
    let mut told = HashSet::new();
    // Deepest first on the stack, so that what happened first is told first.
    let mut todo: Vec<(Uuid, usize)> = lineage.roots.iter().rev().map(|root| (*root, 0)).collect();
    while let Some((id, depth)) = todo.pop() {
        let Some(node) = nodes.get(&id).filter(|_| told.insert(id)) else { continue };
        row(&mut table, node, depth, cause.get(&id).copied());
        let effects = below.get(&id).into_iter().flatten().rev();
        todo.extend(effects.map(|effect| (*effect, depth + 1)));
    }
    table
}

fn row(table: &mut Table, node: &Node, depth: usize, cause: Option<&str>) {
    let mark = if node.asked_for { "▶ " } else { "" };
    let by_itself = if cause == Some("by_itself") { " (by itself)" } else { "" };
    let what = match node.kind {
        Kind::Command => format!("→ {}", node.label),
        Kind::ProviderCall => format!("⇄ {}", node.label),
        Kind::Request | Kind::Elsewhere | Kind::Event => node.label.clone(),
    };
    let stream = output::short(node.stream.as_deref().unwrap_or_default());
    let stream = node.version.map_or_else(|| stream.clone(), |version| format!("{stream} #{version}"));
    let tone = match node.kind {
        Kind::Event => order::tone(&node.label),
        Kind::Request => Tone::Heading,
        Kind::Command | Kind::ProviderCall | Kind::Elsewhere => Tone::Faint,
    };
    table.row(
        tone,
        [
            node.at.format("%F %T%.3fZ").to_string(),
            format!("{}{mark}{what}{by_itself}", "· ".repeat(depth)),
            node.position.map(|position| position.to_string()).unwrap_or_default(),
            stream,
            node.actor.clone().unwrap_or_default(),
            node.summary.clone(),
        ],
    );
}
