//! Serving until told to stop, then ending cleanly within a bound.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Waits for Ctrl-C (SIGINT) or SIGTERM and says which it was.
///
/// # Errors
/// When the system does not let us listen for signals.
pub fn signalled() -> io::Result<impl Future<Output = &'static str>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}

/// Serves until `stop` fires; then takes no new connections and gives those that are open `grace` to end. Streams that
/// never end by themselves (server-sent events) are cut off then.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, grace: Duration) -> io::Result<()> {
    // Answers are small and complete: waiting to fill a packet (Nagle) would only delay them.
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        result = serving => result,
        () = async { stop.cancelled().await; tokio::time::sleep(grace).await } => Ok(()),
    }
}
