//! The write side: HTTP, load, decide, append; the payment provider, its driver and its webhooks.

pub mod provider;
