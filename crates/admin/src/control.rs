//! The control socket's server side.
//!
//! Who may open the socket may do everything: its mode is 0600 from the instant its name is there. A request that is too long or makes no
//! sense is refused in words; a connection that says nothing for a minute is closed. At most [`CONNECTIONS`] are open, the next waits.

use std::fs::{self, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::wire::{Reply, Request};
use crate::{Admin, Error};

/// A socket that is bound and not yet served. Its name goes when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    name: Name,
}

/// A name in the file system that goes with its owner.
#[derive(Debug)]
struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        // Best effort: one that stays is taken for what it is, stale, by the next start.
        let _gone = fs::remove_file(&self.0);
    }
}

impl ControlSocket {
    /// Listens at `path`. What a server that died left there is replaced.
    ///
    /// # Errors
    /// [`Error::Running`] when a server answers there, [`Error::PathTooLong`], or what the file system said.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        let failed = |cause| Error::Socket { path: path.to_owned(), cause };
        // Made under another name and moved, so that it is never there with a mode that lets others in.
        let mut unready = path.as_os_str().to_owned();
        unready.push(".new");
        if unready.len() > PATH_OCTETS {
            return Err(Error::PathTooLong { path: path.to_owned(), most: PATH_OCTETS - ".new".len() });
        }
        match StdStream::connect(path) {
            Ok(_) => return Err(Error::Running(path.to_owned())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(Error::of_socket(path, error)),
        }
        if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "something is there that is not a socket; it stays")));
        }
        let unready = Name(unready.into());
        if let Err(error) = fs::remove_file(&unready.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
        let listener = UnixListener::bind(&unready.0).map_err(failed)?;
        fs::set_permissions(&unready.0, Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&unready.0, path).map_err(failed)?;
        Ok(Self { listener, name: Name(path.to_owned()) })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.name.0
    }

    /// Answers until `shutdown` is done and the requests under way are answered. Dropping the future stops it at once.
    pub async fn serve(mut self, admin: Arc<Admin>, shutdown: impl Future<Output = ()> + Send) {
        let (leaving, left) = watch::channel(false);
        let (mut connections, mut shutdown) = (JoinSet::new(), pin!(shutdown));
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                (stream, _) = Listener::accept(&mut self.listener), if connections.len() < CONNECTIONS => {
                    connections.spawn(converse(stream, Arc::clone(&admin), left.clone()));
                }
            }
        }
        leaving.send_replace(true);
        drop(self);
        while connections.join_next().await.is_some() {}
    }
}

/// One connection, from its first request to its last.
async fn converse(stream: UnixStream, admin: Arc<Admin>, mut left: watch::Receiver<bool>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let line = tokio::select! {
            biased;
            // Also when the server is dropped.
            _ = left.wait_for(|left| *left) => return,
            line = tokio::time::timeout(IDLE, next_line(&mut reader)) => line,
        };
        let (reply, more) = match line {
            Ok(Ok(Line::Text(line))) => (answer(&admin, &line).await, true),
            Ok(Ok(Line::TooLong)) => (refused(format!("a request has at most {LINE_OCTETS} octets")), false),
            Ok(Ok(Line::None) | Err(_)) | Err(_) => return,
        };
        if write(&mut writer, &reply).await.is_err() || !more {
            return;
        }
    }
}

enum Line {
    Text(Vec<u8>),
    TooLong,
    None,
}

async fn next_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Line> {
    let mut line = Vec::new();
    reader.take(LINE_OCTETS).read_until(b'\n', &mut line).await?;
    Ok(match line.last() {
        None => Line::None,
        Some(b'\n') => Line::Text(line),
        Some(_) if line.len() as u64 >= LINE_OCTETS => Line::TooLong,
        // The client hung up in the middle of a request: it is none.
        Some(_) => Line::None,
    })
}

async fn write(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    tokio::time::timeout(IDLE, writer.write_all(&line)).await?
}

async fn answer(admin: &Admin, line: &[u8]) -> Reply {
    match serde_json::from_slice(line) {
        Ok(Request::Status) => Reply::Status(Box::new(admin.status())),
        Ok(Request::Reload) => admin.control.reload().await.map_or_else(Reply::Refused, Reply::Reloaded),
        Ok(Request::Directory(request)) => admin.direct(request).await,
        Ok(Request::Quarantine(request)) => admin.decide(request).await,
        Ok(Request::Recipient(request)) => admin.control.explain(&request).await.map_or_else(Reply::Refused, Reply::Recipient),
        Ok(Request::Gate(request)) => admin.steer(request),
        Ok(Request::Sessions(request)) => admin.sessions(request),
        Ok(Request::Bans(request)) => admin.ban(request).await,
        Err(error) => refused(format!("not a request: {error}")),
    }
}

fn refused(why: String) -> Reply {
    Reply::Refused(vec![why])
}

/// Nobody types that fast, and a script's connection lasts a moment.
const CONNECTIONS: usize = 16;
/// An alias with a thousand targets fits.
const LINE_OCTETS: u64 = 256 * 1024;
const IDLE: Duration = Duration::from_secs(60);
/// `sun_path` of `sockaddr_un`, without its final zero.
const PATH_OCTETS: usize = 107;
