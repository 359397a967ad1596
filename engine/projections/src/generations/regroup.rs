//! Which generations are fed is in Postgres. A process that changes that asks the feeding replicas to look again, and waits.
//!
//! In one process there is one runner, asked and heard in memory. In a cluster the question is a number in
//! `backstitch.feed` that only rises; each replica looks at it (`board.rs`), and each partition's runner writes the number
//! at which it last looked into `backstitch.feeders`. *Invariant:* a runner reads the number before it reads the
//! generations, so that what it answers for is what it feeds.

use std::time::Duration;

use engine_runtime::pg;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::database::{ANSWER_BOUND, Database};

/// How long the runners of a cluster may take. A replica that does not answer for so long is gone, and its partitions are
/// on their way to others; what it still writes is fenced by the epoch, not by this wait.
const ALL_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at who has answered.
const LOOK: Duration = Duration::from_millis(25);

const REVISION: &str = "select revision from backstitch.feed";
const REVISE: &str = "update backstitch.feed set revision = revision + 1 returning revision";
const FEED: &str = "
insert into backstitch.feeders (partition, owner, revision) values ($1, $2, $3)
on conflict (partition) do update set (owner, revision) = (excluded.owner, excluded.revision)";
const ALL_FEED: &str = "
select (select partitions from backstitch.feed) = (select count(*) from backstitch.feeders where revision >= $1)";

/// Asks the runners to feed other generations, and tells when they do.
#[derive(Debug, Default)]
pub struct Regroup {
    asked: watch::Sender<i64>,
    done: watch::Sender<i64>,
    /// The database over which the runners of a cluster hear of it.
    across: Option<Database>,
}

impl Regroup {
    /// Of all replicas over one database.
    pub(crate) fn across(database: Database) -> Self {
        Self { across: Some(database), ..Self::default() }
    }

    /// Whether other replicas are asked too.
    pub(crate) fn is_across(&self) -> bool {
        self.across.is_some()
    }

    /// Lets the runners read anew which generations are to be fed; answers once they feed those. Safe to drop.
    pub async fn ask(&self) {
        let Some(database) = &self.across else { return self.ask_here().await };
        match self.ask_all(database).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("not every partition's runner has looked at the generations; going on"),
            Err(error) => tracing::warn!(%error, "the runners cannot be asked to look at the generations"),
        }
    }

    async fn ask_here(&self) {
        let mut done = self.done.subscribe();
        self.asked.send_modify(|asked| *asked += 1);
        let asked = *self.asked.borrow();
        // The sender lives in `self`: the wait ends only when it has come true.
        _ = done.wait_for(|done| *done >= asked).await;
    }

    async fn ask_all(&self, database: &Database) -> Result<bool, sqlx::Error> {
        let Some(pool) = database.writer().await? else { return Ok(false) };
        let asked: i64 =
            pg::tx(&pool, "backstitch", |sql| Box::pin(async move { sqlx::query_scalar(REVISE).fetch_one(sql).await }))
                .await?;
        self.notice(asked);
        let deadline = Instant::now() + ALL_WITHIN;
        loop {
            let asks = async |sql: &mut PgConnection| sqlx::query_scalar(ALL_FEED).bind(asked).fetch_one(sql).await;
            if pg::ask(&pool, ANSWER_BOUND, asks).await? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The number in Postgres has been seen to be this.
    pub(crate) fn notice(&self, revision: i64) {
        self.asked.send_if_modified(|asked| {
            let rose = revision > *asked;
            *asked = revision.max(*asked);
            rose
        });
    }

    /// The number before the generations are read.
    pub(crate) async fn begin(&self, pool: &PgPool) -> Result<i64, sqlx::Error> {
        match self.across {
            None => Ok(*self.asked.borrow()),
            Some(_) => {
                let asks = async |sql: &mut PgConnection| sqlx::query_scalar(REVISION).fetch_one(sql).await;
                pg::ask(pool, ANSWER_BOUND, asks).await
            }
        }
    }

    /// A partition's runner feeds what was there at this number.
    pub(crate) async fn feeds(
        &self,
        pool: &PgPool,
        (partition, owner): (u32, &str),
        revision: i64,
    ) -> Result<(), sqlx::Error> {
        if self.across.is_none() {
            self.done.send_replace(revision);
            return Ok(());
        }
        let (partition, owner) = (i64::from(partition), owner.to_owned());
        pg::tx(pool, "backstitch", move |sql| {
            Box::pin(async move {
                sqlx::query(FEED).bind(partition).bind(owner).bind(revision).execute(sql).await.map(|_| ())
            })
        })
        .await
    }

    /// Waits until a runner that looked at this number has to look again. Safe to drop.
    pub(crate) async fn outdated(&self, revision: i64) {
        let mut asked = self.asked.subscribe();
        // The sender lives in `self`: the wait ends only when it has come true.
        _ = asked.wait_for(|asked| *asked > revision).await;
    }
}
