//! Refusals: what a full server can refuse, and what refusing costs those who are in.
//!
//! `capacity`: fills the server's places with idle sessions until one is refused, then connects as fast as it can, reads what it is
//! told until the close, and counts. A server without places (`refuser`) needs no filling.
//!
//! `kept`: lets some sessions send mail without ever hanging up, fills the other places, and measures the senders' rate alone and
//! with a [flood](crate::flood) of attempts, in turns, at the same port or at another one of the server. What is kept is the ratio of the two.
//!
//! `greeted`: sources that hold all they may be given are refused at a pace, one attempt in twenty of a peer that never reads and never
//! closes, while clients from other addresses (127.0.2.0/24) connect, one after the other. Their time from connecting to the whole
//! greeting is shown as percentiles, and the server's memory before and after.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Connection, connect};
use crate::flood::{FLOODERS, Flood, SILENCE, Tally, from};
use crate::ingest::{Load, Work};
use crate::process::{cpu_seconds, memory, raise_open_files};
use crate::table::{Round, Target, compare, median};

#[derive(Args)]
pub(crate) struct Refuse {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// How many attempts a second a full server can refuse.
    Capacity(Capacity),
    /// What the admitted sessions keep of their throughput in a flood.
    Kept(Kept),
    /// How long another client waits for its greeting in a flood.
    Greeted(Greeted),
}

#[derive(Args)]
struct Capacity {
    /// NAME=HOST:PORT[@PID], the first is what the others are compared with.
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    /// Attempts at a time.
    #[arg(long, default_value_t = 64)]
    attempts: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Args)]
struct Kept {
    /// NAME=HOST:PORT[@PID], each must have more places than --senders.
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    /// Sessions that send mail.
    #[arg(long, default_value_t = 50)]
    senders: usize,
    /// Attempts a second; without it, as many as there can be.
    #[arg(long)]
    flood: Option<u32>,
    /// HOST:PORT of the one target, where attempts are made in the place of the port that takes the mail.
    #[arg(long)]
    door: Option<SocketAddr>,
    #[command(flatten)]
    work: Work,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Args)]
struct Greeted {
    /// NAME=HOST:PORT[@PID], with a limit for each address that 64 addresses can meet.
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    /// Attempts a second that are refused.
    #[arg(long, default_value_t = 20_000)]
    flood: u32,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

impl Refuse {
    pub(crate) async fn run(self) -> io::Result<()> {
        raise_open_files()?;
        match self.what {
            What::Capacity(capacity) => capacity.run().await,
            What::Kept(kept) => kept.run().await,
            What::Greeted(greeted) => greeted.run().await,
        }
    }
}

impl Capacity {
    async fn run(self) -> io::Result<()> {
        let mut holders = Vec::new();
        for target in &self.targets {
            let held = fill(target).await?;
            println!("\n{}: {} sessions hold every place", target.name, held.len());
            holders.push(held);
        }
        let title = format!(
            "capacity to refuse: {} attempts at a time, each read to its close; median of {} rounds of {} s",
            self.attempts, self.rounds, self.seconds
        );
        compare(&title, "refusals", &self.targets, self.rounds, async |target| self.round(target).await).await
    }

    async fn round(&self, target: &Target) -> io::Result<Round> {
        let tally = Arc::new(Tally::default());
        let mut attempts = JoinSet::new();
        let cpu = || target.process.map(cpu_seconds).transpose();
        let (began, cpu_before) = (Instant::now(), cpu()?);
        for index in 0..self.attempts {
            let (tally, address) = (tally.clone(), target.address);
            attempts.spawn(async move {
                while !tally.stopping.load(Relaxed) {
                    tally.count(attempt(address, index).await);
                }
            });
        }
        sleep(Duration::from_secs_f64(self.seconds)).await;
        let (answered, seconds, cpu_after) = (tally.answered.load(Relaxed), began.elapsed().as_secs_f64(), cpu()?);
        tally.stopping.store(true, Relaxed);
        while attempts.join_next().await.is_some() {}
        let used = cpu_after.zip(cpu_before).map(|(after, before)| after - before);
        let unanswered = tally.unanswered.load(Relaxed);
        Ok(Round {
            per_second: answered as f64 / seconds,
            server_cpu_us: used.map(|used| used * 1e6 / answered.max(1) as f64),
            failures: unanswered,
            first_failure: (unanswered > 0).then(|| "attempts got no answer".into()),
        })
    }
}

impl Kept {
    async fn run(mut self) -> io::Result<()> {
        // A sender that hung up would have to win its place back from the flood.
        self.work.messages = usize::MAX;
        println!(
            "\nthroughput kept: {} senders of {} octets, {}, and {} at {}; median of {} rounds of {} s",
            self.senders,
            self.work.size,
            if self.work.pipelining { "pipelined" } else { "not pipelined" },
            self.flood.map_or("as many attempts as there can be".into(), |flood| format!("{flood} attempts a second")),
            self.door.map_or("the same door".into(), |door| door.to_string()),
            self.rounds,
            self.seconds
        );
        println!(
            "  {:<14} {:>12} {:>12} {:>8} {:>10} {:>10} {:>12} {:>12}",
            "target", "alone", "in flood", "kept", "answered", "unanswered", "before MiB", "after MiB"
        );
        for target in &self.targets {
            self.measure(target).await?;
        }
        Ok(())
    }

    async fn measure(&self, target: &Target) -> io::Result<()> {
        let duration = Duration::from_secs_f64(self.seconds);
        let load = Load::start(target, self.senders, &self.work);
        sleep(WARM_UP).await;
        let held = fill(target).await?;
        let before = mebibytes(target)?;
        let (mut alone, mut flooded) = (Vec::new(), Vec::new());
        let (mut answered, mut unanswered) = (0, 0);
        for _ in 0..self.rounds {
            alone.push(load.count(target, duration).await?);
            let flood = Flood::start(self.door.unwrap_or(target.address), self.flood);
            sleep(WARM_UP).await;
            flooded.push(load.count(target, duration).await?);
            let (answers, silences) = flood.stop().await;
            answered += answers;
            unanswered += silences;
        }
        let after = mebibytes(target)?;
        drop(held);
        load.stop().await;
        let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.per_second));
        // Kept is judged round by round: the two halves of a round are neighbours in time.
        let kept = median(alone.iter().zip(&flooded).map(|(alone, flooded)| flooded.per_second / alone.per_second.max(1.0)));
        println!(
            "  {:<14} {:>12.0} {:>12.0} {kept:>8.2} {answered:>10} {unanswered:>10} {before:>12} {after:>12}",
            target.name,
            rate(&alone),
            rate(&flooded),
        );
        if let Some(round) = alone.iter().chain(&flooded).find(|round| round.failures > 0) {
            println!("  {:<14} senders failed: {}", "", round.first_failure.as_deref().unwrap_or_default());
        }
        Ok(())
    }
}

impl Greeted {
    async fn run(self) -> io::Result<()> {
        println!("\ngreeted: another client's time to its greeting beside {} refusals a second, {} s", self.flood, self.seconds);
        println!(
            "  {:<14} {:>8} {:>10} {:>10} {:>10} {:>12} {:>12} {:>12} {:>12}",
            "target", "clients", "p50 ms", "p99 ms", "most ms", "answered/s", "unanswered/s", "before MiB", "after MiB"
        );
        for target in &self.targets {
            self.measure(target).await?;
        }
        Ok(())
    }

    async fn measure(&self, target: &Target) -> io::Result<()> {
        let mut held = Vec::new();
        for source in 0..FLOODERS {
            held.append(&mut hold_all(target, from(source)).await?);
        }
        let before = mebibytes(target)?;
        let flood = Flood::paced(target.address, self.flood, SILENT_EVERY);
        sleep(WARM_UP).await;
        let (began, mut millis) = (Instant::now(), Vec::new());
        while began.elapsed().as_secs_f64() < self.seconds {
            let asked = Instant::now();
            let mut client = Connection::open(target.address, another(millis.len()), None).await?;
            client.expect(b"220").await?;
            millis.push(asked.elapsed().as_secs_f64() * 1e3);
            client.send(b"QUIT\r\n").await?;
            client.expect(b"221").await?;
        }
        let seconds = (began.elapsed() + WARM_UP).as_secs_f64();
        let after = mebibytes(target)?;
        let (answered, unanswered) = flood.answered();
        flood.stop().await;
        millis.sort_by(f64::total_cmp);
        let percentile = |percent: usize| millis.get(millis.len() * percent / 100).or(millis.last()).copied().unwrap_or(f64::NAN);
        println!(
            "  {:<14} {:>8} {:>10.2} {:>10.2} {:>10.2} {:>12.0} {:>12.0} {before:>12} {after:>12}",
            target.name,
            millis.len(),
            percentile(50),
            percentile(99),
            percentile(100),
            answered as f64 / seconds,
            unanswered as f64 / seconds,
        );
        drop(held);
        Ok(())
    }
}

/// What the server holds now.
fn mebibytes(target: &Target) -> io::Result<String> {
    let Some(server) = target.process else { return Ok("-".into()) };
    Ok(format!("{:.1}", memory(server)?.proportional as f64 / f64::from(1 << 20)))
}

/// Accepts, writes a refusal, closes: nothing refuses for less.
pub(crate) async fn refuser(listener: TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        // A fresh socket's buffer is empty: the write never waits.
        let _ = stream.write_all(REFUSAL).await;
        let _ = stream.shutdown().await;
    }
}

/// One attempt, read to its close: whether it was refused in words.
async fn attempt(address: SocketAddr, index: usize) -> bool {
    let told = timeout(SILENCE, async {
        let mut stream = connect(address, from(index)).await?;
        let mut text = [0; 512];
        let mut length = 0;
        loop {
            match stream.read(text.get_mut(length..).unwrap_or_default()).await? {
                0 => return io::Result::Ok(text.starts_with(b"421") || text.starts_with(b"-ERR")),
                read => length += read,
            }
        }
    });
    matches!(told.await, Ok(Ok(true)))
}

/// Takes all that one source is given.
async fn hold_all(target: &Target, source: Ipv4Addr) -> io::Result<Vec<Connection>> {
    let mut held = Vec::new();
    while held.len() < PLACES {
        let mut peer = Connection::open(target.address, source, None).await?;
        let greeting = timeout(SILENCE, peer.line()).await.map_err(|_| io::Error::other(format!("{}: no greeting", target.name)))??;
        if greeting.starts_with(b"421") {
            return Ok(held);
        }
        held.push(peer);
    }
    Err(io::Error::other(format!("{}: one address may have {PLACES} sessions", target.name)))
}

/// Takes places until one attempt is refused; answers the sessions that hold them.
async fn fill(target: &Target) -> io::Result<Vec<Connection>> {
    let mut held = Vec::new();
    while held.len() < PLACES {
        let mut peer = Connection::open(target.address, from(held.len()), None).await?;
        let greeting = timeout(SILENCE, peer.line()).await.map_err(|_| io::Error::other(format!("{}: no greeting", target.name)))??;
        if greeting.starts_with(b"421") || greeting.starts_with(b"-ERR") {
            return Ok(held);
        }
        held.push(peer);
    }
    Err(io::Error::other(format!("{}: {PLACES} sessions and still not full", target.name)))
}

/// Who has no part in the flood. Not the same again at once: the place of its last session may not be free yet.
fn another(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 2, u8::try_from(index % 64).unwrap_or(0) + 1)
}

const SILENT_EVERY: usize = 20;
const REFUSAL: &[u8] = b"421 4.3.2 refuser Too many connections, try again later\r\n";
const WARM_UP: Duration = Duration::from_secs(1);
const PLACES: usize = 20_000;
