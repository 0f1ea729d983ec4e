//! What is asked of a connection, in this order, and what it takes on its way in.
//!
//! Guarantees: whatever was taken before a question is answered with no goes back as it is dropped, in the reverse order; of the rates a
//! connection takes only when it comes in. Refuses with the first [`Rule`] met that is not in shadow.
//!
//! None of the checks fails. Should one panic all the same, which would be an error of ours, mail goes before order: who came is
//! let in where the pool has a place for anybody. An error in handing out the place refuses, because what the pool says could not be relied
//! on, and is not tried again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::{Arrival, Gate};
use crate::client::{Client, Privilege, Tenancy};
use crate::permit::Taken;
use crate::places::Places;
use crate::pool::{Draw, Usage};
use crate::rates::Counted;
use crate::refusal::Rule;
use crate::rules::{Rules, Trial};
use crate::source::Source;
use crate::sources::{Held, Standing};

impl Gate {
    /// The checks of an admission. Whatever was taken before one of them refuses goes back as it is dropped.
    pub(super) fn decide<P: Places>(
        &self,
        trial: &Trial<'_>,
        arrival: &Arrival,
        source: Source,
        places: &mut P,
    ) -> Result<Taken<P::Place>, Rule> {
        self.node().check(arrival.brings_mail)?;
        if let Some(network) = trial.rules.denied(source.address()) {
            trial.meet(Rule::Denied { network })?;
        }
        // What is shared are atomics, locks that no panic poisons and values that undo themselves: whole, whatever happens.
        let mut places = Watched { places, is_drawing: false };
        let decided = catch_unwind(AssertUnwindSafe(|| self.decide_by_class(trial, arrival, source, &mut places)));
        decided.unwrap_or_else(|_told_by_the_panic_hook| self.let_in_plainly(source, places))
    }

    /// Who is no client of the operator's may be banned.
    pub(super) fn check_ban(&self, trial: &Trial<'_>, source: Source, now: Instant) -> Result<(), Rule> {
        let ban = self.banned(source, now);
        ban.map_or(Ok(()), |ban| trial.meet(Rule::Banned { network: ban.network, is_automatic: ban.is_automatic }))
    }

    /// What becomes of somebody about whom a check has panicked.
    fn let_in_plainly<P: Places>(&self, source: Source, mut places: Watched<'_, P>) -> Result<Taken<P::Place>, Rule> {
        self.tally.fault();
        if places.is_drawing {
            return Err(Rule::from(self.pool.usage()));
        }
        let let_in = || {
            let (place, held) = (places.draw(Draw::General)?, self.sources.take_beside(source));
            Ok(Taken { place, held, tenancy: None, is_counted: false })
        };
        catch_unwind(AssertUnwindSafe(let_in)).unwrap_or_else(|_told_by_the_panic_hook| Err(Rule::from(self.pool.usage())))
    }

    fn decide_by_class<P: Places>(
        &self,
        trial: &Trial<'_>,
        arrival: &Arrival,
        source: Source,
        places: &mut P,
    ) -> Result<Taken<P::Place>, Rule> {
        match trial.rules.clients.find(source.address(), self.day()) {
            Some((network, client)) => {
                trial.name();
                let full = |(held, limit)| trial.meet(Rule::ClientFull { network, held, limit }).map(|()| client.enter_regardless());
                let tenancy = client.enter().or_else(full)?;
                self.decide_client(trial, arrival.now, source, (client, tenancy), places)
            }
            None => {
                self.check_ban(trial, source, arrival.now)?;
                self.decide_stranger(trial, arrival, source, places)
            }
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
            let in_lane = arrival.authenticates.then(|| self.seat_in_lane(trial.rules, source, arrival.now, places)).flatten();
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

    /// A place of those kept for people about to show a password. Where the source has its part of them, but somebody only sits in one, that
    /// one is on its way out: the newcomer does not wait for it, and the source has one more than its part until then. Nobody is put out for whom
    /// there is no place all the same.
    fn seat_in_lane<P: Places>(&self, rules: &Rules, source: Source, now: Instant, places: &mut P) -> Option<(P::Place, Held)> {
        let held = self.sources.take_authenticating(source, rules.authenticating_per_source).or_else(|| {
            let (_, widest) = source.prefixes().last()?;
            let has_place = places.usage().free() > 0 && self.pool.lane_has_room(Draw::Authenticating);
            let gives_way = has_place && rules.authenticating_per_source > 0 && self.roster.lane_gives_way(widest, now);
            gives_way.then(|| self.sources.take_authenticating(source, u32::MAX)).flatten()
        })?;
        Some((places.draw(Draw::Authenticating).ok()?, held))
    }
}

/// Places of which is known, after a panic, whether it came while one was drawn.
struct Watched<'p, P> {
    places: &'p mut P,
    is_drawing: bool,
}

impl<P: Places> Places for Watched<'_, P> {
    type Place = P::Place;

    fn usage(&self) -> Usage {
        self.places.usage()
    }

    fn draw(&mut self, draw: Draw) -> Result<P::Place, Usage> {
        self.is_drawing = true;
        let drawn = self.places.draw(draw);
        self.is_drawing = false;
        drawn
    }
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::*;
    use crate::permit::ListenerId;
    use crate::settings::Settings;

    /// Places of which the look at the pool, which the fair share takes, or the drawing of a place fails by an error of ours.
    struct Broken<'g> {
        gate: &'g Gate,
        in_drawing: bool,
        draws: u32,
    }

    impl Places for Broken<'_> {
        type Place = crate::pool::Place;

        fn usage(&self) -> Usage {
            if self.in_drawing { self.gate.usage() } else { resume_unwind(Box::new("an error of ours")) }
        }

        fn draw(&mut self, draw: Draw) -> Result<Self::Place, Usage> {
            self.draws += 1;
            // The first one only: whoever tried again would get a place.
            if self.in_drawing && self.draws == 1 { resume_unwind(Box::new("an error of ours")) } else { self.gate.pool.acquire(draw) }
        }
    }

    fn decide(gate: &Gate, in_drawing: bool) -> Result<Taken, Rule> {
        let (rules, peer) = (gate.rules.load(), "192.0.2.1".parse().unwrap());
        let arrival = Arrival { listener: ListenerId(0), peer, authenticates: false, brings_mail: true, now: Instant::now() };
        gate.decide(&Trial::new(&rules), &arrival, Source::from(peer), &mut Broken { gate, in_drawing, draws: 0 })
    }

    fn gate(settings: Settings) -> Gate {
        let gate = Gate::new(settings).unwrap();
        gate.open();
        gate
    }

    #[test]
    fn an_error_before_the_pool_lets_in_while_there_is_room_and_is_counted() {
        let gate = gate(Settings { max_inbound: 2, sessions_per_address: 1, ..Settings::default() });
        let only = decide(&gate, false).unwrap();
        assert_eq!((only.place.draw(), gate.snapshot().faults_total), (Draw::General, 1));
        assert!(
            matches!(decide(&gate, false).map(drop), Err(Rule::UnreservedFull { general: 1, unreserved: 1, .. })),
            "never more than the pool has"
        );
        assert_eq!((gate.usage().in_use, gate.snapshot().prefixes, gate.snapshot().faults_total), (1, 2, 2));
        drop(only);
        assert_eq!((gate.usage().in_use, gate.snapshot().prefixes), (0, 0), "what was taken before the error is back, too");
    }

    #[test]
    fn an_error_of_the_pool_refuses_for_now() {
        let gate = gate(Settings::default());
        assert!(matches!(decide(&gate, true).map(drop), Err(Rule::UnreservedFull { .. })));
        assert_eq!((gate.usage().in_use, gate.snapshot().prefixes, gate.snapshot().faults_total), (0, 0, 1));
    }

    #[test]
    fn an_error_lets_nobody_in_whom_the_node_or_the_operator_does_not_want() {
        let gate = gate(Settings { deny: vec!["192.0.2.0/24".parse().unwrap()], ..Settings::default() });
        assert!(matches!(decide(&gate, false).map(drop), Err(Rule::Denied { .. })));
        gate.drain();
        assert_eq!(decide(&gate, false).map(drop), Err(Rule::Restarting));
        assert_eq!(gate.snapshot().faults_total, 0);
    }
}
