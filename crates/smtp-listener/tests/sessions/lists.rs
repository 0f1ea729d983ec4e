//! Who may post to a list, and who only says so.

use store::{Change, Directory as _, Posting};

use crate::house::{ANN, BOB, Client, House, Plan};

const DENIED: &str = "550 5.7.1 You may not post to this list";

async fn with_lists(plan: Plan) -> House {
    let house = plan.build().await;
    let list = |name: &str, posting, members: &[&str]| Change::AddList {
        name: format!("{name}@example.org"),
        posting,
        members: members.iter().map(|member| (*member).to_owned()).collect(),
    };
    for change in [
        list("open", Posting::Anyone, &[ANN, "eve@elsewhere.example"]),
        list("members", Posting::Members, &[ANN, BOB]),
        list("bobs", Posting::Members, &[BOB]),
        list("ours", Posting::Domain, &[BOB]),
        Change::PutAlias { name: "everybody@example.org".into(), targets: vec!["open@example.org".into(), "bobs@example.org".into()] },
        Change::PutDomain { name: "example.net".parse().unwrap(), postmaster: None },
        Change::SetDomain {
            name: "example.net".parse().unwrap(),
            postmaster: None,
            delimiter: None,
            catch_all: Some("bobs@example.org".into()),
            quota: store::QuotaChange::default(),
        },
    ] {
        house.store.change(change).await.unwrap();
    }
    house
}

async fn ask(client: &mut Client, lists: &[(&str, &str)]) {
    client.asks("MAIL FROM:<ann@example.org>", "250 2.1.0").await;
    for (list, reply) in lists {
        client.asks(&format!("RCPT TO:<{list}>"), reply).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_sender_opens_no_list() {
    let mut plan = Plan::relay();
    plan.settings.relay_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let house = with_lists(plan).await;
    let mut client = house.greet().await;
    ask(
        &mut client,
        &[
            ("members@example.org", DENIED),
            ("ours@example.org", DENIED),
            ("MEMBERS+x@example.org", DENIED),
            ("everybody@example.org", DENIED),
            ("anybody@example.net", DENIED),
            ("open@example.org", "250 2.1.5"),
        ],
    )
    .await;
    client.asks("DATA", "354 ").await;
    client.says("\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_has_logged_in_posts_where_the_account_may() {
    let house = with_lists(Plan::submission()).await;
    let mut client = house.log_in().await;
    ask(
        &mut client,
        &[
            ("members@example.org", "250 2.1.5"),
            ("ours@example.org", "250 2.1.5"),
            ("open@example.org", "250 2.1.5"),
            ("bobs@example.org", DENIED),
            ("everybody@example.org", DENIED),
        ],
    )
    .await;
    client.asks("DATA", "354 ").await;
    client.says("\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_postmaster_that_is_a_closed_list_hears_everybody() {
    let house = with_lists(Plan::relay()).await;
    let bobs = Some("bobs@example.org".into());
    house.store.change(Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: bobs }).await.unwrap();
    let mut client = house.greet().await;
    let taken = "250 2.1.5";
    ask(&mut client, &[("bobs@example.org", DENIED), ("Postmaster@example.org", taken), ("postmaster", taken)]).await;
}
