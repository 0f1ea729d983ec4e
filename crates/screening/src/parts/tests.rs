use super::*;

/// Names and sizes of the parts, or why it was not looked at: the same however it comes.
fn parts(message: &str) -> Result<Vec<(String, u64)>, Excess> {
    let seen = |step: usize| {
        let (mut parts, mut found) = (Parts::new(), Vec::new());
        let mut seen = |part: &Part| found.push((part.names.join("|"), part.octets));
        for piece in message.as_bytes().chunks(step) {
            parts.pass(piece, &mut seen);
            assert!(parts.line.len() <= FIELDS_OCTETS && parts.fields.len() <= FIELDS_OCTETS && parts.frames.len() <= DEPTH_MOST + 1);
        }
        parts.finish(&mut seen).map(|()| found)
    };
    let whole = seen(1 << 20);
    for step in [1, 2, 3, 7, 100] {
        assert_eq!(seen(step), whole, "{message:?} by {step}");
    }
    whole
}

fn names(message: &str) -> Vec<String> {
    parts(message).unwrap().into_iter().map(|(name, _)| name).filter(|name| !name.is_empty()).collect()
}

fn mixed(parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
    format!("Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\npreamble\r\n{parts}--b--\r\nepilogue\r\n")
}

#[test]
fn names_are_decoded_wherever_and_however_they_are_written() {
    for (field, name) in [
        ("Content-Disposition: attachment; filename=a.exe", "a.exe"),
        ("content-disposition : attachment; FILENAME=\"a b.exe\"", "a b.exe"),
        ("Content-Type: application/x; name=\"a.exe\"", "a.exe"),
        ("Content-Disposition: attachment;\r\n\tfilename=\"a.exe\"", "a.exe"),
        ("Content-Disposition: attachment; filename*=utf-8''%61%C3%A4.exe", "aä.exe"),
        ("Content-Disposition: attachment; filename*0=\"a.\"; filename*1=\"ex\"; filename*2=e", "a.exe"),
        ("Content-Disposition: attachment; filename*0*=utf-8''a%2E; filename*1*=%65xe", "a.exe"),
        ("Content-Disposition: attachment; filename=\"=?utf-8?B?YS5leGU=?=\"", "a.exe"),
        ("Content-Type: application/x; name=\"=?utf-8?Q?a=2Eexe?=\"", "a.exe"),
        ("Content-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment; filename=a.exe", "a.txt|a.exe"),
        ("Content-Type: text/plain\r\nContent-Disposition: x; filename=a.txt\r\nContent-Disposition: x; filename=a.exe", "a.txt|a.exe"),
    ] {
        assert_eq!(names(&mixed(&[&format!("{field}\r\n\r\nx")])), [name], "{field}");
        assert_eq!(names(&format!("{field}\r\n\r\nx\r\n")), [name], "{field}: of a message that is all attachment");
    }
}

/// Where programs that unfold first, or leave comments out, read a name.
#[test]
fn no_fold_or_comment_hides_a_name() {
    for field in [
        "Content-Disposition: attachment; filename=\r\n \"a.exe\"",
        "Content-Disposition: attachment; filename\r\n =\"a.exe\"",
        "Content-Disposition: attachment; filename =\r\n\t a.exe",
        "Content-Disposition: attachment; filename(c)=\"a.exe\"",
        "Content-Disposition: attachment; filename(\\)(c) x)=(y)\"a.exe\"",
        "Content-Disposition: attachment; (;) filename=a.exe",
        "Content-Disposition: attachment; filename*0=\r\n \"a.\"; filename*1 =\r\n exe",
        "Content-Disposition:\r\n attachment;\r\n filename\r\n =\r\n \"a.exe\"",
        "Content-Type: application(x)/(y)x; name\n =\n \"a.exe\"",
        "Content-Disposition: (attachment; filename=a.exe",
        "Content-Disposition: attachment; (; filename=a.exe; )",
    ] {
        let names = names(&mixed(&[&format!("{field}\r\n\r\nx")]));
        assert!(names.iter().any(|names| names.split('|').any(|name| name == "a.exe")), "{field}: {names:?}");
    }
    assert_eq!(names(&mixed(&["Content-Type: x/y; name=\"a (=  b).exe\"\r\n\r\nx"])), ["a (=  b).exe"], "within quotes it is the name's");
    for boundary in ["boundary=\r\n \"b\"", "boundary\r\n =b", "boundary(c)=b", "(c) boundary=b"] {
        let message =
            format!("Content-Type: multipart/mixed; {boundary}\r\n\r\n--b\r\nContent-Type: x/y; name=1\r\n\r\nx\r\n--\r\n\r\n--b--\r\n");
        assert_eq!(parts(&message).unwrap(), [(String::new(), 0), ("1".into(), 9)], "{boundary}");
    }
}

#[test]
fn pieces_that_do_not_fit_together_are_not_guessed_at() {
    const NAMED: &str = "Content-Disposition: attachment";
    for (field, parameters) in [
        (NAMED, "filename=\"a.txt\"; filename*0=\"b.e\"; filename*1=\"xe\""),
        (NAMED, "filename*0=\"b.e\"; filename*1=\"xe\"; FileName = a.txt"),
        (NAMED, "filename*=utf-8''a.txt; filename*0=b.e; filename*1=xe"),
        (NAMED, "filename*0=a.txt; filename*0*=utf-8''b.e; filename*1=xe"),
        (NAMED, "filename*0=a; filename*1=.exe; filename*1=.txt"),
        (NAMED, "filename*0=a.exe; filename*2=.txt"),
        (NAMED, "filename*1=a.exe"),
        (NAMED, "filename*x=.txt; filename*0=a.exe"),
        (NAMED, "filename=\"a.exe\" filename*1=\".txt\""),
        (NAMED, "x\"; filename=a.exe; filename*1=.txt"),
        (NAMED, "filename=a.exe; filename\r\n * (c) 1 = .txt"),
        ("Content-Type: x/y", "name=a.txt; name*0=b.e; name*1=xe"),
        ("Content-Type: multipart/mixed", "boundary=x; boundary*0=b; boundary*1=c"),
    ] {
        assert_eq!(parts(&format!("{field}; {parameters}\r\n\r\nx")), Err(Excess::Pieces), "{field}; {parameters}");
    }
    for (parameters, name) in [
        ("filename=a.txt; filename*=utf-8''a.exe", "a.txt|a.exe"),
        ("filename*1=xe; filename*0=a.e", "a.exe"),
        ("filename*0*=utf-8''a%2E; filename*1=exe; filename*2*=", "a.exe"),
        ("filename=\"*=* 0*1 *.exe\"", "*=* 0*1 *.exe"),
    ] {
        assert_eq!(names(&format!("{NAMED}; {parameters}\r\n\r\nx")), [name], "{parameters}");
    }
    let each = format!("Content-Type: x/y; name=a.txt\r\n{NAMED}; filename*0=a.; filename*1=exe\r\n\r\nx");
    assert_eq!(names(&each), ["a.txt|a.exe"], "a field of its own");
    let boundary = "Content-Type: multipart/mixed; boundary*0=b; boundary*1=c\r\n\r\n--bc\r\nContent-Type: x/y; name=1\r\n\r\nx\r\n";
    assert_eq!(names(boundary), ["1"]);
}

#[test]
fn parts_within_parts_and_messages_are_seen() {
    let inner = "Content-Type: multipart/alternative; boundary=bb\r\n\r\n--bb\r\nContent-Type: x/y; name=1\r\n\r\nx\r\n--bb--\r\n";
    let message = "Content-Type: message/rfc822\r\n\r\nSubject: x\r\nContent-Type: x/y; name=2\r\n\r\nx";
    let digest = "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nContent-Disposition: x; filename=3\r\n\r\nx\r\n--d--\r\n";
    let empty = "Content-Disposition: x; filename=4";
    assert_eq!(names(&mixed(&[inner, message, digest, empty])), ["1", "2", "3", "4"]);
    let behind = format!("{}--b\r\nContent-Type: x/y; name=behind\r\n\r\n", mixed(&[inner]));
    assert_eq!(names(&behind), ["1", "behind"], "some programs look there");
    assert_eq!(names("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b \r\nContent-Type: x/y; name=1"), ["1"], "and no end");
}

#[test]
fn a_message_within_has_the_names_and_types_of_its_part_too() {
    const INNER: &str = "Subject: x\r\nContent-Type: Text/Plain; name=in.txt\r\n\r\nx\r\n";
    let seen = |message: &str| {
        let (mut parts, mut found) = (Parts::new(), Vec::new());
        let mut seen = |part: &Part| found.push((part.names.join("|"), part.types.join("|"), part.octets));
        parts.pass(message.as_bytes(), &mut seen);
        parts.finish(&mut seen).unwrap();
        found
    };
    let octets = (INNER.len() - "\r\n".len()) as u64;
    for (header, types) in [
        ("Content-Type: message/rfc822; name=evil.exe", "message/rfc822|text/plain"),
        (
            "Content-Type: application/octet-stream; name=evil.exe\r\nContent-Type: message/rfc822",
            "application/octet-stream|message/rfc822|text/plain",
        ),
        ("Content-Type: message/rfc822; name=evil.exe\r\n\r\nContent-Type: message/global", "message/rfc822|message/global|text/plain"),
    ] {
        let found = seen(&format!("{header}\r\n\r\n{INNER}"));
        let within = if header.contains("\r\n\r\n") { "Content-Type: message/global\r\n".len() as u64 } else { 0 };
        assert_eq!(found, [("evil.exe|in.txt".into(), types.into(), octets + within)], "{header}");
    }
    let digest = "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\nContent-Disposition: x; filename=evil.exe\r\n\r\n";
    let found = seen(&format!("{digest}{INNER}--d--\r\n"));
    assert_eq!(found[1], ("evil.exe|in.txt".into(), "text/plain".into(), octets), "{found:?}");
    let encoded = "Content-Type: message/rfc822; name=evil.exe\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\nAAAA\r\n";
    assert_eq!(seen(encoded), [("evil.exe".into(), "message/rfc822".into(), 6)], "what has no header is no less");
    let multipart = format!("Content-Type: message/rfc822; name=evil.exe\r\n\r\n{}", mixed(&[INNER]));
    assert_eq!(names(&multipart), ["evil.exe", "in.txt"]);
}

#[test]
fn sizes_are_those_of_what_is_in_a_part() {
    let base64 = "Content-Transfer-Encoding: Base64\r\nContent-Type: x/y; name=b\r\n\r\nAAAA\r\nAAAA\r\nAAAA";
    let found = parts(&mixed(&["Content-Type: x/y; name=a\r\n\r\n12\r\n45", base64, "\r\n-- \r\n--c\r\n"])).unwrap();
    assert_eq!(found, [(String::new(), 10), ("a".into(), 8), ("b".into(), 9), (String::new(), 12)]);
    let long = format!("\r\n{}\r\n", "x".repeat(100_000));
    assert_eq!(parts(&long).unwrap(), [(String::new(), 100_002)]);
}

#[test]
fn a_boundary_of_any_length_or_none_separates_parts() {
    const TYPE: &str = "Content-Type: multipart/mixed";
    for octets in [0, 1, 70, 71, LINE_OCTETS, 5000] {
        let boundary = "b".repeat(octets);
        let part = format!("--{boundary}\r\nContent-Type: x/y; name=1\r\n\r\nx\r\n");
        assert_eq!(names(&format!("{TYPE}; boundary=\"{boundary}\"\r\n\r\n{part}{part}")), ["1", "1"], "{octets}");
    }
    let digest =
        format!("Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\n{TYPE}\r\n\r\n--\r\nContent-Type: x/y; name=1\r\n\r\n");
    assert_eq!(names(&format!("{digest}--d\r\n\r\nContent-Type: x/y; name=2\r\n\r\nx\r\n--d--\r\n")), ["1", "2"]);
}

#[test]
fn a_bomb_is_not_looked_at_and_takes_no_memory() {
    let nest = |depth: usize| {
        (0..depth).map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n--b{level}x\r\n")).collect::<String>()
    };
    assert!(parts(&nest(DEPTH_MOST)).is_ok());
    assert_eq!(parts(&nest(DEPTH_MOST + 1)), Err(Excess::Depth));
    assert_eq!(parts(&"Content-Type: message/rfc822\r\n\r\n".repeat(DEPTH_MOST + 1)), Err(Excess::Depth));
    let many = |count: usize| mixed(&vec!["\r\nx"; count]);
    assert!(parts(&many(PARTS_MOST - 1)).is_ok());
    assert_eq!(parts(&many(PARTS_MOST)), Err(Excess::Parts));
    let long = |octets: usize| format!("Content-Type: x/y;\r\n a={}\r\n\r\nx", "x".repeat(octets));
    assert!(parts(&long(FIELDS_OCTETS - 100)).is_ok());
    assert_eq!(parts(&long(FIELDS_OCTETS)), Err(Excess::Fields));
    assert_eq!(parts(&format!("Content-Type: x/y; name={}", "x".repeat(2 * FIELDS_OCTETS))), Err(Excess::Fields));
    let typed = format!("{}\r\nx", "Content-Type: x/y\r\n".repeat(800));
    assert!(parts(&mixed(&vec![typed.as_str(); DESCRIBED_OCTETS / typed.len()])).is_ok());
    assert_eq!(parts(&mixed(&vec![typed.as_str(); DESCRIBED_OCTETS / typed.len() + 2])), Err(Excess::Fields));
    let named = format!("Content-Type: x/y; name={}\r\n\r\nx", "n".repeat(8000));
    assert_eq!(parts(&mixed(&[named.as_str(); 9])), Err(Excess::Names));
    let other = format!("Subject: {}\r\n{}\r\nx", "x".repeat(100_000), "X-Other: x\r\n".repeat(10_000));
    assert!(parts(&other).is_ok(), "other fields are not kept");
}
