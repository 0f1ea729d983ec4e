//! NOTIFY=SUCCESS: who hears of a delivery, and who never does.

use std::sync::Arc;

use async_trait::async_trait;
use mail::{Envelope, ForwardPath, ReversePath};
use smtp_listener::Submission;
use store::memory::Memory;
use store::{Account, Book, Change, ChangeError, Directory, Error, Incoming, Intake, Maildrop, Maildrops, Posting, Resolution, Store};

use crate::house::{ANN, BOB, Client, House, Plan, SECOND};

const GIVEN: &str = "delivery_reports_total{listener=\"smtp\",outcome=\"given\"}";
const MISSING: &str = "delivery_reports_total{listener=\"smtp\",outcome=\"missing\"}";

async fn sends(client: &mut Client, mail: &str, rcpt: &[&str]) {
    client.asks(mail, "250 2.1.0").await;
    for recipient in rcpt {
        client.asks(recipient, "250 2.1.5").await;
    }
    client.asks("DATA", "354 ").await;
    client.says("Subject: hello\r\nX-Secret: header\r\n\r\nthe body\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
}

fn texts(house: &House, account: &str) -> Vec<String> {
    house.store.texts(account).into_iter().map(|text| String::from_utf8(text).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_sender_who_asks_hears_of_the_delivery_in_its_own_maildrop() {
    let house = Plan::submission().build().await;
    let mut client = house.log_in().await;
    let rcpt =
        ["RCPT TO:<bob@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@example.org", "RCPT TO:<sales@example.org> NOTIFY=NEVER"];
    sends(&mut client, "MAIL FROM:<Ann@Example.org> RET=FULL ENVID=QQ+3D1", &rcpt).await;
    let found = texts(&house, ANN);
    let [message, report] = &found[..] else { panic!("{found:?}") };
    assert!(message.contains("the body") && texts(&house, BOB).len() == 1);
    assert!(report.starts_with("Return-Path: <>\r\n"), "{report}");
    for line in [
        "To: Ann@example.org\r\n",
        "Original-Envelope-Id: QQ=1\r\n",
        "Original-Recipient: rfc822; Bob+x@example.org\r\nFinal-Recipient: rfc822; bob@example.org\r\nAction: delivered\r\n",
        "\r\n\r\nSubject: hello\r\nX-Secret: header\r\n\r\n--",
    ] {
        assert!(report.contains(line), "{line:?} is not in {report}");
    }
    assert!(!report.contains("sales") && !report.contains("the body"), "{report}");
    assert_eq!((house.metric(GIVEN), house.metric(MISSING)), (1, 0));
    let id = message.split(" id ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let kept = house.store.requests(id).unwrap();
    assert_eq!((kept.envelope_id.as_deref(), kept.recipients.len()), (Some("QQ=1"), 2));
}

#[tokio::test(start_paused = true)]
async fn an_alias_of_several_is_expanded_and_a_list_has_its_mail_delivered() {
    let house = Plan::submission().build().await;
    let list = Change::AddList { name: "team@example.org".into(), posting: Posting::Anyone, members: vec![ANN.into(), BOB.into()] };
    let each = Change::PutAlias { name: "each@example.org".into(), targets: vec!["team@example.org".into(), ANN.into()] };
    for change in [list, each] {
        house.store.change(change).await.unwrap();
    }
    let mut client = house.log_in().await;
    let rcpt = ["all", "sales", "team", "each", "bob"].map(|name| format!("RCPT TO:<{name}@example.org> NOTIFY=SUCCESS"));
    sends(&mut client, "MAIL FROM:<ann@example.org>", &rcpt.each_ref().map(String::as_str)).await;
    let report = &texts(&house, ANN)[1];
    for (name, action) in [("all", "expanded"), ("sales", "delivered"), ("team", "delivered"), ("each", "expanded"), ("bob", "delivered")] {
        let told = format!("Final-Recipient: rfc822; {name}@example.org\r\nAction: {action}\r\n");
        assert!(report.contains(&told), "{told} is not in {report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_a_report_and_a_priority_stands_in_the_trace_field() {
    let house = Plan::submission().build().await;
    let mut client = house.log_in().await;
    sends(&mut client, "MAIL FROM:<ann@example.org> BY=60;NT MT-PRIORITY=3", &["RCPT TO:<bob@example.org>"]).await;
    assert!(texts(&house, BOB)[0].contains("\r\n\tPRIORITY 3;\r\n"));
    let report = &texts(&house, ANN)[0];
    assert!(report.contains("Final-Recipient: rfc822; bob@example.org\r\nAction: delivered"), "{report}");
    let date = |field: &str| {
        let date = report.split(&format!("\r\n{field}: ")).nth(1).unwrap().split("\r\n").next().unwrap();
        jiff::fmt::rfc2822::parse(date).unwrap().timestamp()
    };
    let left = date("Deliver-By-Date").duration_since(date("Arrival-Date")).as_secs();
    assert!((0..=60).contains(&left), "{report}");
}

#[tokio::test(start_paused = true)]
async fn only_the_sender_hears_whatever_the_reverse_path_and_never_of_a_null_one() {
    let house = Plan::submission().build().await;
    let mut client = house.log_in().await;
    let rcpt = ["RCPT TO:<ann@example.org> NOTIFY=SUCCESS"];
    for (mail, given) in [
        ("MAIL FROM:<bob@example.org>", 1),
        ("MAIL FROM:<nobody@example.org>", 2),
        ("MAIL FROM:<victim@elsewhere.example>", 3),
        // An alias of several people, ann among them.
        ("MAIL FROM:<all@example.org>", 4),
        ("MAIL FROM:<>", 4),
    ] {
        sends(&mut client, mail, &rcpt).await;
        assert_eq!((house.metric(GIVEN), house.metric(MISSING)), (given, 0), "{mail}");
    }
    assert_eq!((texts(&house, ANN).len(), texts(&house, BOB).len()), (5 + 4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_report_tells_nobody_of_bcc() {
    let mut plan = Plan::submission();
    plan.settings.submission = Submission { complete_header: true, ..Submission::default() };
    let house = plan.build().await;
    let mut client = house.log_in().await;
    client.asks("MAIL FROM:<ann@example.org>", "250 2.1.0").await;
    client.asks("RCPT TO:<bob@example.org> NOTIFY=SUCCESS", "250 2.1.5").await;
    client.asks("DATA", "354 ").await;
    client.says("Subject: hello\r\nBcc: eve@example.org\r\nX-Last: field\r\n\r\nthe body\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    let report = &texts(&house, ANN)[0];
    assert!(report.contains("\r\n\r\nSubject: hello\r\nX-Last: field\r\n\r\n--") && !report.contains("eve"), "{report}");
}

/// Takes messages, and no reports: it fails, or does not answer.
struct NoReports {
    store: Memory,
    hangs: bool,
}

#[async_trait]
impl Intake for NoReports {
    fn ready(&self) -> Result<(), Error> {
        self.store.ready()
    }

    async fn begin(&self, envelope: Envelope) -> Result<Box<dyn Incoming>, Error> {
        match envelope.reverse_path {
            ReversePath::Null if self.hangs => std::future::pending().await,
            ReversePath::Null => Err(Error::Full("no room for reports".into())),
            ReversePath::Mailbox(_) => self.store.begin(envelope).await,
        }
    }
}

#[async_trait]
impl Maildrops for NoReports {
    async fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        self.store.open(account).await
    }
}

#[async_trait]
impl Directory for NoReports {
    async fn resolve(&self, recipient: &ForwardPath) -> Result<Resolution, Error> {
        self.store.resolve(recipient).await
    }

    async fn account(&self, login: &str) -> Result<Option<Account>, Error> {
        self.store.account(login).await
    }

    async fn load(&self, account: &str) -> Result<store::Load, Error> {
        self.store.load(account).await
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        self.store.change(change).await
    }

    async fn book(&self) -> Result<Arc<Book>, Error> {
        self.store.book().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_that_cannot_be_stored_does_not_take_the_message_back() {
    let fails: fn(Memory) -> Arc<dyn Store> = |store| Arc::new(NoReports { store, hangs: false });
    let hangs: fn(Memory) -> Arc<dyn Store> = |store| Arc::new(NoReports { store, hangs: true });
    for (before_store, waits) in [(fails, 0), (hangs, 30)] {
        let house = Plan { before_store, ..Plan::submission() }.build().await;
        let mut client = house.log_in().await;
        let (rcpt, start) = (["RCPT TO:<bob@example.org> NOTIFY=SUCCESS"], net::clock::now());
        sends(&mut client, "MAIL FROM:<ann@example.org>", &rcpt).await;
        assert_eq!((net::clock::now() - start).as_secs(), waits, "no longer than delivery.deadline");
        assert_eq!((texts(&house, ANN).len(), texts(&house, BOB).len()), (0, 1));
        assert_eq!((house.metric(GIVEN), house.metric(MISSING)), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_to_be_returned_by_a_time_is_not_delivered_after_it() {
    let house = Plan::submission().build().await;
    let mut client = house.log_in().await;
    for (by, seconds, reply) in [
        ("30;R", 29, "250 2.0.0"),
        ("30;R", 31, "554 5.4.7 The time by which to deliver has passed"),
        ("30;RT", 31, "554 5.4.7"),
        ("30;N", 31, "250 2.0.0"),
        ("-30;N", 0, "250 2.0.0"),
    ] {
        client.asks(&format!("MAIL FROM:<ann@example.org> BY={by}"), "250 2.1.0").await;
        client.asks("RCPT TO:<bob@example.org>", "250 2.1.5").await;
        client.asks("DATA", "354 ").await;
        net::clock::pause(seconds * SECOND).await;
        client.says("\r\n.\r\n").await;
        client.hears(reply).await;
    }
    assert_eq!(texts(&house, BOB).len(), 3);
    assert_eq!(house.metric("messages_refused_total{listener=\"smtp\",reply=\"5xx\"}"), 2);
}
