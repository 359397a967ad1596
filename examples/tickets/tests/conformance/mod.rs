//! Both read models pass the suite for read models: in a file, and in Postgres.

use std::path::Path;
use std::sync::Arc;

use engine_runtime::Clock;
use event_store::EventStore;
use eventsourcing::testing::at;
use projection_engine::ReadModels;
use projection_engine::conformance::{self as rules, EmbeddedSubject, Subject};
use service_kit::postgres::testing::fresh_database;
use tempfile::TempDir;
use tickets::bookings::BOOKINGS;
use tickets::seat_map::SEAT_MAP;
use tickets::{BoxOffice, IDS};

use super::{open, saga, until};

/// The log of twelve bookings of six seats: some are paid, some rejected.
async fn office(folder: &Path) -> BoxOffice {
    let office = open(folder, &Clock::manual(at(0))).await;
    let mut last = None;
    for number in 0..12_u8 {
        let (key, seat) = (format!("guest-{number}"), format!("a{}", number % 6));
        let booking = office.book(&key, &seat, "Guest", 4_500).await.unwrap();
        match number {
            0..3 => {
                office.pay(&format!("{key} pays"), booking, 4_500).await.unwrap();
                until(&office, &saga(booking), "SagaCompleted").await;
            }
            3..6 => until(&office, &format!("seat-{seat}"), "SeatHeld").await,
            _ => last = Some(booking),
        }
    }
    until(&office, &saga(last.unwrap()), "SagaCompensated").await;
    office
}

async fn in_a_file(folder: &TempDir) -> (BoxOffice, EmbeddedSubject) {
    let office = office(folder.path()).await;
    let store: Arc<dyn EventStore> = office.log();
    let folder = folder.path().to_owned();
    (office, EmbeddedSubject { ids: IDS, models: vec![SEAT_MAP], store, folder, seed: 7 })
}

async fn in_postgres(folder: &TempDir) -> (BoxOffice, Subject) {
    let office = office(folder.path()).await;
    let models = Arc::new(ReadModels::new(IDS, [BOOKINGS]));
    let (store, url) = (office.log(), fresh_database().await.unwrap());
    (office, Subject { models, store, url, seed: 7 })
}

/// A test of a rule for each of the two stores.
macro_rules! both {
    ($($rule:ident,)*) => {
        mod file {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $rule() {
                let folder = TempDir::new().unwrap();
                let (_office, subject) = in_a_file(&folder).await;
                rules::$rule(&subject).await;
            })*
        }
        mod postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $rule() {
                let folder = TempDir::new().unwrap();
                let (_office, subject) = in_postgres(&folder).await;
                rules::$rule(&subject).await;
            })*
        }
    };
}

both! {
    rows_do_not_depend_on_where_batches_end,
    an_event_that_comes_again_changes_nothing,
    gaps_are_filled_whatever_the_sequence_of_events,
    a_kill_between_rows_and_checkpoint_leaves_neither,
    a_runner_whose_place_is_taken_writes_nothing,
    a_rebuild_is_equal_to_what_it_replaces,
}
