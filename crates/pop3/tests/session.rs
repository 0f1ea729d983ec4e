//! What a dialogue cannot show: sizes, and ends that come while the client is busy.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mail::{MessageId, Token};
use pop3::{Circumstance, Entry, Error, Progress, Question, Session, Settings, Want};

/// A session under TLS whose client has logged in to so many messages of 100 octets.
fn logged_in(messages: u64, now: Instant) -> Session {
    let settings = Settings::new("mail.example".parse().unwrap());
    let mut session = Session::new(Arc::new(settings), Circumstance { tls: Some(pop3::Tls::default()) }, now);
    let mut input = BytesMut::from("USER mrose\r\nPASS tanstaaf\r\n");
    let Want::Answer(Question::Auth(auth)) = session.next(&mut input, now) else { panic!("a login is asked") };
    let entry = |n: u64| Entry { id: MessageId::from_bytes(u128::from(n + 1).to_be_bytes()), octets: 100 };
    auth.accept(Box::new((0..messages).map(entry).collect::<Arc<[Entry]>>()));
    session.output().clear();
    session
}

/// Plays input to the end; returns what was said, and in how many pieces.
fn said(session: &mut Session, input: &str, now: Instant) -> (String, usize) {
    let (mut input, mut said, mut pieces) = (BytesMut::from(input), Vec::new(), 0);
    loop {
        let over = match session.next(&mut input, now) {
            Want::Flush => false,
            Want::Input | Want::Close => true,
            Want::Answer(Question::Update(update)) => {
                update.done();
                continue;
            }
            _ => panic!("nothing else is wanted"),
        };
        let output = session.output();
        assert!(output.len() < 17 << 10, "{} octets at once", output.len());
        said.extend_from_slice(&output.split());
        pieces += 1;
        if over {
            return (String::from_utf8(said).unwrap(), pieces);
        }
    }
}

#[test]
fn a_hundred_thousand_unique_ids_leave_in_small_pieces() {
    let now = Instant::now();
    let mut session = logged_in(100_000, now);
    let (said, pieces) = said(&mut session, "DELE 2\r\nDELE 99999\r\nUIDL\r\nSTAT\r\n", now);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3 + 99_998 + 2);
    assert_eq!(lines[3], "1 00000000000000000000000001");
    assert_eq!(lines[4], "3 00000000000000000000000003");
    assert_eq!(lines[100_000], format!("100000 {}", MessageId::from_bytes(100_000u128.to_be_bytes())));
    assert_eq!(lines[100_001..], [".", "+OK 99998 9999800"]);
    assert!(pieces > 100, "{pieces} pieces");
}

#[test]
fn pipelined_messages_are_flushed_on_the_way() {
    let now = Instant::now();
    let mut session = logged_in(1000, now);
    let mut input = BytesMut::from((1..=1000).map(|n| format!("RETR {n}\r\n")).collect::<String>().as_str());
    let (mut flushes, mut octets) = (0, 0);
    loop {
        match session.next(&mut input, now) {
            Want::Answer(Question::Retrieve(retrieve)) => {
                let mut transfer = retrieve.begin();
                // The first to cross the mark is asked to flush before its next piece; it has none, so the machine asks.
                let full = transfer.output().len() + "+OK 100 octets\r\n".len() + 98 >= 16 << 10;
                assert_eq!(transfer.write(&[b'x'; 98]), if full { Progress::Flush } else { Progress::More });
                transfer.finish().unwrap();
            }
            Want::Flush => {
                flushes += 1;
                octets += session.output().split().len();
            }
            Want::Input => break,
            _ => panic!("nothing else is wanted"),
        }
    }
    let one = "+OK 100 octets\r\n".len() + 98 + "\r\n.\r\n".len();
    assert_eq!((flushes, octets + session.output().len()), (7, 1000 * one));
}

#[test]
fn a_message_that_is_longer_than_listed_is_not_ended_either() {
    let now = Instant::now();
    let mut session = logged_in(1, now);
    let mut input = BytesMut::from("RETR 1\r\nNOOP\r\n");
    let Want::Answer(Question::Retrieve(retrieve)) = session.next(&mut input, now) else { panic!("a message is asked for") };
    let mut transfer = retrieve.begin();
    assert_eq!(transfer.write(&[b'x'; 99]), Progress::More);
    assert_eq!(transfer.finish(), Err(Error::OctetsDiffer { listed: 100, read: 101 }));
    assert!(matches!(session.next(&mut input, now), Want::Close));
    assert_eq!(session.output(), &[b"+OK 100 octets\r\n", &[b'x'; 99][..]].concat());
}

#[test]
fn a_message_that_turns_out_to_have_nothing_is_a_temporary_failure() {
    let now = Instant::now();
    let mut session = logged_in(1, now);
    let mut input = BytesMut::from("RETR 1\r\n");
    let Want::Answer(Question::Retrieve(retrieve)) = session.next(&mut input, now) else { panic!("a message is asked for") };
    assert_eq!(retrieve.begin().finish(), Err(Error::OctetsDiffer { listed: 100, read: 0 }));
    assert_eq!(
        said(&mut session, "STAT\r\n", now).0,
        "-ERR [SYS/TEMP] Cannot read the message at the moment, try again later\r\n+OK 1 100\r\n"
    );
}

#[test]
fn a_client_that_never_pauses_is_told_that_its_time_is_over() {
    let now = Instant::now();
    let late = now + Duration::from_secs(8 * 60 * 60);
    let mut session = logged_in(1, now);
    assert_eq!(said(&mut session, "DELE 1\r\nSTAT\r\n", late).0, "-ERR [SYS/TEMP] Session has lasted too long, log in again\r\n");
    let mut session = logged_in(1, now);
    assert_eq!(said(&mut session, "DELE 1\r\n", now).0, "+OK Message 1 deleted\r\n");
    assert_eq!(said(&mut session, "QUIT\r\n", late).0, "+OK mail.example signing off (maildrop empty)\r\n");
}

#[test]
fn a_quit_that_has_arrived_goes_before_a_restart_but_not_before_a_takeover() {
    let now = Instant::now();
    let mut session = logged_in(1, now);
    assert_eq!(said(&mut session, "DELE 1\r\n", now).0, "+OK Message 1 deleted\r\n");
    session.drain(|| Token::new("R1", 1));
    assert_eq!(said(&mut session, "QUIT\r\n", now).0, "+OK mail.example signing off (maildrop empty)\r\n");
    let mut session = logged_in(1, now);
    assert_eq!(said(&mut session, "DELE 1\r\n", now).0, "+OK Message 1 deleted\r\n");
    session.take_over();
    session.drain(|| Token::new("R1", 1));
    assert_eq!(said(&mut session, "QUIT\r\n", now).0, "-ERR [SYS/TEMP] A newer session has taken over this maildrop\r\n");
}

#[test]
fn a_drain_that_is_undone_in_time_is_not_noticed_and_undoes_nothing_else() {
    let now = Instant::now();
    let mut session = logged_in(5_000, now);
    let mut input = BytesMut::from("UIDL\r\n");
    session.drain(|| Token::new("R1", 1));
    session.undo_drain();
    assert!(matches!(session.next(&mut input, now), Want::Flush), "a listing is under way");
    session.output().clear();
    session.drain(|| Token::new("R1", 1));
    assert!(matches!(session.next(&mut input, now), Want::Flush));
    session.output().clear();
    session.undo_drain();
    assert!(said(&mut session, "STAT\r\n", now).0.ends_with("\r\n.\r\n+OK 5000 500000\r\n"));
    session.take_over();
    session.drain(|| Token::new("R1", 1));
    session.undo_drain();
    assert_eq!(said(&mut session, "STAT\r\n", now).0, "-ERR [SYS/TEMP] A newer session has taken over this maildrop\r\n");
}
