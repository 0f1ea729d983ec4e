//! The walk over one segment of the log.

#![no_main]
#![allow(dead_code, reason = "a target calls one of the drives")]

#[path = "../../crates/store-embedded/tests/drive/mod.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::segment(octets));
