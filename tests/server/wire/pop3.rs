//! POP3's transcripts: those under TLS inside TLS from the first octet and once more behind STLS, the others as they are.

#[path = "../../../crates/pop3/tests/transcript/mod.rs"]
#[allow(dead_code, reason = "what only a scripted machine asks for")]
mod transcript;

use std::collections::BTreeMap;

use transcript::{Act, Transcript};

use super::{furnish, transcripts};
use crate::harness::{Dialogue, Server};

#[test]
fn every_pop3_transcript_that_can_be() {
    // One server for all that begin alike: no transcript that is not scripted deletes anything.
    let mut alike: BTreeMap<Beginning, Vec<(String, Transcript)>> = BTreeMap::new();
    for (name, text) in transcripts("pop3", "mrose", "mail.example") {
        let transcript = Transcript::parse(&text);
        if transcript.is_scripted() || ["no-stls", "scram", "external", "tokens"].iter().any(|word| transcript.is_given(word)) {
            continue;
        }
        let delay = transcript.given.iter().find_map(|word| word.strip_prefix("login-delay=")).unwrap_or("0s");
        alike.entry((transcript.messages.clone(), delay.to_owned())).or_default().push((name, transcript));
    }
    let (mut in_clear, mut in_tls) = (0, 0);
    for ((messages, delay), transcripts) in alike {
        let mut server = Server::bare(&format!(
            "[auth]\nfirst_delay = \"1ms\"\nlongest_delay = \"1ms\"\nfailures_per_source = 1000\nscram = false\n[pop3]\nlogin_delay = \"{delay}\"\n"
        ));
        server.edit("mail.example.org", "mail.example");
        furnish(&server, "mail.example", &[("mrose", "tanstaaf")], &messages);
        server.run();
        for (name, transcript) in transcripts {
            if !transcript.is_given("tls") {
                play(&transcript, server.connect("pop3"), &server, &name);
                in_clear += 1;
                continue;
            }
            play(&transcript, server.connect_tls("pop3s"), &server, &format!("{name}, TLS"));
            // A second login may be what the delay forbids.
            if delay == "0s" {
                play(&transcript, behind_stls(&server), &server, &format!("{name}, STLS"));
            }
            in_tls += 1;
        }
    }
    assert!(in_clear >= 5 && in_tls >= 30, "{in_clear} in clear and {in_tls} inside TLS");
}

/// The messages in the maildrop, and the delay between logins.
type Beginning = (Vec<Vec<u8>>, String);

/// TLS is on, and no second greeting comes.
fn behind_stls(server: &Server) -> Dialogue {
    let mut session = server.connect("pop3");
    assert!(session.hear().starts_with("+OK "));
    assert_eq!(session.ask("STLS"), "+OK Begin TLS");
    session.start_tls(&server.certificate())
}

fn play(transcript: &Transcript, mut session: Dialogue, server: &Server, name: &str) {
    let acts = transcript.acts.iter().skip(usize::from(name.ends_with("STLS")));
    for (line, act) in acts {
        match act {
            Act::Client(octets) => session.say(octets),
            Act::Server(expected) => {
                let said = session.try_hear().unwrap_or_else(|| panic!("{name}, line {line}: nothing was said"));
                let expected = expected.strip_suffix(b"\r\n").unwrap();
                assert_eq!(said.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{name}, line {line}");
            }
            Act::Event(event) if event == "upgraded" => session = session.start_tls(&server.certificate()),
            Act::Event(event) if event == "closed" => {
                assert!(session.is_over(), "{name}, line {line}: still open");
                return;
            }
            other => panic!("{name}, line {line}: {other:?} is scripted"),
        }
    }
    // Nothing else was said; it still listens; and nothing is deleted.
    session.say("RSET\r\nQUIT\r\n");
    let reset = session.hear();
    assert!(reset.starts_with("+OK ") || reset == "-ERR Log in first", "{name}: {reset:?}");
    let farewell = session.hear();
    assert!(farewell.starts_with("+OK mail.example signing off"), "{name}: {farewell:?}");
    assert!(session.is_over(), "{name}: open after QUIT");
}
