//! The binary of the write side: the same as `backstitch command-service`.

use std::process::ExitCode;

use clap::Parser;
use command_service::service::Args;
use service_kit::process;

/// The write side of Backstitch as a process of its own.
#[derive(Parser)]
#[command(name = "command-service", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    process::main(Cli::parse().args.run())
}
