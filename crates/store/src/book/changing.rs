//! How a [`Book`] is changed: each rule of [`Change`], and why a change is refused.
//!
//! A change that is refused has changed nothing. What is let in keeps what resolving relies on: no name dangles, nothing leads back to itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use mail::{Domain, Host, Mailbox};

use super::{Account, Alias, Book, DELIMITERS, DomainRecord};
use crate::{Change, ChangeError, List, Quota, QuotaChange};

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
            Change::SetDomain { name, postmaster, delimiter, catch_all, quota } => {
                self.set_domain(&name, [postmaster.as_deref(), catch_all.as_deref()], delimiter.as_deref(), quota)
            }
            Change::RemoveDomain { name } => self.remove_domain(&name),
            Change::AddAccount { name, password_hash, verifier } => self.add_account(&name, &password_hash, verifier),
            Change::SetPassword { name, password_hash, verifier } => {
                let account = self.known_account(&name)?;
                self.put(Account { password_hash: password_hash.into(), verifier: verifier.map(Into::into), ..account });
                Ok(())
            }
            Change::RenewHash { name, stored, password_hash } => {
                let account = self.account_with(&name, &stored)?;
                self.put(Account { password_hash: password_hash.into(), ..account });
                Ok(())
            }
            Change::PutVerifier { name, stored, verifier } => {
                let account = self.account_with(&name, &stored)?;
                self.put(Account { verifier: Some(verifier.into()), ..account });
                Ok(())
            }
            Change::SetAccount { name, quota, forwards } => {
                let account = self.known_account(&name)?;
                let forwards = forwards.map(|forwards| self.elsewhere(&forwards)).transpose()?;
                let (quota, forwards) = (account.quota.with(quota), forwards.unwrap_or_else(|| account.forwards.clone()));
                self.put(Account { quota, forwards, ..account });
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
            Change::AddList { name, posting, members } => {
                let name = self.free_address(&name)?;
                self.put_list(List { name, posting, members: Vec::new(), outside: Vec::new() }, &members)
            }
            Change::SetList { name, posting, join, leave } => {
                let mut list = self.known_list(&name)?;
                list.posting = posting.unwrap_or(list.posting);
                for member in &leave {
                    self.leave(&mut list, member)?;
                }
                self.put_list(list, &join)
            }
            Change::RemoveList { name } => {
                let list = self.known_list(&name)?;
                self.retire(&list.name)?;
                self.lists.remove(&list.name);
                Ok(())
            }
        }
    }

    /// A list with more members.
    fn put_list(&mut self, mut list: List, join: &[String]) -> Result<(), ChangeError> {
        for member in join {
            let mailbox = mailbox(member)?;
            let is_ours = self.domain_of(&mailbox).is_some();
            let member = if is_ours { self.known_address(member)? } else { self.address_elsewhere(member)? };
            let members = if is_ours { &mut list.members } else { &mut list.outside };
            if !members.contains(&member) {
                members.push(member);
            }
        }
        if list.members.is_empty() {
            return Err(ChangeError::NoMember(list.name.to_string()));
        }
        if self.leads_to(&list.members, &list.name) {
            return Err(ChangeError::Loop(format!("list {}", list.name)));
        }
        self.lists.insert(Arc::clone(&list.name), list);
        Ok(())
    }

    fn leave(&self, list: &mut List, member: &str) -> Result<(), ChangeError> {
        let name = self.local_address(member).or_else(|_| self.address_elsewhere(member))?;
        let before = list.members.len() + list.outside.len();
        list.members.retain(|known| *known != name);
        list.outside.retain(|known| *known != name);
        if list.members.len() + list.outside.len() == before {
            return Err(ChangeError::Unknown(format!("member {name} of list {}", list.name)));
        }
        Ok(())
    }

    fn known_list(&self, name: &str) -> Result<List, ChangeError> {
        let name = self.local_address(name)?;
        self.lists.get(&name).cloned().ok_or_else(|| ChangeError::Unknown(format!("list {name}")))
    }

    /// Each once, in order.
    fn elsewhere(&self, addresses: &[String]) -> Result<Vec<Arc<str>>, ChangeError> {
        let mut found = Vec::with_capacity(addresses.len());
        for address in addresses {
            let address = self.address_elsewhere(address)?;
            if !found.contains(&address) {
                found.push(address);
            }
        }
        Ok(found)
    }

    /// An address that mail for it leaves us for: its local part in its own case, its domain as DNS has it.
    fn address_elsewhere(&self, address: &str) -> Result<Arc<str>, ChangeError> {
        let mailbox = mailbox(address)?;
        match mailbox.host() {
            Host::Domain(domain) if !self.domains.contains_key(domain) => {
                let written = mailbox.to_string();
                let local_part = written.rsplit_once('@').map_or(&*written, |(local_part, _)| local_part);
                Ok(format!("{local_part}@{}", domain.as_str()).into())
            }
            _ => Err(ChangeError::NotElsewhere(address.into())),
        }
    }

    fn put_domain(&mut self, name: Domain, postmaster: Option<String>) -> Result<(), ChangeError> {
        let named = postmaster.map(|address| self.known_target(&address)).transpose()?;
        if !self.domains.contains_key(&name)
            && let Some(used_by) = self.sends_to(&name)
        {
            return Err(ChangeError::InUse { name: name.to_string(), used_by });
        }
        // RFC 3696 §2. One that is there already stays.
        if !self.domains.contains_key(&name) && name.as_str().rsplit('.').next().is_some_and(is_number) {
            return Err(ChangeError::Numbered(name.to_string()));
        }
        let domain = self.domains.entry(name.clone()).or_insert_with(|| DomainRecord::new(name));
        domain.postmaster = named.or_else(|| domain.postmaster.take());
        Ok(())
    }

    /// Who has an address of this domain as one elsewhere.
    fn sends_to(&self, domain: &Domain) -> Option<String> {
        let of_domain = |address: &Arc<str>| address.rsplit_once('@').is_some_and(|(_, host)| host == domain.as_str());
        let account = self.accounts.values().find(|account| account.forwards.iter().any(of_domain));
        let list = || self.lists.values().find(|list| list.outside.iter().any(of_domain));
        account.map(|account| format!("the forwarding of {}", account.name)).or_else(|| list().map(|list| format!("list {}", list.name)))
    }

    fn set_domain(
        &mut self,
        name: &Domain,
        [postmaster, catch_all]: [Option<&str>; 2],
        delimiter: Option<&str>,
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
        for (address, target) in [(postmaster, &mut domain.postmaster), (catch_all, &mut domain.catch_all)] {
            match address {
                Some("") => *target = None,
                Some(address) => *target = Some(self.known_target(address)?),
                None => {}
            }
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
        if let Some(user) = self.accounts.keys().chain(self.aliases.keys()).chain(self.lists.keys()).find(in_domain) {
            return Err(ChangeError::InUse { name: name.to_string(), used_by: user.to_string() });
        }
        self.domains.remove(name);
        Ok(())
    }

    fn add_account(&mut self, name: &str, password_hash: &str, verifier: Option<String>) -> Result<(), ChangeError> {
        let name = self.free_address(name)?;
        let (quota, forwards) = (Quota::default(), Vec::new());
        let (password_hash, verifier, serial) = (password_hash.into(), verifier.map(Into::into), self.next_serial);
        let account = Account { name, password_hash, verifier, serial, quota, forwards };
        self.next_serial += 1;
        self.put(account);
        Ok(())
    }

    fn put_alias(&mut self, name: &str, targets: &[String]) -> Result<(), ChangeError> {
        let name = not_all(self.local_address(name)?)?;
        if let Some(kind @ ("account" | "list")) = self.kind(&name) {
            return Err(ChangeError::Exists(format!("{kind} {name}")));
        }
        if targets.is_empty() {
            return Err(ChangeError::NoTarget(name.to_string()));
        }
        let targets = targets.iter().map(|target| self.known_target(target)).collect::<Result<Vec<_>, _>>()?;
        if self.leads_to(&targets, &name) {
            return Err(ChangeError::Loop(format!("alias {name}")));
        }
        self.aliases.insert(name.clone(), Alias { name, targets });
        Ok(())
    }

    fn leads_to(&self, targets: &[Arc<str>], name: &str) -> bool {
        let (mut open, mut seen) = (vec![targets], BTreeSet::new());
        while let Some(targets) = open.pop() {
            for target in targets.iter().filter(|target| seen.insert(&***target)) {
                open.extend(self.group(target).map(|group| group.targets));
            }
        }
        seen.contains(name)
    }

    /// What an address is, in a word.
    fn kind(&self, name: &str) -> Option<&'static str> {
        let account = self.accounts.contains_key(name).then_some("account");
        account.or_else(|| self.aliases.contains_key(name).then_some("alias")).or_else(|| self.lists.contains_key(name).then_some("list"))
    }

    /// `name` in its canonical form, in one of our domains. As it is listed it is known, too, where it would have to be quoted to be an address.
    fn local_address(&self, name: &str) -> Result<Arc<str>, ChangeError> {
        let listed = mail::canonical(name);
        if self.kind(&listed).is_some() {
            return Ok(listed.into());
        }
        let mailbox = mailbox(name)?;
        match (self.domain_of(&mailbox), mailbox.host()) {
            (Some(domain), _) => Ok(format!("{}@{}", mailbox.local_part().to_lowercase(), domain.name.as_str()).into()),
            (None, host) => Err(ChangeError::ForeignDomain(host.to_string())),
        }
    }

    fn known_account(&self, name: &str) -> Result<Account, ChangeError> {
        let name = self.local_address(name)?;
        self.accounts.get(&name).cloned().ok_or_else(|| ChangeError::Unknown(format!("account {name}")))
    }

    /// The account, if its hash is still `stored`.
    fn account_with(&self, name: &str, stored: &str) -> Result<Account, ChangeError> {
        let account = self.known_account(name)?;
        if *account.password_hash == *stored {
            Ok(account)
        } else {
            Err(ChangeError::Overtaken(format!("the password of {}", account.name)))
        }
    }

    fn free_address(&self, name: &str) -> Result<Arc<str>, ChangeError> {
        let name = not_all(self.local_address(name)?)?;
        match self.kind(&name) {
            Some(kind) => Err(ChangeError::Exists(format!("{kind} {name}"))),
            None => Ok(name),
        }
    }

    fn known_address(&self, name: &str) -> Result<Arc<str>, ChangeError> {
        let name = self.local_address(name)?;
        if self.kind(&name).is_some() {
            return Ok(name);
        }
        Err(ChangeError::Unknown(format!("account, alias or list {name}")))
    }

    /// Of whom something here may stand for.
    fn known_target(&self, address: &str) -> Result<Arc<str>, ChangeError> {
        self.known_address(address).map_err(|error| match error {
            ChangeError::ForeignDomain(_) => ChangeError::TargetElsewhere(address.to_owned()),
            error => error,
        })
    }

    /// An alias, a list or a catch-all would dangle without it. A domain it was the postmaster of has its default one again.
    fn retire(&mut self, name: &str) -> Result<(), ChangeError> {
        if let Some(alias) = self.aliases.values().find(|alias| alias.targets.iter().any(|target| **target == *name)) {
            return Err(ChangeError::InUse { name: name.to_owned(), used_by: format!("alias {}", alias.name) });
        }
        if let Some(list) = self.lists.values().find(|list| list.members.iter().any(|member| **member == *name)) {
            return Err(ChangeError::InUse { name: name.to_owned(), used_by: format!("list {}", list.name) });
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

fn is_number(label: &str) -> bool {
    label.bytes().all(|octet| octet.is_ascii_digit())
}

fn mailbox(address: &str) -> Result<Mailbox, ChangeError> {
    address.parse().map_err(|_| match address.strip_prefix('@').map(str::parse::<Domain>) {
        Some(Ok(domain)) => ChangeError::Wildcard(address.to_owned(), domain.to_string()),
        _ => ChangeError::Address(address.to_owned()),
    })
}

/// A new name, unless it is what elsewhere means all of a domain's: here it would be the name of an asterisk.
fn not_all(name: Arc<str>) -> Result<Arc<str>, ChangeError> {
    match name.strip_prefix("*@") {
        Some(domain) => Err(ChangeError::Wildcard(name.to_string(), domain.to_owned())),
        None => Ok(name),
    }
}
