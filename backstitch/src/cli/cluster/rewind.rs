//! `backstitch cluster rewind`: what was made from a log goes back with it when it is restored from an older backup.
//!
//! The topic and the read models have seen events that the restored log does not have, and it gives their positions to new
//! ones. Both refuse to go on then (`BusError::AnotherLog`, "the read models have seen …"), until somebody says that
//! the restore was meant. Nothing is lost by this verb that the log has: both are made from it again.

use std::path::Path;
use std::time::Duration;

use event_bus::{BusConfig, BusError, status, topics};
use event_store::{Direction, EventStore as _, EventStoreConfig, Filter, KurrentStore, Position};
use projection_service::config::{PostgresConfig, place};
use serde::{Deserialize, Serialize};
use service_kit::config;
use service_kit::secret::SecretUrl;
use sqlx::{Connection as _, PgConnection};
use terminal::{Exit, Failure, output};

use crate::cli::processes::relay;
use crate::cli::server::acting::Acting;

/// How long to wait for a connection to Postgres.
const CONNECT_BOUND: Duration = Duration::from_secs(20);

const SEEN: &str = "select max(position) from backstitch.projection_checkpoints";
const THERE: &str = "select to_regclass('backstitch.projection_checkpoints') is not null";
const DROP: &str = "
set lock_timeout = '20s';
do $$ declare name text; begin
    for name in select nspname from pg_namespace
        where nspname in ('backstitch', 'live') or nspname ~ '^read_[0-9]+$' or nspname ~ '^replay_' loop
        execute format('drop schema %I cascade', name);
    end loop;
end $$;";

/// What to do, and whether to ask.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The restored log is the one to go on with: what was made from later events is dropped and made again.
    #[arg(long)]
    accept_restore: bool,
    /// Do it without asking.
    #[arg(long, short)]
    yes: bool,
    /// The settings file [default: backstitch.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// What it takes of all settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Settings {
    /// `[event_store]`: the restored log.
    event_store: EventStoreConfig,
    /// `[bus]`: the topic that was filled from it.
    bus: BusConfig,
    /// `[postgres]`: the read models that were folded from it.
    postgres: PostgresConfig,
}

/// How far everything is.
#[derive(Debug, Serialize)]
struct Found {
    /// Where the log ends.
    log: Position,
    /// The last position that the topic holds; none: there is no such topic, or no Kafka is named.
    topic: Option<Position>,
    /// The last position that the read models have seen; none: there are none, or no Postgres is named.
    read_models: Option<Position>,
    /// Whether what is ahead of the log was dropped.
    rewound: bool,
}

impl Args {
    /// Looks, and with `--accept-restore` drops what is ahead of the log.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        let settings = settings(self.config.as_deref())?;
        let store = relay::open(&settings.event_store).await?;
        let mut found = Found {
            log: end_of(&store).await?,
            topic: topic(&settings.bus).await?,
            read_models: read_models(&settings.postgres).await?,
            rewound: false,
        };
        store.close();
        let ahead = found.ahead(&settings);
        if ahead.is_empty() {
            return self.tell(&found, &format!("nothing is ahead of the log, which ends at position {}", found.log));
        }
        let what = format!("The log ends at position {}.\n{}", found.log, ahead.join("\n"));
        if !self.accept_restore {
            return Err(Failure::no(
                format_args!("{what}\nEither the log is not the right one, or it was restored from an older backup"),
                "backstitch cluster rewind --accept-restore   # if the restore was meant: these are made from the log again",
            ));
        }
        let acting = Acting { yes: self.yes, actor: String::new(), reason: None };
        if !acting.sure(&format!("{what}\nThey are dropped, and made from the log again."))? {
            return Ok(Exit::No);
        }
        found.rewind(&settings).await?;
        self.tell(&found, &DONE.replace("{log}", &found.log.to_string()))
    }

    fn tell(&self, found: &Found, what: &str) -> anyhow::Result<Exit> {
        match self.json {
            true => output::json(found)?,
            false => output::line(what),
        }
        Ok(Exit::Done)
    }
}

/// What people must do besides.
const DONE: &str = "\
What was ahead of position {log} is dropped. Now
  restart the command services and the orchestrators: they remember streams as they were
  start the relay and the projection services: they fill the topic and the tables from the log
  have consumers of other teams undo what they did for later events, and move their offsets to the topic's begin
  compare the provider's own account with the payments: it knows of captures and refunds that the log does not";

impl Found {
    /// What has seen more than the log holds.
    fn ahead(&self, settings: &Settings) -> Vec<String> {
        let beyond = |seen: Option<Position>| seen.filter(|seen| *seen > self.log);
        let topic = beyond(self.topic).map(|seen| format!("The topic `{}` holds position {seen}.", settings.bus.topic));
        let at = settings.postgres.url.as_ref().map(place).unwrap_or_default();
        let models = beyond(self.read_models).map(|seen| format!("The read models in {at} have seen position {seen}."));
        topic.into_iter().chain(models).collect()
    }

    async fn rewind(&mut self, settings: &Settings) -> anyhow::Result<()> {
        if self.read_models.is_some_and(|seen| seen > self.log) {
            let mut sql = connect(&settings.postgres).await?;
            sqlx::raw_sql(DROP).execute(&mut sql).await.map_err(|error| unanswered(&settings.postgres, &error))?;
        }
        if self.topic.is_some_and(|seen| seen > self.log) {
            topics::delete(&settings.bus, &settings.bus.topic).await.map_err(|error| {
                Failure::no_answer(error, format!("kafka-topics.sh --delete --topic {}", settings.bus.topic))
            })?;
        }
        self.rewound = true;
        Ok(())
    }
}

/// Where the log ends, asked of the log itself: what is not known must never pass for an empty log.
async fn end_of(store: &KurrentStore) -> anyhow::Result<Position> {
    let last = store.read_all(Position(u64::MAX), Direction::Backward, 1, &Filter::default()).await;
    let last = last.map_err(|error| Failure::no_answer(error, "backstitch store stats"))?;
    Ok(last.first().map_or(Position::START, |event| event.position))
}

fn settings(file: Option<&Path>) -> anyhow::Result<Settings> {
    config::load(config::file(file).as_deref()).map_err(|error| Failure::no_answer(error, "backstitch config check"))
}

async fn topic(bus: &BusConfig) -> anyhow::Result<Option<Position>> {
    if bus.brokers.is_none() {
        return Ok(None);
    }
    match status::status(bus).await {
        Ok(status) => Ok(status.partitions.iter().map(|partition| partition.position).max()),
        Err(BusError::Topic { .. }) => Ok(None), // It does not exist: nothing in it can be ahead.
        Err(error) => Err(Failure::no_answer(error, "backstitch bus status")),
    }
}

async fn read_models(postgres: &PostgresConfig) -> anyhow::Result<Option<Position>> {
    if postgres.url.is_none() {
        return Ok(None);
    }
    let mut sql = connect(postgres).await?;
    let failed = |error| unanswered(postgres, &error);
    if !sqlx::query_scalar::<_, bool>(THERE).fetch_one(&mut sql).await.map_err(failed)? {
        return Ok(None);
    }
    let seen: Option<i64> = sqlx::query_scalar(SEEN).fetch_one(&mut sql).await.map_err(failed)?;
    Ok(seen.map(|seen| Position(u64::try_from(seen).unwrap_or(0))))
}

async fn connect(postgres: &PostgresConfig) -> anyhow::Result<PgConnection> {
    let url = postgres.url.as_ref().map_or("", SecretUrl::reveal);
    let connected = tokio::time::timeout(CONNECT_BOUND, PgConnection::connect(url)).await;
    let connected = connected.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    connected.map_err(|error| unanswered(postgres, &error))
}

fn unanswered(postgres: &PostgresConfig, error: &sqlx::Error) -> anyhow::Error {
    let at = postgres.url.as_ref().map(place).unwrap_or_default();
    Failure::no_answer(format_args!("{at}: {error}"), "psql \"$DATABASE_URL\" -c 'select 1'")
}
