//! PLAIN (RFC 4616): `[authzid] NUL authcid NUL passwd` in one response.

use mail::{Mechanism, Secret};

use super::Credentials;

/// `None` when the response is not well formed.
pub(super) fn respond(response: &[u8]) -> Option<Credentials> {
    let mut parts = response.split(|&octet| octet == 0);
    let (authzid, authcid, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || authcid.is_empty() || password.is_empty() {
        return None;
    }
    let text = |octets| str::from_utf8(octets).ok().map(Box::<str>::from);
    let authzid = if authzid.is_empty() { None } else { Some(text(authzid)?) };
    str::from_utf8(password).ok()?;
    Some(Credentials { mechanism: Mechanism::Plain, authcid: text(authcid)?, authzid, password: Secret::new(password) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_of_which_the_first_may_be_empty() {
        let plain = respond(b"\0tim\0tanstaaftanstaaf").unwrap();
        assert_eq!((&*plain.authcid, plain.authzid, plain.password), ("tim", None, Secret::new("tanstaaftanstaaf")));
        assert_eq!(respond(b"Ursel\0Kurt\0xipj3plmq").unwrap().authzid.as_deref(), Some("Ursel"));
    }

    #[test]
    fn anything_else_is_malformed() {
        for response in
            [&b""[..], b"tim", b"\0tim", b"\0tim\0", b"\0\0password", b"\0tim\0pass\0word", b"\0tim\0\xff", b"\0\xff\0p", b"\xff\0t\0p"]
        {
            assert_eq!(respond(response), None, "{}", response.escape_ascii());
        }
    }
}
