//! What may be typed about bans.

use clap::{Args, Subcommand};
use mail::Span;

use super::Asked;

#[derive(Debug, Subcommand)]
pub(crate) enum Ban {
    /// List the bans: whom, why, until when, by whom, and how many connections each has refused
    #[command(after_long_help = "Examples:\n  gatepost ban list\n  gatepost ban list --json | jq '.[].network'")]
    List(Asked),

    /// Let nobody in from an address or network, for a time
    ///
    /// In force at once, and kept over a restart; who is in stays in. Clients that gate.clients names, trusted proxies and networks that may relay are
    /// never banned. Another ban of the same network is replaced.
    #[command(after_long_help = "Examples:\n  gatepost ban add 192.0.2.7 --for 1d --reason \"guesses passwords\"\n  \
                           gatepost ban add 2001:db8:7::/48 --for 2h --reason \"spam run\"")]
    Add(AddBan),

    /// End a ban
    #[command(after_long_help = "Examples:\n  gatepost ban remove 192.0.2.7")]
    Remove(RemoveBan),
}

#[derive(Debug, Args)]
pub(crate) struct AddBan {
    /// An address or a network, as in 192.0.2.7 or 2001:db8::/48
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,

    /// For how long, as in 30m, 1h or 2d; at most 30d
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) time: Span,

    /// Why: for whoever reads the list
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,

    #[command(flatten)]
    pub(crate) asked: Asked,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveBan {
    /// The address or network, as it was banned
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,

    #[command(flatten)]
    pub(crate) asked: Asked,
}
