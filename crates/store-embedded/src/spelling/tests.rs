//! A store of version 1 with both spellings of one domain: `version-1-two-spellings`, as that version wrote it.

use mail::ByteSize;
use store::{Change, Directory as _, Maildrops as _};

use super::*;
use crate::store_tests::{TRACE, deliver, small};
use crate::version_tests::copy_of;
use crate::{Embedded, Settings, version};

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Settings { segment: ByteSize::kib(64), inline_body: ByteSize::kib(4), ..small() }).unwrap()
}

async fn texts(store: &Embedded, account: &str) -> Vec<String> {
    let maildrop = store.open(account).await.unwrap();
    let mut texts = Vec::new();
    for entry in maildrop.listing().iter() {
        let (mut body, mut text) = (maildrop.read(entry).await.unwrap(), Vec::new());
        while body.next(&mut text).await.unwrap() {}
        texts.push(String::from_utf8(text.strip_prefix(TRACE).unwrap().to_vec()).unwrap());
    }
    texts
}

/// The directory, `@b` for the domain's one spelling.
async fn told(store: &Embedded) -> String {
    let book = store.book().await.unwrap();
    let domains = book.domains().map(|domain| format!("{} {}", domain.name, domain.postmaster.as_deref().unwrap_or("-")));
    let accounts = book.accounts().map(|account| format!("{}: {}", account.name, account.password_hash));
    let aliases = book.aliases().map(|alias| format!("{} -> {}", alias.name, alias.targets.join(" ")));
    let lines: Vec<String> = domains.chain(accounts).chain(aliases).collect();
    lines.join("\n").replace("@xn--bcher-kva.example", "@b")
}

const AFTER: &str = "example.org -
xn--bcher-kva.example bob@b
ann-2@b: hash of ann@bücher.example
ann@b: hash of ann@b
bob@b: hash of bob@bücher.example
cyd@b: hash of cyd@b
dan@b: hash of dan@b
zoe@example.org: hash of zoe@example.org
all-2@b -> ann@b bob@b
all@b -> zoe@example.org
cyd-2@b -> zoe@example.org
sales@b -> ann-2@b
zoe@b -> zoe@example.org";

#[tokio::test]
async fn two_spellings_become_one_and_nobody_loses_anything() {
    for with_index in [true, false] {
        let dir = copy_of("version-1-two-spellings", with_index);
        // Stopped after the step and before the version that says so, or not.
        if with_index {
            unify(&dir.path().join("directory.sqlite")).unwrap();
        }
        for _ in 0..2 {
            let store = open(dir.path());
            assert_eq!(told(&store).await, AFTER);
            for (account, expected) in [
                ("ann@xn--bcher-kva.example", vec!["for both\r\n", "for the second\r\n"]),
                ("ann-2@xn--bcher-kva.example", vec!["for the first\r\n"]),
                ("bob@xn--bcher-kva.example", vec![&*"large\r\n".repeat(1000)]),
                ("dan@xn--bcher-kva.example", vec!["for dan\r\n"]),
            ] {
                assert_eq!(texts(&store, account).await, expected, "{account}");
            }
            assert_eq!(store.verify(&mut |_| {}).unwrap().faults, [""; 0]);
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("VERSION")).unwrap(), format!("{}\n", version::CURRENT));
    }
}

#[tokio::test]
async fn mail_of_a_renamed_account_comes_and_goes_as_any() {
    let dir = copy_of("version-1-two-spellings", true);
    let (ann, bob) = ("ann-2@xn--bcher-kva.example", "bob@xn--bcher-kva.example");
    let store = open(dir.path());
    deliver(&store, &[ann, bob], b"new\r\n").await.unwrap();
    let maildrop = store.open(ann).await.unwrap();
    let first = maildrop.listing()[..1].to_vec();
    maildrop.update(first).await.unwrap();
    store.change(Change::RemoveAccount { name: bob.into() }).await.unwrap_err();
    let targets = vec!["zoe@example.org".into()];
    store.change(Change::PutAlias { name: "all-2@bücher.example".into(), targets }).await.unwrap();
    store.change(Change::RemoveAccount { name: bob.into() }).await.unwrap();
    store
        .change(Change::AddAccount { name: "bob@bücher.example".into(), password_hash: "another bob".into(), verifier: None })
        .await
        .unwrap();
    store.change(Change::SetPassword { name: ann.into(), password_hash: "new".into(), verifier: None }).await.unwrap();
    deliver(&store, &[bob], b"for the new bob\r\n").await.unwrap();
    drop(store);
    for index in ["kept", "lost"] {
        if index == "lost" {
            std::fs::remove_file(dir.path().join("index.sqlite")).unwrap();
        }
        let store = open(dir.path());
        assert_eq!(texts(&store, ann).await, ["new\r\n"], "index {index}");
        assert_eq!(texts(&store, bob).await, ["for the new bob\r\n"], "index {index}");
        assert_eq!(store.verify(&mut |_| {}).unwrap().faults, [""; 0]);
    }
}

#[test]
fn what_is_no_name_any_more_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("directory.sqlite");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(SCHEMA).unwrap();
    db.execute_batch(
        "INSERT INTO domains VALUES ('xn--a.example', NULL), ('1א.example', 'ann@1א.example');
         INSERT INTO accounts VALUES ('ann@xn--a.example', 'a', 0), ('ann@1א.example', 'b', 1);",
    )
    .unwrap();
    drop(db);
    unify(&path).unwrap();
    let people = crate::people::People::open(&path).unwrap();
    let register = people.register();
    let told = register.book.accounts().map(|account| (&*account.name, &*account.password_hash, register.maildrop(&account.name)));
    let expected = [("ann@not-idna-0.invalid", "a", "ann@xn--a.example".into()), ("ann@not-idna-1.invalid", "b", "ann@1א.example".into())];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let domains: Vec<_> = register.book.domains().map(|domain| (domain.name.to_string(), domain.postmaster.as_deref())).collect();
    assert_eq!(domains, [("not-idna-0.invalid".into(), None), ("not-idna-1.invalid".into(), Some("ann@not-idna-1.invalid"))]);
}
