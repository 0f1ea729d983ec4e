//! The programs that send: each one message to Ann, from Carol elsewhere or from Bob with his password.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use super::letter::Letter;
use crate::harness::{ANN, BOB, PASSWORD, Server};
use crate::programs::{program, script, succeed};

/// Somebody with no account here.
pub(super) const CAROL: &str = "carol@elsewhere.example";

/// To port 25, in clear.
pub(super) fn curl(server: &Server, letter: &Letter) {
    succeed(&mut curl_command(server, letter));
}

/// The same, not run yet; it says what the server said.
pub(super) fn curl_command(server: &Server, letter: &Letter) -> Command {
    let mut curl = program("curl");
    curl.args(["-sSv", &format!("smtp://localhost:{}/client.example", server.port("smtp"))]);
    curl.args(["--mail-from", CAROL, "--mail-rcpt", ANN, "-T"]).arg(&letter.file);
    curl
}

pub(super) fn curl_submitting(server: &Server, letter: &Letter) {
    succeed(&mut curl_as_bob(server, letter));
}

/// The same, not run yet.
pub(super) fn curl_as_bob(server: &Server, letter: &Letter) -> Command {
    let mut curl = program("curl");
    curl.args(["-sS", "--ssl-reqd", "--cacert"]).arg(server.certificate()).args(["--user", &format!("{BOB}:{PASSWORD}")]);
    curl.arg(format!("smtp://localhost:{}/client.example", server.port("submission")));
    curl.args(["--mail-from", BOB, "--mail-rcpt", ANN, "-T"]).arg(&letter.file);
    curl
}

/// With what swaks does to a message: it doubles dots, and adds CRLF and the end.
pub(super) fn swaks_plain(server: &Server, letter: &Letter) {
    let text = letter.octets.strip_suffix(b"\r\n").unwrap_or(&letter.octets);
    feed(swaks(server, "PLAIN").args(["--data", "-"]), text);
}

/// With a message that is ready to be sent: swaks adds CRLF behind it.
pub(super) fn swaks_login(server: &Server, letter: &Letter) {
    let mut ready = Vec::new();
    for line in letter.fetched().split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            ready.push(b'.');
        }
        ready.extend_from_slice(line);
    }
    ready.push(b'.');
    feed(swaks(server, "LOGIN").args(["--no-data-fixup", "--data", "-"]), &ready);
}

fn swaks(server: &Server, mechanism: &str) -> Command {
    let mut swaks = program("swaks");
    swaks.args(["--server", &format!("localhost:{}", server.port("submission")), "--helo", "client.example", "--from", BOB, "--to", ANN]);
    swaks.args(["--tls", "--tls-verify", "--tls-ca-path"]).arg(server.certificate());
    swaks.args(["--auth", mechanism, "--auth-user", BOB, "--auth-password", PASSWORD]);
    swaks
}

/// It reads text with the line ends of this machine, and must not complete the header.
pub(super) fn msmtp(server: &Server, letter: &Letter, service: &str) {
    let mut msmtp = program("msmtp");
    msmtp.args(["--host=localhost", &format!("--port={}", server.port(service)), "--domain=client.example"]);
    msmtp.args(["--tls=on", &format!("--tls-trust-file={}", server.certificate().display())]);
    msmtp.arg(if service == "submission" { "--tls-starttls=on" } else { "--tls-starttls=off" });
    msmtp.args(["--auth=plain", &format!("--user={BOB}"), &format!("--passwordeval=cat {}", server.path("password").display())]);
    msmtp.args(["--set-from-header=off", "--set-date-header=off", "--set-msgid-header=off", &format!("--from={BOB}"), ANN]);
    let text: Vec<u8> = letter.octets.iter().copied().filter(|octet| *octet != b'\r').collect();
    feed(&mut msmtp, &text);
}

/// All of them in one session.
pub(super) fn smtplib(server: &Server, letters: &[Letter], service: &str) {
    let mut python = script("clients/send.py");
    python.args([service, &server.port(service)]).arg(server.certificate()).args([BOB, PASSWORD, ANN]);
    succeed(python.args(letters.iter().map(|letter| &letter.file)));
}

/// One chunk (RFC 3030), and everything in one write behind EHLO.
pub(super) fn bdat(server: &Server, letter: &Letter) {
    let mut smtp = server.connect("smtp");
    assert!(smtp.hear().starts_with("220 "));
    assert!(smtp.ask("EHLO client.example").starts_with("250 "));
    let commands = format!("MAIL FROM:<{CAROL}> BODY=8BITMIME\r\nRCPT TO:<{ANN}>\r\nBDAT {} LAST\r\n", letter.octets.len());
    smtp.say([commands.as_bytes(), &letter.octets, b"QUIT\r\n"].concat());
    for code in ["250 ", "250 ", "250 ", "221 "] {
        let reply = smtp.hear();
        assert!(reply.starts_with(code), "{}: {reply}", letter.name);
    }
}

/// Runs a program that reads its standard input.
#[track_caller]
fn feed(command: &mut Command, input: &[u8]) {
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // A program that does not read all of it says why.
        scope.spawn(move || stdin.write_all(input));
        process.wait_with_output().unwrap()
    });
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said));
}
