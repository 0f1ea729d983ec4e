//! Takes out of a header the fields that only we may write (RFC 8601 §5), while the message passes in pieces.
//!
//! Such are an Authentication-Results field under our own name, in any spelling, and every X-Gatepost-Screening field. All
//! else passes octet for octet, the body untouched and uncopied. At most [`HELD_OCTETS`] are held back, those of the one field
//! that is being looked at; one whose name is Authentication-Results and that does not say whose it is within them, or at all, is taken
//! out; so is a line that begins with either name and more than [`BLANKS_MOST`] blanks. A field ends where a line does not go on with a blank, whatever is open in it. Cannot fail.

use std::borrow::Cow;

use mail::Domain;

/// Looks at one message.
#[derive(Debug)]
pub struct Forgeries {
    host: Domain,
    state: State,
    held: Vec<u8>,
    /// Fields taken out so far.
    removed: usize,
}

#[derive(Debug)]
enum State {
    /// At the beginning of a line: `held` has what has come of it.
    Name,
    /// In an Authentication-Results field that may be ours: `held` has what has come of it.
    Owner(Owner),
    /// In a line that passes.
    Passes,
    /// In a field that is taken out.
    Removes,
    /// Behind a line that was taken out: the next octet says whether the field goes on.
    Removed,
    /// In the body.
    Body,
}

impl Forgeries {
    /// Of a message that comes to the host of this name.
    pub fn new(host: Domain) -> Self {
        Self { host, state: State::Name, held: Vec::new(), removed: 0 }
    }

    /// The next piece, without what is taken out or still looked at.
    pub fn pass<'t>(&mut self, piece: &'t [u8]) -> Cow<'t, [u8]> {
        if matches!(self.state, State::Body) {
            return Cow::Borrowed(piece);
        }
        let mut passed = Vec::with_capacity(piece.len() + self.held.len());
        for (at, octet) in piece.iter().enumerate() {
            self.take(*octet, &mut passed);
            if matches!(self.state, State::Body) {
                passed.extend_from_slice(piece.get(at + 1..).unwrap_or_default());
                break;
            }
        }
        Cow::Owned(passed)
    }

    /// What was held back when the message ended: a header without an end.
    pub fn rest(&mut self) -> Vec<u8> {
        // A field of ours that was cut short is no less forged.
        self.end_field();
        std::mem::take(&mut self.held)
    }

    /// How many fields were taken out.
    pub fn removed(&self) -> usize {
        self.removed
    }

    fn take(&mut self, octet: u8, passed: &mut Vec<u8>) {
        match &mut self.state {
            State::Body => passed.push(octet),
            State::Passes => {
                passed.push(octet);
                if octet == b'\n' {
                    self.state = State::Name;
                }
            }
            State::Removes if octet == b'\n' => self.state = State::Removed,
            State::Removes => {}
            State::Removed if matches!(octet, b' ' | b'\t') => self.state = State::Removes,
            State::Removed | State::Name => {
                self.held.push(octet);
                self.name(passed);
            }
            State::Owner(owner) if owner.line_ended && !matches!(octet, b' ' | b'\t') => {
                self.end_field();
                passed.append(&mut self.held);
                self.held.push(octet);
                self.name(passed);
            }
            State::Owner(owner) => {
                self.held.push(octet);
                match owner.take(octet) {
                    Some(name) if is_ours(&self.host, &name) => self.remove(octet),
                    Some(_) => self.let_pass(passed),
                    None if self.held.len() >= HELD_OCTETS => self.remove(octet),
                    None => {}
                }
            }
        }
    }

    /// What has come of a line says which field it begins, or not yet.
    fn name(&mut self, passed: &mut Vec<u8>) {
        self.state = State::Name;
        let (name, colon) = match self.held.split_last() {
            Some((b':', name)) => (name.trim_ascii_end(), true),
            _ => (self.held.as_slice(), false),
        };
        match (colon, name) {
            (true, name) if name.eq_ignore_ascii_case(SCREENING) => self.remove(b':'),
            (true, name) if name.eq_ignore_ascii_case(RESULTS) => self.state = State::Owner(Owner::default()),
            (false, b"\r") => {}
            (false, b"\r\n") => {
                passed.append(&mut self.held);
                self.state = State::Body;
            }
            (false, name) => match [RESULTS, SCREENING].iter().find_map(|known| begins(known, name)) {
                Some(blanks) if blanks <= BLANKS_MOST => {}
                // Nobody writes that but to get past; a colon may still come.
                Some(_) => self.remove(b' '),
                None => self.let_pass(passed),
            },
            (true, _) => self.let_pass(passed),
        }
    }

    /// Forgets what is held of a field that has ended while it was looked at, if it is ours or nobody's.
    fn end_field(&mut self) {
        let State::Owner(owner) = &self.state else { return };
        if owner.end().is_none_or(|name| is_ours(&self.host, &name)) {
            self.removed += 1;
            self.held.clear();
        }
        self.state = State::Name;
    }

    fn let_pass(&mut self, passed: &mut Vec<u8>) {
        // What passes may be a whole line already.
        self.state = if self.held.last() == Some(&b'\n') { State::Name } else { State::Passes };
        passed.append(&mut self.held);
    }

    /// Takes out the field whose `last` octet this is so far.
    fn remove(&mut self, last: u8) {
        self.removed += 1;
        self.held.clear();
        self.state = if last == b'\n' { State::Removed } else { State::Removes };
    }
}

/// In any case, whatever blanks are quoted around it, and by a domain's name in UTF-8 as by its A-labels.
fn is_ours(host: &Domain, name: &str) -> bool {
    let name = name.trim().trim_end_matches('.');
    name.eq_ignore_ascii_case(host.as_str()) || name.parse::<Domain>().is_ok_and(|name| name == *host)
}

/// Where `line` is a beginning of the name, or the name with blanks behind it (obsolete syntax, RFC 5322 §4.5), how many those are.
fn begins(name: &[u8], line: &[u8]) -> Option<usize> {
    let (known, blanks) = line.split_at_checked(name.len()).unwrap_or((line, &[]));
    let begins = name.get(..known.len())?.eq_ignore_ascii_case(known) && blanks.iter().all(|octet| matches!(octet, b' ' | b'\t'));
    begins.then_some(blanks.len())
}

/// Whose results they are: the first word behind blanks and comments (RFC 8601 §2.2, CFWS by RFC 5322 §3.2.2).
#[derive(Debug, Default)]
struct Owner {
    name: Vec<u8>,
    /// Of comments within each other.
    depth: usize,
    escaped: bool,
    quoted: bool,
    /// The field goes on only if a blank comes next.
    line_ended: bool,
}

impl Owner {
    /// One octet more; the authserv-id, without quotes, when that has ended it.
    fn take(&mut self, octet: u8) -> Option<String> {
        let is_blank = matches!(octet, b' ' | b'\t');
        self.line_ended = octet == b'\n';
        match octet {
            // Unfolding takes out line ends and nothing else (RFC 5322 §2.2.3).
            b'\r' | b'\n' => {}
            _ if self.escaped => {
                self.escaped = false;
                if self.depth == 0 {
                    self.name.push(octet);
                }
            }
            b'\\' => self.escaped = true,
            b'"' if self.depth == 0 && self.quoted => return Some(self.said()),
            b'"' if self.depth == 0 && self.name.is_empty() => self.quoted = true,
            _ if self.quoted => self.name.push(octet),
            b'(' if self.name.is_empty() || self.depth > 0 => self.depth += 1,
            b')' if self.depth > 0 => self.depth -= 1,
            _ if self.depth > 0 => {}
            _ if is_blank && self.name.is_empty() => {}
            b';' | b'(' => return Some(self.said()),
            _ if is_blank => return Some(self.said()),
            _ => self.name.push(octet),
        }
        None
    }

    /// The same, where the field has ended: none if something is still open, or nothing was said.
    fn end(&self) -> Option<String> {
        let is_open = self.escaped || self.quoted || self.depth > 0;
        (!is_open && !self.name.is_empty()).then(|| self.said())
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

const RESULTS: &[u8] = b"Authentication-Results";
const SCREENING: &[u8] = b"X-Gatepost-Screening";
/// The most that is held back while a field is looked at.
const HELD_OCTETS: usize = 2048;
const BLANKS_MOST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(message: &[u8], step: usize) -> (Vec<u8>, usize) {
        let mut forgeries = Forgeries::new("mx.example.org".parse().unwrap());
        let mut passed = Vec::new();
        for piece in message.chunks(step) {
            passed.extend_from_slice(&forgeries.pass(piece));
            assert!(forgeries.held.len() <= HELD_OCTETS);
        }
        passed.extend(forgeries.rest());
        (passed, forgeries.removed())
    }

    #[track_caller]
    fn becomes(message: &str, expected: &str, removed: usize) {
        for step in [1, 2, 3, 7, 1 << 16] {
            let (passed, count) = pass(message.as_bytes(), step);
            assert_eq!((String::from_utf8(passed).unwrap().as_str(), count), (expected, removed), "by {step}");
        }
    }

    #[test]
    fn our_own_results_are_taken_out_and_those_of_others_stay() {
        becomes(
            "Subject: x\r\nAuthentication-Results: mx.example.org; spf=pass\r\n\tsmtp.mailfrom=bank.example\r\nAuthentication-Results: \
             mx.example.com; dkim=pass\r\nFrom: a@b.example\r\n\r\nAuthentication-Results: mx.example.org; body\r\n",
            "Subject: x\r\nAuthentication-Results: mx.example.com; dkim=pass\r\nFrom: a@b.example\r\n\r\nAuthentication-Results: \
             mx.example.org; body\r\n",
            1,
        );
    }

    #[test]
    fn no_spelling_of_it_gets_through() {
        for forged in [
            "authentication-RESULTS:mx.example.org;spf=pass\r\n",
            "Authentication-Results : mx.example.org; none\r\n",
            "Authentication-Results: MX.EXAMPLE.ORG 1; none\r\n",
            "Authentication-Results:\r\n mx.example.org; none\r\n",
            "Authentication-Results: (a (nested) comment \\) \r\n here) mx.example.org; none\r\n",
            "Authentication-Results: \"mx.example.org\"; none\r\n",
            "Authentication-Results: \"mx.ex\\ample.org\"; none\r\n",
            "Authentication-Results: mx.example.org(comment); none\r\n",
            "Authentication-Results: mx.example.org.; none\r\n",
            "Authentication-Results: mx.example.org\r\n ; none\r\n more\r\n",
            "X-Gatepost-Screening: accept\r\n",
            "x-gatepost-screening:\r\n\tfolded\r\n",
        ] {
            becomes(&format!("A: 1\r\n{forged}B: 2\r\n\r\nbody"), "A: 1\r\nB: 2\r\n\r\nbody", 1);
            becomes(&format!("{forged}\r\nbody"), "\r\nbody", 1);
        }
    }

    #[test]
    fn everything_else_is_left_octet_for_octet() {
        for message in [
            "",
            "\r\n",
            "\r\nAuthentication-Results: mx.example.org; in the body\r\n",
            "Authentication-Results",
            "Authentication-Results-Of: mx.example.org\r\n\r\n",
            "X-Authentication-Results: mx.example.org\r\n\r\n",
            "Subject: Authentication-Results: mx.example.org\r\n Authentication-Results: mx.example.org\r\n\r\n",
            "Authentication-Results: mx.example.org.evil.example; none\r\n\r\n",
            "Authentication-Results: notmx.example.org; none\r\n\r\n",
            "no colon at all\r\nAuth\r\n\r\nbody",
            "ARC-Authentication-Results: i=1; mx.example.org; none\r\n\r\n",
        ] {
            becomes(message, message, 0);
        }
    }

    #[test]
    fn one_without_an_owner_is_taken_out_and_holds_no_memory() {
        let endless = format!("Authentication-Results: {}mx.example.org; none\r\nB: 2\r\n\r\n", "(x) ".repeat(10_000));
        becomes(&endless, "B: 2\r\n\r\n", 1);
        becomes("A: 1\r\nAuthentication-Results: mx.example.org", "A: 1\r\n", 1);
        becomes("A: 1\r\nAuthentication-Results: mx.example.com", "A: 1\r\nAuthentication-Results: mx.example.com", 0);
    }

    #[test]
    fn no_number_of_blanks_before_the_colon_gets_through() {
        for blanks in [1, 99, 100, 101, 102, 1000, 5000] {
            for name in ["authentication-results", "X-Gatepost-Screening"] {
                let forged = format!("A: 1\r\n{name}{}: mx.example.org; none\r\n more\r\nB: 2\r\n\r\n", &" \t".repeat(blanks)[..blanks]);
                becomes(&forged, "A: 1\r\nB: 2\r\n\r\n", 1);
            }
        }
        let others = format!("Authentication-Results{}: mx.example.com; none\r\n\r\n", " ".repeat(BLANKS_MOST));
        becomes(&others, &others, 0);
    }

    #[test]
    fn a_field_ends_with_its_lines_whatever_is_open_in_it() {
        const HELD: &str = "Authentication-Results:";
        for open in ["", " ", " (", " (a (b)", " \"", " \"mx.exam", " \\", " (\\", "\r\n ", "\r\n\t("] {
            let rest = "From: a@b.example\r\nSubject: x\r\n\r\nbody";
            every_cut(&format!("{HELD}{open}\r\n{rest}"), rest, 1);
            let forged = format!("{HELD} mx.example.org; dmarc=pass\r\n");
            every_cut(&format!("{HELD}{open}\r\n{forged}{rest}"), rest, 2);
            let body = "\r\nmx.example.org is down\r\nX-Gatepost-Screening: x\r\n";
            every_cut(&format!("{HELD}{open}\r\n{body}"), body, 1);
            let body = "\r\nHi\r\nX-Gatepost-Screening: x\r\nAuthentication-Results: mx.example.org; x";
            every_cut(&format!("{HELD}{open}\r\n{body}"), body, 1);
            every_cut(&format!("A: 1\r\n{HELD}{open}\r\n"), "A: 1\r\n", 1);
            every_cut(&format!("A: 1\r\n{HELD}{open}"), "A: 1\r\n", 1);
        }
        let others = "Authentication-Results: mx.example.com\r\nAuthentication-Results:\r\n mx.example.com\r\n\r\nHi\r\n";
        every_cut(others, others, 0);
        every_cut("Authentication-Results: mx.example.org\r\nFrom: a@b.example\r\n\r\n", "From: a@b.example\r\n\r\n", 1);
        every_cut("Authentication-Results: \\\r\n mx.example.org; x\r\nB: 2\r\n\r\n", "B: 2\r\n\r\n", 1);
    }

    /// In two pieces, wherever they part, and octet by octet.
    #[track_caller]
    fn every_cut(message: &str, expected: &str, removed: usize) {
        becomes(message, expected, removed);
        for cut in 0..=message.len() {
            let (first, second) = message.as_bytes().split_at(cut);
            let mut forgeries = Forgeries::new("mx.example.org".parse().unwrap());
            let passed = [&*forgeries.pass(first), &*forgeries.pass(second), &*forgeries.rest()].concat();
            let passed = String::from_utf8(passed).unwrap();
            assert_eq!((passed.as_str(), forgeries.removed()), (expected, removed), "{message:?} cut at {cut}");
        }
    }

    #[test]
    fn both_spellings_of_our_name_are_ours() {
        let mut forgeries = Forgeries::new("mx.bücher.example".parse().unwrap());
        let message = "Authentication-Results: mx.bücher.example; none\r\nAuthentication-Results: mx.xn--bcher-kva.example; none\r\n\r\n";
        assert_eq!(&*forgeries.pass(message.as_bytes()), b"\r\n");
        assert_eq!(forgeries.removed(), 2);
    }
}
