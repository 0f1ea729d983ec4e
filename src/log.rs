//! The log: one line an event, to standard error, never in the way of mail.
//!
//! Lines go through a bounded buffer to a thread of their own that writes them. Guarantees: logging never waits for whatever
//! reads the log; what did not fit is counted, and a line says how many were lost as soon as there is room; memory is
//! bounded. When [`Log`] is dropped, what is in the buffer is written, for at most
//! [`PARTING`]. Fails silently where standard error is gone: there is nobody left to tell.
//!
//! Text is for people: colours on a terminal only, no time where the journal adds its own (`JOURNAL_STREAM`). JSON is one
//! object a line.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, mem, thread};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, registry, reload};

use crate::config::{Filter, Format};

/// The running log. Keep it until the program ends.
#[derive(Debug)]
pub(crate) struct Log {
    level: reload::Handle<Targets, Registry>,
    /// The command line's or the environment's, which goes before the configuration's.
    pinned: bool,
    buffer: Buffer,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// Something else logs already.
    #[error("the log is set up already")]
    Twice,
    /// The environment variable is no level.
    #[error("GATEPOST_LOG: {0}")]
    Environment(String),
    /// The system gave no thread.
    #[error("the log's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

impl Log {
    /// Starts logging, for the whole program. The level is `command_line`'s, else that of the environment variable GATEPOST_LOG,
    /// else `configured`.
    ///
    /// # Errors
    /// See [`LogError`].
    pub(crate) fn start(command_line: Option<&Filter>, configured: &Filter, format: Format) -> Result<Self, LogError> {
        let environment = match env::var("GATEPOST_LOG") {
            Ok(text) if !text.is_empty() => Some(text.parse::<Filter>().map_err(|error| LogError::Environment(error.to_string()))?),
            _ => None,
        };
        let pinned = command_line.or(environment.as_ref());
        let buffer = Buffer::to(io::stderr(), format)?;
        let (level, handle) = reload::Layer::new(pinned.unwrap_or(configured).targets());
        let lines = lines(format, buffer.clone(), io::stderr().is_terminal(), env::var_os("JOURNAL_STREAM").is_some());
        registry().with(lines.with_filter(level)).try_init().map_err(|_| LogError::Twice)?;
        Ok(Self { level: handle, pinned: pinned.is_some(), buffer })
    }

    /// Puts another configured level in force, at once, unless the command line or the environment set one.
    pub(crate) fn set_level(&self, configured: &Filter) {
        if !self.pinned {
            // Fails only when the subscriber is gone, and then nothing is logged at all.
            let _ = self.level.reload(configured.targets());
        }
    }

    /// How many lines were lost since the start, for the metrics.
    pub(crate) fn lost_lines(&self) -> u64 {
        self.buffer.state().ever_lost
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.buffer.close(PARTING);
    }
}

fn lines(format: Format, to: Buffer, terminal: bool, journal: bool) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(to).with_ansi(terminal && format == Format::Text);
    match (format, journal) {
        (Format::Json, _) => layer.json().flatten_event(true).boxed(),
        (Format::Text, true) => layer.without_time().boxed(),
        (Format::Text, false) => layer.boxed(),
    }
}

/// Where lines wait for their writer.
#[derive(Clone, Debug)]
struct Buffer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something for the writer to do.
    filled: Condvar,
    /// The writer has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that did not fit since the last time that was said, and since the start.
    lost: u64,
    ever_lost: u64,
    closed: bool,
    ended: bool,
}

impl Buffer {
    /// A buffer, and a thread that empties it into `out`.
    fn to(mut out: impl Write + Send + 'static, format: Format) -> io::Result<Self> {
        let buffer = Self(Arc::default());
        let from = buffer.clone();
        thread::Builder::new().name("log".into()).spawn(move || from.write_out(&mut out, format))?;
        Ok(buffer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &[u8]) {
        let mut state = self.state();
        let before = state.lines.len();
        if before + line.len() > BUFFER_OCTETS {
            state.lost += 1;
            state.ever_lost += 1;
        } else {
            state.lines.extend_from_slice(line);
        }
        // Waking a thread costs more than a line does: it is woken for the first, and when it should not gather any longer.
        let wake = before == 0 || (before < GATHER_OCTETS && state.lines.len() >= GATHER_OCTETS);
        drop(state);
        if wake {
            self.0.filled.notify_one();
        }
    }

    /// Runs until the buffer is closed and empty. A failed write is nobody's business here, and the next may succeed.
    fn write_out(&self, out: &mut impl Write, format: Format) {
        let mut lines = Vec::new();
        loop {
            let waiting = |state: &mut State| state.lines.is_empty() && state.lost == 0 && !state.closed;
            let state = self.0.filled.wait_while(self.state(), waiting).unwrap_or_else(PoisonError::into_inner);
            // Lines come in crowds: one write for all that come within a moment.
            let gathering = |state: &mut State| state.lines.len() < GATHER_OCTETS && !state.closed;
            let (mut state, _) = self.0.filled.wait_timeout_while(state, GATHER, gathering).unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut lines, &mut state.lines);
            let lost = mem::take(&mut state.lost);
            if lines.is_empty() && lost == 0 {
                state.ended = true;
                self.0.ended.notify_all();
                return;
            }
            drop(state);
            let _ = out.write_all(&lines);
            lines.clear();
            if lost > 0 {
                let _ = out.write_all(loss(lost, format).as_bytes());
            }
            let _ = out.flush();
        }
    }

    /// Takes no time when the buffer is empty, and at most `parting` when nobody reads what is in it.
    fn close(&self, parting: Duration) {
        self.state().closed = true;
        self.0.filled.notify_one();
        let _ = self.0.ended.wait_timeout_while(self.state(), parting, |state| !state.ended);
    }
}

fn loss(lines: u64, format: Format) -> String {
    const WHY: &str = "log lines were lost: whatever reads the log is too slow";
    match format {
        Format::Text => format!(" WARN gatepost::log: {lines} {WHY}\n"),
        Format::Json => format!("{{\"level\":\"WARN\",\"target\":\"gatepost::log\",\"message\":\"{WHY}\",\"lines\":{lines}}}\n"),
    }
}

/// Takes an event's line, which the formatter writes in one piece.
struct Line<'b>(&'b Buffer);

impl<'b> MakeWriter<'b> for Buffer {
    type Writer = Line<'b>;

    fn make_writer(&'b self) -> Line<'b> {
        Line(self)
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that may wait to be written; as much again may be on its way out.
const BUFFER_OCTETS: usize = 1 << 20;
/// How long a line may wait for others, and how much is enough.
const GATHER: Duration = Duration::from_millis(20);
const GATHER_OCTETS: usize = 64 << 10;
/// How long the end of the program waits for the last lines.
const PARTING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A reader who takes nothing until told to, and then everything.
    struct Slow {
        told: Receiver<()>,
        read: SyncSender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let _ = self.told.recv();
            let _ = self.read.send(octets.to_vec());
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, journal: bool) -> String {
        let (told, read) = (sync_channel(1), sync_channel(100));
        drop(told.0);
        let buffer = Buffer::to(Slow { told: told.1, read: read.0 }, format).unwrap();
        let subscriber = registry().with(lines(format, buffer.clone(), false, journal));
        tracing::subscriber::with_default(subscriber, || tracing::info!(session = 7, "came in"));
        buffer.close(Duration::from_secs(60));
        String::from_utf8(read.1.try_iter().flatten().collect()).unwrap()
    }

    #[test]
    fn a_slow_reader_loses_lines_and_stalls_nobody() {
        let (told, read) = (sync_channel(1), sync_channel(100));
        let buffer = Buffer::to(Slow { told: told.1, read: read.0 }, Format::Text).unwrap();
        let line = [b'x'; 1 << 10];
        // Two buffers full fit at most, one of them being written. All of this returns although nothing is read.
        for _ in 0..5000 {
            buffer.put(&line);
        }
        let lost = buffer.state().ever_lost;
        assert!((5000 - 2048..=5000 - 1024).contains(&lost), "{lost}");
        drop(told.0);
        buffer.close(Duration::from_secs(60));
        let all: Vec<u8> = read.1.try_iter().flatten().collect();
        let said: u64 = String::from_utf8(all.clone())
            .unwrap()
            .split('x')
            .filter_map(|part| part.strip_prefix(" WARN gatepost::log: ")?.split_once(' ')?.0.parse::<u64>().ok())
            .sum();
        assert_eq!(said, lost);
        assert_eq!(all.iter().filter(|octet| **octet == b'x').count() as u64, (5000 - lost) * 1024);
    }

    #[test]
    fn closing_does_not_wait_for_a_dead_reader() {
        let (told, read) = (sync_channel(1), sync_channel(100));
        let buffer = Buffer::to(Slow { told: told.1, read: read.0 }, Format::Text).unwrap();
        buffer.put(b"x\n");
        buffer.close(Duration::from_millis(10));
        assert!(!buffer.state().ended);
        drop(told.0);
    }

    #[test]
    fn lines_are_for_people_the_journal_or_programs() {
        let text = logged(Format::Text, false);
        assert!(text.ends_with("Z  INFO gatepost::log::tests: came in session=7\n"), "{text}");
        assert_eq!(logged(Format::Text, true), " INFO gatepost::log::tests: came in session=7\n");
        let json: serde_json::Value = serde_json::from_str(&logged(Format::Json, true)).unwrap();
        assert_eq!((&json["message"], &json["session"], &json["level"]), (&"came in".into(), &7.into(), &"INFO".into()));
        assert!(json["timestamp"].is_string());
    }
}
