//! What a program prints: data to stdout, messages to stderr. Either may be a pipe whose reader has gone (`| head -1`).
//!
//! *Invariant:* nothing else in a program writes to the two. `println!` and its relatives panic when the reader has gone
//! (`programs_print_through_one_module` in `backstitch/tests/house/main.rs`).

use std::fmt::Display;
use std::io::{self, Write};

/// Standard error for a writer that must not fail: what nobody can read is thrown away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // There is no other place where this failure could be reported.
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a text and a line break to stderr, in one call. A failure is ignored: a program does not end, nor change its exit
/// code, because nobody reads its messages.
pub fn message(text: impl Display) {
    let _ = Stderr.write_all(format!("{text}\n").as_bytes());
}

/// Writes bytes to stdout.
///
/// # Errors
/// What the system says, such as [`io::ErrorKind::BrokenPipe`]: the reader has gone.
pub fn data(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush())
}
