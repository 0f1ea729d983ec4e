//! The one name a message has, from the moment it is accepted to the moment it is fetched.
//!
//! A ULID: 48 bits of milliseconds and 80 random bits, written as 26 characters of Crockford's base 32, so that ids sort by
//! time and never meet. It is the id in the log, in the Received field, in the 250, and the unique-id of POP3 (RFC 1939 §7
//! allows 1 to 70 characters from 0x21 to 0x7E).

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use ulid::Ulid;

/// A message's id. 16 octets; displays as 26 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Ulid);

/// What was given is not a message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message id: 26 characters of 0-9 and A-Z without I, L, O and U are expected")]
pub struct IdError;

impl MessageId {
    /// Characters in the written form.
    pub const LEN: usize = ulid::ULID_LEN;

    /// An id never made before.
    pub fn generate() -> Self {
        Self(Ulid::generate())
    }

    /// No id made at `time` or later sorts before this one, and each made a millisecond earlier does.
    pub fn earliest(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(Ulid::from_parts(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), 0))
    }

    /// The id made of these 16 octets, big-endian.
    pub fn from_bytes(octets: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(octets))
    }

    /// The 16 octets, big-endian: they sort as the ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// The written form, without allocating.
    pub fn write_to(self, text: &mut [u8; Self::LEN]) -> &str {
        self.0.array_to_str(text)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write_to(&mut [0; Self::LEN]))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Ulid::from_string(text).map(Self).map_err(|_| IdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_written_form() {
        let id = MessageId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(MessageId::from_bytes(id.to_bytes()), id);
        assert!("01ARZ3NDEKTSV4RRFFQ69G5FA!".parse::<MessageId>().is_err());
        assert!("".parse::<MessageId>().is_err());
    }
}
