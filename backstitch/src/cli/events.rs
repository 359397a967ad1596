//! `backstitch events find`: looks through the whole log, of a running server or of a folder.

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};
use clap::Subcommand;
use event_store::find::{Condition, Find};
use event_store::sqlite::LogFile;
use event_store::{Position, ReadError, RecordedEvent, StreamName};
use serde::Deserialize;
use service_kit::Clock;
use terminal::output::{self, Table, Tone};
use terminal::progress::{bar, show};
use terminal::{Exit, Failure};
use uuid::Uuid;

use super::server::client::{Client, PAGE, Target};
use super::store::no_log;

/// Characters of a payload in the table; `--json` shows all.
const SHOWN: usize = 120;

/// Events: looked for in the whole log.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exits with 1 if there is no such event.

Examples:
  backstitch events find --type OrderRejected --since 2h
  backstitch events find --category stock --where data.sku=MUG --where 'data.quantity>10'
  backstitch events find --type PaymentCaptured --where 'data.amount.amount>=100000' --json
  backstitch events find --correlation 0198c0de-0000-7000-8000-000000000000
  backstitch events find --actor operator:alice --data /srv/shop")]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Events that match every condition, oldest first.
    Find {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        wanted: Wanted,
        /// Look in the log of this folder instead of asking a server.
        #[arg(long, value_name = "DIR", conflicts_with = "url")]
        data: Option<PathBuf>,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
}

/// What an event must be.
#[derive(Debug, Clone, clap::Args)]
struct Wanted {
    /// Of this type, such as OrderPlaced; may be given more than once: one of them.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// In this stream.
    #[arg(long, value_name = "NAME")]
    stream: Option<StreamName>,
    /// In a stream of this category.
    #[arg(long)]
    category: Option<String>,
    /// A condition on a field of `data` or `metadata`: = != < <= > >= ~ (contains). May be given more than once: all hold.
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<Condition>,
    /// Occurred since: a moment, a day (UTC), or a time span such as 2h before now. It is included.
    #[arg(long, value_name = "TIME|SPAN", value_parser = moment)]
    since: Option<DateTime<Utc>>,
    /// Occurred until: the same; a day is included to its end.
    #[arg(long, value_name = "TIME|SPAN", value_parser = last_moment)]
    until: Option<DateTime<Utc>>,
    /// Of the story with this correlation id.
    #[arg(long, value_name = "ID")]
    correlation: Option<Uuid>,
    /// Asked for by this actor, such as saga:order_fulfilment.
    #[arg(long)]
    actor: Option<String>,
}

/// A part of the answer.
#[derive(Debug, Deserialize)]
struct Found {
    items: Vec<RecordedEvent>,
    next: Option<String>,
    looked_to: u64,
    head: u64,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        let Verb::Find { target, wanted, data, limit } = self.verb;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (found, more) = match &data {
            Some(dir) => in_folder(dir, &wanted, limit)?,
            None => in_server(&target, &wanted, limit).await?,
        };
        print(&found, more, target.json)?;
        if !target.json && more {
            output::note(format_args!("\nmore than {limit}: --limit, or narrower"));
        }
        if found.is_empty() {
            output::note(none(&wanted.types));
            return Ok(Exit::No);
        }
        Ok(Exit::Done)
    }
}

async fn in_server(target: &Target, wanted: &Wanted, limit: usize) -> anyhow::Result<(Vec<RecordedEvent>, bool)> {
    let client = Client::new(target)?;
    let bar = bar("looking");
    let (mut found, mut cursor, mut head) = (Vec::new(), None, None);
    loop {
        let mut query = wanted.query();
        query.push(("limit", (limit + 1 - found.len()).min(PAGE).to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let part: Found = client.get_as("/v1/events/find", &query).await?;
        // Up to where the log ended when the search began: it may grow faster than it is looked through.
        let head = *head.get_or_insert(part.head);
        show(&bar, part.looked_to.min(head), head);
        found.extend(part.items);
        cursor = part.next;
        if found.len() > limit || part.looked_to >= head || cursor.is_none() {
            bar.finish_and_clear();
            let more = found.len() > limit;
            found.truncate(limit);
            return Ok((found, more));
        }
    }
}

fn in_folder(dir: &Path, wanted: &Wanted, limit: usize) -> anyhow::Result<(Vec<RecordedEvent>, bool)> {
    let log = LogFile::open(dir).map_err(|error| no_log(&error, dir))?;
    let damaged =
        |error: ReadError| Failure::no_answer(error, format!("backstitch store check --data {}", dir.display()));
    let (find, head, bar) = (wanted.find(), log.head().map_err(damaged)?, bar("looking"));
    let (mut found, mut position) = (Vec::new(), Position::START);
    while position < head && found.len() <= limit {
        let page = log.page(position, head).map_err(damaged)?;
        position = page.last().map_or(head, |event| event.position);
        found.extend(page.into_iter().filter(|event| find.matches(event)));
        show(&bar, position.0, head.0);
    }
    bar.finish_and_clear();
    let more = found.len() > limit;
    found.truncate(limit);
    Ok((found, more))
}

impl Wanted {
    fn find(&self) -> Find {
        let Self { types, stream, category, conditions, since, until, correlation, actor } = self.clone();
        Find { types, stream, category, since, until, correlation, actor, conditions }
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query: Vec<_> = self.conditions.iter().map(|condition| ("where", condition.to_string())).collect();
        let types = Some(self.types.join(",")).filter(|types| !types.is_empty());
        for (name, value) in [
            ("type", types),
            ("stream", self.stream.as_ref().map(ToString::to_string)),
            ("category", self.category.clone()),
            ("since", self.since.map(|since| since.to_rfc3339())),
            ("until", self.until.map(|until| until.to_rfc3339())),
            ("correlation", self.correlation.map(|id| id.to_string())),
            ("actor", self.actor.clone()),
        ] {
            query.extend(value.map(|value| (name, value)));
        }
        query
    }
}

/// What to say where nothing was found: a misspelt type is the usual reason.
fn none(types: &[String]) -> String {
    let known = |name: &str| {
        let of_aggregates = domain::Kind::ALL.iter().flat_map(|kind| kind.events);
        of_aggregates.chain(domain::saga::Event::TYPES).any(|(known, _)| *known == name)
    };
    match types.iter().find(|name| !known(name)) {
        Some(name) => {
            format!("no event is like that: this release knows no event type `{name}` (a name such as OrderPlaced)")
        }
        None => "no event is like that".to_owned(),
    }
}

fn print(found: &[RecordedEvent], more: bool, json: bool) -> anyhow::Result<()> {
    if json {
        return output::list(found, more);
    }
    if found.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[">position", "at", "type", "stream", ">version", "by", "data"]);
    for event in found {
        let data = event.data.get();
        let cut = data.char_indices().nth(SHOWN).map_or(data.to_owned(), |(at, _)| format!("{}…", &data[..at]));
        table.row(
            Tone::Plain,
            [
                event.position.to_string(),
                event.metadata.occurred_at.format("%F %T%.3fZ").to_string(),
                event.event_type.to_string(),
                event.stream.to_string(),
                event.version.to_string(),
                event.metadata.actor.clone(),
                cut,
            ],
        );
    }
    table.print();
    Ok(())
}

/// A moment, a day (its begin), or a time span before now.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let whole = text.parse::<DateTime<Utc>>().ok();
    let day = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    let ago = || Clock::system().now().checked_sub_signed(span(text)?);
    whole.or_else(day).or_else(ago).ok_or_else(|| {
        "a moment such as 2026-11-21T10:00:00Z, a day, or a time span such as 90s, 5m, 2h or 1d".to_owned()
    })
}

/// The same where a range ends: a day is included to its end.
fn last_moment(text: &str) -> Result<DateTime<Utc>, String> {
    let moment = moment(text)?;
    match text.parse::<NaiveDate>() {
        Ok(_) => Ok(moment + chrono::Duration::days(1) - chrono::Duration::microseconds(1)),
        Err(_) => Ok(moment),
    }
}

fn span(text: &str) -> Option<chrono::Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    chrono::Duration::try_seconds(number.parse::<i64>().ok()?.checked_mul(seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_a_span_before_now() {
        assert_eq!(moment("2026-11-21"), moment("2026-11-21T00:00:00Z"));
        assert_eq!(last_moment("2026-11-21"), moment("2026-11-21T23:59:59.999999Z"));
        assert_eq!(last_moment("2026-11-21T10:00:00Z"), moment("2026-11-21T10:00:00Z"));
        let two_hours = Clock::system().now() - moment("2h").unwrap();
        assert!((7_199..7_300).contains(&two_hours.num_seconds()), "{two_hours}");
        for wrong in ["2", "h", "2w", "-2h", "yesterday", "99999999999999999999h", "9223372036854775807d"] {
            moment(wrong).unwrap_err();
        }
    }
}
