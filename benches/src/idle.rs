//! Idle sessions: what a server holds for each peer that has said EHLO and then says nothing.
//!
//! Opens the sessions, waits until the server's memory has stopped changing, reads it, closes them. The figure is the growth of the
//! server's proportional set size divided by the sessions; the kernel's socket buffers are not in it. A session that is not
//! greeted, or refused, ends the measurement with an error: fewer sessions would be another figure.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use crate::client::{Connection, connector, source};
use crate::process::{Memory, memory, raise_open_files};
use crate::table::{Ratio, Target};

#[derive(Args)]
pub(crate) struct Idle {
    /// NAME=HOST:PORT@PID, the first is what the others are compared with.
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    /// Sessions held at a time.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// The port speaks TLS from the first octet.
    #[arg(long)]
    tls: bool,
}

impl Idle {
    pub(crate) async fn run(self) -> io::Result<()> {
        let open_files = raise_open_files()?;
        if open_files < self.sessions as u64 + 64 {
            return Err(io::Error::other(format!("{open_files} open files allowed: too few for {} sessions", self.sessions)));
        }
        let tls = if self.tls { Some(connector()?) } else { None };
        println!(
            "\nidle sessions: {} after EHLO, {}; growth of the server's memory (PSS)",
            self.sessions,
            if self.tls { "TLS" } else { "plain text" }
        );
        println!("  {:<14} {:>12} {:>8} {:>12} {:>12} {:>12}", "target", "octets each", "ratio", "before MiB", "with MiB", "after MiB");
        let mut first = 0.0;
        for target in &self.targets {
            let server =
                target.process.ok_or_else(|| io::Error::other(format!("{}: needs its process: NAME=HOST:PORT@PID", target.name)))?;
            // The first session pays for what is made once.
            drop(greet(target, 0, tls.as_ref()).await?);
            let before = settled(server).await?;
            let sessions = self.open(target, tls.as_ref()).await?;
            let with = settled(server).await?;
            drop(sessions);
            let after = settled(server).await?;
            let each = with.proportional.saturating_sub(before.proportional) as f64 / self.sessions as f64;
            if first == 0.0 {
                first = each;
            }
            println!(
                "  {:<14} {each:>12.0} {:>8} {:>12.1} {:>12.1} {:>12.1}",
                target.name,
                Ratio(each, first),
                mebibytes(before),
                mebibytes(with),
                mebibytes(after)
            );
        }
        Ok(())
    }

    async fn open(&self, target: &Target, tls: Option<&TlsConnector>) -> io::Result<Vec<Connection>> {
        let target = Arc::new(target.clone());
        let mut open = Vec::with_capacity(self.sessions);
        let mut opening = JoinSet::new();
        for index in 0..self.sessions {
            let (target, tls) = (target.clone(), tls.cloned());
            opening.spawn(async move { greet(&target, index, tls.as_ref()).await });
            while opening.len() >= OPENING {
                open.extend(next(&mut opening).await?);
            }
        }
        while !opening.is_empty() {
            open.extend(next(&mut opening).await?);
        }
        Ok(open)
    }
}

async fn next(opening: &mut JoinSet<io::Result<Connection>>) -> io::Result<Option<Connection>> {
    match opening.join_next().await {
        Some(joined) => joined.map_err(io::Error::other)?.map(Some),
        None => Ok(None),
    }
}

async fn greet(target: &Target, index: usize, tls: Option<&TlsConnector>) -> io::Result<Connection> {
    let mut peer = Connection::open(target.address, source(index), tls).await?;
    peer.expect(b"220").await?;
    peer.send(b"EHLO bench.test\r\n").await?;
    peer.expect(b"250").await?;
    Ok(peer)
}

/// The server's memory once two readings, half a second apart, differ by less than a hundredth; at the latest after ten seconds.
async fn settled(server: u32) -> io::Result<Memory> {
    let mut last = memory(server)?;
    for _ in 0..20 {
        sleep(Duration::from_millis(500)).await;
        let now = memory(server)?;
        if now.proportional.abs_diff(last.proportional) < last.proportional / 100 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

fn mebibytes(memory: Memory) -> f64 {
    memory.proportional as f64 / f64::from(1 << 20)
}

/// Few enough that a handshake does not wait behind hundreds of others.
const OPENING: usize = 100;
