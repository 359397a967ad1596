//! One append: what was expected, what becomes of it, and how the two calls say so.

use std::sync::Arc;

use eventstore_client::proto::streams::append_req::Options;
use eventstore_client::proto::streams::append_req::options::ExpectedStreamRevision;
use eventstore_client::proto::streams::append_resp::success::{CurrentRevisionOption, PositionOption};
use eventstore_client::proto::streams::append_resp::wrong_expected_version as wrong;
use eventstore_client::proto::streams::append_resp::{Position as AppendPosition, Result as Answer, Success};
use eventstore_client::proto::streams::{AppendResp, append_resp};

use super::pages::Ahead;
use super::proposed::Proposed;
use super::refusal::Refusal;
use super::snapshots;
use super::target::Target;
use crate::port::APPEND_BYTES;
use crate::{Append, AppendError, Direction, EventStore, Expected, NewEvent, Position, StreamName, Ticket};

/// What the writer believes of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Revision(u64),
    NoStream,
    Any,
    Exists,
}

impl Wanted {
    /// Whether a stream at this version is as it was wanted.
    pub fn fits(self, actual: Option<u64>) -> bool {
        match self {
            Self::Revision(revision) => actual == Some(revision),
            Self::NoStream => actual.is_none(),
            Self::Any => true,
            Self::Exists => actual.is_some(),
        }
    }

    /// What an append says it expects.
    pub fn of(options: &Options) -> Result<Self, Refusal> {
        match options.expected_stream_revision {
            Some(ExpectedStreamRevision::Revision(revision)) => Ok(Self::Revision(revision)),
            Some(ExpectedStreamRevision::NoStream(())) => Ok(Self::NoStream),
            Some(ExpectedStreamRevision::Any(())) => Ok(Self::Any),
            Some(ExpectedStreamRevision::StreamExists(())) => Ok(Self::Exists),
            None => Err(Refusal::BadRequest("the append does not say what it expects of the stream".to_owned())),
        }
    }
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is durable. No version: nothing was appended and there is no such stream. No position: it is not in the log.
    Done { version: Option<u64>, position: Option<Position> },
    /// The stream is elsewhere; nothing was written.
    Conflict { actual: Option<u64> },
}

/// An append that was taken in.
pub(super) enum Taken {
    /// All is known of it.
    Settled(Outcome),
    /// It is queued.
    Queued(Ticket),
}

impl Taken {
    /// Waits until it is durable. Dropped while waiting: it is written all the same, and the same ids ask for the answer.
    pub async fn settle(self) -> Result<Outcome, Refusal> {
        match self {
            Self::Settled(outcome) => Ok(outcome),
            Self::Queued(ticket) => {
                let appended = ticket.durable().await?;
                Ok(Outcome::Done { version: Some(appended.version), position: Some(appended.position) })
            }
        }
    }
}

/// Who takes appends in.
#[derive(Clone)]
pub(super) struct Appender {
    store: Arc<dyn EventStore>,
    snapshots: snapshots::Checked,
}

impl Appender {
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, snapshots: Arc::default() }
    }

    /// Queues an append. Those that come one after the other are queued in that order.
    pub async fn take(
        &self,
        (target, name): (Target, String),
        wanted: Wanted,
        events: Vec<Proposed>,
        caller: &str,
    ) -> Result<Taken, Refusal> {
        match target {
            Target::Stream(stream) => self.to_stream(stream, wanted, events, caller).await,
            Target::Snapshot(of) => {
                let kept = snapshots::append(self.store.clone(), of, wanted, events, self.snapshots.clone());
                Ahead::begin(kept).finish().await?.map(Taken::Settled)
            }
            // It is as the metadata would make it: only the last event is kept.
            Target::SnapshotMetadata => Ok(Taken::Settled(Outcome::Done { version: Some(0), position: None })),
            Target::System => Err(Refusal::Denied(format!(
                "`{name}` cannot be written: this log has no metadata of streams and no system streams"
            ))),
            Target::Unnameable => Err(Refusal::BadRequest(format!(
                "`{name}` is no name for a stream of this log: 1 to 250 printable ASCII characters and no spaces"
            ))),
        }
    }

    async fn to_stream(
        &self,
        stream: StreamName,
        wanted: Wanted,
        events: Vec<Proposed>,
        caller: &str,
    ) -> Result<Taken, Refusal> {
        if events.is_empty() || wanted == Wanted::Exists {
            // Streams never end, so what was looked at before the append still holds after it.
            let last = self.store.read_stream(&stream, u64::MAX, Direction::Backward, 1).await?;
            let actual = last.first().map(|event| event.version);
            if !wanted.fits(actual) {
                return Ok(Taken::Settled(Outcome::Conflict { actual }));
            }
            if events.is_empty() {
                let position = last.first().map(|event| event.position);
                return Ok(Taken::Settled(Outcome::Done { version: actual, position }));
            }
        }
        let expected = match wanted {
            Wanted::Revision(revision) => Expected::Exact(revision),
            Wanted::NoStream => Expected::NoStream,
            Wanted::Any | Wanted::Exists => Expected::Any,
        };
        let events: Vec<NewEvent> =
            events.into_iter().map(|event| event.into_event(&stream, caller)).collect::<Result<_, _>>()?;
        if events.iter().map(NewEvent::size).sum::<usize>() > APPEND_BYTES {
            return Err(Refusal::TooLarge(APPEND_BYTES));
        }
        match self.store.append(Append { stream, expected, events }).await {
            Ok(ticket) => Ok(Taken::Queued(ticket)),
            Err(AppendError::Conflict { actual, .. }) => Ok(Taken::Settled(Outcome::Conflict { actual })),
            Err(error) => Err(error.into()),
        }
    }
}

/// The answer of `Append`.
pub(super) fn answer(outcome: Outcome, wanted: Wanted) -> AppendResp {
    let result = match outcome {
        Outcome::Done { version, position } => Answer::Success(Success {
            current_revision_option: Some(
                version.map_or(CurrentRevisionOption::NoStream(()), CurrentRevisionOption::CurrentRevision),
            ),
            position_option: Some(position.map_or(PositionOption::NoPosition(()), |Position(position)| {
                PositionOption::Position(AppendPosition { commit_position: position, prepare_position: position })
            })),
        }),
        Outcome::Conflict { actual } => Answer::WrongExpectedVersion(conflict(actual, wanted)),
    };
    AppendResp { result: Some(result) }
}

/// A conflict, in the words of clients before and after 20.6.
fn conflict(actual: Option<u64>, wanted: Wanted) -> append_resp::WrongExpectedVersion {
    use wrong::{CurrentRevisionOption as Now, CurrentRevisionOption2060 as Now2060};
    use wrong::{ExpectedRevisionOption as Wish, ExpectedRevisionOption2060 as Wish2060};
    append_resp::WrongExpectedVersion {
        current_revision_option_20_6_0: Some(actual.map_or(Now2060::NoStream2060(()), Now2060::CurrentRevision2060)),
        // The old words have none for "no stream"; the real server says "any" then.
        expected_revision_option_20_6_0: Some(match wanted {
            Wanted::Revision(revision) => Wish2060::ExpectedRevision2060(revision),
            Wanted::NoStream | Wanted::Any => Wish2060::Any2060(()),
            Wanted::Exists => Wish2060::StreamExists2060(()),
        }),
        current_revision_option: Some(actual.map_or(Now::CurrentNoStream(()), Now::CurrentRevision)),
        expected_revision_option: Some(match wanted {
            Wanted::Revision(revision) => Wish::ExpectedRevision(revision),
            Wanted::NoStream => Wish::ExpectedNoStream(()),
            Wanted::Any => Wish::ExpectedAny(()),
            Wanted::Exists => Wish::ExpectedStreamExists(()),
        }),
    }
}
