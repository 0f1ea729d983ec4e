//! The messages that are sent, and the SMTP commands around them, made once and written many times.

/// A message of exactly `size` octets, CRLF lines of at most 78, no line with a leading dot.
pub(crate) fn message(size: usize) -> Vec<u8> {
    let mut message = b"From: Bench <bench@bench.test>\r\nTo: <user0@bench.test>\r\nSubject: A message of the bench\r\n\
        Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@bench.test>\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\r\n"
        .to_vec();
    const LINE: &[u8] = b"The quick brown fox jumps over the lazy dog, and the dog lets it be, as ever.";
    while message.len() < size {
        message.extend_from_slice(LINE);
        message.extend_from_slice(b"\r\n");
    }
    message.truncate(size.saturating_sub(2));
    // The cut may have fallen into a line's end.
    while message.last().is_some_and(|octet| matches!(octet, b'\r' | b'\n')) {
        message.pop();
    }
    message.resize(size.saturating_sub(2), b'x');
    message.extend_from_slice(b"\r\n");
    message
}

/// The commands of one transaction, each as it is written when nothing is pipelined.
pub(crate) struct Transaction {
    pub(crate) mail: Vec<u8>,
    pub(crate) rcpt: Vec<u8>,
    pub(crate) data: Vec<u8>,
    /// The message and its final dot.
    pub(crate) body: Vec<u8>,
    /// MAIL, RCPT and DATA in one write.
    pub(crate) envelope: Vec<u8>,
    /// The message, its dot and the next transaction's MAIL, RCPT and DATA in one write (RFC 2920 section 3.1).
    pub(crate) body_and_envelope: Vec<u8>,
}

impl Transaction {
    pub(crate) fn new(recipient: &str, size: usize) -> Self {
        let mail = b"MAIL FROM:<bench@bench.test>\r\n".to_vec();
        let rcpt = format!("RCPT TO:<{recipient}>\r\n").into_bytes();
        let data = b"DATA\r\n".to_vec();
        let body = [message(size).as_slice(), b".\r\n"].concat();
        let envelope = [mail.as_slice(), &rcpt, &data].concat();
        let body_and_envelope = [body.as_slice(), &envelope].concat();
        Transaction { mail, rcpt, data, body, envelope, body_and_envelope }
    }
}

/// `user{n}@bench.test` with the number of a user for `{n}`.
pub(crate) fn recipient(pattern: &str, user: usize) -> String {
    pattern.replace("{n}", &user.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_only_whole_lines() {
        for size in [400, 1024, 10 * 1024, 10 * 1024 + 1, 1 << 20] {
            let message = message(size);
            assert_eq!(message.len(), size);
            assert!(message.ends_with(b"\r\n"));
            for line in message.split_inclusive(|octet| *octet == b'\n') {
                assert!(line.ends_with(b"\r\n") && line.len() <= 80 && !line.starts_with(b"."), "{size}");
            }
        }
    }
}
