//! The verbs over a set of sagas: found by what they have in common, shown by what stands against them, then done one by
//! one at a rate. Interrupted, it is begun again: what is done is not in the set any more, or its key says that it is done.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::json;
use service_kit::Problem;
use terminal::output::{self, Table, Tone};
use terminal::{Exit, Failure};

use super::act::{Act, Acted};
use crate::cli::server::acting::Acting;
use crate::cli::server::client::{Client, PAGE};

/// The words by which sagas are found, as `GET /v1/sagas` knows them.
const WORDS: &[&str] =
    &["state", "type", "step", "direction", "error_kind", "error_code", "definition_version", "stuck_for"];
/// The most sagas of one set: a page of refusals that a person can still read, some minutes at the usual rate.
const MOST: usize = 5_000;

/// What sagas have in common: `state=needs_attention,step=refund`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Where(Vec<(&'static str, String)>);

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (word, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not written WORD=VALUE"))?;
            let known = WORDS.iter().find(|known| **known == word.trim());
            let word = known.ok_or_else(|| format!("there is no `{word}`; there are {}", WORDS.join(", ")))?;
            if found.iter().any(|(earlier, _)| earlier == word) {
                return Err(format!("`{word}` is given more than once"));
            }
            found.push((*word, value.trim().to_owned()));
        }
        // All sagas there are is never what was meant.
        if found.is_empty() { Err(format!("say which: {}", WORDS.join(", "))) } else { Ok(Self(found)) }
    }
}

/// Reads `5/s`, `0.5/s` or `5`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim_end_matches("/s").parse().ok();
    number
        .filter(|rate| (0.01..=1_000.0).contains(rate))
        .ok_or_else(|| "it is 0.01/s to 1000/s, such as 5/s".to_owned())
}

/// How many, how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub limit: usize,
    pub rate: f64,
}

/// A saga of the set, as the list tells it.
#[derive(Debug, Clone, Deserialize)]
struct Line {
    id: String,
    step: Option<String>,
    direction: Option<String>,
    error_kind: Option<String>,
    error_code: Option<String>,
    definition_version: i32,
    version: u64,
}

impl Line {
    /// What stands against it, as one line of the table of causes.
    fn cause(&self) -> [String; 3] {
        let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
        let step = if self.direction.as_deref() == Some("undo") {
            format!("undo {}", word(&self.step))
        } else {
            word(&self.step)
        };
        let error = match &self.error_code {
            Some(code) => format!("{} {code}", word(&self.error_kind)),
            None => word(&self.error_kind),
        };
        [step, error, self.definition_version.to_string()]
    }
}

/// What became of one.
#[derive(Debug, Clone, Serialize)]
struct Outcome {
    saga: String,
    /// `done`, `refused`, `moved on`.
    result: &'static str,
    detail: String,
}

/// Shows the set by cause, asks, and does it; without anybody who acts it only shows it.
pub(super) async fn run(
    act: &Act<'_>,
    filter: &Where,
    pace: Pace,
    acting: Option<&Acting>,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let lines = find(act.client, filter, pace.limit.clamp(1, MOST)).await?;
    if lines.is_empty() {
        output::note(format_args!("no saga is like that"));
        return Ok(Exit::Done);
    }
    let would = look(act, &lines).await?;
    let table = causes(act.action, &lines, &would);
    if as_json {
        table.plain().iter().for_each(output::note)
    } else {
        table.print()
    }
    let ready = would.iter().filter(|answer| answer.is_ok()).count();
    let Some(acting) = acting else { return Ok(Exit::Done) };
    let refused = would.iter().any(|answer| matches!(answer, Err(("refused", _))));
    if ready == 0 && refused {
        return Err(Failure::no(
            format!("nothing was done: {} would be refused", act.action),
            format!("backstitch saga why {}", lines[0].id),
        ));
    }
    if ready > 0
        && !acting.sure(&format!("\n{} {ready} of {} sagas, {} a second?", act.action, lines.len(), pace.rate))?
    {
        output::note(format_args!("nothing was done"));
        return Ok(Exit::No);
    }
    let mut outcomes = Vec::with_capacity(lines.len());
    let ended = carry_out(act, &lines, would, pace.rate, &mut outcomes).await;
    report(&outcomes, as_json)?;
    ended?;
    let refused = outcomes.iter().any(|outcome| outcome.result == "refused");
    Ok(if refused { Exit::No } else { Exit::Done })
}

async fn find(client: &Client, filter: &Where, limit: usize) -> anyhow::Result<Vec<Line>> {
    #[derive(Deserialize)]
    struct Listed {
        items: Vec<Line>,
        next: Option<String>,
    }
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let mut query = filter.0.clone();
        query.push(("limit", (limit - found.len()).min(PAGE).to_string()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Listed = client.get_as("/v1/sagas", &query).await?;
        found.extend(page.items);
        match page.next {
            Some(next) if found.len() < limit => cursor = Some(next),
            Some(_) | None => return Ok(found),
        }
    }
}

/// What it would do to one, or why it is left alone.
type Would = Result<Acted, (&'static str, String)>;

/// The list may be a moment behind: what has moved on since, or has ended, is not what was asked for.
async fn look(act: &Act<'_>, lines: &[Line]) -> anyhow::Result<Vec<Would>> {
    let bar = bar("looking", lines.len());
    let mut would = Vec::with_capacity(lines.len());
    for line in lines {
        would.push(act.dry_run(&line.id, Some(line.version)).await?.map_err(|problem| left_alone(&problem)));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(would)
}

/// The set by cause: how many, what it would do, how many would be refused and why.
fn causes(action: &str, lines: &[Line], would: &[Would]) -> Table {
    #[derive(Default)]
    struct Group {
        count: usize,
        does: Option<String>,
        refused: usize,
        why: Option<String>,
    }
    let mut groups: BTreeMap<[String; 3], Group> = BTreeMap::new();
    for (line, answer) in lines.iter().zip(would) {
        let group = groups.entry(line.cause()).or_default();
        group.count += 1;
        match answer {
            Ok(acted) => _ = group.does.get_or_insert_with(|| does(acted)),
            Err((result, why)) => {
                group.refused += usize::from(*result == "refused");
                group.why.get_or_insert_with(|| format!("{result}: {why}"));
            }
        }
    }
    let mut table =
        Table::new(&[">count", "step", "error", ">definition", &format!("{action} does"), ">refused", "why"]);
    for ([step, error, version], group) in groups {
        let tone = if group.refused > 0 { Tone::Warn } else { Tone::Plain };
        let (does, why) = (group.does.unwrap_or_default(), group.why.unwrap_or_default());
        table.row(tone, [group.count.to_string(), step, error, version, does, group.refused.to_string(), why]);
    }
    table
}

/// What an act does, without the names that differ from saga to saga.
fn does(acted: &Acted) -> String {
    let mut commands: Vec<&str> = acted.sends.iter().map(|sent| sent.command.as_str()).collect();
    commands.dedup();
    match commands.as_slice() {
        [] => format!("sends nothing; then {}", acted.state),
        commands => format!("sends {}; then {}", commands.join(", "), acted.state),
    }
}

/// Why a saga is left alone.
fn left_alone(problem: &Problem) -> (&'static str, String) {
    let result = if problem.slug() == "version-mismatch" { "moved on" } else { "refused" };
    (result, problem.detail.clone().unwrap_or_else(|| problem.title.clone()))
}

/// Does it one by one. What became of each is in `outcomes`, also where it ends early without an answer.
async fn carry_out(
    act: &Act<'_>,
    lines: &[Line],
    would: Vec<Would>,
    rate: f64,
    outcomes: &mut Vec<Outcome>,
) -> anyhow::Result<()> {
    let bar = bar(act.action, lines.len());
    let mut turn = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    for (line, answer) in lines.iter().zip(would) {
        let (result, detail) = match answer {
            Err(left_alone) => left_alone,
            Ok(acted) => {
                turn.tick().await;
                match act.at(&line.id, acted.version).await {
                    Ok(Ok(done)) => ("done", done["state"].as_str().unwrap_or_default().to_owned()),
                    Ok(Err(problem)) => left_alone(&problem),
                    Err(error) => {
                        bar.abandon();
                        return Err(error.context(format!("{} of {} were tried", outcomes.len(), lines.len())));
                    }
                }
            }
        };
        outcomes.push(Outcome { saga: line.id.clone(), result, detail });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn report(outcomes: &[Outcome], as_json: bool) -> anyhow::Result<()> {
    let count = |result: &str| outcomes.iter().filter(|outcome| outcome.result == result).count();
    let (done, refused, moved) = (count("done"), count("refused"), count("moved on"));
    if as_json {
        return output::json(&json!({ "done": done, "refused": refused, "moved_on": moved, "sagas": outcomes }));
    }
    output::line("");
    let mut table = Table::new(&["saga", "*result", "state then / why"]);
    for outcome in outcomes {
        let tone = match outcome.result {
            "done" => Tone::Good,
            "refused" => Tone::Bad,
            _ => Tone::Warn,
        };
        table.row(tone, [outcome.saga.clone(), outcome.result.to_owned(), outcome.detail.clone()]);
    }
    table.print();
    output::line(format_args!("\n{done} done, {refused} refused, {moved} had moved on meanwhile"));
    Ok(())
}

fn bar(what: &str, length: usize) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(Some(length as u64), target).with_message(what.to_owned());
    let style = ProgressStyle::with_template("{msg:<10} {wide_bar} {pos}/{len}, {eta} to go");
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_said_in_words_that_the_list_knows() {
        let read = |text: &str| text.parse::<Where>();
        let two = read("state=needs_attention, step=refund").unwrap();
        assert_eq!(two.0, [("state", "needs_attention".to_owned()), ("step", "refund".to_owned())]);
        for wrong in ["", "state", "sate=x", "state=a,state=b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_a_number_a_second() {
        assert_eq!((rate("5/s"), rate("0.5"), rate("1000/s")), (Ok(5.0), Ok(0.5), Ok(1000.0)));
        for wrong in ["0", "-1/s", "fast", "inf/s", "NaN", "5/m"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
