//! What `backstitch projection` lets a server do, and how it is followed until it is done.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use terminal::output::{self, Table, Tone};
use terminal::progress::{bar, show};
use terminal::{Exit, Failure};

use crate::cli::server::acting::{Acting, fresh_key};
use crate::cli::server::client::{Client, Target};

/// Between two looks at how far it is: often enough for a bar that moves.
const LOOK: Duration = Duration::from_millis(200);
/// The longest value of a cell that is shown, in characters: a line stays a line.
const CELL: usize = 60;

/// A generation, as the server shows it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Generation {
    pub generation: i64,
    pub state: String,
    schema: String,
    pub position: u64,
    pub target: u64,
    comparison: Option<Comparison>,
    row_counts: Option<BTreeMap<String, i64>>,
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Comparison {
    position: u64,
    differences: i64,
    tables: Vec<Counts>,
    first: Vec<Difference>,
}

#[derive(Debug, Clone, Deserialize)]
struct Counts {
    table: String,
    live: i64,
    rebuilt: i64,
    differing: i64,
    missing: i64,
    extra: i64,
}

#[derive(Debug, Clone, Deserialize)]
struct Difference {
    table: String,
    key: Value,
    column: Option<String>,
    live: Option<Value>,
    rebuilt: Option<Value>,
}

/// The generations in an answer about one projection; none while they are not known.
pub(super) fn generations(one: &Value) -> Vec<Generation> {
    serde_json::from_value(one["generations"].clone()).unwrap_or_default()
}

/// Rebuilds, and follows it until answers come from the new generation, or it differs.
pub(super) async fn rebuild(target: &Target, name: &str, accept: bool, acting: &Acting) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    let body = json!({ "accept_differences": accept, "actor": acting.actor, "reason": acting.reason });
    let asked = client.post(&format!("/v1/projections/{name}/rebuild"), &fresh_key(), &body).await?;
    let rebuilt = |found: &Generation| matches!(&*found.state, "building" | "ready" | "differs");
    // One that was so small that it is done already is the live one.
    let all = generations(&asked);
    let begun = all.iter().find(|found| rebuilt(found)).or_else(|| all.iter().find(|found| found.state == "live"));
    let Some(number) = begun.map(|found| found.generation) else {
        return Err(Failure::no_answer("the server does not say what it rebuilds", "backstitch projection list"));
    };
    let (answer, found) = follow(&client, name, number, &["live", "differs"]).await?;
    let Some(found) = found else {
        return Err(Failure::no(format!("generation {number} of `{name}` was retired"), "backstitch projection list"));
    };
    let exit = if found.state == "live" { Exit::Done } else { Exit::No };
    if target.json {
        output::json(&answer)?;
        return Ok(exit);
    }
    let compared = found.comparison.as_ref();
    if let Some(compared) = compared.filter(|compared| compared.differences > 0) {
        tell(compared);
    }
    if exit == Exit::No {
        let n = compared.map_or(0, |compared| compared.differences);
        return Err(Failure::no(
            format!("{} of generation {number} of `{name}` differ from the live one; nothing was switched", rows(n)),
            format!(
                "backstitch projection rebuild {name} --accept-differences   # or: projection retire {name} \
                 --generation {number}"
            ),
        ));
    }
    let (all, position) = compared
        .map_or((0, 0), |compared| (compared.tables.iter().map(|counts| counts.rebuilt).sum(), compared.position));
    output::toned(
        Tone::Good,
        format_args!("`{name}` answers from generation {number}: {} compared at position {position}", rows(all)),
    );
    Ok(exit)
}

/// Goes back to the generation before.
pub(super) async fn roll_back(target: &Target, name: &str, acting: &Acting) -> anyhow::Result<Exit> {
    let body = json!({ "actor": acting.actor, "reason": acting.reason });
    let path = format!("/v1/projections/{name}/rollback");
    let answer = Client::new(target)?.post(&path, &fresh_key(), &body).await?;
    if target.json {
        output::json(&answer)?;
    } else {
        let (number, position) = (&answer["generation"], &answer["position"]);
        output::toned(
            Tone::Good,
            format_args!("`{name}` answers from generation {number} again, at position {position}"),
        );
    }
    Ok(Exit::Done)
}

/// Drops a generation, and waits until it is gone.
pub(super) async fn retire(
    target: &Target,
    name: &str,
    generation: Option<i64>,
    acting: &Acting,
) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    let body = json!({ "generation": generation, "actor": acting.actor, "reason": acting.reason });
    let asked = client.post(&format!("/v1/projections/{name}/retire"), &fresh_key(), &body).await?;
    let all = generations(&asked);
    let retiring = all.iter().find(|found| found.state == "retiring").map(|found| found.generation);
    let mut answer = asked;
    if let Some(number) = retiring.or(generation) {
        answer = follow(&client, name, number, &[]).await?.0;
    }
    match target.json {
        true => output::json(&answer)?,
        false => {
            output::toned(Tone::Good, format_args!("its tables are gone; the live ones of `{name}` are untouched"))
        }
    }
    Ok(Exit::Done)
}

/// Folds up to a position, and says what is there and how to look at it.
pub(super) async fn replay(
    target: &Target,
    name: &str,
    to_position: Option<u64>,
    at: Option<DateTime<Utc>>,
    acting: &Acting,
) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    let body = json!({ "to_position": to_position, "at": at, "actor": acting.actor, "reason": acting.reason });
    let asked = client.post(&format!("/v1/projections/{name}/replay"), &fresh_key(), &body).await?;
    let newest = generations(&asked).into_iter().filter(|found| found.state.starts_with("replay"));
    let Some(number) = newest.map(|found| found.generation).max() else {
        return Err(Failure::no_answer("the server does not say what it replays", "backstitch projection list"));
    };
    let (answer, found) = follow(&client, name, number, &["replayed"]).await?;
    let Some(found) = found else {
        return Err(Failure::no(format!("replay {number} of `{name}` was dropped"), "backstitch projection list"));
    };
    if target.json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["table", ">rows"]);
    for (name, rows) in found.row_counts.unwrap_or_default() {
        table.row(Tone::Plain, [format!("{}.{name}", found.schema), rows.to_string()]);
    }
    table.print();
    output::line(format_args!("\n`{name}` as it was at position {}. To look and to drop:", found.target));
    output::line(format_args!(
        "  psql \"$DATABASE_URL\" -c 'select * from {}.{} limit 10'",
        found.schema,
        name_of(name)
    ));
    output::line(format_args!("  backstitch projection retire {name} --generation {number}"));
    Ok(Exit::Done)
}

/// The table that most is looked for in; it is named as its projection, except where there are several.
fn name_of(projection: &str) -> &str {
    if projection == "stock" { "stock_levels" } else { projection }
}

/// Looks until a generation is in one of these states, or gone: the last answer, and the generation in it.
async fn follow(
    client: &Client,
    name: &str,
    number: i64,
    ends: &[&str],
) -> anyhow::Result<(Value, Option<Generation>)> {
    let bar = bar(name.to_owned());
    let mut told = None;
    loop {
        let answer = client.get(&format!("/v1/projections/{name}"), &[]).await?;
        let found = generations(&answer).into_iter().find(|found| found.generation == number);
        let Some(now) = &found else {
            bar.finish_and_clear();
            return Ok((answer, None));
        };
        if ends.contains(&&*now.state) {
            bar.finish_and_clear();
            return Ok((answer, found));
        }
        show(&bar, now.position.min(now.target), now.target);
        bar.set_message(format!("{name} {number}: {}", now.state));
        if now.last_error.is_some() && told != now.last_error {
            told.clone_from(&now.last_error);
            bar.suspend(|| {
                output::note(format_args!(
                    "{name} {number}: {}; it is tried again",
                    told.as_deref().unwrap_or_default()
                ))
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn rows(count: i64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// The differences: how many in which table, and the first of them, cell by cell.
fn tell(found: &Comparison) {
    let mut counts = Table::new(&["table", ">live", ">rebuilt", ">differing", ">missing", ">extra"]);
    for table in &found.tables {
        let tone = if table.differing + table.missing + table.extra > 0 { Tone::Bad } else { Tone::Plain };
        let numbers = [table.live, table.rebuilt, table.differing, table.missing, table.extra];
        counts.row(tone, std::iter::once(table.table.clone()).chain(numbers.map(|number| number.to_string())));
    }
    counts.print();
    output::line("");
    let mut cells = Table::new(&["table", "key", "column", "live", "rebuilt"]);
    for cell in &found.first {
        let column = cell.column.clone().unwrap_or_else(|| "(row)".to_owned());
        let value = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), short);
        let key: Vec<String> = cell.key.as_object().into_iter().flatten().map(|(_, part)| short(part)).collect();
        cells.row(Tone::Plain, [cell.table.clone(), key.join(" "), column, value(&cell.live), value(&cell.rebuilt)]);
    }
    cells.print();
    output::line("");
}

/// A value in at most [`CELL`] characters.
fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
