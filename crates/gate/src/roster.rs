//! Every session in use: who it is, what it does, what it has cost, and the way to end it.
//!
//! A session enrols when it begins and tells its [`Seat`] what it does; whoever wants to know asks the [`Roster`]. A session that
//! is to end is marked and its task woken; it looks at [`Seat::parting`] at each command boundary, and while it shakes hands, and ends
//! itself, so that nothing is cut in the middle of a promise.
//!
//! Guarantees: a session is on the roster from [`Roster::enrol`] until its [`Enrolment`] is dropped, on every path; so is the
//! count of its user's sessions, from the login on. A session costs the roster under 300 octets.
//!
//! Refuses a user's session beyond the user's limit: [`UserFull`]. Cannot fail: what the locks guard is plain values, whole after
//! a panic too; a seat's lock is taken within the roster's and never the other way round.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::day::Day;
use crate::permit::ListenerId;
use crate::pool::Draw;
use crate::seat::{Parting, Seat, Wanted};
use crate::settings::Settings;
use crate::slot_time::{Phase, SlotTime};
use crate::users::{Exemption, UserFull, UserLimits};

/// The sessions in use. Share it in an `Arc`.
#[derive(Debug)]
pub struct Roster(Mutex<Book>);

/// A session that begins.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    /// Its id, by which it is named to people; the caller's, and no other session's.
    pub id: u64,
    /// The listener it came in by.
    pub listener: ListenerId,
    /// The client's address.
    pub source: IpAddr,
    /// By what right it was let in.
    pub draw: Draw,
    /// When it was let in.
    pub admitted_at: Instant,
}

/// One session at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its id.
    pub id: u64,
    /// The listener it came in by.
    pub listener: ListenerId,
    /// The client's address.
    pub source: IpAddr,
    /// Who has authenticated.
    pub user: Option<Arc<str>>,
    /// What the client calls itself.
    pub program: Option<Box<str>>,
    /// Since it was let in.
    pub age: Duration,
    /// What it is doing.
    pub phase: Phase,
    /// For how long it has been doing that.
    pub in_phase: Duration,
    /// What its time was spent on.
    pub slot_time: SlotTime,
    /// Commands so far.
    pub commands: u32,
    /// Octets received, TLS taken off.
    pub octets_in: u64,
    /// Octets sent, before TLS.
    pub octets_out: u64,
    /// Whether it was told to end.
    pub ending: bool,
}

impl Roster {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self(Mutex::new(Book {
            seats: HashMap::new(),
            users: HashMap::new(),
            shut_out: HashMap::new(),
            limits: UserLimits::new(settings),
            spent: SlotTime::default(),
            told: SlotTime::default(),
            next_search: None,
            giving_way: None,
            in_vain: [None; 2],
        }))
    }

    /// Puts new limits for users in force. Who is in stays in.
    pub(crate) fn apply(&self, settings: &Settings) {
        self.lock().limits.apply(settings);
    }

    /// Puts a session on the roster.
    pub fn enrol(self: &Arc<Self>, newcomer: Newcomer) -> Enrolment {
        let seat = Arc::new(Seat::new(newcomer));
        self.lock().seats.insert(newcomer.id, Arc::clone(&seat));
        Enrolment { roster: Arc::clone(self), seat }
    }

    /// The session's user is `account`, which has given its password. Exemptions end by `today`.
    ///
    /// # Errors
    /// What `met` made of the account's having as many sessions as it may; this one is nobody's then.
    pub(crate) fn log_in(
        &self,
        seat: &Seat,
        account: &Arc<str>,
        today: Day,
        met: impl FnOnce(UserFull) -> Result<(), UserFull>,
    ) -> Result<(), UserFull> {
        let mut book = self.lock();
        book.leave(seat);
        let held = book.users.get(account).copied().unwrap_or_default();
        book.limits.check(account, held, today, met)?;
        *book.users.entry(Arc::clone(account)).or_default() += 1;
        seat.words().user = Some(Arc::clone(account));
        if book.shut_out.get(account).is_some_and(|at| seat.admitted_at() <= *at) {
            seat.part(Parting::Ended);
        }
        Ok(())
    }

    /// The session is nobody's any more.
    pub fn log_out(&self, seat: &Seat) {
        self.lock().leave(seat);
    }

    /// Every session at `now`, the oldest first.
    pub fn sessions(&self, now: Instant) -> Vec<Session> {
        let mut sessions: Vec<_> = self.lock().seats.values().map(|seat| seat.session(now)).collect();
        sessions.sort_unstable_by(|one, other| other.age.cmp(&one.age).then(one.id.cmp(&other.id)));
        sessions
    }

    /// The sessions of one account at `now`, the oldest first.
    pub fn sessions_of(&self, account: &str, now: Instant) -> Vec<Session> {
        let mut sessions = self.sessions(now);
        sessions.retain(|session| session.user.as_deref() == Some(account));
        sessions
    }

    /// Tells a session to end at its next command boundary, which is at once while it waits for a command. Whether there is one of
    /// this id.
    pub fn end(&self, id: u64) -> bool {
        let seat = self.lock().seats.get(&id).cloned();
        seat.inspect(|seat| seat.part(Parting::Ended)).is_some()
    }

    /// Tells every session of an account to end, as [`Roster::end`] does; their ids, the oldest first. One that is there at `now` and logs in to
    /// it later is told so then: it may have shown what is worth nothing any more.
    pub fn shut_out(&self, account: &str, now: Instant) -> Vec<u64> {
        let mut book = self.lock();
        // Where nobody who was there then is left, it says nothing any more.
        let oldest = book.seats.values().map(|seat| seat.admitted_at()).min();
        book.shut_out.retain(|_, at| oldest.is_some_and(|oldest| oldest <= *at));
        book.shut_out.insert(account.into(), now);
        let theirs = |seat: &&Arc<Seat>| seat.words().user.as_deref() == Some(account);
        let mut told: Vec<_> = book.seats.values().filter(theirs).collect();
        told.sort_unstable_by_key(|seat| (seat.admitted_at(), seat.id()));
        told.into_iter().inspect(|seat| seat.part(Parting::Ended)).map(|seat| seat.id()).collect()
    }

    /// Has every session look at what has changed.
    pub(crate) fn wake(&self) {
        self.lock().seats.values().for_each(|seat| seat.wake());
    }

    /// Has one session give its place up, if there is one that has rested for `least` or longer without a password: the one that
    /// has rested longest, those who are `spared` after all others. One after the other: nothing is done while the last one is still
    /// on its way out, nor, as it walks over all sessions, when the last time was only just now.
    pub(crate) fn give_way(&self, wanted: Wanted, now: Instant, least: Duration, spared: impl Fn(IpAddr) -> bool) {
        let mut book = self.lock();
        let is_leaving = |(id, until): (u64, Instant)| now < until && book.seats.contains_key(&id);
        if book.next_search.is_some_and(|next| now < next) || book.giving_way.is_some_and(is_leaving) {
            return;
        }
        book.next_search = Some(now + book.search_pause());
        let resting = book.seats.values().filter_map(|seat| Some((seat, seat.at_rest(wanted, now).filter(|rested| *rested >= least)?)));
        if let Some((seat, _)) = resting.max_by_key(|(seat, rested)| (!spared(seat.source()), *rested)) {
            seat.part(Parting::GivesWay);
            let leaving = (seat.id(), now + LEAVING);
            book.giving_way = Some(leaving);
        }
    }

    /// Has one session give its place up that a client of `network` has in the lane for those about to show a password, if one was only sat in
    /// for [`LANE_SITS`]: the one for longest. Whether there was one. As it walks over all sessions, nothing is done when the last search
    /// for that network was in vain only just now.
    pub(crate) fn lane_gives_way(&self, network: IpNet, now: Instant) -> bool {
        let mut book = self.lock();
        if book.in_vain.iter().flatten().any(|(before, until)| *before == network && now < *until) {
            return false;
        }
        let sitting = book.seats.values().filter_map(|seat| Some((seat, seat.sits_in_lane(network, now)?)));
        let longest = sitting.filter(|(_, sat)| *sat >= LANE_SITS).max_by_key(|(_, sat)| *sat);
        longest.inspect(|(seat, _)| seat.part(Parting::GivesWay));
        let found = longest.is_some();
        if !found {
            let [last, _] = book.in_vain;
            book.in_vain = [Some((network, now + book.search_pause())), last];
        }
        found
    }

    /// What all sessions since the start have spent their time on, until `now`. Never less than what it was the last time.
    pub fn slot_time(&self, now: Instant) -> SlotTime {
        let mut book = self.lock();
        let mut spent = book.spent;
        book.seats.values().for_each(|seat| spent = spent.and(&seat.words().clock.spent(now)));
        // A session may tell of a change after somebody has asked with a later time: what was told stays told.
        book.told = book.told.max(&spent);
        book.told
    }

    /// How many sessions there are in each phase, in the order of [`Phase::ALL`].
    pub fn phases(&self) -> [u32; Phase::ALL.len()] {
        let mut sessions = [0; Phase::ALL.len()];
        for seat in self.lock().seats.values() {
            if let Some(sessions) = sessions.get_mut(seat.words().clock.phase() as usize) {
                *sessions += 1;
            }
        }
        sessions
    }

    /// The accounts with limits of their own, in the order of the configuration.
    pub(crate) fn exemptions(&self, today: Day) -> Vec<Exemption> {
        let book = self.lock();
        book.limits.exemptions(today, |account| book.users.get(account).copied().unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place on the roster, given back when dropped.
#[must_use = "dropping an enrolment takes the session off the roster"]
#[derive(Debug)]
pub struct Enrolment {
    roster: Arc<Roster>,
    seat: Arc<Seat>,
}

impl Enrolment {
    /// Where the session tells what it does.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        let mut book = self.roster.lock();
        book.leave(&self.seat);
        book.seats.remove(&self.seat.id());
        // There is no time to tell here: what counts is what the session has told, and it has told of its end.
        book.spent = book.spent.and(&self.seat.words().clock.settled());
    }
}

/// Who holds sessions, for a log line: address, program, age, commands and octets of each, the oldest first.
#[derive(Debug)]
pub struct Holders<'s>(pub &'s [Session]);

impl fmt::Display for Holders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, more) = self.0.split_at(self.0.len().min(HOLDERS_SHOWN));
        for (number, session) in shown.iter().enumerate() {
            let Session { source, program, age, commands, octets_in, octets_out, .. } = session;
            let program = program.as_deref().unwrap_or("-");
            let between = if number > 0 { ", " } else { "" };
            write!(f, "{between}{source} {program:?} {}s {commands} commands {octets_in}+{octets_out} octets", age.as_secs())?;
        }
        if more.is_empty() { Ok(()) } else { write!(f, ", and {} more", more.len()) }
    }
}

#[derive(Debug)]
struct Book {
    seats: HashMap<u64, Arc<Seat>>,
    /// Sessions by account; an account is here exactly while it has one.
    users: HashMap<Arc<str>, u32>,
    /// Accounts whose sessions were all told to end, and when, for as long as there may be a session from before.
    shut_out: HashMap<Arc<str>, Instant>,
    limits: UserLimits,
    /// By sessions that are over.
    spent: SlotTime,
    /// What [`Roster::slot_time`] has said last.
    told: SlotTime,
    /// When a place may be looked for again.
    next_search: Option<Instant>,
    /// Who has been asked for a place last, and until when it is waited for.
    giving_way: Option<(u64, Instant)>,
    /// The networks for which the lane was looked through last in vain, and when it may be again. No more than about two can have their part,
    /// half of it, at once.
    in_vain: [Option<(IpNet, Instant)>; 2],
}

impl Book {
    fn search_pause(&self) -> Duration {
        let sessions = u32::try_from(self.seats.len()).unwrap_or(u32::MAX);
        SEARCH_PAUSE.max(SEARCH_PAUSE_PER_SESSION.saturating_mul(sessions))
    }

    fn leave(&mut self, seat: &Seat) {
        let Some(account) = seat.words().user.take() else { return };
        if let Some(held) = self.users.get_mut(&account) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.users.remove(&account);
            }
        }
    }
}

/// A line's worth.
const HOLDERS_SHOWN: usize = 8;

/// A hundred places given up in a second are more than clients come for, and a walk over the sessions costs a thousandth of this
/// or, where there are many, of what follows.
const SEARCH_PAUSE: Duration = Duration::from_millis(10);
const SEARCH_PAUSE_PER_SESSION: Duration = Duration::from_micros(20);

/// How long a session that gives way may take to leave, the client's close included, before another one is asked.
const LEAVING: Duration = Duration::from_secs(2);

/// Longer than a mail program takes to answer, from anywhere on earth; what it asks a person for it asks before it connects.
const LANE_SITS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
