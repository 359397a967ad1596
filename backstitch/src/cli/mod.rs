//! The commands people type: a file or folder per noun, one enum that names them all.

#[cfg(feature = "cluster")]
mod bus;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod clustered;
#[cfg(not(feature = "cluster"))]
#[path = "not_clustered.rs"]
mod clustered;
mod config;
mod dead_letter;
mod events;
mod health;
mod lineage;
mod order;
pub mod processes;
mod projection;
mod saga;
mod server;
mod store;
mod stream;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use service_kit::StartError;
use terminal::{Exit, Failure, failure, output};

use self::processes::{gateway, provider_sim, serve};

/// The release, and the commit that it was built from; `development build` where the build did not say.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BACKSTITCH_BUILT_FROM"), ")");

/// An event-sourced order backend that sews its way back when a step fails.
#[derive(Debug, Parser)]
#[command(
    name = "backstitch",
    version = VERSION,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "\
Exit codes: 0 done, 1 the answer is no, 2 there is no answer.

Examples:
  backstitch serve                                   # a running shop on http://127.0.0.1:7400
  backstitch saga list --state needs_attention       # who waits for a person
  backstitch saga why 0198c0de-…                     # what an order waits for, and what to do
  backstitch saga incidents                          # what stands still, counted, and what to type
  backstitch order timeline 4QX9K2M7R1TB             # what happened to an order
  backstitch stream tail --category order            # events as they happen
  backstitch store check --data /var/lib/backstitch  # is every event of the log sound?")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The nouns.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs everything in one process: log, commands, read models, sagas, one HTTP port.
    Serve(serve::Args),
    /// The front door of a cluster: one address before the replicas of all services.
    Gateway(gateway::Args),
    /// A whole cluster on this machine: Kafka, Postgres, the event store, replicas of each service, a front door.
    Cluster(clustered::Cluster),
    /// Runs the write side as one of several processes over a shared log: commands by HTTP and gRPC, the payment provider.
    CommandService(clustered::CommandService),
    /// Publishes the log of an event store to Kafka, in commit order; of several relays one is active.
    Relay(clustered::Relay),
    /// The bus: how far Kafka and its readers are, the log published again, what consumers could not handle.
    Bus(clustered::Bus),
    /// The simulated payment provider as a process of its own, with its own synced ledger.
    ProviderSim(provider_sim::Args),
    /// Runs the read side as one of several replicas: partitions of the bus into one Postgres, queries over HTTP.
    ProjectionService(clustered::ProjectionService),
    /// Runs the sagas as one of several processes over a shared log: fed by Kafka, commands by gRPC.
    SagaOrchestrator(clustered::SagaOrchestrator),
    /// Sagas: where each order is on its way, why it waits, how it came there.
    Saga(saga::Args),
    /// Orders: what happened to one, over all of its streams.
    Order(order::Args),
    /// Where something came from and what followed: requests, events, saga steps, commands, provider calls.
    Lineage(lineage::Args),
    /// Streams: the events of one thing, replayed, or live.
    Stream(stream::Args),
    /// Events: looked for in the whole log.
    Events(events::Args),
    /// Projections: how far the read models are; rebuild, roll back, replay.
    Projection(projection::Args),
    /// Dead letters: streams that a read model cannot follow, because of one event.
    DeadLetter(dead_letter::Args),
    /// The log on disk: check, count, back up, export, import, serve. Works beside a running server.
    Store(store::Args),
    /// Health: whether a process is ready, and the state of its dependencies.
    Health(health::Args),
    /// Settings: what every process would run with and who said so; whether a file is sound.
    Config(config::Args),
    /// Demo: some hundred orders that go well and badly, and the proof that everything adds up.
    Demo(trials::demo::Args),
    /// Torture: a cluster that is killed, paused and restarted under load, and the proof that everything adds up.
    Torture(clustered::Torture),
    /// Bench: how fast this machine is, beside its bare limits.
    Bench(trials::bench::Args),
    /// Writes the completions of a shell to stdout.
    #[command(after_help = "\
Example:
  mkdir -p ~/.local/share/bash-completion/completions
  backstitch completions bash > ~/.local/share/bash-completion/completions/backstitch")]
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

impl Command {
    async fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Serve(args) => args.run().await,
            Self::Gateway(args) => args.run().await,
            Self::Cluster(args) => args.run().await,
            Self::CommandService(args) => ended(args.run().await),
            Self::Relay(args) => args.run().await,
            Self::Bus(args) => args.run().await,
            Self::ProviderSim(args) => args.run().await,
            Self::ProjectionService(args) => ended(args.run().await),
            Self::SagaOrchestrator(args) => ended(args.run().await),
            Self::Saga(args) => args.run().await,
            Self::Order(args) => args.run().await,
            Self::Lineage(args) => args.run().await,
            Self::Stream(args) => args.run().await,
            Self::Events(args) => args.run().await,
            Self::Projection(args) => args.run().await,
            Self::DeadLetter(args) => args.run().await,
            Self::Store(args) => args.run().await,
            Self::Health(args) => args.run().await,
            Self::Config(args) => args.run().await,
            Self::Demo(args) => args.run().await,
            Self::Torture(args) => args.run().await,
            Self::Bench(args) => args.run().await,
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "backstitch", &mut script);
                output::bytes(&script);
                Ok(Exit::Done)
            }
        }
    }
}

/// How a service of a cluster ended.
fn ended(result: Result<(), StartError>) -> anyhow::Result<Exit> {
    result.map(|()| Exit::Done).map_err(Failure::not_started)
}

/// Parses the arguments, runs the verb, says on stderr why it failed, answers with the exit code.
pub fn main() -> ExitCode {
    service_kit::rights::private_files();
    let arguments = behind_the_verb(std::env::args_os().collect());
    let as_json = arguments.iter().any(|argument| argument == "--json");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, as_json).into(),
    };
    // The verbs wait for answers; what computes (serve, bench) makes a runtime of its own.
    let serves = matches!(cli.command, Command::Gateway(_));
    let mut builder = match serves {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error.into(), as_json).into(),
    };
    match runtime.block_on(cli.command.run()) {
        Ok(exit) => exit.into(),
        Err(error) => failure::report(&error, as_json).into(),
    }
}

/// `--url URL` and `--json` belong to a verb; who writes them before it means the same.
fn behind_the_verb(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut rest = arguments.into_iter();
    let mut found: Vec<OsString> = rest.by_ref().take(1).collect();
    let mut moved = Vec::new();
    let mut rest = rest.peekable();
    while let Some(argument) = rest.peek().and_then(|argument| argument.to_str()) {
        let takes_value = argument == "--url";
        if !takes_value && argument != "--json" && !argument.starts_with("--url=") {
            break;
        }
        moved.extend(rest.by_ref().take(if takes_value { 2 } else { 1 }));
    }
    let rest: Vec<OsString> = rest.collect();
    let end = rest.iter().position(|argument| argument == "--").unwrap_or(rest.len());
    found.extend(rest[..end].iter().cloned());
    found.extend(moved);
    found.extend(rest[end..].iter().cloned());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_address_may_stand_before_the_verb() {
        let moved = |words: &[&str]| {
            let words = behind_the_verb(words.iter().map(OsString::from).collect());
            words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(
            moved(&["b", "--url", "u", "--json", "saga", "list"]),
            ["b", "saga", "list", "--url", "u", "--json"]
        );
        assert_eq!(moved(&["b", "--url=u", "x", "--", "y"]), ["b", "x", "--url=u", "--", "y"]);
        assert_eq!(moved(&["b", "saga", "list", "--url", "u"]), ["b", "saga", "list", "--url", "u"]);
        assert_eq!(moved(&["b", "--version"]), ["b", "--version"]);
        assert_eq!(moved(&["b"]), ["b"]);
    }

    #[test]
    fn every_reading_verb_offers_json() {
        let cli = Cli::command();
        for noun in ["saga", "order", "stream", "events", "projection", "dead-letter", "store", "config", "bus"] {
            let noun = cli.find_subcommand(noun).unwrap();
            // `store serve` reads nothing: it runs.
            let verbs = noun.get_subcommands().filter(|verb| !["help", "serve"].contains(&verb.get_name()));
            for verb in verbs.filter(|verb| !verb.has_subcommands()) {
                let json = verb.get_arguments().any(|argument| argument.get_id() == "json");
                assert!(json, "`backstitch {} {}` has no --json", noun.get_name(), verb.get_name());
            }
        }
    }

    #[test]
    fn every_noun_and_verb_has_an_example_in_its_help() {
        let cli = Cli::command();
        for noun in cli.get_subcommands().filter(|noun| noun.get_name() != "help") {
            let help = noun.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "`backstitch {}` shows no example", noun.get_name());
        }
    }
}
