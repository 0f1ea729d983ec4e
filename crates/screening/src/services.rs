//! Services of the operator's that are asked about messages.

use crate::Error;
use crate::dns::Dns;
use crate::hook::Hook;
use crate::http::Http;
use crate::milter::Milter;
use crate::rspamd::Rspamd;

/// Those that there are; by default none.
#[derive(Default)]
pub struct Services {
    http: Option<Http>,
    rspamd: Option<Rspamd>,
    hooks: Vec<Hook>,
    milters: Vec<Milter>,
}

impl Services {
    /// These, whose names `dns` looks up. To be called within a runtime.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(rspamd: Option<Rspamd>, hooks: Vec<Hook>, milters: Vec<Milter>, dns: &Dns) -> Result<Self, Error> {
        let wanted = rspamd.is_some() || !hooks.is_empty();
        let http = wanted.then(|| Http::new(dns.clone())).transpose()?;
        Ok(Self { http, rspamd, hooks, milters })
    }

    pub(crate) fn rspamd(&self) -> Option<(&Http, &Rspamd)> {
        self.http.as_ref().zip(self.rspamd.as_ref())
    }

    pub(crate) fn milters(&self) -> &[Milter] {
        &self.milters
    }

    pub(crate) fn hooks(&self) -> Option<(&Http, &[Hook])> {
        self.http.as_ref().zip(Some(&*self.hooks).filter(|hooks| !hooks.is_empty()))
    }
}
