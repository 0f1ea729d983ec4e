use super::*;
use crate::asking::AT_ONCE;
use crate::{Lookup, Remembering, Settings};

const QUERY: &str = "SELECT account FROM virtual WHERE address = ?1 ORDER BY account";

fn database(dir: &Path) -> PathBuf {
    let path = dir.join("people.sqlite");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE virtual (address TEXT, account TEXT);
         INSERT INTO virtual VALUES ('sales@example.org', 'ann@example.org'), ('sales@example.org', 'bob@example.org'), ('odd@example.org', NULL);",
    )
    .unwrap();
    path
}

fn asking(path: PathBuf, query: &str) -> Database {
    Database { path, query: query.into(), timeout: Duration::from_secs(20) }
}

fn of(database: Database) -> Lookup {
    let remembering = Remembering { found: Duration::from_secs(600), unknown: Duration::ZERO, addresses: 10 };
    Lookup::new(Settings { database: Some(database), call_forward: None, remembering })
}

#[tokio::test]
async fn an_address_stands_for_the_accounts_of_its_rows_and_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let lookup = of(asking(path.clone(), QUERY));
    for (address, accounts) in [
        ("sales@example.org", &["ann@example.org", "bob@example.org"][..]),
        ("odd@example.org", &[]),
        ("' OR 1 = 1 --@example.org", &[]),
        ("nobody@example.org", &[]),
    ] {
        assert_eq!(&*lookup.accounts(address).await.unwrap(), accounts, "{address}");
    }
    Connection::open(&path)
        .unwrap()
        .execute_batch("UPDATE virtual SET address = 'nobody@example.org' WHERE account = 'bob@example.org'")
        .unwrap();
    assert_eq!(lookup.accounts("sales@example.org").await.unwrap().len(), 2, "as it was");
    assert_eq!(&*lookup.accounts("nobody@example.org").await.unwrap(), ["bob@example.org"], "that nobody has it is not remembered here");
}

#[tokio::test]
async fn no_answer_is_an_error_and_never_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT ?1 FROM n WHERE x < 0";
    let lookup = of(Database { timeout: Duration::from_millis(20), ..asking(path.clone(), endless) });
    // More than there are places: those that were given up make room.
    for _ in 0..2 * AT_ONCE {
        assert!(matches!(lookup.accounts("a@example.org").await, Err(Error::TimedOut(..) | Error::GivenUp | Error::Query(_))));
    }
    drop(lookup.database.as_ref().unwrap().places.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap());
    let many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT ?1 FROM n";
    assert!(matches!(of(asking(path.clone(), many)).accounts("a@example.org").await, Err(Error::TooMany)));
    let number = of(asking(path.clone(), "SELECT 5 WHERE ?1 <> ''"));
    assert!(matches!(number.accounts("a@example.org").await, Err(Error::Query(_))));
    let gone = of(asking(dir.path().join("gone.sqlite"), QUERY));
    assert!(matches!(gone.accounts("a@example.org").await, Err(Error::Open { .. })));
    assert!(!dir.path().join("gone.sqlite").exists(), "it is not made by asking");
}

#[test]
fn a_query_that_cannot_be_asked_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    asking(path.clone(), QUERY).check().unwrap();
    for (query, why) in [
        ("SELECT account FROM virtual", "the query has 0 parameters: write one, ?1, for the address"),
        ("SELECT account FROM virtual WHERE address = ?1 AND ?2", "the query has 2 parameters: write one, ?1, for the address"),
        ("DELETE FROM virtual WHERE address = ?1", "the query is not one that only reads"),
    ] {
        assert_eq!(asking(path.clone(), query).check().unwrap_err().to_string(), why);
    }
    assert!(asking(path, "SELECT nothing FROM nowhere WHERE ?1").check().is_err());
    assert!(matches!(asking(dir.path().join("gone"), QUERY).check(), Err(Error::Open { .. })));
}

#[test]
fn a_question_ends_by_itself_when_its_time_is_over_or_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT ?1 FROM n WHERE x < 0";
    let asked = asking(path, endless);
    // Nobody interrupts either.
    let (kept, now) = (Question::default(), Instant::now());
    assert!(matches!(query(&asked, "a@example.org", &kept, now + Duration::from_millis(20)), Err(Error::Query(_))));
    let mut db = open(&asked.path, asked.timeout).unwrap();
    assert!(kept.begin(&db));
    kept.watch(&mut db, now + Duration::from_secs(3600)).unwrap();
    *lock(&kept.0) = Progress::GivenUp;
    assert!(db.query_row(endless, ["a@example.org"], |_| Ok(())).is_err());
}
