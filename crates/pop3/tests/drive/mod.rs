//! Drives a session with any octets and any answers, and holds it to what it promises whatever comes.
//!
//! For the property test and for fuzzing: [`drive`] takes one string of octets, so a fuzz target is one line. It panics when a promise
//! is broken: the machine gets somewhere in every step, output and unread input are bounded, passwords are asked about only under TLS,
//! a message that is cut off does not look whole, deletions are asked about only when there are some, and after the end there is silence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mail::{MessageId, Token};
use pop3::{
    Auth, AuthRefusal, Circumstance, Entry, Mechanisms, Progress, Question, Retrieve, Said, Session, Settings, Tls, Update, Want, limits,
};

/// The octets decide, as they are needed, what comes next: input, answers, time, a restart.
pub(crate) fn drive(octets: &[u8]) {
    let mut script = Script(octets);
    let mut now = Instant::now();
    let mut settings = Settings::new("mail.example".parse().unwrap());
    settings.stls = script.draw(2) == 1;
    settings.mechanisms = Mechanisms::PASSWORD.and(Mechanisms::SCRAM);
    let mut tls = script.draw(4) != 0;
    let mut session = Session::new(Arc::new(settings), Circumstance { tls: tls.then(Tls::default) }, now);
    let mut input = BytesMut::new();
    while !script.0.is_empty() {
        match script.draw(8) {
            0 => {
                now += Duration::from_secs(script.draw(200) * script.draw(200));
                session.timed_out(now);
            }
            1 if script.draw(16) == 0 => session.drain(|| Token::new("R1", 1)),
            2 if script.draw(16) == 0 => session.take_over(),
            3 => {
                let length = script.draw(256) as usize;
                input.extend_from_slice(script.take(length));
            }
            _ => {
                let choice = script.draw(COMMANDS.len() as u64) as usize;
                input.extend_from_slice(COMMANDS[choice].as_bytes());
            }
        }
        let Some(next) = rest(session, &mut tls, &mut input, now, &mut script) else { return };
        session = next;
    }
}

/// Serves the session until it waits for input; none when it is over.
fn rest(mut session: Session, tls: &mut bool, input: &mut BytesMut, now: Instant, script: &mut Script<'_>) -> Option<Session> {
    let had = input.len();
    let (mut output, mut cut_off) = (0, false);
    // Each line is answered by one step at most, or asks for a flush a few times.
    for _ in 0..had * 8 + 64 {
        let want = session.next(input, now);
        assert!(!cut_off || matches!(want, Want::Close), "a message that is cut off is the last");
        match want {
            Want::Input => {
                assert!(input.len() < limits::AUTH_LINE_OCTETS.max(had + 1), "input is not held back");
                flush(session.output());
                return Some(session);
            }
            Want::Flush => output += flush(session.output()),
            Want::Answer(Question::Auth(auth)) => {
                assert!(*tls, "no password is taken in clear");
                answer(auth, script);
            }
            Want::Answer(Question::Retrieve(retrieve)) => cut_off |= deliver(retrieve, script),
            Want::Answer(Question::Update(update)) => obey(update, script),
            Want::Upgrade => {
                assert!(input.is_empty() && !*tls, "nothing crosses STLS");
                *tls = true;
                session = session.secured(Tls::default(), now);
                assert!(session.output().is_empty(), "there is no second greeting");
            }
            Want::Close => {
                assert!(!(cut_off && session.output().ends_with(b"\r\n.\r\n")), "what is cut off does not look whole");
                flush(session.output());
                input.extend_from_slice(b"NOOP\r\n");
                session.timed_out(now);
                session.drain(|| Token::new("R1", 1));
                assert!(matches!(session.next(input, now), Want::Close) && session.output().is_empty(), "the end is the end");
                return None;
            }
        }
    }
    panic!("no progress with {had} octets of input and {output} of output");
}

fn answer(auth: Auth<'_>, script: &mut Script<'_>) {
    if let Said::Password(credentials) = auth.said() {
        assert!(!credentials.authcid.is_empty());
    }
    match script.draw(8) {
        0 => drop(auth),
        3 => auth.malformed(),
        4 | 5 if matches!(auth.said(), Said::Response(_)) => auth.challenge(script.take(200)),
        1 => auth.refuse(AuthRefusal::WrongCredentials),
        2 => auth.refuse(AuthRefusal::TooManySessions { limit: 1 }),
        _ => {
            let messages = script.draw(3) * script.draw(256) * script.draw(16);
            let entry = |n: u64| Entry { id: MessageId::from_bytes(u128::from(n).to_be_bytes()), octets: n % 300 };
            auth.accept(Box::new((0..messages).map(entry).collect::<Arc<[Entry]>>()));
        }
    }
}

/// Whether the message was cut off in the middle.
fn deliver(retrieve: Retrieve<'_>, script: &mut Script<'_>) -> bool {
    let (listed, top) = (retrieve.octets(), retrieve.top());
    let mut transfer = match script.draw(8) {
        0 => return false,
        1 => {
            retrieve.unavailable();
            return false;
        }
        _ => retrieve.begin(),
    };
    let whole = script.draw(3) > 0;
    let (mut read, mut enough) = (0, false);
    while read < listed && !enough {
        // What is read in full is dots and line ends, which make the most of themselves.
        let piece = if whole { b".\r\n\r\n.".repeat(50)[..(listed - read) as usize].to_vec() } else { script.take(100).to_vec() };
        if piece.is_empty() {
            break;
        }
        read += piece.len() as u64;
        match transfer.write(&piece) {
            Progress::More => {}
            Progress::Flush => drop(flush(transfer.output())),
            Progress::Enough => enough = true,
        }
    }
    if script.draw(8) == 0 {
        transfer.fail();
        return read > 0;
    }
    let finished = transfer.finish().is_ok();
    assert!(!enough || (top.is_some() && finished), "TOP alone has enough before the end");
    read > 0 && !finished
}

fn obey(update: Update<'_>, script: &mut Script<'_>) {
    let deleted: Vec<usize> = update.deleted().map(|(index, _)| index).collect();
    assert!(!deleted.is_empty() && deleted.is_sorted(), "asked only when something is deleted");
    match script.draw(3) {
        0 => drop(update),
        1 => update.failed(),
        _ => update.done(),
    }
}

/// Writes the output out.
fn flush(output: &mut BytesMut) -> usize {
    assert!(output.len() <= (16 << 10) + 1024, "{} octets of output", output.len());
    output.split().len()
}

/// Octets that decide. A script that has ended decides for 0.
struct Script<'s>(&'s [u8]);

impl<'s> Script<'s> {
    fn draw(&mut self, choices: u64) -> u64 {
        self.take(1).first().map_or(0, |octet| u64::from(*octet) % choices)
    }

    fn take(&mut self, length: usize) -> &'s [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

const COMMANDS: [&str; 36] = [
    "USER mrose\r\n",
    "PASS tanstaaf\r\n",
    "AUTH PLAIN AG1yb3NlAHRhbnN0YWFm\r\n",
    "AUTH PLAIN AG1yb3NlAHRhbnN0YWFm\r\n",
    "AUTH LOGIN\r\n",
    "bXJvc2U=\r\n",
    "dGFuc3RhYWY=\r\n",
    "*\r\n",
    "AUTH SCRAM-SHA-256 biws\r\n",
    "biws\r\n",
    "AUTH\r\n",
    "STLS\r\n",
    "CAPA\r\n",
    "UTF8\r\n",
    "STAT\r\n",
    "LIST\r\n",
    "LIST 2\r\n",
    "UIDL\r\n",
    "UIDL 2\r\n",
    "RETR 1\r\n",
    "RETR 2\r\n",
    "RETR 250\r\n",
    "TOP 2 0\r\n",
    "TOP 250 3\r\n",
    "DELE 1\r\n",
    "DELE 2\r\n",
    "DELE 250\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "QUIT\r\n",
    "UIDL\r\nUIDL\r\nUIDL\r\n",
    "RETR 99999999999\r\n",
    "RETR",
    " ",
    "\r",
    "\n",
];
