//! Tokens of which a service says what they are worth: introspection (RFC 7662).
//!
//! A token goes there in the body of a POST, and what comes back must be JSON and come in time. What was right is remembered, as a keyed digest of the
//! token and the account it named, for a while and no longer than the token lives. Guarantees: so many questions at once and no more
//! ([`AT_ONCE`]), answers of bounded length, a bounded number remembered; nobody is redirected, and no proxy of the environment's is used.
//! Fails with [`Error::Introspection`], in words for the operator without the token.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail::Secret;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, StatusCode, Url};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::{LEEWAY, Settings, Wanted, Worthless};
use crate::Error;
use crate::seal::{Seal, Sealed};

/// Asks.
pub(super) struct Introspection {
    client: Client,
    service: Service,
    headers: HeaderMap,
    places: Semaphore,
    timeout: Duration,
    issuer: String,
    audience: String,
    seal: Seal,
    remember: Duration,
    remembered: Mutex<Remembered>,
}

/// Where it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service(Url);

/// Accounts by their tokens, the next to be forgotten first.
#[derive(Default)]
struct Remembered {
    accounts: HashMap<Sealed, (Instant, String)>,
    order: VecDeque<Sealed>,
}

impl Service {
    /// # Errors
    /// What is wrong with it, and what to write.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url: Url = text.parse().map_err(|_| format!("{text:?} is no address: write it as in \"https://id.example.org/introspect\""))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a password must not stand in an address: it goes into client_secret_file".into());
        }
        let is_here = url.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
        match url.scheme() {
            "https" if url.has_host() => Ok(Self(url)),
            "http" if is_here => Ok(Self(url)),
            "http" => Err(format!("{text:?} would be told tokens in clear: write https")),
            _ => Err(format!("{text:?} is neither https nor http")),
        }
    }
}

impl Introspection {
    /// # Errors
    /// [`Error::OauthFile`] where the secret or the authorities cannot be had, [`Error::Introspection`] where TLS cannot be set up.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        // Whoever was first has installed the same.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // A connection that was kept could be closed by the service as we begin, and a token is not sent twice.
        let client = Client::builder().redirect(Policy::none()).no_proxy().pool_max_idle_per_host(0);
        Ok(Self {
            client: vouched_for(client, &settings.introspection_ca)?.build().map_err(|error| Error::Introspection(told(error)))?,
            service: Service::parse(&settings.introspection).map_err(Error::Introspection)?,
            headers: headers(settings)?,
            places: Semaphore::new(AT_ONCE),
            timeout: settings.timeout.0,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            seal: Seal::new(),
            remember: settings.remember.0,
            remembered: Mutex::default(),
        })
    }

    /// The account that a token names; of one that is worth nothing, why.
    ///
    /// # Errors
    /// [`Error::Introspection`]: no answer in time, or none that means anything.
    pub(super) async fn account(&self, token: &str, wanted: &Wanted) -> Result<Result<String, Worthless>, Error> {
        let sealed = self.seal.seal(&[token.as_bytes()]);
        if let Some(account) = self.remembered().account(&sealed) {
            return Ok(Ok(account));
        }
        let answered = timeout(self.timeout, self.ask(token)).await.unwrap_or_else(|_| Err("no answer in time".into()));
        let answer = answered.map_err(Error::Introspection)?;
        let active =
            answer.get("active").and_then(Value::as_bool).ok_or_else(|| Error::Introspection("its answer has no \"active\"".into()))?;
        if !active {
            return Ok(Err("the service at oauth.introspection says that it is not active"));
        }
        let lives = match self.lives(&answer) {
            Ok(lives) => lives,
            Err(worthless) => return Ok(Err(worthless)),
        };
        let account = wanted.account(&answer);
        if let Some(account) = account.as_ref().ok().filter(|account| account.len() <= mail::PATH_OCTETS) {
            self.remembered().insert(sealed, account, lives.min(self.remember));
        }
        Ok(account)
    }

    async fn ask(&self, token: &str) -> Result<Map<String, Value>, String> {
        let _place = self.places.acquire().await.map_err(|closed| closed.to_string())?;
        let body = format!("token={}&token_type_hint=access_token", encoded(token.as_bytes()));
        let request = self.client.post(self.service.0.clone()).headers(self.headers.clone()).body(body);
        let mut response = request.send().await.map_err(told)?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status()));
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(told)? {
            answer.extend_from_slice(&piece);
            if answer.len() > ANSWER_OCTETS {
                return Err(format!("its answer is longer than {ANSWER_OCTETS} octets"));
            }
        }
        serde_json::from_slice(&answer).map_err(|_| "its answer is no JSON object".into())
    }

    /// For how long the token still lives, if what is said of it beside that it is active leaves it any worth.
    fn lives(&self, answer: &Map<String, Value>) -> Result<Duration, Worthless> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = |claim| answer.get(claim).filter(|value| !value.is_null()).map(|value| value.as_u64().ok_or(()));
        let malformed = |()| "one of its times is not well formed";
        let lives = match seconds("exp").transpose().map_err(malformed)? {
            Some(until) if until.saturating_add(LEEWAY.as_secs()) < now => return Err("it has expired"),
            Some(until) => Duration::from_secs(until.saturating_sub(now)),
            None => Duration::MAX,
        };
        if seconds("nbf").transpose().map_err(malformed)?.is_some_and(|from| from > now.saturating_add(LEEWAY.as_secs())) {
            return Err("it is not yet valid (nbf)");
        }
        if !holds(answer.get("iss"), &self.issuer) {
            return Err("it is not from oauth.issuer (iss)");
        }
        if holds(answer.get("aud"), &self.audience) { Ok(lives) } else { Err("it is not for oauth.audience (aud)") }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        // A panic elsewhere leaves both parts whole enough: at worst one is asked about again.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspection({})", self.service.0)
    }
}

impl Remembered {
    fn account(&self, sealed: &Sealed) -> Option<String> {
        self.accounts.get(sealed).filter(|(until, _)| *until > Instant::now()).map(|(_, account)| account.clone())
    }

    fn insert(&mut self, sealed: Sealed, account: &str, stays: Duration) {
        if stays.is_zero() {
            return;
        }
        if self.accounts.insert(sealed, (Instant::now() + stays, account.to_owned())).is_none() {
            self.order.push_back(sealed);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.accounts.remove(&oldest);
        }
    }
}

/// Whether a claim is, or holds, what it must; where it must be nothing, anything does.
fn holds(claim: Option<&Value>, expected: &str) -> bool {
    expected.is_empty()
        || match claim {
            Some(Value::String(value)) => value == expected,
            Some(Value::Array(values)) => values.iter().any(|value| value == expected),
            _ => false,
        }
}

/// A client that takes the service for whoever these authorities say it is; without any, those of the system.
fn vouched_for(client: ClientBuilder, authorities: &[PathBuf]) -> Result<ClientBuilder, Error> {
    if authorities.is_empty() {
        return Ok(client);
    }
    let mut certificates = Vec::new();
    for path in authorities {
        let read = authorities_of(path).map_err(|source| Error::OauthFile { key: "introspection_ca", path: path.clone(), source })?;
        certificates.extend(read);
    }
    Ok(client.tls_certs_only(certificates))
}

/// The certificates of a file.
fn authorities_of(path: &PathBuf) -> io::Result<Vec<Certificate>> {
    let unusable = |cause: String| io::Error::new(io::ErrorKind::InvalidData, cause);
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(&fs::read(path)?) {
        let der = der.map_err(|error| unusable(format!("is not PEM: {error}")))?;
        // What is taken here without a look would be found out when the first token comes.
        RootCertStore::empty().add(der.clone()).map_err(|error| unusable(format!("a certificate in it cannot be used: {error}")))?;
        certificates.push(Certificate::from_der(&der).map_err(|error| unusable(told(error)))?);
    }
    if certificates.is_empty() { Err(unusable("there is no CERTIFICATE in it".into())) } else { Ok(certificates) }
}

/// What goes with each question: who asks (RFC 6749 §2.3.1).
fn headers(settings: &Settings) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let path = &settings.client_secret_file;
    if !path.as_os_str().is_empty() {
        let secret = secret(path).map_err(|source| Error::OauthFile { key: "client_secret_file", path: path.clone(), source })?;
        let credentials = Secret::new(format!("{}:{}", encoded(settings.client_id.as_bytes()), encoded(secret.expose())));
        let basic = Secret::new(format!("Basic {}", STANDARD.encode(credentials.expose())));
        if let Ok(mut value) = HeaderValue::from_bytes(basic.expose()) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    Ok(headers)
}

/// The first line of a file.
fn secret(path: &PathBuf) -> io::Result<Secret> {
    let text = Secret::new(fs::read(path)?);
    let line = text.expose().split(|octet| matches!(octet, b'\r' | b'\n')).next().unwrap_or_default();
    if line.is_empty() { Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is empty")) } else { Ok(Secret::new(line)) }
}

/// As in a form: whatever is not plain in hexadecimal.
fn encoded(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(octet.into()),
            _ => text.push_str(&format!("%{octet:02X}")),
        }
    }
    text
}

/// The last of an error's causes, without an address.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    causes.by_ref().last().map(ToString::to_string).unwrap_or_default()
}

/// Questions under way; the others wait for their turn, in the time they have.
pub(super) const AT_ONCE: usize = 32;
/// The longest answer that is read.
const ANSWER_OCTETS: usize = 64 << 10;
/// Some 2 MiB when full.
const REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests;
