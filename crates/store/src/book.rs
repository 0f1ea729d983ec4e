//! The directory as one pure value: which domains are ours, who has an account, what an alias stands for.
//!
//! An address is looked up without regard to case (RFC 5321 §2.4 leaves the local part's case to us) and to whether its domain is written in
//! UTF-8 or in A-labels: names are kept in their [canonical](mail::canonical) spelling. Order: account, then
//! alias, then, for `postmaster`, the domain's postmaster: the one that was named, else the domain's first account, else that of
//! another domain, so that there is one as soon as there is any account (RFC 5321 §4.5.1).
//! Aliases may name accounts and other aliases of any of our domains; a change that would make a loop or leave a name dangling
//! is refused, so that resolving never fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mail::{Domain, ForwardPath, Host, Mailbox};

use crate::{Change, ChangeError};

/// Who may log in, and whose mail it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's address in its [canonical](mail::canonical) spelling: its login name.
    pub name: Arc<str>,
    /// The Argon2id hash in PHC string format.
    pub password_hash: Arc<str>,
    /// What SCRAM-SHA-256 compares the same password with, as `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`; none until it was made.
    pub verifier: Option<Arc<str>>,
    /// Order of creation within the directory; the lowest of a domain is its default postmaster.
    pub serial: u64,
}

/// What it takes to compare a password with this hash: the PHC string up to its salt, which names algorithm, version and parameters. None of
/// what is not such a string.
pub fn cost(password_hash: &str) -> Option<&str> {
    let (before_hash, _) = password_hash.rsplit_once('$')?;
    let (cost, _) = before_hash.rsplit_once('$')?;
    (!cost.is_empty()).then_some(cost)
}

/// A domain whose mail we take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRecord {
    /// The name.
    pub name: Domain,
    /// The address mail to its postmaster goes to; when none is set, the domain's first account.
    pub postmaster: Option<Arc<str>>,
}

/// An address that stands for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The address, in its [canonical](mail::canonical) spelling.
    pub name: Arc<str>,
    /// Accounts and aliases it stands for.
    pub targets: Vec<Arc<str>>,
}

/// What a recipient comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// These accounts' maildrops, each once, at least one.
    Accounts(Vec<Arc<str>>),
    /// The domain is ours, the user is not known: 550 5.1.1.
    UnknownUser,
    /// The domain is not ours.
    Foreign,
}

/// The whole directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    domains: BTreeMap<Domain, DomainRecord>,
    accounts: BTreeMap<Arc<str>, Account>,
    aliases: BTreeMap<Arc<str>, Alias>,
    next_serial: u64,
    secret: [u8; 32],
    /// How many accounts have a hash of this cost.
    costs: BTreeMap<Arc<str>, u64>,
}

impl Book {
    /// A directory of these parts, as an engine kept them. They are trusted to be what [`Book::apply`] let in.
    pub fn new(
        domains: impl IntoIterator<Item = DomainRecord>,
        accounts: impl IntoIterator<Item = Account>,
        aliases: impl IntoIterator<Item = Alias>,
    ) -> Self {
        let mut book = Self {
            domains: domains.into_iter().map(|domain| (domain.name.clone(), domain)).collect(),
            aliases: aliases.into_iter().map(|alias| (alias.name.clone(), alias)).collect(),
            ..Self::default()
        };
        for account in accounts {
            book.next_serial = book.next_serial.max(account.serial + 1);
            book.put(account);
        }
        book
    }

    /// With the secret that its engine keeps for it.
    pub fn keeping(self, secret: [u8; 32]) -> Self {
        Self { secret, ..self }
    }

    /// Octets that were made up once and stay: what is derived from them for a name nobody has is as lasting as what is stored of others.
    /// All zero where the engine keeps none.
    pub fn secret(&self) -> [u8; 32] {
        self.secret
    }

    /// Our domains, by name.
    pub fn domains(&self) -> impl Iterator<Item = &DomainRecord> {
        self.domains.values()
    }

    /// The accounts, by name.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// The aliases, by name.
    pub fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.aliases.values()
    }

    /// What the accounts' password hashes [cost](cost), each once.
    pub fn costs(&self) -> impl Iterator<Item = &Arc<str>> {
        self.costs.keys()
    }

    /// The account of this login name, in any spelling.
    pub fn account(&self, login: &str) -> Option<&Account> {
        self.accounts.get(login).or_else(|| self.accounts.get(mail::canonical(login).as_str()))
    }

    /// Whose maildrops a recipient's mail goes to.
    pub fn resolve(&self, recipient: &ForwardPath) -> Resolution {
        let found = match recipient {
            ForwardPath::Postmaster => self.any_postmaster(),
            ForwardPath::Mailbox(mailbox) => match self.domain_of(mailbox) {
                None => return Resolution::Foreign,
                Some(domain) => self.lookup(mailbox, domain),
            },
        };
        found.map_or(Resolution::UnknownUser, Resolution::Accounts)
    }

    /// Makes one change, or says why not and changes nothing.
    ///
    /// # Errors
    /// See [`ChangeError`]; never [`ChangeError::Store`].
    pub fn apply(&mut self, change: Change) -> Result<(), ChangeError> {
        match change {
            Change::PutDomain { name, postmaster } => self.put_domain(name, postmaster),
            Change::RemoveDomain { name } => self.remove_domain(&name),
            Change::AddAccount { name, password_hash } => self.add_account(&name, &password_hash),
            Change::SetPassword { name, password_hash } => {
                let account = self.known_account(&name)?;
                self.put(Account { password_hash: password_hash.into(), verifier: None, ..account });
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

    fn domain_of(&self, mailbox: &Mailbox) -> Option<&DomainRecord> {
        match mailbox.host() {
            Host::Domain(domain) => self.domains.get(domain),
            Host::Literal(_) => None,
        }
    }

    fn lookup(&self, mailbox: &Mailbox, domain: &DomainRecord) -> Option<Vec<Arc<str>>> {
        let mut name = mailbox.local_part().to_lowercase();
        name.push('@');
        name.push_str(domain.name.as_str());
        self.expand(&name).or_else(|| {
            if mailbox.local_part().eq_ignore_ascii_case("postmaster") {
                self.postmaster(domain).or_else(|| self.any_postmaster())
            } else {
                None
            }
        })
    }

    fn any_postmaster(&self) -> Option<Vec<Arc<str>>> {
        self.domains.values().find_map(|domain| self.postmaster(domain))
    }

    fn postmaster(&self, domain: &DomainRecord) -> Option<Vec<Arc<str>>> {
        let named = domain.postmaster.as_ref().and_then(|name| self.expand(name));
        named.or_else(|| {
            let ours = |account: &&Account| account.name.rsplit_once('@').is_some_and(|(_, host)| host == domain.name.as_str());
            self.accounts.values().filter(ours).min_by_key(|account| account.serial).map(|account| vec![account.name.clone()])
        })
    }

    /// The accounts an address stands for; none when nobody has it.
    fn expand(&self, name: &str) -> Option<Vec<Arc<str>>> {
        if let Some(account) = self.accounts.get(name) {
            return Some(vec![account.name.clone()]);
        }
        let (mut open, mut seen, mut found) = (vec![self.aliases.get(name)?], BTreeSet::new(), Vec::new());
        while let Some(alias) = open.pop() {
            for target in alias.targets.iter().filter(|target| seen.insert(Arc::clone(target))) {
                match self.accounts.get(target) {
                    Some(account) => found.push(account.name.clone()),
                    None => open.extend(self.aliases.get(target)),
                }
            }
        }
        Some(found)
    }

    fn put_domain(&mut self, name: Domain, postmaster: Option<String>) -> Result<(), ChangeError> {
        let named = postmaster.map(|address| self.known_address(&address)).transpose()?;
        let postmaster = named.or_else(|| self.domains.get(&name).and_then(|domain| domain.postmaster.clone()));
        self.domains.insert(name.clone(), DomainRecord { name, postmaster });
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
        let account = Account { name, password_hash: password_hash.into(), verifier: None, serial: self.next_serial };
        self.next_serial += 1;
        self.put(account);
        Ok(())
    }

    /// The account as it is from now on.
    fn put(&mut self, account: Account) {
        if let Some(cost) = cost(&account.password_hash) {
            *self.costs.entry(cost.into()).or_default() += 1;
        }
        if let Some(before) = self.accounts.insert(account.name.clone(), account) {
            self.uncount(&before);
        }
    }

    /// One account less has a hash of this one's cost.
    fn uncount(&mut self, account: &Account) {
        let Some(cost) = cost(&account.password_hash) else { return };
        if let Some(accounts) = self.costs.get_mut(cost) {
            *accounts -= 1;
            if *accounts == 0 {
                self.costs.remove(cost);
            }
        }
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

    /// An alias would dangle without it. A domain it was the postmaster of has its default one again.
    fn retire(&mut self, name: &str) -> Result<(), ChangeError> {
        if let Some(alias) = self.aliases.values().find(|alias| alias.targets.iter().any(|target| **target == *name)) {
            return Err(ChangeError::InUse { name: name.to_owned(), used_by: format!("alias {}", alias.name) });
        }
        for domain in self.domains.values_mut().filter(|domain| domain.postmaster.as_deref() == Some(name)) {
            domain.postmaster = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
