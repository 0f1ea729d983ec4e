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

/// Pieces of which messages with parts are made.
const PARTS: [&str; 20] = [
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "content-type: multipart/digest;\r\n boundary=\"bb\"\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: text/plain\r\n",
    "Content-Transfer-Encoding: binary\r\n",
    "content-transfer-encoding:BINARY (x)\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Subject: x\r\n",
    "\r\n",
    "\r\n",
    "\r\n--b",
    "\r\n--bb\r\n",
    "--b\r\n",
    "--",
    "\r",
    "\n",
    " ",
    "\0",
    "text",
    "longer than a line of base64, which has fifty-seven octets",
];

/// What could be in a part, with what separates one from the next.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&b"\r\n\r\n--=_x\0\xfe\xff"[..]), 0..300)
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
    fn any_octets_are_a_binary_message_or_refused(
        cutting in prop::collection::vec(0u8..12, 4),
        parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..30),
    ) {
        drive::binary::binary(&[cutting, parts.concat().into_bytes()].concat());
    }

    #[test]
    fn any_octets_may_be_in_a_binary_part(cutting in prop::collection::vec(0u8..80, 4), contents in contents()) {
        drive::binary::binary(&[cutting, contents].concat());
    }

    #[test]
    fn any_text_may_be_an_address(text in "<?(@[a-z]{1,2}:)?(\"([ -~]|\\\\\"|é){0,70}\"|[a-z.é\"@\\\\]{0,70})@(\\[IPv6:)?[a-zA-Z0-9:.İȺé-]{0,90}\\]?>?") {
        drive::addresses(text.as_bytes());
    }
}
