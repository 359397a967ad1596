//! Rights of files that hold the log: nobody else on the machine may open them.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Takes the rights of other users away from a file or folder of this user, and those of its group if it is the user's own
/// group; a group that was chosen for the file, as for a shared volume, keeps its rights. The rights before, if they were
/// changed. What is not there or belongs to another user is left alone.
///
/// # Errors
/// What the system says.
pub fn tighten(path: &Path) -> io::Result<Option<u32>> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // SAFETY: geteuid and getegid have no preconditions and cannot fail (geteuid(2), getegid(2)).
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let loose = if file.gid() == group { 0o077 } else { 0o007 };
    let rights = file.mode() & 0o7777;
    if file.is_symlink() || file.uid() != user || rights & loose == 0 {
        return Ok(None);
    }
    fs::set_permissions(path, Permissions::from_mode(rights & !loose))?;
    Ok(Some(rights))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn rights_of_others_go_and_those_of_a_chosen_group_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(tighten(&link).unwrap(), None, "where a link leads is not ours to change");
        assert_eq!(tighten(&file).unwrap(), Some(0o644));
        assert_eq!(tighten(&file).unwrap(), None);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(tighten(&dir.path().join("nothing")).unwrap(), None);
    }
}
