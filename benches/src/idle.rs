//! Idle sessions: what a server holds for each peer that has said EHLO and then says nothing.
//!
//! Opens the sessions, waits until the server's memory has stopped changing, reads it, closes them. The figure is the growth of the
//! server's proportional set size divided by the sessions; the kernel's socket buffers are not in it. A session that is not
//! greeted, or refused, ends the measurement with an error: fewer sessions would be another figure.
//!
//! With `--waiting` they are connections that wait for a place instead, each from an address of its own, which is what costs the most. The
//! server must have one place, which is taken first, and a waiting room for them all; one that is answered ends the measurement.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
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
    /// The server has one place, and the connections wait for it.
    #[arg(long, conflicts_with = "tls")]
    waiting: bool,
}

impl Idle {
    pub(crate) async fn run(self) -> io::Result<()> {
        let open_files = raise_open_files()?;
        if open_files < self.sessions as u64 + 64 {
            return Err(io::Error::other(format!("{open_files} open files allowed: too few for {} sessions", self.sessions)));
        }
        let tls = if self.tls { Some(connector()?) } else { None };
        let what = match (self.waiting, self.tls) {
            (true, _) => "connections that wait for a place",
            (false, true) => "idle sessions after EHLO, TLS",
            (false, false) => "idle sessions after EHLO, plain text",
        };
        println!("\n{} {what}; growth of the server's memory (PSS)", self.sessions);
        println!("  {:<14} {:>12} {:>8} {:>12} {:>12} {:>12}", "target", "octets each", "ratio", "before MiB", "with MiB", "after MiB");
        let mut first = 0.0;
        for target in &self.targets {
            let server =
                target.process.ok_or_else(|| io::Error::other(format!("{}: needs its process: NAME=HOST:PORT@PID", target.name)))?;
            // The first session pays for what is made once, and keeps the place that others are to wait for.
            let first_session = greet(target, if self.waiting { HOLDER } else { source(0) }, tls.as_ref()).await?;
            let holds_place = self.waiting.then_some(first_session);
            let before = settled(server).await?;
            let mut sessions = self.open(target, tls.as_ref()).await?;
            let with = settled(server).await?;
            if self.waiting {
                all_wait(&mut sessions).await?;
            }
            drop(sessions);
            let after = settled(server).await?;
            drop(holds_place);
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
            let (target, tls, waiting) = (target.clone(), tls.cloned(), self.waiting);
            opening.spawn(async move {
                match waiting {
                    true => Connection::open(target.address, own_source(index), None).await,
                    false => greet(&target, source(index), tls.as_ref()).await,
                }
            });
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

async fn greet(target: &Target, source: Ipv4Addr, tls: Option<&TlsConnector>) -> io::Result<Connection> {
    let mut peer = Connection::open(target.address, source, tls).await?;
    peer.expect(b"220").await?;
    peer.send(b"EHLO bench.test\r\n").await?;
    peer.expect(b"250").await?;
    Ok(peer)
}

/// Nobody has been told anything.
async fn all_wait(sessions: &mut [Connection]) -> io::Result<()> {
    for session in sessions {
        if let Ok(said) = timeout(Duration::ZERO, session.line()).await {
            let said = String::from_utf8_lossy(said?).trim_end().to_owned();
            return Err(io::Error::other(format!("one does not wait, but hears {said}")));
        }
    }
    Ok(())
}

/// The loopback address of connection number `index`, and of no other.
fn own_source(index: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_SOURCE.to_bits() + u32::try_from(index).unwrap_or(0))
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

/// In another network than those who wait, and than whoever has looked whether the server is there.
const HOLDER: Ipv4Addr = Ipv4Addr::new(127, 3, 0, 1);
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 4, 0, 1);

/// Few enough that a handshake does not wait behind hundreds of others.
const OPENING: usize = 100;
