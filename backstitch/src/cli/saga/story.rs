//! How one saga is told: how it stands, what it waits for, and what has happened to it.

use chrono::{DateTime, Duration, Utc};
use serde::Deserialize;
use terminal::output::{self, Table, Tone};

use super::tone;

/// A saga as `GET /v1/sagas/{id}` tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Saga {
    id: String,
    definition_version: u32,
    state: String,
    reason: Option<String>,
    handed_over_to: Option<String>,
    waits_for: Vec<String>,
    last_error: Option<Trouble>,
    deadline: Option<DateTime<Utc>>,
    next_attempt: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    changed_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    steps: Vec<Step>,
    compensations: Vec<Compensation>,
}

#[derive(Debug, Deserialize)]
struct Trouble {
    code: String,
    detail: String,
}

impl Trouble {
    fn told(&self) -> String {
        if self.detail.is_empty() { self.code.clone() } else { format!("{}: {}", self.code, self.detail) }
    }
}

#[derive(Debug, Deserialize)]
struct Step {
    step: String,
    group: u32,
    direction: String,
    status: String,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    attempts: u32,
    open_commands: Vec<String>,
    awaits: Option<String>,
    last_error: Option<Trouble>,
}

#[derive(Debug, Deserialize)]
struct Compensation {
    step: String,
    group: u32,
    status: String,
}

/// What `GET /v1/sagas/{id}/why` tells.
#[derive(Debug, Deserialize)]
pub(super) struct Why {
    id: String,
    state: String,
    summary: String,
    waits: Vec<Wait>,
    can_do: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Wait {
    step: String,
    direction: String,
    waits_for: String,
    from: String,
    since: DateTime<Utc>,
    for_s: i64,
    attempts: u32,
    last_error: Option<Trouble>,
    next_attempt: Option<DateTime<Utc>>,
    deadline: Option<DateTime<Utc>>,
    stuck: bool,
}

/// What `GET /v1/sagas/{id}/timeline` tells.
#[derive(Debug, Deserialize)]
pub(super) struct Timeline {
    id: String,
    state: String,
    items: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    version: u64,
    #[serde(rename = "type")]
    event_type: String,
    at: DateTime<Utc>,
    after_ms: i64,
    took_ms: Option<i64>,
    direction: String,
    step: Option<String>,
    cause: Option<String>,
    summary: String,
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%F %T%.3fZ").to_string()
}

/// A name and its value, if there is one.
fn fact(name: &str, value: Option<String>) {
    if let Some(value) = value {
        output::line(format_args!("  {name:<13} {value}"));
    }
}

fn heading(id: &str, state: &str) {
    let (id, state) = ((Tone::Heading, id.to_owned()), (tone(state), state.to_owned()));
    output::parts(&[id, (Tone::Plain, "  ".to_owned()), state]);
}

/// `order_fulfilment` forward, or its undoing.
fn leg(step: &str, group: u32, direction: &str) -> String {
    let again = if group > 0 { format!(" (attempt group {group})") } else { String::new() };
    match direction {
        "undo" => format!("undo {step}{again}"),
        "renew" => format!("renew {step}{again}"),
        _ => format!("{step}{again}"),
    }
}

fn step_tone(status: &str) -> Tone {
    match status {
        "failed" | "stuck" => Tone::Bad,
        "open" => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// Prints how a saga stands.
pub(super) fn show(saga: Saga) {
    heading(&saga.id, &saga.state);
    fact("definition", Some(format!("version {}", saga.definition_version)));
    fact("started", saga.started_at.map(moment));
    fact("last change", saga.changed_at.map(moment));
    fact("ended", saga.ended_at.map(moment));
    fact("reason", saga.reason);
    fact("goes on in", saga.handed_over_to);
    fact("waits for", Some(saga.waits_for.join("; ")).filter(|what| !what.is_empty()));
    fact("last error", saga.last_error.map(|trouble| trouble.told()));
    fact("next attempt", saga.next_attempt.map(moment));
    fact("next deadline", saga.deadline.map(moment));
    output::line("");
    let mut table = Table::new(&["step", "*status", "began", ">took", ">tries", "waits for / last error"]);
    for step in &saga.steps {
        let took = step.ended_at.map(|end| output::duration(end - step.started_at)).unwrap_or_default();
        let open = (!step.open_commands.is_empty()).then(|| format!("the answer to {}", step.open_commands.join(", ")));
        let waits = open.or_else(|| step.awaits.clone()).filter(|_| step.status == "open");
        let why = waits.or_else(|| step.last_error.as_ref().map(Trouble::told)).unwrap_or_default();
        table.row(
            step_tone(&step.status),
            [
                leg(&step.step, step.group, &step.direction),
                step.status.clone(),
                moment(step.started_at),
                took,
                step.attempts.to_string(),
                why,
            ],
        );
    }
    for step in saga.compensations.iter().filter(|step| step.status == "to_come") {
        let to_come = [leg(&step.step, step.group, "undo"), "to come".to_owned()];
        table.row(Tone::Faint, to_come.into_iter().chain(std::iter::repeat_n(String::new(), 4)));
    }
    table.print();
}

/// Prints what a saga waits for and what can be done.
pub(super) fn why(why: Why) {
    heading(&why.id, &why.state);
    output::line(format_args!("  {}", why.summary));
    for wait in &why.waits {
        output::line("");
        let what = leg(&wait.step, 0, &wait.direction);
        output::toned(
            if wait.stuck { Tone::Bad } else { Tone::Warn },
            format_args!("{what} waits for {}", wait.waits_for),
        );
        fact("from", Some(wait.from.clone()));
        let since = format!("{}, for {}", moment(wait.since), output::duration(Duration::seconds(wait.for_s)));
        fact("since", Some(since));
        fact("tries", Some(wait.attempts.to_string()));
        fact("last error", wait.last_error.as_ref().map(Trouble::told));
        fact("next attempt", wait.next_attempt.map(moment));
        fact("deadline", wait.deadline.map(moment));
        fact("stands still", wait.stuck.then(|| "until a person acts".to_owned()));
    }
    if !why.can_do.is_empty() {
        output::line("\nwhat can be done:");
        why.can_do.iter().for_each(|way| output::line(format_args!("  - {way}")));
    }
}

/// Prints what has happened to a saga, an arrow for the way.
pub(super) fn timeline(timeline: Timeline) {
    heading(&timeline.id, &timeline.state);
    let mut table = Table::new(&[">#", "at", ">after", "way", "*event", "step", ">took", "what", "because of"]);
    for entry in &timeline.items {
        let way = if entry.direction == "back" { "←" } else { "→" };
        let tone = match (entry.event_type.as_str(), way) {
            ("StepFailed" | "SagaNeedsAttention", _) => Tone::Bad,
            (_, "←") => Tone::Warn,
            _ => Tone::Plain,
        };
        table.row(
            tone,
            [
                entry.version.to_string(),
                entry.at.format("%T%.3f").to_string(),
                output::duration(Duration::milliseconds(entry.after_ms)),
                way.to_owned(),
                entry.event_type.clone(),
                entry.step.clone().unwrap_or_default(),
                entry.took_ms.map(|ms| output::duration(Duration::milliseconds(ms))).unwrap_or_default(),
                entry.summary.clone(),
                entry.cause.clone().unwrap_or_default(),
            ],
        );
    }
    table.print();
}
