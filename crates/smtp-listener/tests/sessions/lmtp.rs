//! LMTP: a reply for each recipient, one message in the store, and only servers of ours.

use store::memory::Condition;

use crate::house::{ANN, BOB, Plan};

#[tokio::test(start_paused = true)]
async fn each_recipient_has_a_reply_and_what_the_store_says_is_said_for_each() {
    let house = Plan::lmtp().build().await;
    let mut client = house.connect().await;
    client.asks("LHLO client.example", "250-mx.example").await;
    client.begins(&["ann@example.org", "bob@example.org"]).await;
    client.says("Subject: for both\r\n\r\n.\r\n").await;
    let replies = [client.reply().await, client.reply().await];
    assert!(replies[0].starts_with("250 2.0.0") && replies[0] == replies[1], "{replies:?}");
    for account in [ANN, BOB] {
        let text = String::from_utf8(house.store.texts(account).remove(0)).unwrap();
        assert!(text.contains(" with LMTP id "), "{text}");
    }
    client.begins(&["ann@example.org", "bob@example.org"]).await;
    let hold = house.store.hold_commits().await;
    client.says("Subject: full\r\n\r\n.\r\n").await;
    house.store.set(Condition::Full);
    drop(hold);
    client.hears("452 4.3.1").await;
    client.hears("452 4.3.1").await;
    client.asks("QUIT", "221").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_listed_delivers_nothing_and_a_reload_takes_the_leave_at_once() {
    let mut plan = Plan::lmtp();
    let listed = plan.settings.clone();
    plan.settings.lmtp_networks = vec!["192.0.2.0/24".parse().unwrap()];
    let unlisted = plan.settings.clone();
    let house = plan.build().await;
    let mut client = house.connect().await;
    client.asks("LHLO client.example", "250-mx.example").await;
    client.asks("MAIL FROM:<a@elsewhere.example>", "550 5.7.1 You may not deliver here by LMTP").await;
    house.listener.configure(listed);
    client.asks("MAIL FROM:<a@elsewhere.example>", "250 2.1.0").await;
    client.asks("RCPT TO:<bob@elsewhere.example>", "550 5.7.1 We do not relay for you").await;
    client.asks("RSET", "250").await;
    house.listener.configure(unlisted);
    client.asks("MAIL FROM:<a@elsewhere.example>", "550 5.7.1 You may not deliver here by LMTP").await;
}
