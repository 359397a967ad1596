//! The binary of the write side: the same as `backstitch command-service`.

use std::process::ExitCode;

use clap::Parser;
use command_service::service::Args;

/// The write side of Backstitch as a process of its own.
#[derive(Parser)]
#[command(name = "command-service", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads can be started: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(cli.args.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n\nhint: {}", error.hint);
            ExitCode::from(2)
        }
    }
}
