//! The program as its users meet it: `gatepost` as built, on loopback, with real clients.
//!
//! Each module is one kind of use; `harness` starts and ends servers. Every test has a server of its own, on ports the
//! system chose.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod abuse;
mod bans;
mod call_forward;
mod clients;
mod content;
mod crash;
mod fair;
mod flood;
mod harness;
mod lifecycle;
mod live;
mod lookup;
mod occupied;
mod opendkim;
mod postfix;
mod programs;
mod proxies;
mod quarantine;
mod relay;
mod rspamd;
mod sasl;
mod screening;
mod smoke;
mod steering;
mod tokens;
mod trial;
mod upkeep;
mod waiting;
mod wire;
