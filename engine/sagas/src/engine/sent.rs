//! A command, for people: what it is, and what of it cannot be undone.

use crate::parts::{CommandBody, IssuedCommand};

use crate::process::Process;

/// A command that is, or would be, sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The name of the command.
    pub command: String,
    /// The stream that it is for.
    pub target: String,
    /// The command itself.
    pub body: CommandBody,
    /// What of it cannot be undone.
    pub lasting: Option<&'static str>,
}

/// Commands, for people.
pub(super) fn sent<P: Process>(commands: &[IssuedCommand]) -> Vec<Sent> {
    commands.iter().map(one_sent::<P>).collect()
}

pub(super) fn one_sent<P: Process>(command: &IssuedCommand) -> Sent {
    let IssuedCommand { name, target, body, .. } = command.clone();
    Sent { command: name, target, body, lasting: lasting::<P>(command) }
}

/// What of a command cannot be undone, only made good; nothing is known of one that this program cannot read.
pub(super) fn lasting<P: Process>(command: &IssuedCommand) -> Option<&'static str> {
    command.body.parse::<P::Command>().ok().as_ref().and_then(P::lasting)
}
