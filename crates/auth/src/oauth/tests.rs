//! Tokens of a provider of our own, signed by keys made here; nothing of the library that reads them signs them.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tempfile::TempDir;

use super::*;

pub(crate) const ANN: &str = "ann@example.org";
const ISSUER: &str = "https://id.example.org/";
const AUDIENCE: &str = "gatepost";

/// Issues tokens.
pub(crate) struct Provider {
    folder: TempDir,
    key: KeyPair,
    algorithm: &'static str,
}

impl Provider {
    pub(crate) fn new() -> Self {
        Self::by("EdDSA", &PKCS_ED25519)
    }

    fn by(algorithm: &'static str, kind: &'static SignatureAlgorithm) -> Self {
        let (folder, key) = (tempfile::tempdir().unwrap(), KeyPair::generate_for(kind).unwrap());
        fs::write(folder.path().join("key.pem"), key.public_key_pem()).unwrap();
        Self { folder, key, algorithm }
    }

    pub(crate) fn settings(&self) -> Settings {
        let keys = vec![self.folder.path().join("key.pem")];
        Settings { keys, issuer: ISSUER.into(), audience: AUDIENCE.into(), ..Settings::default() }
    }

    /// One that is all right, for whoever `email` is.
    pub(crate) fn token_of(&self, email: &str) -> String {
        self.token(&json!({ "email": email }))
    }

    /// With these claims in place of the right ones; null takes one out.
    fn token(&self, other: &Value) -> String {
        let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 600, "email": ANN });
        claims.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        signed(&json!({ "alg": self.algorithm, "typ": "JWT" }), &claims, |text| self.sign(text))
    }

    /// One that is all right, and names this key.
    fn token_by(&self, kid: &str) -> String {
        let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 600, "email": ANN });
        signed(&json!({ "alg": self.algorithm, "kid": kid }), &claims, |text| self.sign(text))
    }

    /// The key as it stands in a set.
    fn jwk(&self, kid: &str) -> Value {
        let (raw, text) = (self.key.public_key_raw(), |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets));
        match self.algorithm {
            "EdDSA" => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(raw), "kid": kid }),
            "ES256" => json!({ "kty": "EC", "crv": "P-256", "x": text(&raw[1..33]), "y": text(&raw[33..]), "kid": kid }),
            _ => {
                let key = RsaKeyPair::from_pkcs8(&self.key.serialize_der()).unwrap();
                let public: aws_lc_rs::rsa::PublicKeyComponents<Vec<u8>> = key.public_key().into();
                json!({ "kty": "RSA", "n": text(&public.n), "e": text(&public.e), "kid": kid })
            }
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let (der, random) = (self.key.serialize_der(), SystemRandom::new());
        match self.algorithm {
            "EdDSA" => Ed25519KeyPair::from_pkcs8(&der).unwrap().sign(text).as_ref().to_vec(),
            "ES256" => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap().sign(&random, text).unwrap().as_ref().to_vec()
            }
            _ => {
                let key = RsaKeyPair::from_pkcs8(&der).unwrap();
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
                signature
            }
        }
    }
}

fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn account(settings: &Settings, token: &str) -> Option<String> {
    judged(settings, token).await.ok()
}

async fn judged(settings: &Settings, token: &str) -> Result<String, Worthless> {
    Bearer::new(settings).unwrap().unwrap().account(token).await.unwrap()
}

#[tokio::test]
async fn a_token_that_one_of_the_keys_has_signed_names_its_account() {
    let providers = [
        Provider::by("EdDSA", &PKCS_ED25519),
        Provider::by("ES256", &PKCS_ECDSA_P256_SHA256),
        Provider::by("RS256", &PKCS_RSA_SHA256),
        Provider::by("RS256", &PKCS_RSA_SHA256),
    ];
    let keys = providers[..3].iter().flat_map(|provider| provider.settings().keys).collect();
    let settings = Settings { keys, ..providers[0].settings() };
    for provider in &providers[..3] {
        assert_eq!(account(&settings, &provider.token(&json!({}))).await.as_deref(), Some(ANN), "{}", provider.algorithm);
    }
    assert_eq!(account(&settings, &providers[3].token(&json!({}))).await, None, "another key");
}

/// Settings with a set of these keys.
fn with_set(provider: &Provider, keys: &[Value]) -> Settings {
    let path = provider.folder.path().join("jwks.json");
    fs::write(&path, format!("\n{}", json!({ "keys": keys }))).unwrap();
    Settings { keys: vec![path], ..provider.settings() }
}

#[tokio::test]
async fn a_token_that_names_its_key_is_compared_with_that_one() {
    let providers = [
        Provider::by("EdDSA", &PKCS_ED25519),
        Provider::by("EdDSA", &PKCS_ED25519),
        Provider::by("ES256", &PKCS_ECDSA_P256_SHA256),
        Provider::by("RS256", &PKCS_RSA_SHA256),
    ];
    let [old, new, ec, rsa] = &providers;
    let set = with_set(old, &[old.jwk("old"), new.jwk("new"), ec.jwk("ec"), rsa.jwk("rsa")]);
    for (provider, kid) in [(old, "old"), (new, "new"), (ec, "ec"), (rsa, "rsa")] {
        assert_eq!(account(&set, &provider.token_by(kid)).await.as_deref(), Some(ANN), "{kid}");
        assert_eq!(account(&set, &provider.token(&json!({}))).await.as_deref(), Some(ANN), "without a name each is tried");
    }
    for (provider, kid) in [(old, "new"), (new, "old"), (old, "ec"), (old, "another"), (old, "")] {
        assert_eq!(account(&set, &provider.token_by(kid)).await, None, "{kid:?}");
    }
    let mut nameless = new.jwk("");
    nameless.as_object_mut().unwrap().remove("kid");
    let (set, pem) = (with_set(old, &[old.jwk("old"), nameless]), old.settings());
    assert_eq!(account(&set, &new.token_by("any")).await.as_deref(), Some(ANN), "a key without a name may have any");
    assert_eq!(account(&pem, &old.token_by("any")).await.as_deref(), Some(ANN), "as one in PEM");
}

#[tokio::test]
async fn of_a_set_only_what_signs_is_taken() {
    let provider = Provider::by("RS256", &PKCS_RSA_SHA256);
    let other = Provider::new();
    let with = |key: &str, value: Value| {
        let mut jwk = provider.jwk("k");
        jwk.as_object_mut().unwrap().insert(key.into(), value);
        with_set(&provider, &[jwk, other.jwk("other")])
    };
    for (key, value) in [("use", json!("sig")), ("alg", json!("RS256")), ("key_ops", json!(["verify"])), ("x5c", json!(["MIIC"]))] {
        assert_eq!(account(&with(key, value), &provider.token_by("k")).await.as_deref(), Some(ANN), "{key}");
    }
    for (key, value) in [
        ("use", json!("enc")),
        ("use", json!(1)),
        ("alg", json!("RS512")),
        ("alg", json!("HS256")),
        ("key_ops", json!(["encrypt"])),
        ("kty", json!("oct")),
        ("kty", json!(null)),
        ("n", json!(URL_SAFE_NO_PAD.encode([0xff; 255]))),
        ("n", json!("!")),
    ] {
        let set = with(key, value.clone());
        assert_eq!(account(&set, &provider.token_by("k")).await, None, "{key} {value}");
        assert_eq!(account(&set, &other.token_by("other")).await.as_deref(), Some(ANN), "the others stay");
    }
    // What is published is no secret.
    let secret = [7; 32];
    let set = with_set(&provider, &[json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret), "kid": "k" }), other.jwk("other")]);
    let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 600, "email": ANN });
    let hmac = |text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), text).as_ref().to_vec();
    assert_eq!(account(&set, &signed(&json!({ "alg": "HS256", "kid": "k" }), &claims, hmac)).await, None);
}

#[tokio::test]
async fn a_token_is_good_for_what_is_asked() {
    let provider = Provider::new();
    let settings = Settings { scope: "mail".into(), ..provider.settings() };
    for fine in [
        json!({ "scope": "mail" }),
        json!({ "scope": "openid mail profile" }),
        json!({ "scp": "openid mail" }),
        json!({ "scp": ["openid", "mail"] }),
        json!({ "scope": "openid", "scp": ["mail"] }),
    ] {
        assert_eq!(account(&settings, &provider.token(&fine)).await.as_deref(), Some(ANN), "{fine}");
    }
    for wrong in [
        json!({}),
        json!({ "scope": "" }),
        json!({ "scope": "email" }),
        json!({ "scope": "mail.read Mail" }),
        json!({ "scope": { "mail": true } }),
        json!({ "scp": ["openid mail"] }),
    ] {
        assert_eq!(account(&settings, &provider.token(&wrong)).await, None, "{wrong}");
    }
}

#[tokio::test]
async fn every_claim_counts() {
    let provider = Provider::new();
    let settings = provider.settings();
    for fine in [
        json!({ "aud": ["another", AUDIENCE] }),
        json!({ "nbf": now() - 1, "email_verified": true }),
        json!({ "exp": now() - 30 }),
        json!({ "nbf": now() + 30 }),
        json!({ "padding": "x".repeat(6000) }),
    ] {
        assert_eq!(account(&settings, &provider.token(&fine)).await.as_deref(), Some(ANN), "{fine}");
    }
    let (lacks, issuer, audience) =
        ("exp, iss or aud is missing, or not well formed", "it is not from oauth.issuer (iss)", "it is not for oauth.audience (aud)");
    let (malformed, nameless) = ("one of its claims is not well formed", "it has no text in the claim of oauth.account_claim");
    for (wrong, why) in [
        (json!({ "exp": now() - 120 }), "it has expired"),
        (json!({ "exp": null }), lacks),
        (json!({ "exp": (now() + 600).to_string() }), lacks),
        (json!({ "nbf": now() + 120 }), "it is not yet valid (nbf)"),
        (json!({ "nbf": "now" }), malformed),
        (json!({ "iss": "https://id.example.org" }), issuer),
        (json!({ "iss": null }), lacks),
        (json!({ "aud": "another" }), audience),
        (json!({ "aud": ["another"] }), audience),
        (json!({ "aud": [] }), audience),
        (json!({ "aud": null }), lacks),
        (json!({ "email": null }), nameless),
        (json!({ "email": "" }), nameless),
        (json!({ "email": [ANN] }), nameless),
        (json!({ "email_verified": false }), "the address in it is not verified (email_verified)"),
    ] {
        assert_eq!(judged(&settings, &provider.token(&wrong)).await, Err(why), "{wrong}");
    }
    let by_name = Settings { account_claim: "preferred_username".into(), ..settings };
    let token = provider.token(&json!({ "preferred_username": "bob@example.org", "email_verified": false }));
    assert_eq!(account(&by_name, &token).await.as_deref(), Some("bob@example.org"));
}

/// RFC 8725 §2.1: what breaks who believes the token.
#[tokio::test]
async fn the_token_does_not_choose_the_algorithm() {
    for provider in
        [Provider::by("EdDSA", &PKCS_ED25519), Provider::by("ES256", &PKCS_ECDSA_P256_SHA256), Provider::by("RS256", &PKCS_RSA_SHA256)]
    {
        let settings = provider.settings();
        let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 600, "email": ANN });
        let hmac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec();
        let (pem, der, raw) = (
            provider.key.public_key_pem(),
            SubjectPublicKeyInfoDer::from_pem_slice(provider.key.public_key_pem().as_bytes()).unwrap(),
            provider.key.public_key_raw(),
        );
        let by = |algorithm: &str| json!({ "alg": algorithm });
        let right = provider.token(&json!({}));
        let (text, signature) = right.rsplit_once('.').unwrap();
        let forged = [
            signed(&by("none"), &claims, |_| Vec::new()),
            signed(&by("None"), &claims, |_| Vec::new()),
            signed(&by("HS256"), &claims, |text| hmac(pem.as_bytes(), text)),
            signed(&by("HS256"), &claims, |text| hmac(pem.trim_end().as_bytes(), text)),
            signed(&by("HS256"), &claims, |text| hmac(&der, text)),
            signed(&by("HS256"), &claims, |text| hmac(raw, text)),
            signed(&json!({ "alg": provider.algorithm, "crit": ["x"], "x": 1 }), &claims, |text| provider.sign(text)),
            signed(&by(provider.algorithm), &claims, |_| vec![0; 64]),
            signed(
                &by(provider.algorithm),
                &json!({ "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 600, "email": "bob@example.org" }),
                |_| URL_SAFE_NO_PAD.decode(signature).unwrap(),
            ),
            format!("{text}."),
            text.to_owned(),
            format!("{right}.{signature}"),
            "eyJ".into(),
            "..".into(),
        ];
        assert_eq!(account(&settings, &right).await.as_deref(), Some(ANN));
        for token in forged {
            assert_eq!(account(&settings, &token).await, None, "{} {token}", provider.algorithm);
        }
    }
}

#[test]
fn files_that_hold_no_key_of_ours_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, p384) = (KeyPair::generate_for(&PKCS_ED25519).unwrap(), KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
    for (text, cause) in [
        (None, "No such file"),
        (Some(String::new()), "there is no PUBLIC KEY in it"),
        (Some(ours.serialize_pem()), "there is no PUBLIC KEY in it"),
        (Some(p384.public_key_pem()), "a key in it is none of RSA with 2048 bits or more, P-256 and Ed25519"),
        (Some("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n".into()), "is not PEM"),
        (Some("{".into()), "is no JWK Set: EOF"),
        (Some(r#"{"kty":"OKP"}"#.into()), "is no JWK Set: missing field `keys`"),
        (Some(r#"{"keys":[{"kty":"oct","k":"AAAA"},1]}"#.into()), "there is no key in it to check signatures by, RSA with 2048"),
        (Some(ours.public_key_pem().repeat(65)), "there are more than 64 keys in it"),
        (Some(" ".repeat((256 << 10) + 1)), "is longer than 262144 octets"),
    ] {
        let path = folder.path().join("key.pem");
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let settings = Settings { keys: vec![path.clone()], issuer: "i".into(), audience: "a".into(), ..Settings::default() };
        let error = Bearer::new(&settings).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())) && error.contains(cause), "{error}");
    }
}

#[test]
fn settings_say_whether_tokens_are_taken_and_what_is_missing() {
    assert!(Bearer::new(&Settings::default()).unwrap().is_none());
    let keys: Settings = toml::from_str("keys = ['k.pem']").unwrap();
    let faults: Vec<_> = keys.validate().into_iter().map(|fault| fault.key).collect();
    assert_eq!(faults, ["issuer", "audience"]);
    assert!(matches!(Bearer::new(&keys), Err(Error::Settings(_))));
    assert_eq!(Settings { account_claim: String::new(), ..Settings::default() }.validate().len(), 1);
    for scope in ["mail openid", "a\"b", "bücher"] {
        assert_eq!(Settings { scope: scope.into(), ..Settings::default() }.validate().len(), 1, "{scope}");
    }
    assert_eq!(Settings { scope: "https://mail.example.org/.default".into(), ..Settings::default() }.validate(), []);
}
