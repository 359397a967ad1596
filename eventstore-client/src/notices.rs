//! The notices of a server about itself, beyond KurrentDB's protocol, in the metadata of every answer to a read.
//!
//! A log that Backstitch serves sends them; a KurrentDB does not, and other clients ignore them. Both are texts in
//! UTF-8, in metadata that may contain any bytes (gRPC: names that end in `-bin`), and present only while they are
//! true.

use tonic::metadata::{MetadataMap, MetadataValue};

/// The header with the reason why clients' commands must not be accepted at the moment.
const REFUSES_CLIENTS: &str = "backstitch-refuses-clients-bin";
/// The header with the damage of the log.
const DAMAGED: &str = "backstitch-log-damaged-bin";
/// The longest text: all metadata of an answer must fit in some KiB. Bytes.
const LONGEST: usize = 1_024;

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    /// Why commands of clients are not to be taken at the moment; work that was begun goes on.
    pub refuses_clients: Option<String>,
    /// What is damaged: nothing is written to the log any more, and that does not pass by itself.
    pub damaged: Option<String>,
}

impl Notices {
    /// What is said in the metadata of an answer.
    pub fn of(metadata: &MetadataMap) -> Self {
        let text = |name: &str| {
            let bytes = metadata.get_bin(name)?.to_bytes().ok()?;
            Some(String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]).into_owned())
        };
        Self { refuses_clients: text(REFUSES_CLIENTS), damaged: text(DAMAGED) }
    }

    /// Says it in the metadata of an answer.
    pub fn say(&self, metadata: &mut MetadataMap) {
        for (name, text) in [(REFUSES_CLIENTS, &self.refuses_clients), (DAMAGED, &self.damaged)] {
            if let Some(text) = text {
                let bytes = &text.as_bytes()[..text.floor_char_boundary(LONGEST)];
                metadata.insert_bin(name, MetadataValue::from_bytes(bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_what_is_not_said_is_not() {
        for (refuses_clients, damaged) in
            [(None, None), (Some("kein Platz: ä/ö"), None), (None, Some("at 7")), (Some(""), Some("x"))]
        {
            let said =
                Notices { refuses_clients: refuses_clients.map(str::to_owned), damaged: damaged.map(str::to_owned) };
            let mut metadata = MetadataMap::new();
            said.say(&mut metadata);
            assert_eq!(Notices::of(&metadata), said);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_two_letters() {
        let said = Notices { refuses_clients: Some("ä".repeat(LONGEST)), damaged: None };
        let mut metadata = MetadataMap::new();
        said.say(&mut metadata);
        assert_eq!(Notices::of(&metadata).refuses_clients, Some("ä".repeat(LONGEST / 2)));
    }
}
