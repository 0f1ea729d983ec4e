//! The configuration file, whatever is written in it.

#![no_main]

/// The binary's sources where they are, so that its modules find each other.
#[path = "../../src"]
#[allow(dead_code, unused_imports, reason = "the target needs a part of it")]
mod gatepost {
    pub(crate) mod config;
}

libfuzzer_sys::fuzz_target!(|octets: &[u8]| gatepost::config::promises::hold(octets));
