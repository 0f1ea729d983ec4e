//! A session whose client becomes another, because a proxy that is believed says for whom it speaks.
//!
//! From then on the session counts where its client is and no longer where the proxy is, in all that is counted by source: the ceilings
//! at every level, the fair share, the entry in `clients`, how often somebody connects. The client is judged as if it had just been
//! accepted. The place itself stays, so the pool never has one more; only the right it is held by changes.
//!
//! What the session held before is given back first: a client that shares a network with its proxy does not stand in its own way. A
//! session that is refused therefore counts towards no ceiling any more, and has to end. Where a general place is what its client lacks,
//! somebody who only sits in one is asked to give way (R7), as for a client that is refused at the door.

use super::{Arrival, Gate};
use crate::client::Tenancy;
use crate::permit::{Permit, Taken};
use crate::refusal::{Refusal, Rule};
use crate::rules::Trial;
use crate::seat::Wanted;
use crate::source::Source;

impl Gate {
    /// Moves a session to the client of `arrival`, or says why that client may not come in. Who has authenticated stays
    /// beside the ceilings, and is refused only where nobody is let in.
    ///
    /// # Errors
    /// The first rule met. The session is to end: end it, and drop the permit.
    pub fn move_to(&self, permit: &mut Permit, arrival: &Arrival) -> Result<(), Refusal> {
        let source = Source::from(arrival.peer);
        if permit.leave_source() {
            self.rates.give_back(permit.source());
        }
        let rules = self.rules.load();
        let trial = Trial::new(&rules);
        let moved = match permit.is_authenticated() {
            true => self.admit_known(&trial, arrival, source),
            false => self.decide(&trial, arrival, source, permit.place()),
        };
        match moved {
            Ok(taken) => {
                taken.tenancy.iter().for_each(Tenancy::admitted);
                self.tally.shadow(trial.met());
                self.welcome_back(arrival);
                permit.settle(taken);
                Ok(())
            }
            Err(rule) => {
                if rule.is_want_of_places() {
                    // The session has a place, and with it ends whatever lack of those there is: what it has no right to is a general one.
                    self.want_place(&rules, Wanted::General, arrival.now);
                }
                Err(self.refuse(trial.failed(rule), arrival))
            }
        }
    }

    /// What is left to ask of somebody who has shown a password.
    fn admit_known(&self, trial: &Trial<'_>, arrival: &Arrival, source: Source) -> Result<Taken<()>, Rule> {
        self.node().check(arrival.brings_mail)?;
        if let Some(network) = trial.rules.denied(source.address()) {
            trial.meet(Rule::Denied { network })?;
        }
        let tenancy = trial.rules.clients.find(source.address(), self.day()).map(|(_, client)| client.enter_regardless());
        if tenancy.is_none() {
            self.check_ban(source, arrival.now)?;
        }
        Ok(Taken { place: (), held: self.sources.take_beside(source), tenancy, is_counted: false })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::client::{ClientSettings, Privilege};
    use crate::permit::ListenerId;
    use crate::pool::Draw;
    use crate::portion::Portion;
    use crate::rates;
    use crate::settings::Settings;
    use crate::source::Level;

    const PROXY: &str = "198.51.100.1";

    /// Two sessions for each address and three for each network; the proxy is exempt.
    fn settings() -> Settings {
        let entry = |name: &str, network: &str, class, sessions| ClientSettings {
            name: name.into(),
            networks: vec![network.parse().unwrap()],
            class,
            sessions,
            reason: None,
            expires: None,
        };
        Settings {
            max_inbound: 10,
            reserve: Portion::Places(4),
            fair_share_alpha: 0.0,
            sessions_per_address: 2,
            sessions_per_network: 3,
            clients: vec![entry("proxy", PROXY, Privilege::Exempt, None), entry("office", "203.0.113.0/24", Privilege::Trusted, Some(1))],
            deny: vec!["192.0.2.66".parse().unwrap()],
            ..Settings::default()
        }
    }

    fn open(settings: Settings) -> Gate {
        let gate = Gate::new(settings).unwrap();
        gate.open();
        gate
    }

    fn arrival(peer: &str) -> Arrival {
        Arrival { listener: ListenerId(7), peer: peer.parse().unwrap(), authenticates: false, brings_mail: true, now: Instant::now() }
    }

    fn through(gate: &Gate, client: &str) -> Result<Permit, Rule> {
        let mut permit = gate.admit(&arrival(PROXY)).unwrap();
        gate.move_to(&mut permit, &arrival(client)).map(|()| permit).map_err(|refusal| refusal.rule)
    }

    fn holders(gate: &Gate, level: Level) -> Vec<String> {
        gate.holders(level, 9).iter().map(|holder| format!("{} {}", holder.prefix, holder.sessions)).collect()
    }

    #[test]
    fn the_client_is_counted_at_every_level_and_the_proxy_at_none() {
        let gate = open(settings());
        let held = [through(&gate, "192.0.2.1").unwrap(), through(&gate, "192.0.2.1").unwrap()];
        assert_eq!(holders(&gate, Level::Address), ["192.0.2.1/32 2"]);
        assert_eq!(holders(&gate, Level::Network), ["192.0.2.0/24 2"]);
        let full = |prefix: &str, held, limit| Rule::SourceFull { prefix: prefix.parse().unwrap(), held, limit };
        assert_eq!(through(&gate, "192.0.2.1").unwrap_err(), full("192.0.2.1/32", 2, 2));
        let third = through(&gate, "192.0.2.2").unwrap();
        assert_eq!(through(&gate, "192.0.2.3").unwrap_err(), full("192.0.2.0/24", 3, 3));
        assert_eq!(gate.admit(&arrival("192.0.2.3")).unwrap_err().rule, full("192.0.2.0/24", 3, 3), "nor by another way");
        assert_eq!((gate.usage().in_use, gate.clients()[0].in_use), (3, 0));
        drop((held, third));
        assert_eq!((gate.usage().in_use, gate.usage().general, gate.snapshot().prefixes), (0, 0, 0));
    }

    #[test]
    fn the_class_of_the_client_counts_and_strangers_leave_the_reserve_alone() {
        let gate = open(settings());
        let mut held: Vec<_> = (1..=6).map(|host| through(&gate, &format!("192.0.{host}.1")).unwrap()).collect();
        assert!(held.iter().all(|permit| permit.draw() == Draw::General));
        let first = through(&gate, "192.0.7.1").unwrap();
        assert_eq!(first.draw(), Draw::FirstPlace);
        assert!(matches!(through(&gate, "192.0.1.1").unwrap_err(), Rule::UnreservedFull { general: 6, unreserved: 6, .. }));
        let office = through(&gate, "203.0.113.1").unwrap();
        assert_eq!((office.draw(), gate.clients()[1].in_use), (Draw::Reserved, 1));
        assert!(matches!(through(&gate, "203.0.113.2").unwrap_err(), Rule::ClientFull { held: 1, limit: 1, .. }));
        assert!(matches!(through(&gate, "192.0.2.66").unwrap_err(), Rule::Denied { .. }));
        // A general place is held on to, whoever else would like it.
        gate.move_to(&mut held[0], &arrival("192.0.1.2")).unwrap();
        gate.move_to(&mut held[0], &arrival("203.0.114.1")).unwrap();
        assert_eq!((held[0].draw(), gate.usage().general), (Draw::General, 6));
        drop((held, first, office));
        let snapshot = gate.snapshot();
        assert_eq!((snapshot.usage.in_use, snapshot.usage.general, snapshot.first_places, snapshot.prefixes), (0, 0, 0, 0));
    }

    #[test]
    fn a_client_beside_its_proxy_does_not_stand_in_its_own_way() {
        let gate = open(Settings { sessions_per_address: 1, sessions_per_network: 1, clients: Vec::new(), ..settings() });
        let mut permit = gate.admit(&arrival("192.0.2.1")).unwrap();
        for client in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
            gate.move_to(&mut permit, &arrival(client)).unwrap();
            assert_eq!(holders(&gate, Level::Address), [format!("{client}/32 1")]);
        }
        let office = Settings { clients: vec![ClientSettings { sessions: Some(1), ..settings().clients[0].clone() }], ..settings() };
        let gate = open(office);
        let mut permit = gate.admit(&arrival(PROXY)).unwrap();
        gate.move_to(&mut permit, &arrival(PROXY)).unwrap();
        assert_eq!(gate.clients()[0].in_use, 1);
    }

    #[test]
    fn who_has_a_password_moves_beside_the_ceilings_until_logged_out() {
        let gate = open(Settings { sessions_per_address: 1, ..settings() });
        let _stranger = through(&gate, "192.0.2.1").unwrap();
        let mut permit = gate.admit(&arrival(PROXY)).unwrap();
        permit.authenticate();
        gate.move_to(&mut permit, &arrival("192.0.2.1")).unwrap();
        assert_eq!((permit.draw(), holders(&gate, Level::Address)), (Draw::Reserved, vec!["192.0.2.1/32 2".to_owned()]));
        permit.log_out();
        assert!(matches!(gate.move_to(&mut permit, &arrival("192.0.2.1")).unwrap_err().rule, Rule::SourceFull { .. }));
        gate.move_to(&mut permit, &arrival("192.0.2.9")).unwrap();
        assert_eq!(permit.draw(), Draw::General);
    }

    #[test]
    fn about_to_authenticate_it_may_have_a_place_of_that_lane() {
        let gate = open(Settings { sessions_per_address: 1, ..settings() });
        let _stranger = through(&gate, "192.0.2.1").unwrap();
        let mut permit = gate.admit(&arrival(PROXY)).unwrap();
        gate.move_to(&mut permit, &Arrival { authenticates: true, ..arrival("192.0.2.1") }).unwrap();
        assert_eq!((permit.draw(), gate.snapshot().authenticating), (Draw::Authenticating, 1));
        permit.authenticate();
        assert_eq!((permit.draw(), gate.snapshot().authenticating), (Draw::Reserved, 0));
    }

    #[test]
    fn connections_are_the_clients_and_not_the_proxys() {
        let rates: rates::Settings = toml::from_str("connections_per_address = '1/1h'\nconnections = '3/1h'").unwrap();
        let gate = Gate::with_rates(Settings { clients: Vec::new(), ..settings() }, &rates).unwrap();
        gate.open();
        let too_often = |outcome: Result<Permit, Rule>| matches!(outcome, Err(Rule::TooOften { .. }));
        for client in ["192.0.2.1", "192.0.2.2"] {
            assert!(through(&gate, client).is_ok(), "the proxy has its own back");
        }
        assert!(too_often(through(&gate, "192.0.2.1")));
        // The total has counted each of them once.
        assert!(through(&gate, "192.0.2.3").is_ok());
        assert!(too_often(gate.admit(&arrival("192.0.2.4")).map_err(|refusal| refusal.rule)));
    }
}
