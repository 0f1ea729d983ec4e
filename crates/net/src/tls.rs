//! TLS on the side of the server: rustls on aws-lc-rs, TLS 1.2 and 1.3, client certificates where there are [`Authorities`], no ALPN.
//!
//! Answering a ClientHello is the dearest thing a stranger can ask for, so there is a turn for it: a limit on how many are answered at
//! once. No turn is held while a peer is waited for, before the ClientHello or behind the answer, so those who say nothing keep nobody
//! waiting. Each handshake has a deadline that counts from the asking: one who waits for its turn too long has failed like one who is too
//! slow. Who has to be asked for another key share (HelloRetryRequest) is answered the second time without a turn: its handshake goes on like
//! any other behind the answer. A refusal that must be said inside TLS has a few places beside that limit ([`REFUSALS_MOST`]) and little time ([`REFUSAL_TIME`]).
//!
//! Without tickets there is no resumption at all, neither by ticket nor by session id: some senders on port 25 break on
//! TLS 1.3 tickets, and no key of ours outlives its handshake.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::{Authorities, Certificates, Counters, NetError, clock};

/// How one listener speaks TLS; a clone speaks the same.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    handshakes: Arc<Handshakes>,
}

/// The limit and the deadline of handshakes, for all listeners together.
#[derive(Debug)]
pub struct Handshakes {
    turns: Semaphore,
    refusals: Arc<Semaphore>,
    time: Duration,
    counters: Arc<Counters>,
}

/// What a handshake settled, in the words of a trace header (RFC 5321 §4.4, RFC 3848).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsFacts<'c> {
    /// `TLS1.2` or `TLS1.3`.
    pub version: &'static str,
    /// The suite's registered name, as `TLS_AES_256_GCM_SHA384`.
    pub cipher_suite: &'static str,
    /// Whether the [channel](crate::Connection::channel) can be told from others.
    pub exporter: bool,
    /// The name the peer asked for (RFC 6066 §3).
    pub server_name: Option<&'c str>,
}

impl Handshakes {
    /// At most `limit` are answered at once; each has `time` from its asking to its end.
    pub fn new(limit: usize, time: Duration, counters: Arc<Counters>) -> Self {
        let turns = Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS));
        Self { turns, refusals: Arc::new(Semaphore::new(REFUSALS_MOST)), time, counters }
    }
}

impl Tls {
    /// Serves `certificates`, with session tickets (RFC 8446 §4.6.1, RFC 5077) or without any resumption.
    ///
    /// # Errors
    /// [`NetError::TlsSettings`], when the provider does not work on this machine.
    pub fn new(certificates: Arc<Certificates>, tickets: bool, handshakes: Arc<Handshakes>) -> Result<Self, NetError> {
        Self::asking(None, certificates, tickets, handshakes)
    }

    /// The same, and asks clients for a certificate that one of `authorities` has signed.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub fn asking(
        authorities: Option<&Authorities>,
        certificates: Arc<Certificates>,
        tickets: bool,
        handshakes: Arc<Handshakes>,
    ) -> Result<Self, NetError> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(NetError::TlsSettings)?;
        let config = match authorities {
            Some(authorities) => config.with_client_cert_verifier(authorities.verifier()),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(certificates);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = usize::from(tickets);
        if tickets {
            config.ticketer = aws_lc_rs::Ticketer::new().map_err(NetError::TlsSettings)?;
        }
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), handshakes })
    }

    /// What a handshake has from its asking to its end.
    pub(crate) fn handshake_time(&self) -> Duration {
        self.handshakes.time
    }

    /// Shakes hands over `socket`, which is dropped when that fails, as when this future is dropped.
    pub(crate) async fn handshake<S>(&self, socket: S) -> Result<TlsStream<S>, NetError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Handshakes { turns, time, .. } = &*self.handshakes;
        self.counted(clock::now() + *time, async {
            let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
            let answered = {
                let _turn = turns.acquire().await;
                // Others who are ready go first: no more answers than there are turns stand between them and the processor.
                tokio::task::yield_now().await;
                // Agrees on keys and signs, here and now. What is left costs less, and waits for the peer.
                hello.into_stream(Arc::clone(self.acceptor.config()))
            };
            answered.await
        })
        .await
    }

    /// A place to say a refusal inside TLS, if one is free.
    pub(crate) fn refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.handshakes.refusals).try_acquire_owned().ok()
    }

    /// Shakes hands, says `line` and closes, all within [`REFUSAL_TIME`]. Whether `line` was said.
    pub(crate) async fn refuse<S>(&self, socket: S, line: &[u8]) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = clock::now() + REFUSAL_TIME;
        let Ok(mut stream) = self.counted(deadline, self.acceptor.accept(socket)).await else { return false };
        let mut said = false;
        let goodbye = async {
            stream.write_all(line).await?;
            stream.shutdown().await?;
            said = true;
            // An early talker's octets, left unread, would turn the reply into a reset.
            let _forgotten = tokio::io::copy(&mut (&mut stream).take(REFUSAL_OCTETS), &mut tokio::io::sink()).await?;
            io::Result::Ok(())
        };
        let _gone = clock::within(deadline, goodbye).await;
        said
    }

    async fn counted<T>(&self, deadline: Instant, handshake: impl Future<Output = io::Result<T>>) -> Result<T, NetError> {
        let counters = &self.handshakes.counters;
        let _going_on = counters.handshakes_in_progress.during();
        let (count, outcome) = match clock::within(deadline, handshake).await {
            Some(Ok(stream)) => (&counters.handshakes_completed, Ok(stream)),
            Some(Err(error)) => (&counters.handshakes_failed, Err(NetError::Handshake(error))),
            None => (&counters.handshakes_timed_out, Err(NetError::HandshakeTimedOut)),
        };
        count.add();
        outcome
    }
}

impl<'c> TlsFacts<'c> {
    pub(crate) fn of(session: &'c ServerConnection) -> Self {
        Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS1.3",
                _ => "TLS1.2",
            },
            cipher_suite: session.negotiated_cipher_suite().and_then(|suite| registered(suite.suite())).unwrap_or_default(),
            exporter: session.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            server_name: session.server_name(),
        }
    }
}

/// See [`Connection::channel`](crate::Connection::channel).
pub(crate) fn channel(session: &ServerConnection) -> Option<[u8; 32]> {
    let identifies = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    identifies.then(|| session.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok()).flatten()
}

/// rustls writes the suites of TLS 1.3 as `TLS13_...`; the registry does not.
fn registered(suite: rustls::CipherSuite) -> Option<&'static str> {
    use rustls::CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        Suite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    }
}

/// Refusals inside TLS at once; beyond them a refused connection is closed and counted.
pub const REFUSALS_MOST: usize = 16;

/// What a refusal inside TLS has from its accept to its close.
pub const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// What a refused peer may still say inside TLS before it is closed.
const REFUSAL_OCTETS: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use crate::Pair;

    /// One turn, and a client that believes in us.
    fn one_turn(time: Duration) -> (Tls, TlsConnector) {
        let (folder, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let signed = CertificateParams::new(vec!["mx.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pair = Pair { certificate: folder.path().join("crt"), key: folder.path().join("key") };
        std::fs::write(&pair.certificate, signed.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        let handshakes = Arc::new(Handshakes::new(1, time, Arc::default()));
        let tls = Tls::new(Certificates::load(vec![pair]).unwrap(), false, handshakes).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(signed.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        (tls, TlsConnector::from(Arc::new(client)))
    }

    #[tokio::test(start_paused = true)]
    async fn answers_beyond_the_limit_wait_for_their_turn_within_their_time() {
        let (tls, client) = one_turn(Duration::from_secs(10));
        let shake = async || {
            let (peer, ours) = tokio::io::duplex(1 << 16);
            tokio::join!(tls.handshake(ours), client.connect(ServerName::try_from("mx.example").unwrap(), peer))
        };
        let (start, turn) = (clock::now(), tls.handshakes.turns.acquire().await.unwrap());
        let busy = async {
            clock::pause(Duration::from_secs(4)).await;
            assert_eq!(tls.handshakes.counters.snapshot().handshakes_in_progress, 1);
            drop(turn);
        };
        let ((ours, theirs), ()) = tokio::join!(shake(), busy);
        assert!(ours.is_ok() && theirs.is_ok());
        assert_eq!(clock::now() - start, Duration::from_secs(4), "its turn came when there was one again");

        let (start, _turn) = (clock::now(), tls.handshakes.turns.acquire().await.unwrap());
        let (ours, theirs) = shake().await;
        assert!(matches!(ours, Err(NetError::HandshakeTimedOut)) && theirs.is_err(), "waiting is part of its time");
        assert_eq!(clock::now() - start, Duration::from_secs(10));
    }
}
