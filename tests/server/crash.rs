//! kill -9 at random moments under load, a hundred times over the same store.
//!
//! The ledger holds what the server has promised: a 250 or a look into the maildrop says that a message is there, the answer to
//! QUIT that it is gone. After every crash the store is compared with it. What was under way and not answered may have happened
//! or not, but wholly: a message is never half there, and of a session's deletions happen all or none.
//!
//! Everything random comes from one seed, which a failure prints; `GATEPOST_SEED` runs it again. What the threads and the disk
//! make of it differs from run to run.

mod ledger;
mod message;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::{env, thread};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::harness::{ANN, BOB, Dialogue, PASSWORD, Server, gatepost, let_pass};
use ledger::Ledger;
use message::Message;

#[test]
fn what_was_promised_survives_a_hundred_crashes() {
    let seed = env::var("GATEPOST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("GATEPOST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut server, ledger) = (Server::prepare(SETTINGS), Ledger::default());
    for crash in 1..=CRASHES {
        if rng.random_ratio(1, 8) {
            start_and_kill(&server, &mut rng);
        }
        server.run();
        compare(&server, &ledger, crash % LOOK_CLOSELY == 0);
        load_and_kill(&mut server, &ledger, &mut rng);
        if crash % LOOK_CLOSELY == 0 {
            server.succeed(&["verify"]);
        }
    }
    server.run();
    compare(&server, &ledger, true);
    server.stop();
    let verified = server.succeed(&["verify"]);
    assert!(verified.contains("everything is whole"), "{verified}");
    server.succeed(&["store", "rebuild-index"]);
    server.run();
    compare(&server, &ledger, true);
    let (accepted, deleted) = ledger.totals();
    eprintln!("{accepted} messages acknowledged, {deleted} deletions");
    assert!(accepted > 2 * CRASHES && deleted > CRASHES, "too little has happened: {accepted} and {deleted}");
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "something went wrong inside");
}

/// A start that does not get far: recovery itself is interrupted.
fn start_and_kill(server: &Server, rng: &mut StdRng) {
    let mut command = gatepost();
    command.args(["serve", "--config"]).arg(server.config()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let_pass(Duration::from_micros(rng.random_range(0..80_000)));
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Clients send, fetch and delete until the server dies: after so many acknowledgements or so much time, and a moment more.
fn load_and_kill(server: &mut Server, ledger: &Ledger, rng: &mut StdRng) {
    let place = Place { smtp: server.address("smtp"), pop3s: server.address("pop3s"), certificate: server.certificate() };
    let acknowledgements = if rng.random_bool(0.5) { rng.random_range(1..40) } else { usize::MAX };
    let (time, moment) = (Duration::from_micros(rng.random_range(0..150_000)), Duration::from_micros(rng.random_range(0..4000)));
    thread::scope(|scope| {
        let (place, mut seed) = (&place, || StdRng::seed_from_u64(rng.random()));
        for mut rng in [seed(), seed(), seed()] {
            scope.spawn(move || while deliver(place, ledger, &mut rng).is_some() {});
        }
        for (account, mut rng) in [(0, seed()), (1, seed())] {
            scope.spawn(move || while fetch(place, account, ledger, &mut rng).is_some() {});
        }
        ledger.wait_for(acknowledgements, time);
        let_pass(moment);
        server.kill();
    });
}

/// Where the clients go.
struct Place {
    smtp: SocketAddr,
    pop3s: SocketAddr,
    certificate: PathBuf,
}

/// One SMTP session with a few messages. None when the server is gone.
fn deliver(place: &Place, ledger: &Ledger, rng: &mut StdRng) -> Option<()> {
    let mut smtp = Dialogue::new(TcpStream::connect(place.smtp).ok()?);
    heard(&mut smtp, "220 ")?;
    smtp.try_say("EHLO client.example\r\n").ok()?;
    while !said(&smtp.try_hear()?).starts_with("250 ") {}
    for _ in 0..rng.random_range(1..6) {
        if rng.random_bool(0.5) { send_in_turn(&mut smtp, ledger, rng)? } else { send_at_once(&mut smtp, ledger, rng)? }
    }
    smtp.try_say("QUIT\r\n").ok()?;
    heard(&mut smtp, "221 ")
}

/// A message of any size by DATA.
fn send_in_turn(smtp: &mut Dialogue, ledger: &Ledger, rng: &mut StdRng) -> Option<()> {
    let (message, accounts) = (Message::any(rng), recipients(rng));
    ledger.sending(message, accounts);
    smtp.try_say(format!("{}DATA\r\n", envelope(accounts))).ok()?;
    for code in envelope_replies(accounts).chain(["354 "]) {
        heard(smtp, code)?;
    }
    let mut octets = message.stuffed();
    octets.extend_from_slice(b".\r\n");
    smtp.try_say(octets).ok()?;
    heard(smtp, "250 2.0.0 ")?;
    ledger.acknowledged(message, accounts);
    Some(())
}

/// Several small messages by BDAT, all of them before the first reply is read.
fn send_at_once(smtp: &mut Dialogue, ledger: &Ledger, rng: &mut StdRng) -> Option<()> {
    let (mut octets, mut messages) = (Vec::new(), Vec::new());
    for _ in 0..rng.random_range(2..9) {
        let (message, accounts) = (Message::small(rng), recipients(rng));
        ledger.sending(message, accounts);
        let content = message.content();
        octets.extend_from_slice(format!("{}BDAT {} LAST\r\n", envelope(accounts), content.len()).as_bytes());
        octets.extend_from_slice(&content);
        messages.push((message, accounts));
    }
    smtp.try_say(octets).ok()?;
    for (message, accounts) in messages {
        for code in envelope_replies(accounts).chain(["250 2.0.0 "]) {
            heard(smtp, code)?;
        }
        ledger.acknowledged(message, accounts);
    }
    Some(())
}

fn recipients(rng: &mut StdRng) -> &'static [usize] {
    [&[0][..], &[1], &[0, 1]][rng.random_range(0..3)]
}

fn envelope(accounts: &[usize]) -> String {
    let recipients: String = accounts.iter().map(|account| format!("RCPT TO:<{}>\r\n", ACCOUNTS[*account])).collect();
    format!("MAIL FROM:<carol@elsewhere.example>\r\n{recipients}")
}

fn envelope_replies(accounts: &[usize]) -> impl Iterator<Item = &str> {
    ["250 2.1.0 "].into_iter().chain(accounts.iter().map(|_| "250 2.1.5 "))
}

/// One POP3 session that reads what is new and deletes about half of all. None when the server is gone.
fn fetch(place: &Place, account: usize, ledger: &Ledger, rng: &mut StdRng) -> Option<()> {
    let stream = TcpStream::connect(place.pop3s).ok()?;
    let mut pop3 = Dialogue::new(stream).try_start_tls(&place.certificate).ok()?;
    heard(&mut pop3, "+OK ")?;
    log_in(&mut pop3, account)?;
    let (mut there, mut leaving) = (list(&mut pop3)?, Vec::new());
    for (number, id) in &there {
        if !ledger.knows(account, id) {
            let message = retrieve(&mut pop3, *number)?;
            ledger.seen(account, id, message);
        }
    }
    there.retain(|_, _| rng.random_bool(0.5));
    let commands: String = there.keys().map(|number| format!("DELE {number}\r\n")).collect();
    pop3.try_say(commands).ok()?;
    for id in there.into_values() {
        heard(&mut pop3, "+OK ")?;
        leaving.push(id);
    }
    let update = ledger.leaving(account, &leaving);
    pop3.try_say("QUIT\r\n").ok()?;
    heard(&mut pop3, "+OK ")?;
    ledger.left(update);
    Some(())
}

/// Holds the running server to the ledger, and the ledger to what only the server can know; reads every message there is, or
/// those that nobody has seen.
fn compare(server: &Server, ledger: &Ledger, everything: bool) {
    for account in 0..ACCOUNTS.len() {
        let mut pop3 = server.connect("pop3");
        heard(&mut pop3, "+OK ").unwrap();
        assert_eq!(pop3.ask("STLS"), "+OK Begin TLS");
        let mut pop3 = pop3.start_tls(&server.certificate());
        log_in(&mut pop3, account).unwrap();
        let there = list(&mut pop3).unwrap();
        for (number, id) in &there {
            if everything || !ledger.knows(account, id) {
                let message = retrieve(&mut pop3, *number).unwrap();
                ledger.seen(account, id, message);
            }
        }
        ledger.settle(account, there.values());
        assert!(pop3.ask("QUIT").starts_with("+OK "));
    }
}

fn log_in(pop3: &mut Dialogue, account: usize) -> Option<()> {
    pop3.try_say(format!("USER {}\r\nPASS {PASSWORD}\r\n", ACCOUNTS[account])).ok()?;
    heard(pop3, "+OK ")?;
    heard(pop3, "+OK ")
}

/// The maildrop's unique ids by message number.
fn list(pop3: &mut Dialogue) -> Option<BTreeMap<u32, String>> {
    pop3.try_say("UIDL\r\n").ok()?;
    heard(pop3, "+OK ")?;
    let lines = pop3.try_hear_many()?;
    let pairs = lines.iter().map(|line| said(line).split_once(' ').map(|(number, id)| (number.parse().unwrap(), id.to_owned())).unwrap());
    Some(pairs.collect())
}

/// Reads a message and looks at every octet of it.
fn retrieve(pop3: &mut Dialogue, number: u32) -> Option<Message> {
    pop3.try_say(format!("RETR {number}\r\n")).ok()?;
    heard(pop3, "+OK ")?;
    Some(Message::recognise(&pop3.try_hear_many()?))
}

/// The next line begins like this. None when the connection is broken; any other line is a failure.
#[track_caller]
fn heard(dialogue: &mut Dialogue, beginning: &str) -> Option<()> {
    let line = dialogue.try_hear()?;
    assert!(line.starts_with(beginning.as_bytes()), "{beginning:?} expected, {:?} heard", said(&line));
    Some(())
}

fn said(line: &[u8]) -> &str {
    str::from_utf8(line).unwrap()
}

const ACCOUNTS: [&str; 2] = [ANN, BOB];
const CRASHES: usize = 100;
/// After so many crashes every message is read again and the store verified.
const LOOK_CLOSELY: usize = 20;
/// Small segments, so that there are many of them and old ones are cleared away meanwhile; passwords that are quick to check.
const SETTINGS: &str = r#"
[store]
segment = "1MiB"
reserve_free = "0B"
[auth]
hash_memory = "8KiB"
hash_passes = 1
[log]
level = "warn"
"#;
