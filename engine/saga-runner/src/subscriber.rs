//! What the runner must know of a program's events: which streams its sagas follow, and what an event means to them.

use event_store::RecordedEvent;
use eventsourcing::DecodeError;
use saga_engine::process::{Process, SubjectOf};
use saga_engine::{Begin, Source};
use uuid::Uuid;

/// A process whose sagas follow the log. Implemented on the type that implements [`Process`].
pub trait Subscriber: Process {
    /// The categories of the streams that the sagas subscribe to. The sagas' own streams are followed besides.
    const CATEGORIES: &'static [&'static str];

    /// Reads a subject as its `Display` writes it; `None` if the text is no subject. The runner writes subjects as the
    /// partition keys of saga events, and reads them there.
    fn parse_subject(key: &str) -> Option<SubjectOf<Self>>;

    /// The subject to which an event of [`Self::CATEGORIES`] belongs; `None` if it concerns no saga. The default is the
    /// subject that the partition key names. All events of a subject must have it as their partition key where the log
    /// is split into partitions.
    fn subject(recorded: &RecordedEvent) -> Option<SubjectOf<Self>> {
        Self::parse_subject(&recorded.metadata.partition_key)
    }

    /// What an event of [`Self::CATEGORIES`] makes the sagas of `subject` do, in this sequence; nothing, for an event that
    /// concerns no saga or has an unknown type.
    ///
    /// # Errors
    /// [`DecodeError`] if the event cannot be read, because a newer program wrote it. It is logged and skipped.
    fn triggers(recorded: &RecordedEvent, subject: SubjectOf<Self>) -> Result<Vec<Trigger<Self>>, DecodeError>;

    /// The streams that may have facts about `subject`, besides those that its sagas sent commands to. They are read when a
    /// person resumes a saga that no program could follow for a while. The default is none.
    fn streams_of(subject: SubjectOf<Self>) -> Vec<String> {
        let _ = subject;
        Vec::new()
    }

    /// Tells operators that a saga has ended. The default is a log message.
    fn log_end(ended: &Ended<'_, Self>) {
        let Ended { saga, id, subject, correlation_id, how } = ended;
        tracing::info!(%saga, saga.id = %id, subject.id = %subject, %correlation_id, how, "a saga ended");
    }
}

/// What an event makes sagas do.
#[derive(Debug, Clone)]
pub enum Trigger<P: Process> {
    /// A saga of this type begins, unless it has begun.
    Begin(&'static str, Begin<P>),
    /// A fact for the active sagas of the subject, from this event.
    Fact(Source, Box<P::Outside>),
}

impl<P: Process> Trigger<P> {
    /// A fact from an event.
    pub fn fact(source: Source, outside: P::Outside) -> Self {
        Self::Fact(source, Box::new(outside))
    }

    /// The fact, if it is one.
    pub fn into_fact(self) -> Option<(Source, Box<P::Outside>)> {
        match self {
            Self::Begin(..) => None,
            Self::Fact(source, outside) => Some((source, outside)),
        }
    }
}

/// The event, as sagas remember it: what they have seen of its stream is recognized when it is delivered again.
pub fn source_of(recorded: &RecordedEvent) -> Source {
    Source { stream: recorded.stream.to_string(), version: recorded.version, event: recorded.event_type.to_string() }
}

/// A saga that has ended, as [`Subscriber::log_end`] tells of it.
#[derive(Debug, Clone)]
pub struct Ended<'a, P: Process> {
    /// The type of the saga.
    pub saga: &'a str,
    /// The id of the saga.
    pub id: Uuid,
    /// What the saga is about.
    pub subject: SubjectOf<P>,
    /// The request that began it all.
    pub correlation_id: Uuid,
    /// `completed`, `compensated` or `handed over`.
    pub how: &'static str,
}
