//! `backstitch health`: whether a process is ready. Containers ask it of themselves, since their image has no other client.

use service_kit::health::{HealthReport, Status};
use terminal::output::{self, Table, Tone};
use terminal::{Exit, Failure};

use super::server::client::{Client, Target};

/// Health: whether a process is ready, and the state of its dependencies.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 it is ready, 1 it is not, 2 nobody answers.

Examples:
  backstitch health
  backstitch health --url http://127.0.0.1:7401 --json   # the simulated payment provider")]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Asks.
    ///
    /// # Errors
    /// A [`Failure`] when there is no answer.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let report: HealthReport = Client::new(&self.target)?.get_as("/health", &[]).await?;
        if self.target.json {
            output::json(&report)?;
        } else {
            print(&report);
        }
        if report.ready {
            return Ok(Exit::Done);
        }
        let missing = report.dependencies.iter().filter(|(_, it)| it.required && it.status != Status::Up);
        let missing: Vec<&str> = missing.map(|(name, _)| name.as_str()).collect();
        let why = if missing.is_empty() { "it is being stopped".to_owned() } else { missing.join(", ") };
        Err(Failure::no(format!("{} is not ready: {why}", self.target.url), "docs/operating.md, \"What to do when\""))
    }
}

fn print(report: &HealthReport) {
    let mut table = Table::new(&["what", "*status", "needed", "since", "detail"]);
    for (name, it) in &report.dependencies {
        let (tone, status) = match it.status {
            Status::Up => (Tone::Good, "up"),
            Status::Starting => (Tone::Warn, "starting"),
            Status::Down => (Tone::Bad, "down"),
            Status::Damaged => (Tone::Bad, "damaged"),
        };
        let needed = if it.required { "yes" } else { "no" };
        let since = it.since.format("%Y-%m-%d %H:%M:%SZ").to_string();
        let detail = it.detail.clone().unwrap_or_default();
        table.row(tone, [name.clone(), status.to_owned(), needed.to_owned(), since, detail]);
    }
    table.print();
    let tone = if report.ready { Tone::Good } else { Tone::Bad };
    output::toned(tone, if report.ready { "ready" } else { "not ready" });
}
