//! The machine that is measured, and what a process used of it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// What a figure stands on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub machine: String,
    /// How many cores this process may use.
    pub cores: usize,
    /// Memory.
    pub memory_mb: u64,
    /// Operating system and kernel.
    pub system: String,
    /// The kind of file system that the log lies on.
    pub disk: String,
    /// What "done" means.
    pub durability: &'static str,
    /// Release or not.
    pub build: &'static str,
}

/// What every answer that is counted has waited for.
pub const DURABILITY: &str = "SQLite WAL, synchronous=FULL: one sync a commit, no answer before it";

impl Machine {
    /// This machine, with the folder that the log lies in.
    pub fn here(folder: &Path) -> Self {
        let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
        let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            machine: processor,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mb: memory.unwrap_or(0) / 1024,
            system: format!("{} {}", std::env::consts::OS, kernel.trim()),
            disk: file_system(folder),
            durability: DURABILITY,
            build: if cfg!(debug_assertions) { "debug: these figures mean nothing" } else { "release" },
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, cores, memory_mb, system, disk, durability, build } = self;
        writeln!(f, "{machine}, {cores} cores, {memory_mb} MB, {system}, {disk}, {build} build")?;
        writeln!(f, "durability: {durability}")
    }
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The kind of file system a folder lies on, by the longest mount point above it.
fn file_system(folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = fields.filter(|(point, _)| folder.starts_with(point)).max_by_key(|(point, _)| point.len());
    above.map_or("unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// A folder for a bench's data on a real disk, removed when dropped: in memory a sync would cost nothing.
///
/// # Errors
/// If no folder on a disk can be written to.
pub fn scratch(wanted: Option<&Path>) -> anyhow::Result<tempfile::TempDir> {
    let places = match wanted {
        Some(folder) => vec![folder.to_path_buf()],
        None => vec![std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from(".")],
    };
    let in_memory = |folder: &PathBuf| ["tmpfs", "ramfs"].contains(&file_system(folder).as_str());
    let place = places
        .iter()
        .find(|folder| !in_memory(folder))
        .context("the temporary folders lie in memory, where a sync costs nothing: name one on a disk with --dir")?;
    let folder = tempfile::Builder::new().prefix("backstitch-bench-").tempdir_in(place);
    let folder = folder.with_context(|| format!("no folder can be made in {}", place.display()))?;
    // The private Postgres runs as another user when we are root: he must be able to pass through.
    service_kit::rights::let_postgres_through(folder.path())?;
    Ok(folder)
}

/// What a process used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Processor time.
    pub cpu: Duration,
    /// The most memory resident so far, in MB (2²⁰ bytes).
    pub rss_mb: f64,
}

impl Used {
    /// What a process has used so far; `self` for this one.
    pub fn by(process: &str) -> Self {
        Self { cpu: cpu(process), rss_mb: peak_rss_mb(process) }
    }

    /// Without the processor time of the generator.
    #[must_use]
    pub fn without(self, generator: Duration) -> Self {
        Self { cpu: self.cpu.saturating_sub(generator), ..self }
    }

    /// What was used since `before`; of memory the most so far.
    pub fn since(before: Self, now: Self) -> Self {
        Self { cpu: now.cpu.saturating_sub(before.cpu), rss_mb: now.rss_mb }
    }
}

fn cpu(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it (proc(5)).
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / ticks_per_second())
}

fn ticks_per_second() -> u64 {
    // SAFETY: sysconf reads a number and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

#[allow(clippy::cast_precision_loss, reason = "shown in MB")]
fn peak_rss_mb(process: &str) -> f64 {
    let peak = field(&format!("/proc/{process}/status"), "VmHWM");
    let kb = peak.and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
    kb as f64 / 1024.0
}

/// Divides the processors: the last one is for the generators of the load ([`as_generator`]), the others are for all else in
/// this process and for the processes that it starts from now on. So neither takes the other's time. `false`: there is only
/// one processor, or the system does not let us.
pub fn divide() -> bool {
    let Some(last) = last_processor() else { return false };
    let others: Vec<usize> = (0..last).collect();
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut numbers = threads.filter_map(|thread| thread.file_name().to_str()?.parse::<libc::pid_t>().ok()).peekable();
    let all = numbers.peek().is_some() && numbers.all(|thread| stay_on(thread, &others));
    DIVIDED.store(all, Ordering::Relaxed);
    all
}

/// Takes the calling thread to the generators' processor, if the processors are divided.
pub fn as_generator() {
    if DIVIDED.load(Ordering::Relaxed)
        && let Some(last) = last_processor()
    {
        stay_on(0, &[last]);
    }
}

static DIVIDED: AtomicBool = AtomicBool::new(false);

/// The number of the last processor, if there are several. (That this process may use all of them is assumed.)
fn last_processor() -> Option<usize> {
    // SAFETY: sysconf reads a number and touches no memory of ours.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(online).ok()?.checked_sub(1).filter(|last| *last > 0)
}

/// Keeps a thread on some processors; 0: the calling one. `false`: the system refuses.
fn stay_on(thread: libc::pid_t, processors: &[usize]) -> bool {
    // SAFETY: a cpu_set_t is a field of bits, all of which may be 0; the kernel only reads the one that we own and pass.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for processor in processors {
            libc::CPU_SET(*processor, &mut set);
        }
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set) == 0
    }
}

/// Processor time of the calling thread: the generator's own, to be taken off.
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in the struct that we own and pass.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    if failed {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
