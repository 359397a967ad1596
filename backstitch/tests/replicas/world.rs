//! The log and the bank in the test's own process, command services in theirs.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use command_service::provider::config::{SimulatedConfig, WebhookSecrets};
use command_service::provider::simulated::server::{self, ServerConfig};
use event_store::serve::{ServeOptions, Server};
use event_store::{Direction, EventStore, RecordedEvent, SqliteOptions, SqliteStore, StreamName};
use saga_orchestrator::commands_client::Address;
use saga_orchestrator::{CommandPort, CommandsClient, Dispatch, Outcome};
use serde_json::Value;
use service_kit::{Clock, Tasks};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// A guard against a test that hangs; nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(60);

const SECRET: &str = "a secret that both processes know";

/// A log, a bank, and what a command service must know of them.
pub struct World {
    pub log: Arc<SqliteStore>,
    pub bank: SocketAddr,
    store: String,
    tasks: Tasks,
    dir: tempfile::TempDir,
}

impl World {
    pub async fn start() -> Self {
        Self::told_at(None).await
    }

    /// The same, with a bank that tells what happens at this HTTP port.
    pub async fn told_at(port: Option<u16>) -> Self {
        let (dir, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let log = SqliteStore::open(&dir.path().join("log"), SqliteOptions::default()).unwrap();
        let options = ServeOptions::on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let server = Server::bind(log.clone(), options).await.unwrap();
        let (store, stop) = (server.connection_string(), tasks.stopping());
        tasks.spawn("log", async move { server.run(stop.cancelled_owned()).await.unwrap() });
        let config = ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ledger: dir.path().join("bank.jsonl"),
            webhook_url: port.map(|port| format!("http://127.0.0.1:{port}/v1/payments/webhooks/simulated")),
            secret: WebhookSecrets::new(SECRET).unwrap(),
            simulated: SimulatedConfig { delay_ms: 20, webhook_delay_ms: 2, ..SimulatedConfig::default() },
        };
        let bank = server::serve(config, Clock::system(), &tasks).await.unwrap();
        Self { log, bank, store, tasks, dir }
    }

    /// A command service at ports that nobody has.
    pub async fn replica(&self, more: &[(&str, &str)]) -> Replica {
        self.replica_at([free_port(), free_port()], more).await
    }

    /// A command service at these ports, HTTP and gRPC; returns when it takes commands.
    pub async fn replica_at(&self, ports: [u16; 2], more: &[(&str, &str)]) -> Replica {
        let mut child = Command::new(env!("CARGO_BIN_EXE_backstitch"))
            .args(["command-service", "--listen", &format!("127.0.0.1:{}", ports[0])])
            .args(["--grpc-listen", &format!("127.0.0.1:{}", ports[1])])
            .current_dir(self.dir.path())
            .env("BACKSTITCH__EVENT_STORE__URL", &self.store)
            .env("BACKSTITCH__PROVIDER__MODE", "http")
            .env("BACKSTITCH__PROVIDER__URL", format!("http://{}", self.bank))
            .env("BACKSTITCH__PROVIDER__WEBHOOK_SECRET", SECRET)
            .env("BACKSTITCH__LOG__FORMAT", "human")
            .envs(more.iter().copied())
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("takes commands") {
                    return;
                }
                said.push_str(&line);
                said.push('\n');
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it ended: {said}");
        // Its pipe must not fill up; what it says is shown when a test fails.
        self.tasks.spawn("replica-says", async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{}: {line}", ports[0]);
            }
        });
        Replica { child, ports }
    }

    pub async fn events(&self, stream: &str) -> Vec<RecordedEvent> {
        let stream: StreamName = stream.parse().unwrap();
        self.log.read_stream(&stream, 0, Direction::Forward, 10_000).await.unwrap()
    }

    /// Waits until a stream has an event of this type.
    pub async fn until(&self, stream: &str, event_type: &str) {
        let mut head = self.log.head();
        let wait = async {
            loop {
                head.borrow_and_update();
                if self.events(stream).await.iter().any(|event| &*event.event_type == event_type) {
                    return;
                }
                head.changed().await.unwrap();
            }
        };
        let ended = tokio::time::timeout(PATIENCE, wait).await;
        assert!(ended.is_ok(), "{stream} never had {event_type}: {:?}", self.events(stream).await);
    }

    /// Money movements that the bank made, none of them twice.
    pub async fn effects(&self) -> u64 {
        let statement: Value =
            reqwest::get(format!("http://{}/ledger", self.bank)).await.unwrap().json().await.unwrap();
        assert!(statement["max_effects_per_key"].as_u64().unwrap() <= 1, "{statement}");
        assert_eq!(statement["key_conflicts"], 0, "{statement}");
        statement["effects"].as_u64().unwrap()
    }
}

/// A command service in a process of its own.
pub struct Replica {
    child: Child,
    /// HTTP and gRPC.
    pub ports: [u16; 2],
}

impl Replica {
    /// `kill -9`; returns when it is gone.
    pub async fn kill(mut self) -> [u16; 2] {
        self.child.kill().await.unwrap();
        self.ports
    }

    /// SIGTERM; how it ended.
    pub async fn stop(mut self) -> std::process::ExitStatus {
        self.signal(libc::SIGTERM);
        tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        // SAFETY: kill(2) has no preconditions; the process is a child that was not waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    pub fn http(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[0])
    }

    /// POSTs a body with a key.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> reqwest::Response {
        reqwest::Client::new().post(self.http(path)).header("Idempotency-Key", key).json(body).send().await.unwrap()
    }
}

/// What sagas reach these replicas with; one replica has this long to answer.
pub fn client(ports: &[u16], attempt: Duration) -> CommandsClient {
    let urls: Vec<String> = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
    CommandsClient::with_deadline(Address::parse_all(&urls.join(",")).unwrap(), attempt).unwrap()
}

/// Sends a command as a saga does.
pub async fn send(client: &CommandsClient, number: u128, command: &domain::Command) -> Outcome {
    let id = Uuid::from_u128(number);
    let not_after = Clock::system().now() + Duration::from_secs(900);
    client
        .dispatch(Dispatch {
            command_id: id,
            body: serde_json::value::to_raw_value(command).unwrap(),
            correlation_id: id,
            causation_id: id,
            traceparent: None,
            actor: "saga:test".to_owned(),
            not_after,
            stream_not_after: None,
        })
        .await
}

/// Below the ports that the system gives to outgoing connections, so that nobody is there when a replica comes back.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 14_000 + u16::try_from(std::process::id() % 7_000).unwrap();
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
