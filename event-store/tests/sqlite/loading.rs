//! `export` to a file and `import` of it: the same log again, whatever interrupts them.

use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use event_store::sqlite::{self, ExportFileError, Exported, ImportError, Imported, Range, check};
use event_store::{OpenError, Position, SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::exporting::fill_many;
use crate::{fill, open, read_log, stream, texts_of, write};

fn export(dir: &Path, to: &Path, resume: bool) -> Result<Exported, ExportFileError> {
    sqlite::export(dir, to, Range::default(), resume, &mut |_, _| {})
}

fn import(file: &[u8], dir: &Path) -> Result<Imported, ImportError> {
    sqlite::import(file, dir, &mut |_, _| {})
}

/// The bytes of a folder's export.
fn bytes_of(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    sqlite::export_to(dir, &mut bytes, Range::default(), &mut |_, _| {}).unwrap();
    bytes
}

/// A log of `count` events, closed, and its export.
async fn log_of(count: u64) -> (TempDir, Vec<u8>) {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill_many(&store, count, 60).await;
    store.close().await;
    let bytes = bytes_of(dir.path());
    (dir, bytes)
}

fn draft(to: &Path) -> PathBuf {
    to.with_extension("partial")
}

#[tokio::test]
async fn a_log_that_was_exported_and_imported_is_the_same_to_the_byte() {
    let (dir, _) = log_of(20_000).await;
    let safe = TempDir::new().unwrap();
    let file = safe.path().join("log");
    let made = export(dir.path(), &file, false).unwrap();
    assert_eq!((made.events, made.first_position, made.position), (20_000, Position(1), Position(20_000)));
    assert_eq!(fs::read_dir(safe.path()).unwrap().count(), 1);
    let file = fs::read(file).unwrap();
    let copy = TempDir::new().unwrap();
    let mut seen = Vec::new();
    let imported = sqlite::import(file.as_slice(), copy.path(), &mut |done, all| seen.push((done, all))).unwrap();
    assert_eq!((imported.events, imported.there, imported.head), (20_000, 0, Position(20_000)));
    assert!(seen.is_sorted() && seen.last() == Some(&(20_000, 20_000)));
    assert!(check(copy.path(), &mut |_, _| {}).unwrap().is_whole());
    assert_eq!(bytes_of(copy.path()), file);
    let (a, b) = (sqlite::stats(dir.path()).unwrap(), sqlite::stats(copy.path()).unwrap());
    assert_eq!((a.streams, a.categories, a.last_recorded_at), (b.streams, b.categories, b.last_recorded_at));
    // It goes on as the original would.
    let store = open(copy.path());
    write(&store, &stream("order-new"), 0, 10).await.unwrap();
    store.close().await;
    assert!(check(copy.path(), &mut |_, _| {}).unwrap().is_whole());
    assert_eq!(fs::read_to_string(copy.path().join("events.mark")).unwrap().trim(), "20001");
}

#[tokio::test]
async fn an_export_during_writes_ends_where_the_log_ended_when_it_began() {
    let (dir, safe) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path());
    fill_many(&store, 5_000, 50).await;
    let (from, to) = (dir.path().to_owned(), safe.path().join("log"));
    let (its_to, its_store) = (to.clone(), store.clone());
    let made = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut version = 0;
        sqlite::export(&from, &its_to, Range::default(), false, &mut |_, _| {
            runtime.block_on(write(&its_store, &stream("payment-1"), version, 100)).unwrap();
            version += 1;
        })
        .unwrap()
    });
    assert_eq!(made.await.unwrap().position, Position(5_000));
    let log = texts_of(&read_log(&store).await.unwrap());
    assert!(log.len() > 5_000, "the server wrote meanwhile");
    store.close().await;
    let events = event_store::export::read(fs::read(to).unwrap().as_slice()).unwrap();
    assert_eq!(texts_of(&events), log[..5_000]);
}

#[tokio::test]
async fn an_interrupted_export_goes_on_where_it_is_good_and_ends_as_it_would_have() {
    let (dir, whole) = log_of(300).await;
    let store = open(dir.path());
    write(&store, &stream("order-new"), 0, 10).await.unwrap();
    store.close().await;
    for length in [0, 10, 170, whole.len() / 2, whole.len() - 70, whole.len() - 1, whole.len()] {
        let safe = TempDir::new().unwrap();
        let to = safe.path().join("log");
        fs::write(draft(&to), &whole[..length]).unwrap();
        assert!(
            matches!(export(dir.path(), &to, false), Err(ExportFileError::Interrupted(path)) if path == draft(&to))
        );
        let made = export(dir.path(), &to, true).unwrap();
        if length < 170 {
            assert_eq!((made.events, made.resumed), (301, 0), "without a whole header it begins anew");
        } else {
            assert_eq!(fs::read(&to).unwrap(), whole, "cut at {length}");
            assert!(made.resumed <= 300 && (length < 1_000 || made.resumed > 0));
        }
        assert!(!draft(&to).exists());
        assert!(matches!(export(dir.path(), &to, true), Err(ExportFileError::Exists(_))));
    }
}

#[tokio::test]
async fn what_is_no_beginning_of_this_export_is_not_gone_on_with() {
    let (dir, whole) = log_of(300).await;
    let other = TempDir::new().unwrap();
    let store = open(other.path());
    fill(&store, 300).await;
    store.close().await;
    let other = bytes_of(other.path());
    let mut damaged = whole.clone();
    damaged[5_000] ^= 1;
    for (file, why) in [(&other[..9_000], "another log"), (&damaged, "line "), (b"mine\n".as_slice(), "line 1")] {
        let safe = TempDir::new().unwrap();
        let to = safe.path().join("log");
        fs::write(draft(&to), file).unwrap();
        match export(dir.path(), &to, true) {
            Err(ExportFileError::NotResumable { why: told, .. }) => assert!(told.contains(why), "{told}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read(draft(&to)).unwrap(), file, "it is left as it is");
    }
}

#[tokio::test]
async fn a_part_of_a_log_can_be_exported_but_not_imported() {
    let (dir, _) = log_of(300).await;
    let part = |from, to| {
        let mut bytes = Vec::new();
        let range = Range { from: Some(Position(from)), to: Some(Position(to)) };
        sqlite::export_to(dir.path(), &mut bytes, range, &mut |_, _| {}).map(|_| bytes)
    };
    let file = part(100, 199).unwrap();
    let events = event_store::export::read(file.as_slice()).unwrap();
    assert_eq!((events.len(), events[0].position), (100, Position(100)));
    let copy = TempDir::new().unwrap();
    assert!(matches!(import(&file, copy.path()), Err(ImportError::NotFromTheStart(Position(100)))));
    assert_eq!(fs::read_dir(copy.path()).unwrap().count(), 0, "the folder was not touched");
    for (from, to) in [(0, 10), (20, 10), (1, 301)] {
        assert!(matches!(part(from, to), Err(ExportFileError::Nothing { .. })), "{from}..{to}");
    }
    let begin = part(1, 150).unwrap();
    assert_eq!(import(&begin, copy.path()).unwrap().head, Position(150));
}

/// Gives a part of the bytes, then fails as a disk does.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::Error::other("the disk is gone")) } else { self.0.read(into) }
    }
}

#[tokio::test]
async fn an_import_that_was_interrupted_goes_on_and_nobody_serves_the_folder_meanwhile() {
    let (_dir, file) = log_of(20_000).await;
    let copy = TempDir::new().unwrap();
    let mut before = 0;
    for percent in [0, 30, 60, 99] {
        let input = BufReader::new(Failing(&file[..file.len() / 100 * percent]));
        let error = sqlite::import(input, copy.path(), &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("the disk is gone"), "{error}");
        if percent == 0 {
            continue;
        }
        match SqliteStore::open(copy.path(), SqliteOptions::default()).map(drop) {
            Err(OpenError::Unusable { reason, .. }) => assert!(reason.contains("import"), "{reason}"),
            other => panic!("{other:?}"),
        }
        let report = check(copy.path(), &mut |_, _| {}).unwrap();
        assert!(report.problem_count == 1 && report.events > before, "a prefix is there, and the sign: {report:?}");
        before = report.events;
    }
    let imported = import(&file, copy.path()).unwrap();
    assert_eq!((imported.there, imported.events), (before, 20_000 - before));
    assert_eq!(bytes_of(copy.path()), file);
    assert!(check(copy.path(), &mut |_, _| {}).unwrap().is_whole());
    let again = import(&file, copy.path()).unwrap();
    assert_eq!((again.there, again.events), (20_000, 0));
}

#[tokio::test]
async fn a_bad_line_is_told_by_number_and_nothing_behind_it_is_imported() {
    let (_dir, file) = log_of(500).await;
    let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let mut changed = lines.clone();
    let flipped = String::from_utf8(lines[300].to_vec()).unwrap().replace("conformance", "conformancf");
    changed[300] = flipped.as_bytes();
    let mut missing = lines.clone();
    missing.remove(300);
    for (what, file, says) in [
        ("changed", changed.concat(), "line 301: its checksum does not fit"),
        ("missing", missing.concat(), "line 301: it has position 301, where 300 comes next"),
        ("torn", lines[..300].concat(), "line 301: the file ends here"),
    ] {
        let copy = TempDir::new().unwrap();
        let error = import(&file, copy.path()).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("up to position 299"), "{what}: {error}");
        assert_eq!(check(copy.path(), &mut |_, _| {}).unwrap().events, 299, "{what}");
    }
    let copy = TempDir::new().unwrap();
    let error = import(b"{\"a\":1}\n", copy.path()).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("is it an export at all?"), "{error}");
    assert_eq!(fs::read_dir(copy.path()).unwrap().count(), 0, "the folder was not touched");
}

#[tokio::test]
async fn a_folder_with_another_log_is_left_as_it_is() {
    let (dir, file) = log_of(200).await;
    let other = TempDir::new().unwrap();
    let store = open(other.path());
    fill(&store, 50).await;
    store.close().await;
    let before = bytes_of(other.path());
    match import(&file, other.path()) {
        Err(ImportError::AnotherLog { path, position: Position(1), line: 2 }) => {
            assert_eq!(path, other.path().join("events.db"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bytes_of(other.path()), before);
    open(other.path()).close().await;
    // The same log, gone on: nothing is lacking there.
    let store = open(dir.path());
    write(&store, &stream("order-new"), 0, 10).await.unwrap();
    match import(&file, dir.path()) {
        Err(ImportError::Open(OpenError::Locked { .. })) => {}
        other => panic!("{other:?}"),
    }
    store.close().await;
    let imported = import(&file, dir.path()).unwrap();
    assert_eq!((imported.there, imported.events, imported.head), (200, 0, Position(201)));
}

/// A file whose checksums fit, but whose versions do not.
#[tokio::test]
async fn versions_with_a_hole_are_not_imported() {
    let (_dir, file) = log_of(200).await;
    let mut events = event_store::export::read(file.as_slice()).unwrap();
    events[150].version += 1;
    let header = event_store::export::LineReader::open(file.as_slice()).unwrap().header().clone();
    let mut writer = event_store::export::LineWriter::begin(Vec::new(), header).unwrap();
    events.iter().for_each(|event| writer.event(event).unwrap());
    let copy = TempDir::new().unwrap();
    let error = import(&writer.end().unwrap(), copy.path()).unwrap_err().to_string();
    assert!(error.contains("line 152") && error.contains("goes on at version"), "{error}");
}
