//! Runs every dialogue under `transcripts/` on the machine, its input and its messages cut into pieces of 1, 2, 3 and 7 octets and
//! whole. `transcripts/README` says how a dialogue is written. Time is simulated; the maildrop is the one the dialogue describes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod dialogue;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use dialogue::{Act, Dialogue};
use mail::{MessageId, Span};
use pop3::{Auth, AuthRefusal, Circumstance, Entry, Progress, Question, Retrieve, Session, Settings, Want};

#[test]
fn every_dialogue_goes_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 40, "{} dialogues", files.len());
    let mut portable = 0;
    for file in files {
        let dialogue = Dialogue::parse(&std::fs::read_to_string(&file).unwrap());
        portable += usize::from(dialogue.is_portable());
        let cuttings = if dialogue.in_one_piece { &[usize::MAX][..] } else { &[1, 2, 3, 7, usize::MAX] };
        for &cutting in cuttings {
            Stage::new(&dialogue, cutting).play(&format!("(cut at {cutting}) {}", file.display()));
        }
    }
    assert!(portable >= 25, "{portable} dialogues that can be played over a wire");
}

/// A dialogue being played: the session and the world around it.
struct Stage<'d> {
    dialogue: &'d Dialogue,
    cutting: usize,
    now: Instant,
    session: Session,
    input: BytesMut,
    /// What the server has said and the dialogue has not come to yet.
    said: BytesMut,
    upgrade: bool,
    closed: bool,
    /// What `-- next ...` has said of the next question.
    next: Option<&'d str>,
    deleted: Vec<usize>,
}

impl<'d> Stage<'d> {
    fn new(dialogue: &'d Dialogue, cutting: usize) -> Self {
        let (now, mut settings) = (Instant::now(), Settings::new("mail.example".parse().unwrap()));
        settings.stls = dialogue.certificate;
        settings.login_delay = dialogue.login_delay.as_deref().map(|delay| delay.parse::<Span>().unwrap().0);
        settings.check().unwrap();
        let session = Session::new(Arc::new(settings), Circumstance { tls: dialogue.port == 995 }, now);
        let (input, said) = (BytesMut::new(), BytesMut::new());
        Self { dialogue, cutting, now, session, input, said, upgrade: false, closed: false, next: None, deleted: vec![] }
    }

    fn play(mut self, name: &str) {
        self.drive();
        for (line, act) in &self.dialogue.acts {
            let said = self.said.escape_ascii().to_string();
            match act {
                Act::Send(octets) => {
                    assert!(self.said.is_empty(), "{name}:{line}: before that the server said {said:?}");
                    for piece in octets.chunks(self.cutting) {
                        self.input.extend_from_slice(piece);
                        self.drive();
                    }
                }
                Act::Expect(octets) => {
                    assert!(self.said.starts_with(octets), "{name}:{line}: the server said {said:?}");
                    self.said.advance(octets.len());
                }
                Act::Direct(direction) => self.direct(direction, &format!("{name}:{line}: {direction}")),
            }
        }
        let said = self.said.escape_ascii().to_string();
        assert!(said.is_empty(), "{name}: in the end the server said {said:?}");
    }

    fn direct(&mut self, direction: &'d str, place: &str) {
        let (word, rest) = direction.split_once(' ').unwrap_or((direction, ""));
        match word {
            "next" => self.next = Some(rest),
            "wait" => {
                self.now += rest.parse::<Span>().unwrap().0;
                self.session.timed_out(self.now);
            }
            "drain" => self.session.drain(),
            "takeover" => self.session.take_over(),
            "handshake" => {
                assert!(std::mem::take(&mut self.upgrade), "{place}: not asked for");
                let other = Settings::new("other.example".parse().unwrap());
                let other = Session::new(Arc::new(other), Circumstance { tls: false }, self.now);
                self.session = std::mem::replace(&mut self.session, other).secured(self.now);
            }
            "closed" => assert!(self.closed, "{place}: the connection is open"),
            "open" => assert!(!self.closed, "{place}: the connection is closed"),
            "deleted" => {
                let numbers: Vec<usize> = rest.split(' ').filter(|word| *word != "nothing").map(|n| n.parse().unwrap()).collect();
                assert_eq!(self.deleted, numbers, "{place}");
            }
            _ => panic!("{place}: no such direction"),
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
                Want::Answer(Question::Auth(auth)) => answer(auth, self.next.take(), &self.dialogue.messages),
                Want::Answer(Question::Retrieve(retrieve)) => {
                    deliver(retrieve, self.next.take(), &self.dialogue.messages, self.cutting, &mut self.said);
                }
                Want::Answer(Question::Update(update)) => match self.next.take() {
                    Some("update fails") => update.failed(),
                    Some("update is dropped") => drop(update),
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
    let credentials = auth.credentials();
    let known = &*credentials.authcid == "mrose" && credentials.password.expose() == b"tanstaaf";
    let itself = credentials.authzid.as_deref().is_none_or(|authzid| authzid == "mrose");
    match next {
        Some("login fails") => auth.refuse(AuthRefusal::Temporary),
        Some("login is dropped") => drop(auth),
        Some("maildrop is locked") => auth.refuse(AuthRefusal::InUse),
        Some("too many sessions") => auth.refuse(AuthRefusal::TooManySessions { limit: 32 }),
        Some("too soon") => auth.refuse(AuthRefusal::LoginDelay),
        _ if known && itself => {
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
        Some("message is gone") => return retrieve.unavailable(),
        Some("message is dropped") => return,
        _ => {}
    }
    let text = &messages[retrieve.index()];
    let cut = if next.is_some() { text.len() / 2 } else { text.len() };
    let mut transfer = retrieve.begin();
    if next == Some("read fails at once") {
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
        Some("read fails halfway") => transfer.fail(),
        Some("read is dropped halfway") => drop(transfer),
        Some("read ends halfway") => assert!(transfer.finish().is_err()),
        _ => transfer.finish().unwrap(),
    }
}
