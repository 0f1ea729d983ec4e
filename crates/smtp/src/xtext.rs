//! xtext (RFC 3461 §4): how octets that are no plain text are written in a parameter.

/// `+` and two hexadecimal digits are an octet; anything else printable is itself. The whole is UTF-8, and never empty.
pub(crate) fn decode(text: &str) -> Option<String> {
    decode_with(text, |_| false)
}

/// The same, where text that is not ASCII may stand for itself (RFC 6533 §3).
pub(crate) fn decode_utf8(text: &str) -> Option<String> {
    decode_with(text, |octet| !octet.is_ascii())
}

fn decode_with(text: &str, also: impl Fn(u8) -> bool) -> Option<String> {
    let (mut octets, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((octet, behind)) = rest.split_first() {
        rest = behind;
        octets.push(match *octet {
            b'+' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                rest = behind;
                let valid = digits.iter().all(u8::is_ascii_hexdigit);
                u8::from_str_radix(str::from_utf8(digits).ok().filter(|_| valid)?, 16).ok()?
            }
            octet @ b'!'..=b'~' => octet,
            octet if also(octet) => octet,
            _ => return None,
        });
    }
    String::from_utf8(octets).ok().filter(|text| !text.is_empty())
}
