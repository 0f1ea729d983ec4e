//! In through the gate, stored, out by POP3: the shortest way through everything.

use crate::harness::{ANN, Server};

#[test]
fn a_message_comes_in_and_is_there_after_a_restart() {
    let mut server = Server::start("");
    let mut smtp = server.connect("smtp");
    assert_eq!(smtp.hear(), "220 mail.example.org ESMTP Gatepost");
    assert!(smtp.ask("EHLO client.example").starts_with("250 "));
    assert_eq!(smtp.ask("MAIL FROM:<carol@elsewhere.example>"), "250 2.1.0 Sender ok");
    assert_eq!(smtp.ask(&format!("RCPT TO:<{ANN}>")), "250 2.1.5 Recipient ok");
    assert!(smtp.ask("DATA").starts_with("354 "));
    let accepted = smtp.ask("Subject: hello\r\n\r\nHello.\r\n.");
    assert!(accepted.starts_with("250 2.0.0 ") && accepted.ends_with(" accepted"), "{accepted}");
    assert!(smtp.ask("QUIT").starts_with("221 "));
    server.stop();
    server.run();
    assert_eq!(server.status()["node"], "open");
    server.stop();
    let verified = server.succeed(&["verify"]);
    assert!(verified.contains("everything is whole"), "{verified}");
}
