//! Topics as bad luck makes them, and a follower that starts anywhere in them.

use proptest::prelude::*;

use super::*;

const LOG_END: u64 = 120;

/// Something that happens to a partition.
#[derive(Debug, Clone)]
enum Act {
    /// The relay publishes this many positions more, one in three of which is this partition's.
    Relay(u64),
    /// Another relay takes over, repeating this many of the last positions.
    TakeOver(u64),
    /// A paused relay wakes and writes what it had in hand: positions from, count.
    Zombie(u64, u64),
    /// `republish --from` up to where the relay is, killed after so many positions.
    Republish(u64, u64),
    /// `republish --category`: claims nothing.
    OneCategory(u64, u64),
}

/// A partition: claims in the order of their offsets, and whether each is an event.
#[derive(Default)]
struct Topic {
    records: Vec<(Claim, bool)>,
    relayed: u64,
    /// Where the relay's session last wrote, and the offset behind it.
    last: u64,
    written: usize,
}

fn is_ours(position: u64) -> bool {
    position.is_multiple_of(3)
}

impl Topic {
    /// Publishes what is in (from, to], as one who begins at `from`.
    fn publish(&mut self, from: u64, to: u64, mut since: u64, claims: bool) -> u64 {
        for position in from + 1..=to {
            let watermark = position == to && claims;
            if is_ours(position) || watermark {
                let since_claimed = claims.then_some(Position(since));
                self.records.push((Claim { position: Position(position), since: since_claimed }, is_ours(position)));
                since = position;
            }
        }
        since
    }

    fn act(&mut self, act: &Act) {
        let at = self.relayed;
        match *act {
            Act::Relay(count) => {
                let to = (at + count).min(LOG_END);
                self.last = self.publish(at, to, self.last, true);
                if to > at {
                    self.written = self.records.len();
                }
                self.relayed = to;
            }
            // Begins where the partition's last record says, or earlier if another partition is behind.
            Act::TakeOver(back) => {
                let from = self.records.iter().rev().find(|(claim, _)| claim.since.is_some());
                let from = from.map_or(0, |(claim, _)| claim.position.0).saturating_sub(back);
                self.last = from;
                self.relayed = from;
            }
            Act::Zombie(from, count) => {
                let from = from.min(at);
                _ = self.publish(from, (from + count).min(at), from, true);
            }
            Act::Republish(from, count) => {
                let from = from.min(at);
                _ = self.publish(from, (from + count).min(at), from, true);
            }
            Act::OneCategory(from, count) => {
                let from = from.min(at);
                _ = self.publish(from, (from + count).min(at), from, false);
            }
        }
    }
}

impl Topic {
    /// The relay has published all there is, and its partitions end with what it wrote: when it is idle it looks whether
    /// somebody else has written behind it, and says again how far the log has come.
    fn settle(&mut self) {
        let end = self.records.iter().map(|(claim, _)| claim.position.0).max().unwrap_or(0);
        self.act(&Act::Relay(end.saturating_sub(self.relayed)));
        if self.written < self.records.len() {
            let claim = Claim { position: Position(self.relayed), since: Some(Position(self.last)) };
            self.records.push((claim, false));
        }
    }
}

/// What a follower does, without Kafka: the events that it takes, and how it ends.
fn follow(records: &[(Claim, bool)], low: usize, after: u64) -> (Vec<u64>, AtEnd) {
    follow_on(records, None, low, after)
}

/// As [`follow`]; where it has come to the end the first time, the topic is `anew`, and nobody tells it.
fn follow_on(
    records: &[(Claim, bool)],
    mut anew: Option<&[(Claim, bool)]>,
    low: usize,
    after: u64,
) -> (Vec<u64>, AtEnd) {
    let (mut records, mut low) = (records, low as i64);
    let mut coverage = Coverage::new(Position(after), 0, 0);
    let (mut taken, mut before) = (Vec::new(), i64::MAX);
    for _ in 0..1_000 {
        let end = (records.len() as i64).min(before).max(low);
        let probe = |offset: i64| Ok::<_, ()>((offset < end).then(|| (offset, records[offset as usize].0.position)));
        let mut from = narrow(low, end, coverage.up_to, probe);
        coverage.begin(from, low);
        loop {
            before = read(&mut coverage, records.get(from as usize..).unwrap_or_default(), &mut taken);
            let Some(next) = anew.take_if(|_| before == i64::MAX) else { break };
            (from, records, low) = (records.len() as i64, next, 0);
        }
        if before == i64::MAX {
            match coverage.at_end() {
                AtEnd::LookAgain => {}
                end @ (AtEnd::Whole | AtEnd::Lacking(_)) => return (taken, end),
            }
        }
    }
    panic!("a follower looks for its place for ever");
}

/// Takes what fits; the offset before which to look, or `i64::MAX` at the end.
fn read(coverage: &mut Coverage, records: &[(Claim, bool)], taken: &mut Vec<u64>) -> i64 {
    for (claim, event) in records {
        match coverage.step(*claim) {
            Step::PassBy => {}
            Step::Take if *event => taken.push(claim.position.0),
            Step::Take => {}
            Step::LookBefore(offset) => return offset,
        }
    }
    i64::MAX
}

/// The search with nothing near: topics of some hundred records are searched to the last.
fn narrow(low: i64, high: i64, after: Position, probe: impl FnMut(i64) -> Result<Option<(i64, Position)>, ()>) -> i64 {
    search_within(1, low, high, after, probe).unwrap()
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1..20_u64).prop_map(Act::Relay),
        1 => (0..15_u64).prop_map(Act::TakeOver),
        1 => (0..LOG_END, 1..20_u64).prop_map(|(from, count)| Act::Zombie(from, count)),
        1 => (0..LOG_END, 1..LOG_END).prop_map(|(from, count)| Act::Republish(from, count)),
        1 => (0..LOG_END, 1..LOG_END).prop_map(|(from, count)| Act::OneCategory(from, count)),
    ];
    prop::collection::vec(act, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn from_any_position_a_follower_takes_exactly_what_the_log_has_after_it(acts in acts()) {
        let mut topic = Topic::default();
        acts.iter().for_each(|act| topic.act(act));
        topic.settle();
        let published = topic.records.iter().filter(|(claim, _)| claim.since.is_some());
        let end = published.map(|(claim, _)| claim.position.0).max().unwrap_or(0);
        for after in 0..=LOG_END {
            let (taken, at_end) = follow(&topic.records, 0, after);
            let expected: Vec<u64> = (after + 1..=end).filter(|position| is_ours(*position)).collect();
            prop_assert_eq!(taken, expected, "after {}", after);
            prop_assert_eq!(at_end, AtEnd::Whole);
        }
    }

    #[test]
    fn a_topic_that_was_made_anew_under_a_follower_has_no_hole(before in acts(), since in acts()) {
        let mut topic = Topic::default();
        before.iter().for_each(|act| topic.act(act));
        topic.settle();
        let seen = topic.relayed;
        // Filled from the same log, and grown past the offset at which the follower is. While it is shorter the broker
        // says that the offset is not there; where it ends just there, the next record tells.
        let mut anew = Topic::default();
        since.iter().for_each(|act| anew.act(act));
        anew.act(&Act::Relay(LOG_END));
        anew.settle();
        prop_assume!(anew.records.len() > topic.records.len());
        for after in 0..=seen {
            let (taken, at_end) = follow_on(&topic.records, Some(&anew.records), 0, after);
            let expected: Vec<u64> = (after + 1..=LOG_END).filter(|position| is_ours(*position)).collect();
            prop_assert_eq!((taken, at_end), (expected, AtEnd::Whole), "after {}", after);
        }
    }

    #[test]
    fn what_a_topic_has_lost_is_noticed_and_what_fills_the_hole_is_taken(acts in acts(), cut in 0..200_usize) {
        let mut topic = Topic::default();
        acts.iter().for_each(|act| topic.act(act));
        topic.settle();
        let low = cut.min(topic.records.len());
        let end = topic.records.iter().filter(|(claim, _)| claim.since.is_some()).map(|(claim, _)| claim.position.0).max();
        let left = topic.records[low..].iter().filter(|(claim, _)| claim.since.is_some());
        let left = left.map(|(claim, _)| claim.position.0).max().unwrap_or(0);
        for after in 0..=LOG_END {
            let (taken, at_end) = follow(&topic.records, low, after);
            let whole: Vec<u64> = (after + 1..=LOG_END).filter(|position| is_ours(*position)).collect();
            prop_assert!(whole.starts_with(&taken), "after {}: {:?}", after, taken);
            if at_end == AtEnd::Whole {
                let whole: Vec<u64> = (after + 1..=left).filter(|position| is_ours(*position)).collect();
                prop_assert!(taken.starts_with(&whole), "after {}: the hole was not noticed: {:?}", after, taken);
            }
        }
        // What `republish --from 0` does.
        let at = topic.relayed;
        _ = topic.publish(0, at, 0, true);
        topic.settle();
        if let Some(end) = end.filter(|end| *end <= at) {
            for after in 0..=LOG_END {
                let (taken, at_end) = follow(&topic.records, low, after);
                let expected: Vec<u64> = (after + 1..=end).filter(|position| is_ours(*position)).collect();
                prop_assert_eq!((taken, at_end), (expected, AtEnd::Whole), "after {}", after);
            }
        }
    }
}

#[test]
fn the_search_ends_near_the_place_and_asks_little() {
    let records = 10_000_000_i64;
    for after in [0_u64, 1, 4_999_999, 9_999_000, 10_000_000] {
        let mut asked = 0;
        let from = search::<()>(0, records, Position(after), |offset| {
            asked += 1;
            Ok((offset < records).then(|| (offset, Position(offset as u64 + 1))))
        });
        let from = from.unwrap();
        assert!((after as i64 - 2 * NEAR..=after as i64).contains(&from) || from == 0, "{after}: {from}");
        assert!(asked <= 24, "{after}: {asked} questions");
    }
}
