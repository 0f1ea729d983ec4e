//! A real mail server behind ours, Dovecot by LMTP, is asked whom it knows before the catch-all has their mail; and what becomes of a recipient is
//! explained.
//!
//! The Dovecot is the test's own: configuration and users in the test's folder, on a port of the system's choice. It is run by a user without
//! rights.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::harness::{ANN, Dialogue, PATIENCE, Server};
use crate::programs::program;
use crate::rspamd::unprivileged;

#[test]
fn a_catch_all_has_what_dovecot_knows_and_nothing_else() {
    let dovecot = Dovecot::start();
    let server = Server::start(&format!("[recipients]\ncall_forward = \"{}\"\nremember_unknown = \"0s\"\n", dovecot.address()));
    server.succeed(&["domain", "set", "example.org", "--catch-all", ANN]);
    let mut smtp = stranger(&server);
    for (recipient, reply) in [
        ("old@example.org", "250 2.1.5 Recipient ok"),
        ("Old+shop@example.org", "250 2.1.5 Recipient ok"),
        ("nobody@example.org", "550 5.1.1 No such mailbox here"),
        ("old@elsewhere.example", "550 5.7.1 We do not relay for you"),
    ] {
        assert_eq!(smtp.ask(&format!("RCPT TO:<{recipient}>")), reply, "{recipient}: {}", server.log());
    }
    assert!(smtp.ask("DATA").starts_with("354 "));
    assert!(smtp.ask("Subject: for old\r\n\r\nHello.\r\n.").starts_with("250 2.0.0 "));
    assert!(server.succeed(&["user", "list"]).contains("ann@example.org  messages 1 "));

    let checked = server.succeed(&["check"]);
    assert!(!checked.contains("call_forward"), "{checked}");
    let line = format!(" ({}:", server.config().display());
    let explained = explain(&server, "nobody@example.org");
    for part in [
        "RCPT TO    <nobody@example.org>: 550 5.1.1 No such mailbox here\n           nobody has nobody@example.org: ann@example.org is the",
        &format!("           {} does not know nobody@example.org{line}", dovecot.address()),
    ] {
        assert!(explained.contains(part), "{part:?} is not in\n{explained}");
    }
    let explained = explain(&server, "old+x@example.org");
    let part = format!("           {} takes mail for old@example.org{line}", dovecot.address());
    assert!(explained.contains(&part) && explained.contains("           taken for ann@example.org\n"), "{part:?} is not in\n{explained}");

    let address = dovecot.address();
    drop(dovecot);
    let mut smtp = stranger(&server);
    for (recipient, reply) in [
        ("nobody@example.org", "451 4.3.0 Mail store unavailable, try again later"),
        // That is remembered.
        ("old@example.org", "250 2.1.5 Recipient ok"),
        (ANN, "250 2.1.5 Recipient ok"),
    ] {
        assert_eq!(smtp.ask(&format!("RCPT TO:<{recipient}>")), reply, "{recipient}");
    }
    let cause = format!("[recipients], asked about nobody@example.org: {address}: ");
    server.eventually("the cause is in the log, with the address", |server| server.log().contains(&cause));
    let checked = server.succeed(&["check"]);
    assert!(checked.contains(&format!("warning: recipients.call_forward: {address}: ")), "{checked}");
    assert!(explain(&server, "old@example.org").contains("RCPT TO    <old@example.org>: 451 4.3.0 "), "it is asked anew");
}

#[test]
fn what_becomes_of_a_recipient_is_explained_whether_the_server_runs_or_not() {
    let mut server = Server::prepare("[relay]\nnetworks = [\"192.0.2.0/24\"]\n");
    server.succeed(&["alias", "add", "sales@example.org", ANN]);
    server.succeed(&["list", "add", "team@example.org", "sales@example.org"]);
    server.succeed(&["user", "set", ANN, "--messages", "0"]);
    let expected = [
        ("team@example.org", "550 5.7.1 You may not post to this list", "list team@example.org is not open to the sender"),
        (
            "sales@example.org",
            "452 4.2.2 Mailbox full, try again later",
            "the maildrop of ann@example.org is full: 0 octets in 0 messages, of 0 messages",
        ),
        (
            "bob+x@example.org",
            "250 2.1.5 Recipient ok",
            "nobody has bob+x@example.org: without its detail, behind +, it is bob@example.org",
        ),
        ("x@elsewhere.example", "550 5.7.1 Mail to other hosts is not sent from here yet", "mail to other hosts is not sent from here yet"),
    ];
    for runs in [false, true] {
        if runs {
            server.run();
        }
        for (recipient, reply, why) in expected {
            let explained = explain(&server, recipient);
            let answered = format!("RCPT TO    <{recipient}>: {reply}");
            assert!(explained.contains(&answered) && explained.contains(why), "{recipient}, runs: {runs}\n{explained}");
        }
    }
    assert_eq!(server.metric("gatepost_recipients_refused_total", ""), 0, "nothing is counted");
}

fn stranger(server: &Server) -> Dialogue {
    let mut smtp = server.connect("smtp");
    smtp.hear();
    smtp.ask("HELO client.example");
    smtp.ask("MAIL FROM:<sender@elsewhere.example>");
    smtp
}

fn explain(server: &Server, recipient: &str) -> String {
    server.succeed(&["explain", "--ip", "192.0.2.1", "--helo", "x", "--from", "sender@elsewhere.example", "--to", recipient])
}

/// One that runs, and knows old@example.org.
struct Dovecot {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Dovecot {
    /// Starts it on a port that is free; should somebody else have taken that meanwhile, on another.
    fn start() -> Self {
        let begun = Instant::now();
        loop {
            let mut dovecot = Self::spawn();
            loop {
                assert!(begun.elapsed() < PATIENCE, "dovecot does not start: {}", dovecot.log());
                if dovecot.greets() {
                    return dovecot;
                }
                if dovecot.process.try_wait().unwrap().is_some() {
                    break;
                }
                thread::yield_now();
            }
        }
    }

    /// Whether it is there, and nobody else who was given the same port.
    fn greets(&self) -> bool {
        let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut greeting = String::new();
        BufReader::new(stream).read_line(&mut greeting).is_ok() && greeting.contains("Dovecot")
    }

    fn spawn() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        // It is somebody else who writes in there.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (user, group) = if rustix::process::geteuid().is_root() { (65534, 65534) } else { own() };
        let name = |kind: &str, id: u32| {
            let entry = String::from_utf8(program("getent").args([kind, &id.to_string()]).output().unwrap().stdout).unwrap();
            entry.split(':').next().unwrap_or_default().to_owned()
        };
        let config = CONFIG
            .replace("@HOME@", &folder.path().display().to_string())
            .replace("@PORT@", &port.to_string())
            .replace("@USER@", &name("passwd", user))
            .replace("@GROUP@", &name("group", group))
            .replace("@UID@", &user.to_string())
            .replace("@GID@", &group.to_string());
        let file = folder.path().join("dovecot.conf");
        fs::write(&file, config).unwrap();
        fs::write(folder.path().join("users"), "old@example.org:{PLAIN}secret::::::\n").unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = unprivileged("dovecot");
        let command = command.current_dir(folder.path()).arg("-F").arg("-c").arg(&file).stdin(Stdio::null());
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { folder, port, process }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Dovecot {
    /// It ends its services itself.
    fn drop(&mut self) {
        let _told = program("kill").arg(self.process.id().to_string()).output();
        let _ended = self.process.wait();
    }
}

fn own() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

const CONFIG: &str = "\
protocols = lmtp
base_dir = @HOME@/run
state_dir = @HOME@/state
log_path = /dev/stderr
ssl = no
default_internal_user = @USER@
default_internal_group = @GROUP@
default_login_user = @USER@
mail_location = maildir:@HOME@/mail/%n
recipient_delimiter =
service anvil {
  chroot =
}
service stats {
  chroot =
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = @PORT@
  }
}
passdb {
  driver = passwd-file
  args = @HOME@/users
}
userdb {
  driver = passwd-file
  args = @HOME@/users
  default_fields = uid=@UID@ gid=@GID@ home=@HOME@/mail/%n
}
";
