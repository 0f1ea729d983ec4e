//! Who is shown, counted, asked for a place, and for how long.

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
fn who_is_shut_out_ends_and_whoever_was_only_about_to_log_in() {
    let (roster, start) = (roster(9, Vec::new()), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    let (bob, mut enrolled): (Arc<str>, Vec<_>) = ("bob@example.org".into(), (0..4).map(|id| roster.enrol(newcomer(id, at(id)))).collect());
    let log_in = |enrolment: &Enrolment, account: &Arc<str>| roster.log_in(enrolment.seat(), account, Day(0), Err).unwrap();
    log_in(&enrolled[1], &ann());
    log_in(&enrolled[0], &ann());
    log_in(&enrolled[3], &bob);
    assert_eq!(roster.shut_out("ann@example.org", at(3)), [0, 1]);
    let ended = |enrolled: &[Enrolment]| enrolled.iter().map(|one| one.seat().parting().is_some()).collect::<Vec<_>>();
    assert_eq!(ended(&enrolled), [true, true, false, false]);
    // Its password was right when it was looked at.
    log_in(&enrolled[2], &ann());
    enrolled.push(roster.enrol(newcomer(4, at(4))));
    log_in(&enrolled[4], &ann());
    assert_eq!(ended(&enrolled), [true, true, true, false, false]);

    enrolled.drain(..4);
    assert_eq!(roster.shut_out("bob@example.org", at(5)), [0; 0]);
    assert_eq!(roster.lock().shut_out.keys().collect::<Vec<_>>(), [&bob], "nothing is left behind");
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
    assert_eq!(seconds(at(5)), [3, 0, 3, 4, 0, 0]);
    first.seat().enter(Phase::Own, at(4));
    drop(first);
    assert_eq!(seconds(at(5)), [3, 0, 3, 4, 0, 0], "what was told stays told");
    assert_eq!(seconds(at(9)), [7, 0, 3, 4, 0, 0]);
}

#[test]
fn a_seat_is_small() {
    // With its two counts, and its slot in a table that has just doubled.
    let octets = size_of::<Seat>() + 2 * size_of::<usize>() + 2 * (size_of::<(u64, Arc<Seat>)>() + 1);
    assert!(octets < 300, "{octets} octets");
}
