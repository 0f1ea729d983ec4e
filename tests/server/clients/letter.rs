//! The messages that are sent, and the fields that come before them when they are fetched.

use std::path::{Path, PathBuf};
use std::{fs, iter};

/// A message in a file.
pub(super) struct Letter {
    /// The file's name without its ending.
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) octets: Vec<u8>,
}

impl Letter {
    /// Every message of `tests/messages`, by name.
    pub(super) fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut letters: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|extension| extension == "eml")).map(Self::read).collect();
        letters.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(letters.len() >= 15, "{} messages", letters.len());
        letters
    }

    /// One of them.
    pub(super) fn named(name: &str) -> Self {
        Self::all().into_iter().find(|letter| letter.name == name).unwrap()
    }

    /// A message of 25 MiB, the most that is taken by default: lines of text, of dots, and of none.
    pub(super) fn largest(file: PathBuf) -> Self {
        let lines = (0..).map(|line| match line % 7 {
            0 => "\r\n".to_owned(),
            1 => format!("{}\r\n", ".".repeat(line % 80)),
            _ => format!("{line:060}\r\n"),
        });
        let header = iter::once("From: ann@example.org\r\nSubject: all there is room for\r\n\r\n".to_owned());
        let mut octets = Vec::with_capacity((25 << 20) + 100);
        for line in header.chain(lines) {
            octets.extend(line.into_bytes());
            if octets.len() > 25 << 20 {
                break;
            }
        }
        octets.truncate((25 << 20) - 4);
        // Whatever was cut through, two line ends are whole.
        octets.truncate(octets.trim_ascii_end().len());
        let missing = (25 << 20) - octets.len() - 2;
        octets.extend(iter::repeat_n(b'x', missing));
        octets.extend(b"\r\n");
        Self::new(file, octets)
    }

    /// Writes a message to a file.
    pub(super) fn new(file: PathBuf, octets: Vec<u8>) -> Self {
        fs::write(&file, octets).unwrap();
        Self::read(file)
    }

    /// What a client fetches: lines are ended, also where the message's last was not (RFC 1939 §3).
    pub(super) fn fetched(&self) -> Vec<u8> {
        let mut octets = self.octets.clone();
        if !octets.is_empty() && !octets.ends_with(b"\r\n") {
            octets.extend(b"\r\n");
        }
        octets
    }

    fn read(file: PathBuf) -> Self {
        Self { name: file.file_stem().unwrap().to_string_lossy().into_owned(), octets: fs::read(&file).unwrap(), file }
    }
}

/// A message as it was fetched, and what the fields before it say.
pub(super) struct Traced<'t> {
    pub(super) reverse_path: String,
    pub(super) protocol: String,
    pub(super) id: String,
    pub(super) cipher: Option<String>,
    pub(super) recipient: String,
    pub(super) message: &'t [u8],
}

impl<'t> Traced<'t> {
    /// Reads and takes off Return-Path and Received, which must be as this server writes them.
    #[track_caller]
    pub(super) fn take_off(octets: &'t [u8]) -> Self {
        let mut rest = octets;
        let mut line = || {
            let end = rest.windows(2).position(|two| two == b"\r\n").expect("a line of a trace field");
            let line = str::from_utf8(&rest[..end]).unwrap();
            rest = &rest[end + 2..];
            line
        };
        let after = |line: &'t str, start: &str| line.strip_prefix(start).unwrap_or_else(|| panic!("{line:?}, not {start:?}")).to_owned();
        let reverse_path = after(line(), "Return-Path: ");
        let from = after(line(), "Received: from ");
        assert!(from.ends_with(" ([127.0.0.1])"), "{from}");
        let by = after(line(), "\tby mail.example.org (Gatepost) with ");
        let (protocol, id) = by.split_once(" id ").unwrap();
        let recipient = after(line(), "\tfor ");
        let (recipient, cipher) = match recipient.strip_suffix(';') {
            Some(recipient) => (recipient.to_owned(), None),
            None => (recipient, Some(after(line(), "\ttls ").strip_suffix(';').unwrap().to_owned())),
        };
        let date = after(line(), "\t");
        assert!(date.len() >= 30 && date.ends_with(" +0000"), "{date}");
        Self { reverse_path, protocol: protocol.into(), id: id.into(), cipher, recipient, message: rest }
    }
}
