//! Numbers and texts in octets, and out of them again.
//!
//! A number is little-endian, or LEB128 where it says so; a text stands behind its length in two octets. What is not there in full, or no
//! UTF-8, is answered `None`.

/// Octets not yet read.
pub(crate) struct Cursor<'o>(pub(super) &'o [u8]);

impl Cursor<'_> {
    /// The next so many octets.
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    /// A text behind its length.
    pub(crate) fn text(&mut self) -> Option<String> {
        let length = u16::from_le_bytes(self.take()?);
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    /// A number in LEB128.
    pub(crate) fn leb128(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [octet] = self.take()?;
            let part = u64::from(octet & 0x7F);
            if part << shift >> shift != part {
                return None;
            }
            value |= part << shift;
            if octet < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// Appends a text behind its length; one that is too long for that is left out.
pub(crate) fn push_text(octets: &mut Vec<u8>, text: &str) {
    octets.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
    if text.len() <= usize::from(u16::MAX) {
        octets.extend_from_slice(text.as_bytes());
    }
}

/// Appends a number in LEB128.
pub(crate) fn push_leb128(octets: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        octets.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    octets.push(value as u8);
}

/// Puts octets at the beginning of `rest`, which is what comes after them from then on.
pub(super) fn put<const N: usize>(rest: &mut &mut [u8], octets: [u8; N]) {
    if let Some((place, after)) = std::mem::take(rest).split_first_chunk_mut() {
        *place = octets;
        *rest = after;
    }
}
