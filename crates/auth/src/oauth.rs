//! Bearer tokens (RFC 6750): what a client says with one (OAUTHBEARER, RFC 7628, and XOAUTH2), and whose it is.
//!
//! [`Bearer`] is whoever tells that, made of the table `[oauth]`: keys that a token must be signed by, or a service that is asked. Guarantees: an
//! account is named by nothing but a token that is in force, from the issuer, for the audience and with the scope of the configuration. Tokens and
//! secrets are in no error, and in no log. Refuses by value; fails with [`Error`].

mod introspection;
mod keys;
mod message;
mod settings;
mod signed;

use std::time::Duration;

use mail::Mechanism;
use serde_json::{Map, Value};

use introspection::Introspection;
pub(crate) use message::Presented;
pub use settings::Settings;
use signed::Signed;

use crate::Error;

/// Why a token is worth nothing, in words for the operator that hold nothing of it.
pub(crate) type Worthless = &'static str;

/// Says whose a token is.
#[derive(Debug)]
pub struct Bearer {
    known_by: KnownBy,
    wanted: Wanted,
}

/// What the claims of a token that is worth something must say.
#[derive(Debug)]
struct Wanted {
    /// The claim that names the account.
    claim: String,
    /// What the token must be good for; empty for anything.
    scope: String,
}

/// How it is known what a token is worth.
#[derive(Debug)]
enum KnownBy {
    Signature(Signed),
    Service(Box<Introspection>),
}

impl Bearer {
    /// By these settings; none where they take no tokens. Reads the files they name.
    ///
    /// # Errors
    /// [`Error::Settings`] with every fault, or [`Error::OauthFile`].
    pub fn new(settings: &Settings) -> Result<Option<Self>, Error> {
        let faults = settings.validate();
        if !faults.is_empty() {
            return Err(Error::Settings(faults));
        }
        if !settings.takes_tokens() {
            return Ok(None);
        }
        let known_by = if settings.asks() {
            KnownBy::Service(Box::new(Introspection::new(settings)?))
        } else {
            KnownBy::Signature(Signed::new(settings)?)
        };
        let wanted = Wanted { claim: settings.account_claim.clone(), scope: settings.scope.clone() };
        Ok(Some(Self { known_by, wanted }))
    }

    /// The account that a token names, as it stands there; of a token that is worth nothing, why.
    ///
    /// Cancel-safe: what was asked is asked in vain.
    ///
    /// # Errors
    /// [`Error::Introspection`]
    pub(crate) async fn account(&self, token: &str) -> Result<Result<String, Worthless>, Error> {
        match &self.known_by {
            KnownBy::Signature(signed) => Ok(signed.claims(token).and_then(|claims| self.wanted.account(&claims))),
            KnownBy::Service(service) => service.account(token, &self.wanted).await,
        }
    }
}

impl Wanted {
    /// The account that these claims name.
    fn account(&self, claims: &Map<String, Value>) -> Result<String, Worthless> {
        // OpenID Connect Core §5.1: an address that nobody has verified may be anybody's.
        let unverified =
            self.claim == "email" && claims.get("email_verified").is_some_and(|verified| verified != true && verified != "true");
        let account = claims.get(&self.claim).and_then(Value::as_str).filter(|name| !name.is_empty());
        match account {
            None => Err("it has no text in the claim of oauth.account_claim"),
            Some(_) if unverified => Err("the address in it is not verified (email_verified)"),
            Some(_) if !self.in_scope(claims) => Err("it is not good for oauth.scope"),
            Some(account) => Ok(account.to_owned()),
        }
    }

    /// RFC 8693 §4.2 and RFC 7662 §2.2 have one text with spaces in it, some providers a list; some call it `scp`.
    fn in_scope(&self, claims: &Map<String, Value>) -> bool {
        let has = |claim: &Value| match claim {
            Value::String(scopes) => scopes.split(' ').any(|scope| scope == self.scope),
            Value::Array(scopes) => scopes.iter().any(|scope| *scope == self.scope),
            _ => false,
        };
        self.scope.is_empty() || ["scope", "scp"].into_iter().filter_map(|name| claims.get(name)).any(has)
    }
}

/// What is wrong, for the client's program (RFC 7628 §3.2.2).
pub(crate) fn challenge(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Xoauth2 => r#"{"status":"401","schemes":"bearer"}"#,
        _ => r#"{"status":"invalid_token"}"#,
    }
}

/// By how much the provider's clock may differ from ours.
const LEEWAY: Duration = Duration::from_secs(60);

#[cfg(test)]
pub(crate) mod tests;
