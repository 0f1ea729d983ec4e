//! A store opened on a log of whole, torn and damaged records.

#![no_main]
#![allow(dead_code, reason = "a target calls one of the drives")]

#[path = "../../crates/store-embedded/tests/drive/mod.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::recovery(octets));
