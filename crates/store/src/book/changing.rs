//! How a [`Book`] is changed: each rule of [`Change`], and why a change is refused.
//!
//! A change that is refused has changed nothing. What is let in keeps what resolving relies on: no name dangles, nothing leads back to itself.

use std::sync::Arc;

use mail::{Domain, Mailbox};

use super::{Account, Alias, Book, DELIMITERS, DomainRecord};
use crate::{Change, ChangeError, Quota, QuotaChange};

impl Book {
    /// Makes one change, or says why not and changes nothing.
    ///
    /// # Errors
    /// See [`ChangeError`]; never [`ChangeError::Store`].
    pub fn apply(&mut self, change: Change) -> Result<(), ChangeError> {
        self.make(change)?;
        self.note();
        Ok(())
    }

    fn make(&mut self, change: Change) -> Result<(), ChangeError> {
        match change {
            Change::PutDomain { name, postmaster } => self.put_domain(name, postmaster),
            Change::SetDomain { name, delimiter, catch_all, quota } => {
                self.set_domain(&name, delimiter.as_deref(), catch_all.as_deref(), quota)
            }
            Change::RemoveDomain { name } => self.remove_domain(&name),
            Change::AddAccount { name, password_hash } => self.add_account(&name, &password_hash),
            Change::SetPassword { name, password_hash } => {
                let account = self.known_account(&name)?;
                self.put(Account { password_hash: password_hash.into(), ..account });
                Ok(())
            }
            Change::RenewHash { name, stored, password_hash } => {
                let account = self.known_account(&name)?;
                if *account.password_hash != *stored {
                    return Err(ChangeError::Overtaken(format!("the password of {}", account.name)));
                }
                self.put(Account { password_hash: password_hash.into(), ..account });
                Ok(())
            }
            Change::SetAccount { name, quota } => {
                let account = self.known_account(&name)?;
                self.put(Account { quota: account.quota.with(quota), ..account });
                Ok(())
            }
            Change::RemoveAccount { name } => {
                let account = self.known_account(&name)?;
                self.retire(&account.name)?;
                self.accounts.remove(&account.name);
                self.uncount(&account);
                Ok(())
            }
            Change::PutAlias { name, targets } => self.put_alias(&name, &targets),
            Change::RemoveAlias { name } => {
                let name = self.local_address(&name)?;
                if !self.aliases.contains_key(&name) {
                    return Err(ChangeError::Unknown(format!("alias {name}")));
                }
                self.retire(&name)?;
                self.aliases.remove(&name);
                Ok(())
            }
        }
    }

    fn put_domain(&mut self, name: Domain, postmaster: Option<String>) -> Result<(), ChangeError> {
        let named = postmaster.map(|address| self.known_address(&address)).transpose()?;
        let domain = self.domains.entry(name.clone()).or_insert_with(|| DomainRecord::new(name));
        domain.postmaster = named.or_else(|| domain.postmaster.take());
        Ok(())
    }

    fn set_domain(
        &mut self,
        name: &Domain,
        delimiter: Option<&str>,
        catch_all: Option<&str>,
        quota: QuotaChange,
    ) -> Result<(), ChangeError> {
        let mut domain = self.domains.get(name).cloned().ok_or_else(|| ChangeError::Unknown(format!("domain {name}")))?;
        if let Some(text) = delimiter {
            let mut characters = text.chars();
            domain.delimiter = characters.next();
            let known = domain.delimiter.is_none_or(|delimiter| DELIMITERS.contains(delimiter));
            if !known || characters.next().is_some() {
                return Err(ChangeError::Delimiter(text.to_owned()));
            }
        }
        match catch_all {
            Some("") => domain.catch_all = None,
            Some(address) => domain.catch_all = Some(self.known_address(address)?),
            None => {}
        }
        domain.quota = domain.quota.with(quota);
        self.domains.insert(name.clone(), domain);
        Ok(())
    }

    fn remove_domain(&mut self, name: &Domain) -> Result<(), ChangeError> {
        if !self.domains.contains_key(name) {
            return Err(ChangeError::Unknown(format!("domain {name}")));
        }
        let in_domain = |address: &&Arc<str>| address.rsplit_once('@').is_some_and(|(_, host)| host == name.as_str());
        if let Some(user) = self.accounts.keys().chain(self.aliases.keys()).find(in_domain) {
            return Err(ChangeError::InUse { name: name.to_string(), used_by: user.to_string() });
        }
        self.domains.remove(name);
        Ok(())
    }

    fn add_account(&mut self, name: &str, password_hash: &str) -> Result<(), ChangeError> {
        let name = self.free_address(name)?;
        let account = Account { name, password_hash: password_hash.into(), serial: self.next_serial, quota: Quota::default() };
        self.next_serial += 1;
        self.put(account);
        Ok(())
    }

    fn put_alias(&mut self, name: &str, targets: &[String]) -> Result<(), ChangeError> {
        let name = self.local_address(name)?;
        if self.accounts.contains_key(&name) {
            return Err(ChangeError::Exists(format!("account {name}")));
        }
        if targets.is_empty() {
            return Err(ChangeError::NoTarget(name.to_string()));
        }
        let targets = targets.iter().map(|target| self.known_address(target)).collect::<Result<Vec<_>, _>>()?;
        let alias = Alias { name: name.clone(), targets };
        if self.reaches(&alias, &name) {
            return Err(ChangeError::Loop(name.to_string()));
        }
        self.aliases.insert(name, alias);
        Ok(())
    }

    fn reaches(&self, from: &Alias, name: &str) -> bool {
        from.targets.iter().any(|target| **target == *name || self.aliases.get(target).is_some_and(|alias| self.reaches(alias, name)))
    }

    /// `name` in its canonical form, in one of our domains.
    fn local_address(&self, name: &str) -> Result<Arc<str>, ChangeError> {
        let mailbox: Mailbox = name.parse().map_err(|_| ChangeError::Address(name.into()))?;
        match (self.domain_of(&mailbox), mailbox.host()) {
            (Some(domain), _) => Ok(format!("{}@{}", mailbox.local_part().to_lowercase(), domain.name.as_str()).into()),
            (None, host) => Err(ChangeError::ForeignDomain(host.to_string())),
        }
    }

    fn known_account(&self, name: &str) -> Result<Account, ChangeError> {
        let name = self.local_address(name)?;
        self.accounts.get(&name).cloned().ok_or_else(|| ChangeError::Unknown(format!("account {name}")))
    }

    fn free_address(&self, name: &str) -> Result<Arc<str>, ChangeError> {
        let name = self.local_address(name)?;
        match (self.accounts.contains_key(&name), self.aliases.contains_key(&name)) {
            (true, _) => Err(ChangeError::Exists(format!("account {name}"))),
            (_, true) => Err(ChangeError::Exists(format!("alias {name}"))),
            _ => Ok(name),
        }
    }

    fn known_address(&self, name: &str) -> Result<Arc<str>, ChangeError> {
        let name = self.local_address(name)?;
        if self.accounts.contains_key(&name) || self.aliases.contains_key(&name) {
            return Ok(name);
        }
        Err(ChangeError::Unknown(format!("account or alias {name}")))
    }

    /// An alias or a catch-all would dangle without it. A domain it was the postmaster of has its default one again.
    fn retire(&mut self, name: &str) -> Result<(), ChangeError> {
        if let Some(alias) = self.aliases.values().find(|alias| alias.targets.iter().any(|target| **target == *name)) {
            return Err(ChangeError::InUse { name: name.to_owned(), used_by: format!("alias {}", alias.name) });
        }
        if let Some(domain) = self.domains.values().find(|domain| domain.catch_all.as_deref() == Some(name)) {
            return Err(ChangeError::InUse { name: name.to_owned(), used_by: format!("the catch-all of {}", domain.name) });
        }
        for domain in self.domains.values_mut().filter(|domain| domain.postmaster.as_deref() == Some(name)) {
            domain.postmaster = None;
        }
        Ok(())
    }
}
