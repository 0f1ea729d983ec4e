//! Messages that nobody's program writes: what is refused of them leaves nothing, and what is taken is taken as it came.

use crate::house::{ANN, Client, House, Plan};

/// Texts with a CR or an LF that is no part of a line's end; the first ones would end a message elsewhere.
const BARE: [&str; 14] = [
    "a\n.\n",
    "a\n.\r\nb",
    "a\r\n.\nb",
    "a\r.\r\nb",
    "a\r\n.\rb",
    "a\r\n.\r\r\nb",
    "a\r.\r",
    "a\n.\r",
    "a\r.\n",
    "Subject: x\nFrom: y\r\n\r\n",
    "Subject: x\r\rFrom: y\r\n\r\n",
    "\n",
    "a\r",
    "\r\r\n",
];

async fn opens(client: &mut Client, from: &str) {
    client.asks(&format!("MAIL FROM:<{from}>"), "250 2.1.0").await;
    client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
}

/// Every LF behind a CR, and every CR before an LF.
fn is_lines(text: &[u8]) -> bool {
    let (returns, feeds) = (text.iter().filter(|octet| **octet == b'\r').count(), text.iter().filter(|octet| **octet == b'\n').count());
    let ends = text.windows(2).filter(|two| two == b"\r\n").count();
    (returns, feeds) == (ends, ends)
}

#[tokio::test(start_paused = true)]
async fn no_bare_cr_or_lf_is_ever_stored_however_it_comes() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    for text in BARE {
        for step in [1, 2, 1000] {
            opens(&mut client, "").await;
            client.asks("DATA", "354 ").await;
            for piece in text.as_bytes().chunks(step) {
                client.says(piece).await;
            }
            client.says("\r\n.\r\n").await;
            client.hears("554 5.6.0").await;

            opens(&mut client, "").await;
            for piece in text.as_bytes().chunks(step) {
                client.says([format!("BDAT {}\r\n", piece.len()).as_bytes(), piece].concat()).await;
                client.hears("250 2.0.0").await;
            }
            client.asks("BDAT 0 LAST", "554 5.6.0").await;
        }
    }
    assert!(house.store.texts(ANN).is_empty());

    // The same lines, ended as they should be.
    opens(&mut client, "").await;
    client.says("BDAT 2\r\na\rBDAT 4 LAST\r\n\n.\r\n").await;
    client.hears("250 2.0.0").await;
    client.hears("250 2.0.0").await;
    let text = house.store.texts(ANN).remove(0);
    assert!(text.ends_with(b"\r\na\r\n.\r\n") && is_lines(&text), "{:?}", text.escape_ascii().to_string());
}

/// Headers and bodies that are meant to be too much for whoever looks at them; no line begins with a dot.
fn bombs() -> Vec<Vec<u8>> {
    let nested =
        (0..2000).map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n")).collect::<String>();
    let parts = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n", "--b\r\n\r\nx\r\n".repeat(20_000));
    vec![
        "X-Field: one of many\r\n".repeat(50_000).into_bytes(),
        format!("Subject: {}\r\n\r\nbody\r\n", "long ".repeat(200_000)).into_bytes(),
        format!("Subject: folded\r\n{}\r\nbody\r\n", " on and on\r\n".repeat(20_000)).into_bytes(),
        format!("{}: a name without end\r\n\r\n", "X".repeat(200_000)).into_bytes(),
        format!("To: {}\r\n\r\n", "(".repeat(100_000)).into_bytes(),
        b"Sub\0ject: \0\r\nX-\xff: \xc3\xbc \xff\r\nno colon\r\n : no name\r\n\r\n\0\r\n".to_vec(),
        b" a first line that goes on\r\n\r\nbody\r\n".to_vec(),
        b"\0".repeat(100_000).into_iter().chain(*b"\r\n").collect(),
        nested.into_bytes(),
        parts.into_bytes(),
        format!("Content-Type: multipart/mixed; boundary={}\r\n\r\n", "b".repeat(100_000)).into_bytes(),
        "Content-Type: message/rfc822\r\n\r\n".repeat(5000).into_bytes(),
    ]
}

#[tokio::test(start_paused = true)]
async fn headers_and_parts_without_end_are_stored_as_they_came_and_looked_at_by_nobody() {
    let mut submission = Plan::submission();
    submission.settings.submission =
        smtp_listener::Submission { own_senders: true, complete_header: true, ..smtp_listener::Submission::default() };
    let (relay, submission) = (Plan::relay().build().await, submission.build().await);
    for (house, mut client) in [(&relay, relay.greet().await), (&submission, submission.log_in().await)] {
        for text in bombs() {
            opens(&mut client, ANN).await;
            client.asks("DATA", "354 ").await;
            client.says(&text).await;
            client.says(".\r\n").await;
            client.hears("250 2.0.0").await;
            let stored = house.store.texts(ANN).pop().unwrap();
            assert!(stored.ends_with(&text) && is_lines(&stored), "{:?}", text[..40].escape_ascii().to_string());
        }
    }
}
