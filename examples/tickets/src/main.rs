//! `tickets [folder]`: three guests, two seats. With `DATABASE_URL`, the bookings are a table of that Postgres as well.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use engine_runtime::Clock;
use event_store::{Direction, Filter, Position};
use tickets::BoxOffice;

/// Prints a line. A reader that has gone is no reason to stop.
macro_rules! say {
    ($($text:tt)*) => { _ = writeln!(std::io::stdout(), $($text)*) };
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).map_or_else(|| PathBuf::from("tickets-data"), PathBuf::from);
    let (clock, postgres) = (Clock::system(), std::env::var("DATABASE_URL").ok());
    let office = BoxOffice::open(&folder, &clock, postgres).await?;
    let ann = office.book("ann-1", "A1", "Ann", 4_500).await?;
    office.book("bob-1", "A1", "Bob", 4_500).await?; // The seat is Ann's: his booking is rejected.
    office.book("cem-1", "A2", "Cem", 4_500).await?; // Never pays: the seat is free again after 15 minutes.
    office.pay("ann-2", ann, 4_500).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for event in office.log().read_all(Position::START, Direction::Forward, 1_000, &Filter::default()).await? {
        say!("{:>4}  {:<52} {}", event.position, event.stream.to_string(), event.event_type);
    }
    let seats = office.seat_map.read(|sql| {
        let mut statement = sql.prepare("select seat, state from seat_map order by seat")?;
        let seats = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        seats.collect::<Result<Vec<_>, _>>()
    });
    for (seat, state) in seats.await? {
        say!("seat {seat}: {state}");
    }
    office.close().await;
    Ok(())
}
