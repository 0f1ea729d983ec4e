//! The one message of OAUTHBEARER (RFC 7628 §3.1) and of XOAUTH2: who somebody says they are, and their token.
//!
//! Pairs of a key and a value, with the octet 1 behind each and behind all. Of the pairs only `auth` and XOAUTH2's `user` matter; what host and
//! port a client believes to speak to is its own affair. Refuses what is not written so, and a channel binding (`p=`), of which
//! there is none.

use mail::Mechanism;

use crate::scram::name;

/// What the message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Presented<'m> {
    /// Who the client says it is; empty where it leaves that to the token.
    pub(crate) user: String,
    /// The token; none where there is none, or nothing that could be one (RFC 6750 §2.1).
    pub(crate) token: Option<&'m str>,
}

impl<'m> Presented<'m> {
    /// `None` when the message is not well formed.
    pub(crate) fn parse(mechanism: Mechanism, octets: &'m [u8]) -> Option<Self> {
        let text = str::from_utf8(octets).ok()?;
        let (user, pairs) = match mechanism {
            Mechanism::OauthBearer => {
                let (header, pairs) = text.split_once(SEPARATOR)?;
                (authorization_identity(header)?, pairs)
            }
            _ => (pair(text, "user=")?.into(), text),
        };
        let pairs = pairs.strip_suffix(SEPARATOR).filter(|pairs| pairs.is_empty() || pairs.ends_with(SEPARATOR))?;
        let auth = pair(pairs, "auth=")?;
        let (scheme, token) = auth.split_once(' ').unwrap_or((auth, ""));
        let token = Some(token.trim_start_matches(' ')).filter(|token| scheme.eq_ignore_ascii_case("Bearer") && is_token(token));
        Some(Self { user, token })
    }
}

/// The value of the first pair with this key.
fn pair<'p>(pairs: &'p str, key: &str) -> Option<&'p str> {
    pairs.split(SEPARATOR).find_map(|pair| pair.strip_prefix(key))
}

/// That of a GS2 header (RFC 5801 §4), `n,a=NAME,`.
fn authorization_identity(header: &str) -> Option<String> {
    match header.strip_suffix(',')?.split_once(',')? {
        ("n" | "y", "") => Some(String::new()),
        ("n" | "y", identity) => name(identity.strip_prefix("a=").filter(|identity| !identity.contains(','))?),
        _ => None,
    }
}

/// RFC 6750 §2.1.
fn is_token(token: &str) -> bool {
    let text = token.trim_end_matches('=');
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~+/".contains(&octet))
}

const SEPARATOR: char = '\x01';

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mechanism: Mechanism, text: &str) -> Option<(String, Option<&str>)> {
        Presented::parse(mechanism, text.as_bytes()).map(|presented| (presented.user, presented.token))
    }

    #[test]
    fn the_messages_of_the_rfc_and_of_google() {
        use Mechanism::{OauthBearer, Xoauth2};
        let token = Some("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        let bearer = "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
        let user = || "user@example.com".to_owned();
        for (mechanism, text, expected) in [
            (
                OauthBearer,
                format!("n,a=user@example.com,\x01host=server.example.com\x01port=143\x01{bearer}\x01\x01"),
                Some((user(), token)),
            ),
            (OauthBearer, format!("y,,\x01{bearer}\x01\x01"), Some((String::new(), token))),
            (OauthBearer, "n,a=a=2Cb=3D2C,\x01auth=bEARER  x\x01\x01".into(), Some(("a,b=2C".into(), Some("x")))),
            (OauthBearer, "n,a=user@example.com,\x01auth=\x01\x01".into(), Some((user(), None))),
            (OauthBearer, "n,,\x01auth=Basic eA==\x01\x01".into(), Some((String::new(), None))),
            (OauthBearer, "n,,\x01auth=Bearer a b\x01\x01".into(), Some((String::new(), None))),
            (Xoauth2, format!("user=user@example.com\x01{bearer}\x01\x01"), Some((user(), token))),
            (OauthBearer, format!("p=tls-exporter,,\x01{bearer}\x01\x01"), None),
            (OauthBearer, format!("n,user,\x01{bearer}\x01\x01"), None),
            (OauthBearer, format!("n,,\x01{bearer}\x01"), None),
            (OauthBearer, "n,,\x01\x01".into(), None),
            (OauthBearer, "\x01".into(), None),
            (Xoauth2, format!("{bearer}\x01\x01"), None),
            (Xoauth2, "user=user@example.com\x01\x01".into(), None),
            (Xoauth2, String::new(), None),
        ] {
            assert_eq!(said(mechanism, &text), expected, "{text:?}");
        }
        assert_eq!(Presented::parse(OauthBearer, b"n,,\x01auth=Bearer \xff\x01\x01"), None);
    }
}
