//! The yardstick: as little as can be called a durable SMTP server.
//!
//! Speaks EHLO, HELO, MAIL, RCPT, DATA, RSET, NOOP and QUIT with PIPELINING, checks nothing, finds the end of data by a plain
//! byte search for CRLF.CRLF, and answers 250 only when the message is on stable storage. One thread writes: it takes
//! whatever waits, appends it all to one growing file, calls fdatasync once, and answers all (group commit without a timer).
//! No dot-stuffing is undone, no limit but the size of a message is kept, nothing is indexed and nothing can be read back: a real
//! server does more, so what it reaches of this is what its care costs. It is written to be fast.
//!
//! A failed write ends the process: it must not answer 250 again.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use bytes::BytesMut;
use memchr::memchr;
use memchr::memmem::Finder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::listen::Service;

/// Answers SMTP and hands messages to the writer.
#[derive(Clone)]
pub(crate) struct Yardstick {
    log: Sender<Waiting>,
}

impl Yardstick {
    /// Starts the writer on a new file in `directory`.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let file = File::create(directory.join("log"))?;
        File::open(directory)?.sync_all()?;
        let (log, waiting) = channel();
        thread::Builder::new().name("writer".into()).spawn(move || {
            if let Err(error) = write(file, &waiting) {
                eprintln!("yardstick: the log: {error}");
                std::process::exit(1);
            }
        })?;
        Ok(Yardstick { log })
    }

    async fn commit(&self, message: BytesMut) -> io::Result<()> {
        let (stored, answer) = oneshot::channel();
        self.log.send(Waiting { message, stored }).map_err(io::Error::other)?;
        answer.await.map_err(io::Error::other)
    }
}

impl Service for Yardstick {
    async fn converse<S>(self, mut stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        stream.write_all(b"220 yardstick ESMTP\r\n").await?;
        let mut input = BytesMut::with_capacity(COMMAND_BYTES);
        let mut replies = Vec::new();
        // In data: how much of the input is known not to hold the end.
        let mut searched: Option<usize> = None;
        loop {
            loop {
                if let Some(known) = searched {
                    let from = known.saturating_sub(END.len() - 1);
                    let Some(at) = FIND_END.find(input.get(from..).unwrap_or_default()) else {
                        searched = Some(input.len());
                        break;
                    };
                    let mut message = input.split_to(from + at + END.len());
                    message.truncate(from + at + 2);
                    self.commit(message).await?;
                    replies.extend_from_slice(b"250 2.0.0 stored\r\n");
                    searched = None;
                } else {
                    let Some(end) = memchr(b'\n', &input) else { break };
                    let line = input.split_to(end + 1);
                    let reply = command(&line);
                    replies.extend_from_slice(reply);
                    if reply == CLOSING {
                        return stream.write_all(&replies).await;
                    }
                    if reply == START {
                        searched = Some(0);
                    }
                }
            }
            // Written exactly when about to wait for the peer, so that pipelined replies leave together.
            if !replies.is_empty() {
                stream.write_all(&replies).await?;
                stream.flush().await?;
                replies.clear();
            }
            if input.len() > MESSAGE_BYTES {
                return Ok(());
            }
            input.reserve(if searched.is_some() { DATA_BYTES } else { COMMAND_BYTES });
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
    }
}

struct Waiting {
    message: BytesMut,
    stored: oneshot::Sender<()>,
}

/// Takes whatever waits, writes once, syncs once, answers all.
fn write(mut file: File, waiting: &Receiver<Waiting>) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut answers = Vec::new();
    while let Ok(first) = waiting.recv() {
        let mut next = Some(first);
        while let Some(Waiting { message, stored }) = next {
            batch.extend_from_slice(&message);
            answers.push(stored);
            next = if batch.len() < BATCH_BYTES { waiting.try_recv().ok() } else { None };
        }
        file.write_all(&batch)?;
        file.sync_data()?;
        batch.clear();
        for stored in answers.drain(..) {
            // The peer may have gone: its message is stored all the same.
            let _ = stored.send(());
        }
    }
    Ok(())
}

fn command(line: &[u8]) -> &'static [u8] {
    let verb = line.get(..4).unwrap_or_default();
    if verb.eq_ignore_ascii_case(b"EHLO") {
        b"250-yardstick\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
    } else if verb.eq_ignore_ascii_case(b"DATA") {
        START
    } else if verb.eq_ignore_ascii_case(b"QUIT") {
        CLOSING
    } else if [b"HELO", b"MAIL", b"RCPT", b"RSET", b"NOOP"].iter().any(|known| verb.eq_ignore_ascii_case(*known)) {
        b"250 2.0.0 OK\r\n"
    } else {
        b"500 5.5.1 unknown command\r\n"
    }
}

const START: &[u8] = b"354 go ahead\r\n";
const CLOSING: &[u8] = b"221 2.0.0 bye\r\n";
const END: &[u8] = b"\r\n.\r\n";
static FIND_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END));
const COMMAND_BYTES: usize = 512;
const DATA_BYTES: usize = 16 * 1024;
const MESSAGE_BYTES: usize = 64 * 1024 * 1024;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipelined_dialogue_is_answered_in_order_and_stored() {
        let directory = std::env::temp_dir().join(format!("yardstick-{}", std::process::id()));
        let yardstick = Yardstick::new(&directory).unwrap();
        let (mut peer, stream) = tokio::io::duplex(1 << 16);
        let served = tokio::spawn(yardstick.converse(stream));
        peer.write_all(b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@c>\r\nDATA\r\nA: b\r\n\r\nhello\r\n.\r\nQUIT\r\n").await.unwrap();
        let mut replies = String::new();
        peer.read_to_string(&mut replies).await.unwrap();
        served.await.unwrap().unwrap();
        let codes: Vec<&str> = replies.lines().filter_map(|line| line.get(..4)).collect();
        assert_eq!(codes, ["220 ", "250-", "250-", "250 ", "250 ", "250 ", "354 ", "250 ", "221 "]);
        assert_eq!(std::fs::read(directory.join("log")).unwrap(), b"A: b\r\n\r\nhello\r\n");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
