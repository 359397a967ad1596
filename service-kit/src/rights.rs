//! Rights of the files and folders that a process makes: nobody else on the machine looks into them.
//!
//! The one exception is the user of a private Postgres, where this process is root: the group of that user may pass through
//! the data folder to the part that is its own.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::postgres::group_to_let_through;

/// The bit of a folder in which everybody makes files, such as `/tmp`. Such a folder is not ours, whatever its owner.
const STICKY: u32 = 0o1000;

/// From now on what this process makes is for its user alone (umask 077). The first line of each `main`.
pub fn private_files() {
    // SAFETY: umask takes a number and cannot fail (umask(2)); no other thread makes files yet.
    unsafe { libc::umask(0o077) };
}

/// Makes a data folder, with those above it that are missing, for this user alone. One that is there and ours (it is empty, or
/// has `ours` in it) is tightened, with a line in the log messages.
///
/// # Errors
/// What the system says.
pub fn data_folder(dir: &Path, ours: &str) -> io::Result<()> {
    if dir.is_dir() {
        let is_ours = dir.join(ours).exists() || fs::read_dir(dir)?.next().is_none();
        return if is_ours { tighten_folder(dir) } else { Ok(()) };
    }
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    fs::create_dir_all(dir)?;
    missing.into_iter().try_for_each(let_postgres_through)
}

/// Sets the rights of a folder that this process has made: for this user, and for the user of a private Postgres to pass
/// through.
///
/// # Errors
/// What the system says.
pub fn let_postgres_through(dir: &Path) -> io::Result<()> {
    match group_to_let_through() {
        Some(group) => {
            chown(dir, None, Some(group))?;
            fs::set_permissions(dir, Permissions::from_mode(0o710))
        }
        None => fs::set_permissions(dir, Permissions::from_mode(0o700)),
    }
}

/// Tightens a data folder of this user. A group that was chosen for it, as for a volume that is shared by its group, keeps its
/// rights.
fn tighten_folder(dir: &Path) -> io::Result<()> {
    let before = fs::symlink_metadata(dir)?;
    // SAFETY: geteuid and getegid have no preconditions and cannot fail (geteuid(2), getegid(2)).
    let (user, own_group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let rights = before.mode() & 0o7777;
    if !before.is_dir() || before.uid() != user || rights & STICKY != 0 {
        return Ok(());
    }
    let through = group_to_let_through();
    if before.gid() == own_group {
        let_postgres_through(dir)?;
    } else {
        // The user of Postgres is not in this group: it passes through as anybody does, and sees no names.
        let others = if through.is_none_or(|group| group == before.gid()) { 0 } else { rights & 0o001 };
        fs::set_permissions(dir, Permissions::from_mode(rights & !0o007 | others))?;
    }
    let after = fs::symlink_metadata(dir)?.mode() & 0o7777;
    if after & 0o077 != rights & 0o077 {
        tracing::warn!(
            folder = %dir.display(), before = format!("{rights:o}"), after = format!("{after:o}"),
            "the rights of the data folder were changed: only its user (and the group of a private Postgres) may enter it"
        );
    }
    Ok(())
}

/// Refuses a file or folder that another user could have put there or could change, or whose secrets others can read.
///
/// # Errors
/// What is wrong, and what to do.
pub fn trusted(path: &Path, holds_secrets: bool) -> Result<(), String> {
    let (text, said) = (path.display(), fs::symlink_metadata(path));
    let found = said.map_err(|error| format!("`{text}` cannot be looked at: {error}"))?;
    // SAFETY: geteuid has no preconditions and cannot fail (geteuid(2)).
    let user = unsafe { libc::geteuid() };
    let rights = found.mode() & 0o7777;
    if found.is_symlink() {
        return Err(format!("`{text}` is a symbolic link; give the place it leads to"));
    }
    if found.uid() != user {
        return Err(format!("`{text}` belongs to another user (number {}); give another folder", found.uid()));
    }
    if rights & 0o022 != 0 {
        return Err(format!(
            "other users can write to `{text}` (mode {rights:o}); if you trust what is there: chmod go-w {text}"
        ));
    }
    if holds_secrets && rights & 0o077 != 0 {
        return Err(format!(
            "other users can read `{text}`, which holds secrets (mode {rights:o}); make new ones, or: chmod 600 {text}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_folder_that_is_made_is_closed_to_others_and_so_are_those_above_it() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/data");
        data_folder(&deep, "events.db").unwrap();
        for folder in [deep.as_path(), deep.parent().unwrap(), root.path().join("a").as_path()] {
            assert_eq!(mode(folder) & 0o067, 0, "{}: {:o}", folder.display(), mode(folder));
        }
    }

    #[test]
    fn an_own_folder_is_tightened_and_that_of_somebody_else_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let (ours, other, shared) = (root.path().join("ours"), root.path().join("other"), root.path().join("shared"));
        for folder in [&ours, &other, &shared] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(if folder == &other { "letters" } else { "events.db" }), "").unwrap();
        }
        fs::set_permissions(&ours, Permissions::from_mode(0o711)).unwrap(); // As release 0.2.0 makes it.
        fs::set_permissions(&other, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
        for folder in [&ours, &other, &shared] {
            data_folder(folder, "events.db").unwrap();
        }
        assert_eq!(mode(&ours) & 0o067, 0, "{:o}", mode(&ours));
        assert_eq!((mode(&other), mode(&shared)), (0o755, 0o777), "what is not a data folder of ours stays as it is");
    }

    #[test]
    fn files_that_others_can_write_and_secrets_that_others_can_read_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let (file, link) = (root.path().join("cluster.json"), root.path().join("link"));
        fs::write(&file, "{}").unwrap();
        symlink(&file, &link).unwrap();
        let with = |rights: u32| {
            fs::set_permissions(&file, Permissions::from_mode(rights)).unwrap();
            (trusted(&file, false).err(), trusted(&file, true).err())
        };
        assert_eq!(with(0o600), (None, None));
        let (plain, secret) = with(0o644);
        assert!(plain.is_none() && secret.is_some_and(|why| why.contains("can read")), "secrets only");
        assert!(with(0o666).0.is_some_and(|why| why.contains("can write")));
        assert!(trusted(&link, false).is_err_and(|why| why.contains("symbolic link")));
        assert!(trusted(&root.path().join("nothing"), false).is_err());
    }
}
