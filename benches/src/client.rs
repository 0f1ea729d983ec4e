//! The peer's side of a connection: bytes out, replies in, as cheaply as can be, since it shares the machine with the server.
//!
//! A reply that is not the expected one is an error with the reply's text. Nothing here has a deadline of its own: the
//! part that measures has one for its whole round. Dropping any future drops bytes that were read: give up the connection, too.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use memchr::memchr;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// One connection to a server.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects, and handshakes when `tls` is given.
    pub(crate) async fn open(server: SocketAddr, source: Ipv4Addr, tls: Option<&TlsConnector>) -> io::Result<Self> {
        let stream = connect(server, source).await?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(ServerName::from(IpAddr::from(source)), stream).await?),
        };
        Ok(Connection { stream, input: Vec::new(), start: 0, end: 0 })
    }

    /// Writes all of it, in one call when the kernel takes it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next SMTP reply, whole (RFC 5321 section 4.2.1); its code must be `code`.
    pub(crate) async fn expect(&mut self, code: &[u8; 3]) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            if !line.starts_with(code) {
                return Err(io::Error::other(String::from_utf8_lossy(line).trim_end().to_owned()));
            }
            if line.get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    /// The next POP3 reply, one line; it must be `+OK`.
    pub(crate) async fn expect_ok(&mut self) -> io::Result<()> {
        let line = self.line().await?;
        if line.starts_with(b"+OK") { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(line).trim_end().to_owned())) }
    }

    /// The next line, with its end. A connection closed instead is an error.
    pub(crate) async fn line(&mut self) -> io::Result<&[u8]> {
        loop {
            if let Some(length) = memchr(b'\n', self.pending()) {
                let from = self.start;
                self.start += length + 1;
                return Ok(self.input.get(from..self.start).unwrap_or_default());
            }
            self.more().await?;
        }
    }

    /// Skips a POP3 multi-line body up to its final dot (RFC 1939 section 3); answers its octets, dot line included.
    ///
    /// Nothing may follow it: the peer has to wait for the next command.
    pub(crate) async fn skip_body(&mut self) -> io::Result<usize> {
        const END: &[u8] = b"\r\n.\r\n";
        let mut octets = 0;
        loop {
            if self.pending().ends_with(END) || (octets == 0 && self.pending() == b".\r\n") {
                octets += self.pending().len();
                self.start = self.end;
                return Ok(octets);
            }
            // Keep what may be the beginning of the end.
            let done = self.pending().len().saturating_sub(END.len());
            octets += done;
            self.start += done;
            self.more().await?;
        }
    }

    fn pending(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.input.len() {
            // Grows once for short replies, again only when a body comes: ten thousand idle sessions stay small.
            self.input.resize((self.input.len() * 8).clamp(256, 64 * 1024).max(self.end + 256), 0);
        }
        let room = self.input.get_mut(self.end..).unwrap_or_default();
        match self.stream.read(room).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }
}

/// A plain connection from `source`.
pub(crate) async fn connect(server: SocketAddr, source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // A port in TIME_WAIT may be taken again: thousands of connections a second leave no others.
    socket.set_reuseaddr(true)?;
    if source != Ipv4Addr::LOCALHOST {
        socket.bind((source, 0).into())?;
    }
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The loopback address for connection number `index`: another one for every 20,000, since ports are few.
pub(crate) fn source(index: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + u32::try_from(index / 20_000).unwrap_or(0))
}

/// TLS that believes any certificate and never resumes: every connection pays for its handshake.
pub(crate) fn connector() -> io::Result<TlsConnector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Checks signatures, so that the handshake costs what it costs, but believes whoever signs.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(bytes: &'static [u8]) -> Connection {
        Connection { stream: Box::new(tokio_test_stream(bytes)), input: Vec::new(), start: 0, end: 0 }
    }

    fn tokio_test_stream(bytes: &'static [u8]) -> tokio::io::DuplexStream {
        let (mut far, near) = tokio::io::duplex(7);
        tokio::spawn(async move { far.write_all(bytes).await });
        near
    }

    #[tokio::test]
    async fn replies_are_read_whole_and_checked() {
        let mut connection = over(b"250-a\r\n250-b\r\n250 c\r\n354 go\r\n421 busy\r\n");
        connection.expect(b"250").await.unwrap();
        connection.expect(b"354").await.unwrap();
        assert_eq!(connection.expect(b"250").await.unwrap_err().to_string(), "421 busy");
        assert!(connection.line().await.is_err());
    }

    #[tokio::test]
    async fn a_body_is_skipped_to_its_dot() {
        let mut connection = over(b"+OK\r\nA: b\r\n\r\n..c\r\n.\r\n");
        connection.expect_ok().await.unwrap();
        assert_eq!(connection.skip_body().await.unwrap(), 16);
        assert_eq!(over(b".\r\n").skip_body().await.unwrap(), 3);
    }
}
