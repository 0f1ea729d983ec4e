//! `gatepost user`, `domain`, `alias` and `list`: the directory shown and changed, of a running server or a stopped one.

use std::io::{self, Write};

use admin::{DirectoryRequest, PasswordHash, QuotaChange, Reply};
use mail::{ByteSize, Host, Mailbox};

use super::Outcome;
use super::place::Place;
use crate::cli::{Alias, Domain, DomainSettings, Exit, List, ListSettings, Posting, Server, User, UserSettings, WithPassword};
use crate::password::NewPassword;

/// Accounts.
///
/// # Errors
/// What was refused, with the fix.
pub(crate) fn user(user: &User) -> Outcome {
    match user {
        User::Add(with) => {
            password(with, "added", |name, password_hash, verifier| DirectoryRequest::AddUser { name, password_hash, verifier })
        }
        User::Passwd(with) => password(with, "has a new password", |name, password_hash, verifier| DirectoryRequest::SetPassword {
            name,
            password_hash,
            verifier,
        }),
        User::Set(set) => {
            let UserSettings { quota: octets, messages, forward } = set.settings.clone();
            let forwards = forward.map(|forward| forward.into_iter().filter(|address| !address.is_empty()).collect::<Vec<_>>());
            let later = forwards.as_ref().filter(|forwards| !forwards.is_empty()).map(|_| FORWARDED_LATER).unwrap_or_default();
            let request = DirectoryRequest::SetUser { name: set.name.clone(), quota: QuotaChange { octets, messages }, forwards };
            change(&set.server, request, &format!("{} set{later}", set.name))
        }
        User::Remove(named) => change(
            &named.server,
            DirectoryRequest::RemoveUser { name: named.name.clone() },
            &format!("{} removed, and its mail", named.name),
        ),
        User::List(asked) => show_all(&asked.server, asked.json, DirectoryRequest::ListUsers),
    }
}

/// Domains.
///
/// # Errors
/// What was refused, with the fix.
pub(crate) fn domain(domain: &Domain) -> Outcome {
    match domain {
        Domain::Add(add) => {
            let request = DirectoryRequest::PutDomain { name: add.name.clone(), postmaster: add.postmaster.clone() };
            let alone = if add.name.contains('.') { "" } else { NAME_ALONE };
            change(&add.server, request, &format!("mail for {} is now accepted{alone}", add.name))
        }
        Domain::Set(set) => {
            let DomainSettings { postmaster, delimiter, catch_all, quota: octets, messages } = set.settings.clone();
            let (name, quota) = (set.name.clone(), QuotaChange { octets, messages });
            let request = DirectoryRequest::SetDomain { name, postmaster, delimiter, catch_all, quota };
            change(&set.server, request, &format!("{} set", set.name))
        }
        Domain::Remove(named) => {
            change(&named.server, DirectoryRequest::RemoveDomain { name: named.name.clone() }, &format!("{} removed", named.name))
        }
        Domain::List(asked) => show_all(&asked.server, asked.json, DirectoryRequest::ListDomains),
    }
}

/// Aliases.
///
/// # Errors
/// What was refused, with the fix.
pub(crate) fn alias(alias: &Alias) -> Outcome {
    match alias {
        Alias::Add(add) => {
            let request = DirectoryRequest::PutAlias { name: add.name.clone(), targets: add.targets.clone() };
            change(&add.server, request, &format!("{} stands for {}", add.name, add.targets.join(", ")))
        }
        Alias::Remove(named) => {
            change(&named.server, DirectoryRequest::RemoveAlias { name: named.name.clone() }, &format!("{} removed", named.name))
        }
        Alias::List(asked) => show_all(&asked.server, asked.json, DirectoryRequest::ListAliases),
    }
}

/// Lists.
///
/// # Errors
/// What was refused, with the fix.
pub(crate) fn list(list: &List) -> Outcome {
    let who = |posting| match posting {
        Posting::Anyone => admin::Posting::Anyone,
        Posting::Members => admin::Posting::Members,
        Posting::Domain => admin::Posting::Domain,
    };
    match list {
        List::Add(add) => {
            let (name, posting, members) = (add.name.clone(), who(add.posting), add.members.clone());
            let done = format!("mail for {} goes to {}", add.name, add.members.join(", "));
            put_list(&add.server, DirectoryRequest::AddList { name, posting, members }, (&add.name, &add.members), &done)
        }
        List::Set(set) => {
            let ListSettings { posting, join, leave } = set.settings.clone();
            let request = DirectoryRequest::SetList { name: set.name.clone(), posting: posting.map(who), join, leave };
            put_list(&set.server, request, (&set.name, &set.settings.join), &format!("{} set", set.name))
        }
        List::Remove(named) => {
            change(&named.server, DirectoryRequest::RemoveList { name: named.name.clone() }, &format!("{} removed", named.name))
        }
        List::List(asked) => show_all(&asked.server, asked.json, DirectoryRequest::ListLists),
    }
}

fn password(with: &WithPassword, done: &str, request: impl Fn(String, PasswordHash, Option<PasswordHash>) -> DirectoryRequest) -> Outcome {
    let place = Place::find(&with.server)?;
    let new = NewPassword::obtain(&with.password, &with.name)?;
    let hash = auth::hash_password(&new.secret, &place.config().auth)?;
    let mut verifier = None;
    if place.config().auth.scram
        && let Reply::Salt(salt) = place.administer(DirectoryRequest::Salt { name: with.name.clone() })?
    {
        verifier = Some(PasswordHash(auth::scram_verifier(&new.secret, &salt)));
    }
    let reply = place.administer(request(with.name.clone(), PasswordHash(hash), verifier))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{} {done}{}", with.name, sessions_end(&reply))?;
    if new.generated {
        writeln!(out, "password: {}", String::from_utf8_lossy(new.secret.expose()))?;
    }
    Ok(Exit::Done)
}

fn change(server: &Server, request: DirectoryRequest, done: &str) -> Outcome {
    let reply = Place::find(server)?.administer(request)?;
    writeln!(io::stdout(), "{done}{}", sessions_end(&reply))?;
    Ok(Exit::Done)
}

/// How many sessions end by a change, if any do.
fn sessions_end(reply: &Reply) -> String {
    match reply {
        Reply::SessionsEnd(1) => "; 1 session of it ends at its next command".to_owned(),
        Reply::SessionsEnd(sessions @ 2..) => format!("; {sessions} sessions of it end at their next command"),
        _ => String::new(),
    }
}

/// Changes a list, and says so where some of those who join it are at other hosts.
fn put_list(server: &Server, request: DirectoryRequest, (list, join): (&str, &[String]), done: &str) -> Outcome {
    let place = Place::find(server)?;
    place.administer(request)?;
    let Reply::Domains(domains) = place.administer(DirectoryRequest::ListDomains)? else {
        return Err(format!("{list} is changed, but the server does not say which domains are its own").into());
    };
    let is_ours = |host: &Mailbox| match host.host() {
        Host::Domain(host) => domains.iter().any(|domain| domain.name == host.as_str()),
        Host::Literal(_) => false,
    };
    let any_elsewhere = join.iter().filter_map(|member| member.parse::<Mailbox>().ok()).any(|member| !is_ours(&member));
    let later = if any_elsewhere { MEMBERS_LATER } else { "" };
    writeln!(io::stdout(), "{done}{later}")?;
    Ok(Exit::Done)
}

fn show_all(server: &Server, json: bool, request: DirectoryRequest) -> Outcome {
    let place = Place::find(server)?;
    let reply = place.administer(request)?;
    let mut out = io::stdout().lock();
    match reply {
        Reply::Users(users) if json => print_json(&mut out, &users)?,
        Reply::Domains(domains) if json => print_json(&mut out, &domains)?,
        Reply::Aliases(aliases) if json => print_json(&mut out, &aliases)?,
        Reply::Lists(lists) if json => print_json(&mut out, &lists)?,
        Reply::Users(users) => users.iter().try_for_each(|user| writeln!(out, "{}", line_of_user(user, place.config().auth.scram)))?,
        Reply::Domains(domains) => domains.iter().try_for_each(|domain| writeln!(out, "{}", line_of(domain)))?,
        Reply::Lists(lists) => lists.iter().try_for_each(|list| {
            let posting = match list.posting {
                admin::Posting::Anyone => "anyone",
                admin::Posting::Members => "members",
                admin::Posting::Domain => "domain",
            };
            writeln!(out, "{}  posting {posting}  {}", list.name, list.members.join(" "))
        })?,
        Reply::Aliases(aliases) => aliases.iter().try_for_each(|alias| writeln!(out, "{}  {}", alias.name, alias.targets.join(" ")))?,
        other => return Err(format!("the server answered something else: {other:?}").into()),
    }
    Ok(Exit::Done)
}

/// A domain and what is not as usual about it.
fn line_of(domain: &admin::Domain) -> String {
    let said = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("  {name} {value}")).unwrap_or_default();
    let unicode = domain.unicode.as_ref().map(|unicode| format!(" ({unicode})")).unwrap_or_default();
    let delimiter = match domain.delimiter.as_str() {
        "+" => String::new(),
        "" => "  no delimiter".into(),
        other => format!("  delimiter {other}"),
    };
    let quota = said("quota", &domain.quota.octets.map(ByteSize).map(|octets| octets.to_string()));
    let messages = domain.quota.messages.map(|messages| format!("  {messages} messages")).unwrap_or_default();
    let (postmaster, catch_all) = (said("postmaster", &domain.postmaster), said("catch-all", &domain.catch_all));
    format!("{}{unicode}{postmaster}{delimiter}{catch_all}{quota}{messages}", domain.name)
}

/// An account, what it holds and what it may; where SCRAM is wanted, whether it stands in its way.
fn line_of_user(user: &admin::User, scram: bool) -> String {
    let of = |most: Option<String>| most.map(|most| format!(" of {most}")).unwrap_or_default();
    let (octets, messages) =
        (of(user.quota.octets.map(|octets| ByteSize(octets).to_string())), of(user.quota.messages.map(|n| n.to_string())));
    let forwards = user.forwards.iter().map(|address| format!("  forward {address}")).collect::<String>();
    let scram = if scram && !user.scram { "  no SCRAM yet" } else { "" };
    format!("{}  messages {}{messages}  size {}{octets}{forwards}{scram}", user.name, user.messages, rounded(user.octets))
}

/// A size to a tenth of its unit, as in 1.2MiB.
fn rounded(octets: u64) -> String {
    let (unit, name) = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(unit, _)| octets >= *unit)
        .unwrap_or((1, "B"));
    let tenths = u128::from(octets) * 10 / unit as u128;
    if tenths.is_multiple_of(10) { format!("{}{name}", tenths / 10) } else { format!("{}.{}{name}", tenths / 10, tenths % 10) }
}

fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

const NAME_ALONE: &str = "; a name without a dot is known in a network of yours at most, and to nobody else";

const MEMBERS_LATER: &str = "; this version cannot send to other hosts: members elsewhere get the list's mail from the version on that can";

const FORWARDED_LATER: &str =
    "; this version cannot send to other hosts: forwarding begins with the version that can, and all mail stays here, too";
