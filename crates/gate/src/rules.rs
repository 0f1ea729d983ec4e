//! What the settings come to, ready to decide by: read once for each admission, replaced whole by a reload.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::client::Clients;
use crate::limit::Shadow;
use crate::network::Networks;
use crate::settings::Settings;
use crate::share::Share;
use crate::sources::Ceilings;

/// The rules in force.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) ceilings: Ceilings,
    pub(crate) share: Share,
    pub(crate) shadow: Shadow,
    pub(crate) clients: Clients,
    pub(crate) deny: Networks<()>,
    /// Sessions about to authenticate that one source may have at once.
    pub(crate) authenticating_per_source: u32,
    pub(crate) settings: Settings,
}

impl Rules {
    /// The rules that `settings` come to, in the place of `before`. The settings have no faults.
    pub(crate) fn new(settings: Settings, before: Option<&Self>) -> Self {
        Self {
            ceilings: Ceilings::of(&settings),
            share: Share::new(settings.fair_share_alpha),
            shadow: Shadow::of(&settings),
            clients: Clients::new(&settings.clients, before.map(|before| &before.clients)),
            deny: settings.deny.iter().map(|network| (network.0, ())).collect::<Networks<()>>(),
            authenticating_per_source: settings.size().authenticating.div_ceil(2),
            settings,
        }
    }

    /// The denied network that `address` is in.
    pub(crate) fn denied(&self, address: IpAddr) -> Option<IpNet> {
        self.deny.find(address, |()| true).map(|(network, ())| network)
    }
}
