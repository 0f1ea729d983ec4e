//! The command line: what may be typed, and the help for it. Parses, and does nothing else; `command` acts.
//!
//! Passwords are never on the command line, where every user of the machine could read them: they are asked for, or read from a
//! file or standard input. Exit codes are in [`Exit`].

mod ban;
mod directory;
mod gate;
mod quarantine;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Filter;

pub(crate) use ban::{AddBan, Ban, RemoveBan};
pub(crate) use directory::{Alias, Domain, DomainSettings, List, ListSettings, PasswordSource, Posting, User, UserSettings, WithPassword};
pub(crate) use gate::{Drain, EndSession, Explain, Gate, Returns, SessionIds, Sessions, Set, SetKey};
pub(crate) use quarantine::{DecideHeld, ListHeld, Quarantine, ShowHeld};

/// A mail front door whose inbound limit is exact, fair, live and explained.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, after_help = EXIT_CODES, after_long_help = format!("{FIRST_STEPS}\n\n{EXIT_CODES}"))]
#[command(arg_required_else_help = true, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// What to log, in place of log.level: error, warn, info, debug or trace
    ///
    /// Parts of the program can have a level of their own, as in "info,smtp_listener=debug". Goes before the environment
    /// variable GATEPOST_LOG, and that before the configuration.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<Filter>,
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for was done.
    Done = 0,
    /// It was not; standard error says why.
    Failed = 1,
    /// The command line makes no sense. Clap answers that.
    #[expect(dead_code, reason = "documents what clap does")]
    Usage = 2,
    /// The configuration file is missing or faulty.
    Configuration = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server to play with: no configuration, no root, loopback only
    ///
    /// Starts SMTP, submission and POP3 on free loopback ports, with a certificate of its own, a domain and two accounts, and
    /// prints commands to copy and the settings for a mail program. Ctrl-C ends it.
    #[command(after_long_help = "Examples:\n  gatepost try\n  gatepost try --keep ~/gatepost-data")]
    Try(Try),

    /// Run the server
    ///
    /// Stays in the foreground and logs to standard error, as systemd and containers like it. SIGHUP reloads the configuration;
    /// SIGTERM and Ctrl-C let sessions finish and end it.
    #[command(after_long_help = "Examples:\n  gatepost serve\n  gatepost serve --config ./gatepost.toml --log-level debug")]
    Serve(Serve),

    /// Say everything that is wrong with a configuration file
    ///
    /// Every fault is a line of its own, FILE:LINE: KEY: what is wrong and what to write. Nothing is changed, and no server needs
    /// to run. Warnings alone leave the exit code at 0.
    #[command(after_long_help = "Examples:\n  gatepost check\n  gatepost check --config ./gatepost.toml --json")]
    Check(Check),

    /// Put a changed configuration file in force
    ///
    /// The running server reads its file again and takes over all of it or nothing; what changed is listed, and what needs a
    /// restart is named. Nobody's session is ended by it. The server reads the file it was started with: --config serves to find the
    /// server, and another file given here is not put in force.
    #[command(after_long_help = "Examples:\n  gatepost reload\n  gatepost reload --config ./gatepost.toml")]
    Reload(Server),

    /// Say how the running server is doing: places, refusals, store
    #[command(after_long_help = "Examples:\n  gatepost status\n  gatepost status --json | jq .gate")]
    Status(Asked),

    /// Screen a message without taking it: every check, what DNS says, the line of the configuration, and the reply
    ///
    /// Asks what the server would ask about a message from this client, by the configuration file, which need not be in force, and prints
    /// it all. Nothing is changed, and nobody is told. The message is read from FILE, or from standard input for "-"; without one,
    /// what is asked at MAIL is asked alone. For refusals of connections there is `gatepost gate explain`.
    #[command(
        after_long_help = "Examples:\n  gatepost explain --ip 192.0.2.7 --helo mx.example.com --from bob@example.com --to ann@example.org \
                           letter.eml\n  gatepost explain --ip 2001:db8::7 --helo mx.example.com --from \"\""
    )]
    Explain(Screen),

    /// The gate: how full it is, why it refused somebody, another limit for a time
    #[command(
        subcommand,
        after_long_help = "Examples:\n  gatepost gate status\n  gatepost gate explain R4.k3f9\n  gatepost gate set max_inbound 500 --for 1h"
    )]
    Gate(Gate),

    /// List the sessions in use, or end one
    ///
    /// Of each: its id, where it comes from, its user, the name its client gives itself, how long it has lasted, what it is doing and
    /// for how long, and what it has cost. Phases are client (waiting for it), tls, own (our work), store (waiting for it), tarpit and
    /// screening (waiting for DNS).
    #[command(
        args_conflicts_with_subcommands = true,
        after_long_help = "Examples:\n  gatepost sessions\n  gatepost sessions --user ann@example.org\n  gatepost sessions --source 192.0.2.0/24 \
                           --json\n  gatepost sessions end 1hq3c5k8000a"
    )]
    Sessions(Sessions),

    /// Bans: networks nobody may come from for a time
    ///
    /// The running server's: made by hand, or by gate.ban_after.
    #[command(
        subcommand,
        after_long_help = "Examples:\n  gatepost ban list\n  gatepost ban add 192.0.2.7 --for 1d --reason \"guesses passwords\""
    )]
    Ban(Ban),

    /// Quarantine: messages that were accepted and are not shown to their recipients
    ///
    /// What screening has quarantined waits in the mailboxes, and POP3 does not list it until somebody releases it. Works while the server runs
    /// and while it is stopped.
    #[command(
        subcommand,
        after_long_help = "Examples:\n  gatepost quarantine list\n  gatepost quarantine release 01ARZ3NDEKTSV4RRFFQ69G5FAV"
    )]
    Quarantine(Quarantine),

    /// Take no more sessions and let the present ones finish, or undo that
    ///
    /// New connections are told to come back shortly (R1). Sessions finish what they are at and are told so at their next command; those
    /// that stay idle are told when timeouts.drain is over. The server goes on running: --undo opens it again. To stop it, send it SIGTERM.
    #[command(after_long_help = "Examples:\n  gatepost drain\n  gatepost sessions\n  gatepost drain --undo")]
    Drain(Drain),

    /// Accounts: who has a mailbox and may send
    ///
    /// An account's name is its address. Works while the server runs and while it is stopped.
    #[command(subcommand, after_long_help = "Examples:\n  gatepost user add ann@example.org\n  gatepost user list")]
    User(User),

    /// Domains: whose mail is taken
    ///
    /// Works while the server runs and while it is stopped.
    #[command(subcommand, after_long_help = "Examples:\n  gatepost domain add example.org\n  gatepost domain list")]
    Domain(Domain),

    /// Aliases: addresses that stand for others
    ///
    /// Works while the server runs and while it is stopped.
    #[command(subcommand, after_long_help = "Examples:\n  gatepost alias add sales@example.org ann@example.org bob@example.org")]
    Alias(Alias),

    /// Lists: addresses whose mail goes to their members, and who may post
    ///
    /// Works while the server runs and while it is stopped.
    #[command(subcommand, after_long_help = "Examples:\n  gatepost list add team@example.org ann@example.org bob@example.org")]
    List(List),

    /// Check every message and row of a stopped server's store
    ///
    /// Reads all of it, changes nothing, and prints what it found. Fails when anything is damaged.
    #[command(after_long_help = "Examples:\n  gatepost verify\n  gatepost verify --data-dir /var/lib/gatepost --json")]
    Verify(Asked),

    /// Repair a stopped server's store
    #[command(subcommand)]
    Store(Store),

    /// Print the example configuration or the reference of its keys
    #[command(subcommand, after_long_help = "Examples:\n  gatepost config example > gatepost.toml")]
    Config(ConfigText),
}

#[derive(Debug, Args)]
pub(crate) struct Try {
    /// Keep mail and accounts in this folder, and go on with what is there
    ///
    /// Without it a fresh folder is made; its name is printed.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Screen {
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: IpAddr,

    /// What the client calls itself in EHLO
    #[arg(long, value_name = "NAME")]
    pub(crate) helo: String,

    /// The sender by MAIL FROM; "" for the empty one of bounces
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) from: String,

    /// A recipient; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Vec<String>,

    /// The message
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) config: ConfigFile,

    /// Print one JSON object: file, and faults with severity, line, column, key and message
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration file
    #[arg(long = "config", short = 'c', value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) path: PathBuf,
}

/// Which server, or whose store.
#[derive(Debug, Args)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) config: ConfigFile,

    /// The data directory, in place of a configuration file: what `data_dir` names, or `data` in a folder kept by `gatepost try`
    #[arg(long, value_name = "DIR", conflicts_with = "path")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    pub(crate) server: Server,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Make the index anew from the log
    ///
    /// The log is the truth, and the index can be lost without losing mail. The server must be stopped.
    RebuildIndex(Server),
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigText {
    /// A commented file to start from, every key with its default
    Example,
    /// The reference of all keys, as Markdown
    Reference,
}

/// Where the configuration is when nobody says otherwise.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/gatepost/gatepost.toml";

const FIRST_STEPS: &str = "\
To try it:
  gatepost try

To run it:
  gatepost config example > /etc/gatepost/gatepost.toml
  gatepost check
  gatepost domain add example.org
  gatepost user add ann@example.org
  gatepost serve";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; standard error says why
  2  the command line makes no sense
  3  the configuration file is missing or faulty";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.kind())
    }

    /// Clap's own consistency checks; then: no command and no option without help.
    #[test]
    fn everything_has_help() {
        Cli::command().debug_assert();
        let mut open = vec![Cli::command()];
        while let Some(command) = open.pop() {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} of {} has no help", argument.get_id(), command.get_name());
            }
            open.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn how_passwords_are_hashed_is_for_those_who_set_one() {
        let (mut open, mut told) = (vec![Cli::command()], Vec::new());
        while let Some(mut command) = open.pop() {
            if command.render_long_help().to_string().contains("hash_memory") {
                told.push(command.get_name().to_owned());
            }
            open.extend(command.get_subcommands().cloned());
        }
        assert_eq!(told, ["passwd", "add"]);
    }

    #[test]
    fn what_can_be_typed() {
        for line in [
            "gatepost try",
            "gatepost try --keep /tmp/mail",
            "gatepost serve --config gatepost.toml --log-level info,gate=debug",
            "gatepost check --json",
            "gatepost reload -c gatepost.toml",
            "gatepost status --json --data-dir /tmp/mail",
            "gatepost gate explain R4.k3f9 --json",
            "gatepost gate status --json",
            "gatepost gate set max_inbound 500 --for 1h30m",
            "gatepost gate set max_inbound --undo",
            "gatepost sessions",
            "gatepost sessions --user ann@example.org --source 192.0.2.0/24 --json",
            "gatepost sessions end 1hq3c5k8000a 1hq3c5k8000b --data-dir /tmp/mail",
            "gatepost drain --undo -c gatepost.toml",
            "gatepost user add ann@example.org --generate",
            "gatepost user passwd ann@example.org --password-file -",
            "gatepost user remove ann@example.org",
            "gatepost user list",
            "gatepost user set ann@example.org --quota 2GiB --messages domain",
            "gatepost domain set example.org --quota none --messages 10000",
            "gatepost domain add example.org --postmaster ann@example.org",
            "gatepost domain set example.org --delimiter - --catch-all ann@example.org",
            "gatepost user set ann@example.org --forward ann@example.com --forward ann@example.net",
            "gatepost list add team@example.org ann@example.org bob@example.org --posting anyone",
            "gatepost list set team@example.org --join ann@example.org --leave bob@example.org --leave eve@example.org",
            "gatepost alias put sales@example.org ann@example.org bob@example.org",
            "gatepost verify --data-dir /tmp/mail --json",
            "gatepost store rebuild-index",
            "gatepost config example",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_typed() {
        for (line, why) in [
            ("gatepost serve --log-level infoo", ErrorKind::ValueValidation),
            ("gatepost user add ann@example.org hunter2", ErrorKind::UnknownArgument),
            ("gatepost user add ann@example.org --password hunter2", ErrorKind::UnknownArgument),
            ("gatepost user add ann@example.org --generate --password-file f", ErrorKind::ArgumentConflict),
            ("gatepost status --config f --data-dir d", ErrorKind::ArgumentConflict),
            ("gatepost user set ann@example.org", ErrorKind::MissingRequiredArgument),
            ("gatepost user set ann@example.org --quota 2", ErrorKind::ValueValidation),
            ("gatepost domain set example.org --quota domain", ErrorKind::ValueValidation),
            ("gatepost list set team@example.org", ErrorKind::MissingRequiredArgument),
            ("gatepost list add team@example.org ann@example.org --posting nobody", ErrorKind::InvalidValue),
            ("gatepost domain set example.org", ErrorKind::MissingRequiredArgument),
            ("gatepost alias add sales@example.org", ErrorKind::MissingRequiredArgument),
            ("gatepost gate set max_inbound 500", ErrorKind::MissingRequiredArgument),
            ("gatepost gate set max_inbound --for 1h", ErrorKind::MissingRequiredArgument),
            ("gatepost gate set max_inbound 500 --for 1h --undo", ErrorKind::ArgumentConflict),
            ("gatepost gate set max_inbound 500 --for 1", ErrorKind::ValueValidation),
            ("gatepost gate set sessions_per_address 5 --for 1h", ErrorKind::InvalidValue),
            ("gatepost sessions end", ErrorKind::MissingRequiredArgument),
            ("gatepost stauts", ErrorKind::InvalidSubcommand),
        ] {
            assert_eq!(parse(line).unwrap_err(), why, "{line}");
        }
    }
}
