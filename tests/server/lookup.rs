//! A database of the operator's is asked about addresses, from the reload on that says so.

use rusqlite::Connection;

use crate::harness::Server;

#[test]
fn a_database_is_asked_from_the_reload_on_and_one_that_cannot_be_is_refused() {
    let server = Server::start("[recipients]\nremember_unknown = \"0s\"\n");
    let asked = |reply: &str| {
        let mut smtp = server.connect("smtp");
        smtp.hear();
        smtp.ask("HELO client.example");
        smtp.ask("MAIL FROM:<sender@elsewhere.example>");
        assert_eq!(smtp.ask("RCPT TO:<info@example.org>"), reply);
    };
    asked("550 5.1.1 No such mailbox here");
    let database = "remember_unknown = \"0s\"\ndatabase = \"people.sqlite\"\nquery = \"SELECT account FROM virtual WHERE address = ?1\"\n";
    server.edit("remember_unknown = \"0s\"\n", database);
    let refused = server.command(&["reload"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("recipients.database: ") && said.contains("people.sqlite"), "{said}");
    asked("550 5.1.1 No such mailbox here");

    let path = server.config().parent().unwrap().join("people.sqlite");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE virtual (address TEXT, account TEXT); INSERT INTO virtual VALUES ('info@example.org', 'ann@example.org')",
    )
    .unwrap();
    server.succeed(&["reload"]);
    asked("250 2.1.5 Recipient ok");
    std::fs::remove_file(&path).unwrap();
    asked("250 2.1.5 Recipient ok");
    server.edit("remember_unknown = \"0s\"\n", "remember_unknown = \"0s\"\nremember = \"0s\"\n");
    assert!(!server.command(&["reload"]).status.success(), "the file is gone");
}
