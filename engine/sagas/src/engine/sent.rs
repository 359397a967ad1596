//! A command for people: what it asks, and which of its effects cannot be undone.

use crate::parts::{CommandBody, IssuedCommand};

use crate::process::Process;

/// A command that is, or would be, sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The name of the command.
    pub command: String,
    /// The stream that it is for.
    pub target: String,
    /// The JSON of the command, kept to the byte.
    pub body: CommandBody,
    /// The effect of the command that cannot be undone, in words.
    pub lasting: Option<&'static str>,
}

/// Describes commands for people.
pub(super) fn sent<P: Process>(commands: &[IssuedCommand]) -> Vec<Sent> {
    commands.iter().map(one_sent::<P>).collect()
}

pub(super) fn one_sent<P: Process>(command: &IssuedCommand) -> Sent {
    let IssuedCommand { name, target, body, .. } = command.clone();
    Sent { command: name, target, body, lasting: lasting::<P>(command) }
}

/// The effect of a command that cannot be undone, only made good; `None` for a command that this program cannot read.
pub(super) fn lasting<P: Process>(command: &IssuedCommand) -> Option<&'static str> {
    command.body.parse::<P::Command>().ok().as_ref().and_then(P::lasting)
}
