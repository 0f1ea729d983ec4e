//! Addresses as RFC 5321 §4.1.2 writes them, with RFC 6531's UTF-8.
//!
//! A parsed value is valid and within the octet limits of [`crate::limits`](crate). The local part is kept as it was meant (a
//! quoted string without its quotes and backslashes); of the domain see [`Domain`]. Source routes are recognised and
//! dropped (RFC 5321 §3.3, appendix C). Whether UTF-8 is allowed is the session's affair: ask [`Mailbox::is_ascii`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::{DOMAIN_OCTETS, Domain, LABEL_OCTETS, LOCAL_PART_OCTETS, PATH_OCTETS};

/// Why a text is not an address; worded for the peer that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No `<...>` where a path must stand.
    #[error("a path in angle brackets is expected")]
    Brackets,
    /// The path, brackets included, is longer than [`PATH_OCTETS`].
    #[error("the path is longer than {PATH_OCTETS} octets")]
    PathTooLong,
    /// No `@` between local part and domain.
    #[error("the domain is missing")]
    DomainMissing,
    /// The local part is empty or has a character that must be quoted.
    #[error("the local part is not well formed")]
    LocalPart,
    /// The local part is longer than [`LOCAL_PART_OCTETS`].
    #[error("the local part is longer than {LOCAL_PART_OCTETS} octets")]
    LocalPartTooLong,
    /// The domain breaks the rules for names.
    #[error("the domain is not well formed")]
    Domain,
    /// The domain has UTF-8, or a label that begins with `xn--`, and is no name by IDNA.
    #[error("the domain is not a valid internationalized name (IDNA, UTS 46)")]
    Idna,
    /// The domain is longer than [`DOMAIN_OCTETS`], or a label longer than [`LABEL_OCTETS`].
    #[error("the domain is longer than {DOMAIN_OCTETS} octets or one of its labels longer than {LABEL_OCTETS}")]
    DomainTooLong,
    /// `[...]` that is neither IPv4 nor `IPv6:` and an address.
    #[error("the address literal is not an IPv4 or IPv6 address")]
    Literal,
    /// The source route before the mailbox is not well formed.
    #[error("the source route is not well formed")]
    SourceRoute,
}

/// What stands right of the `@`, or after EHLO: a name or an address literal (RFC 5321 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// `mail.example`
    Domain(Domain),
    /// `[192.0.2.1]`, `[IPv6:2001:db8::1]`
    Literal(IpAddr),
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some(rest) = text.strip_prefix('[') else { return text.parse().map(Self::Domain) };
        let inner = rest.strip_suffix(']').ok_or(AddressError::Literal)?;
        let tagged = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).and_then(|_| inner.get(5..));
        let address = match tagged {
            Some(v6) => v6.parse::<Ipv6Addr>().map(IpAddr::V6),
            None => inner.parse::<Ipv4Addr>().map(IpAddr::V4),
        };
        address.map(Self::Literal).map_err(|_| AddressError::Literal)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Literal(IpAddr::V4(v4)) => write!(f, "[{v4}]"),
            Self::Literal(IpAddr::V6(v6)) => write!(f, "[IPv6:{v6}]"),
        }
    }
}

/// `local-part@domain`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    local_part: Box<str>,
    host: Host,
}

impl Mailbox {
    /// The local part as it is meant: unquoted, its case kept (RFC 5321 §2.4).
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// The domain or address literal.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether it was said so that it needs no SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii() && !matches!(&self.host, Host::Domain(domain) if !domain.is_ascii())
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local_part, rest) = split_local_part(text)?;
        let host = rest.strip_prefix('@').ok_or(AddressError::DomainMissing)?.parse()?;
        Ok(Self { local_part, host })
    }
}

impl fmt::Display for Mailbox {
    /// Quotes the local part again where it must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local_part) {
            return write!(f, "{}@{}", self.local_part, self.host);
        }
        f.write_str("\"")?;
        for c in self.local_part.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.host)
    }
}

/// Where a bounce goes: the argument of MAIL FROM (RFC 5321 §4.1.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`: a message that must not be bounced.
    Null,
    /// `<mailbox>`
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Reads `<>`, `<mailbox>` or `<@route:mailbox>`.
    ///
    /// # Errors
    /// Names what is not well formed.
    pub fn parse(path: &str) -> Result<Self, AddressError> {
        match unbracket(path)? {
            "" => Ok(Self::Null),
            inner => strip_route(inner)?.parse().map(Self::Mailbox),
        }
    }
}

impl fmt::Display for ReversePath {
    /// With its angle brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// Whom a message is for: the argument of RCPT TO (RFC 5321 §4.1.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain: this host's postmaster.
    Postmaster,
    /// `<mailbox>`
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// Reads `<postmaster>`, `<mailbox>` or `<@route:mailbox>`.
    ///
    /// # Errors
    /// Names what is not well formed; an empty path is [`AddressError::LocalPart`].
    pub fn parse(path: &str) -> Result<Self, AddressError> {
        match strip_route(unbracket(path)?)? {
            inner if inner.eq_ignore_ascii_case("postmaster") => Ok(Self::Postmaster),
            inner => inner.parse().map(Self::Mailbox),
        }
    }

    /// Whether it was said so that it needs no SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Postmaster => true,
            Self::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

impl fmt::Display for ForwardPath {
    /// With its angle brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("<postmaster>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// The length in octets of the path that `text` begins with, its closing bracket included, so that parameters may follow.
/// A `>` inside a quoted string does not close it.
pub fn path_len(text: &str) -> Option<usize> {
    if !text.starts_with('<') {
        return None;
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The one spelling by which an account's or alias's address is kept and compared: unquoted, its local part in lower case, its domain in
/// [A-labels](Domain::as_str). A text whose end is no domain is nobody's address, and only put in lower case.
pub fn canonical(address: &str) -> String {
    let parts = address.rsplit_once('@').and_then(|(local_part, host)| Some((local_part, host.parse::<Domain>().ok()?)));
    match parts {
        Some((local_part, domain)) => format!("{}@{}", local_part.to_lowercase(), domain.as_str()),
        None => address.to_lowercase(),
    }
}

fn unbracket(path: &str) -> Result<&str, AddressError> {
    if path.len() > PATH_OCTETS {
        return Err(AddressError::PathTooLong);
    }
    path.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).ok_or(AddressError::Brackets)
}

/// Drops `@one,@two:` after checking its form.
fn strip_route(inner: &str) -> Result<&str, AddressError> {
    if !inner.starts_with('@') {
        return Ok(inner);
    }
    let (route, mailbox) = inner.split_once(':').ok_or(AddressError::SourceRoute)?;
    let well_formed = route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(|name| name.parse::<Domain>().is_ok()));
    if well_formed { Ok(mailbox) } else { Err(AddressError::SourceRoute) }
}

/// Splits off a dot-string or quoted string; what is returned with it begins at the `@`.
fn split_local_part(text: &str) -> Result<(Box<str>, &str), AddressError> {
    let (local_part, rest) = if let Some(quoted) = text.strip_prefix('"') {
        unquote(quoted)?
    } else {
        let end = text.find('@').ok_or(AddressError::DomainMissing)?;
        let (name, rest) = text.split_at(end);
        if !is_dot_string(name) {
            return Err(if name.len() > LOCAL_PART_OCTETS { AddressError::LocalPartTooLong } else { AddressError::LocalPart });
        }
        (name.into(), rest)
    };
    if local_part.len() > LOCAL_PART_OCTETS {
        return Err(AddressError::LocalPartTooLong);
    }
    Ok((local_part, rest))
}

/// Reads qcontentSMTP up to the closing quote.
fn unquote(quoted: &str) -> Result<(Box<str>, &str), AddressError> {
    let mut name = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if name.is_empty() => return Err(AddressError::LocalPart),
            '"' => return Ok((name.into_boxed_str(), quoted.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next() {
                Some((_, escaped @ ' '..='~')) => name.push(escaped),
                _ => return Err(AddressError::LocalPart),
            },
            c if c.is_control() => return Err(AddressError::LocalPart),
            c => name.push(c),
        }
    }
    Err(AddressError::LocalPart)
}

fn is_dot_string(name: &str) -> bool {
    name.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(path: &str) -> Result<String, AddressError> {
        ForwardPath::parse(path).map(|path| path.to_string())
    }

    #[test]
    fn paths_as_they_are_written() {
        for (path, meant) in [
            ("<a@b>", "<a@b>"),
            ("<A.b@EXAMPLE.org>", "<A.b@example.org>"),
            ("<\"a b\"@x.org>", "<\"a b\"@x.org>"),
            ("<\"ab\"@x.org>", "<ab@x.org>"),
            ("<\"a\\\"b\"@x.org>", "<\"a\\\"b\"@x.org>"),
            ("<@one,@two:a@b>", "<a@b>"),
            ("<a@[192.0.2.1]>", "<a@[192.0.2.1]>"),
            ("<a@[IPv6:2001:db8::1]>", "<a@[IPv6:2001:db8::1]>"),
            ("<a@[ipv6:2001:DB8::1]>", "<a@[IPv6:2001:db8::1]>"),
            ("<PostMaster>", "<postmaster>"),
            ("<jürgen@müller.example>", "<jürgen@müller.example>"),
        ] {
            assert_eq!(forward(path).as_deref(), Ok(meant), "{path}");
        }
    }

    #[test]
    fn paths_that_are_wrong() {
        for (path, why) in [
            ("a@b", AddressError::Brackets),
            ("<a@b", AddressError::Brackets),
            ("<>", AddressError::DomainMissing),
            ("<a>", AddressError::DomainMissing),
            ("<@b>", AddressError::SourceRoute),
            ("<@x:@b>", AddressError::LocalPart),
            ("<a..b@c>", AddressError::LocalPart),
            ("<a b@c>", AddressError::LocalPart),
            ("<\"\"@c>", AddressError::LocalPart),
            ("<a@>", AddressError::Domain),
            ("<a@b..c>", AddressError::Domain),
            ("<a@-b>", AddressError::Domain),
            ("<a@b@c>", AddressError::Domain),
            ("<a@[192.0.2.256]>", AddressError::Literal),
            ("<a@[2001:db8::1]>", AddressError::Literal),
            ("<a@[é192.0.2.1]>", AddressError::Literal),
            ("<a\r@b>", AddressError::LocalPart),
            ("<\"a\u{1b}b\"@c>", AddressError::LocalPart),
            ("<\"a\u{85}b\"@c>", AddressError::LocalPart),
            ("<\"a\\\u{7f}b\"@c>", AddressError::LocalPart),
            ("<a@a\u{200d}b>", AddressError::Idna),
            ("<a@xn--a>", AddressError::Idna),
            ("<a@b℀>", AddressError::Domain),
        ] {
            assert_eq!(forward(path), Err(why), "{path}");
        }
    }

    #[test]
    fn lengths_are_held_to_the_octet() {
        let local = "l".repeat(LOCAL_PART_OCTETS);
        let label = "d".repeat(LABEL_OCTETS);
        let domain = [label.as_str(); 4].join(".");
        assert_eq!(domain.len(), DOMAIN_OCTETS);
        assert!(forward(&format!("<{local}@{domain}>")).is_ok());
        assert_eq!(forward(&format!("<{local}l@b>")), Err(AddressError::LocalPartTooLong));
        assert_eq!(forward(&format!("<a@{domain}.d>")), Err(AddressError::DomainTooLong));
        assert_eq!(forward(&format!("<a@{label}d>")), Err(AddressError::DomainTooLong));
        assert_eq!(forward(&format!("<{local}l@{domain}>")), Err(AddressError::PathTooLong));
        // Short enough as it is written, too long as DNS has it.
        assert_eq!(forward(&format!("<a@ü{}>", "d".repeat(LABEL_OCTETS - 3))), Err(AddressError::DomainTooLong));
    }

    #[test]
    fn a_reverse_path_may_be_null_and_nothing_else_empty() {
        assert_eq!(ReversePath::parse("<>"), Ok(ReversePath::Null));
        assert!(ReversePath::parse("< >").is_err());
        assert!(ReversePath::parse("<postmaster>").is_err());
    }

    #[test]
    fn an_address_has_one_canonical_spelling() {
        for (address, canonical_one) in [
            ("Ann@Example.ORG", "ann@example.org"),
            ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
            ("ANN@XN--bcher-kva.example", "ann@xn--bcher-kva.example"),
            ("JÜRGEN@x.org", "jürgen@x.org"),
            ("a@b@x.org", "a@b@x.org"),
            ("Ann", "ann"),
            ("Ann@-x-", "ann@-x-"),
        ] {
            assert_eq!(canonical(address), canonical_one);
            assert_eq!(canonical(canonical_one), canonical_one);
        }
    }

    #[test]
    fn a_path_ends_at_its_own_bracket() {
        assert_eq!(path_len("<a@b> SIZE=1"), Some(5));
        assert_eq!(path_len("<\"a>\\\"b\"@c> X"), Some(11));
        assert_eq!(path_len("<a@b"), None);
        assert_eq!(path_len("a@b>"), None);
    }
}
