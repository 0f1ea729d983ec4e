//! Whole POP3 sessions, from greeting to close, over a pipe in memory and in simulated time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod deadlines;
mod drain;
mod house;
mod login;
mod maildrop;
mod places;
mod rates;
mod roster;
mod slow_directory;
mod take_over;
