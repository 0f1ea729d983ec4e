//! Showing and changing the directory.

use mail::ForwardPath;
use store::{Book, Change, ChangeError, Directory, DomainRecord, Resolution};

use crate::wire::{Alias, DirectoryRequest, Domain, PasswordHash, Reply, Resolved};

/// Does what is asked of `directory`: of the running server's, or of a stopped server's store that was opened for it.
///
/// A refusal is a [`Reply::Refused`] with the reason and what to do. Dropping the future leaves open whether it was done.
pub async fn administer(directory: &dyn Directory, request: DirectoryRequest) -> Reply {
    if let DirectoryRequest::Resolve { recipient } = &request {
        return resolve(directory, recipient).await;
    }
    let done = match task(request) {
        Ok(Task::Change(change, and_then)) => make(directory, change, and_then).await.map(|()| Reply::Done),
        Ok(Task::Show(show)) => directory.book().await.map(|book| show(&book)).map_err(ChangeError::from),
        Err(why) => return Reply::Refused(vec![why]),
    };
    done.unwrap_or_else(|error| Reply::Refused(vec![error.to_string()]))
}

/// What has changed when the request was done, in words, and to what; nothing when it only shows.
pub(crate) fn describe(request: &DirectoryRequest) -> Option<(&'static str, String)> {
    let (change, name) = match request {
        DirectoryRequest::AddUser { name, .. } => ("account added", name),
        DirectoryRequest::SetPassword { name, .. } => ("password set", name),
        DirectoryRequest::RemoveUser { name } => ("account removed", name),
        DirectoryRequest::PutDomain { name, .. } => ("domain put", name),
        DirectoryRequest::RemoveDomain { name } => ("domain removed", name),
        DirectoryRequest::PutAlias { name, .. } => ("alias put", name),
        DirectoryRequest::RemoveAlias { name } => ("alias removed", name),
        DirectoryRequest::ListUsers | DirectoryRequest::ListDomains | DirectoryRequest::ListAliases | DirectoryRequest::Resolve { .. } => {
            return None;
        }
    };
    Some((change, name.clone()))
}

/// Makes a change, and the one that needs it, if any. Between the two an account has its new password and no verifier yet; the next login by it
/// makes one then.
async fn make(directory: &dyn Directory, change: Change, and_then: Option<Change>) -> Result<(), ChangeError> {
    directory.change(change).await?;
    match and_then {
        Some(change) => directory.change(change).await,
        None => Ok(()),
    }
}

enum Task {
    Change(Change, Option<Change>),
    Show(fn(&Book) -> Reply),
}

/// What a request comes to, or why it makes no sense.
fn task(request: DirectoryRequest) -> Result<Task, String> {
    let domain = |name: String| name.parse().map_err(|error| format!("{name:?} is not a domain: {error}"));
    let mut and_then = None;
    let change = match request {
        DirectoryRequest::AddUser { name, password_hash, verifier } => {
            let password_hash = usable(password_hash)?;
            and_then = put_verifier(&name, &password_hash, verifier)?;
            Change::AddAccount { name, password_hash }
        }
        DirectoryRequest::SetPassword { name, password_hash, verifier } => {
            let password_hash = usable(password_hash)?;
            and_then = put_verifier(&name, &password_hash, verifier)?;
            Change::SetPassword { name, password_hash }
        }
        DirectoryRequest::RemoveUser { name } => Change::RemoveAccount { name },
        DirectoryRequest::PutDomain { name, postmaster } => Change::PutDomain { name: domain(name)?, postmaster },
        DirectoryRequest::RemoveDomain { name } => Change::RemoveDomain { name: domain(name)? },
        DirectoryRequest::PutAlias { name, targets } => Change::PutAlias { name, targets },
        DirectoryRequest::RemoveAlias { name } => Change::RemoveAlias { name },
        DirectoryRequest::ListUsers => return Ok(Task::Show(users)),
        DirectoryRequest::ListDomains => return Ok(Task::Show(domains)),
        DirectoryRequest::ListAliases => return Ok(Task::Show(aliases)),
        DirectoryRequest::Resolve { recipient } => return Err(format!("{recipient} is looked up, not changed")),
    };
    Ok(Task::Change(change, and_then))
}

async fn resolve(directory: &dyn Directory, recipient: &str) -> Reply {
    let path = match ForwardPath::parse(&format!("<{recipient}>")) {
        Ok(path) => path,
        Err(error) => return Reply::Refused(vec![format!("{recipient:?} is not an address: {error}")]),
    };
    match directory.resolve(&path).await {
        Ok(Resolution::Accounts(accounts)) => Reply::Resolved(Resolved::Accounts(accounts.iter().map(ToString::to_string).collect())),
        Ok(Resolution::UnknownUser) => Reply::Resolved(Resolved::UnknownUser),
        Ok(Resolution::Foreign) => Reply::Resolved(Resolved::Foreign),
        Err(error) => Reply::Refused(vec![error.to_string()]),
    }
}

fn users(book: &Book) -> Reply {
    Reply::Users(book.accounts().map(|account| account.name.to_string()).collect())
}

fn domains(book: &Book) -> Reply {
    let domain = |domain: &DomainRecord| Domain {
        name: domain.name.as_str().to_owned(),
        unicode: Some(domain.name.to_unicode()).filter(|unicode| unicode != domain.name.as_str()),
        postmaster: domain.postmaster.as_ref().map(ToString::to_string),
    };
    Reply::Domains(book.domains().map(domain).collect())
}

fn aliases(book: &Book) -> Reply {
    let alias =
        |alias: &store::Alias| Alias { name: alias.name.to_string(), targets: alias.targets.iter().map(ToString::to_string).collect() };
    Reply::Aliases(book.aliases().map(alias).collect())
}

fn put_verifier(name: &str, stored: &str, verifier: Option<PasswordHash>) -> Result<Option<Change>, String> {
    let Some(PasswordHash(verifier)) = verifier else { return Ok(None) };
    if !verifier.starts_with("SCRAM-SHA-256$") {
        return Err("the verifier must be one of SCRAM-SHA-256".into());
    }
    Ok(Some(Change::PutVerifier { name: name.to_owned(), stored: stored.to_owned(), verifier }))
}

/// A password in place of its hash would be stored for everybody to read, and would never be right.
fn usable(hash: PasswordHash) -> Result<String, String> {
    if hash.0.starts_with("$argon2id$") { Ok(hash.0) } else { Err("the password must be given as its Argon2id hash".into()) }
}
