//! The directory as one pure value: which domains are ours, who has an account, what an alias stands for.
//!
//! An address is looked up without regard to case (RFC 5321 §2.4 leaves the local part's case to us) and to whether its domain is written in
//! UTF-8 or in A-labels: names are kept in their [canonical](mail::canonical) spelling. Whoever comes first has the mail:
//!
//! 1. the account, alias or list of exactly this address;
//! 2. where the domain has a delimiter and the local part has one after its first character, that of the address without it and the
//!    detail behind it (RFC 5233): `ann+shop@` is `ann@`, unless somebody is called `ann+shop@`;
//! 3. for `postmaster`, with a detail or without, the domain's postmaster: the one that was named, else the domain's first account, else
//!    that of another domain, so that there is one as soon as there is any account (RFC 5321 §4.5.1). Whoever it is, mail for this
//!    address is taken from anybody, whatever the quota;
//! 4. the domain's catch-all.
//!
//! Aliases and lists may name accounts and each other in any of our domains. Addresses elsewhere, to which mail of an account or a list goes as
//! well, are of domains that are not ours, so that they do not lead back here. A change that would make a loop or leave a name dangling
//! is refused, so that resolving never fails.

mod changing;
mod explaining;
mod resolving;

use std::collections::BTreeMap;
use std::sync::Arc;

use mail::{Domain, Host, Mailbox};

use crate::{Allowance, Closed, List, Quota};

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
    /// What it may hold.
    pub quota: Quota,
    /// Addresses elsewhere that its mail is to go to as well.
    pub forwards: Vec<Arc<str>>,
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
    /// What separates a local part from its detail (RFC 5233), of [`DELIMITERS`]; without one, addresses have no detail.
    pub delimiter: Option<char>,
    /// The address mail for nobody else goes to.
    pub catch_all: Option<Arc<str>>,
    /// What its accounts may hold, of whom nothing else was said.
    pub quota: Quota,
}

impl DomainRecord {
    /// A domain that nothing has been said about.
    pub fn new(name: Domain) -> Self {
        Self { name, postmaster: None, delimiter: Some(DELIMITER), catch_all: None, quota: Quota::default() }
    }
}

/// An address that stands for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The address, in its [canonical](mail::canonical) spelling.
    pub name: Arc<str>,
    /// Accounts, aliases and lists it stands for.
    pub targets: Vec<Arc<str>>,
}

/// What a recipient comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// These accounts' maildrops, each once, at least one; and what there is to be kept to, if anything.
    Accounts(Vec<Arc<str>>, Option<Box<Terms>>),
    /// The domain is ours, the user is not known: 550 5.1.1.
    UnknownUser,
    /// The domain is not ours.
    Foreign,
}

/// What a recipient's mail is taken on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// What those of the accounts may hold that have a limit, and must have room.
    pub allowances: Vec<(Arc<str>, Allowance)>,
    /// The same of those that are reached by lists alone: a list's mail is for the members that have room.
    pub members: Vec<(Arc<str>, Allowance)>,
    /// The lists it goes through that not everybody may post to: all of them must [admit](Closed::admits) the sender.
    pub closed: Vec<Closed>,
    /// Addresses elsewhere that it is to go to as well, each once, for whoever can send it there.
    pub outside: Vec<Arc<str>>,
    /// It goes through a list, open or not.
    pub through_list: bool,
    /// It is an alias of several, accounts or lists, and no list itself.
    pub several: bool,
    /// Nobody has the address: it is the domain's catch-all that takes it.
    pub catch_all: bool,
}

/// The whole directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    domains: BTreeMap<Domain, DomainRecord>,
    accounts: BTreeMap<Arc<str>, Account>,
    aliases: BTreeMap<Arc<str>, Alias>,
    lists: BTreeMap<Arc<str>, List>,
    next_serial: u64,
    secret: [u8; 32],
    /// How many accounts have a hash of this cost.
    costs: BTreeMap<Arc<str>, u64>,
    /// How many accounts have no verifier.
    unverified: u64,
    /// Whether anybody has a quota or forwards mail: where nobody does, nobody's is looked up.
    has_terms: bool,
}

impl Book {
    /// A directory of these parts, as an engine kept them. They are trusted to be what [`Book::apply`] let in.
    pub fn new(
        domains: impl IntoIterator<Item = DomainRecord>,
        accounts: impl IntoIterator<Item = Account>,
        aliases: impl IntoIterator<Item = Alias>,
        lists: impl IntoIterator<Item = List>,
    ) -> Self {
        let mut book = Self {
            domains: domains.into_iter().map(|domain| (domain.name.clone(), domain)).collect(),
            aliases: aliases.into_iter().map(|alias| (alias.name.clone(), alias)).collect(),
            lists: lists.into_iter().map(|list| (list.name.clone(), list)).collect(),
            ..Self::default()
        };
        for account in accounts {
            book.next_serial = book.next_serial.max(account.serial + 1);
            book.put(account);
        }
        book.note();
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

    /// The lists, by name.
    pub fn lists(&self) -> impl Iterator<Item = &List> {
        self.lists.values()
    }

    /// What the accounts' password hashes [cost], each once.
    pub fn costs(&self) -> impl Iterator<Item = &Arc<str>> {
        self.costs.keys()
    }

    /// How many accounts have no [verifier](Account::verifier).
    pub fn unverified(&self) -> u64 {
        self.unverified
    }

    /// The account of this login name, in any spelling.
    pub fn account(&self, login: &str) -> Option<&Account> {
        self.accounts.get(login).or_else(|| self.accounts.get(mail::canonical(login).as_str()))
    }

    /// What an account may hold, where there is a limit.
    pub fn allowance(&self, account: &Account) -> Option<Allowance> {
        let of_domain = account.name.rsplit_once('@').and_then(|(_, host)| self.domains.get(host));
        account.quota.or(of_domain.map(|domain| domain.quota).unwrap_or_default())
    }

    /// What is to be known before anybody is looked up.
    fn note(&mut self) {
        let has_quotas = self.domains.values().any(|domain| domain.quota != Quota::default());
        let has_terms = |account: &Account| account.quota != Quota::default() || !account.forwards.is_empty();
        self.has_terms = has_quotas || self.accounts.values().any(has_terms);
    }

    fn domain_of(&self, mailbox: &Mailbox) -> Option<&DomainRecord> {
        match mailbox.host() {
            Host::Domain(domain) => self.domains.get(domain),
            Host::Literal(_) => None,
        }
    }

    /// The account as it is from now on.
    fn put(&mut self, account: Account) {
        self.unverified += u64::from(account.verifier.is_none());
        if let Some(cost) = cost(&account.password_hash) {
            *self.costs.entry(cost.into()).or_default() += 1;
        }
        if let Some(before) = self.accounts.insert(account.name.clone(), account) {
            self.uncount(&before);
        }
    }

    /// One account less has a hash of this one's cost, and no verifier where it has none.
    fn uncount(&mut self, account: &Account) {
        self.unverified -= u64::from(account.verifier.is_none());
        let Some(cost) = cost(&account.password_hash) else { return };
        if let Some(accounts) = self.costs.get_mut(cost) {
            *accounts -= 1;
            if *accounts == 0 {
                self.costs.remove(cost);
            }
        }
    }
}

/// What a new domain separates details by, as most servers do.
pub(crate) const DELIMITER: char = '+';
/// What a domain may separate details by: none that has ever been a route to another host, as `%` and `!` have.
pub const DELIMITERS: &str = "+-=_.#~";

#[cfg(test)]
mod tests;
