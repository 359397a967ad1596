//! Reading a stream or the log, once.

use eventstore_client as client;

use super::event::{filter_of, of_log, recorded, unread};
use crate::{Direction, Filter, Position, ReadError, RecordedEvent, StreamName};

/// The largest page that is asked for at once: with it, an answer of large events stays in memory.
const PAGE_EVENTS: usize = 2_048;

/// Events of one stream. One that is not ours in it is damage: nobody else writes to our streams.
pub(super) async fn stream(
    client: &client::Client,
    stream: &StreamName,
    from: u64,
    direction: Direction,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut found: Vec<RecordedEvent> = Vec::new();
    let mut next = Some(from);
    while let Some(from) = next.filter(|_| found.len() < limit) {
        let asked = PAGE_EVENTS.min(limit - found.len());
        // The server counts in signed numbers; beyond those is the end.
        let begin =
            if i64::try_from(from).is_ok() { client::StreamFrom::Revision(from) } else { client::StreamFrom::End };
        let events = client.read_stream(stream.as_str(), begin, direction_of(direction), asked as u64).await;
        let events = events.map_err(|error| unread(client, &error))?.unwrap_or_default();
        let whole = events.len() == asked;
        next = events.last().filter(|_| whole).and_then(|last| match direction {
            Direction::Forward => last.revision.checked_add(1),
            Direction::Backward => last.revision.checked_sub(1),
        });
        for event in events {
            let position = Position(event.position.commit);
            let damaged = |what| ReadError::Damaged { path: client.address().to_owned(), position, what };
            found.push(recorded(event).map_err(damaged)?);
        }
    }
    Ok(found)
}

/// Events of the whole log, those that pass: forward those after `from`, backward those before it.
pub(super) async fn all(
    client: &client::Client,
    from: Position,
    direction: Direction,
    limit: usize,
    filter: &Filter,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut found = Vec::new();
    let mut from = from;
    loop {
        // Forward the server begins with the event at the position, which the caller has.
        let asked = PAGE_EVENTS.min(limit - found.len()) + 1;
        let page = page(client, from, direction, asked, filter).await?;
        let whole = page.len() == asked;
        let last = page.last().map(|event| Position(event.position.commit));
        let beyond = |event: &client::RecordedEvent| match direction {
            Direction::Forward => event.position.commit > from.0,
            Direction::Backward => event.position.commit < from.0,
        };
        for event in page.into_iter().filter(beyond).filter_map(|event| of_log(event, filter)) {
            if found.len() < limit {
                found.push(std::sync::Arc::unwrap_or_clone(event));
            }
        }
        match last {
            Some(last) if whole && found.len() < limit => from = last,
            Some(_) | None => return Ok(found),
        }
    }
}

/// One page as the server gives it: forward it may begin with the event at `from`.
pub(super) async fn page(
    client: &client::Client,
    from: Position,
    direction: Direction,
    count: usize,
    filter: &Filter,
) -> Result<Vec<client::RecordedEvent>, ReadError> {
    let begin = match (direction, from) {
        (Direction::Forward, Position::START) => client::LogFrom::Start,
        (Direction::Backward, Position(u64::MAX)) => client::LogFrom::End,
        (_, Position(position)) => client::LogFrom::Position(client::LogPosition::at(position)),
    };
    let events = client.read_log(begin, direction_of(direction), count as u64, Some(filter_of(filter))).await;
    events.map_err(|error| unread(client, &error))
}

fn direction_of(direction: Direction) -> client::Direction {
    match direction {
        Direction::Forward => client::Direction::Forward,
        Direction::Backward => client::Direction::Backward,
    }
}
