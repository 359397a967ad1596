//! `backstitch stream replay`: the domain's own fold over the events of a stream, up to a version, a position or a
//! moment. The changes of each event are shown field by field, so that a wrong state can be traced to the event it came
//! from.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{Aggregate, DecodeError};
use event_store::RecordedEvent;
use serde_json::{Value, json};
use terminal::output::{self, Tone};
use terminal::{Exit, Failure};

use super::all_events;
use crate::cli::server::client::{Client, Target};

/// Where to stop.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Until {
    /// Stop after this version of the stream.
    #[arg(long, value_name = "N")]
    to_version: Option<u64>,
    /// Stop after this position of the log.
    #[arg(long, value_name = "N")]
    to_position: Option<u64>,
    /// Stop after this moment, such as 2026-11-21T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    at: Option<DateTime<Utc>>,
}

impl Until {
    fn admits(&self, event: &RecordedEvent) -> bool {
        self.to_version.is_none_or(|version| event.version <= version)
            && self.to_position.is_none_or(|position| event.position.0 <= position)
            && self.at.is_none_or(|at| event.metadata.occurred_at <= at)
    }
}

/// Folds a stream and shows the state after each event.
pub(crate) async fn run(target: &Target, name: &str, until: &Until) -> anyhow::Result<Exit> {
    let mut events = all_events(&Client::new(target)?, name).await?;
    if events.is_empty() {
        return Err(Failure::no(format!("there is no stream `{name}`"), "backstitch stream list"));
    }
    events.retain(|event| until.admits(event));
    let states = fold(name, &events)?;
    let mut before = Value::Null;
    for (event, state) in events.iter().zip(states) {
        if target.json {
            let (version, position, at) = (event.version, event.position, event.metadata.occurred_at);
            let event_type = &event.event_type;
            output::json(
                &json!({ "version": version, "position": position, "occurred_at": at, "type": event_type, "state": state }),
            )?;
        } else {
            show(event, &before, &state);
        }
        before = state;
    }
    if !target.json {
        output::line("");
        output::toned(Tone::Heading, format_args!("{name} after {} events", events.len()));
        output::json_text(&serde_json::to_string_pretty(&before)?);
    }
    Ok(Exit::Done)
}

fn show(event: &RecordedEvent, before: &Value, after: &Value) {
    let at = event.metadata.occurred_at.format("%F %T%.3fZ");
    let heading = format!("#{} {}", event.version, event.event_type);
    let who = format!("  {at}  position {}  by {}", event.position, event.metadata.actor);
    output::parts(&[(Tone::Heading, heading), (Tone::Faint, who)]);
    for (tone, text) in changes(before, after) {
        output::toned(tone, format_args!("  {text}"));
    }
}

/// The state after each event.
fn fold(name: &str, events: &[RecordedEvent]) -> anyhow::Result<Vec<Value>> {
    let category = name.split('-').next().unwrap_or_default();
    match category {
        domain::order::Order::CATEGORY => states::<domain::order::Order>(events),
        domain::payment::Payment::CATEGORY => states::<domain::payment::Payment>(events),
        domain::stock::StockItem::CATEGORY => states::<domain::stock::StockItem>(events),
        domain::shipment::Shipment::CATEGORY => states::<domain::shipment::Shipment>(events),
        domain::product::Product::CATEGORY => states::<domain::product::Product>(events),
        _ if category.starts_with("saga_") => saga_states(events),
        _ => Err(Failure::no(
            format!("nothing here folds streams of the category `{category}`"),
            format!("backstitch stream read {name}"),
        )),
    }
}

fn states<A: Aggregate>(events: &[RecordedEvent]) -> anyhow::Result<Vec<Value>> {
    let mut state = A::default();
    let mut states = Vec::with_capacity(events.len());
    for recorded in events {
        let event = A::decode(&recorded.event_type, recorded.schema_version, recorded.data.get()).map_err(newer)?;
        state.evolve(&event);
        states.push(serde_json::to_value(&state)?);
    }
    Ok(states)
}

fn saga_states(events: &[RecordedEvent]) -> anyhow::Result<Vec<Value>> {
    let mut view = domain::saga::View::default();
    let mut states = Vec::with_capacity(events.len());
    for recorded in events {
        let event = domain::saga::Event::decode(&recorded.event_type, recorded.schema_version, recorded.data.get())
            .map_err(newer)?;
        view.fold(&event, recorded.metadata.occurred_at);
        let mut state = serde_json::to_value(&view)?;
        state["state"] = view.state().as_str().into(); // Derived, and what people look for first.
        states.push(state);
    }
    Ok(states)
}

fn newer(error: DecodeError) -> anyhow::Error {
    Failure::no_answer(error, "backstitch --version   # older than the server?")
}

/// What differs between two states, field by field: `+` new, `-` gone, `~` changed.
fn changes(before: &Value, after: &Value) -> Vec<(Tone, String)> {
    let (old, new) = (leaves(before), leaves(after));
    let mut lines: Vec<(&String, Tone, String)> = Vec::new();
    for (path, value) in &new {
        match old.get(path) {
            None => lines.push((path, Tone::Good, format!("+ {path}: {value}"))),
            Some(was) if was != value => lines.push((path, Tone::Warn, format!("~ {path}: {was} → {value}"))),
            Some(_) => {}
        }
    }
    for (path, value) in old.iter().filter(|(path, _)| !new.contains_key(*path)) {
        lines.push((path, Tone::Bad, format!("- {path}: {value}")));
    }
    lines.sort_by(|a, b| a.0.cmp(b.0));
    lines.into_iter().map(|(_, tone, text)| (tone, text)).collect()
}

/// The scalar fields of a value by their path. What is empty has no leaf.
fn leaves(value: &Value) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(&below(key), value, into)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, value)| walk(&below(&i.to_string()), value, into))
            }
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) => _ = into.insert(path.to_owned(), value.to_string()),
        }
    }
    let mut into = BTreeMap::new();
    walk("", value, &mut into);
    into
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_state_is_told_field_by_field() {
        let before = json!({ "status": "pending", "reserved": { "r1": 2 }, "note": null });
        let after = json!({ "status": "confirmed", "reserved": {}, "note": "x" });
        let told: Vec<String> = changes(&before, &after).into_iter().map(|(_, text)| text).collect();
        assert_eq!(told, ["+ note: \"x\"", "- reserved.r1: 2", "~ status: \"pending\" → \"confirmed\""]);
    }
}
