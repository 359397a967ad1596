//! Which commit a release build is made from, for `backstitch --version`. A development build does not say, so that a commit
//! alone does not have everything compiled again.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=BACKSTITCH_COMMIT");
    let given = std::env::var("BACKSTITCH_COMMIT").ok().filter(|commit| !commit.is_empty());
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let built_from = given.or_else(|| if release { commit() } else { None });
    let unknown = if release { "commit unknown" } else { "development build" };
    println!("cargo:rustc-env=BACKSTITCH_BUILT_FROM={}", built_from.as_deref().unwrap_or(unknown));
}

/// The commit of the working tree, `+` where something was changed since; none outside of a repository.
fn commit() -> Option<String> {
    let head = git(&["rev-parse", "--git-path", "HEAD"])?;
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    for path in [head, log] {
        println!("cargo:rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changed| !changed.is_empty());
    Some(if changed { format!("{commit}+") } else { commit })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
