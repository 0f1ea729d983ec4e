//! What writing refusals down may weigh: measured at the allocator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::alloc::System;
use std::sync::Arc;
use std::time::Instant;

use gate::{Arrival, Denial, Gate, ListenerId, Newcomer, REMEMBERED, Settings, Unexplained};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn what_sessions_are_refused_takes_its_memory_once_and_none_for_each() {
    let gate = Gate::new(Settings::default()).unwrap();
    gate.open();
    let (peer, now) = ([192, 0, 2, 7].into(), Instant::now());
    let arrival = Arrival { listener: ListenerId(0), peer, authenticates: false, brings_mail: true, now };
    let permit = gate.admit(&arrival).unwrap();
    let newcomer = Newcomer { id: 1, listener: ListenerId(0), source: peer, draw: permit.draw(), admitted_at: now };
    let enrolment = gate.roster().enrol(newcomer);
    let account: Arc<str> = "ann@example.org".into();
    let deny = || gate.deny(enrolment.seat(), Some(&account), Denial::MaildropLocked, now);

    let region = Region::new(ALLOCATOR);
    let first = deny();
    let once = region.change().bytes_allocated;
    assert!(once <= 12 << 20, "{once} octets");
    let region = Region::new(ALLOCATOR);
    for _ in 0..2 * REMEMBERED {
        deny();
    }
    let allocations = region.change().allocations;
    assert!(allocations <= HARNESS, "{allocations} allocations");
    assert!(matches!(gate.explain(&first.to_string()), Err(Unexplained::Forgotten { .. })));
    assert_eq!(Arc::strong_count(&account), 1 + REMEMBERED, "one for each record that there is");
}

/// Allocations that may come in between: the harness has started this test, and may still be writing down that it has.
const HARNESS: usize = 100;
