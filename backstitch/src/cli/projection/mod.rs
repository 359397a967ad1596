//! `backstitch projection`: how far the read models are behind the log; rebuild, roll back, retire, replay.

#[cfg(feature = "cluster")]
pub mod prepare;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;
use terminal::output::{self, Table, Tone};
use terminal::{Exit, Failure};

use crate::cli::server::acting::Acting;
use crate::cli::server::client::{Client, Page, Target};
use crate::cli::server::suggest;

/// Projections: how far the read models are; rebuild, roll back, replay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch projection list
  backstitch projection rebuild orders             # beside the live one; switched when both are the same
  backstitch projection rollback orders            # answers come from the one before again
  backstitch projection retire orders              # the one before is dropped
  backstitch projection replay orders --at 2026-11-21T10:00:00Z")]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Each projection with its generations: position, how far it is behind, in events and seconds, and its state.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Folds a projection again from the beginning, beside the live one; compares both row by row; switches.
    ///
    /// The live one goes on and answers meanwhile. Where they differ, the differences are shown and nothing is switched
    /// (exit 1); rebuild again with --accept-differences to switch all the same. The generation before stays fed until it
    /// is retired, or replaced by the next rebuild. A server that is stopped goes on with it at its next start.
    #[command(after_help = "\
Examples:
  backstitch projection rebuild orders
  backstitch projection rebuild orders --accept-differences --reason 'rows were edited by hand' --yes")]
    Rebuild {
        #[command(flatten)]
        target: Target,
        /// The projection, such as orders or sales_by_day.
        #[arg(value_parser = suggest::projection())]
        name: String,
        /// Switch also where the rows differ from the live ones.
        #[arg(long)]
        accept_differences: bool,
        #[command(flatten)]
        acting: Acting,
    },
    /// Switches answers back to the previous generation, at once: it has been fed all the time.
    #[command(after_help = "Example:\n  backstitch projection rollback orders --reason 'totals are wrong'")]
    Rollback {
        #[command(flatten)]
        target: Target,
        /// The projection.
        #[arg(value_parser = suggest::projection())]
        name: String,
        #[command(flatten)]
        acting: Acting,
    },
    /// Stops feeding a generation and drops its tables: the previous one, one that differs, or a replay.
    #[command(after_help = "\
Examples:
  backstitch projection retire orders                    # the previous one
  backstitch projection retire orders --generation 3     # that one")]
    Retire {
        #[command(flatten)]
        target: Target,
        /// The projection.
        #[arg(value_parser = suggest::projection())]
        name: String,
        /// Which generation; else the previous one.
        #[arg(long, value_name = "N")]
        generation: Option<i64>,
        #[command(flatten)]
        acting: Acting,
    },
    /// Makes the tables of this release in the Postgres of `[postgres] url`, where they are missing, and lists what is there.
    ///
    /// Services do so too when they start: this shows before a rollout whether Postgres lets them. A read model whose
    /// shape this release changes is folded again from then on.
    #[command(after_help = "\
Example:
  DATABASE_URL=postgres://user:password@host/shop backstitch projection prepare")]
    Prepare {
        /// The settings file [default: backstitch.toml, if it is there].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Folds a projection up to a position or moment, into tables of their own, to see it as it was.
    #[command(after_help = "\
Examples:
  backstitch projection replay orders --to-position 120000
  backstitch projection replay sales_by_day --at 2026-11-21T10:00:00Z")]
    Replay {
        #[command(flatten)]
        target: Target,
        /// The projection.
        #[arg(value_parser = suggest::projection())]
        name: String,
        #[command(flatten)]
        until: Until,
        #[command(flatten)]
        acting: Acting,
    },
}

/// Where a replay ends.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct Until {
    /// With the events up to this position of the log.
    #[arg(long, value_name = "N")]
    to_position: Option<u64>,
    /// With the events that the log held at this moment, such as 2026-11-21T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
struct Line {
    name: String,
    generation: i64,
    position: u64,
    lag_events: u64,
    lag_s: f64,
    state: String,
    last_error: Option<String>,
    /// Only of a cluster.
    #[serde(default)]
    partitions: Vec<Partition>,
}

/// How far a read model is with a partition, and which replica feeds it.
#[derive(Debug, Deserialize)]
struct Partition {
    partition: u32,
    position: u64,
    owner: Option<String>,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::List { target } => list(&target).await,
            #[cfg(feature = "cluster")]
            Verb::Prepare { config, json } => prepare::prepare(config.as_deref(), json).await,
            #[cfg(not(feature = "cluster"))]
            Verb::Prepare { .. } => Err(Failure::without_cluster("`backstitch projection prepare`")),
            Verb::Rebuild { target, name, accept_differences, acting } => {
                let what = format!(
                    "`{name}` is folded again from the beginning of the log, beside the live one, which goes on. \
                     Then answers come from the new one{}.",
                    if accept_differences { ", also where it differs" } else { " if both are the same" }
                );
                if !acting.sure(&what)? {
                    return Ok(Exit::No);
                }
                work::rebuild(&target, &name, accept_differences, &acting).await
            }
            Verb::Rollback { target, name, acting } => {
                let what = format!("Answers about `{name}` come from its previous generation again.");
                if !acting.sure(&what)? {
                    return Ok(Exit::No);
                }
                work::roll_back(&target, &name, &acting).await
            }
            Verb::Retire { target, name, generation, acting } => {
                let which = generation.map_or("its previous generation".to_owned(), |n| format!("its generation {n}"));
                if !acting.sure(&format!("The tables of `{name}` in {which} are dropped."))? {
                    return Ok(Exit::No);
                }
                work::retire(&target, &name, generation, &acting).await
            }
            Verb::Replay { target, name, until, acting } => {
                // It changes no row that anybody reads: there is nothing to be asked.
                work::replay(&target, &name, until.to_position, until.at, &acting).await
            }
        }
    }
}

async fn list(target: &Target) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    let mut answer = client.get("/v1/projections", &[]).await?;
    let page: Page<Line> = serde_json::from_value(answer.clone())?;
    let mut all = Vec::with_capacity(page.items.len());
    for (index, line) in page.items.into_iter().enumerate() {
        // While Postgres is away the positions are known, the other generations are not.
        let one = match client.get(&format!("/v1/projections/{}", line.name), &[]).await {
            Ok(one) => one,
            Err(error) if is_no_answer(&error) => Value::Null,
            Err(error) => return Err(error),
        };
        answer["items"][index]["generations"] = one["generations"].clone();
        all.push((line, work::generations(&one)));
    }
    if target.json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let feeders = feeders(all.iter().map(|(line, _)| line));
    let headings = ["projection", ">generation", ">position", ">lag events", ">lag s", "state", "last error"];
    let mut table = Table::new(&headings);
    for (line, generations) in all {
        let tone = match line.state.as_str() {
            "running" if line.lag_events == 0 => Tone::Plain,
            "running" | "starting" => Tone::Warn,
            _ => Tone::Bad,
        };
        let (number, lag) = (line.generation.to_string(), format!("{:.1}", line.lag_s));
        let (position, behind) = (line.position.to_string(), line.lag_events.to_string());
        let error = line.last_error.unwrap_or_default();
        table.row(tone, [line.name.clone(), number, position, behind, lag, line.state, error]);
        for other in generations.into_iter().filter(|other| other.generation != line.generation) {
            let (name, lag) = (line.name.clone(), String::new());
            let (number, behind) = (other.generation.to_string(), other.target.saturating_sub(other.position));
            let tone = if other.state == "differs" { Tone::Warn } else { Tone::Faint };
            let error = other.last_error.unwrap_or_default();
            table.row(tone, [name, number, other.position.to_string(), behind.to_string(), lag, other.state, error]);
        }
    }
    table.print();
    if !feeders.is_empty() {
        let mut table = Table::new(&[">partition", ">position", "fed by"]);
        for (partition, (position, owner)) in feeders {
            table.row(Tone::Plain, [partition.to_string(), position.to_string(), owner]);
        }
        output::line("");
        table.print();
    }
    Ok(Exit::Done)
}

/// In a cluster, each partition: how far the read model is that is furthest behind with it, and which replica feeds it.
fn feeders<'l>(lines: impl Iterator<Item = &'l Line>) -> BTreeMap<u32, (u64, String)> {
    let mut all = BTreeMap::new();
    for part in lines.flat_map(|line| &line.partitions) {
        let owner = || part.owner.clone().unwrap_or_else(|| "nobody yet".to_owned());
        let feeder = all.entry(part.partition).or_insert_with(|| (part.position, owner()));
        feeder.0 = part.position.min(feeder.0);
    }
    all
}

fn is_no_answer(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit() == Exit::NoAnswer)
}
