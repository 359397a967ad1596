//! Nobody reads what a program prints: the pipe behind stdout or stderr has lost its reader, as behind `| head -1`.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, PipeWriter, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

/// The end of a pipe whose reader has gone.
fn unread() -> PipeWriter {
    std::io::pipe().unwrap().1
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstitch"));
    command.args(arguments).stdin(Stdio::null()).env("RUST_LOG", "info");
    for variable in ["BACKSTITCH_URL", "DATABASE_URL", "BACKSTITCH__PROVIDER__WEBHOOK_SECRET"] {
        command.env_remove(variable);
    }
    command
}

/// Sends SIGTERM and waits for the end.
fn terminated(mut server: Child) -> ExitStatus {
    let pid = libc::pid_t::try_from(server.id()).unwrap();
    // SAFETY: a signal to a child of ours that was not waited for yet: the number is its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    server.wait().unwrap()
}

#[test]
fn the_exit_code_is_the_same_when_nobody_reads_the_messages() {
    for (arguments, code) in [
        (&["saga", "list", "--url", "http://127.0.0.1:9"][..], 2),
        (&["saga", "list", "--url", "http://127.0.0.1:9", "--json"], 2),
        (&["sage"], 2),
        (&["saga", "list", "--state", "asleep", "--json"], 2),
        (&["saga", "retry", "4QX9K2M7R1TB", "--url", "http://127.0.0.1:9"], 2),
        (&["store", "check", "--data", "/nonexistent"], 2),
        (&["provider-sim", "--listen", "127.0.0.1:0"], 2),
        (&["command-service", "--config", "/nonexistent/backstitch.toml"], 2),
        (&["config", "show"], 0),
    ] {
        let read = command(arguments).output().unwrap().status;
        assert_eq!(read.code(), Some(code), "{arguments:?} with a reader");
        let status = command(arguments).stdout(Stdio::null()).stderr(unread()).status().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None), "{arguments:?} without one");
    }
}

#[test]
fn a_program_whose_data_nobody_reads_has_done_its_work() {
    for arguments in
        [&["config", "show"][..], &["--help"], &["saga", "--help"], &["completions", "bash"], &["--version"]]
    {
        let status = command(arguments).stdout(unread()).stderr(unread()).status().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{arguments:?}");
    }
}

#[test]
fn data_that_cannot_be_written_is_a_failure() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&["config", "show"]).stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("error: stdout cannot be written: ") && said.contains("\n\nhint: "), "{said}");
}

#[test]
fn a_server_goes_on_when_nobody_reads_its_messages() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("log");
    let arguments = ["store", "serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let mut server = command(&arguments).stdout(Stdio::piped()).stderr(unread()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("kurrentdb://"), "{line:?}");
    assert_eq!(terminated(server).code(), Some(0), "it has logged that it stops, to nobody");
}

#[test]
fn a_server_goes_on_when_nobody_reads_where_it_listens() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("log");
    let arguments = ["store", "serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let mut server = command(&arguments).stdout(unread()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("the log is served") {
        assert!(log.read_line(&mut said).unwrap() > 0, "it ended: {said}");
    }
    assert_eq!(terminated(server).code(), Some(0));
    log.read_to_string(&mut said).unwrap();
    assert!(said.contains("stopped"), "it has stopped when it was told to, not before: {said}");
}
