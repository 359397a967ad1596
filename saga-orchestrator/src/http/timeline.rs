//! The timeline of a saga, event by event: its steps and their compensation.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::saga::{Direction, Event, Failure, IssuedCommand, Note};
use saga_engine::story::Party as _;
use serde::{Deserialize, Serialize};
use service_kit::api::{LogPosition, SagaState, SagaWay};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Loaded;

/// A saga's events, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaTimeline)]
pub struct Timeline {
    /// The id of the saga.
    pub id: String,
    /// The state of the saga.
    #[schema(value_type = SagaState)]
    pub state: String,
    /// The events of the saga, oldest first.
    pub items: Vec<Entry>,
}

/// An event in the timeline of a saga.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaTimelineEntry)]
pub struct Entry {
    /// The number of the event in the saga's stream, from 0.
    pub version: u64,
    /// The event's position in the log.
    #[schema(value_type = LogPosition)]
    pub position: u64,
    /// The type of the event.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When the event happened.
    pub at: DateTime<Utc>,
    /// Milliseconds since the previous event of the saga.
    pub after_ms: i64,
    /// Where the event ends a step or its compensation: milliseconds since that began.
    pub took_ms: Option<i64>,
    /// The way of the saga at this event: `back` once its compensation has begun.
    #[schema(value_type = SagaWay)]
    pub direction: String,
    /// The step that it is about.
    pub step: Option<String>,
    /// The event or command that caused it.
    pub causation_id: Uuid,
    /// The fact from outside that caused it, as `<stream> <version> <type>`.
    pub cause: Option<String>,
    /// What happened, in words.
    pub summary: String,
}

pub(super) fn timeline(loaded: &Loaded) -> Timeline {
    let mut items = Vec::with_capacity(loaded.events.len());
    let mut began: HashMap<(String, u32, Direction), DateTime<Utc>> = HashMap::new();
    let (mut before, mut back) = (None, false);
    for (recorded, event) in &loaded.events {
        let at = recorded.metadata.occurred_at;
        let about = event.as_ref().and_then(about);
        let mut took_ms = None;
        if let (Some(event), Some(about)) = (event, &about) {
            match event {
                Event::StepStarted(_) | Event::UndoStarted(_) => {
                    began.entry(about.clone()).or_insert(at);
                }
                Event::StepSucceeded(_) | Event::StepFailed(_) | Event::UndoSucceeded(_) => {
                    took_ms = began.get(about).map(|began| (at - *began).num_milliseconds().max(0));
                }
                Event::SagaStarted(_)
                | Event::SagaInputRecorded(_)
                | Event::CommandAnswered(_)
                | Event::StepRetryScheduled(_)
                | Event::StepRenewed(_)
                | Event::CompensationStarted(_)
                | Event::SagaCompleted(_)
                | Event::SagaCompensated(_)
                | Event::SagaHandedOver(_)
                | Event::SagaNeedsAttention(_)
                | Event::OperatorActed(_) => {}
            }
        }
        back |= matches!(event, Some(Event::CompensationStarted(_)));
        let undo = about.as_ref().is_some_and(|(_, _, direction)| *direction == Direction::Undo);
        let source = event.as_ref().and_then(saga_engine::engine::state::source_of);
        items.push(Entry {
            version: recorded.version,
            position: recorded.position.0,
            event_type: recorded.event_type.to_string(),
            at,
            after_ms: before.map_or(0, |before: DateTime<Utc>| (at - before).num_milliseconds().max(0)),
            took_ms,
            direction: if back || undo { "back" } else { "forward" }.to_owned(),
            step: about.map(|(step, _, _)| step),
            causation_id: recorded.metadata.causation_id,
            cause: source.map(|source| format!("{} {} {}", source.stream, source.version, source.event)),
            summary: event.as_ref().map_or_else(|| "written by a newer program".to_owned(), summary),
        });
        before = Some(at);
    }
    Timeline { id: loaded.id.clone(), state: loaded.view.state().as_str().to_owned(), items }
}

/// The step, its attempt group and the way that an event is about.
fn about(event: &Event) -> Option<(String, u32, Direction)> {
    match event {
        Event::StepStarted(e) => Some((e.step.clone(), e.group, Direction::Do)),
        Event::StepSucceeded(e) => Some((e.step.clone(), e.group, Direction::Do)),
        Event::StepFailed(e) => Some((e.step.clone(), e.group, Direction::Do)),
        Event::CommandAnswered(e) => Some((e.step.clone(), e.group, e.direction)),
        Event::StepRetryScheduled(e) => Some((e.step.clone(), e.group, e.direction)),
        Event::StepRenewed(e) => Some((e.step.clone(), e.group, Direction::Renew)),
        Event::UndoStarted(e) => Some((e.step.clone(), e.group, Direction::Undo)),
        Event::UndoSucceeded(e) => Some((e.step.clone(), e.group, Direction::Undo)),
        Event::SagaNeedsAttention(e) => Some((e.step.clone(), e.group, e.direction)),
        Event::OperatorActed(e) => Some((e.step.clone()?, e.group.unwrap_or(0), e.direction.unwrap_or(Direction::Do))),
        Event::SagaInputRecorded(e) => e.about.as_ref().map(|about| (about.step.clone(), about.group, Direction::Do)),
        Event::SagaStarted(_)
        | Event::CompensationStarted(_)
        | Event::SagaCompleted(_)
        | Event::SagaCompensated(_)
        | Event::SagaHandedOver(_) => None,
    }
}

fn sent(commands: &[IssuedCommand]) -> String {
    let one = |command: &IssuedCommand| format!("{} to {}", command.name, command.target);
    if commands.is_empty() {
        "sends nothing".to_owned()
    } else {
        commands.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn awaited(awaits: Option<&domain::saga::Awaits>) -> String {
    awaits.map_or_else(String::new, |awaits| format!("; then waits for {} from {}", awaits.fact, awaits.from.as_str()))
}

fn why(failure: &Failure) -> String {
    format!("{} ({failure})", failure.kind.as_str())
}

fn note(note: Note) -> &'static str {
    match note {
        Note::CancellationRequested => "the customer wants to cancel",
        Note::Held => "the order is held",
        Note::HoldReleased => "the order is no longer held",
        Note::CustomerMustAct => "the customer must confirm the payment first",
        Note::OutcomeUnknown => "the provider has not answered for too long",
        Note::NothingLeft => "nothing is left of what the step did",
        Note::CameEarly => "what the step will wait for is there already",
        Note::UndoFailed => "undoing it did not work this time",
    }
}

/// What an event says, in words.
fn summary(event: &Event) -> String {
    match event {
        Event::SagaStarted(e) => format!("follows {} version {}", e.saga, e.definition_version),
        Event::SagaInputRecorded(e) => match &e.detail {
            Some(detail) => format!("{}: {detail}", note(e.note)),
            None => note(e.note).to_owned(),
        },
        Event::StepStarted(e) => format!("{}{}", sent(&e.commands), awaited(e.awaits.as_ref())),
        Event::CommandAnswered(e) => {
            let refused: Vec<_> = e.answers.iter().filter_map(|answer| answer.rejected.as_ref()).collect();
            match refused.first() {
                Some(failure) => why(failure),
                None => format!("{} done", e.answers.len()),
            }
        }
        Event::StepRetryScheduled(e) => format!("attempt {} at {}: {}", e.attempt + 1, e.next_at, why(&e.failure)),
        Event::StepRenewed(e) => format!("round {}: {}", e.round, sent(&e.commands)),
        Event::StepSucceeded(e) => match e.lapses_at {
            Some(lapses_at) => format!("done; lapses at {lapses_at}"),
            None => "done".to_owned(),
        },
        Event::StepFailed(e) => why(&e.failure),
        Event::CompensationStarted(e) => {
            let steps: Vec<_> = e.steps.iter().map(|step| step.step.as_str()).collect();
            format!("{}: undoes {}", e.reason, steps.join(", "))
        }
        Event::UndoStarted(e) => format!("{}{}", sent(&e.commands), awaited(e.awaits.as_ref())),
        Event::UndoSucceeded(_) => "undone".to_owned(),
        Event::SagaCompleted(_) => "all done".to_owned(),
        Event::SagaCompensated(e) => format!("all undone: {}", e.reason),
        Event::SagaHandedOver(e) => format!("to {}: {}", e.to, e.reason),
        Event::SagaNeedsAttention(e) if e.stuck => format!("stands still: {}", why(&e.failure)),
        Event::SagaNeedsAttention(e) => format!("goes on meanwhile: {}", why(&e.failure)),
        Event::OperatorActed(e) => format!("{} by {}: {}", e.action.as_str(), e.actor, e.reason),
    }
}
