//! Drives a session with any octets and any answers, and holds it to what it promises whatever comes.
//!
//! For the property test and for fuzzing: [`drive`] takes one string of octets, so a fuzz target is one line. It panics when a
//! promise is broken: the machine gets somewhere in every step, output and unread input are bounded, passwords are asked about
//! only under TLS and mail on submission only for someone known, no chunk is shown that was not agreed to, no message
//! is offered for acceptance that has a bare CR or LF but one that is said to be binary, which comes by BDAT alone, and what was said before TLS is forgotten.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mail::{MessageId, Receipt, Token};
use smtp::{Circumstance, Mechanisms, Phase, Question, Reply, Role, Session, Settings, Tls, Want, limits};

const TLS: Tls = Tls { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", exporter: true, certificate: false };

/// The first octet tells how many of the next are choices (settings, answers, cuttings, times), the rest is what the client sends.
pub(crate) fn drive(octets: &[u8]) {
    let Some((&choices, rest)) = octets.split_first() else { return };
    let (choices, input) = rest.split_at_checked(choices.into()).unwrap_or((rest, &[]));
    let mut choices = Choices { octets: choices, at: 0 };
    let host = "mx.example".parse().expect("a domain");
    let mut settings = if choices.one_in(2) { Settings::submission(host) } else { Settings::relay(host) };
    settings.starttls = !choices.one_in(3);
    settings.auth |= choices.one_in(2);
    if choices.one_in(2) {
        settings.mechanisms = Mechanisms::PASSWORD.and(Mechanisms::SCRAM);
    }
    settings.message_bytes = 1 + u64::from(choices.next()) * 7;
    settings.recipients = 3;
    if settings.role == Role::Relay && choices.one_in(3) {
        settings.role = Role::Lmtp;
    }
    let tls = choices.one_in(2).then_some(TLS);
    let now = Instant::now();
    let settings = Arc::new(settings);
    let here = Circumstance {
        tls,
        xclient: choices.one_in(4),
        mails: choices.one_in(4).then_some(3),
        ..Circumstance::new(IpAddr::from([192, 0, 2, 7]))
    };
    let session = Session::new(settings.clone(), here, now);
    Drive { session: Some(session), settings, input: BytesMut::new(), now, choices, agreed: false, text: Vec::new(), binary: false }
        .run(input);
}

struct Drive<'c> {
    session: Option<Session>,
    settings: Arc<Settings>,
    input: BytesMut,
    now: Instant,
    choices: Choices<'c>,
    /// Whether the listener agreed to take a message.
    agreed: bool,
    /// What has come of the message.
    text: Vec<u8>,
    /// What MAIL said of it.
    binary: bool,
}

impl Drive<'_> {
    fn run(mut self, mut rest: &[u8]) {
        while self.pump() {
            if rest.is_empty() {
                return self.outlast();
            }
            let (piece, later) = rest.split_at(rest.len().min(1 + usize::from(self.choices.next())));
            self.input.extend_from_slice(piece);
            rest = later;
            let session = self.session.as_mut().expect("a session");
            if self.choices.one_in(50) {
                session.drain(|| Token::new("R1", 1));
            }
            if self.choices.one_in(60) {
                session.give_way(|| Token::new("R7", 1));
            }
            if self.choices.one_in(10) {
                self.now += Duration::from_secs(self.choices.next().into());
                session.timed_out(self.now, |_| Token::new("R8", 1));
            }
        }
    }

    /// Goes on until the session wants the client or nobody; false when it is over.
    fn pump(&mut self) -> bool {
        let session = self.session.as_mut().expect("a session");
        for _ in 0..64 + 4 * self.input.len() {
            match session.next(&mut self.input, self.now) {
                Want::Answer(question) => {
                    promised(&question, &self.settings, self.agreed);
                    take_note(&question, &mut self.text, &mut self.binary);
                    answer(question, &mut self.choices, &mut self.agreed);
                }
                Want::Refused { reply, .. } => assert!(reply.is_permanent() && !session.in_transaction()),
                Want::Flush => {
                    assert!(session.output().len() < 20_000, "bounded output");
                    session.output().clear();
                }
                Want::Input => {
                    assert!(self.input.len() < limits::AUTH_LINE_BYTES, "bounded input");
                    assert!(session.deadline() > self.now - Duration::from_secs(256) && session.output().len() < 20_000);
                    assert!(matches!(session.phase(), Phase::Message) || self.input.is_empty() || !self.input.ends_with(b"\r\n"));
                    session.output().clear();
                    return true;
                }
                Want::Close => return false,
                Want::Upgrade => {
                    assert!(self.input.is_empty() && self.settings.starttls);
                    let secured = self.session.take().expect("a session").secured(TLS, self.now);
                    assert!(secured.helo().is_none() && secured.identity().is_none() && !secured.in_transaction());
                    assert_eq!(secured.phase(), Phase::Greeted);
                    self.session = Some(secured);
                    return true;
                }
            }
        }
        panic!("no progress");
    }

    /// A client that falls silent does not keep its place.
    fn outlast(mut self) {
        let session = self.session.as_mut().expect("a session");
        self.now = session.deadline();
        session.timed_out(self.now, |_| Token::new("R8", 1));
        assert!(matches!(session.next(&mut self.input, self.now), Want::Close));
        assert!(matches!(session.farewell(), Some(Reply::TIMEOUT | Reply::SESSION_TOO_LONG)));
    }
}

/// What must be true when a question is asked.
fn promised(question: &Question<'_>, settings: &Settings, agreed: bool) {
    match question {
        Question::Auth(auth) => assert!(auth.session().tls().is_some() && auth.session().identity().is_none()),
        Question::Mail(mail) => {
            assert!(settings.role != Role::Submission || mail.session().identity().is_some());
            assert!(!mail.session().in_transaction() && mail.session().helo().is_some());
        }
        Question::Rcpt(rcpt) => assert!(rcpt.session().in_transaction() && rcpt.session().recipients() < settings.recipients),
        Question::Data(data) => assert!(data.session().in_transaction() && data.session().recipients() > 0),
        Question::Chunk(chunk) => {
            assert!(agreed && !chunk.text().is_empty() && chunk.session().in_transaction());
        }
        Question::EndOfData(end) => assert!(agreed && end.session().in_transaction()),
        Question::Xclient(xclient) => assert!(!xclient.session().in_transaction()),
    }
}

/// Only whole lines end up with the store, whatever came and however it was cut (RFC 5321 §2.3.8).
fn take_note(question: &Question<'_>, text: &mut Vec<u8>, binary: &mut bool) {
    match question {
        Question::Mail(mail) => *binary = mail.from().binary,
        Question::EndOfData(_) if *binary => {}
        Question::Data(_) => text.clear(),
        Question::Chunk(chunk) => text.extend_from_slice(chunk.text()),
        Question::EndOfData(_) => {
            let lines = text.split(|octet| *octet == b'\n').collect::<Vec<_>>();
            let (last, ended) = lines.split_last().expect("a line");
            let is_ended = |line: &&[u8]| line.split_last().is_some_and(|(end, line)| *end == b'\r' && !line.contains(&b'\r'));
            assert!(!last.contains(&b'\r') && ended.iter().all(is_ended), "a bare CR or LF in {:?}", text.escape_ascii().to_string());
        }
        _ => {}
    }
}

fn answer(question: Question<'_>, choices: &mut Choices<'_>, agreed: &mut bool) {
    match (choices.one_in(8), choices.one_in(8), question) {
        (true, ..) => *agreed = false,
        (_, true, Question::Auth(auth)) => auth.reject(Reply::TRY_LATER_AUTH),
        (_, true, Question::Mail(mail)) => mail.reject(Reply::STORE_FULL),
        (_, true, Question::Rcpt(rcpt)) => rcpt.reject(Reply::MAILBOX_UNKNOWN),
        (_, true, Question::Data(data)) => {
            data.reject(Reply::STORE_FULL);
            *agreed = false;
        }
        (_, true, Question::Chunk(chunk)) => {
            chunk.refuse(Reply::STORE_FULL);
            *agreed = false;
        }
        (_, true, Question::Xclient(xclient)) => xclient.reject(Reply::ARGUMENTS_WRONG),
        (_, true, Question::EndOfData(end)) => {
            end.reject(Reply::TOO_MANY_HOPS);
            *agreed = false;
        }
        (.., Question::Auth(auth)) if choices.one_in(2) => auth.wrong(),
        (.., Question::Auth(auth)) if choices.one_in(3) => auth.malformed(),
        (.., Question::Auth(auth)) if choices.one_in(3) => auth.challenge(&vec![choices.next(); choices.next().into()]),
        (.., Question::Auth(auth)) => auth.accept("tim"),
        (.., Question::Xclient(xclient)) => {
            xclient.accept(Some("ann@example.org"));
        }
        (.., Question::Mail(mail)) => {
            mail.accept();
        }
        (.., Question::Rcpt(rcpt)) => {
            rcpt.accept();
        }
        (.., Question::Data(data)) => {
            data.accept();
            *agreed = true;
        }
        (.., Question::Chunk(chunk)) => chunk.taken(),
        #[expect(clippy::disallowed_methods, reason = "nothing is stored here")]
        (.., Question::EndOfData(end)) => {
            end.accept(Receipt::attest(MessageId::from_bytes([0; 16])));
            *agreed = false;
        }
    }
}

/// Octets that decide what is open, round and round.
struct Choices<'c> {
    octets: &'c [u8],
    at: usize,
}

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        self.at = (self.at + 1) % self.octets.len().max(1);
        self.octets.get(self.at).copied().unwrap_or_default()
    }

    /// True for one octet in so many, and never for 0, so that no choices are the plain course of things.
    fn one_in(&mut self, many: u8) -> bool {
        self.next() % many == many - 1
    }
}
