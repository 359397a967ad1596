//! Which keys a type reads, asked of the type itself: it is made to deserialize, and says of each struct that it wants
//! which fields that has. So there is no second list beside the types that could say something else.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer as _, MapAccess, Visitor};

/// Every key that `T` reads, such as `http.listen`, in the order of its fields. A key is a field whose type is no struct;
/// what may stand below it (`pricing.shipping.EUR`) is data.
pub fn keys<T: DeserializeOwned>() -> Vec<String> {
    let mut found = Vec::new();
    below::<T>(&mut Vec::new(), &mut found);
    found
}

/// The sections that `T` reads: its fields.
pub fn sections<T: DeserializeOwned>() -> &'static [&'static str] {
    fields::<T>(&[]).unwrap_or(&[])
}

fn below<T: DeserializeOwned>(path: &mut Vec<&'static str>, found: &mut Vec<String>) {
    match fields::<T>(path) {
        Some(fields) => {
            for field in fields {
                path.push(field);
                below::<T>(path, found);
                path.pop();
            }
        }
        None if path.is_empty() => {}
        None => found.push(path.join(".")),
    }
}

/// How the value of a key may be shown. Its type says so: see the crate `secret`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// As it is.
    Plain,
    /// Not at all: a secret, or a table whose values are secrets.
    Masked,
    /// As a URL without its password.
    Url,
}

/// How the value of `key` of `T`, such as `postgres.url`, may be shown.
pub fn shown<T: DeserializeOwned>(key: &str) -> Shown {
    let path: Vec<&str> = key.split('.').collect();
    match found::<T>(&path) {
        Some(Found::Secret) => Shown::Masked,
        Some(Found::Url) => Shown::Url,
        Some(Found::Fields(_)) | None => Shown::Plain,
    }
}

/// The fields of the struct that `T` has at `path`; `None` where it has something else.
fn fields<T: DeserializeOwned>(path: &[&str]) -> Option<&'static [&'static str]> {
    match found::<T>(path)? {
        Found::Fields(fields) => Some(fields),
        Found::Secret | Found::Url => None,
    }
}

/// What `T` asks for at `path`.
fn found<T: DeserializeOwned>(path: &[&str]) -> Option<Found> {
    let found = Cell::new(None);
    // It cannot succeed: the probe gives no value at the end of its path, it only hears what is asked for there.
    let _ = T::deserialize(Probe { path, found: &found, within_map: false });
    found.get()
}

/// What a type asks for.
#[derive(Debug, Clone, Copy)]
enum Found {
    Fields(&'static [&'static str]),
    Secret,
    Url,
}

/// Walks `path` into what deserializes and writes down which fields are asked for at its end.
struct Probe<'a> {
    path: &'a [&'a str],
    found: &'a Cell<Option<Found>>,
    /// At the end of the path is a map, whose values are looked at: what stands below it is data and has no fields.
    within_map: bool,
}

/// An entry that a map is asked to read: what matters is of which type its value is.
struct Entry<'a> {
    found: &'a Cell<Option<Found>>,
}

/// The end of the way.
#[derive(Debug)]
struct Heard;

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is here but what was asked for")
    }
}

impl std::error::Error for Heard {}

impl de::Error for Heard {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Heard;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Heard> {
        Err(Heard)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Heard> {
        if self.path.is_empty() {
            if !self.within_map {
                self.found.set(Some(Found::Fields(fields)));
            }
            return Err(Heard);
        }
        visitor.visit_map(self)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Heard> {
        if self.path.is_empty() && !self.within_map {
            visitor.visit_map(Entry { found: self.found })
        } else {
            Err(Heard)
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Heard> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Heard> {
        if self.path.is_empty() {
            match name {
                secret::SECRET_MARK => self.found.set(Some(Found::Secret)),
                secret::URL_MARK => self.found.set(Some(Found::Url)),
                _ => return visitor.visit_newtype_struct(self),
            }
            return Err(Heard);
        }
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Probe<'_> {
    type Error = Heard;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Heard> {
        let Some(field) = self.path.first() else { return Err(Heard) };
        let key: de::value::StrDeserializer<'_, Heard> = (*field).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Heard> {
        let Some((_, below)) = self.path.split_first() else { return Err(Heard) };
        seed.deserialize(Probe { path: below, found: self.found, within_map: self.within_map })
    }
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Heard;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Heard> {
        let key: de::value::StrDeserializer<'_, Heard> = "key".into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Heard> {
        seed.deserialize(Probe { path: &[], found: self.found, within_map: true })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the names of the fields are asked for")]
    struct Settings {
        http: Http,
        pricing: Option<Pricing>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the names of the fields are asked for")]
    struct Http {
        listen: SocketAddr,
        workers: Option<u32>,
        limits: Limits,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the names of the fields are asked for")]
    struct Limits {
        body_bytes: usize,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the names of the fields are asked for")]
    struct Pricing {
        shipping: BTreeMap<String, i64>,
    }

    #[test]
    fn a_type_says_itself_which_keys_it_reads() {
        assert_eq!(keys::<Settings>(), ["http.listen", "http.workers", "http.limits.body_bytes", "pricing.shipping"]);
        assert_eq!(sections::<Settings>(), ["http", "pricing"]);
    }

    #[test]
    fn a_type_says_itself_what_may_be_shown() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only the types of the fields are asked for")]
        struct Settings {
            bus: Bus,
        }
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only the types of the fields are asked for")]
        struct Bus {
            topic: String,
            url: Option<secret::SecretUrl>,
            key: Option<secret::Key>,
            client: BTreeMap<String, secret::Secret>,
            public: BTreeMap<String, String>,
        }
        assert_eq!(keys::<Settings>(), ["bus.topic", "bus.url", "bus.key", "bus.client", "bus.public"]);
        let shown = keys::<Settings>().iter().map(|key| shown::<Settings>(key)).collect::<Vec<_>>();
        assert_eq!(shown, [Shown::Plain, Shown::Url, Shown::Masked, Shown::Masked, Shown::Plain]);
    }

    #[test]
    fn what_is_no_struct_has_no_keys() {
        assert!(keys::<u32>().is_empty());
        assert!(sections::<BTreeMap<String, u32>>().is_empty());
    }
}
