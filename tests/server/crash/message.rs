//! Messages that are made from a number and known again by every octet.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A message. Its number says how long it is and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    number: u64,
    octets: usize,
}

impl Message {
    /// Of any size up to a MiB: small enough for the log, or in a file of its own.
    pub(crate) fn any(rng: &mut StdRng) -> Self {
        let most = [2 << 10, 4 << 10, 64 << 10, 64 << 10, 600 << 10, 1 << 20][rng.random_range(0..6)];
        Self { number: rng.random(), octets: rng.random_range(0..most) }
    }

    /// Of a few KiB at most.
    pub(crate) fn small(rng: &mut StdRng) -> Self {
        Self { number: rng.random(), octets: rng.random_range(0..6000) }
    }

    /// Header and body, with CRLF.
    pub(crate) fn content(self) -> Vec<u8> {
        let mut content = self.header();
        content.extend_from_slice(b"\r\n\r\n");
        let mut rng = StdRng::seed_from_u64(self.number);
        while content.len() < self.octets {
            // The place in the message and its number are in every line: nothing can be missing, moved or mixed up.
            let line = format!("{:x} {:x} {}\r\n", content.len(), rng.random::<u64>(), FILLING);
            // Some lines begin with dots, some are not ASCII.
            content.extend_from_slice([&b""[..], b".", b"..", "\u{e9}".as_bytes()][rng.random_range(0..4)]);
            content.extend_from_slice(line.as_bytes());
        }
        content
    }

    /// The same for DATA, without the final dot.
    pub(crate) fn stuffed(self) -> Vec<u8> {
        let content = self.content();
        let lines = content.split_inclusive(|octet| *octet == b'\n');
        lines.flat_map(|line| if line.starts_with(b".") { [&b"."[..], line] } else { [&b""[..], line] }).flatten().copied().collect()
    }

    /// The message in these lines, behind the header fields that the server has put in front. It is whole, or this fails.
    #[track_caller]
    pub(crate) fn recognise(lines: &[Vec<u8>]) -> Self {
        let ours = lines.iter().position(|line| line.starts_with(FIELD.as_bytes())).expect("a message of ours");
        let mut words = str::from_utf8(&lines[ours]).unwrap().split(' ').skip(1);
        let number = u64::from_str_radix(words.next().unwrap(), 16).unwrap();
        let message = Self { number, octets: words.next().unwrap().parse().unwrap() };
        let found: Vec<u8> = lines[ours..].iter().flat_map(|line| [&line[..], b"\r\n"]).flatten().copied().collect();
        assert!(found == message.content(), "{message:?} has come out as another");
        message
    }

    fn header(self) -> Vec<u8> {
        format!("{FIELD} {:x} {}", self.number, self.octets).into_bytes()
    }
}

const FIELD: &str = "Message-Number:";
const FILLING: &str = "the quick brown fox jumps over the lazy dog and so on, in every line, for as long as is wanted";
