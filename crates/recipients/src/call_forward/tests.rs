use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::{AT_ONCE, Lookup, Remembering, Settings};

const SECOND: Duration = Duration::from_secs(1);
const USUAL: [&str; 4] =
    ["220 behind.example\r\n", "250-behind.example\r\n250-PIPELINING\r\n250 SMTPUTF8\r\n", "250 2.1.0 ok\r\n", "250 2.1.5 ok\r\n"];

fn asked(server: &str) -> CallForward {
    CallForward { server: server.into(), protocol: Protocol::Lmtp, host: "mx.example".parse().unwrap(), timeout: 5 * SECOND }
}

/// Says each of the replies, and hears a command before each but the first; then closes. What it has heard.
async fn behind(stream: impl AsyncRead + AsyncWrite + Unpin, replies: &[&str]) -> Vec<String> {
    let (mut stream, mut heard) = (BufReader::new(stream), Vec::new());
    for (number, reply) in replies.iter().enumerate() {
        let mut line = String::new();
        if number > 0 && stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            break;
        }
        heard.extend(Some(line.trim_end().to_owned()).filter(|line| !line.is_empty()));
        if stream.write_all(reply.as_bytes()).await.is_err() {
            break;
        }
    }
    heard
}

async fn converse(replies: &[&str], name: &str) -> (Result<bool, Error>, Vec<String>) {
    let (asked, (ours, theirs)) = (asked("behind:24"), duplex(1 << 16));
    let mut conversation: Conversation<'_, DuplexStream> = Conversation { server: &asked.server, stream: ours };
    let asking = async {
        let answer = asked.ask(&mut conversation, mailbox(name).unwrap()).await;
        drop(conversation);
        answer
    };
    tokio::join!(asking, behind(theirs, replies))
}

#[tokio::test]
async fn the_empty_sender_asks_and_the_reply_to_rcpt_counts() {
    let [greeting, lhlo, mail, _] = USUAL;
    for (reply, known) in [
        ("250 2.1.5 ok\r\n", Some(true)),
        ("251 User not local; will forward\r\n", Some(true)),
        ("250-one\r\n250 two\r\n", Some(true)),
        ("550 5.1.1 no such user\r\n", Some(false)),
        ("550 no such user\r\n", Some(false)),
        ("550\r\n", Some(false)),
        ("553 5.1.3 no address\r\n", Some(false)),
        ("554 5.1.1 no such user\r\n", Some(false)),
        // As Exchange says it.
        ("550 5.4.1 Recipient address rejected: Access denied\r\n", Some(false)),
        ("550 5.2.1 disabled\r\n", Some(false)),
        ("554 5.7.1 Relay access denied\r\n", None),
        ("550 5.7.1 We do not relay\r\n", None),
        ("554 no\r\n", None),
        ("552 5.2.2 quota exceeded\r\n", None),
        ("550 5.2.2 quota exceeded\r\n", None),
        ("503 5.5.1 MAIL first\r\n", None),
        ("530 5.7.0 authentication required\r\n", None),
        ("450 4.2.1 later\r\n", None),
        ("421 4.3.2 shutting down\r\n", None),
        ("354 go on\r\n", None),
    ] {
        let (answer, heard) = converse(&[greeting, lhlo, mail, reply], "ann@example.org").await;
        assert_eq!(heard, ["LHLO mx.example", "MAIL FROM:<>", "RCPT TO:<ann@example.org>"]);
        match (answer, known) {
            (Ok(answer), Some(known)) => assert_eq!(answer, known, "{reply}"),
            (Err(error @ Error::Unwilling { .. }), None) => {
                assert_eq!(error.to_string(), format!("behind:24 answers RCPT with {:?}", reply.trim_end()));
            }
            (answer, _) => panic!("{reply:?}: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_refused_before_rcpt_is_no_answer() {
    let [greeting, lhlo, ..] = USUAL;
    for (replies, why) in [
        (&["554 5.7.1 not for you\r\n"][..], "behind:24 answers the connection with \"554 5.7.1 not for you\""),
        (&[greeting, "502 5.5.1 no LHLO here\r\n"], "behind:24 answers LHLO with \"502 5.5.1 no LHLO here\""),
        (&[greeting, lhlo, "550 5.1.7 no empty senders\r\n"], "behind:24 answers MAIL with \"550 5.1.7 no empty senders\""),
        (&[greeting, lhlo, "451 4.3.0 later\r\n"], "behind:24 answers MAIL with \"451 4.3.0 later\""),
    ] {
        assert_eq!(converse(replies, "ann@example.org").await.0.unwrap_err().to_string(), why);
    }
}

#[tokio::test]
async fn what_is_no_reply_is_no_answer() {
    let [greeting, lhlo, mail, known] = USUAL;
    let (endless, line) = ("250-more\r\n".repeat(1000), "250 ".to_owned() + &"x".repeat(REPLY_OCTETS));
    for nonsense in
        ["HTTP/1.1 400\r\n", "2x0 ok\r\n", "150 ok\r\n", "650 ok\r\n", "250-one\r\n550 two\r\n", "250_ok\r\n", "\r\n", &endless, &line]
    {
        let (answer, _) = converse(&[greeting, lhlo, mail, nonsense], "ann@example.org").await;
        assert!(matches!(answer, Err(Error::Nonsense { command: "RCPT", .. })), "{nonsense:.20}: {answer:?}");
    }
    // What comes unasked may be the answer to anything.
    let twice = format!("{mail}{known}");
    let (answer, _) = converse(&[greeting, lhlo, &twice, known], "ann@example.org").await;
    assert!(matches!(answer, Err(Error::Nonsense { command: "MAIL", .. })), "{answer:?}");
    for closed in
        [&[][..], &[greeting], &[greeting, lhlo, mail], &[greeting, lhlo, mail, "250-half\r\n250 o"], &[greeting, lhlo, mail, "25"]]
    {
        let (answer, _) = converse(closed, "ann@example.org").await;
        assert!(matches!(answer, Err(Error::Connection { .. })), "{closed:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_address_is_asked_as_smtp_writes_it() {
    for (name, rcpt) in [
        ("no body@example.org", Some("RCPT TO:<\"no body\"@example.org>")),
        ("a\\\"b@example.org", Some("RCPT TO:<\"a\\\\\\\"b\"@example.org>")),
        ("\"a\"@example.org", Some("RCPT TO:<\"\\\"a\\\"\"@example.org>")),
        ("jürgen@example.org", Some("RCPT TO:<jürgen@example.org>")),
    ] {
        let (answer, heard) = converse(&USUAL, name).await;
        assert_eq!((answer.unwrap(), heard.last().map(String::as_str)), (true, rcpt), "{name}");
        assert_eq!(heard[1].ends_with(" SMTPUTF8"), !name.is_ascii());
    }
    let [greeting, _, mail, known] = USUAL;
    let (answer, heard) = converse(&[greeting, "250 behind.example\r\n", mail, known], "jürgen@example.org").await;
    assert_eq!((answer.unwrap(), heard.len()), (false, 1), "it cannot have that address");
    assert_eq!(mailbox("a\r\nRSET@example.org"), None);
    assert_eq!(mailbox("nowhere"), None);
}

/// A server that answers every connection alike, and how many there were.
async fn serve(tasks: &mut JoinSet<()>, replies: Vec<&'static str>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&connections);
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            behind(stream, &replies).await;
        }
    });
    (address, connections)
}

fn lookup(server: CallForward) -> Lookup {
    let remembering = Remembering { found: 600 * SECOND, unknown: 60 * SECOND, addresses: 10 };
    Lookup::new(Settings { database: None, call_forward: Some(server), remembering })
}

#[tokio::test]
async fn answers_are_remembered_and_failures_are_not() {
    let (mut tasks, [greeting, lhlo, mail, _]) = (JoinSet::new(), USUAL);
    let known = serve(&mut tasks, USUAL.to_vec()).await;
    let unknown = serve(&mut tasks, [greeting, lhlo, mail, "550 5.1.1 nobody\r\n"].to_vec()).await;
    let busy = serve(&mut tasks, [greeting, lhlo, mail, "451 4.3.0 later\r\n"].to_vec()).await;
    for ((server, connections), answers, asked_for_them) in
        [(known, ["Some(true)"; 3], 1), (unknown, ["Some(false)"; 3], 1), (busy, ["None"; 3], 3)]
    {
        let lookup = lookup(asked(&server));
        for answer in answers {
            assert_eq!(format!("{:?}", lookup.is_known("ann@example.org").await.ok()), answer);
        }
        assert_eq!(connections.load(Ordering::SeqCst), asked_for_them);
        assert!(lookup.accounts("ann@example.org").await.unwrap().is_empty(), "no database is asked");
    }
}

#[tokio::test]
async fn check_says_whether_the_server_takes_the_empty_sender() {
    let (mut tasks, [greeting, lhlo, ..]) = (JoinSet::new(), USUAL);
    let (willing, _) = serve(&mut tasks, USUAL.to_vec()).await;
    asked(&willing).check().await.unwrap();
    let (unwilling, _) = serve(&mut tasks, [greeting, lhlo, "550 5.7.1 who is that?\r\n"].to_vec()).await;
    let error = asked(&unwilling).check().await.unwrap_err().to_string();
    assert_eq!(error, format!("{unwilling} answers MAIL with \"550 5.7.1 who is that?\""));
    // A port of our own that nobody listens on any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    assert!(matches!(asked(&gone).check().await, Err(Error::Connection { .. })));
    assert!(matches!(lookup(asked(&gone)).is_known("ann@example.org").await, Err(Error::Connection { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_waited_for_so_long_and_leaves_room_for_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lookup = Arc::new(lookup(asked(&listener.local_addr().unwrap().to_string())));
    let (mut tasks, start) = (JoinSet::new(), tokio::time::Instant::now());
    for number in 0..2 * AT_ONCE {
        let lookup = Arc::clone(&lookup);
        tasks.spawn(async move { lookup.is_known(&format!("{number}@example.org")).await });
    }
    for answer in tasks.join_all().await {
        assert!(matches!(answer, Err(Error::TimedOut(_, time)) if time == 5 * SECOND), "{answer:?}");
    }
    assert_eq!(start.elapsed().as_secs(), 5, "those who have waited for their turn, too");
    // Their places are free. From here on time is that of the sockets.
    tokio::time::resume();
    let answered = async {
        loop {
            let heard = behind(listener.accept().await.unwrap().0, &USUAL).await;
            if heard.len() == 3 {
                return heard;
            }
        }
    };
    let (known, heard) = tokio::join!(lookup.is_known("ann@example.org"), answered);
    assert!(known.unwrap() && heard[2] == "RCPT TO:<ann@example.org>", "{heard:?}");
}
