//! Showing and changing the directory.

use events::DirectoryChanged;
use mail::canonical;
use store::{Allowance, Book, Change, ChangeError, Directory, DomainRecord, Load};

use crate::Admin;
use crate::wire::{Alias, DirectoryRequest, Domain, Limit, List, PasswordHash, Posting, Quota, QuotaChange, Reply, User};

/// Does what is asked of `directory`: of the running server's, or of a stopped server's store that was opened for it.
///
/// A refusal is a [`Reply::Refused`] with the reason and what to do. Dropping the future leaves open whether it was done.
pub async fn administer(directory: &dyn Directory, request: DirectoryRequest) -> Reply {
    if let DirectoryRequest::Salt { name } = &request {
        let secret = directory.secret().await;
        return secret.map_or_else(|error| Reply::Refused(vec![error.to_string()]), |secret| Reply::Salt(auth::scram_salt(name, &secret)));
    }
    if request == DirectoryRequest::ListUsers {
        return users(directory).await.unwrap_or_else(|error| Reply::Refused(vec![error.to_string()]));
    }
    let done = match task(request) {
        Ok(Task::Change(change)) => directory.change(change).await.map(|()| Reply::Done),
        Ok(Task::Show(show)) => directory.book().await.map(|book| show(&book)).map_err(ChangeError::from),
        Err(why) => return Reply::Refused(vec![why]),
    };
    done.unwrap_or_else(|error| Reply::Refused(vec![error.to_string()]))
}

impl Admin {
    /// Does what is asked of the running server's directory. An account that is gone has no session any more, and one with a new
    /// password none that was begun by the old one: behind a stolen password somebody may sit.
    pub(crate) async fn direct(&self, request: DirectoryRequest) -> Reply {
        let change = describe(&request);
        let shuts_out = matches!(request, DirectoryRequest::RemoveUser { .. } | DirectoryRequest::SetPassword { .. });
        let reply = administer(&*self.store, request).await;
        let (Reply::Done, Some((change, name))) = (&reply, change) else { return reply };
        self.events.emit(DirectoryChanged { change, name: &name });
        match if shuts_out { self.shut_out(&canonical(&name)) } else { 0 } {
            0 => reply,
            some => Reply::SessionsEnd(some),
        }
    }
}

/// What has changed when the request was done, in words, and to what; nothing when it only shows.
fn describe(request: &DirectoryRequest) -> Option<(&'static str, String)> {
    let (change, name) = match request {
        DirectoryRequest::AddUser { name, .. } => ("account added", name),
        DirectoryRequest::SetPassword { name, .. } => ("password set", name),
        DirectoryRequest::SetUser { name, .. } => ("account set", name),
        DirectoryRequest::RemoveUser { name } => ("account removed", name),
        DirectoryRequest::PutDomain { name, .. } => ("domain put", name),
        DirectoryRequest::SetDomain { name, .. } => ("domain set", name),
        DirectoryRequest::RemoveDomain { name } => ("domain removed", name),
        DirectoryRequest::PutAlias { name, .. } => ("alias put", name),
        DirectoryRequest::RemoveAlias { name } => ("alias removed", name),
        DirectoryRequest::AddList { name, .. } => ("list added", name),
        DirectoryRequest::SetList { name, .. } => ("list set", name),
        DirectoryRequest::RemoveList { name } => ("list removed", name),
        DirectoryRequest::ListLists
        | DirectoryRequest::ListUsers
        | DirectoryRequest::ListDomains
        | DirectoryRequest::ListAliases
        | DirectoryRequest::Salt { .. } => return None,
    };
    Some((change, name.clone()))
}

enum Task {
    Change(Change),
    Show(fn(&Book) -> Reply),
}

/// What a request comes to, or why it makes no sense.
fn task(request: DirectoryRequest) -> Result<Task, String> {
    let domain = |name: String| name.parse().map_err(|error| format!("{name:?} is not a domain: {error}"));
    let change = match request {
        DirectoryRequest::AddUser { name, password_hash, verifier } => {
            Change::AddAccount { name, password_hash: usable(password_hash)?, verifier: of_scram(verifier)? }
        }
        DirectoryRequest::SetPassword { name, password_hash, verifier } => {
            Change::SetPassword { name, password_hash: usable(password_hash)?, verifier: of_scram(verifier)? }
        }
        DirectoryRequest::RemoveUser { name } => Change::RemoveAccount { name },
        DirectoryRequest::PutDomain { name, postmaster } => Change::PutDomain { name: domain(name)?, postmaster },
        DirectoryRequest::SetDomain { name, postmaster, delimiter, catch_all, quota } => {
            Change::SetDomain { name: domain(name)?, postmaster, delimiter, catch_all, quota: said(quota) }
        }
        DirectoryRequest::SetUser { name, quota, forwards } => Change::SetAccount { name, quota: said(quota), forwards },
        DirectoryRequest::RemoveDomain { name } => Change::RemoveDomain { name: domain(name)? },
        DirectoryRequest::PutAlias { name, targets } => Change::PutAlias { name, targets },
        DirectoryRequest::RemoveAlias { name } => Change::RemoveAlias { name },
        DirectoryRequest::AddList { name, posting, members } => Change::AddList { name, posting: who(posting), members },
        DirectoryRequest::SetList { name, posting, join, leave } => Change::SetList { name, posting: posting.map(who), join, leave },
        DirectoryRequest::RemoveList { name } => Change::RemoveList { name },
        DirectoryRequest::ListLists => return Ok(Task::Show(lists)),
        DirectoryRequest::ListDomains => return Ok(Task::Show(domains)),
        DirectoryRequest::ListAliases => return Ok(Task::Show(aliases)),
        DirectoryRequest::ListUsers => return Err("accounts are listed with what they hold".into()),
        DirectoryRequest::Salt { name } => return Err(format!("{name} is looked up, not changed")),
    };
    Ok(Task::Change(change))
}

async fn users(directory: &dyn Directory) -> Result<Reply, store::Error> {
    let (book, mut users) = (directory.book().await?, Vec::new());
    for account in book.accounts() {
        let Load { octets, messages } = directory.load(&account.name).await?;
        let forwards = account.forwards.iter().map(ToString::to_string).collect();
        let (name, quota, scram) = (account.name.to_string(), quota(book.allowance(account)), account.verifier.is_some());
        users.push(User { name, octets, messages, quota, forwards, scram });
    }
    Ok(Reply::Users(users))
}

fn quota(allowance: Option<Allowance>) -> Quota {
    allowance.map_or(Quota::default(), |Allowance { octets, messages }| Quota { octets, messages })
}

fn said(QuotaChange { octets, messages }: QuotaChange) -> store::QuotaChange {
    let limit = |limit| match limit {
        Limit::Domain => store::Limit::Unsaid,
        Limit::None => store::Limit::None,
        Limit::At(most) => store::Limit::At(most),
    };
    store::QuotaChange { octets: octets.map(limit), messages: messages.map(limit) }
}

fn domains(book: &Book) -> Reply {
    let domain = |domain: &DomainRecord| Domain {
        name: domain.name.as_str().to_owned(),
        unicode: Some(domain.name.to_unicode()).filter(|unicode| unicode != domain.name.as_str()),
        postmaster: domain.postmaster.as_ref().map(ToString::to_string),
        delimiter: domain.delimiter.map_or_else(String::new, String::from),
        catch_all: domain.catch_all.as_ref().map(ToString::to_string),
        quota: quota(store::Quota::default().or(domain.quota)),
    };
    Reply::Domains(book.domains().map(domain).collect())
}

fn aliases(book: &Book) -> Reply {
    let alias =
        |alias: &store::Alias| Alias { name: alias.name.to_string(), targets: alias.targets.iter().map(ToString::to_string).collect() };
    Reply::Aliases(book.aliases().map(alias).collect())
}

fn lists(book: &Book) -> Reply {
    let list = |list: &store::List| List {
        name: list.name.to_string(),
        posting: match list.posting {
            store::Posting::Anyone => Posting::Anyone,
            store::Posting::Members => Posting::Members,
            store::Posting::Domain => Posting::Domain,
        },
        members: list.members.iter().chain(&list.outside).map(ToString::to_string).collect(),
    };
    Reply::Lists(book.lists().map(list).collect())
}

fn who(posting: Posting) -> store::Posting {
    match posting {
        Posting::Anyone => store::Posting::Anyone,
        Posting::Members => store::Posting::Members,
        Posting::Domain => store::Posting::Domain,
    }
}

fn of_scram(verifier: Option<PasswordHash>) -> Result<Option<String>, String> {
    match verifier {
        Some(PasswordHash(verifier)) if !verifier.starts_with("SCRAM-SHA-256$") => Err("the verifier must be one of SCRAM-SHA-256".into()),
        verifier => Ok(verifier.map(|PasswordHash(verifier)| verifier)),
    }
}

/// A password in place of its hash would be stored for everybody to read, and would never be right.
fn usable(hash: PasswordHash) -> Result<String, String> {
    if hash.0.starts_with("$argon2id$") { Ok(hash.0) } else { Err("the password must be given as its Argon2id hash".into()) }
}
