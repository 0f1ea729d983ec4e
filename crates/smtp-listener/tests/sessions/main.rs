//! Whole SMTP sessions, from greeting to close, over a pipe in memory and in simulated time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod auth;
mod binary;
mod deadlines;
mod drain;
mod holds;
mod hostile;
mod house;
mod lists;
mod lmtp;
mod lookup;
mod messages;
mod operators_drain;
mod places;
mod proxies;
mod quotas;
mod rates;
mod relay;
mod reports;
mod roster;
mod slow_directory;
mod slow_store;
mod store_faults;
mod submission;
