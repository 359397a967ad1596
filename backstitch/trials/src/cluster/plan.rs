//! Who is in a cluster, at which ports, with which settings.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::member::{Member, Probe};

/// How large a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Replicas of each service and of the relay.
    pub replicas: usize,
    /// Partitions of the topic.
    pub partitions: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { replicas: 2, partitions: 6 }
    }
}

/// The members, and where clients find them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// How large it is.
    pub shape: Shape,
    /// The front door.
    pub url: String,
    /// The payment provider.
    pub provider: String,
    /// The event store, for clients of its protocol.
    pub event_store: String,
    /// Kafka.
    pub brokers: String,
    /// Postgres.
    pub database: String,
    /// What webhooks are signed with: drawn for this cluster.
    pub webhook_secret: String,
    /// Who is in it, those that others need first.
    pub members: Vec<Member>,
}

/// Ports are taken below those that the system gives to outgoing connections (from 32768 on), so that nobody is there
/// when a member comes back.
const PORTS: std::ops::Range<u16> = 23_000..32_000;

impl Plan {
    /// A plan for `dir`, with ports that nobody listens on now.
    ///
    /// # Errors
    /// If there are no free ports.
    pub(super) fn new(dir: &Path, program: &Path, shape: Shape) -> anyhow::Result<Self> {
        let mut ports = Ports::from(dir);
        let [postgres, event_store, provider, gateway] = [ports.next()?, ports.next()?, ports.next()?, ports.next()?];
        let kafka = ports.next_two()?;
        let folder = |name: &str| dir.join(name).display().to_string();
        let mut plan = Self {
            shape,
            url: format!("http://127.0.0.1:{gateway}"),
            provider: format!("http://127.0.0.1:{provider}"),
            event_store: format!("kurrentdb://127.0.0.1:{event_store}?tls=false"),
            brokers: format!("127.0.0.1:{kafka}"),
            database: format!(
                "postgres:///backstitch?host={}&port={postgres}&user=backstitch",
                folder("postgres/socket")
            ),
            webhook_secret: format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()),
            members: Vec::new(),
        };
        let port = postgres.to_string();
        let keeper = ["cluster", "keep-postgres", "--folder", &folder("postgres"), "--port", &port];
        let mut member = own(program, "postgres", 0, &keeper, 0);
        member.probe = Probe::Tcp(format!("127.0.0.1:{postgres}"));
        plan.members.push(member);
        let port = kafka.to_string();
        let mut member = own(program, "kafka", 0, &["start", "--dir", &folder("kafka"), "--port", &port], 0);
        (member.program, member.probe) = (scripts().join("kafka"), Probe::Tcp(plan.brokers.clone()));
        plan.members.push(member);
        let listen = format!("127.0.0.1:{event_store}");
        let mut member =
            own(program, "event-store", 0, &["store", "serve", "--data", &folder("log"), "--listen", &listen], 0);
        member.probe = Probe::Tcp(listen);
        plan.members.push(member);
        let (listen, ledger) = (format!("127.0.0.1:{provider}"), folder("bank/ledger.jsonl"));
        std::fs::create_dir_all(dir.join("bank"))?;
        let webhooks = format!("{}/v1/payments/webhooks/simulated", plan.url);
        let bank = ["provider-sim", "--listen", &listen, "--ledger", &ledger, "--webhook-url", &webhooks];
        let mut member = own(program, "provider", 0, &bank, provider);
        member.probe = Probe::Http(format!("{}/health", plan.provider));
        member.settings.insert("BACKSTITCH__PROVIDER__WEBHOOK_SECRET".to_owned(), plan.webhook_secret.clone());
        plan.members.push(member);
        plan.services(&mut ports, program)?;
        Ok(plan)
    }

    /// The services, and the front door before them.
    fn services(&mut self, ports: &mut Ports, program: &Path) -> anyhow::Result<()> {
        let (mut bases, mut grpc) = (BTreeMap::<&str, Vec<String>>::new(), Vec::new());
        let mut members = Vec::new();
        for (service, verb, stage) in [
            ("relay", "relay", 1),
            ("commands", "command-service", 1),
            ("queries", "projection-service", 1),
            ("sagas", "saga-orchestrator", 2),
        ] {
            for replica in 1..=self.shape.replicas {
                let port = ports.next()?;
                let mut member = own(program, &format!("{service}-{replica}"), stage, &[verb], port);
                self.join(&mut member, service, port);
                if service == "commands" {
                    let port = ports.next()?;
                    member.settings.insert("BACKSTITCH__GRPC__LISTEN".to_owned(), format!("127.0.0.1:{port}"));
                    grpc.push(format!("http://127.0.0.1:{port}"));
                }
                bases.entry(service).or_default().push(format!("http://127.0.0.1:{port}"));
                members.push(member);
            }
        }
        for member in members.iter_mut().filter(|member| member.name.starts_with("sagas-")) {
            member.settings.insert("BACKSTITCH__SAGA__COMMANDS_URL".to_owned(), grpc.join(","));
        }
        let front = self.url.trim_start_matches("http://").to_owned();
        let port: u16 = front.rsplit(':').next().unwrap_or_default().parse()?;
        let list = |service: &str| bases.get(service).map(|bases| bases.join(",")).unwrap_or_default();
        let (commands, queries, sagas) = (list("commands"), list("queries"), list("sagas"));
        let arguments =
            ["gateway", "--listen", &front, "--commands", &commands, "--queries", &queries, "--sagas", &sagas];
        members.push(own(program, "gateway", 3, &arguments, port));
        self.members.extend(members);
        Ok(())
    }

    /// What joins a service to the rest.
    fn join(&self, member: &mut Member, service: &str, port: u16) {
        let mut set = |key: &str, value: String| _ = member.settings.insert(format!("BACKSTITCH__{key}"), value);
        set("HTTP__LISTEN", format!("127.0.0.1:{port}"));
        set("EVENT_STORE__URL", self.event_store.clone());
        set("LOG__FORMAT", "human".to_owned());
        if service != "commands" {
            set("BUS__BROKERS", self.brokers.clone());
            set("BUS__PARTITIONS", self.shape.partitions.to_string());
        }
        if service == "commands" {
            set("PROVIDER__MODE", "http".to_owned());
            set("PROVIDER__URL", self.provider.clone());
            set("PROVIDER__WEBHOOK_SECRET", self.webhook_secret.clone());
            set("PROVIDER__CALL_TIMEOUT_MS", "1500".to_owned()); // A withheld answer costs little of a run.
        }
        if service == "queries" {
            member.settings.insert("DATABASE_URL".to_owned(), self.database.clone());
        }
    }

    /// The members by stage.
    pub fn stages(&self) -> Vec<Vec<&Member>> {
        let last = self.members.iter().map(|member| member.stage).max().unwrap_or_default();
        (0..=last).map(|stage| self.members.iter().filter(|member| member.stage == stage).collect()).collect()
    }
}

/// A member that this very program is, with an HTTP port that says whether it is ready.
fn own(program: &Path, name: &str, stage: u8, arguments: &[&str], port: u16) -> Member {
    Member {
        name: name.to_owned(),
        stage,
        program: program.to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        settings: BTreeMap::new(),
        probe: Probe::Http(format!("http://127.0.0.1:{port}/health/ready")),
    }
}

/// The repository's scripts, one of which runs Kafka: where this program was built, or `BACKSTITCH_SCRIPTS`.
fn scripts() -> PathBuf {
    std::env::var_os("BACKSTITCH_SCRIPTS")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../script"), PathBuf::from)
}

/// Ports that nobody listens on, from a place on that follows from the folder, so that two clusters rarely meet.
struct Ports(u16);

impl Ports {
    fn from(dir: &Path) -> Self {
        let drawn = crc32fast::hash(format!("{}{}", dir.display(), std::process::id()).as_bytes());
        let span = u32::from(PORTS.end - PORTS.start) / 2;
        Self(PORTS.start + u16::try_from(drawn % span).unwrap_or_default())
    }

    fn next(&mut self) -> anyhow::Result<u16> {
        while self.0 < PORTS.end {
            self.0 += 1;
            if TcpListener::bind(("127.0.0.1", self.0)).is_ok() {
                return Ok(self.0);
            }
        }
        anyhow::bail!("no free port between {} and {}", PORTS.start, PORTS.end)
    }

    /// A port whose next one is free as well: Kafka's controller takes it.
    fn next_two(&mut self) -> anyhow::Result<u16> {
        let first = self.next()?;
        match self.next().context("two ports beside each other")? {
            second if second == first + 1 => Ok(first),
            _ => self.next_two(),
        }
    }
}
