//! The bank as a process of its own: over HTTP, and killed in the middle.
