//! Every example of a help text can be pasted into a shell, as it is printed: no line is wrapped, the shell understands it,
//! and what it starts understands its arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use backstitch::cli::Cli;
use clap::{CommandFactory as _, Parser as _};
use tempfile::TempDir;

use super::{backstitch, commands};

/// What ends a call in the stub's file. No argument of an example is it.
const END: &str = "\u{1e}";

/// Programs that examples use beside ours; here they only take what they are given.
const OTHERS: &[&str] = &["dot", "systemctl", "grep"];

/// The examples in the help of a command, as lines of a shell's script; empty if it has none. Fails if one is wrapped.
fn examples(words: &[String]) -> String {
    let cli = Cli::command();
    let command = words.iter().fold(&cli, |command, word| command.find_subcommand(word).unwrap());
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    arguments.push("--help");
    let shown = String::from_utf8(backstitch(&arguments).stdout).unwrap();
    let behind = text.lines().skip_while(|line| !line.starts_with("Example"));
    let lines: Vec<&str> = behind.filter(|line| line.starts_with("  ")).collect();
    for line in &lines {
        assert!(shown.lines().any(|shown| shown == *line), "{words:?}: the example is wrapped at 110 columns: {line}");
    }
    lines.join("\n")
}

fn program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A folder in which a shell runs examples: programs that write down with which arguments they are called.
fn desk() -> TempDir {
    let folder = TempDir::new().unwrap();
    let at = |path: &str| folder.path().join(path);
    let calls = |verb: &str| format!("printf '%s\\0' {verb} \"$@\" '{END}' >> \"$CALLS\"");
    program(&at("bin/backstitch"), &calls(""));
    program(&at("script/cluster"), &calls("cluster"));
    program(&at("script/torture"), &calls("torture"));
    OTHERS.iter().for_each(|other| program(&at(&format!("bin/{other}")), "[ -t 0 ] || cat > /dev/null"));
    folder
}

/// The arguments of every call that a script makes.
fn calls(desk: &TempDir, script: &str) -> Vec<Vec<String>> {
    let file = desk.path().join("calls");
    let _ = fs::remove_file(&file);
    let path = format!("{}:{}", desk.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["--noprofile", "--norc", "-euo", "pipefail", "-c", script]).current_dir(desk.path());
    shell.stdin(Stdio::null());
    let output = shell.env("PATH", path).env("HOME", desk.path()).env("CALLS", &file).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&file).unwrap_or_default();
    let end = format!("{END}\0");
    let calls = text.split(&end).filter(|call| !call.is_empty());
    calls.map(|call| call.split_terminator('\0').map(str::to_owned).collect()).collect()
}

#[test]
fn every_example_can_be_pasted() {
    let (desk, mut wrong, mut seen) = (desk(), Vec::new(), 0);
    for words in commands() {
        let script = examples(&words);
        let calls = calls(&desk, &script);
        let code = script.lines().map(|line| line.split("  #").next().unwrap_or_default());
        let expected = code.filter(|line| line.contains("backstitch ") || line.contains("script/")).count();
        assert!(calls.len() >= expected, "{words:?}: {expected} examples call a program of ours, found {calls:?}");
        for arguments in calls {
            seen += 1;
            let typed: Vec<String> = std::iter::once("backstitch".to_owned()).chain(arguments).collect();
            if let Err(error) = Cli::try_parse_from(&typed) {
                wrong.push(format!("{}: {error}", typed.join(" ")));
            }
        }
    }
    assert!(seen > 90, "examples were found: {seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
