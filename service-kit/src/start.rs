//! How a service process starts: where it listens, and how it says that it cannot.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;
use tokio::net::TcpListener;

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where health and metrics are served besides, by a thread of its own; none: at `listen` only.
    pub admin_listen: Option<SocketAddr>,
    /// Names in `Host` that are answered besides addresses and `localhost`; none: any name, but on a loopback address no
    /// other.
    #[serde(deserialize_with = "crate::config::list")]
    pub allowed_hosts: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 7400));
        Self { listen, admin_listen: None, allowed_hosts: Vec::new() }
    }
}

/// Why a process did not start, or had to stop. Each is one line with the way out.
#[derive(Debug, Clone)]
pub struct StartError {
    /// What is wrong.
    pub what: String,
    /// What to type.
    pub hint: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// A reason and the way out.
    pub fn new(what: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self { what: what.to_string(), hint: hint.to_string() }
    }
}

/// Listens; `hint` is what to type if that cannot be, such as another address. The address is the one that was taken.
///
/// # Errors
/// [`StartError`]: somebody else has it, or it is none of this machine.
pub async fn listen_on(
    listen: SocketAddr,
    hint: impl FnOnce() -> String,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = TcpListener::bind(listen).await.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| StartError::new(format_args!("cannot listen on {listen}: {error}"), hint()))
}
