//! What the tests of this crate have in common: a certificate of our own making and clients that believe in it.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

pub mod server;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use net::{Certificates, Counters, Handshakes, Pair, Tls};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub const NAME: &str = "mx.example";
pub const MINUTE: Duration = Duration::from_secs(60);

/// A folder with certificates, each in `<name>.crt` and `<name>.key`, and the roots that vouch for them.
pub struct Folder {
    folder: TempDir,
    pub roots: RootCertStore,
}

impl Folder {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), roots: RootCertStore::empty() }
    }

    /// Makes or replaces the pair for `name`.
    pub fn write(&mut self, file: &str, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let pair = self.pair(file);
        fs::write(&pair.certificate, certificate.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        self.roots.add(certificate.der().clone()).unwrap();
        pair
    }

    pub fn pair(&self, file: &str) -> Pair {
        let path = |ending| self.folder.path().join(format!("{file}.{ending}"));
        Pair { certificate: path("crt"), key: path("key") }
    }

    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        self.client_that_resumes(versions, Resumption::disabled())
    }

    pub fn client_that_resumes(&self, versions: &[&'static SupportedProtocolVersion], resumption: Resumption) -> TlsConnector {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.resumption = resumption;
        TlsConnector::from(Arc::new(config))
    }
}

/// A server's TLS with one certificate, for [`NAME`], and its counters.
pub struct House {
    pub folder: Folder,
    pub tls: Tls,
    pub counters: Arc<Counters>,
}

pub fn house(tickets: bool, limit: usize, time: Duration) -> House {
    let (mut folder, counters) = (Folder::new(), Arc::<Counters>::default());
    let certificates = Certificates::load(vec![folder.write("mx", NAME)]).unwrap();
    let handshakes = Arc::new(Handshakes::new(limit, time, Arc::clone(&counters)));
    House { folder, tls: Tls::new(certificates, tickets, handshakes).unwrap(), counters }
}

pub async fn connect<S>(client: &TlsConnector, name: &'static str, socket: S) -> std::io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    client.connect(ServerName::try_from(name).unwrap(), socket).await
}

/// The certificate a client was shown.
pub fn shown<S>(stream: &TlsStream<S>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}
