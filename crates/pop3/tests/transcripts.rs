//! Plays every transcript on the pure machine, the client's octets and the messages cut at every 1, 2, 3 and 7 and whole, in simulated
//! time. `transcript/mod.rs` says how one is written.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod transcript;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use mail::{MessageId, Span, Token};
use pop3::{
    Auth, AuthRefusal, Circumstance, Entry, Mechanism, Mechanisms, Progress, Question, Retrieve, Said, Session, Settings, Tls, Want,
};
use transcript::{Act, Transcript};

#[test]
fn every_transcript_at_every_cutting() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 40, "{} transcripts", files.len());
    let mut unscripted = 0;
    for file in files {
        let transcript = Transcript::parse(&std::fs::read_to_string(&file).unwrap());
        unscripted += usize::from(!transcript.is_scripted());
        let cuttings = if transcript.is_given("whole") { &[usize::MAX][..] } else { &[1, 2, 3, 7, usize::MAX] };
        for &cutting in cuttings {
            Play::new(&transcript, cutting).play(&format!("(cut at {cutting}) {}", file.display()));
        }
    }
    assert!(unscripted >= 25, "{unscripted} transcripts can be played over a socket");
}

/// A transcript being played: the session and the world around it.
struct Play<'d> {
    transcript: &'d Transcript,
    cutting: usize,
    now: Instant,
    session: Session,
    input: BytesMut,
    /// What the server has said and the transcript has not come to yet.
    said: BytesMut,
    upgrade: bool,
    closed: bool,
    /// What `A:` has said of the next question.
    next: Option<&'d str>,
    deleted: Vec<usize>,
}

impl<'d> Play<'d> {
    fn new(transcript: &'d Transcript, cutting: usize) -> Self {
        let (now, mut settings) = (Instant::now(), Settings::new("mail.example".parse().unwrap()));
        settings.stls = !transcript.is_given("no-stls");
        if transcript.is_given("scram") {
            settings.mechanisms = Mechanisms::PASSWORD.and(Mechanisms::SCRAM);
        }
        if transcript.is_given("tokens") {
            settings.mechanisms = settings.mechanisms.and(Mechanisms::TOKENS);
        }
        if transcript.is_given("external") {
            settings.mechanisms = settings.mechanisms.with(Mechanism::External);
        }
        settings.login_delay =
            transcript.given.iter().find_map(|word| word.strip_prefix("login-delay=")).map(|delay| delay.parse::<Span>().unwrap().0);
        settings.check().unwrap();
        let tls = Tls { exporter: !transcript.is_given("no-exporter"), certificate: transcript.is_given("certificate") };
        let session = Session::new(Arc::new(settings), Circumstance { tls: transcript.is_given("tls").then_some(tls) }, now);
        let withheld = if transcript.is_given("scram-withheld") { Mechanisms::SCRAM } else { Mechanisms::NONE };
        let session = session.withholding(withheld);
        let (input, said) = (BytesMut::new(), BytesMut::new());
        Self { transcript, cutting, now, session, input, said, upgrade: false, closed: false, next: None, deleted: vec![] }
    }

    fn play(mut self, name: &str) {
        self.drive();
        for (line, act) in &self.transcript.acts {
            let said = self.said.escape_ascii().to_string();
            match act {
                Act::Client(octets) => {
                    assert!(self.said.is_empty(), "{name}:{line}: before that the server said {said:?}");
                    for piece in octets.chunks(self.cutting) {
                        self.input.extend_from_slice(piece);
                        self.drive();
                    }
                }
                Act::Server(octets) => {
                    assert!(self.said.starts_with(octets), "{name}:{line}: the server said {said:?}");
                    self.said.advance(octets.len());
                }
                Act::Answer(verdict) => self.next = Some(verdict),
                Act::Passes(span) => {
                    self.now += span.parse::<Span>().unwrap().0;
                    self.session.timed_out(self.now);
                    self.drive();
                }
                Act::Event(event) => self.event(event, &format!("{name}:{line}: {event}")),
            }
        }
        let said = self.said.escape_ascii().to_string();
        assert!(said.is_empty(), "{name}: in the end the server said {said:?}");
    }

    fn event(&mut self, event: &str, place: &str) {
        let (word, rest) = event.split_once(' ').unwrap_or((event, ""));
        match word {
            "drain" => self.session.drain(|| Token::new("R1", 1)),
            "place-needed" => self.session.give_way(|| Token::new("R7", 1)),
            "takeover" => self.session.take_over(),
            "upgraded" => {
                assert!(std::mem::take(&mut self.upgrade), "{place}: not asked for");
                let other = Settings::new("other.example".parse().unwrap());
                let other = Session::new(Arc::new(other), Circumstance { tls: None }, self.now);
                self.session = std::mem::replace(&mut self.session, other).secured(Tls::default(), self.now);
            }
            "closed" => assert!(self.closed, "{place}: the connection is open"),
            "open" => assert!(!self.closed, "{place}: the connection is closed"),
            "deleted" => {
                let numbers: Vec<usize> = rest.split(' ').filter(|word| *word != "nothing").map(|n| n.parse().unwrap()).collect();
                assert_eq!(self.deleted, numbers, "{place}");
            }
            _ => panic!("{place}: no such event"),
        }
        self.drive();
    }

    fn drive(&mut self) {
        while !self.upgrade && !self.closed {
            match self.session.next(&mut self.input, self.now) {
                Want::Input => {
                    self.said.unsplit(self.session.output().split());
                    return;
                }
                Want::Flush => self.said.unsplit(self.session.output().split()),
                Want::Answer(Question::Auth(auth)) => answer(auth, self.next.take(), &self.transcript.messages),
                Want::Answer(Question::Retrieve(retrieve)) => {
                    deliver(retrieve, self.next.take(), &self.transcript.messages, self.cutting, &mut self.said);
                }
                Want::Answer(Question::Update(update)) => match self.next.take() {
                    Some("update fail") => update.failed(),
                    Some("update drop") => drop(update),
                    _ => {
                        self.deleted = update.deleted().map(|(index, _)| index + 1).collect();
                        update.done();
                    }
                },
                Want::Upgrade => self.upgrade = true,
                Want::Close => self.closed = true,
            }
        }
        self.said.unsplit(self.session.output().split());
    }
}

fn answer(auth: Auth<'_>, next: Option<&str>, messages: &[Vec<u8>]) {
    let right = match auth.said() {
        Said::Password(credentials) => {
            let known = &*credentials.authcid == "mrose" && credentials.password.expose() == b"tanstaaf";
            known && credentials.authzid.as_deref().is_none_or(|authzid| authzid == "mrose")
        }
        // The listener of these transcripts is right about whoever answers the last challenge with nothing.
        Said::Response(response) => response.octets.expose().is_empty() && !response.first,
    };
    match next {
        Some(verdict) if verdict.starts_with("auth challenge ") => auth.challenge(&verdict.as_bytes()["auth challenge ".len()..]),
        Some("auth wrong") => auth.refuse(AuthRefusal::WrongCredentials),
        Some("auth malformed") => auth.malformed(),
        Some("auth temporary") => auth.refuse(AuthRefusal::Temporary),
        Some("auth drop") => drop(auth),
        Some("auth in-use") => auth.refuse_signed(AuthRefusal::InUse, Token::new("R10", 1)),
        Some("auth too-many-sessions") => auth.refuse_signed(AuthRefusal::TooManySessions { limit: 32 }, Token::new("R9", 1)),
        Some("auth login-delay") => auth.refuse(AuthRefusal::LoginDelay),
        _ if right || next == Some("auth accept") => {
            let entry = |(number, text): (u128, &Vec<u8>)| Entry {
                id: MessageId::from_bytes(number.to_be_bytes()),
                octets: text.len() as u64 + if text.is_empty() || text.ends_with(b"\r\n") { 0 } else { 2 },
            };
            auth.accept(Box::new((1..).zip(messages).map(entry).collect::<Arc<[Entry]>>()));
        }
        _ => auth.refuse(AuthRefusal::WrongCredentials),
    }
}

fn deliver(retrieve: Retrieve<'_>, next: Option<&str>, messages: &[Vec<u8>], cutting: usize, said: &mut BytesMut) {
    match next {
        Some("retrieve unavailable") => return retrieve.unavailable(),
        Some("retrieve drop") => return,
        _ => {}
    }
    let text = &messages[retrieve.index()];
    let cut = if next.is_some() { text.len() / 2 } else { text.len() };
    let mut transfer = retrieve.begin();
    if next == Some("read fail-at-once") {
        return transfer.fail();
    }
    for piece in text[..cut].chunks(cutting) {
        match transfer.write(piece) {
            Progress::More => {}
            Progress::Flush => said.unsplit(transfer.output().split()),
            Progress::Enough => break,
        }
    }
    match next {
        Some("read fail") => transfer.fail(),
        Some("read drop") => drop(transfer),
        Some("read end-early") => assert!(transfer.finish().is_err()),
        _ => transfer.finish().unwrap(),
    }
}
