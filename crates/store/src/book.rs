//! The directory as one pure value: which domains are ours, who has an account, what an alias stands for.
//!
//! An address is looked up without regard to case (RFC 5321 §2.4 leaves the local part's case to us) and to whether its domain is written in
//! UTF-8 or in A-labels: names are kept in their [canonical](mail::canonical) spelling. Whoever comes first has the mail:
//!
//! 1. the account or alias of exactly this address;
//! 2. where the domain has a delimiter and the local part has one after its first character, that of the address without it and the
//!    detail behind it (RFC 5233): `ann+shop@` is `ann@`, unless somebody is called `ann+shop@`;
//! 3. for `postmaster`, with a detail or without, the domain's postmaster: the one that was named, else the domain's first account, else
//!    that of another domain, so that there is one as soon as there is any account (RFC 5321 §4.5.1);
//! 4. the domain's catch-all.
//!
//! Aliases may name accounts and other aliases of any of our domains; a change that would make a loop or leave a name dangling
//! is refused, so that resolving never fails.

mod changing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mail::{Domain, ForwardPath, Host, Mailbox};

use crate::{Allowance, Quota};

/// Who may log in, and whose mail it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's address in its [canonical](mail::canonical) spelling: its login name.
    pub name: Arc<str>,
    /// The Argon2id hash in PHC string format.
    pub password_hash: Arc<str>,
    /// Order of creation within the directory; the lowest of a domain is its default postmaster.
    pub serial: u64,
    /// What it may hold.
    pub quota: Quota,
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
    /// Accounts and aliases it stands for.
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
    /// What those of the accounts may hold that have a limit.
    pub allowances: Vec<(Arc<str>, Allowance)>,
}

/// The whole directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    domains: BTreeMap<Domain, DomainRecord>,
    accounts: BTreeMap<Arc<str>, Account>,
    aliases: BTreeMap<Arc<str>, Alias>,
    next_serial: u64,
    /// How many accounts have a hash of this cost.
    costs: BTreeMap<Arc<str>, u64>,
    /// Whether anybody has a quota: where nobody has, nobody's is looked up.
    has_quotas: bool,
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
        book.note();
        book
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
        found.map_or(Resolution::UnknownUser, |accounts| {
            let terms = self.terms(&accounts);
            Resolution::Accounts(accounts, terms)
        })
    }

    /// What an account may hold, where there is a limit.
    pub fn allowance(&self, account: &Account) -> Option<Allowance> {
        let of_domain = || Some(self.domains.get(&account.name.rsplit_once('@')?.1.parse::<Domain>().ok()?)?.quota);
        account.quota.or(of_domain().unwrap_or_default())
    }

    fn terms(&self, accounts: &[Arc<str>]) -> Option<Box<Terms>> {
        if !self.has_quotas {
            return None;
        }
        let known = accounts.iter().filter_map(|name| self.accounts.get(name));
        let allowances: Vec<_> = known.filter_map(|account| Some((Arc::clone(&account.name), self.allowance(account)?))).collect();
        (!allowances.is_empty()).then(|| Box::new(Terms { allowances }))
    }

    /// What is to be known before anybody is looked up.
    fn note(&mut self) {
        let mut quotas = self.domains.values().map(|domain| domain.quota).chain(self.accounts.values().map(|account| account.quota));
        self.has_quotas = quotas.any(|quota| quota != Quota::default());
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
        self.expand(&name).or_else(|| self.look_further(name, domain))
    }

    /// For an address that nobody has as it is written.
    fn look_further(&self, mut name: String, domain: &DomainRecord) -> Option<Vec<Arc<str>>> {
        let end = name.len() - domain.name.as_str().len() - 1;
        let detail = domain.delimiter.and_then(|delimiter| name.get(..end)?.find(delimiter)).filter(|at| *at > 0);
        if let Some(at) = detail {
            name.replace_range(at..end, "");
            if let Some(found) = self.expand(&name) {
                return Some(found);
            }
        }
        let is_postmaster = name.get(..detail.unwrap_or(end)) == Some("postmaster");
        let postmaster = is_postmaster.then(|| self.postmaster(domain).or_else(|| self.any_postmaster())).flatten();
        postmaster.or_else(|| self.expand(domain.catch_all.as_ref()?))
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
}

/// What a new domain separates details by, as most servers do.
pub(crate) const DELIMITER: char = '+';
/// What a domain may separate details by: none that has ever been a route to another host, as `%` and `!` have.
pub const DELIMITERS: &str = "+-=_.#~";

#[cfg(test)]
mod tests;
