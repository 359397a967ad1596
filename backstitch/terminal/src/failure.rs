//! Exit codes, and the form of an error message: one sentence, an empty line, and the command to type.

use std::fmt;
use std::process::ExitCode;

use service_kit::StartError;

use crate::output;

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it was done.
    Done,
    /// 1: the answer is no.
    No,
    /// 2: there is no answer.
    NoAnswer,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::No => Self::from(1),
            Exit::NoAnswer => Self::from(2),
        }
    }
}

/// A failure that knows its way out.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    hint: String,
}

impl Failure {
    /// What the process exits with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The answer is no (exit 1). `hint` is what to type now.
    pub fn no(what: impl fmt::Display, hint: impl fmt::Display) -> anyhow::Error {
        Self { exit: Exit::No, what: what.to_string(), hint: hint.to_string() }.into()
    }

    /// There is no answer (exit 2). `hint` is what to type now.
    pub fn no_answer(what: impl fmt::Display, hint: impl fmt::Display) -> anyhow::Error {
        Self { exit: Exit::NoAnswer, what: what.to_string(), hint: hint.to_string() }.into()
    }

    /// A process did not start, or had to stop (exit 2).
    pub fn not_started(StartError { what, hint }: StartError) -> anyhow::Error {
        Self { exit: Exit::NoAnswer, what, hint }.into()
    }

    /// The program was built without the parts of a cluster, which `asked` needs (exit 2, as for wrong arguments).
    pub fn without_cluster(asked: impl fmt::Display) -> anyhow::Error {
        Self::not_started(StartError::without_cluster(asked))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

/// Tells a failure on stderr: in words, or as JSON where the verb was asked for JSON.
pub fn report(error: &anyhow::Error, as_json: bool) -> Exit {
    let known = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    let (exit, hint) = known.map_or((Exit::NoAnswer, "backstitch --help"), |known| (known.exit, known.hint.as_str()));
    // The whole chain in one line: what was tried, then why it failed.
    tell(&format!("{error:#}"), hint, exit, as_json);
    exit
}

/// Tells what is wrong with the arguments; help and version, when asked for, are data and no failure.
pub fn usage(error: &clap::Error, as_json: bool) -> Exit {
    const HINT: &str = "backstitch --help, or --help after the command in question";
    if as_json && error.use_stderr() {
        let text = error.to_string();
        let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        tell(what, HINT, Exit::NoAnswer, true);
        return Exit::NoAnswer;
    }
    // clap writes help to stdout and errors to stderr by itself; that fails only when nobody reads.
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Done;
    }
    output::note(format_args!("\nhint: {HINT}"));
    Exit::NoAnswer
}

fn tell(what: &str, hint: &str, exit: Exit, as_json: bool) {
    if as_json {
        let code = if exit == Exit::No { 1 } else { 2 };
        let told = serde_json::json!({ "error": what, "hint": hint, "exit_code": code });
        return output::note(service_kit::text::escaped_json(&told.to_string()));
    }
    output::note(format_args!("error: {what}"));
    output::note(format_args!("\nhint: {hint}"));
}
