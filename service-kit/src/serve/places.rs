//! The places of a port: so many connections in all, so many from one address, and some reserved places beyond.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, Id};

/// Places beyond the bounds, for probes and scrapes. Each serves one request within seconds; the oldest makes way.
pub(super) const RESERVED: usize = 64;
/// How often a log line says that connections are refused.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// The places of a port.
#[derive(Debug)]
pub(super) struct Places {
    port: &'static str,
    most: usize,
    per_address: usize,
    ordinary: HashMap<Id, IpAddr>,
    by_address: HashMap<IpAddr, usize>,
    reserved: VecDeque<AbortHandle>,
    said: Option<Instant>,
    unsaid: u64,
}

/// What a new connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A place of its own, counted for its address.
    Ordinary(IpAddr),
    /// One of the reserved places.
    Reserved,
}

impl Place {
    pub fn is_reserved(self) -> bool {
        self == Self::Reserved
    }
}

impl Places {
    pub fn new(port: &'static str, most: usize, per_address: usize) -> Self {
        metrics::gauge!("backstitch_http_connections", "port" => port).set(0.0);
        for reason in ["all", "address", "system"] {
            refusals(port, reason).absolute(0);
        }
        let (ordinary, by_address, reserved) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self { port, most, per_address, ordinary, by_address, reserved, said: None, unsaid: 0 }
    }

    /// Finds a place for a connection from this address. One beyond the bounds is counted, and now and then logged.
    pub fn find(&mut self, address: IpAddr) -> Place {
        let counted = network(address);
        let reason = if self.ordinary.len() >= self.most {
            "all"
        } else if self.by_address.get(&counted).is_some_and(|open| *open >= self.per_address) {
            "address"
        } else {
            return Place::Ordinary(counted);
        };
        self.complain(reason, &address);
        Place::Reserved
    }

    /// A connection has taken a place. The oldest of too many reserved ones is closed.
    pub fn enter(&mut self, place: Place, task: AbortHandle) {
        match place {
            Place::Ordinary(address) => {
                self.ordinary.insert(task.id(), address);
                *self.by_address.entry(address).or_default() += 1;
                self.tell();
            }
            Place::Reserved => {
                self.reserved.push_back(task);
                if self.reserved.len() > RESERVED
                    && let Some(oldest) = self.reserved.pop_front()
                {
                    oldest.abort();
                }
            }
        }
    }

    /// A connection has ended.
    pub fn leave(&mut self, id: Id) {
        let Some(address) = self.ordinary.remove(&id) else {
            self.reserved.retain(|task| task.id() != id);
            return;
        };
        if let Some(open) = self.by_address.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                self.by_address.remove(&address);
            }
        }
        self.tell();
    }

    /// A connection was not taken as usual.
    pub fn complain(&mut self, reason: &'static str, what: &dyn std::fmt::Display) {
        refusals(self.port, reason).increment(1);
        self.unsaid += 1;
        if self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            let (port, connections, open) = (self.port, self.unsaid, self.ordinary.len());
            tracing::warn!(port, reason, connections, open, last = %what, "connections are refused: only health and metrics are answered on them");
            (self.said, self.unsaid) = (Some(Instant::now()), 0);
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a number of connections is far below 2^52")]
    fn tell(&self) {
        metrics::gauge!("backstitch_http_connections", "port" => self.port).set(self.ordinary.len() as f64);
    }
}

fn refusals(port: &'static str, reason: &'static str) -> metrics::Counter {
    metrics::counter!("backstitch_http_connections_refused_total", "port" => port, "reason" => reason)
}

/// What is counted as one address: a home or a machine has a whole network of 64 bits of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn places_are_counted_in_all_and_by_address_and_given_back() {
        let (mut places, mut tasks) = (Places::new("test", 3, 2), JoinSet::new());
        let mut enter = |places: &mut Places, from: &str| {
            let place = places.find(address(from));
            let task = tasks.spawn(std::future::pending::<()>());
            let id = task.id();
            places.enter(place, task);
            (place.is_reserved(), id)
        };
        let (reserved, first) = enter(&mut places, "10.0.0.1");
        assert!(!reserved && !enter(&mut places, "10.0.0.1").0);
        assert!(enter(&mut places, "10.0.0.1").0, "the third of one address");
        assert!(!enter(&mut places, "2001:db8::1").0);
        assert!(enter(&mut places, "10.0.0.2").0, "the fourth in all");
        places.leave(first);
        assert!(!enter(&mut places, "10.0.0.1").0, "a place that was given back");
    }

    #[tokio::test]
    async fn the_oldest_reserved_connection_makes_way_for_the_next() {
        let (mut places, mut tasks) = (Places::new("test", 0, 1), JoinSet::new());
        for _ in 0..RESERVED + 5 {
            let place = places.find(address("10.0.0.1"));
            assert!(place.is_reserved());
            places.enter(place, tasks.spawn(std::future::pending::<()>()));
        }
        assert_eq!(places.reserved.len(), RESERVED);
        for _ in 0..5 {
            assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        assert_eq!(network(address("2001:db8::1")), network(address("2001:db8::ffff:1")));
        assert_ne!(network(address("2001:db8::1")), network(address("2001:db8:0:1::1")));
        assert_eq!(network(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }
}
