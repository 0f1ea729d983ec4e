//! A whole message looked at for what a session refuses it by as it comes, whatever is thought of it: its size, a CR or LF by itself, its hops.
//!
//! For `gatepost explain`, which has the message at once. Changes nothing, cannot fail.

use mail::line::BareWatch;
use smtp::Reply;

use crate::hops::Hops;

/// What the message is answered, and why in words for the operator; `None` of one that may come. It is of at most `message_bytes` octets, and its
/// Received fields are less than `hops`.
pub fn flaw(message: &[u8], message_bytes: u64, hops: usize) -> Option<(Reply, String)> {
    let octets = message.len() as u64;
    if octets > message_bytes {
        return Some((Reply::MESSAGE_TOO_LARGE, format!("it has {octets} octets, and limits.message_bytes is {message_bytes}")));
    }
    let mut bare = BareWatch::default();
    bare.watch(message);
    if bare.found() {
        return Some((Reply::BARE_CR_OR_LF, "a CR or LF in it stands by itself".into()));
    }
    let mut seen = Hops::new(hops);
    seen.watch(message);
    seen.too_many().map(|hops| (Reply::TOO_MANY_HOPS, format!("it has {hops} Received fields")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flaw_has_its_reply() {
        for (message, reply) in [
            ("Subject: x\r\n\r\nx\r\n", None),
            ("Received: a\r\n\r\nReceived: b\r\n", None),
            ("Subject: longer than it may be\r\n\r\nx\r\n", Some(Reply::MESSAGE_TOO_LARGE)),
            ("Subject: x\n\r\n", Some(Reply::BARE_CR_OR_LF)),
            ("Subject: x\r", Some(Reply::BARE_CR_OR_LF)),
            ("Received: a\r\nreceived: b\r\n\r\n", Some(Reply::TOO_MANY_HOPS)),
        ] {
            assert_eq!(flaw(message.as_bytes(), 32, 2).map(|(reply, _)| reply), reply, "{message:?}");
        }
    }
}
