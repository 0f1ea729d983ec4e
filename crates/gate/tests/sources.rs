//! The table of sources: a million random networks come, what is kept of them is bounded by the sessions in use, and nobody gets round
//! the ceiling of a wider network by coming from many narrow ones.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::alloc::System;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use gate::{Arrival, Gate, ListenerId, Permit, Settings};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_million_random_networks_leave_no_more_than_the_sessions_in_use() {
    let settings = Settings { max_inbound: 2_000, fair_share_alpha: 0.0, sessions_per_network: 50, ..Settings::default() };
    let ceilings = [settings.sessions_per_address, settings.sessions_per_network, settings.sessions_per_site];
    let gate = Gate::new(settings).unwrap();
    // The first refusal takes the memory of the ledger.
    assert!(gate.admit(&arrival(0, 0)).is_err());
    gate.open();
    let (mut held, mut crowds): (Vec<(Permit, Crowds)>, _) = (Vec::with_capacity(SESSIONS + 1), [0; 3]);
    let (mut random, mut most, mut fullest) = (0x9E37_79B9_7F4A_7C15_u64, 0, [0; 3]);
    let region = Region::new(ALLOCATOR);
    for number in 0..1_000_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (site, subnet, of) = somewhere(random);
        if let Ok(permit) = gate.admit(&arrival(site, subnet)) {
            held.push((permit, of));
            join(&mut crowds, of, 1);
        }
        for ((crowd, ceiling), fullest) in crowds.iter().zip(ceilings).zip(&mut fullest) {
            assert!(*crowd <= i64::from(ceiling), "{crowds:?} of {ceilings:?}");
            *fullest = (*fullest).max(*crowd);
        }
        if held.len() > SESSIONS {
            let (_left, of) = held.swap_remove((random >> 32) as usize % held.len());
            join(&mut crowds, of, -1);
        }
        if number % 64 == 0 {
            assert!(gate.snapshot().prefixes <= 3 * (SESSIONS + 1));
            let change = region.change();
            most = most.max(change.bytes_allocated.saturating_sub(change.bytes_deallocated));
        }
    }
    assert_eq!(fullest, ceilings.map(i64::from), "each ceiling was met");
    assert!(most <= SESSIONS * SESSION_OCTETS, "{most} octets");
    drop(held);
    assert_eq!(gate.snapshot().prefixes, 0);
}

/// Of which crowded prefixes a session is: the /64, the /56 and the /48.
type Crowds = [bool; 3];

/// Half of all come from one site, in which there are a crowded /56 and in that a crowded /64.
fn somewhere(random: u64) -> (u64, u64, Crowds) {
    let subnet = random >> 16 & 0xFFFF;
    match random % 8 {
        0 => (SITE, CROWDED, [true, true, true]),
        1 => (SITE, CROWDED | subnet & 0xFF, [subnet & 0xFF == 0, true, true]),
        2 | 3 => (SITE, subnet, [subnet == CROWDED, subnet & 0xFF00 == CROWDED, true]),
        _ => (random >> 32 | 1 << 47, subnet, [false; 3]),
    }
}

fn join(crowds: &mut [i64; 3], of: Crowds, sessions: i64) {
    crowds.iter_mut().zip(of).filter(|(_, is_of)| *is_of).for_each(|(crowd, _)| *crowd += sessions);
}

/// Who fetches mail: of those who bring some it is remembered that they were refused, in a table with a bound of its own.
fn arrival(site: u64, subnet: u64) -> Arrival {
    let peer = IpAddr::V6(Ipv6Addr::from_bits(u128::from(site) << 80 | u128::from(subnet) << 64 | 1));
    Arrival { listener: ListenerId(0), peer, authenticates: false, brings_mail: false, now: Instant::now() }
}

const SITE: u64 = 0x2001_0db8_0000;
const CROWDED: u64 = 0x4200;
const SESSIONS: usize = 1_000;
/// Three prefixes, each in a table that is never more than nine tenths full and is copied when it grows.
const SESSION_OCTETS: usize = 3 * 128;
