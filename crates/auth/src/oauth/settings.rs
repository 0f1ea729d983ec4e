//! The table `[oauth]` of the configuration.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Fault;

/// Logins by a token of an identity provider in place of a password (OAUTHBEARER and XOAUTH2), on submission and POP3, under TLS. They are
/// offered where `keys` names files. Whoever a token names must have an account here; what is counted and held back for wrong
/// passwords is for wrong tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Files with the provider's public keys, PEM ("PUBLIC KEY"): ["/etc/gatepost/oauth.pem"]. A token is then a JWT (RFC 7519) that one of them
    /// has signed, by RS256 with RSA, ES256 with P-256 or EdDSA with Ed25519, has not expired, and is for `audience` from
    /// `issuer`. Clocks may differ by a minute. The files are read again on every reload: to change keys, list the old and the new one
    /// for a while.
    pub keys: Vec<PathBuf>,

    /// Who must have issued a token: its `iss`, to the letter. Needed with `keys`.
    pub issuer: String,

    /// For whom a token must be: its `aud`, or one of them. Needed with `keys`, or a token that somebody has given to another service would
    /// open the mail here.
    pub audience: String,

    /// The claim of a token that names the account, by its full address. Let it be one that people cannot choose for themselves. Where it is
    /// email, a token that says email_verified = false is worth nothing.
    pub account_claim: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keys: Vec::new(), issuer: String::new(), audience: String::new(), account_claim: "email".into() }
    }
}

impl Settings {
    /// Whether tokens are taken.
    pub fn takes_tokens(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Every fault in these settings; none when they can be used.
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (key, value) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if !self.keys.is_empty() && value.is_empty() {
                faults.push(Fault { key, message: "is missing: with oauth.keys it must be what the provider puts into its tokens".into() });
            }
        }
        if self.account_claim.is_empty() {
            faults.push(Fault { key: "account_claim", message: "is empty: name the claim that says whose a token is".into() });
        }
        faults
    }
}
