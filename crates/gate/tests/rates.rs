//! What a limiter may weigh, whatever is counted: measured at the allocator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::alloc::System;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use gate::{Level, Limiter, Source};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_million_sources_stay_under_the_bound() {
    let region = Region::new(ALLOCATOR);
    let held = || {
        let change = region.change();
        change.bytes_allocated - change.bytes_deallocated
    };
    let (limiter, now) = (Limiter::new("1/1h".parse().unwrap(), KEYS), Instant::now());
    let mut most = 0;
    for number in 0..1_000_000_u128 {
        // Each in a /64 of its own, of 16 sites.
        let address = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64 | number));
        let prefix = Source::from(address).prefix(Level::Address).unwrap();
        let _refused = limiter.take(prefix, 1, now);
        if number % 64 == 0 {
            most = most.max(held());
        }
    }
    assert_eq!(limiter.keys(), KEYS);
    assert!(most <= Limiter::octets(KEYS), "{most} octets, {} are the bound", Limiter::octets(KEYS));
}

const KEYS: usize = 65_536;
