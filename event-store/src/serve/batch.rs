//! Many appends over one call. Chunks of one append share a correlation id; each append is queued when its last chunk is
//! there, in that order, and answered when it is durable, in whatever order that happens.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use eventstore_client::proto;
use eventstore_client::proto::streams::batch_append_req::Options;
use eventstore_client::proto::streams::batch_append_req::options::ExpectedStreamPosition;
use eventstore_client::proto::streams::batch_append_resp::success::{CurrentRevisionOption, PositionOption};
use eventstore_client::proto::streams::batch_append_resp::{
    ExpectedStreamPosition as Echoed, Result as Answer, Success,
};
use eventstore_client::proto::streams::{BatchAppendReq, BatchAppendResp};
use eventstore_client::proto::wrong_expected_version::{CurrentStreamRevisionOption, ExpectedStreamPositionOption};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::append::{Appender, Outcome, Wanted};
use super::events::of_id;
use super::proposed::Collected;
use super::refusal::{self, Refusal};
use super::streams::Appends;
use super::target::target;

/// The most appends of one call that wait to be durable; beyond it no more is read from the client.
const IN_FLIGHT: usize = 1_024;
/// The most appends of one call whose last chunk has not arrived yet.
const UNFINISHED: usize = 64;
/// The most bytes that these may take together.
const UNFINISHED_BYTES: usize = 64 << 20;
/// The most answers that are sent at once.
const ANSWERS: usize = 256;

/// An append whose last chunk has not arrived yet.
#[derive(Debug)]
struct Unfinished {
    options: Options,
    /// The first fault of the append; the rest of its chunks is skipped.
    collected: Result<Collected, Refusal>,
}

/// One call with its appends.
pub(super) struct Session {
    requests: Streaming<BatchAppendReq>,
    appender: Appender,
    caller: Arc<str>,
    stopping: watch::Receiver<bool>,
    unfinished: HashMap<Uuid, Unfinished>,
    in_flight: FuturesUnordered<BoxFuture<'static, BatchAppendResp>>,
    reading: bool,
    /// The status with which the call ends; `None`: it ended well, by the client.
    end: Option<Status>,
}

/// The next event of a call.
enum Step {
    /// Appends are durable, or were refused.
    Answers(Vec<BatchAppendResp>),
    /// The client sent a chunk.
    Request(BatchAppendReq),
    /// The client sends no more, or does not listen any more.
    NoMore(Option<Status>),
    /// Every append was answered.
    End,
}

impl Session {
    pub fn new(
        requests: Streaming<BatchAppendReq>,
        appender: Appender,
        caller: Arc<str>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (unfinished, in_flight) = (HashMap::new(), FuturesUnordered::new());
        Self { requests, appender, caller, stopping, unfinished, in_flight, reading: true, end: None }
    }

    /// The stream of answers, one batch for each group of appends that has ended.
    pub fn answers(self) -> Appends {
        stream::unfold(self, Self::next).flat_map(stream::iter).boxed()
    }

    async fn next(mut self) -> Option<(Vec<Result<BatchAppendResp, Status>>, Self)> {
        loop {
            match self.step().await {
                Step::Answers(answers) => return Some((answers.into_iter().map(Ok).collect(), self)),
                Step::Request(request) => self.take(request).await,
                Step::NoMore(end) => (self.reading, self.end) = (false, end),
                Step::End => {
                    let end = self.end.take()?;
                    return Some((vec![Err(end)], self));
                }
            }
        }
    }

    async fn step(&mut self) -> Step {
        let room = self.reading && self.in_flight.len() < IN_FLIGHT;
        let Self { requests, in_flight, stopping, reading, .. } = self;
        tokio::select! {
            Some(answer) = in_flight.next() => {
                let mut answers = vec![answer];
                // What became durable with it is answered with it.
                while answers.len() < ANSWERS {
                    let Some(Some(answer)) = in_flight.next().now_or_never() else { break };
                    answers.push(answer);
                }
                Step::Answers(answers)
            }
            // Dropped while waiting: what has arrived of a message is kept by the stream.
            request = requests.message(), if room => match request {
                Ok(Some(request)) => Step::Request(request),
                Ok(None) => Step::NoMore(None),
                Err(status) => Step::NoMore(Some(status)),
            },
            // An error means that the server is gone.
            _ = stopping.wait_for(|stopping| *stopping), if *reading => {
                Step::NoMore(Some(Refusal::Stopping.status()))
            }
            else => Step::End,
        }
    }

    async fn take(&mut self, request: BatchAppendReq) {
        let Some(correlation) = of_id(request.correlation_id.as_ref()) else {
            // There is nobody to tell but the whole call.
            let nameless = Refusal::BadRequest("an append has no correlation id".to_owned());
            (self.reading, self.end) = (false, Some(nameless.status()));
            return;
        };
        let (id, last) = (request.correlation_id.clone(), request.is_final);
        if let Err(refusal) = self.collect(correlation, request) {
            self.answer(id, None, Err(refusal));
            return;
        }
        if last && let Some(Unfinished { options, collected }) = self.unfinished.remove(&correlation) {
            self.append(id, options, collected).await;
        }
    }

    fn collect(&mut self, correlation: Uuid, request: BatchAppendReq) -> Result<(), Refusal> {
        let bytes: usize = self.unfinished.values().map(Unfinished::bytes).sum();
        let full = self.unfinished.len() >= UNFINISHED;
        let unfinished = match (self.unfinished.entry(correlation), request.options) {
            (Entry::Occupied(entry), _) => entry.into_mut(),
            (Entry::Vacant(_), None) => {
                return Err(Refusal::BadRequest("the first chunk of an append has no options".to_owned()));
            }
            (Entry::Vacant(_), Some(_)) if full => {
                return Err(Refusal::Busy("too many appends have begun and not ended on this call".to_owned()));
            }
            (Entry::Vacant(entry), Some(options)) => {
                entry.insert(Unfinished { options, collected: Ok(Collected::default()) })
            }
        };
        if bytes > UNFINISHED_BYTES && unfinished.collected.is_ok() {
            // What was kept of it goes with this; its last chunk is answered.
            let busy = "too many bytes of appends have begun and not ended on this call".to_owned();
            unfinished.collected = Err(Refusal::Busy(busy));
        }
        for message in request.proposed_messages {
            let Ok(collected) = &mut unfinished.collected else { break };
            let pushed = collected.push(message.id.as_ref(), &message.metadata, message.custom_metadata, message.data);
            if let Err(refusal) = pushed {
                unfinished.collected = Err(refusal);
            }
        }
        Ok(())
    }

    async fn append(&mut self, id: Option<proto::Uuid>, options: Options, collected: Result<Collected, Refusal>) {
        let taken = match (collected, wanted(&options), target(options.stream_identifier.as_ref())) {
            (Ok(collected), Ok(wanted), Ok(target)) => {
                let taken = self.appender.take(target, wanted, collected.events, &self.caller).await;
                taken.map(|taken| (taken, wanted))
            }
            (Err(refusal), _, _) | (_, Err(refusal), _) | (_, _, Err(refusal)) => Err(refusal),
        };
        match taken {
            Err(refusal) => self.answer(id, Some(options), Err(refusal)),
            Ok((taken, wanted)) => self.in_flight.push(
                async move {
                    let outcome = taken.settle().await.map(|outcome| (outcome, wanted));
                    answer(id, Some(options), outcome)
                }
                .boxed(),
            ),
        }
    }

    fn answer(
        &mut self,
        id: Option<proto::Uuid>,
        options: Option<Options>,
        outcome: Result<(Outcome, Wanted), Refusal>,
    ) {
        self.in_flight.push(std::future::ready(answer(id, options, outcome)).boxed());
    }
}

impl Unfinished {
    fn bytes(&self) -> usize {
        self.collected.as_ref().map_or(0, Collected::bytes)
    }
}

fn wanted(options: &Options) -> Result<Wanted, Refusal> {
    match options.expected_stream_position {
        Some(ExpectedStreamPosition::StreamPosition(revision)) => Ok(Wanted::Revision(revision)),
        Some(ExpectedStreamPosition::NoStream(())) => Ok(Wanted::NoStream),
        Some(ExpectedStreamPosition::Any(())) => Ok(Wanted::Any),
        Some(ExpectedStreamPosition::StreamExists(())) => Ok(Wanted::Exists),
        None => Err(Refusal::BadRequest("the append does not say what it expects of the stream".to_owned())),
    }
}

fn answer(
    correlation_id: Option<proto::Uuid>,
    options: Option<Options>,
    outcome: Result<(Outcome, Wanted), Refusal>,
) -> BatchAppendResp {
    let result = match outcome {
        Ok((Outcome::Done { version, position }, _)) => Answer::Success(Success {
            current_revision_option: Some(
                version.map_or(CurrentRevisionOption::NoStream(()), CurrentRevisionOption::CurrentRevision),
            ),
            position_option: Some(position.map_or(PositionOption::NoPosition(()), |position| {
                let (commit_position, prepare_position) = (position.0, position.0);
                PositionOption::Position(proto::AllStreamPosition { commit_position, prepare_position })
            })),
        }),
        Ok((Outcome::Conflict { actual }, wanted)) => Answer::Error(conflict(actual, wanted)),
        Err(refusal) => Answer::Error(refusal.error()),
    };
    let (stream_identifier, expected) =
        options.map(|options| (options.stream_identifier, options.expected_stream_position)).unwrap_or_default();
    let expected_stream_position = expected.map(|expected| match expected {
        ExpectedStreamPosition::StreamPosition(revision) => Echoed::StreamPosition(revision),
        ExpectedStreamPosition::NoStream(()) => Echoed::NoStream(()),
        ExpectedStreamPosition::Any(()) => Echoed::Any(()),
        ExpectedStreamPosition::StreamExists(()) => Echoed::StreamExists(()),
    });
    BatchAppendResp { correlation_id, result: Some(result), stream_identifier, expected_stream_position }
}

fn conflict(actual: Option<u64>, wanted: Wanted) -> proto::Status {
    let message = format!("WrongExpectedVersion: the stream is at {actual:?}, wanted was {wanted:?}");
    let wrong = proto::WrongExpectedVersion {
        current_stream_revision_option: Some(actual.map_or(
            CurrentStreamRevisionOption::CurrentNoStream(()),
            CurrentStreamRevisionOption::CurrentStreamRevision,
        )),
        expected_stream_position_option: Some(match wanted {
            Wanted::Revision(revision) => ExpectedStreamPositionOption::ExpectedStreamPosition(revision),
            Wanted::NoStream => ExpectedStreamPositionOption::ExpectedNoStream(()),
            Wanted::Any => ExpectedStreamPositionOption::ExpectedAny(()),
            Wanted::Exists => ExpectedStreamPositionOption::ExpectedStreamExists(()),
        }),
    };
    refusal::conflict(message, &wrong)
}
