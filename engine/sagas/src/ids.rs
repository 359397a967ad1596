//! The ids that sagas derive. They are derived so that a second attempt finds the result of the first one.

use eventsourcing::Namespace;
use eventsourcing::ids::sha256_hex;
use uuid::Uuid;

/// The id of a saga's event: two replicas that decided differently at one version conflict.
pub fn event(ids: &Namespace, stream: &str, version: u64, data: &str) -> Uuid {
    ids.derive(&["saga-event", stream, &version.to_string(), &sha256_hex(data)])
}

/// The id of a command that a saga issues. `direction` is written as in `Ctx`; `group` is the number of the step
/// attempt.
pub fn command(ids: &Namespace, stream: &str, step: &str, direction: &str, group: u32, target: &str) -> Uuid {
    ids.derive(&["saga-command", stream, step, direction, &group.to_string(), target])
}
