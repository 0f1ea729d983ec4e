//! Plays every transcript on the pure machine, the client's octets cut at every 1, 2, 3 and 7 and whole, in simulated time.
//!
//! Words that `Given:` may hold: `submission`, `lmtp`, `auth`, `tls`, `no-starttls`, `ehlo` (greeting and EHLO are over), `signed-in` (AUTH is
//! over, too), `xclient` (the client may say for whom it speaks), `mails=`, `hold=`, `size=`, `recipients=`, `bad=`, `idle=`, `refused=`, and `whole` (what matters is that octets arrive together: no cutting).
//! A password is right when it is `secret`; other questions are accepted unless `A:` says otherwise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod transcript;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mail::{BodyType, MessageId, Receipt, RecipientRequests, Requests, Token};
use smtp::{Circumstance, FutureRelease, Mechanism, Mechanisms, Question, Reply, Said, Session, Settings, Tls, Told, Want};

use transcript::{Line, Transcript, fits};

const TLS: Tls = Tls { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", exporter: true, certificate: false };

#[test]
fn every_transcript_at_every_cutting() {
    let mut played = 0;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let transcript = Transcript::parse(&std::fs::read_to_string(&path).unwrap());
        let whole = transcript.given.iter().any(|word| word == "whole");
        for cutting in [1, 2, 3, 7, usize::MAX].into_iter().filter(|cutting| !whole || *cutting == usize::MAX) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            Play::new(&transcript.given, format!("{name}, by {cutting}"), cutting).play(&transcript);
        }
        played += 1;
    }
    assert!(played >= 50, "{played} transcripts");
}

/// A transcript being played.
struct Play {
    name: String,
    cutting: usize,
    session: Option<Session>,
    now: Instant,
    input: BytesMut,
    replies: Vec<u8>,
    unsent: Vec<u8>,
    closed: bool,
    upgraded: bool,
    script: Script,
    /// Whether Q: was used since the last write.
    checked: bool,
}

/// The listener's part.
#[derive(Default)]
struct Script {
    answers: VecDeque<(String, String)>,
    asked: VecDeque<String>,
    arriving: Vec<u8>,
    kept: Vec<u8>,
}

impl Play {
    fn new(given: &[String], name: String, cutting: usize) -> Self {
        let has = |word: &str| given.iter().any(|given| given == word);
        let host = "mx.example".parse().unwrap();
        let mut settings = match () {
            () if has("submission") => Settings::submission(host),
            () if has("lmtp") => Settings::lmtp(host),
            () => Settings::relay(host),
        };
        settings.auth |= has("auth");
        if has("scram") {
            settings.mechanisms = Mechanisms::PASSWORD.and(Mechanisms::SCRAM);
        }
        if has("tokens") {
            settings.mechanisms = settings.mechanisms.and(Mechanisms::TOKENS);
        }
        if has("external") {
            settings.mechanisms = settings.mechanisms.with(Mechanism::External);
        }
        settings.starttls = !has("no-starttls");
        for (key, value) in given.iter().filter_map(|word| word.split_once('=')) {
            match key {
                "mails" | "hold" => {}
                "size" => settings.message_bytes = value.parse().unwrap(),
                "recipients" => settings.recipients = value.parse().unwrap(),
                "bad" => settings.bad_commands = value.parse().unwrap(),
                "refused" => settings.refused_recipients = value.parse().unwrap(),
                "idle" => settings.idle_commands = value.parse().unwrap(),
                _ => panic!("{name}: Given: {key}="),
            }
        }
        let circumstance = Circumstance {
            tls: has("tls").then_some(Tls { exporter: !has("no-exporter"), certificate: has("certificate"), ..TLS }),
            xclient: has("xclient"),
            mails: given.iter().find_map(|word| word.strip_prefix("mails=")).map(|most| most.parse().unwrap()),
            future_release: given.iter().find_map(|word| word.strip_prefix("hold=")).map(|most| {
                let interval: std::num::NonZeroU32 = most.parse().unwrap();
                FutureRelease { interval, until: 1_795_420_800 + interval.get() }
            }),
            withheld: if has("scram-withheld") { Mechanisms::SCRAM } else { Mechanisms::NONE },
            ..Circumstance::new(IpAddr::from([192, 0, 2, 7]))
        };
        let now = Instant::now();
        let mut play = Self {
            name,
            cutting,
            session: Some(Session::new(Arc::new(settings), circumstance, now)),
            now,
            input: BytesMut::new(),
            replies: Vec::new(),
            unsent: Vec::new(),
            closed: false,
            upgraded: false,
            script: Script::default(),
            checked: false,
        };
        play.pump();
        if has("ehlo") || has("signed-in") {
            play.unheard(if has("lmtp") { b"LHLO client.example\r\n" } else { b"EHLO client.example\r\n" });
        }
        if has("signed-in") {
            play.unheard(b"AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n");
        }
        play
    }

    fn play(mut self, transcript: &Transcript) {
        for (number, line) in &transcript.lines {
            let here = format!("{}, line {number}", self.name);
            if !matches!(line, Line::Client(_) | Line::Answer { .. }) {
                self.send();
            }
            match line {
                Line::Client(octets) => {
                    assert!(
                        self.replies.is_empty() || !self.unsent.is_empty(),
                        "{here}: unread {:?}",
                        self.replies.escape_ascii().to_string()
                    );
                    self.unsent.extend_from_slice(octets);
                }
                Line::Answer { kind, verdict } => self.script.answers.push_back((kind.clone(), verdict.clone())),
                Line::Server(expected) => {
                    let line = take_line(&mut self.replies).unwrap_or_else(|| panic!("{here}: nothing was said"));
                    assert!(fits(expected, &line), "{here}: {line:?}");
                }
                Line::Asked(expected) => {
                    assert_eq!(self.script.asked.pop_front().as_ref(), Some(expected), "{here}");
                    self.checked = true;
                }
                Line::Message(expected) => assert_eq!(take_line(&mut self.script.kept).as_ref(), Some(expected), "{here}"),
                Line::Passes(time) => self.pass(*time),
                Line::Drain => {
                    self.session.as_mut().unwrap().drain(|| Token::new("R1", 1));
                    self.pump();
                }
                Line::GiveWay => {
                    self.session.as_mut().unwrap().give_way(|| Token::new("R7", 1));
                    self.pump();
                }
                Line::Closed => assert!(self.closed, "{here}: still open"),
                Line::Upgraded => assert!(std::mem::take(&mut self.upgraded), "{here}: no handshake"),
            }
        }
        self.send();
        let closing = matches!(transcript.lines.last(), Some((_, Line::Closed)));
        assert_eq!(self.closed, closing, "{}: closed", self.name);
        assert!(self.replies.is_empty(), "{}: unread {:?}", self.name, self.replies.escape_ascii().to_string());
    }

    fn send(&mut self) {
        let unsent = std::mem::take(&mut self.unsent);
        if unsent.is_empty() {
            return;
        }
        assert!(!self.checked || self.script.asked.is_empty(), "{}: {:?} was asked, too", self.name, self.script.asked);
        self.script.asked.clear();
        self.checked = false;
        for piece in unsent.chunks(self.cutting) {
            // What comes behind STARTTLS goes to the handshake, and what comes behind the end to nobody.
            if !self.closed && !self.upgraded {
                self.input.extend_from_slice(piece);
                self.pump();
            }
        }
    }

    fn pump(&mut self) {
        let session = self.session.as_mut().unwrap();
        loop {
            match session.next(&mut self.input, self.now) {
                Want::Answer(question) => self.script.answer(question),
                Want::Refused { reply, reverse_path } => {
                    let from = reverse_path.map(|path| format!(" {path}")).unwrap_or_default();
                    self.script.asked.push_back(format!("refused {}{from}", reply.name()));
                }
                Want::Flush => self.replies.extend_from_slice(&std::mem::take(session.output())),
                Want::Input => break self.replies.extend_from_slice(&std::mem::take(session.output())),
                Want::Close => {
                    self.closed = true;
                    break self.replies.extend_from_slice(&std::mem::take(session.output()));
                }
                Want::Upgrade => {
                    assert!(self.input.is_empty(), "{}: octets behind STARTTLS", self.name);
                    self.replies.extend_from_slice(&std::mem::take(session.output()));
                    self.upgraded = true;
                    self.session = self.session.take().map(|session| session.secured(TLS, self.now));
                    break;
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let session = self.session.as_mut().unwrap();
        if session.deadline() <= self.now {
            session.timed_out(self.now, |_| Token::new("R8", 1));
            self.pump();
        }
    }

    /// What is over before the transcript begins.
    fn unheard(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.pump();
        self.replies.clear();
        self.script = Script::default();
    }
}

impl Script {
    fn answer(&mut self, mut question: Question<'_>) {
        let (kind, words) = asked(&mut question);
        if let Question::Chunk(chunk) = &question {
            self.arriving.extend_from_slice(chunk.text());
        } else {
            self.asked.push_back(words);
        }
        let scripted = self.answers.iter().position(|(of, _)| of == kind).and_then(|at| self.answers.remove(at));
        match scripted.map(|(_, verdict)| verdict).as_deref() {
            None | Some("accept") => self.accept(question),
            Some("drop") => drop(question),
            Some("wrong") => match question {
                Question::Auth(auth) => auth.wrong(),
                other => panic!("A: wrong is no answer to {other:?}"),
            },
            Some("malformed") => match question {
                Question::Auth(auth) => auth.malformed(),
                other => panic!("A: malformed is no answer to {other:?}"),
            },
            Some(verdict) if verdict.starts_with("challenge ") => match question {
                Question::Auth(auth) => auth.challenge(&verdict.as_bytes()["challenge ".len()..]),
                other => panic!("A: a challenge is no answer to {other:?}"),
            },
            Some(name) => {
                let reply = *Reply::ALL.iter().find(|reply| reply.name() == name).unwrap_or_else(|| panic!("A: {name}"));
                reject(question, reply);
            }
        }
    }

    fn accept(&mut self, question: Question<'_>) {
        match question {
            Question::Auth(auth) => match auth.said().clone() {
                Said::Password(credentials) if credentials.password.expose() == b"secret" => auth.accept(credentials.authcid),
                Said::Password(_) => auth.wrong(),
                Said::Response(_) => auth.accept("tim"),
            },
            Question::Mail(mail) => {
                mail.accept();
            }
            Question::Rcpt(rcpt) => {
                rcpt.accept();
            }
            Question::Data(data) => {
                self.arriving.clear();
                data.accept();
            }
            Question::Chunk(chunk) => chunk.taken(),
            Question::Xclient(xclient) => {
                let login = match &xclient.client().login {
                    Told::Is(login) => Some(login.to_lowercase()),
                    Told::Unavailable | Told::No => None,
                };
                xclient.accept(login.as_deref());
            }
            Question::EndOfData(end) => {
                self.kept = std::mem::take(&mut self.arriving);
                #[expect(clippy::disallowed_methods, reason = "the store of this test is a Vec")]
                end.accept(Receipt::attest(MessageId::from_bytes([0; 16])));
            }
        }
    }
}

fn reject(question: Question<'_>, reply: Reply) {
    match question {
        Question::Auth(auth) => auth.reject(reply),
        Question::Mail(mail) => mail.reject(reply),
        Question::Rcpt(rcpt) => rcpt.reject(reply),
        Question::Data(data) => data.reject(reply),
        Question::Chunk(chunk) => chunk.refuse(reply),
        Question::EndOfData(end) => end.reject(reply),
        Question::Xclient(xclient) => xclient.reject(reply),
    }
}

/// A question's kind, and the question in the words of Q:.
fn asked(question: &mut Question<'_>) -> (&'static str, String) {
    match question {
        Question::Auth(auth) => {
            let mechanism = auth.said().method();
            let said = match auth.said() {
                Said::Password(credentials) => {
                    let authzid = credentials.authzid.as_deref().map(|name| format!(" as {name}")).unwrap_or_default();
                    format!("{}/{}{authzid}", credentials.authcid, credentials.password.expose().escape_ascii())
                }
                Said::Response(response) => {
                    format!("{} {:?}", if response.first { "first" } else { "next" }, response.octets.expose().escape_ascii().to_string())
                }
            };
            ("auth", format!("auth {mechanism} {said}"))
        }
        Question::Mail(mail) => {
            let from = mail.from();
            let size = from.size.map(|size| format!(" size={size}")).unwrap_or_default();
            let body = match (from.body, from.binary) {
                (BodyType::SevenBit, _) => "",
                (BodyType::EightBitMime, false) => " 8bitmime",
                (BodyType::EightBitMime, true) => " binarymime",
            };
            let utf8 = if from.utf8 { " smtputf8" } else { "" };
            let requests = from.requests.as_ref().map(|requests| said(requests)).unwrap_or_default();
            let release = from.release.map(|release| format!(" {release:?}")).unwrap_or_default();
            ("mail", format!("mail {}{size}{body}{utf8}{release}{requests}", from.reverse_path))
        }
        Question::Rcpt(rcpt) => {
            let requests = rcpt.take_requests().map(|asked| said_of_recipient(&asked)).unwrap_or_default();
            ("rcpt", format!("rcpt {}{requests}", rcpt.forward_path()))
        }
        Question::Data(data) => {
            let session = data.session();
            ("data", format!("data {} {} for {}", session.protocol(), session.helo().unwrap_or_default(), session.recipients()))
        }
        Question::Chunk(_) => ("chunk", String::new()),
        Question::EndOfData(_) => ("end", "end".into()),
        Question::Xclient(xclient) => {
            let client = xclient.client();
            let told = |name, told: Option<String>| told.map(|told| format!(" {name}={told}")).unwrap_or_default();
            let address = told("addr", word(&client.address)) + &told("port", word(&client.port)) + &told("name", word(&client.name));
            let said = told("helo", word(&client.helo)) + &told("login", word(&client.login)) + &told("extended", word(&client.extended));
            ("xclient", format!("xclient{address}{said}"))
        }
    }
}

/// What MAIL asks for besides delivery.
fn said(requests: &Requests) -> String {
    let said = |name: &str, value: Option<String>| value.map(|value| format!(" {name}={value}")).unwrap_or_default();
    let by = requests.deliver_by.map(|by| format!("{}/{}/{}", by.seconds, if by.or_return { "return" } else { "notify" }, by.trace));
    said("envid", requests.envelope_id.as_deref().map(String::from))
        + &said("ret", requests.returned.map(|returned| format!("{returned:?}")))
        + &said("by", by)
        + &said("priority", requests.priority.map(|priority| priority.to_string()))
        + if requests.require_tls { " requiretls" } else { "" }
}

/// What RCPT asks for.
fn said_of_recipient(asked: &RecipientRequests) -> String {
    let notify = asked.notify.map(|notify| {
        let words = [(notify.success, "success"), (notify.failure, "failure"), (notify.delay, "delay")];
        let words: Vec<_> = words.into_iter().filter(|(asked, _)| *asked).map(|(_, word)| word).collect();
        format!(" notify={}", if words.is_empty() { "never".into() } else { words.join(",") })
    });
    let original = asked.original.as_ref().map(|original| format!(" orcpt={};{}", original.address_type, original.address));
    let traced = if notify.is_none() && original.is_none() { " traced" } else { "" };
    notify.unwrap_or_default() + &original.unwrap_or_default() + traced
}

/// An attribute of XCLIENT, where it was mentioned.
fn word<T: std::fmt::Display>(told: &Told<T>) -> Option<String> {
    match told {
        Told::No => None,
        Told::Unavailable => Some("unavailable".into()),
        Told::Is(value) => Some(value.to_string()),
    }
}

/// Takes the first line off, without its CRLF.
fn take_line(octets: &mut Vec<u8>) -> Option<String> {
    let end = octets.windows(2).position(|pair| pair == b"\r\n")?;
    let line = octets.drain(..end + 2).take(end).collect();
    Some(String::from_utf8(line).unwrap_or_else(|wrong| wrong.into_bytes().escape_ascii().to_string()))
}
