//! The gate itself: the checks, in their order, and everything that changes them while it runs.
//!
//! Guarantees:
//! - [`Gate::admit`] never waits, and checks in the order of its text: node, denied and banned networks, the ceilings of the source, how often
//!   it comes, its fair share, the start ramp, the pool. Each admission is judged by the rules of one instant.
//! - [`Gate::apply`] is all or nothing, and in force for every admission that begins after it returns.
//! - Every admission and refusal is counted, once; so is what a limit in shadow would have refused.
//! - A panic among the checks, which would be an error of ours, ends nothing: who came is let in where there is a place, and it is counted.
//!
//! After [`Gate::drain`] has returned, no new call of [`Gate::admit`] succeeds; one that was already under way may. Who
//! waits for the last session to end therefore stops its accept loops first.
//!
//! Refuses with [`Refusal`]; fails with [`SettingsError`]. Nothing here is async.

mod banning;
mod deciding;
mod draining;
mod moving;
mod refusing;

use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Notify;

use crate::bans::Bans;
use crate::client::{Class, ClientUse, Privilege, Tenancy};
use crate::day::Day;
use crate::known_good::KnownGood;
use crate::ledger::Ledger;
use crate::limit::{Limit, Limits};
use crate::node::{Facts, Node};
use crate::permit::{ListenerId, Permit};
use crate::pool::{Draw, Pool, Usage};
use crate::ramp::Ramp;
use crate::rates::{self, ConnectionRates, Limiter};
use crate::refusal::{Obstacle, Refusal};
use crate::returns::{RefusedSource, Returns};
use crate::roster::Roster;
use crate::rules::{Rules, Trial};
use crate::seat::{Seat, Wanted};
use crate::settings::{Settings, SettingsError};
use crate::source::{Level, Source};
use crate::sources::{Holder, Sources};
use crate::tally::{InShadow, Refused, Tally};
use crate::users::{Exemption, UserFull};
use crate::vacancy::Vacancy;

/// Decides who may come in. Share it in an `Arc`; permits outlive it.
#[derive(Debug)]
pub struct Gate {
    node: Facts,
    /// When idle sessions are sent away, while an operator drains.
    idle_until: Mutex<Option<Instant>>,
    ramp: Ramp,
    rules: ArcSwap<Rules>,
    sources: Arc<Sources>,
    pool: Arc<Pool>,
    rates: ConnectionRates,
    known_good: KnownGood,
    returns: Returns,
    bans: Bans,
    /// How much may go wrong.
    ban_rate: Limiter,
    /// Who is never banned, beside `clients`.
    let_in: ArcSwap<banning::LetIn>,
    bans_changed: Notify,
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
            idle_until: Mutex::default(),
            ramp: Ramp::default(),
            sources: Arc::default(),
            pool: Arc::new(Pool::new(settings.size())),
            rates: ConnectionRates::new(rates),
            known_good: KnownGood::default(),
            returns: Returns::default(),
            bans: Bans::default(),
            ban_rate: Limiter::of_known_keys_only(settings.ban_after, BAN_KEYS),
            let_in: ArcSwap::default(),
            bans_changed: Notify::new(),
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
                self.want_place(&rules, self.lacking(), arrival.now);
            }
            trial.failed(rule)
        })?;
        taken.tenancy.iter().for_each(Tenancy::admitted);
        self.tally.shadow(trial.met());
        self.tally.admit();
        self.welcome_back(arrival);
        Ok(Permit::new(taken, arrival.listener, arrival.now))
    }

    /// How who waits for a place learns that it is worth another try: a place is back, or limits or node have changed.
    pub fn vacancy(&self) -> &Vacancy {
        self.pool.vacancy()
    }

    /// Has a session give its place up if somebody waits for one, and those who wait ask again; to be called about once a second, for
    /// sessions that have rested long enough only since.
    pub fn look_for_places(&self, now: Instant) {
        if self.vacancy().is_awaited() {
            self.want_place(&self.rules.load(), self.lacking(), now);
            self.vacancy().tell();
        }
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
        self.ban_rate.apply(settings.ban_after);
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

    /// The store takes no mail: nobody comes in to bring some until [`Gate::store_up`]. Whether that is new.
    pub fn store_down(&self) -> bool {
        let went_down = self.node.store_down();
        self.vacancy().tell();
        went_down
    }

    /// The store takes mail again. Whether that is new.
    pub fn store_up(&self) -> bool {
        self.node.store_up()
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
    pub fn delivered(&self, peer: IpAddr, now: Instant) {
        self.known_good.delivered(Source::from(peer), self.day());
        self.returns.delivered(Source::from(peer), now);
    }

    /// The sources that were refused since the start and may come back, with what they have done since; in no order.
    pub fn refused_sources(&self) -> Vec<RefusedSource> {
        self.returns.all()
    }

    /// Sources that are [missing](RefusedSource::is_missing) by `now`: known good ones, and others. Walks the tables: for people and
    /// for figures.
    pub fn missing_sources(&self, now: Instant) -> (usize, usize) {
        self.returns.missing(now)
    }

    /// Refusals of sources that there was no room to remember.
    pub fn refusals_left_out(&self) -> u64 {
        self.returns.left_out()
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

    /// Whether `peer` is a client that no limit by source holds for.
    pub fn is_exempt(&self, peer: IpAddr) -> bool {
        let (rules, address) = (self.rules.load(), Source::from(peer).address());
        rules.clients.find(address, self.day()).is_some_and(|(_, client)| client.class() == Privilege::Exempt)
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
            faults_total: self.tally.faults(),
        }
    }

    /// The prefixes that hold the most sessions at `level`, biggest first, at most `most` of them. Walks the whole
    /// table, holding up admissions of a fraction of the sources at a time: for people, not for each connection.
    pub fn holders(&self, level: Level, most: usize) -> Vec<Holder> {
        self.sources.holders(level, most)
    }

    /// What somebody lacks who has found no place.
    fn lacking(&self) -> Wanted {
        if self.pool.usage().free() > 0 { Wanted::General } else { Wanted::Any }
    }

    /// Somebody finds no place: one who has rested for long enough is asked for theirs.
    fn want_place(&self, rules: &Rules, wanted: Wanted, now: Instant) {
        let least = rules.settings.give_way_after.0;
        if !least.is_zero() {
            self.roster.give_way(wanted, now, least, |address| self.known_good.knows(Source::from(address), self.day()));
        }
    }

    fn day(&self) -> Day {
        Day(self.today.load(Relaxed))
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
    /// Whether it comes to bring mail, which is of no use while the store takes none; who comes to fetch it comes in then, too.
    pub brings_mail: bool,
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
    /// Connections about which there was an error of our own in deciding.
    pub faults_total: u64,
}

/// Sources whose failures are counted at a time; those of more are not.
const BAN_KEYS: usize = 1 << 14;

fn check(settings: &Settings) -> Result<(), SettingsError> {
    let faults = settings.validate();
    if faults.is_empty() { Ok(()) } else { Err(SettingsError { faults }) }
}

#[cfg(test)]
mod tests;
