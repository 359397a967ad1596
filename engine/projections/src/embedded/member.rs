//! A read model as its follower has it, and what is done with it in one transaction: apply a batch, apply one in parts, try a
//! parked stream again, fold everything anew.
//!
//! *Invariant:* when a transaction does not commit, the member is gone with everything it remembered, and is made anew from
//! its seat.

use std::sync::Arc;

use event_store::{Direction, EventStore, PageLimit, Position, RecordedEvent, StreamName};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::resume::resume;
use crate::dead_letters::{MOST_PARKED, Parked};
use crate::embedded::file::{self, Unwritten, Writer};
use crate::embedded::{EmbeddedModel, Sqlite, SqliteError, parked};
use crate::projecting::apart::apply_apart;
use crate::projecting::batch::{BATCH, BATCH_BYTES, Batch};
use crate::projecting::log::end_of;
use crate::projecting::projection::{Applied, Projection, apply};
use crate::projecting::row_store::{RowStore as _, release, roll_back, savepoint};

/// What is known of a member outside of a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub model: EmbeddedModel,
    /// Everything at or below is in its rows.
    pub position: Position,
    /// Its streams that stand still, as committed.
    pub parked: Parked,
    /// Why it goes no further until the program starts again.
    pub stopped: Option<String>,
}

impl Seat {
    /// As it stands in the file.
    pub fn stored(sql: &Connection, model: EmbeddedModel) -> rusqlite::Result<Self> {
        let (position, parked) = (file::position(sql, &model)?, parked::load(sql, model.name)?);
        let stopped = parked.is_full().then(too_many);
        Ok(Self { model, position, parked, stopped })
    }
}

/// A read model in a follower's hands.
pub(crate) struct Member {
    pub seat: Seat,
    projection: Box<dyn Projection<Sqlite>>,
    /// Its position when it was made: what is delivered again below it is not even looked up.
    since: Position,
}

impl Member {
    /// With nothing kept in memory yet.
    pub fn new(seat: Seat) -> Self {
        Self { projection: (seat.model.make)(), since: seat.position, seat }
    }

    /// The events that are for it.
    fn new_of(&self, batch: &Batch) -> Vec<Arc<RecordedEvent>> {
        let new = |event: &&Arc<RecordedEvent>| event.position > self.since && self.projection.takes(&event.stream);
        match self.seat.stopped {
            Some(_) => Vec::new(),
            None => batch.events.iter().filter(new).cloned().collect(),
        }
    }
}

/// Why a read model stops whose every other stream is parked.
fn too_many() -> String {
    format!("{MOST_PARKED} streams are parked: that is not their events; `parked()` shows why")
}

/// Applies a batch to members in one transaction; in none where it has nothing for any of them and no position is due. They go
/// in and come out; when it fails they are gone, with all that they remembered.
pub(crate) async fn write(
    writer: &mut Writer,
    store: &dyn EventStore,
    mut members: Vec<Member>,
    batch: &Batch,
) -> Result<(Vec<Member>, Vec<Applied>), Unwritten> {
    let events: Vec<_> = members.iter().map(|member| member.new_of(batch)).collect();
    if !batch.keeps && events.iter().all(Vec::is_empty) {
        let going = members.iter_mut().filter(|member| member.seat.stopped.is_none());
        going.for_each(|member| member.seat.position = member.seat.position.max(batch.up_to));
        let nothing = vec![Applied::default(); members.len()];
        return Ok((members, nothing));
    }
    let writing = async |sql: &mut Connection| {
        let mut all = Vec::with_capacity(members.len());
        for (Member { seat, projection, .. }, events) in members.iter_mut().zip(events) {
            let mut applied = Applied::default();
            if !events.is_empty() {
                applied = apply(&mut **projection, sql, store, &events, &mut seat.parked).await?;
            }
            close(sql, seat, batch)?;
            all.push(applied);
        }
        Ok((members, all))
    };
    writer.tx(writing).await
}

/// What follows the rows of a batch: parked streams are written, the position moves.
fn close(sql: &Connection, seat: &mut Seat, batch: &Batch) -> rusqlite::Result<()> {
    if seat.stopped.is_some() {
        return Ok(());
    }
    parked::write(sql, seat.model.name, &mut seat.parked)?;
    seat.position = seat.position.max(batch.up_to);
    seat.stopped = seat.parked.is_full().then(too_many);
    file::advance(sql, &seat.model, seat.position)
}

/// Applies a batch that SQLite refused to the members, to each in as many parts as it takes, in one transaction; the events at
/// fault are parked. A member none of whose events can be applied stops where it is.
pub(crate) async fn write_apart(
    writer: &mut Writer,
    store: &dyn EventStore,
    seats: Vec<Seat>,
    batch: &Batch,
) -> Result<(Vec<Member>, Vec<Applied>), Unwritten> {
    let writing = async |sql: &mut Connection| {
        let (mut done, mut all) = (Vec::with_capacity(seats.len()), Vec::with_capacity(seats.len()));
        for seat in seats {
            let (member, mut now) = (Member::new(seat.clone()), seat);
            let events = member.new_of(batch);
            let apart = apply_apart(now.model.make, sql, store, events, &mut now.parked).await?;
            if apart.stop.is_some() {
                // Nothing was applied.
                (now, now.stopped) = (member.seat, apart.stop);
                all.push(Applied::default());
            } else {
                close(sql, &mut now, batch)?;
                all.push(apart.applied);
            }
            done.push(Member::new(now));
        }
        Ok((done, all))
    };
    writer.tx(writing).await
}

/// Tries a parked stream again.
pub(crate) async fn retry(
    writer: &mut Writer,
    store: &dyn EventStore,
    mut seat: Seat,
    stream: &StreamName,
) -> Result<Seat, Unwritten> {
    let writing = async |sql: &mut Connection| {
        resume(seat.model.make, sql, store, stream, &mut seat.parked).await?;
        parked::write(sql, seat.model.name, &mut seat.parked)?;
        seat.stopped = seat.stopped.filter(|_| seat.parked.is_full());
        Ok(seat)
    };
    writer.tx(writing).await
}

/// Folds a read model again from the beginning of the log to its end, in one transaction: until it commits, readers see the
/// rows that were there, and when it does not, nothing has happened. `None`: the program stops.
pub(crate) async fn rebuild(
    writer: &mut Writer,
    store: &dyn EventStore,
    model: EmbeddedModel,
    stopping: &CancellationToken,
) -> Result<Option<(Seat, Applied)>, Unwritten> {
    let folding = async |sql: &mut Connection| {
        let end = end_of(store).await.map_err(std::io::Error::other)?;
        file::empty(sql, &model)?;
        let mut seat = Seat { model, position: Position::START, parked: Parked::default(), stopped: None };
        let (mut projection, mut all) = ((model.make)(), Applied::default());
        let limit = PageLimit { events: BATCH, bytes: BATCH_BYTES };
        while seat.position < end {
            if stopping.is_cancelled() {
                return Err(std::io::Error::from(std::io::ErrorKind::Interrupted).into());
            }
            let page = store.read_all_page(seat.position, Direction::Forward, limit).await;
            let page = page.map_err(std::io::Error::other)?;
            let Some(last) = page.last().map(|event| event.position) else { break };
            let events = page.into_iter().filter(|event| projection.takes(&event.stream)).map(Arc::new).collect();
            all.add(page_of(sql, store, &mut projection, events, &mut seat).await?);
            seat.position = last;
        }
        seat.stopped = seat.parked.is_full().then(too_many);
        parked::write(sql, model.name, &mut seat.parked)?;
        file::advance(sql, &model, seat.position)?;
        Ok((seat, all))
    };
    match writer.tx(folding).await {
        Err(Unwritten::Sqlite(SqliteError::Io(error))) if error.kind() == std::io::ErrorKind::Interrupted => Ok(None),
        done => done.map(Some),
    }
}

/// Applies one page of a rebuild, in parts where SQLite refuses it.
async fn page_of(
    sql: &mut Connection,
    store: &dyn EventStore,
    projection: &mut Box<dyn Projection<Sqlite>>,
    events: Vec<Arc<RecordedEvent>>,
    seat: &mut Seat,
) -> Result<Applied, SqliteError> {
    if events.is_empty() {
        return Ok(Applied::default());
    }
    let before = seat.parked.clone();
    savepoint::<Sqlite>(sql).await?;
    match apply(&mut **projection, sql, store, &events, &mut seat.parked).await {
        Ok(applied) => {
            release::<Sqlite>(sql).await?;
            return Ok(applied);
        }
        Err(error) if Sqlite::is_refusal(&error) => {}
        Err(error) => return Err(error),
    }
    roll_back::<Sqlite>(sql).await?;
    seat.parked = before;
    *projection = (seat.model.make)();
    let apart = apply_apart(seat.model.make, sql, store, events, &mut seat.parked).await?;
    match apart.stop {
        Some(why) => Err(std::io::Error::other(why).into()),
        None => Ok(apart.applied),
    }
}
