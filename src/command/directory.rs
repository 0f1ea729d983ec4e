//! `gatepost user`, `domain` and `alias`: the directory shown and changed, of a running server or a stopped one.

use std::io::{self, Write};

use admin::{DirectoryRequest, PasswordHash, Reply};

use super::Outcome;
use super::place::Place;
use crate::cli::{Alias, Domain, Exit, Server, User, WithPassword};
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
        User::Remove(named) => change(
            &named.server,
            DirectoryRequest::RemoveUser { name: named.name.clone() },
            &format!("{} removed, and its mail", named.name),
        ),
        User::List(asked) => list(&asked.server, asked.json, DirectoryRequest::ListUsers),
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
            change(&add.server, request, &format!("mail for {} is now accepted", add.name))
        }
        Domain::Remove(named) => {
            change(&named.server, DirectoryRequest::RemoveDomain { name: named.name.clone() }, &format!("{} removed", named.name))
        }
        Domain::List(asked) => list(&asked.server, asked.json, DirectoryRequest::ListDomains),
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
        Alias::List(asked) => list(&asked.server, asked.json, DirectoryRequest::ListAliases),
    }
}

fn password(with: &WithPassword, done: &str, request: impl Fn(String, PasswordHash, Option<PasswordHash>) -> DirectoryRequest) -> Outcome {
    let place = Place::find(&with.server)?;
    let new = NewPassword::obtain(&with.password, &with.name)?;
    let hash = auth::hash_password(&new.secret, &place.config().auth)?;
    let verifier = place.config().auth.scram.then(|| auth::scram_verifier(&new.secret)).flatten();
    place.administer(request(with.name.clone(), PasswordHash(hash), verifier.map(PasswordHash)))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{} {done}", with.name)?;
    if new.generated {
        writeln!(out, "password: {}", String::from_utf8_lossy(new.secret.expose()))?;
    }
    Ok(Exit::Done)
}

fn change(server: &Server, request: DirectoryRequest, done: &str) -> Outcome {
    Place::find(server)?.administer(request)?;
    writeln!(io::stdout(), "{done}")?;
    Ok(Exit::Done)
}

fn list(server: &Server, json: bool, request: DirectoryRequest) -> Outcome {
    let reply = Place::find(server)?.administer(request)?;
    let mut out = io::stdout().lock();
    match reply {
        Reply::Users(users) if json => print_json(&mut out, &users)?,
        Reply::Domains(domains) if json => print_json(&mut out, &domains)?,
        Reply::Aliases(aliases) if json => print_json(&mut out, &aliases)?,
        Reply::Users(users) => users.iter().try_for_each(|user| writeln!(out, "{user}"))?,
        Reply::Domains(domains) => {
            for domain in domains {
                let postmaster = domain.postmaster.map(|address| format!("  postmaster {address}")).unwrap_or_default();
                let unicode = domain.unicode.map(|unicode| format!(" ({unicode})")).unwrap_or_default();
                writeln!(out, "{}{unicode}{postmaster}", domain.name)?;
            }
        }
        Reply::Aliases(aliases) => aliases.iter().try_for_each(|alias| writeln!(out, "{}  {}", alias.name, alias.targets.join(" ")))?,
        other => return Err(format!("the server answered something else: {other:?}").into()),
    }
    Ok(Exit::Done)
}

fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}
