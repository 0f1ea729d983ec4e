//! The directory: domains, accounts and aliases, in a small database of its own, `directory.sqlite`.
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

use rusqlite::{Connection, Transaction, params};
use store::{Account, Alias, Book, Change, ChangeError, DomainRecord, Error};

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

/// From version 2 to 3: a place for the verifiers of SCRAM, which a version that does not know them would leave behind when a password is
/// set. Done again it changes nothing.
pub(crate) fn make_room_for_verifiers(path: &Path) -> rusqlite::Result<()> {
    private_database(path)?.execute_batch(SCHEMA)
}

fn failed(error: &rusqlite::Error) -> Error {
    let cause = format!("writing the directory: {error}");
    if is_full(error) { Error::Full(cause) } else { Error::Unavailable(cause) }
}

fn load(db: &Connection) -> rusqlite::Result<Register> {
    let invalid = |error: mail::AddressError| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error));
    let mut domains = Vec::new();
    let mut statement = db.prepare("SELECT name, postmaster FROM domains")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name = row.get::<_, String>(0)?.parse().map_err(invalid)?;
        domains.push(DomainRecord { name, postmaster: row.get::<_, Option<String>>(1)?.map(Into::into) });
    }
    let accounts = db
        .prepare("SELECT name, password_hash, serial, verifier FROM accounts LEFT JOIN verifiers ON account = name")?
        .query_map([], |row| {
            let (name, password_hash): (String, String) = (row.get(0)?, row.get(1)?);
            let (serial, verifier) = (row.get::<_, i64>(2)?.cast_unsigned(), row.get::<_, Option<String>>(3)?.map(Into::into));
            Ok(Account { name: name.into(), password_hash: password_hash.into(), verifier, serial })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut aliases = BTreeMap::<String, Vec<Arc<str>>>::new();
    let mut statement = db.prepare("SELECT name, target FROM aliases ORDER BY name, position")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        aliases.entry(row.get(0)?).or_default().push(row.get::<_, String>(1)?.into());
    }
    let aliases = aliases.into_iter().map(|(name, targets)| Alias { name: name.into(), targets });
    let maildrops = db
        .prepare("SELECT account, maildrop FROM maildrops")?
        .query_map([], |row| Ok((row.get::<_, String>(0)?.into(), row.get::<_, String>(1)?.into())))?
        .collect::<Result<_, _>>()?;
    let secret = db.query_row("SELECT octets FROM secret", [], |row| row.get(0))?;
    Ok(Register { book: Arc::new(Book::new(domains, accounts, aliases).keeping(secret)), maildrops: Arc::new(maildrops) })
}

/// Commits what differs between the two.
fn save(db: &mut Connection, before: &Book, after: &Book) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    differing(before.domains(), after.domains(), |domain| domain.name.as_str(), |name, domain| save_domain(&transaction, name, domain))?;
    differing(before.accounts(), after.accounts(), |account| &account.name, |name, account| save_account(&transaction, name, account))?;
    differing(before.aliases(), after.aliases(), |alias| &alias.name, |name, alias| save_alias(&transaction, name, alias))?;
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
    if let Some(domain) = domain {
        db.execute("INSERT INTO domains VALUES (?, ?)", params![name, domain.postmaster.as_deref()])?;
    }
    Ok(())
}

fn save_account(db: &Transaction<'_>, name: &str, account: Option<&Account>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM accounts WHERE name = ?", [name])?;
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

pub(crate) const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS domains (name TEXT PRIMARY KEY, postmaster TEXT) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, password_hash TEXT NOT NULL, serial INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS aliases (name TEXT, position INTEGER, target TEXT NOT NULL, PRIMARY KEY (name, position)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS maildrops (account TEXT PRIMARY KEY, maildrop TEXT NOT NULL UNIQUE) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS verifiers (account TEXT PRIMARY KEY, verifier TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS secret (one INTEGER PRIMARY KEY CHECK (one = 1), octets BLOB NOT NULL);
    INSERT INTO secret SELECT 1, randomblob(32) WHERE NOT EXISTS (SELECT 1 FROM secret);
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("directory.sqlite");
        let people = People::open(&path).unwrap();
        let name = |text: &str| text.to_owned();
        for change in [
            Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None },
            Change::AddAccount { name: name("ann@example.org"), password_hash: name("1") },
            Change::AddAccount { name: name("bob@example.org"), password_hash: name("2") },
            Change::PutAlias { name: name("all@example.org"), targets: vec![name("bob@example.org"), name("ann@example.org")] },
            Change::PutAlias { name: name("gone@example.org"), targets: vec![name("bob@example.org")] },
            Change::RemoveAlias { name: name("gone@example.org") },
            Change::PutVerifier { name: name("ann@example.org"), stored: name("1"), verifier: name("old") },
            Change::SetPassword { name: name("ann@example.org"), password_hash: name("3") },
            Change::PutVerifier { name: name("bob@example.org"), stored: name("2"), verifier: name("bobs") },
            Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: Some(name("bob@example.org")) },
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
