//! Many real threads at the gate while its limits change thousands of times.
//!
//! The gate is not asked whether it kept its word. A count of live permits is kept from outside, raised after a permit
//! was given and lowered before it is dropped, so that it never exceeds the truth. Of the live permits the one given last
//! was given when all the others were in use; that instant lies between the call of `admit` and the raised count of
//! whoever looks. So what is seen is at most the largest limit in force between those two moments, and the limits in
//! force between two moments are known: the storm is planned, and announces each step before and after it.
//! The same holds for each prefix and its ceiling, and for the places of anonymous clients and what the reserve leaves them: there
//! the largest limit and the smallest reserve, as an admission may meet the old one of the one and the new one of the other.
//! An admission reads the ceilings as it begins, and may have begun before the call of whoever looks: there the moment is that at which
//! the first of those began that were under way then.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::thread;
use std::time::Instant;

use gate::{Arrival, Draw, Gate, IpNet, Level, ListenerId, Permit, Portion, Rule, Settings, Source};

const THREADS: usize = 64;
const RESIZES: usize = 10_000;
/// One move in so many, of whichever thread, is a resize: often, yet so that many admissions see one limit only.
const MOVES_PER_RESIZE: u32 = 40;

#[test]
fn no_limit_is_passed_and_nothing_is_lost_in_a_storm_of_resizes() {
    let storm = Storm::new();
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let storm = &storm;
            scope.spawn(move || storm.come_and_go(seed, Random::new(seed)));
        }
    });

    let snapshot = storm.gate.snapshot();
    let last = storm.plan.last().unwrap();
    assert_eq!((snapshot.usage.in_use, snapshot.usage.general, snapshot.usage.limit), (0, 0, last.max_inbound));
    assert_eq!((snapshot.first_places, snapshot.authenticating), (0, 0), "a lane outlived its last session");
    assert_eq!(snapshot.prefixes, 0, "an entry outlived its last session");
    assert_eq!(snapshot.admitted_total, storm.admitted.load(SeqCst));
    assert_eq!(snapshot.refused_total.source_full, storm.source_full.load(SeqCst));
    assert_eq!(snapshot.refused_total.share_spent, storm.share_spent.load(SeqCst));
    assert_eq!(snapshot.refused_total.pool_full, storm.pool_full.load(SeqCst));

    // The storm must have been one: every outcome seen, and most limits watched by somebody who saw no other.
    assert_eq!(storm.in_force.load(SeqCst), RESIZES);
    for (outcome, count) in [("source full", &storm.source_full), ("share spent", &storm.share_spent), ("pool full", &storm.pool_full)] {
        assert!(count.load(SeqCst) > 1_000, "too few refusals: {outcome}");
    }
    for (draw, count) in [("general", &storm.general_draws), ("first place", &storm.first_draws), ("authenticating", &storm.lane_draws)] {
        assert!(count.load(SeqCst) > 100, "too few places drawn: {draw}");
    }
    assert!(storm.migrated.load(SeqCst) > 1_000, "too few migrations");
    assert!(storm.moved.load(SeqCst) > 1_000, "too few moves to other sources");
    assert!(storm.panicked.load(SeqCst) > 100, "too few panics");
    assert!(storm.debts.load(SeqCst) > 100, "too few debts");
    assert!(storm.at_the_limit.load(SeqCst) > 100, "the limit was hardly ever reached, so hardly tested");
}

#[test]
fn a_full_gate_is_exactly_full() {
    const LIMIT: u32 = 500;
    let settings = Settings { max_inbound: LIMIT, reserve: Portion::Places(0), fair_share_alpha: 0.0, ..Settings::default() };
    let gate = Gate::new(settings).unwrap();
    gate.open();
    let take_until_refused = |thread: usize| -> Vec<Permit> {
        let hosts = (0..LIMIT).map(|host| arrival(IpAddr::V6(Ipv6Addr::from_bits((thread as u128) << 120 | u128::from(host) << 80))));
        hosts.map_while(|arrival| gate.admit(&arrival).ok()).collect()
    };
    let held: Vec<Permit> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || take_until_refused(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(held.len(), LIMIT as usize);
    assert_eq!((gate.snapshot().usage.in_use, gate.snapshot().usage.general), (LIMIT, LIMIT));
    drop(held);
    assert_eq!((gate.snapshot().usage.in_use, gate.snapshot().prefixes), (0, 0));
}

/// A gate, the planned limits, and the count kept from outside.
struct Storm {
    gate: Gate,
    plan: Vec<Settings>,
    /// Steps of the plan announced, and steps in force.
    announced: AtomicUsize,
    in_force: AtomicUsize,
    /// The step in force when each thread's admission began that is under way; [`NONE`] is.
    under_way: Vec<AtomicUsize>,
    resizing: Mutex<()>,
    over: AtomicBool,
    hosts: Vec<IpAddr>,
    live: AtomicU32,
    live_general: AtomicU32,
    live_by_prefix: HashMap<IpNet, AtomicU32>,
    admitted: AtomicU64,
    source_full: AtomicU64,
    share_spent: AtomicU64,
    pool_full: AtomicU64,
    general_draws: AtomicU64,
    first_draws: AtomicU64,
    lane_draws: AtomicU64,
    migrated: AtomicU64,
    moved: AtomicU64,
    panicked: AtomicU64,
    debts: AtomicU64,
    at_the_limit: AtomicU64,
}

impl Storm {
    fn new() -> Self {
        let mut random = Random::new(THREADS);
        let plan: Vec<_> = (0..=RESIZES).map(|_| random.settings()).collect();
        let gate = Gate::new(plan[0].clone()).unwrap();
        gate.open();
        let hosts = hosts();
        let prefixes = hosts.iter().flat_map(|host| Source::from(*host).prefixes());
        let live_by_prefix = prefixes.map(|(_, prefix)| (prefix, AtomicU32::new(0))).collect();
        Self {
            gate,
            plan,
            announced: AtomicUsize::new(0),
            in_force: AtomicUsize::new(0),
            under_way: (0..THREADS).map(|_| AtomicUsize::new(NONE)).collect(),
            resizing: Mutex::new(()),
            over: AtomicBool::new(false),
            hosts,
            live: AtomicU32::new(0),
            live_general: AtomicU32::new(0),
            live_by_prefix,
            admitted: AtomicU64::new(0),
            source_full: AtomicU64::new(0),
            share_spent: AtomicU64::new(0),
            general_draws: AtomicU64::new(0),
            first_draws: AtomicU64::new(0),
            lane_draws: AtomicU64::new(0),
            migrated: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            pool_full: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            debts: AtomicU64::new(0),
            at_the_limit: AtomicU64::new(0),
        }
    }

    /// Puts the next step of the plan in force, unless another thread is at it; after the last one the storm is over.
    fn resize(&self) {
        let Ok(_mine) = self.resizing.try_lock() else { return };
        let step = self.in_force.load(SeqCst) + 1;
        let Some(settings) = self.plan.get(step) else { return self.over.store(true, SeqCst) };
        self.announced.store(step, SeqCst);
        let usage = self.gate.apply(settings.clone()).unwrap();
        self.in_force.store(step, SeqCst);
        if usage.over_limit() > 0 {
            self.debts.fetch_add(1, SeqCst);
        }
    }

    /// One client program: holds up to eight sessions, opens and ends them at random, and sometimes dies in one.
    fn come_and_go(&self, thread: usize, mut random: Random) {
        let _over = Over(&self.over);
        let mut held = Vec::new();
        while !self.over.load(SeqCst) {
            if random.below(MOVES_PER_RESIZE) == 0 {
                self.resize();
            } else if held.len() == 8 || random.below(3) == 0 {
                if !held.is_empty() {
                    self.end(held.swap_remove(random.below(held.len() as u32) as usize));
                }
            } else if let Some(mut permit) =
                self.begin(thread, self.hosts[random.below(self.hosts.len() as u32) as usize], random.below(3) == 0)
            {
                match random.below(50) {
                    0 => self.die_in(permit),
                    1..10 => {
                        self.authenticate(&mut permit);
                        // Few stay: with many the reserve would always be in use, and the lanes never.
                        if random.below(8) == 0 { held.push(permit) } else { self.end(permit) }
                    }
                    10..20 => held.extend(self.move_on(thread, permit, self.hosts[random.below(self.hosts.len() as u32) as usize])),
                    _ => held.push(permit),
                }
            }
        }
        held.into_iter().for_each(|permit| self.end(permit));
    }

    /// To be held until the permit is counted.
    fn sets_out(&self, thread: usize) -> UnderWay<'_> {
        let first = self.in_force.load(SeqCst);
        // Before the others are looked at: who does not see this one begins to read the ceilings later.
        self.under_way[thread].store(first, SeqCst);
        let earliest = self.under_way.iter().map(|other| other.load(SeqCst)).min().unwrap();
        UnderWay { first, earliest, entry: &self.under_way[thread] }
    }

    fn begin(&self, thread: usize, host: IpAddr, authenticates: bool) -> Option<Permit> {
        let way = self.sets_out(thread);
        let outcome = self.gate.admit(&Arrival { authenticates, ..arrival(host) });
        let permit = match outcome {
            Ok(permit) => permit,
            Err(refusal) => {
                self.refused(refusal.rule);
                return None;
            }
        };
        self.admitted.fetch_add(1, SeqCst);
        match permit.draw() {
            Draw::General => self.general_draws.fetch_add(1, SeqCst),
            Draw::FirstPlace => self.first_draws.fetch_add(1, SeqCst),
            Draw::Authenticating => self.lane_draws.fetch_add(1, SeqCst),
            Draw::Reserved => panic!("nobody here is known"),
        };
        self.counted_in(&permit, &way);
        Some(permit)
    }

    fn refused(&self, rule: Rule) {
        match rule {
            Rule::SourceFull { .. } => self.source_full.fetch_add(1, SeqCst),
            Rule::ShareSpent { .. } => self.share_spent.fetch_add(1, SeqCst),
            Rule::PoolFull { .. } | Rule::UnreservedFull { .. } => self.pool_full.fetch_add(1, SeqCst),
            rule => panic!("{rule} has no place in this storm"),
        };
    }

    /// Becomes another host's session, or ends when that host may not have it.
    fn move_on(&self, thread: usize, mut permit: Permit, host: IpAddr) -> Option<Permit> {
        let (way, was_general) = (self.sets_out(thread), permit.draw() == Draw::General);
        self.out_of_the_crowd(&permit);
        if let Err(refusal) = self.gate.move_to(&mut permit, &arrival(host)) {
            self.live.fetch_sub(1, SeqCst);
            self.refused(refusal.rule);
            return None;
        }
        self.moved.fetch_add(1, SeqCst);
        // A general place that it had already was not given anew, and may be part of a debt.
        self.joins_the_crowd(&permit, &way, !was_general);
        Some(permit)
    }

    fn counted_in(&self, permit: &Permit, way: &UnderWay<'_>) {
        let live = self.live.fetch_add(1, SeqCst) + 1;
        self.joins_the_crowd(permit, way, true);
        let window = &self.plan[way.first..=self.announced.load(SeqCst)];
        let limit = window.iter().map(|settings| settings.max_inbound).max().unwrap();
        assert!(live <= limit, "{live} permits live, {limit} places in force");
        if live == limit && window.len() == 1 {
            self.at_the_limit.fetch_add(1, SeqCst);
        }
    }

    fn joins_the_crowd(&self, permit: &Permit, way: &UnderWay<'_>, is_new_place: bool) {
        let general = if permit.draw() == Draw::General { self.live_general.fetch_add(1, SeqCst) + 1 } else { 0 };
        let of_prefixes: Vec<_> = self.counts(permit).map(|(level, count)| (level, count.fetch_add(1, SeqCst) + 1)).collect();
        let announced = self.announced.load(SeqCst);
        let window = &self.plan[way.first..=announced];
        let (limit, reserve) = (
            window.iter().map(|settings| settings.max_inbound).max().unwrap(),
            window.iter().map(|settings| settings.size().reserve).min().unwrap(),
        );
        assert!(!is_new_place || general <= limit - reserve, "{general} permits of strangers live, {reserve} of {limit} places reserved");
        for (level, live) in of_prefixes {
            let most = |limit: fn(&Settings) -> u32| self.plan[way.earliest..=announced].iter().map(limit).max().unwrap();
            let ceiling = most(match level {
                Level::Address => |settings| settings.sessions_per_address,
                Level::Network => |settings| settings.sessions_per_network,
                Level::Site => |settings| settings.sessions_per_site,
            });
            assert!(live <= ceiling, "{live} permits live at level {level:?}, {ceiling} in force");
        }
    }

    fn end(&self, permit: Permit) {
        self.counted_out(&permit);
        drop(permit);
    }

    fn die_in(&self, permit: Permit) {
        self.counted_out(&permit);
        let session = AssertUnwindSafe(move || {
            let _permit = permit;
            // Unlike `panic!`, this does not print to the test's output.
            panic::resume_unwind(Box::new("a session dies"));
        });
        assert!(panic::catch_unwind(session).is_err());
        self.panicked.fetch_add(1, SeqCst);
    }

    /// Shows a password: neither the ceilings nor the general places count the session any more.
    fn authenticate(&self, permit: &mut Permit) {
        self.out_of_the_crowd(permit);
        permit.authenticate();
        self.migrated.fetch_add(1, SeqCst);
        assert_eq!(permit.draw(), Draw::Reserved);
    }

    fn counted_out(&self, permit: &Permit) {
        self.live.fetch_sub(1, SeqCst);
        self.out_of_the_crowd(permit);
    }

    fn out_of_the_crowd(&self, permit: &Permit) {
        if permit.draw() == Draw::General {
            self.live_general.fetch_sub(1, SeqCst);
        }
        for (_, count) in self.counts(permit) {
            count.fetch_sub(1, SeqCst);
        }
    }

    /// The counts of the prefixes whose ceilings the permit counts towards.
    fn counts(&self, permit: &Permit) -> impl Iterator<Item = (Level, &AtomicU32)> {
        let is_anonymous = matches!(permit.draw(), Draw::General | Draw::FirstPlace);
        permit.source().prefixes().filter(move |_| is_anonymous).map(|(level, prefix)| (level, &self.live_by_prefix[&prefix]))
    }
}

/// An admission, for as long as it goes on.
struct UnderWay<'a> {
    /// The step in force when it began, and when the first of those began that were under way then.
    first: usize,
    earliest: usize,
    entry: &'a AtomicUsize,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.entry.store(NONE, SeqCst);
    }
}

const NONE: usize = usize::MAX;

/// Ends the storm for everybody when the thread that holds it ends, also when it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn arrival(peer: IpAddr) -> Arrival {
    Arrival { listener: ListenerId(0), peer, authenticates: false, brings_mail: true, now: Instant::now() }
}

/// A few hosts that share networks and sites with one another, and many that are alone in theirs.
fn hosts() -> Vec<IpAddr> {
    let v4 = (0..6).map(|n: u8| IpAddr::V4(Ipv4Addr::new(192, 0, n / 3, n)));
    let mapped = (0..3).map(|n: u8| IpAddr::V6(Ipv4Addr::new(192, 0, 0, n).to_ipv6_mapped()));
    let v6 = (0..8).map(|n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, n / 4, (n / 2) << 8 | n, 0, 0, 0, n)));
    let alone = (0..40).map(|n: u8| IpAddr::V4(Ipv4Addr::new(198, 51, n, 1)));
    v4.chain(mapped).chain(v6).chain(alone).collect()
}

/// xorshift64*: the same storm each time, as far as the scheduler lets it.
struct Random(u64);

impl Random {
    fn new(seed: usize) -> Self {
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed as u64 + 1))
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        ((high * u64::from(bound)) >> 32) as u32
    }

    fn settings(&mut self) -> Settings {
        let sessions_per_address = 1 + self.below(12);
        let sessions_per_network = sessions_per_address + self.below(12);
        let sessions_per_site = sessions_per_network + self.below(12);
        let max_inbound = 1 + self.below(64);
        Settings {
            max_inbound,
            reserve: Portion::Places(self.below(max_inbound.min(8))),
            first_places: Portion::Percent(self.below(101) as u8),
            authenticating_places: Portion::Percent(self.below(101) as u8),
            sessions_per_address,
            sessions_per_network,
            sessions_per_site,
            fair_share_alpha: f64::from(self.below(4)),
            ..Settings::default()
        }
    }
}
