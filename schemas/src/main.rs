//! The contracts, kept up to date and held against what was released.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use schemas::golden_log;
use service_kit::postgres::testing::fresh_database;
use service_kit::print;

const USAGE: &str = "\
usage: schemas <verb> [--folder FOLDER]

  write             brings schemas/ up to date; refuses what old events cannot follow
  check             says where schemas/ differs from the code, and what no release's data or clients could follow
  freeze <version>  keeps the schemas and protos as those of a release; refuses to overwrite
  golden-log <version> --from EXPORT
                    keeps an export as the log of a release, with what it folds to; refuses to overwrite

--folder: another folder than the one that belongs to this program.
Exit code 0: done. 1: the answer is no, or it could not be done. 2: not understood.";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    match run(&mut words) {
        Ok(code) => code,
        Err(error) => {
            print::message(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &mut Vec<String>) -> Result<ExitCode> {
    let folder = option(words, "--folder").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).into(), PathBuf::from);
    let from = option(words, "--from").map(PathBuf::from);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write"] => say(schemas::write(&folder)?.iter().map(|path| format!("wrote schemas/{path}"))),
        ["check"] => {
            let faults = schemas::check(&folder)?;
            say(&faults);
            return Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        ["freeze", version] => {
            let count = schemas::freeze(&folder, version)?;
            say([format_args!("froze {count} schemas in schemas/released/{version}")]);
        }
        ["golden-log", version] => {
            let from = from.context("say which export: `--from EXPORT`, as `backstitch store export` writes it")?;
            let kept = tokio::runtime::Runtime::new()?.block_on(async {
                let database = fresh_database().await.context("no Postgres to fold it into")?;
                golden_log::keep(&folder, version, &from, &database).await
            })?;
            say(kept.iter().map(|file| format!("wrote {}", file.display())));
        }
        _ => {
            print::message(USAGE);
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes lines to stdout, as long as somebody reads them.
fn say(lines: impl IntoIterator<Item = impl Display>) {
    for line in lines {
        if print::data(format!("{line}\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// Takes `name value` out of the words.
fn option(words: &mut Vec<String>, name: &str) -> Option<String> {
    let at = words.iter().position(|word| word == name)?;
    if at + 1 >= words.len() {
        return None;
    }
    words.drain(at..at + 2).nth(1)
}
