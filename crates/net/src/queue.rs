//! Who waits for a place, and whose turn it is.
//!
//! Sources take turns, one of theirs at a time, the longest here first: a source that sends many waits no less for each of
//! them, and nobody waits longer because of it. Those with precedence take theirs before the others, who could not have all that they
//! may. When there is one too many, the source with the most gives up its newest, the
//! newcomer's where that is one of those: nobody can fill the room for others.
//!
//! Everything takes logarithmic time. A pure value: arrivals are numbered by the caller, upwards, and time is told. Cannot fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use crate::service::Turn;

/// Those who wait, each with a `T`.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// By number, so in the order of arrival.
    here: BTreeMap<u64, Waiter<T>>,
    sources: HashMap<IpAddr, Source>,
    /// The source whose turn is next comes first.
    turns: BTreeMap<Order, IpAddr>,
    /// How many each source has here.
    crowds: BTreeSet<(usize, IpAddr)>,
    last_turn: u64,
}

#[derive(Debug)]
struct Waiter<T> {
    source: IpAddr,
    since: Instant,
    item: T,
}

/// When a source's turn is: those with precedence, then the others, and among them who was served the longest ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    behind: bool,
    turn: u64,
}

#[derive(Debug)]
struct Source {
    order: Order,
    waiters: BTreeSet<u64>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { here: BTreeMap::new(), sources: HashMap::new(), turns: BTreeMap::new(), crowds: BTreeSet::new(), last_turn: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.here.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.here.len()
    }

    /// Takes in `number`, greater than all before it. Where that makes more than `most`, gives back who has to go, and their number.
    pub(crate) fn enter(&mut self, number: u64, turn: Turn, now: Instant, item: T, most: usize) -> Option<(u64, T)> {
        let Turn { source, precedence } = turn;
        self.here.insert(number, Waiter { source, since: now, item });
        let entry = self.sources.entry(source).or_insert_with(|| {
            self.last_turn += 1;
            let order = Order { behind: !precedence, turn: self.last_turn };
            self.turns.insert(order, source);
            Source { order, waiters: BTreeSet::new() }
        });
        self.crowds.remove(&(entry.waiters.len(), source));
        entry.waiters.insert(number);
        let own = entry.waiters.len();
        self.crowds.insert((own, source));
        if self.here.len() <= most {
            return None;
        }
        let (greatest, crowd) = *self.crowds.last()?;
        let whose = if own == greatest { source } else { crowd };
        let newest = *self.sources.get(&whose)?.waiters.last()?;
        Some((newest, self.leave(newest)?))
    }

    /// Whose turn it is, or would be if all up to `skipped` were not here.
    pub(crate) fn next(&self, skipped: Option<Order>) -> Option<(Order, &T)> {
        let (order, source) = self.turns.range((skipped.map_or(Unbounded, Excluded), Unbounded)).next()?;
        let first = self.sources.get(source)?.waiters.first()?;
        Some((*order, &self.here.get(first)?.item))
    }

    /// Takes out whose turn it is at `order`; their source is last then.
    pub(crate) fn serve(&mut self, order: Order) -> Option<T> {
        let source = *self.turns.get(&order)?;
        let number = *self.sources.get(&source)?.waiters.first()?;
        let served = self.leave(number);
        if let Some(entry) = self.sources.get_mut(&source) {
            self.turns.remove(&entry.order);
            self.last_turn += 1;
            entry.order.turn = self.last_turn;
            self.turns.insert(entry.order, source);
        }
        served
    }

    /// Takes out somebody who is here; turns stay as they are.
    pub(crate) fn leave(&mut self, number: u64) -> Option<T> {
        let Waiter { source, item, .. } = self.here.remove(&number)?;
        if let Some(entry) = self.sources.get_mut(&source) {
            self.crowds.remove(&(entry.waiters.len(), source));
            entry.waiters.remove(&number);
            if entry.waiters.is_empty() {
                self.turns.remove(&entry.order);
                self.sources.remove(&source);
            } else {
                self.crowds.insert((entry.waiters.len(), source));
            }
        }
        Some(item)
    }

    /// Since when the longest here has waited.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.here.first_key_value().map(|(_, waiter)| waiter.since)
    }

    /// Takes out the longest here.
    pub(crate) fn leave_oldest(&mut self) -> Option<T> {
        self.leave(*self.here.first_key_value()?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// A queue that names everybody `source-number`.
    struct Room(Queue<String>, u64, Instant, usize);

    impl Room {
        fn new(most: usize) -> Self {
            Self(Queue::new(), 0, Instant::now(), most)
        }

        /// Who had to go for them.
        fn enter(&mut self, sources: &[u8]) -> Vec<String> {
            let enter = |source: &u8| {
                self.1 += 1;
                let name = format!("{source}-{}", self.1);
                // Sources from 100 on have precedence.
                let turn = Turn { source: address(*source), precedence: *source >= 100 };
                self.0.enter(self.1, turn, self.2, name, self.3).map(|(_, name)| name)
            };
            let gone = sources.iter().filter_map(enter).collect();
            self.check();
            gone
        }

        fn serve_all(&mut self) -> Vec<String> {
            let served = std::iter::from_fn(|| {
                let (order, next) = self.0.next(None).map(|(order, next)| (order, next.clone()))?;
                let served = self.0.serve(order);
                assert_eq!(served, Some(next));
                self.check();
                served
            });
            served.collect()
        }

        fn serve_one(&mut self) -> Option<String> {
            let (order, _) = self.0.next(None)?;
            self.0.serve(order)
        }

        /// Nothing is kept of who has left, and nobody is forgotten.
        fn check(&self) {
            let Queue { here, sources, turns, crowds, .. } = &self.0;
            assert!(sources.values().all(|source| !source.waiters.is_empty() && turns.contains_key(&source.order)));
            assert_eq!(sources.values().map(|source| source.waiters.len()).sum::<usize>(), here.len());
            assert_eq!((turns.len(), crowds.len()), (sources.len(), sources.len()));
            assert!(crowds.iter().all(|(crowd, source)| sources[source].waiters.len() == *crowd));
        }
    }

    fn address(source: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, source).into()
    }

    #[test]
    fn sources_take_turns_and_each_serves_its_first_come_first() {
        let mut room = Room::new(100);
        assert_eq!(room.enter(&[1, 1, 1, 1, 2, 3, 2]), [""; 0]);
        assert_eq!(room.serve_all(), ["1-1", "2-5", "3-6", "1-2", "2-7", "1-3", "1-4"]);
        assert!(room.0.is_empty() && room.0.next(None).is_none());
    }

    #[test]
    fn those_with_precedence_take_turns_before_the_others() {
        let mut room = Room::new(100);
        room.enter(&[1, 2, 101, 101, 1, 102]);
        assert_eq!(room.serve_all(), ["101-3", "102-6", "101-4", "1-1", "2-2", "1-5"]);
    }

    #[test]
    fn who_cannot_have_what_is_there_is_passed_over_and_keeps_its_turn() {
        let mut room = Room::new(100);
        room.enter(&[1, 2, 2, 3]);
        let (first, _) = room.0.next(None).unwrap();
        let (second, next) = room.0.next(Some(first)).unwrap();
        assert_eq!(next, "2-2");
        assert_eq!(room.0.serve(second).unwrap(), "2-2");
        let (third, next) = room.0.next(Some(second)).unwrap();
        assert_eq!(next, "3-4", "2 is last now");
        assert_eq!(room.0.next(Some(third)).unwrap().1, "2-3");
        assert_eq!(room.serve_all(), ["1-1", "3-4", "2-3"]);
    }

    #[test]
    fn who_comes_while_others_are_served_comes_behind_them() {
        let mut room = Room::new(100);
        room.enter(&[1, 1, 2]);
        assert_eq!(room.serve_one().unwrap(), "1-1");
        room.enter(&[3]);
        assert_eq!(room.serve_all(), ["2-3", "1-2", "3-4"]);
    }

    #[test]
    fn one_who_leaves_changes_nobodys_turn() {
        let mut room = Room::new(100);
        room.enter(&[1, 1, 2, 3]);
        assert_eq!(room.0.leave(1).unwrap(), "1-1");
        assert_eq!(room.0.leave(3).unwrap(), "2-3");
        assert_eq!((room.0.leave(3), room.0.leave(99)), (None, None));
        room.check();
        // A source that had left altogether is a new one.
        room.enter(&[2]);
        assert_eq!(room.serve_all(), ["1-2", "3-4", "2-5"]);
    }

    #[test]
    fn a_full_room_sends_away_the_newest_of_the_greatest_crowd() {
        let mut room = Room::new(4);
        assert_eq!(room.enter(&[1, 1, 1, 1]), [""; 0]);
        assert_eq!(room.enter(&[1]), ["1-5"], "a crowd gets no room by pushing");
        assert_eq!(room.enter(&[2, 3, 4]), ["1-4", "1-3", "1-2"]);
        assert_eq!(room.enter(&[5]), ["5-9"], "nobody has more than one: the newcomer goes");
        assert_eq!(room.enter(&[2]), ["2-10"]);
        assert_eq!(room.serve_all(), ["1-1", "2-6", "3-7", "4-8"]);
    }

    #[test]
    fn the_oldest_leaves_when_its_time_is_over() {
        let mut room = Room::new(9);
        room.enter(&[1]);
        let start = room.2;
        room.2 += std::time::Duration::from_secs(1);
        room.enter(&[2]);
        assert_eq!(room.0.oldest(), Some(start));
        assert_eq!(room.0.leave_oldest().unwrap(), "1-1");
        assert_eq!(room.0.oldest(), Some(room.2));
        assert_eq!((room.0.leave_oldest().unwrap().as_str(), room.0.leave_oldest(), room.0.oldest()), ("2-2", None, None));
        room.check();
    }

    /// However they come and go, all is in order; at no time does one source's crowd keep another out.
    #[test]
    fn a_long_coming_and_going_keeps_everything_in_order() {
        let (mut room, mut random) = (Room::new(8), 1_u32);
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match random >> 28 {
                0..9 => drop(room.enter(&[(random >> 20 & 7) as u8])),
                9..13 => drop(room.serve_one()),
                13..15 => drop(room.0.leave(room.1.saturating_sub(u64::from(random >> 20 & 7)))),
                _ => drop(room.0.leave_oldest()),
            }
            room.check();
            assert!(room.0.here.len() <= 8);
        }
        let mut crowd = Room::new(8);
        crowd.enter(&[7; 100]);
        let sources: Vec<u8> = (10..17).collect();
        assert!(crowd.enter(&sources).iter().all(|gone| gone.starts_with("7-")));
    }
}
