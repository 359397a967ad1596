//! Health: whether the process is alive and can serve requests, and the status of each of its dependencies.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::DependencyStatus;
use crate::clock::{Clock, Timestamp};
use crate::problem::Problem;
use crate::tasks::Tasks;

/// The status of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The dependency is being started or looked for.
    Starting,
    /// The dependency works.
    Up,
    /// The dependency does not work.
    Down,
    /// The dependency does not work, and that does not pass by itself: an operator must restore it.
    Damaged,
}

/// Whether the process can serve requests without a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The process is not ready until the dependency is up.
    Required,
    /// The process serves a part of the requests: the dependency is shown, and the process is ready all the same.
    Optional,
}

/// The status of one dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HealthDependency)]
pub struct Dependency {
    /// Status of the dependency: `starting`, `up`, `down` or `damaged`.
    #[schema(value_type = DependencyStatus)]
    pub status: Status,
    /// Whether the process is ready only while this dependency is up.
    pub required: bool,
    /// Details for people, such as the reason why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When the dependency got this status.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// The health of the process and its dependencies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthReport {
    /// Whether the process can serve requests.
    pub ready: bool,
    /// Status of each dependency by its name.
    pub dependencies: BTreeMap<String, Dependency>,
}

/// Keeps the status of each dependency. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    clock: Clock,
    // Held for a look or a write of one entry, never across an await.
    state: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    stopping: bool,
    dependencies: BTreeMap<String, Dependency>,
    pulses: Vec<Weak<Pulse>>,
}

/// How long a part may be silent before the process counts as hung: far longer than any pause of a machine that works.
const HUNG: Duration = Duration::from_secs(30);

/// The heartbeat of a part that must never stop, such as the loop that takes connections. When it is dropped, the part
/// has ended and is not watched any more.
#[derive(Debug)]
pub struct Pulse {
    name: &'static str,
    begun: Instant,
    /// When the last beat was, in milliseconds since the beginning.
    beat_ms: AtomicU64,
}

impl Pulse {
    /// Records that the part is alive.
    pub fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(now, Ordering::Relaxed);
    }

    fn silent_for(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed)))
    }
}

/// Reports the status of one dependency. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    name: String,
    health: Health,
}

impl Health {
    /// Health without dependencies; they are added with [`Self::register`].
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// Adds a dependency with the status `starting`.
    pub fn register(&self, name: &str, need: Need) -> Reporter {
        let required = need == Need::Required;
        let entry = Dependency { status: Status::Starting, required, detail: None, since: self.clock.now() };
        self.state.lock().dependencies.insert(name.to_owned(), entry);
        Reporter { name: name.to_owned(), health: self.clone() }
    }

    /// Adds a dependency whose status follows `seen`, with each change, until the tasks stop. `says` turns a value into
    /// a status: `Ok` with a detail if it works, else the reason.
    pub fn follow<T: Send + Sync + 'static>(
        &self,
        (name, need): (&'static str, Need),
        mut seen: watch::Receiver<T>,
        says: impl Fn(&T) -> Result<String, String> + Send + 'static,
        tasks: &Tasks,
    ) {
        let (reporter, stop) = (self.register(name, need), tasks.stopping());
        tasks.spawn("health", async move {
            loop {
                let said = says(&seen.borrow_and_update());
                match said {
                    Ok(detail) => reporter.up_with(detail),
                    Err(why) => reporter.down(why),
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = seen.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    /// Watches a part of the process: `/health/live` answers 503 when it has not beaten for half a minute.
    pub fn pulse(&self, name: &'static str) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse { name, begun: Instant::now(), beat_ms: AtomicU64::new(0) });
        let mut state = self.state.lock();
        state.pulses.retain(|pulse| pulse.strong_count() > 0);
        state.pulses.push(Arc::downgrade(&pulse));
        pulse
    }

    /// The parts that have not beaten for longer than `bound`, each with the time of its silence.
    fn hung(&self, bound: Duration) -> Vec<(&'static str, Duration)> {
        let pulses: Vec<Arc<Pulse>> = self.state.lock().pulses.iter().filter_map(Weak::upgrade).collect();
        let silent = pulses.iter().map(|pulse| (pulse.name, pulse.silent_for()));
        silent.filter(|(_, silent)| *silent > bound).collect()
    }

    /// Makes the process not ready from now on: it is being stopped, and no new requests should come.
    pub fn stopping(&self) {
        self.state.lock().stopping = true;
    }

    /// The present status of the process and of each dependency.
    pub fn report(&self) -> HealthReport {
        let state = self.state.lock();
        let serves = |dependency: &Dependency| !dependency.required || dependency.status == Status::Up;
        HealthReport {
            ready: !state.stopping && state.dependencies.values().all(serves),
            dependencies: state.dependencies.clone(),
        }
    }
}

impl Reporter {
    /// Reports that the dependency works.
    pub fn up(&self) {
        self.set(Status::Up, None);
    }

    /// Reports that the dependency works, with a detail.
    pub fn up_with(&self, detail: impl std::fmt::Display) {
        self.set(Status::Up, Some(detail.to_string()));
    }

    /// Reports that the dependency is being started or looked for.
    pub fn starting(&self, detail: impl std::fmt::Display) {
        self.set(Status::Starting, Some(detail.to_string()));
    }

    /// Reports that the dependency does not work, and will not until an operator has restored it.
    pub fn damaged(&self, detail: impl std::fmt::Display) {
        self.set(Status::Damaged, Some(detail.to_string()));
    }

    /// Reports that the dependency does not work, with the reason.
    pub fn down(&self, detail: impl std::fmt::Display) {
        self.set(Status::Down, Some(detail.to_string()));
    }

    fn set(&self, status: Status, detail: Option<String>) {
        let now = self.health.clock.now();
        if let Some(entry) = self.health.state.lock().dependencies.get_mut(&self.name) {
            if entry.status != status {
                entry.since = now;
            }
            (entry.status, entry.detail) = (status, detail);
        }
    }
}

/// The routes `/health`, `/health/live` and `/health/ready`.
pub fn router(health: Health) -> OpenApiRouter {
    routes().with_state(health)
}

/// The OpenAPI document of these routes.
pub fn openapi() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Health> {
    OpenApiRouter::new().routes(routes!(everything)).routes(routes!(live)).routes(routes!(ready))
}

/// Everything this process depends on, whether it is ready or not.
#[utoipa::path(get, path = "/health", tag = "health", operation_id = "health",
    responses((status = 200, description = "The state of every dependency.", body = HealthReport)))]
async fn everything(State(health): State<Health>) -> Json<HealthReport> {
    Json(health.report())
}

/// The process lives: the loops that serve requests go round.
#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "healthLive",
    responses((status = 204, description = "It lives"),
        (status = 503, description = "It hangs and should be started again; `errors` names the part that stands still",
            body = Problem, content_type = "application/problem+json")))]
async fn live(State(health): State<Health>) -> Response {
    let hung = health.hung(HUNG);
    if hung.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let problem = Problem::unavailable("a part of the process stands still", 1);
    let named = |problem: Problem, (name, silent): (&str, Duration)| {
        problem.field(format!("part:{name}"), format_args!("has not moved for {} s", silent.as_secs()))
    };
    hung.into_iter().fold(problem, named).into_response()
}

/// Requests can be served.
#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "healthReady",
    responses((status = 200, description = "Ready", body = HealthReport),
        (status = 503, description = "Not ready; `errors` names what is missing", body = Problem,
            content_type = "application/problem+json")))]
async fn ready(State(health): State<Health>) -> Response {
    let report = health.report();
    if report.ready {
        return Json(report).into_response();
    }
    let missing: Vec<_> = report.dependencies.iter().filter(|(_, it)| it.required && it.status != Status::Up).collect();
    let begun = match missing.iter().any(|(_, it)| it.status == Status::Damaged) {
        true => Problem::log_damaged("not ready to serve until an operator has restored what is damaged"),
        false => Problem::unavailable("not ready to serve", 1),
    };
    let problem = missing.into_iter().fold(begun, |problem, (name, it)| {
        problem.field(format!("dependency:{name}"), it.detail.as_deref().unwrap_or("starting"))
    });
    problem.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_means_that_all_required_dependencies_are_up() {
        let health = Health::new(Clock::system());
        let (store, postgres) =
            (health.register("event-store", Need::Required), health.register("postgres", Need::Optional));
        assert!(!health.report().ready);
        assert_eq!(ready(State(health.clone())).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        store.up();
        postgres.down("connection refused");
        assert!(health.report().ready);
        assert_eq!(ready(State(health.clone())).await.status(), StatusCode::OK);
        store.down("the disk is full");
        let passes = ready(State(health.clone())).await;
        assert_eq!(passes.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(passes.headers().contains_key("retry-after"));
        store.damaged("at position 20");
        let stays = ready(State(health.clone())).await;
        assert_eq!(stays.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!stays.headers().contains_key("retry-after"), "damage does not pass by itself");
        assert_eq!(health.report().dependencies["postgres"].detail.as_deref(), Some("connection refused"));
    }

    #[tokio::test]
    async fn a_part_that_stands_still_is_named_and_one_that_has_ended_is_not_waited_for() {
        let health = Health::new(Clock::system());
        let (moves, hangs) = (health.pulse("moves"), health.pulse("hangs"));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            moves.beat();
        }
        let named: Vec<&str> = health.hung(Duration::from_millis(15)).into_iter().map(|(name, _)| name).collect();
        assert!(named.contains(&"hangs"), "{named:?}");
        assert_eq!(live(State(health.clone())).await.status(), StatusCode::NO_CONTENT);
        drop(hangs);
        assert!(health.hung(Duration::ZERO).iter().all(|(name, _)| *name != "hangs"));
    }

    #[test]
    fn a_process_that_is_being_stopped_is_not_ready() {
        let health = Health::new(Clock::system());
        assert!(health.report().ready);
        health.stopping();
        assert!(!health.report().ready);
    }
}
