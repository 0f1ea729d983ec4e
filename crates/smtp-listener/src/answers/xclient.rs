//! The answer to XCLIENT: from here on the session is that of the client the proxy speaks for.
//!
//! May be dropped at any time, as [`Answers::answer`] may.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ::screening::Manners;
use bytes::BytesMut;
use events::{AuthSucceeded, StoreFailed};
use gate::{Permit, Phase};
use smtp::{Reply, Told, Xclient};

use super::Answers;
use crate::{Shared, rescue};

impl Answers {
    /// Who may say it was decided when the session began. From here on the session is its client's for all that is counted: who has
    /// logged in with the proxy has logged in, and the gate judges where the client is as if it had connected here.
    pub(super) async fn xclient(&mut self, question: Xclient<'_>, permit: &mut Permit) {
        self.transaction = None;
        let (told, mut address, mut identity) = (question.client(), None, None);
        if let Told::Is(client) = told.address {
            address = Some(client);
        }
        match &told.login {
            Told::Is(login) => match self.speak_for_user(login, address.unwrap_or(self.source)).await {
                Ok(account) => {
                    permit.authenticate();
                    identity = Some(account);
                }
                Err(reply) => return question.reject(reply),
            },
            Told::Unavailable => {
                self.log_out(permit);
                address = address.or(Some(self.source));
            }
            Told::No => {}
        }
        if let Some(client) = address {
            if let Err(line) = self.move_to(client, permit) {
                return question.turn_away(&line);
            }
            (self.source, self.manners) = (client, Manners::Unknown);
        }
        // Those are the proxy's.
        self.bond = None;
        question.accept(identity.as_deref());
    }

    /// TLS begins, and what was said in clear counts for nothing (RFC 3207 §4.2), a login that a proxy told of either: its client is judged
    /// anew.
    ///
    /// # Errors
    /// What a client hears that may not come in without the login. The session is to end.
    pub(crate) fn forget_login(&mut self, permit: &mut Permit) -> Result<(), BytesMut> {
        self.log_out(permit);
        self.move_to(self.source, permit)
    }

    /// The session is nobody's any more, and to be [judged anew](Self::move_to).
    fn log_out(&self, permit: &mut Permit) {
        self.shared.gate.roster().log_out(&self.seat);
        permit.log_out();
    }

    /// The session is that of `client`, who is judged as if it had connected here; or what a client hears that may not come in.
    fn move_to(&self, client: IpAddr, permit: &mut Permit) -> Result<(), BytesMut> {
        let (arrival, mut line) = (self.shared.arrival(SocketAddr::new(client, 0)), BytesMut::new());
        let moved = self.shared.gate.move_to(permit, &arrival);
        moved.map(|()| self.seat.speak_for(client, permit.draw())).map_err(|refusal| {
            self.shared.refuse(&refusal, &arrival, &mut line);
            line
        })
    }

    /// The session is that of a user who has logged in with the proxy: it counts as one of theirs. The name of the account, however the proxy
    /// spells it; somebody without an account here goes by the canonical spelling of what the proxy says.
    async fn speak_for_user(&mut self, login: &str, source: IpAddr) -> Result<Arc<str>, Reply> {
        let known = self.seat.during(Phase::Store, net::now, self.shared.store.account(login)).await;
        let known = known.map_err(|error| {
            self.shared.events.emit(StoreFailed { operation: "account", cause: &error, now: net::now() });
            rescue::reply(&error)
        })?;
        let account = known.map_or_else(|| mail::canonical(login).into(), |account| account.name);
        let Shared { events, listener, .. } = &*self.shared;
        let session = self.session;
        self.shared.log_in(&self.seat, session, source, &account).map_err(|full| self.user_full(full, &account))?;
        events.emit(AuthSucceeded { listener, session, source, account: &account, mechanism: "XCLIENT" });
        Ok(account)
    }
}
