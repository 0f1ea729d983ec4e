//! The header of a message as its author's program made it, looked at while it passes in pieces (RFC 6409 §8).
//!
//! Bcc and Resent-Bcc fields are taken out where that is wanted, since whoever receives a copy must not learn of the others (RFC 5322
//! §3.6.3). What the From fields say is kept, at most [`FROM_OCTETS`] of it, and whether there are Date and Message-ID. All else passes
//! octet for octet, the body untouched and uncopied; at most [`NAME_OCTETS`] are held back, those of a name that is still coming, and blanks
//! beyond them, which only a name we look for can have behind it, are left out. Cannot fail.

use std::borrow::Cow;

/// One message's header, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    state: State,
    /// Whether Bcc is taken out.
    hides: bool,
    /// What has come of a line whose field is not known yet.
    held: Vec<u8>,
    /// The From fields, whole and unfolded by nobody.
    from: Vec<u8>,
    found: Found,
}

/// What the header has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) date: bool,
    pub(crate) message_id: bool,
    pub(crate) from: bool,
    /// More From than anybody writes: what they say is not known.
    pub(crate) too_much_from: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At the beginning of a line.
    #[default]
    Name,
    /// In a field of this kind.
    Within(Field),
    /// Behind the end of a line of such a field: the next octet says whether it goes on.
    Ended(Field),
    Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    From,
    Hidden,
    Other,
}

impl Draft {
    /// Of a message that has not begun; whether Bcc is taken out of it.
    pub(crate) fn new(hides: bool) -> Self {
        Self { hides, ..Self::default() }
    }

    /// The next piece, without what is taken out or still looked at.
    pub(crate) fn pass<'t>(&mut self, piece: &'t [u8]) -> Cow<'t, [u8]> {
        if self.state == State::Body {
            return Cow::Borrowed(piece);
        }
        let mut passed = Vec::with_capacity(piece.len() + self.held.len());
        for (at, octet) in piece.iter().enumerate() {
            self.take(*octet, &mut passed);
            if self.state == State::Body {
                passed.extend_from_slice(piece.get(at + 1..).unwrap_or_default());
                break;
            }
        }
        Cow::Owned(passed)
    }

    /// What was held back when the message ended: the beginning of a line in a header without an end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// What the header has, once it has come.
    pub(crate) fn found(&self) -> Found {
        self.found
    }

    /// The From fields as they stand there, each with its name and its line ends.
    pub(crate) fn from(&self) -> &[u8] {
        &self.from
    }

    fn take(&mut self, octet: u8, passed: &mut Vec<u8>) {
        match self.state {
            State::Body => passed.push(octet),
            State::Within(field) => self.within(field, octet, passed),
            State::Ended(field) if is_blank(octet) => self.within(field, octet, passed),
            State::Name if self.held.len() >= NAME_OCTETS && is_blank(octet) => {}
            State::Ended(_) | State::Name => {
                self.held.push(octet);
                self.name(passed);
            }
        }
    }

    fn within(&mut self, field: Field, octet: u8, passed: &mut Vec<u8>) {
        self.state = if octet == b'\n' { State::Ended(field) } else { State::Within(field) };
        match field {
            Field::Hidden if self.hides => return,
            Field::From if self.from.len() < FROM_OCTETS => self.from.push(octet),
            Field::From => self.found.too_much_from = true,
            Field::Hidden | Field::Other => {}
        }
        passed.push(octet);
    }

    /// What has come of a line says which field it begins, or not yet.
    fn name(&mut self, passed: &mut Vec<u8>) {
        self.state = State::Name;
        let field = match self.held.as_slice() {
            b"\r" => return,
            b"\r\n" => {
                passed.append(&mut self.held);
                self.state = State::Body;
                return;
            }
            [name @ .., b':'] => self.found.field(name.trim_ascii_end()),
            held if held.ends_with(b"\n") => Field::Other,
            held if held.len() >= NAME_OCTETS && !awaits_colon(held) => Field::Other,
            _ => return,
        };
        let line = std::mem::take(&mut self.held);
        line.into_iter().for_each(|octet| self.within(field, octet, passed));
    }
}

impl Found {
    /// A field of this name begins.
    fn field(&mut self, name: &[u8]) -> Field {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        self.from |= is(b"from");
        self.date |= is(b"date");
        self.message_id |= is(b"message-id");
        match name {
            _ if is(b"from") => Field::From,
            _ if is(b"bcc") || is(b"resent-bcc") => Field::Hidden,
            _ => Field::Other,
        }
    }
}

/// Whether a name we look for is whole, and blanks have come behind it: any number of them may (RFC 5322 §4.5).
fn awaits_colon(held: &[u8]) -> bool {
    let name = held.trim_ascii_end();
    held.last().copied().is_some_and(is_blank) && KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

const KNOWN: [&[u8]; 5] = [b"from", b"date", b"message-id", b"bcc", b"resent-bcc"];
/// From fields with a hundred mailboxes.
const FROM_OCTETS: usize = 8 << 10;
/// The longest name looked for, with blanks behind it.
const NAME_OCTETS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes of a message that comes in pieces of every size, which is the same, and what is found in it.
    fn passed(message: &[u8]) -> (String, String, Found) {
        let of = |step: usize| {
            let mut draft = Draft::new(true);
            let mut passed: Vec<u8> = message.chunks(step).flat_map(|piece| draft.pass(piece).into_owned()).collect();
            passed.extend(draft.rest());
            (String::from_utf8(passed).unwrap(), String::from_utf8(draft.from().to_vec()).unwrap(), draft.found())
        };
        let whole = of(message.len().max(1));
        for step in [1, 2, 3, 7] {
            assert_eq!(of(step), whole, "by {step}");
        }
        whole
    }

    #[test]
    fn bcc_goes_and_all_else_stays() {
        let (text, from, found) = passed(
            b"Bcc: a@x.example,\r\n\tb@x.example\r\nFrom: Ann <ann@example.org>\r\nBCC : c@x.example\r\nbccx: stays\r\nDate: today\r\n\
              Resent-Bcc:\r\n d@x.example\r\nSubject: Bcc: e@x.example\r\n Bcc: stays\r\n\r\nBcc: body\r\n",
        );
        assert_eq!(
            text,
            "From: Ann <ann@example.org>\r\nbccx: stays\r\nDate: today\r\nSubject: Bcc: e@x.example\r\n Bcc: stays\r\n\r\nBcc: body\r\n"
        );
        assert_eq!(from, "From: Ann <ann@example.org>\r\n");
        assert_eq!(found, Found { date: true, message_id: false, from: true, too_much_from: false });
    }

    #[test]
    fn every_from_is_kept_with_its_folds_and_the_body_has_no_fields() {
        let (text, from, found) =
            passed(b"from:\r\n ann@example.org\r\nMESSAGE-ID:<a@b>\r\nFrom : bob@example.org\r\n\r\nDate: x\r\nFrom: y\r\n");
        assert_eq!(from, "from:\r\n ann@example.org\r\nFrom : bob@example.org\r\n");
        assert_eq!(found, Found { date: false, message_id: true, from: true, too_much_from: false });
        assert!(text.ends_with("\r\n\r\nDate: x\r\nFrom: y\r\n"));
    }

    #[test]
    fn blanks_hide_no_field() {
        for blanks in [59, 60, 61, 63, 64, 65, 1000] {
            let (blanks, few) = (" \t".repeat(blanks), |name: &str| format!("{name}{}", " \t".repeat(100)).split_at(64).0.to_owned());
            let header = format!("Bcc{blanks}: a@x.example\r\n\tb@x.example\r\nFrom{blanks}: ann@example.org\r\nDate{blanks}: x\r\n\r\n");
            let (text, from, found) = passed(header.as_bytes());
            assert_eq!(from, format!("{}: ann@example.org\r\n", few("From")));
            assert_eq!(text, format!("{from}{}: x\r\n\r\n", few("Date")));
            assert_eq!(found, Found { date: true, message_id: false, from: true, too_much_from: false });
            let other = format!("X-Other{blanks}: x\r\nBcc{}is no field\r\n\r\n", " ".repeat(20));
            assert_eq!(passed(other.as_bytes()).0, other);
        }
    }

    #[test]
    fn bcc_stays_where_it_may() {
        let text = b"Bcc: a@x.example\r\n b@x.example\r\nFrom: ann@example.org\r\n\r\n";
        assert_eq!(*Draft::new(false).pass(text), *text);
    }

    #[test]
    fn what_is_no_header_passes() {
        for odd in [
            &b""[..],
            b"\r\nFrom: body\r\n",
            b"no colon\r\n\r\n",
            b"From",
            b"Bc",
            b"\r",
            &[b'x'; 200],
            b" Bcc: a continuation of nothing\r\n\r\n",
        ] {
            let (text, _, found) = passed(odd);
            assert_eq!((text.as_bytes(), found), (odd, Found::default()));
        }
    }

    #[test]
    fn memory_is_bounded_and_too_much_is_said_to_be() {
        let mut draft = Draft::default();
        let long = [b"From: ".as_slice(), &vec![b'a'; 2 * FROM_OCTETS], b"\r\n\r\n"].concat();
        assert_eq!(*draft.pass(&long), long);
        assert!(draft.from().len() <= FROM_OCTETS && draft.found().too_much_from && draft.held.capacity() <= 2 * NAME_OCTETS);
    }
}
