//! Stores that earlier versions of this code have written, opened by this one.

use mail::ByteSize;
use store::{Change, Directory as _, Maildrops as _};
use tempfile::TempDir;

use crate::store_tests::{TRACE, add_accounts, deliver, small, text};
use crate::{Embedded, Settings};

/// A store of the fixtures, to be opened.
pub(crate) fn copy_of(fixture: &str, with_index: bool) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in ["", "log", "bodies"] {
        std::fs::create_dir_all(copy.path().join(part)).unwrap();
        for entry in std::fs::read_dir(std::path::Path::new(FIXTURES).join(fixture).join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() && (with_index || entry.file_name() != "index.sqlite") {
                std::fs::copy(entry.path(), copy.path().join(part).join(entry.file_name())).unwrap();
            }
        }
    }
    copy
}

/// Written to make the fixture, once; now it shows that today's store is made of the same parts.
async fn make_fixture(dir: &std::path::Path) {
    let settings = Settings { segment: ByteSize::kib(64), inline_body: ByteSize::kib(4), ..small() };
    let store = Embedded::open(dir, settings).unwrap();
    add_accounts(&store, &[ANN, BOB]).await;
    store.change(Change::PutAlias { name: "all@example.org".into(), targets: vec![ANN.into(), BOB.into()] }).await.unwrap();
    for number in 0..4 {
        deliver(&store, &[ANN, BOB], format!("message {number}\r\n").as_bytes()).await.unwrap();
    }
    deliver(&store, &[ANN], &b"large\r\n".repeat(1000)).await.unwrap();
    let maildrop = store.open(ANN).await.unwrap();
    let deleted = maildrop.listing()[..2].to_vec();
    maildrop.update(deleted).await.unwrap();
}

async fn check_fixture(dir: &std::path::Path) {
    let store = Embedded::open(dir, Settings { segment: ByteSize::kib(64), inline_body: ByteSize::kib(4), ..small() }).unwrap();
    assert_eq!(store.verify(&mut |_| {}).unwrap().faults, [""; 0]);
    let book = store.book().await.unwrap();
    assert_eq!((book.accounts().count(), book.aliases().count()), (2, 1));
    let domains: Vec<_> = book.domains().map(|domain| (domain.delimiter, domain.catch_all.clone())).collect();
    assert_eq!(domains, [(Some('+'), None)], "an old domain has what a new one has");
    let maildrop = store.open(ANN).await.unwrap();
    let mut texts = Vec::new();
    for at in 0..maildrop.listing().len() {
        texts.push(text(&*maildrop, at).await.unwrap());
    }
    let expected = [b"message 2\r\n".to_vec(), b"message 3\r\n".to_vec(), b"large\r\n".repeat(1000)];
    assert_eq!(texts, expected.map(|body| [TRACE, &body].concat()));
    assert_eq!(store.open(BOB).await.unwrap().listing().len(), 4);
}

#[tokio::test]
async fn a_store_of_every_version_is_opened_with_and_without_its_index() {
    let made = tempfile::tempdir().unwrap();
    make_fixture(made.path()).await;
    check_fixture(made.path()).await;
    // Version 1: two accounts, an alias, messages small, large and deleted.
    for with_index in [true, false] {
        check_fixture(copy_of("version-1", with_index).path()).await;
    }
}

#[tokio::test]
async fn stores_of_the_versions_between_are_carried_forward() {
    let (settings, verifiers) = (["domain_settings", "quotas", "forwards", "lists", "list_members"], ["verifiers", "secret"]);
    let all = [&settings[..], &verifiers].concat();
    for (version, later_tables) in [(2, &all[..]), (3, &all), (4, &verifiers)] {
        let dir = tempfile::tempdir().unwrap();
        make_fixture(dir.path()).await;
        let directory = rusqlite::Connection::open(dir.path().join("directory.sqlite")).unwrap();
        for table in later_tables {
            directory.execute_batch(&format!("DROP TABLE {table}")).unwrap();
        }
        drop(directory);
        std::fs::write(dir.path().join("VERSION"), format!("{version}\n")).unwrap();
        check_fixture(dir.path()).await;
        assert_eq!(std::fs::read_to_string(dir.path().join("VERSION")).unwrap(), format!("{}\n", crate::version::CURRENT));
        let store = Embedded::open(dir.path(), small()).unwrap();
        let book = store.book().await.unwrap();
        assert_eq!((book.unverified(), book.lists().count()), (2, 0), "of version {version}");
        assert_ne!(book.secret(), [0; 32], "of version {version}");
    }
}

#[tokio::test]
async fn accounts_of_version_1_get_their_verifiers() {
    let dir = copy_of("version-1", true);
    let settings = Settings { segment: ByteSize::kib(64), inline_body: ByteSize::kib(4), ..small() };
    let (mut secrets, mut expected) = (Vec::new(), None);
    for _ in 0..3 {
        let store = Embedded::open(dir.path(), settings.clone()).unwrap();
        let ann = store.account(ANN).await.unwrap().unwrap();
        assert_eq!((ann.verifier.as_deref(), store.account(BOB).await.unwrap().unwrap().verifier), (expected, None));
        let (name, stored) = (ANN.to_owned(), ann.password_hash.to_string());
        store.change(Change::PutVerifier { name, stored, verifier: "SCRAM".into() }).await.unwrap();
        expected = Some("SCRAM");
        secrets.push(store.secret().await.unwrap());
        // Stopped after the step and before the version that says so.
        drop(store);
        std::fs::write(dir.path().join("VERSION"), "2\n").unwrap();
    }
    assert!(secrets.iter().all(|secret| *secret == secrets[0] && *secret != [0; 32]), "made up once");
}

const ANN: &str = "ann@example.org";
const BOB: &str = "bob@example.org";

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
