//! `backstitch dead-letter`: streams that a read model has parked, why, and how to get them going again.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};
use terminal::output::{self, Table, Tone};
use terminal::{Exit, Failure};

use super::server::acting::{Acting, fresh_key};
use super::server::client::{Client, PAGE, Target};
use super::server::suggest;

/// Dead letters: streams that a read model cannot follow, because of one event.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch dead-letter list
  backstitch dead-letter show orders order-0198c0de-…     # the event, and why it cannot be applied
  backstitch dead-letter try orders order-0198c0de-…      # would it work now? Changes nothing
  backstitch dead-letter retry orders order-0198c0de-…
  backstitch dead-letter retry --projection orders --yes  # all of them
  backstitch dead-letter discard orders order-0198c0de-… --reason 'written by a test'")]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Parked streams: at which event each stands, and why.
    #[command(after_help = "Example:\n  backstitch dead-letter list --projection orders")]
    List {
        #[command(flatten)]
        target: Target,
        /// Only those of this read model.
        #[arg(long, value_name = "NAME", value_parser = suggest::projection())]
        projection: Option<String>,
    },
    /// The event at which a stream stands, with its data, the error, and how many later events wait.
    #[command(after_help = "Example:\n  backstitch dead-letter show orders order-0198c0de-…")]
    Show(One),
    /// Whether a stream could be applied now. Changes nothing. Exit 1: it could not.
    #[command(after_help = "Example:\n  backstitch dead-letter try orders order-0198c0de-…")]
    Try(One),
    /// Applies a stream from the event at which it stands. Exit 1: it still stands.
    #[command(after_help = "\
Examples:
  backstitch dead-letter retry orders order-0198c0de-…
  backstitch dead-letter retry --projection orders --yes")]
    Retry {
        #[command(flatten)]
        target: Target,
        /// The read model.
        #[arg(required_unless_present = "all_of", conflicts_with = "all_of", value_parser = suggest::projection())]
        projection: Option<String>,
        /// The parked stream.
        #[arg(required_unless_present = "all_of")]
        stream: Option<String>,
        /// All parked streams of this read model.
        #[arg(long = "projection", id = "all_of", value_name = "NAME", value_parser = suggest::projection(), hide_possible_values = true)]
        all_of: Option<String>,
        /// The generation of the read model's tables; else that which answers come from.
        #[arg(long, value_name = "NUMBER")]
        generation: Option<i32>,
        #[command(flatten)]
        acting: Acting,
    },
    /// Moves past the event at which a stream stands, for ever, and applies what comes after it.
    #[command(after_help = "\
Example:
  backstitch dead-letter discard orders order-0198c0de-… --reason 'written by a test' --yes")]
    Discard {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        acting: Acting,
    },
}

/// A parked stream.
#[derive(Debug, clap::Args)]
struct One {
    #[command(flatten)]
    target: Target,
    /// The read model.
    #[arg(value_parser = suggest::projection())]
    projection: String,
    /// The parked stream.
    stream: String,
    /// The generation of the read model's tables; else that which answers come from.
    #[arg(long, value_name = "NUMBER")]
    generation: Option<i32>,
}

#[derive(Debug, Deserialize)]
struct Letters {
    items: Vec<Line>,
    has_more: bool,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Line {
    projection: String,
    generation: i32,
    stream: String,
    version: u64,
    r#type: String,
    cause: String,
    attempts: u32,
    error: String,
    position: u64,
    occurred_at: String,
}

#[derive(Debug, Deserialize)]
struct Shown {
    #[serde(flatten)]
    line: Line,
    event: Option<Value>,
    waiting: u64,
    discarded: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    stream: String,
    verb: String,
    applied: u64,
    discarded: Option<u64>,
    up_to_date: bool,
    stands: Option<Standing>,
}

#[derive(Debug, Deserialize)]
struct Standing {
    version: u64,
    r#type: String,
    error: String,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::List { target, projection } => list(&target, projection).await,
            Verb::Show(one) => show(&one).await,
            Verb::Try(one) => one.act("try", &fresh_key(), &json!({})).await,
            Verb::Retry { target, projection, stream, all_of, generation, acting } => {
                match (projection, stream, all_of) {
                    (Some(projection), Some(stream), _) => {
                        One { target, projection, stream, generation }.act("retry", &fresh_key(), &json!({})).await
                    }
                    (.., all_of) => retry_all(target, &all_of.unwrap_or_default(), &acting).await,
                }
            }
            Verb::Discard { one, acting } => discard(&one, &acting).await,
        }
    }
}

impl One {
    fn path(&self, verb: &str) -> String {
        let generation = self.generation.map(|number| format!("?generation={number}")).unwrap_or_default();
        format!("/v1/dead-letters/{}/{}{verb}{generation}", self.projection, self.stream)
    }

    async fn shown(&self) -> anyhow::Result<Value> {
        Client::new(&self.target)?.get(&self.path(""), &[]).await
    }

    async fn act(&self, verb: &str, key: &str, body: &Value) -> anyhow::Result<Exit> {
        let answer = Client::new(&self.target)?.post(&self.path(&format!("/{verb}")), key, body).await?;
        let outcome: Outcome = serde_json::from_value(answer.clone())?;
        if self.target.json {
            output::json(&answer)?;
        } else {
            tell(&outcome);
        }
        Ok(if outcome.up_to_date { Exit::Done } else { Exit::No })
    }
}

fn tell(outcome: &Outcome) {
    let would = if outcome.verb == "try" { "would be " } else { "" };
    if let Some(version) = outcome.discarded {
        output::line(format!("version {version} of {} is moved past", outcome.stream));
    }
    match &outcome.stands {
        None => output::toned(
            Tone::Good,
            format!("{}: {} events {would}applied, and it {would}up to date", outcome.stream, outcome.applied),
        ),
        Some(at) => output::toned(
            Tone::Bad,
            format!("{}: it stands at version {} ({}): {}", outcome.stream, at.version, at.r#type, at.error),
        ),
    }
}

async fn list(target: &Target, projection: Option<String>) -> anyhow::Result<Exit> {
    let mut query = vec![("limit", PAGE.to_string())];
    query.extend(projection.map(|name| ("projection", name)));
    let answer = Client::new(target)?.get("/v1/dead-letters", &query).await?;
    if target.json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let page: Letters = serde_json::from_value(answer)?;
    if page.items.is_empty() {
        output::note(format_args!("no stream is parked: the read models follow all of them"));
        return Ok(Exit::Done);
    }
    let mut table =
        Table::new(&["projection", ">generation", "stream", ">version", "event", "cause", ">tries", "error"]);
    for line in page.items {
        let numbers = (line.generation.to_string(), line.version.to_string(), line.attempts.to_string());
        table.row(
            Tone::Bad,
            [line.projection, numbers.0, line.stream, numbers.1, line.r#type, line.cause, numbers.2, line.error],
        );
    }
    table.print();
    if page.has_more {
        output::note(format_args!("\nmore: narrow it down with --projection"));
    }
    Ok(Exit::Done)
}

async fn show(one: &One) -> anyhow::Result<Exit> {
    let answer = one.shown().await?;
    if one.target.json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let Shown { line, event, waiting, discarded } = serde_json::from_value(answer)?;
    output::toned(Tone::Bad, format!("{} stands at version {} in `{}`", line.stream, line.version, line.projection));
    output::line(format!("event     {} at position {}, {}", line.r#type, line.position, line.occurred_at));
    output::line(format!("cause     {}: {}", line.cause, line.error));
    output::line(format!("tried     {} times", line.attempts));
    let events = if waiting == 1 { "event" } else { "events" };
    output::line(format!("waiting   {waiting} later {events} of the stream"));
    for gone in discarded {
        let text = |name: &str| gone[name].as_str().unwrap_or_default().to_owned();
        let (who, why) = (text("actor"), text("reason"));
        output::line(format!("discarded version {} ({}) by {who}: {why}", gone["version"], text("type")));
    }
    if let Some(event) = event {
        output::json_text(&serde_json::to_string_pretty(&event)?);
    }
    Ok(Exit::Done)
}

async fn retry_all(target: Target, projection: &str, acting: &Acting) -> anyhow::Result<Exit> {
    let client = Client::new(&target)?;
    let mut lines: Vec<Line> = Vec::new();
    let mut query = vec![("projection", projection.to_owned()), ("limit", PAGE.to_string())];
    loop {
        let page: Letters = client.get_as("/v1/dead-letters", &query).await?;
        lines.extend(page.items);
        let Some(next) = page.next else { break };
        query.truncate(2);
        query.push(("cursor", next));
    }
    if lines.is_empty() {
        output::note(format_args!("no stream of `{projection}` is parked"));
        return Ok(Exit::Done);
    }
    if !acting.sure(&format!("tries the {} parked streams of `{projection}` again", lines.len()))? {
        return Ok(Exit::No);
    }
    let (mut exit, mut outcomes) = (Exit::Done, Vec::new());
    for line in lines {
        let (target, generation) = (target.clone(), Some(line.generation));
        let as_json = target.json;
        let one = One { target, projection: line.projection, stream: line.stream, generation };
        let answer = client.post(&one.path("/retry"), &fresh_key(), &json!({})).await?;
        let outcome: Outcome = serde_json::from_value(answer.clone())?;
        if !outcome.up_to_date {
            exit = Exit::No;
        }
        match as_json {
            true => outcomes.push(answer),
            false => tell(&outcome),
        }
    }
    if target.json {
        output::list(&outcomes, false)?;
    }
    Ok(exit)
}

async fn discard(one: &One, acting: &Acting) -> anyhow::Result<Exit> {
    let Some(reason) = &acting.reason else {
        return Err(Failure::no_answer("a reason is needed", "--reason 'why the read model is better off without it'"));
    };
    let shown: Shown = serde_json::from_value(one.shown().await?)?;
    let (line, waiting) = (&shown.line, shown.waiting);
    let what = format!(
        "moves past version {} ({}) of {} in `{}`, for ever, and applies the {waiting} events behind it",
        line.version, line.r#type, line.stream, line.projection
    );
    if !acting.sure(&what)? {
        return Ok(Exit::No);
    }
    // The key names what was shown: sent again after a lost answer, it does not move past another event.
    let key = format!("discard-{}-{}", line.generation, line.version);
    one.act("discard", &key, &json!({ "reason": reason, "actor": acting.actor })).await
}
