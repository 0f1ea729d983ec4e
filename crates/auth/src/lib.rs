//! Who somebody is: a login name and what proves it, compared with what the directory knows.
//!
//! [`Authenticator::verify`] is the question about a name and a password, a [`Claim`] that was [looked up](Authenticator::look_up) before; its
//! answer is a [`Verdict`]. [`Authenticator::respond`] is the question about each message of an exchange that has several, SCRAM's. Guarantees:
//!
//! - Whoever has proved who they are acts as themselves and as nobody else.
//! - A password is compared by Argon2id, off the async threads, so many at a time and no more ([`Settings::concurrent_hashes`]); a
//!   bounded number waits, the rest is refused for now.
//! - A wrong password costs the same work, whether the name is known or not and whatever its hash was made with, and gets the same
//!   answer: each cost in use is paid once, whatever [`Settings::hash_memory`] was before.
//! - A hash that was made otherwise than hashes are made now is made anew when its owner logs in, after the answer; a password that was set
//!   meanwhile stays.
//! - Of a right password that has no SCRAM verifier one is made in the same way. SCRAM is offered when the last account has one. A name
//!   without one, or without an account, is answered with a salt of its own that stays the same, and fails like a wrong password.
//! - Each attempt counts against the account and against the source before its password is looked at, and is forgiven when it was
//!   right: a client that hangs up, or tries from a hundred connections at once, gains nothing. What comes too fast is refused
//!   without a look at the password. A source from which the account was used before has a count of its own, so that others'
//!   guesses do not lock people out.
//! - A bearer token is worth what [`oauth::Bearer`] says of it, to whoever has an account here, and counts like a password.
//! - A password that was right is recognised again from the same source for some minutes without computing its hash. What is kept
//!   for that is a keyed digest, with a key that this process made up and never tells. The stored hash goes into it: a new password
//!   or a removed account is forgotten at once.
//! - Memory is bounded by constants, whatever names and addresses are tried. Passwords are wiped, and never logged.
//!
//! Refuses by value: [`Verdict::Wrong`] and [`Verdict::Refused`]. Fails with [`Error`], which is never the client's fault: answer it as
//! temporary, so that nobody is asked for their password again.

use std::io;
use std::path::PathBuf;

mod authenticator;
mod exchange;
mod failures;
mod hashing;
pub mod oauth;
mod recent;
mod scram;
mod seal;
mod settings;

pub use authenticator::{Authenticator, Claim, LookedUp, Verdict};
pub use exchange::{Exchange, Message, Round};
pub use hashing::{hash_password, scram_salt, scram_verifier};
pub use settings::{Fault, Settings};

/// Why it could not be said who somebody is. Never the client's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration's: these settings cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<Fault>),
    /// The directory cannot be asked at present.
    #[error(transparent)]
    Directory(#[from] store::Error),
    /// What the directory keeps as the account's password is not an Argon2 hash.
    #[error("the password hash kept for {account} cannot be used ({cause}): set a new one with `gatepost user passwd {account}`")]
    StoredHash {
        /// Whose.
        account: String,
        /// What is wrong with it.
        cause: String,
    },
    /// What the directory keeps for SCRAM is none.
    #[error("the SCRAM verifier kept for {account} cannot be used ({cause}): set a new password with `gatepost user passwd {account}`")]
    StoredVerifier {
        /// Whose.
        account: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A file that `[oauth]` names cannot be used.
    #[error("{}: {source}", path.display())]
    OauthFile {
        /// The key of the configuration that names it.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not known what a token is worth: the service that would say so does not.
    #[error("the service at oauth.introspection has not said what a token is worth: {0}")]
    Introspection(String),
    /// A hash could not be computed.
    #[error("a password hash could not be computed: {0}")]
    Hashing(String),
}
