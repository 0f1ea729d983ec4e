//! The real rspamd is asked, and its word followed.
//!
//! The rspamd is the test's own: configuration, rules, sockets and log in the test's folder, one port on loopback, no network. It is run by a user
//! without rights, and ends with the test.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::content::{send, server, stranger};
use crate::harness::PATIENCE;
use crate::programs::{program, require};

#[test]
fn rspamd_is_asked_and_followed() {
    let rspamd = Rspamd::start();
    let (server, _zone) = server(&format!(
        "rspamd = \"http://127.0.0.1:{}\"\nchecks = [{{ check = \"rspamd\", fail = \"policy\", unsure = \"defer\", timeout = \"30s\" }}]",
        rspamd.port
    ));
    let mut smtp = stranger(&server);
    let message = |text: &str| format!("From: joe@example.com\r\nSubject: x\r\n\r\n{text}\r\n");
    assert!(send(&mut smtp, &message("Hello")).starts_with("250 2.0.0 "));
    assert_eq!(send(&mut smtp, &message(GTUBE)), "550 5.7.1 Refused: the message is taken for spam or worse");
    assert!(send(&mut smtp, &message("the envelope?")).starts_with("250 2.0.0 "));
    assert_eq!(send(&mut smtp, &message("slow down")), "451 4.7.1 The message did not pass a check, try again later");
    // One that goes to a file of its own.
    let large = format!("{}the envelope?", "0123456789\r\n".repeat(300_000));
    assert!(send(&mut smtp, &message(&large)).starts_with("250 2.0.0 "));
    for (verdict, count) in [("accept", 1), ("reject", 1), ("tag", 2), ("defer", 1)] {
        assert_eq!(
            server.metric("gatepost_messages_screened_total", &format!("verdict=\"{verdict}\"")),
            count,
            "{verdict}: {}",
            rspamd.log()
        );
    }
    for said in ["rspamd has 15.0 of 15.0: GTUBE 0.0", "ENVELOPE 7.0"] {
        server.eventually("it is logged", |server| server.log().contains(said));
    }
    drop(rspamd);
    assert!(send(&mut smtp, &message("Hello")).starts_with("451 4.7.0 "), "and where it is gone the rule says what follows");
}

/// Its proxy speaks the milter protocol.
#[test]
fn rspamd_is_a_milter() {
    let rspamd = Rspamd::start();
    let (server, _zone) = server(&format!(
        "milters = [\"unix:{}\"]\nchecks = [{{ check = \"milter\", fail = \"policy\", unsure = \"defer\", timeout = \"30s\" }}]",
        rspamd.folder.path().join("milter.sock").display()
    ));
    let mut smtp = stranger(&server);
    let message = |text: &str| format!("From: joe@example.com\r\nSubject: x\r\n\r\n{text}\r\n");
    let reply = send(&mut smtp, &message("Hello"));
    assert!(reply.starts_with("250 2.0.0 "), "{reply}: {}", rspamd.log());
    assert_eq!(send(&mut smtp, &message(GTUBE)), "550 5.7.1 Gtube pattern");
    assert_eq!(send(&mut smtp, &message("slow down, and the envelope?")), "451 4.7.1 Try again later");
    assert!(send(&mut smtp, &message(&"0123456789\r\n".repeat(300_000))).starts_with("250 2.0.0 "));
}

/// One that runs.
struct Rspamd {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Rspamd {
    /// Starts it on a port that is free; should somebody else have taken that meanwhile, on another.
    fn start() -> Self {
        let begun = Instant::now();
        loop {
            let mut rspamd = Self::spawn();
            loop {
                assert!(begun.elapsed() < PATIENCE, "rspamd does not start: {}", rspamd.log());
                if TcpStream::connect((Ipv4Addr::LOCALHOST, rspamd.port)).is_ok() {
                    return rspamd;
                }
                if rspamd.process.try_wait().unwrap().is_some() {
                    break;
                }
                thread::yield_now();
            }
        }
    }

    fn spawn() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        // It is somebody else who writes in there.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let home = folder.path().display().to_string();
        let config = folder.path().join("rspamd.conf");
        fs::write(&config, CONFIG.replace("@HOME@", &home).replace("@PORT@", &port.to_string())).unwrap();
        fs::write(folder.path().join("rules.lua"), RULES).unwrap();
        fs::write(folder.path().join("tld.dat"), "example\n").unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = unprivileged("rspamd");
        command.arg("-f").arg("-c").arg(&config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { port, process: command.spawn().unwrap(), folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Rspamd {
    /// It ends its workers itself.
    fn drop(&mut self) {
        let _told = program("kill").arg(self.process.id().to_string()).output();
        let _ended = self.process.wait();
    }
}

/// A program run by nobody in particular, who outlives nothing.
pub(crate) fn unprivileged(name: &str) -> Command {
    let path = require(name);
    if !rustix::process::geteuid().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new(require("setpriv"));
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig=TERM", "--"]).arg(path);
    command
}

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

const CONFIG: &str = r#"
options {
    filters = "";
    tempdir = "@HOME@";
    cache_file = "@HOME@/symbols.cache";
    url_tld = "@HOME@/tld.dat";
    control_socket = "@HOME@/control.sock mode=0600";
    dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }
}
logging { type = "console"; level = "info"; color = false; }
lua = "@HOME@/rules.lua";
actions { reject = 15; add_header = 6; greylist = 4; }
worker "rspamd_proxy" {
    bind_socket = "@HOME@/milter.sock mode=0666";
    milter = yes;
    count = 1;
    upstream "local" { default = yes; self_scan = yes; }
}
worker "normal" { bind_socket = "127.0.0.1:@PORT@"; count = 1; }
"#;

/// What is asked of the envelope holds only where all of it has come through.
const RULES: &str = r#"
local function says(task, text) return tostring(task:get_content()):find(text, 1, true) ~= nil end
local function symbol(name, score, callback)
  rspamd_config:register_symbol({ name = name, type = 'normal', callback = callback, score = score, group = 'test' })
end
symbol('ENVELOPE', 7.0, function(task)
  local from, to = task:get_from('smtp'), task:get_recipients('smtp')
  return says(task, 'the envelope?') and tostring(task:get_from_ip()) == '127.0.0.1' and task:get_helo() == 'mx.example.com'
    and from and from[1].addr == 'joe@example.com' and to and #to == 1 and to[1].addr == 'ann@example.org'
    and #tostring(task:get_queue_id()) == 26
end)
symbol('SLOW_DOWN', 5.0, function(task)
  if says(task, 'slow down') then task:set_pre_result('soft reject', 'Try again later') end
end)
"#;
