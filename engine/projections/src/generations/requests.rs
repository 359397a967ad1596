//! What operators ask of a read model: rebuild it, go back to the generation before, drop one, fold one up to a position.
//!
//! *Invariant:* what was asked for is in `backstitch.generations` before it is answered, with the key of the request: the
//! same key again changes nothing. `rebuild.rs` does the work.

use std::sync::Arc;

use engine_runtime::pg;
use event_store::Position;
use sqlx::{PgConnection, PgPool};

use super::generation::{Asked, Generation, Stage, all, known};
use super::tables::{self, LOCK, New};
use super::views::{self, Switched};
use crate::read_model::{ReadModel, ReadModels};

/// The most replays of a read model at once: each is a whole set of tables, and only people drop them.
const REPLAYS_MOST: usize = 4;
/// How often a switch that readers hold up is tried while somebody waits for the answer.
const TRIES: usize = 20;

const DECIDE: &str = "
update backstitch.generations set state = 'ready', accept_differences = $3, request_key = $4, actor = $5, reason = $6
where projection = $1 and generation = $2 and state = 'differs'";

const RETIRE: &str = "
update backstitch.generations set state = 'retiring', actor = $3, reason = $4 where projection = $1 and generation = $2";

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// One rebuild of a read model at a time.
    #[error("generation {0} of it is being rebuilt already")]
    InProgress(i32),
    /// There is nothing to go back to.
    #[error("it has no previous generation: it was never rebuilt, or the one before was retired")]
    NoPrevious,
    /// The generations are not at one position.
    #[error("generation {0} is not where the live one is: it has stopped, or both are about to meet")]
    Behind(i32),
    /// Readers hold the views.
    #[error("queries hold its tables; ask again")]
    Busy,
    /// Answers come from it.
    #[error("answers come from generation {0}; only another one can be retired")]
    InUse(i32),
    /// It has no such generation.
    #[error("it has no generation {0}")]
    NoSuch(i32),
    /// There are as many replays as there may be.
    #[error("it has {0} replays already, the most at once: retire one of them (`backstitch projection retire`)")]
    TooManyReplays(usize),
    /// Postgres does not answer.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
}

/// Whether a request was done now, or had been before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Now; the generation that it is about.
    Now(i32),
    /// Before.
    Before(i32),
}

/// Makes a new generation, to be folded; where one differs and waits for a decision, lets it be compared again.
///
/// # Errors
/// A [`Refused`].
pub async fn rebuild(
    pool: &PgPool,
    models: &Arc<ReadModels>,
    model: ReadModel,
    accept_differences: bool,
    asked: Asked,
) -> Result<Done, Refused> {
    make(pool, models, model, asked, move |own| {
        let waits = own.iter().find(|generation| match generation.stage {
            Stage::Building | Stage::Ready | Stage::Differs => true,
            Stage::Live | Stage::Previous | Stage::Retiring | Stage::Replaying | Stage::Replayed => false,
        });
        match waits {
            Some(found) if found.stage == Stage::Differs => Ok(Made::Decided(found.number, accept_differences)),
            Some(found) => Err(Refused::InProgress(found.number)),
            None => Ok(Made::New(Stage::Building, accept_differences, None)),
        }
    })
    .await
}

/// Makes a generation that is folded up to a position and no further.
///
/// # Errors
/// A [`Refused`].
pub async fn replay(
    pool: &PgPool,
    models: &Arc<ReadModels>,
    model: ReadModel,
    until: Position,
    asked: Asked,
) -> Result<Done, Refused> {
    make(pool, models, model, asked, move |own| {
        let replays = own.iter().filter(|found| found.until.is_some() && found.stage != Stage::Retiring).count();
        match replays < REPLAYS_MOST {
            true => Ok(Made::New(Stage::Replaying, false, Some(until))),
            false => Err(Refused::TooManyReplays(replays)),
        }
    })
    .await
}

/// What a request comes to.
enum Made {
    New(Stage, bool, Option<Position>),
    Decided(i32, bool),
}

async fn make(
    pool: &PgPool,
    models: &Arc<ReadModels>,
    model: ReadModel,
    asked: Asked,
    decide: impl FnOnce(&[Generation]) -> Result<Made, Refused> + Send + 'static,
) -> Result<Done, Refused> {
    let models = Arc::clone(models);
    pg::tx(pool, "backstitch", move |sql| {
        Box::pin(async move {
            let own = own(sql, &models, &model).await?;
            if let Some(before) = own.iter().find(|generation| generation.request_key.as_ref() == Some(&asked.key)) {
                return Ok(Ok(Done::Before(before.number)));
            }
            let number = match decide(&own) {
                Err(refused) => return Ok(Err(refused)),
                Ok(Made::Decided(number, accept)) => {
                    let decided = sqlx::query(DECIDE).bind(model.name).bind(number).bind(accept);
                    decided.bind(asked.key).bind(asked.actor).bind(asked.reason).execute(sql).await?;
                    number
                }
                Ok(Made::New(stage, accept_differences, until)) => {
                    let number = own.iter().map(|generation| generation.number).max().unwrap_or(0) + 1;
                    let asked = Some(asked);
                    tables::make(sql, &models, &New { model, number, stage, accept_differences, until, asked }).await?;
                    number
                }
            };
            Ok(Ok(Done::Now(number)))
        })
    })
    .await?
}

/// The generations of a read model, while nobody else makes or drops any.
async fn own(sql: &mut PgConnection, models: &ReadModels, model: &ReadModel) -> Result<Vec<Generation>, sqlx::Error> {
    sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *sql).await?;
    let mut own = known(sql, models).await?;
    own.retain(|generation| generation.model.name == model.name);
    Ok(own)
}

/// Lets answers come from the generation before. It was fed all the time: it is current, and this is done at once.
///
/// # Errors
/// A [`Refused`].
pub async fn roll_back(
    pool: &PgPool,
    models: &Arc<ReadModels>,
    model: ReadModel,
    asked: &Asked,
) -> Result<Done, Refused> {
    for _ in 0..TRIES {
        let own: Vec<Generation> =
            all(pool, models).await?.into_iter().filter(|found| found.model.name == model.name).collect();
        if let Some(before) = own.iter().find(|generation| generation.request_key.as_ref() == Some(&asked.key)) {
            return Ok(Done::Before(before.number));
        }
        let previous = own.iter().find(|generation| generation.stage == Stage::Previous);
        let Some(previous) = previous else { return Err(Refused::NoPrevious) };
        match views::switch(pool, models, previous, Some(asked.clone())).await? {
            Switched::Done => return Ok(Done::Now(previous.number)),
            Switched::Behind => return Err(Refused::Behind(previous.number)),
            Switched::Busy => tokio::time::sleep(views::BETWEEN_TRIES).await,
        }
    }
    Err(Refused::Busy)
}

/// Lets a generation be dropped; without a number, the previous one.
///
/// # Errors
/// A [`Refused`].
pub async fn retire(
    pool: &PgPool,
    models: &Arc<ReadModels>,
    model: ReadModel,
    number: Option<i32>,
    asked: Asked,
) -> Result<Done, Refused> {
    let models = Arc::clone(models);
    pg::tx(pool, "backstitch", move |sql| {
        Box::pin(async move {
            let own = own(sql, &models, &model).await?;
            let found = own.iter().find(|generation| match number {
                Some(number) => generation.number == number,
                None => generation.stage == Stage::Previous,
            });
            let found = match (found, number) {
                (Some(found), _) if found.stage == Stage::Live => return Ok(Err(Refused::InUse(found.number))),
                (Some(found), _) if found.stage == Stage::Retiring => return Ok(Ok(Done::Before(found.number))),
                (Some(found), _) => found,
                (None, Some(number)) => return Ok(Err(Refused::NoSuch(number))),
                (None, None) => return Ok(Err(Refused::NoPrevious)),
            };
            let retire = sqlx::query(RETIRE).bind(model.name).bind(found.number).bind(asked.actor).bind(asked.reason);
            retire.execute(sql).await?;
            Ok(Ok(Done::Now(found.number)))
        })
    })
    .await?
}
