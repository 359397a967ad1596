//! How far the read models of a data folder have come: asked in their Postgres, which is a given one, the private one that
//! a running server has, or the private one, started for the question.
//!
//! *Invariant:* a private Postgres is started only while this process holds the folder: a start ends what is left of
//! another server's.

use std::fs;
use std::path::Path;

use all_in_one::read_models::{DATABASE, Source};
use event_store::{OpenError, Position, sqlite};
use serde::Serialize;
use service_kit::postgres::{PrivatePostgres, Settings};
use service_kit::secret::SecretUrl;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};
use uuid::Uuid;

const IS_THERE: &str = "select to_regclass('backstitch.projection_checkpoints') is not null
    and to_regclass('backstitch.generations') is not null";
const CHECKPOINTS: &str = "select c.projection, c.generation, g.state, c.position, g.log
    from backstitch.projection_checkpoints c left join backstitch.generations g using (projection, generation)
    order by c.projection, c.generation, c.partition";

/// Where one read model stands.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Checkpoint {
    pub projection: String,
    pub generation: i32,
    /// What the generation is for; none: nobody says.
    pub state: Option<String>,
    pub position: Position,
    /// The first event of the log that it is folded from.
    pub log: Option<Uuid>,
}

/// What Postgres said.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Asked {
    /// Which Postgres; never a password.
    pub of: String,
    /// Why it was not asked.
    pub not_asked: Option<String>,
    pub checkpoints: Vec<Checkpoint>,
}

/// Asks the read models' Postgres of a folder.
pub(super) async fn ask(dir: &Path, given: Option<&SecretUrl>) -> Asked {
    let (of, answer) = match given {
        Some(url) => (Source::Given(url.clone()).place(), read(url.reveal()).await),
        None => {
            let folder = dir.join("postgres");
            (Source::Private(folder.clone()).place(), private(dir, &folder).await)
        }
    };
    match answer {
        Ok(checkpoints) => Asked { of, not_asked: None, checkpoints },
        Err(why) => Asked { of, not_asked: Some(why), checkpoints: Vec::new() },
    }
}

async fn private(dir: &Path, folder: &Path) -> Result<Vec<Checkpoint>, String> {
    if !folder.join("data/PG_VERSION").is_file() {
        return Err("there is no private Postgres in the folder; --postgres URL names another".to_owned());
    }
    // Held while it runs, so that no server starts on it at the same time.
    let held = match sqlite::hold(dir) {
        Ok(held) => held,
        Err(OpenError::Locked { .. }) => {
            let url =
                running(folder).ok_or("the server that runs on the folder has another one: --postgres URL names it")?;
            return read(&url).await;
        }
        Err(error) => return Err(error.to_string()),
    };
    let postgres = PrivatePostgres::start(folder, Settings::server()).await.map_err(|error| error.to_string())?;
    let answer = read(&postgres.url(DATABASE)).await;
    postgres.stop().await;
    drop(held);
    answer
}

/// The private Postgres that a server has, as its pid file says: data folder in line 2, port in line 4, the socket's folder
/// in line 5, `ready` in line 8 (PostgreSQL's miscadmin.h).
fn running(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("data/postmaster.pid")).ok()?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let (port, socket) = (lines.get(3)?.parse::<u16>().ok()?, lines.get(4)?);
    let ready = lines.get(7).is_some_and(|status| *status == "ready");
    ready.then(|| format!("postgres:///{DATABASE}?host={socket}&port={port}&user=backstitch"))
}

async fn read(url: &str) -> Result<Vec<Checkpoint>, String> {
    let told = |error: sqlx::Error| format!("it does not answer: {error}");
    let options: PgConnectOptions = url.parse().map_err(|error| format!("that is no URL of a Postgres: {error}"))?;
    let mut connection = options.disable_statement_logging().connect().await.map_err(told)?;
    let found = checkpoints(&mut connection).await.map_err(told);
    let _ = connection.close().await; // It answered; how it says good-bye does not matter.
    found
}

async fn checkpoints(connection: &mut PgConnection) -> Result<Vec<Checkpoint>, sqlx::Error> {
    let there: bool = sqlx::query_scalar(IS_THERE).fetch_one(&mut *connection).await?;
    if !there {
        return Ok(Vec::new());
    }
    let checkpoint = |row: PgRow| {
        Ok(Checkpoint {
            projection: row.try_get(0)?,
            generation: row.try_get(1)?,
            state: row.try_get(2)?,
            position: Position(row.try_get::<i64, _>(3)?.cast_unsigned()),
            log: row.try_get(4)?,
        })
    };
    sqlx::query(CHECKPOINTS).fetch_all(connection).await?.into_iter().map(checkpoint).collect()
}
