//! Processor time for the backends of the private Postgres.

use std::fs;

use sqlx::postgres::PgPoolOptions;

/// How much nicer than this process a backend becomes whose queries give way. At 10 it gets a ninth of the processor time
/// while both have work, and all of it while nobody else has any. Source: sched(7).
const NICER: i32 = 10;

/// A pool whose queries are long, and in less of a hurry than all else: where Postgres is the private one, its backends for
/// this pool take the processor only while nobody else on the machine needs it.
pub fn giving_way(options: PgPoolOptions) -> PgPoolOptions {
    options.after_connect(|connection, _| {
        Box::pin(async move {
            give_way(sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await?);
            Ok(())
        })
    })
}

/// Lets a backend give way to everything else on this machine, if it belongs to the private Postgres of this process: that
/// one shares the processors with the server. Any other backend is left alone.
fn give_way(backend: i32) {
    let (Ok(own), Ok(id)) = (i32::try_from(std::process::id()), libc::id_t::try_from(backend)) else { return };
    if parent_of(backend).and_then(parent_of) != Some(own) {
        return;
    }
    // SAFETY: neither has memory preconditions; a process that is gone, or not ours to change, is an error that changes
    // nothing. What is beyond the last priority counts as the last one.
    let changed =
        unsafe { libc::setpriority(libc::PRIO_PROCESS, id, libc::getpriority(libc::PRIO_PROCESS, 0) + NICER) };
    if changed != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(backend, %error, "a backend of Postgres keeps its priority");
    }
}

fn parent_of(process: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
