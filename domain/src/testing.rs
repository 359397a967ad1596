//! The given/when/then kit.
