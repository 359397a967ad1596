//! Ranges of time, the same everywhere: both ends are included. A day is the whole day in the time zone `tz`, from its
//! first moment to the last before the next day begins, so that a day on which clocks change has 23 or 25 hours.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use service_kit::Problem;

use super::params::{Params, refuse};

/// The names of the usual range: when something was placed or happened.
pub const RANGE: (&str, &str) = ("from", "to");
/// The names where events are searched.
pub const SEARCHED: (&str, &str) = ("since", "until");

/// The longest gap in a zone's local time that is looked past for the first moment of a day. The longest that clocks were
/// ever put forward for the summer is two hours; some zones have left out a whole day once.
const LONGEST_GAP_MINUTES: i64 = 25 * 60;
/// Postgres keeps microseconds: the first moment behind one that is included.
const NEXT: TimeDelta = TimeDelta::microseconds(1);

/// The first moment of a range, and the first moment after it.
pub type Bounds = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// A day of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// The date of the day.
    pub date: NaiveDate,
    /// The first moment of the day in the report's time zone.
    pub begins: DateTime<Utc>,
    /// The first moment of the next day.
    pub ends: DateTime<Utc>,
}

impl Params {
    /// The time zone of the days.
    pub fn zone(&self) -> Result<Tz, Problem> {
        let wrong = "it is a name of the IANA time zone database, such as Europe/Berlin or UTC";
        self.raw("tz").map_or(Ok(Tz::UTC), |name| name.parse().map_err(|_| refuse("tz", wrong)))
    }

    /// A range of days or moments, both ends included.
    pub fn range(&self, (first, last): (&str, &str)) -> Result<Bounds, Problem> {
        let zone = self.zone()?;
        let from = self.end_of_range(first, |date| Some(begin_of(zone, date)), Some)?;
        let next = |date: NaiveDate| Some(begin_of(zone, date.checked_add_days(Days::new(1))?));
        let until = self.end_of_range(last, next, |moment| moment.checked_add_signed(NEXT))?;
        if from.zip(until).is_some_and(|(from, until)| from >= until) {
            return Err(refuse(last, format_args!("the range ends before it begins: `{last}` is before `{first}`")));
        }
        Ok((from, until))
    }

    fn end_of_range(
        &self,
        name: &str,
        of_day: impl FnOnce(NaiveDate) -> Option<DateTime<Utc>>,
        of_moment: impl FnOnce(DateTime<Utc>) -> Option<DateTime<Utc>>,
    ) -> Result<Option<DateTime<Utc>>, Problem> {
        let Some(text) = self.raw(name) else { return Ok(None) };
        let found = match date_of(text) {
            Some(date) => of_day(date),
            None => DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc()).and_then(of_moment),
        };
        // Postgres' own range is narrower than chrono's. The year 10000 is what follows the last day of 9999.
        let found = found.filter(|moment| (0..=10_000).contains(&moment.year()));
        found
            .map(Some)
            .ok_or_else(|| refuse(name, "it is a day such as 2026-11-21, or a moment such as 2026-11-21T10:00:00Z"))
    }

    /// The days of a range in which each end is a day, and at most so many.
    pub fn days(&self, most: usize) -> Result<Vec<Day>, Problem> {
        let (zone, (first, last)) = (self.zone()?, RANGE);
        let (Some(from), Some(to)) = (self.day(first)?, self.day(last)?) else {
            let needed = format_args!("with `tz`, give the first and the last day, at most {most} days");
            return Err(refuse(if self.raw(first).is_none() { first } else { last }, needed));
        };
        if from > to {
            return Err(refuse(last, format_args!("the range ends before it begins: `{last}` is before `{first}`")));
        }
        let days: Vec<NaiveDate> = from.iter_days().take_while(|day| *day <= to).take(most + 1).collect();
        if days.len() > most {
            return Err(refuse(
                last,
                format_args!("with `tz`, a report has at most {most} days: give a later `{first}`"),
            ));
        }
        let day = |date: &NaiveDate| {
            let next = date.checked_add_days(Days::new(1)).unwrap_or(*date);
            Day { date: *date, begins: begin_of(zone, *date), ends: begin_of(zone, next) }
        };
        Ok(days.iter().map(day).collect())
    }

    /// Reads a parameter that is a day, such as `2026-11-21`.
    pub fn day(&self, name: &str) -> Result<Option<NaiveDate>, Problem> {
        let Some(text) = self.raw(name) else { return Ok(None) };
        let day = date_of(text).filter(|day| (0..=9_999).contains(&day.year()));
        day.map(Some).ok_or_else(|| refuse(name, "it is a day such as 2026-11-21"))
    }
}

/// A day as RFC 3339 writes it; chrono reads `2026-11-2` too.
fn date_of(text: &str) -> Option<NaiveDate> {
    text.parse().ok().filter(|_| text.len() == "2026-11-21".len())
}

/// The first moment of a day in a time zone. Where clocks are put forward over midnight, that is when the gap ends; where
/// they are put back over it, the earlier of both midnights.
fn begin_of(zone: Tz, date: NaiveDate) -> DateTime<Utc> {
    let midnight = date.and_time(chrono::NaiveTime::MIN);
    let first = (0..LONGEST_GAP_MINUTES).find_map(|minutes| {
        let local = midnight.checked_add_signed(TimeDelta::minutes(minutes))?;
        zone.from_local_datetime(&local).earliest()
    });
    first.map_or_else(|| midnight.and_utc(), |moment| moment.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).unwrap()
    }

    fn hours(zone: &str, day: &str) -> i64 {
        let (from, until) = params(&[("from", day), ("to", day), ("tz", zone)]).range(RANGE).unwrap();
        (until.unwrap() - from.unwrap()).num_hours()
    }

    #[test]
    fn a_day_is_whole_and_has_23_or_25_hours_where_clocks_change() {
        assert_eq!(hours("UTC", "2026-03-29"), 24);
        assert_eq!(hours("Europe/Berlin", "2026-03-29"), 23);
        assert_eq!(hours("Europe/Berlin", "2026-10-25"), 25);
        // Clocks are put forward at midnight there: the day begins at one.
        assert_eq!(hours("Africa/Cairo", "2026-04-24"), 23);
        let (from, _) = params(&[("from", "2026-06-01"), ("tz", "Europe/Berlin")]).range(RANGE).unwrap();
        assert_eq!(from.unwrap().to_rfc3339(), "2026-05-31T22:00:00+00:00");
    }

    #[test]
    fn the_days_of_a_report_lie_next_to_each_other_without_gap_or_overlap() {
        let query = [("from", "2026-10-20"), ("to", "2026-10-30"), ("tz", "America/New_York")];
        let days = params(&query).days(31).unwrap();
        assert_eq!(days.len(), 11);
        assert!(days.windows(2).all(|pair| pair[0].ends == pair[1].begins), "{days:?}");
        assert_eq!(params(&query).days(10).unwrap_err().errors[0].field, "query:to");
        assert_eq!(params(&[("tz", "UTC")]).days(10).unwrap_err().errors[0].field, "query:from");
    }

    #[test]
    fn both_ends_are_included_also_where_they_are_moments() {
        let moment = "2026-11-21T10:00:00Z";
        let (from, until) = params(&[("since", moment), ("until", moment)]).range(SEARCHED).unwrap();
        assert_eq!(until.unwrap() - from.unwrap(), NEXT);
        let (_, until) = params(&[("to", "2026-11-21T01:00:00+01:00")]).range(RANGE).unwrap();
        assert_eq!(until.unwrap() - NEXT, "2026-11-21T00:00:00Z".parse::<DateTime<Utc>>().unwrap());
    }

    #[test]
    fn what_is_no_range_is_refused_by_name() {
        let field = |pairs: &[(&str, &str)]| params(pairs).range(RANGE).unwrap_err().errors[0].field.clone();
        for wrong in ["yesterday", "2026-13-01", "-262000-01-01", "", "9999-12-31T23:59:60+99:00"] {
            assert_eq!(field(&[("from", wrong)]), "query:from", "{wrong}");
            assert_eq!(field(&[("to", wrong)]), "query:to", "{wrong}");
        }
        assert_eq!(field(&[("tz", "Berlin")]), "query:tz");
        assert_eq!(field(&[("from", "2026-11-22"), ("to", "2026-11-21")]), "query:to");
    }
}
