//! Logins by other mechanisms than a password that is sent: by programs of others where they can, else by a client of our own, in
//! which nothing of the server's is used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

use crate::harness::{ANN, BOB, Dialogue, PASSWORD, Server};
use crate::programs::{program, succeed};

/// A session in which the client may log in.
pub(crate) fn greeted(server: &Server, service: &str) -> Dialogue {
    let mut session = server.connect_tls(service);
    session.hear();
    if service == "submissions" {
        assert!(session.ask("EHLO client.example").starts_with("250 "));
    }
    session
}

/// How one exchange ends, and the client's last message. `channel`: what it binds itself to, in the mechanism of that.
fn scram(session: &mut Dialogue, login: &str, password: &str, channel: Option<&[u8]>) -> (String, String) {
    let (mechanism, header) = if channel.is_some() { ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,") } else { ("SCRAM-SHA-256", "n,,") };
    let bare = format!("n={login},r=fyko+d2lbbFgONRv9qkxdawL");
    let server_first = challenge(&session.ask(&format!("AUTH {mechanism} {}", STANDARD.encode(format!("{header}{bare}")))));
    let parts: Vec<&str> = server_first.split(',').map(|attribute| &attribute[2..]).collect();
    let (salt, iterations) = (STANDARD.decode(parts[1]).unwrap(), parts[2].parse().unwrap());
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut salted);
    let client_key = keyed(&salted, b"Client Key");
    let binding = STANDARD.encode([header.as_bytes(), channel.unwrap_or_default()].concat());
    let without_proof = format!("c={binding},r={}", parts[0]);
    let all = format!("{bare},{server_first},{without_proof}");
    let signature = keyed(digest(&SHA256, &client_key).as_ref(), all.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, mask)| key ^ mask).collect();
    let last = STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof)));
    let reply = session.ask(&last);
    if !reply.starts_with("334 ") && !reply.starts_with("+ ") {
        return (reply, last);
    }
    // The server knows it, too.
    assert_eq!(challenge(&reply), format!("v={}", STANDARD.encode(keyed(&keyed(&salted, b"Server Key"), all.as_bytes()))));
    (session.ask(""), last)
}

fn keyed(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

#[track_caller]
fn challenge(reply: &str) -> String {
    let (_, challenge) = reply.split_once(' ').unwrap();
    String::from_utf8(STANDARD.decode(challenge).unwrap_or_else(|_| panic!("{reply:?} is no challenge"))).unwrap()
}

const SERVICES: [(&str, &str, &str); 2] = [("submissions", "235 ", "535 5.7.8"), ("pop3s", "+OK ", "-ERR [AUTH]")];

const AT_ONCE: &str = "[auth]\nfirst_delay = \"0s\"\nlongest_delay = \"0s\"\n";

#[test]
fn scram_with_and_without_its_channel() {
    let server = Server::start(AT_ONCE);
    for (service, right, wrong) in SERVICES {
        for bound in [false, true] {
            let mut session = greeted(&server, service);
            let channel = bound.then(|| session.channel());
            let channel = channel.as_ref().map(|channel| &channel[..]);
            for (login, password) in [(ANN, "another"), ("nobody@example.org", PASSWORD)] {
                let (reply, _) = scram(&mut session, login, password, channel);
                assert!(reply.starts_with(wrong), "{service}: {reply}");
            }
            let (reply, _) = scram(&mut session, ANN, PASSWORD, channel);
            assert!(reply.starts_with(right), "{service}: {reply}");
        }
    }
}

#[test]
fn what_was_said_on_another_channel_is_worth_nothing() {
    let server = Server::start(AT_ONCE);
    for (service, right, wrong) in SERVICES {
        let (mut ann, mut eve) = (greeted(&server, service), greeted(&server, service));
        let (here, there) = (ann.channel(), eve.channel());
        assert_ne!(here, there);
        let (reply, _) = scram(&mut eve, ANN, PASSWORD, Some(&here));
        assert!(reply.starts_with(wrong), "{service}: {reply}");
        let (reply, last) = scram(&mut ann, ANN, PASSWORD, Some(&here));
        assert!(reply.starts_with(right), "{service}: {reply}");
        // The same words, to a server that has said another nonce.
        let first = STANDARD.encode(format!("p=tls-exporter,,n={ANN},r=fyko+d2lbbFgONRv9qkxdawL"));
        challenge(&eve.ask(&format!("AUTH SCRAM-SHA-256-PLUS {first}")));
        assert!(eve.ask(&last).starts_with(wrong));
        // A client that could bind its channel and was told that we cannot.
        let first = STANDARD.encode(format!("y,,n={ANN},r=fyko+d2lbbFgONRv9qkxdawL"));
        let reply = eve.ask(&format!("AUTH SCRAM-SHA-256 {first}"));
        assert!(reply.starts_with("501 5.5.2") || reply == "-ERR Not a response of this mechanism in base64", "{reply}");
    }
}

#[test]
fn a_new_password_and_a_server_that_starts_again() {
    let mut server = Server::start(AT_ONCE);
    let salt = |server: &Server, login| {
        let mut session = greeted(server, "pop3s");
        let first = STANDARD.encode(format!("n,,n={login},r=abc"));
        challenge(&session.ask(&format!("AUTH SCRAM-SHA-256 {first}"))).split(',').nth(1).unwrap().to_owned()
    };
    let before = [ANN, "nobody@example.org"].map(|login| salt(&server, login));
    fs::write(server.path("another"), "another one").unwrap();
    server.succeed(&["user", "passwd", BOB, "--password-file", server.path("another").to_str().unwrap()]);
    server.stop();
    server.run();
    assert_eq!([ANN, "nobody@example.org"].map(|login| salt(&server, login)), before, "nobody is told from ann by it");
    for (password, begins) in [(PASSWORD, "535"), ("another one", "235")] {
        let (reply, _) = scram(&mut greeted(&server, "submissions"), BOB, password, None);
        assert!(reply.starts_with(begins), "{reply}");
    }
    server.edit("[auth]", "[auth]\nscram = false");
    server.succeed(&["reload"]);
    assert!(greeted(&server, "submissions").ask("AUTH SCRAM-SHA-256").starts_with("504 5.5.4"));
}

#[test]
fn msmtp_and_mpop_by_scram() {
    let server = Server::start(AT_ONCE);
    let wrong = server.path("wrong");
    fs::write(&wrong, "wrong").unwrap();
    let tls = || vec!["--tls=on".into(), "--tls-starttls=off".into(), format!("--tls-trust-file={}", server.certificate().display())];
    let sends = |password: &std::path::Path| {
        let mut msmtp = program("msmtp");
        msmtp
            .args(["--host=localhost".into(), format!("--port={}", server.port("submissions")), "--domain=client.example".into()])
            .args(tls());
        msmtp.args(["--auth=scram-sha-256".into(), format!("--user={BOB}"), format!("--passwordeval=cat {}", password.display())]);
        msmtp.args([&format!("--from={BOB}"), ANN]);
        msmtp
    };
    succeed(&mut sends(&server.path("password")));
    assert!(!sends(&wrong).output().unwrap().status.success());
    let folder = server.path("fetched");
    fs::create_dir(&folder).unwrap();
    let fetches = |password: &std::path::Path| {
        let mut mpop = program("mpop");
        mpop.args(["--quiet", "--host=localhost", &format!("--port={}", server.port("pop3s"))]).args(tls());
        mpop.args(["--auth=scram-sha-256".into(), format!("--user={ANN}"), format!("--passwordeval=cat {}", password.display())]);
        mpop.args([format!("--delivery=exchange,{}", folder.display()), format!("--uidls-file={}", server.path("uidls").display())]);
        mpop
    };
    assert!(!fetches(&wrong).output().unwrap().status.success());
    succeed(&mut fetches(&server.path("password")));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

/// An authority, and what it says of `mailbox`: certificate and key, in files of these names.
fn vouch(server: &Server, authority: &str, mailbox: &str) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(server.path(&format!("{authority}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::Rfc822Name(mailbox.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    fs::write(server.path(&format!("{authority}-client.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    fs::write(server.path(&format!("{authority}-client.key")), key.serialize_pem()).unwrap();
    fs::set_permissions(server.path(&format!("{authority}-client.key")), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_certificate_that_an_authority_has_signed_is_enough() {
    let mut server = Server::prepare("");
    vouch(&server, "ours", BOB);
    vouch(&server, "theirs", BOB);
    server.edit("key = \"key.pem\"", "key = \"key.pem\"\nclient_ca = [\"ours.pem\"]");
    server.run();
    let curl = |authority: &str, service: &str, user: &str| {
        let mut curl = program("curl");
        curl.args(["-sSv", "--ssl-reqd", "--cacert"]).arg(server.certificate()).args(["--login-options", "AUTH=EXTERNAL", "--user", user]);
        if !authority.is_empty() {
            curl.arg("--cert").arg(server.path(&format!("{authority}-client.pem")));
            curl.arg("--key").arg(server.path(&format!("{authority}-client.key")));
        }
        let output = curl.arg(format!("{service}://localhost:{}/", server.port(service))).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, said) = curl("ours", "pop3s", &format!("{BOB}:"));
    assert!(done && said.contains("SASL EXTERNAL"), "{said}");
    for (authority, user) in [("ours", ANN), ("theirs", BOB), ("", BOB)] {
        let (done, said) = curl(authority, "pop3s", &format!("{user}:"));
        assert!(!done, "{authority} {user}: {said}");
    }
    let sends = |authority: &str| {
        let mut msmtp = program("msmtp");
        msmtp.args(["--host=localhost".into(), format!("--port={}", server.port("submissions")), "--domain=client.example".into()]);
        msmtp.args(["--tls=on", "--tls-starttls=off", &format!("--tls-trust-file={}", server.certificate().display())]);
        msmtp.arg(format!("--tls-cert-file={}", server.path(&format!("{authority}-client.pem")).display()));
        msmtp.arg(format!("--tls-key-file={}", server.path(&format!("{authority}-client.key")).display()));
        msmtp.args(["--auth=external", &format!("--user={BOB}"), &format!("--from={BOB}"), ANN]);
        msmtp
    };
    succeed(&mut sends("ours"));
    assert!(!sends("theirs").output().unwrap().status.success());
    // Whoever has none logs in as before.
    let mut session = greeted(&server, "submissions");
    assert!(session.ask("AUTH EXTERNAL =").starts_with("504"));
    let (reply, _) = scram(&mut session, BOB, PASSWORD, None);
    assert!(reply.starts_with("235 "), "{reply}");
}
