//! The binary of the sagas: the same as `backstitch saga-orchestrator`.

use std::process::ExitCode;

use clap::Parser;
use saga_orchestrator::service::Args;
use service_kit::process;

/// The sagas of Backstitch as a process of their own.
#[derive(Parser)]
#[command(name = "saga-orchestrator", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    process::main(Cli::parse().args.run())
}
