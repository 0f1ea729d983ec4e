//! The administrator's two doors, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod gate_and_sessions;
mod http;
mod people;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use admin::{
    Admin, Control, ControlSocket, Error, Http, Listening, Origin, Override, RecipientExplained, RecipientRequest, Reloaded, Reply,
    Request, Setting, Watch, ask,
};
use async_trait::async_trait;
use events::Events;
use gate::{Arrival, Gate, ListenerId, Portion, Settings};
use store::memory::{Condition, Memory};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};

/// Answers reloads with what the test wants.
#[derive(Default)]
struct Reloads(Mutex<Vec<String>>);

#[async_trait]
impl Control for Reloads {
    async fn reload(&self) -> Result<Reloaded, Vec<String>> {
        match self.0.lock().unwrap().clone() {
            faults if faults.is_empty() => {
                Ok(Reloaded { applied: vec!["gate.max_inbound".into()], needs_restart: vec!["log.format".into()], kept: Vec::new() })
            }
            faults => Err(faults),
        }
    }

    fn setting(&self, key: &str) -> Setting {
        Setting { key: key.into(), value: "2".into(), origin: Origin::File { path: "/etc/gatepost/gatepost.toml".into(), line: 7 } }
    }

    async fn explain(&self, request: &RecipientRequest) -> Result<RecipientExplained, Vec<String>> {
        Err(vec![format!("{} is not explained here", request.recipient)])
    }

    fn drain_time(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn set_max_inbound(&self, max_inbound: u32, time: Duration) -> Result<(), Vec<String>> {
        Err(vec![format!("{max_inbound} for {time:?}")])
    }

    fn unset_max_inbound(&self) -> Result<(), Vec<String>> {
        Ok(())
    }

    async fn keep_bans(&self) -> Result<(), String> {
        match self.0.lock().unwrap().first() {
            None => Ok(()),
            Some(fault) => Err(fault.clone()),
        }
    }

    fn overridden(&self) -> Option<Override> {
        None
    }
}

/// A server of which only the administrator's part is real.
struct Server {
    store: Memory,
    gate: Arc<Gate>,
    reloads: Arc<Reloads>,
    admin: Arc<Admin>,
    dir: tempfile::TempDir,
    serving: JoinSet<()>,
}

impl Server {
    fn new() -> Self {
        let (store, reloads) = (Memory::new(Duration::ZERO), Arc::new(Reloads::default()));
        let gate = Arc::new(
            Gate::new(Settings { max_inbound: 2, reserve: Portion::Places(0), fair_share_alpha: 0.0, ..Settings::default() }).unwrap(),
        );
        gate.open();
        let events = Events::new(SystemTime::now());
        let counted = Arc::clone(&gate);
        events.add_source(move |figures| admin::report_gate(&counted, figures));
        let admin = Admin {
            version: "1.2.3",
            started: Instant::now(),
            gate: Arc::clone(&gate),
            rates: Arc::new(gate::MailRates::new(&gate::rates::Settings::default())),
            store: Arc::new(store.clone()),
            quarantine: Arc::new(store.clone()),
            events,
            control: Arc::<Reloads>::clone(&reloads),
            watch: Watch::default(),
            listening: vec![Listening { service: "smtp".into(), address: "127.0.0.1:25".parse().unwrap() }],
        };
        Self { store, gate, reloads, admin: Arc::new(admin), dir: tempfile::tempdir().unwrap(), serving: JoinSet::new() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// Serves the control socket until what is returned is dropped or sent to.
    fn control(&mut self) -> oneshot::Sender<()> {
        let (stop, stopped) = oneshot::channel();
        let socket = ControlSocket::bind(&self.path()).unwrap();
        let admin = Arc::clone(&self.admin);
        self.serving.spawn(async move { socket.serve(admin, async { drop(stopped.await) }).await });
        stop
    }

    async fn http(&mut self) -> (SocketAddr, oneshot::Sender<()>) {
        let (stop, stopped) = oneshot::channel();
        let http = Http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, admin) = (http.address(), Arc::clone(&self.admin));
        self.serving.spawn(async move { http.serve(admin, async { drop(stopped.await) }).await });
        (address, stop)
    }

    async fn ended(&mut self) {
        tokio::time::timeout(Duration::from_secs(10), self.serving.join_next()).await.unwrap().unwrap().unwrap();
    }
}

async fn asked(path: PathBuf, request: Request) -> Result<Reply, Error> {
    spawn_blocking(move || ask(&path, &request)).await.unwrap()
}

/// What the socket answers to these octets until it hangs up or has answered `lines`.
async fn raw(path: PathBuf, octets: Vec<u8>, lines: usize) -> Vec<String> {
    spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        let mut writer = stream.try_clone().unwrap();
        // The server may hang up before it has read all of it.
        let writing = std::thread::spawn(move || drop(writer.write_all(&octets)));
        let (mut text, mut octet) = (String::new(), [0]);
        while text.lines().count() < lines || !text.ends_with('\n') {
            match stream.read(&mut octet) {
                Ok(1) => text.push(octet[0].into()),
                _ => break,
            }
        }
        drop(stream);
        writing.join().unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_reload_is_applied_or_every_fault_is_told() {
    let mut server = Server::new();
    let _stop = server.control();
    let (applied, needs_restart) = (vec!["gate.max_inbound".into()], vec!["log.format".into()]);
    let reloaded = Reloaded { applied, needs_restart, kept: Vec::new() };
    assert_eq!(asked(server.path(), Request::Reload).await.unwrap(), Reply::Reloaded(reloaded));
    let faults = vec!["gatepost.toml:3: gate.max_inbound: must be at least 1".to_owned(), "gatepost.toml:9: ...".to_owned()];
    server.reloads.0.lock().unwrap().clone_from(&faults);
    assert_eq!(asked(server.path(), Request::Reload).await.unwrap(), Reply::Refused(faults));
}

#[tokio::test]
async fn the_status_says_how_full_the_gate_is_and_why_no_mail_is_taken() {
    let mut server = Server::new();
    let _stop = server.control();
    let arrival = Arrival {
        listener: ListenerId(0),
        peer: "192.0.2.7".parse().unwrap(),
        authenticates: false,
        brings_mail: true,
        now: Instant::now(),
    };
    let _two = (server.gate.admit(&arrival).unwrap(), server.gate.admit(&arrival).unwrap());
    server.gate.admit(&arrival).unwrap_err();
    server.store.set(Condition::Full);
    let Reply::Status(status) = asked(server.path(), Request::Status).await.unwrap() else { panic!("no status") };
    assert_eq!((status.version.as_str(), status.node.as_str(), status.pid), ("1.2.3", "open", std::process::id()));
    assert_eq!((status.in_use, status.max_inbound, status.admitted, status.refused.get("R4")), (2, 2, 2, Some(&1)));
    assert_eq!(status.not_ready, ["the store is full: told to be full"]);
    assert_eq!((status.holders.len(), status.holders.first().unwrap().sessions), (1, 2));
    assert_eq!(status.figures.get("gate_in_use_sessions"), Some(&2));
}

#[tokio::test]
async fn several_requests_one_connection_and_nonsense_is_refused_in_words() {
    let mut server = Server::new();
    let _stop = server.control();
    let lines = raw(server.path(), b"nonsense\n\"stop\"\n\"reload\"\n".to_vec(), 3).await;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("{\"refused\":[\"not a request: "), "{lines:?}");
    assert!(lines[1].contains("unknown variant `stop`"), "{lines:?}");
    assert!(lines[2].starts_with("{\"reloaded\":"), "{lines:?}");
    let lines = raw(server.path(), vec![b'x'; 1 << 20], 1).await;
    assert_eq!(lines, ["{\"refused\":[\"a request has at most 262144 octets\"]}"]);
}

#[tokio::test]
async fn so_many_connections_and_the_next_waits_its_turn() {
    let mut server = Server::new();
    let _stop = server.control();
    let mut silent: Vec<_> = (0..16).map(|_| UnixStream::connect(server.path()).unwrap()).collect();
    let mut waiting = JoinSet::new();
    let path = server.path();
    waiting.spawn(asked(path, Request::Status));
    // The sixteen are taken in before the seventeenth, which came last; one that goes lets it in.
    assert!(tokio::time::timeout(Duration::from_millis(100), waiting.join_next()).await.is_err());
    silent.pop();
    assert!(matches!(waiting.join_next().await.unwrap().unwrap().unwrap(), Reply::Status(_)));
}

#[tokio::test]
async fn only_its_owner_may_open_the_socket_and_its_name_goes_with_it() {
    let mut server = Server::new();
    let path = server.path();
    let stop = server.control();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = std::fs::read_dir(server.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["control.sock"]);
    let idle = UnixStream::connect(&path).unwrap();
    asked(path.clone(), Request::Status).await.unwrap();
    stop.send(()).unwrap();
    server.ended().await;
    assert!(!path.exists());
    drop(idle);
    assert!(matches!(asked(path, Request::Status).await, Err(Error::NotRunning(_))));
}

#[tokio::test]
async fn a_second_server_is_told_and_a_stale_name_is_replaced() {
    let mut server = Server::new();
    let stop = server.control();
    assert!(matches!(ControlSocket::bind(&server.path()), Err(Error::Running(_))));
    assert!(matches!(asked(server.path(), Request::Status).await, Ok(Reply::Status(_))), "and the first goes on");
    drop(stop);
    server.ended().await;
    // A killed server leaves the name behind.
    drop(std::os::unix::net::UnixListener::bind(server.path()).unwrap());
    let Err(Error::NotRunning(path)) = asked(server.path(), Request::Status).await else { panic!("nobody is there") };
    assert_eq!(Error::NotRunning(path).to_string(), format!("no server is running there: nothing answers at {}", server.path().display()));
    let _stop = server.control();
    assert!(matches!(asked(server.path(), Request::Status).await, Ok(Reply::Status(_))));
}

#[tokio::test]
async fn what_is_in_the_way_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(120));
    assert!(matches!(ControlSocket::bind(&long), Err(Error::PathTooLong { .. })));
    assert!(matches!(ControlSocket::bind(&dir.path().join("no/such/folder/control.sock")), Err(Error::Socket { .. })));
    // A file that is none of ours is not replaced.
    let file = dir.path().join("precious");
    std::fs::write(&file, "kept").unwrap();
    assert!(matches!(ControlSocket::bind(&file), Err(Error::Socket { .. })));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}
