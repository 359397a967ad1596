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

/// The ports of `[http]`: taken, and nothing is answered on them yet.
#[derive(Debug)]
pub struct HttpPorts {
    /// Where HTTP is served: the port that was taken, where 0 was asked for.
    pub address: SocketAddr,
    pub(crate) listener: TcpListener,
    /// Of the thread that serves health and metrics: not yet of any runtime.
    pub(crate) admin: Option<std::net::TcpListener>,
}

impl HttpConfig {
    /// Takes the ports. A process does that before it makes or joins anything, so that one that cannot start leaves nothing
    /// behind. `hint` is what to type if `listen` cannot be taken.
    ///
    /// # Errors
    /// [`StartError`]: another process has one of the ports, or an address is not one of this machine.
    pub async fn bind(&self, hint: impl FnOnce() -> String) -> Result<HttpPorts, StartError> {
        let (listener, address) = listen_on(self.listen, hint).await?;
        let admin = self.admin_listen.map(|listen| {
            let bound = std::net::TcpListener::bind(listen);
            bound.map_err(|error| {
                let what = format_args!("cannot listen on {listen} for health and metrics: {error}");
                let any_port = format!("set `admin_listen` to \"{}:0\" for any free port", listen.ip());
                StartError::new(what, format_args!("{any_port}; or stop who listens there"))
            })
        });
        Ok(HttpPorts { address, listener, admin: admin.transpose()? })
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
