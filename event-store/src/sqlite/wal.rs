//! Looks through the write-ahead log before SQLite does, because SQLite ends it silently at the first frame that does
//! not fit, and would throw away synced commits behind a damaged one.
//!
//! **The format** (sqlite.org/walformat.html; all numbers big-endian). A header of 32 bytes: magic `377f0682` or
//! `377f0683`, version 3007000, page size, checkpoint number, two salts, two checksum words. Then frames, each a header of
//! 24 bytes and one page: page number, size of the file in pages if the frame ends a commit (else 0), the two salts, two
//! checksum words. A checksum is over the first 8 bytes of the frame's header and the page, and begins with the words of
//! the frame before it (the first frame's with those of the header); its arithmetic reads 32-bit words in the byte order
//! that the magic's last bit says (1: big-endian).
//!
//! **What makes a frame valid:** the salts of the header, and its checksum. The log restarts at its beginning once it is
//! copied into the file; the salts change then, so that what an earlier round left behind is told apart.
//!
//! **What a crash leaves:** the frames of the commit that was not yet synced, any part of them, in any order; nothing after
//! them, because the next commit's frames are written only after that sync. So if a valid frame stands behind the end of a
//! commit that does not fit, a commit that was synced is damaged, and we refuse to start. If the damage is in the very last
//! commit, it looks like a crash; only a witness (a projection's checkpoint, the mark of a clean stop) can tell.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use super::open::{unusable, wal_path};
use crate::OpenError;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The magic without the bit that says the byte order of checksums.
const MAGIC: u32 = 0x377f_0682;
/// Read at once: some frames, so that a log of 16 MiB takes few calls.
const BUFFER_BYTES: usize = 1 << 20;

/// Refuses a log whose write-ahead log has lost synced commits. To be called before SQLite opens the file, under the lock
/// of the folder. How many bytes stand behind the last commit that are none: what a crash leaves, or damage of that commit.
pub(super) fn check(log: &Path) -> Result<u64, OpenError> {
    let path = wal_path(log);
    match scan(&path) {
        Ok(Scanned { damage: None, torn_bytes }) => Ok(torn_bytes),
        Ok(Scanned { damage: Some(what), .. }) => Err(OpenError::Damaged { path: path.display().to_string(), what }),
        Err(error) => Err(unusable(&path, &error)),
    }
}

/// What bytes behind the last commit mean, for people; `None`: there are none.
pub(super) fn torn(log: &Path, bytes: u64) -> Option<String> {
    let path = wal_path(log);
    (bytes > 0).then(|| {
        format!(
            "`{}` ends with {bytes} bytes that are no whole commit (a torn tail). That is what a power cut or a kill leaves \
             of a commit that nobody was told of; an acknowledged one is in it only if the disk has damaged it. If you doubt \
             the disk, compare the last position with what the read models and your clients have seen",
            path.display()
        )
    })
}

/// What a look through a write-ahead log has found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scanned {
    /// What is wrong, if a synced commit is damaged for certain.
    damage: Option<String>,
    /// Bytes of this round behind the last whole commit.
    torn_bytes: u64,
}

/// What the header says.
struct Header {
    page_bytes: usize,
    big_endian: bool,
    salts: [u8; 8],
    checksum: (u32, u32),
    /// Its own checksum fits.
    whole: bool,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let page_bytes = usize::try_from(word(8)).ok()?;
        let big_endian = word(0) & 1 == 1;
        let checksum = (word(24), word(28));
        let whole = word(0) & !1 == MAGIC && sum((0, 0), &bytes[..24], big_endian) == checksum;
        let mut salts = [0; 8];
        salts.copy_from_slice(&bytes[16..24]);
        let sensible = page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes);
        sensible.then_some(Self { page_bytes, big_endian, salts, checksum, whole })
    }
}

/// Looks through a write-ahead log. None is there: nothing is wrong.
fn scan(path: &Path) -> std::io::Result<Scanned> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Scanned::default()),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut header = [0; HEADER_BYTES];
    if fill(&mut file, &mut header)? < HEADER_BYTES {
        return Ok(Scanned::default()); // Empty, or cut in its header: a crash before the first commit of this round.
    }
    let Some(header) = Header::parse(&header) else {
        let damage = "its header gives no page size, so that none of its commits can be read".to_owned();
        return Ok(Scanned { damage: Some(damage), torn_bytes: 0 });
    };
    let mut frame = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    let mut before = header.checksum;
    let (mut number, mut first_bad, mut commit_ended) = (0_u64, (!header.whole).then_some(0), false);
    // Behind the last whole commit, and behind the last frame of this round.
    let (mut committed, mut written) = (HEADER_BYTES as u64, HEADER_BYTES as u64);
    let mut at = committed;
    loop {
        let read = fill(&mut file, &mut frame)?;
        let of_this_round = read >= FRAME_HEADER_BYTES && frame[8..16] == header.salts;
        at += read as u64;
        if read < frame.len() {
            written = if of_this_round { at } else { written };
            return Ok(Scanned { damage: None, torn_bytes: written.saturating_sub(committed) });
        }
        number += 1;
        let word = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let stored = (word(16), word(20));
        let seeded = sum(before, &frame[..8], header.big_endian);
        let fits = sum(seeded, &frame[FRAME_HEADER_BYTES..], header.big_endian) == stored;
        let valid = of_this_round && word(0) != 0 && fits;
        before = stored;
        // Salts are not in the checksum: a frame that goes on from the one before was written behind it.
        written = if of_this_round || (fits && first_bad.is_none()) { at } else { written };
        match first_bad {
            None if !valid => first_bad = Some(number),
            None => committed = if word(4) != 0 { at } else { committed },
            Some(bad) if valid && commit_ended => {
                let part = if bad == 0 { "its header".to_owned() } else { format!("frame {bad}") };
                let damage = format!("{part} does not fit, but whole commits stand behind it (frame {number})");
                return Ok(Scanned { damage: Some(damage), torn_bytes: 0 });
            }
            Some(_) => {}
        }
        commit_ended |= first_bad.is_some() && of_this_round && word(4) != 0;
    }
}

/// How many bytes the file still had for `bytes`.
fn fill(file: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// SQLite's checksum, going on from `seed`; the length is a multiple of 8.
fn sum(seed: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    bytes.chunks_exact(8).fold(seed, |(a, b), pair| {
        let a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        (a, b.wrapping_add(word(&pair[4..])).wrapping_add(a))
    })
}
