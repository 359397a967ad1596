//! Accepts connections on a port and serves requests on them, within bounds that no client can move: time-outs for
//! everything that a client begins and does not end, a number of connections in all and from one address, and a stop
//! that answers every open request.
//!
//! *Invariant:* health and metrics are answered, whatever clients do: connections beyond the bounds get a reserved
//! place for one request for health or metrics. If no reserved place is free, the connection that has held one longest
//! is closed.
//! *Invariant:* the loop never waits for a client. Each connection is a task of its own.

mod admin;
mod connection;
mod io;
mod places;
mod used;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::connection::Connection;
use self::places::Places;
use crate::config::Started;
use crate::health::Pulse;
use crate::hosts::Hosts;
use crate::limits::{Edge, Limits};
use crate::start::{HttpConfig, HttpPorts};
use crate::{Health, StartError, Tasks, health, process};

pub use self::connection::Peer;
pub(crate) use self::places::network;

/// How often the loop says that it lives, where no connection comes.
const BEAT: Duration = Duration::from_secs(1);
/// How long accepting rests after the system refused (too many open files): others close meanwhile.
const REST: Duration = Duration::from_millis(50);
/// How long a connection is silent before the system asks whether the other side lives, and how often: a client whose
/// machine is gone is given up after some two minutes.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);
/// How long the loop goes on taking connections that clients opened before they could know that the port closes.
const LAST_CALL: Duration = Duration::from_millis(20);
/// How long an answer over HTTP/2 may wait for room. Longer than over HTTP/1.1 (`io.rs`): clients grant room in large steps, often
/// half of their window, so that one that reads slowly but all the time says nothing for a while in between.
const STALLED_OVER_HTTP2: Duration = Duration::from_secs(120);
/// How long answers may take to be written once all requests are answered at the end.
const FLUSH: Duration = Duration::from_millis(100);

/// How connections are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// The port's name in metrics and log lines.
    pub name: &'static str,
    /// Connections at once, in all.
    pub connections: usize,
    /// Connections at once from one address.
    pub per_address: usize,
    /// How long the head of a connection's first request may take.
    pub header_timeout: Duration,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
    /// How long an answer over HTTP/2 may wait for room that its client does not grant.
    pub stalled: Duration,
    /// How long requests may go on after the end was asked for.
    pub grace: Duration,
    /// Which protocols are spoken.
    pub protocols: Protocols,
    /// The threads that connections move to once their answer is one that lasts ([`Tasks::with_aside`]). `None`: all stay.
    pub aside: Option<Handle>,
}

/// Which protocols a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1, and HTTP/2 where the client begins with it.
    Http,
    /// HTTP/2 alone, for gRPC, with so many calls at once on a connection.
    Grpc {
        /// Calls at once on a connection.
        streams: u32,
    },
}

impl Options {
    /// The bounds that the settings say.
    pub fn new(name: &'static str, limits: &Limits, grace: Duration) -> Self {
        let files = usize::try_from(process::raise_open_files()).unwrap_or(usize::MAX);
        // A quarter of the files stays for the log, Postgres, Kafka and other ports.
        let most = (files / 4 * 3).max(1);
        if limits.connections > most {
            tracing::warn!(
                port = name,
                wanted = limits.connections,
                most,
                "fewer connections than `[limits] connections`: raise `ulimit -n`"
            );
        }
        Self {
            name,
            connections: limits.connections.min(most),
            per_address: limits.connections_per_address,
            header_timeout: Duration::from_millis(limits.header_timeout_ms),
            idle_timeout: Duration::from_millis(limits.idle_timeout_ms),
            stalled: STALLED_OVER_HTTP2,
            grace,
            protocols: Protocols::Http,
            aside: None,
        }
    }
}

/// A service's HTTP port: its settings, and what its health tells.
#[derive(Debug, Clone, Copy)]
pub struct Port<'a> {
    /// The section `[http]` of the settings.
    pub config: &'a HttpConfig,
    /// The section `[limits]` of the settings.
    pub limits: &'a Limits,
    /// The settings that are shown at `/settings`.
    pub started: &'a Started,
    /// The health that gets the port's heartbeat.
    pub health: &'a Health,
    /// How long requests may continue after the stop was requested.
    pub grace: Duration,
}

impl Port<'_> {
    /// Serves `routes`, the settings and the `metrics` on the port until `tasks` stop. Where `[http] admin_listen` asks for a
    /// port of its own, health, settings and metrics are served there, too: at the address that is returned.
    ///
    /// # Errors
    /// [`StartError`]: there is no thread for that other port.
    pub fn serve(
        self,
        ports: HttpPorts,
        routes: Router,
        metrics: Router,
        tasks: &Tasks,
    ) -> Result<Option<SocketAddr>, StartError> {
        let HttpPorts { address, listener, admin } = ports;
        warn_if_open("HTTP", address);
        self.started.warn_of_exposed();
        let router = routes.merge(metrics.clone()).merge(self.started.router());
        let internal = Router::from(health::router(self.health.clone())).merge(metrics).merge(self.started.router());
        let admin = admin.map(|admin| admin::start(admin, internal, self.limits, tasks)).transpose()?;
        let stop = tasks.stopping();
        let hosts = Hosts::of(address, &self.config.allowed_hosts);
        let edge = Edge::new(self.limits.clone()).hosts(hosts).until(stop.clone(), self.grace);
        let (beside, router) = (edge.beside(), edge.around(router));
        let options = Options { aside: tasks.aside(), ..Options::new("http", self.limits, self.grace) };
        let pulse = self.health.pulse("http");
        tasks.spawn("http", async move {
            tokio::join!(run(listener, router, options, Some(pulse), stop), beside);
        });
        Ok(admin)
    }
}

/// Says loudly that everybody who reaches a port may use it.
pub fn warn_if_open(what: &str, address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "{what} is open to everybody who reaches this address: there is no login and no TLS on it. Listen on 127.0.0.1, \
             or let a firewall, a network policy or a proxy decide who gets here"
        );
    }
}

/// Takes connections until `stop` fires. Then the port closes, requests under way may go on for the grace of the options,
/// and what is open after that is cut off. Returns when no connection is left.
pub async fn run(
    listener: TcpListener,
    router: Router,
    options: Options,
    pulse: Option<Arc<Pulse>>,
    stop: CancellationToken,
) {
    let mut port = Taking::new(router, options, stop.clone());
    let mut beat = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => port.take(stream, peer),
                Err(error) => {
                    port.places.complain("system", &error);
                    tokio::time::sleep(REST).await;
                }
            },
            Some(ended) = port.open.join_next_with_id(), if !port.open.is_empty() => port.ended(ended),
            _ = beat.tick() => {}
        }
        if let Some(pulse) = &pulse {
            pulse.beat();
        }
    }
    while let Ok(Ok((stream, peer))) = tokio::time::timeout(LAST_CALL, listener.accept()).await {
        port.take(stream, peer);
    }
    drop(listener);
    port.end().await;
}

/// The open connections of a port.
struct Taking {
    router: Router,
    options: Arc<Options>,
    places: Places,
    open: JoinSet<()>,
    stop: CancellationToken,
}

impl Taking {
    fn new(router: Router, options: Options, stop: CancellationToken) -> Self {
        let places = Places::new(options.name, options.connections, options.per_address);
        Self { router, options: Arc::new(options), places, open: JoinSet::new(), stop }
    }

    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        let place = self.places.find(peer.ip());
        prepare(&stream);
        let connection = Connection {
            peer,
            router: self.router.clone(),
            options: Arc::clone(&self.options),
            reserved: place.is_reserved(),
            stop: self.stop.clone(),
        };
        let task = self.open.spawn(connection.serve(stream));
        self.places.enter(place, task);
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(port = self.options.name, %error, "a connection's task panicked");
                }
                error.id()
            }
        };
        self.places.leave(id);
    }

    /// Waits for the open connections, at most as long as the options say.
    async fn end(mut self) {
        let last = tokio::time::sleep(self.options.grace + FLUSH);
        tokio::pin!(last);
        loop {
            tokio::select! {
                ended = self.open.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended),
                    None => return,
                },
                () = &mut last => break,
            }
        }
        tracing::warn!(port = self.options.name, connections = self.open.len(), "open connections are cut off");
        self.open.shutdown().await;
    }
}

/// Sets what the system does for a connection: no waiting to fill a packet (answers are small and whole), and asking
/// whether a silent client still lives. That it cannot be set costs time or a place, so it is no reason to refuse.
fn prepare(stream: &TcpStream) {
    let (time, interval, retries) = KEEP_ALIVE;
    let keep_alive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries);
    let set = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keep_alive));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection could not be set up as wanted");
    }
}
