//! The text file of a log: what is written is read back to the byte, and whatever happens to the file shows at its line.

use event_store::conformance::event;
use event_store::export::{ExportError, Header, LineReader, LineWriter, read, write_store};
use event_store::{Append, EventStore, Expected, NewEvent, Position, RecordedEvent, SqliteStore};
use proptest::prelude::*;
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::{open, read_log, stream, text_of, texts_of};

/// Appends `count` events in appends of up to `each`, over several streams, and among them payloads that are hard to write
/// on one line.
pub async fn fill_many(store: &SqliteStore, count: u64, each: u64) {
    let hard = ["{\n  \"a\": 1\r\n}", "\"\\u0000 \\\" ü 😀 \u{2028}\"", "[1.0,1e400,-0]", "null", " {} "];
    let mut heads = [0; 7];
    let mut written = 0;
    while written < count {
        let which = usize::try_from(written % 7).unwrap();
        let (of, first) = (stream(&format!("order-{which}")), heads[which]);
        let last = first + each.min(count - written);
        let with_payload = |number: u64| NewEvent {
            data: match hard.get(usize::try_from(number % 50).unwrap()) {
                Some(text) => RawValue::from_string((*text).to_owned()).unwrap(),
                None => event(&of, number, 20).data,
            },
            ..event(&of, number, 20)
        };
        let events = (first..last).map(with_payload).collect();
        let append = Append { stream: of.clone(), expected: Expected::at(first.checked_sub(1)), events };
        store.append(append).await.unwrap().durable().await.unwrap();
        (written, heads[which]) = (written + last - first, last);
    }
}

/// A log's events and its file.
async fn exported(count: u64) -> (Vec<RecordedEvent>, Vec<u8>) {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill_many(&store, count, 3).await;
    let file = write_store(&*store, Vec::new()).await.unwrap();
    let events = read_log(&store).await.unwrap();
    store.close().await;
    (events, file)
}

/// What a file gives before it fails, and how it fails.
fn read_on(file: &[u8]) -> (Vec<String>, Option<ExportError>) {
    let mut texts = Vec::new();
    let mut reader = match LineReader::open(file) {
        Ok(reader) => reader,
        Err(error) => return (texts, Some(error)),
    };
    loop {
        match reader.next_event() {
            Ok(Some(event)) => texts.push(text_of(&event)),
            Ok(None) => return (texts, None),
            Err(error) => return (texts, Some(error)),
        }
    }
}

fn line_of(error: &ExportError) -> u64 {
    match error {
        ExportError::Line { line, .. } | ExportError::Torn { line } => *line,
        ExportError::Log(_) | ExportError::File(_) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_log_is_read_back_from_its_file_to_the_byte() {
    let (events, file) = exported(2_000).await;
    assert_eq!(texts_of(&read(file.as_slice()).unwrap()), texts_of(&events));
    let text = String::from_utf8(file.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2_002, "a payload with line breaks is on one line, too");
    let first = events[0].id;
    assert!(lines[0].starts_with(&format!(
        r#"{{"backstitch_export":1,"first_position":1,"events":2000,"head":2000,"first_event_id":"{first}","crc":""#
    )));
    assert!(lines[1].starts_with(r#"{"position":1,"stream":"order-0","version":0,"id":"#), "{}", lines[1]);
    assert!(lines[2_001].starts_with(r#"{"end":2000,"events":2000,"crc":""#));
    let mut again = LineWriter::begin(Vec::new(), LineReader::open(file.as_slice()).unwrap().header().clone()).unwrap();
    events.iter().for_each(|event| again.event(event).unwrap());
    assert_eq!(again.end().unwrap(), file);
}

#[tokio::test]
async fn an_empty_log_has_a_file_of_two_lines() {
    let (_, file) = exported(0).await;
    assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), 2);
    assert!(read(file.as_slice()).unwrap().is_empty());
}

#[tokio::test]
async fn a_byte_that_was_changed_anywhere_shows_at_its_line_or_the_next() {
    let (events, file) = exported(9).await;
    let events = texts_of(&events);
    for at in (0..file.len()).step_by(3) {
        let mut changed = file.clone();
        changed[at] ^= [0x01, 0x20, 0x80][at / 3 % 3];
        let line = 1 + file[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        let (given, error) = read_on(&changed);
        let error = error.unwrap_or_else(|| panic!("byte {at} was changed and nobody noticed"));
        assert!(line_of(&error) == line || line_of(&error) == line + 1, "byte {at} of line {line}: {error}");
        assert_eq!(given, events[..given.len()], "byte {at}: what is given is what was written");
    }
}

#[tokio::test]
async fn lines_that_are_missing_repeated_or_moved_are_told_by_number() {
    let (events, file) = exported(30).await;
    let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let mut missing = lines.clone();
    missing.remove(10);
    let mut repeated = lines.clone();
    repeated.insert(10, lines[10]);
    let mut moved = lines.clone();
    moved.swap(10, 11);
    let mut behind = lines.clone();
    behind.push(lines[31]);
    for (what, lines, line, says) in [
        ("missing", missing, 11, "position 11, where 10 comes next"),
        ("repeated", repeated, 12, "position 10, where 11 comes next"),
        ("moved", moved, 11, "position 11, where 10 comes next"),
        ("behind", behind, 33, "behind the end"),
    ] {
        let (given, error) = read_on(&lines.concat());
        let error = error.unwrap();
        assert_eq!(line_of(&error), line, "{what}: {error}");
        assert!(error.to_string().contains(says), "{what}: {error}");
        assert!(given.len() >= 9 && given == texts_of(&events)[..given.len()], "{what}");
    }
}

#[tokio::test]
async fn an_export_cut_off_anywhere_is_good_up_to_there_and_continues_to_the_same_file() {
    let (events, file) = exported(20).await;
    for length in (0..file.len()).step_by(7) {
        let mut reader = match LineReader::open(&file[..length]) {
            Ok(reader) => reader,
            Err(error) => {
                assert!(matches!(error, ExportError::Torn { line: 1 }), "{length}: {error}");
                continue;
            }
        };
        let error = loop {
            match reader.next_event() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a file of {length} bytes is not whole"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ExportError::Torn { .. }), "{length}: {error}");
        let (good, header) = (reader.good(), reader.header().clone());
        let whole = file[..length].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(good.bytes, whole as u64);
        let mut writer = LineWriter::resume(file[..whole].to_vec(), header, &good);
        events.iter().filter(|event| event.position > good.position).for_each(|event| writer.event(event).unwrap());
        assert_eq!(writer.end().unwrap(), file, "cut at {length}");
    }
}

#[tokio::test]
async fn a_writer_takes_no_event_but_the_next_and_ends_with_all() {
    let (events, _) = exported(5).await;
    let header = Header::new(Position(1), Position(4), Some(events[0].id));
    let mut writer = LineWriter::begin(Vec::new(), header).unwrap();
    writer.event(&events[1]).unwrap_err();
    events[..3].iter().for_each(|event| writer.event(event).unwrap());
    writer.event(&events[2]).unwrap_err();
    writer.event(&events[3]).unwrap();
    writer.event(&events[4]).unwrap_err();
    assert_eq!(writer.position(), Position(4));
    writer.end().unwrap();
}

/// A file of these lines, each with the checksum that it needs.
fn with_checksums(lines: &[String]) -> Vec<u8> {
    let (mut file, mut before) = (Vec::new(), 0_u32);
    for line in lines {
        let covered = line.strip_suffix('}').unwrap_or(line);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&before.to_be_bytes());
        crc.update(covered.as_bytes());
        before = crc.finalize();
        file.extend(format!("{covered},\"crc\":\"{before:08x}\"}}\n").into_bytes());
    }
    file
}

const HEADER: &str = r#"{"backstitch_export":1,"first_position":1,"events":2,"head":2,"first_event_id":"00000000-0000-0000-0000-000000000001"}"#;
const EVENT: &str = r#"{"position":1,"stream":"order-1","version":0,"id":"00000000-0000-0000-0000-000000000001","type":"A","schema_version":1,"metadata":{"partition_key":"p","correlation_id":"00000000-0000-0000-0000-000000000001","causation_id":"00000000-0000-0000-0000-000000000001","command_id":"00000000-0000-0000-0000-000000000001","actor":"a","occurred_at":"2026-11-21T10:00:00Z"},"recorded_at":"2026-11-21T10:00:00Z","data":{"x":1}}"#;

#[test]
fn a_line_with_the_right_checksum_and_a_wrong_content_is_refused() {
    let lines = |from: &str, to: &str| {
        assert!(HEADER.contains(from) || EVENT.contains(from), "{from}");
        let second = EVENT.replace("\"position\":1", "\"position\":2").replace("\"version\":0", "\"version\":1");
        [HEADER.replace(from, to), EVENT.replace(from, to), second, r#"{"end":2,"events":2}"#.to_owned()]
    };
    let (given, error) = read_on(&with_checksums(&lines("order", "order")));
    assert!(given.len() == 2 && error.is_none(), "as it is, it is whole: {error:?}");
    for (from, to, line, says) in [
        ("\"backstitch_export\":1", "\"backstitch_export\":2", 1, "format 2, this version knows 1"),
        ("\"events\":2", "\"events\":3", 1, "do not fit"),
        ("\"head\":2", "\"head\":18446744073709551615", 1, "do not fit"),
        ("\"first_position\":1", "\"first_position\":0", 1, "do not fit"),
        ("first_event_id\":\"0", "first_event_id\":\"1", 2, "calls the first"),
        ("order-1", "order 1", 2, "a stream name"),
        ("\"data\":{\"x\":1}", "\"data\": {\"x\":1}", 2, "not written as an export is"),
        ("\"data\":{\"x\":1}", "\"data_text\":\"{\"", 2, "no JSON"),
        ("\"data\":{\"x\":1}", "\"data_text\":\"{}\"", 2, "not written as an export is"),
        (",\"data\":{\"x\":1}", "", 2, "not one payload"),
        ("\"actor\":\"a\"", "\"actor\":\"a\",\"more\":1", 2, "not written as an export is"),
        ("\"type\":\"A\"", "\"type\":\"A\",\"type\":\"A\"", 2, "duplicate"),
    ] {
        let error = read_on(&with_checksums(&lines(from, to))).1.unwrap_or_else(|| panic!("{from} → {to}"));
        assert!(line_of(&error) == line && error.to_string().contains(says), "{from} → {to}: {error}");
    }
    let mut back = lines("order", "order");
    back[2] = back[2].replace("\"recorded_at\":\"2026", "\"recorded_at\":\"2025");
    let error = read_on(&with_checksums(&back)).1.unwrap();
    assert!(line_of(&error) == 3 && error.to_string().contains("before the event before it"), "{error}");
}

proptest! {
    /// Whatever the bytes are, they are refused or read; and what is read is written again as it was.
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (given, error) = read_on(&bytes);
        prop_assert!(given.is_empty() && error.is_some());
    }

    /// The same behind checksums that fit, so that the parsing is met.
    #[test]
    fn no_line_makes_the_reader_panic(
        cut in 0..EVENT.len(), put in "[\\PC\"{}:,0-9]{0,12}", length in 0_usize..40, in_header in any::<bool>()
    ) {
        let whole = if in_header { HEADER } else { EVENT };
        let cut = cut.min(whole.len());
        let (begin, rest) = (&whole[..cut], &whole[(cut + length).min(whole.len())..]);
        let changed = format!("{begin}{put}{rest}");
        let lines = if in_header { vec![changed, EVENT.to_owned()] } else { vec![HEADER.to_owned(), changed] };
        let (given, error) = read_on(&with_checksums(&lines));
        prop_assert!(given.len() <= 1 && error.is_some());
    }
}
