//! What can go wrong between the network and a session, by whose fault it is.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A fault of this crate.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Configuration: the address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Configuration: the service manager passed a socket that is no listening TCP socket.
    #[error("the socket number {index} passed by the service manager is not a listening TCP socket: {source}")]
    Inherited {
        /// Which of the passed sockets, from 0.
        index: usize,
        /// What the system said.
        source: io::Error,
    },
    /// Configuration: no certificate at all.
    #[error("no certificate is configured")]
    NoCertificate,
    /// Configuration: a certificate or key file cannot be read as PEM.
    #[error("cannot read {}: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Configuration: the file is PEM, but not a certificate that names somebody.
    #[error("{} holds no usable certificate: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Configuration: the key cannot be used, or belongs to another certificate.
    #[error("the key in {} does not fit the certificate in {}: {source}", key.display(), certificate.display())]
    Key {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// Configuration: the certificate is not valid today.
    #[error("the certificate in {} is valid from {not_before} to {not_after}, which today is not", path.display())]
    OutOfDate {
        /// The certificate's file.
        path: PathBuf,
        /// Start of its validity.
        not_before: String,
        /// End of its validity.
        not_after: String,
    },
    /// Us: rustls refused its settings.
    #[error("TLS cannot be set up: {0}")]
    TlsSettings(rustls::Error),
    /// Us: a socket could not be handed to the runtime.
    #[error("the runtime did not take the socket over: {0}")]
    Runtime(io::Error),
    /// The peer: octets came in clear behind the command that asks for TLS (RFC 3207 §4.2), or TLS is on already.
    #[error("TLS cannot begin here: {0}")]
    NotBeforeTls(&'static str),
    /// The peer: no handshake within the time it has.
    #[error("no TLS handshake in time")]
    HandshakeTimedOut,
    /// The peer: the handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    /// The peer: it did not take what was written to it in time.
    #[error("the peer took no octets in time")]
    WriteTimedOut,
    /// The peer: the connection is gone.
    #[error("the connection is lost: {0}")]
    Lost(io::Error),
}
