//! What people do, on its way to the worker that has the saga, and back once it is durable.
//!
//! *Invariant:* the answer waits for the append. A worker that ends before it drops whom it would have answered: that is
//! heard as "no answer", and the same request again is known by its id, whether its append was in time or not.

use domain::saga::Action;
use event_store::{Direction, EventStore, StreamName};
use tokio::sync::oneshot;

use super::Failed;
use super::checkpoint::Key;
use super::memory::{Patience, Saga};
use super::worker::Worker;
use crate::shop::{Input, State};
use crate::stream::{Cause, Feed, Person, heard};
use saga_engine::engine::{Act, Refusal, act, fits};

/// Events read at once: an order, its payments and its shipments have some tens together.
const PAGE: usize = 200;

/// What a person wants of a saga.
pub(crate) struct Request {
    pub key: Key,
    pub act: Act,
    /// The version that the saga must be at.
    pub if_match: Option<u64>,
    /// SHA-256 of what was asked.
    pub hash: String,
    pub reply: oneshot::Sender<Answer>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is in the log.
    Done,
    /// This request was carried out before; its append may still be on its way.
    Again,
    /// The saga is at another version.
    Moved(u64),
    /// It would break a rule; these would not.
    Refused(Refusal, Vec<Action>),
}

impl Worker {
    /// Carries out what a person wants. The saga is read if it is not in memory, whether it is active or not.
    pub(super) async fn act(&mut self, request: Request) -> Result<(), Failed> {
        let Request { key, act: asked, if_match, hash, reply } = request;
        let mut waiting = Some(reply);
        let mut patience = Patience::default();
        while patience.lasts().await {
            let mut saga = self.taken(&key).await?;
            let version = saga.state.version.unwrap_or_default();
            let answer = if saga.state.requests.contains(&asked.request_id) {
                Answer::Again
            } else if if_match.is_some_and(|expected| expected != version) {
                Answer::Moved(version)
            } else {
                if asked.action == Action::Resume && saga.state.unsupported.is_some() {
                    saga = self.catch_up(&key, saga).await?;
                }
                let (now, config) = (self.shared.clock.now(), self.shared.config.clone());
                match act(&saga.state, &asked, now, &config) {
                    Err(refusal) => Answer::Refused(refusal, fits(&saga.state, now, &config)),
                    Ok(events) => {
                        let person = Some(Person { name: asked.actor.clone(), asked: hash.clone() });
                        let (correlation_id, traceparent) = (saga.state.correlation_id, saga.state.traceparent.clone());
                        let cause = Cause { id: asked.request_id, correlation_id, traceparent, person };
                        if !self.append(&key, &mut saga, &events, &cause, &mut waiting).await? {
                            continue; // Somebody else wrote first: judged anew.
                        }
                        Answer::Done // Its append tells, once it is durable.
                    }
                }
            };
            self.keep(&key, saga);
            self.touched(&key);
            if let Some(waiting) = waiting {
                let _ = waiting.send(answer); // Nobody waits any more: nothing to tell.
            }
            return Ok(());
        }
        Err(Failed::Contended(key.stream()))
    }

    /// Takes in what the feed brought while no program could follow the saga. Before the call for a person is taken
    /// away, so that a stop in between loses nothing.
    async fn catch_up(&mut self, key: &Key, saga: Saga) -> Result<Saga, Failed> {
        let missed = missed(&*self.shared.store, &saga.state).await?;
        self.keep(key, saga);
        for (cause, input) in missed {
            self.input(key, &input, Some(&cause)).await?;
        }
        self.taken(key).await
    }
}

/// What happened to the order, its payments and its shipments that the saga has not seen.
async fn missed(store: &dyn EventStore, state: &State) -> Result<Vec<(Cause, Input)>, Failed> {
    if state.definition.is_none() {
        return Ok(Vec::new());
    }
    let issued = state.legs.iter().flat_map(|leg| &leg.commands).map(|(command, _)| command.target.clone());
    let mut streams: Vec<String> = std::iter::once(state.subject().order_id.stream()).chain(issued).collect();
    streams.sort_unstable();
    streams.dedup();
    let mut missed = Vec::new();
    for name in streams {
        let seen = state.marks.iter().find(|(stream, _)| *stream == name).map(|(_, version)| *version);
        let stream: StreamName = name.parse().map_err(|_| Failed::Name(name.clone()))?;
        let mut from = seen.map_or(0, |version| version + 1);
        loop {
            let events = store.read_stream(&stream, from, Direction::Forward, PAGE).await?;
            for event in &events {
                let facts = heard(event, state.subject().order_id).into_iter().flatten().filter_map(Feed::fact);
                for (source, outside) in facts {
                    let (id, correlation_id) = (event.id, event.metadata.correlation_id);
                    let cause = Cause { id, correlation_id, traceparent: None, person: None };
                    missed.push((event.position, cause, Input::Fact(source, outside)));
                }
            }
            match events.last() {
                Some(last) if events.len() == PAGE => from = last.version + 1,
                Some(_) | None => break,
            }
        }
    }
    missed.sort_by_key(|(position, ..)| *position);
    Ok(missed.into_iter().map(|(_, cause, input)| (cause, input)).collect())
}
