//! The real opendkim signs what passes, as a milter, and the signature holds: octet for octet it has seen the message that is stored.
//!
//! The opendkim is the test's own: configuration, key and socket in the test's folder, no network. It is run by a user without rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::content::{send, stranger};
use crate::harness::{PATIENCE, Server};
use crate::programs::{program, succeed};
use crate::rspamd::unprivileged;
use crate::screening::mailbox;
use crate::screening::zone::Zone;

#[test]
fn what_opendkim_signs_is_what_is_stored() {
    let opendkim = Opendkim::start();
    let zone = Zone::serve(&format!("s._domainkey.example.com TXT v=DKIM1; k=rsa; p={}", opendkim.public_key()));
    let server = Server::start(&format!(
        "[screening]\ndns_servers = [\"{}\"]\nmilters = [\"unix:{}\"]\nchecks = [{{ check = \"milter\", fail = \"policy\", unsure = \"defer\", timeout = \"30s\" }}]\n",
        zone.address(),
        opendkim.folder.path().join("socket").display()
    ));
    let mut smtp = stranger(&server);
    let odd = "From:joe@example.com\r\nSubject:  x \r\nTo: Ann\r\n\t<ann@example.org>\r\nDate: Sun, 22 Nov 2026 09:00:00 +0000\r\n\r\nHello  \r\n\r\n\r\n";
    let large = format!("From: joe@example.com\r\nSubject: y\r\n\r\n{}", ".0123456789 \r\n".repeat(30_000));
    for (number, message) in [odd, &large].into_iter().enumerate() {
        // What sends it takes line ends off its end.
        let reply = send(&mut smtp, &format!("{}end", message.replace("\r\n.", "\r\n..")));
        assert!(reply.starts_with("250 2.0.0 "), "{reply}: {}", server.log());
        let stored = mailbox(&server).remove(number).replace("\r\n..", "\r\n.");
        let fields = &stored[..stored.find("Received: ").unwrap()];
        assert!(
            fields.starts_with("Return-Path: ")
                && fields.contains("\r\nDKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=example.com; s=s;"),
            "{fields}"
        );
        let letter = server.path("letter.eml");
        fs::write(&letter, &stored).unwrap();
        server.edit("check = \"milter\", fail = \"policy\", unsure = \"defer\"", "check = \"dkim\"");
        let explained = server.succeed(&[
            "explain",
            "--ip",
            "192.0.2.1",
            "--helo",
            "mx.example.com",
            "--from",
            "joe@example.com",
            letter.to_str().unwrap(),
        ]);
        assert!(explained.contains("dkim   pass       accept      example.com (s): pass"), "{explained}");
        server.edit("check = \"dkim\"", "check = \"milter\", fail = \"policy\", unsure = \"defer\"");
    }
}

/// One that runs.
struct Opendkim {
    folder: TempDir,
    process: Child,
}

impl Opendkim {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // It is somebody else who writes in there.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (home, key, config) = (folder.path().display().to_string(), folder.path().join("key.pem"), folder.path().join("opendkim.conf"));
        succeed(program("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&config, CONFIG.replace("@HOME@", &home)).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = unprivileged("opendkim");
        command.arg("-f").arg("-x").arg(&config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut opendkim = Self { process: command.spawn().unwrap(), folder };
        let begun = Instant::now();
        while UnixStream::connect(opendkim.folder.path().join("socket")).is_err() {
            let log = fs::read_to_string(opendkim.folder.path().join("log")).unwrap();
            assert!(opendkim.process.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE, "opendkim does not start: {log}");
            thread::yield_now();
        }
        opendkim
    }

    /// As its record has it.
    fn public_key(&self) -> String {
        let pem = succeed(program("openssl").args(["rsa", "-pubout", "-in"]).arg(self.folder.path().join("key.pem")));
        pem.lines().filter(|line| !line.starts_with('-')).collect()
    }
}

impl Drop for Opendkim {
    fn drop(&mut self) {
        let _told = program("kill").arg(self.process.id().to_string()).output();
        let _ended = self.process.wait();
    }
}

const CONFIG: &str = "\
Mode s
Domain example.com
Selector s
KeyFile @HOME@/key.pem
Socket local:@HOME@/socket
UMask 0
Canonicalization simple/simple
RequireSafeKeys no
Syslog no
TemporaryDirectory @HOME@
";
