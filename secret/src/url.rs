//! URLs that may contain credentials: in the part before the host, or in a parameter of the query.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use super::{MASK, URL_MARK, text};

/// Parameters of a query whose values may be shown, in lower case. Every other one is masked: a list of what is secret
/// would miss the one that a driver adds next.
const SHOWN: &[&str] = &[
    // Postgres (libpq and sqlx).
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "sslmode",
    "ssl-mode",
    "application_name",
    "connect_timeout",
    "statement-cache-capacity",
    // KurrentDB and EventStoreDB.
    "tls",
    "tlsverifycert",
    "nodepreference",
    "connectionname",
    "discoveryinterval",
    "gossiptimeout",
    "maxdiscoverattempts",
    "keepaliveinterval",
    "keepalivetimeout",
    "defaultdeadline",
];

/// A URL that may contain credentials, such as that of a database. It prints without password and without the values of
/// parameters that are not known to be harmless.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// A URL; any text is accepted, since connecting with it reports what is wrong.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL itself, for the one place that connects with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Where it points, without scheme and user: `db.example/shop?sslmode=require`.
    pub fn place(&self) -> String {
        let shown = self.to_string();
        let rest = shown.split_once("://").map_or(shown.as_str(), |(_, rest)| rest);
        let at = rest.find('?').unwrap_or(rest.len());
        let host = rest[..at].find('@').map_or(0, |at| at + 1);
        rest[host..].to_owned()
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is no URL may be anything, `password=…` included.
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str(MASK) };
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
        let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
        write!(f, "{scheme}://")?;
        // The last `@`: a password may contain one that nobody escaped, and a `/` too.
        let host = match place.rsplit_once('@') {
            Some((user, host)) => {
                match user.split_once(':') {
                    Some((user, _)) => write!(f, "{user}:{MASK}@")?,
                    None => write!(f, "{user}@")?,
                }
                host
            }
            None => place,
        };
        let (authority, path) = host.split_at(host.find('/').unwrap_or(host.len()));
        // A password with an unescaped `?` or `#` ends up where the host should be.
        f.write_str(if authority.split(',').all(is_host) { authority } else { MASK })?;
        f.write_str(path)?;
        for (index, parameter) in query.iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if SHOWN.contains(&name.to_lowercase().as_str()) {
                write!(f, "{name}={value}")?;
            } else {
                let name = if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
                    name
                } else {
                    MASK
                };
                write!(f, "{name}={MASK}")?;
            }
        }
        if fragment.is_some() { write!(f, "#{MASK}") } else { Ok(()) }
    }
}

/// Whether this is a host, or a host and a port.
fn is_host(text: &str) -> bool {
    if text.starts_with('[') {
        return true; // An IPv6 address.
    }
    match text.split_once(':') {
        Some((_, port)) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.len() <= 5,
        None => true,
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(URL_MARK, deserializer).map(Self)
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl FromStr for SecretUrl {
    type Err = Infallible;

    fn from_str(url: &str) -> Result<Self, Infallible> {
        Ok(Self::new(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_unknown_parameters_are_masked() {
        for (url, shown) in [
            ("postgres://shop:pw@db/shop", "postgres://shop:***@db/shop"),
            ("postgres://shop:p@w:/x@db/shop", "postgres://shop:***@db/shop"),
            ("postgres://shop@db:5432/shop", "postgres://shop@db:5432/shop"),
            (
                "postgres://db/shop?user=a&password=pw&sslmode=require",
                "postgres://db/shop?user=a&password=***&sslmode=require",
            ),
            (
                "postgres:///shop?host=/run&PASSWORD=pw&sslpassword=pw",
                "postgres:///shop?host=/run&PASSWORD=***&sslpassword=***",
            ),
            ("postgres://db/shop?pass%77ord=pw", "postgres://db/shop?***=***"),
            ("postgres://shop:p?w@db/shop", "postgres://***?***=***"),
            ("postgres://shop:p#w@db/shop", "postgres://***#***"),
            ("kurrentdb://admin:changeit@h1:2113,h2:2113?tls=false", "kurrentdb://admin:***@h1:2113,h2:2113?tls=false"),
            (
                "kurrentdb://h1:2113?tls=true&userCertFile=/a&userKeyFile=/b",
                "kurrentdb://h1:2113?tls=true&userCertFile=***&userKeyFile=***",
            ),
            ("http://[::1]:7401/x", "http://[::1]:7401/x"),
            ("host=db password=pw", "***"),
        ] {
            let it = SecretUrl::new(url);
            assert_eq!(it.to_string(), shown);
            assert_eq!(
                (format!("{it:?}"), serde_json::to_string(&it).unwrap()),
                (shown.to_owned(), format!("\"{shown}\""))
            );
            assert_eq!(it.reveal(), url);
        }
    }

    #[test]
    fn a_place_is_where_it_points_without_the_user() {
        assert_eq!(SecretUrl::new("postgres://user:secret@db.example/shop").place(), "db.example/shop");
        assert_eq!(SecretUrl::new("postgres:///shop?host=/run").place(), "/shop?host=/run");
        assert_eq!(SecretUrl::new("postgres://db/shop?user=a@b&password=p@w").place(), "db/shop?user=a@b&password=***");
    }
}
