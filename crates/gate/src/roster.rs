//! Every session in use: who it is, what it does, what it has cost, and the way to end it.
//!
//! A session enrols when it begins and tells its [`Seat`] what it does; whoever wants to know asks the [`Roster`]. A session that
//! is to end is marked and its task woken; it looks at [`Seat::parting`] at each command boundary and ends itself, so that
//! nothing is cut in the middle of a promise.
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
            limits: UserLimits::new(settings),
            spent: SlotTime::default(),
            told: SlotTime::default(),
            next_search: None,
            giving_way: None,
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

    /// Has one session give its place up, if there is one that has rested for `least` or longer without a password: the one that
    /// has rested longest, those who are `spared` after all others. One after the other: nothing is done while the last one is still
    /// on its way out, nor, as it walks over all sessions, when the last time was only just now.
    pub(crate) fn give_way(&self, wanted: Wanted, now: Instant, least: Duration, spared: impl Fn(IpAddr) -> bool) {
        let mut book = self.lock();
        let is_leaving = |(id, until): (u64, Instant)| now < until && book.seats.contains_key(&id);
        if book.next_search.is_some_and(|next| now < next) || book.giving_way.is_some_and(is_leaving) {
            return;
        }
        let sessions = u32::try_from(book.seats.len()).unwrap_or(u32::MAX);
        book.next_search = Some(now + SEARCH_PAUSE.max(SEARCH_PAUSE_PER_SESSION.saturating_mul(sessions)));
        let resting = book.seats.values().filter_map(|seat| Some((seat, seat.at_rest(wanted, now).filter(|rested| *rested >= least)?)));
        if let Some((seat, _)) = resting.max_by_key(|(seat, rested)| (!spared(seat.source()), *rested)) {
            seat.part(Parting::GivesWay);
            let leaving = (seat.id(), now + LEAVING);
            book.giving_way = Some(leaving);
        }
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
    limits: UserLimits,
    /// By sessions that are over.
    spent: SlotTime,
    /// What [`Roster::slot_time`] has said last.
    told: SlotTime,
    /// When a place may be looked for again.
    next_search: Option<Instant>,
    /// Who has been asked for a place last, and until when it is waited for.
    giving_way: Option<(u64, Instant)>,
}

impl Book {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seat::PROGRAM_OCTETS;
    use crate::users::UserRule;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Wake, Waker};

    fn newcomer(id: u64, at: Instant) -> Newcomer {
        Newcomer { id, listener: ListenerId(1), source: [192, 0, 2, 7].into(), draw: Draw::General, admitted_at: at }
    }

    fn roster(per_user: u32, users: Vec<UserRule>) -> Arc<Roster> {
        Arc::new(Roster::new(&Settings { sessions_per_user: per_user, users, ..Settings::default() }))
    }

    fn ann() -> Arc<str> {
        "ann@example.org".into()
    }

    #[test]
    fn a_session_is_shown_as_it_told_and_until_it_ends() {
        let (roster, start) = (roster(1, Vec::new()), Instant::now());
        let first = roster.enrol(newcomer(1, start));
        let second = roster.enrol(newcomer(2, start + Duration::from_secs(1)));
        let (seat, now) = (second.seat(), start + Duration::from_secs(5));
        seat.enter(Phase::Client, start + Duration::from_secs(2));
        seat.introduce(&"é".repeat(PROGRAM_OCTETS));
        seat.count_commands(3);
        seat.received(10);
        seat.received(5);
        seat.sent(7);
        roster.log_in(seat, &ann(), Day(0), Err).unwrap();
        let shown = roster.sessions(now);
        assert_eq!(shown.iter().map(|session| session.id).collect::<Vec<_>>(), [1, 2], "the oldest first");
        assert_eq!(roster.sessions_of("ann@example.org", now), shown[1..]);
        let Session { user, program, age, phase, in_phase, slot_time, commands, octets_in, octets_out, ending, .. } = shown[1].clone();
        assert_eq!((user, program.map(|name| name.len()), age.as_secs()), (Some(ann()), Some(PROGRAM_OCTETS), 4));
        assert_eq!((phase, in_phase.as_secs(), slot_time.of(Phase::Own).as_secs()), (Phase::Client, 3, 1));
        assert_eq!((commands, octets_in, octets_out, ending), (3, 15, 7, false));
        drop((first, second));
        assert!(roster.sessions(now).is_empty());
    }

    #[test]
    fn a_user_has_so_many_sessions_over_all_listeners_and_they_come_back() {
        let (roster, now, today) = (roster(2, Vec::new()), Instant::now(), Day(0));
        let mut enrolled: Vec<_> = (0..3).map(|id| roster.enrol(newcomer(id, now))).collect();
        for enrolment in &enrolled[..2] {
            roster.log_in(enrolment.seat(), &ann(), today, Err).unwrap();
        }
        let full = roster.log_in(enrolled[2].seat(), &ann(), today, Err).unwrap_err();
        assert_eq!((full.held, full.limit), (2, 2));
        assert!(roster.log_in(enrolled[2].seat(), &"bob@example.org".into(), today, Err).is_ok(), "another's are another's");
        assert!(roster.log_in(enrolled[0].seat(), &ann(), today, Err).is_ok(), "once more is not one more");
        roster.log_out(enrolled[0].seat());
        assert!(roster.log_in(enrolled[2].seat(), &ann(), today, Err).is_ok());
        enrolled.clear();
        assert!(roster.lock().users.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_session_that_is_to_end_is_woken() {
        struct Woken(AtomicUsize);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let (roster, woken) = (roster(1, Vec::new()), Arc::new(Woken(AtomicUsize::new(0))));
        let enrolment = roster.enrol(newcomer(7, Instant::now()));
        enrolment.seat().attend(&Waker::from(Arc::clone(&woken)));
        assert!(!roster.end(8) && enrolment.seat().parting().is_none());
        assert!(roster.end(7));
        assert_eq!(enrolment.seat().parting(), Some(Parting::Ended));
        assert_eq!(woken.0.load(Relaxed), 1);
        drop(enrolment);
        assert!(!roster.end(7));
    }

    #[test]
    fn the_anonymous_session_that_has_rested_longest_gives_way_and_a_good_sender_last() {
        let (roster, start) = (roster(1, Vec::new()), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let good: IpAddr = [198, 51, 100, 1].into();
        let newcomers = [
            newcomer(0, start),
            Newcomer { source: good, ..newcomer(1, start) },
            Newcomer { draw: Draw::Reserved, ..newcomer(2, start) },
            newcomer(3, start),
            newcomer(4, start),
            newcomer(5, start),
            newcomer(6, start),
            Newcomer { draw: Draw::FirstPlace, ..newcomer(7, start) },
        ];
        let mut enrolled: Vec<_> = newcomers.map(|newcomer| roster.enrol(newcomer)).into();
        // 3 has given a password, 4 works, 5 is in the middle of something, 6 has come back to rest of late, 7 has a place of the reserve.
        let rested_since = [3, 2, 1, 1, 1, 1, 8, 1];
        for (number, enrolment) in enrolled.iter().enumerate() {
            enrolment.seat().enter(if number == 4 { Phase::Store } else { Phase::Client }, at(rested_since[number]));
            enrolment.seat().rest(number != 5);
        }
        roster.log_in(enrolled[3].seat(), &ann(), Day(0), Err).unwrap();
        let asked = |enrolled: &[Enrolment], wanted, now| {
            roster.give_way(wanted, now, Duration::from_secs(5), |source| source == good);
            enrolled.iter().filter(|one| one.seat().parting().is_some()).map(|one| one.seat().id()).collect::<Vec<_>>()
        };
        assert_eq!(asked(&enrolled, Wanted::General, at(6)), [0; 0], "nobody has rested for five seconds but those who may");
        assert_eq!(asked(&enrolled, Wanted::General, at(9)), [0], "before the good sender, who has rested longer");
        assert_eq!(asked(&enrolled, Wanted::General, at(10)), [0], "it is still leaving");
        assert_eq!(asked(&enrolled, Wanted::General, at(11)), [0, 1], "it takes too long");
        enrolled.retain(|one| one.seat().parting().is_none());
        assert_eq!(asked(&enrolled, Wanted::General, at(12)), [0; 0], "the place that 7 has is not what is lacking");
        assert_eq!(asked(&enrolled, Wanted::Any, at(12)), [0; 0], "no second search at once");
        assert_eq!(asked(&enrolled, Wanted::Any, at(13)), [7]);
        enrolled.retain(|one| one.seat().parting().is_none());
        assert_eq!(asked(&enrolled, Wanted::General, at(14)), [6]);
    }

    #[test]
    fn slot_time_counts_who_is_in_and_who_was_and_never_goes_back() {
        let (roster, start) = (roster(1, Vec::new()), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (first, second) = (roster.enrol(newcomer(1, start)), roster.enrol(newcomer(2, start)));
        first.seat().enter(Phase::Store, at(1));
        second.seat().enter(Phase::Client, at(2));
        let seconds = |now| roster.slot_time(now).iter().map(|(_, time)| time.as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(at(5)), [3, 0, 3, 4, 0]);
        first.seat().enter(Phase::Own, at(4));
        drop(first);
        assert_eq!(seconds(at(5)), [3, 0, 3, 4, 0], "what was told stays told");
        assert_eq!(seconds(at(9)), [7, 0, 3, 4, 0]);
    }

    #[test]
    fn a_seat_is_small() {
        // With its two counts, and its slot in a table that has just doubled.
        let octets = size_of::<Seat>() + 2 * size_of::<usize>() + 2 * (size_of::<(u64, Arc<Seat>)>() + 1);
        assert!(octets < 300, "{octets} octets");
    }
}
