//! Connections as the server wants them: no delay on either side, bounded in number and per address, and each one in use
//! within seconds or closed.
//!
//! *Invariant:* a peer that sends nothing, half of something, or calls that are refused for want of the password, holds a
//! connection for [`FIRST_CALL_WITHIN`] and no longer; one address holds [`CONNECTIONS_PER_ADDRESS`] at most, so it never keeps
//! other addresses out.
//! *Invariant:* once the server has stopped, no connection outlives it, whatever its peer does.
//!
//! The accept loop is this crate's own and not `service-kit`'s, because the log stands below everything else (ARCHITECTURE.md,
//! "Crates") and gRPC over HTTP/2 only needs a part of it.
//!
//! The official Rust client leaves Nagle's algorithm on: it holds back the second half of a call until the first is
//! acknowledged, which the kernel delays by 40 ms, unless told after each read to acknowledge at once (tcp(7),
//! `TCP_QUICKACK` is not permanent). Measured: 44 ms an append without, 0.2 ms with.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Extensions;
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};

/// Connections at a time, below the usual limit of 1 024 open files; more wait to be taken.
const CONNECTIONS: usize = 768;
/// Connections of one address: every process of a cluster on one machine has one or two; more of one address are closed at
/// once, so that it cannot take all.
const CONNECTIONS_PER_ADDRESS: usize = 256;
/// A connection over which no call was admitted within this time is closed: clients call at once when they connect. It covers
/// the TLS handshake, HTTP/2's preface and the head of the first call. What anybody may ask (`ServerFeatures`, `Gossip`, and
/// what is not served) is no such call.
const FIRST_CALL_WITHIN: Duration = Duration::from_secs(10);
/// Reads and subscriptions that one connection may have open. A client that reads nothing of them costs a page each.
const READS_PER_CONNECTION: usize = 512;
/// How long accepting rests after the system refused (too many open files): others close meanwhile.
const REST: Duration = Duration::from_millis(50);
/// What is said to somebody who speaks HTTP/1 to this port.
const NOT_HTTP_1: &str = "This port serves the event log by gRPC (HTTP/2), for KurrentDB clients: \
    kurrentdb://host:port?tls=false. It does not answer HTTP/1.1.\n";
/// How the calls of HTTP/1 begin; HTTP/2 begins with `PRI `.
const HTTP_1: [&[u8]; 9] = [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC"];

/// The connections of a listener.
pub(super) struct Connections {
    accepted: Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>>,
}

/// What the accept loop keeps count of.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    by_address: Arc<ByAddress>,
    /// Whether connections are TLS, so that their first bytes say nothing.
    tls: bool,
    /// Becomes true when every connection is to be cut.
    cut: watch::Receiver<bool>,
}

/// Connections by address, as [`network`] counts it. Held to change one number.
#[derive(Default)]
struct ByAddress(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place, given back when it ends.
struct Place {
    address: IpAddr,
    by_address: Arc<ByAddress>,
    _place: OwnedSemaphorePermit,
}

/// What is counted as one address: a home or a machine has a whole network of 64 bits of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl ByAddress {
    fn enter(self: &Arc<Self>, address: IpAddr, place: OwnedSemaphorePermit) -> Option<Place> {
        let address = network(address);
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { address, by_address: Arc::clone(self), _place: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.by_address.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

impl Connections {
    /// All that come to a listener. When `cut` becomes true, those that are there end.
    pub fn new(listener: TcpListener, tls: bool, cut: watch::Receiver<bool>) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let door = Door { listener, places, by_address: Arc::default(), tls, cut };
        let accepted = stream::unfold(door, |door| async move {
            let connection = door.accept().await?;
            Some((Ok(connection), door))
        });
        Self { accepted: accepted.boxed() }
    }
}

impl Door {
    /// The next connection; `None` never comes: the semaphore is not closed.
    async fn accept(&self) -> Option<Connection> {
        let mut place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        loop {
            let accepted = self.listener.accept().await;
            let accepted = accepted.and_then(|(stream, from)| stream.set_nodelay(true).map(|()| (stream, from)));
            match accepted {
                Ok((stream, from)) => match self.by_address.enter(from.ip(), place) {
                    Some(place) => return Some(Connection::new(stream, place, self.tls, self.cut.clone())),
                    None => {
                        tracing::debug!(%from, most = CONNECTIONS_PER_ADDRESS, "an address has too many connections");
                        drop(stream);
                        place = Arc::clone(&self.places).acquire_owned().await.ok()?;
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection to the event store was not taken");
                    tokio::time::sleep(REST).await;
                }
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

/// What calls know of the connection that they came over. Cheap to clone.
#[derive(Clone)]
pub(super) struct Peer {
    tcp: TcpConnectInfo,
    admitted: Arc<AtomicBool>,
    /// Places for reads and subscriptions of this connection.
    pub reads: Arc<Semaphore>,
}

impl Peer {
    /// The peer of a call.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        let plain = extensions.get::<Self>();
        plain.or_else(|| extensions.get::<TlsConnectInfo<Self>>().map(TlsConnectInfo::get_ref))
    }

    /// The address at which the connection arrived.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp.local_addr()
    }

    /// A call of somebody who may call has come: the connection is in use.
    pub fn is_admitted(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }
}

/// A connection that acknowledges what it has read at once.
pub(super) struct Connection {
    stream: TcpStream,
    peer: Peer,
    /// Until the first call was admitted: when the connection is closed without one.
    first_call: Option<Pin<Box<Sleep>>>,
    /// Whether what the peer speaks is still to be looked at, before anything is written.
    unheard: bool,
    /// Ends when the connection is to be cut.
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: Place,
}

impl Connection {
    fn new(stream: TcpStream, place: Place, tls: bool, mut cut: watch::Receiver<bool>) -> Self {
        let (admitted, reads) = (Arc::default(), Arc::new(Semaphore::new(READS_PER_CONNECTION)));
        let peer = Peer { tcp: stream.connect_info(), admitted, reads };
        let cut = Box::pin(async move {
            // An error means that the server is gone, which is as much a reason.
            let _ = cut.wait_for(|cut| *cut).await;
        });
        let first_call = Some(Box::pin(sleep_until(Instant::now() + FIRST_CALL_WITHIN)));
        Self { stream, peer, first_call, unheard: !tls, cut, _place: place }
    }

    /// An error when the connection is to end: it was not used in time, or the server has stopped.
    fn poll_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has stopped"));
        }
        if let Some(first_call) = &mut self.first_call {
            if self.peer.admitted.load(Ordering::Relaxed) {
                self.first_call = None;
            } else if first_call.as_mut().poll(context).is_ready() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no call that was admitted came over the connection",
                ));
            }
        }
        Ok(())
    }

    /// Answers in HTTP/1 as much as the system takes at once; nobody waits for this peer.
    fn refuse_http_1(&self) {
        // What is left unread when a connection is closed makes the system take back what was written.
        let _ = self.stream.try_read(&mut [0; 8_192]);
        let (body, length) = (NOT_HTTP_1, NOT_HTTP_1.len());
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let _ = self.stream.try_write(answer.as_bytes());
    }

    /// Waits for the peer's first bytes. Somebody who speaks HTTP/1 is answered in it, and then no more.
    fn poll_heard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unheard {
            let mut first = [0; 4];
            let mut buffer = ReadBuf::new(&mut first);
            ready!(self.stream.poll_peek(context, &mut buffer))?;
            self.unheard = false;
            if HTTP_1.contains(&buffer.filled()) {
                self.refuse_http_1();
                let refused = "the peer speaks HTTP/1, and this port HTTP/2 only";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refused)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        ready!(self.poll_heard(context))?;
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
        if self.unheard {
            self.poll_end(context)?;
            ready!(self.poll_heard(context))?;
        }
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
        if self.unheard {
            self.poll_end(context)?;
            ready!(self.poll_heard(context))?;
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_network_of_ipv6_count_as_one() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));

        let (by_address, places) = (Arc::new(ByAddress::default()), Arc::new(Semaphore::new(CONNECTIONS)));
        let enter = |address: IpAddr| by_address.enter(address, Arc::clone(&places).try_acquire_owned().unwrap());
        let network = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 0).to_bits();
        let addresses = (0..=CONNECTIONS_PER_ADDRESS as u128).map(|host| Ipv6Addr::from_bits(network | host));
        let entered: Vec<Option<Place>> = addresses.map(|address| enter(address.into())).collect();
        assert_eq!(entered.iter().flatten().count(), CONNECTIONS_PER_ADDRESS);
        assert!(enter("2001:db8:1:3::1".parse().unwrap()).is_some(), "another network is let in");
        drop(entered);
        assert!(enter("2001:db8:1:2::1".parse().unwrap()).is_some(), "the places are given back");
    }
}
