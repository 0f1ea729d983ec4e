//! How a [`Book`] comes from an address to whom it is for, in words for the operator.
//!
//! What is told is what [`Book::resolve`] has found: it is looked up in the same way. Cannot fail.

use std::collections::BTreeSet;
use std::sync::Arc;

use mail::{ForwardPath, Host};

use super::resolving::{Found, Group, Way, name_of};
use super::{Book, DomainRecord};
use crate::{List, Posting};

impl Book {
    /// The way from a recipient to the accounts that have its mail: each entry of the directory on it, one line each, and no more than
    /// some twenty.
    pub fn explain(&self, recipient: &ForwardPath) -> Vec<String> {
        let Some(found) = self.find(recipient) else { return vec![Self::not_ours(recipient)] };
        let mut said = Vec::new();
        match recipient {
            ForwardPath::Mailbox(mailbox) => {
                let Some(domain) = self.domain_of(mailbox) else { return said };
                self.way(&name_of(mailbox, domain), domain, found.as_ref(), &mut said);
            }
            ForwardPath::Postmaster => {
                let at = found.as_ref().and_then(|found| found.at);
                said.push(at.map_or_else(
                    || "there is no postmaster: there is no account".into(),
                    |name| format!("postmaster, of no domain, is the first postmaster there is: {name}"),
                ));
            }
        }
        if let Some(found) = &found {
            said.extend(self.on_the_way(found));
        }
        said
    }

    fn not_ours(recipient: &ForwardPath) -> String {
        match recipient {
            ForwardPath::Mailbox(mailbox) => match mailbox.host() {
                Host::Domain(domain) => format!("{} is no domain of ours (gatepost domain list)", domain.as_str()),
                Host::Literal(_) => "an address literal is no domain of ours".into(),
            },
            ForwardPath::Postmaster => String::new(),
        }
    }

    fn way(&self, name: &str, domain: &DomainRecord, found: Option<&Found<'_>>, said: &mut Vec<String>) {
        let at = found.and_then(|found| found.at).map(|at| &**at).unwrap_or_default();
        let (domain_name, delimiter) = (domain.name.as_str(), domain.delimiter.map_or_else(String::new, String::from));
        match found.map(|found| found.way) {
            Some(Way::Own) => {}
            Some(Way::Detail) => said.push(format!("nobody has {name}: without its detail, behind {delimiter}, it is {at}")),
            Some(Way::Postmaster) => said.push(match &domain.postmaster {
                Some(named) if **named == *at => format!("nobody has {name}: {at} is the postmaster of {domain_name}"),
                _ => format!("nobody has {name}, and {domain_name} names no postmaster: the first account is {at}"),
            }),
            Some(Way::CatchAll) => said.push(format!("nobody has {name}: {at} is the catch-all of {domain_name}")),
            None => said.push(format!("nobody has {name}, and {domain_name} has no catch-all")),
        }
        if found.is_some_and(|found| found.postmaster) {
            said.push("mail for a postmaster is taken from anybody, whatever the quota".into());
        }
    }

    /// The entry that was found and those that it leads to, in their order.
    fn on_the_way(&self, found: &Found<'_>) -> Vec<String> {
        let (mut said, mut seen) = (Vec::new(), BTreeSet::new());
        let mut open: Vec<&str> = found.at.map(|at| &**at).into_iter().collect();
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            if said.len() >= MOST_LINES {
                said.push("and more".into());
                return said;
            }
            match (self.accounts.get(name), self.group(name)) {
                (Some(account), _) => {
                    said.push(format!("{name} is an account{}", elsewhere("; its mail is to go to", &account.forwards)));
                }
                (None, Some(group)) => {
                    open.extend(group.targets.iter().rev().map(|target| &**target));
                    said.push(in_words(&group));
                }
                (None, None) => {}
            }
        }
        said
    }
}

fn in_words(Group { name, targets, list }: &Group<'_>) -> String {
    let Some(List { posting, outside, .. }) = list else { return format!("{name} is an alias of {}", few(targets)) };
    let posting = match posting {
        Posting::Anyone => "anyone",
        Posting::Members => "members",
        Posting::Domain => "domain",
    };
    format!("{name} is a list, posting {posting}, of {}{}", few(targets), elsewhere("; also of", outside))
}

/// What there is beside those here, which nothing is sent to.
fn elsewhere(what: &str, addresses: &[Arc<str>]) -> String {
    if addresses.is_empty() {
        return String::new();
    }
    format!("{what} {}, to whom nothing is sent by this version", few(addresses))
}

fn few(names: &[Arc<str>]) -> String {
    let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

const MOST_LINES: usize = 20;
/// Names on one line.
const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, QuotaChange};

    fn book() -> Book {
        let name = |name: &str| format!("{name}@example.org");
        let names = |names: &[&str]| names.iter().map(|one| name(one)).collect::<Vec<_>>();
        let (postmaster, quota) = (None, QuotaChange::default());
        let mut book = Book::default();
        for change in [
            Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: postmaster.clone() },
            Change::PutDomain { name: "example.net".parse().unwrap(), postmaster },
            Change::AddAccount { name: name("ann"), password_hash: String::new(), verifier: None },
            Change::AddAccount { name: name("zoe"), password_hash: String::new(), verifier: None },
            Change::SetAccount { name: name("zoe"), quota, forwards: Some(vec!["zoe@elsewhere.example".into()]) },
            Change::PutAlias { name: name("sales"), targets: names(&["ann", "zoe"]) },
            Change::AddList {
                name: name("team"),
                posting: Posting::Members,
                members: [names(&["sales", "ann"]), vec!["eve@elsewhere.example".into()]].concat(),
            },
            Change::SetDomain {
                name: "example.net".parse().unwrap(),
                postmaster: None,
                delimiter: None,
                catch_all: Some(name("sales")),
                quota,
            },
        ] {
            book.apply(change).unwrap();
        }
        book
    }

    #[test]
    fn the_way_is_told_in_words() {
        let book = book();
        let zoe = "zoe@example.org is an account; its mail is to go to zoe@elsewhere.example, to whom nothing is sent by this version";
        let sales = format!("sales@example.org is an alias of ann@example.org, zoe@example.org\nann@example.org is an account\n{zoe}");
        for (path, way) in [
            ("<Ann@example.org>", "ann@example.org is an account".to_owned()),
            (
                "<ann+x@example.org>",
                "nobody has ann+x@example.org: without its detail, behind +, it is ann@example.org\n\
                 ann@example.org is an account"
                    .into(),
            ),
            ("<sales@example.org>", sales.clone()),
            (
                "<team@example.org>",
                format!(
                    "team@example.org is a list, posting members, of sales@example.org, ann@example.org; also of eve@elsewhere.example, to \
                     whom nothing is sent by this version\n{sales}"
                ),
            ),
            ("<x@example.net>", format!("nobody has x@example.net: sales@example.org is the catch-all of example.net\n{sales}")),
            ("<x@example.org>", "nobody has x@example.org, and example.org has no catch-all".into()),
            ("<x@example.com>", "example.com is no domain of ours (gatepost domain list)".into()),
            ("<x@[192.0.2.1]>", "an address literal is no domain of ours".into()),
            (
                "<postmaster>",
                "postmaster, of no domain, is the first postmaster there is: ann@example.org\nann@example.org is an account".into(),
            ),
            (
                "<postmaster@example.org>",
                "nobody has postmaster@example.org, and example.org names no postmaster: the first account is ann@example.org\n\
                 mail for a postmaster is taken from anybody, whatever the quota\nann@example.org is an account"
                    .into(),
            ),
            (
                "<postmaster+x@example.org>",
                "nobody has postmaster+x@example.org, and example.org names no postmaster: the first account is ann@example.org\n\
                 mail for a postmaster is taken from anybody, whatever the quota\nann@example.org is an account"
                    .into(),
            ),
        ] {
            assert_eq!(book.explain(&ForwardPath::parse(path).unwrap()).join("\n"), way, "{path}");
        }
        let nobody = Book::default().explain(&ForwardPath::Postmaster);
        assert_eq!(nobody, ["there is no postmaster: there is no account"]);
    }

    #[test]
    fn long_ways_are_cut_short() {
        let mut book = book();
        let names: Vec<_> = (0..30).map(|number| format!("user-{number}@example.org")).collect();
        for name in &names {
            book.apply(Change::AddAccount { name: name.clone(), password_hash: String::new(), verifier: None }).unwrap();
        }
        book.apply(Change::PutAlias { name: "all@example.org".into(), targets: names }).unwrap();
        let way = book.explain(&ForwardPath::parse("<all@example.org>").unwrap());
        assert_eq!((way.len(), way.last().map(String::as_str)), (MOST_LINES + 1, Some("and more")));
        assert!(way[0].ends_with("user-4@example.org and 25 more"), "{}", way[0]);
    }
}
