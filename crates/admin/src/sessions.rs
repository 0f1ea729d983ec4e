//! The sessions in use, shown and ended.

use std::net::IpAddr;
use std::time::Instant;

use events::{GateSteered, SessionId};
use gate::IpNet;

use crate::Admin;
use crate::wire::{Reply, Session, SessionsRequest};

impl Admin {
    /// Does what is asked.
    pub(crate) fn sessions(&self, request: SessionsRequest) -> Reply {
        let done = match request {
            SessionsRequest::List { user, source } => self.list(user.as_deref(), source.as_deref()).map(Reply::Sessions),
            SessionsRequest::End { id } => self.end(&id).map(|()| Reply::Done),
        };
        done.unwrap_or_else(|why| Reply::Refused(vec![why]))
    }

    fn list(&self, user: Option<&str>, source: Option<&str>) -> Result<Vec<Session>, String> {
        let (user, network) = (user.map(mail::canonical), source.map(network).transpose()?);
        let wanted = |session: &gate::Session| {
            user.as_deref().is_none_or(|user| session.user.as_deref() == Some(user))
                && network.is_none_or(|network| network.contains(&session.source.to_canonical()))
        };
        let sessions = self.gate.roster().sessions(Instant::now());
        Ok(sessions.into_iter().filter(wanted).map(|session| self.session(session)).collect())
    }

    fn end(&self, id: &str) -> Result<(), String> {
        let session: SessionId = id.parse().map_err(|_| format!("{id:?} is no session's id: `gatepost sessions` lists them"))?;
        if !self.gate.roster().end(session.0) {
            return Err(format!("there is no session {id} now: `gatepost sessions` lists them"));
        }
        self.told_to_end(session);
        Ok(())
    }

    /// Ends every session in which this account is logged in, each at its next command boundary, and any that is just logging in; how
    /// many there were.
    pub(crate) fn shut_out(&self, account: &str) -> usize {
        let sessions = self.gate.roster().shut_out(account, Instant::now());
        sessions.into_iter().inspect(|id| self.told_to_end(SessionId(*id))).count()
    }

    fn told_to_end(&self, session: SessionId) {
        self.events.emit(GateSteered { change: "session told to end", detail: &session });
    }

    fn session(&self, session: gate::Session) -> Session {
        let gate::Session { id, listener, source, user, program, age, phase, in_phase, slot_time, .. } = session;
        Session {
            id: SessionId(id).to_string(),
            listener: self.listening.get(usize::from(listener.0)).cloned(),
            source,
            class: self.gate.class_of(source).as_str().to_owned(),
            user: user.map(|user| user.to_string()),
            program: program.map(Into::into),
            seconds: age.as_secs_f64(),
            phase: phase.as_str().to_owned(),
            phase_seconds: in_phase.as_secs_f64(),
            slot_seconds: slot_time.iter().map(|(phase, time)| (phase.as_str().to_owned(), time.as_secs_f64())).collect(),
            commands: session.commands,
            octets_in: session.octets_in,
            octets_out: session.octets_out,
            ending: session.ending,
        }
    }
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| address.to_canonical().into()));
    parsed.ok_or_else(|| format!("{text:?} is neither an address nor a network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48"))
}
