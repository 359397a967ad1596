//! The address of the event store and the options of the connection, as a connection string of the kind that official
//! clients take:
//!
//! ```text
//! kurrentdb://user:password@node1:2113,node2:2113?tls=true&nodePreference=leader
//! ```
//!
//! Schemes: `kurrentdb`, `kurrent`, `kdb`, `esdb`, each also with `+discover`. User and password are percent-encoded. One
//! host is called directly; several, or `+discover`, are asked by gossip which node to use. Names of parameters do not
//! mind case; a parameter that is not known is an error, since a misspelt `tls` would be worse than a refused start.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `tls` | `true` | whether to encrypt |
//! | `tlsVerifyCert` | `true` | `false`: take any certificate (tests only) |
//! | `tlsCaFile` | the system's roots | PEM, who may have signed the nodes' certificates |
//! | `userCertFile`, `userKeyFile` | none | PEM, our own certificate |
//! | `keepAliveInterval`, `keepAliveTimeout` | 10 000 ms | how often an idle connection is tried, how long it may take to answer; -1: never |
//! | `defaultDeadline` | 10 000 ms | how long a call may take, its repetitions included |
//! | `maxDiscoverAttempts` | 10 | after so many failed connects in a row, callers are told at once |
//! | `discoveryInterval` | 100 ms | the pause after the first failed connect; it doubles up to 2 s |
//! | `gossipTimeout` | 5 000 ms | how long one step of connecting may take |
//! | `nodePreference` | `leader` | `leader`, `follower`, `readOnlyReplica` or `random` |
//! | `connectionName` | none | what the server calls us in its own log |
//! | `throwOnAppendFailure` | – | taken and without effect: here an append that failed is always an error |

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The port of a node whose address names none.
const DEFAULT_PORT: u16 = 2113;
/// The schemes that are accepted, each also with `+discover`.
const SCHEMES: [&str; 4] = ["kurrentdb", "kurrent", "kdb", "esdb"];

/// A node of an event store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Name or address of the node; an IPv6 address without brackets.
    pub host: String,
    /// TCP port of the node, 2113 where the address names none.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The node of a cluster to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodePreference {
    /// The leader, which writes; no other node is used.
    Leader,
    /// A follower, else any node.
    Follower,
    /// A read-only replica, else any node.
    ReadOnlyReplica,
    /// Any node of the cluster.
    Random,
}

/// The credentials of a client of the event store.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name of the user at the event store.
    pub user: String,
    /// Password of the user; it is never shown.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The values of a connection string. Its `Display` leaves the password out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The known nodes, at least one.
    pub nodes: Vec<Node>,
    /// Whether to ask the nodes by gossip, even if there is only one.
    pub discover: bool,
    /// The credentials to send, if the server wants any.
    pub credentials: Option<Credentials>,
    /// Whether to encrypt the connection with TLS.
    pub tls: bool,
    /// Whether the certificate of the node is verified.
    pub tls_verify: bool,
    /// Path of the certificates that may have signed the node's certificate, PEM; `None` uses the system's roots.
    pub tls_ca_file: Option<PathBuf>,
    /// Paths of our own certificate and of its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Time between two probes of an idle connection; `None` never probes.
    pub keep_alive_interval: Option<Duration>,
    /// Time that the server has to answer a probe.
    pub keep_alive_timeout: Duration,
    /// Time limit of a call, its repetitions included.
    pub deadline: Duration,
    /// Number of failed connects in a row after which calls fail at once.
    pub max_discover_attempts: u32,
    /// Pause after the first failed connect; it doubles up to 2 s.
    pub discovery_interval: Duration,
    /// Time limit of one step of connecting.
    pub gossip_timeout: Duration,
    /// The node of a cluster to use.
    pub preference: NodePreference,
    /// The name that the server logs for our connections.
    pub connection_name: Option<String>,
}

/// The reason why a text is not a connection string. The text itself is left out, because it may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The scheme is missing or unknown.
    #[error("the event store's address begins with `kurrentdb://` or `kurrentdb+discover://`, not with `{0}`")]
    Scheme(String),
    /// A host is missing or malformed.
    #[error("`{0}` is no host of an event store; give `host` or `host:port`, separated by commas")]
    Host(String),
    /// The address has a path.
    #[error("the event store's address has a path, `{0}`, which it must not; parameters begin with `?`")]
    Path(String),
    /// A parameter is unknown.
    #[error("the event store's address has the unknown parameter `{0}`; known are {KNOWN}")]
    Unknown(String),
    /// The value of a parameter is not valid.
    #[error("the parameter `{name}` of the event store's address is `{value}`, but it must be {wanted}")]
    Value {
        /// Name of the parameter.
        name: String,
        /// The value that was given.
        value: String,
        /// The values that are valid.
        wanted: &'static str,
    },
    /// Only one of two parameters that belong together is given.
    #[error("`userCertFile` and `userKeyFile` belong together: give both in the event store's address, or none")]
    HalfIdentity,
}

/// The known parameters, for the error about unknown ones.
const KNOWN: &str = "tls, tlsVerifyCert, tlsCaFile, userCertFile, userKeyFile, keepAliveInterval, keepAliveTimeout, \
    defaultDeadline, maxDiscoverAttempts, discoveryInterval, gossipTimeout, nodePreference, connectionName, \
    throwOnAppendFailure";

impl Settings {
    /// The settings of one node by its address, without TLS, everything else by default.
    pub fn plain(host: &str, port: u16) -> Self {
        Self { tls: false, ..Self::of(vec![Node { host: host.to_owned(), port }], false) }
    }

    /// Whether gossip decides which node to use.
    pub fn discovers(&self) -> bool {
        self.discover || self.nodes.len() > 1
    }

    fn of(nodes: Vec<Node>, discover: bool) -> Self {
        Self {
            nodes,
            discover,
            credentials: None,
            tls: true,
            tls_verify: true,
            tls_ca_file: None,
            identity: None,
            keep_alive_interval: Some(Duration::from_secs(10)),
            keep_alive_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(10),
            max_discover_attempts: 10,
            discovery_interval: Duration::from_millis(100),
            gossip_timeout: Duration::from_secs(5),
            preference: NodePreference::Leader,
            connection_name: None,
        }
    }

    /// Sets one parameter. `files` collects the paths of our own certificate and key.
    fn set(&mut self, name: &str, value: String, files: &mut [Option<PathBuf>; 2]) -> Result<(), SettingsError> {
        match name.to_ascii_lowercase().as_str() {
            "tls" => self.tls = boolean(name, &value)?,
            "tlsverifycert" => self.tls_verify = boolean(name, &value)?,
            "tlscafile" => self.tls_ca_file = Some(value.into()),
            "usercertfile" => files[0] = Some(value.into()),
            "userkeyfile" => files[1] = Some(value.into()),
            "keepaliveinterval" => self.keep_alive_interval = milliseconds(name, &value, true)?,
            "keepalivetimeout" => self.keep_alive_timeout = milliseconds(name, &value, true)?.unwrap_or(Duration::MAX),
            "defaultdeadline" => self.deadline = bounded(name, &value)?,
            "maxdiscoverattempts" => {
                let wanted = "a number from 1 on";
                let attempts = value.parse().ok().filter(|attempts| *attempts > 0);
                self.max_discover_attempts = attempts.ok_or_else(|| wrong(name, &value, wanted))?;
            }
            "discoveryinterval" => self.discovery_interval = bounded(name, &value)?,
            "gossiptimeout" => self.gossip_timeout = bounded(name, &value)?,
            "nodepreference" => {
                self.preference = match value.to_ascii_lowercase().as_str() {
                    "leader" => NodePreference::Leader,
                    "follower" => NodePreference::Follower,
                    "readonlyreplica" => NodePreference::ReadOnlyReplica,
                    "random" => NodePreference::Random,
                    _ => return Err(wrong(name, &value, "`leader`, `follower`, `readOnlyReplica` or `random`")),
                }
            }
            "connectionname" => self.connection_name = Some(value),
            "throwonappendfailure" => _ = boolean(name, &value)?,
            _ => return Err(SettingsError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

impl FromStr for Settings {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            // Without a scheme the beginning may be a password already.
            return Err(SettingsError::Scheme(String::new()));
        };
        let name = scheme.strip_suffix("+discover").unwrap_or(scheme);
        if !SCHEMES.contains(&name) {
            return Err(SettingsError::Scheme(format!("{scheme}://")));
        }
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err(SettingsError::Path(format!("/{path}")));
        }
        let nodes = hosts.split(',').map(node).collect::<Result<_, _>>()?;
        let mut settings = Self::of(nodes, scheme.ends_with("+discover"));
        settings.credentials = user.filter(|user| !user.is_empty()).map(|user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            Credentials { user: decoded(user), password: decoded(password) }
        });
        let mut files = [None, None];
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            settings.set(name, decoded(value), &mut files)?;
        }
        settings.identity = match files {
            [Some(certificate), Some(key)] => Some((certificate, key)),
            [None, None] => None,
            [Some(_), None] | [None, Some(_)] => return Err(SettingsError::HalfIdentity),
        };
        Ok(settings)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.discover { "kurrentdb+discover://" } else { "kurrentdb://" })?;
        for (number, node) in self.nodes.iter().enumerate() {
            write!(f, "{}{node}", if number == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn node(text: &str) -> Result<Node, SettingsError> {
    let refused = || SettingsError::Host(text.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(refused)?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(refused)?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port =
        port.map_or(Some(DEFAULT_PORT), |port| port.parse().ok().filter(|port| *port > 0)).ok_or_else(refused)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c) || (c == ':' && text.starts_with('['));
    if host.is_empty() || !host.chars().all(fits) {
        return Err(refused());
    }
    Ok(Node { host: host.to_owned(), port })
}

fn wrong(name: &str, value: &str, wanted: &'static str) -> SettingsError {
    SettingsError::Value { name: name.to_owned(), value: value.to_owned(), wanted }
}

fn boolean(name: &str, value: &str) -> Result<bool, SettingsError> {
    value.to_ascii_lowercase().parse().map_err(|_| wrong(name, value, "`true` or `false`"))
}

/// Reads a time in milliseconds; -1 means never where that is allowed.
fn milliseconds(name: &str, value: &str, or_never: bool) -> Result<Option<Duration>, SettingsError> {
    match value.parse::<i64>() {
        Ok(-1) if or_never => Ok(None),
        // A day is longer than anything here should take.
        Ok(milliseconds @ 1..=86_400_000) => Ok(Some(Duration::from_millis(milliseconds.unsigned_abs()))),
        Ok(_) | Err(_) if or_never => Err(wrong(name, value, "milliseconds, from 1 to 86400000, or -1 for never")),
        Ok(_) | Err(_) => Err(wrong(name, value, "milliseconds, from 1 to 86400000")),
    }
}

/// Reads a time that must have a bound.
fn bounded(name: &str, value: &str) -> Result<Duration, SettingsError> {
    milliseconds(name, value, false).map(|time| time.expect("only -1 is none, and it was refused"))
}

/// Decodes percent-encoding; malformed text stays unchanged.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
