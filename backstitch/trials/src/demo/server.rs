//! A shop for a while: a server process and the payment provider as a process of its own, in a temporary folder, on
//! free ports, ended and removed afterwards.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use command_service::provider::config::{Mode, ProviderConfig, WebhookSecrets};
use service_kit::rights;

use crate::child_log;

/// How long a process may take until it answers: a debug build on a busy machine opens a log and a port in far less.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long a process may take to stop cleanly, twice what it promises.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// How often to look whether a process has answered or ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What webhooks are signed with between two processes that live for one run.
const SECRET: &str = "whsec_ZGVtbyBhbmQgdGVzdHMgb25seSwgbm90IGEgc2VjcmV0";
/// How long the server waits for the provider's answer: short, so that a withheld answer costs little of the run.
const CALL_TIMEOUT_MS: u64 = 1_500;

/// What joins a server in this process to `provider`.
pub fn settings_for(provider: &Process) -> ProviderConfig {
    ProviderConfig {
        mode: Mode::Http,
        url: provider.url.clone(),
        webhook_secret: WebhookSecrets::new(SECRET).ok(),
        call_timeout_ms: CALL_TIMEOUT_MS,
        ..ProviderConfig::default()
    }
}

/// A process that is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where it listens.
    pub url: String,
    log: PathBuf,
}

impl Process {
    fn start(
        program: &Path,
        arguments: &[String],
        settings: &[(&str, String)],
        url: String,
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let output = child_log::open(&log)?;
        let child = Command::new(program)
            .args(arguments)
            .envs(settings.iter().map(|(key, value)| (*key, value)))
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { child, url, log })
    }

    /// A payment provider in `folder`, and the address of the server that it will tell its webhooks: nobody listens
    /// there yet.
    ///
    /// # Errors
    /// If it does not start; with what it said.
    pub async fn bank(program: &Path, folder: &Path) -> anyhow::Result<(Self, SocketAddr)> {
        let (shop, bank) = free_addresses()?;
        Ok((Self::bank_at(program, folder, bank, shop, &[]).await?, shop))
    }

    /// A payment provider in `folder` at `bank`, for the server at `shop`, new or started again on its ledger; with
    /// `more` of its arguments.
    ///
    /// # Errors
    /// If it does not start; with what it said.
    pub async fn bank_at(
        program: &Path,
        folder: &Path,
        bank: SocketAddr,
        shop: SocketAddr,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let mut provider = provider_process(program, folder, bank, shop, more)?;
        provider.answers("/health").await?;
        Ok(provider)
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until it answers at `path`.
    ///
    /// # Errors
    /// If it ends before, or takes too long; with what it said last.
    pub async fn answers(&mut self, path: &str) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let (url, begin) = (format!("{}{path}", self.url), Instant::now());
        loop {
            if http.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            if self.has_ended() || begin.elapsed() > STARTS_WITHIN {
                bail!("{url} does not answer; the process said:\n{}", self.said());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The end of what it wrote to stdout and stderr.
    pub fn said(&self) -> String {
        child_log::end(&self.log)
    }

    /// Kills it, as a power cut would: no last words. Returns when it is gone.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop and waits until it has; how long that took.
    ///
    /// # Errors
    /// If it does not stop in time.
    pub async fn stop(&mut self) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let id = i32::try_from(self.id()).context("a process number")?;
        // SAFETY: kill takes numbers only; the child is ours and has not been waited for, so the number is still its own.
        unsafe { libc::kill(id, libc::SIGTERM) };
        while !self.has_ended() {
            if begin.elapsed() > STOPS_WITHIN {
                self.kill()?;
                bail!("{} did not stop within {STOPS_WITHIN:?}; it said:\n{}", self.url, self.said());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(begin.elapsed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}

/// A shop and its bank, each a process, in a folder of their own.
#[derive(Debug)]
pub struct Processes {
    /// The server. Before the provider, so that it is ended first.
    pub server: Process,
    /// The payment provider.
    pub provider: Process,
    program: PathBuf,
    settings: Vec<(&'static str, String)>,
    /// The folder of everything, removed at the end.
    pub folder: tempfile::TempDir,
}

impl Processes {
    /// Starts both with the program at `program` and waits until commands are taken. `settings` are environment
    /// variables for the server, besides those that join the two.
    ///
    /// # Errors
    /// If one does not start; with what it said.
    pub async fn start(program: &Path, settings: &[(&'static str, String)]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("backstitch-shop-").tempdir()?;
        Self::start_in(folder, program, settings).await
    }

    /// Starts both as [`Self::start`] does, in a folder that may hold what others have left behind: the server's data in
    /// `data`, the provider's ledger in `bank/ledger.jsonl`.
    ///
    /// # Errors
    /// If one does not start; with what it said.
    pub async fn start_in(
        folder: tempfile::TempDir,
        program: &Path,
        settings: &[(&'static str, String)],
    ) -> anyhow::Result<Self> {
        rights::let_postgres_through(folder.path())?;
        let (provider, shop) = Process::bank(program, folder.path()).await?;
        let mut all = vec![
            ("BACKSTITCH__PROVIDER__MODE", "http".to_owned()),
            ("BACKSTITCH__PROVIDER__URL", provider.url.clone()),
            ("BACKSTITCH__PROVIDER__WEBHOOK_SECRET", SECRET.to_owned()),
            ("BACKSTITCH__PROVIDER__CALL_TIMEOUT_MS", CALL_TIMEOUT_MS.to_string()),
        ];
        all.extend(settings.iter().cloned());
        let server = server_process(program, folder.path(), &format!("http://{shop}"), &all)?;
        let mut processes = Self { server, provider, program: program.to_path_buf(), settings: all, folder };
        processes.server.answers("/health/live").await?;
        Ok(processes)
    }

    /// Kills the server (`kill -9`), starts it again on the same folder and port, waits until commands are taken.
    ///
    /// # Errors
    /// If it does not come back; with what it said.
    pub async fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.server.kill()?;
        self.restart().await
    }

    /// Changes a setting of the server, an environment variable, from its next start on.
    pub fn set(&mut self, key: &'static str, value: &str) {
        self.settings.push((key, value.to_owned()));
    }

    /// Starts the server again, after it was stopped or killed.
    ///
    /// # Errors
    /// If it does not come back; with what it said.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let url = self.server.url.clone();
        self.server = server_process(&self.program, self.folder.path(), &url, &self.settings)?;
        self.server.answers("/health/live").await
    }

    /// Starts the payment provider again on its ledger and port, after it was killed.
    ///
    /// # Errors
    /// If it does not come back; with what it said.
    pub async fn restart_bank(&mut self) -> anyhow::Result<()> {
        let address = |url: &str| url.trim_start_matches("http://").parse::<SocketAddr>();
        let (bank, shop) = (address(&self.provider.url)?, address(&self.server.url)?);
        self.provider = Process::bank_at(&self.program, self.folder.path(), bank, shop, &[]).await?;
        Ok(())
    }

    /// The folder of the server's data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// Two addresses that nobody listened on a moment ago. The server must know the provider's and the provider the
/// server's before either runs, and the server's must stay the same over a restart.
fn free_addresses() -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?, other.local_addr()?))
}

fn server_process(program: &Path, folder: &Path, url: &str, settings: &[(&str, String)]) -> anyhow::Result<Process> {
    let listen = url.trim_start_matches("http://");
    let data = folder.join("data").display().to_string();
    let arguments = ["serve", "--data", &data, "--listen", listen].map(str::to_owned);
    Process::start(program, &arguments, settings, url.to_owned(), folder.join("server.log"))
}

fn provider_process(
    program: &Path,
    folder: &Path,
    bank: SocketAddr,
    shop: SocketAddr,
    more: &[&str],
) -> anyhow::Result<Process> {
    let ledger = folder.join("bank").join("ledger.jsonl").display().to_string();
    std::fs::create_dir_all(folder.join("bank"))?;
    let webhooks = format!("http://{shop}/v1/payments/webhooks/simulated");
    let listen = bank.to_string();
    let arguments = ["provider-sim", "--listen", &listen, "--ledger", &ledger, "--webhook-url", &webhooks];
    let arguments: Vec<String> = arguments.iter().chain(more).map(|argument| (*argument).to_owned()).collect();
    let settings = [("BACKSTITCH__PROVIDER__WEBHOOK_SECRET", SECRET.to_owned())];
    Process::start(program, &arguments, &settings, format!("http://{bank}"), folder.join("provider.log"))
}
