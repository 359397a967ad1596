//! What people do, on its way to the worker that has the saga, and back once it is durable.
//!
//! *Invariant:* the answer waits for the append. A worker that ends before it drops whom it would have answered: that is
//! heard as "no answer", and the same request again is known by its id, whether its append was in time or not.

use event_store::{Direction, EventStore, StreamName};
use saga_engine::process::SubjectOf;
use saga_engine::{Act, Action, Input, Refusal, State, act, fits};
use tokio::sync::oneshot;

use super::checkpoint::Key;
use super::memory::{Patience, Saga};
use super::runner::Failed;
use super::stream::{Cause, Person};
use super::subscriber::{Subscriber, Trigger};
use super::ways::Ways;
use super::worker::Worker;

/// Events read at once: the streams that have facts for one saga have some tens together.
const PAGE: usize = 200;

/// The way for people's acts to the workers that have the sagas. Cheap to clone.
pub struct Operator<P: Subscriber> {
    pub(super) ways: Ways<P>,
}

impl<P: Subscriber> Clone for Operator<P> {
    fn clone(&self) -> Self {
        Self { ways: self.ways.clone() }
    }
}

impl<P: Subscriber> Operator<P> {
    /// Has the worker that has the saga carry out what a person asks, and waits until it is durable. If this is dropped, it
    /// may be carried out all the same: the same request again finds out.
    pub async fn act(&self, request: Request<SubjectOf<P>>) -> Answer {
        self.ways.ask(request.key.subject, |reply| Asked { request, reply }).await
    }
}

/// What a person asks of a saga.
#[derive(Debug, Clone)]
pub struct Request<S> {
    /// Which saga is meant.
    pub key: Key<S>,
    /// The action, the person, the reason, and the id of the request.
    pub act: Act,
    /// The version that the saga must be at; none: any.
    pub if_match: Option<u64>,
    /// SHA-256 (hex) of what was asked: the same request with another body is told from a repeat.
    pub hash: String,
}

/// What became of a person's request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The act and what follows from it are durable.
    Done,
    /// This request was carried out before; its append may still be on its way.
    AlreadyDone,
    /// The saga is at another version than the request names. Nothing was done.
    VersionMismatch {
        /// The version of the saga's last event.
        version: u64,
    },
    /// The act would break a rule. Nothing was done.
    Refused {
        /// The rule.
        refusal: Refusal,
        /// The actions that would be accepted now.
        fits: Vec<Action>,
    },
    /// No worker is there at the moment, or it ended before it answered. The same request again finds out.
    NotNow,
    /// The saga belongs to a partition that this process does not run. Nothing was done.
    Elsewhere {
        /// That partition.
        partition: u32,
    },
}

/// A request on its way to a worker.
pub(super) struct Asked<P: Subscriber> {
    pub request: Request<SubjectOf<P>>,
    pub reply: oneshot::Sender<Answer>,
}

impl<P: Subscriber> Worker<P> {
    /// Carries out what a person wants. The saga is read if it is not in memory, whether it is active or not.
    pub(super) async fn act(&mut self, asked: Asked<P>) -> Result<(), Failed> {
        let Asked { request: Request { key, act: asked, if_match, hash }, reply } = asked;
        let mut waiting = Some(reply);
        let mut patience = Patience::default();
        while patience.lasts().await {
            let mut saga = self.taken(&key).await?;
            let version = saga.state.version.unwrap_or_default();
            let answer = if saga.state.requests.contains(&asked.request_id) {
                Answer::AlreadyDone
            } else if if_match.is_some_and(|expected| expected != version) {
                Answer::VersionMismatch { version }
            } else {
                if asked.action == Action::Resume && saga.state.unsupported.is_some() {
                    saga = self.catch_up(&key, saga).await?;
                }
                let (now, settings) = (self.shared.clock.now(), &self.shared.settings);
                match act(&saga.state, &asked, now, settings) {
                    Err(refusal) => Answer::Refused { refusal, fits: fits(&saga.state, now, settings) },
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
        Err(Failed::Contended(key.stream::<P>()))
    }

    /// Takes in what was delivered while no program could follow the saga. Before the call for a person is taken
    /// away, so that a stop in between loses nothing.
    async fn catch_up(&mut self, key: &Key<SubjectOf<P>>, saga: Saga<P>) -> Result<Saga<P>, Failed> {
        let missed = missed(&*self.shared.store, &saga.state).await?;
        self.keep(key, saga);
        for (cause, input) in missed {
            self.input(key, &input, Some(&cause)).await?;
        }
        self.taken(key).await
    }
}

/// The facts for a saga that it has not seen, out of the streams that may have some.
async fn missed<P: Subscriber>(store: &dyn EventStore, state: &State<P>) -> Result<Vec<(Cause, Input<P>)>, Failed> {
    if state.definition.is_none() {
        return Ok(Vec::new());
    }
    let issued = state.legs.iter().flat_map(|leg| &leg.commands).map(|(command, _)| command.target.clone());
    let subject = state.subject();
    let mut streams: Vec<String> = P::streams_of(subject).into_iter().chain(issued).collect();
    streams.sort_unstable();
    streams.dedup();
    let mut missed = Vec::new();
    for name in streams {
        let seen = state.marks.iter().find(|(stream, _)| *stream == name).map(|(_, version)| *version);
        let stream: StreamName = name.parse().map_err(|_| Failed::Name(name.clone()))?;
        if !P::CATEGORIES.contains(&stream.category()) {
            continue;
        }
        let mut from = seen.map_or(0, |version| version + 1);
        loop {
            let events = store.read_stream(&stream, from, Direction::Forward, PAGE).await?;
            for event in &events {
                let facts = P::triggers(event, subject).into_iter().flatten().filter_map(Trigger::into_fact);
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
