//! What most tests do with a server on their way to something else; everything is expected to succeed.

use super::{Dialogue, PASSWORD, Server};

impl Server {
    /// An SMTP session behind EHLO.
    #[track_caller]
    pub(crate) fn hello(&self) -> Dialogue {
        let mut smtp = self.connect("smtp");
        assert!(smtp.hear().starts_with("220 "));
        assert!(smtp.ask("EHLO client.example").starts_with("250 "));
        smtp
    }

    /// An SMTP session in the middle of a message, behind 354.
    #[track_caller]
    pub(crate) fn in_data(&self, account: &str) -> Dialogue {
        let mut smtp = self.hello();
        assert!(smtp.ask("MAIL FROM:<carol@elsewhere.example>").starts_with("250 "));
        assert!(smtp.ask(&format!("RCPT TO:<{account}>")).starts_with("250 "));
        assert!(smtp.ask("DATA").starts_with("354 "));
        smtp
    }

    /// Brings a message; `body` is of whole lines. Gives its id.
    #[track_caller]
    pub(crate) fn deliver(&self, account: &str, body: &str) -> String {
        let mut smtp = self.in_data(account);
        let accepted = smtp.ask(&format!("Subject: a test\r\n\r\n{body}."));
        assert!(smtp.ask("QUIT").starts_with("221 "));
        let id = accepted.strip_prefix("250 2.0.0 ").and_then(|rest| rest.strip_suffix(" accepted"));
        id.expect(&accepted).to_owned()
    }

    /// A POP3 session behind the right password.
    #[track_caller]
    pub(crate) fn log_in(&self, account: &str) -> Dialogue {
        let mut pop3 = self.connect_tls("pop3s");
        assert!(pop3.hear().starts_with("+OK "));
        assert!(pop3.ask(&format!("USER {account}")).starts_with("+OK "));
        let opened = pop3.ask(&format!("PASS {PASSWORD}"));
        assert!(opened.starts_with("+OK "), "{opened}");
        pop3
    }

    /// The ids of the messages in a maildrop.
    #[track_caller]
    pub(crate) fn maildrop(&self, account: &str) -> Vec<String> {
        let mut pop3 = self.log_in(account);
        assert!(pop3.ask("UIDL").starts_with("+OK "));
        let lines = pop3.try_hear_many().unwrap();
        assert!(pop3.ask("QUIT").starts_with("+OK "));
        lines.iter().map(|line| str::from_utf8(line).unwrap().split_once(' ').unwrap().1.to_owned()).collect()
    }
}
