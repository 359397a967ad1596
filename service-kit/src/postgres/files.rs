//! The files of a private cluster: its folder, the binaries that run it, and the user that it runs as.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::PostgresError;

/// A unix socket's path has at most 107 bytes (unix(7)); `/.s.PGSQL.65535` takes 15 of them.
const SOCKET_DIR_MAX: usize = 92;

/// The user that Postgres runs as when this process is root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The folder of a cluster, its binaries and its user.
#[derive(Debug, Clone)]
pub(super) struct Home {
    folder: PathBuf,
    socket: PathBuf,
    binaries: PathBuf,
    /// The user that Postgres runs as; `None` is the user of this process.
    pub user: Option<User>,
}

impl Home {
    pub fn new(folder: &Path) -> Result<Self, PostgresError> {
        let binaries = find_binaries(std::env::var_os("BACKSTITCH_POSTGRES_BIN"))?;
        let user = user_to_run_as()?;
        fs::create_dir_all(folder).map_err(PostgresError::file(folder))?;
        let folder = folder.canonicalize().map_err(PostgresError::file(folder))?;
        // A deep folder does not fit a socket's address: then the sockets lie in /tmp, told apart by the folder's inode.
        let mut socket = folder.join("socket");
        if socket.as_os_str().len() > SOCKET_DIR_MAX {
            let inode = fs::metadata(&folder).map_err(PostgresError::file(&folder))?.ino();
            socket = std::env::temp_dir().join(format!("backstitch-socket-{inode}"));
        }
        let home = Self { folder, socket, binaries, user };
        home.give(&home.folder, 0o700)?;
        home.make_socket_folder().map_err(PostgresError::file(&home.socket))?;
        home.give(&home.socket, 0o700)?;
        if let Some(user) = &home.user {
            reachable(&home.folder, user)?;
        }
        Ok(home)
    }

    /// Makes the folder of the sockets. In `/tmp` anybody could have put something in its place, such as a link to a folder whose
    /// owner and rights would then be changed: only a folder of ours is used.
    fn make_socket_folder(&self) -> std::io::Result<()> {
        match fs::create_dir(&self.socket) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
        let found = fs::symlink_metadata(&self.socket)?;
        // SAFETY: geteuid has no preconditions and cannot fail (geteuid(2)).
        let own = found.uid() == unsafe { libc::geteuid() };
        let of_postgres = self.user.as_ref().is_some_and(|user| user.uid == found.uid());
        if found.is_dir() && (own || of_postgres) {
            return Ok(());
        }
        let what = "it is not a folder of this user; remove it, or choose a data folder with a shorter path";
        Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, what))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder in which `initdb` works; it is renamed to `data` when it is complete.
    pub fn unfinished(&self) -> PathBuf {
        self.folder.join("data.new")
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn password(&self) -> PathBuf {
        self.folder.join("password")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// Sets the mode of a file or folder, and gives it to the user that Postgres runs as.
    pub fn give(&self, path: &Path, mode: u32) -> Result<(), PostgresError> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(PostgresError::file(path))?;
        match &self.user {
            Some(user) => chown(path, Some(user.uid), Some(user.gid)).map_err(PostgresError::file(path)),
            None => Ok(()),
        }
    }

    /// Refuses a cluster that another major version created. Before the first `initdb` there is nothing to refuse.
    pub fn same_version(&self) -> Result<(), PostgresError> {
        let path = self.data().join("PG_VERSION");
        let Ok(found) = fs::read_to_string(&path) else { return Ok(()) };
        let found = found.trim().to_owned();
        let program = self.program("postgres");
        let output = Command::new(&program).arg("--version").output().map_err(PostgresError::file(&program))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned(); // "postgres (PostgreSQL) 15.18 (Debian …)"
        let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let binaries = version.and_then(|version| version.split('.').next()).unwrap_or_default().to_owned();
        let major: String = binaries.chars().take_while(char::is_ascii_digit).collect(); // "18beta1" is 18.
        if major == found {
            Ok(())
        } else {
            Err(PostgresError::OtherVersion { folder: self.data(), found, binaries: major })
        }
    }

    /// The end of the log, for an error message.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        last_lines(&log)
    }
}

/// The last few lines of a text: enough to say why a program ended.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// The folder of `postgres` and `initdb`: `named` (the value of `BACKSTITCH_POSTGRES_BIN`; an empty one means "not set", as
/// in a unit file or a Compose file that passes the variable on), else Debian's newest, else what `pg_config` says.
fn find_binaries(named: Option<OsString>) -> Result<PathBuf, PostgresError> {
    let complete = |folder: &PathBuf| folder.join("postgres").is_file() && folder.join("initdb").is_file();
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named)).filter(complete).ok_or(PostgresError::NoBinaries);
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin"))))
        .collect();
    versions.sort();
    if let Some((_, folder)) = versions.into_iter().rev().find(|(_, folder)| complete(folder)) {
        return Ok(folder);
    }
    let said = Command::new("pg_config").arg("--bindir").output().map_err(|_| PostgresError::NoBinaries)?;
    let folder = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
    Some(folder).filter(complete).ok_or(PostgresError::NoBinaries)
}

/// Nobody in particular, unless we are root: then `postgres`, else `nobody`. A user without an entry in /etc/passwd
/// will not do: `initdb` looks its own name up.
fn user_to_run_as() -> Result<Option<User>, PostgresError> {
    // SAFETY: geteuid has no preconditions and cannot fail (geteuid(2)).
    if unsafe { libc::geteuid() } != 0 {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").map_err(PostgresError::file(Path::new("/etc/passwd")))?;
    let entry = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(User { name: name.to_owned(), uid, gid })
    };
    entry("postgres").or_else(|| entry("nobody")).map(Some).ok_or(PostgresError::NoUser)
}

/// The group that must be let through to a private Postgres: that of the user it runs as, if we are root.
pub fn group_to_let_through() -> Option<u32> {
    user_to_run_as().ok().flatten().map(|user| user.gid)
}

/// Refuses a folder that `user` cannot get to: one of its parents may not be entered.
fn reachable(folder: &Path, user: &User) -> Result<(), PostgresError> {
    for parent in folder.ancestors().skip(1) {
        let meta = fs::metadata(parent).map_err(PostgresError::file(parent))?;
        let needed = if meta.uid() == user.uid {
            0o100
        } else if meta.gid() == user.gid {
            0o010
        } else {
            0o001
        };
        if meta.mode() & needed == 0 {
            return Err(PostgresError::Unreachable { user: user.name.clone(), blocked: parent.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_name_of_the_binaries_folder_means_that_none_is_named() {
        let found = find_binaries(None).ok();
        assert_eq!(find_binaries(Some(OsString::new())).ok(), found);
        assert!(
            find_binaries(Some(OsString::from("/nowhere"))).is_err(),
            "a folder that is named is the one that is used"
        );
    }
}
