//! Connections as the server wants them: no delay on either side, and not more than it can carry.
//!
//! The official Rust client leaves Nagle's algorithm on: it holds back the second half of a call until the first is
//! acknowledged, which the kernel delays by 40 ms, unless told after each read to acknowledge at once (tcp(7),
//! `TCP_QUICKACK` is not permanent). Measured: 44 ms an append without, 0.2 ms with.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections at a time, below the usual limit of 1 024 open files; more wait to be taken.
const CONNECTIONS: usize = 768;
/// How long accepting rests after the system refused (too many open files): others close meanwhile.
const REST: Duration = Duration::from_millis(50);

/// The connections of a listener.
pub(super) struct Connections {
    accepted: Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>>,
}

impl Connections {
    /// All that come to a listener.
    pub fn new(listener: TcpListener) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let accepted = stream::unfold((listener, places), |(listener, places)| async move {
            let connection = accept(&listener, &places).await?;
            Some((Ok(connection), (listener, places)))
        });
        Self { accepted: accepted.boxed() }
    }
}

/// The next connection; `None` never comes: the semaphore is not closed.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Connection> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        let accepted = listener.accept().await.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream));
        match accepted {
            Ok(stream) => return Some(Connection { stream, _place: place }),
            Err(error) => {
                tracing::warn!(%error, "a connection to the event store was not taken");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.as_mut().poll_next(context)
    }
}

/// A connection that acknowledges what it has read at once.
pub(super) struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() > before {
            acknowledge_at_once(&self.stream);
        }
        read
    }
}

#[cfg(target_os = "linux")]
fn acknowledge_at_once(stream: &TcpStream) {
    use std::os::fd::AsRawFd as _;
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    // SAFETY: the descriptor is open as long as the stream lives, and `on` outlives the call. That it failed would only
    // cost time, so the answer is not looked at.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_QUICKACK,
            (&raw const on).cast::<libc::c_void>(),
            length,
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn acknowledge_at_once(_: &TcpStream) {}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
