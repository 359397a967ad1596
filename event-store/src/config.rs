//! `[event_store]` of the settings: which log, and whether this process serves its own to others.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// `[event_store]`
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventStoreConfig {
    /// The log of another process, `kurrentdb://user:password@host:2113?tls=false`; none: the embedded one.
    pub url: Option<String>,
    /// Where the embedded log is served to other processes; none: nowhere.
    pub listen: Option<SocketAddr>,
    /// Who may use the served log; none: everybody who reaches the port.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<String>,
    /// The certificate (chain) of the served log, PEM; none: no TLS.
    pub tls_cert: Option<PathBuf>,
    /// The key of `tls_cert`, PEM.
    pub tls_key: Option<PathBuf>,
}

/// What settings look like where they are shown: nobody's password is in them.
impl fmt::Debug for EventStoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStoreConfig")
            .field("url", &self.url.as_deref().map(without_password))
            .field("listen", &self.listen)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("tls_cert", &self.tls_cert)
            .field("tls_key", &self.tls_key)
            .finish()
    }
}

/// A connection string as it may be shown or logged: `…` where it has a password.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    // The last `@`: a password may have one.
    match authority.rfind('@') {
        Some(at) => {
            let user = authority[..at].split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:…@{}", &rest[at + 1..])
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_without_their_passwords() {
        let config = EventStoreConfig {
            url: Some("kurrentdb://admin:gehe@im@log1:2113,log2:2113?tls=false".to_owned()),
            password: Some("geheim".to_owned()),
            ..EventStoreConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("gehe"), "{shown}");
        assert!(shown.contains("kurrentdb://admin:…@log1:2113,log2:2113?tls=false"), "{shown}");
        assert_eq!(without_password("kurrentdb://log1:2113?tls=false"), "kurrentdb://log1:2113?tls=false");
    }
}
