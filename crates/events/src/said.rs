//! What a peer said, fit for a log: nothing that moves a cursor or forges a line, and not more than a line's worth.

use std::fmt::{self, Display, Write};

/// Displays at most [`Said::CHARACTERS`] of it, control characters and everything invisible escaped, and `...` where more was said.
pub struct Said<T>(pub T);

impl<T> Said<T> {
    /// The most that is shown.
    pub const CHARACTERS: usize = 160;
}

impl<T: Display> Display for Said<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bounded = Bounded { out: f, left: Self::CHARACTERS, failed: false };
        match write!(bounded, "{}", self.0) {
            Err(_) if bounded.failed => Err(fmt::Error),
            Err(_) => f.write_str("..."),
            Ok(()) => Ok(()),
        }
    }
}

impl<T: Display> fmt::Debug for Said<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Stops with an error of its own at the first character too many.
struct Bounded<'f, 'g> {
    out: &'f mut fmt::Formatter<'g>,
    left: usize,
    failed: bool,
}

impl Write for Bounded<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all that is said is plain, and goes out in one piece.
        let plain = text.bytes().take_while(|octet| matches!(octet, b' '..=b'~') && *octet != b'\\').count().min(self.left);
        let (plain, rest) = text.split_at(plain);
        self.left -= plain.len();
        let written = self.out.write_str(plain);
        self.failed = written.is_err();
        written?;
        for c in rest.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            let written = match c {
                '"' | '\'' => self.out.write_char(c),
                c if c.is_whitespace() && c != ' ' => write!(self.out, "{}", c.escape_unicode()),
                c if is_directional(c) => write!(self.out, "{}", c.escape_unicode()),
                c => write!(self.out, "{}", c.escape_debug()),
            };
            self.failed = written.is_err();
            written?;
        }
        Ok(())
    }
}

/// Characters that turn the text around them, so that a line reads as what it is not.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_forged() {
        for (said, shown) in [
            ("ann@example.org", "ann@example.org"),
            ("a\r\nb", "a\\u{d}\\u{a}b"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{202e}gro", "\\u{202e}gro"),
            ("it's \"é\"", "it's \"é\""),
            ("a\u{2028}b", "a\\u{2028}b"),
        ] {
            assert_eq!(Said(said).to_string(), shown);
        }
    }

    #[test]
    fn more_than_a_line_is_cut() {
        let limit = Said::<&str>::CHARACTERS;
        assert_eq!(Said("é".repeat(limit)).to_string(), "é".repeat(limit));
        assert_eq!(Said("é".repeat(limit + 1)).to_string(), "é".repeat(limit) + "...");
    }
}
