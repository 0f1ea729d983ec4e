//! A client's end of one connection, for any protocol of lines.
//!
//! What is called `try_` is for connections that may break at any time; everything else fails the test when they do. Everything
//! has a deadline.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;

/// Lines said and heard over one connection, in clear or inside TLS.
pub(crate) struct Dialogue {
    reader: BufReader<Box<dyn Wire>>,
    stream: TcpStream,
    certificate: Option<CertificateDer<'static>>,
}

trait Wire: Read + Write + Send {
    /// TLS 1.3 session tickets that have come.
    fn tickets(&self) -> u32 {
        0
    }

    /// What identifies the TLS channel (RFC 9266).
    fn channel(&self) -> [u8; 32] {
        panic!("there is no channel in clear")
    }
}

impl Wire for TcpStream {}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn tickets(&self) -> u32 {
        self.conn.tls13_tickets_received()
    }

    fn channel(&self) -> [u8; 32] {
        self.conn.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap()
    }
}

impl Dialogue {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(Box::new(stream.try_clone().unwrap())), stream, certificate: None }
    }

    /// Goes on inside TLS: at once, or behind the reply to STARTTLS or STLS. The server must show the certificate in this file.
    #[track_caller]
    pub(crate) fn start_tls(self, certificate: &Path) -> Self {
        self.try_start_tls(certificate).unwrap()
    }

    /// The same, where it may fail.
    pub(crate) fn try_start_tls(self, certificate: &Path) -> io::Result<Self> {
        let Self { stream, .. } = self;
        let mut connection = ClientConnection::new(tls_client(certificate), ServerName::try_from("localhost").unwrap()).unwrap();
        connection.complete_io(&mut stream.try_clone()?)?;
        let certificate = connection.peer_certificates().map(|chain| chain[0].clone().into_owned());
        let tls = StreamOwned::new(connection, stream.try_clone()?);
        Ok(Self { reader: BufReader::new(Box::new(tls)), stream, certificate })
    }

    /// What the server has shown inside TLS.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.certificate.as_ref().expect("TLS")
    }

    /// How many TLS 1.3 session tickets the server has sent before what was heard last.
    pub(crate) fn tickets(&self) -> u32 {
        self.reader.get_ref().tickets()
    }

    /// What identifies the TLS channel (RFC 9266).
    pub(crate) fn channel(&self) -> [u8; 32] {
        self.reader.get_ref().channel()
    }

    /// The next line without CRLF; empty when the connection has ended.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// The next line without CRLF, where the connection may break at any time; None when it has.
    pub(crate) fn try_hear(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\r\n") => {
                line.truncate(line.len() - 2);
                Some(line)
            }
            _ => None,
        }
    }

    /// A whole SMTP reply: its lines, the last of them with a space behind the code.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Vec<String> {
        let mut lines = vec![self.hear()];
        while lines.last().is_some_and(|line| line.as_bytes().get(3) == Some(&b'-')) {
            lines.push(self.hear());
        }
        lines
    }

    /// The same, where the connection may break at any time; None when it has.
    pub(crate) fn try_reply(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut lines = vec![self.try_hear()?];
        while lines.last().is_some_and(|line| line.get(3) == Some(&b'-')) {
            lines.push(self.try_hear()?);
        }
        Some(lines)
    }

    /// What follows a POP3 reply of many lines, without dot-stuffing; None when the connection breaks before its end.
    pub(crate) fn try_hear_many(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut lines = Vec::new();
        loop {
            match self.try_hear()? {
                end if end == b"." => return Some(lines),
                stuffed if stuffed.starts_with(b".") => lines.push(stuffed[1..].to_vec()),
                line => lines.push(line),
            }
        }
    }

    /// Says octets as they are.
    #[track_caller]
    pub(crate) fn say(&mut self, octets: impl AsRef<[u8]>) {
        self.try_say(octets).unwrap();
    }

    /// The same, where the connection may break.
    pub(crate) fn try_say(&mut self, octets: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(octets.as_ref())?;
        self.reader.get_mut().flush()
    }

    /// Says a line and gives the last line of the SMTP reply, or the only one of the POP3 reply.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(format!("{line}\r\n"));
        self.reply().pop().unwrap()
    }

    /// Whether the server has closed, or does so soon, without another word.
    pub(crate) fn is_over(&mut self) -> bool {
        match self.reader.read(&mut [0]) {
            Ok(octets) => octets == 0,
            Err(error) => !is_timeout(&error),
        }
    }

    /// Whether the server hangs up, whatever it says before that.
    pub(crate) fn is_left(&mut self) -> bool {
        let mut octets = [0; 64 << 10];
        loop {
            match self.reader.read(&mut octets) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !is_timeout(&error),
            }
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Our patience has ended, not the connection.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A client that trusts the certificate in this file and no other.
fn tls_client(certificate: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}
