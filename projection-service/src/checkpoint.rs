//! Checkpoints and the fence: what makes it safe that rows are written by whoever runs.
//!
//! `backstitch.projection_checkpoints` has a row per (projection, generation, partition): the position up to which its
//! rows are written, and the epoch of the runner that may write them. A runner that starts raises the epoch; a batch of
//! an older epoch does not commit. Rows, position and the look at the epoch are one transaction.

use event_store::Position;
use service_kit::pg;
use sqlx::{PgConnection, PgPool};

use crate::changes::{signed, unsigned};

/// The table.
pub(crate) const DDL: &str = "
create table if not exists backstitch.projection_checkpoints (
    projection text not null, generation integer not null, partition integer not null,
    position bigint not null, epoch bigint not null,
    primary key (projection, generation, partition));
";

/// The partition of the feed: there is one, the log itself.
const PARTITION: i32 = 0;

const TAKE_OVER: &str = "
insert into backstitch.projection_checkpoints as c (projection, generation, partition, position, epoch)
select projection, generation, $3, 0, 1 from unnest($1::text[], $2::integer[]) as s(projection, generation)
on conflict (projection, generation, partition) do update set epoch = c.epoch + 1
returning projection, generation, position, epoch";

const ADVANCE: &str = "
update backstitch.projection_checkpoints as c set position = greatest(c.position, n.position)
from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) as n(projection, generation, position, epoch)
where c.projection = n.projection and c.generation = n.generation and c.partition = $5 and c.epoch = n.epoch";

/// Which rows: those of a read model in one of its generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The read model.
    pub projection: &'static str,
    /// The generation of its tables, from 1.
    pub generation: i32,
}

/// Where a slice stands, and under which epoch its runner writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything at or below is in the rows.
    pub position: Position,
    /// The epoch of the runner.
    pub epoch: i64,
}

/// Raises the epoch of these slices, so that any other runner's next batch fails, and says where they stand.
///
/// # Errors
/// What Postgres says.
pub async fn take_over(pool: &PgPool, slices: Vec<Slice>) -> Result<Vec<(Slice, Checkpoint)>, sqlx::Error> {
    let rows: Vec<(String, i32, i64, i64)> = {
        let names: Vec<&str> = slices.iter().map(|slice| slice.projection).collect();
        let generations: Vec<i32> = slices.iter().map(|slice| slice.generation).collect();
        pg::tx(pool, "backstitch", move |sql| {
            Box::pin(async move {
                sqlx::query_as(TAKE_OVER).bind(names).bind(generations).bind(PARTITION).fetch_all(sql).await
            })
        })
        .await?
    };
    let checkpoint = |slice: &Slice| {
        let (.., position, epoch) =
            rows.iter().find(|(name, generation, ..)| name == slice.projection && *generation == slice.generation)?;
        Some(Checkpoint { position: Position(unsigned(*position)), epoch: *epoch })
    };
    Ok(slices.iter().filter_map(|slice| Some((*slice, checkpoint(slice)?))).collect())
}

/// Moves checkpoints inside the transaction that writes the rows. `false`: another runner has taken over, and the
/// transaction must not commit.
///
/// # Errors
/// What Postgres says.
pub async fn advance(sql: &mut PgConnection, moves: &[(Slice, Checkpoint)]) -> Result<bool, sqlx::Error> {
    let names: Vec<&str> = moves.iter().map(|(slice, _)| slice.projection).collect();
    let generations: Vec<i32> = moves.iter().map(|(slice, _)| slice.generation).collect();
    let positions: Vec<i64> = moves.iter().map(|(_, to)| signed(to.position.0)).collect();
    let epochs: Vec<i64> = moves.iter().map(|(_, to)| to.epoch).collect();
    let done = sqlx::query(ADVANCE)
        .bind(names)
        .bind(generations)
        .bind(positions)
        .bind(epochs)
        .bind(PARTITION)
        .execute(sql)
        .await?;
    Ok(done.rows_affected() == moves.len() as u64)
}
