//! `schemas write` brings the checked-in contracts up to date; `schemas check` says where they differ from the code.

use std::path::Path;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    match std::env::args().nth(1).as_deref() {
        Some("write") => {
            schemas::write(folder)?.iter().for_each(|path| println!("wrote schemas/{path}"));
            Ok(ExitCode::SUCCESS)
        }
        Some("check") => {
            let faults = schemas::check(folder)?;
            faults.iter().for_each(|fault| println!("{fault}"));
            Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => {
            eprintln!(
                "usage: schemas write|check\n\n  write  brings schemas/ up to date; refuses what old events cannot follow\n  check  says where schemas/ differs from the code; exit code 1 if it does"
            );
            Ok(ExitCode::from(2))
        }
    }
}
