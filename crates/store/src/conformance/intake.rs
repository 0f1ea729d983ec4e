//! Taking messages in.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use mail::{DeliverBy, Envelope, Notify, OriginalRecipient, RecipientRequests, Requests, Returned};
use tokio::task::JoinSet;

use super::{
    ANN, BOB, CYD, Engine, NEVER, TRACE, accept, change, envelope, listed, maildrop, open, read, reopen, same, take, texts, whole,
};
use crate::{Change, Intake, Store};

/// Trace fields and body come back as they went in, counted as POP3 counts them, however the body was cut.
pub async fn a_message_is_kept_octet_for_octet(engine: &impl Engine) {
    let long_line = [&[b'x'; 200_000][..], b"\r\n"].concat();
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    // The text, and the octets POP3 adds because its last line lacks its CRLF.
    let table: [(&[u8], u64); 12] = [
        (b"", 0),
        (b"\r\n", 0),
        (b"Subject: hello\r\n\r\nhello\r\n", 0),
        (b"no line end", 2),
        (b"ends with a bare CR\r", 2),
        (b"ends with a bare LF\n", 2),
        (b".\r\n..\r\n.dots.\r\n\r\n.\r\n", 0),
        (b"\r\n\r\n\r\n", 0),
        (b"caf\xc3\xa9 \x00\xff\x80\r\n", 0),
        (b"one\ntwo\rthree\r\r\n\n", 2),
        (&long_line, 0),
        (&binary, 2),
    ];
    let store = open(engine, NEVER).await;
    let mut expected = Vec::new();
    for (body, added) in table {
        for trace in [TRACE, b""] {
            // Octet by octet only where that is soon done.
            for step in if body.len() < 100 { &[1, 3, 4096][..] } else { &[7777, 65_536] } {
                let id = take(&*store, &[ANN], trace, body, *step).await.unwrap();
                let text = [trace, body].concat();
                let added = if text.is_empty() || text.ends_with(b"\r\n") { 0 } else { added };
                expected.push((id, text.len() as u64 + added, text));
            }
        }
    }
    let check = async |store: Arc<_>, when: &str| {
        let maildrop = maildrop(&*store, ANN).await;
        assert_eq!(maildrop.listing().len(), expected.len(), "{when}");
        for (entry, (id, octets, text)) in maildrop.listing().iter().zip(&expected) {
            let what = format!("{when}: {:?}", text.get(..text.len().min(40)).map(<[u8]>::escape_ascii).map(|text| text.to_string()));
            assert_eq!((entry.id, entry.octets), (*id, *octets), "{what}");
            same(&read(&*maildrop, entry).await, text, &what);
        }
        drop(maildrop);
        store
    };
    let store = check(store, "at once").await;
    let store = reopen(engine, store).await;
    check(store, "after a restart").await;
}

/// 25 MiB, as large as messages usually may be.
pub async fn a_large_message_is_kept_octet_for_octet(engine: &impl Engine) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let body: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take((25 << 20) / 8)
    .flatten()
    .collect();
    let store = open(engine, NEVER).await;
    let before = accept(&*store, &[ANN], b"a small one before\r\n").await;
    let large = take(&*store, &[ANN], TRACE, &body, 65_536).await.unwrap();
    let after = accept(&*store, &[ANN], b"a small one after\r\n").await;
    let expected = whole(&body);
    same(&read_second(&*store).await, &expected, "at once");
    let store = reopen(engine, store).await;
    same(&read_second(&*store).await, &expected, "after a restart");
    assert_eq!(listed(&*store, ANN).await, [before, large, after]);
}

async fn read_second(store: &impl Store) -> Vec<u8> {
    let maildrop = maildrop(store, ANN).await;
    let entry = maildrop.listing().get(1).copied().unwrap();
    assert!(entry.octets >= 25 << 20);
    read(&*maildrop, &entry).await
}

/// One message, one id, in each recipient's maildrop; each has it until it deletes its own.
pub async fn a_message_reaches_every_recipient(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let id = accept(&*store, &[ANN, BOB, CYD], b"for all of you\r\n").await;
    for account in [ANN, BOB, CYD] {
        assert_eq!(listed(&*store, account).await, [id], "{account}");
    }
    let bob = maildrop(&*store, BOB).await;
    let all = bob.listing().to_vec();
    bob.update(all).await.unwrap();
    let store = reopen(engine, store).await;
    assert_eq!(listed(&*store, BOB).await, []);
    for account in [ANN, CYD] {
        assert_eq!(texts(&*store, account).await, [whole(b"for all of you\r\n")], "{account}");
    }
}

/// What MAIL and RCPT asked for is as durable as the message.
pub async fn what_a_sender_asks_for_is_kept(engine: &impl Engine) {
    let original = OriginalRecipient { address_type: "rfc822".into(), address: "a b+c=d@example.com".into() };
    let notify = Some(Notify { success: true, failure: false, delay: true });
    let requests = Requests {
        envelope_id: Some("QQ314159 +=".into()),
        returned: Some(Returned::Full),
        priority: Some(-9),
        require_tls: true,
        deliver_by: Some(DeliverBy { seconds: -120, or_return: false, trace: true }),
        recipients: vec![
            RecipientRequests { recipient: "<\"a b\"@example.org>".into(), notify, original: Some(original) },
            RecipientRequests { recipient: "<zoë@example.org>".into(), notify: Some(Notify::default()), original: None },
        ],
    };
    let store = open(engine, NEVER).await;
    let mut sent = Vec::new();
    for asked in [Some(requests), None, Some(Requests { returned: Some(Returned::Headers), ..Requests::default() })] {
        let envelope = Envelope { requests: asked.clone().map(Box::new), ..envelope(&[ANN, BOB]) };
        sent.push((envelope.id, asked));
        let mut incoming = store.begin(envelope).await.unwrap();
        incoming.write(b"asks for much\r\n").await.unwrap();
        drop(incoming.commit(TRACE.to_vec()).await.unwrap());
    }
    let check = |store: &_, when| sent.iter().for_each(|(id, asked)| assert_eq!(engine.requests(store, *id), *asked, "{when}"));
    check(&store, "at once");
    let store = reopen(engine, store).await;
    check(&store, "after a restart");
    assert_eq!(texts(&*store, BOB).await.len(), sent.len());
}

/// Oldest first, by the instant of acceptance and not by when the message was begun or what its id is.
pub async fn the_listing_is_in_the_order_of_commits(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let (first, second) = (envelope(&[ANN]), envelope(&[ANN]));
    let (first_id, second_id) = (first.id, second.id);
    let mut begun_first = store.begin(first).await.unwrap();
    let mut begun_second = store.begin(second).await.unwrap();
    begun_first.write(b"begun first\r\n").await.unwrap();
    begun_second.write(b"begun second\r\n").await.unwrap();
    drop(begun_second.commit(TRACE.to_vec()).await.unwrap());
    let between = accept(&*store, &[ANN], b"begun last\r\n").await;
    drop(begun_first.commit(TRACE.to_vec()).await.unwrap());
    let expected = [second_id, between, first_id];
    assert_eq!(listed(&*store, ANN).await, expected);
    let store = reopen(engine, store).await;
    assert_eq!(listed(&*store, ANN).await, expected, "after a restart");
    let last = accept(&*store, &[ANN], b"after the restart\r\n").await;
    assert_eq!(listed(&*store, ANN).await, [second_id, between, first_id, last]);
}

/// The connection died in the middle of DATA.
pub async fn a_message_dropped_before_its_commit_leaves_nothing(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    for pieces in [0, 1, 64] {
        let mut incoming = store.begin(envelope(&[ANN])).await.unwrap();
        for _ in 0..pieces {
            incoming.write(&[b'x'; 65_536]).await.unwrap();
        }
        drop(incoming);
    }
    let id = accept(&*store, &[ANN], b"whole\r\n").await;
    assert_eq!(listed(&*store, ANN).await, [id]);
    let store = reopen(engine, store).await;
    assert_eq!(texts(&*store, ANN).await, [whole(b"whole\r\n")]);
}

/// The commit's future was dropped half-way.
pub async fn an_abandoned_commit_stores_all_or_nothing(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let body = [b'x'; 100_000];
    for polls in 0..20 {
        let mut incoming = store.begin(envelope(&[ANN, BOB])).await.unwrap();
        incoming.write(&body).await.unwrap();
        let mut commit = pin!(incoming.commit(TRACE.to_vec()));
        let mut left = polls;
        // Polled a few times at most, and then dropped.
        std::future::poll_fn(|context| match left {
            0 => Poll::Ready(()),
            _ => {
                left -= 1;
                commit.as_mut().poll(context).map(drop)
            }
        })
        .await;
    }
    let last = accept(&*store, &[ANN, BOB], &body).await;
    let store = reopen(engine, store).await;
    assert_eq!(listed(&*store, ANN).await, listed(&*store, BOB).await, "all recipients or none");
    assert_eq!(listed(&*store, ANN).await.last(), Some(&last));
    for text in texts(&*store, ANN).await {
        same(&text, &whole(&body), "whole or not there");
    }
}

/// Sixteen senders at once, to maildrops of their own and a shared one.
pub async fn concurrent_commits_are_all_kept(engine: &impl Engine) {
    const SENDERS: usize = 16;
    const EACH: usize = 25;
    let store = open(engine, NEVER).await;
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let store = Arc::clone(&store);
        senders.spawn(async move {
            let mut sent = Vec::new();
            for number in 0..EACH {
                let body = format!("{sender} sends {number}\r\n").repeat(1 + number * sender);
                let id = accept(&*store, &[ANN, if sender % 2 == 0 { BOB } else { CYD }], body.as_bytes()).await;
                sent.push((id, body));
            }
            sent
        });
    }
    let sent: Vec<_> = senders.join_all().await;
    let store = reopen(engine, store).await;
    let shared = listed(&*store, ANN).await;
    assert_eq!(shared.len(), SENDERS * EACH);
    assert_eq!(listed(&*store, BOB).await.len() + listed(&*store, CYD).await.len(), SENDERS * EACH);
    let texts = texts(&*store, ANN).await;
    for sender in &sent {
        let places: Vec<_> = sender.iter().map(|(id, _)| shared.iter().position(|listed| listed == id).unwrap()).collect();
        assert!(places.is_sorted(), "a sender's messages are in its order");
        for ((_, body), place) in sender.iter().zip(places) {
            same(texts.get(place).unwrap(), &whole(body.as_bytes()), "the id names the text");
        }
    }
}

/// Accepting it would lose it, or hand it to whoever has the name next.
pub async fn a_message_for_an_account_that_has_gone_is_not_accepted(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let mut incoming = store.begin(envelope(&[ANN, BOB])).await.unwrap();
    incoming.write(b"too late\r\n").await.unwrap();
    change(&*store, Change::RemoveAccount { name: BOB.into() }).await;
    incoming.commit(TRACE.to_vec()).await.unwrap_err();
    let store = reopen(engine, store).await;
    assert_eq!(listed(&*store, ANN).await, []);
}

/// `ready` is asked before each transaction and agrees with `begin`.
pub async fn a_new_store_takes_messages(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    store.ready().unwrap();
    accept(&*store, &[ANN], b"\r\n").await;
    store.ready().unwrap();
}
