//! What may be typed about messages that are held.

use clap::{Args, Subcommand};

use super::{Asked, Server};

#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// List what is held: id, mailbox, when it came, from whom, its size and why; the oldest 10,000
    #[command(after_long_help = "Examples:\n  gatepost quarantine list\n  gatepost quarantine list --user ann@example.org\n  \
                           gatepost quarantine list --json | jq '.[].reason'")]
    List(ListHeld),

    /// Print a message that is held, as its recipients would fetch it
    ///
    /// On a terminal what it would obey is shown and not sent to it.
    #[command(after_long_help = "Examples:\n  gatepost quarantine show 01ARZ3NDEKTSV4RRFFQ69G5FAV\n  \
                           gatepost quarantine show 01ARZ3NDEKTSV4RRFFQ69G5FAV > held.eml")]
    Show(ShowHeld),

    /// Let a message be seen: POP3 lists it from the next login on
    #[command(after_long_help = "Examples:\n  gatepost quarantine release 01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    Release(DecideHeld),

    /// Delete a message that is held; nobody is told
    #[command(after_long_help = "Examples:\n  gatepost quarantine remove 01ARZ3NDEKTSV4RRFFQ69G5FAV --user ann@example.org")]
    Remove(DecideHeld),
}

#[derive(Debug, Args)]
pub(crate) struct ListHeld {
    /// Only what is in this account's mailbox
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) user: Option<String>,

    #[command(flatten)]
    pub(crate) asked: Asked,
}

#[derive(Debug, Args)]
pub(crate) struct ShowHeld {
    /// The message, as the list names it
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct DecideHeld {
    /// The message, as the list names it
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Only in this account's mailbox, where it is held in several
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) user: Option<String>,

    #[command(flatten)]
    pub(crate) server: Server,
}
