//! The table `[oauth]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use mail::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::introspection::{AT_ONCE, Service};
use crate::Fault;

/// Logins by a token of an identity provider in place of a password (OAUTHBEARER and XOAUTH2), on submission and POP3, under TLS. They are
/// offered where `keys` or `introspection` is set, one of the two. Whoever a token names must have an account here; what is counted and held back for wrong
/// passwords is for wrong tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Files with the provider's public keys, each PEM ("PUBLIC KEY") or a JWK Set (RFC 7517), which is what is found at a provider's jwks_uri:
    /// ["/etc/gatepost/jwks.json"]. A token is then a JWT (RFC 7519) that one of them has signed, by RS256 with RSA, ES256 with P-256 or EdDSA with
    /// Ed25519, has not expired, and is for `audience` from `issuer`. Clocks may differ by a minute. Where a token names its key (kid), the
    /// keys of a set that are called otherwise are not tried; a key in PEM has no name and is. The files, of 256 KiB and 64 keys at most, are read again on
    /// every reload: fetch the set from time to time and reload, or, with PEM, list the old and the new key for a while.
    pub keys: Vec<PathBuf>,

    /// Who must have issued a token: its `iss`, to the letter. Needed with `keys`; with `introspection` empty is anybody.
    pub issuer: String,

    /// For whom a token must be: its `aud`, or one of them. Needed with `keys`, or a token that somebody has given to another service would
    /// open the mail here; with `introspection` empty leaves that to the service.
    pub audience: String,

    /// What a token must be good for: a word that its `scope`, or `scp`, must hold, as in "mail". Empty asks for none.
    pub scope: String,

    /// The provider's service that says what a token is worth (RFC 7662), in place of `keys`, by its https URL. Empty for none. It is asked with
    /// `client_id` and the secret in `client_secret_file`, and what it says of `issuer` and `audience` must be what is written there,
    /// where something is. A service on another machine needs https. While it does not answer, clients are told to come back later.
    pub introspection: String,

    /// Files with the certificates, PEM, of the authorities that vouch for that service, where it has one of your own: ["/etc/gatepost/ca.pem"]. They
    /// count in place of those that the system trusts. The files are read again on every reload.
    pub introspection_ca: Vec<PathBuf>,

    /// As whom this server asks there; empty to ask without a name.
    pub client_id: String,

    /// The file with the secret that goes with client_id, which the server's user must be able to read. It is read again on every reload.
    pub client_secret_file: PathBuf,

    /// How long its answer may take.
    pub timeout: Span,

    /// For how long a token that it has found right is taken again without asking, and at most until the token expires: one that is revoked there opens
    /// the mail here until then. A reload forgets them all. "0s" asks each time.
    pub remember: Span,

    /// The claim of a token that names the account, by its full address. Let it be one that people cannot choose for themselves. Where it is
    /// email, a token that says email_verified = false is worth nothing.
    pub account_claim: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            issuer: String::new(),
            audience: String::new(),
            scope: String::new(),
            introspection: String::new(),
            introspection_ca: Vec::new(),
            client_id: String::new(),
            client_secret_file: PathBuf::new(),
            timeout: Span::secs(5),
            remember: Span::mins(1),
            account_claim: "email".into(),
        }
    }
}

impl Settings {
    /// Whether tokens are taken.
    pub fn takes_tokens(&self) -> bool {
        !self.keys.is_empty() || self.asks()
    }

    /// Whether a service says what they are worth.
    pub(super) fn asks(&self) -> bool {
        !self.introspection.is_empty()
    }

    /// Connections that are open at once to ask what tokens are worth.
    pub fn descriptors_most(&self) -> u64 {
        if self.asks() { AT_ONCE as u64 } else { 0 }
    }

    /// Every fault in these settings; none when they can be used.
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (key, value) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if !self.keys.is_empty() && value.is_empty() {
                faults.push(Fault { key, message: "is missing: with oauth.keys it must be what the provider puts into its tokens".into() });
            }
        }
        if let Some(message) = Service::parse(&self.introspection).err().filter(|_| self.asks()) {
            faults.push(Fault { key: "introspection", message });
        }
        if self.asks() && !self.keys.is_empty() {
            faults.push(Fault {
                key: "introspection",
                message: "cannot be had beside oauth.keys: set the one that the provider asks for".into(),
            });
        }
        // RFC 6749 §3.3.
        if !self.scope.bytes().all(|octet| octet.is_ascii_graphic() && !br#""\"#.contains(&octet)) {
            faults.push(Fault { key: "scope", message: format!("{:?} must be one word, without spaces and quotes", self.scope) });
        }
        if !self.introspection_ca.is_empty() && !self.asks() {
            faults.push(Fault { key: "introspection_ca", message: "vouches for nobody: it goes with oauth.introspection".into() });
        }
        if self.client_id.is_empty() != self.client_secret_file.as_os_str().is_empty() {
            faults.push(Fault { key: "client_secret_file", message: "goes with client_id: set both or neither".into() });
        }
        for (key, span, least) in [("timeout", self.timeout, Span(Duration::from_millis(1))), ("remember", self.remember, Span::secs(0))] {
            if !(least..=LONGEST).contains(&span) {
                faults.push(Fault { key, message: format!("{span} must be at least {least} and at most {LONGEST}") });
            }
        }
        if self.account_claim.is_empty() {
            faults.push(Fault { key: "account_claim", message: "is empty: name the claim that says whose a token is".into() });
        }
        faults
    }
}

/// A revoked token must not be good for days, and no client waits for an hour.
const LONGEST: Span = Span(Duration::from_secs(60 * 60));
