//! Whom an address is for, as the [`Book`] has it: the order of [`super`], and the terms on which its mail is taken.
//!
//! Pure, and cannot fail: what changes let in neither dangles nor leads back to itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use mail::{ForwardPath, Mailbox};

use super::{Account, Book, DomainRecord, Resolution, Terms};
use crate::{Closed, List, Posters, Posting};

impl Book {
    /// Whose maildrops a recipient's mail goes to.
    pub fn resolve(&self, recipient: &ForwardPath) -> Resolution {
        let Some(found) = self.find(recipient) else { return Resolution::Foreign };
        found.map_or(Resolution::UnknownUser, |found| {
            let terms = self.terms(&found);
            Resolution::Accounts(found.accounts, terms)
        })
    }

    /// The names under which somebody else may know an address of ours: as it is written, and without its detail.
    pub fn names(&self, mailbox: &Mailbox) -> Vec<String> {
        let Some(domain) = self.domain_of(mailbox) else { return Vec::new() };
        let mut names = vec![name_of(mailbox, domain)];
        let mut without = name_of(mailbox, domain);
        if cut_detail(&mut without, domain) {
            names.push(without);
        }
        names
    }

    /// What an address comes to that stands for these accounts, as somebody else says.
    ///
    /// # Errors
    /// The first that is no account.
    pub fn of_accounts<'n>(&self, names: &'n [String]) -> Result<Resolution, &'n str> {
        let mut found = Found::default();
        for name in names {
            let account = &self.account(name).ok_or(name.as_str())?.name;
            if !found.accounts.contains(account) {
                found.accounts.push(Arc::clone(account));
            }
        }
        (found.direct, found.several) = (found.accounts.len(), found.accounts.len() > 1);
        let terms = self.terms(&found);
        Ok(Resolution::Accounts(found.accounts, terms))
    }

    /// What a recipient comes to, if anybody has it; `None` for one of a domain that is not ours.
    #[expect(clippy::option_option, reason = "whether it is ours, and whether somebody has it")]
    pub(super) fn find(&self, recipient: &ForwardPath) -> Option<Option<Found<'_>>> {
        match recipient {
            ForwardPath::Postmaster => Some(self.any_postmaster().map(|found| Found { postmaster: true, ..found })),
            ForwardPath::Mailbox(mailbox) => self.domain_of(mailbox).map(|domain| self.lookup(mailbox, domain)),
        }
    }

    fn lookup(&self, mailbox: &Mailbox, domain: &DomainRecord) -> Option<Found<'_>> {
        let mut name = name_of(mailbox, domain);
        let found = self.expand(&name).or_else(|| self.look_further(&mut name, domain))?;
        Some(Found { postmaster: is_postmaster(&name), ..found })
    }

    /// For an address that nobody has as it is written. What is left in `name` has no detail.
    fn look_further(&self, name: &mut String, domain: &DomainRecord) -> Option<Found<'_>> {
        if cut_detail(name, domain)
            && let Some(found) = self.expand(name)
        {
            return Some(Found { way: Way::Detail, ..found });
        }
        let postmaster = is_postmaster(name).then(|| self.postmaster(domain).or_else(|| self.any_postmaster())).flatten();
        postmaster.or_else(|| Some(Found { way: Way::CatchAll, ..self.expand(domain.catch_all.as_ref()?)? }))
    }

    fn any_postmaster(&self) -> Option<Found<'_>> {
        self.domains.values().find_map(|domain| self.postmaster(domain))
    }

    fn postmaster(&self, domain: &DomainRecord) -> Option<Found<'_>> {
        let named = domain.postmaster.as_ref().and_then(|name| self.expand(name));
        let found = named.or_else(|| {
            let ours = |account: &&Account| account.name.rsplit_once('@').is_some_and(|(_, host)| host == domain.name.as_str());
            self.accounts.values().filter(ours).min_by_key(|account| account.serial).map(Found::of)
        });
        found.map(|found| Found { way: Way::Postmaster, ..found })
    }

    /// The accounts an address stands for; none when nobody has it.
    fn expand(&self, name: &str) -> Option<Found<'_>> {
        if let Some(account) = self.accounts.get(name) {
            return Some(Found::of(account));
        }
        let group = self.group(name)?;
        let (mut seen, mut found) = (BTreeSet::new(), Found { at: Some(group.name), ..Found::default() });
        // Lists wait until all is found that is reached without one: whoever is reached both ways is an addressee, and no member.
        let (mut open, mut lists) = (vec![group], Vec::new());
        while let Some(group) = open.pop() {
            match group.list {
                Some(_) => lists.push(group),
                None => self.follow(&group, &mut seen, &mut found, &mut open),
            }
        }
        found.direct = found.accounts.len();
        found.several = found.direct + lists.len() > 1;
        while let Some(group) = lists.pop() {
            found.lists.extend(group.list);
            self.follow(&group, &mut seen, &mut found, &mut lists);
        }
        Some(found)
    }

    /// Finds the accounts of an alias or a list, and opens what else it leads to.
    fn follow<'b>(&'b self, group: &Group<'b>, seen: &mut BTreeSet<Arc<str>>, found: &mut Found<'b>, open: &mut Vec<Group<'b>>) {
        for target in group.targets.iter().filter(|target| seen.insert(Arc::clone(target))) {
            match self.accounts.get(target) {
                Some(account) => found.accounts.push(account.name.clone()),
                None => open.extend(self.group(target)),
            }
        }
    }

    pub(super) fn group(&self, name: &str) -> Option<Group<'_>> {
        let of_list = || self.lists.get(name).map(|list| Group { name: &list.name, targets: &list.members, list: Some(list) });
        self.aliases.get(name).map(|alias| Group { name: &alias.name, targets: &alias.targets, list: None }).or_else(of_list)
    }

    fn terms(&self, found: &Found<'_>) -> Option<Box<Terms>> {
        let (through_list, catch_all) = (!found.lists.is_empty(), found.way == Way::CatchAll);
        if !self.has_terms && !through_list && !catch_all {
            return None;
        }
        let (mut terms, mut seen) = (Terms { through_list, catch_all, several: found.several, ..Terms::default() }, BTreeSet::new());
        let accounts = found.accounts.iter().enumerate();
        for (number, account) in accounts.filter_map(|(number, name)| Some((number, self.accounts.get(name)?))) {
            let allowance = self.allowance(account).filter(|_| !found.postmaster);
            let limited = if number < found.direct { &mut terms.allowances } else { &mut terms.members };
            limited.extend(allowance.map(|allowance| (Arc::clone(&account.name), allowance)));
            terms.outside.extend(account.forwards.iter().filter(|address| seen.insert(Arc::clone(address))).cloned());
        }
        for list in &found.lists {
            terms.closed.extend(self.closed(list).filter(|_| !found.postmaster));
            terms.outside.extend(list.outside.iter().filter(|address| seen.insert(Arc::clone(address))).cloned());
        }
        (terms != Terms { several: found.several, ..Terms::default() }).then(|| Box::new(terms))
    }

    /// Nobody may post to a list of which it cannot be told who may.
    fn closed(&self, list: &List) -> Option<Closed> {
        let posters = match list.posting {
            Posting::Anyone => return None,
            Posting::Members => self.expand(&list.name).map(|found| Posters::Accounts(found.accounts)),
            Posting::Domain => list.name.rsplit_once('@').and_then(|(_, host)| host.parse().ok()).map(Posters::Domain),
        };
        Some(Closed { name: Arc::clone(&list.name), posters: posters.unwrap_or(Posters::Accounts(Vec::new())) })
    }
}

/// What an address comes to.
#[derive(Default)]
pub(super) struct Found<'b> {
    /// Those that are reached without a list come first.
    accounts: Vec<Arc<str>>,
    /// How many of them these are.
    direct: usize,
    /// Whether there are several ways on, before any list.
    several: bool,
    /// The lists on the way there.
    lists: Vec<&'b List>,
    /// Under which name it was found, and why under that.
    pub(super) at: Option<&'b Arc<str>>,
    pub(super) way: Way,
    /// It is the postmaster's, who is reached on no terms.
    pub(super) postmaster: bool,
}

/// An alias or a list.
pub(super) struct Group<'b> {
    pub(super) name: &'b Arc<str>,
    /// What it leads to.
    pub(super) targets: &'b [Arc<str>],
    /// Which list it is.
    pub(super) list: Option<&'b List>,
}

/// Why an address is somebody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// It is theirs.
    #[default]
    Own,
    /// It is, without its detail.
    Detail,
    /// They are the postmaster.
    Postmaster,
    /// They have what is nobody's.
    CatchAll,
}

impl<'b> Found<'b> {
    fn of(account: &'b Account) -> Self {
        Self { accounts: vec![Arc::clone(&account.name)], direct: 1, at: Some(&account.name), ..Self::default() }
    }
}

/// Under which name an address is kept.
pub(super) fn name_of(mailbox: &Mailbox, domain: &DomainRecord) -> String {
    let mut name = mailbox.local_part().to_lowercase();
    name.push('@');
    name.push_str(domain.name.as_str());
    name
}

/// Whether it is the address that every domain must have (RFC 5321 §4.5.1).
fn is_postmaster(name: &str) -> bool {
    name.strip_prefix("postmaster").is_some_and(|rest| rest.starts_with('@'))
}

/// Takes the delimiter and the detail out of a name; whether it has any.
fn cut_detail(name: &mut String, domain: &DomainRecord) -> bool {
    let end = name.len() - domain.name.as_str().len() - 1;
    let detail = domain.delimiter.and_then(|delimiter| name.get(..end)?.find(delimiter)).filter(|at| *at > 0);
    detail.map(|at| name.replace_range(at..end, "")).is_some()
}
