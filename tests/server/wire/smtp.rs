//! SMTP's transcripts: in clear as they are, and once more inside TLS where they do not speak of STARTTLS themselves.

#[path = "../../../crates/smtp/tests/transcript/mod.rs"]
#[allow(dead_code, reason = "what only a scripted machine asks for")]
mod transcript;

use std::mem::take;

use transcript::{Line, Transcript, fits};

use super::{furnish, transcripts};
use crate::harness::{Dialogue, Server};

#[test]
fn every_smtp_transcript_that_can_be() {
    let mut server = Server::bare(PATIENT);
    server.edit("mail.example.org", "mx.example");
    furnish(&server, "mx.example", &[("tim", "secret"), ("b", "secret"), ("c", "secret")], &[]);
    server.run();

    let (mut in_clear, mut in_tls) = (0, 0);
    for (name, text) in transcripts("smtp", "tim", "mx.example") {
        let transcript = Transcript::parse(&text.replace("192.0.2.7", "127.0.0.1"));
        let Some(limits) = limits(&transcript) else { continue };
        server.configure(&format!("{PATIENT}{limits}"));
        server.edit("mail.example.org", "mx.example");
        server.succeed(&["reload"]);
        for way in Way::of(&transcript, &text) {
            play(&transcript, way.begin(&server, &transcript), &server, &format!("{name}, {way:?}"));
            *(if matches!(way, Way::Clear | Way::Submission) { &mut in_clear } else { &mut in_tls }) += 1;
        }
    }
    assert!(in_clear >= 30 && in_tls >= 30, "{in_clear} in clear and {in_tls} inside TLS");
}

/// The limits a transcript asks for; none when it cannot be played to a server as it is configured.
fn limits(transcript: &Transcript) -> Option<String> {
    let others = ["no-starttls", "no-exporter", "auth", "scram", "external", "tokens", "signed-in", "lmtp", "xclient"];
    if transcript.is_scripted() || others.iter().any(|word| is_given(transcript, word)) {
        return None;
    }
    let mut limits = "[limits]\n".to_owned();
    for (key, value) in transcript.given.iter().filter_map(|word| word.split_once('=')) {
        match key {
            "bad" | "idle" => limits.push_str(&format!("{key}_commands = {value}\n")),
            // Smaller than a server may be told to be (RFC 5321 §4.5.3.1).
            _ => return None,
        }
    }
    Some(limits)
}

/// Where a transcript is played.
#[derive(Clone, Copy, Debug)]
enum Way {
    Clear,
    Starttls,
    Submission,
    Submissions,
}

impl Way {
    fn of(transcript: &Transcript, text: &str) -> Vec<Self> {
        match (is_given(transcript, "submission"), is_given(transcript, "tls")) {
            (true, true) => vec![Self::Submissions],
            (true, false) => vec![Self::Submission],
            (false, true) => vec![Self::Starttls],
            // STARTTLS and REQUIRETLS are another thing inside TLS.
            (false, false) if is_given(transcript, "ehlo") && !text.contains("STARTTLS") && !text.contains("REQUIRETLS") => {
                vec![Self::Clear, Self::Starttls]
            }
            (false, false) => vec![Self::Clear],
        }
    }

    /// A session that is where the transcript begins.
    fn begin(self, server: &Server, transcript: &Transcript) -> Dialogue {
        let mut session = match self {
            Self::Submission => server.connect("submission"),
            Self::Submissions => server.connect_tls("submissions"),
            Self::Clear | Self::Starttls => server.connect("smtp"),
        };
        if matches!(self, Self::Starttls) {
            assert!(session.hear().starts_with("220 "));
            assert!(session.ask("EHLO client.example").starts_with("250 "));
            assert!(session.ask("STARTTLS").starts_with("220 "));
            session = session.start_tls(&server.certificate());
        } else if is_given(transcript, "ehlo") {
            assert!(session.hear().starts_with("220 "));
        }
        if is_given(transcript, "ehlo") {
            assert!(session.ask("EHLO client.example").starts_with("250 "));
        }
        session
    }
}

fn play(transcript: &Transcript, mut session: Dialogue, server: &Server, name: &str) {
    let mut unsent = Vec::new();
    let mut closed = false;
    for (number, line) in &transcript.lines {
        if let Line::Client(octets) = line {
            unsent.extend_from_slice(octets);
            continue;
        }
        session.say(take(&mut unsent));
        match line {
            Line::Server(expected) => {
                let said = session.hear();
                assert!(fits(expected, &said), "{name}, line {number}: {said:?}");
            }
            Line::Upgraded => session = session.start_tls(&server.certificate()),
            Line::Closed => {
                assert!(session.is_over(), "{name}, line {number}: still open");
                closed = true;
            }
            _ => panic!("{name}, line {number}: {line:?} is scripted"),
        }
    }
    if !closed {
        // Nothing else was said, and it still listens.
        session.say([&unsent[..], b"QUIT\r\n"].concat());
        let said = session.hear();
        assert!(said.starts_with("221 "), "{name}: {said:?}");
    }
}

fn is_given(transcript: &Transcript, word: &str) -> bool {
    transcript.given.iter().any(|given| given == word)
}

/// Wrong passwords are part of it.
const PATIENT: &str = "[auth]\nfirst_delay = \"1ms\"\nlongest_delay = \"1ms\"\nscram = false\n";
