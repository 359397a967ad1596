//! A parked stream is tried again: it is read from the log from where it stands, and applied as a batch would be.

use std::io;
use std::sync::Arc;

use event_store::{Direction, EventStore, StreamName};
use uuid::Uuid;

use super::letters::Parked;
use crate::projecting::apart::apply_apart;
use crate::projecting::projection::{Applied, Projection};
use crate::projecting::row_store::RowStore;

/// Events of a parked stream that are read and applied at once: a page of about 1 MB.
const PAGE: usize = 1_000;
/// So many parked streams of a read model are tried again by themselves when the program starts: some seconds' worth.
pub(crate) const RETRIED_AT_START: usize = 1_000;

/// Applies a parked stream from where it stands, as far as that goes. What was applied, and the keys that came to rest; where the
/// stream stands now is in `parked`.
pub(crate) async fn resume<S: RowStore>(
    fresh: fn() -> Box<dyn Projection<S>>,
    sql: &mut S::Connection,
    store: &dyn EventStore,
    stream: &StreamName,
    parked: &mut Parked,
) -> Result<(Applied, Vec<Uuid>), S::Error> {
    let Some(before) = parked.open(stream) else { return Ok(Default::default()) };
    let (mut next, mut applied, mut at_rest) = (before.version, Applied::default(), Vec::new());
    while !parked.holds(stream) {
        let page = store.read_stream(stream, next, Direction::Forward, PAGE).await.map_err(io::Error::other)?;
        let Some(last) = page.last() else { break };
        next = last.version + 1;
        let page = page.into_iter().map(Arc::new).collect();
        // Where everything is refused, that is this one stream: it stays parked, and the read model goes on.
        let apart = apply_apart(fresh, sql, store, page, parked).await?;
        applied.add(apart.applied);
        at_rest.extend(apart.at_rest);
    }
    if next == before.version {
        parked.keep(stream, before.clone()); // The log does not show the event any more: nothing is known to be good.
    }
    parked.tried(stream, &before);
    Ok((applied, at_rest))
}
