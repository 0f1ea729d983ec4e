//! Who may vouch for clients: the certificates of authorities, from files, and what a certificate they have signed says of its owner.
//!
//! A client is asked for a certificate and may have none. One that it has must be valid today and signed by one of these for the use of
//! clients (RFC 5280 §4.2.1.12), or the handshake fails. Revocation is not asked about. The files are read once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::NetError;

/// Authorities that vouch for clients; a clone is the same.
#[derive(Clone)]
pub struct Authorities(Arc<dyn ClientCertVerifier>);

impl Authorities {
    /// Those in these PEM files; none of no files.
    ///
    /// # Errors
    /// [`NetError::Pem`], or [`NetError::Certificate`] of a file that holds none.
    pub fn load(paths: &[PathBuf]) -> Result<Option<Self>, NetError> {
        let Some(first) = paths.first() else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for path in paths {
            let pem = |source| NetError::Pem { path: path.clone(), source };
            let before = roots.len();
            for certificate in CertificateDer::pem_file_iter(path).map_err(pem)? {
                roots.add(certificate.map_err(pem)?).map_err(|error| unusable(path, &error))?;
            }
            if roots.len() == before {
                return Err(unusable(path, &"there is none in it"));
            }
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        builder.allow_unauthenticated().build().map(|verifier| Some(Self(verifier))).map_err(|error| unusable(first, &error))
    }

    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorities")
    }
}

fn unusable(path: &Path, reason: &dyn fmt::Display) -> NetError {
    NetError::Certificate { path: path.to_owned(), reason: reason.to_string() }
}

/// The mailbox that a certificate names, the first rfc822Name among its subjectAltNames (RFC 5280 §4.2.1.6).
pub(crate) fn mailbox(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::RFC822Name(mailbox) => Some((*mailbox).to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> rcgen::Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_file_without_an_authority_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let load = || Authorities::load(std::slice::from_ref(&path)).map(|authorities| authorities.is_some());
        assert!(matches!(load(), Err(NetError::Pem { .. })));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(load(), Err(NetError::Certificate { .. })));
        std::fs::write(&path, certificate(Vec::new()).pem()).unwrap();
        assert!(load().unwrap() && Authorities::load(&[]).unwrap().is_none());
    }

    #[test]
    fn a_certificate_names_its_first_mailbox_or_none() {
        let mailboxes = ["ann@example.org", "bob@example.org"].map(|name| SanType::Rfc822Name(name.try_into().unwrap()));
        let names = [vec![SanType::DnsName("example.org".try_into().unwrap())], mailboxes.to_vec()].concat();
        assert_eq!(mailbox(certificate(names.clone()).der()).as_deref(), Some("ann@example.org"));
        assert_eq!(mailbox(certificate(names[..1].to_vec()).der()), None);
        assert_eq!(mailbox(certificate(Vec::new()).der()), None);
        assert_eq!(mailbox(&CertificateDer::from_slice(b"none")), None);
    }
}
