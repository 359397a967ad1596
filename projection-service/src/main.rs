//! The binary of the read side: the same as `backstitch projection-service`.

use std::process::ExitCode;

use clap::Parser;
use projection_service::service::Args;
use service_kit::process;

/// The read side of Backstitch as one of several replicas.
#[derive(Parser)]
#[command(name = "projection-service", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    process::main(Cli::parse().args.run())
}
