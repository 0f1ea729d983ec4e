//! Messages declared binary, made of lines in pieces.

#![no_main]
#![allow(dead_code, reason = "a target calls one of the drives")]

#[path = "../../crates/mail/tests/drive/mod.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::binary::binary(octets));
