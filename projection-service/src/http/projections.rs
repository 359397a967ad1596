//! `GET /v1/projections`: how far the read models are. Answered also while Postgres is away.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use event_store::{Direction, Filter, Position};
use serde::Serialize;
use service_kit::Problem;
use service_kit::api::{LogPosition, ProjectionState};
use utoipa::ToSchema;

use super::answer::{Answer, Refusals};
use super::params::Params;
use crate::{Handle, State as Doing, Status};

/// How far a read model is with one partition of the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProjectionPartition)]
pub struct Partition {
    /// The partition's number, from 0.
    pub partition: u32,
    /// The position up to which the partition's events are in the rows.
    #[schema(value_type = LogPosition)]
    pub position: u64,
    /// Which replica feeds it, or did last; null: none has yet.
    pub owner: Option<String>,
}

impl From<crate::Partition> for Partition {
    fn from(found: crate::Partition) -> Self {
        let crate::Partition { partition, position, owner } = found;
        Self { partition, position, owner }
    }
}

/// How a read model stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Projection {
    /// The read model's name.
    #[schema(example = "orders")]
    pub name: &'static str,
    /// The generation that answers come from, from 1.
    pub generation: i32,
    /// The position up to which the log is in its rows.
    #[schema(value_type = LogPosition)]
    pub position: u64,
    /// The last position of the log.
    #[schema(value_type = LogPosition)]
    pub head: u64,
    /// How far it is behind, in positions: at most so many events.
    pub lag_events: u64,
    /// How far it is behind, in seconds: the age of the oldest event that is not applied yet; 0 where there is none.
    pub lag_s: f64,
    /// The state of the read model.
    #[schema(value_type = ProjectionState)]
    pub state: Doing,
    /// The last thing that did not work, until it works again.
    pub last_error: Option<String>,
    /// Events folded since the start.
    pub folded: u64,
    /// Events of unknown types, moved past since the start.
    pub skipped: u64,
    /// The number of parked streams: `GET /v1/dead-letters` lists them with their errors.
    pub parked_streams: u64,
    /// In a cluster, the progress of each partition and the replica that feeds it; absent in one process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<Partition>,
}

/// The list of all read models.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ProjectionList)]
pub struct Projections {
    /// The read models with their progress.
    pub items: Vec<Projection>,
    /// Always false: all read models are in one answer.
    pub has_more: bool,
}

/// How far the read models are.
#[utoipa::path(get, path = "/v1/projections", tag = "operations", operation_id = "listProjections",
    responses((status = 200, description = "Every read model.", body = Projections), Refusals))]
pub async fn list(State(handle): State<Handle>, params: Params) -> Result<Answer<Projections>, Problem> {
    params.only(&[])?;
    look(&handle).await;
    let head = known_head(&handle).await;
    let statuses = handle.progress.statuses();
    let position = statuses.iter().map(|status| status.position).min().unwrap_or_default();
    let mut lags = Lags::new(&handle, head);
    let mut items = Vec::with_capacity(statuses.len());
    for status in statuses {
        let lag = lags.at(status.position).await;
        items.push(stand(head, status, lag));
    }
    Ok(Answer::at(position, Projections { items, has_more: false }))
}

/// In a cluster, reads how far all replicas are; while Postgres is away what was read last is shown.
pub(super) async fn look(handle: &Handle) {
    if let Err(error) = handle.look().await {
        tracing::debug!(%error, "how far the read models are is shown as it was last seen");
    }
}

/// The end of the log; while it cannot be asked, what was last known.
async fn known_head(handle: &Handle) -> Position {
    handle.head().await.unwrap_or_else(|_| *handle.store.head().borrow())
}

/// How long events have been waiting to be applied. Read models that stand at one position cost one look at the log.
pub(super) struct Lags<'h> {
    handle: &'h Handle,
    head: Position,
    known: BTreeMap<Position, Duration>,
}

impl<'h> Lags<'h> {
    /// Of read models of a log that ends at `head`.
    pub fn new(handle: &'h Handle, head: Position) -> Self {
        Self { handle, head, known: BTreeMap::new() }
    }

    /// The age of the first event behind a position: the oldest that is not applied. While the log cannot be read it is
    /// not known, and nothing is said.
    pub async fn at(&mut self, position: Position) -> Duration {
        if position >= self.head {
            return Duration::ZERO;
        }
        if let Some(known) = self.known.get(&position) {
            return *known;
        }
        let next = self.handle.store.read_all(position, Direction::Forward, 1, &Filter::default()).await;
        let written = next.ok().and_then(|next| next.first().map(|event| event.recorded_at));
        let age = written.and_then(|at| (self.handle.clock.now() - at).to_std().ok()).unwrap_or_default();
        self.known.insert(position, age);
        age
    }
}

/// How a read model stands, for people.
pub(super) fn stand(head: Position, status: Status, lag: Duration) -> Projection {
    Projection {
        name: status.name,
        generation: status.generation,
        position: status.position.0,
        head: head.0,
        lag_events: head.0.saturating_sub(status.position.0),
        lag_s: lag.as_secs_f64(),
        state: status.state,
        last_error: status.last_error,
        folded: status.folded,
        skipped: status.skipped,
        parked_streams: status.parked.len() as u64,
        partitions: status.partitions.into_iter().map(Partition::from).collect(),
    }
}
