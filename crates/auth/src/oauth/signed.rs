//! Tokens that say themselves what they are worth: signed JWTs (RFC 7519, RFC 8725).
//!
//! Each key goes with one algorithm, which follows from the key and never from the token: neither `none` nor an HMAC under the text of a
//! public key is ever tried. Expiry, issuer and audience must be there and right, and `nbf` right where it is there.

use std::path::PathBuf;
use std::{fs, io};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::Settings;
use crate::Error;

/// Whose signature counts, and on what.
#[derive(Debug)]
pub(super) struct Signed(Vec<(DecodingKey, Validation)>);

impl Signed {
    /// # Errors
    /// [`Error::OauthFile`]
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for path in &settings.keys {
            let read = read(path).map_err(|source| Error::OauthFile { key: "keys", path: path.clone(), source })?;
            keys.extend(read.into_iter().map(|(algorithm, key)| (key, validation(algorithm, settings))));
        }
        Ok(Self(keys))
    }

    /// What a token says, if any of it is to be believed.
    pub(super) fn claims(&self, token: &str) -> Option<Map<String, Value>> {
        let mut tokens = self.0.iter().filter_map(|(key, validation)| decode(token, key, validation).ok());
        // RFC 7515 §4.1.11: what must be understood is not.
        tokens.next().filter(|token| token.header.crit.is_none()).map(|token| token.claims)
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

/// The public keys of a file.
fn read(path: &PathBuf) -> io::Result<Vec<(Algorithm, DecodingKey)>> {
    let mut keys = Vec::new();
    for der in SubjectPublicKeyInfoDer::pem_slice_iter(&fs::read(path)?) {
        let der = der.map_err(|error| unusable(&format!("is not PEM: {error}")))?;
        keys.push(key(&der).ok_or_else(|| unusable("a key in it is none of RSA with 2048 bits or more, P-256 and Ed25519"))?);
    }
    if keys.is_empty() { Err(unusable("there is no PUBLIC KEY in it")) } else { Ok(keys) }
}

fn key(der: &[u8]) -> Option<(Algorithm, DecodingKey)> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
    let (kind, octets) = (&info.algorithm, &*info.subject_public_key.data);
    if kind.algorithm == OID_PKCS1_RSAENCRYPTION {
        let PublicKey::RSA(rsa) = info.parsed().ok()? else { return None };
        (rsa.key_size() >= RSA_BITS).then(|| (Algorithm::RS256, DecodingKey::from_rsa_der(octets)))
    } else if kind.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = kind.parameters.as_ref()?.as_oid().ok()?;
        (curve == OID_EC_P256).then(|| (Algorithm::ES256, DecodingKey::from_ec_der(octets)))
    } else {
        (kind.algorithm == OID_SIG_ED25519).then(|| (Algorithm::EdDSA, DecodingKey::from_ed_der(octets)))
    }
}

fn unusable(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

/// What RFC 7518 §3.3 asks for.
const RSA_BITS: usize = 2048;
