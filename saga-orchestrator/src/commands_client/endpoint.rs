//! One replica of the command service: its address, the kinds of aggregates that it serves, and a call to it.

use std::str::FromStr;
use std::time::Duration;

use service_kit::secret::SecretUrl;
use tonic::transport::{Channel, Endpoint as Target};

use super::breaker::{Breaker, State};

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How often a connection is asked whether it lives, and how long that may take: a process that is stopped (SIGSTOP)
/// still has its connections, and the system answers for it below HTTP/2.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);
/// See above.
const KEEP_ALIVE_WITHIN: Duration = Duration::from_secs(2);

/// The address of a replica in the settings: `http://host:port`, or `order+stock=http://host:port` if it serves only
/// these contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// URL of the replica, `http://host:port`.
    pub url: String,
    /// The contexts that the replica serves; empty means all.
    pub contexts: Vec<String>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (contexts, url) = match text.split_once("=http") {
            Some((contexts, _)) => (contexts.split('+').map(str::to_owned).collect(), &text[contexts.len() + 1..]),
            None => (Vec::new(), text),
        };
        // A context is a kind of aggregate: `aggregate` in a command's body.
        let known: Vec<&str> = domain::Kind::ALL.iter().map(|kind| kind.category).collect();
        if let Some(unknown) = contexts.iter().find(|name: &&String| !known.contains(&name.as_str())) {
            return Err(format!("`{unknown}` is no context; there are {}", known.join(", ")));
        }
        let url = url.trim_end_matches('/');
        let not_ours = || format!("`{}` is not a URL such as http://127.0.0.1:7405", SecretUrl::new(url));
        let uri: http::Uri = url.parse().map_err(|_| not_ours())?;
        if uri.scheme_str() != Some("http") || uri.port().is_none() || uri.path() != "/" || url.contains('@') {
            return Err(not_ours());
        }
        Ok(Self { url: url.to_owned(), contexts })
    }
}

impl Address {
    /// All of a list with commas between.
    ///
    /// # Errors
    /// What is wrong with which; or that there is none.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let all = parts.map(str::parse).collect::<Result<Vec<Self>, _>>()?;
        if all.is_empty() { Err("names no command service".to_owned()) } else { Ok(all) }
    }
}

/// A replica that can be called.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub address: Address,
    pub channel: Channel,
    pub breaker: Breaker,
}

impl Endpoint {
    /// Connects with the first call, and again whenever the connection is gone.
    pub fn new(address: Address) -> Result<Self, tonic::transport::Error> {
        let target = Target::from_shared(address.url.clone())?
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
            .keep_alive_timeout(KEEP_ALIVE_WITHIN)
            .keep_alive_while_idle(true);
        let url = address.url.clone();
        let breaker = Breaker::new(move |state| {
            let value = match state {
                State::Closed => 0.0,
                State::HalfOpen => 1.0,
                State::Open => 2.0,
            };
            metrics::gauge!("backstitch_commands_breaker", "endpoint" => url.clone()).set(value);
            if state == State::Open {
                tracing::warn!(endpoint = url, "a command service does not answer, and is left alone for a moment");
            }
        });
        Ok(Self { address, channel: target.connect_lazy(), breaker })
    }

    /// Whether it serves this context.
    pub fn serves(&self, context: &str) -> bool {
        self.address.contexts.is_empty() || self.address.contexts.iter().any(|name| name == context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_replicas_is_read_with_what_each_serves() {
        let all = Address::parse_all("http://a:1, order+stock=http://b:2/,").unwrap();
        assert_eq!(all[0], Address { url: "http://a:1".to_owned(), contexts: vec![] });
        let contexts = vec!["order".to_owned(), "stock".to_owned()];
        assert_eq!(all[1], Address { url: "http://b:2".to_owned(), contexts });
    }

    #[test]
    fn what_is_no_replica_is_named() {
        for bad in [
            "",
            "127.0.0.1:1",
            "https://a:1",
            "http://a",
            "http://a:1/v1",
            "orders=http://a:1",
            "http://a:x",
            "http://u:pw@a:1",
        ] {
            assert!(Address::parse_all(bad).is_err(), "{bad}");
        }
    }
}
