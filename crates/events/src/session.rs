//! What a session is called in the log, and how it ended.

use std::fmt;
use std::str::FromStr;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// One session's id: unique on this machine, over restarts too; later sessions have greater ones. Displays in base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; DIGITS_MOST];
        let (mut rest, mut used) = (self.0, 0);
        for place in text.iter_mut().rev() {
            let digit = usize::try_from(rest & 31).unwrap_or_default();
            *place = DIGITS.get(digit).copied().unwrap_or_default();
            (rest, used) = (rest >> 5, used + 1);
            if rest == 0 {
                break;
            }
        }
        f.write_str(text.get(DIGITS_MOST - used..).and_then(|digits| str::from_utf8(digits).ok()).unwrap_or_default())
    }
}

/// Why a text is no session's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnId;

impl FromStr for SessionId {
    type Err = NotAnId;

    /// Reads what it displays, in either case.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let append = |id: u64, digit: u8| {
            let value = DIGITS.iter().position(|known| *known == digit.to_ascii_lowercase())?;
            Some(id.checked_mul(32)? | value as u64)
        };
        text.bytes().try_fold(0, append).filter(|_| !text.is_empty()).map(Self).ok_or(NotAnId)
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The client said QUIT and got its answer.
    Quit,
    /// The client closed or reset the connection.
    PeerGone,
    /// The client was idle or too slow.
    TimedOut,
    /// The session took longer than any may.
    TooLong,
    /// A newer session has taken its maildrop.
    TakenOver,
    /// The operator has ended it.
    Ended,
    /// We closed it for what the client did.
    Dismissed,
    /// The server was draining.
    Drained,
    /// Its place was needed for somebody else.
    GaveWay,
    /// There was no TLS.
    HandshakeFailed,
    /// A fault of ours.
    Failed,
}

impl SessionEnd {
    /// The word in the log and in the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::PeerGone => "peer_gone",
            Self::TimedOut => "timed_out",
            Self::TooLong => "too_long",
            Self::TakenOver => "taken_over",
            Self::Ended => "ended",
            Self::Dismissed => "dismissed",
            Self::Drained => "drained",
            Self::GaveWay => "gave_way",
            Self::HandshakeFailed => "handshake_failed",
            Self::Failed => "failed",
        }
    }
}

impl EncodeLabelValue for SessionEnd {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}

/// Crockford's, in lower case: no letter that is taken for another.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS_MOST: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_whole() {
        for (id, text) in [(0, "0"), (31, "z"), (32, "10"), (u64::MAX, "fzzzzzzzzzzzz")] {
            assert_eq!(SessionId(id).to_string(), text);
            assert_eq!(text.to_uppercase().parse(), Ok(SessionId(id)));
        }
        for wrong in ["", "u", "0 ", "g0000000000000"] {
            assert_eq!(wrong.parse::<SessionId>(), Err(NotAnId), "{wrong:?}");
        }
    }
}
