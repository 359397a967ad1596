//! The binary of the sagas: the same as `backstitch saga-orchestrator`.

use std::process::ExitCode;

use clap::Parser;
use saga_orchestrator::service::Args;

/// The sagas of Backstitch as a process of their own.
#[derive(Parser)]
#[command(name = "saga-orchestrator", version, max_term_width = 110)]
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
