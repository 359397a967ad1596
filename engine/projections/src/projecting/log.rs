//! What is read from the log beside a subscription: its end, and the versions of a stream that are missing.

use std::io;
use std::sync::Arc;

use event_store::{Direction, EventStore, Filter, Position, ReadError, RecordedEvent, StreamName};

/// How many missing events are read at once: a page of about 1 MB.
const GAP_PAGE: usize = 1_000;

/// The last position of a log, asked of the log itself.
///
/// # Errors
/// [`ReadError`].
pub async fn end_of(store: &dyn EventStore) -> Result<Position, ReadError> {
    let last = store.read_all(Position(u64::MAX), Direction::Backward, 1, &Filter::default()).await?;
    Ok(last.first().map_or(Position::START, |event| event.position))
}

/// The events of a stream from version `from` to before version `to`.
pub(crate) async fn gap(
    store: &dyn EventStore,
    stream: &StreamName,
    from: u64,
    to: u64,
) -> Result<Vec<Arc<RecordedEvent>>, io::Error> {
    let mut missing = Vec::new();
    let mut next = from;
    while next < to {
        let limit = GAP_PAGE.min(usize::try_from(to - next).unwrap_or(GAP_PAGE));
        let page = store.read_stream(stream, next, Direction::Forward, limit).await.map_err(io::Error::other)?;
        let Some(last) = page.last() else {
            let what = format!("the log has no version {next} of `{stream}`, but a later one was delivered");
            return Err(io::Error::other(what));
        };
        next = last.version + 1;
        missing.extend(page.into_iter().map(Arc::new));
    }
    Ok(missing)
}
