//! The values of parameters by which MAIL and RCPT ask for reports, for a time and for a rank: RFC 3461, RFC 2852, RFC 6710.
//!
//! Each function reads one value; `None` where it is not well formed. What is decoded is printable, so that it can stand in a report.

use jiff::Timestamp;
use mail::{DeliverBy, Notify, OriginalRecipient, Release, Returned};

use crate::xtext;

/// ENVID (RFC 3461 §4.4): xtext of at most 100 octets for printable ASCII.
pub(crate) fn envelope_id(value: &str) -> Option<Box<str>> {
    let decoded = if value.len() <= ENVELOPE_ID_BYTES && !value.contains('=') { xtext::decode(value)? } else { return None };
    decoded.bytes().all(is_printable).then(|| decoded.into())
}

/// RET (RFC 3461 §4.3).
pub(crate) fn returned(value: &str) -> Option<Returned> {
    match value {
        _ if value.eq_ignore_ascii_case("FULL") => Some(Returned::Full),
        _ if value.eq_ignore_ascii_case("HDRS") => Some(Returned::Headers),
        _ => None,
    }
}

/// NOTIFY (RFC 3461 §4.1): `NEVER` alone, or some of the others, each once.
pub(crate) fn notify(value: &str) -> Option<Notify> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(notify);
    }
    for word in value.split(',') {
        let asked = match word {
            _ if word.eq_ignore_ascii_case("SUCCESS") => &mut notify.success,
            _ if word.eq_ignore_ascii_case("FAILURE") => &mut notify.failure,
            _ if word.eq_ignore_ascii_case("DELAY") => &mut notify.delay,
            _ => return None,
        };
        if std::mem::replace(asked, true) {
            return None;
        }
    }
    Some(notify)
}

/// ORCPT (RFC 3461 §4.2): a type, `;` and xtext, at most 500 octets. Of the type `utf-8` (RFC 6533 §3), where `utf8` was asked for, it need not
/// be ASCII.
pub(crate) fn original_recipient(value: &str, utf8: bool) -> Option<OriginalRecipient> {
    let (address_type, address) = value.split_once(';').filter(|_| value.len() <= ORIGINAL_RECIPIENT_BYTES && !value.contains('='))?;
    let well_formed = !address_type.is_empty() && address_type.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let international = utf8 && address_type.eq_ignore_ascii_case("utf-8");
    let address = if international { xtext::decode_utf8(address)? } else { xtext::decode(address)? };
    let printable = if international { !address.contains(char::is_control) } else { address.bytes().all(is_printable) };
    (well_formed && printable).then(|| OriginalRecipient { address_type: address_type.into(), address: address.into() })
}

/// BY (RFC 2852 §4): seconds of up to nine digits, `;`, `N` or `R`, and perhaps `T`. What is over already cannot be returned in time.
pub(crate) fn deliver_by(value: &str) -> Option<DeliverBy> {
    let (time, mode) = value.split_once(';')?;
    let digits = time.strip_prefix(['+', '-']).unwrap_or(time);
    if !(1..=9).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds = time.parse().ok()?;
    let (or_return, trace) = match mode {
        "N" | "n" => (false, false),
        "R" | "r" => (true, false),
        _ if mode.eq_ignore_ascii_case("NT") => (false, true),
        _ if mode.eq_ignore_ascii_case("RT") => (true, true),
        _ => return None,
    };
    (!or_return || seconds > 0).then_some(DeliverBy { seconds, or_return, trace })
}

/// HOLDFOR (RFC 4865 §4): seconds, nine digits at most, and not 0 before others.
pub(crate) fn hold_for(value: &str) -> Option<Release> {
    let well_formed = (1..=9).contains(&value.len()) && !value.starts_with('0') && value.bytes().all(|octet| octet.is_ascii_digit());
    value.parse().ok().filter(|_| well_formed).map(Release::After)
}

/// HOLDUNTIL (RFC 4865 §4, erratum 2040): a date and time of RFC 3339 §5.6, of which other forms of ISO 8601 are none.
pub(crate) fn hold_until(value: &str) -> Option<Release> {
    let (octets, shape) = (value.as_bytes(), b"0000-00-00T00:00:00");
    let is_like = |(octet, like): (&u8, &u8)| if *like == b'0' { octet.is_ascii_digit() } else { octet.eq_ignore_ascii_case(like) };
    let rest = octets.get(shape.len()..)?;
    let fraction = if rest.first() == Some(&b'.') { 1 + rest.iter().skip(1).take_while(|octet| octet.is_ascii_digit()).count() } else { 0 };
    let is_zone = match rest.get(fraction..)? {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', zone @ ..] => zone.len() == 5 && zone.iter().zip(b"00:00").all(is_like),
        _ => false,
    };
    let well_formed = octets.len() <= DATE_TIME_BYTES && fraction != 1 && is_zone && octets.iter().zip(shape).all(is_like);
    value.parse::<Timestamp>().ok().filter(|_| well_formed).map(|time| Release::At(time.as_second()))
}

/// MT-PRIORITY (RFC 6710 §5): from -9 to 9.
pub(crate) fn priority(value: &str) -> Option<i8> {
    match value.as_bytes() {
        [digit @ b'0'..=b'9'] => i8::try_from(digit - b'0').ok(),
        [b'-', digit @ b'1'..=b'9'] => i8::try_from(digit - b'0').ok().map(|priority| -priority),
        _ => None,
    }
}

fn is_printable(octet: u8) -> bool {
    matches!(octet, b' '..=b'~')
}

/// With nine digits of a second and the zone.
const DATE_TIME_BYTES: usize = 35;
const ENVELOPE_ID_BYTES: usize = 100;
const ORIGINAL_RECIPIENT_BYTES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_be_held_for_or_until() {
        assert_eq!(hold_for("1"), Some(Release::After(1)));
        assert_eq!(hold_for("999999999"), Some(Release::After(999_999_999)));
        for wrong in ["", "0", "01", "+1", "-1", "1000000000", "1.5", "x"] {
            assert_eq!(hold_for(wrong), None, "{wrong}");
        }
        for right in
            ["2026-11-23T08:00:00Z", "2026-11-23t09:00:00+01:00", "2026-11-23T08:00:00.999z", "2026-11-22T22:00:00.000000001-10:00"]
        {
            assert_eq!(hold_until(right), Some(Release::At(1_795_420_800)), "{right}");
        }
        for wrong in [
            "",
            "2026-11-23",
            "2026-11-23T08:00Z",
            "2026-11-23 08:00:00Z",
            "2026-11-23T08:00:00",
            "2026-11-23T08:00:00.Z",
            "20261123T080000Z",
            "2026-13-23T08:00:00Z",
            "2026-11-23T25:00:00Z",
            "2026-11-23T08:00:00+0100",
            "2026-11-23T08:00:00Z[UTC]",
            "2026-11-23T08:00:00+01",
            "+002026-11-23T08:00:00Z",
            "2026-11-23T08:00:00.0000000000000000000000Z",
        ] {
            assert_eq!(hold_until(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn envelope_ids() {
        assert_eq!(envelope_id("QQ+2B314159+3Dx+20y").as_deref(), Some("QQ+314159=x y"));
        assert!(envelope_id(&"x".repeat(100)).is_some());
        for wrong in ["", "a=b", "a+", "a+2", "a+GG", "a+0D+0AEvil:+20x", "a+00", "+C3+BC", "ü", &"x".repeat(101)] {
            assert_eq!(envelope_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn notifications() {
        assert_eq!(notify("never"), Some(Notify::default()));
        assert_eq!(notify("Success,DELAY"), Some(Notify { success: true, failure: false, delay: true }));
        for wrong in ["", "NEVER,SUCCESS", "SUCCESS,NEVER", "SUCCESS,SUCCESS", "SUCCESS,", ",", "FAIL", "SUCCESS DELAY"] {
            assert_eq!(notify(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn original_recipients() {
        let read = |value, utf8| original_recipient(value, utf8).map(|original| format!("{};{}", original.address_type, original.address));
        assert_eq!(read("rfc822;a+2Bb@client.example", false).as_deref(), Some("rfc822;a+b@client.example"));
        assert_eq!(read("X-400;/G+3Dann/", false).as_deref(), Some("X-400;/G=ann/"));
        assert_eq!(read("utf-8;jürgen@x", true).as_deref(), Some("utf-8;jürgen@x"));
        let long = format!("rfc822;{}", "x".repeat(493));
        assert!(read(&long, false).is_some());
        let longer = format!("{long}x");
        for wrong in
            ["", "rfc822", "rfc822;", ";a@b", "rf c;a", "rfc822;a=b", "rfc822;a+0D+0Ab", "rfc822;jürgen@x", "utf-8;jürgen@x", &longer]
        {
            assert_eq!(read(wrong, false), None, "{wrong}");
        }
        assert_eq!(read("utf-8;a+C2+85b", true), None, "a control character, as UTF-8");
    }

    #[test]
    fn times() {
        let by = |seconds, or_return, trace| Some(DeliverBy { seconds, or_return, trace });
        assert_eq!(deliver_by("120;R"), by(120, true, false));
        assert_eq!(deliver_by("+000000060;nt"), by(60, false, true));
        assert_eq!(deliver_by("-999999999;N"), by(-999_999_999, false, false));
        assert_eq!(deliver_by("1;rT"), by(1, true, true));
        for wrong in ["", "120", "120;", "120;X", "120;T", "120;RTT", "0;R", "-1;R", "1000000000;R", ";R", "+;R", "1.5;R", "+-1;N", "1;R;T"]
        {
            assert_eq!(deliver_by(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn priorities() {
        assert_eq!(["9", "0", "-9"].map(priority), [Some(9), Some(0), Some(-9)]);
        for wrong in ["", "10", "-0", "+1", "-10", "x", "--1", "1 "] {
            assert_eq!(priority(wrong), None, "{wrong}");
        }
    }
}
