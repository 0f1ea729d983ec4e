//! What may be asked of a directory, and why it may be refused. [`Book::apply`](crate::Book::apply) has the rules.

use mail::Domain;

use crate::{Error, Posting, QuotaChange};

/// One change to the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Takes a domain's mail from now on, or sets its postmaster; without one, the present one stays.
    PutDomain {
        /// The domain.
        name: Domain,
        /// Its postmaster's address.
        postmaster: Option<String>,
    },
    /// Settings of a domain; what is `None` stays as it is.
    SetDomain {
        /// The domain.
        name: Domain,
        /// Its postmaster's address; empty for its first account.
        postmaster: Option<String>,
        /// What separates details, one of [`DELIMITERS`](crate::DELIMITERS); empty for none.
        delimiter: Option<String>,
        /// The address mail for nobody else goes to; empty for none.
        catch_all: Option<String>,
        /// What its accounts may hold.
        quota: QuotaChange,
    },
    /// Takes it no longer; it must have no accounts or aliases left.
    RemoveDomain {
        /// The domain.
        name: Domain,
    },
    /// A new account.
    AddAccount {
        /// Its address.
        name: String,
        /// The Argon2id hash in PHC string format.
        password_hash: String,
        /// What SCRAM compares it with, see [`Account::verifier`](crate::Account::verifier), where it was made.
        verifier: Option<String>,
    },
    /// A new password. A SCRAM verifier of the one before goes with that.
    SetPassword {
        /// The account's address.
        name: String,
        /// The Argon2id hash in PHC string format.
        password_hash: String,
        /// What SCRAM compares it with, see [`Account::verifier`](crate::Account::verifier), where it was made.
        verifier: Option<String>,
    },
    /// Another hash of the same password, if the stored one is still `stored`: whoever set another password meanwhile wins.
    RenewHash {
        /// The account's address.
        name: String,
        /// The hash that the password was compared with.
        stored: String,
        /// The Argon2id hash in PHC string format.
        password_hash: String,
    },
    /// Settings of an account.
    SetAccount {
        /// The account's address.
        name: String,
        /// What it may hold.
        quota: QuotaChange,
        /// Addresses elsewhere that its mail is to go to as well; what is `None` stays as it is.
        forwards: Option<Vec<String>>,
    },
    /// What SCRAM compares the password of the stored hash with, if that is still `stored`: whoever set another password meanwhile wins.
    PutVerifier {
        /// The account's address.
        name: String,
        /// The hash of the same password.
        stored: String,
        /// See [`Account::verifier`](crate::Account::verifier).
        verifier: String,
    },
    /// Removes the account and its maildrop.
    RemoveAccount {
        /// The account's address.
        name: String,
    },
    /// A new alias, or new targets for one.
    PutAlias {
        /// The alias.
        name: String,
        /// Addresses of accounts and aliases.
        targets: Vec<String>,
    },
    /// Removes the alias.
    RemoveAlias {
        /// The alias.
        name: String,
    },
    /// A new list.
    AddList {
        /// Its address.
        name: String,
        /// Who may post.
        posting: Posting,
        /// Addresses of ours and elsewhere; at least one of ours.
        members: Vec<String>,
    },
    /// Settings and members of a list.
    SetList {
        /// Its address.
        name: String,
        /// Who may post; `None` leaves it as it is.
        posting: Option<Posting>,
        /// Who is a member from now on.
        join: Vec<String>,
        /// Who is no longer.
        leave: Vec<String>,
    },
    /// Removes the list.
    RemoveList {
        /// Its address.
        name: String,
    },
}

/// Why a change was refused; each names the thing and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Not an address of the form `name@domain`.
    #[error("{0:?} is not an address: write name@domain")]
    Address(String),
    /// It stands for all addresses of a domain, which one address does not.
    #[error("{0:?} is no address: there are no wildcards; the catch-all is `gatepost domain set {1} --catch-all ADDRESS`")]
    Wildcard(String, String),
    /// What stands for somebody here is to stand for somebody elsewhere.
    #[error(
        "{0} is not an address here, as what aliases, catch-alls and postmasters stand for must be. For mail to go to another host, have an account \
         here, and `gatepost user set ACCOUNT --forward {0}`"
    )]
    TargetElsewhere(String),
    /// An address of the network, or a name that ends like one, is no domain's.
    #[error("{0} is no domain: their names never end in a number. Write it as in example.org")]
    Numbered(String),
    /// The domain is not one of ours.
    #[error("{0} is not a local domain: add it first with `gatepost domain add {0}`")]
    ForeignDomain(String),
    /// It is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// It is not there.
    #[error("there is no {0}")]
    Unknown(String),
    /// It is no longer what the change was made for.
    #[error("{0} has been changed meanwhile and stays as it is now")]
    Overtaken(String),
    /// Others still point to it.
    #[error("{name} is still used by {used_by}: change that first")]
    InUse {
        /// What was to go.
        name: String,
        /// What holds it.
        used_by: String,
    },
    /// The alias or list would lead back to itself.
    #[error("{0} would lead back to itself")]
    Loop(String),
    /// An alias must stand for something.
    #[error("alias {0} needs at least one target")]
    NoTarget(String),
    /// A list must come to somebody here.
    #[error("list {0} needs at least one member with an address here")]
    NoMember(String),
    /// Mail is sent on to other hosts alone.
    #[error("{0} is not in another host's domain: for addresses here there are aliases and lists")]
    NotElsewhere(String),
    /// It separates nothing.
    #[error("{0:?} is no delimiter: write one of {known}, or \"\" for none", known = crate::DELIMITERS)]
    Delimiter(String),
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] Error),
}
