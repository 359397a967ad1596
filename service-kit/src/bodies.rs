//! The memory of request bodies: so many bytes for all of them together, of which no client can hold the most by sending
//! slowly.
//!
//! *Invariant:* a body that has arrived whole keeps its memory until its request has been carried out. One that is still
//! arriving may lose it: when there is no room for somebody else's bytes, the address that has the most bytes of such
//! bodies gives up the one that has been arriving for longest. So who sends quickly, or little, gets in.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The memory of all bodies. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bodies(Arc<Mutex<Memory>>);

/// Held for some map operations, never while waiting.
#[derive(Debug)]
struct Memory {
    free: usize,
    /// Bytes of all that are arriving.
    arriving_bytes: usize,
    next: u64,
    arriving: HashMap<Option<IpAddr>, Own>,
}

/// Bodies that are arriving from one address, from the oldest.
#[derive(Debug, Default)]
struct Own {
    bytes: usize,
    bodies: BTreeMap<u64, Part>,
}

#[derive(Debug)]
struct Part {
    bytes: usize,
    given_up: CancellationToken,
}

/// There is no room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The memory of a body that is arriving; given back when dropped.
#[derive(Debug)]
pub(crate) struct Arriving {
    bodies: Bodies,
    from: Option<IpAddr>,
    number: u64,
    given_up: CancellationToken,
}

/// The memory of a body that is there; given back when dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    bodies: Bodies,
    bytes: usize,
}

impl Bodies {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Memory { free: bytes, arriving_bytes: 0, next: 0, arriving: HashMap::new() })))
    }

    /// A body begins to arrive from an address.
    pub fn begin(&self, from: Option<IpAddr>) -> Arriving {
        let mut memory = self.0.lock();
        memory.next += 1;
        Arriving { bodies: self.clone(), from, number: memory.next, given_up: CancellationToken::new() }
    }
}

impl Memory {
    /// Gives up the body that has been arriving for longest from the address that has the most. `false`: none arrives.
    fn give_up_one(&mut self) -> bool {
        let most = self.arriving.iter().max_by_key(|(_, own)| own.bytes).map(|(from, _)| *from);
        let oldest = most.and_then(|from| Some((from, *self.arriving.get(&from)?.bodies.keys().next()?)));
        let Some((from, number)) = oldest else { return false };
        match self.take(from, number) {
            Some(part) => {
                self.free += part.bytes;
                part.given_up.cancel();
                true
            }
            None => false,
        }
    }

    /// Takes a body out; its bytes are the caller's to give back.
    fn take(&mut self, from: Option<IpAddr>, number: u64) -> Option<Part> {
        let own = self.arriving.get_mut(&from)?;
        let part = own.bodies.remove(&number)?;
        own.bytes -= part.bytes;
        self.arriving_bytes -= part.bytes;
        if own.bodies.is_empty() {
            self.arriving.remove(&from);
        }
        Some(part)
    }
}

impl Arriving {
    /// More of it has arrived.
    ///
    /// # Errors
    /// [`Full`]: there is no room for it; what it had is given back.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let mut memory = self.bodies.0.lock();
        if memory.free + memory.arriving_bytes < bytes {
            return Err(Full); // Nobody gives way for nothing.
        }
        while memory.free < bytes && memory.give_up_one() {}
        // It may have been its own turn to give way, now or before.
        if memory.free < bytes || self.given_up.is_cancelled() {
            return Err(Full);
        }
        memory.free -= bytes;
        memory.arriving_bytes += bytes;
        let own = memory.arriving.entry(self.from).or_default();
        own.bytes += bytes;
        let new = || Part { bytes: 0, given_up: self.given_up.clone() };
        own.bodies.entry(self.number).or_insert_with(new).bytes += bytes;
        Ok(())
    }

    /// Waits until it has to give way to somebody else's.
    pub fn given_up(&self) -> impl Future<Output = ()> + use<> {
        self.given_up.clone().cancelled_owned()
    }

    /// It has arrived, and gives way to nobody any more.
    ///
    /// # Errors
    /// [`Full`]: it has had to give way just before.
    pub fn whole(self) -> Result<Whole, Full> {
        let bytes = self.bodies.0.lock().take(self.from, self.number).map(|part| part.bytes);
        match bytes {
            Some(bytes) => Ok(Whole { bodies: self.bodies.clone(), bytes }),
            None if self.given_up.is_cancelled() => Err(Full),
            None => Ok(Whole { bodies: self.bodies.clone(), bytes: 0 }),
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut memory = self.bodies.0.lock();
        if let Some(part) = memory.take(self.from, self.number) {
            memory.free += part.bytes;
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.bodies.0.lock().free += self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn the_address_with_the_most_gives_up_its_oldest_body_and_whole_ones_stay() {
        let bodies = Bodies::new(100);
        let mut whole = bodies.begin(from(1));
        whole.grow(30).unwrap();
        let whole = whole.whole().unwrap();
        let mut small = bodies.begin(from(2));
        small.grow(10).unwrap();
        let mut large: Vec<Arriving> = (0..3).map(|_| bodies.begin(from(1))).collect();
        large.iter_mut().for_each(|body| body.grow(20).unwrap());
        assert_eq!(bodies.0.lock().free, 0);
        small.grow(5).unwrap();
        assert!(large[0].given_up.is_cancelled() && !large[1].given_up.is_cancelled());
        assert_eq!(large[0].grow(1), Err(Full), "it is out, whatever room there is");
        // Its own oldest makes way for an address that has the most.
        large[2].grow(20).unwrap();
        assert!(large[1].given_up.is_cancelled() && !small.given_up.is_cancelled());
        assert_eq!(large.remove(1).whole().unwrap_err(), Full);
        assert_eq!(bodies.begin(from(3)).grow(71), Err(Full), "the rest is taken by what has arrived");
        assert!(!small.given_up.is_cancelled(), "and nobody gives way for nothing");
        drop((small, large, whole));
        assert_eq!(bodies.0.lock().free, 100, "everything is given back");
        assert!(bodies.0.lock().arriving.is_empty());
    }

    #[test]
    fn a_body_without_bytes_takes_nothing() {
        let bodies = Bodies::new(0);
        assert!(bodies.begin(None).whole().is_ok());
        assert_eq!(bodies.begin(None).grow(1), Err(Full));
    }
}
