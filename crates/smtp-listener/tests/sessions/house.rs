//! A listener with all it stands on, in memory and in simulated time, and clients that talk to it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use auth::Authenticator;
use bytes::BytesMut;
use events::Events;
use gate::{Delivery, Gate, ListenerId, MailRates};
use mail::{ByteSize, Secret};
use net::{Admission, Certificates, Connection, Drain, Handshakes, Pair, Service, Tls, clock};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use smtp_listener::{Ground, Listener, Settings, Submission};
use store::memory::Memory;
use store::{Change, Directory, Store};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

pub(crate) const NAME: &str = "mx.example";
pub(crate) const ANN: &str = "ann@example.org";
pub(crate) const BOB: &str = "bob@example.org";
pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// How a house is built.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) auth: auth::Settings,
    pub(crate) rates: gate::rates::Settings,
    pub(crate) delivery: gate::delivery::Settings,
    pub(crate) implicit_tls: bool,
    /// Octets that fit between client and server.
    pub(crate) pipe: usize,
    /// Puts something between the listener and the store.
    pub(crate) before_store: fn(Memory) -> Arc<dyn Store>,
    /// Where passwords are looked up.
    pub(crate) directory: fn(Memory) -> Arc<dyn Directory>,
}

pub(crate) struct House {
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: Memory,
    pub(crate) events: Events,
    pub(crate) drain: Drain,
    pub(crate) listener: Arc<Listener>,
    tls: TlsConnector,
    pipe: usize,
}

impl Plan {
    /// Port 25.
    pub(crate) fn relay() -> Self {
        Self::of(smtp::Settings::relay(NAME.parse().unwrap()))
    }

    /// LMTP from this machine.
    pub(crate) fn lmtp() -> Self {
        let mut plan = Self::of(smtp::Settings::lmtp(NAME.parse().unwrap()));
        plan.settings.lmtp_networks = vec!["127.0.0.0/8".parse().unwrap()];
        plan
    }

    /// Port 465.
    pub(crate) fn submission() -> Self {
        Self { implicit_tls: true, ..Self::of(smtp::Settings::submission(NAME.parse().unwrap())) }
    }

    fn of(smtp: smtp::Settings) -> Self {
        let settings = Settings {
            smtp: Arc::new(smtp),
            hops: 100,
            relay_networks: Vec::new(),
            lmtp_networks: Vec::new(),
            xclient_networks: Vec::new(),
            messages: 1000,
            write_deadline: 2 * MINUTE,
            waiting_room: None,
            trusted_proxies: Vec::new(),
            submission: Submission::default(),
            quota_warning_percent: 90,
            lookup: None,
            screener: None,
        };
        let auth = auth::Settings { hash_memory: ByteSize::kib(8), hash_passes: NonZeroU32::MIN, ..auth::Settings::default() };
        let (rates, delivery) = (gate::rates::Settings::default(), gate::delivery::Settings::default());
        Self {
            settings,
            auth,
            rates,
            delivery,
            implicit_tls: false,
            pipe: 1 << 16,
            before_store: |store| Arc::new(store),
            directory: |store| Arc::new(store),
        }
    }

    pub(crate) async fn build(self) -> House {
        let Self { settings, auth, rates, delivery, implicit_tls, pipe, before_store, directory } = self;
        let store = Memory::new(MINUTE);
        let password_hash = auth::hash_password(&Secret::new(PASSWORD), &auth).unwrap();
        let verifier = Some(auth::scram_verifier(&Secret::new(PASSWORD), &[7; 16]));
        for change in [
            Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None },
            Change::AddAccount { name: ANN.into(), password_hash: password_hash.clone(), verifier: verifier.clone() },
            Change::AddAccount { name: BOB.into(), password_hash, verifier },
            Change::PutAlias { name: "sales@example.org".into(), targets: vec![ANN.into()] },
            Change::PutAlias { name: "all@example.org".into(), targets: vec!["sales@example.org".into(), BOB.into(), ANN.into()] },
        ] {
            store.change(change).await.unwrap();
        }
        let (certificates, tls) = certificates();
        let handshakes = Arc::new(Handshakes::new(8, 30 * SECOND, Arc::default()));
        let server_tls = Tls::new(certificates, false, handshakes).unwrap();
        let (gate, events, drain) = (Arc::new(Gate::new(gate::Settings::default()).unwrap()), Events::new(UNIX_EPOCH), Drain::new());
        gate.open();
        let ground = Ground {
            gate: Arc::clone(&gate),
            rates: Arc::new(MailRates::new(&rates)),
            delivery: Delivery::new(&delivery),
            store: before_store(store.clone()),
            authenticator: Arc::new(Authenticator::new(directory(store.clone()), &auth).unwrap()),
            events: events.clone(),
            drain: drain.clone(),
        };
        let listener = Arc::new(Listener::new(ListenerId(1), "smtp", &ground, Some(server_tls), implicit_tls, settings));
        House { gate, store, events, drain, listener, tls, pipe }
    }
}

impl House {
    pub(crate) async fn relay() -> Self {
        Plan::relay().build().await
    }

    /// A session that nobody has spawned yet, and its client's end.
    pub(crate) fn session(&self) -> (impl Future<Output = ()> + Send + 'static, DuplexStream) {
        let (theirs, ours) = duplex(self.pipe);
        let connection = Connection::over_pipe(ours, self.drain.clone());
        let Admission::Admitted(permit) = self.listener.admit(connection.peer(), false, &mut BytesMut::new()) else { panic!("not let in") };
        (Arc::clone(&self.listener).session(connection, permit), theirs)
    }

    /// A connection that nothing has been said on.
    pub(crate) fn dial(&self) -> DuplexStream {
        let (session, client) = self.session();
        self.drain.spawn(session);
        client
    }

    /// A client in clear that was greeted.
    pub(crate) async fn connect(&self) -> Client {
        let mut client = Client::new(self.dial());
        client.hears("220 mx.example ESMTP").await;
        client
    }

    /// A client in clear that has said EHLO.
    pub(crate) async fn greet(&self) -> Client {
        let mut client = self.connect().await;
        client.asks("EHLO client.example", "250-mx.example").await;
        client
    }

    /// A client inside TLS that was greeted, where TLS is implicit.
    pub(crate) async fn connect_tls(&self) -> Client {
        let mut client = Client::new(self.shake_hands(self.dial()).await);
        client.hears("220 mx.example ESMTP").await;
        client
    }

    pub(crate) async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S) -> impl Stream + use<S> {
        self.tls.connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap()
    }

    /// A client that has authenticated as ann, where TLS is implicit.
    pub(crate) async fn log_in(&self) -> Client {
        let mut client = self.connect_tls().await;
        client.asks("EHLO client.example", "250-mx.example").await;
        client.asks(&plain("", ANN, PASSWORD), "235 2.7.0").await;
        client
    }

    /// Waits until no session is left, and says how long that took. Every place is free then.
    pub(crate) async fn empties(&self) -> Duration {
        let start = clock::now();
        while self.drain.sessions() > 0 {
            assert!(clock::now() - start < Duration::from_secs(3 * 60 * 60), "a session stays");
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
        self.metric(&format!("sessions_ended_total{{listener=\"smtp\",end=\"{end}\"}}"))
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

    /// The next reply, all its lines.
    pub(crate) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let at = reply.len();
            assert_ne!(self.0.read_line(&mut reply).await.unwrap(), 0, "closed after {reply:?}");
            if reply.as_bytes()[at + 3] == b' ' {
                return reply;
            }
        }
    }

    /// The next reply begins like this.
    pub(crate) async fn hears(&mut self, beginning: &str) {
        let reply = self.reply().await;
        assert!(reply.starts_with(beginning), "{reply:?} is not {beginning:?}");
    }

    /// Says a line; the reply begins like this.
    pub(crate) async fn asks(&mut self, line: &str, beginning: &str) {
        self.says(format!("{line}\r\n")).await;
        let reply = self.reply().await;
        assert!(reply.starts_with(beginning), "{line}: {reply:?} is not {beginning:?}");
    }

    /// Opens a transaction for these recipients and asks for the data.
    pub(crate) async fn begins(&mut self, recipients: &[&str]) {
        self.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
        for recipient in recipients {
            self.asks(&format!("RCPT TO:<{recipient}>"), "250 2.1.5").await;
        }
        self.asks("DATA", "354 ").await;
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
            while write.write_all(b"x").await.is_ok() {
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
    use base64::prelude::{BASE64_STANDARD, Engine};
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
    let pair = Pair { certificate: folder.path().join("mx.crt"), key: folder.path().join("mx.key") };
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
