//! `backstitch projection`: how far the read models are behind the log.

use clap::Subcommand;
use serde::Deserialize;

use super::Exit;
use super::client::{Client, Target};
use super::output::{self, Table, Tone};
use super::stream::Page;

/// Projections: how far the read models are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  backstitch projection list")]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Each projection with its position and how far it is behind, in events and seconds.
    List {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Deserialize)]
struct Line {
    name: String,
    position: u64,
    lag_events: u64,
    lag_s: f64,
    state: String,
    last_error: Option<String>,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`super::Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        let Verb::List { target } = self.verb;
        let answer = Client::new(&target)?.get("/v1/projections", &[]).await?;
        if target.json {
            output::json(&answer)?;
            return Ok(Exit::Done);
        }
        let page: Page<Line> = serde_json::from_value(answer)?;
        let mut table = Table::new(&["projection", ">position", ">lag events", ">lag s", "state", "last error"]);
        for line in page.items {
            let tone = match line.state.as_str() {
                "running" if line.lag_events == 0 => Tone::Plain,
                "running" | "starting" => Tone::Warn,
                _ => Tone::Bad,
            };
            let (lag, error) = (format!("{:.1}", line.lag_s), line.last_error.unwrap_or_default());
            table
                .row(tone, [line.name, line.position.to_string(), line.lag_events.to_string(), lag, line.state, error]);
        }
        table.print();
        Ok(Exit::Done)
    }
}
