//! What a request says in its path, query and headers, each refused by name where it is not what it should be.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use service_kit::api::POSITION_MAX;
pub(super) use service_kit::request::refuse_parameter as refuse;
use service_kit::{Problem, text};

/// The query of a request: each parameter at most once.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(pairs(parts)?)
    }
}

/// The parameters of a query, in the order in which they are given.
pub(super) fn pairs(parts: &Parts) -> Result<Vec<(String, String)>, Problem> {
    let read = Query::try_from_uri(&parts.uri);
    let unread =
        |error: QueryRejection| Problem::invalid("the query cannot be read").field("query:", error.body_text());
    read.map(|Query(pairs)| pairs).map_err(unread)
}

impl Params {
    /// The parameters of a query, each given once.
    pub fn of(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        for (index, (name, _)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(refuse(name, "it is given more than once"));
            }
        }
        Ok(Self(pairs))
    }

    /// Refuses what is not among `known`: a filter that is misspelt must not silently give everything.
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                Err(refuse(name, format_args!("there is no such parameter; there are: {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// A parameter as it was written.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(named, _)| named == name).map(|(_, value)| value.as_str())
    }

    /// A parameter, if it is given and valid.
    pub fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.raw(name).map(|value| value.parse().map_err(|error| refuse(name, error))).transpose()
    }

    /// A whole number within a range.
    pub fn within(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        match self.get::<u64>(name)? {
            Some(number) if !range.contains(&number) => {
                let (least, most) = (range.start(), range.end());
                Err(refuse(name, format_args!("it is a whole number from {least} to {most}, not {number}")))
            }
            number => Ok(number),
        }
    }

    /// A position of the log, or a version of a stream.
    pub fn position(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.within(name, 0..=POSITION_MAX)
    }

    /// A text of 1 to `most` characters, without the characters that texts of bodies may not have either.
    pub fn text(&self, name: &str, most: usize) -> Result<Option<String>, Problem> {
        match self.raw(name) {
            Some(given) if given.is_empty() || given.chars().count() > most => {
                Err(refuse(name, format_args!("it has 1 to {most} characters")))
            }
            Some(given) => text::flaw(given)
                .map_or_else(|| Ok(Some(given.to_owned())), |flaw| Err(refuse(name, format_args!("it {flaw}")))),
            None => Ok(None),
        }
    }

    /// One of a few words.
    pub fn one_of(&self, name: &str, words: &[&str]) -> Result<Option<String>, Problem> {
        match self.raw(name) {
            Some(word) if !words.contains(&word) => {
                Err(refuse(name, format_args!("it is one of {}, not `{word}`", words.join(", "))))
            }
            word => Ok(word.map(str::to_owned)),
        }
    }

    /// A time span such as `90s`, `5m`, `2h`, `1d`.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, Problem> {
        self.raw(name)
            .map(|text| duration(text).ok_or_else(|| refuse(name, "it is a time span such as 90s, 5m, 2h or 1d")))
            .transpose()
    }

    /// How many items a list may have: 1 to `most`, `usual` where nothing is said.
    pub fn limit(&self, usual: usize, most: usize) -> Result<usize, Problem> {
        match self.get::<usize>("limit")? {
            Some(limit) if limit == 0 || limit > most => {
                Err(refuse("limit", format_args!("it is a whole number from 1 to {most}, not {limit}")))
            }
            limit => Ok(limit.unwrap_or(usual)),
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    // Five digits: at most 274 years, which can be taken from any moment.
    let number = Some(number).filter(|number| (1..=5).contains(&number.len()))?.parse::<u64>().ok()?;
    Some(Duration::from_secs(number * seconds))
}

/// The names in a path, decoded.
#[derive(Debug)]
pub struct Names(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::invalid("the path cannot be read").field("path:", error.body_text()))?;
        Ok(Self(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

impl Names {
    /// A name in the path.
    pub fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Problem> {
        let value = self.raw(name);
        value.parse().map_err(|error| {
            Problem::invalid(format_args!("`{value}` in the path is not valid")).field(format!("path:{name}"), error)
        })
    }

    /// A name in the path as it was written.
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(named, _)| named == name).map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let uri = format!("/?{query}").parse().unwrap();
        Params(Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn a_limit_is_1_to_its_most() {
        assert_eq!(params("limit=200").limit(50, 200).unwrap(), 200);
        for wrong in ["limit=0", "limit=201", "limit=-1", "limit=x", "limit="] {
            assert_eq!(params(wrong).limit(50, 200).unwrap_err().errors[0].field, "query:limit", "{wrong}");
        }
    }

    #[test]
    fn a_position_is_one_that_javascript_reads_exactly() {
        assert_eq!(params("after=9007199254740991").position("after").unwrap(), Some(POSITION_MAX));
        for wrong in ["after=9007199254740992", "after=9223372036854775808", "after=-1", "after="] {
            assert_eq!(params(wrong).position("after").unwrap_err().errors[0].field, "query:after", "{wrong}");
        }
    }

    #[test]
    fn a_text_says_something_and_acts_on_no_terminal() {
        assert_eq!(params("step=Zo%C3%AB").text("step", 3).unwrap().as_deref(), Some("Zoë"));
        for wrong in ["step=", "step=abcd", "step=a%00", "step=a%1B", "step=a%E2%80%AE"] {
            assert_eq!(params(wrong).text("step", 3).unwrap_err().errors[0].field, "query:step", "{wrong}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_name() {
        assert_eq!(params("stauts=x").only(&["status"]).unwrap_err().errors[0].field, "query:stauts");
    }

    #[test]
    fn a_time_span_has_a_unit() {
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        for wrong in ["5", "m", "", "5w", "-5m", "99999999999999999999d", "100000s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
