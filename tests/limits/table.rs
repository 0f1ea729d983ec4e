//! How a row of the page is written.

use bytes::BytesMut;
use events::Figure;
use mail::Token;
use smtp::{Blanks, Reply};

/// Our name in the replies that are shown.
pub(crate) const HOST: &str = "mx.example.org";

/// A table of the page.
pub(crate) struct Table(String);

impl Table {
    pub(crate) fn new<const COLUMNS: usize>(columns: [&str; COLUMNS]) -> Self {
        let mut table = Self(String::new());
        table.row(columns);
        table.row(["---"; COLUMNS]);
        table
    }

    pub(crate) fn row<const COLUMNS: usize>(&mut self, cells: [&str; COLUMNS]) {
        self.0.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}

/// As something to be written or read word for word.
pub(crate) fn code(text: impl std::fmt::Display) -> String {
    format!("`{text}`")
}

/// A reply as it goes over the wire; one that is by a rule has a token.
pub(crate) fn said(reply: Reply) -> String {
    let reply = rule(reply).map_or(reply, |rule| reply.signed(Token::new(rule, 0)));
    let mut line = BytesMut::new();
    reply.render(&Blanks { host: HOST, peer: None, detail: Some(&"...") }, &mut line);
    code(str::from_utf8(&line).unwrap().trim_end())
}

/// The rule that a reply of a session is, as R9, if it is one; the table of replies begins with it.
fn rule(reply: Reply) -> Option<&'static str> {
    let rule = reply.when().split([':', ',']).next()?;
    (rule.starts_with('R') && rule.len() <= mail::RULE_OCTETS && rule.bytes().skip(1).all(|octet| octet.is_ascii_digit())).then_some(rule)
}

pub(crate) fn rule_of(reply: Reply) -> String {
    rule(reply).unwrap_or_else(|| panic!("{reply:?} is by no rule")).to_owned()
}

/// How a refusal of POP3's begins; behind that it says the same as `reply`.
pub(crate) fn beginning(refusal: pop3::Refusal, reply: Reply) -> String {
    let line = refusal.to_string();
    let (beginning, text) = line.split_once("] ").unwrap();
    assert!(said(reply).contains(&format!("{HOST} {text} [{}.", rule_of(reply))), "{line}");
    code(format_args!("{beginning}]"))
}

pub(crate) fn metric(figure: Figure) -> String {
    code(figure.metric())
}

/// One line of a metric's, by a label.
pub(crate) fn labelled(metric: &str, label: &str, value: impl std::fmt::Display) -> String {
    code(format_args!("{metric}{{{label}=\"{value}\"}}"))
}
