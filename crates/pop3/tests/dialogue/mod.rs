//! Reads a dialogue as `transcripts/README` describes it. Knows nothing of the machine, so that whoever speaks to a server over TCP can
//! play the same files: `#[path = ".../crates/pop3/tests/dialogue/mod.rs"] mod dialogue;`.

/// A dialogue: what the server is set up with, and what is said.
pub(crate) struct Dialogue {
    /// 110 or 995.
    pub(crate) port: u16,
    /// `-- no certificate`: STLS cannot be offered.
    pub(crate) certificate: bool,
    /// `-- login delay 60s`
    pub(crate) login_delay: Option<String>,
    /// `-- in one piece`: how the octets arrive matters, so they must not be cut.
    pub(crate) in_one_piece: bool,
    /// mrose's maildrop, octet by octet. Message n has the id whose number is n.
    pub(crate) messages: Vec<Vec<u8>>,
    /// What happens, each with its line in the file.
    pub(crate) acts: Vec<(usize, Act)>,
}

/// One thing that happens.
#[derive(Debug)]
pub(crate) enum Act {
    /// The client sends these octets in one go.
    Send(Vec<u8>),
    /// The server says these octets next.
    Expect(Vec<u8>),
    /// Something else takes place, as in `handshake` or `wait 10m`.
    Direct(String),
}

impl Dialogue {
    /// Reads a file; panics at what is not written as it should be.
    pub(crate) fn parse(text: &str) -> Self {
        let (port, certificate, in_one_piece) = (0, true, false);
        let mut dialogue = Self { port, certificate, login_delay: None, in_one_piece, messages: vec![], acts: vec![] };
        for (at, line) in text.lines().enumerate() {
            let place = at + 1;
            match line.split_at_checked(2).unwrap_or_default() {
                ("", "") => {}
                ("# ", _) => {}
                ("M:", rest) => dialogue.messages.last_mut().unwrap().extend([octets(rest), b"\r\n".to_vec()].concat()),
                ("M-", rest) => dialogue.messages.last_mut().unwrap().extend(octets(rest)),
                ("S:", rest) => dialogue.acts.push((place, Act::Expect([octets(rest), b"\r\n".to_vec()].concat()))),
                ("S-", rest) => dialogue.acts.push((place, Act::Expect(octets(rest)))),
                ("C:", rest) => dialogue.send(place, &[octets(rest), b"\r\n".to_vec()].concat()),
                ("C-", rest) => dialogue.send(place, &octets(rest)),
                ("--", rest) => dialogue.direct(place, rest.trim()),
                _ => panic!("line {place} is no line of a dialogue: {line}"),
            }
        }
        dialogue
    }

    /// Whether a server on the other side of a wire can play it: nobody has to fail, wait or restart on cue.
    pub(crate) fn is_portable(&self) -> bool {
        self.acts.iter().all(|(_, act)| !matches!(act, Act::Direct(direction) if !matches!(direction.as_str(), "handshake" | "closed")))
    }

    fn send(&mut self, place: usize, octets: &[u8]) {
        match self.acts.last_mut() {
            Some((_, Act::Send(group))) => group.extend(octets),
            _ => self.acts.push((place, Act::Send(octets.to_vec()))),
        }
    }

    fn direct(&mut self, place: usize, direction: &str) {
        match direction {
            "port 110" => self.port = 110,
            "port 995" => self.port = 995,
            "no certificate" => self.certificate = false,
            "in one piece" => self.in_one_piece = true,
            "message" => self.messages.push(Vec::new()),
            _ => match direction.strip_prefix("login delay ") {
                Some(delay) => self.login_delay = Some(delay.into()),
                None => self.acts.push((place, Act::Direct(direction.into()))),
            },
        }
    }
}

/// The octets a line stands for, behind its mark and one space: `\r \n \0 \\ \xNN`, and `{x*300}` for repetition.
fn octets(rest: &str) -> Vec<u8> {
    let (mut octets, mut rest) = (Vec::new(), rest.strip_prefix(' ').unwrap_or(rest));
    while let Some(first) = rest.chars().next() {
        let braces = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let used = match (braces.and_then(|(inner, tail)| Some((inner.rsplit_once('*')?, tail))), rest.as_bytes()) {
            (Some(((unit, times), tail)), _) => {
                octets.extend(unit.repeat(times.parse().unwrap()).into_bytes());
                rest.len() - tail.len()
            }
            (None, [b'\\', b'x', ..]) => {
                octets.push(u8::from_str_radix(&rest[2..4], 16).unwrap());
                4
            }
            (None, [b'\\', escaped, ..]) => {
                octets.push(match escaped {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b'0' => 0,
                    other => *other,
                });
                2
            }
            _ => {
                octets.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
                first.len_utf8()
            }
        };
        rest = &rest[used..];
    }
    octets
}
