//! `gatepost try`, as somebody meets it who has just cloned the repository: what it prints is run as it stands there.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use crate::harness::{Dialogue, PATIENCE, gatepost};
use crate::programs::{program, succeed};

#[test]
fn what_it_prints_works_as_printed() {
    let trial = Trial::start(None);
    assert_eq!(trial.run("Mail from another server comes in"), "");
    let submitted = trial.run("Bob submits");
    assert!(submitted.contains("<~  250 2.0.0 "), "{submitted}");
    let fetched = trial.run("Ann fetches her first message");
    assert!(fetched.ends_with("Subject: hello\r\n\r\nHello, Ann.\r\n"), "{fetched}");
    let python = trial.run("Or Python does all of it");
    assert!(python.starts_with("(3, ") && python.contains("b'Subject: from Python', b'', b'Hello again.'"), "{python}");

    trial.everybody_has_left();
    let commands = trial.commands("See the gate refuse session 6 of 5");
    let (sessions, change) = commands.split_once('\n').unwrap();
    assert_eq!(greetings(&trial.shell(sessions), 6), (5, 1));
    let changed = trial.shell(change);
    assert!(changed.contains("max_inbound"), "{changed}");
    trial.everybody_has_left();
    assert_eq!(greetings(&trial.shell(sessions), 6), (6, 0));

    trial.everybody_has_left();
    let state = trial.run("How it is doing");
    assert!(state.contains("\nplaces    0 of 10 in use, at most 6 at once\n") && state.ends_with("# EOF\n"), "{state}");
    assert!(trial.sheet.contains(&format!("port {} SSL/TLS", trial.port("pop3s"))), "{}", trial.sheet);
}

#[test]
fn control_c_drains_and_takes_the_fresh_folder_along() {
    let mut trial = Trial::start(None);
    let folder = trial.folder();
    assert!(folder.is_dir());
    let [mut busy, mut slow, mut idle] = [(); 3].map(|()| {
        let mut session = trial.connect("smtp");
        assert!(session.hear().starts_with("220 "));
        assert!(session.ask("EHLO client.example").starts_with("250 "));
        session
    });
    assert!(busy.ask("MAIL FROM:<carol@elsewhere.example>").starts_with("250 "));
    trial.interrupt();
    let deadline = Instant::now() + PATIENCE;
    while !trial.connect("smtp").hear().starts_with(RESTARTING) {
        assert!(Instant::now() < deadline, "it still takes sessions");
    }
    // Who is in the middle of a message may finish it; others are told when they speak next.
    for (line, code) in [("RCPT TO:<ann@try.example>", "250 2.1.5 "), ("DATA", "354 "), ("Subject: last\r\n\r\n.", "250 2.0.0 ")] {
        let reply = busy.ask(line);
        assert!(reply.starts_with(code), "{line}: {reply}");
    }
    assert!(busy.hear().starts_with(RESTARTING) && busy.is_over());
    assert!(slow.ask("NOOP").starts_with(RESTARTING) && slow.is_over());
    // Once more: nobody is waited for any longer.
    trial.interrupt();
    assert!(idle.hear().starts_with(RESTARTING) && idle.is_over());
    assert!(trial.wait().success());
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn a_kept_folder_keeps_mail_accounts_and_passwords() {
    let parent = tempfile::tempdir().unwrap();
    // A name that a shell would take for two words and more.
    let folder = parent.path().join("kept; it's here");
    let mut trial = Trial::start(Some(&folder));
    trial.run("Mail from another server comes in");
    let accounts = trial.accounts();
    trial.interrupt();
    assert!(trial.wait().success());
    assert!(folder.join("data").is_dir());

    let mut again = Trial::start(Some(&folder));
    let config = std::fs::read_to_string(folder.join("gatepost.toml")).unwrap();
    let second = gatepost().args(["try", "--keep"]).arg(&folder).output().unwrap();
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("in use"), "{second:?}");
    assert_eq!(std::fs::read_to_string(folder.join("gatepost.toml")).unwrap(), config, "the one that runs keeps its ports");
    assert_eq!(again.accounts(), accounts);
    let fetched = again.run("Ann fetches her first message");
    assert!(fetched.ends_with("Subject: hello\r\n\r\nHello, Ann.\r\n"), "{fetched}");
    assert!(again.shell(again.commands("See the gate refuse").split_once('\n').unwrap().1).contains("max_inbound"));
    again.interrupt();
    assert!(again.wait().success());

    // The limit in force is what it speaks of.
    let third = Trial::start(Some(&folder));
    let sessions = third.commands("See the gate refuse session 11 of 10").lines().next().unwrap();
    assert_eq!(greetings(&third.shell(sessions), 11), (10, 1));
    drop(third);
    let config = std::fs::read_to_string(folder.join("gatepost.toml")).unwrap();
    std::fs::write(folder.join("gatepost.toml"), config.replace("max_inbound = 10", "max_inbound = 20")).unwrap();
    let fourth = Trial::start(Some(&folder));
    assert!(fourth.sheet.contains("set max_inbound (20) below sessions_per_address (20)"), "{}", fourth.sheet);
}

#[test]
fn a_folder_of_somebody_elses_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter.txt"), "Dear Ann").unwrap();
    let refused = gatepost().args(["try", "--keep"]).arg(folder.path()).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("is not empty and has no accounts.toml"), "{said}");
    let there: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["letter.txt"]);
}

#[test]
fn two_at_once_take_different_ports() {
    let starting = || thread::spawn(|| Trial::start(None));
    let (one, other) = (starting(), starting());
    let (one, other) = (one.join().unwrap(), other.join().unwrap());
    for service in ["smtp", "submission", "submissions", "pop3", "pop3s"] {
        assert_ne!(one.port(service), other.port(service));
    }
    assert_ne!(one.folder(), other.folder());
    for trial in [&one, &other] {
        trial.run("Mail from another server comes in");
        assert!(trial.run("Ann fetches her first message").ends_with("Hello, Ann.\r\n"));
    }
}

/// `cargo run --release -- try` is what the README begins with; whatever else it has people say to the program is understood, too.
#[test]
fn the_readme_names_what_there_is() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks[..2], ["cargo run --release -- try\n", "scripts/test\n"]);
    succeed(program(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/test")).arg("--help"));
    let said = blocks.iter().flat_map(|block| block.split(['\n', '&', '|'])).filter_map(|command| {
        let command = command.split(['#', '>']).next().unwrap().trim();
        command.strip_prefix("cargo run --release -- ").or_else(|| command.strip_prefix("gatepost "))
    });
    let said: Vec<&str> = said.collect();
    assert!(said.len() >= 6, "{said:?}");
    for arguments in said {
        let help = gatepost().args(arguments.split(' ')).arg("--help").output().unwrap();
        assert!(help.status.success(), "gatepost {arguments}: {}", String::from_utf8_lossy(&help.stderr));
    }
}

/// A trial that runs, and what it has printed.
struct Trial {
    process: Child,
    sheet: String,
}

impl Trial {
    fn start(keep: Option<&Path>) -> Self {
        let mut command = gatepost();
        command.arg("try").stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(folder) = keep {
            command.arg("--keep").arg(folder);
        }
        let mut process = command.spawn().unwrap();
        let lines = lines(process.stdout.take().unwrap());
        let mut trial = Self { process, sheet: String::new() };
        while !trial.sheet.ends_with("ends it.\n") {
            let line = lines.recv_timeout(PATIENCE).expect("the sheet to its end");
            trial.sheet.push_str(&line);
            trial.sheet.push('\n');
        }
        trial
    }

    /// The lines under a heading.
    #[track_caller]
    fn commands(&self, heading: &str) -> &str {
        let (_, rest) = self.sheet.split_once(&format!("# {heading}")).expect("a heading");
        let (_, rest) = rest.split_once("\n\n").unwrap();
        rest.split_once("\n\n").unwrap().0
    }

    /// Runs them.
    #[track_caller]
    fn run(&self, heading: &str) -> String {
        self.shell(self.commands(heading))
    }

    #[track_caller]
    fn shell(&self, commands: &str) -> String {
        succeed(program("sh").arg("-c").arg(commands))
    }

    /// Waits until no session is left: a client may be gone before its place is free.
    fn everybody_has_left(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = gatepost().args(["status", "--json", "--config"]).arg(self.config()).output().unwrap();
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
            if status["in_use"] == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{status}");
        }
    }

    fn connect(&self, service: &str) -> Dialogue {
        Dialogue::new(TcpStream::connect(("127.0.0.1", self.port(service))).unwrap())
    }

    fn port(&self, service: &str) -> u16 {
        let config: toml::Table = std::fs::read_to_string(self.config()).unwrap().parse().unwrap();
        let address = config["listen"][service][0].as_str().unwrap();
        address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap()
    }

    fn config(&self) -> PathBuf {
        self.folder().join("gatepost.toml")
    }

    /// Where it says that everything is.
    fn folder(&self) -> PathBuf {
        let (_, rest) = self.sheet.split_once("Everything is in ").unwrap();
        rest.split_once(" (").unwrap().0.into()
    }

    /// The table of accounts and passwords.
    fn accounts(&self) -> String {
        let (_, rest) = self.sheet.split_once("password\n").unwrap();
        rest.split_once("\n\n").unwrap().0.to_owned()
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        succeed(program("kill").args(["-s", "INT", &self.process.id().to_string()]));
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::yield_now();
        }
    }
}

impl Drop for Trial {
    /// In order where possible, so that the fresh folder goes, too.
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- what it has printed\n{}", self.sheet);
        }
        if matches!(self.process.try_wait(), Ok(None)) {
            self.interrupt();
            let deadline = Instant::now() + PATIENCE / 4;
            while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::yield_now();
            }
            let (_killed, _waited) = (self.process.kill(), self.process.wait());
        }
    }
}

/// The lines of a pipe, as they come.
fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(100);
    thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

/// How many of `all` were greeted, and how many refused.
fn greetings(said: &str, all: usize) -> (usize, usize) {
    let count = |start| said.lines().filter(|line| line.starts_with(start)).count();
    let refused = count("421 4.3.2 mail.try.example Too many connections, try again later");
    assert_eq!(count("220 mail.try.example ") + refused, all, "{said}");
    (all - refused, refused)
}

const RESTARTING: &str = "421 4.3.2 mail.try.example Service restarting, try again shortly";
