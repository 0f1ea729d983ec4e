//! Messages as they are declared binary, and what is stored of them.

use super::*;

/// What a message comes to, or why it comes to nothing: the same however it is cut.
#[track_caller]
fn converted(message: &[u8]) -> Result<Vec<u8>, Fault> {
    let by = |step: usize| {
        let (mut conversion, mut out) = (Conversion::new(), Vec::new());
        for piece in message.chunks(step) {
            conversion.convert(piece, &mut out);
            assert!(conversion.held.len() <= LINE_OCTETS);
        }
        conversion.finish(&mut out).map(|()| out)
    };
    let whole = by(message.len().max(1));
    for step in [1, 2, 3, 7, 57, 256] {
        assert_eq!(by(step), whole, "{:?} by {step}", message.escape_ascii().to_string());
    }
    whole
}

#[track_caller]
fn becomes(message: &[u8], expected: &str) {
    let text = converted(message).map(|text| text.escape_ascii().to_string());
    assert_eq!(text.as_deref(), Ok(expected.as_bytes().escape_ascii().to_string().as_str()));
}

#[track_caller]
fn stays(message: &[u8]) {
    assert_eq!(converted(message).as_deref(), Ok(message), "{:?}", message.escape_ascii().to_string());
}

const MIXED: &str = "From: a@b.example\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n";
const BINARY: &str = "Content-Transfer-Encoding: binary\r\n";
const BASE64: &str = "Content-Transfer-Encoding: base64\r\n";
const EIGHT_BIT: &str = "Content-Transfer-Encoding: 8bit\r\n";

/// A message with one binary part of such content.
fn with(content: &[u8]) -> Vec<u8> {
    [format!("{MIXED}--b\r\n{BINARY}\r\n").as_bytes(), content, b"\r\n--b--\r\n"].concat()
}

#[test]
fn what_is_declared_binary_becomes_base64() {
    becomes(&with(b"\0\r\n.\r\n\r\n\n\r--b\n--b\r\n--"), &format!("{MIXED}--b\r\n{BASE64}\r\nAA0KLg0KDQoKDS0tYgotLWINCi0t\r\n--b--\r\n"));
    becomes(&with(b"\r\n"), &format!("{MIXED}--b\r\n{BASE64}\r\nDQo=\r\n--b--\r\n"));
    becomes(&with(b"\r"), &format!("{MIXED}--b\r\n{BASE64}\r\nDQ==\r\n--b--\r\n"));
    becomes(&with(b""), &format!("{MIXED}--b\r\n{BASE64}\r\n\r\n--b--\r\n"));
    let (full, line) = ([b'x'; 57], "eHh4".repeat(19));
    becomes(&with(&full), &format!("{MIXED}--b\r\n{BASE64}\r\n{line}\r\n--b--\r\n"));
    becomes(&with(&[&full[..], &full, b"x"].concat()), &format!("{MIXED}--b\r\n{BASE64}\r\n{line}\r\n{line}\r\neA==\r\n--b--\r\n"));
}

#[test]
fn a_message_may_be_binary_as_a_whole() {
    becomes(format!("Subject: x\r\n{BINARY}To: y\r\n\r\n\n").as_bytes(), &format!("Subject: x\r\nTo: y\r\n{BASE64}\r\nCg==\r\n"));
    becomes(format!("{BINARY}\r\nx\r\n").as_bytes(), &format!("{BASE64}\r\neA0K\r\n"));
    becomes(format!("{BINARY}\r\n").as_bytes(), &format!("{BASE64}\r\n"));
    becomes(BINARY.as_bytes(), BASE64);
    becomes(format!("{BINARY}Subject: x").as_bytes(), &format!("Subject: x\r\n{BASE64}"));
    becomes(
        format!("Content-Type: text/plain\r\n{BINARY}\r\nx\r\n--").as_bytes(),
        &format!("Content-Type: text/plain\r\n{BASE64}\r\neA0KLS0=\r\n"),
    );
    becomes(format!("{BINARY}\r\nx\r").as_bytes(), &format!("{BASE64}\r\neA0=\r\n"));
}

#[test]
fn what_is_not_declared_binary_stays_octet_for_octet() {
    for message in [
        "",
        "\r\n",
        "\r\nno header\r\n--b\r\n",
        "no header",
        "Content-Transfer-Encoding: 8bit\r\nSubject: x\r\n\r\n\0\u{fc}\r\n",
        "Content-Transfer-Encoding: binary-like\r\n\r\nx",
        "Content-Transfer-Encoding: (binary) 7bit\r\n\r\nx",
        "Content-Transfer-Encoding\r\n binary\r\n\r\nx",
        "X-Content-Transfer-Encoding: binary\r\n\r\nx\r\n",
        "Subject: x\r\n Content-Transfer-Encoding: binary\r\n\r\nx\r\n",
        " Content-Transfer-Encoding: binary\r\n\r\nx\r\n",
        "Subject: x\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\nx\r\n",
        "Content-Type: multipart/mixed\r\n\r\n--\r\nContent-Transfer-Encoding: binary\r\n\r\nx\r\n",
        "Content-Type",
        "Content-Transfer-Encoding: binary",
    ] {
        stays(message.as_bytes());
    }
    let long = format!("Subject: {}\r\n{}: x\r\n\r\n{}\r\n", "s".repeat(1000), "n".repeat(1000), "-".repeat(1000));
    stays(long.as_bytes());
    stays(format!("{MIXED}preamble\r\n{BINARY}\r\n--b\r\nSubject: x\r\n\r\n{BINARY}\r\n--b--\r\n{BINARY}\r\nepilogue").as_bytes());
    stays(format!("{MIXED}--b\r\n\r\n{BINARY}\r\n--b\r\n--b\r\nSubject: all header\r\n--b--").as_bytes());
}

#[test]
fn parts_are_told_from_each_other() {
    let part = |content: &str| format!("{BINARY}\r\n{content}\r\n");
    let text = |content: &str| format!("{BASE64}\r\n{content}\r\n");
    becomes(
        format!("{MIXED}pre\r\n--b\r\n{}--b \t\r\n\r\ntext\r\n--b\r\n{}--b--\r\npost", part("a"), part("b\n")).as_bytes(),
        &format!("{MIXED}pre\r\n--b\r\n{}--b \t\r\n\r\ntext\r\n--b\r\n{}--b--\r\npost", text("YQ=="), text("Ygo=")),
    );
    becomes(format!("{MIXED}--b\r\n{BINARY}\r\nno end\r\n").as_bytes(), &format!("{MIXED}--b\r\n{BASE64}\r\nbm8gZW5kDQo=\r\n"));
    becomes(format!("{MIXED}--b\r\n{BINARY}\r\nx\r\n--b").as_bytes(), &format!("{MIXED}--b\r\n{BASE64}\r\neA==\r\n--b"));
    // The line end behind the header is the delimiter's, where that follows at once.
    becomes(format!("{MIXED}--b\r\n{BINARY}\r\n--b--\r\n").as_bytes(), &format!("{MIXED}--b\r\n{BASE64}\r\n--b--\r\n"));
    // A part that is all header.
    becomes(format!("{MIXED}--b\r\n{BINARY}--b--\r\n").as_bytes(), &format!("{MIXED}--b\r\n{BASE64}--b--\r\n"));
    // RFC 2046 §5.1.1: what begins as a boundary is one.
    becomes(
        format!("{MIXED}--b\r\n{BINARY}\r\nx\r\n--bc\r\n\r\ny").as_bytes(),
        &format!("{MIXED}--b\r\n{BASE64}\r\neA==\r\n--bc\r\n\r\ny"),
    );
}

#[test]
fn multiparts_within_each_other_end_where_their_own_boundary_is() {
    let nest = |outer: &str, inner: &str, encoding: &str, content: &str| {
        format!(
            "Content-Type: multipart/mixed; boundary={outer}\r\n\r\n--{outer}\r\nContent-Type: multipart/related; boundary={inner}\r\n\r\n\
             --{inner}\r\n{encoding}\r\n{content}\r\n--{inner}\r\n{encoding}\r\n{content}\r\n--{inner}--\r\n--{outer}\r\n{encoding}\r\n{content}\r\n--{outer}--\r\n"
        )
    };
    for (outer, inner) in [("b", "bb"), ("bb", "b"), ("x", "y"), ("b", "b-"), ("b-", "b")] {
        becomes(nest(outer, inner, BINARY, "\n").as_bytes(), &nest(outer, inner, BASE64, "Cg=="));
    }
    // One that is never closed ends with what it is in.
    let open = |encoding: &str, content: &str| {
        format!(
            "{MIXED}--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n{encoding}\r\n{content}\r\n--b\r\n\r\n--c\r\n{BINARY}\r\n"
        )
    };
    becomes(open(BINARY, "\n").as_bytes(), &open(BASE64, "Cg=="));
    // A boundary of nobody's is content.
    becomes(&with(b"\r\n--a\r\n-\r\n--"), &format!("{MIXED}--b\r\n{BASE64}\r\nDQotLWENCi0NCi0t\r\n--b--\r\n"));
}

#[test]
fn what_may_not_be_base64_becomes_eight_bit_and_is_looked_into() {
    let inner = |of: &str, is: &str, content: &str| format!("Subject: inner\r\n{of}{is}\r\n{content}\r\n");
    for kind in ["message/rfc822", "Message/Global", "message/news"] {
        let typed = format!("Content-Type: {kind}\r\n");
        becomes(
            format!("{MIXED}--b\r\n{typed}{BINARY}\r\n{}--b--\r\n", inner("", BINARY, "\0")).as_bytes(),
            &format!("{MIXED}--b\r\n{typed}{EIGHT_BIT}\r\n{}--b--\r\n", inner("", BASE64, "AA==")),
        );
    }
    let multipart = "Content-Type: multipart/mixed; boundary=c\r\n";
    becomes(
        format!("{BINARY}{multipart}\r\n--c\r\n{BINARY}\r\n\0\r\n--c--").as_bytes(),
        &format!("{multipart}{EIGHT_BIT}\r\n--c\r\n{BASE64}\r\nAA==\r\n--c--"),
    );
    let digest = "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n";
    becomes(
        format!("{digest}{BINARY}\r\n{}--d--", inner("", BINARY, "\0")).as_bytes(),
        &format!("{digest}{EIGHT_BIT}\r\n{}--d--", inner("", BASE64, "AA==")),
    );
    let status = "Content-Type: message/delivery-status\r\n";
    becomes(format!("{status}{BINARY}\r\nAction: failed\r\n").as_bytes(), &format!("{status}{EIGHT_BIT}\r\nAction: failed\r\n"));
    assert_eq!(converted(format!("{status}{BINARY}\r\nAction: failed\n").as_bytes()), Err(Fault::Bare));
}

#[test]
fn the_field_is_known_however_it_is_written() {
    for field in [
        "content-transfer-encoding:BINARY\r\n",
        "Content-Transfer-Encoding \t: Binary \r\n",
        "Content-Transfer-Encoding:\r\n\tbinary\r\n",
        "Content-Transfer-Encoding: (one (two) \\) three) binary (four\r\n five)\r\n",
        "Content-Transfer-Encoding: bin(x)ary\r\n",
    ] {
        becomes(format!("A: 1\r\n{field}B: 2\r\n\r\n\n").as_bytes(), &format!("A: 1\r\nB: 2\r\n{BASE64}\r\nCg==\r\n"));
    }
    let blanks = format!("Content-Transfer-Encoding{}: binary\r\n\r\n\n", " ".repeat(230));
    becomes(blanks.as_bytes(), &format!("{BASE64}\r\nCg==\r\n"));
    for (kind, boundary) in [
        ("multipart/mixed; boundary=b", "b"),
        ("Multipart/Mixed;\r\n\tBOUNDARY=\"b c\"", "b c"),
        ("multipart/mixed (as \\) it is); (b) boundary=b (b)", "b"),
        ("multipart/mixed; charset=x; boundary=\"b\\\"c\"", "b\"c"),
        ("multipart/mixed; boundary*0=b; boundary*1=c", "bc"),
    ] {
        let message = |encoding: &str, content: &str| {
            format!("Content-Type: {kind}\r\n\r\n--{boundary}\r\n{encoding}\r\n{content}\r\n--{boundary}--\r\n")
        };
        becomes(message(BINARY, "\n").as_bytes(), &message(BASE64, "Cg=="));
    }
}

#[test]
fn bare_octets_outside_of_what_is_binary_are_found() {
    for message in [
        "Subject: x\n\r\n".to_owned(),
        "\r\nx\ry".into(),
        "\r\nx\r".into(),
        "Content-Transfer-Encoding: binary\n\r\nx".into(),
        "Content-Transfer-Encoding: bin\rary\r\n\r\nx".into(),
        "Content-Transfer-Encoding:\rbinary\r\n\r\nx".into(),
        "Content-Transfer-Encoding: binary\r\r\n\r\nx".into(),
        format!("{BINARY}Subject: x\r"),
        format!("{BINARY}\nx"),
        format!("{MIXED}--b\r\n{BINARY}\r\nx\r\n--b\nContent-Type: text/plain\r\n"),
        format!("{MIXED}--b\r\n{BINARY}\r\nx\r\n--b\r\n\r\nx\n\r\n--b--\r\n"),
        format!("{MIXED}--b\r\n{BINARY}\r\nx\r\n--b--\r"),
    ] {
        assert_eq!(converted(message.as_bytes()), Err(Fault::Bare), "{message:?}");
    }
}

#[test]
fn what_may_be_read_in_two_ways_is_refused_where_it_is_binary() {
    let text = "Content-Type: text/plain\r\n";
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n";
    for header in [
        format!("{BINARY}{BINARY}"),
        format!("{BINARY}{BASE64}"),
        format!("{BASE64}{BINARY}"),
        format!("{text}{BINARY}{multipart}"),
        format!("{text}{text}{BINARY}"),
    ] {
        assert_eq!(converted(format!("{header}\r\nx\r\n").as_bytes()), Err(Fault::Ambiguous), "{header}");
    }
    stays(format!("{BASE64}{EIGHT_BIT}{text}{text}\r\nx\r\n").as_bytes());
    stays(format!("{text}{multipart}\r\n--b\r\n{BINARY}\r\nx\r\n").as_bytes());
    assert_eq!(converted(format!("{text}{multipart}\r\n--b\r\n{BINARY}\r\n\n\r\n").as_bytes()), Err(Fault::Bare));
}

#[test]
fn a_bomb_is_refused_and_takes_no_memory() {
    let nest = |depth: usize| {
        (0..depth).map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n--b{level}x\r\n")).collect::<String>()
    };
    stays(nest(DEPTH_MOST).as_bytes());
    assert_eq!(converted(nest(DEPTH_MOST + 1).as_bytes()), Err(Fault::Depth));
    stays("Content-Type: message/rfc822\r\n\r\n".repeat(1000).as_bytes());
    stays(format!("{MIXED}{}", "--b\r\n\r\n".repeat(5000)).as_bytes());
    for name in ["Content-Type", "content-transfer-encoding"] {
        assert_eq!(converted(format!("{name}: {}\r\n\r\n", "x".repeat(FIELD_OCTETS)).as_bytes()), Err(Fault::Field));
        assert_eq!(converted(format!("{name}:{}\r\n\r\n", "\r\n x".repeat(FIELD_OCTETS / 4)).as_bytes()), Err(Fault::Field));
        assert_eq!(converted(format!("{name}{}: x\r\n\r\n", " ".repeat(LINE_OCTETS)).as_bytes()), Err(Fault::Field));
        stays(format!("{name}: {}\r\n\r\n", "x".repeat(FIELD_OCTETS - 100)).as_bytes());
    }
    for octets in [200, 201] {
        let boundary = "b".repeat(octets);
        let message = |encoding: &str, content: &str| {
            format!(
                "Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}\r\n{encoding}\r\n{content}\r\n--{boundary}--\r\n"
            )
        };
        match octets {
            200 => becomes(message(BINARY, "\n").as_bytes(), &message(BASE64, "Cg==")),
            _ => assert_eq!(converted(message(BINARY, "\n").as_bytes()), Err(Fault::Bare), "parts that are not known"),
        }
    }
}
