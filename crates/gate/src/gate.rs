//! The gate itself: the checks, in their order, and everything that changes them while it runs.
//!
//! Guarantees:
//! - [`Gate::admit`] never waits, and checks in the order of its text: node, then source, then pool.
//! - [`Gate::apply`] is all or nothing as to what is valid. Each limit then changes in one atomic step of its own, and
//!   all of them are in force once it returns.
//! - Every admission and refusal is counted.
//!
//! After [`Gate::drain`] has returned, no new call of [`Gate::admit`] succeeds; one that was already under way may. Who
//! waits for the last session to end therefore stops its accept loops first.
//!
//! Refuses with [`Refusal`]; fails with [`SettingsError`]. Nothing here is async.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::node::{Facts, Node};
use crate::permit::{ListenerId, Permit};
use crate::pool::{Pool, Usage};
use crate::refusal::{Refusal, Rule};
use crate::settings::{Settings, SettingsError};
use crate::source::{Level, Source};
use crate::sources::{Holder, Sources};
use crate::tally::{Refused, Tally};

/// Decides who may come in. Share it in an `Arc`; permits outlive it.
#[derive(Debug)]
pub struct Gate {
    node: Facts,
    sources: Arc<Sources>,
    pool: Arc<Pool>,
    tally: Tally,
    /// Also the lock that keeps two reloads apart. Admission does not read it.
    settings: Mutex<Settings>,
}

impl Gate {
    /// A gate that is [`Node::Starting`], with all of its places free.
    ///
    /// # Errors
    /// Every fault in `settings`.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        check(&settings)?;
        Ok(Self {
            node: Facts::default(),
            sources: Arc::new(Sources::new(&settings)),
            pool: Arc::new(Pool::new(settings.max_inbound)),
            tally: Tally::default(),
            settings: Mutex::new(settings),
        })
    }

    /// Lets one connection in, or says why not.
    ///
    /// # Errors
    /// The first rule met, after which nothing is held.
    pub fn admit(&self, arrival: &Arrival) -> Result<Permit, Refusal> {
        let permit = self.decide(arrival).map_err(|rule| self.tally.refuse(rule))?;
        self.tally.admit();
        Ok(permit)
    }

    /// Refuses a connection that there is no file descriptor to serve with, which the caller found out on accepting it.
    /// [`Gate::admit`] is not asked then; the refusal is counted and has a token like any other.
    pub fn out_of_descriptors(&self) -> Refusal {
        self.tally.refuse(Rule::OutOfDescriptors)
    }

    /// Puts `settings` in force for every admission from now on, and returns the usage under them. Who is in stays in.
    ///
    /// # Errors
    /// Every fault in `settings`; the limits in force stay as they are.
    pub fn apply(&self, settings: Settings) -> Result<Usage, SettingsError> {
        check(&settings)?;
        let mut in_force = self.lock_settings();
        self.sources.apply(&settings);
        let usage = self.pool.resize(settings.max_inbound);
        *in_force = settings;
        Ok(usage)
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.lock_settings().clone()
    }

    /// The start is complete: sessions may come in.
    pub fn open(&self) {
        self.node.opened();
    }

    /// The store is away: nobody comes in until [`Gate::store_up`].
    pub fn store_down(&self) {
        self.node.store_down();
    }

    /// The store is back.
    pub fn store_up(&self) {
        self.node.store_up();
    }

    /// The end has begun: nobody comes in any more. Final.
    pub fn drain(&self) {
        self.node.draining();
    }

    /// Whether this node takes sessions, and why not.
    pub fn node(&self) -> Node {
        self.node.node()
    }

    /// The gate's own figures.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            node: self.node(),
            usage: self.pool.usage(),
            peak: self.pool.peak(),
            prefixes: self.sources.prefixes(),
            admitted_total: self.tally.admitted(),
            refused_total: self.tally.refused(),
        }
    }

    /// The prefixes that hold the most sessions at `level`, biggest first, at most `most` of them. Walks the whole
    /// table, holding up admissions of a fraction of the sources at a time: for people, not for each connection.
    pub fn holders(&self, level: Level, most: usize) -> Vec<Holder> {
        self.sources.holders(level, most)
    }

    fn decide(&self, arrival: &Arrival) -> Result<Permit, Rule> {
        self.node().check()?;
        let held = self.sources.take(Source::from(arrival.peer))?;
        // When the pool refuses, dropping `held` gives back what the source step took.
        let place = self.pool.acquire().map_err(|Usage { in_use, limit }| Rule::PoolFull { in_use, limit })?;
        Ok(Permit::new(place, held, arrival.listener, arrival.now))
    }

    fn lock_settings(&self) -> MutexGuard<'_, Settings> {
        // What the lock guards is replaced whole, so a panic elsewhere cannot have left it half written.
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An accepted connection that asks to come in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The listener it was accepted on.
    pub listener: ListenerId,
    /// The client's address.
    pub peer: IpAddr,
    /// When it was accepted.
    pub now: Instant,
}

/// The gate's figures. `usage` is of one instant; the others are each exact, but not of the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The state of the node.
    pub node: Node,
    /// Places in use and the limit, with what is free and what is over the limit.
    pub usage: Usage,
    /// The most places ever in use at once.
    pub peak: u32,
    /// Prefixes that hold a session, over all levels.
    pub prefixes: usize,
    /// Sessions ever admitted.
    pub admitted_total: u64,
    /// Connections ever refused, by rule.
    pub refused_total: Refused,
}

fn check(settings: &Settings) -> Result<(), SettingsError> {
    let faults = settings.validate();
    if faults.is_empty() { Ok(()) } else { Err(SettingsError { faults }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(max_inbound: u32, sessions_per_address: u32) -> Settings {
        Settings { max_inbound, sessions_per_address, ..Settings::default() }
    }

    fn open(settings: Settings) -> Gate {
        let gate = Gate::new(settings).unwrap();
        gate.open();
        gate
    }

    fn arrival(peer: &str) -> Arrival {
        Arrival { listener: ListenerId(7), peer: peer.parse().unwrap(), now: Instant::now() }
    }

    fn refused(gate: &Gate, peer: &str) -> Rule {
        gate.admit(&arrival(peer)).unwrap_err().rule
    }

    #[test]
    fn a_permit_knows_where_it_came_from_and_gives_everything_back() {
        let gate = open(Settings::default());
        let arrival = arrival("::ffff:192.0.2.7");
        let permit = gate.admit(&arrival).unwrap();
        assert_eq!(permit.source().to_string(), "192.0.2.7");
        assert_eq!((permit.listener(), permit.admitted_at()), (ListenerId(7), arrival.now));
        assert_eq!((gate.snapshot().usage.in_use, gate.snapshot().prefixes), (1, 2));
        drop(permit);
        assert_eq!((gate.snapshot().usage.in_use, gate.snapshot().prefixes), (0, 0));
        assert_eq!((gate.snapshot().peak, gate.snapshot().admitted_total), (1, 1));
    }

    #[test]
    fn the_node_is_asked_before_the_source_and_the_source_before_the_pool() {
        let gate = Gate::new(settings(1, 1)).unwrap();
        assert_eq!(refused(&gate, "192.0.2.1"), Rule::Restarting);
        gate.open();
        let _only = gate.admit(&arrival("192.0.2.1")).unwrap();
        let prefix = "192.0.2.1/32".parse().unwrap();
        assert_eq!(refused(&gate, "192.0.2.1"), Rule::SourceFull { prefix, held: 1, limit: 1 });
        assert_eq!(refused(&gate, "192.0.2.2"), Rule::PoolFull { in_use: 1, limit: 1 });
        gate.store_down();
        assert_eq!(refused(&gate, "192.0.2.1"), Rule::StoreDown);
        gate.drain();
        assert_eq!(refused(&gate, "192.0.2.1"), Rule::Restarting);
    }

    #[test]
    fn a_full_pool_gives_the_source_its_count_back() {
        let gate = open(settings(1, 1));
        let only = gate.admit(&arrival("192.0.2.1")).unwrap();
        for _ in 0..3 {
            assert_eq!(refused(&gate, "2001:db8::1"), Rule::PoolFull { in_use: 1, limit: 1 });
        }
        assert_eq!(gate.snapshot().prefixes, 2);
        drop(only);
        assert!(gate.admit(&arrival("2001:db8::1")).is_ok());
    }

    #[test]
    fn limits_change_live_and_bad_ones_change_nothing() {
        let gate = open(settings(2, 20));
        let held = ["192.0.2.1", "192.0.2.2"].map(|peer| gate.admit(&arrival(peer)).unwrap());
        assert_eq!(gate.apply(settings(1, 20)).unwrap().over_limit(), 1);
        assert_eq!(refused(&gate, "192.0.2.3"), Rule::PoolFull { in_use: 2, limit: 1 });

        let faulty = Settings { sessions_per_site: 0, ..settings(9, 20) };
        assert_eq!(gate.apply(faulty).unwrap_err().faults.len(), 1);
        assert_eq!(gate.settings(), settings(1, 20));
        assert_eq!(gate.snapshot().usage, Usage { in_use: 2, limit: 1 });

        gate.apply(settings(3, 20)).unwrap();
        assert!(gate.admit(&arrival("192.0.2.3")).is_ok());
        drop(held);
    }

    #[test]
    fn each_refusal_is_counted_and_has_a_token_of_its_own() {
        let gate = open(settings(1, 1));
        let _only = gate.admit(&arrival("192.0.2.1")).unwrap();
        let tokens: Vec<_> =
            ["192.0.2.1", "192.0.2.2", "192.0.2.2"].map(|peer| gate.admit(&arrival(peer)).unwrap_err().token.to_string()).into();
        assert_eq!(tokens, ["R2.0000", "R4.0001", "R4.0002"]);
        gate.drain();
        refused(&gate, "192.0.2.1");
        assert_eq!(gate.out_of_descriptors().token.to_string(), "R4b.0004");
        let totals = gate.snapshot().refused_total.by_rule();
        assert_eq!(totals, [("R1", 1), ("R1b", 0), ("R2", 1), ("R4", 2), ("R4b", 1)]);
    }

    #[test]
    fn a_panic_in_a_session_frees_its_place() {
        let gate = open(settings(1, 1));
        let permit = gate.admit(&arrival("192.0.2.1")).unwrap();
        let session = std::thread::spawn(move || {
            let _permit = permit;
            std::panic::resume_unwind(Box::new("a session dies"));
        });
        assert!(session.join().is_err());
        assert!(gate.admit(&arrival("192.0.2.1")).is_ok());
    }
}
