//! The note that a log was found damaged while it was served.
//!
//! A start looks at the end of a log only, and damage that was met while it was served may stand anywhere. So it is noted in
//! `events.damaged`, a text, beside the log; and a log beside which the note stands is not opened for writing. The operator
//! removes it, when a backup has been restored or `backstitch store check` has found the log whole.
//!
//! *Invariant:* once the note stands, nothing writes to the files of the log: no commit, no checkpoint, no clean stop. What
//! shows the damage, such as the checksums of the write-ahead log, stays for who looks for its cause.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::open;
use crate::OpenError;

/// Its name.
pub(super) const FILE: &str = "events.damaged";

/// Leaves the note. On a full disk there is none; the next start then opens the log as if nothing were known.
pub(super) fn leave(log: &Path, what: &str) {
    let Some(dir) = log.parent() else { return };
    if let Err(error) = open::replace(dir, FILE, &format!("{what}\n")) {
        tracing::error!(log = %log.display(), %error, "the damage could not be noted in `{FILE}`: do not start the server again");
    }
}

/// Refuses a log beside which the note stands.
pub(super) fn check(dir: &Path, log: &Path) -> Result<(), OpenError> {
    let note = dir.join(FILE);
    let what = match fs::read_to_string(&note) {
        Ok(what) => what,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(open::unusable(&note, &error)),
    };
    let (what, note) = (what.trim(), note.display());
    let what = format!(
        "it was found damaged while it was served ({what}); remove `{note}` once a backup has been restored or the check \
         finds the log whole"
    );
    Err(OpenError::Damaged { path: log.display().to_string(), what })
}
