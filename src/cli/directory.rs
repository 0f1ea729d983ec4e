//! What may be typed about accounts, domains, aliases and lists.

use std::path::PathBuf;

use admin::Limit;
use clap::{Args, Subcommand, ValueEnum};
use mail::ByteSize;

use super::{Asked, Server};

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Add an account
    ///
    /// Its domain must be there: `gatepost domain add`. The password is asked for twice, without showing it, unless one of the
    /// options says where it comes from. It must have eight characters. With --data-dir it is hashed by the defaults of [auth]: where hash_memory or
    /// hash_passes differ, name the configuration instead.
    #[command(after_long_help = "Examples:\n  gatepost user add ann@example.org\n  gatepost user add ann@example.org --generate\n  \
                                 pass show mail/ann | gatepost user add ann@example.org --password-file -")]
    Add(WithPassword),
    /// Set a new password
    ///
    /// The account's open sessions end at their next command, at once while they wait for one: whoever had the old password is out.
    /// With --data-dir the password is hashed by the defaults of [auth]: where hash_memory or hash_passes differ, name the configuration instead.
    #[command(after_long_help = "Examples:\n  gatepost user passwd ann@example.org")]
    Passwd(WithPassword),
    /// Change what an account may hold, and where its mail goes as well
    ///
    /// A mailbox that is full is told so to whoever sends to it: 452 4.2.2, come back later. Settings that are not named stay as they are.
    #[command(after_long_help = "Examples:\n  gatepost user set ann@example.org --quota 2GiB --messages 10000\n  \
                                 gatepost user set ann@example.org --quota domain\n  \
                                 gatepost user set ann@example.org --forward ann@example.com")]
    Set(SetUser),
    /// Remove an account and all of its mail
    ///
    /// Its open sessions end at their next command, at once while they wait for one.
    Remove(Named),
    /// List the accounts, what they hold and what they may
    List(Asked),
}

#[derive(Debug, Args)]
pub(crate) struct WithPassword {
    /// The account's address
    #[arg(value_name = "ADDRESS")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) password: PasswordSource,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct SetUser {
    /// The account's address
    #[arg(value_name = "ADDRESS")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) settings: UserSettings,

    #[command(flatten)]
    pub(crate) server: Server,
}

/// At least one of them.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct UserSettings {
    /// How much its mailbox may hold, as in 2GiB; "none" for no limit, "domain" for the domain's
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| limit(text, true, octets))]
    pub(crate) quota: Option<Limit>,

    /// How many messages it may hold; "none" for no limit, "domain" for the domain's
    #[arg(long, value_name = "NUMBER", value_parser = |text: &str| limit(text, true, messages))]
    pub(crate) messages: Option<Limit>,

    /// An address at another host that its mail goes to as well; may be given several times, and replaces what was set; "" for none
    ///
    /// This version cannot send to other hosts: forwarding begins with the version that can. All mail stays in the mailbox, too.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) forward: Option<Vec<String>>,
}

/// Where a password comes from. With neither: asked for on a terminal, else the first line of standard input.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct PasswordSource {
    /// Make a password and print it
    #[arg(long)]
    pub(crate) generate: bool,

    /// Read the password from the first line of a file, or of standard input for "-"
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

/// One thing by its name.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Domain {
    /// Take mail for a domain, or change who its postmaster is
    ///
    /// A name in UTF-8 and its ASCII form, xn--..., are one domain, here and wherever an address is written. It is kept in ASCII.
    #[command(
        after_long_help = "Examples:\n  gatepost domain add example.org\n  gatepost domain add example.org --postmaster ann@example.org"
    )]
    Add(AddDomain),
    /// Change what is done with a domain's addresses
    ///
    /// An address is looked up in this order: the account or alias of exactly this address; the same without the delimiter and the
    /// detail behind it; the postmaster, if it is for that; the catch-all. Settings that are not named stay as they are.
    #[command(after_long_help = "Examples:\n  gatepost domain set example.org --catch-all ann@example.org\n  \
                                 gatepost domain set example.org --delimiter - --catch-all \"\"")]
    Set(SetDomain),
    /// Take no more mail for a domain; it must have no accounts, aliases and lists left
    Remove(Named),
    /// List the domains
    List(Asked),
}

#[derive(Debug, Args)]
pub(crate) struct AddDomain {
    /// The domain
    #[arg(value_name = "DOMAIN")]
    pub(crate) name: String,

    /// Who gets the postmaster's mail; without it, the domain's first account
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) postmaster: Option<String>,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct SetDomain {
    /// The domain
    #[arg(value_name = "DOMAIN")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) settings: DomainSettings,

    #[command(flatten)]
    pub(crate) server: Server,
}

/// At least one of them.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct DomainSettings {
    /// Who gets the postmaster's mail; "" for the domain's first account
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) postmaster: Option<String>,

    /// What separates an address from its detail, one of + - = _ . # ~; "" for nothing. A new domain has +
    ///
    /// With + mail for ann+shop@example.org goes to ann@example.org, unless somebody is called ann+shop@example.org.
    #[arg(long, value_name = "CHARACTER", allow_hyphen_values = true)]
    pub(crate) delimiter: Option<String>,

    /// Who gets mail for addresses that nobody has; "" for nobody, so that it is refused
    ///
    /// A catch-all takes what spammers guess, too.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) catch_all: Option<String>,

    /// How much a mailbox may hold of an account that has no quota of its own, as in 2GiB; "none" for no limit
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| limit(text, false, octets))]
    pub(crate) quota: Option<Limit>,

    /// How many messages it may hold; "none" for no limit
    #[arg(long, value_name = "NUMBER", value_parser = |text: &str| limit(text, false, messages))]
    pub(crate) messages: Option<Limit>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alias {
    /// Add an alias, or give one other targets
    #[command(visible_alias = "put", after_long_help = "Examples:\n  gatepost alias add sales@example.org ann@example.org bob@example.org")]
    Add(AddAlias),
    /// Remove an alias
    Remove(Named),
    /// List the aliases
    List(Asked),
}

#[derive(Debug, Args)]
pub(crate) struct AddAlias {
    /// The alias
    #[arg(value_name = "ALIAS")]
    pub(crate) name: String,

    /// The accounts, aliases and lists it stands for
    #[arg(value_name = "TARGET", required = true)]
    pub(crate) targets: Vec<String>,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::enum_variant_names, reason = "`gatepost list list` lists the lists, as `alias list` the aliases")]
pub(crate) enum List {
    /// Add a list
    ///
    /// Members are accounts, aliases and lists here, at least one, and addresses at other hosts, which are kept for the version that can send
    /// there.
    #[command(after_long_help = "Examples:\n  gatepost list add team@example.org ann@example.org bob@example.org\n  \
                                 gatepost list add news@example.org ann@example.org --posting anyone")]
    Add(AddList),
    /// Change who is a member of a list, or who may post
    #[command(after_long_help = "Examples:\n  gatepost list set team@example.org --join eve@example.org --leave bob@example.org\n  \
                                 gatepost list set team@example.org --posting domain")]
    Set(SetList),
    /// Remove a list
    Remove(Named),
    /// List the lists
    List(Asked),
}

#[derive(Debug, Args)]
pub(crate) struct AddList {
    /// The list's address
    #[arg(value_name = "ADDRESS")]
    pub(crate) name: String,

    /// Its members
    #[arg(value_name = "MEMBER", required = true)]
    pub(crate) members: Vec<String>,

    /// Who may post; those who must be members or of the domain must log in to send
    #[arg(long, value_name = "WHO", value_enum, default_value = "members")]
    pub(crate) posting: Posting,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct SetList {
    /// The list's address
    #[arg(value_name = "ADDRESS")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) settings: ListSettings,

    #[command(flatten)]
    pub(crate) server: Server,
}

/// At least one of them.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct ListSettings {
    /// Who may post from now on
    #[arg(long, value_name = "WHO", value_enum)]
    pub(crate) posting: Option<Posting>,

    /// Who is a member from now on; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) join: Vec<String>,

    /// Who is no longer; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) leave: Vec<String>,
}

/// Who may post to a list.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Posting {
    /// Whoever sends mail
    Anyone,
    /// Accounts that get the list's mail
    Members,
    /// Accounts of the list's domain
    Domain,
}

/// A limit, "none", or for an account "domain".
fn limit(text: &str, of_account: bool, number: fn(&str) -> Result<u64, String>) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit::None),
        "domain" if of_account => Ok(Limit::Domain),
        _ => number(text).map(Limit::At),
    }
}

fn octets(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>().map(|size| size.0).map_err(|error| error.to_string())
}

fn messages(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number of messages: write a whole number"))
}
