//! One process of a cluster, known by its name and found again by its pid file, also if another program started it.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::child_log;

/// How long it may take to say that it is ready; one that is paused says nothing.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It serves.
    Ready,
    /// It runs, and does not serve (yet).
    Running,
    /// It was stopped in its tracks.
    Paused,
    /// There is no process.
    Down,
}

/// How to tell that it serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// `GET` answers 200.
    Http(String),
    /// `host:port` takes a connection.
    Tcp(String),
}

impl Probe {
    /// The base URL or address that is asked.
    pub fn base(&self) -> &str {
        match self {
            Self::Http(url) => url.trim_end_matches("/health/ready"),
            Self::Tcp(address) => address,
        }
    }
}

/// A process: what runs it, and how it is told to be ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// Its name, such as `commands-1`.
    pub name: String,
    /// Members of a lower stage are ready before it is started.
    pub stage: u8,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, besides ours.
    pub settings: BTreeMap<String, String>,
    /// How to tell that it serves.
    pub probe: Probe,
}

impl Member {
    fn pid_file(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.pid", self.name))
    }

    /// Where what it says is kept.
    pub fn log(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.log", self.name))
    }

    /// Starts it, apart from us: it lives on when we end.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn start(&self, dir: &Path) -> anyhow::Result<()> {
        let output = child_log::open(&self.log(dir))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(&self.settings).env_remove("DATABASE_URL").current_dir(dir);
        if let Some(url) = self.settings.get("DATABASE_URL") {
            command.env("DATABASE_URL", url);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().with_context(|| format!("{} cannot be started", self.program.display()))?;
        std::fs::write(self.pid_file(dir), format!("{} {}", child.id(), started_at(child.id()).unwrap_or_default()))?;
        reap(child);
        Ok(())
    }

    /// Its process, if it is the one that was started: a number is given to others once it is free.
    pub fn pid(&self, dir: &Path) -> Option<u32> {
        let text = std::fs::read_to_string(self.pid_file(dir)).ok()?;
        let (pid, started) = text.split_once(' ')?;
        let pid = pid.parse().ok()?;
        (started_at(pid)? == started).then_some(pid)
    }

    /// Whether there is a process, paused or not.
    pub fn runs(&self, dir: &Path) -> bool {
        self.pid(dir).is_some()
    }

    /// Whether it serves.
    pub async fn is_ready(&self) -> bool {
        match &self.probe {
            Probe::Http(url) => {
                let Ok(client) = reqwest::Client::builder().timeout(ANSWERS_WITHIN).build() else { return false };
                client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
            }
            Probe::Tcp(address) => {
                let connected = tokio::net::TcpStream::connect(address);
                tokio::time::timeout(ANSWERS_WITHIN, connected).await.is_ok_and(|connected| connected.is_ok())
            }
        }
    }

    /// How it is.
    pub async fn state(&self, dir: &Path) -> State {
        match self.pid(dir) {
            None => State::Down,
            Some(pid) if state_letter(pid) == Some('T') => State::Paused,
            Some(_) if self.is_ready().await => State::Ready,
            Some(_) => State::Running,
        }
    }

    /// Sends a signal to its process, if there is one.
    pub fn signal(&self, dir: &Path, signal: i32) {
        if let Some(pid) = self.pid(dir) {
            send(pid, signal);
        }
    }

    /// Kills it and what it has started (`kill -9`), and returns when it is gone.
    pub fn kill(&self, dir: &Path) {
        let Some(pid) = self.pid(dir) else { return };
        let all = with_children(pid);
        all.iter().for_each(|pid| send(*pid, libc::SIGKILL));
        while self.runs(dir) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops it and what it has started in their tracks (SIGSTOP): connections stay open and nobody answers. Returns when
    /// they stand still.
    pub fn pause(&self, dir: &Path) {
        for pid in self.pid(dir).into_iter().flat_map(with_children) {
            send(pid, libc::SIGSTOP);
            while state_letter(pid).is_some_and(|letter| !matches!(letter, 'T' | 'Z')) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Lets it go on.
    pub fn resume(&self, dir: &Path) {
        self.pid(dir).into_iter().flat_map(with_children).for_each(|pid| send(pid, libc::SIGCONT));
    }

    /// The end of what it wrote.
    pub fn said(&self, dir: &Path) -> String {
        child_log::end(&self.log(dir))
    }
}

/// Waits for a child in a thread of its own: a process that nobody waits for stays in the table after its end. When we
/// end first, init does it.
fn reap(mut child: std::process::Child) {
    _ = std::thread::Builder::new().name("reaper".to_owned()).spawn(move || _ = child.wait());
}

fn send(pid: u32, signal: i32) {
    if let Ok(pid) = i32::try_from(pid) {
        // SAFETY: kill takes numbers only; a process that is gone is an error that changes nothing.
        unsafe { libc::kill(pid, signal) };
    }
}

/// A field of `/proc/PID/stat` behind the program's name, which may hold anything. Source: proc(5).
fn stat(pid: u32, field: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(field).map(str::to_owned)
}

fn state_letter(pid: u32) -> Option<char> {
    stat(pid, 0)?.chars().next()
}

/// When a process began, in ticks since the machine did: with its number it is its own. A dead one that nobody has
/// waited for does not count.
fn started_at(pid: u32) -> Option<String> {
    (state_letter(pid)? != 'Z').then(|| stat(pid, 19)).flatten()
}

/// A process and all that descend from it, itself first.
fn with_children(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u32)> = numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, stat(pid, 1)?.parse().ok()?)))
        .collect();
    let mut seen = 0;
    while let Some(parent) = all.get(seen).copied() {
        all.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        seen += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_is_paused_resumed_killed_and_told_from_another_of_the_same_number() {
        let dir = tempfile::tempdir().unwrap();
        let member = Member {
            name: "sleeper".to_owned(),
            stage: 0,
            program: "sh".into(),
            arguments: vec!["-c".to_owned(), "sleep 600 & wait".to_owned()],
            settings: BTreeMap::new(),
            probe: Probe::Tcp("127.0.0.1:1".to_owned()),
        };
        assert_eq!(member.state(dir.path()).await, State::Down);
        member.start(dir.path()).unwrap();
        let pid = member.pid(dir.path()).unwrap();
        member.pause(dir.path());
        assert_eq!(member.state(dir.path()).await, State::Paused);
        member.resume(dir.path());
        assert_eq!(member.state(dir.path()).await, State::Running);
        let child = loop {
            // The shell has begun its own child once there are two.
            if let [_, child] = with_children(pid)[..] {
                break child;
            }
        };
        member.kill(dir.path());
        assert_eq!(member.state(dir.path()).await, State::Down);
        while started_at(child).is_some() {} // Killed as well: init takes it away.
        std::fs::write(member.pid_file(dir.path()), format!("{} 1", std::process::id())).unwrap();
        assert_eq!(member.pid(dir.path()), None, "this process did not begin then");
    }
}
