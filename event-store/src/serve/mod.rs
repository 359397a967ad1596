//! The log over KurrentDB's gRPC protocol, so that other processes, and any official client in any language, can use it.
//! A subset, one node: no persistent subscriptions, no projections, no ACLs, no stream metadata, no multi-stream append.
//!
//! *Invariant:* what is not durable is never served: reads and subscriptions give durable events only (the port's
//! promise), and an append is answered when its ticket is durable.
//! *Invariant:* a slow reader costs nobody memory: responses are pulled, one page ahead at most, and a subscriber that
//! stands still has no queue. What all of them hold together is bounded (`pages.rs`), and so are connections (`listener.rs`).
//! *Invariant:* a client that stands still keeps nobody else from reading, nor the server from stopping: nothing that others
//! wait for is held by a future that is polled only while its client reads.
//! *Invariant:* a subscription never ends well, only with UNAVAILABLE: the official clients spin on a good end.
//! *Invariant:* history stays: delete and tombstone are denied.
//!
//! # What is particular
//! * Positions start at 1; an event's commit and prepare positions are both our position.
//! * Data is JSON; anything else is refused. The envelope is the event's custom metadata (`wire.rs`); what a foreign writer
//!   leaves out of it follows from the event.
//! * Streams `snapshot-<stream>` are the log's snapshots (`snapshots.rs`).
//! * Names beginning with `$` belong to KurrentDB's system: such streams do not exist and cannot be written.
//! * Every answer to a read says in its metadata whether commands of clients are to be refused for want of room, and whether the
//!   log is known to be damaged (`eventstore_client::Notices`): it is the services in front that take commands.
//! * The same ids again are answered as the first time, as far as the log looks back (`sqlite/append.rs`).

mod access;
mod append;
mod batch;
mod events;
mod features;
mod filter;
mod follow;
mod listener;
mod pages;
mod proposed;
mod read;
mod refusal;
mod snapshots;
mod streams;
mod target;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use eventstore_client::proto::gossip::gossip_server::GossipServer;
use eventstore_client::proto::server_features::server_features_server::ServerFeaturesServer;
use eventstore_client::proto::streams::streams_server::StreamsServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Code, Status};

use self::access::Access;
use self::features::{Features, Members};
use self::listener::Connections;
use self::streams::Served;
use crate::{EventStore, EventStoreConfig};

/// The largest message that is taken: KurrentDB's own limit is 16 MiB an append and some room around it.
const MESSAGE_BYTES: usize = 17 << 20;
/// Calls at a time on one connection; a client that has more waits.
const CALLS_PER_CONNECTION: u32 = 2_048;
/// Bytes of one call that may be on their way to us unread: an append of the largest size.
const CALL_WINDOW_BYTES: u32 = 4 << 20;
/// The same for all calls of a connection: one that is not read on with leaves room for the others.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A peer that is gone without a word is noticed after this and [`KEEPALIVE_ANSWER`]; so official clients do it.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long a peer may take to answer a ping.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// How long calls may go on once the server stops: appends on their way are answered within milliseconds.
const DRAIN: Duration = Duration::from_secs(2);

/// Why the log is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken or not ours.
    #[error("cannot serve the log on {listen}: {reason}")]
    Listen {
        /// Where it was to listen.
        listen: SocketAddr,
        /// What the system says.
        reason: std::io::Error,
    },
    /// Everybody in the network could write to the log.
    #[error(
        "the log would be served on {0} to everybody who reaches it, without password and TLS; set `user` and `password` \
         (and better `tls_cert` and `tls_key`) in `[event_store]`, or listen on a loopback address"
    )]
    Open(SocketAddr),
    /// A user without a name.
    #[error("`user` of `[event_store]` is empty; name one, or leave it out together with `password`")]
    EmptyUser,
    /// Half of a pair is missing.
    #[error("`{0}` of `[event_store]` is set and `{1}` is not; set both or none")]
    Half(&'static str, &'static str),
    /// The certificate or its key cannot be used.
    #[error("`{path}` cannot be used for TLS: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It has stopped serving.
    #[error("serving the log ended: {0}")]
    Ended(String),
}

/// How the log is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    listen: SocketAddr,
    access: Access,
    tls: Option<(PathBuf, Identity)>,
}

impl ServeOptions {
    /// Without password and TLS, for this machine only.
    ///
    /// # Errors
    /// [`ServeError::Open`] if others could reach it.
    pub fn on(listen: SocketAddr) -> Result<Self, ServeError> {
        let config = EventStoreConfig { listen: Some(listen), ..EventStoreConfig::default() };
        Self::from_config(&config).map(|options| options.unwrap_or(Self { listen, access: Access::open(), tls: None }))
    }

    /// What the settings say; `None` if the log is not to be served. Reads the certificate and its key.
    ///
    /// # Errors
    /// [`ServeError::Half`], [`ServeError::Tls`]; [`ServeError::Open`] if others could reach it and there is no password.
    pub fn from_config(config: &EventStoreConfig) -> Result<Option<Self>, ServeError> {
        let Some(listen) = config.listen else { return Ok(None) };
        let access = match (&config.user, &config.password) {
            (Some(user), _) if user.is_empty() => return Err(ServeError::EmptyUser),
            (Some(user), Some(password)) => Access::only(user, password.reveal()),
            (None, None) => Access::open(),
            (Some(_), None) => return Err(ServeError::Half("user", "password")),
            (None, Some(_)) => return Err(ServeError::Half("password", "user")),
        };
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), Identity::from_pem(pem(cert)?, pem(key)?))),
            (None, None) => None,
            (Some(_), None) => return Err(ServeError::Half("tls_cert", "tls_key")),
            (None, Some(_)) => return Err(ServeError::Half("tls_key", "tls_cert")),
        };
        if !listen.ip().is_loopback() && access.is_open() {
            return Err(ServeError::Open(listen));
        }
        Ok(Some(Self { listen, access, tls }))
    }

    /// Takes the port, before there is a log: a process that cannot have it makes none.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn bind(self) -> Result<Bound, ServeError> {
        let taken = |reason| ServeError::Listen { listen: self.listen, reason };
        let listener = TcpListener::bind(self.listen).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        Ok(Bound { address, listener, options: self })
    }

    /// Whether passwords and events cross a network in the clear: worth a warning.
    pub fn is_in_the_clear(&self) -> bool {
        self.tls.is_none() && !self.listen.ip().is_loopback()
    }
}

fn pem(path: &Path) -> Result<Vec<u8>, ServeError> {
    let tls = |reason: String| ServeError::Tls { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|error| tls(error.to_string()))?;
    if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        Ok(bytes)
    } else {
        Err(tls("it is not PEM (no `-----BEGIN `)".to_owned()))
    }
}

/// The port of a log that is not opened yet.
#[derive(Debug)]
pub struct Bound {
    address: SocketAddr,
    listener: TcpListener,
    options: ServeOptions,
}

impl Bound {
    /// A server of this log on the port.
    pub fn serve(self, store: Arc<dyn EventStore>) -> Server {
        let Self { address, listener, options } = self;
        Server { address, listener, store, options }
    }
}

/// A server that has its port and does not answer yet.
pub struct Server {
    /// Where it listens; the real port if 0 was asked for.
    pub address: SocketAddr,
    listener: TcpListener,
    store: Arc<dyn EventStore>,
    options: ServeOptions,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn bind(store: Arc<dyn EventStore>, options: ServeOptions) -> Result<Self, ServeError> {
        Ok(options.bind().await?.serve(store))
    }

    /// What clients connect with, without user and password.
    pub fn connection_string(&self) -> String {
        format!("kurrentdb://{}?tls={}", self.address, self.options.tls.is_some())
    }

    /// Serves until `stop`: then no new calls, subscriptions end, appends on their way are answered, for at most 2 s.
    ///
    /// # Errors
    /// [`ServeError::Tls`] if the certificate and its key do not fit; [`ServeError::Ended`].
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let (stopping, stopped) = watch::channel(false);
        let mut builder = tonic::transport::Server::builder()
            .initial_stream_window_size(CALL_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER));
        if let Some((path, identity)) = &self.options.tls {
            // A program may hold two implementations of the cryptography, and rustls panics where it would have to choose.
            // An error means that one was chosen already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let unusable = |error: tonic::transport::Error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                ServeError::Tls { path: path.clone(), reason: format!("{error}{cause}") }
            };
            builder = builder.tls_config(ServerTlsConfig::new().identity(identity.clone())).map_err(unusable)?;
        }
        let served = Served::new(self.store, self.options.access, stopped.clone());
        let (cut, cuts) = watch::channel(false);
        let connections = Connections::new(self.listener, self.options.tls.is_some(), cuts);
        let router = builder.add_routes(routes(served, self.address));
        let signal = async move {
            stop.await;
            stopping.send_replace(true);
        };
        let mut late = stopped;
        let serving = router.serve_with_incoming_shutdown(connections, signal);
        let ended = tokio::select! {
            ended = serving => ended.map_err(|error| ServeError::Ended(error.to_string())),
            () = async {
                // An error means that the sender is gone, which it is only when serving has ended.
                let _ = late.wait_for(|stopping| *stopping).await;
                tokio::time::sleep(DRAIN).await;
            } => Ok(()),
        };
        // Whatever a client does not read or does not end is ended here.
        cut.send_replace(true);
        ended
    }
}

/// The services, and an answer with a text to what is none of them.
fn routes(served: Served, address: SocketAddr) -> Routes {
    let services = Routes::new(StreamsServer::new(served).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(ServerFeaturesServer::new(Features))
        .add_service(GossipServer::new(Members::new(address)));
    services.into_axum_router().layer(middleware::from_fn(told)).into()
}

/// Says what is served where a call is not.
async fn told(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let not_served = Status::from_header_map(response.headers())
        .is_some_and(|status| status.code() == Code::Unimplemented && status.message().is_empty());
    if not_served {
        let what = format!(
            "this log serves Streams (Read, Append, BatchAppend), ServerFeatures and Gossip of KurrentDB's protocol; not {path}"
        );
        let headers = Status::unimplemented(what).into_http::<()>().into_parts().0.headers;
        response.headers_mut().extend(headers);
    }
    response
}
