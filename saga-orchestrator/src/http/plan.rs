//! The plan of a saga: the next steps, and the consequences of a failure now.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use domain::saga::Facts;
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{IfFailsWay, SagaDirection, SagaPath, SagaStepKind};
use service_kit::request::only_parameter;
use utoipa::{IntoParams, ToSchema};

use super::operate::{Sent, sends};
use super::{Handle, Loaded};
use saga_engine::engine::{self, Undone};

/// The options of a plan.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PlanQuery {
    /// Whether to add the consequences of a failure now.
    #[serde(default)]
    #[param(inline)]
    pub if_fails: bool,
}

/// The plan of a saga: what may follow from its present state.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaPlan)]
pub struct Plan {
    /// The id of the saga.
    pub saga: String,
    /// The version of the saga that the plan is based on.
    pub version: u64,
    /// The names of the current steps.
    pub at: Vec<String>,
    /// The consequences of a failure now: of the step that needs attention, else of the newest.
    pub if_fails: Option<IfFails>,
    /// The consequences of a failure of each other current step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub if_others_fail: Vec<IfFails>,
    /// The steps that follow if all goes well.
    pub next: Vec<Next>,
}

/// The consequences if one step failed for good.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaIfFails)]
pub struct IfFails {
    /// The step that would fail.
    pub step: String,
    /// The direction of the step.
    #[schema(value_type = SagaDirection)]
    pub direction: String,
    /// The consequence for the saga: compensation, a handover, or attention.
    #[schema(value_type = IfFailsWay)]
    pub way: String,
    /// The step that would get one more attempt first.
    pub first: Option<String>,
    /// The compensations that would follow, in this order.
    pub steps: Vec<Then>,
    /// The steps that are done and cannot be undone.
    pub irreversible: Vec<Lasting>,
}

/// A compensation that would follow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaThen)]
pub struct Then {
    /// The name of the step to compensate.
    pub step: String,
    /// The number of the step attempt, from 0.
    pub group: u32,
    /// The commands that would be sent.
    pub sends: Vec<Sent>,
    /// A remark for people.
    pub note: Option<String>,
}

/// A step whose effect cannot be undone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaLasting)]
pub struct Lasting {
    /// The name of the step.
    pub step: String,
    /// The reason why its effect cannot be undone.
    pub why: String,
}

/// A step that follows if all goes well.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaNext)]
pub struct Next {
    /// The name of the step.
    pub step: String,
    /// The kind of the step.
    #[schema(value_type = SagaStepKind)]
    pub kind: String,
}

/// Plans what may follow from the present state of a saga, by letting the engine itself run on an assumed failure.
#[utoipa::path(get, path = "/v1/sagas/{id}/plan", tag = "sagas", operation_id = "planSaga",
    params(("id" = inline(SagaPath), Path, description = "The saga's id: `<type>-<id>`, such as `order_fulfilment-<order id>`"), PlanQuery),
    responses((status = 200, description = "What may follow", body = Plan),
        (status = 400, description = "That is no saga's id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such saga", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log does not answer", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn plan(
    State(handle): State<Handle>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<PlanQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let query = only_parameter(query, "if_fails", "is `true` or `false`")?;
    let loaded = Loaded::of(&handle, id).await?;
    let plan = engine::plan(&loaded.state, handle.clock.now(), &handle.config);
    let mut fails =
        plan.fails.into_iter().filter(|_| query.if_fails).map(|fails| if_fails(fails, loaded.state.facts.as_ref()));
    Ok(axum::Json(Plan {
        saga: loaded.id.clone(),
        version: loaded.version(),
        at: plan.at.into_iter().map(str::to_owned).collect(),
        if_fails: fails.next(),
        if_others_fail: fails.collect(),
        next: plan.next.into_iter().map(|(step, of)| Next { step, kind: of.as_str().to_owned() }).collect(),
    }))
}

fn if_fails(fails: engine::Fails, facts: Option<&Facts>) -> IfFails {
    let lasting = |(step, why): (&str, &str)| Lasting { step: step.to_owned(), why: why.to_owned() };
    IfFails {
        step: fails.step.to_owned(),
        direction: fails.direction.as_str().to_owned(),
        way: fails.way.as_str().to_owned(),
        first: fails.first.map(str::to_owned),
        steps: fails.steps.into_iter().map(|undone| then(undone, facts)).collect(),
        irreversible: fails.irreversible.into_iter().map(lasting).collect(),
    }
}

fn then(undone: Undone, facts: Option<&Facts>) -> Then {
    let Undone { step, group, sends: sent, note } = undone;
    Then { step, group, sends: sends(sent, facts), note: note.map(str::to_owned) }
}
