//! Domain names, in either of their spellings.
//!
//! A name written in UTF-8 and its form in DNS, `xn--...`, are one name (RFC 5890 §2.3.2.1): what is kept and compared is the A-labels, by UTS 46
//! in its non-transitional form. How it was written is remembered as far as to say it again in UTF-8 or in ASCII, because a reply or a
//! transfer without SMTPUTF8 must not have the one, and people read the other.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::{AddressError, DOMAIN_OCTETS, LABEL_OCTETS};

/// A domain name. Labels of letters, digits, hyphens and (as real hosts use them) underscores, or UTF-8. Two that are one in DNS are equal.
#[derive(Debug, Clone)]
pub struct Domain {
    name: Box<str>,
    /// Whether it was written in ASCII.
    ascii: bool,
}

impl Domain {
    /// The name as DNS has it: A-labels, in lower case, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether it was written in ASCII.
    pub fn is_ascii(&self) -> bool {
        self.ascii
    }

    /// The name for people: U-labels, in lower case.
    pub fn to_unicode(&self) -> String {
        // It cannot fail on what to_ascii has made.
        Uts46::new().to_unicode(self.name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow).0.into_owned()
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > DOMAIN_OCTETS {
            return Err(AddressError::DomainTooLong);
        }
        let name = Uts46::new().to_ascii(text.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore);
        let name = name.map_err(|_| AddressError::Idna)?;
        if name.len() > DOMAIN_OCTETS || name.split('.').any(|label| label.len() > LABEL_OCTETS) {
            return Err(AddressError::DomainTooLong);
        }
        // Judged as it is kept: some letters stand for a slash or an at sign.
        let well_formed = name.split('.').all(is_label);
        if well_formed { Ok(Self { name: name.into(), ascii: text.is_ascii() }) } else { Err(AddressError::Domain) }
    }
}

impl fmt::Display for Domain {
    /// In UTF-8 if it was written so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ascii { f.write_str(&self.name) } else { f.write_str(&self.to_unicode()) }
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Domain {}

impl PartialOrd for Domain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Domain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

/// Ordered and hashed as its name is.
impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.name
    }
}

impl Hash for Domain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[test]
    fn both_spellings_are_one_name_and_each_is_said_as_it_was_written() {
        for (unicode, ascii) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "XN--BCHER-KVA.example"),
            // With its dots as a mark of its own.
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("faß.example", "xn--fa-hia.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ] {
            let (one, other) = (domain(unicode), domain(ascii));
            assert_eq!(one, other, "{unicode}");
            assert_eq!((one.as_str(), one.is_ascii(), other.is_ascii()), (&*ascii.to_lowercase(), false, true));
            assert_eq!((one.to_string(), other.to_string()), (other.to_unicode(), ascii.to_lowercase()));
            assert_eq!(domain(&one.to_string()), one);
        }
        assert_eq!(domain("bücher.example").to_string(), "bücher.example");
        assert_ne!(domain("faß.example"), domain("fass.example"));
    }

    #[test]
    fn real_names_in_ascii_stay_what_they_are() {
        for name in ["r3---sn-a.example", "_dmarc.example.org", "1.2.3", "ab--cd.example"] {
            assert_eq!(domain(name).as_str(), name);
        }
    }

    #[test]
    fn what_is_no_name_says_why() {
        for (text, why) in [
            ("xn--a.example", AddressError::Idna),
            ("xn--bücher.example", AddressError::Idna),
            ("1\u{5d0}.example", AddressError::Idna),
            ("a\u{200d}b.example", AddressError::Idna),
            ("a b", AddressError::Domain),
            ("a\u{ff0f}b", AddressError::Domain),
            ("\u{ad}", AddressError::Domain),
            ("bücher.example.", AddressError::Domain),
        ] {
            assert_eq!(text.parse::<Domain>(), Err(why), "{text:?}");
        }
    }
}
