//! The thread that keeps the postmaster: it makes the cluster, starts it, starts it again when it dies, and stops it.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use engine_runtime::Pauses;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::files::{Home, last_lines};
use super::{PostgresError, USER};

/// How often the keeper looks whether the postmaster still lives.
const WATCH: Duration = Duration::from_millis(100);
/// Between two starts of a postmaster that keeps dying.
const RESTARTS: Pauses = Pauses::doubling(WATCH, Duration::from_secs(5));
/// One that lived for so long did not die of what the one before died of.
const WENT_WELL: Duration = Duration::from_secs(5);
/// How long a fast stop may take before the postmaster is killed: a checkpoint of at most `shared_buffers`.
const STOP_BOUND: Duration = Duration::from_secs(5);

/// What a cluster is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Its page cache, in MB.
    pub shared_buffers_mb: u32,
    /// How many may be connected.
    pub max_connections: u32,
    /// Whether it survives a power cut (not only a kill). Without, it is for tests.
    pub survives_power_cut: bool,
    /// Its loopback port; none: any free one, another at each start.
    pub port: Option<u16>,
}

impl Settings {
    /// For a server: 128 MB of page cache, 60 connections, whole after a power cut.
    pub fn server() -> Self {
        Self { shared_buffers_mb: 128, max_connections: 60, survives_power_cut: true, port: None }
    }

    /// For tests: as fast as it can be, and enough connections for many pools at once.
    pub fn testing() -> Self {
        Self { shared_buffers_mb: 64, max_connections: 200, survives_power_cut: false, port: None }
    }
}

/// The handle of the keeper's thread.
#[derive(Debug)]
pub(super) struct Keeper {
    orders: Sender<Stop>,
    shared: Arc<Shared>,
}

/// Asks for the end; answered when it has come.
type Stop = oneshot::Sender<()>;

#[derive(Debug, Default)]
struct Shared {
    /// 0 while there is none.
    pid: AtomicU32,
    /// The last words of the first postmaster if it never came up. Held for a copy only.
    failure: Mutex<Option<String>>,
}

impl Keeper {
    /// Starts the thread and the postmaster; answers when the process exists, not yet when it answers.
    pub async fn start(home: Home, settings: Settings) -> Result<(Self, u16), PostgresError> {
        let (orders, inbox) = channel();
        let (report, started) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let path = home.folder().to_owned();
        let worker = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("postgres-keeper".to_owned())
            .spawn(move || keep(&home, settings, &inbox, &worker, report))
            .map_err(PostgresError::file(&path))?;
        let port = started.await.unwrap_or_else(|_| {
            Err(PostgresError::Program { program: "postgres-keeper".into(), last_words: "the thread ended".into() })
        })?;
        Ok((Self { orders, shared }, port))
    }

    pub fn pid(&self) -> Option<u32> {
        Some(self.shared.pid.load(Ordering::Acquire)).filter(|&pid| pid != 0)
    }

    pub fn first_failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    pub async fn stop(self) {
        let (done, ended) = oneshot::channel();
        if self.orders.send(done).is_ok() {
            let _ = ended.await; // The thread is gone: so is the postmaster.
        }
    }
}

/// The thread's life. It ends, and with it the postmaster, on [`Stop`] or when the handle is dropped.
fn keep(
    home: &Home,
    settings: Settings,
    orders: &Receiver<Stop>,
    shared: &Shared,
    report: oneshot::Sender<Result<u16, PostgresError>>,
) {
    let prepared = prepare(home).and_then(|()| {
        let port = settings.port.map_or_else(|| free_port(home), Ok)?;
        Ok((port, launch(home, settings, port)?))
    });
    let (port, mut child) = match prepared {
        Ok((port, child)) => {
            shared.pid.store(child.id(), Ordering::Release);
            let _ = report.send(Ok(port)); // Nobody waits any more: the next order is to stop.
            (port, child)
        }
        Err(error) => {
            let _ = report.send(Err(error));
            return;
        }
    };
    let (mut pause, mut restarts, mut begun) = (WATCH, RESTARTS, Instant::now());
    loop {
        match orders.recv_timeout(pause) {
            Ok(done) => {
                end(&mut child);
                let _ = done.send(());
                return;
            }
            Err(RecvTimeoutError::Disconnected) => return end(&mut child),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let Ok(Some(status)) = child.try_wait() else { continue };
        shared.pid.store(0, Ordering::Release);
        let last_words = home.last_words();
        tracing::warn!(%status, %last_words, "the private Postgres ended by itself; starting it again");
        shared.failure.lock().get_or_insert(last_words);
        if begun.elapsed() > WENT_WELL {
            restarts.went_well();
        }
        pause = restarts.failed(); // Backends of the dead one may hold its memory for a moment.
        match prepare(home).and_then(|()| launch(home, settings, port)) {
            Ok(next) => {
                shared.pid.store(next.id(), Ordering::Release);
                (child, begun) = (next, Instant::now());
            }
            Err(error) => tracing::error!(%error, "the private Postgres cannot be started; trying again"),
        }
    }
}

/// Makes the cluster if there is none, and ends an orphan's hold on it.
fn prepare(home: &Home) -> Result<(), PostgresError> {
    if home.data().join("PG_VERSION").is_file() {
        home.same_version()?;
        return evict_orphan(home);
    }
    let unfinished = home.unfinished();
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(PostgresError::file(&unfinished))?; // An initdb that was cut short.
    }
    let password = home.password();
    fs::write(&password, random_password()?).map_err(PostgresError::file(&password))?;
    home.give(&password, 0o600)?;
    let mut initdb = command(home, "initdb");
    initdb.args(["--username", USER, "--encoding=UTF8", "--locale=C", "--no-sync"]);
    initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"]); // The socket's folder is 0700, the port is not.
    initdb.arg("--pwfile").arg(&password).arg("--pgdata").arg(&unfinished);
    let output = initdb.stdin(Stdio::null()).output().map_err(PostgresError::file(&home.program("initdb")))?;
    if !output.status.success() {
        let last_words = last_lines(&String::from_utf8_lossy(&output.stderr));
        return Err(PostgresError::Program { program: home.program("initdb"), last_words });
    }
    fs::rename(&unfinished, home.data()).map_err(PostgresError::file(&home.data()))
}

/// Starts the postmaster. Everything it must know stands on its command line, so that no file can disagree.
fn launch(home: &Home, settings: Settings, port: u16) -> Result<Child, PostgresError> {
    let log = fs::File::create(home.log()).map_err(PostgresError::file(&home.log()))?;
    home.give(&home.log(), 0o600)?;
    let safe = if settings.survives_power_cut { "on" } else { "off" };
    let mut postgres = command(home, "postgres");
    postgres.arg("-D").arg(home.data()).args(["-p", &port.to_string(), "-k"]).arg(home.socket());
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("max_connections={}", settings.max_connections),
        format!("shared_buffers={}MB", settings.shared_buffers_mb),
        format!("fsync={safe}"),
        format!("full_page_writes={safe}"),
        "wal_level=minimal".to_owned(), // Nobody replicates read models.
        "max_wal_senders=0".to_owned(),
        "max_wal_size=1GB".to_owned(), // Bounds recovery and disk; smaller means checkpoints in mid-catch-up.
        "checkpoint_timeout=15min".to_owned(),
        "jit=off".to_owned(), // Compiling costs more than any query here takes.
        "log_checkpoints=off".to_owned(),
        "timezone=UTC".to_owned(),
    ] {
        postgres.args(["-c", &setting]);
    }
    let errors = log.try_clone().map_err(PostgresError::file(&home.log()))?;
    postgres.stdin(Stdio::null()).stdout(log).stderr(errors);
    postgres.spawn().map_err(PostgresError::file(&home.program("postgres")))
}

/// A program of Postgres, as the user it runs as, that is told to stop when this thread ends.
fn command(home: &Home, name: &str) -> Command {
    let mut command = Command::new(home.program(name));
    command.current_dir(home.folder()).env_remove("PGDATA").env("LC_ALL", "C");
    command.process_group(0); // A Ctrl-C at the terminal is for the server, which stops us in its own order.
    if let Some(user) = &home.user {
        command.uid(user.uid).gid(user.gid);
    }
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        // SAFETY: between fork and exec only async-signal-safe calls are made: prctl and getppid.
        unsafe {
            command.pre_exec(move || {
                // After the change of user, which would clear it (prctl(2)); SIGINT is Postgres' fast shutdown.
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                // The parent may have died before: then nobody would ever stop us.
                if u32::try_from(libc::getppid()) != Ok(parent) {
                    return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
                }
                Ok(())
            });
        }
    }
    command
}

/// Stops a postmaster that a killed server left behind, and removes a pid file whose number now is somebody else.
fn evict_orphan(home: &Home) -> Result<(), PostgresError> {
    let path = home.data().join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok()) else { return Ok(()) };
    // The postmaster's working folder is its data folder: nobody else's is.
    let lives = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == home.data());
    let begun = Instant::now();
    while lives() && begun.elapsed() < STOP_BOUND {
        signal(pid, libc::SIGINT);
        std::thread::sleep(Duration::from_millis(20));
    }
    if lives() {
        signal(pid, libc::SIGQUIT);
        std::thread::sleep(WATCH);
    }
    if Path::new("/proc/self").exists() && !lives() {
        let _ = fs::remove_file(&path); // A clean stop has removed it already.
        forget_sockets(home);
    }
    Ok(())
}

/// Removes what a killed postmaster has left in the folder of its socket, which is its own alone. Postgres itself would
/// take the number in there for a living one's, where nobody has waited for the dead one or somebody else has it now.
fn forget_sockets(home: &Home) {
    let left = fs::read_dir(home.socket()).into_iter().flatten().flatten();
    for entry in left.filter(|entry| entry.file_name().to_string_lossy().starts_with(".s.PGSQL.")) {
        let _ = fs::remove_file(entry.path()); // Gone already: all the better.
    }
}

/// Ends the postmaster: fast, then at once, then by force.
fn end(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    for (by, bound) in [(libc::SIGINT, STOP_BOUND), (libc::SIGQUIT, Duration::from_secs(1))] {
        signal(pid, by);
        let begun = Instant::now();
        while begun.elapsed() < bound {
            match child.try_wait() {
                Ok(Some(_)) => return,
                Ok(None) | Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: kill has no memory preconditions; a process that is gone is an error that changes nothing.
    unsafe { libc::kill(pid, signal) };
}

/// A port that is free now. Another process can take it before Postgres does. The start fails then, and the caller, which starts
/// the server again, tries another port.
fn free_port(home: &Home) -> Result<u16, PostgresError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(PostgresError::file(home.folder()))?;
    listener.local_addr().map(|address| address.port()).map_err(PostgresError::file(home.folder()))
}

/// 32 hex digits from the system's randomness. It is no id: nothing is derived from it.
fn random_password() -> Result<String, PostgresError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(PostgresError::file(path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
