//! Against a service on loopback that says what it is told to.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use mail::Span;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use super::super::tests::{ANN, now};
use super::*;
use crate::oauth::Bearer;

/// What the service has heard: the header fields in lower case, and the body.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// A service that answers with status and text; without them it never does.
fn service(answer: Option<(u16, String)>) -> (Settings, Heard) {
    serving("http", answer, Some)
}

/// The same, with something between it and the wire; a client that does not get through is not heard.
fn serving<S: Read + Write + Send + 'static>(
    scheme: &str,
    answer: Option<(u16, String)>,
    meet: impl Fn(TcpStream) -> Option<S> + Send + 'static,
) -> (Settings, Heard) {
    let (listener, heard) = (TcpListener::bind("127.0.0.1:0").unwrap(), Heard::default());
    let url = format!("{scheme}://{}/introspect", listener.local_addr().unwrap());
    let hears = Arc::clone(&heard);
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let Some(stream) = meet(stream.unwrap()) else { continue };
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).unwrap() > 0);
            }
            let head = head.to_lowercase().replace("authorization: basic", "authorization: Basic");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            hears.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
            match &answer {
                Some((status, text)) => {
                    // Who has heard enough hangs up.
                    let _cut = write!(stream.get_mut(), "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                }
                None => kept.push(stream),
            }
        }
    });
    (Settings { introspection: url, timeout: Span::secs(60), ..Settings::default() }, heard)
}

/// The same by https, with a certificate for its address that `authority` has signed.
fn over_tls(authority: &CertifiedIssuer<'static, KeyPair>, answer: &Value) -> (Settings, Heard) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], key.into()).unwrap());
    serving("https", Some((200, answer.to_string())), move |mut stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        tls.complete_io(&mut stream).ok()?;
        Some(StreamOwned::new(tls, stream))
    })
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn says(answer: &Value) -> (Settings, Heard) {
    service(Some((200, answer.to_string())))
}

fn bearer(settings: &Settings) -> Bearer {
    Bearer::new(settings).unwrap().unwrap()
}

async fn account(settings: &Settings) -> Option<String> {
    bearer(settings).account("a+/b==").await.unwrap().ok()
}

#[tokio::test]
async fn the_service_is_asked_as_the_client_that_we_are() {
    let (settings, heard) = says(&json!({ "active": true, "email": ANN }));
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "s3cr:t\nanother line").unwrap();
    let settings = Settings { client_id: "mail server".into(), client_secret_file: secret.clone(), ..settings };
    assert_eq!(account(&settings).await.as_deref(), Some(ANN));
    let (head, body) = heard.lock().unwrap().remove(0);
    assert!(
        head.starts_with("post /introspect http/1.1\r\n") && head.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"),
        "{head}"
    );
    let credentials = STANDARD.encode("mail%20server:s3cr%3At").to_lowercase();
    assert!(head.contains(&format!("\r\nauthorization: Basic {credentials}\r\n")), "{head}");
    assert_eq!(body, "token=a%2B%2Fb%3D%3D&token_type_hint=access_token");
    assert!(!format!("{:?}", bearer(&settings)).contains("s3cr"));
    fs::write(&secret, "\n").unwrap();
    assert!(Bearer::new(&settings).unwrap_err().to_string().ends_with("secret: its first line is empty"));
}

#[tokio::test]
async fn a_service_is_believed_that_an_authority_of_the_configuration_vouches_for() {
    let (ours, another) = (authority(), authority());
    let (settings, heard) = over_tls(&ours, &json!({ "active": true, "email": ANN, "scope": "openid mail" }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let trusting = |pem: &str| {
        fs::write(&path, pem).unwrap();
        Settings { introspection_ca: vec![path.clone()], scope: "mail".into(), ..settings.clone() }
    };
    let both = format!("{}{}", another.pem(), ours.pem());
    assert_eq!(account(&trusting(&both)).await.as_deref(), Some(ANN));
    assert_eq!(account(&Settings { scope: "send".into(), ..trusting(&both) }).await, None);
    assert_eq!(heard.lock().unwrap().len(), 2);
    for stranger in [trusting(&another.pem()), settings.clone()] {
        let error = bearer(&stranger).account("secret-token").await.unwrap_err().to_string();
        assert!(error.contains("certificate") && !error.contains("secret-token"), "{error}");
    }
    assert_eq!(heard.lock().unwrap().len(), 2, "no token has gone to a stranger");
    for (pem, cause) in [
        ("", "there is no CERTIFICATE in it"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "is not PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a certificate in it cannot be used"),
    ] {
        let error = Bearer::new(&trusting(pem)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: {cause}", path.display())), "{error}");
    }
    let of_nobody = Settings { introspection: String::new(), ..trusting(&both) };
    assert_eq!(of_nobody.validate().into_iter().map(|fault| fault.key).collect::<Vec<_>>(), ["introspection_ca"]);
}

#[tokio::test]
async fn what_it_says_counts() {
    let others = Settings { issuer: "https://id.example.org/".into(), audience: "gatepost".into(), ..Settings::default() };
    let with = |answer: &Value| {
        let (Settings { introspection, timeout, .. }, _) = says(answer);
        Settings { introspection, timeout, ..others.clone() }
    };
    let fine = json!({ "active": true, "email": ANN, "iss": "https://id.example.org/", "aud": ["x", "gatepost"], "exp": now() + 60 });
    assert_eq!(account(&with(&fine)).await.as_deref(), Some(ANN));
    for wrong in [
        json!({ "active": false }),
        json!({ "iss": "https://id.example.org" }),
        json!({ "iss": null }),
        json!({ "aud": "another" }),
        json!({ "aud": null }),
        json!({ "exp": now() - 120 }),
        json!({ "exp": "never" }),
        json!({ "nbf": now() + 120 }),
        json!({ "email": null }),
        json!({ "email_verified": false }),
    ] {
        let mut answer = fine.clone();
        answer.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert_eq!(account(&with(&answer)).await, None, "{wrong}");
    }
    let (by_name, _) = says(&json!({ "active": true, "username": "bob@example.org" }));
    let by_name = Settings { account_claim: "username".into(), ..by_name };
    assert_eq!(account(&by_name).await.as_deref(), Some("bob@example.org"), "whose it is, and for whom, may be left to the service");
}

#[tokio::test]
async fn a_service_that_says_nothing_that_means_anything_is_an_error_without_the_token() {
    let long = format!("{}{}", "x".repeat(ANSWER_OCTETS), "secret-token");
    for (answer, cause) in [
        ((200, "{".into()), "its answer is no JSON object"),
        ((200, "[true]".into()), "its answer is no JSON object"),
        ((200, "{}".into()), "its answer has no \"active\""),
        ((200, r#"{"active":"true"}"#.into()), "its answer has no \"active\""),
        ((200, long), "its answer is longer than 65536 octets"),
        ((401, "{}".into()), "it answers 401 Unauthorized"),
        ((302, "{}".into()), "it answers 302 Found"),
    ] {
        let (settings, heard) = service(Some(answer));
        let error = bearer(&settings).account("secret-token").await.unwrap_err().to_string();
        assert!(error.ends_with(cause) && !error.contains("secret-token"), "{error}");
        assert_eq!(heard.lock().unwrap().len(), 1);
    }
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings { introspection: format!("http://{gone}/"), timeout: Span::secs(60), ..Settings::default() };
    let error = bearer(&settings).account("secret-token").await.unwrap_err().to_string();
    assert!(error.contains("onnection refused") && !error.contains("secret-token"), "{error}");
}

#[tokio::test]
async fn a_service_that_has_heard_and_says_nothing_is_given_up_in_time() {
    let (settings, heard) = service(None);
    let bearer = bearer(&settings);
    let mut asked = pin!(bearer.account("secret-token"));
    let is_heard = async {
        while heard.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut asked => panic!("it has not been heard"),
        () = is_heard => {}
    }
    tokio::time::pause();
    tokio::time::advance(settings.timeout.0).await;
    let error = asked.await.unwrap_err().to_string();
    assert!(error.ends_with("no answer in time") && !error.contains("secret-token"), "{error}");
}

#[tokio::test]
async fn what_was_right_is_remembered_for_a_while_and_no_longer_than_it_lives() {
    let asked_twice = |settings: Settings, heard: Heard| async move {
        let bearer = bearer(&settings);
        for _ in 0..3 {
            let _same = bearer.account("one").await.unwrap();
        }
        let _another = bearer.account("two").await.unwrap();
        heard.lock().unwrap().len()
    };
    let active = |exp: Option<u64>| says(&json!({ "active": true, "email": ANN, "exp": exp }));
    for (exp, asked) in [(None, 2), (Some(now() + 600), 2), (Some(now() - 5), 4)] {
        let (settings, heard) = active(exp);
        assert_eq!(asked_twice(settings, heard).await, asked, "{exp:?}");
    }
    let (settings, heard) = active(None);
    assert_eq!(asked_twice(Settings { remember: Span::secs(0), ..settings }, heard).await, 4);
    let (settings, heard) = says(&json!({ "active": false }));
    assert_eq!(asked_twice(settings, heard).await, 4, "what was wrong is asked about again");
}

#[tokio::test(start_paused = true)]
async fn the_remembered_leave_in_time_and_the_oldest_when_there_are_too_many() {
    let mut remembered = Remembered::default();
    let key = |n: usize| -> Sealed { std::array::from_fn(|at| n.to_le_bytes().get(at).copied().unwrap_or(0)) };
    remembered.insert(key(0), ANN, Duration::from_secs(10));
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(remembered.account(&key(0)).as_deref(), Some(ANN));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(remembered.account(&key(0)), None);
    remembered.insert(key(0), ANN, Duration::from_secs(10));
    (1..=REMEMBERED).for_each(|n| remembered.insert(key(n), ANN, Duration::from_secs(10)));
    assert!(remembered.account(&key(0)).is_none() && remembered.account(&key(1)).is_some());
    assert_eq!((remembered.accounts.len(), remembered.order.len()), (REMEMBERED, REMEMBERED));
}

#[test]
fn tokens_are_told_to_no_other_machine_in_clear() {
    for text in ["https://id.example.org/introspect", "http://127.0.0.1:8080/", "http://localhost/x", "http://[::1]:80/"] {
        assert!(Service::parse(text).is_ok(), "{text}");
    }
    for (text, cause) in [
        ("http://id.example.org/", "would be told tokens in clear: write https"),
        ("https://u:p@id.example.org/", "a password must not stand in an address"),
        ("ftp://id.example.org/", "is neither https nor http"),
        ("id.example.org", "is no address: write it as in"),
    ] {
        assert!(Service::parse(text).unwrap_err().contains(cause), "{text}");
        let settings = Settings { introspection: text.into(), ..Settings::default() };
        assert_eq!(settings.validate().len(), 1);
    }
    let both: Settings = toml::from_str(
        "introspection = 'https://id.example.org/'\nkeys = ['k.pem']\nissuer = 'i'\naudience = 'a'\nclient_id = 'x'\ntimeout = '0s'\nremember = '2h'",
    )
    .unwrap();
    let faults: Vec<_> = both.validate().into_iter().map(|fault| fault.key).collect();
    assert_eq!(faults, ["introspection", "client_secret_file", "timeout", "remember"]);
}
