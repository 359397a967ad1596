//! Files that hold a secret, named by a variable that ends in `_FILE`.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

fn provider_sim(folder: &Path, secret: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstitch"));
    command.args(["provider-sim", "--listen", "127.0.0.1:0"]).current_dir(folder).stdin(Stdio::null());
    command.env_remove("BACKSTITCH__PROVIDER__WEBHOOK_SECRET").env("RUST_LOG", "info");
    command.env("BACKSTITCH__PROVIDER__WEBHOOK_SECRET_FILE", secret);
    command
}

/// What the process has logged when it says where it listens.
fn logged(folder: &Path, secret: &Path) -> String {
    let mut child = provider_sim(folder, secret).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(line.contains("http://"), "{line:?}: {log}");
    log
}

#[test]
fn a_secret_that_all_can_read_is_told_once_and_one_that_all_can_write_is_refused() {
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("webhook-secret");
    fs::write(&secret, "at-least-24-bytes-and-the-same-for-both\n").unwrap();
    let mode = |mode: u32| fs::set_permissions(&secret, Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    assert_eq!(logged(folder.path(), &secret).matches("can read a file with a secret").count(), 0);
    mode(0o644);
    let log = logged(folder.path(), &secret);
    assert_eq!(log.matches("can read a file with a secret").count(), 1, "{log}");
    assert!(log.contains(secret.to_str().unwrap()) && log.contains("0644") && log.contains("WARN"), "{log}");
    mode(0o666);
    let refused = provider_sim(folder.path(), &secret).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("every user can write") && said.contains("mode 0666"), "{said}");
}
