//! Certificates from files: checked when loaded, looked at again while they serve, swapped without a restart.
//!
//! A pair is served only when its PEM files can be read and the key fits the certificate. When its files change, a pair that passes,
//! and is valid today, takes the place of the old one for every handshake from then on; one that does not is reported once and
//! the old one stays. What is there at the start is served even out of date, which [`Pair::check`] reports: mail between servers
//! goes on under it, and without it nothing would. The peer chooses by the name it asks for (RFC 6066 §3): an exact
//! name first, then a wildcard for one label (RFC 6125 §6.4.3), then the first pair, which is the default.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{NetError, clock};

/// The two files of a certificate, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, followed by the intermediate ones.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The file it came from.
    pub path: PathBuf,
    /// The DNS names it is for, wildcards as written.
    pub names: Vec<String>,
    /// The last moment of its validity.
    pub not_after: SystemTime,
}

/// What is served.
#[derive(Debug)]
pub struct Certificates(Vec<Slot>);

impl Pair {
    /// Loads the pair and forgets it again.
    ///
    /// # Errors
    /// What makes the pair unfit to be served, or [`NetError::OutOfDate`].
    pub fn check(&self) -> Result<Certificate, NetError> {
        self.load_current().map(|served| served.certificate)
    }

    fn load_current(&self) -> Result<Served, NetError> {
        let served = self.load()?;
        check_date(&self.certificate, &served.certified.cert)?;
        Ok(served)
    }

    fn load(&self) -> Result<Served, NetError> {
        let pem = |path: &Path| {
            let path = path.to_owned();
            move |source: pem::Error| NetError::Pem { path, source }
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(pem(&self.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(pem(&self.key))?;
        let certificate = describe(&self.certificate, &chain)?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| NetError::Key {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })?;
        Ok(Served { certificate, certified: Arc::new(certified) })
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key].map(|path| fs::metadata(path).ok().map(|file| Stamp::of(&file)))
    }
}

impl Certificates {
    /// Loads `pairs`; the first is the default.
    ///
    /// # Errors
    /// The first fault found; [`Pair::check`] finds each pair's own.
    pub fn load(pairs: Vec<Pair>) -> Result<Arc<Self>, NetError> {
        let slots = pairs.into_iter().map(Slot::load).collect::<Result<Vec<_>, _>>()?;
        if slots.is_empty() { Err(NetError::NoCertificate) } else { Ok(Arc::new(Self(slots))) }
    }

    /// What is served now, the default first.
    pub fn served(&self) -> Vec<Certificate> {
        self.0.iter().map(|slot| slot.served.load().certificate.clone()).collect()
    }

    /// Looks at the files again. One entry for every pair whose files changed since they were last looked at: what is served
    /// from now on, or why the old certificate stays. Blocks on the file system.
    pub fn reload(&self) -> Vec<Result<Certificate, NetError>> {
        self.0.iter().filter_map(Slot::reload).collect()
    }

    /// Looks at the files again and again, `every` so often, and tells what came of it. Ends by being dropped, which is safe.
    pub async fn watch(self: Arc<Self>, every: Duration, told: impl Fn(Result<Certificate, NetError>)) {
        loop {
            clock::pause(every).await;
            let certificates = Arc::clone(&self);
            let changed = tokio::task::spawn_blocking(move || certificates.reload()).await;
            changed.into_iter().flatten().for_each(&told);
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let best = hello.server_name().and_then(|asked| {
            let fit = |slot: &&Slot| slot.served.load().certificate.names.iter().map(|name| fit(name, asked)).max().unwrap_or(Fit::Not);
            // Of equals the first.
            self.0.iter().rev().max_by_key(fit).filter(|slot| fit(slot) > Fit::Not)
        });
        best.or(self.0.first()).map(|slot| Arc::clone(&slot.served.load().certified))
    }
}

#[derive(Debug)]
struct Slot {
    pair: Pair,
    served: ArcSwap<Served>,
    /// The files as they were when they were last looked at.
    seen: Mutex<[Option<Stamp>; 2]>,
}

#[derive(Debug)]
struct Served {
    certificate: Certificate,
    certified: Arc<CertifiedKey>,
}

impl Slot {
    fn load(pair: Pair) -> Result<Self, NetError> {
        // Before the files are read: what is written meanwhile counts as a change.
        let seen = Mutex::new(pair.stamps());
        Ok(Self { served: ArcSwap::from_pointee(pair.load()?), pair, seen })
    }

    fn reload(&self) -> Option<Result<Certificate, NetError>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.pair.stamps();
        if std::mem::replace(&mut *seen, stamps) == stamps {
            return None;
        }
        Some(self.pair.load_current().map(|served| {
            let certificate = served.certificate.clone();
            self.served.store(Arc::new(served));
            certificate
        }))
    }
}

/// Changes whenever a file is written or another takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    octets: u64,
}

impl Stamp {
    fn of(file: &fs::Metadata) -> Self {
        Self { inode: file.ino(), modified: (file.mtime(), file.mtime_nsec()), octets: file.len() }
    }
}

/// How well a certificate's name fits the one asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Not,
    Wildcard,
    Exact,
}

fn fit(name: &str, asked: &str) -> Fit {
    let under = |parent: &str| asked.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent));
    match name.strip_prefix("*.") {
        Some(parent) if under(parent) => Fit::Wildcard,
        None if name.eq_ignore_ascii_case(asked) => Fit::Exact,
        _ => Fit::Not,
    }
}

/// What the first certificate of `chain` says of itself.
fn describe(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Certificate, NetError> {
    let parsed = parse(path, chain)?;
    let alternative = parsed.subject_alternative_name().map_err(|error| unusable(path, error.to_string()))?;
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    Ok(Certificate { path: path.to_owned(), names: names.collect(), not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) })
}

/// Whether the first certificate of `chain` is valid today.
fn check_date(path: &Path, chain: &[CertificateDer<'_>]) -> Result<(), NetError> {
    let parsed = parse(path, chain)?;
    let validity = parsed.validity();
    if validity.is_valid() {
        return Ok(());
    }
    let (not_before, not_after) = (validity.not_before.to_string(), validity.not_after.to_string());
    Err(NetError::OutOfDate { path: path.to_owned(), not_before, not_after })
}

fn parse<'c>(path: &Path, chain: &'c [CertificateDer<'_>]) -> Result<X509Certificate<'c>, NetError> {
    let first = chain.first().ok_or_else(|| unusable(path, "the file is empty of certificates".into()))?;
    let (_, parsed) = X509Certificate::from_der(first).map_err(|error| unusable(path, error.to_string()))?;
    Ok(parsed)
}

fn unusable(path: &Path, reason: String) -> NetError {
    NetError::Certificate { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    fn write(folder: &TempDir, name: &str, params: &CertificateParams, key: &KeyPair) -> Pair {
        let pair = Pair { certificate: folder.path().join(format!("{name}.crt")), key: folder.path().join(format!("{name}.key")) };
        fs::write(&pair.certificate, params.self_signed(key).unwrap().pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    fn valid(names: &[&str]) -> CertificateParams {
        CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    fn key() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    #[test]
    fn a_good_pair_tells_its_names_and_its_end() {
        let folder = TempDir::new().unwrap();
        let mut params = valid(&["mx.example", "*.pop.example"]);
        params.not_after = date_time_ymd(2100, 1, 1);
        let pair = write(&folder, "good", &params, &key());
        let certificate = pair.check().unwrap();
        assert_eq!(certificate.names, ["mx.example", "*.pop.example"]);
        assert_eq!(certificate.not_after, SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800));
        assert_eq!(Certificates::load(vec![pair]).unwrap().served(), [certificate]);
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_said() {
        let folder = TempDir::new().unwrap();
        let good = write(&folder, "good", &valid(&["mx.example"]), &key());
        let other = write(&folder, "other", &valid(&["mx.example"]), &key());
        let stranger = Pair { certificate: good.certificate.clone(), key: other.key };
        assert!(matches!(stranger.check(), Err(NetError::Key { .. })), "a key of another certificate");

        let (mut past, mut future) = (valid(&["mx.example"]), valid(&["mx.example"]));
        (past.not_before, past.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        (future.not_before, future.not_after) = (date_time_ymd(2100, 1, 1), date_time_ymd(2101, 1, 1));
        for params in [past, future] {
            let stale = write(&folder, "stale", &params, &key());
            let error = stale.check().unwrap_err();
            assert!(matches!(error, NetError::OutOfDate { .. }), "{error}");
            assert!(Certificates::load(vec![stale]).is_ok(), "better than none");
        }

        let absent = Pair { certificate: folder.path().join("absent"), key: good.key.clone() };
        assert!(absent.check().unwrap_err().to_string().contains("absent"));
        let swapped = Pair { certificate: good.key.clone(), key: good.certificate };
        assert!(matches!(swapped.check(), Err(NetError::Pem { .. } | NetError::Certificate { .. })));
        assert!(matches!(Certificates::load(Vec::new()), Err(NetError::NoCertificate)));
    }

    #[test]
    fn a_bad_new_pair_is_reported_once_and_the_old_one_stays() {
        let folder = TempDir::new().unwrap();
        let certificates = Certificates::load(vec![write(&folder, "mx", &valid(&["old.example"]), &key())]).unwrap();
        assert!(certificates.reload().is_empty(), "nothing changed");

        let new = key();
        let path = folder.path().join("mx.crt");
        fs::write(&path, valid(&["new.example"]).self_signed(&new).unwrap().pem()).unwrap();
        assert!(matches!(&certificates.reload()[..], [Err(NetError::Key { .. })]), "the key is still the old one's");
        assert!(certificates.reload().is_empty(), "said once");
        assert_eq!(certificates.served()[0].names, ["old.example"]);

        fs::write(folder.path().join("mx.key"), new.serialize_pem()).unwrap();
        assert!(matches!(&certificates.reload()[..], [Ok(certificate)] if certificate.names == ["new.example"]));
        assert_eq!(certificates.served()[0].names, ["new.example"]);

        let mut expired = valid(&["expired.example"]);
        (expired.not_before, expired.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        write(&folder, "mx", &expired, &key());
        assert!(matches!(&certificates.reload()[..], [Err(NetError::OutOfDate { .. })]));
        assert_eq!(certificates.served()[0].names, ["new.example"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_watch_tells_of_a_change() {
        let folder = TempDir::new().unwrap();
        let certificates = Certificates::load(vec![write(&folder, "mx", &valid(&["old.example"]), &key())]).unwrap();
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let watch = Arc::clone(&certificates).watch(Duration::from_secs(5), move |change| tell.try_send(change).unwrap());
        write(&folder, "mx", &valid(&["new.example"]), &key());
        tokio::select! {
            () = watch => unreachable!("a watch has no end"),
            change = told.recv() => assert_eq!(change.unwrap().unwrap().names, ["new.example"]),
        }
    }

    #[test]
    fn names_fit_as_they_should() {
        for (name, asked, expected) in [
            ("mx.example", "MX.example", Fit::Exact),
            ("*.example", "mx.example", Fit::Wildcard),
            ("*.example", "a.mx.example", Fit::Not),
            ("*.example", "example", Fit::Not),
            ("mx.example", "example", Fit::Not),
        ] {
            assert_eq!(fit(name, asked), expected, "{name} {asked}");
        }
    }
}
