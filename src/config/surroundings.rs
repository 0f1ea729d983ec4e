//! What a configuration needs of the machine it is used on: files that are there and fit, a folder, a user.
//!
//! Reads files and the user database, changes nothing. What it finds is true at the time of asking; whoever opens the files
//! later handles their errors again. Whether the server's user may read them is not judged: `check` may run as somebody else.

use std::fs;
use std::path::Path;

use mail::Domain;
use nix::unistd::{Uid, User, gethostname};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::Config;
use super::fault::Finding;

/// Everything that does not fit.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(hostname(config));
    found.extend(data_dir(&config.data_dir));
    found.extend(user(&config.user));
    found.extend(certificate(config));
    found
}

/// What the machine calls itself, in DNS's characters; `localhost` when that is no name.
pub(super) fn machine_name() -> Domain {
    let name = gethostname().ok().and_then(|name| name.into_string().ok()).filter(|name| name.is_ascii());
    #[expect(clippy::expect_used, reason = "a constant that is a domain")]
    name.and_then(|name| name.parse().ok()).unwrap_or_else(|| "localhost".parse().expect("a domain"))
}

fn hostname(config: &Config) -> Option<Finding> {
    let name = machine_name();
    (config.hostname.is_none() && !name.as_str().contains('.')).then(|| {
        let message = format!("is missing, and the machine's own name, {name}, has no domain; many servers refuse mail from such a name: write the full one");
        Finding::warning("hostname", message)
    })
}

fn data_dir(path: &Path) -> Option<Finding> {
    match fs::metadata(path) {
        Ok(data) if data.is_dir() => None,
        Ok(_) => Some(Finding::error("data_dir", format!("{} is not a folder", path.display()))),
        Err(_) if path.parent().is_some_and(Path::is_dir) => None,
        Err(error) => Some(Finding::error("data_dir", format!("{} cannot be made, as the folder it is to be in is not there: {error}", path.display()))),
    }
}

/// Only root can become another user.
fn user(name: &str) -> Option<Finding> {
    if !Uid::effective().is_root() {
        return None;
    }
    match User::from_name(name) {
        Ok(Some(_)) => None,
        Ok(None) => Some(Finding::error(
            "user",
            format!("there is no user {name}: make one with `adduser --system --group {name}`, or name another here"),
        )),
        Err(error) => Some(Finding::error("user", format!("{name} cannot be looked up: {error}"))),
    }
}

fn certificate(config: &Config) -> Vec<Finding> {
    let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) else { return Vec::new() };
    let mut found = Vec::new();
    let chain = pem(certificate, "tls.certificate", "certificate", &mut found, |pem| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok());
    let key = pem(key, "tls.key", "private key", &mut found, |pem| PrivateKeyDer::from_pem_slice(pem).ok());
    if let (Some(chain), Some(key)) = (chain, key) {
        let error = match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
            Ok(_) => return found,
            Err(rustls::Error::InconsistentKeys(_)) => "is not the private key of the certificate in tls.certificate".into(),
            Err(error) => format!("cannot be used: {error}"),
        };
        found.push(Finding::error("tls.key", error));
    }
    found
}

/// What `parse` makes of a file, which must be something.
fn pem<T>(path: &Path, key: &str, what: &str, found: &mut Vec<Finding>, parse: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let octets = fs::read(path).map_err(|error| found.push(Finding::error(key, format!("{} cannot be read: {error}", path.display())))).ok()?;
    let parsed = parse(&octets);
    if parsed.is_none() {
        found.push(Finding::error(key, format!("{} holds no {what} in PEM", path.display())));
    }
    parsed
}
