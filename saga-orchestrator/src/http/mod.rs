//! What operators and programs see of sagas, read from the log: it works without Postgres, and is never behind.

mod graph;
mod operate;
mod plan;
mod show;
mod timeline;
mod why;

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use domain::saga::{Event, View};
use event_store::{EventStore, Position, RecordedEvent, StreamName};
use serde::Deserialize;
use service_kit::api::{GraphFormat, OneOf, SagaPath};
use service_kit::request::only_parameter;
use service_kit::{Clock, Problem};
use utoipa::IntoParams;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::config::SagaConfig;
use crate::running::Sagas;
use crate::shop::{ShopSagas, State as SagaState};
use saga_runner::Operator;
use saga_runner::stream::{fold, name_of, read};

/// The way to the sagas, for the HTTP routes that show them. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    store: Arc<dyn EventStore>,
    clock: Clock,
    config: SagaConfig,
    /// The way for people's acts to the sagas; none where they run elsewhere, or not at all.
    operator: Option<Operator<ShopSagas>>,
}

impl Handle {
    /// Shows the sagas of a store, also one whose sagas run elsewhere.
    pub fn new(store: Arc<dyn EventStore>, clock: Clock, config: SagaConfig) -> Self {
        Self { store, clock, config, operator: None }
    }
}

impl From<&Sagas> for Handle {
    /// Shows sagas that run in this process, and lets people act on them.
    fn from(sagas: &Sagas) -> Self {
        let shown = Self::new(sagas.store().clone(), sagas.clock().clone(), sagas.settings().clone());
        Self { operator: Some(sagas.operator()), ..shown }
    }
}

/// The routes of `/v1/sagas/{id}…` and `/v1/saga-types`. The list of sagas is a read model's.
pub fn router(handle: Handle) -> OpenApiRouter {
    routes().with_state(handle)
}

/// What the routes here are, for the contract.
pub fn openapi() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Handle> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(timeline))
        .routes(routes!(why))
        .routes(routes!(plan::plan))
        .routes(routes!(graph))
        .routes(routes!(operate::act))
        .routes(routes!(type_graph))
}

/// How a graph is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For Markdown and <https://mermaid.js.org>.
    #[default]
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// How to show a graph.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GraphQuery {
    /// The form of the graph; `mermaid` where it is not given.
    #[serde(default)]
    #[param(inline, value_type = Option<OneOf<GraphFormat>>)]
    pub format: Format,
}

/// How a saga stands: each step, both ways.
#[utoipa::path(get, path = "/v1/sagas/{id}", tag = "sagas", operation_id = "getSaga",
    params(("id" = inline(SagaPath), Path, description = "The saga's id: `<type>-<id>`, such as `order_fulfilment-<order id>`")),
    responses((status = 200, description = "How it stands", body = show::Saga),
        (status = 400, description = "That is no saga's id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such saga", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log does not answer", body = Problem, content_type = "application/problem+json")))]
async fn show(
    State(handle): State<Handle>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let saga = Loaded::of(&handle, id).await?;
    Ok(axum::Json(show::saga(&saga)))
}

/// What has happened to a saga, event by event.
#[utoipa::path(get, path = "/v1/sagas/{id}/timeline", tag = "sagas", operation_id = "getSagaTimeline",
    params(("id" = inline(SagaPath), Path, description = "The saga's id: `<type>-<id>`, such as `order_fulfilment-<order id>`")),
    responses((status = 200, description = "Its events, oldest first", body = timeline::Timeline),
        (status = 400, description = "That is no saga's id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such saga", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log does not answer", body = Problem, content_type = "application/problem+json")))]
async fn timeline(
    State(handle): State<Handle>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let saga = Loaded::of(&handle, id).await?;
    Ok(axum::Json(timeline::timeline(&saga)))
}

/// What a saga waits for, since when, and what can be done.
#[utoipa::path(get, path = "/v1/sagas/{id}/why", tag = "sagas", operation_id = "whySaga",
    params(("id" = inline(SagaPath), Path, description = "The saga's id: `<type>-<id>`, such as `order_fulfilment-<order id>`")),
    responses((status = 200, description = "What it waits for, and what can be done", body = why::Why),
        (status = 400, description = "That is no saga's id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such saga", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log does not answer", body = Problem, content_type = "application/problem+json")))]
async fn why(
    State(handle): State<Handle>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let saga = Loaded::of(&handle, id).await?;
    Ok(axum::Json(why::why(&saga, &handle)))
}

/// A saga's steps as a graph, each marked with how it stands.
#[utoipa::path(get, path = "/v1/sagas/{id}/graph", tag = "sagas", operation_id = "getSagaGraph",
    params(("id" = inline(SagaPath), Path, description = "The saga's id: `<type>-<id>`, such as `order_fulfilment-<order id>`"), GraphQuery),
    responses((status = 200, description = "The graph", body = String, content_type = "text/plain"),
        (status = 400, description = "That is no saga's id, or no format", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such saga", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log does not answer", body = Problem, content_type = "application/problem+json")))]
async fn graph(
    State(handle): State<Handle>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<GraphQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let format = format_of(query)?;
    let saga = Loaded::of(&handle, id).await?;
    Ok(text(graph::of_saga(&saga.view, format)))
}

/// A saga type's table of steps as a graph.
#[utoipa::path(get, path = "/v1/saga-types/{type}/graph", tag = "sagas", operation_id = "getSagaTypeGraph",
    params(("type" = String, Path, min_length = 1, max_length = 100, pattern = "^[a-z_]+$", example = "order_fulfilment",
        description = "The type: `order_fulfilment`, `order_refund` or `payment_reconciliation`"), GraphQuery),
    responses((status = 200, description = "The graph", body = String, content_type = "text/plain"),
        (status = 400, description = "That is no format", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such type", body = Problem, content_type = "application/problem+json")))]
async fn type_graph(
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<GraphQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let format = format_of(query)?;
    let Path(name) = name.map_err(|error| Problem::invalid(error.body_text()).field("path:type", "is not readable"))?;
    let definition = crate::sagas::newest(&name).ok_or_else(|| {
        Problem::not_found(format!("there is no saga type `{name}`; there are {}", types().join(", ")))
    })?;
    Ok(text(graph::of_type(definition, format)))
}

fn types() -> Vec<&'static str> {
    crate::sagas::ALL.iter().map(|definition| definition.name).collect()
}

fn text(graph: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], graph)
}

fn format_of(query: Result<Query<GraphQuery>, QueryRejection>) -> Result<Format, Problem> {
    only_parameter(query, "format", "is `mermaid` or `dot`").map(|query| query.format)
}

/// A saga with its events.
struct Loaded {
    id: String,
    /// The id without the type.
    saga_id: Uuid,
    events: Vec<(RecordedEvent, Option<Event>)>,
    view: View,
    state: SagaState,
}

impl Loaded {
    async fn of(handle: &Handle, id: Result<Path<String>, PathRejection>) -> Result<Self, Problem> {
        let bad = |what: String| Problem::invalid(what).field("path:id", "is written `<type>-<order id>`");
        let Path(id) = id.map_err(|error| bad(error.body_text()))?;
        let stream: Option<StreamName> = format!("saga_{id}").parse().ok();
        let named = stream.and_then(|stream| Some((name_of::<ShopSagas>(&stream)?.0, stream)));
        let (saga_id, stream) =
            named.ok_or_else(|| bad(format!("`{id}` is no saga's id, such as order_fulfilment-<order id>")))?;
        let (mut events, mut view, mut state) = (Vec::new(), View::default(), SagaState::new(stream.as_str()));
        let each = |recorded: &RecordedEvent, event: Result<Event, _>| {
            if let Ok(event) = &event {
                view.fold(event, recorded.metadata.occurred_at);
            }
            fold(&mut state, recorded, event.as_ref());
            events.push((recorded.clone(), event.ok())); // What a newer program wrote is shown by its name.
        };
        read::<ShopSagas>(&*handle.store, &stream, each).await.map_err(|error| Problem::unavailable(error, 1))?;
        if events.is_empty() {
            return Err(Problem::not_found(format!("there is no saga `{id}`")));
        }
        Ok(Self { id, saga_id, events, view, state })
    }

    /// The version of its last event.
    fn version(&self) -> u64 {
        self.events.last().map_or(0, |(recorded, _)| recorded.version)
    }

    /// The position of its last event.
    fn position(&self) -> Position {
        self.events.last().map_or(Position::START, |(recorded, _)| recorded.position)
    }
}
