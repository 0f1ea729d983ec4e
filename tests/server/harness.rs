//! A server for one test: its folder, its accounts, its configuration, its process.
//!
//! `Server::start` returns when the server says that it is ready, over the socket systemd would listen on; nothing is polled
//! and nothing sleeps. Dropping it kills the process and removes the folder; what it logged is in the panic's output.

mod dialogue;
mod errands;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use tempfile::TempDir;

pub(crate) use dialogue::Dialogue;

/// The domain and the accounts of every test server.
pub(crate) const DOMAIN: &str = "example.org";
pub(crate) const ANN: &str = "ann@example.org";
pub(crate) const BOB: &str = "bob@example.org";
pub(crate) const PASSWORD: &str = "correct horse";

/// A table that has every service refuse at once.
pub(crate) const NOBODY_WAITS: &str =
    "[when_full]\nsubmission = \"refuse\"\nsubmissions = \"refuse\"\npop3 = \"refuse\"\npop3s = \"refuse\"\n";

/// How much of its log a failed test shows.
const LOG_LINES: usize = 30;

/// How long anything may take before the test fails. Nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server, running or stopped.
pub(crate) struct Server {
    folder: TempDir,
    process: Option<Child>,
    /// The service manager's end of its words.
    manager: Option<UnixDatagram>,
    listening: Vec<(String, SocketAddr)>,
}

impl Server {
    /// A server with the default settings and `more` configuration: whole tables but `[listen]`, `[tls]` and `[admin]`.
    pub(crate) fn start(more: &str) -> Self {
        let mut server = Self::prepare(more);
        server.run();
        server
    }

    /// The same, with its accounts, not running.
    pub(crate) fn prepare(more: &str) -> Self {
        let server = Self::bare(more);
        server.populate();
        server
    }

    /// A server that has its configuration and nothing else yet, not running.
    pub(crate) fn bare(more: &str) -> Self {
        let server = Self { folder: tempfile::tempdir().unwrap(), process: None, manager: None, listening: Vec::new() };
        make_certificate(&server.certificate(), &server.path("key.pem"));
        fs::write(server.path("password"), PASSWORD).unwrap();
        server.configure(more);
        server
    }

    /// Adds the domain and the accounts.
    pub(crate) fn populate(&self) {
        self.succeed(&["domain", "add", DOMAIN]);
        for account in [ANN, BOB] {
            self.succeed(&["user", "add", account, "--password-file", self.path("password").to_str().unwrap()]);
        }
    }

    /// Writes the configuration file. Tests run as root in some places: the server stays who it is.
    pub(crate) fn configure(&self, more: &str) {
        // Every command that opens the store writes a new segment in full: 64 MiB of it would take longer than most tests.
        let store = if more.contains("[store]") { "" } else { "[store]\nsegment = \"1MiB\"" };
        let config = format!(
            r#"hostname = "mail.example.org"
data_dir = "data"
user = "root"
{more}
{store}
[listen]
smtp = ["127.0.0.1:0"]
submission = ["127.0.0.1:0"]
submissions = ["127.0.0.1:0"]
pop3 = ["127.0.0.1:0"]
pop3s = ["127.0.0.1:0"]
[tls]
certificate = "certificate.pem"
key = "key.pem"
[admin]
http = ["127.0.0.1:0"]
"#
        );
        fs::write(self.config(), config).unwrap();
    }

    /// Changes the configuration file: `from`, which it must hold, becomes `to`.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let config = fs::read_to_string(self.config()).unwrap();
        assert!(config.contains(from), "{from:?} is not in {config}");
        fs::write(self.config(), config.replacen(from, to, 1)).unwrap();
    }

    /// Starts the stopped server, on other ports than before.
    pub(crate) fn run(&mut self) {
        self.run_with(|_| ());
    }

    /// The same, with a say in how the process is started.
    pub(crate) fn run_with(&mut self, adapt: impl FnOnce(&mut Command)) {
        assert!(self.process.is_none(), "it runs already");
        let (notify, log) = (self.path("notify"), fs::File::options().create(true).append(true).open(self.path("log")).unwrap());
        let _stale = fs::remove_file(&notify);
        let ready = UnixDatagram::bind(&notify).unwrap();
        // As systemd's own: the server may have become another user by then.
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = gatepost();
        command.args(["serve", "--config"]).arg(self.config()).env("NOTIFY_SOCKET", &notify).stderr(log).stdin(Stdio::null());
        adapt(&mut command);
        let mut process = command.spawn().unwrap();
        // A server that fails to start ends; one that hangs runs into our patience.
        ready.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (deadline, mut word) = (Instant::now() + PATIENCE, [0; 256]);
        loop {
            if ready.recv(&mut word).is_ok_and(|octets| word[..octets].starts_with(b"READY=1")) {
                break;
            }
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the server has not started: {status}\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the server does not become ready\n{}", self.log());
        }
        ready.set_read_timeout(Some(PATIENCE)).unwrap();
        (self.process, self.manager) = (Some(process), Some(ready));
        self.listening = self.status()["listening"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["service"].as_str().unwrap().to_owned(), one["address"].as_str().unwrap().parse().unwrap()))
            .collect();
    }

    /// Where a service listens: smtp, submission, submissions, pop3, pop3s, http.
    pub(crate) fn address(&self, service: &str) -> SocketAddr {
        self.listening.iter().find(|(name, _)| name == service).map(|(_, address)| *address).expect("no such service")
    }

    pub(crate) fn port(&self, service: &str) -> String {
        self.address(service).port().to_string()
    }

    /// A connection to a service, with a deadline on everything.
    pub(crate) fn connect(&self, service: &str) -> Dialogue {
        Dialogue::new(TcpStream::connect(self.address(service)).unwrap())
    }

    /// The same inside TLS, for the services that begin with it; the certificate is checked.
    pub(crate) fn connect_tls(&self, service: &str) -> Dialogue {
        self.connect(service).start_tls(&self.certificate())
    }

    /// A connection to a service from 127.0.0.`last`: every address of the loopback network is this machine.
    pub(crate) fn connect_from(&self, last: u8, service: &str) -> Dialogue {
        Dialogue::new(self.stream_from([127, 0, 0, last].into(), service))
    }

    /// The same from any of them, bare: one descriptor, and nothing said or heard yet.
    pub(crate) fn stream_from(&self, source: Ipv4Addr, service: &str) -> TcpStream {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from((source, 0))).unwrap();
        connect(&socket, &self.address(service)).unwrap();
        TcpStream::from(socket)
    }

    /// What the administrator's listener answers to GET: status code and body.
    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        let mut http = TcpStream::connect(self.address("http")).unwrap();
        http.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(http, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The sum of a metric's values in `/metrics` over all its labels that hold `label`; 0 when there is none.
    pub(crate) fn metric(&self, name: &str, label: &str) -> u64 {
        let (_, text) = self.http("/metrics");
        let named = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values = text.lines().filter(named).filter(|line| line.contains(label)).map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<f64>().unwrap() as u64).sum()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// What it tells the service manager next; that it is ready has been heard already.
    pub(crate) fn told(&self) -> String {
        let mut word = [0; 256];
        let octets = self.manager.as_ref().expect("it runs").recv(&mut word).unwrap();
        str::from_utf8(&word[..octets]).unwrap().trim_end().to_owned()
    }

    /// What `gatepost status --json` says.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.succeed(&["status", "--json"])).unwrap()
    }

    /// Sessions in use.
    pub(crate) fn in_use(&self) -> u64 {
        self.status()["in_use"].as_u64().unwrap()
    }

    /// Waits until `true`, asking the server again and again; fails when patience is over.
    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "not so in time: {what}");
            thread::yield_now();
        }
    }

    /// Runs a command of the program on this server's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        gatepost().args(arguments).arg("--config").arg(self.config()).output().unwrap()
    }

    /// The same; it must succeed. Gives its output.
    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it on this server's data directory instead, without a look at the configuration.
    pub(crate) fn by_data_dir(&self, arguments: &[&str]) -> Output {
        gatepost().args(arguments).arg("--data-dir").arg(self.path("data")).output().unwrap()
    }

    /// Sends a signal: TERM, HUP, KILL, STOP, CONT.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap().success());
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end\n{}", self.log());
            thread::yield_now();
        }
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.process.as_mut().expect("it runs").kill().unwrap();
        self.wait();
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("gatepost.toml")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("certificate.pem")
    }

    /// A file in the server's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let (_killed, _waited) = (process.kill(), process.wait());
        }
        if thread::panicking() {
            eprintln!("---- the end of the server's log\n{}", self.log_end());
        }
    }
}

/// The program.
pub(crate) fn gatepost() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gatepost"))
}

/// The token that a refusal ends in.
#[track_caller]
pub(crate) fn token(said: &str) -> &str {
    said.rsplit_once(" [").and_then(|(_, token)| token.strip_suffix(']')).unwrap_or_else(|| panic!("{said:?} has no token"))
}

/// Lets time pass, where time is what is tested; nothing is waited for like this.
#[expect(clippy::disallowed_methods, reason = "a slow client and a random moment are made of time")]
pub(crate) fn let_pass(time: Duration) {
    thread::sleep(time);
}

/// A new certificate for localhost, and its key.
pub(crate) fn make_certificate(certificate: &Path, key: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    fs::write(certificate, made.cert.pem()).unwrap();
    fs::write(key, made.signing_key.serialize_pem()).unwrap();
}
