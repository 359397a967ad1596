//! `backstitch demo`: a shop that lives for some hundred orders, and the proof that what is left adds up.

pub mod books;
pub mod client;
pub mod proof;
pub mod script;
