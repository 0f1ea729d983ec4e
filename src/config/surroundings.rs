//! What a configuration needs of the machine it is used on: files that are there and fit, a folder, a user.
//!
//! Reads files and the user database, changes nothing. What it finds is true at the time of asking; whoever opens the files
//! later handles their errors again. Whether the server's user may read them is not judged, as `check` may run as somebody else.

use std::path::Path;
use std::{fs, io};

use auth::oauth::Bearer;
use mail::Domain;
use net::{Authorities, NetError, Pair};
use nix::unistd::{User, gethostname};
use rustls::pki_types::pem;

use super::Config;
use super::fault::Finding;

/// Everything that does not fit.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(hostname(config));
    found.extend(data_dir(&config.data_dir));
    found.extend(user(&config.user));
    found.extend(certificate(config));
    found.extend(config.recipients.surroundings());
    found.extend(client_ca(config));
    found.extend(oauth(config));
    found.extend(password(&config.screening.rspamd_password));
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
        let message = format!(
            "is missing, and the machine's own name, {name}, has no domain; many servers refuse mail from such a name: write the full one"
        );
        Finding::warning("hostname", message)
    })
}

fn data_dir(path: &Path) -> Option<Finding> {
    match fs::metadata(path) {
        Ok(data) if data.is_dir() => None,
        Ok(_) => Some(Finding::error("data_dir", format!("{} is not a folder", path.display()))),
        Err(_) if path.parent().is_some_and(Path::is_dir) => None,
        Err(error) => Some(Finding::error(
            "data_dir",
            format!("{} cannot be made, as the folder it is to be in is not there: {error}", path.display()),
        )),
    }
}

/// Only root can become another user, but whoever asks gets the same answer: the server reloads a file as its user, and must not
/// take one that `gatepost reload` by root refuses.
fn user(name: &str) -> Option<Finding> {
    match User::from_name(name) {
        Ok(Some(_)) => None,
        Ok(None) => {
            Some(Finding::error("user", format!("there is no user {name}: make one with `useradd --system {name}`, or name another here")))
        }
        Err(error) => Some(Finding::error("user", format!("{name} cannot be looked up: {error}"))),
    }
}

/// The same check as when the server starts. Files that this user may not read are no fault: root's key was read before the
/// rights were given up, and a reload or `gatepost status` by somebody else must not fail for it.
fn certificate(config: &Config) -> Option<Finding> {
    let (certificate, key) = config.tls.certificate.clone().zip(config.tls.key.clone())?;
    Pair { certificate, key: key.clone() }.check().err().map(|error| unfit(&error, &key))
}

/// As above.
fn client_ca(config: &Config) -> Option<Finding> {
    let Err(error) = Authorities::load(&config.tls.client_ca) else { return None };
    Some(match &error {
        NetError::Pem { source: pem::Error::Io(source), .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Finding::warning("tls.client_ca", error.to_string())
        }
        _ => Finding::error("tls.client_ca", error.to_string()),
    })
}

/// As above. What is wrong with the settings by themselves is said by the rules.
fn oauth(config: &Config) -> Option<Finding> {
    let Err(error @ auth::Error::OauthFile { .. }) = Bearer::new(&config.oauth) else { return None };
    let auth::Error::OauthFile { key, source, .. } = &error else { return None };
    let found = if source.kind() == io::ErrorKind::PermissionDenied { Finding::warning } else { Finding::error };
    Some(found(format!("oauth.{key}"), error.to_string()))
}

/// As with the certificate: who may not read it may still ask.
fn password(path: &Path) -> Option<Finding> {
    let error = fs::read(path).err().filter(|_| !path.as_os_str().is_empty())?;
    let message = format!("{} cannot be read: {error}", path.display());
    Some(match error.kind() {
        io::ErrorKind::PermissionDenied => Finding::warning("screening.rspamd_password", message),
        _ => Finding::error("screening.rspamd_password", message),
    })
}

fn unfit(error: &NetError, key: &Path) -> Finding {
    let at = match error {
        NetError::Key { .. } => "tls.key",
        NetError::Pem { path, .. } if path == key => "tls.key",
        _ => "tls.certificate",
    };
    match error {
        NetError::Pem { source: pem::Error::Io(source), .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Finding::warning(at, format!("{error}: once renewed, it is not served until a restart"))
        }
        // The limits must be changeable on the day it expires, too.
        NetError::OutOfDate { .. } => Finding::warning(at, format!("{error}: renew it, clients will refuse it")),
        _ => Finding::error(at, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Severity;
    use super::*;

    #[test]
    fn neither_a_key_that_only_root_may_read_nor_an_expired_certificate_stops_a_reload() {
        let unreadable = |path: &str, kind: io::ErrorKind| NetError::Pem { path: path.into(), source: pem::Error::Io(kind.into()) };
        let out_of_date = NetError::OutOfDate { path: "c.pem".into(), not_before: "then".into(), not_after: "once".into() };
        for (error, severity, key) in [
            (out_of_date, Severity::Warning, "tls.certificate"),
            (unreadable("k.pem", io::ErrorKind::PermissionDenied), Severity::Warning, "tls.key"),
            (unreadable("k.pem", io::ErrorKind::NotFound), Severity::Error, "tls.key"),
            (unreadable("c.pem", io::ErrorKind::NotFound), Severity::Error, "tls.certificate"),
        ] {
            let finding = unfit(&error, Path::new("k.pem"));
            assert_eq!((finding.severity, finding.key.as_str()), (severity, key));
        }
    }
}
