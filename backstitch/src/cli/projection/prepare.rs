//! `backstitch projection prepare`: the tables of this release, made before any service needs them.

use std::path::Path;
use std::time::Duration;

use event_bus::BusConfig;
use projection_service::config::{PostgresConfig, place};
use projection_service::{generations, projections};
use serde::Deserialize;
use service_kit::config;
use sqlx::Connection as _;
use sqlx::postgres::PgPoolOptions;
use terminal::output::{self, Table, Tone};
use terminal::{Exit, Failure};

/// How long to wait for a connection. A job that runs this tries it again.
const CONNECT_BOUND: Duration = Duration::from_secs(20);

/// How long to wait before looking again whether a replica has made the indexes that it is making.
const INDEXES_AGAIN: Duration = Duration::from_secs(1);

/// What it takes of all settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `[postgres]`: where the read models are.
    pub postgres: PostgresConfig,
    /// `[bus]`: into how many partitions the feed is divided. Each has a checkpoint of its own.
    pub bus: BusConfig,
}

/// Makes what is missing, as a projection service does at its start, and lists what is there.
///
/// # Errors
/// A [`Failure`].
pub(super) async fn prepare(file: Option<&Path>, json: bool) -> anyhow::Result<Exit> {
    let settings: Settings = config::load(config::file(file).as_deref())
        .map_err(|error| Failure::no_answer(error, "backstitch config check"))?;
    let Some(url) = &settings.postgres.url else {
        return Err(Failure::no_answer(
            "no database is named: `url` in `[postgres]` is not set",
            "DATABASE_URL=postgres://user:password@host/database backstitch projection prepare",
        ));
    };
    let failed = |what: &str, error: sqlx::Error| {
        Failure::no_answer(format!("{}: {what}: {error}", place(url)), "psql \"$DATABASE_URL\" -c 'select 1'")
    };
    // A pool would go on knocking until its time is up; whether somebody is there is told at once.
    let there = tokio::time::timeout(CONNECT_BOUND, sqlx::PgConnection::connect(url.reveal())).await;
    let there = there.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
    there.map_err(|error| failed("cannot be reached", error))?.close().await.ok();
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_BOUND).connect(url.reveal()).await;
    let pool = pool.map_err(|error| failed("cannot be reached", error))?;
    let models = projections::read_models();
    generations::prepare(&pool, &models, settings.bus.partitions).await.map_err(|error| failed("the tables", error))?;
    while !generations::complete_indexes(&pool, &models).await.map_err(|error| failed("the indexes", error))? {
        tokio::time::sleep(INDEXES_AGAIN).await; // A replica is making some.
    }
    let all = generations::all(&pool, &models).await.map_err(|error| failed("the generations", error))?;
    pool.close().await;
    if json {
        let one = |it: &generations::Generation| serde_json::json!({ "projection": it.model.name, "generation": it.number, "stage": it.stage.as_str(), "schema": it.schema });
        output::list(&all.iter().map(one).collect::<Vec<_>>(), false)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["projection", ">generation", "stage", "schema"]);
    for it in &all {
        let cells = [it.model.name.to_owned(), it.number.to_string(), it.stage.as_str().to_owned(), it.schema.clone()];
        table.row(Tone::Plain, cells);
    }
    table.print();
    Ok(Exit::Done)
}
