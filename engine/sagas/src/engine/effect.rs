//! The effect of an operator's action: derived from the events alone, so that a repeated request has the same answer.

use crate::events::Event;
use crate::parts::{Action, Direction};
use crate::story::Story as _;
use eventsourcing::Timestamp;

use super::operator::{Act, chosen};
use super::plan::{play_back, taken_over, undone};
use super::react::Draft;
use super::sent::{Sent, one_sent, sent};
use super::state::State;
use crate::process::{EventOf, Process, SettingsOf, StoryOf};

/// The effect of an operator's action.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// The effect in one sentence.
    pub summary: String,
    /// Name of the step that the action is about.
    pub step: Option<String>,
    /// Whether the action is about the step, its compensation or its renewal.
    pub direction: Option<Direction>,
    /// The commands that are sent. For a compensation or a handover, all that will be sent.
    pub sends: Vec<Sent>,
    /// The effects that cannot be undone.
    pub irreversible: Vec<String>,
}

/// Derives the effect from the events that follow from the action; `before` is the saga before it.
pub fn effect<P: Process>(
    before: &State<P>,
    events: &[EventOf<P>],
    now: Timestamp,
    config: &SettingsOf<P>,
) -> Option<Effect> {
    let (Some(Event::OperatorActed(acted)), Some(definition)) = (events.first(), before.definition) else {
        return None;
    };
    let mut draft = Draft::new(before.clone(), definition, now, config);
    events.iter().cloned().for_each(|event| draft.emit(event));
    let mut sends: Vec<Sent> = events.iter().flat_map(issued::<P>).collect();
    let mut notes = Vec::new();
    let summary = match acted.action {
        Action::Retry if sends.is_empty() => {
            let leg = before.leg(acted.step.as_deref()?, acted.group?, acted.direction?)?;
            let open = leg.commands.iter().filter(|(_, answer)| answer.is_none() || leg.awaits_asked());
            sends = open.map(|(command, _)| one_sent::<P>(command)).collect();
            format!("sends {} again, as the same request", said(&sends))
        }
        Action::Retry => format!("sends {} again, as a new request", said(&sends)),
        Action::Skip => {
            let asked = Act {
                action: Action::Skip,
                actor: String::new(),
                reason: String::new(),
                step: acted.step.clone(),
                request_id: acted.request_id,
            };
            let leg = chosen(before, &asked).ok()?;
            notes.extend((definition.people.skips)(before, &leg).map(str::to_owned));
            let undoing = if leg.direction == Direction::Undo { "undoing " } else { "" };
            let then = if sends.is_empty() { String::new() } else { format!("; then sends {}", said(&sends)) };
            format!("takes {undoing}`{}` as done, since somebody did it outside{then}", leg.step.name)
        }
        Action::Compensate => {
            play_back(&mut draft);
            let steps = undone::<P>(&draft.events, None);
            let names: Vec<_> = steps.iter().map(|step| format!("`{}`", step.step)).collect();
            sends = steps.into_iter().flat_map(|step| step.sends).collect();
            format!("goes back: undoes {}", names.join(", "))
        }
        Action::Resume => match acted.deadline {
            Some(at) => format!("takes the call for a person away; calls again at {at} if nothing has moved by then"),
            None => "takes the call for a person away, and goes on".to_owned(),
        },
        Action::HandOver => {
            let over =
                events.iter().find_map(|event| if let Event::SagaHandedOver(e) = event { Some(e) } else { None })?;
            sends = taken_over::<P>(over, now, config).into_iter().flat_map(|step| step.sends).collect();
            format!("hands the {} over to `{}`, which sends {}", StoryOf::<P>::NOUN, over.to, said(&sends))
        }
    };
    for why in sends.iter().filter_map(|sent| sent.lasting) {
        if !notes.iter().any(|note| note == why) {
            notes.push(why.to_owned());
        }
    }
    Some(Effect { summary, step: acted.step.clone(), direction: acted.direction, sends, irreversible: notes })
}

fn issued<P: Process>(event: &EventOf<P>) -> Vec<Sent> {
    match event {
        Event::StepStarted(e) => sent::<P>(&e.commands),
        Event::UndoStarted(e) => sent::<P>(&e.commands),
        Event::SagaStarted(_)
        | Event::SagaInputRecorded(_)
        | Event::CommandAnswered(_)
        | Event::StepRetryScheduled(_)
        | Event::StepRenewed(_)
        | Event::StepSucceeded(_)
        | Event::StepFailed(_)
        | Event::CompensationStarted(_)
        | Event::UndoSucceeded(_)
        | Event::SagaCompleted(_)
        | Event::SagaCompensated(_)
        | Event::SagaHandedOver(_)
        | Event::SagaNeedsAttention(_)
        | Event::OperatorActed(_) => Vec::new(),
    }
}

fn said(sends: &[Sent]) -> String {
    sends.iter().map(|sent| format!("{} to {}", sent.command, sent.target)).collect::<Vec<_>>().join(", ")
}
