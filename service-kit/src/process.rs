//! The frame of a process of its own: settings, a runtime, signals, an exit code.

use std::future::Future;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::de::DeserializeOwned;
use tokio::runtime;

use crate::config::Started;
use crate::{StartError, config, print, rights, shutdown};

/// What a process answers that could not start or go on.
const FAILED: u8 = 2;

/// Runs a program to its exit code. Why it failed goes to stderr, with what to type: exit code 2.
pub fn main(program: impl Future<Output = Result<(), StartError>>) -> ExitCode {
    rights::private_files();
    // It waits only: what serves makes a runtime of its own.
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(no_threads).and_then(|runtime| runtime.block_on(program)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::message(format_args!("error: {error}\n\nhint: {}", error.hint));
            ExitCode::from(FAILED)
        }
    }
}

/// The settings of `file`, else of `backstitch.toml` here if there is one, then the environment; and what `process` is to
/// tell of them.
///
/// # Errors
/// [`StartError`]: what cannot be read, or is none of the settings, and where it stands.
pub fn settings<T: DeserializeOwned>(process: &'static str, file: Option<&Path>) -> Result<(T, Started), StartError> {
    let settings = config::load_to_tell(process, config::file(file).as_deref());
    settings.map_err(|error| StartError::new(error, "backstitch config show   # every key with its value"))
}

/// Open files beyond which nothing is gained: a port takes some thousand connections. macOS refuses `unlimited`.
const OPEN_FILES_MAX: u64 = 65_536;

/// Runs what serves on threads of its own, one for each processor, with this name.
///
/// # Errors
/// [`StartError`]: its own, or that there are no threads.
pub async fn on_all_processors<F>(name: &'static str, serves: F) -> Result<(), StartError>
where
    F: Future<Output = Result<(), StartError>> + Send + 'static,
{
    let runtime = runtime::Builder::new_multi_thread().enable_all().thread_name(name).build().map_err(no_threads)?;
    let served = runtime.spawn(serves).await;
    runtime.shutdown_background(); // All that it had to do has ended in `serves`.
    served.unwrap_or_else(|error| Err(StartError::new(error, "this is a fault of Backstitch's own")))
}

/// The first signal from now on that says to stop. Ask for it before anything runs: then an early Ctrl-C stops cleanly too.
///
/// # Errors
/// [`StartError`]: the system does not let us wait for signals.
pub fn signal() -> Result<impl Future<Output = &'static str>, StartError> {
    let no_signals = |error| StartError::new(format_args!("signals cannot be waited for: {error}"), "ulimit -a");
    shutdown::signalled().map_err(no_signals)
}

/// Stops, cleanly unless a second signal comes.
///
/// # Errors
/// [`StartError`]: it came. `then` says what becomes of what was open.
pub async fn stop(stops: impl Future<Output = ()>, then: &str) -> Result<(), StartError> {
    let second = signal()?;
    tokio::select! {
        () = stops => {
            tracing::info!("stopped");
            Ok(())
        }
        _ = second => Err(StartError::new("stopped at once by a second signal", then)),
    }
}

fn no_threads(error: io::Error) -> StartError {
    StartError::new(format_args!("no threads can be started: {error}"), "ulimit -u")
}

/// Raises how many files this process may have open to what the system allows at most, and says how many that are. Each
/// connection is one; the usual first limit of 1 024 is meant for programs that use `select`.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through both calls, which write and read nothing else (getrlimit(2)).
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 1024;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max.min(OPEN_FILES_MAX), ..limit };
        if raised.rlim_cur > limit.rlim_cur && libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}
