//! The start of a service process: its ports, and the error when it cannot start.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;
use tokio::net::TcpListener;

/// The section `[http]` of the settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address on which to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address at which a thread of its own also serves health and metrics; without it they are served at `listen`
    /// only.
    pub admin_listen: Option<SocketAddr>,
    /// Names in `Host` that are accepted besides addresses and `localhost`. Without any, every name is accepted, except
    /// on a loopback address.
    #[serde(deserialize_with = "crate::config::list")]
    pub allowed_hosts: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 7400));
        Self { listen, admin_listen: None, allowed_hosts: Vec::new() }
    }
}

/// The reason why a process did not start, or had to stop, with the solution.
#[derive(Debug, Clone)]
pub struct StartError {
    /// What is wrong, in one sentence.
    pub what: String,
    /// The command for the operator to type.
    pub hint: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// An error with its reason and its solution.
    pub fn new(what: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self { what: what.to_string(), hint: hint.to_string() }
    }

    /// The program was built without the parts of a cluster, which `asked` needs.
    pub fn without_cluster(asked: impl fmt::Display) -> Self {
        const HINT: &str = "script/cluster up   # builds the program with them, as does: \
            cargo build --release -p backstitch --features cluster";
        let what = format_args!("{asked} needs the parts of a cluster, and this program was built without them");
        Self::new(what, HINT)
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
