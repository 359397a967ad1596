//! What verbs that change something have in common: who does it and why, and that they ask first.

use std::io::{BufRead, IsTerminal, Write};

use service_kit::print;
use terminal::{Failure, output};

/// Who does it, why, and whether to ask first; part of every verb that changes something.
#[derive(Debug, Clone, clap::Args)]
pub struct Acting {
    /// Do it without asking.
    #[arg(long, short)]
    pub yes: bool,
    /// Who does it; it is recorded.
    #[arg(long, env = "USER", hide_env_values = true, default_value = "operator", value_name = "NAME")]
    pub actor: String,
    /// Why; it is recorded.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl Acting {
    /// Shows what will be done and asks whether to do it. `false`: the answer was no.
    ///
    /// # Errors
    /// A [`Failure`]: nobody can be asked.
    pub fn sure(&self, what: &str) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        output::note(what);
        if !std::io::stdin().is_terminal() {
            return Err(Failure::no_answer(
                "a confirmation is needed, and stdin is not a terminal",
                "the same with --yes",
            ));
        }
        print::Stderr.write_all(b"Do it? [y/N] ")?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// A key for a request that is sent once.
pub fn fresh_key() -> String {
    format!("cli-{:032x}", rand::random::<u128>())
}
