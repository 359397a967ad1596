//! Where a consumer group stands: a row per partition, moved in the transaction of the handlers' rows.
//!
//! *Invariant:* a row moves only from where the mover believes it to be. So of two consumers that both believe a partition
//! to be theirs (one was paused and has woken), one commits and the other finds its work rolled back.

use sqlx::{PgConnection, PgPool};

use crate::dead_letter;

const DDL: &str = "
create table if not exists bus_offsets (
    consumer_group text not null, topic text not null, partition integer not null,
    next_offset bigint not null, position bigint not null, mark text not null,
    updated_at timestamptz not null default now(), primary key (consumer_group, topic, partition))";

const LOAD: &str = "
select next_offset, position, mark from bus_offsets where consumer_group = $1 and topic = $2 and partition = $3";

const BEGIN: &str = "
insert into bus_offsets (consumer_group, topic, partition, next_offset, position, mark) values ($1, $2, $3, 0, 0, '')
on conflict do nothing";

const MOVE: &str = "
update bus_offsets set (next_offset, position, mark, updated_at) = ($4, $5, $6, now())
where consumer_group = $1 and topic = $2 and partition = $3 and next_offset = $7 and mark = $8";

/// One program after the other makes the tables.
const LOCK: &str = "select pg_advisory_xact_lock(hashtext('backstitch.event-bus'))";

/// The consumer group and the partition that offsets belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub group: String,
    pub topic: String,
    pub partition: i32,
}

/// How far a partition is dealt with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The offset of the next record.
    pub next_offset: i64,
    /// The highest position of the log that was dealt with; what comes at or below is a repeat. 0: none.
    pub position: i64,
    /// What the last record looked like. If the topic has another one there, it was made anew. Empty: not known.
    pub mark: String,
}

/// Makes the tables if they are absent.
pub(crate) async fn prepare(pool: &PgPool, schema: &str) -> Result<(), sqlx::Error> {
    service_kit::pg::tx(pool, schema, |connection| {
        Box::pin(async move {
            sqlx::query(LOCK).execute(&mut *connection).await?;
            for statement in [DDL, dead_letter::DDL, dead_letter::BY_PLACE, dead_letter::BY_ASKED] {
                sqlx::query(statement).execute(&mut *connection).await?;
            }
            Ok(())
        })
    })
    .await
}

/// Where the partition stands. The first time: at its beginning.
pub(crate) async fn load(connection: &mut PgConnection, place: &Place) -> Result<Reached, sqlx::Error> {
    sqlx::query(BEGIN).bind(&place.group).bind(&place.topic).bind(place.partition).execute(&mut *connection).await?;
    let (next_offset, position, mark) =
        sqlx::query_as(LOAD).bind(&place.group).bind(&place.topic).bind(place.partition).fetch_one(connection).await?;
    Ok(Reached { next_offset, position, mark })
}

/// Moves the partition on; `false`: somebody else has moved it, and nothing may be committed.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    place: &Place,
    from: &Reached,
    to: &Reached,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(MOVE)
        .bind(&place.group)
        .bind(&place.topic)
        .bind(place.partition)
        .bind(to.next_offset)
        .bind(to.position)
        .bind(&to.mark)
        .bind(from.next_offset)
        .bind(&from.mark)
        .execute(connection)
        .await?;
    Ok(moved.rows_affected() == 1)
}
