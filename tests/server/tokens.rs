//! Logins by tokens of an identity provider, by curl and Python: a provider of our own signs them, in which nothing of the server's is used.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};

use crate::harness::{ANN, BOB, Server};
use crate::programs::{program, script, succeed};
use crate::sasl::greeted;

const OAUTH: &str = "[oauth]\nkeys = [\"oauth.pem\"]\nissuer = \"https://id.example.org/\"\naudience = \"gatepost\"\n";
const AT_ONCE: &str = "[auth]\nfirst_delay = \"0s\"\nlongest_delay = \"0s\"\nfailures_per_account = 100\nfailures_per_source = 100\n";

/// A key, whose public half is in the server's folder.
fn provider(server: &Server) -> KeyPair {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    fs::write(server.path("oauth.pem"), key.public_key_pem()).unwrap();
    key
}

fn token(key: &KeyPair, email: &str, lives: i64) -> String {
    issued(key, json!({ "alg": "EdDSA" }), &json!({ "email": email }), lives)
}

/// One with these claims beside the ones that say for whom, and for how long, it is.
fn issued(key: &KeyPair, header: Value, claims: &Value, lives: i64) -> String {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let mut all = json!({ "iss": "https://id.example.org/", "aud": "gatepost", "exp": now + lives });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let text = [header, all].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = Ed25519KeyPair::from_pkcs8(&key.serialize_der()).unwrap().sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Whether curl could log in, to send a message or to list them, and all it has said.
fn curl(server: &Server, service: &str, options: &[&str], token: &str) -> (bool, String) {
    let mut curl = program("curl");
    curl.args(["-sSv", "--ssl-reqd", "--cacert"]).arg(server.certificate());
    curl.args(["--oauth2-bearer", token, "--user", &format!("{BOB}:")]).args(options);
    let scheme = if service == "submissions" { "smtps" } else { "pop3s" };
    if service == "submissions" {
        let letter = server.path("letter");
        fs::write(&letter, format!("From: {BOB}\r\n\r\nHello\r\n")).unwrap();
        curl.args(["--mail-from", BOB, "--mail-rcpt", ANN, "--upload-file"]).arg(letter);
    }
    let output = curl.arg(format!("{scheme}://localhost:{}/", server.port(service))).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// How a login by XOAUTH2 ends.
fn python(server: &Server, service: &str, token: &str) -> String {
    let mut python = script("clients/xoauth2.py");
    python.args([service, &server.port(service)]).arg(server.certificate()).args([BOB, token]);
    succeed(&mut python).trim_end().to_owned()
}

#[test]
fn curl_and_python_by_signed_tokens() {
    let mut server = Server::bare(&format!("{OAUTH}{AT_ONCE}"));
    let key = provider(&server);
    server.populate();
    server.run();
    let (bobs, anns, old) = (token(&key, BOB, 600), token(&key, ANN, 600), token(&key, BOB, -600));
    for (service, no) in [("submissions", "535"), ("pop3s", "-ERR [AUTH] Wrong name or password")] {
        // curl takes OAUTHBEARER where both are offered, whatever it is told.
        for options in [&[][..], &["--login-options", "AUTH=OAUTHBEARER"], &["--login-options", "AUTH=XOAUTH2"]] {
            let (done, said) = curl(&server, service, options, &bobs);
            assert!(done && said.contains("AUTH OAUTHBEARER"), "{service}: {said}");
            for wrong in [&anns, &old, &bobs[..bobs.len() - 4].to_owned()] {
                let (done, said) = curl(&server, service, options, wrong);
                assert!(!done && (said.contains("535 5.7.8") || said.contains("-ERR [AUTH]")), "{service}: {said}");
            }
        }
        assert_eq!(python(&server, service, &bobs), "right");
        for wrong in [&anns, &old] {
            assert_eq!(python(&server, service, wrong), no, "{service}");
        }
    }
    server.eventually("the log tells of all", |server| server.log().matches("authentication succeeded").count() == 8);
    assert_eq!(server.maildrop(ANN).len(), 3);
    let log = server.log();
    assert!(log.contains("OAUTHBEARER") && log.contains("XOAUTH2"));
    for token in [&bobs, &anns, &old] {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!log.contains(&token[..40]) && !log.contains(signature), "{log}");
    }
    // A new key, by a reload.
    let new = provider(&server);
    server.succeed(&["reload"]);
    assert!(!curl(&server, "pop3s", &[], &bobs).0);
    let (done, said) = curl(&server, "pop3s", &[], &token(&new, BOB, 600));
    assert!(done, "{said}");
    fs::write(server.path("oauth.pem"), "").unwrap();
    let refused = server.command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("oauth.keys") && said.contains("there is no PUBLIC KEY in it"), "{said}");
    assert!(curl(&server, "pop3s", &[], &token(&new, BOB, 600)).0, "the one in force stays");
}

/// The provider's keys as it publishes them, into the server's folder.
fn publish(server: &Server, keys: &[(&str, &KeyPair)]) {
    let jwk = |(kid, key): &(&str, &KeyPair)| json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": URL_SAFE_NO_PAD.encode(key.public_key_raw()) });
    let keys: Vec<_> = keys.iter().map(jwk).collect();
    fs::write(server.path("jwks.json"), json!({ "keys": keys }).to_string()).unwrap();
}

#[test]
fn a_provider_changes_its_keys() {
    let oauth = OAUTH.replace("oauth.pem", "jwks.json") + "scope = \"mail\"\n";
    let mut server = Server::bare(&format!("{oauth}{AT_ONCE}"));
    let keys = [(); 3].map(|()| KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let [old, new, newest] = &keys;
    publish(&server, &[("a", old), ("b", new)]);
    server.populate();
    server.run();
    let by = |key: &KeyPair, kid: &str| {
        issued(key, json!({ "alg": "EdDSA", "kid": kid }), &json!({ "email": BOB, "scope": "openid mail" }), 600)
    };
    let right = |server: &Server, token: &str| curl(server, "pop3s", &[], token).0;
    assert!(right(&server, &by(old, "a")) && right(&server, &by(new, "b")));
    assert!(!right(&server, &by(new, "a")) && !right(&server, &token(old, BOB, 600)), "another's name, and another scope");
    publish(&server, &[("b", new), ("c", newest)]);
    server.succeed(&["reload"]);
    assert!(right(&server, &by(new, "b")) && right(&server, &by(newest, "c")) && !right(&server, &by(old, "a")));
    publish(&server, &[]);
    let refused = server.command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("oauth.keys") && said.contains("there is no key in it to check"), "{said}");
    assert!(right(&server, &by(newest, "c")), "those in force stay");
}

/// A service that says, of each token, that it is bob's; what it was asked goes to the channel. It ends with the test.
fn service() -> (SocketAddr, mpsc::Receiver<String>) {
    let (listener, (asks, asked)) = (TcpListener::bind("127.0.0.1:0").unwrap(), mpsc::sync_channel(100));
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut heard) = (stream.unwrap(), Vec::new());
            while !heard.ends_with(b"access_token") {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0);
                heard.extend_from_slice(&piece[..read]);
            }
            let heard = String::from_utf8(heard).unwrap();
            let answer = json!({ "active": heard.contains("token=right&"), "email": BOB }).to_string();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}", answer.len()).unwrap();
            if asks.send(heard).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

#[test]
fn curl_by_tokens_that_a_service_knows() {
    let (address, asked) = service();
    let oauth = format!(
        "[oauth]\nintrospection = \"http://{address}/\"\nclient_id = \"mx\"\nclient_secret_file = \"oauth-secret\"\ntimeout = \"1m\"\n"
    );
    let mut server = Server::bare(&format!("{oauth}{AT_ONCE}"));
    fs::write(server.path("oauth-secret"), "hush\n").unwrap();
    server.populate();
    server.run();
    for service in ["submissions", "pop3s"] {
        let (done, said) = curl(&server, service, &[], "right");
        assert!(done, "{service}: {said}");
        let (done, said) = curl(&server, service, &[], "wrong");
        assert!(!done && (said.contains("535 5.7.8") || said.contains("-ERR [AUTH]")), "{service}: {said}");
    }
    // The right one once, for it was remembered.
    let heard: Vec<_> = asked.try_iter().collect();
    assert_eq!(heard.len(), 3, "{heard:?}");
    let basic = STANDARD.encode("mx:hush");
    assert!(heard.iter().all(|heard| heard.contains(&basic) && heard.starts_with("POST / HTTP/1.1\r\n")), "{heard:?}");
    // Nobody is there any more: that is nobody's fault who logs in.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    server.edit(&address.to_string(), &gone.to_string());
    server.succeed(&["reload"]);
    let message = STANDARD.encode(format!("user={BOB}\x01auth=Bearer right\x01\x01"));
    assert!(greeted(&server, "submissions").ask(&format!("AUTH XOAUTH2 {message}")).starts_with("454 4.7.0"));
    assert!(greeted(&server, "pop3s").ask(&format!("AUTH XOAUTH2 {message}")).starts_with("-ERR [SYS/TEMP]"));
    server.eventually("the log tells of it", |server| server.log().contains("introspection failed"));
    let log = server.log();
    assert!(!log.contains("hush") && !log.contains(&basic), "{log}");
}

#[test]
fn tokens_are_offered_only_where_they_are_taken() {
    let mut server = Server::prepare(AT_ONCE);
    let key = provider(&server);
    server.run();
    let message = STANDARD.encode(format!("user={BOB}\x01auth=Bearer {}\x01\x01", token(&key, BOB, 600)));
    assert!(greeted(&server, "submissions").ask(&format!("AUTH XOAUTH2 {message}")).starts_with("504 5.5.4"));
    let mut session = greeted(&server, "pop3s");
    assert_eq!(session.ask("AUTH XOAUTH2"), "-ERR No such mechanism");
    server.edit("[auth]", &format!("{OAUTH}[auth]"));
    server.succeed(&["reload"]);
    assert!(greeted(&server, "submissions").ask(&format!("AUTH XOAUTH2 {message}")).starts_with("235 "));
    let mut in_clear = server.connect("submission");
    in_clear.hear();
    let offered = in_clear.ask("EHLO client.example");
    assert!(!offered.contains("AUTH") && in_clear.ask(&format!("AUTH XOAUTH2 {message}")).starts_with("538 "), "{offered}");
}
