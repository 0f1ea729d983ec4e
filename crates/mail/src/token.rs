//! What names one refusal, from the line that a peer reads to the operator who asks about it.
//!
//! A refusal is one line of at most [`REFUSAL_OCTETS`] octets. It ends in a [`Token`]; what gives way where the line would be longer is the host's
//! name, of which as many of the [first labels](first_labels) stay as fit. Plain values; cannot fail.

use std::fmt;

/// Names one refusal of one process, for example `R4.k3f9`: the rule's id, of at most [`RULE_OCTETS`] octets, and the refusal's number in
/// base 32, at least four digits of it.
///
/// The digits are those of Crockford's base 32 in lower case: no i, l, o or u, so that it survives being read aloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// ASCII, with NUL behind it.
    rule: [u8; RULE_OCTETS],
    /// A `u64` that need not be aligned: each session has room for some tokens.
    sequence: [u8; 8],
}

impl Token {
    /// The token of refusal number `sequence`, by the rule with this id.
    pub fn new(rule: &str, sequence: u64) -> Self {
        let mut octets = [0; RULE_OCTETS];
        octets.iter_mut().zip(rule.bytes().filter(u8::is_ascii_alphanumeric)).for_each(|(place, octet)| *place = octet);
        Self { rule: octets, sequence: sequence.to_ne_bytes() }
    }

    /// The token that somebody has typed; `None` when it cannot be one. The case is of no matter, and digits that Crockford takes for
    /// others are read as such.
    pub fn parse(text: &str) -> Option<Self> {
        let (rule, digits) = text.split_once('.')?;
        let value = |digit: u8| match digit.to_ascii_lowercase() {
            b'o' => Some(0),
            b'i' | b'l' => Some(1),
            digit => DIGITS.iter().position(|known| *known == digit),
        };
        let append = |number: u64, digit| number.checked_mul(1 << DIGIT_BITS)?.checked_add(value(digit)? as u64);
        let fits = digits.len() >= TOKEN_DIGITS_LEAST as usize && digits.len() <= TOKEN_DIGITS_MOST as usize;
        let number = if fits { digits.bytes().try_fold(0, append)? } else { return None };
        let is_rule = (1..=RULE_OCTETS).contains(&rule.len()) && rule.bytes().all(|octet| octet.is_ascii_alphanumeric());
        let mut token = is_rule.then(|| Self::new(&rule.to_ascii_lowercase(), number))?;
        if let Some(first) = token.rule.first_mut() {
            first.make_ascii_uppercase();
        }
        Some(token)
    }

    /// The rule's id.
    pub fn rule(&self) -> &str {
        let id = self.rule.split(|octet| *octet == 0).next().unwrap_or_default();
        str::from_utf8(id).unwrap_or_default()
    }

    /// The refusal's number.
    pub fn sequence(self) -> u64 {
        u64::from_ne_bytes(self.sequence)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.rule())?;
        (0..TOKEN_DIGITS_MOST)
            .rev()
            .map(|place| (place, self.sequence() >> (place * DIGIT_BITS)))
            .filter(|(place, rest)| *place < TOKEN_DIGITS_LEAST || *rest != 0)
            .try_for_each(|(_, rest)| write!(f, "{}", digit(rest)))
    }
}

/// The labels at the front of `host` that fit into `octets`, up to the first character that has no place in a host name.
pub fn first_labels(host: &str, octets: usize) -> &str {
    let strange = |c: char| !c.is_ascii_graphic();
    let host = host.split(strange).next().unwrap_or_default();
    match host.get(..octets) {
        None => host,
        Some(cut) if host.len() == octets => cut,
        Some(cut) => cut.rsplit_once('.').map_or(cut, |(labels, _)| labels),
    }
}

/// The lowest digit of `number`.
fn digit(number: u64) -> char {
    let value = number % DIGITS.len() as u64;
    DIGITS.get(value as usize).copied().map_or('0', char::from)
}

/// The longest line that a refusal is said in, CR LF included.
pub const REFUSAL_OCTETS: usize = 200;

/// The longest id of a rule.
pub const RULE_OCTETS: usize = 4;

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGIT_BITS: u32 = 5;
const TOKEN_DIGITS_LEAST: u32 = 4;
const TOKEN_DIGITS_MOST: u32 = u64::BITS.div_ceil(DIGIT_BITS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_count_in_base_32() {
        for (sequence, text) in [
            (0, "R4.0000"),
            (31, "R4.000z"),
            (32, "R4.0010"),
            (19 << 15 | 3 << 10 | 15 << 5 | 9, "R4.k3f9"),
            (1 << 20, "R4.10000"),
            (u32::MAX.into(), "R4.3zzzzzz"),
            (u64::MAX, "R4.fzzzzzzzzzzzz"),
        ] {
            assert_eq!(Token::new("R4", sequence).to_string(), text);
        }
    }

    #[test]
    fn tokens_are_read_as_they_are_said() {
        for rule in ["R0", "R1b", "R11"] {
            for sequence in [0, 31, 626_153, 1 << 20, 1 << 32, u64::MAX] {
                let token = Token::new(rule, sequence);
                assert_eq!((Token::parse(&token.to_string()), token.rule(), token.sequence()), (Some(token), rule, sequence));
            }
        }
        assert_eq!(Token::parse("r1B.K3F9"), Some(Token::new("R1b", 626_153)));
        assert_eq!(Token::parse("R4.oolI"), Some(Token::new("R4", 33)), "read aloud, o is 0 and l is 1");
        for wrong in
            ["", "R4", "R4.", "R4.k3f", "R4.k3u9", "R4.g000000000000", "R4.00000000000000", ".k3f9", "R 4.k3f9", "R4.k3f9.1", "R4444.k3f9"]
        {
            assert_eq!(Token::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn of_a_host_stay_whole_labels() {
        assert_eq!(
            [16, 14, 13, 10].map(|octets| first_labels("mx1.example.org", octets)),
            ["mx1.example.org", "mx1.example", "mx1.example", "mx1"]
        );
        assert_eq!([first_labels("mx1.example", 11), first_labels("mx1", 2), first_labels("mx 1", 9)], ["mx1.example", "mx", "mx"]);
    }
}
