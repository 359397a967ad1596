//! `backstitch bus dead-letters`: records that a consumer of the bus could not handle, and how to get their keys going again.
//!
//! They are in the consumer's own Postgres; the consumer that holds the partition does what is asked here within a second.

use std::time::{Duration, Instant};

use clap::Subcommand;
use event_bus::DeadLetters;
use event_bus::dead_letter::Letter;
use service_kit::secret::SecretUrl;
use sqlx::postgres::PgPoolOptions;
use terminal::output::{self, Table, Tone};
use terminal::{Exit, Failure};

use crate::cli::server::acting::Acting;

/// Lines of a list.
const PAGE: u16 = 200;
/// How long Postgres may take to let us in.
const CONNECT_BOUND: Duration = Duration::from_secs(10);
/// How often it is looked whether the consumer has done what was asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Records that a consumer could not handle: each holds up its own key in its own consumer group, and nothing else.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  export DATABASE_URL=postgres://localhost/billing     # where the consumer keeps its tables
  backstitch bus dead-letters list
  backstitch bus dead-letters show 17                  # the record, and why it could not be handled
  backstitch bus dead-letters retry 17                 # its key again, in order
  backstitch bus dead-letters retry --group billing    # all of them
  backstitch bus dead-letters discard 17 --reason 'written by a test'")]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Keys that stand still: at which record, why, and how many wait behind it.
    #[command(after_help = "Example:\n  backstitch bus dead-letters list --group billing")]
    List {
        #[command(flatten)]
        place: Place,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
        /// Only those of this consumer group.
        #[arg(long, value_name = "NAME")]
        group: Option<String>,
        /// Only those behind this number: for the next page.
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: i64,
    },
    /// A record with its headers and value, the error, and how many later ones of its key wait.
    #[command(after_help = "Example:\n  backstitch bus dead-letters show 17")]
    Show {
        #[command(flatten)]
        place: Place,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
        /// Its number, as `list` shows it.
        id: i64,
    },
    /// Asks the running consumer to handle a key again, in order. Exit 1: it fails again, or nobody took it up in time.
    #[command(after_help = "\
Examples:
  backstitch bus dead-letters retry 17
  backstitch bus dead-letters retry --group billing --yes")]
    Retry {
        #[command(flatten)]
        place: Place,
        /// The number of one of the key's records.
        #[arg(required_unless_present = "group", conflicts_with = "group")]
        id: Option<i64>,
        /// Everything that is parked for this consumer group; asks, and does not wait.
        #[arg(long, value_name = "NAME")]
        group: Option<String>,
        /// How long to wait for the consumer, in seconds; 0: only ask.
        #[arg(long, value_name = "SECONDS", default_value_t = 10)]
        wait: u64,
        #[command(flatten)]
        acting: Acting,
    },
    /// Takes one record out for ever; the consumer goes on with those behind it.
    #[command(after_help = "Example:\n  backstitch bus dead-letters discard 17 --reason 'written by a test' --yes")]
    Discard {
        #[command(flatten)]
        place: Place,
        /// Its number, as `list` shows it.
        id: i64,
        #[command(flatten)]
        acting: Acting,
    },
}

/// Where the consumer keeps its tables.
#[derive(Debug, Clone, clap::Args)]
struct Place {
    /// The consumer's Postgres.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    postgres: Option<SecretUrl>,
    /// The schema of its tables.
    #[arg(long, value_name = "NAME", default_value = "public")]
    schema: String,
}

impl Place {
    async fn letters(&self) -> anyhow::Result<DeadLetters> {
        let Some(url) = &self.postgres else {
            return Err(Failure::no_answer(
                "it is not said where the consumer keeps its dead letters",
                "--postgres postgres://localhost/billing, or DATABASE_URL",
            ));
        };
        let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(CONNECT_BOUND).connect(url.reveal()).await;
        let pool = pool.map_err(|error| {
            Failure::no_answer(
                format!("the consumer's Postgres does not answer: {error}"),
                "--postgres URL names another",
            )
        })?;
        let letters = DeadLetters::new(pool, &self.schema);
        if !letters.are_kept_here().await? {
            return Err(Failure::no_answer(
                format!("no consumer of the bus has its tables in the schema `{}` there", self.schema),
                "--postgres and --schema say where the consumer keeps them",
            ));
        }
        Ok(letters)
    }
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::List { place, json, group, after } => list(&place, json, group.as_deref(), after).await,
            Verb::Show { place, json, id } => show(&place, json, id).await,
            Verb::Retry { place, id: Some(id), wait, acting, .. } => {
                retry(&place, id, Duration::from_secs(wait), &acting).await
            }
            Verb::Retry { place, group, acting, .. } => retry_all(&place, &group.unwrap_or_default(), &acting).await,
            Verb::Discard { place, id, acting } => discard(&place, id, &acting).await,
        }
    }
}

async fn list(place: &Place, json: bool, group: Option<&str>, after: i64) -> anyhow::Result<Exit> {
    let letters = place.letters().await?.list(group, after, PAGE).await?;
    if json {
        output::list(&letters, letters.len() == usize::from(PAGE))?;
        return Ok(Exit::Done);
    }
    let Some(last) = letters.last().map(|letter| letter.id) else {
        output::note(format_args!("nothing is parked: the consumers handle all keys"));
        return Ok(Exit::Done);
    };
    let full = letters.len() == usize::from(PAGE);
    let mut table = Table::new(&[">id", "group", "record", "key", "event", "cause", ">tries", ">waiting", "error"]);
    for letter in letters {
        let cells = [
            letter.id.to_string(),
            letter.group.clone(),
            record(&letter),
            letter.key.unwrap_or_else(|| "-".to_owned()),
            letter.event_type.unwrap_or_else(|| "-".to_owned()),
            letter.cause.as_str().to_owned(),
            letter.attempts.to_string(),
            letter.waiting.to_string(),
            letter.error,
        ];
        table.row(Tone::Bad, cells);
    }
    table.print();
    if full {
        output::note(format_args!("\nmore: --after {last}"));
    }
    Ok(Exit::Done)
}

/// Where a record lies: `topic/partition@offset`.
fn record(letter: &Letter) -> String {
    format!("{}/{}@{}", letter.topic, letter.partition, letter.offset)
}

async fn show(place: &Place, json: bool, id: i64) -> anyhow::Result<Exit> {
    let Some(shown) = place.letters().await?.show(id).await? else { return Err(unknown(id)) };
    if json {
        output::json(&shown)?;
        return Ok(Exit::Done);
    }
    let letter = &shown.letter;
    let of = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    output::toned(Tone::Bad, format!("{} could not be handled by `{}`", record(letter), letter.group));
    output::line(format!("key       {}", of(&letter.key)));
    output::line(format!(
        "event     {} v{}, {}",
        of(&letter.event_type),
        of(&letter.schema_version),
        of(&letter.event_id)
    ));
    output::line(format!("cause     {}: {}", letter.cause.as_str(), letter.error));
    output::line(format!("tried     {} times, parked {}", letter.attempts, letter.parked_at.to_rfc3339()));
    output::line(format!("waiting   {} later records of the key", letter.waiting));
    if let Some((at, by, reason)) = &letter.discarded {
        output::line(format!("discarded {} by {by}: {reason}", at.to_rfc3339()));
    }
    for (name, value) in &shown.headers {
        output::line(format!("          {name}: {value}"));
    }
    output::line(shown.value.unwrap_or_default());
    Ok(Exit::Done)
}

async fn retry(place: &Place, id: i64, wait: Duration, acting: &Acting) -> anyhow::Result<Exit> {
    let letters = place.letters().await?;
    let asked = letters.retry(id, &acting.actor).await?;
    if asked == 0 {
        return Err(unknown(id));
    }
    output::note(format_args!("asked for {asked} records of its key, in order"));
    let began = Instant::now();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    while began.elapsed() < wait {
        ticks.tick().await;
        let Some(shown) = letters.show(id).await? else {
            output::toned(Tone::Good, format!("{id}: handled"));
            return Ok(Exit::Done);
        };
        if shown.letter.asked_at.is_none() {
            output::toned(Tone::Bad, format!("{id}: it stands again: {}", shown.letter.error));
            return Ok(Exit::No);
        }
    }
    if wait.is_zero() {
        return Ok(Exit::Done);
    }
    let hint = "is the consumer running? It takes it up when it is: backstitch bus dead-letters show";
    Err(Failure::no(format!("no consumer has taken it up within {} s", wait.as_secs()), format!("{hint} {id}")))
}

async fn retry_all(place: &Place, group: &str, acting: &Acting) -> anyhow::Result<Exit> {
    let letters = place.letters().await?;
    if !acting.sure(&format!("asks for everything that is parked for `{group}` to be handled again"))? {
        return Ok(Exit::No);
    }
    let asked = letters.retry_all(group, &acting.actor).await?;
    output::line(format!("asked for {asked} records"));
    Ok(Exit::Done)
}

async fn discard(place: &Place, id: i64, acting: &Acting) -> anyhow::Result<Exit> {
    let Some(reason) = &acting.reason else {
        return Err(Failure::no_answer("a reason is needed", "--reason 'why nobody needs it'"));
    };
    let letters = place.letters().await?;
    let Some(shown) = letters.show(id).await?.filter(|shown| shown.letter.discarded.is_none()) else {
        return Err(unknown(id));
    };
    let (letter, waiting) = (&shown.letter, shown.letter.waiting);
    let what = format!(
        "takes {} ({}) out for ever, and lets the {waiting} records of its key behind it go on",
        record(letter),
        letter.event_type.as_deref().unwrap_or("no event")
    );
    if !acting.sure(&what)? {
        return Ok(Exit::No);
    }
    if !letters.discard(id, &acting.actor, reason).await? {
        return Err(unknown(id));
    }
    output::line(format!("{id}: discarded"));
    Ok(Exit::Done)
}

fn unknown(id: i64) -> anyhow::Error {
    Failure::no(format!("no dead letter has the number {id} (any more)"), "backstitch bus dead-letters list")
}
