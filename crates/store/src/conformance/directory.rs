//! Domains, accounts and aliases.

use std::sync::Arc;

use mail::ForwardPath;

use super::{ANN, BOB, CYD, Engine, NEVER, accept, add, change, listed, maildrop, open, reopen, texts, whole};
use crate::{Account, Alias, Change, ChangeError, Directory, DomainRecord, Limit, List, Load, Posting, QuotaChange, Resolution, Store};

/// Everything a directory holds, as an administrator sees it.
async fn contents(store: &impl Store) -> (Vec<DomainRecord>, Vec<Account>, Vec<Alias>, Vec<List>) {
    let book = store.book().await.unwrap();
    (
        book.domains().cloned().collect(),
        book.accounts().cloned().collect(),
        book.aliases().cloned().collect(),
        book.lists().cloned().collect(),
    )
}

async fn resolved(store: &impl Store, path: &str) -> String {
    match store.resolve(&ForwardPath::parse(path).unwrap()).await.unwrap() {
        Resolution::Accounts(mut accounts, _) => {
            accounts.sort();
            accounts.join(" ")
        }
        other => format!("{other:?}"),
    }
}

/// Each kind of change, made, seen at once and seen again after a restart.
pub async fn the_directory_survives_a_restart(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    for step in [
        Change::PutDomain { name: "example.net".parse().unwrap(), postmaster: Some(BOB.into()) },
        Change::PutDomain { name: "example.com".parse().unwrap(), postmaster: None },
        add("dan@example.net"),
        add("eve@example.net"),
        Change::PutAlias { name: "sales@example.net".into(), targets: vec![BOB.into()] },
        Change::PutAlias { name: "sales@example.net".into(), targets: vec![ANN.into(), "dan@example.net".into()] },
        Change::PutAlias { name: "old@example.org".into(), targets: vec![ANN.into()] },
        Change::RemoveAlias { name: "old@example.org".into() },
        Change::SetPassword { name: ANN.into(), password_hash: "$argon2id$new".into(), verifier: None },
        Change::RemoveAccount { name: CYD.into() },
        Change::RemoveDomain { name: "example.com".parse().unwrap() },
        Change::SetDomain {
            name: "example.net".parse().unwrap(),
            postmaster: None,
            delimiter: Some("-".into()),
            catch_all: Some("dan@example.net".into()),
            quota: QuotaChange::default(),
        },
        Change::SetAccount {
            name: ANN.into(),
            quota: QuotaChange { octets: Some(Limit::At(1 << 30)), messages: Some(Limit::None) },
            forwards: Some(vec!["ann@elsewhere.example".into()]),
        },
        Change::AddList {
            name: "team@example.org".into(),
            posting: Posting::Members,
            members: vec![ANN.into(), "eve@elsewhere.example".into()],
        },
        Change::SetList {
            name: "team@example.org".into(),
            posting: Some(Posting::Domain),
            join: vec!["sales@example.net".into()],
            leave: vec![ANN.into()],
        },
    ] {
        change(&*store, step).await;
    }
    let before = contents(&*store).await;
    assert_eq!((before.0.len(), before.1.len(), before.2.len(), before.3.len()), (2, 4, 1, 1));
    let store = reopen(engine, store).await;
    assert_eq!(contents(&*store).await, before);
    for (path, meant) in [
        ("<Ann@Example.ORG>", ANN),
        ("<sales@example.net>", "ann@example.org dan@example.net"),
        ("<postmaster@example.net>", BOB),
        ("<postmaster@example.org>", ANN),
        ("<cyd@example.org>", "UnknownUser"),
        ("<old@example.org>", "UnknownUser"),
        ("<ann@example.com>", "Foreign"),
        ("<team@example.org>", "ann@example.org dan@example.net"),
        ("<ann+shop@example.org>", ANN),
        ("<eve-shop@example.net>", "eve@example.net"),
        ("<anybody@example.net>", "dan@example.net"),
    ] {
        assert_eq!(resolved(&*store, path).await, meant, "{path}");
    }
    let ann = store.account("ANN@example.org").await.unwrap().unwrap();
    assert_eq!((&*ann.name, &*ann.password_hash), (ANN, "$argon2id$new"));
    assert_eq!(store.account(CYD).await.unwrap(), None);
    change(&*store, add("fay@example.org")).await;
    let serials: std::collections::BTreeSet<_> = contents(&*store).await.1.iter().map(|account| account.serial).collect();
    assert_eq!(serials.len(), 5, "no two accounts have one serial");
}

/// The administrator gets the rule's own words; nothing of it is kept.
pub async fn a_refused_change_changes_nothing(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let before = contents(&*store).await;
    let exists = store.change(add(ANN)).await;
    assert!(matches!(exists, Err(ChangeError::Exists(_))), "{exists:?}");
    let foreign = store.change(add("x@elsewhere.example")).await;
    assert!(matches!(foreign, Err(ChangeError::ForeignDomain(_))), "{foreign:?}");
    let in_use = store.change(Change::RemoveDomain { name: "example.org".parse().unwrap() }).await;
    assert!(matches!(in_use, Err(ChangeError::InUse { .. })), "{in_use:?}");
    assert_eq!(contents(&*store).await, before);
    let store = reopen(engine, store).await;
    assert_eq!(contents(&*store).await, before, "after a restart");
}

/// In UTF-8 or in A-labels: domains, accounts, aliases and logins, whichever was written first.
pub async fn both_spellings_of_a_domain_are_one(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let put =
        |name: &str, postmaster: Option<&str>| Change::PutDomain { name: name.parse().unwrap(), postmaster: postmaster.map(str::to_owned) };
    let put_alias = |name: &str, target: &str| Change::PutAlias { name: name.into(), targets: vec![target.into()] };
    for step in [
        put("bücher.example", None),
        add("dan@XN--BCHER-KVA.example"),
        put("xn--bcher-kva.example", Some("dan@bücher.example")),
        add("eve@Bücher.example"),
        put_alias("sales@bücher.example", "eve@xn--bcher-kva.example"),
        put_alias("sales@xn--bcher-kva.example", "dan@bücher.example"),
    ] {
        change(&*store, step).await;
    }
    let exists = store.change(add("eve@xn--bcher-kva.example")).await;
    assert!(matches!(exists, Err(ChangeError::Exists(_))), "{exists:?}");
    let store = reopen(engine, store).await;
    let (domains, accounts, aliases, _) = contents(&*store).await;
    assert_eq!((domains.len(), accounts.len(), aliases.len()), (2, 5, 1));
    for host in ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"] {
        for (name, meant) in [("dan", "dan"), ("Eve", "eve"), ("sales", "dan"), ("postmaster", "dan")] {
            assert_eq!(resolved(&*store, &format!("<{name}@{host}>")).await, format!("{meant}@xn--bcher-kva.example"), "{name}@{host}");
        }
        let eve = store.account(&format!("eve@{host}")).await.unwrap().unwrap();
        assert_eq!(&*eve.name, "eve@xn--bcher-kva.example");
    }
    change(&*store, Change::RemoveAccount { name: "eve@bücher.example".into() }).await;
    assert_eq!(resolved(&*store, "<eve@xn--bcher-kva.example>").await, "UnknownUser");
}

/// Once the change is done the old password is no longer anybody's.
pub async fn a_new_password_is_seen_at_once(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    for number in 0..20 {
        let hash = format!("$argon2id$number-{number}");
        change(&*store, Change::SetPassword { name: ANN.into(), password_hash: hash.clone(), verifier: None }).await;
        assert_eq!(*store.account(ANN).await.unwrap().unwrap().password_hash, *hash);
    }
}

/// A hash is renewed when it is still the one that was compared, for good; when somebody has set a password meanwhile or at the same
/// time, or the account has another owner, that stays.
#[expect(clippy::disallowed_methods, reason = "the test awaits what it spawns")]
pub async fn a_renewed_hash_never_replaces_a_new_password(engine: &impl Engine) {
    let renewal = |stored: &str, password_hash: &str| Change::RenewHash {
        name: ANN.into(),
        stored: stored.into(),
        password_hash: password_hash.into(),
    };
    let store = open(engine, NEVER).await;
    let first = store.account(ANN).await.unwrap().unwrap().password_hash;
    change(&*store, renewal(&first, "$argon2id$renewed")).await;
    let late = store.change(renewal(&first, "$argon2id$late")).await;
    assert!(matches!(late, Err(ChangeError::Overtaken(_))), "{late:?}");
    let store = reopen(engine, store).await;
    assert_eq!(*store.account(ANN).await.unwrap().unwrap().password_hash, *"$argon2id$renewed", "after a restart");
    let mut stored = "$argon2id$renewed".to_owned();
    for number in 0..20 {
        let new = format!("$argon2id$new-{number}");
        let set = Change::SetPassword { name: ANN.into(), password_hash: new.clone(), verifier: None };
        let [renewing, setting] = [renewal(&stored, "$argon2id$raced"), set].map(|change| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.change(change).await })
        });
        let (renewed, set) = (renewing.await.unwrap(), setting.await.unwrap());
        assert!(matches!(renewed, Ok(()) | Err(ChangeError::Overtaken(_))), "{renewed:?}");
        set.unwrap();
        assert_eq!(*store.account(ANN).await.unwrap().unwrap().password_hash, *new, "whichever came first");
        stored = new;
    }
    change(&*store, Change::RemoveAccount { name: ANN.into() }).await;
    let gone = store.change(renewal(&stored, "$argon2id$late")).await;
    assert!(matches!(gone, Err(ChangeError::Unknown(_))), "{gone:?}");
    change(&*store, add(ANN)).await;
    let anothers = store.change(renewal(&stored, "$argon2id$late")).await;
    assert!(matches!(anothers, Err(ChangeError::Overtaken(_))), "{anothers:?}");
    let store = reopen(engine, store).await;
    assert_eq!(*store.account(ANN).await.unwrap().unwrap().password_hash, *first, "the new owner's");
}

/// Counted when it is accepted, taken off when it is deleted, and known after a restart; a message for two counts for each.
pub async fn the_load_is_what_the_listing_says(engine: &impl Engine) {
    let mut store = open(engine, NEVER).await;
    for body in [&b"one\r\n"[..], b"two without its end", &[b'x'; 100_000]] {
        accept(&*store, &[ANN, BOB], body).await;
        agree(&*store).await;
    }
    store = reopen(engine, store).await;
    agree(&*store).await;
    let opened = maildrop(&*store, ANN).await;
    let first = opened.listing().first().copied().unwrap();
    opened.update(vec![first]).await.unwrap();
    // Whoever opens the maildrop sees that the message is gone; from then on it is not counted.
    listed(&*store, ANN).await;
    agree(&*store).await;
    change(&*store, Change::RemoveAccount { name: BOB.into() }).await;
    change(&*store, add(BOB)).await;
    listed(&*store, BOB).await;
    agree(&*store).await;
    accept(&*store, &[CYD, ANN], b"another\r\n").await;
    agree(&*store).await;
    store = reopen(engine, store).await;
    agree(&*store).await;
    assert_eq!(store.load("nobody@example.org").await.unwrap(), Load::default());
}

async fn agree(store: &impl Store) {
    for account in [ANN, BOB, CYD] {
        let load = store.load(account).await.unwrap();
        let listing = maildrop(store, account).await.listing().clone();
        let octets = listing.iter().map(|entry| entry.octets).sum();
        assert_eq!(load, Load { octets, messages: listing.len() as u64 }, "{account}");
    }
}

/// A verifier stays with the password it was made of, over another hash of it and a restart, and goes with it.
pub async fn a_verifier_is_of_one_password(engine: &impl Engine) {
    let put = |stored: &str| Change::PutVerifier { name: ANN.into(), stored: stored.into(), verifier: "SCRAM-SHA-256$1:x$x:x".into() };
    let store = open(engine, NEVER).await;
    let first = store.account(ANN).await.unwrap().unwrap();
    assert_eq!(first.verifier, None);
    let another = store.change(put("$argon2id$another")).await;
    assert!(matches!(another, Err(ChangeError::Overtaken(_))), "{another:?}");
    change(&*store, put(&first.password_hash)).await;
    let renewed =
        Change::RenewHash { name: ANN.into(), stored: first.password_hash.to_string(), password_hash: "$argon2id$renewed".into() };
    change(&*store, renewed).await;
    let secret = store.secret().await.unwrap();
    let store = reopen(engine, store).await;
    assert_eq!(store.account(ANN).await.unwrap().unwrap().verifier.as_deref(), Some("SCRAM-SHA-256$1:x$x:x"));
    assert_eq!(store.secret().await.unwrap(), secret, "for good");
    for owner in [Change::SetPassword { name: ANN.into(), password_hash: "$argon2id$new".into(), verifier: None }, add(ANN)] {
        if matches!(owner, Change::AddAccount { .. }) {
            change(&*store, put("$argon2id$new")).await;
            change(&*store, Change::RemoveAccount { name: ANN.into() }).await;
        }
        change(&*store, owner).await;
        assert_eq!(store.account(ANN).await.unwrap().unwrap().verifier, None);
    }
    let store = reopen(engine, store).await;
    assert_eq!(store.account(ANN).await.unwrap().unwrap().verifier, None, "after a restart");
}

/// Whoever has the name next does not find the former owner's mail; others keep theirs.
pub async fn removing_an_account_removes_its_mail(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    accept(&*store, &[ANN, BOB], b"for ann and bob\r\n").await;
    accept(&*store, &[ANN], b"for ann alone\r\n").await;
    change(&*store, Change::RemoveAccount { name: ANN.into() }).await;
    change(&*store, add(ANN)).await;
    assert_eq!(listed(&*store, ANN).await, []);
    let store = reopen(engine, store).await;
    assert_eq!(listed(&*store, ANN).await, [], "after a restart");
    let id = accept(&*store, &[ANN], b"for the new ann\r\n").await;
    let store = reopen(engine, store).await;
    assert_eq!(listed(&*store, ANN).await, [id]);
    assert_eq!(texts(&*store, BOB).await, [whole(b"for ann and bob\r\n")]);
}
