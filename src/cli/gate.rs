//! What may be typed about the gate and its sessions.

use clap::{Args, Subcommand, ValueEnum};
use mail::Span;

use super::{Asked, Server};

#[derive(Debug, Subcommand)]
pub(crate) enum Gate {
    /// Say why a connection was refused
    ///
    /// Every refusal ends with a token in brackets. This shows the rule it met, the key of the configuration that set the limit and
    /// its line, limit and use at that instant, what the client's address held, who held the most, and what to do. The last
    /// 65,536 refusals since the start are remembered.
    #[command(after_long_help = "Examples:\n  gatepost gate explain R4.k3f9\n  gatepost gate explain R2.0a1b --json")]
    Explain(Explain),

    /// Say how full the gate is, what the sessions' time goes to, who holds the most, and what was refused
    #[command(after_long_help = "Examples:\n  gatepost gate status\n  gatepost gate status --json | jq .phases")]
    Status(Asked),

    /// Say whether those who were refused came back, when, and whether their mail came in
    ///
    /// Each source that brings mail and was refused for now since the server started, by its address (IPv6: by its /64); first those that have not
    /// come in since. One that has not within four hours is missing: mail may be stuck there. Remembered for a day and more,
    /// 32,768 sources known to be good and as many others.
    #[command(after_long_help = "Examples:\n  gatepost gate returns --missing\n  gatepost gate returns --json | jq '.sources[].prefix'")]
    Returns(Returns),

    /// Have another limit for a time, whatever the file says
    ///
    /// It is in force at once and ends by itself; nobody is put out. A reload keeps it and says so, a restart ends it. For good, edit
    /// the file and reload.
    #[command(after_long_help = "Examples:\n  gatepost gate set max_inbound 500 --for 1h\n  gatepost gate set max_inbound --undo")]
    Set(Set),
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// What stands in the brackets, as in R4.k3f9
    #[arg(value_name = "TOKEN")]
    pub(crate) token: String,

    #[command(flatten)]
    pub(crate) asked: Asked,
}

#[derive(Debug, Args)]
pub(crate) struct Returns {
    /// Only those that have not come in for four hours
    #[arg(long)]
    pub(crate) missing: bool,

    /// How many to list
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub(crate) most: usize,

    #[command(flatten)]
    pub(crate) asked: Asked,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// What to set
    #[arg(value_name = "KEY")]
    pub(crate) key: SetKey,

    /// Its value
    #[arg(value_name = "VALUE", required_unless_present = "undo", requires = "time")]
    pub(crate) value: Option<u32>,

    /// For how long, as in 30m, 1h or 2d; at most 7d
    #[arg(long = "for", id = "time", value_name = "TIME")]
    pub(crate) time: Option<Span>,

    /// Go by the file again
    #[arg(long, conflicts_with_all = ["value", "time"])]
    pub(crate) undo: bool,

    #[command(flatten)]
    pub(crate) asked: Asked,
}

/// What can be set for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SetKey {
    /// Sessions there may be at once
    #[value(name = "max_inbound")]
    MaxInbound,
}

#[derive(Debug, Args)]
pub(crate) struct Sessions {
    #[command(subcommand)]
    pub(crate) end: Option<EndSession>,

    /// Only those of this account
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) user: Option<String>,

    /// Only those from this address or network, as in 192.0.2.7 or 2001:db8::/48
    #[arg(long, value_name = "NETWORK")]
    pub(crate) source: Option<String>,

    #[command(flatten)]
    pub(crate) asked: Asked,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EndSession {
    /// End sessions
    ///
    /// Each is told so at its next command, at once while it waits for one; a message that is coming in is finished first. Its client is
    /// told to try again later, and may.
    #[command(after_long_help = "Examples:\n  gatepost sessions end 1hq3c5k8000a")]
    End(SessionIds),
}

#[derive(Debug, Args)]
pub(crate) struct SessionIds {
    /// Their ids, as `gatepost sessions` and the log show them
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Take sessions again
    #[arg(long)]
    pub(crate) undo: bool,

    #[command(flatten)]
    pub(crate) asked: Asked,
}
