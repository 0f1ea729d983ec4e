//! The gate itself: the checks, in their order, and everything that changes them while it runs.
//!
//! Guarantees:
//! - [`Gate::admit`] never waits, and checks in the order of its text: node, denied networks, the ceilings of the source, how often
//!   it comes, its fair share, the start ramp, the pool. Each admission is judged by the rules of one instant.
//! - [`Gate::apply`] is all or nothing, and in force for every admission that begins after it returns.
//! - Every admission and refusal is counted, once; so is what a limit in shadow would have refused.
//!
//! After [`Gate::drain`] has returned, no new call of [`Gate::admit`] succeeds; one that was already under way may. Who
//! waits for the last session to end therefore stops its accept loops first.
//!
//! Refuses with [`Refusal`]; fails with [`SettingsError`]. Nothing here is async.

mod moving;

use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::client::{Class, Client, ClientUse, Privilege, Tenancy};
use crate::day::Day;
use crate::known_good::KnownGood;
use crate::ledger::{self, Explanation, Ledger, Scene, Unexplained};
use crate::limit::{Limit, Limits};
use crate::node::{Facts, Node};
use crate::permit::{ListenerId, Permit, Taken};
use crate::places::Places;
use crate::pool::{Draw, Pool, Usage};
use crate::ramp::Ramp;
use crate::rates::{self, ConnectionRates, Counted};
use crate::refusal::{Obstacle, Refusal, Rule};
use crate::roster::Roster;
use crate::rules::{Rules, Trial};
use crate::seat::{Seat, Wanted};
use crate::settings::{Settings, SettingsError};
use crate::source::{Level, Source};
use crate::sources::{Held, Holder, Sources, Standing};
use crate::tally::{InShadow, Refused, Tally};
use crate::users::{Exemption, UserFull};
use crate::vacancy::Vacancy;

/// Decides who may come in. Share it in an `Arc`; permits outlive it.
#[derive(Debug)]
pub struct Gate {
    node: Facts,
    ramp: Ramp,
    rules: ArcSwap<Rules>,
    sources: Arc<Sources>,
    pool: Arc<Pool>,
    rates: ConnectionRates,
    known_good: KnownGood,
    /// A [`Day`].
    today: AtomicU32,
    tally: Tally,
    ledger: Ledger,
    roster: Arc<Roster>,
    /// Keeps two reloads apart. Admission does not take it.
    reloading: Mutex<()>,
}

impl Gate {
    /// A gate that is [`Node::Starting`], with all of its places free.
    ///
    /// # Errors
    /// Every fault in `settings`.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Self::with_rates(settings, &rates::Settings::default())
    }

    /// The same, with the rates of connections that `rates` names.
    ///
    /// # Errors
    /// Every fault in `settings`.
    pub fn with_rates(settings: Settings, rates: &rates::Settings) -> Result<Self, SettingsError> {
        check(&settings)?;
        Ok(Self {
            node: Facts::default(),
            ramp: Ramp::default(),
            sources: Arc::default(),
            pool: Arc::new(Pool::new(settings.size())),
            rates: ConnectionRates::new(rates),
            known_good: KnownGood::default(),
            today: AtomicU32::new(0),
            tally: Tally::default(),
            ledger: Ledger::default(),
            roster: Arc::new(Roster::new(&settings)),
            rules: ArcSwap::from_pointee(Rules::new(settings, None)),
            reloading: Mutex::new(()),
        })
    }

    /// Lets one connection in, or says why not.
    ///
    /// # Errors
    /// The first rule met, after which nothing is held.
    pub fn admit(&self, arrival: &Arrival) -> Result<Permit, Refusal> {
        self.try_admit(arrival).map_err(|obstacle| self.refuse(obstacle, arrival))
    }

    /// [`Gate::admit`] for who may wait: what is in the way is no refusal yet, and is not counted. Ends in [`Gate::refuse`] or in
    /// another try.
    ///
    /// # Errors
    /// The first rule met, after which nothing is held.
    pub fn try_admit(&self, arrival: &Arrival) -> Result<Permit, Obstacle> {
        let rules = self.rules.load();
        let trial = Trial::new(&rules);
        let taken = self.decide(&trial, arrival, Source::from(arrival.peer), &mut &self.pool).map_err(|rule| {
            if rule.is_want_of_places() {
                self.want_place(arrival.now);
            }
            trial.failed(rule)
        })?;
        taken.tenancy.iter().for_each(Tenancy::admitted);
        self.tally.shadow(trial.met());
        self.tally.admit();
        Ok(Permit::new(taken, arrival.listener, arrival.now))
    }

    /// Refuses what [`Gate::try_admit`] did not let in: counts it, writes it down and gives it its token.
    pub fn refuse(&self, obstacle: Obstacle, arrival: &Arrival) -> Refusal {
        let (Obstacle { rule, met }, source) = (obstacle, Source::from(arrival.peer));
        self.tally.shadow(met);
        let refusal = self.tally.refuse(rule, self.known_good.knows(source, self.day()));
        let usage = match rule {
            Rule::PoolFull { in_use, limit } | Rule::UnreservedFull { in_use, limit, .. } => Usage { in_use, limit, ..self.pool.usage() },
            _ => self.pool.usage(),
        };
        let scene = Scene { source, listener: arrival.listener, at: arrival.now, usage, share: self.sources.held_by(source) };
        self.ledger.record(refusal, scene, || (self.sources.holders(Level::Address, ledger::HOLDERS), self.sources.prefixes()));
        refusal
    }

    /// How who waits for a place learns that it is worth another try: a place is back, or limits or node have changed.
    pub fn vacancy(&self) -> &Vacancy {
        self.pool.vacancy()
    }

    /// Has a session give its place up if somebody waits for one; to be called about once a second, for sessions that have rested long
    /// enough only since.
    pub fn look_for_places(&self, now: Instant) {
        if self.vacancy().is_awaited() {
            self.want_place(now);
        }
    }

    /// Refuses a connection that there is no file descriptor to serve with, which the caller found out on accepting it.
    /// [`Gate::admit`] is not asked then; the refusal is counted and has a token like any other.
    pub fn out_of_descriptors(&self, arrival: &Arrival) -> Refusal {
        self.refuse(Obstacle { rule: Rule::OutOfDescriptors, met: Limits::default() }, arrival)
    }

    /// What was written down about the refusal that a token names.
    ///
    /// # Errors
    /// See [`Unexplained`].
    pub fn explain(&self, token: &str) -> Result<Explanation, Unexplained> {
        self.ledger.explain(token, self.tally.refusals())
    }

    /// Puts `settings` in force for every admission from now on, and returns the usage under them. Who is in stays in.
    ///
    /// # Errors
    /// Every fault in `settings`; the limits in force stay as they are.
    pub fn apply(&self, settings: Settings) -> Result<Usage, SettingsError> {
        check(&settings)?;
        // What the lock guards is replaced whole, so a panic elsewhere cannot have left it half written.
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let size = settings.size();
        self.roster.apply(&settings);
        let rules = Rules::new(settings, Some(&self.rules.load()));
        self.rules.store(Arc::new(rules));
        Ok(self.pool.resize(size))
    }

    /// Puts other rates of connections in force. One that changes starts over.
    pub fn apply_rates(&self, rates: &rates::Settings) {
        self.rates.apply(rates);
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.rules.load().settings.clone()
    }

    /// The start is complete: sessions may come in, as many as there are places.
    pub fn open(&self) {
        self.node.opened();
    }

    /// The start is complete: sessions may come in, the unreserved places one after the other as `start_ramp` says.
    pub fn open_gently(&self, now: Instant) {
        self.ramp.begin(now);
        self.node.opened();
    }

    /// The store is away: nobody comes in until [`Gate::store_up`].
    pub fn store_down(&self) {
        self.node.store_down();
        self.vacancy().tell();
    }

    /// The store is back.
    pub fn store_up(&self) {
        self.node.store_up();
    }

    /// The end has begun: nobody comes in any more. Final.
    pub fn drain(&self) {
        self.node.draining();
        self.vacancy().tell();
    }

    /// An operator wants no sessions: nobody comes in, and those there are are to finish, until [`Gate::undo_drain`]. Whether that is
    /// new.
    pub fn drain_for_operator(&self) -> bool {
        let drained = self.node.drained();
        self.vacancy().tell();
        drained
    }

    /// The operator wants sessions again. Whether there was a drain of theirs. The drain at the end stays.
    pub fn undo_drain(&self) -> bool {
        self.node.drain_undone()
    }

    /// Whether sessions are to finish, for good or for an operator.
    pub fn is_draining(&self) -> bool {
        matches!(self.node(), Node::Draining | Node::Drained)
    }

    /// Whether this node takes sessions, and why not.
    pub fn node(&self) -> Node {
        self.node.node()
    }

    /// Says which day it is, for what expires. Until it is said for the first time nothing has expired.
    pub fn set_today(&self, today: Day) {
        self.today.store(today.0, Relaxed);
    }

    /// A message from `peer` was accepted: its source is [`Class::KnownGood`] for the next [`crate::KNOWN_GOOD_DAYS`].
    pub fn delivered(&self, peer: IpAddr) {
        self.known_good.delivered(Source::from(peer), self.day());
    }

    /// The known good sources, each with the day of its last accepted message.
    pub fn known_good(&self) -> Vec<(IpNet, Day)> {
        self.known_good.all(self.day())
    }

    /// Learns known good sources from before a restart, once it was told the day. Leaves out what is too old or no source.
    pub fn restore_known_good(&self, known: impl IntoIterator<Item = (IpNet, Day)>) {
        self.known_good.restore(known, self.day());
    }

    /// What the gate thinks of `peer` today.
    pub fn class_of(&self, peer: IpAddr) -> Class {
        let (source, today) = (Source::from(peer), self.day());
        match self.rules.load().clients.find(source.address(), today) {
            Some((_, client)) if client.class() == Privilege::Exempt => Class::Exempt,
            Some(_) => Class::Trusted,
            None if self.known_good.knows(source, today) => Class::KnownGood,
            None => Class::Default,
        }
    }

    /// The clients the operator has named, with what they hold.
    pub fn clients(&self) -> Vec<ClientUse> {
        self.rules.load().clients.in_use(self.day())
    }

    /// The sessions in use, and what each of them does.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The session's user is `account`, which has given its password.
    ///
    /// # Errors
    /// The account has as many sessions as it may, and that is not in shadow; this one is nobody's then.
    pub fn log_in(&self, seat: &Seat, account: &Arc<str>) -> Result<(), UserFull> {
        let is_in_shadow = self.rules.load().shadow.hold(Limit::SessionsPerUser);
        self.roster.log_in(seat, account, self.day(), |full| {
            if !is_in_shadow {
                return Err(full);
            }
            self.tally.shadow(Limits::default().with(Limit::SessionsPerUser));
            Ok(())
        })
    }

    /// The accounts with limits of their own, in the order of the configuration.
    pub fn exemptions(&self) -> Vec<Exemption> {
        self.roster.exemptions(self.day())
    }

    /// Places in use, and how many there may be.
    pub fn usage(&self) -> Usage {
        self.pool.usage()
    }

    /// The gate's own figures.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            node: self.node(),
            usage: self.pool.usage(),
            first_places: self.pool.in_lane(Draw::FirstPlace).unwrap_or_default(),
            authenticating: self.pool.in_lane(Draw::Authenticating).unwrap_or_default(),
            peak: self.pool.peak(),
            prefixes: self.sources.prefixes(),
            known_good: self.known_good.len(),
            admitted_total: self.tally.admitted(),
            refused_total: self.tally.refused(),
            known_good_refused_total: self.tally.known_good_refused(),
            shadow_total: self.tally.in_shadow(),
        }
    }

    /// The prefixes that hold the most sessions at `level`, biggest first, at most `most` of them. Walks the whole
    /// table, holding up admissions of a fraction of the sources at a time: for people, not for each connection.
    pub fn holders(&self, level: Level, most: usize) -> Vec<Holder> {
        self.sources.holders(level, most)
    }

    /// Somebody finds no place: one who has rested for long enough is asked for theirs.
    fn want_place(&self, now: Instant) {
        let least = self.rules.load().settings.give_way_after.0;
        if !least.is_zero() {
            let wanted = if self.pool.usage().free() > 0 { Wanted::General } else { Wanted::Any };
            self.roster.give_way(wanted, now, least, |address| self.known_good.knows(Source::from(address), self.day()));
        }
    }

    fn day(&self) -> Day {
        Day(self.today.load(Relaxed))
    }

    /// The checks of an admission. Whatever was taken before one of them refuses goes back as it is dropped.
    fn decide<P: Places>(&self, trial: &Trial<'_>, arrival: &Arrival, source: Source, places: &mut P) -> Result<Taken<P::Place>, Rule> {
        self.node().check()?;
        if let Some(network) = trial.rules.denied(source.address()) {
            trial.meet(Rule::Denied { network })?;
        }
        match trial.rules.clients.find(source.address(), self.day()) {
            Some((network, client)) => {
                let full = |(held, limit)| trial.meet(Rule::ClientFull { network, held, limit }).map(|()| client.enter_regardless());
                let tenancy = client.enter().or_else(full)?;
                self.decide_client(trial, arrival.now, source, (client, tenancy), places)
            }
            None => self.decide_stranger(trial, arrival, source, places),
        }
    }

    /// A client the operator knows: under its own ceiling or those of its source, with a right to the reserve.
    fn decide_client<P: Places>(
        &self,
        trial: &Trial<'_>,
        now: Instant,
        source: Source,
        (client, tenancy): (&Client, Tenancy),
        places: &mut P,
    ) -> Result<Taken<P::Place>, Rule> {
        let held = match client.is_beside_the_ceilings() {
            true => self.sources.take_beside(source),
            false => self.sources.take(source, trial.rules.ceilings, |rule| trial.meet(rule))?.0,
        };
        let counted = if client.class() == Privilege::Exempt { None } else { self.count(trial, source, now)? };
        let place = places.draw(Draw::Reserved)?;
        Ok(Taken { place, held, tenancy: Some(tenancy), is_counted: counted.map(Counted::keep).is_some() })
    }

    /// Anybody else: under all limits, unless about to show a password.
    fn decide_stranger<P: Places>(
        &self,
        trial: &Trial<'_>,
        arrival: &Arrival,
        source: Source,
        places: &mut P,
    ) -> Result<Taken<P::Place>, Rule> {
        let held = self.sources.take(source, trial.rules.ceilings, |rule| trial.meet(rule));
        // The ceilings speak first. Somebody who can go round them through the lane is counted all the same.
        let counted = match &held {
            Err(rule) if !arrival.authenticates => return Err(*rule),
            _ => self.count(trial, source, arrival.now)?,
        };
        let seated = held.and_then(|(held, standing)| Ok((self.seat(trial, arrival.now, &standing, places)?, held)));
        let (place, held) = seated.or_else(|rule| {
            let in_lane = arrival.authenticates.then(|| self.seat_in_lane(trial.rules, source, places)).flatten();
            in_lane.ok_or(rule)
        })?;
        Ok(Taken { place, held, tenancy: None, is_counted: counted.map(Counted::keep).is_some() })
    }

    /// Counts a connection towards the rates, if it keeps to them; not if they are exceeded and in shadow.
    fn count(&self, trial: &Trial<'_>, source: Source, now: Instant) -> Result<Option<Counted<'_>>, Rule> {
        self.rates.count(source, now).map(Some).or_else(|too_often| {
            let rule = Rule::TooOften { prefix: too_often.prefix, retry_seconds: too_often.seconds() };
            trial.meet(rule).map(|()| None)
        })
    }

    /// A place of the general ones, or the first one for a source that has none.
    fn seat<P: Places>(&self, trial: &Trial<'_>, now: Instant, standing: &Standing, places: &mut P) -> Result<P::Place, Rule> {
        let usage = places.usage();
        trial.rules.share.check(standing, usage).or_else(|rule| trial.meet(rule))?;
        let ramped = self.ramp.check(standing, usage, now, trial.rules.settings.start_ramp.0).or_else(|rule| trial.meet(rule));
        ramped.and_then(|()| Ok(places.draw(Draw::General)?)).or_else(|rule| match standing.at_its_widest() {
            0 => places.draw(Draw::FirstPlace).map_err(|_| rule),
            _ => Err(rule),
        })
    }

    /// A place of those kept for people about to show a password.
    fn seat_in_lane<P: Places>(&self, rules: &Rules, source: Source, places: &mut P) -> Option<(P::Place, Held)> {
        let held = self.sources.take_authenticating(source, rules.authenticating_per_source)?;
        Some((places.draw(Draw::Authenticating).ok()?, held))
    }
}

/// An accepted connection that asks to come in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The listener it was accepted on.
    pub listener: ListenerId,
    /// The client's address.
    pub peer: IpAddr,
    /// Whether nothing can be done there before a password is shown, as on the submission and POP3 ports.
    pub authenticates: bool,
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
    /// Places of the reserve in use by sources that had none.
    pub first_places: u32,
    /// Places of the reserve in use by clients that are about to show a password.
    pub authenticating: u32,
    /// The most places ever in use at once.
    pub peak: u32,
    /// Prefixes that hold a session, over all levels.
    pub prefixes: usize,
    /// Sources that are known because their mail was accepted.
    pub known_good: usize,
    /// Sessions ever admitted.
    pub admitted_total: u64,
    /// Connections ever refused, by rule.
    pub refused_total: Refused,
    /// Those of them that came from known good sources.
    pub known_good_refused_total: u64,
    /// Connections that limits in shadow would have refused, by limit.
    pub shadow_total: InShadow,
}

fn check(settings: &Settings) -> Result<(), SettingsError> {
    let faults = settings.validate();
    if faults.is_empty() { Ok(()) } else { Err(SettingsError { faults }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portion::Portion;

    fn settings(max_inbound: u32, sessions_per_address: u32) -> Settings {
        // Neither reserve nor share: what is tested here stands alone.
        let reserve = Portion::Places(0);
        Settings { max_inbound, reserve, sessions_per_address, fair_share_alpha: 0.0, ..Settings::default() }
    }

    fn open(settings: Settings) -> Gate {
        let gate = Gate::new(settings).unwrap();
        gate.open();
        gate
    }

    fn arrival(peer: &str) -> Arrival {
        Arrival { listener: ListenerId(7), peer: peer.parse().unwrap(), authenticates: false, now: Instant::now() }
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
        assert_eq!(gate.snapshot().usage, Usage { in_use: 2, general: 2, limit: 1, reserve: 0 });

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
        assert_eq!(gate.out_of_descriptors(&arrival("192.0.2.1")).token.to_string(), "R4b.0004");
        let totals = gate.snapshot().refused_total.by_rule();
        assert_eq!(totals, [("R0", 0), ("R1", 1), ("R1b", 0), ("R2", 1), ("R3", 0), ("R4", 2), ("R4b", 1)]);
    }

    #[test]
    fn who_comes_too_often_is_told_when_and_a_refused_attempt_takes_nothing() {
        let rates = rates::Settings { connections_per_address: "2/1m".parse().unwrap(), ..rates::Settings::default() };
        let gate = Gate::with_rates(settings(1, 9), &rates).unwrap();
        gate.open();
        let now = Instant::now();
        let arrive = |seconds| gate.admit(&Arrival { now: now + std::time::Duration::from_secs(seconds), ..arrival("192.0.2.1") });
        let only = arrive(0).unwrap();
        for _ in 0..9 {
            assert_eq!(arrive(0).unwrap_err().rule, Rule::PoolFull { in_use: 1, limit: 1 }, "nothing of the rate is taken");
        }
        drop(only);
        drop(arrive(0).unwrap());
        let prefix = Some("192.0.2.1/32".parse().unwrap());
        assert_eq!(arrive(1).unwrap_err().rule, Rule::TooOften { prefix, retry_seconds: 29 });
        drop(arrive(30).unwrap());
        gate.apply(Settings { shadow: vec![Limit::Connections], ..settings(1, 9) }).unwrap();
        drop(arrive(30).unwrap());
        assert_eq!(gate.snapshot().shadow_total.of(Limit::Connections), 1);
    }

    #[test]
    fn who_waits_for_a_place_is_counted_once_by_a_limit_in_shadow() {
        let gate = open(Settings { shadow: vec![Limit::SessionsPerAddress], ..settings(2, 1) });
        let peer = arrival("192.0.2.1");
        let counted = || gate.snapshot().shadow_total.of(Limit::SessionsPerAddress);
        let mut held = vec![gate.admit(&peer).unwrap(), gate.admit(&arrival("192.0.2.2")).unwrap()];
        for _ in 0..3 {
            assert!(gate.try_admit(&peer).unwrap_err().is_want_of_places());
        }
        assert_eq!(counted(), 0, "nothing has become of it yet");
        let obstacle = gate.try_admit(&peer).unwrap_err();
        gate.refuse(obstacle, &peer);
        assert_eq!(counted(), 1, "its time was over");
        assert!(gate.try_admit(&peer).is_err());
        held.pop();
        held.push(gate.try_admit(&peer).unwrap());
        assert_eq!((counted(), gate.snapshot().admitted_total), (2, 3), "it came in");
    }

    #[test]
    fn logins_beyond_the_users_limit_are_counted_and_let_in_where_that_is_in_shadow() {
        let gate = open(Settings { sessions_per_user: 1, shadow: vec![Limit::SessionsPerUser], ..settings(9, 9) });
        let newcomer = |id| crate::Newcomer {
            id,
            listener: ListenerId(7),
            source: [192, 0, 2, 7].into(),
            draw: Draw::General,
            admitted_at: Instant::now(),
        };
        let enrolled = [1, 2, 3].map(|id| gate.roster().enrol(newcomer(id)));
        let ann: Arc<str> = "ann@example.org".into();
        let logins = || enrolled.each_ref().map(|enrolment| gate.log_in(enrolment.seat(), &ann).map_err(|full| full.limit));
        assert_eq!(logins(), [Ok(()); 3]);
        assert_eq!(gate.snapshot().shadow_total.of(Limit::SessionsPerUser), 2);
        assert_eq!(gate.roster().sessions_of(&ann, Instant::now()).len(), 3);

        gate.apply(Settings { sessions_per_user: 1, ..settings(9, 9) }).unwrap();
        assert_eq!(logins(), [Err(1), Err(1), Ok(())], "out of the shadow it holds");
        assert_eq!(gate.snapshot().shadow_total.of(Limit::SessionsPerUser), 2);
    }

    #[test]
    fn the_rate_that_is_spent_is_named_and_nobody_is_blamed_for_that_of_all() {
        let rates: rates::Settings =
            toml::from_str("connections_per_network = '1/1h'\nconnections_per_site = '2/1h'\nconnections = '4/1h'").unwrap();
        let gate = Gate::with_rates(settings(9, 9), &rates).unwrap();
        gate.open();
        let refused = |peer| match refused(&gate, peer) {
            rule @ Rule::TooOften { prefix, .. } => (rule.key().unwrap(), prefix.map(|prefix| prefix.to_string())),
            other => panic!("{other}"),
        };
        for peer in ["192.0.2.1", "2001:db8::1", "2001:db8:0:100::1"] {
            drop(gate.admit(&arrival(peer)).unwrap());
        }
        assert_eq!(refused("192.0.2.2"), ("rates.connections_per_network", Some("192.0.2.0/24".to_owned())));
        assert_eq!(refused("2001:db8:0:200::1"), ("rates.connections_per_site", Some("2001:db8::/48".to_owned())));
        drop(gate.admit(&arrival("198.51.100.1")).unwrap());
        assert_eq!(refused("203.0.113.1"), ("rates.connections", None), "it has come once");
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
