//! An SMTP session, whatever a client sends and a listener answers.

#![no_main]
#![allow(dead_code, reason = "a target calls one of the drives")]

#[path = "../../crates/smtp/tests/drive/mod.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::drive(octets));
