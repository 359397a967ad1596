//! The failure matrix, row by row, on the whole system: requests over HTTP, a clock that the test turns,
//! the payment provider as a process of its own. Each row is judged by the fold of the log, the provider's ledger and the
//! tables, and proves that its fault was there. And each row is killed between every two appends: it ends the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod row;
mod run;
mod shop;

mod cancel;
mod capture;
mod late;
mod payment;
mod risk;
mod shipment;
mod stock;
mod webhooks;
