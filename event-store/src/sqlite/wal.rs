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
/// of the folder.
pub(super) fn check(log: &Path) -> Result<(), OpenError> {
    let path = wal_path(log);
    match scan(&path) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(OpenError::Damaged { path: path.display().to_string(), what }),
        Err(error) => Err(unusable(&path, &error)),
    }
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

/// What is wrong with a write-ahead log, if something is. None is there: nothing is wrong.
fn scan(path: &Path) -> std::io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut file, &mut header)? {
        return Ok(None); // Empty, or cut in its header: a crash before the first commit of this round.
    }
    let Some(header) = Header::parse(&header) else {
        return Ok(Some("its header gives no page size, so that none of its commits can be read".to_owned()));
    };
    let mut frame = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    let mut before = header.checksum;
    let (mut number, mut first_bad, mut commit_ended) = (0_u64, (!header.whole).then_some(0), false);
    while fill(&mut file, &mut frame)? {
        number += 1;
        let word = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let stored = (word(16), word(20));
        let of_this_round = frame[8..16] == header.salts;
        let valid = of_this_round && word(0) != 0 && {
            let seeded = sum(before, &frame[..8], header.big_endian);
            sum(seeded, &frame[FRAME_HEADER_BYTES..], header.big_endian) == stored
        };
        before = stored;
        match first_bad {
            None if !valid => first_bad = Some(number),
            Some(bad) if valid && commit_ended => {
                let part = if bad == 0 { "its header".to_owned() } else { format!("frame {bad}") };
                return Ok(Some(format!("{part} does not fit, but whole commits stand behind it (frame {number})")));
            }
            None | Some(_) => {}
        }
        commit_ended |= first_bad.is_some() && of_this_round && word(4) != 0;
    }
    Ok(None)
}

/// Whether the file still had so many bytes.
fn fill(file: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
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
