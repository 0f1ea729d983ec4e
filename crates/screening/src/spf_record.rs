//! SPF records, read by the grammar of RFC 7208 §12: a text in, right or wrong out.
//!
//! Pure. mail-auth evaluates records and reads them leniently: a term that it does not know, or a prefix longer than an address, is skipped or
//! taken for something else, and the `-all` behind it refuses mail that the record's owner wants to come. By §4.6 a record with one wrong term is
//! wrong (permerror), and nothing follows. Besides the grammar a record is wrong that says `redirect` or `exp` twice (§6), uses a macro where it has no
//! meaning (§7.2), or names what cannot be a name in DNS. Takes one pass over the text, and memory for what it refers to.

use std::net::{Ipv4Addr, Ipv6Addr};

use mail::{DOMAIN_OCTETS, LABEL_OCTETS};

/// A record that is right: where else it goes, as far as that can be told from its text, without macros.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record<'t> {
    /// Records that it includes, before an `all`.
    pub(crate) included: Vec<&'t str>,
    /// The record that is asked where nothing in this one matches; none where it has an `all`.
    pub(crate) redirect: Option<&'t str>,
}

/// Why a domain's record is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("there are {0} records")]
    Several(usize),
    #[error("it is not in ASCII, or has controls in it")]
    NotText,
    #[error("{0:?} is no term of a record")]
    Term(String),
    #[error("it has {0} twice")]
    Twice(&'static str),
}

/// The one record among a domain's texts, where there is one (§4.5).
pub(crate) fn of(texts: &[String]) -> Result<Option<Record<'_>>, Fault> {
    let mut records = texts.iter().filter_map(|text| terms(text));
    match (records.next(), records.count()) {
        (None, _) => Ok(None),
        (Some(terms), 0) => read(terms).map(Some),
        (Some(_), more) => Err(Fault::Several(more + 1)),
    }
}

impl<'t> Record<'t> {
    /// Everything it goes on to.
    pub(crate) fn beyond(&self) -> impl Iterator<Item = &'t str> {
        self.included.iter().copied().chain(self.redirect)
    }
}

/// What stands behind the version, in a text that is a record.
fn terms(text: &str) -> Option<&str> {
    let (version, terms) = text.split_at_checked(VERSION.len())?;
    (version.eq_ignore_ascii_case(VERSION) && (terms.is_empty() || terms.starts_with(' '))).then_some(terms)
}

fn read(terms: &str) -> Result<Record<'_>, Fault> {
    if !terms.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return Err(Fault::NotText);
    }
    let (mut record, mut explained, mut redirect, mut ends) = (Record::default(), false, None, false);
    for term in terms.split(' ').filter(|term| !term.is_empty()) {
        match Term::read(term).ok_or_else(|| Fault::Term(term.chars().take(TERM_SHOWN).collect()))? {
            Term::All => ends = true,
            Term::Include(domain) if !ends && !domain.contains('%') => record.included.push(domain),
            Term::Redirect(_) if redirect.is_some() => return Err(Fault::Twice("redirect=")),
            Term::Redirect(domain) => redirect = Some(domain),
            Term::Explanation if explained => return Err(Fault::Twice("exp=")),
            Term::Explanation => explained = true,
            Term::Include(_) | Term::Other => {}
        }
    }
    record.redirect = redirect.filter(|domain| !ends && !domain.contains('%'));
    Ok(record)
}

/// A directive or a modifier, as far as it matters here.
enum Term<'t> {
    All,
    Include(&'t str),
    Redirect(&'t str),
    Explanation,
    Other,
}

impl<'t> Term<'t> {
    fn read(term: &'t str) -> Option<Self> {
        let name = term.find(|c: char| !is_of_name(c)).map_or(term, |end| term.get(..end).unwrap_or(term));
        match term.get(name.len()..)?.strip_prefix('=') {
            Some(value) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => Self::modifier(name, value),
            _ => Self::mechanism(term.strip_prefix(['+', '-', '?', '~']).unwrap_or(term)),
        }
    }

    fn modifier(name: &str, value: &'t str) -> Option<Self> {
        match () {
            () if name.eq_ignore_ascii_case("redirect") => is_domain_spec(value).then_some(Self::Redirect(value)),
            () if name.eq_ignore_ascii_case("exp") => is_domain_spec(value).then_some(Self::Explanation),
            () => tail(value).map(|_| Self::Other),
        }
    }

    fn mechanism(text: &'t str) -> Option<Self> {
        let end = text.find([':', '/']).unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        let value = rest.strip_prefix(':');
        let is = |mechanism: &str| name.eq_ignore_ascii_case(mechanism);
        let is_right = match () {
            () if is("all") => return rest.is_empty().then_some(Self::All),
            () if is("include") => return value.filter(|domain| is_domain_spec(domain)).map(Self::Include),
            () if is("exists") => is_domain_spec(value?),
            () if is("ptr") => rest.is_empty() || is_domain_spec(value?),
            () if is("a") || is("mx") => match (without_prefixes(rest), value) {
                ("", _) => true,
                (domain, Some(_)) => domain.strip_prefix(':').is_some_and(is_domain_spec),
                (_, None) => false,
            },
            () if is("ip4") => is_network(value?, IP4_BITS, |address| address.parse::<Ipv4Addr>().is_ok()),
            () if is("ip6") => is_network(value?, IP6_BITS, |address| address.parse::<Ipv6Addr>().is_ok()),
            () => false,
        };
        is_right.then_some(Self::Other)
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// An address, and how many of its bits count.
fn is_network(text: &str, bits: u8, is_address: impl Fn(&str) -> bool) -> bool {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    is_address(address) && prefix.is_none_or(|prefix| is_prefix(prefix, bits))
}

/// A number without zeros before it.
fn is_prefix(text: &str, most: u8) -> bool {
    let is_number = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_number && text.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// What stands before `/24//64`, or one of the two. What is no such end is left, for the name to be judged with it.
fn without_prefixes(text: &str) -> &str {
    let text = text.rsplit_once("//").filter(|(_, prefix)| is_prefix(prefix, IP6_BITS)).map_or(text, |(before, _)| before);
    text.rsplit_once('/').filter(|(_, prefix)| is_prefix(prefix, IP4_BITS)).map_or(text, |(before, _)| before)
}

/// `domain-spec`: it ends in a macro or in a top label, and without macros it is a name.
fn is_domain_spec(text: &str) -> bool {
    let Some(tail) = tail(text) else { return false };
    if tail.is_empty() {
        return !text.is_empty();
    }
    let name = tail.strip_suffix('.').unwrap_or(tail);
    let Some((before, top)) = name.rsplit_once('.') else { return false };
    // What a macro ends in may be the end of a label or all of it.
    let is_first = tail.len() == text.len();
    let fits = |label: &str| label.len() <= LABEL_OCTETS;
    let mut labels = before.split('.');
    let begins = labels.next().is_some_and(|label| fits(label) && !(is_first && label.is_empty()));
    begins && name.len() <= DOMAIN_OCTETS && labels.all(|label| fits(label) && !label.is_empty()) && fits(top) && is_top_label(top)
}

fn is_top_label(text: &str) -> bool {
    let is_of = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
    !is_number && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(is_of)
}

/// What stands behind the last macro of a `macro-string`; nothing where it is none.
fn tail(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        rest = match after.strip_prefix('{') {
            Some(inside) => {
                let (expansion, after) = inside.split_once('}')?;
                is_expansion(expansion).then_some(after)?
            }
            None => after.strip_prefix(['%', '_', '-'])?,
        };
    }
    Some(rest)
}

/// What stands in the braces of a macro: a letter, how many labels, whether they are turned round, and what parts them.
fn is_expansion(text: &str) -> bool {
    let mut letters = text.chars();
    // c, r and t have a meaning in explanations only, which are in another record.
    let is_letter = letters.next().is_some_and(|letter| "slodipvh".contains(letter.to_ascii_lowercase()));
    let rest = letters.as_str();
    let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = rest.strip_suffix(behind).unwrap_or_default();
    let is_some_labels = digits.is_empty() || digits.bytes().any(|digit| digit != b'0');
    let delimiters = behind.strip_prefix(['r', 'R']).unwrap_or(behind);
    is_letter && is_some_labels && delimiters.bytes().all(|octet| b".-+,/_=".contains(&octet))
}

const VERSION: &str = "v=spf1";
const IP4_BITS: u8 = 32;
const IP6_BITS: u8 = 128;
/// For the log.
const TERM_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_right(terms: &str) -> bool {
        of(&[format!("v=spf1 {terms}")]).is_ok()
    }

    #[test]
    fn the_grammar_is_that_of_its_rfc() {
        for right in [
            "",
            "   -all  ",
            "+A -MX ?ptr ~All",
            "a/24 a//64 a/0//0 mx/24//64 a:example.com/32//128",
            "a:foo:bar/baz.example.com ptr:example.com. include:_spf.example.com",
            "a:example.xn--p1ai mx:a.b-c exists:%{ir}.%{v}._spf.%{d2}",
            "ip4:192.0.2.1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ip6:::ffff:192.0.2.1/128",
            "exists:%{L1R+-/=_,.}.%{o}%{H}%% a:%{d}.example.com exists:x%_%-.example",
            "redirect=%{d}",
            "exp=%{l}.example.com Redirect=_spf.example.com",
            "moo.cow-far_out=man:dog/cat x= a-b=%{s}",
        ] {
            assert!(is_right(right), "{right}");
        }
        for wrong in [
            "ipv4:192.0.2.99 -all",
            "all: all/8 -all.",
            "include include: include:example",
            "a: -all",
            "a:museum",
            "a:museum.",
            "a:example.com/33",
            "a/33",
            "a/032",
            "a/24/64",
            "a//129",
            "a/",
            "a:example.com:8080",
            "a:abc.123",
            "a:192.0.2.1",
            "a:example.-com",
            "a:mail.example...com",
            "a:.example.com",
            "mx:ex\u{e4}mple.com",
            "mx:foo.example.com\0",
            "mx\t-all",
            "ip4:192.0.2 -all",
            "ip4:192.0.2.1/33",
            "ip4:2001:db8::1",
            "ip4 -all",
            "ip6:192.0.2.1",
            "ip6:2001:db8::/129",
            "exists",
            "exists:%{x}.example.com",
            "exists:%{d0}.example.com",
            "exists:%{c}.example.com",
            "exists:%{d.example.com",
            "exists:%d.example.com",
            "exists:example.com%",
            "redirect= -all",
            "redirect=-all",
            "redirect=a.example redirect=b.example",
            "exp=a.example exp=b.example",
            "=x",
            "1x=y",
            "x=%",
            "-x=y",
            "--all",
            "-",
            "and then some",
        ] {
            assert!(!is_right(wrong), "{wrong}");
        }
        let (label, long) = ("x".repeat(63), "x".repeat(64));
        assert!(is_right(&format!("a:{label}.{label}.example")));
        assert!(!is_right(&format!("a:{long}.example")));
        assert!(!is_right(&format!("a:{}.example", [label.as_str(); 4].join("."))));
    }

    #[test]
    fn one_text_is_a_record() {
        let of = |texts: &[&str]| of(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).map(|record| record.is_some());
        assert_eq!(of(&["v=spf10 x", "v=spf1\tx", "v=spf", "", "v=DMARC1", " v=spf1 x"]), Ok(false));
        assert_eq!(of(&["x", "V=SPF1", "v=spf2.0/pra x"]), Ok(true));
        assert_eq!(of(&["v=spf1 -all", "v=spf1 -all"]), Err(Fault::Several(2)));
    }

    #[test]
    fn where_else_it_goes_is_known() {
        let of = |text: &str| {
            let texts = [text.to_owned()];
            let Record { included, redirect } = of(&texts).unwrap().unwrap();
            (included.join(" "), redirect.map(str::to_owned))
        };
        let (one, other) = ("include:a.example ?include:%{d}.b.example", "include:c.example redirect=d.example");
        assert_eq!(of(&format!("v=spf1 {one} {other}")), ("a.example c.example".into(), Some("d.example".into())));
        assert_eq!(of(&format!("v=spf1 {one} -all {other}")), ("a.example".into(), None));
        assert_eq!(of("v=spf1 redirect=%{o}.example"), (String::new(), None));
    }
}
