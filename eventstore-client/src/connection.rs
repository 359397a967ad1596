//! The one connection a client has at a time, and the task that keeps it.
//!
//! *Invariant:* whatever fails, the first connect included, is tried again until the client is closed. A connection that
//! failed once is never used again; calls that were on their way over it end by themselves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use pauses::Pauses;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;

use crate::batch::Session;
use crate::discovery::{Found, find};
use crate::{Error, Node, Notices, Settings};

/// The longest pause between two tries to connect: a server that is back is found within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// There is no connection; the client is trying to connect.
    Away {
        /// Since when.
        since: SystemTime,
        /// Tries that failed since then.
        attempts: u32,
        /// What failed last; empty before the first failure.
        reason: String,
    },
    /// There is one.
    Connected {
        /// To whom.
        node: Node,
        /// Since when.
        since: SystemTime,
        /// What the server says it is.
        version: String,
    },
    /// The client was closed.
    Closed,
}

/// A connection that works as far as anybody knows.
pub(crate) struct Link {
    pub number: u64,
    pub node: Node,
    pub channel: Channel,
    /// Whether the server takes many appends over one call.
    pub batches: bool,
    session: OnceLock<Session>,
}

/// What goes with every call.
#[derive(Debug, Default)]
struct Headers(Vec<(&'static str, AsciiMetadataValue)>);

/// The connection, for all who call.
pub(crate) struct Links {
    pub settings: Settings,
    /// The store's address, for errors.
    pub store: String,
    headers: Headers,
    state: watch::Sender<State>,
    /// Told to the connecting task: there is no connection any more.
    wanted: Notify,
    /// Where somebody said that the leader is.
    hint: Mutex<Option<Node>>,
    /// The same state for observers outside; it is changed while the inner state is locked, so that the two never
    /// differ.
    health: watch::Sender<Health>,
    /// What the server said of itself with the last read.
    notices: watch::Sender<Notices>,
    numbers: AtomicU64,
    /// Everything that runs for this client; it ends with it. Held to add one.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Clone)]
enum State {
    Away { attempts: u32, reason: String },
    Up(Arc<Link>),
    Closed,
}

impl Links {
    /// Begins to connect. Needs a Tokio runtime.
    pub(crate) fn open(settings: Settings) -> Arc<Self> {
        let headers = Headers::of(&settings);
        let away = Health::Away { since: SystemTime::now(), attempts: 0, reason: String::new() };
        let links = Arc::new(Self {
            store: settings.to_string(),
            headers,
            settings,
            state: watch::Sender::new(State::Away { attempts: 0, reason: "not connected yet".to_owned() }),
            wanted: Notify::new(),
            hint: Mutex::default(),
            health: watch::Sender::new(away),
            notices: watch::Sender::default(),
            numbers: AtomicU64::default(),
            tasks: Mutex::default(),
        });
        links.spawn(keep_connected(links.clone()));
        links
    }

    /// Runs a task that ends with the client.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Ends everything; calls under way fail.
    pub(crate) fn close(&self) {
        self.state.send_modify(|state| {
            *state = State::Closed;
            self.health.send_replace(Health::Closed);
        });
        self.tasks.lock().abort_all();
    }

    /// Waits until there is another connection than this one (`None`: whatever there is will do); `false`: none will be, the
    /// client was closed.
    pub(crate) async fn replaced(&self, number: Option<u64>) -> bool {
        let other = |state: &State| match state {
            State::Up(link) => number.is_some_and(|number| link.number != number),
            State::Away { .. } => false,
            State::Closed => true,
        };
        match self.state.subscribe().wait_for(other).await {
            Ok(state) => matches!(*state, State::Up(_)),
            Err(_) => false,
        }
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(crate) fn notices(&self) -> watch::Receiver<Notices> {
        self.notices.subscribe()
    }

    /// Takes in what the server says of itself in an answer.
    pub(crate) fn heard(&self, metadata: &MetadataMap) {
        let now = Notices::of(metadata);
        self.notices.send_if_modified(|before| {
            *before != now && {
                *before = now;
                true
            }
        });
    }

    /// The connection, as soon as there is one. Gives up at `until`, or at once when so many tries in a row have failed
    /// that the next one probably will; `None`: never.
    pub(crate) async fn link(&self, until: Option<Instant>) -> Result<Arc<Link>, Error> {
        let mut state = self.state.subscribe();
        loop {
            let reason = match &*state.borrow_and_update() {
                State::Up(link) => return Ok(link.clone()),
                State::Closed => return Err(Error::Closed),
                State::Away { attempts, reason } => {
                    if until.is_some() && *attempts >= self.settings.max_discover_attempts {
                        return Err(self.unavailable(reason));
                    }
                    reason.clone()
                }
            };
            let changed = state.changed();
            let waited = match until {
                Some(until) => tokio::time::timeout_at(until, changed).await.map_err(|_| self.unavailable(&reason))?,
                None => changed.await,
            };
            waited.map_err(|_| Error::Closed)?;
        }
    }

    /// Says that a connection is of no use any more, and perhaps who leads. Only the first to say so is heard.
    pub(crate) fn lost(&self, number: u64, reason: &str, leader: Option<Node>) {
        let was_current = self.state.send_if_modified(|state| match state {
            State::Up(link) if link.number == number => {
                *state = State::Away { attempts: 0, reason: reason.to_owned() };
                let since = SystemTime::now();
                self.health.send_replace(Health::Away { since, attempts: 0, reason: reason.to_owned() });
                true
            }
            State::Up(_) | State::Away { .. } | State::Closed => false,
        });
        if was_current {
            tracing::info!(store = self.store, reason, "the connection to the event store is lost");
            *self.hint.lock() = leader;
            self.wanted.notify_one();
        }
    }

    pub(crate) fn unavailable(&self, reason: &str) -> Error {
        Error::Unavailable { store: self.store.clone(), reason: reason.to_owned() }
    }

    /// A request with what goes with every call. `within` is told to the server; the caller keeps to it by itself.
    pub(crate) fn request<T>(&self, message: T, within: Option<Duration>) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        for (name, value) in &self.headers.0 {
            request.metadata_mut().insert(*name, value.clone());
        }
        if let Some(within) = within {
            request.set_timeout(within);
        }
        request
    }

    /// One try to connect succeeded.
    fn connected(&self, found: Found) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        tracing::info!(store = self.store, node = %found.node, version = found.version, "connected to the event store");
        let (node, channel, batches) = (found.node, found.channel, found.batches);
        let health = Health::Connected { node: node.clone(), since: SystemTime::now(), version: found.version };
        let link = Arc::new(Link { number, node, channel, batches, session: OnceLock::new() });
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                *state = State::Up(link);
                self.health.send_replace(health);
            }
            open
        });
    }

    /// One try to connect failed; how many in a row did so far.
    fn failed(&self, because: &str) -> u32 {
        let mut failed = 0;
        self.state.send_if_modified(|state| match state {
            State::Away { attempts, reason } => {
                *attempts += 1;
                failed = *attempts;
                because.clone_into(reason);
                self.health.send_modify(|health| {
                    if let Health::Away { attempts, reason, .. } = health {
                        *attempts = failed;
                        because.clone_into(reason);
                    }
                });
                true
            }
            State::Up(_) | State::Closed => false,
        });
        if failed == 1 {
            tracing::warn!(store = self.store, because, "the event store cannot be reached; it is tried again");
        }
        failed
    }
}

impl Link {
    /// The call over which many appends go, begun by the first of them.
    pub(crate) fn session(&self, links: &Arc<Links>) -> &Session {
        self.session.get_or_init(|| Session::begin(self, links))
    }
}

impl Headers {
    fn of(settings: &Settings) -> Self {
        let mut headers = Vec::new();
        if let Some(credentials) = &settings.credentials {
            let pair = format!("{}:{}", credentials.user, credentials.password);
            let value = format!("Basic {}", BASE64.encode(pair));
            if let Ok(mut value) = AsciiMetadataValue::try_from(value) {
                value.set_sensitive(true);
                headers.push(("authorization", value));
            }
        }
        let leads = settings.preference == crate::NodePreference::Leader;
        headers.push(("requires-leader", AsciiMetadataValue::from_static(if leads { "true" } else { "false" })));
        if let Some(Ok(name)) = settings.connection_name.as_deref().map(AsciiMetadataValue::try_from) {
            headers.push(("connection-name", name));
        }
        Self(headers)
    }
}

/// Connects whenever there is no connection.
async fn keep_connected(links: Arc<Links>) {
    let mut node_of_last_resort = None;
    loop {
        let state = links.state.borrow().clone();
        match state {
            State::Closed => return,
            State::Up(link) => {
                node_of_last_resort = Some(link.node.clone());
                drop(link);
                links.wanted.notified().await;
                continue;
            }
            State::Away { .. } => {}
        }
        let hint = links.hint.lock().take();
        match find(&links, hint, node_of_last_resort.as_ref()).await {
            Ok(found) => links.connected(found),
            Err(reason) => {
                let failed = links.failed(&reason);
                tokio::time::sleep(pause(links.settings.discovery_interval, failed)).await;
            }
        }
    }
}

/// How long to wait after so many failures in a row: doubling, and somewhat different for each client, lest all of them
/// come back in the same moment.
pub(crate) fn pause(first: Duration, failures: u32) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let lot = RandomState::new().hash_one(failures) % 256;
    // Between three quarters of it and all of it.
    let pause = Pauses::doubling(first, LONGEST_PAUSE).after(failures);
    pause.mul_f64(0.75 + 0.25 * f64::from(u8::try_from(lot).unwrap_or_default()) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_differ_a_little() {
        let first = Duration::from_millis(100);
        for (failures, longest) in [(1, 100), (2, 200), (3, 400), (6, 2_000), (40, 2_000)] {
            let pause = pause(first, failures);
            let longest = Duration::from_millis(longest);
            assert!(pause <= longest && pause >= longest * 3 / 4, "{failures}: {pause:?}");
        }
    }
}
