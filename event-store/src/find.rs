//! A search of a log: by type, stream, time and origin, and by the values of the payload.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde_json::{Number, Value};
use uuid::Uuid;

use crate::envelope::Timestamp;
use crate::{RecordedEvent, StreamName};

/// The longest condition, in characters: a path and a value that a person types.
const LONGEST_CONDITION: usize = 500;

/// The conditions of a search; all of them must hold. An empty search finds every event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Find {
    /// Types of the events to find; empty: any type.
    pub types: Vec<String>,
    /// Name of the stream whose events to find.
    pub stream: Option<StreamName>,
    /// Category of the streams whose events to find.
    pub category: Option<String>,
    /// The event occurred at this moment or later.
    pub since: Option<Timestamp>,
    /// The event occurred at this moment or earlier.
    pub until: Option<Timestamp>,
    /// Id of the request that the event follows from.
    pub correlation: Option<Uuid>,
    /// The actor that asked for the event.
    pub actor: Option<String>,
    /// Further conditions on the event's fields.
    pub conditions: Vec<Condition>,
}

impl Find {
    /// Whether the event meets the search. The payload is read only if the rest fits.
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        let metadata = &event.metadata;
        let fits = (self.types.is_empty() || self.types.iter().any(|wanted| **wanted == *event.event_type))
            && self.stream.as_ref().is_none_or(|stream| *stream == event.stream)
            && self.category.as_ref().is_none_or(|category| category == event.stream.category())
            && self.since.is_none_or(|since| metadata.occurred_at >= since)
            && self.until.is_none_or(|until| metadata.occurred_at <= until)
            && self.correlation.is_none_or(|id| metadata.correlation_id == id)
            && self.actor.as_ref().is_none_or(|actor| *actor == metadata.actor);
        if !fits || self.conditions.is_empty() {
            return fits;
        }
        let of = |root: Root| match root {
            Root::Data => serde_json::from_str(event.data.get()).unwrap_or_default(),
            Root::Metadata => serde_json::to_value(&**metadata).unwrap_or_default(),
        };
        let (mut data, mut metadata) = (None, None);
        self.conditions.iter().all(|condition| {
            let value: &Value = match condition.root {
                Root::Data => data.get_or_insert_with(|| of(Root::Data)),
                Root::Metadata => metadata.get_or_insert_with(|| of(Root::Metadata)),
            };
            condition.holds(value)
        })
    }
}

/// A condition on a field, such as `data.sku=MUG`, `data.amount.amount>1000`, `metadata.actor~saga`. Where the path
/// meets a list, one fitting item is enough; a number in the path is the index of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    root: Root,
    path: Vec<String>,
    operator: Operator,
    wanted: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Data,
    Metadata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains,
}

impl Operator {
    /// Operators of two characters come before those of one, so that `<=` is not taken for `<`.
    const ALL: [(&'static str, Self); 7] = [
        ("!=", Self::NotEqual),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("=", Self::Equal),
        ("<", Self::Less),
        (">", Self::Greater),
        ("~", Self::Contains),
    ];

    fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, operator)| *operator == self).map_or("=", |(text, _)| text)
    }
}

/// The error of a text that is not a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no condition: {why}; write it as data.sku=MUG, with one of = != < <= > >= ~ (contains)")]
pub struct ConditionError {
    text: String,
    why: String,
}

impl FromStr for Condition {
    type Err = ConditionError;
    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let refused = |why: &str| ConditionError { text: text.chars().take(100).collect(), why: why.to_owned() };
        if text.len() > LONGEST_CONDITION {
            return Err(refused(&format!("it has more than {LONGEST_CONDITION} bytes")));
        }
        let at = text.find(['=', '!', '<', '>', '~']).ok_or_else(|| refused("it has no operator"))?;
        let (path, rest) = text.split_at(at);
        let found = Operator::ALL.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
        let (operator, wanted) = found.ok_or_else(|| refused("`!` is no operator"))?;
        let mut segments = path.trim().split('.').map(str::to_owned);
        let root = match segments.next().as_deref() {
            Some("data") => Root::Data,
            Some("metadata") => Root::Metadata,
            Some(_) | None => return Err(refused("its path begins neither with `data.` nor with `metadata.`")),
        };
        let path: Vec<String> = segments.collect();
        let plain = |segment: &String| {
            !segment.is_empty() && segment.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ':'))
        };
        if path.is_empty() || !path.iter().all(plain) {
            return Err(refused("its path has an empty or strange part: names are joined by single dots"));
        }
        let (operator, wanted) = (operator, wanted.trim().to_owned());
        if wanted.is_empty() && !matches!(operator, Operator::Equal | Operator::NotEqual) {
            return Err(refused("it has no value"));
        }
        Ok(Self { root, path, operator, wanted })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = match self.root {
            Root::Data => "data",
            Root::Metadata => "metadata",
        };
        write!(f, "{root}.{}{}{}", self.path.join("."), self.operator.as_str(), self.wanted)
    }
}

impl Condition {
    fn holds(&self, value: &Value) -> bool {
        match self.operator {
            // Nothing there equals it; also where nothing is there.
            Operator::NotEqual => {
                !any(value, &self.path, &|found| compare(found, &self.wanted) == Some(Ordering::Equal))
            }
            Operator::Equal | Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => {
                any(value, &self.path, &|found| compare(found, &self.wanted).is_some_and(|order| self.admits(order)))
            }
            Operator::Contains => any(value, &self.path, &|found| text_of(found).contains(&self.wanted)),
        }
    }

    fn admits(&self, order: Ordering) -> bool {
        match self.operator {
            Operator::Less => order.is_lt(),
            Operator::AtMost => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::AtLeast => order.is_ge(),
            Operator::Equal | Operator::NotEqual | Operator::Contains => order.is_eq(),
        }
    }
}

/// Whether one of the scalars at the end of a path fits.
fn any(value: &Value, path: &[String], fits: &dyn Fn(&Value) -> bool) -> bool {
    match (value, path.split_first()) {
        (Value::Object(fields), Some((name, rest))) => fields.get(name).is_some_and(|field| any(field, rest, fits)),
        (Value::Array(items), Some((name, rest))) => match name.parse::<usize>() {
            Ok(place) => items.get(place).is_some_and(|item| any(item, rest, fits)),
            Err(_) => items.iter().any(|item| any(item, path, fits)),
        },
        (Value::Array(items), None) => items.iter().any(|item| any(item, &[], fits)),
        (Value::Object(_), None) => false,
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), Some(_)) => false,
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), None) => fits(value),
    }
}

/// Compares a scalar with the wanted text: numbers as numbers, everything else as text. `None`: they cannot be
/// compared.
fn compare(found: &Value, wanted: &str) -> Option<Ordering> {
    match found {
        Value::Number(number) => compare_numbers(number, wanted),
        Value::String(text) => Some(text.as_str().cmp(wanted)),
        Value::Null | Value::Bool(_) => (text_of(found) == wanted).then_some(Ordering::Equal),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn compare_numbers(found: &Number, wanted: &str) -> Option<Ordering> {
    let whole = found.as_i64().map(i128::from).or_else(|| found.as_u64().map(i128::from));
    match (whole, wanted.parse::<i128>()) {
        (Some(found), Ok(wanted)) => Some(found.cmp(&wanted)),
        (Some(_) | None, Ok(_) | Err(_)) => found.as_f64()?.partial_cmp(&wanted.parse().ok()?),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str) -> bool {
        let value = serde_json::json!({
            "sku": "MUG", "amount": { "amount": 1999, "currency": "EUR" }, "ratio": 0.5, "gift": false, "note": null,
            "lines": [{ "sku": "A", "n": 1 }, { "sku": "B", "n": 20 }], "tags": ["x", "yz"], "big": u64::MAX,
        });
        condition.parse::<Condition>().unwrap().holds(&value)
    }

    #[test]
    fn each_operator_says_what_it_means() {
        for yes in [
            "data.sku=MUG",
            "data.sku != CUP",
            "data.nothing!=1",
            "data.amount.amount>1000",
            "data.amount.amount<2000",
            "data.amount.amount>=1999",
            "data.amount.amount<=1999",
            "data.amount.amount=1999",
            "data.amount.amount>9",
            "data.amount.currency~UR",
            "data.amount.amount~99",
            "data.ratio<1",
            "data.ratio=0.50",
            "data.gift=false",
            "data.note=null",
            "data.lines.sku=B",
            "data.lines.1.sku=B",
            "data.lines.n>10",
            "data.tags=yz",
            "data.tags.0=x",
            "data.big>9223372036854775807",
            "data.sku>LUG",
            "data.lines.sku!=C",
            "data.sku!=",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in [
            "data.sku=mug",
            "data.sku!=MUG",
            "data.amount.amount>1999",
            "data.amount.amount<1999",
            "data.amount=1999",
            "data.amount.amount=EUR",
            "data.nothing=1",
            "data.sku.more=1",
            "data.lines.0.sku=B",
            "data.lines.sku!=A",
            "data.gift>0",
            "data.note>0",
            "data.tags~q",
            "data.sku=",
            "data.lines.9.sku=A",
            "data.amount.amount>x",
        ] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_the_reason() {
        let long = format!("data.{}=1", "x".repeat(500));
        for (text, why) in [
            ("data.sku", "no operator"),
            ("sku=1", "begins neither"),
            ("=1", "begins neither"),
            ("data=1", "empty or"),
            ("data..sku=1", "empty or"),
            ("data.sku!1", "`!` is no"),
            ("data.a b=1", "empty or"),
            ("data.x>", "no value"),
            ("", "no operator"),
            (&long, "more than"),
        ] {
            let error = text.parse::<Condition>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("data.sku=MUG"), "{text}: {error}");
        }
        let condition: Condition = "data.a.b>=10".parse().unwrap();
        assert_eq!(condition.to_string().parse::<Condition>().unwrap(), condition);
    }
}
