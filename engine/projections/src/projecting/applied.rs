//! `applied`: up to which version a projection without a row per stream has followed each stream. It is what makes a
//! sum safe to add to: the mark moves in the transaction that adds. Only the last version of a stream is kept, and only
//! of streams that have added: what adds nothing is passed by in memory, which saves most of the writes.

use std::collections::HashSet;
use std::sync::Arc;

use event_store::{RecordedEvent, StreamName};
use sqlx::{PgConnection, Row as _};

use crate::projecting::changes::{Changes, Head, column};

/// The table, one for the read models of a schema. Its key begins with the stream, so that looking some up never reads through all of a projection's. `memo` is what the projection must remember of the stream for its later events.
pub const DDL: &str = "
create table if not exists applied (
    projection text collate \"C\" not null, stream text collate \"C\" not null, memo text not null,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null,
    primary key (stream, projection)
) with (fillfactor = 80);
";

const LOAD: &str = "
select a.stream, a.memo, a.stream_version, a.global_position, a.updated_at
from unnest($2::text[]) as wanted(stream)
join applied as a on a.stream = wanted.stream collate \"C\" and a.projection = $1";

const UPSERT: &str = "
insert into applied as a
select $1, * from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[])
on conflict (stream, projection) do update set (memo, stream_version, global_position, updated_at)
  = (excluded.memo, excluded.stream_version, excluded.global_position, excluded.updated_at)
where a.stream_version < excluded.stream_version";

/// The marks of one projection.
#[derive(Debug, Default)]
pub struct Marks {
    marks: Changes<Mark>,
}

/// What is remembered of a stream that has added.
#[derive(Debug, Default)]
struct Mark {
    memo: String,
    /// At the last event that added. What was passed by since is not written, so that rows do not depend on batches.
    added: Option<Head>,
}

impl Marks {
    /// Looks up the marks of these events' streams.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn load(
        &mut self,
        sql: &mut PgConnection,
        projection: &str,
        events: &[Arc<RecordedEvent>],
    ) -> Result<(), sqlx::Error> {
        let missing: HashSet<StreamName> = self.marks.missing(events.iter().map(AsRef::as_ref)).into_iter().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = missing.iter().map(StreamName::as_str).collect();
        for row in sqlx::query(LOAD).bind(projection).bind(names).fetch_all(sql).await? {
            let head = Head::stored(row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            let name: &str = row.try_get(0)?;
            if let Ok(stream) = name.parse() {
                self.marks.loaded(stream, head, Mark { memo: row.try_get(1)?, added: Some(head) });
            }
        }
        Ok(())
    }

    /// The version up to which a stream has been followed.
    pub fn version(&self, stream: &StreamName) -> Option<u64> {
        self.marks.version(stream)
    }

    /// Passes by an event that adds nothing, and gives the stream's memo. What is put there is written with the next event
    /// that adds; a mark that is forgotten before that is made again from the log.
    pub fn pass(&mut self, event: &RecordedEvent) -> &mut String {
        &mut self.marks.pass(event).memo
    }

    /// Moves the mark to an event that adds, and gives its memo.
    pub fn mark(&mut self, event: &RecordedEvent) -> &mut String {
        let mark = self.marks.row(event);
        mark.added = Some(Head::of(event));
        &mut mark.memo
    }

    /// Writes the marks that moved. Whether there were any.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn write(&mut self, sql: &mut PgConnection, projection: &str) -> Result<bool, sqlx::Error> {
        let changed: Vec<_> = self
            .marks
            .changed()
            .into_iter()
            .filter_map(|(s, row)| Some((s, row.value.added?, &row.value.memo)))
            .collect();
        if changed.is_empty() {
            return Ok(false);
        }
        sqlx::query(UPSERT)
            .bind(projection)
            .bind(column(&changed, |(stream, ..)| stream.to_string()))
            .bind(column(&changed, |(.., memo)| (*memo).clone()))
            .bind(column(&changed, |(_, added, _)| added.version_column()))
            .bind(column(&changed, |(_, added, _)| added.position_column()))
            .bind(column(&changed, |(_, added, _)| added.updated_at))
            .execute(sql)
            .await?;
        self.marks.written();
        Ok(true)
    }
}
