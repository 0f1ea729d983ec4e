//! Tokens that say themselves what they are worth: signed JWTs (RFC 7519, RFC 8725).
//!
//! Each key goes with one algorithm, which follows from the key and never from the token: neither `none` nor an HMAC under the text of a
//! public key is ever tried. Of keys that have a name a token that names one (`kid`) is compared with that alone. Expiry, issuer and audience must be
//! there and right, and `nbf` right where it is there.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::keys::{self, Key};
use super::{Settings, Worthless};
use crate::Error;

/// Whose signature counts, and on what.
#[derive(Debug)]
pub(super) struct Signed(Vec<(Key, Validation)>);

impl Signed {
    /// # Errors
    /// [`Error::OauthFile`]
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for path in &settings.keys {
            let read = keys::read(path).map_err(|source| Error::OauthFile { key: "keys", path: path.clone(), source })?;
            for key in read {
                let validation = validation(key.algorithm, settings);
                keys.push((key, validation));
            }
        }
        Ok(Self(keys))
    }

    /// What a token says, if any of it is to be believed.
    pub(super) fn claims(&self, token: &str) -> Result<Map<String, Value>, Worthless> {
        let header = decode_header(token).map_err(|error| why(error.kind()))?;
        // RFC 7515 §4.1.11: what must be understood is not.
        if header.crit.is_some() {
            return Err("it has what must be understood and is not (crit)");
        }
        let named = |key: &Key| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
        let keys = self.0.iter().filter(|(key, _)| key.algorithm == header.alg && named(key));
        let mut worthless = "no key of oauth.keys is for its algorithm and the key it names";
        for (key, validation) in keys {
            match decode(token, &key.decoding, validation).map(|token| token.claims) {
                Ok(claims) => return Ok(claims),
                Err(error) => worthless = why(error.kind()),
            }
            // Its claims are looked at under the right key alone.
            if worthless != FORGED {
                break;
            }
        }
        Err(worthless)
    }
}

fn validation(algorithm: Algorithm, settings: &Settings) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[&settings.issuer]);
    validation.set_audience(&[&settings.audience]);
    validation.validate_nbf = true;
    validation.leeway = super::LEEWAY.as_secs();
    validation
}

fn why(kind: &ErrorKind) -> Worthless {
    match kind {
        ErrorKind::InvalidSignature => FORGED,
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not yet valid (nbf)",
        ErrorKind::InvalidIssuer => "it is not from oauth.issuer (iss)",
        ErrorKind::InvalidAudience => "it is not for oauth.audience (aud)",
        ErrorKind::MissingRequiredClaim(_) => "exp, iss or aud is missing, or not well formed",
        ErrorKind::InvalidClaimFormat(_) => "one of its claims is not well formed",
        _ => "it is no signed token that can be read",
    }
}

const FORGED: Worthless = "no key of oauth.keys has signed it";
