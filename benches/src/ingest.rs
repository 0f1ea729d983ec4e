//! Durable ingest: how many messages a second a server takes, each acknowledged.
//!
//! A session connects, says EHLO, sends its messages one after the other and says QUIT; then the next session begins. Without
//! pipelining every command waits for its reply. With pipelining the end of one message and the next transaction's MAIL, RCPT
//! and DATA travel in one write (RFC 2920), and the message waits for its 354. A message counts when its final 250 has come.
//! Each round warms up before it counts. A session that fails counts one failure, and its place is taken by the next.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::Connection;
use crate::message::{Transaction, recipient};
use crate::process;
use crate::table::{Round, Target, compare, size};

#[derive(Args, Clone)]
pub(crate) struct Ingest {
    /// NAME=HOST:PORT[@PID], the first is what the others are compared with.
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    /// Connections at a time; a table for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,50,128")]
    connections: Vec<usize>,
    #[command(flatten)]
    work: Work,
    /// Seconds counted in each round.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds of each target.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// What is sent.
#[derive(Args, Clone)]
pub(crate) struct Work {
    /// Send the end of a message and the next envelope in one write.
    #[arg(long)]
    pub(crate) pipelining: bool,
    /// Octets of a message.
    #[arg(long, value_parser = size, default_value = "10KiB")]
    pub(crate) size: usize,
    /// Messages of a session.
    #[arg(long, default_value_t = 100)]
    pub(crate) messages: usize,
    /// The recipient; {n} is the number of a user.
    #[arg(long, default_value = "user{n}@bench.test")]
    pub(crate) recipient: String,
    /// Users the messages are spread over, by connection.
    #[arg(long, default_value_t = 16)]
    pub(crate) users: usize,
}

impl Ingest {
    pub(crate) async fn run(self) -> io::Result<()> {
        for connections in &self.connections {
            let title = format!(
                "durable ingest: {} octets, one recipient, {connections} connections, {} messages a session, {}; median of {} rounds of {} s",
                self.work.size,
                self.work.messages,
                if self.work.pipelining { "pipelined" } else { "not pipelined" },
                self.rounds,
                self.seconds,
            );
            compare(&title, "messages", &self.targets, self.rounds, async |target| {
                let load = Load::start(target, *connections, &self.work);
                sleep(WARM_UP).await;
                let round = load.count(target, Duration::from_secs_f64(self.seconds)).await;
                load.stop().await;
                round
            })
            .await?;
        }
        Ok(())
    }
}

/// Sessions under way, until stopped.
pub(crate) struct Load {
    tally: Arc<Tally>,
    sessions: JoinSet<()>,
}

impl Load {
    /// Starts `connections` senders.
    pub(crate) fn start(target: &Target, connections: usize, work: &Work) -> Self {
        let tally = Arc::new(Tally::default());
        let mut sessions = JoinSet::new();
        for index in 0..connections {
            let (tally, target, work) = (tally.clone(), target.clone(), work.clone());
            sessions.spawn(async move {
                let transaction = Transaction::new(&recipient(&work.recipient, index % work.users.max(1)), work.size);
                while !tally.stopping.load(Relaxed) {
                    if let Err(error) = session(&target, &transaction, &work, &tally).await {
                        tally.fail(&error);
                        sleep(AFTER_FAILURE).await;
                    }
                }
            });
        }
        Load { tally, sessions }
    }

    /// Messages and the server's CPU time, counted for a while from now.
    pub(crate) async fn count(&self, target: &Target, duration: Duration) -> io::Result<Round> {
        let cpu = || target.process.map(process::cpu_seconds).transpose();
        let (began, messages, failures, cpu_before) = (Instant::now(), self.tally.messages(), self.tally.failures(), cpu()?);
        sleep(duration).await;
        let (messages, seconds, cpu_after) = (self.tally.messages() - messages, began.elapsed().as_secs_f64(), cpu()?);
        let used = cpu_after.zip(cpu_before).map(|(after, before)| after - before);
        Ok(Round {
            per_second: messages as f64 / seconds,
            server_cpu_us: used.map(|used| used * 1e6 / messages.max(1) as f64),
            failures: self.tally.failures() - failures,
            first_failure: self.tally.first_failure(),
        })
    }

    /// Lets every sender end its session; one that hangs is cut.
    pub(crate) async fn stop(mut self) {
        self.tally.stopping.store(true, Relaxed);
        let ended = timeout(CLOSING, async { while self.sessions.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            eprintln!("  {} sessions did not end within {CLOSING:?} and were cut", self.sessions.len());
        }
    }
}

#[derive(Default)]
struct Tally {
    stopping: AtomicBool,
    messages: AtomicU64,
    failures: AtomicU64,
    first_failure: Mutex<Option<String>>,
}

impl Tally {
    fn messages(&self) -> u64 {
        self.messages.load(Relaxed)
    }

    fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    fn fail(&self, error: &io::Error) {
        self.failures.fetch_add(1, Relaxed);
        self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
    }

    fn first_failure(&self) -> Option<String> {
        self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn session(target: &Target, transaction: &Transaction, work: &Work, tally: &Tally) -> io::Result<()> {
    let mut peer = Connection::open(target.address, Ipv4Addr::LOCALHOST, None).await?;
    peer.expect(b"220").await?;
    peer.send(b"EHLO bench.test\r\n").await?;
    peer.expect(b"250").await?;
    if work.pipelining {
        pipelined(&mut peer, transaction, work, tally).await?;
    } else {
        in_step(&mut peer, transaction, work, tally).await?;
    }
    peer.send(b"QUIT\r\n").await?;
    peer.expect(b"221").await
}

async fn in_step(peer: &mut Connection, transaction: &Transaction, work: &Work, tally: &Tally) -> io::Result<()> {
    for _ in 0..work.messages {
        peer.send(&transaction.mail).await?;
        peer.expect(b"250").await?;
        peer.send(&transaction.rcpt).await?;
        peer.expect(b"250").await?;
        peer.send(&transaction.data).await?;
        peer.expect(b"354").await?;
        peer.send(&transaction.body).await?;
        peer.expect(b"250").await?;
        tally.messages.fetch_add(1, Relaxed);
        if tally.stopping.load(Relaxed) {
            break;
        }
    }
    Ok(())
}

async fn pipelined(peer: &mut Connection, transaction: &Transaction, work: &Work, tally: &Tally) -> io::Result<()> {
    peer.send(&transaction.envelope).await?;
    for number in 1..=work.messages {
        for code in [b"250", b"250", b"354"] {
            peer.expect(code).await?;
        }
        let last = number == work.messages || tally.stopping.load(Relaxed);
        peer.send(if last { &transaction.body } else { &transaction.body_and_envelope }).await?;
        peer.expect(b"250").await?;
        tally.messages.fetch_add(1, Relaxed);
        if last {
            break;
        }
    }
    Ok(())
}

const WARM_UP: Duration = Duration::from_secs(1);
const CLOSING: Duration = Duration::from_secs(15);
const AFTER_FAILURE: Duration = Duration::from_millis(50);
