//! A port of its own for health and metrics, on a thread of its own: it answers even when all threads that serve requests
//! are busy or stand still, and can be kept from clients by the network.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use tokio::sync::oneshot;

use super::{Options, run, warn_if_open};
use crate::limits::Limits;
use crate::{StartError, Tasks};

/// How long an open request may go on at the end: both are answered from memory.
const GRACE: Duration = Duration::from_millis(100);
/// Connections at once: a few probes and scrapes.
const CONNECTIONS: usize = 64;

/// Serves `router` until `tasks` stop, at the address that is returned.
pub(super) fn start(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    tasks: &Tasks,
) -> Result<SocketAddr, StartError> {
    let failed = |error: std::io::Error| {
        StartError::new(format_args!("health and metrics cannot be served: {error}"), "ulimit -a")
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    warn_if_open("The port for health and metrics", address);
    tracing::info!(%address, "health and metrics are served on a port of their own");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let options =
        Options { connections: CONNECTIONS, per_address: CONNECTIONS, ..Options::new("admin", limits, GRACE) };
    let (stop, (ends, ended)) = (tasks.stopping(), oneshot::channel::<()>());
    let serves = async move {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => run(listener, router, options, None, stop).await,
            Err(error) => tracing::error!(%error, "the port for health and metrics failed"),
        }
        drop(ends);
    };
    let thread = std::thread::Builder::new().name("admin".to_owned());
    thread.spawn(move || runtime.block_on(serves)).map_err(failed)?;
    tasks.spawn("admin", async move { _ = ended.await });
    Ok(address)
}
