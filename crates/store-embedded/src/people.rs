//! The directory: domains, accounts, aliases and lists, in a small database of its own, `directory.sqlite`.
//!
//! It is its own truth, committed with synchronous=FULL, because it is small, rarely written, and an administrator's first wish is
//! to look into it. All of it is in memory as one [`Book`], which is what is asked; a change is made to a copy of the book, what
//! differs is committed, and only then the copy takes the book's place.
//!
//! A maildrop has its account's name. Only an account that [`spelling`](crate::spelling) gave another name keeps the maildrop it had: the log
//! goes on calling that by its old name, which no new account can have.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use rusqlite::{Connection, Row, Transaction, params};
use store::{Account, Alias, Book, Change, ChangeError, DomainRecord, Error, Limit, List, Posting, Quota};

use crate::disk::private_database;
use crate::index::is_full;
use crate::lock;

/// The directory of one open store.
#[derive(Debug)]
pub(crate) struct People {
    db: Mutex<Option<Connection>>,
    register: RwLock<Register>,
}

/// The directory at one instant, and the names of its accounts' maildrops.
#[derive(Debug, Clone)]
pub(crate) struct Register {
    pub(crate) book: Arc<Book>,
    /// By account, where it is not the account's name.
    maildrops: Arc<BTreeMap<Arc<str>, Arc<str>>>,
}

impl Register {
    /// The maildrop of an account.
    pub(crate) fn maildrop(&self, account: &Arc<str>) -> Arc<str> {
        Arc::clone(self.maildrops.get(account).unwrap_or(account))
    }

    /// Whose maildrop it is.
    pub(crate) fn owner(&self, maildrop: &str) -> Arc<str> {
        let renamed = self.maildrops.iter().find(|(_, known)| ***known == *maildrop);
        renamed.map_or_else(|| maildrop.into(), |(account, _)| Arc::clone(account))
    }

    /// With another book: the maildrops of accounts that it has not are left out, as [`save_account`] leaves them out.
    fn with(&self, book: Book) -> Self {
        let kept = self.maildrops.iter().filter(|(account, _)| book.account(account).is_some());
        let maildrops = if self.maildrops.is_empty() {
            Arc::clone(&self.maildrops)
        } else {
            Arc::new(kept.map(|(account, maildrop)| (Arc::clone(account), Arc::clone(maildrop))).collect())
        };
        Self { book: Arc::new(book), maildrops }
    }

    /// Whether a maildrop is some account's.
    pub(crate) fn is_owned(&self, maildrop: &str) -> bool {
        let by_its_name = || self.book.account(maildrop).is_some_and(|account| *account.name == *maildrop);
        (by_its_name() && !self.maildrops.contains_key(maildrop)) || self.maildrops.values().any(|known| **known == *maildrop)
    }
}

impl People {
    /// Opens the directory at `path`, empty when there is none.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let db = private_database(path)?;
        db.execute_batch(SCHEMA)?;
        let register = load(&db)?;
        Ok(Self { db: Mutex::new(Some(db)), register: RwLock::new(register) })
    }

    /// Everything, at one instant.
    pub(crate) fn book(&self) -> Arc<Book> {
        self.register().book
    }

    /// Everything, at one instant, and where the accounts' mail is.
    pub(crate) fn register(&self) -> Register {
        self.register.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Makes one change durable, and answers the maildrops that are nobody's by it. Waits for the disk.
    pub(crate) fn change(&self, change: Change) -> Result<Vec<Arc<str>>, ChangeError> {
        let mut guard = lock(&self.db);
        let db = guard.as_mut().ok_or_else(crate::engine::closed)?;
        let before = self.register();
        let mut book = Book::clone(&before.book);
        book.apply(change)?;
        let saved = save(db, &before.book, &book);
        // After a failed commit the file knows what came of it.
        let after = if saved.is_ok() { before.with(book) } else { load(db).map_err(|error| failed(&error))? };
        let gone = before.book.accounts().filter(|account| after.book.account(&account.name).is_none());
        let gone = gone.map(|account| before.maildrop(&account.name)).collect();
        *self.register.write().unwrap_or_else(std::sync::PoisonError::into_inner) = after;
        saved.map(|()| gone).map_err(|error| failed(&error).into())
    }

    /// Closes the file; no more changes.
    pub(crate) fn close(&self) {
        lock(&self.db).take();
    }
}

fn failed(error: &rusqlite::Error) -> Error {
    let cause = format!("writing the directory: {error}");
    if is_full(error) { Error::Full(cause) } else { Error::Unavailable(cause) }
}

fn load(db: &Connection) -> rusqlite::Result<Register> {
    let invalid = |error: mail::AddressError| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error));
    let (mut quotas, mut forwards) = (load_quotas(db)?, load_addresses(db, "SELECT name, address FROM forwards ORDER BY name, position")?);
    let mut domains = Vec::new();
    let mut statement = db.prepare("SELECT name, postmaster, delimiter, catch_all FROM domains LEFT JOIN domain_settings USING (name)")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut domain = DomainRecord::new(row.get::<_, String>(0)?.parse().map_err(invalid)?);
        domain.postmaster = row.get::<_, Option<String>>(1)?.map(Into::into);
        if let Some(delimiter) = row.get::<_, Option<String>>(2)? {
            domain.delimiter = delimiter.chars().next();
        }
        domain.catch_all = row.get::<_, Option<String>>(3)?.map(Into::into);
        domain.quota = quotas.remove(domain.name.as_str()).unwrap_or_default();
        domains.push(domain);
    }
    let accounts = db
        .prepare("SELECT name, password_hash, serial, verifier FROM accounts LEFT JOIN verifiers ON account = name")?
        .query_map([], |row| {
            let (name, password_hash): (String, String) = (row.get(0)?, row.get(1)?);
            let (serial, verifier) = (row.get::<_, i64>(2)?.cast_unsigned(), row.get::<_, Option<String>>(3)?.map(Into::into));
            let (quota, forwards) = (quotas.remove(&name).unwrap_or_default(), forwards.remove(&name).unwrap_or_default());
            Ok(Account { name: name.into(), password_hash: password_hash.into(), verifier, serial, quota, forwards })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let aliases = load_addresses(db, "SELECT name, target FROM aliases ORDER BY name, position")?
        .into_iter()
        .map(|(name, targets)| Alias { name: name.into(), targets });
    let maildrops = db
        .prepare("SELECT account, maildrop FROM maildrops")?
        .query_map([], |row| Ok((row.get::<_, String>(0)?.into(), row.get::<_, String>(1)?.into())))?
        .collect::<Result<_, _>>()?;
    let secret = db.query_row("SELECT octets FROM secret", [], |row| row.get(0))?;
    let book = Book::new(domains, accounts, aliases, load_lists(db)?).keeping(secret);
    Ok(Register { book: Arc::new(book), maildrops: Arc::new(maildrops) })
}

/// Names, and the addresses that belong to each, in order.
fn load_addresses(db: &Connection, select: &str) -> rusqlite::Result<BTreeMap<String, Vec<Arc<str>>>> {
    let mut addresses = BTreeMap::<String, Vec<Arc<str>>>::new();
    let mut statement = db.prepare(select)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        addresses.entry(row.get(0)?).or_default().push(row.get::<_, String>(1)?.into());
    }
    Ok(addresses)
}

fn load_lists(db: &Connection) -> rusqlite::Result<Vec<List>> {
    let of = |outside: bool| {
        load_addresses(db, &format!("SELECT name, member FROM list_members WHERE outside = {outside} ORDER BY name, position"))
    };
    let (mut members, mut outside) = (of(false)?, of(true)?);
    db.prepare("SELECT name, posting FROM lists")?
        .query_map([], |row| {
            let (name, posting): (String, String) = (row.get(0)?, row.get(1)?);
            let posting = POSTING.into_iter().find(|(word, _)| *word == posting).map_or(Posting::Members, |(_, posting)| posting);
            let (members, outside) = (members.remove(&name).unwrap_or_default(), outside.remove(&name).unwrap_or_default());
            Ok(List { name: name.into(), posting, members, outside })
        })?
        .collect()
}

fn save_list(db: &Transaction<'_>, name: &str, list: Option<&List>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM lists WHERE name = ?", [name])?;
    db.execute("DELETE FROM list_members WHERE name = ?", [name])?;
    let Some(list) = list else { return Ok(()) };
    let posting = POSTING.into_iter().find(|(_, posting)| *posting == list.posting).map_or("members", |(word, _)| word);
    db.execute("INSERT INTO lists VALUES (?, ?)", params![name, posting])?;
    let members = list.members.iter().map(|member| (member, false)).chain(list.outside.iter().map(|member| (member, true)));
    for (position, (member, outside)) in (0i64..).zip(members) {
        db.execute("INSERT INTO list_members VALUES (?, ?, ?, ?)", params![name, position, &**member, outside])?;
    }
    Ok(())
}

/// By account or domain; no domain has a name with an `@`.
fn load_quotas(db: &Connection) -> rusqlite::Result<BTreeMap<String, Quota>> {
    let limit = |row: &Row<'_>, column| -> rusqlite::Result<Limit> {
        Ok(match row.get::<_, Option<i64>>(column)? {
            None => Limit::Unsaid,
            Some(NO_LIMIT) => Limit::None,
            Some(most) => Limit::At(most.cast_unsigned()),
        })
    };
    db.prepare("SELECT name, octets, messages FROM quotas")?
        .query_map([], |row| Ok((row.get(0)?, Quota { octets: limit(row, 1)?, messages: limit(row, 2)? })))?
        .collect()
}

fn save_quota(db: &Transaction<'_>, name: &str, quota: Option<Quota>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM quotas WHERE name = ?", [name])?;
    if let Some(quota) = quota.filter(|quota| *quota != Quota::default()) {
        let limit = |limit| match limit {
            Limit::Unsaid => None,
            Limit::None => Some(NO_LIMIT),
            Limit::At(most) => Some(i64::try_from(most).unwrap_or(i64::MAX)),
        };
        db.execute("INSERT INTO quotas VALUES (?, ?, ?)", params![name, limit(quota.octets), limit(quota.messages)])?;
    }
    Ok(())
}

/// Commits what differs between the two.
fn save(db: &mut Connection, before: &Book, after: &Book) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    differing(before.domains(), after.domains(), |domain| domain.name.as_str(), |name, domain| save_domain(&transaction, name, domain))?;
    differing(before.accounts(), after.accounts(), |account| &account.name, |name, account| save_account(&transaction, name, account))?;
    differing(before.aliases(), after.aliases(), |alias| &alias.name, |name, alias| save_alias(&transaction, name, alias))?;
    differing(before.lists(), after.lists(), |list| &list.name, |name, list| save_list(&transaction, name, list))?;
    transaction.commit()
}

/// Calls `write` for each key whose value is not the same in both.
fn differing<'b, T: PartialEq + 'b>(
    before: impl Iterator<Item = &'b T>,
    after: impl Iterator<Item = &'b T>,
    key: impl Fn(&'b T) -> &'b str,
    write: impl Fn(&str, Option<&T>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut gone: BTreeMap<&str, &T> = before.map(|value| (key(value), value)).collect();
    for value in after {
        if gone.remove(key(value)) != Some(value) {
            write(key(value), Some(value))?;
        }
    }
    gone.into_keys().try_for_each(|name| write(name, None))
}

fn save_domain(db: &Transaction<'_>, name: &str, domain: Option<&DomainRecord>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM domains WHERE name = ?", [name])?;
    db.execute("DELETE FROM domain_settings WHERE name = ?", [name])?;
    save_quota(db, name, domain.map(|domain| domain.quota))?;
    if let Some(domain) = domain {
        db.execute("INSERT INTO domains VALUES (?, ?)", params![name, domain.postmaster.as_deref()])?;
        let delimiter = domain.delimiter.map_or_else(String::new, String::from);
        db.execute("INSERT INTO domain_settings VALUES (?, ?, ?)", params![name, delimiter, domain.catch_all.as_deref()])?;
    }
    Ok(())
}

fn save_account(db: &Transaction<'_>, name: &str, account: Option<&Account>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM accounts WHERE name = ?", [name])?;
    save_quota(db, name, account.map(|account| account.quota))?;
    db.execute("DELETE FROM forwards WHERE name = ?", [name])?;
    for (position, address) in (0i64..).zip(account.into_iter().flat_map(|account| &account.forwards)) {
        db.execute("INSERT INTO forwards VALUES (?, ?, ?)", params![name, position, &**address])?;
    }
    db.execute("DELETE FROM verifiers WHERE account = ?", [name])?;
    if let Some(account) = account {
        db.execute("INSERT INTO accounts VALUES (?, ?, ?)", params![name, &*account.password_hash, account.serial.cast_signed()])?;
        if let Some(verifier) = &account.verifier {
            db.execute("INSERT INTO verifiers VALUES (?, ?)", params![name, &**verifier])?;
        }
    } else {
        db.execute("DELETE FROM maildrops WHERE account = ?", [name])?;
    }
    Ok(())
}

fn save_alias(db: &Transaction<'_>, name: &str, alias: Option<&Alias>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM aliases WHERE name = ?", [name])?;
    for (position, target) in alias.into_iter().flat_map(|alias| alias.targets.iter().enumerate()) {
        db.execute("INSERT INTO aliases VALUES (?, ?, ?)", params![name, i64::try_from(position).unwrap_or(i64::MAX), &**target])?;
    }
    Ok(())
}

/// Tables for what domains and accounts have been given since, without a row for those that were known before: from version 3 to 4 for
/// their settings, which an earlier program would take mail without, and from 4 to 5 for the verifiers of SCRAM, which it would leave
/// behind when a password is set. Done again it changes nothing.
pub(crate) fn add_tables(path: &Path) -> rusqlite::Result<()> {
    private_database(path)?.execute_batch(SCHEMA)
}

/// Who may post, as it is written.
const POSTING: [(&str, Posting); 3] = [("anyone", Posting::Anyone), ("members", Posting::Members), ("domain", Posting::Domain)];

/// In a column of a quota: none, whatever the domain has.
const NO_LIMIT: i64 = -1;

pub(crate) const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS domains (name TEXT PRIMARY KEY, postmaster TEXT) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS domain_settings (name TEXT PRIMARY KEY, delimiter TEXT NOT NULL, catch_all TEXT) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, password_hash TEXT NOT NULL, serial INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS quotas (name TEXT PRIMARY KEY, octets INTEGER, messages INTEGER) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS forwards (name TEXT, position INTEGER, address TEXT NOT NULL, PRIMARY KEY (name, position)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS lists (name TEXT PRIMARY KEY, posting TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS list_members (
        name TEXT, position INTEGER, member TEXT NOT NULL, outside INTEGER NOT NULL, PRIMARY KEY (name, position)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS aliases (name TEXT, position INTEGER, target TEXT NOT NULL, PRIMARY KEY (name, position)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS maildrops (account TEXT PRIMARY KEY, maildrop TEXT NOT NULL UNIQUE) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS verifiers (account TEXT PRIMARY KEY, verifier TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS secret (one INTEGER PRIMARY KEY CHECK (one = 1), octets BLOB NOT NULL);
    INSERT INTO secret SELECT 1, randomblob(32) WHERE NOT EXISTS (SELECT 1 FROM secret);
";

#[cfg(test)]
mod tests {
    use store::QuotaChange;

    use super::*;

    #[test]
    fn what_was_changed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("directory.sqlite");
        let people = People::open(&path).unwrap();
        let name = |text: &str| text.to_owned();
        for change in [
            Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None },
            Change::AddAccount { name: name("ann@example.org"), password_hash: name("1"), verifier: None },
            Change::AddAccount { name: name("bob@example.org"), password_hash: name("2"), verifier: None },
            Change::PutAlias { name: name("all@example.org"), targets: vec![name("bob@example.org"), name("ann@example.org")] },
            Change::PutAlias { name: name("gone@example.org"), targets: vec![name("bob@example.org")] },
            Change::RemoveAlias { name: name("gone@example.org") },
            Change::PutVerifier { name: name("ann@example.org"), stored: name("1"), verifier: name("old") },
            Change::SetPassword { name: name("ann@example.org"), password_hash: name("3"), verifier: None },
            Change::PutVerifier { name: name("bob@example.org"), stored: name("2"), verifier: name("bobs") },
            Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: Some(name("bob@example.org")) },
            Change::PutDomain { name: "example.net".parse().unwrap(), postmaster: None },
            Change::SetDomain {
                name: "example.net".parse().unwrap(),
                postmaster: None,
                delimiter: Some(name("")),
                catch_all: Some(name("all@example.org")),
                quota: QuotaChange { octets: Some(Limit::At(7)), messages: None },
            },
            Change::SetAccount {
                name: name("ann@example.org"),
                quota: QuotaChange { octets: Some(Limit::At(1 << 40)), messages: Some(Limit::None) },
                forwards: Some(vec![name("z@example.com"), name("Ann@example.com"), name("z@example.com")]),
            },
            Change::SetAccount {
                name: name("bob@example.org"),
                quota: QuotaChange { octets: Some(Limit::Unsaid), messages: Some(Limit::At(0)) },
                forwards: None,
            },
            Change::AddList {
                name: name("team@example.org"),
                posting: Posting::Domain,
                members: vec![name("all@example.org"), name("x@example.com"), name("ann@example.org")],
            },
            Change::AddList { name: name("old@example.org"), posting: Posting::Anyone, members: vec![name("team@example.org")] },
            Change::RemoveList { name: name("old@example.org") },
        ] {
            people.change(change).unwrap();
        }
        people.change(Change::RemoveAccount { name: name("bob@example.org") }).unwrap_err();
        let kept = people.book();
        drop(people);
        assert_eq!(People::open(&path).unwrap().book(), kept);
        let ann = kept.account("ann@example.org").unwrap();
        assert_eq!((&*ann.password_hash, &ann.verifier), ("3", &None), "another password, no verifier of it yet");
        assert_eq!(kept.account("bob@example.org").unwrap().verifier.as_deref(), Some("bobs"));
        assert_ne!(kept.secret(), [0; 32]);
    }
}
