//! Checkpoints and the fence: what makes it safe that any replica may write the rows.
//!
//! `backstitch.projection_checkpoints` has a row per (projection, generation, partition): the position up to which the
//! partition's events are in the rows, and the epoch of the runner that may write them. A runner that starts raises the
//! epoch; a batch of an older epoch does not commit. Rows, position and the look at the epoch are one transaction.
//!
//! `backstitch.feed` says how many partitions there are. *Invariant:* each generation has a checkpoint for each of them;
//! so the lowest is what all of its rows reflect. When the number changes, all partitions go on from the lowest.

use engine_runtime::pg;
use event_store::Position;
use sqlx::{PgConnection, PgPool};

use crate::projecting::changes::{signed, unsigned};

/// The tables. `owner`: who moves it, for people. `stopped`: why it goes no further. `feeders`: which revision of the
/// generations (`regroup.rs`) each partition's runner feeds.
pub(crate) const DDL: &str = "
create table if not exists backstitch.projection_checkpoints (
    projection text not null, generation integer not null, partition integer not null,
    position bigint not null, epoch bigint not null, owner text, stopped text,
    primary key (projection, generation, partition));
do $$ begin
    if not exists (select from information_schema.columns where table_schema = 'backstitch'
            and table_name = 'projection_checkpoints' and column_name = 'stopped') then
        alter table backstitch.projection_checkpoints add column owner text, add column stopped text;
    end if;
end $$;
create table if not exists backstitch.feed (
    one boolean primary key default true check (one), partitions integer not null, revision bigint not null);
create table if not exists backstitch.feeders (
    partition integer primary key, owner text not null, revision bigint not null);
insert into backstitch.feed (partitions, revision) values (1, 0) on conflict do nothing;
";

const DIVIDED: &str = "select partitions from backstitch.feed for update";

/// Before, each generation stood where its lowest partition did; one without all of its rows, nowhere.
const DIVIDE: &str = "
insert into backstitch.projection_checkpoints as c (projection, generation, partition, position, epoch)
select s.projection, s.generation, p, s.position, s.epoch
from (select g.projection, g.generation, coalesce(max(c.epoch), 0) + 1 as epoch,
        case when count(c.partition) = $2 then min(c.position) else 0 end as position
    from backstitch.generations g left join backstitch.projection_checkpoints c using (projection, generation)
    group by g.projection, g.generation) s, generate_series(0, $1 - 1) p
on conflict (projection, generation, partition) do update set (position, epoch, owner, stopped)
  = (excluded.position, excluded.epoch, null, null)";

const DROP_OTHERS: &str = "
with gone as (delete from backstitch.projection_checkpoints where partition >= $1),
    feeders as (delete from backstitch.feeders)
update backstitch.feed set partitions = $1, revision = revision + 1";

const COMPLETE: &str = "
insert into backstitch.projection_checkpoints (projection, generation, partition, position, epoch)
select g.projection, g.generation, p, 0, 0
from backstitch.generations g, backstitch.feed f, generate_series(0, f.partitions - 1) p
on conflict do nothing";

const TAKE_OVER: &str = "
insert into backstitch.projection_checkpoints as c (projection, generation, partition, position, epoch, owner)
select s.projection, s.generation, p.partition, 0, 1, $4
from unnest($1::text[], $2::integer[]) as s(projection, generation), unnest($3::integer[]) as p(partition)
on conflict (projection, generation, partition) do update set epoch = c.epoch + 1, owner = $4, stopped = null
returning projection, generation, position, epoch";

const ADVANCE: &str = "
update backstitch.projection_checkpoints as c set position = greatest(c.position, n.position)
from unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[])
    as n(projection, generation, partition, position, epoch, stored)
where c.projection = n.projection and c.generation = n.generation
  and (n.partition is null or c.partition = n.partition) and c.epoch = n.epoch and c.position >= n.stored";

const STOP: &str = "
update backstitch.projection_checkpoints set stopped = $5
where projection = $1 and generation = $2 and partition = $3 and epoch = $4";

/// Which rows: those of a read model in one of its generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The name of the read model.
    pub projection: &'static str,
    /// The generation of its tables, from 1.
    pub generation: i32,
}

/// Whose events somebody folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Those of one partition, from 0.
    Partition(u32),
    /// Those of all so many partitions: who reads the log itself moves all their checkpoints together.
    Whole(u32),
}

impl Share {
    fn partitions(self) -> Vec<i32> {
        match self {
            Self::Partition(one) => vec![number(one)],
            Self::Whole(count) => (0..number(count)).collect(),
        }
    }

    fn one(self) -> Option<i32> {
        match self {
            Self::Partition(one) => Some(number(one)),
            Self::Whole(_) => None,
        }
    }
}

/// A number for an `integer` column: there are never more partitions than Kafka takes, some thousands.
fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Where a slice stands with a share of the events, and under which epoch its runner writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The share of the events that the checkpoint is about.
    pub share: Share,
    /// Everything of them at or below is in the rows.
    pub position: Position,
    /// The epoch of the runner.
    pub epoch: i64,
    /// Where Postgres was last told that it stands. A server that says less has lost commits: it took the place of one
    /// that had not sent them to it yet.
    pub stored: Position,
}

impl Checkpoint {
    /// The same once it is written.
    #[must_use]
    pub fn written(self) -> Self {
        Self { stored: self.position, ..self }
    }
}

/// Divides the checkpoints of all generations among so many partitions, if they are not so divided already; those that
/// wrote before are fenced then.
///
/// # Errors
/// What Postgres says.
pub async fn divide(sql: &mut PgConnection, partitions: u32) -> Result<(), sqlx::Error> {
    let before: i32 = sqlx::query_scalar(DIVIDED).fetch_one(&mut *sql).await?;
    let partitions = number(partitions);
    if before != partitions {
        tracing::info!(
            before,
            partitions,
            "the events are divided anew; all partitions go on from the lowest position"
        );
        sqlx::query(DIVIDE).bind(partitions).bind(i64::from(before)).execute(&mut *sql).await?;
        sqlx::query(DROP_OTHERS).bind(partitions).execute(&mut *sql).await?;
    }
    complete(sql).await
}

/// Gives each generation that has none a checkpoint for each partition, at the beginning.
///
/// # Errors
/// What Postgres says.
pub async fn complete(sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(COMPLETE).execute(sql).await.map(|_| ())
}

/// Raises the epoch of these slices for a share, so that any other runner's next batch of it fails, and says where they
/// stand.
///
/// # Errors
/// What Postgres says.
pub async fn take_over(
    pool: &PgPool,
    slices: Vec<Slice>,
    share: Share,
    owner: &str,
) -> Result<Vec<(Slice, Checkpoint)>, sqlx::Error> {
    let rows: Vec<(String, i32, i64, i64)> = {
        let names: Vec<&str> = slices.iter().map(|slice| slice.projection).collect();
        let generations: Vec<i32> = slices.iter().map(|slice| slice.generation).collect();
        let (partitions, owner) = (share.partitions(), owner.to_owned());
        pg::tx(pool, "backstitch", move |sql| {
            Box::pin(async move {
                let taken = sqlx::query_as(TAKE_OVER).bind(names).bind(generations).bind(partitions).bind(owner);
                taken.fetch_all(sql).await
            })
        })
        .await?
    };
    let checkpoint = |slice: &Slice| {
        let own = rows.iter().filter(|(name, of, ..)| name == slice.projection && *of == slice.generation);
        let (.., position, epoch) = own.min_by_key(|(.., position, _)| *position)?;
        let position = Position(unsigned(*position));
        Some(Checkpoint { share, position, epoch: *epoch, stored: position })
    };
    Ok(slices.iter().filter_map(|slice| Some((*slice, checkpoint(slice)?))).collect())
}

/// Moves checkpoints inside the transaction that writes the rows. `false`: another runner has taken over, or Postgres has lost
/// what was committed before; the transaction must not commit, and what is in memory is of no use.
///
/// # Errors
/// What Postgres says.
pub async fn advance(sql: &mut PgConnection, moves: &[(Slice, Checkpoint)]) -> Result<bool, sqlx::Error> {
    let names: Vec<&str> = moves.iter().map(|(slice, _)| slice.projection).collect();
    let generations: Vec<i32> = moves.iter().map(|(slice, _)| slice.generation).collect();
    let partitions: Vec<Option<i32>> = moves.iter().map(|(_, to)| to.share.one()).collect();
    let positions: Vec<i64> = moves.iter().map(|(_, to)| signed(to.position.0)).collect();
    let epochs: Vec<i64> = moves.iter().map(|(_, to)| to.epoch).collect();
    let stored: Vec<i64> = moves.iter().map(|(_, to)| signed(to.stored.0)).collect();
    let done = sqlx::query(ADVANCE).bind(names).bind(generations).bind(partitions).bind(positions).bind(epochs);
    let done = done.bind(stored);
    let rows: usize = moves.iter().map(|(_, to)| to.share.partitions().len()).sum();
    Ok(done.execute(sql).await?.rows_affected() == rows as u64)
}

/// Writes down why a slice goes no further with a partition, for those who look at it from elsewhere.
///
/// # Errors
/// What Postgres says.
pub async fn tell_stopped(pool: &PgPool, slice: Slice, at: Checkpoint, why: String) -> Result<(), sqlx::Error> {
    pg::tx(pool, "backstitch", move |sql| {
        Box::pin(async move {
            let stop = sqlx::query(STOP).bind(slice.projection).bind(slice.generation).bind(at.share.one());
            stop.bind(at.epoch).bind(why).execute(sql).await.map(|_| ())
        })
    })
    .await
}
