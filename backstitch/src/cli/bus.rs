//! `backstitch bus`: the log on Kafka, and who consumes it.

use clap::Subcommand;

use super::{Exit, bus_dead_letters};

/// The bus: the log on Kafka, and what its consumers could not handle.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch bus dead-letters list --postgres postgres://localhost/billing
  backstitch bus dead-letters retry 17 --postgres postgres://localhost/billing")]
pub struct Args {
    /// What of it.
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Records that a consumer could not handle, kept in its own Postgres.
    DeadLetters(bus_dead_letters::Args),
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`super::Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.noun {
            Noun::DeadLetters(args) => args.run().await,
        }
    }
}
