//! The answers of a milter, whatever it sends.

#![no_main]
#![allow(dead_code, reason = "a target calls one of the drives")]

#[path = "../../crates/screening/tests/drive/mod.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::milter(octets));
