//! The booking saga of `saga-engine`'s tests, and what the events of a box office mean to it.

use event_store::RecordedEvent;
use eventsourcing::DecodeError;
use saga_engine::{Begin, Process as _};
use saga_runner::subscriber::source_of;
use saga_runner::{Subscriber, Trigger};

#[path = "../../../sagas/tests/booking/mod.rs"]
mod booking;

#[allow(unused_imports, reason = "the unit tests need less than the tests of a running box office")]
pub use booking::{BOOKING, Booking, BoxOffice, Command, Facts, Paid, Patience, Tickets};

impl Subscriber for BoxOffice {
    const CATEGORIES: &'static [&'static str] = &["desk", "bill"];

    fn parse_subject(key: &str) -> Option<Booking> {
        Some(Booking { booking_id: key.parse().ok()? })
    }

    fn triggers(recorded: &RecordedEvent, _: Booking) -> Result<Vec<Trigger<Self>>, DecodeError> {
        let source = source_of(recorded);
        if &*recorded.event_type == "BillPaid" {
            return Ok(vec![Trigger::fact(source, Paid)]);
        }
        let Some(definition) = Self::started_by(&recorded.event_type) else { return Ok(Vec::new()) };
        let facts: Facts = eventsourcing::aggregate::decoded(
            &[],
            &recorded.event_type,
            1,
            recorded.schema_version,
            recorded.data.get(),
        )?;
        Ok(vec![Trigger::Begin(definition.name, Begin { source, facts })])
    }

    fn streams_of(Booking { booking_id }: Booking) -> Vec<String> {
        vec![format!("bill-{booking_id}")]
    }
}
