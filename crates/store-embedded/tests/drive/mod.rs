//! Logs made of any octets, and logs that were whole once: what recovery makes of them, compared with what was written.
//!
//! For fuzzing and for the replay of its corpora: each function takes one string of octets and panics when a promise of the store is
//! broken. [`segment`] stays in memory; [`recovery`] opens, verifies, rebuilds and opens again a store in a folder of its own. The log is
//! written here from its description in `record.rs`, so that the two must agree.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use mail::{ByteSize, MessageId};
use store::{Change, Directory, Maildrops};
use store_embedded::{Embedded, Settings, fuzzing};

/// Walks through the octets as they are, then through a segment made by them: every whole record is found, and no other.
pub(crate) fn segment(octets: &[u8]) {
    assert_eq!(fuzzing::walk_segment(octets), fuzzing::walk_segment(octets));
    let log = Log::of(octets);
    let first = log.segments.first().expect("a segment");
    let whole = first.records.iter().filter(|(record, _)| first.is_whole(record)).count();
    assert_eq!(fuzzing::walk_segment(&first.octets).0, whole);
}

/// Opens a store on a log made by the octets. What was written whole is listed and can be read, what was deleted is not, verification
/// finds no fault but segments whose head is damaged, and an index made anew says the same.
pub(crate) fn recovery(octets: &[u8]) {
    let log = Log::of(octets);
    let expected = log.delivered();
    let dir = site();
    for (number, segment) in (1..).zip(&log.segments) {
        fs::write(dir.path().join(format!("log/{number:016X}.seg")), &segment.octets).unwrap();
    }
    for again in [false, true] {
        if again {
            Embedded::rebuild_index(dir.path(), settings(), &mut |_| {}).unwrap();
        }
        let store = Embedded::open(dir.path(), settings()).unwrap();
        let report = store.verify(&mut |_| {}).unwrap();
        let beheaded = log.segments.iter().filter(|segment| !segment.has_head()).count();
        assert_eq!(report.faults.len(), beheaded, "{:?}", report.faults);
        for account in ACCOUNTS {
            assert_eq!(listed(&store, account), expected.get(account).cloned().unwrap_or_default(), "{account}");
        }
        store.close();
    }
}

/// Text by id, in the order of the listing.
type Texts = Vec<(MessageId, Vec<u8>)>;

fn listed(store: &Embedded, account: &str) -> Texts {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let maildrop = store.open(account).await.unwrap();
        let listing = Arc::clone(maildrop.listing());
        let mut texts = Vec::new();
        for entry in listing.iter() {
            let (mut body, mut text) = (maildrop.read(entry).await.unwrap(), Vec::new());
            while body.next(&mut text).await.unwrap() {}
            assert!([text.len(), text.len() + 2].contains(&(entry.octets as usize)));
            texts.push((entry.id, text));
        }
        texts
    })
}

/// A log as its octets, and what they mean.
struct Log {
    segments: Vec<Segment>,
}

#[derive(Default)]
struct Segment {
    octets: Vec<u8>,
    /// Where each record is, in the order of the log.
    records: Vec<(Record, Meaning)>,
    /// What stood where something was damaged; damaged twice it may be well again.
    damaged: BTreeMap<usize, u8>,
}

/// The octets that a record needs, and where it ends with its padding.
struct Record {
    octets: Range<usize>,
    end: usize,
}

#[derive(Clone)]
enum Meaning {
    Message { sequence: u64, accounts: Vec<&'static str>, text: Vec<u8> },
    Deletion { account: &'static str, sequences: Vec<u64> },
    Removal { sequence: u64, account: &'static str },
}

impl Segment {
    fn begin(number: u64) -> Self {
        let mut octets = b"GPSEGMNT\x01\0\0\0\0\0\0\0".to_vec();
        octets.extend(number.to_le_bytes());
        octets.extend(tag(number).to_le_bytes());
        octets.resize(HEADER_BYTES - 4, 0);
        octets.extend(crc32fast::hash(&octets).to_le_bytes());
        Self { octets, ..Self::default() }
    }

    /// Whether all that the record needs is as it was written.
    fn is_whole(&self, record: &Record) -> bool {
        record.end <= self.octets.len() && self.has_head() && !self.is_damaged(&record.octets)
    }

    fn has_head(&self) -> bool {
        !self.is_damaged(&(0..HEADER_BYTES))
    }

    fn is_damaged(&self, place: &Range<usize>) -> bool {
        self.damaged.range(place.clone()).any(|(at, octet)| self.octets.get(*at) != Some(octet))
    }

    /// Writes a record of this meaning; a message's flags, the octets of its text that are trace fields.
    fn write(&mut self, number: u64, sequence: u64, meaning: Meaning, flags: u16, trace_bytes: usize) {
        let (kind, envelope, text) = match &meaning {
            Meaning::Message { accounts, text, .. } => (1u8, message_envelope(accounts), text.clone()),
            Meaning::Deletion { account, sequences } => (2, deletion_envelope(account, sequences), Vec::new()),
            Meaning::Removal { account, .. } => (3, written(account), Vec::new()),
        };
        let id = if kind == 1 { id(sequence).to_bytes() } else { [0; 16] };
        let trace_bytes = trace_bytes.min(text.len());
        let mut header = tag(number).to_le_bytes().to_vec();
        header.extend([1, kind]);
        header.extend(flags.to_le_bytes());
        header.extend((envelope.len() as u32).to_le_bytes());
        header.extend((trace_bytes as u32).to_le_bytes());
        header.extend(crc32fast::hash(&[&envelope, &text[..trace_bytes]].concat()).to_le_bytes());
        header.extend(((text.len() - trace_bytes) as u64).to_le_bytes());
        header.extend(sequence.to_le_bytes());
        header.extend(id);
        header.extend(crc32fast::hash(&text).to_le_bytes());
        header.extend(crc32fast::hash(&header).to_le_bytes());
        let start = self.octets.len();
        self.octets.extend([header, envelope, text].concat());
        let octets = start..self.octets.len();
        self.pad();
        self.records.push((Record { octets, end: self.octets.len() }, meaning));
    }

    fn pad(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(8), 0);
    }
}

impl Log {
    /// A life of the store as the octets tell it.
    fn of(octets: &[u8]) -> Self {
        let mut script = Script(octets);
        let mut log = Self { segments: vec![Segment::begin(1)] };
        let mut messages: Vec<(u64, Meaning)> = Vec::new();
        let mut sequence = 0;
        while !script.0.is_empty() && sequence < 1000 {
            sequence += 1;
            let number = log.segments.len() as u64;
            let segment = log.segments.last_mut().expect("a segment");
            let account = |drawn: usize| ACCOUNTS[drawn % ACCOUNTS.len()];
            match script.draw(12) {
                0..=3 => {
                    let mask = script.draw(8);
                    let accounts = (0..3).filter(|bit| mask >> bit & 1 == 1).map(account).collect();
                    let (flags, trace_bytes) = (script.draw(2) as u16, script.draw(64));
                    let text = script.text();
                    let message = Meaning::Message { sequence, accounts, text };
                    messages.push((sequence, message.clone()));
                    segment.write(number, sequence, message, flags, trace_bytes);
                }
                4 | 5 => {
                    let (account, step) = (account(script.draw(3)), 1 + script.draw(4));
                    let sequences = messages.iter().map(|(sequence, _)| *sequence).step_by(step).collect();
                    segment.write(number, sequence, Meaning::Deletion { account, sequences }, 0, 0);
                }
                6 => segment.write(number, sequence, Meaning::Removal { sequence, account: account(script.draw(3)) }, 0, 0),
                // As compaction carries it: while all of it lives.
                7 => {
                    let drawn = script.draw(256);
                    let live = log.delivered();
                    let segment = log.segments.last_mut().expect("a segment");
                    let lives = |of: u64, accounts: &[&str]| {
                        accounts
                            .iter()
                            .all(|account| live.get(account).is_some_and(|texts| texts.iter().any(|(found, _)| *found == id(of))))
                    };
                    if let Some((of, message @ Meaning::Message { accounts, .. })) = messages.get(drawn % messages.len().max(1))
                        && lives(*of, accounts)
                    {
                        segment.write(number, *of, message.clone(), 0, 0);
                    }
                }
                8 => {
                    let length = script.draw(64);
                    segment.octets.extend(script.take(length));
                    segment.pad();
                }
                9 | 10 => {
                    let at = script.draw(256) << 8 | script.draw(256);
                    let (at, by) = (at % segment.octets.len(), 1 + script.draw(255) as u8);
                    segment.damaged.entry(at).or_insert(segment.octets[at]);
                    segment.octets[at] ^= by;
                }
                _ if number < 4 => log.segments.push(Segment::begin(number + 1)),
                // The end: torn, or in a file with room.
                _ => {
                    let length = script.draw(256) << 8 | script.draw(256);
                    segment.octets.resize(length.max(HEADER_BYTES), 0);
                    break;
                }
            }
        }
        log
    }

    /// What each maildrop holds in the end. Whoever has no account has none.
    fn delivered(&self) -> BTreeMap<&'static str, Texts> {
        let mut live: BTreeMap<&str, BTreeMap<u64, Vec<u8>>> = BTreeMap::new();
        let records = self.segments.iter().flat_map(|segment| segment.records.iter().filter(|(place, _)| segment.is_whole(place)));
        for (_, meaning) in records {
            match meaning {
                Meaning::Message { sequence, accounts, text } => {
                    accounts.iter().for_each(|account| drop(live.entry(account).or_default().insert(*sequence, text.clone())));
                }
                Meaning::Deletion { account, sequences } => live.entry(account).or_default().retain(|own, _| !sequences.contains(own)),
                Meaning::Removal { sequence, account } => live.entry(account).or_default().retain(|own, _| own >= sequence),
            }
        }
        live.remove(GONE);
        live.into_iter().map(|(account, texts)| (account, texts.into_iter().map(|(own, text)| (id(own), text)).collect())).collect()
    }
}

fn message_envelope(accounts: &[&str]) -> Vec<u8> {
    let mut envelope = 1_700_000_000_000u64.to_le_bytes().to_vec();
    envelope.extend([0, 0]);
    envelope.extend(written("<a@client.example>"));
    envelope.extend((accounts.len() as u16).to_le_bytes());
    accounts.iter().for_each(|account| envelope.extend(written(account)));
    envelope
}

fn deletion_envelope(account: &str, sequences: &[u64]) -> Vec<u8> {
    let mut envelope = written(account);
    envelope.extend((sequences.len() as u32).to_le_bytes());
    let mut before = 0;
    for sequence in sequences {
        let mut distance = sequence - before;
        while distance > 127 {
            envelope.push(distance as u8 | 128);
            distance >>= 7;
        }
        envelope.push(distance as u8);
        before = *sequence;
    }
    envelope
}

fn written(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

fn id(sequence: u64) -> MessageId {
    MessageId::from_bytes(u128::from(sequence).to_be_bytes())
}

/// No message knows it.
fn tag(number: u64) -> u64 {
    0x5EED_0000_F00D_0000 | number
}

/// A data directory with accounts and no mail, as a store leaves it that was closed.
fn site() -> tempfile::TempDir {
    static FILES: OnceLock<Vec<(OsString, Vec<u8>)>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), settings()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let domain = Change::PutDomain { name: "mx.example".parse().unwrap(), postmaster: None };
        let people = ACCOUNTS.into_iter().filter(|account| *account != GONE);
        let people = people.map(|name| Change::AddAccount { name: name.into(), password_hash: "none".into(), verifier: None });
        [domain].into_iter().chain(people).for_each(|change| runtime.block_on(store.change(change)).unwrap());
        store.close();
        files(dir.path())
    });
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("log")).unwrap();
    files.iter().for_each(|(name, octets)| fs::write(dir.path().join(name), octets).unwrap());
    dir
}

fn files(dir: &Path) -> Vec<(OsString, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.file_type().unwrap().is_file());
    entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
}

fn settings() -> Settings {
    Settings { segment: ByteSize::kib(64), inline_body: ByteSize::kib(16), reserve_free: ByteSize(0), ..Settings::default() }
}

/// Octets that decide. A script that has ended decides for 0.
struct Script<'s>(&'s [u8]);

impl<'s> Script<'s> {
    fn draw(&mut self, choices: usize) -> usize {
        self.take(1).first().map_or(0, |octet| usize::from(*octet) % choices)
    }

    fn take(&mut self, length: usize) -> &'s [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A few octets of the script, some of them over and over.
    fn text(&mut self) -> Vec<u8> {
        let (length, times) = (self.draw(64), 1 + self.draw(256));
        let piece = self.take(length);
        if times < 128 { piece.to_vec() } else { piece.repeat(times) }
    }
}

const ACCOUNTS: [&str; 3] = ["ann@mx.example", "bob@mx.example", GONE];
/// Has mail and no account: its maildrop is removed by the next open.
const GONE: &str = "gone@mx.example";
const HEADER_BYTES: usize = 64;
