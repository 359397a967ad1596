//! Reading a stream or the log, once.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Ended, settle};
use crate::connection::Links;
use crate::event::{event_of, wire_stream};
use crate::fault::Fault;
use crate::proto::streams::read_req::Options;
use crate::proto::streams::read_req::options::{
    AllOptions, ControlOption, CountOption, FilterOption, FilterOptions, Position, ReadDirection, StreamOption,
    StreamOptions, UuidOption, all_options, filter_options, stream_options, uuid_option,
};
use crate::proto::streams::streams_client::StreamsClient;
use crate::proto::streams::{ReadReq, read_resp};
use crate::{Error, LogPosition, RecordedEvent};

/// The largest message of a server: an event of 16 MiB and what stands around it.
pub(crate) const LONGEST_MESSAGE: usize = 17 << 20;

/// Which way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

/// Where in a stream to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFrom {
    /// At its first event.
    Start,
    /// At its last event.
    End,
    /// At this revision, in both directions.
    Revision(u64),
}

/// Where in the log to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// At its first event.
    Start,
    /// At its last event.
    End,
    /// At this position: with the event there when reading forward, with the one before it when reading backward.
    Position(LogPosition),
}

/// Which events of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Those of streams whose name begins with one of these.
    StreamPrefixes(Vec<String>),
    /// Those of streams whose name fits this regular expression.
    StreamRegex(String),
    /// Those whose type begins with one of these.
    TypePrefixes(Vec<String>),
    /// Those whose type fits this regular expression.
    TypeRegex(String),
}

/// What is read: a stream or the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Stream { name: String, from: StreamFrom },
    Log { from: LogFrom, filter: Option<Filter> },
}

impl What {
    /// The stream's name, for errors; empty for the log.
    pub(crate) fn stream(&self) -> &str {
        match self {
            Self::Stream { name, .. } => name,
            Self::Log { .. } => "",
        }
    }
}

/// Reads up to `count` events. `None`: there is no such stream.
pub(crate) async fn read(
    links: &Arc<Links>,
    what: &What,
    direction: Direction,
    count: u64,
    deadline: Duration,
) -> Result<Option<Vec<RecordedEvent>>, Error> {
    let result = settle(links, deadline, move |link, within| async move {
        let message = ReadReq { options: Some(options(what, direction, CountOption::Count(count), 0)) };
        let mut client = StreamsClient::new(link.channel.clone()).max_decoding_message_size(LONGEST_MESSAGE);
        let of_status = |status: tonic::Status| Fault::of(&status, &links.store, what.stream());
        let answers = client.read(links.request(message, Some(within))).await.map_err(of_status)?;
        links.heard(answers.metadata());
        let mut answers = answers.into_inner();
        let mut events = Vec::new();
        while let Some(answer) = answers.message().await.map_err(of_status)? {
            match answer.content {
                Some(read_resp::Content::Event(event)) => {
                    let event = event_of(event).map_err(|reason| Fault::Final(Error::Malformed { reason }))?;
                    events.push(event);
                }
                Some(read_resp::Content::StreamNotFound(_)) => return Ok(None),
                // Where a stream or the log ends and begins, and whatever a later server says besides.
                Some(
                    read_resp::Content::Confirmation(_)
                    | read_resp::Content::Checkpoint(_)
                    | read_resp::Content::FirstStreamPosition(_)
                    | read_resp::Content::LastStreamPosition(_)
                    | read_resp::Content::LastAllStreamPosition(_)
                    | read_resp::Content::CaughtUp(_)
                    | read_resp::Content::FellBehind(_),
                )
                | None => {}
            }
        }
        Ok(Some(events))
    });
    result.await.map_err(|ended| match ended {
        Ended::Error(error) => error,
        Ended::Unanswered(reason) => links.unavailable(&reason),
    })
}

/// What is read, on the wire. `checkpoints`: after how many events that were looked at a filtered subscription says how
/// far it has come; 0 when nothing is subscribed to.
pub(crate) fn options(what: &What, direction: Direction, count: CountOption, checkpoints: u32) -> Options {
    let (stream, filter) = match what {
        What::Stream { name, from } => {
            let revision = match *from {
                StreamFrom::Start => stream_options::RevisionOption::Start(()),
                StreamFrom::End => stream_options::RevisionOption::End(()),
                StreamFrom::Revision(revision) => stream_options::RevisionOption::Revision(revision),
            };
            let stream = StreamOptions { stream_identifier: Some(wire_stream(name)), revision_option: Some(revision) };
            (StreamOption::Stream(stream), None)
        }
        What::Log { from, filter } => {
            let position = match *from {
                LogFrom::Start => all_options::AllOption::Start(()),
                LogFrom::End => all_options::AllOption::End(()),
                LogFrom::Position(LogPosition { commit, prepare }) => {
                    all_options::AllOption::Position(Position { commit_position: commit, prepare_position: prepare })
                }
            };
            (StreamOption::All(AllOptions { all_option: Some(position) }), filter.as_ref())
        }
    };
    Options {
        stream_option: Some(stream),
        read_direction: match direction {
            Direction::Forward => ReadDirection::Forwards.into(),
            Direction::Backward => ReadDirection::Backwards.into(),
        },
        // A link is an event like any other: what it points to may be gone.
        resolve_links: false,
        count_option: Some(count),
        filter_option: Some(
            filter
                .map_or(FilterOption::NoFilter(()), |filter| FilterOption::Filter(filter_options(filter, checkpoints))),
        ),
        uuid_option: Some(UuidOption { content: Some(uuid_option::Content::Structured(())) }),
        control_option: Some(ControlOption { compatibility: 1 }),
    }
}

fn filter_options(filter: &Filter, checkpoints: u32) -> FilterOptions {
    let prefixes = |prefix: &[String]| filter_options::Expression { regex: String::new(), prefix: prefix.to_vec() };
    let regex = |regex: &str| filter_options::Expression { regex: regex.to_owned(), prefix: Vec::new() };
    let expression = match filter {
        Filter::StreamPrefixes(names) => filter_options::Filter::StreamIdentifier(prefixes(names)),
        Filter::StreamRegex(pattern) => filter_options::Filter::StreamIdentifier(regex(pattern)),
        Filter::TypePrefixes(names) => filter_options::Filter::EventType(prefixes(names)),
        Filter::TypeRegex(pattern) => filter_options::Filter::EventType(regex(pattern)),
    };
    let window = match checkpoints {
        0 => filter_options::Window::Count(()),
        window => filter_options::Window::Max(window),
    };
    FilterOptions { filter: Some(expression), window: Some(window), checkpoint_interval_multiplier: 1 }
}
