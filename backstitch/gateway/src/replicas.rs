//! The replicas of a service: who answers is asked in turn; who does not is asked last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use service_kit::Tasks;
use service_kit::health::{HealthReport, Reporter, Status};
use service_kit::secret::SecretUrl;
use tokio::sync::watch;

use crate::forward::Towards;

/// How often each replica is asked whether it is ready: one that drains should get nothing new within a moment.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a replica may take to say so. One that is stopped (SIGSTOP) takes connections and says nothing.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// One process of a service.
#[derive(Debug)]
pub(super) struct Replica {
    /// `http://host:port`
    pub base: String,
    ready: AtomicBool,
    /// What it says of the bus, while too little comes over it.
    stalled: Mutex<Option<String>>,
    /// It takes connections, or does not, and says nothing.
    silent: watch::Sender<bool>,
}

/// What a replica says when it is asked whether it is ready.
enum Said {
    Ready,
    /// That it is not: it starts or drains, and answers what it has taken.
    NotReady,
    Nothing,
}

impl Replica {
    fn new(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            ready: AtomicBool::new(true),
            stalled: Mutex::default(),
            silent: watch::Sender::new(false),
        }
    }

    async fn asked(&self, client: &Towards) -> Said {
        let Ok(request) = Request::get(format!("{}/health/ready", self.base)).body(Full::<Bytes>::default()) else {
            return Said::Nothing;
        };
        let asks = async {
            let answer = client.request(request).await.ok()?;
            let ready = answer.status().is_success();
            // Read to its end, so that the connection is kept.
            let body = answer.into_body().collect().await.ok()?.to_bytes();
            Some((ready, body))
        };
        match tokio::time::timeout(LOOK_WITHIN, asks).await {
            Ok(Some((true, body))) => {
                self.says(&body);
                Said::Ready
            }
            Ok(Some((false, _))) => Said::NotReady,
            Ok(None) | Err(_) => Said::Nothing,
        }
    }

    /// Takes note of what a ready replica says of the bus: it answers, but what it answers grows old.
    fn says(&self, body: &[u8]) {
        let report: Option<HealthReport> = serde_json::from_slice(body).ok();
        let bus = report.and_then(|mut report| report.dependencies.remove("bus-age"));
        let stalled = bus.filter(|bus| bus.status == Status::Down).and_then(|bus| bus.detail);
        *self.stalled.lock() = stalled;
    }

    /// Waits until it says nothing any more; for one that says nothing already, until it does so again.
    pub fn falls_silent(&self) -> impl Future<Output = ()> + use<> {
        let mut silent = self.silent.subscribe();
        async move {
            while silent.changed().await.is_ok() {
                if *silent.borrow_and_update() {
                    return;
                }
            }
            std::future::pending().await // The gateway ends.
        }
    }

    /// It did not answer: ask the others first until it says that it is ready.
    pub fn failed(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }
}

/// The replicas of a service. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Replicas {
    all: Arc<[Replica]>,
    turn: Arc<AtomicUsize>,
}

impl Replicas {
    /// From base URLs, separated by commas. Until they were asked, all count as ready.
    ///
    /// # Errors
    /// None at all, or one that is not `http://host:port`.
    pub fn parse(urls: &str) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for url in urls.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            let base = url.trim_end_matches('/');
            let parsed = reqwest::Url::parse(base).ok().filter(|url| {
                url.scheme() == "http" && url.path() == "/" && url.username().is_empty() && url.password().is_none()
            });
            if parsed.is_none() {
                let shown = SecretUrl::new(url);
                anyhow::bail!("`{shown}` is not the base URL of a service, such as http://127.0.0.1:7411");
            }
            all.push(Replica::new(base));
        }
        if all.is_empty() {
            anyhow::bail!("names no replica; give base URLs such as http://127.0.0.1:7411, separated by commas");
        }
        Ok(Self { all: all.into(), turn: Arc::default() })
    }

    /// All of them, beginning with one that is ready; those that are not come last.
    pub fn in_turn(&self) -> Vec<&Replica> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let (mut order, mut last) = (Vec::with_capacity(self.all.len()), Vec::new());
        for index in 0..self.all.len() {
            let replica = &self.all[(first + index) % self.all.len()];
            if replica.ready.load(Ordering::Relaxed) { order.push(replica) } else { last.push(replica) }
        }
        order.append(&mut last);
        order
    }

    /// Asks each replica again and again whether it is ready, and reports how many are, until the gateway stops.
    pub fn watch(&self, client: Towards, health: Reporter, tasks: &Tasks) {
        let (replicas, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("replicas", async move {
            loop {
                replicas.look(&client).await;
                replicas.report(&health);
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = stopping.cancelled() => return,
                }
            }
        });
    }

    async fn look(&self, client: &Towards) {
        let said = futures_util::future::join_all(self.all.iter().map(|replica| replica.asked(client))).await;
        for (replica, said) in self.all.iter().zip(said) {
            let (ready, silent) = (matches!(said, Said::Ready), matches!(said, Said::Nothing));
            if replica.ready.swap(ready, Ordering::Relaxed) != ready {
                tracing::info!(replica = replica.base, ready, "a replica changed");
            }
            replica.silent.send_if_modified(|was| std::mem::replace(was, silent) != silent);
        }
    }

    fn report(&self, health: &Reporter) {
        let away: Vec<&str> = self
            .all
            .iter()
            .filter(|replica| !replica.ready.load(Ordering::Relaxed))
            .map(|replica| &*replica.base)
            .collect();
        let (all, ready) = (self.all.len(), self.all.len() - away.len());
        let stalled = self.all.iter().find_map(|replica| {
            let stalled = replica.stalled.lock().clone()?;
            replica.ready.load(Ordering::Relaxed).then(|| format!("{}: {stalled}", replica.base))
        });
        if let (Some(stalled), 1..) = (&stalled, ready) {
            return health.down(format_args!("{ready} of {all} ready, but what they answer grows old: {stalled}"));
        }
        match (ready, away.is_empty()) {
            (0, _) => health.down(format_args!("none of {all} is ready: {}", away.join(", "))),
            (_, true) => health.up_with(format_args!("{all} of {all} ready")),
            (_, false) => health.up_with(format_args!("{ready} of {all} ready, not {}", away.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(replicas: &Replicas) -> Vec<&str> {
        replicas.in_turn().into_iter().map(|replica| &*replica.base).collect()
    }

    #[test]
    fn replicas_take_turns_and_one_that_failed_is_asked_last() {
        let replicas = Replicas::parse("http://a:1, http://b:2/,http://c:3").unwrap();
        assert_eq!(bases(&replicas), ["http://a:1", "http://b:2", "http://c:3"]);
        assert_eq!(bases(&replicas), ["http://b:2", "http://c:3", "http://a:1"]);
        replicas.all[2].failed();
        assert_eq!(bases(&replicas), ["http://a:1", "http://b:2", "http://c:3"]);
        assert_eq!(bases(&replicas), ["http://a:1", "http://b:2", "http://c:3"]);
    }

    #[test]
    fn replicas_that_are_ready_and_behind_the_log_are_told_at_the_front_door() {
        let replicas = Replicas::parse("http://a:1,http://b:2").unwrap();
        let health = service_kit::Health::new(service_kit::Clock::system());
        let reporter = health.register("queries", service_kit::health::Need::Optional);
        let of = |status: &str| {
            let bus = serde_json::json!({ "status": status, "required": false, "detail": "the relay says: too large", "since": "2026-11-21T10:00:00Z" });
            serde_json::json!({ "ready": true, "dependencies": { "bus-age": bus } }).to_string()
        };
        replicas.all[1].says(of("down").as_bytes());
        replicas.report(&reporter);
        let told = health.report().dependencies["queries"].clone();
        assert_eq!(told.status, Status::Down);
        assert!(
            told.detail.is_some_and(|it| it.contains("http://b:2: the relay says: too large")),
            "it says which and why"
        );
        replicas.all[1].says(of("up").as_bytes());
        replicas.report(&reporter);
        assert_eq!(health.report().dependencies["queries"].status, Status::Up);
    }

    #[test]
    fn a_list_that_names_no_service_is_refused_with_what_is_wrong() {
        for bad in ["", " , ", "127.0.0.1:7411", "https://a:1", "http://a:1/v1", "http://u:pw@a:1"] {
            assert!(Replicas::parse(bad).is_err(), "{bad}");
        }
    }
}
