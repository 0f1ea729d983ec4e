//! A listener with all it stands on, in memory and in simulated time, and clients that talk to it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use auth::Authenticator;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::BytesMut;
use events::Events;
use gate::{Gate, ListenerId, MailRates};
use mail::{BodyType, ByteSize, Envelope, MessageId, ReversePath, Secret};
use net::{Admission, Certificates, Connection, Drain, Handshakes, Pair, Service, Tls, clock};
use pop3_listener::{Ground, Listener, LoginDelay, Settings};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use store::memory::Memory;
use store::{Change, Directory, Intake};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

pub(crate) const NAME: &str = "mail.example";
pub(crate) const ANN: &str = "ann@example.org";
pub(crate) const BOB: &str = "bob@example.org";
pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// A maildrop can be taken from a session that was silent for so long.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// How a house is built.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) auth: auth::Settings,
    pub(crate) rates: gate::rates::Settings,
    /// Where passwords are looked up.
    pub(crate) directory: fn(Memory) -> Arc<dyn Directory>,
    /// Octets that fit between client and server.
    pub(crate) pipe: usize,
}

pub(crate) struct House {
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: Memory,
    pub(crate) rates: Arc<MailRates>,
    pub(crate) events: Events,
    pub(crate) drain: Drain,
    /// With TLS from the first octet.
    pub(crate) listener: Arc<Listener>,
    /// Of another address, in clear at first.
    pub(crate) other: Arc<Listener>,
    tls: TlsConnector,
    pipe: usize,
}

impl Plan {
    /// Port 995.
    pub(crate) fn new() -> Self {
        let settings = Settings {
            pop3: Arc::new(pop3::Settings::new(NAME.parse().unwrap())),
            write_deadline: 2 * MINUTE,
            waiting_room: None,
            trusted_proxies: Vec::new(),
        };
        let auth = auth::Settings { hash_memory: ByteSize::kib(8), hash_passes: NonZeroU32::MIN, ..auth::Settings::default() };
        Self { settings, auth, rates: gate::rates::Settings::default(), directory: |store| Arc::new(store), pipe: 1 << 16 }
    }

    /// With other settings of the machine's.
    pub(crate) fn with(change: impl FnOnce(&mut pop3::Settings)) -> Self {
        let mut plan = Self::new();
        change(Arc::make_mut(&mut plan.settings.pop3));
        plan
    }

    pub(crate) async fn build(self) -> House {
        let Self { settings, auth, rates, directory, pipe } = self;
        let store = Memory::new(GRACE);
        let password_hash = auth::hash_password(&Secret::new(PASSWORD), &auth).unwrap();
        let verifier = Some(auth::scram_verifier(&Secret::new(PASSWORD), &[7; 16]));
        for change in [
            Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None },
            Change::AddAccount { name: ANN.into(), password_hash: password_hash.clone(), verifier: verifier.clone() },
            Change::AddAccount { name: BOB.into(), password_hash, verifier },
        ] {
            store.change(change).await.unwrap();
        }
        let (certificates, tls) = certificates();
        let handshakes = Arc::new(Handshakes::new(8, 30 * SECOND, Arc::default()));
        let server_tls = Tls::new(certificates, true, handshakes).unwrap();
        let (gate, events, drain) = (Arc::new(Gate::new(gate::Settings::default()).unwrap()), Events::new(UNIX_EPOCH), Drain::new());
        gate.open();
        let rates = Arc::new(MailRates::new(&rates));
        let ground = Ground {
            gate: Arc::clone(&gate),
            store: Arc::new(store.clone()),
            rates: Arc::clone(&rates),
            authenticator: Arc::new(Authenticator::new(directory(store.clone()), &auth).unwrap()),
            login_delay: Arc::new(LoginDelay::default()),
            events: events.clone(),
            drain: drain.clone(),
        };
        let listener = |id, name, implicit_tls| {
            Arc::new(Listener::new(ListenerId(id), name, &ground, Some(server_tls.clone()), implicit_tls, settings.clone()))
        };
        let (listener, other) = (listener(1, "pop3s", true), listener(2, "pop3", false));
        House { gate, store, rates, events, drain, listener, other, tls, pipe }
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        Plan::new().build().await
    }

    /// Puts a message into ann's maildrop.
    pub(crate) async fn deliver(&self, text: impl AsRef<[u8]>) -> MessageId {
        let (id, recipients) = (MessageId::generate(), vec![ANN.into()]);
        let envelope = Envelope { id, reverse_path: ReversePath::Null, recipients, body: BodyType::SevenBit, utf8: false, requests: None };
        let mut incoming = self.store.begin(envelope).await.unwrap();
        incoming.write(text.as_ref()).await.unwrap();
        incoming.commit(Vec::new()).await.unwrap().id()
    }

    /// A session that nobody has spawned yet, and its client's end.
    pub(crate) fn session(&self, listener: &Arc<Listener>) -> (impl Future<Output = ()> + Send + 'static, DuplexStream) {
        let (theirs, ours) = duplex(self.pipe);
        let connection = Connection::over_pipe(ours, self.drain.clone());
        let Admission::Admitted(permit) = listener.admit(connection.peer(), false, &mut BytesMut::new()) else { panic!("not let in") };
        (Arc::clone(listener).session(connection, permit), theirs)
    }

    /// A connection that nothing has been said on.
    pub(crate) fn dial(&self, listener: &Arc<Listener>) -> DuplexStream {
        let (session, client) = self.session(listener);
        self.drain.spawn(session);
        client
    }

    /// A client inside TLS that was greeted.
    pub(crate) async fn connect(&self) -> Client {
        let mut client = Client::new(self.shake_hands(self.dial(&self.listener)).await);
        client.hears("+OK mail.example").await;
        client
    }

    pub(crate) async fn shake_hands<S: Stream + 'static>(&self, stream: S) -> impl Stream + use<S> {
        self.tls.connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap()
    }

    /// A client that has ann's maildrop.
    pub(crate) async fn log_in(&self) -> Client {
        let mut client = self.connect().await;
        client.logs_in("+OK").await;
        client
    }

    /// Waits until no session is left, and says how long that took. Every place is free then.
    pub(crate) async fn empties(&self) -> Duration {
        let start = clock::now();
        while self.drain.sessions() > 0 {
            assert!(clock::now() - start < Duration::from_secs(9 * 60 * 60), "a session stays");
            clock::pause(Duration::from_millis(10)).await;
        }
        assert_eq!(self.gate.snapshot().usage.in_use, 0, "a place is lost");
        clock::now() - start
    }

    /// A metric's value: the sample whose line begins with `gatepost_` and this.
    pub(crate) fn metric(&self, sample: &str) -> u64 {
        let mut text = String::new();
        self.events.encode(&mut text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("gatepost_")?.strip_prefix(sample));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Sessions that have ended in this way.
    pub(crate) fn ended(&self, end: &str) -> u64 {
        self.metric(&format!("sessions_ended_total{{listener=\"pop3s\",end=\"{end}\"}}"))
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(crate) struct Client(BufReader<Box<dyn Stream>>);

impl Client {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self(BufReader::new(Box::new(stream)))
    }

    /// Says octets as they are.
    pub(crate) async fn says(&mut self, octets: impl AsRef<[u8]>) {
        self.0.write_all(octets.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next line, without its end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("closed after {line:?}")).to_owned()
    }

    /// The next line begins like this.
    pub(crate) async fn hears(&mut self, beginning: &str) {
        let line = self.line().await;
        assert!(line.starts_with(beginning), "{line:?} is not {beginning:?}");
    }

    /// Says a line; the answer begins like this.
    pub(crate) async fn asks(&mut self, line: &str, beginning: &str) {
        self.says(format!("{line}\r\n")).await;
        let answer = self.line().await;
        assert!(answer.starts_with(beginning), "{line}: {answer:?} is not {beginning:?}");
    }

    /// Says a line; the answer begins like this, and what follows it up to the dot is returned, dots taken off.
    pub(crate) async fn asks_for(&mut self, line: &str, beginning: &str) -> Vec<u8> {
        self.asks(line, beginning).await;
        let mut text = Vec::new();
        loop {
            let mut line = Vec::new();
            assert_ne!(self.0.read_until(b'\n', &mut line).await.unwrap(), 0, "closed in the middle");
            if line == b".\r\n" {
                return text;
            }
            text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    /// Logs in as ann; the answer begins like this.
    pub(crate) async fn logs_in(&mut self, beginning: &str) {
        self.asks(&plain("", ANN, PASSWORD), beginning).await;
    }

    /// Everything up to the server's close.
    pub(crate) async fn rest(mut self) -> String {
        let mut rest = String::new();
        // A server that has closed before it read all is gone all the same.
        let _end = self.0.read_to_string(&mut rest).await;
        rest
    }

    /// An octet a second, until the server closes; what it says.
    pub(crate) async fn trickles(self) -> String {
        let (mut read, mut write) = tokio::io::split(self.0.into_inner());
        let mut said = String::new();
        let trickle = async {
            while write.write_all(b"x").await.is_ok() && write.flush().await.is_ok() {
                clock::pause(SECOND).await;
            }
        };
        let listen = async {
            read.read_to_string(&mut said).await.unwrap();
        };
        tokio::select! {
            () = listen => {}
            () = trickle => {}
        }
        said
    }

    pub(crate) fn into_stream(self) -> Box<dyn Stream> {
        self.0.into_inner()
    }
}

/// AUTH PLAIN with its initial response.
pub(crate) fn plain(authzid: &str, authcid: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", BASE64_STANDARD.encode(format!("{authzid}\0{authcid}\0{password}")))
}

/// How long something takes.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start: Instant = clock::now();
    let outcome = future.await;
    (outcome, clock::now() - start)
}

fn certificates() -> (Arc<Certificates>, TlsConnector) {
    let folder = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    let pair = Pair { certificate: folder.path().join("mail.crt"), key: folder.path().join("mail.key") };
    std::fs::write(&pair.certificate, certificate.pem()).unwrap();
    std::fs::write(&pair.key, key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Certificates::load(vec![pair]).unwrap(), TlsConnector::from(Arc::new(client)))
}
