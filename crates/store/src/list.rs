//! Distribution lists: addresses whose mail goes to their members, and who may post to them.
//!
//! A list that is not open to anyone takes mail from authenticated accounts alone: what MAIL FROM says proves nothing.

use std::sync::Arc;

use mail::Domain;

/// An address whose mail goes to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The address, in its [canonical](mail::canonical) spelling.
    pub name: Arc<str>,
    /// Who may post.
    pub posting: Posting,
    /// Accounts, aliases and lists of ours; at least one.
    pub members: Vec<Arc<str>>,
    /// Members elsewhere.
    pub outside: Vec<Arc<str>>,
}

/// Who may post to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posting {
    /// Whoever sends mail.
    Anyone,
    /// Accounts that get the list's mail.
    Members,
    /// Accounts of the list's domain.
    Domain,
}

/// A list that not everybody may post to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The list.
    pub name: Arc<str>,
    /// Who may post.
    pub posters: Posters,
}

/// Accounts that may post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posters {
    /// These.
    Accounts(Vec<Arc<str>>),
    /// Those of this domain.
    Domain(Domain),
}

impl Closed {
    /// Whether the account that has authenticated may post, in any [spelling](mail::canonical); whoever has not may not.
    pub fn admits(&self, account: Option<&str>) -> bool {
        let Some(account) = account.map(mail::canonical) else { return false };
        match &self.posters {
            Posters::Accounts(accounts) => accounts.iter().any(|poster| **poster == *account),
            Posters::Domain(domain) => account.rsplit_once('@').is_some_and(|(_, host)| host == domain.as_str()),
        }
    }
}
