//! The mailboxes that the From field names, where everybody who reads the fields must see the same ones (RFC 5322 §3.6.2).
//!
//! Mail programs read what is not quite a list of mailboxes in different ways, and a sender could have one mailbox checked and show
//! another. So the fields are read twice, by a well-known library and by the narrowest grammar there is: names of words and quoted
//! strings, each address alone or in angle brackets, comments without any sign that could begin an address. What the two do not agree
//! upon is refused, and so are groups, routes, encoded words in an address, domains in square brackets and everything obsolete.

use mail::Mailbox;
use mail_parser::{HeaderName, HeaderValue};

use super::{Draft, Fault};

/// The mailboxes of the From field; at least one. Which of several fields a program shows nobody knows (RFC 5322 §3.6).
pub(super) fn authors(draft: &Draft) -> Result<Vec<Mailbox>, Fault> {
    let text = str::from_utf8(draft.from()).ok().filter(|_| !draft.found().too_much_from).ok_or(Fault::Unreadable)?;
    let (mut authors, bodies) = (Vec::new(), bodies(text));
    if bodies.len() > 1 {
        return Err(Fault::Unreadable);
    }
    for body in bodies {
        let addresses = addresses(&body).filter(|addresses| read(&body).as_ref() == Some(addresses)).ok_or(Fault::Unreadable)?;
        for address in addresses {
            authors.push(address.parse().map_err(|_| Fault::NotOwn(address))?);
        }
    }
    if authors.is_empty() { Err(Fault::Unreadable) } else { Ok(authors) }
}

/// What stands behind each field's colon, unfolded.
fn bodies(fields: &str) -> Vec<String> {
    let mut bodies: Vec<String> = Vec::new();
    for line in fields.split_inclusive("\r\n") {
        let text = line.strip_suffix("\r\n").unwrap_or(line);
        match bodies.last_mut() {
            Some(body) if text.starts_with([' ', '\t']) => body.push_str(text),
            _ => bodies.extend(text.split_once(':').map(|(_, body)| body.to_owned())),
        }
    }
    bodies
}

/// The addresses as the library reads them; none of them where one is in a group or has none.
#[expect(clippy::disallowed_types, reason = "this module wraps mail-parser for the From field")]
fn read(body: &str) -> Option<Vec<String>> {
    let parser = mail_parser::MessageParser::new().default_header_ignore().header_address(HeaderName::From);
    let header = format!("From:{body}\r\n\r\n");
    let parsed = parser.parse_headers(header.as_bytes())?;
    let HeaderValue::Address(mail_parser::Address::List(list)) = &parsed.headers().first()?.value else { return None };
    list.iter().map(|one| one.address.as_deref().map(str::to_owned)).collect()
}

/// The addresses of a list of mailboxes in the narrow grammar; none of them where it is none.
fn addresses(body: &str) -> Option<Vec<String>> {
    let (mut found, mut mailbox, mut last, mut rest) = (Vec::new(), Written::default(), Token::Blank, body);
    while !rest.is_empty() {
        let (token, behind) = token(rest)?;
        if !token.may_follow(last) {
            return None;
        }
        if let Token::Comma = token {
            found.push(std::mem::take(&mut mailbox).address()?);
        } else {
            mailbox.take(token)?;
        }
        (last, rest) = (token, behind);
    }
    found.push(mailbox.address()?);
    Some(found)
}

#[derive(Clone, Copy)]
enum Token<'t> {
    /// What has no special sign but perhaps `@`.
    Word(&'t str),
    /// With its quotes.
    Quoted(&'t str),
    Comment,
    Blank,
    Open,
    Close,
    Comma,
}

impl Token<'_> {
    /// Whether it may stand directly behind another: a quote or a comment in the middle of a word is one to some and none to others.
    fn may_follow(self, last: Self) -> bool {
        match (last, self) {
            (Self::Quoted(_), Self::Word(word)) => word.starts_with('@'),
            (Self::Word(_) | Self::Quoted(_) | Self::Comment, Self::Word(_) | Self::Quoted(_) | Self::Comment) => false,
            _ => true,
        }
    }
}

/// The first token, and what is behind it.
fn token(text: &str) -> Option<(Token<'_>, &str)> {
    let first = text.chars().next()?;
    let (token, octets) = match first {
        ' ' | '\t' => (Token::Blank, 1),
        '<' => (Token::Open, 1),
        '>' => (Token::Close, 1),
        ',' => (Token::Comma, 1),
        '"' => {
            let octets = quoted(text)?;
            (Token::Quoted(text.get(..octets)?), octets)
        }
        '(' => {
            let inside = text.get(1..)?.find(|sign: char| "()<>@\\\"".contains(sign) || is_control(sign))?;
            (Token::Comment, text.get(1 + inside..)?.starts_with(')').then_some(inside + 2)?)
        }
        _ => {
            let end = text.find(|sign: char| " \t\"()<>,:;[]\\".contains(sign) || is_control(sign)).unwrap_or(text.len());
            (Token::Word(text.get(..end).filter(|word| !word.is_empty())?), end)
        }
    };
    Some((token, text.get(octets..)?))
}

/// The octets of a quoted string, which the text begins with.
fn quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, sign) in text.char_indices().skip(1) {
        match sign {
            _ if is_control(sign) => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Whether no encoded word begins in it that goes on behind it, which would take the quote or the blank there with it.
fn is_closed(text: &str) -> bool {
    text.rsplit_once("=?").is_none_or(|(_, word)| word.contains("?="))
}

fn is_control(sign: char) -> bool {
    sign.is_control() && sign != '\t'
}

/// One mailbox as far as it has been read.
#[derive(Default)]
struct Written {
    place: Place,
    /// What stands there: the address, or the name before it.
    text: String,
    /// An `@` stands in it outside quotes.
    at: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Inside,
    Behind,
}

impl Written {
    fn take(&mut self, token: Token<'_>) -> Option<()> {
        match (token, self.place) {
            (Token::Blank | Token::Comment, _) => self.text.push(' '),
            (Token::Word(text) | Token::Quoted(text), Place::Before | Place::Inside) if is_closed(text) => {
                self.at |= matches!(token, Token::Word(word) if word.contains('@'));
                self.text.push_str(text);
            }
            (Token::Open, Place::Before) if !self.at => (self.place, self.text) = (Place::Inside, String::new()),
            (Token::Close, Place::Inside) => self.place = Place::Behind,
            _ => return None,
        }
        Some(())
    }

    fn address(self) -> Option<String> {
        let address = self.text.trim_matches(' ');
        let is_alone = self.at && !address.contains("=?") && self.place != Place::Inside;
        (is_alone && address.matches('@').count() == 1).then(|| address.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &str) -> Option<Vec<String>> {
        let mut draft = Draft::default();
        let _passed = draft.pass(format!("{fields}\r\n\r\n").as_bytes());
        let authors = authors(&draft).ok()?;
        Some(authors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_everybody_reads_alike() {
        for (fields, authors) in [
            ("From: ann@example.org", &["ann@example.org"][..]),
            ("From:ann@example.org", &["ann@example.org"]),
            ("From: <ann@example.org>", &["ann@example.org"]),
            ("From: Ann B. C <ann@example.org>", &["ann@example.org"]),
            ("From: \"Ann, of \\\"Sales\\\"\" <ann@example.org>", &["ann@example.org"]),
            ("From: \"ceo@bank.example\" <ann@example.org>", &["ann@example.org"]),
            ("From: \"Ann\"<ann@example.org>", &["ann@example.org"]),
            ("From: =?utf-8?q?B=C3=B6b?=\r\n <ann@example.org>", &["ann@example.org"]),
            ("From: \"=?utf-8?q?B=C3=B6b?=\" <ann@example.org>", &["ann@example.org"]),
            ("From: Jürgen <jürgen@example.org>", &["jürgen@example.org"]),
            ("From: ann@example.org (Ann, of Sales)", &["ann@example.org"]),
            ("From: Ann (Sales) <ann@example.org> (really)", &["ann@example.org"]),
            ("From: Ann\t<ann+x@example.org>,\r\n\tbob@example.org", &["ann+x@example.org", "bob@example.org"]),
        ] {
            assert_eq!(of(fields).as_deref(), Some(authors.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice()), "{fields}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways() {
        for fields in [
            // Groups, and what comes before a colon.
            "From: <mallory@evil.example>: <ann@example.org>;",
            "From: <mallory@evil.example>:;, <ann@example.org>",
            "From: mallory@evil.example:ann@example.org;",
            "From: team: ann@example.org;",
            "From: ann@example.org;",
            // Routes, and several addresses in one pair of brackets or beside it.
            "From: <@evil.example:ann@example.org>",
            "From: <mallory@evil.example ann@example.org>",
            "From: <mallory@evil.example,ann@example.org>",
            "From: <mallory@evil.example@example.org>",
            "From: <mallory@evil.example> <ann@example.org>",
            "From: mallory@evil.example <ann@example.org>",
            "From: <ann@example.org> mallory@evil.example",
            "From: <<mallory@evil.example> ann@example.org>",
            "From: mallory@evil.example> <ann@example.org>",
            "From: mallory@evil.example ann@example.org",
            // Encoded words.
            "From: <=?utf-8?q?ceo?=ann@example.org>",
            "From: =?utf-8?q?ceo?=ann@example.org",
            "From: =?utf-8?q?\"?= <mallory@evil.example> =?utf-8?q?\"?= <ann@example.org>",
            "From: =?utf-8?q?(?= <mallory@evil.example> =?utf-8?q?)?= <ann@example.org>",
            "From: \"=?utf-8?q?\"<ann@example.org>,?= \" <mallory@evil.example> \" <ann@example.org>",
            "From: =?utf-8?q? \" ?= <mallory@evil.example> \" <ann@example.org>",
            // Comments and quotes.
            "From: (mallory@evil.example) ann@example.org",
            "From: ann@(mallory)example.org",
            "From: (<mallory@evil.example>) <ann@example.org>",
            "From: (\" ) <mallory@evil.example> (\") <ann@example.org>",
            "From: \" ( \" <mallory@evil.example> \" ) \" <ann@example.org>",
            "From: (a (b) <mallory@evil.example>) <ann@example.org>",
            "From: \"mallory@evil.example <ann@example.org>",
            "From: (mallory <ann@example.org>",
            "From: \\\"mallory@evil.example\\\" <ann@example.org>",
            "From: [\"] <mallory@evil.example> [\"] <ann@example.org>",
            // What is not text, and what is not there.
            "From: Ann\0 <ann@example.org>",
            "From: Ann\u{85}<ann@example.org>",
            "From: <ann@example.org\u{1}>",
            "From: ann@example.org,",
            "From: ,ann@example.org",
            "From: Ann <>",
            "From: Ann",
            "From: ",
            "From: ann@example.org\r\nFrom: ",
            "From: ann@example.org\r\nFrom: ann@example.org",
            "From: ann@example.org\r\nSubject: x\r\nfrom : bob@example.org",
            "From: ann@[127.0.0.1]",
        ] {
            assert_eq!(of(fields), None, "{fields}");
        }
    }
}
