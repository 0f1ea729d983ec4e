//! Whatever is read: lines, dots and addresses are what a simple reader finds, and what is written reads back.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod drive;

use proptest::prelude::*;

/// Octets that matter to a framing, and one that does not.
fn framed() -> impl Strategy<Value = Vec<u8>> {
    let cutting = prop::collection::vec(0u8..12, 4);
    let text = prop::collection::vec(prop::sample::select(&b"\r\n..x"[..]), 0..60);
    (cutting, text).prop_map(|(cutting, text)| [cutting, text].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_dot_stuffed_text(octets in framed()) {
        drive::dots(&octets);
    }

    #[test]
    fn any_octets_are_lines(octets in framed()) {
        drive::lines(&octets);
    }

    #[test]
    fn any_text_may_be_an_address(text in "<?(@[a-z]{1,2}:)?(\"([ -~]|\\\\\"|é){0,70}\"|[a-z.é\"@\\\\]{0,70})@(\\[IPv6:)?[a-zA-Z0-9:.İȺé-]{0,90}\\]?>?") {
        drive::addresses(text.as_bytes());
    }
}
