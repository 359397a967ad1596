//! `backstitch bus`: the log on Kafka, and who consumes it.

mod dead_letters;

use std::path::PathBuf;

use clap::Subcommand;
use event_bus::republish::{Range, republish};
use event_bus::status::{Status, status};
use event_bus::{BusConfig, BusError};
use event_store::Position;
use serde::Serialize;
use terminal::output::{self, Table, Tone};
use terminal::progress::{bar, show};
use terminal::{Exit, Failure};

use crate::cli::processes::relay;

/// The bus: how far Kafka and its readers are, the log published again, what consumers could not handle.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings: `[bus]`, `[event_store] url`.

Examples:
  backstitch bus status
  backstitch bus republish --from 1                    # all of it; safe at any time
  backstitch bus republish --from 1 --category order   # fills a public topic that is new
  backstitch bus dead-letters list --postgres postgres://localhost/billing")]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// How far each partition has come, how many relays there are, how far behind each consumer group is.
    #[command(after_help = "Example:\n  backstitch bus status --json")]
    Status {
        /// The settings file [default: backstitch.toml, if it is there].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Publishes a range of the log again, at most up to where the relay is. Safe beside the running relay.
    #[command(after_help = "\
A topic that was cut, or whose events somebody lost, is whole again afterwards. With --category only
those events are published (to their public topic too, if they have one); that fills no hole.

Example:
  backstitch bus republish --from 120000 --to 130000")]
    Republish {
        /// From this position on.
        #[arg(long, value_name = "POSITION")]
        from: u64,
        /// Up to this position [default: where the relay is].
        #[arg(long, value_name = "POSITION")]
        to: Option<u64>,
        /// Only events of this category; can be given several times.
        #[arg(long, value_name = "NAME")]
        category: Vec<String>,
        /// The settings file [default: backstitch.toml, if it is there].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Records that a consumer could not handle, kept in its own Postgres.
    DeadLetters(dead_letters::Args),
}

/// What `status` answers.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    bus: Status,
    /// Where the log ends; none: no event store is named.
    head: Option<Position>,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::DeadLetters(args) => args.run().await,
            Verb::Status { config, json } => {
                let settings = relay::settings(config.as_deref())?;
                let bus = status(&settings.bus).await.map_err(|error| failure(&error, &settings.bus))?;
                let head = match settings.event_store.url {
                    Some(_) => Some(relay::head(&*relay::open(&settings.event_store).await?)),
                    None => None,
                };
                tell(&Answer { bus, head }, json)
            }
            Verb::Republish { from, to, category, config, json } => {
                let settings = relay::settings(config.as_deref())?;
                let store = relay::open(&settings.event_store).await?;
                let range = Range { from: Position(from), to: to.map(Position), categories: category };
                let bar = bar("publishing");
                let done = republish(&settings.bus, &*store, &range, |done, all| show(&bar, done.0, all.0)).await;
                bar.finish_and_clear();
                store.close();
                let done = done.map_err(|error| failure(&error, &settings.bus))?;
                if json {
                    output::json(&done)?;
                } else if done.to < done.from {
                    output::line(format_args!("nothing: the relay is at position {}", done.to));
                } else {
                    output::line(format_args!("{} events, positions {} to {}", done.events, done.from, done.to));
                }
                Ok(Exit::Done)
            }
        }
    }
}

fn failure(error: &BusError, config: &BusConfig) -> anyhow::Error {
    match error {
        BusError::Topic { .. } | BusError::AnotherLog { .. } => Failure::no(error, "backstitch bus status"),
        BusError::NoBrokers => Failure::no_answer(error, "export BACKSTITCH__BUS__BROKERS=127.0.0.1:9092"),
        BusError::Settings(_)
        | BusError::Unreachable { .. }
        | BusError::Refused { .. }
        | BusError::TooLarge { .. }
        | BusError::Lacking { .. }
        | BusError::Client { .. }
        | BusError::Store(_) => Failure::no_answer(
            error,
            format!("script/kafka start …   # or look at {}", config.brokers.as_deref().unwrap_or("[bus] brokers")),
        ),
    }
}

fn tell(answer: &Answer, json: bool) -> anyhow::Result<Exit> {
    if json {
        output::json(answer)?;
        return Ok(Exit::Done);
    }
    let Answer { bus, head } = answer;
    let of = head.map(|head| format!(" of {head}")).unwrap_or_default();
    output::line(format_args!("{} at {}: relayed up to position {}{of}", bus.topic, bus.brokers, bus.position));
    let relays = match bus.relays {
        0 => "no relay runs: backstitch relay".to_owned(),
        1 => "1 relay, nobody stands by".to_owned(),
        count => format!("{count} relays, one of them active"),
    };
    output::line(relays);
    output::line("");
    let mut table = Table::new(&["partition", ">records", ">end offset", ">position"]);
    for partition in &bus.partitions {
        let records = partition.end_offset - partition.first_offset;
        let cells = [i64::from(partition.partition), records, partition.end_offset].map(|number| number.to_string());
        table.row(Tone::Plain, cells.into_iter().chain([partition.position.to_string()]));
    }
    table.print();
    output::line("");
    let mut table = Table::new(&["group", "state", ">members", ">lag", "by partition"]);
    for group in &bus.groups {
        let lag: i64 = group.lag_records.iter().flatten().sum();
        let each = group.lag_records.iter().map(|lag| lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()));
        let each = each.collect::<Vec<_>>().join(" ");
        let tone = if group.members == 0 { Tone::Warn } else { Tone::Plain };
        let (name, state) = (group.name.clone(), group.state.clone());
        table.row(tone, [name, state, group.members.to_string(), lag.to_string(), each]);
    }
    table.print();
    Ok(Exit::Done)
}
