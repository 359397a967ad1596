//! Where the event store is and how to talk to it, as a connection string of the kind that official clients take:
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

/// The port where none is named.
const DEFAULT_PORT: u16 = 2113;
/// What a scheme may be, `+discover` apart.
const SCHEMES: [&str; 4] = ["kurrentdb", "kurrent", "kdb", "esdb"];

/// A node of an event store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its name or address; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
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

/// Which node of a cluster to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodePreference {
    /// The one that writes; nothing else will do.
    Leader,
    /// One that follows, else any.
    Follower,
    /// One that only reads, else any.
    ReadOnlyReplica,
    /// Any.
    Random,
}

/// Who we are.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The user's password; never shown.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// All that a connection string says. Its `Display` leaves the password out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The nodes that are known, at least one.
    pub nodes: Vec<Node>,
    /// Whether to ask them by gossip, though it is only one.
    pub discover: bool,
    /// Who we are, if that matters.
    pub credentials: Option<Credentials>,
    /// Whether to encrypt.
    pub tls: bool,
    /// Whether the node must prove who it is.
    pub tls_verify: bool,
    /// Who may have signed its certificate; none: the system's roots.
    pub tls_ca_file: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How often an idle connection is tried.
    pub keep_alive_interval: Option<Duration>,
    /// How long it may take to answer that.
    pub keep_alive_timeout: Duration,
    /// How long a call may take, its repetitions included.
    pub deadline: Duration,
    /// After so many failed connects in a row callers are told at once.
    pub max_discover_attempts: u32,
    /// The pause after the first failed connect.
    pub discovery_interval: Duration,
    /// How long one step of connecting may take.
    pub gossip_timeout: Duration,
    /// Which node to use.
    pub preference: NodePreference,
    /// What the server calls us.
    pub connection_name: Option<String>,
}

/// Why a text is no connection string. The text itself is not in here: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The scheme is missing or unknown.
    #[error("the event store's address begins with `kurrentdb://` or `kurrentdb+discover://`, not with `{0}`")]
    Scheme(String),
    /// A host is missing, or is none.
    #[error("`{0}` is no host of an event store; give `host` or `host:port`, separated by commas")]
    Host(String),
    /// There is a path.
    #[error("the event store's address has a path, `{0}`, which it must not; parameters begin with `?`")]
    Path(String),
    /// A parameter is not known.
    #[error("the event store's address has the unknown parameter `{0}`; known are {KNOWN}")]
    Unknown(String),
    /// A parameter's value is none.
    #[error("the parameter `{name}` of the event store's address is `{value}`, but it must be {wanted}")]
    Value {
        /// The parameter.
        name: String,
        /// What it is.
        value: String,
        /// What it may be.
        wanted: &'static str,
    },
    /// One of two parameters is missing.
    #[error("`userCertFile` and `userKeyFile` belong together: give both in the event store's address, or none")]
    HalfIdentity,
}

/// For the error about unknown ones.
const KNOWN: &str = "tls, tlsVerifyCert, tlsCaFile, userCertFile, userKeyFile, keepAliveInterval, keepAliveTimeout, \
    defaultDeadline, maxDiscoverAttempts, discoveryInterval, gossipTimeout, nodePreference, connectionName, \
    throwOnAppendFailure";

impl Settings {
    /// One node by its address, not encrypted, everything else as it is by default.
    pub fn plain(host: &str, port: u16) -> Self {
        Self { tls: false, ..Self::of(vec![Node { host: host.to_owned(), port }], false) }
    }

    /// Whether gossip tells which node to use.
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

    /// Takes one parameter. `files` collects the two halves of our own certificate.
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

/// A time in milliseconds; -1 is none where that is possible.
fn milliseconds(name: &str, value: &str, or_never: bool) -> Result<Option<Duration>, SettingsError> {
    match value.parse::<i64>() {
        Ok(-1) if or_never => Ok(None),
        // A day is longer than anything here should take.
        Ok(milliseconds @ 1..=86_400_000) => Ok(Some(Duration::from_millis(milliseconds.unsigned_abs()))),
        Ok(_) | Err(_) if or_never => Err(wrong(name, value, "milliseconds, from 1 to 86400000, or -1 for never")),
        Ok(_) | Err(_) => Err(wrong(name, value, "milliseconds, from 1 to 86400000")),
    }
}

/// A time without which nothing would have a bound.
fn bounded(name: &str, value: &str) -> Result<Duration, SettingsError> {
    milliseconds(name, value, false).map(|time| time.expect("only -1 is none, and it was refused"))
}

/// Percent-decoded; what is not well-formed stays as it is.
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
