//! What is declared binary is stored as base64 in lines, what is not as it came; what cannot be told apart is refused.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::house::{ANN, BOB, Client, House, Plan};

/// Every octet, with CR and LF in every order, dots, and what is nearly a boundary.
fn octets() -> Vec<u8> {
    let mut octets = b"\0\r\n.\r\n..\r\r\n\n\r\n--almost\r\n--\r\n".to_vec();
    octets.extend((0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8));
    octets.push(b'\r');
    octets
}

/// A text, and a file.
fn message(encoding: &str, content: &[u8]) -> Vec<u8> {
    let header = format!(
        "From: <ann@example.org>\r\nBcc: <bob@example.org>\r\nContent-Type: multipart/mixed; boundary=boundary\r\n\r\n--boundary\r\n\r\nSee below.\r\n\
         --boundary\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    [header.as_bytes(), content, b"\r\n--boundary--\r\n"].concat()
}

/// As it is stored.
fn lines(content: &[u8]) -> Vec<u8> {
    let base64 = BASE64_STANDARD.encode(content);
    let lines: Vec<_> = base64.as_bytes().chunks(76).collect();
    message("base64", &lines.join(&b"\r\n"[..]))
}

async fn opens(client: &mut Client, recipients: &[&str]) {
    client.asks(&format!("MAIL FROM:<{ANN}> BODY=BINARYMIME"), "250 2.1.0").await;
    for recipient in recipients {
        client.asks(&format!("RCPT TO:<{recipient}>"), "250 2.1.5").await;
    }
}

/// In chunks of so many octets, and one that is empty; the reply to the last.
async fn sends(client: &mut Client, text: &[u8], step: usize) -> String {
    for chunk in text.chunks(step) {
        client.says([format!("BDAT {}\r\n", chunk.len()).as_bytes(), chunk].concat()).await;
        client.hears("250 2.0.0").await;
    }
    client.says("BDAT 0 LAST\r\n").await;
    client.reply().await
}

fn stored(house: &House, account: &str) -> Vec<u8> {
    let text = house.store.texts(account).pop().unwrap();
    let at = text.windows(8).position(|eight| eight == b" +0000\r\n").unwrap();
    text[at + 8..].to_vec()
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_binary_is_stored_as_base64_however_it_comes() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    for step in [1 << 20, 70_001, 4099] {
        opens(&mut client, &[ANN]).await;
        assert!(sends(&mut client, &message("binary", &octets()), step).await.starts_with("250 2.0.0 "), "by {step}");
        assert!(stored(&house, ANN) == lines(&octets()), "by {step}");
    }
    let short = message("Binary", b"\0\n");
    for step in [1, 2, 3, 7] {
        opens(&mut client, &[ANN]).await;
        assert!(sends(&mut client, &short, step).await.starts_with("250 2.0.0 "), "by {step}");
        assert_eq!(stored(&house, ANN).escape_ascii().to_string(), lines(b"\0\n").escape_ascii().to_string(), "by {step}");
    }
    let trace = String::from_utf8(house.store.texts(ANN).pop().unwrap()).unwrap();
    assert!(trace.contains("with ESMTP id "), "{trace}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_declared_binary_is_stored_as_it_came() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    for text in [message("8bit", b"\0\xff\r\n.\r\n"), b"no header, no end".to_vec(), Vec::new(), b"\r\nbinary\r\n".to_vec()] {
        for step in [1, 1000] {
            opens(&mut client, &[ANN]).await;
            assert!(sends(&mut client, &text, step).await.starts_with("250 2.0.0 "));
            assert!(stored(&house, ANN) == text, "{:?}", text.escape_ascii().to_string());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_of_lines_is_refused_and_leaves_nothing() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    let twice = "Content-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: 7bit\r\n\r\nx\r\n";
    let deep = (0..17).map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}.\r\n\r\n--b{level}.\r\n")).collect::<String>();
    for (text, reply) in [
        (message("8bit", b"a\nb"), "554 5.6.0 "),
        (message("binary", b"\0\r\n--boundary\n\r\n"), "554 5.6.0 "),
        (b"\r\nx\r".to_vec(), "554 5.6.0 "),
        (twice.into(), "554 5.6.5 "),
        (deep.into(), "554 5.6.5 "),
    ] {
        for step in [3, 1 << 20] {
            opens(&mut client, &[ANN]).await;
            let said = sends(&mut client, &text, step).await;
            assert!(said.starts_with(reply), "{said}: {:?}", text.escape_ascii().to_string());
        }
    }
    assert!(house.store.texts(ANN).is_empty());
    assert_eq!(house.metric("messages_refused_total{listener=\"smtp\",reply=\"5xx\"}"), 10);
}

#[tokio::test(start_paused = true)]
async fn by_lmtp_each_recipient_hears_of_it() {
    let house = Plan::lmtp().build().await;
    let mut client = house.connect().await;
    client.asks("LHLO client.example", "250-mx.example").await;
    opens(&mut client, &[ANN, BOB]).await;
    assert!(sends(&mut client, &message("binary", b"\n"), 1000).await.starts_with("250 2.0.0 "));
    client.hears("250 2.0.0 ").await;
    assert!(stored(&house, ANN) == lines(b"\n") && stored(&house, BOB) == lines(b"\n"));
    opens(&mut client, &[ANN, BOB]).await;
    assert!(sends(&mut client, &message("8bit", b"\n"), 1000).await.starts_with("554 5.6.0 "));
    client.hears("554 5.6.0 ").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_done_for_people_is_done_for_it_too() {
    let mut plan = Plan::submission();
    plan.settings.submission =
        smtp_listener::Submission { own_senders: true, complete_header: true, ..smtp_listener::Submission::default() };
    let house = plan.build().await;
    let mut client = house.log_in().await;
    for step in [1, 1000] {
        opens(&mut client, &[BOB]).await;
        assert!(sends(&mut client, &message("binary", b"Bcc: \n"), step).await.starts_with("250 2.0.0 "));
        let text = String::from_utf8(house.store.texts(BOB).pop().unwrap()).unwrap();
        let expected = String::from_utf8(lines(b"Bcc: \n")).unwrap().replace("Bcc: <bob@example.org>\r\n", "");
        let fields = text.strip_suffix(&expected).unwrap_or_else(|| panic!("{text}"));
        assert!(fields.contains("Date: ") && fields.contains("Message-ID: "), "{text}");
    }
}
