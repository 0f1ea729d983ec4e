//! Attachments by what they are called, of which type and how large they are, against what the operator has written.
//!
//! Watches a message pass ([`Parts`]) and keeps one thing of it: the gravest rule that a part has met. Names are compared without
//! regard to case, and without the dots and blanks at the end that some systems ignore. Archives are not opened. Cannot fail.

use std::sync::Arc;

use mail::ByteSize;

use crate::parts::{Part, Parts};
use crate::screening::Found;
use crate::verdict::{Outcome, Verdict};

/// A kind of attachment, and what is to become of a message that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// How it is called; None: any part, whether it has a name or not.
    pub name: Option<Pattern>,
    /// Its type, as `message/partial`; None: any, whether it says so or not.
    pub media_type: Option<Pattern>,
    /// Only those with more octets.
    pub larger_than: ByteSize,
    /// What becomes of the message, where the check's rule goes by this.
    pub verdict: Verdict,
}

/// A pattern for names and types: `*` stands for any number of characters, `?` for one, all else for itself in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<char>);

/// Watches one message pass.
#[derive(Debug)]
pub(crate) struct Attachments {
    parts: Parts,
    met: Met,
}

#[derive(Debug)]
struct Met {
    rules: Arc<[Attachment]>,
    /// The gravest rule, and what has met it.
    gravest: Option<(Verdict, String)>,
    parts: usize,
}

impl Pattern {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self(text.chars().flat_map(char::to_lowercase).collect())
    }

    /// Whether all of the name is as it says. Takes the product of both lengths at most.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (&self.0, normal(name));
        let (mut at, mut of, mut again) = (0, 0, None);
        while let Some(octet) = name.get(of) {
            match pattern.get(at) {
                Some('*') => {
                    again = Some((at + 1, of));
                    at += 1;
                }
                Some(wanted) if *wanted == '?' || wanted == octet => (at, of) = (at + 1, of + 1),
                _ => match &mut again {
                    // The last star takes one character more.
                    Some((behind, taken)) => {
                        *taken += 1;
                        (at, of) = (*behind, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern.iter().skip(at).all(|rest| *rest == '*')
    }
}

/// As it would be on the disk of somebody who opens it.
fn normal(name: &str) -> Vec<char> {
    let name = name.trim_end_matches(|c: char| c == '.' || c.is_whitespace() || c.is_control());
    name.chars().filter(|c| !c.is_control()).flat_map(char::to_lowercase).collect()
}

impl Attachments {
    /// Of a message that these rules are for.
    pub(crate) fn new(rules: Arc<[Attachment]>) -> Self {
        Self { parts: Parts::new(), met: Met { rules, gravest: None, parts: 0 } }
    }

    /// The next piece of the message.
    pub(crate) fn pass(&mut self, piece: &[u8]) {
        self.parts.pass(piece, &mut |part| self.met.see(part));
    }

    /// What was found, now that the message has passed. One that is made to have more parts than can be looked at is to be refused: it
    /// would be the way around every rule.
    pub(crate) fn finish(mut self) -> Found {
        let looked = self.parts.finish(&mut |part| self.met.see(part));
        match (looked, self.met.gravest) {
            (Err(excess), _) => Found { policy: Verdict::Reject, ..Found::new(Outcome::Fail, excess.to_string()) },
            (Ok(()), Some((policy, detail))) => Found { policy, ..Found::new(Outcome::Fail, detail) },
            (Ok(()), None) => Found::new(Outcome::Pass, format!("nothing is against its parts: {}", self.met.parts)),
        }
    }
}

impl Met {
    fn see(&mut self, part: &Part) {
        self.parts += 1;
        for rule in self.rules.iter().filter(|rule| part.octets > rule.larger_than.0 || rule.larger_than.0 == 0) {
            let named = match &rule.name {
                None => Some("a part"),
                Some(pattern) => part.names.iter().map(String::as_str).find(|name| pattern.matches(name)),
            };
            let typed = rule.media_type.as_ref().is_none_or(|pattern| part.types.iter().any(|media_type| pattern.matches(media_type)));
            if let Some(name) = named.filter(|_| typed)
                && self.gravest.as_ref().is_none_or(|(gravest, _)| rule.verdict > *gravest)
            {
                let octets = part.octets;
                self.gravest = Some((rule.verdict, format!("{} of {octets} octets", shortened(name))));
            }
        }
    }
}

/// For the log.
fn shortened(name: &str) -> String {
    name.chars().take(NAME_SHOWN).collect()
}

const NAME_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_held_against_their_patterns() {
        let rule = |name: Option<&str>, media_type: &str| Attachment {
            name: name.map(Pattern::new),
            media_type: Some(Pattern::new(media_type)),
            larger_than: ByteSize(0),
            verdict: Verdict::Reject,
        };
        for (rule, header, outcome) in [
            (rule(None, "message/partial"), "Content-Type: Message/Partial; id=x; number=1", Outcome::Fail),
            (rule(None, "message/partial"), "Content-Type: message(x)/\r\n partial; id=x", Outcome::Fail),
            (rule(None, "application/x-ms*"), "Content-Type: application/x-msdownload", Outcome::Fail),
            (rule(None, "message/partial"), "Content-Type: message/rfc822", Outcome::Pass),
            (rule(None, "message/rfc822"), "Content-Type: message/rfc822", Outcome::Fail),
            (rule(None, "text/*"), "Subject: text/plain by default", Outcome::Pass),
            (rule(Some("*.exe"), "text/*"), "Content-Type: text/plain; name=a.exe", Outcome::Fail),
            (rule(Some("*.exe"), "text/*"), "Content-Type: x/y; name=a.exe", Outcome::Pass),
        ] {
            let mut attachments = Attachments::new([rule].into());
            attachments.pass(format!("{header}\r\n\r\nx\r\n").as_bytes());
            assert_eq!(attachments.finish().outcome, outcome, "{header}");
        }
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, matches) in [
            ("*.exe", "a.EXE", true),
            ("*.exe", "a.exe . .", true),
            ("*.exe", "a\u{0}.e\u{7}xe\r\n", true),
            ("*.exe", ".exe", true),
            ("*.exe", "exe", false),
            ("*.exe", "a.exe.txt", false),
            ("*.ex?", "a.exx", true),
            ("*.ex?", "a.ex", false),
            ("*.tar.*", "a.tar.tar.gz", true),
            ("*a*b*c", "aXbXbXc", true),
            ("*a*b*c", "aXbXbXd", false),
            ("ÄRGER.DOC", "ärger.doc", true),
            ("*", "", true),
            ("", "", true),
            ("?", "", false),
            ("[a].exe", "[a].exe", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), matches, "{pattern} {name:?}");
        }
        assert!(!Pattern::new(&"*a".repeat(100)).matches(&"a".repeat(99)), "and it does not take for ever");
    }
}
