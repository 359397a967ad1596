//! In the place of the verbs that need the parts of a cluster, in a program without them: each says so, and how to build them.

use std::ffi::OsString;

use service_kit::StartError;
use terminal::{Exit, Failure};

pub use Args as Bus;
pub use Args as Cluster;
pub use Args as Relay;
pub use Args as Torture;
pub use Service as CommandService;
pub use Service as ProjectionService;
pub use Service as SagaOrchestrator;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
This program was built without the parts of a cluster.

Example:
  script/cluster up   # builds the program with them: cargo build --release -p backstitch --features cluster")]
pub struct Args {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _any: Vec<OsString>,
}

impl Args {
    /// Does nothing.
    ///
    /// # Errors
    /// A [`Failure`] always: the program was built without what the verb needs.
    #[expect(clippy::unused_async, reason = "as the verbs that it stands for")]
    pub async fn run(self) -> anyhow::Result<Exit> {
        Err(Failure::not_started(absent()))
    }
}

/// A service as a process of its own.
#[derive(Debug, clap::Args)]
pub struct Service {
    #[command(flatten)]
    _args: Args,
}

impl Service {
    /// Does nothing.
    ///
    /// # Errors
    /// A [`StartError`] always: the program was built without the service.
    #[expect(clippy::unused_async, reason = "as the services that it stands for")]
    pub async fn run(self) -> Result<(), StartError> {
        Err(absent())
    }
}

/// Names the verb that was typed, such as `store serve`.
fn absent() -> StartError {
    let is_verb =
        |word: &String| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !word.starts_with('-');
    let words = std::env::args().skip(1).skip_while(|word| !is_verb(word)).take_while(is_verb).take(2);
    StartError::without_cluster(format_args!("`backstitch {}`", words.collect::<Vec<_>>().join(" ")))
}
