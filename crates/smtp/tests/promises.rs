//! What the machine promises whatever comes, and what it promises to its driver.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod drive;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use proptest::prelude::*;
use smtp::{Circumstance, Question, Session, Settings, Want};

/// Pieces of which dialogues are made, so that chance gets further than the first command.
const PIECES: [&[u8]; 37] = [
    b"EHLO client.example\r\n",
    b"HELO client.example\r\n",
    b"LHLO client.example\r\n",
    b"MAIL FROM:<a@client.example>\r\n",
    b"MAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8\r\n",
    b"MAIL FROM:<> BODY=BINARYMIME\r\n",
    b"MAIL FROM:<> RET=FULL ENVID=a+20b BY=1;NT MT-PRIORITY=-9 REQUIRETLS\r\n",
    b"RCPT TO:<b@mx.example>\r\n",
    b"RCPT TO:<b@mx.example> NOTIFY=SUCCESS ORCPT=rfc822;b\r\n",
    b"RCPT TO:<b@mx.example> NOTIFY=NEVER,DELAY\r\n",
    b"RCPT TO: <\"b>\"@mx.example>\r\n",
    b"DATA\r\n",
    b"text\r\n",
    b"..\r\n",
    b".\r\n",
    b".\r",
    b"\r\n",
    b"\n",
    b"\r",
    b"BDAT 5\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 3 LAST\r\n",
    b"BDAT 999\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n",
    b"AUTH LOGIN\r\n",
    b"dGlt\r\n",
    b"*\r\n",
    b"HELP\r\n",
    b"XCLIENT ADDR=198.51.100.9 LOGIN=tim PROTO=ESMTP HELO=client.example\r\n",
    b"XCLIENT NAME=[UNAVAILABLE]\r\n",
    b"\0",
    b"\xff",
    &[b'x'; 3000],
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
        drive::drive(&octets);
    }

    #[test]
    fn any_dialogue_is_survived(
        choices in proptest::collection::vec(any::<u8>(), 0..60),
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..60),
    ) {
        let mut octets = vec![choices.len() as u8];
        octets.extend(choices);
        octets.extend(pieces.concat());
        drive::drive(&octets);
    }

    #[test]
    fn only_whole_lines_are_offered_to_the_store(
        pieces in proptest::collection::vec(proptest::sample::select(&["a", ".", "\0", "\r\n", "\r\n", "\r", "\n"][..]), 0..12),
        chunk_octets in 1..8_usize,
        in_chunks in any::<bool>(),
    ) {
        // One choice: 24, by which a listener on port 25 agrees to everything, and octets come by 25, as many as EHLO and DATA must end with.
        let mut octets = b"\x01\x18EHLO mx1.client.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@mx.example>\r\n".to_vec();
        let text = pieces.concat();
        if in_chunks {
            for chunk in text.as_bytes().chunks(chunk_octets) {
                octets.extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
                octets.extend_from_slice(chunk);
            }
            octets.extend_from_slice(b"BDAT 0 LAST\r\n");
        } else {
            octets.extend_from_slice(b"NOOP for as long as it takes.\r\nDATA\r\n");
            assert_eq!(octets.len() % 25, 2);
            octets.extend_from_slice(text.as_bytes());
            octets.extend_from_slice(b"\r\n.\r\n");
        }
        drive::drive(&octets);
    }
}

fn session() -> Session {
    let settings = Arc::new(Settings::relay("mx.example".parse().unwrap()));
    Session::new(settings, Circumstance::new(IpAddr::from([192, 0, 2, 7])), Instant::now())
}

#[test]
fn replies_to_pipelined_commands_leave_together() {
    let (mut session, now) = (session(), Instant::now());
    let mut input = BytesMut::from(&b"EHLO client.example\r\n"[..]);
    assert!(matches!(session.next(&mut input, now), Want::Input));
    session.output().clear();
    input.extend_from_slice(b"MAIL FROM:<>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n");
    loop {
        match session.next(&mut input, now) {
            Want::Answer(Question::Mail(mail)) => drop(mail.accept()),
            Want::Answer(Question::Rcpt(rcpt)) => drop(rcpt.accept()),
            Want::Answer(Question::Data(data)) => data.accept(),
            Want::Input => break,
            other => panic!("{other:?}"),
        }
    }
    let replies = String::from_utf8(session.output().to_vec()).unwrap();
    assert_eq!(replies.lines().map(|line| &line[..3]).collect::<Vec<_>>(), ["250", "250", "354"]);
}

#[test]
fn much_output_is_written_before_more_input_is_read() {
    let now = Instant::now();
    let settings = Settings { idle_commands: u16::MAX, ..Settings::relay("mx.example".parse().unwrap()) };
    let mut session = Session::new(Arc::new(settings), Circumstance::new(IpAddr::from([192, 0, 2, 7])), now);
    let mut input = BytesMut::from(&b"HELP\r\n".repeat(400)[..]);
    let (mut flushes, mut written) = (0, 0);
    while !matches!(session.next(&mut input, now), Want::Input) {
        flushes += 1;
        written += session.output().len();
        assert!((16 << 10..17 << 10).contains(&session.output().len()) && !input.is_empty());
        session.output().clear();
    }
    assert!(input.is_empty() && flushes == written / (16 << 10) && flushes > 1);
}

/// There is always something to read, so nobody ever asks whether the deadline has passed.
#[test]
fn a_client_that_never_pauses_has_its_two_hours_and_no_more() {
    for repeated in ["NOOP\r\n", "BDAT 3\r\na\r\n"] {
        let (mut session, start) = (session(), Instant::now());
        let mut input = BytesMut::from(&b"EHLO client.example\r\n"[..]);
        assert!(matches!(session.next(&mut input, start), Want::Input));
        input.extend_from_slice(b"MAIL FROM:<>\r\nRCPT TO:<b@mx.example>\r\n");
        let mut minutes = 0;
        loop {
            match session.next(&mut input, start + Duration::from_secs(60 * minutes)) {
                Want::Answer(Question::Mail(mail)) => drop(mail.accept()),
                Want::Answer(Question::Rcpt(rcpt)) => drop(rcpt.accept()),
                Want::Answer(Question::Data(data)) => data.accept(),
                Want::Answer(Question::Chunk(chunk)) => chunk.taken(),
                Want::Input => {
                    input.extend_from_slice(repeated.as_bytes());
                    minutes += 2;
                }
                Want::Close => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(minutes, 120, "{repeated}");
        let said = String::from_utf8(session.output().to_vec()).unwrap();
        assert!(
            said.ends_with("\r\n421 4.4.2 mx.example Timeout, the session has lasted too long\r\n") && said.matches("421").count() == 1,
            "{said}"
        );
    }
}

#[test]
fn a_chunk_is_the_input_itself() {
    let (mut session, now) = (session(), Instant::now());
    let mut input = BytesMut::new();
    for said in ["EHLO client.example\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<b@mx.example>\r\n", "DATA\r\n", "one\r\n..two\r\n"] {
        input.extend_from_slice(said.as_bytes());
        let mut shown = Vec::new();
        let front = input.as_ptr();
        loop {
            match session.next(&mut input, now) {
                Want::Answer(Question::Mail(mail)) => drop(mail.accept()),
                Want::Answer(Question::Rcpt(rcpt)) => drop(rcpt.accept()),
                Want::Answer(Question::Data(data)) => data.accept(),
                Want::Answer(Question::Chunk(chunk)) => {
                    shown.push((chunk.text().as_ptr().addr() - front.addr(), chunk.text().to_vec()));
                    chunk.taken();
                }
                Want::Input => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(input.is_empty());
        assert!(shown.is_empty() || shown == [(0, b"one\r\n".to_vec()), (6, b".two\r\n".to_vec())], "{shown:?}");
    }
}

#[test]
fn a_question_about_a_password_does_not_print_it() {
    let settings = Arc::new(Settings::submission("mx.example".parse().unwrap()));
    let tls = Some(smtp::Tls { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", exporter: false, certificate: false });
    let now = Instant::now();
    let mut session = Session::new(settings, Circumstance { tls, ..Circumstance::new(IpAddr::from([192, 0, 2, 7])) }, now);
    let mut input = BytesMut::from(&b"EHLO client.example\r\n"[..]);
    assert!(matches!(session.next(&mut input, now), Want::Input));
    input.extend_from_slice(b"AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n");
    let Want::Answer(question) = session.next(&mut input, now) else { panic!("a password is asked about") };
    let printed = format!("{question:?}");
    assert!(printed.contains("tim") && !printed.contains("secret") && !printed.contains("AHRpbQBzZWNyZXQ"));
}
