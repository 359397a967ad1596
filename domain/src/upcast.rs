//! The steps that lift events of older schema versions to the newest one, and the reading of events through them.

use eventsourcing::{DecodeError, Upcaster};
use serde::de::DeserializeOwned;

/// All steps. (None yet: every event type is at its first schema version.)
const UPCASTERS: &[Upcaster] = &[];

/// Reads a payload whose newest schema version is `known`, as [`eventsourcing::aggregate::decoded`] does.
pub(crate) fn decoded<T: DeserializeOwned>(
    event_type: &str,
    known: u16,
    found: u16,
    data: &str,
) -> Result<T, DecodeError> {
    eventsourcing::aggregate::decoded(UPCASTERS, event_type, known, found, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_steps_lift_the_same_version_of_a_type() {
        for (index, step) in UPCASTERS.iter().enumerate() {
            let same = |other: &&Upcaster| other.event_type == step.event_type && other.from == step.from;
            assert!(!UPCASTERS[..index].iter().any(|other| same(&other)), "{} from {}", step.event_type, step.from);
            assert!(step.from > 0, "schema versions count from 1");
        }
    }
}
