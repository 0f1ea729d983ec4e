//! Postfix relays its queue into the program, as it is, by SMTP and by LMTP, and past a gate that is full at first.
//!
//! The Postfix is the test's own: configuration, queue and log in the test's folder, mail put in over a socket in there, no port.
//! Its master starts only as root: a user needs sudo. However the test ends, Postfix is ended, and at last by itself.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{ANN, Dialogue, PASSWORD, PATIENCE, Server};
use crate::programs::{program, require, succeed};

#[test]
fn postfix_relays_its_queue() {
    let server = Server::start("");
    let postfix = Postfix::start(&server, "smtp");
    let bodies = postfix.queue();
    postfix.log.wait_for("removed", MESSAGES);
    assert!(arrived(&server) == bodies);
    assert_eq!(postfix.log.count("status=sent"), MESSAGES);
}

#[test]
fn postfix_delivers_its_queue_by_lmtp() {
    let mut server = Server::prepare("");
    server.edit("[listen]\n", "[listen]\nlmtp = [\"127.0.0.1:0\"]\n");
    server.run();
    let postfix = Postfix::start(&server, "lmtp");
    let bodies = postfix.queue();
    postfix.log.wait_for("removed", MESSAGES);
    assert!(arrived(&server) == bodies);
    assert_eq!(postfix.log.count("status=sent"), MESSAGES);
    assert_eq!(server.metric("gatepost_messages_accepted_total", "lmtp"), MESSAGES as u64);
}

/// The queue is refused with 421, kept and sent again: nothing is lost, and nothing comes twice.
#[test]
fn postfix_relays_its_queue_past_a_gate_that_is_full() {
    let server = Server::start("[gate]\nmax_inbound = 1\nfair_share_alpha = 0\n");
    let mut only = server.connect("smtp");
    assert!(only.hear().starts_with("220 "));
    let postfix = Postfix::start(&server, "smtp");
    let bodies = postfix.queue();
    postfix.log.wait_for("421 4.3.2 mail.example.org Too many connections, try again later", MESSAGES);
    assert_eq!(postfix.log.count("status=sent"), 0);

    // Fewer places than Postfix asks for at once: some are refused while others are served.
    server.edit("max_inbound = 1", "max_inbound = 4");
    server.succeed(&["reload"]);
    assert!(only.ask("QUIT").starts_with("221 "));
    postfix.log.wait_for("removed", MESSAGES);
    assert_eq!((postfix.log.count("status=sent"), postfix.log.count("status=bounced")), (MESSAGES, 0));
    server.eventually("the place is free", |server| server.in_use() == 0);
    assert!(arrived(&server) == bodies);
}

/// A Postfix that relays everything.
struct Postfix {
    folder: TempDir,
    master: Child,
    log: Arc<Log>,
}

impl Postfix {
    /// Its next hop is the service of `server` by that name.
    fn start(server: &Server, service: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (etc, home) = (folder.path().join("etc"), folder.path().display().to_string());
        for name in ["etc", "queue", "data"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let main = MAIN.replace("@HOME@", &home).replace("@SERVICE@", service).replace("@PORT@", &server.port(service));
        fs::write(etc.join("main.cf"), main).unwrap();
        fs::write(etc.join("master.cf"), MASTER).unwrap();
        // Postfix's own processes are other users, who pass through here.
        succeed(privileged("chmod").args(["755", &home]));
        succeed(privileged("chown").args(["-R", "root:", &home]));
        succeed(privileged("chown").args(["postfix", &format!("{home}/data")]));
        succeed(privileged("postfix").arg("-c").arg(&etc).arg("check"));
        let daemons = succeed(program("postconf").args(["-d", "-h", "daemon_directory"]));
        let mut master = privileged(&format!("{}/master", daemons.trim()));
        // Whatever happens to this process, it ends in time.
        let lifetime = (2 * MINUTES).as_secs().to_string();
        let master = master.arg("-c").arg(&etc).args(["-d", "-e", &lifetime]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut master = master.stderr(Stdio::null()).spawn().unwrap();
        let log = Log::of(master.stdout.take().unwrap());
        let postfix = Self { folder, master, log };
        postfix.log.wait_for("daemon started", 1);
        succeed(privileged("chmod").arg("755").arg(postfix.path("queue/public")));
        postfix
    }

    /// Puts the messages in its queue. Gives their bodies.
    fn queue(&self) -> Vec<Vec<u8>> {
        let mut smtp = BufReader::new(UnixStream::connect(self.path("queue/public/input")).unwrap());
        smtp.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        let mut exchange = |said: &[u8], codes: &[&str]| {
            smtp.get_mut().write_all(said).unwrap();
            for code in codes {
                let mut line = String::new();
                smtp.read_line(&mut line).unwrap();
                assert!(line.starts_with(code), "{line}");
            }
        };
        exchange(b"", &["220 "]);
        exchange(b"HELO client.example\r\n", &["250 "]);
        let bodies: Vec<_> = (0..MESSAGES).map(body).collect();
        for (number, body) in bodies.iter().enumerate() {
            let envelope = format!("MAIL FROM:<carol@elsewhere.example>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n");
            exchange(envelope.as_bytes(), &["250 ", "250 ", "354 "]);
            let header = format!(
                "From: carol@elsewhere.example\r\nTo: {ANN}\r\nSubject: {number}\r\nMessage-ID: <{number}@elsewhere.example>\r\n\
                 Date: Sun, 22 Nov 2026 09:00:00 +0000\r\n\r\n"
            );
            let mut text = header.into_bytes();
            for line in body.split_inclusive(|octet| *octet == b'\n') {
                text.extend(line.starts_with(b".").then_some(b'.'));
                text.extend_from_slice(line);
            }
            text.extend(b".\r\n");
            exchange(&text, &["250 "]);
        }
        exchange(b"QUIT\r\n", &["221 "]);
        bodies
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Postfix {
    /// The master passes the signal on to all it has started.
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.path("queue/pid/master.pid")).unwrap_or_default();
        let _told = privileged("kill").arg(pid.trim()).output();
        let _ended = self.master.wait();
        if rustix::process::geteuid().is_root() {
            return;
        }
        let _removed = privileged("rm").arg("-rf").arg(self.folder.path()).output();
    }
}

/// What Postfix has logged.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Log {
    /// Reads until all of Postfix has ended.
    fn of(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let reader = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                reader.lines.lock().unwrap().push(line);
                reader.more.notify_all();
            }
        });
        log
    }

    /// Waits until so many lines hold `words`.
    #[track_caller]
    fn wait_for(&self, words: &str, count: usize) {
        let holding = |lines: &mut Vec<String>| lines.iter().filter(|line| line.contains(words)).count();
        let (mut lines, waited) =
            self.more.wait_timeout_while(self.lines.lock().unwrap(), MINUTES, |lines| holding(lines) < count).unwrap();
        let end = lines.len().saturating_sub(30);
        assert!(!waited.timed_out(), "{words:?}: {} of {count}\n{}", holding(&mut lines), lines[end..].join("\n"));
    }

    fn count(&self, words: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }
}

/// A program run as root.
fn privileged(name: &str) -> Command {
    let path = require(name);
    if rustix::process::geteuid().is_root() {
        return Command::new(path);
    }
    let mut sudo = Command::new("sudo");
    let may = sudo.args(["-n", "true"]).status().is_ok_and(|status| status.success());
    assert!(may, "Postfix's master starts only as root: run the tests as root, or as a user with sudo");
    let mut command = Command::new("sudo");
    command.arg("-n").arg(path);
    command
}

/// Ann's messages by their subject, which must be one each: what is behind the header.
fn arrived(server: &Server) -> Vec<Vec<u8>> {
    let mut pop: Dialogue = server.connect_tls("pop3s");
    assert!(pop.hear().starts_with("+OK "));
    assert!(pop.ask(&format!("USER {ANN}")).starts_with("+OK "));
    let opened = pop.ask(&format!("PASS {PASSWORD}"));
    assert!(opened.starts_with(&format!("+OK {MESSAGES} messages ")), "{opened}");
    let mut bodies = vec![None; MESSAGES];
    for number in 1..=MESSAGES {
        assert!(pop.ask(&format!("RETR {number}")).starts_with("+OK "));
        let lines = pop.try_hear_many().unwrap();
        let header = lines.iter().position(Vec::is_empty).unwrap();
        let subject = lines[..header].iter().find_map(|line| line.strip_prefix(b"Subject: ")).unwrap();
        let subject: usize = str::from_utf8(subject).unwrap().parse().unwrap();
        let body = lines[header + 1..].iter().flat_map(|line| [&line[..], b"\r\n"].concat()).collect();
        assert!(bodies[subject].replace(body).is_none(), "message {subject} came twice");
    }
    bodies.into_iter().map(Option::unwrap).collect()
}

/// Dots, blank lines, long lines and octets above 127, another text each time.
fn body(number: usize) -> Vec<u8> {
    let lines = (0..number % 50 + 1).flat_map(|line| match (number + line) % 6 {
        0 => b"\r\n".to_vec(),
        1 => [&b".".repeat(line + 1), &b"\r\n"[..]].concat(),
        2 => [&b"x".repeat(998), &b"\r\n"[..]].concat(),
        3 => "Grüße, 世界\r\n".into(),
        4 => b"From the start \t \r\n".to_vec(),
        _ => format!("{number}: {line}\r\n").into_bytes(),
    });
    lines.collect()
}

const MESSAGES: usize = 200;
/// Now and then Postfix's queue manager leaves a message that was deferred alone for a minute, whatever its backoff times say.
const MINUTES: Duration = PATIENCE.saturating_mul(3);

/// Everything goes to the program; what is refused for now is tried again within a second, or see [`MINUTES`].
const MAIN: &str = "\
compatibility_level = 3.6
queue_directory = @HOME@/queue
data_directory = @HOME@/data
maillog_file = /dev/stdout
myhostname = relay.example
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:@PORT@
relay_transport = @SERVICE@
default_transport = @SERVICE@
smtp_dns_support_level = disabled
smtp_tls_security_level = may
lmtp_dns_support_level = disabled
lmtp_tls_security_level = may
in_flow_delay = 0
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s
transport_retry_time = 1s
default_destination_concurrency_failed_cohort_limit = 0
";

const MASTER: &str = "\
input      unix  n - n - - smtpd
cleanup    unix  n - n - 0 cleanup
qmgr       unix  n - n 1 1 qmgr
tlsmgr     unix  - - n 1000? 1 tlsmgr
rewrite    unix  - - n - - trivial-rewrite
bounce     unix  - - n - 0 bounce
defer      unix  - - n - 0 bounce
trace      unix  - - n - 0 bounce
proxymap   unix  - - n - - proxymap
error      unix  - - n - - error
retry      unix  - - n - - error
smtp       unix  - - n - - smtp
lmtp       unix  - - n - - lmtp
anvil      unix  - - n - 1 anvil
postlog    unix-dgram n - n - 1 postlogd
";
