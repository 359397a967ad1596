//! Names of streams.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a stream: 1 to 250 bytes of printable ASCII without spaces. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(Arc<str>);

/// A text that names no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stream name has 1 to 250 printable ASCII characters and no spaces, not `{0}`")]
pub struct StreamNameError(pub String);

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text before the first `-`, such as `order`; the whole name where there is none.
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(&*self.0, |(category, _)| category)
    }

    /// The text after the first `-`, such as the order's id; empty where there is none.
    pub fn id(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, id)| id)
    }
}

impl FromStr for StreamName {
    type Err = StreamNameError;
    fn from_str(text: &str) -> Result<Self, StreamNameError> {
        if (1..=250).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(StreamNameError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for StreamName {
    type Error = StreamNameError;
    fn try_from(text: String) -> Result<Self, StreamNameError> {
        text.parse()
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> String {
        name.0.to_string()
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
