//! From version 1 to 2: every domain of `directory.sqlite` in A-labels, which version 1 took for another domain than its U-labels.
//!
//! Names are changed in one transaction; nothing and nobody is lost. Mail stays where it is: the log calls a maildrop by the name its account
//! had, and the table `maildrops` keeps the two together. Where two spellings of one address were two things:
//!
//! - domains become one, with the postmaster that one of them had;
//! - an alias that stood for nothing but its other spelling has done its work and goes;
//! - otherwise one keeps the address: an account before an alias, who was in A-labels already before others, the older account before the younger.
//!   The other keeps its password, mail and targets under a name with a number, as `ann-2@`, and the log says so. To put the mail of two people
//!   into one maildrop would show it to whoever has either password.
//!
//! A domain that version 1 took and that is none by IDNA becomes one under `.invalid`. Done again it changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mail::Domain;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::disk::private_database;
use crate::people::SCHEMA;

/// Brings the directory at `path` to the one spelling, durably.
pub(crate) fn unify(path: &Path) -> rusqlite::Result<()> {
    let mut db = private_database(path)?;
    db.execute_batch(SCHEMA)?;
    let transaction = db.transaction()?;
    let old = Old::read(&transaction)?;
    let names = old.names();
    for (before, after) in names.iter().filter(|(before, after)| before != after) {
        tracing::warn!(before, after, "an address in the directory has another name from now on");
    }
    old.write(&transaction, &names)?;
    transaction.commit()
}

/// The directory as version 1 kept it.
struct Old {
    /// Name and postmaster; names in A-labels first.
    domains: Vec<(String, Option<String>)>,
    /// Names in the order in which they keep theirs.
    accounts: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
}

impl Old {
    fn read(db: &Connection) -> rusqlite::Result<Self> {
        let mut domains: Vec<(String, Option<String>)> = db
            .prepare("SELECT name, postmaster FROM domains")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        domains.sort_by_key(|(name, _)| !name.is_ascii());
        let mut accounts: Vec<String> =
            db.prepare("SELECT name FROM accounts ORDER BY serial")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        accounts.sort_by_key(|name| !host(name).is_ascii());
        let mut aliases = BTreeMap::<String, Vec<String>>::new();
        let mut statement = db.prepare("SELECT name, target FROM aliases ORDER BY name, position")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            aliases.entry(row.get(0)?).or_default().push(row.get(1)?);
        }
        Ok(Self { domains, accounts, aliases })
    }

    /// The name that each account and alias has from now on. Two have the same only when one of them is an alias for nothing but the other.
    fn names(&self) -> BTreeMap<String, String> {
        let wanted: BTreeMap<&str, String> =
            self.accounts.iter().chain(self.aliases.keys()).map(|name| (name.as_str(), self.respelt(name))).collect();
        let spelt: BTreeSet<&String> = wanted.values().collect();
        let mut names = BTreeMap::<String, String>::new();
        let mut taken = BTreeSet::new();
        let mut aliases: Vec<&String> = self.aliases.keys().filter(|alias| self.same(alias, &wanted).is_none()).collect();
        aliases.sort_by_key(|name| !host(name).is_ascii());
        for name in self.accounts.iter().chain(aliases) {
            let Some(first) = wanted.get(name.as_str()) else { continue };
            let (local_part, host) = first.rsplit_once('@').unwrap_or((first, ""));
            let numbered = (2u32..).map(|number| format!("{local_part}-{number}@{host}")).filter(|name| !spelt.contains(name));
            let free = std::iter::once(first.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
            names.insert(name.clone(), free.unwrap_or_else(|| first.clone()));
        }
        for alias in self.aliases.keys() {
            let mut stands_for = alias.as_str();
            while let Some(same) = self.same(stands_for, &wanted) {
                stands_for = same;
            }
            if let Some(name) = names.get(stands_for).cloned() {
                names.insert(alias.clone(), name);
            }
        }
        names
    }

    /// The other spelling of itself that this alias stands for, and for nothing else. No alias led back to itself, so nor do these.
    fn same(&self, alias: &str, wanted: &BTreeMap<&str, String>) -> Option<&str> {
        match self.aliases.get(alias)?.as_slice() {
            [target] if wanted.get(alias) == wanted.get(target.as_str()) => Some(target),
            _ => None,
        }
    }

    fn respelt(&self, address: &str) -> String {
        match address.rsplit_once('@') {
            Some((local_part, host)) => format!("{local_part}@{}", self.domain(host)),
            None => address.to_owned(),
        }
    }

    fn domain(&self, name: &str) -> String {
        let number = || self.domains.iter().position(|(known, _)| known == name).unwrap_or_default();
        name.parse::<Domain>().map_or_else(|_| format!("not-idna-{}.invalid", number()), |domain| domain.as_str().to_owned())
    }

    fn write(&self, db: &Transaction<'_>, names: &BTreeMap<String, String>) -> rusqlite::Result<()> {
        let named = |name: &str| names.get(name).cloned().unwrap_or_else(|| self.respelt(name));
        db.execute("DELETE FROM domains", [])?;
        for (name, postmaster) in &self.domains {
            db.execute(
                "INSERT INTO domains VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET postmaster = coalesce(postmaster, excluded.postmaster)",
                params![self.domain(name), postmaster.as_deref().map(named)],
            )?;
        }
        self.write_accounts(db, names)?;
        db.execute("DELETE FROM aliases", [])?;
        for (name, targets) in
            self.aliases.iter().filter(|(name, targets)| !matches!(targets.as_slice(), [one] if named(one) == named(name)))
        {
            for (position, target) in targets.iter().enumerate() {
                let position = i64::try_from(position).unwrap_or(i64::MAX);
                db.execute("INSERT INTO aliases VALUES (?, ?, ?)", params![named(name), position, named(target)])?;
            }
        }
        Ok(())
    }

    /// In the order in which names were given: whoever has to give one up has not had its new one yet.
    fn write_accounts(&self, db: &Transaction<'_>, names: &BTreeMap<String, String>) -> rusqlite::Result<()> {
        for before in &self.accounts {
            let Some(after) = names.get(before).filter(|after| *after != before) else { continue };
            let maildrop: Option<String> =
                db.query_row("SELECT maildrop FROM maildrops WHERE account = ?", [before], |row| row.get(0)).optional()?;
            db.execute("DELETE FROM maildrops WHERE account = ?", [before])?;
            db.execute("UPDATE accounts SET name = ? WHERE name = ?", [after, before])?;
            db.execute("INSERT INTO maildrops VALUES (?, ?)", [after, &maildrop.unwrap_or_else(|| before.clone())])?;
        }
        Ok(())
    }
}

/// What stands behind the `@`.
fn host(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, host)| host)
}

#[cfg(test)]
mod tests;
