//! What a release changes of a read model, and what that does to the rows that are there.

use projection_engine::{EarlierShapes, Index, ReadModel};
use sqlx::{Connection as _, PgConnection};

use crate::box_office::BoxOffice;
use crate::table::{IDS, SEATS, release};

/// The next release finds seats by their guest.
const WITH_INDEX: ReadModel = ReadModel {
    indexes: &[&[Index::new("seats_by_guest", "seats", "(guest, seat) where guest is not null")]],
    ..SEATS
};

/// A release with an index of a column that the table does not have.
const WITH_WRONG_INDEX: ReadModel =
    ReadModel { indexes: &[&[Index::new("seats_by_row", "seats", "(seat_row)")]], ..SEATS };

/// A release that counts seats in another way: the tables are the same, the rows are not.
const FOLDED_ANEW: ReadModel = ReadModel { folds: 2, ..WITH_INDEX };

/// A box office whose rows nobody would fold like that.
async fn written_by_hand() -> (BoxOffice, event_store::Position) {
    let office = BoxOffice::open().await;
    let held = office.hold("a1", "ann").await;
    let running = office.start(&release(SEATS));
    running.reached(held).await;
    running.stop().await;
    assert_eq!(office.execute("update read_1.seats set guest = 'by hand'").await, 1);
    (office, held)
}

/// The processes of Postgres that make an index.
const BEING_MADE: &str =
    "select pid::text from pg_stat_progress_create_index where datname = current_database() and lockers_total > 0";

async fn indexes(office: &BoxOffice) -> Vec<String> {
    office.ask("select indexname::text from pg_indexes where schemaname = 'read_1' order by 1").await
}

/// Waits until the index that the next release adds finds rows; the harness's own time-out ends a test that waits in vain.
async fn index_is_made(office: &BoxOffice) {
    const VALID: &str = "select indexrelid::regclass::text from pg_index where indisvalid
        and indexrelid = to_regclass('read_1.seats_by_guest')";
    while office.ask(VALID).await.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_a_release_adds_is_made_and_no_row_is_folded_again() {
    let (office, held) = written_by_hand().await;
    for (of, model) in [("the next release", WITH_INDEX), ("the release before, beside it", SEATS)] {
        let running = office.start(&release(model));
        running.reached(held).await;
        assert_eq!(office.seats().await, ["a1 held by hand 0"], "{of}");
        index_is_made(&office).await;
        assert_eq!(indexes(&office).await, ["seats_by_guest", "seats_pkey"], "{of}");
        running.stop().await;
    }
    // Where rows are folded otherwise, they are folded again; the index is there at once.
    let running = office.start(&release(FOLDED_ANEW));
    running.reached(held).await;
    assert_eq!(office.seats().await, ["a1 held ann 0"]);
    assert_eq!(indexes(&office).await, ["seats_by_guest", "seats_pkey"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_takes_long_keeps_neither_rows_nor_answers_waiting() {
    let (office, _) = written_by_hand().await;
    // The index waits for this transaction, as it does for every older one that has written.
    let mut older = PgConnection::connect(&office.url).await.unwrap();
    sqlx::raw_sql("begin; update read_1.seats set guest = 'by hand'").execute(&mut older).await.unwrap();
    let running = office.start(&release(WITH_INDEX));
    while office.ask(BEING_MADE).await.is_empty() {
        tokio::task::yield_now().await;
    }
    running.reached(office.hold("a2", "bob").await).await;
    assert_eq!(office.seats().await, ["a1 held by hand 0", "a2 held bob 0"]);
    sqlx::raw_sql("commit").execute(&mut older).await.unwrap();
    index_is_made(&office).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_which_an_interruption_left_a_part_is_made_anew() {
    let (office, held) = written_by_hand().await;
    // Two rows that differ in nothing: a unique index of them fails, and leaves a part that finds nothing.
    const ANOTHER: &str = "insert into read_1.seats
        select 'a2', state, guest, held_until, holds, stream_version, global_position, updated_at from read_1.seats";
    office.execute(ANOTHER).await;
    let mut sql = PgConnection::connect(&office.url).await.unwrap();
    let broken = "create unique index concurrently seats_by_guest on read_1.seats (guest)";
    sqlx::raw_sql(broken).execute(&mut sql).await.unwrap_err();
    assert_eq!(indexes(&office).await, ["seats_by_guest", "seats_pkey"]);
    let running = office.start(&release(WITH_INDEX));
    running.reached(held).await;
    index_is_made(&office).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_made_keeps_no_row_from_being_written() {
    let (office, _) = written_by_hand().await;
    let running = office.start(&release(WITH_WRONG_INDEX));
    running.reached(office.hold("a2", "bob").await).await;
    running.stop().await;
    assert_eq!(indexes(&office).await, ["seats_pkey"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shape_by_the_name_that_an_earlier_release_gave_it_is_known() {
    let (office, held) = written_by_hand().await;
    office.execute("update backstitch.generations set shape = 'before'").await;
    let of: &'static str = SEATS.shape(IDS).leak();
    let known = ReadModel { earlier: Some(EarlierShapes { of, names: &["first", "before"] }), ..WITH_INDEX };
    let running = office.start(&release(known));
    running.reached(held).await;
    assert_eq!(office.seats().await, ["a1 held by hand 0"]);
    running.stop().await;
    // The names stand for these rows alone.
    let running = office.start(&release(ReadModel { folds: 2, ..known }));
    running.reached(held).await;
    assert_eq!(office.seats().await, ["a1 held ann 0"]);
    running.stop().await;
}
