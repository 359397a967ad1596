//! What verbs that ask a running server have in common.

pub mod acting;
pub mod client;
pub(crate) mod suggest;
