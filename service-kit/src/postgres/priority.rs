//! Processor time for the backends of the private Postgres.
//!
//! What it costs: a backend that gives way while it holds one of Postgres's short internal locks can make a writer wait for it.

use std::fs;

use sqlx::postgres::PgPoolOptions;

/// How much nicer than this process a backend becomes whose queries give way. At 15 it gets about a thirtieth of the processor
/// time while both have work, and all of it while nobody else has any. Source: sched(7).
const NICER: i32 = 15;

/// A pool whose queries are long, and in less of a hurry than all else: where Postgres is the private one, its backends for
/// this pool take the processor only while nobody else on the machine needs it.
pub fn giving_way(options: PgPoolOptions) -> PgPoolOptions {
    options.after_connect(|connection, _| {
        Box::pin(async move {
            let backend = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection).await?;
            if gives_way(backend) {
                // Its helpers would be others, which give way to nobody.
                sqlx::query("set max_parallel_workers_per_gather = 0").execute(connection).await?;
            }
            Ok(())
        })
    })
}

/// Lets a backend give way to everything else on this machine, if it belongs to the private Postgres of this process: that
/// one shares the processors with the server. Any other backend is left alone. Whether it does now.
fn gives_way(backend: i32) -> bool {
    let (Ok(own), Ok(id)) = (i32::try_from(std::process::id()), libc::id_t::try_from(backend)) else { return false };
    if parent_of(backend).and_then(parent_of) != Some(own) {
        return false;
    }
    // SAFETY: neither has memory preconditions; a process that is gone, or not ours to change, is an error that changes
    // nothing. What is beyond the last priority counts as the last one.
    let changed =
        unsafe { libc::setpriority(libc::PRIO_PROCESS, id, libc::getpriority(libc::PRIO_PROCESS, 0) + NICER) };
    if changed != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(backend, %error, "a backend of Postgres keeps its priority");
    }
    changed == 0
}

fn parent_of(process: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
