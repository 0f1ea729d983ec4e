//! `gatepost verify` and `gatepost store`: a stopped server's store, checked and repaired.

use std::io::{self, Write};

use mail::ByteSize;
use serde::Serialize;
use store_embedded::{Embedded, VerifyReport};

use super::Outcome;
use super::place::Place;
use crate::cli::{Asked, Exit, Server, Store};
use crate::progress::Bar;

/// Reads everything there is and prints what it found; the exit code says whether it is sound.
///
/// # Errors
/// What kept it from looking.
pub(crate) fn verify(asked: &Asked) -> Outcome {
    let store = Place::find(&asked.server)?.open()?;
    let mut bar = Bar::new("verifying");
    let report = store.verify(&mut |progress| bar.show(progress.segments_done, progress.segments))?;
    bar.finish();
    store.close();
    let mut out = io::stdout().lock();
    if asked.json {
        serde_json::to_writer_pretty(&mut out, &Sheet::of(&report))?;
        writeln!(out)?;
    } else {
        print(&mut out, &report)?;
    }
    Ok(if report.is_sound() { Exit::Done } else { Exit::Failed })
}

fn print(out: &mut impl Write, report: &VerifyReport) -> io::Result<()> {
    let VerifyReport { segments, records, bytes, deliveries, bodies, broken, faults } = report;
    let count = |number: &u64, one: &str| if *number == 1 { format!("1 {one}") } else { format!("{number} {one}s") };
    writeln!(out, "log        {}, {} in {}", count(records, "record"), ByteSize(*bytes), count(segments, "segment"))?;
    writeln!(out, "maildrops  {}, each compared with the index", count(deliveries, "message"))?;
    writeln!(out, "bodies     {bodies} in {}", if *bodies == 1 { "a file of its own" } else { "files of their own" })?;
    if *broken > 0 {
        let stretches = if *broken == 1 { "1 stretch that is".into() } else { format!("{broken} stretches that are") };
        writeln!(out, "torn       {stretches} no record, as crashes leave them; nothing acknowledged is in there")?;
    }
    for fault in faults {
        writeln!(out, "fault      {fault}")?;
    }
    match faults.len() {
        0 => writeln!(out, "everything is whole"),
        VerifyReport::FAULTS => writeln!(out, "{} faults or more", VerifyReport::FAULTS),
        1 => writeln!(out, "1 fault"),
        many => writeln!(out, "{many} faults"),
    }
}

/// The report as JSON.
#[derive(Serialize)]
struct Sheet<'r> {
    sound: bool,
    segments: u64,
    records: u64,
    bytes: u64,
    deliveries: u64,
    bodies: u64,
    broken: u64,
    faults: &'r [String],
}

impl<'r> Sheet<'r> {
    fn of(report: &'r VerifyReport) -> Self {
        let VerifyReport { segments, records, bytes, deliveries, bodies, broken, faults } = report;
        Self {
            sound: report.is_sound(),
            segments: *segments,
            records: *records,
            bytes: *bytes,
            deliveries: *deliveries,
            bodies: *bodies,
            broken: *broken,
            faults,
        }
    }
}

/// Repairs.
///
/// # Errors
/// That the server runs, or what the store says.
pub(crate) fn store(store: &Store) -> Outcome {
    let Store::RebuildIndex(server) = store;
    rebuild_index(server)
}

fn rebuild_index(server: &Server) -> Outcome {
    let place = Place::find(server)?;
    let mut bar = Bar::new("rebuilding the index");
    Embedded::rebuild_index(place.enter()?, place.config().store.clone(), &mut |progress| {
        bar.show(progress.segments_done, progress.segments);
    })?;
    bar.finish();
    writeln!(io::stdout(), "the index has been made anew from the log")?;
    Ok(Exit::Done)
}
