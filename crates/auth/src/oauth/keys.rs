//! The public keys of a provider, from a file: PEM ("PUBLIC KEY"), or a JWK Set (RFC 7517) as providers publish it at their `jwks_uri`.
//!
//! A file that begins with a brace is a set. Of its keys those are taken that sign by an algorithm of ours, and the others left out (RFC 7517 §5):
//! symmetric ones above all, for what is published is no secret. PEM says of a key neither for what it is nor how it is called. Guarantees: an
//! algorithm follows from the kind of a key and nothing else; a file has a bounded length and a bounded number of keys. Fails in words for the operator.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Value;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A key, and what it signs by.
#[derive(Debug)]
pub(super) struct Key {
    /// How tokens call it (RFC 7515 §4.1.4), where that is known.
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The keys of a file.
///
/// # Errors
/// It cannot be read, or holds none that is of use, or too much.
pub(super) fn read(path: &Path) -> io::Result<Vec<Key>> {
    let mut octets = Vec::new();
    File::open(path)?.take(FILE_OCTETS + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > FILE_OCTETS {
        return Err(unusable(format!("is longer than {FILE_OCTETS} octets")));
    }
    let keys = if octets.trim_ascii_start().starts_with(b"{") { of_set(&octets)? } else { of_pem(&octets)? };
    if keys.len() > KEYS { Err(unusable(format!("there are more than {KEYS} keys in it"))) } else { Ok(keys) }
}

fn of_pem(text: &[u8]) -> io::Result<Vec<Key>> {
    let mut keys = Vec::new();
    for der in SubjectPublicKeyInfoDer::pem_slice_iter(text) {
        let der = der.map_err(|error| unusable(format!("is not PEM: {error}")))?;
        let (algorithm, decoding) = of_der(&der).ok_or_else(|| unusable(format!("a key in it is none of {TAKEN}")))?;
        keys.push(Key { id: None, algorithm, decoding });
    }
    if keys.is_empty() { Err(unusable("there is no PUBLIC KEY in it".into())) } else { Ok(keys) }
}

fn of_der(der: &[u8]) -> Option<(Algorithm, DecodingKey)> {
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

fn of_set(text: &[u8]) -> io::Result<Vec<Key>> {
    let set: Set = serde_json::from_slice(text).map_err(|error| unusable(format!("is no JWK Set: {error}")))?;
    let keys: Vec<_> = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok()?.key()).collect();
    if keys.is_empty() { Err(unusable(format!("there is no key in it to check signatures by, {TAKEN}"))) } else { Ok(keys) }
}

/// RFC 7517 §5.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// RFC 7517 §4, and of RFC 7518 §6 and RFC 8037 §2 what makes up a key.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

impl Jwk {
    /// `None` of one that is for something else.
    fn key(self) -> Option<Key> {
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        let (names, algorithm, decoding) = match (&*self.kty, &*self.crv) {
            ("RSA", _) if self.rsa_bits()? >= RSA_BITS => {
                (["RS256"].as_slice(), Algorithm::RS256, DecodingKey::from_rsa_components(&self.n, &self.e).ok()?)
            }
            ("EC", "P-256") if [&self.x, &self.y].iter().all(|half| octets(half) == Some(32)) => {
                (["ES256"].as_slice(), Algorithm::ES256, DecodingKey::from_ec_components(&self.x, &self.y).ok()?)
            }
            ("OKP", "Ed25519") if octets(&self.x) == Some(32) => {
                // RFC 9864 §2.2 calls the same algorithm by the name of its curve.
                (["EdDSA", "Ed25519"].as_slice(), Algorithm::EdDSA, DecodingKey::from_ed_components(&self.x).ok()?)
            }
            _ => return None,
        };
        let named = self.alg.as_deref().is_none_or(|alg| names.contains(&alg));
        (signs && named).then_some(Key { id: self.kid, algorithm, decoding })
    }

    /// How long the modulus is.
    fn rsa_bits(&self) -> Option<usize> {
        let modulus = URL_SAFE_NO_PAD.decode(&self.n).ok()?;
        let zeros = modulus.iter().take_while(|octet| **octet == 0).count();
        let first = modulus.get(zeros)?;
        Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
    }
}

fn octets(text: &str) -> Option<usize> {
    URL_SAFE_NO_PAD.decode(text).ok().map(|octets| octets.len())
}

fn unusable(cause: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

const TAKEN: &str = "RSA with 2048 bits or more, P-256 and Ed25519";
/// What RFC 7518 §3.3 asks for.
const RSA_BITS: usize = 2048;
/// Ten times what large providers publish.
const FILE_OCTETS: u64 = 256 << 10;
/// A token that names no key is tried with each.
const KEYS: usize = 64;
