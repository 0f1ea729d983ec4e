//! The control socket's client side, for the command line. It blocks.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::Error;
use crate::wire::{Reply, Request};

/// Asks the server whose control socket is at `path`, and waits for its answer for two minutes at most.
///
/// # Errors [`Error::NotRunning`], [`Error::Permission`], [`Error::Socket`] or [`Error::Answer`]. A server that does not want to
/// do what is asked is no error but a [`Reply::Refused`].
pub fn ask(path: &Path, request: &Request) -> Result<Reply, Error> {
    let failed = |cause: io::Error| Error::of_socket(path, cause);
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut line = serde_json::to_vec(request).map_err(|error| Error::Answer(error.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).map_err(failed)?;
    if reply.is_empty() {
        return Err(Error::Answer("it hung up without a word".into()));
    }
    serde_json::from_str(&reply).map_err(|error| Error::Answer(error.to_string()))
}

const PATIENCE: Duration = Duration::from_secs(120);
