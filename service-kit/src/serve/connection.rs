//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;

use super::io::Guarded;
use super::used::{Counted, Used};
use super::{Options, Protocols};
use crate::class;
use crate::problem::Problem;
use crate::refusals::Refusals;

/// What a client that speaks HTTP/2 begins with. Source: RFC 9113 §3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a connection on a reserved place may take for its one request: a probe waits for a second or two.
const RESERVED_FOR: Duration = Duration::from_secs(2);
/// Bytes that are read ahead or wait to be written, a connection of HTTP/1.1; also the longest head of a request.
const BUFFER: usize = 32 * 1024;
/// The same for HTTP/2: of one request, of a connection, and of an answer.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// The longest head of a request over HTTP/2, counted as RFC 9113 §6.5.2 does.
const HEAD_BYTES: u32 = 32 * 1024;
/// Requests at once on a connection of HTTP/2: what a browser or a proxy sends.
const STREAMS: u32 = 128;
/// How often a silent HTTP/2 client is asked whether it lives, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
/// How long a client of HTTP/2 may take to go, once it was told that its connection ends.
const GOES_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may take to begin its request on a connection that it opened just before the port closed.
const BEGINS_WITHIN: Duration = Duration::from_millis(100);

/// Who sent a request. In each request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A connection that was taken.
pub(super) struct Connection {
    pub peer: SocketAddr,
    pub router: Router,
    pub options: Arc<Options>,
    /// Whether only health and metrics are answered, once.
    pub reserved: bool,
    /// Fires when the port closes.
    pub stop: CancellationToken,
}

/// What a connection's requests have in common.
#[derive(Clone)]
struct Client {
    peer: SocketAddr,
    reserved: bool,
    refusals: Refusals,
    /// Fires when an answer began that lasts: events, for as long as the client stays.
    lasts: CancellationToken,
}

/// What the first bytes say about the client.
enum First {
    Http1(Bytes),
    Http2(Bytes),
    /// It left, or said nothing for too long.
    Nothing,
}

impl Connection {
    /// Serves the connection to its end. Encryption, where there is any, has been taken off the stream.
    pub async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, mut stream: S) {
        let within = if self.reserved { RESERVED_FOR } else { self.options.header_timeout };
        match self.first(&mut stream, within).await {
            First::Nothing => {}
            First::Http2(bytes) => Box::pin(self.http2(Guarded::new(stream, bytes), within)).await,
            First::Http1(bytes) => match self.options.protocols {
                Protocols::Http => {
                    let (aside, client) = (self.options.aside.clone(), self.client());
                    let lasts = client.lasts.clone();
                    give_way(Box::pin(self.http1(client, Guarded::new(stream, bytes), within)), lasts, aside).await;
                }
                Protocols::Grpc { .. } => refuse_http1(stream).await,
            },
        }
    }

    /// Reads until it is clear which protocol the client speaks.
    async fn first<S: AsyncRead + Unpin>(&self, stream: &mut S, within: Duration) -> First {
        let reads = async {
            let (mut bytes, mut length) = ([0; PREFACE.len()], 0);
            loop {
                match stream.read(&mut bytes[length..]).await {
                    Ok(read) if read > 0 => length += read,
                    Ok(_) | Err(_) => return First::Nothing,
                }
                let so_far = &bytes[..length];
                if !PREFACE.starts_with(so_far) {
                    return First::Http1(Bytes::copy_from_slice(so_far));
                }
                if length == PREFACE.len() {
                    return First::Http2(Bytes::copy_from_slice(so_far));
                }
            }
        };
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(BEGINS_WITHIN).await;
        };
        tokio::select! {
            first = reads => first,
            () = tokio::time::sleep(within) => First::Nothing,
            () = stopped => First::Nothing,
        }
    }

    async fn http1<S>(self, client: Client, stream: Guarded<S>, within: Duration)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.idle_timeout)
            .max_buf_size(BUFFER)
            .keep_alive(!self.reserved);
        let (lasts, router, has_asked) = (client.lasts.clone(), self.router, Arc::clone(&asked));
        let service = service_fn(move |request| {
            has_asked.store(true, Ordering::Relaxed);
            answer(router.clone(), request, client.clone())
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut late = pin!(tokio::time::sleep(within));
        let (mut last, mut begun) = (false, false);
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return log(ended),
                () = self.stop.cancelled(), if !last => {
                    last = true;
                    connection.as_mut().graceful_shutdown();
                }
                // What gives way ends with its answer: a command that came next would give way, too.
                () = lasts.cancelled(), if !last => {
                    last = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = late.as_mut(), if !begun => {
                    if !asked.load(Ordering::Relaxed) {
                        return; // No request within its time.
                    }
                    begun = true;
                }
            }
        }
    }

    async fn http2<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, stream: Guarded<S>, within: Duration) {
        let streams = match self.options.protocols {
            Protocols::Http => STREAMS,
            Protocols::Grpc { streams } => streams,
        };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEAD_BYTES)
            .max_concurrent_streams(streams);
        let (client, router, used) = (self.client(), self.router.clone(), Used::default());
        let (peer, asked) = (self.peer, used.clone());
        let service = service_fn(move |request| {
            let under_way = asked.begin();
            let answer = answer(router.clone(), request, client.clone());
            async move {
                let answer: Result<Response, Infallible> = answer.await;
                answer.map(|response| response.map(|body| Body::new(Counted::new(body, under_way))))
            }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut quiet = pin!(tokio::time::sleep(within));
        // A follower over gRPC may be slow to take what it follows: it has places and a bound of its own.
        let looks = self.options.protocols == Protocols::Http;
        let mut look = pin!(tokio::time::sleep(self.options.stalled / 2));
        let mut ends = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return log(ended),
                () = self.stop.cancelled(), if !ends => {
                    ends = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = look.as_mut(), if looks => {
                    let given_up = used.give_up(self.options.stalled);
                    if given_up > 0 {
                        tracing::debug!(%peer, given_up, "a client took nothing of its answers");
                    }
                    look.as_mut().reset(Instant::now() + self.options.stalled / 2);
                }
                () = quiet.as_mut(), if !self.stop.is_cancelled() => match self.unused_at(&used, within) {
                    Some(later) if later > Instant::now() => quiet.as_mut().reset(later),
                    Some(_) if ends => return, // It was told, and has had its time to go.
                    Some(_) => {
                        ends = true;
                        connection.as_mut().graceful_shutdown();
                        quiet.as_mut().reset(Instant::now() + GOES_WITHIN);
                    }
                    None => quiet.as_mut().reset(Instant::now() + within),
                },
            }
        }
    }

    fn client(&self) -> Client {
        let (refusals, lasts) = (Refusals::default(), CancellationToken::new());
        Client { peer: self.peer, reserved: self.reserved, refusals, lasts }
    }

    /// When a connection of HTTP/2 has been of no use for too long; `None`: not while it is as it is. A client of gRPC keeps
    /// its connection for its next call.
    fn unused_at(&self, used: &Used, within: Duration) -> Option<Instant> {
        match (used.latest(), self.options.protocols) {
            _ if used.is_under_way() => None,
            (None, _) => Some(used.since + within),
            (Some(_), _) if self.reserved => Some(used.since + within),
            (Some(latest), Protocols::Http) => Some(latest + self.options.idle_timeout),
            (Some(_), Protocols::Grpc { .. }) => None,
        }
    }
}

/// Answers a request; on a reserved place only one for health or metrics.
async fn answer(router: Router, request: hyper::Request<Incoming>, client: Client) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Body::new);
    if client.reserved && !class::is_reserved(request.uri().path()) {
        let detail = "too many connections are open; nothing was done, connect again later";
        let mut response = Problem::overloaded(detail, 1).into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return Ok(response);
    }
    request.extensions_mut().insert(Peer(client.peer));
    // A proxy's connection is many clients'.
    if !request.headers().contains_key("x-forwarded-for") {
        request.extensions_mut().insert(client.refusals);
    }
    let response = router.oneshot(request).await?;
    if response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
        client.lasts.cancel();
    }
    Ok(response)
}

/// Serves a connection where it is until an answer began that `lasts`, and from then on aside: events for many clients that
/// stay take nobody's time who waits for an answer.
async fn give_way(
    mut serves: Pin<Box<impl Future<Output = ()> + Send + 'static>>,
    lasts: CancellationToken,
    aside: Option<Handle>,
) {
    let Some(aside) = aside else { return serves.await };
    tokio::select! {
        biased;
        () = serves.as_mut() => return,
        () = lasts.cancelled() => {}
    }
    // It ends with this task, whatever ends it.
    let served = AbortOnDropHandle::new(aside.spawn(serves)).await;
    if let Err(error) = served
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Tells a client that the port speaks HTTP/2 alone, in its own protocol.
async fn refuse_http1<S: AsyncWrite + Unpin>(mut stream: S) {
    const TEXT: &str = "this port takes gRPC over HTTP/2; HTTP/1.1 is at `[http] listen`\n";
    let answer = format!(
        "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    let written = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    // The client may be gone already, which is as good.
    let _ = tokio::time::timeout(RESERVED_FOR, written).await;
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
