//! `gatepost quarantine`: messages that are held, of a running server or a stopped one: listed, shown, released, removed.

use std::io::{self, IsTerminal, Write};
use std::mem;

use admin::{QuarantineRequest, Quarantined, Reply};

use super::place::Place;
use super::{Outcome, show, table};
use crate::cli::{DecideHeld, Exit, ListHeld, Quarantine, ShowHeld};

/// Lists or prints what is held, or ends it.
///
/// # Errors
/// What was refused, with the fix.
pub(crate) fn run(quarantine: &Quarantine) -> Outcome {
    match quarantine {
        Quarantine::List(ListHeld { user, asked }) => {
            match Place::find(&asked.server)?.quarantine(QuarantineRequest::List { user: user.clone() })? {
                Reply::Quarantined(held) => show(asked.json, &held, |out| print(out, &held)),
                other => Err(format!("the server answered something else: {other:?}").into()),
            }
        }
        Quarantine::Show(about) => text(about),
        Quarantine::Release(about) => {
            let request = QuarantineRequest::Release { id: about.id.clone(), user: about.user.clone() };
            decide(about, request, "released: it is listed from the next login on")
        }
        Quarantine::Remove(about) => decide(about, QuarantineRequest::Remove { id: about.id.clone(), user: about.user.clone() }, "removed"),
    }
}

fn decide(about: &DecideHeld, request: QuarantineRequest, done: &str) -> Outcome {
    match Place::find(&about.server)?.quarantine(request)? {
        Reply::Done => {
            writeln!(io::stdout(), "{} {done}", about.id)?;
            Ok(Exit::Done)
        }
        other => Err(format!("the server answered something else: {other:?}").into()),
    }
}

/// Prints a message, piece by piece.
fn text(ShowHeld { id, server }: &ShowHeld) -> Outcome {
    let (place, mut out, mut from) = (Place::find(server)?, io::stdout().lock(), 0);
    let mut screen = out.is_terminal().then(Screen::default);
    loop {
        match place.quarantine(QuarantineRequest::Show { id: id.clone(), from })? {
            Reply::Text(piece) => {
                from += piece.len() as u64;
                match &mut screen {
                    Some(screen) => out.write_all(screen.next(&piece).as_bytes())?,
                    None => out.write_all(&piece)?,
                }
                if piece.is_empty() {
                    return Ok(Exit::Done);
                }
            }
            other => return Err(format!("the server answered something else: {other:?}").into()),
        }
    }
}

/// A text on its way to a terminal, piece by piece.
#[derive(Default)]
struct Screen {
    /// The end of the last piece, as far as it needs the next to be read.
    unfinished: Vec<u8>,
}

impl Screen {
    /// What is to be shown now that this piece has come; an empty one is the last.
    fn next(&mut self, piece: &[u8]) -> String {
        let mut text = mem::take(&mut self.unfinished);
        text.extend(piece);
        if !piece.is_empty() {
            self.unfinished = text.split_off(text.len() - unfinished(&text));
        }
        harmless(&text)
    }
}

/// How many octets at the end of a text may be half of a line's end, or a part of a character.
fn unfinished(text: &[u8]) -> usize {
    if text.ends_with(b"\r") {
        return 1;
    }
    let strange = text.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    if str::from_utf8(strange).is_err_and(|error| error.error_len().is_none()) { strange.len() } else { 0 }
}

/// A text without what a terminal would obey.
fn harmless(text: &[u8]) -> String {
    let escaped = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { c.escape_default().collect() } else { c.to_string() };
    String::from_utf8_lossy(text).replace("\r\n", "\n").chars().map(escaped).collect()
}

fn print(out: &mut dyn Write, held: &[Quarantined]) -> io::Result<()> {
    table::print(out, HEAD, held.iter().map(row))?;
    writeln!(out, "{} message{}", held.len(), if held.len() == 1 { "" } else { "s" })
}

fn row(held: &Quarantined) -> [String; COLUMNS] {
    let Quarantined { id, user, received, sender, octets, reason, .. } = held;
    [id.clone(), user.clone(), received.clone(), format!("<{sender}>"), octets.to_string(), reason.clone()]
}

const COLUMNS: usize = 6;
const HEAD: [&str; COLUMNS] = ["ID", "USER", "RECEIVED", "FROM", "OCTETS", "REASON"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_by_a_message() {
        assert_eq!(harmless(b"Subject: \x1b[2Jx\r\n\tb\xc3\xbc\r\n"), "Subject: \\u{1b}[2Jx\n\tb\u{fc}\n");
    }

    #[test]
    fn it_is_shown_the_same_in_whatever_pieces_it_comes() {
        let text = b"b\xc3\xbc\r\n\rx \xe2\x82\xac \xf0\x9f\x93\xa7 \xff \xe2\x82 \xc3\r\n\xf0\x9f";
        for octets in 1..=text.len() {
            let mut screen = Screen::default();
            let pieces = text.chunks(octets).chain([&[][..]]);
            let shown: String = pieces.map(|piece| screen.next(piece)).collect();
            assert_eq!(shown, harmless(text), "{octets} at a time");
        }
        assert_eq!(Screen::default().next(b"x\r"), "x");
        assert_eq!(Screen::default().next(b"x\xff"), "x\u{fffd}");
    }
}
