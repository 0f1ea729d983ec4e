//! POP3: how many messages and how many logins a second a server gives out, and the sink they are compared with.
//!
//! A session connects, says USER, PASS and STAT, retrieves the first messages of its maildrop one by one, each reply awaited, and says
//! QUIT; nothing is deleted. Every connection has a user of its own, since a maildrop is locked. A message counts when its final dot has
//! come and it has at least the size that was delivered. With no message to retrieve the logins are counted.
//!
//! The sink answers every login and serves one message, kept in memory, as often as it is asked.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::client::{Connection, connector};
use crate::listen::Service;
use crate::message::{Transaction, message, recipient};
use crate::process;
use crate::table::{Round, Target, compare, size};

#[derive(Args, Clone)]
pub(crate) struct Pop3 {
    /// NAME=HOST:PORT[@PID], the first is what the others are compared with.
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    /// Sessions at a time; the same number of users is needed.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Messages retrieved in a session; a table for each number, 0 counts logins.
    #[arg(long, value_delimiter = ',', default_value = "20,0")]
    retrieve: Vec<usize>,
    /// The user; {n} is a number from 0.
    #[arg(long, default_value = "user{n}@bench.test")]
    user: String,
    #[arg(long, default_value = "bench-password")]
    password: String,
    /// Octets of a message as it was delivered.
    #[arg(long, value_parser = size, default_value = "10KiB")]
    size: usize,
    /// The port speaks TLS from the first octet.
    #[arg(long)]
    tls: bool,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Fills maildrops before they are read.
#[derive(Args)]
pub(crate) struct Deliver {
    /// NAME=HOST:PORT
    #[arg(long)]
    target: Target,
    /// Speak LMTP (RFC 2033).
    #[arg(long)]
    lmtp: bool,
    #[arg(long, default_value_t = 16)]
    users: usize,
    /// Messages for each user.
    #[arg(long, default_value_t = 20)]
    messages: usize,
    /// The recipient; {n} is the number of a user.
    #[arg(long, default_value = "user{n}@bench.test")]
    recipient: String,
    #[arg(long, value_parser = size, default_value = "10KiB")]
    size: usize,
}

impl Deliver {
    pub(crate) async fn run(self) -> io::Result<()> {
        let deliver = Arc::new(self);
        let mut sessions = JoinSet::new();
        for user in 0..deliver.users {
            let deliver = deliver.clone();
            sessions.spawn(async move { deliver.to(user).await });
        }
        while let Some(joined) = sessions.join_next().await {
            joined.map_err(io::Error::other)??;
        }
        Ok(())
    }

    async fn to(&self, user: usize) -> io::Result<()> {
        let transaction = Transaction::new(&recipient(&self.recipient, user), self.size);
        let mut peer = Connection::open(self.target.address, Ipv4Addr::LOCALHOST, None).await?;
        peer.expect(b"220").await?;
        peer.send(if self.lmtp { b"LHLO bench.test\r\n" } else { b"EHLO bench.test\r\n" }).await?;
        peer.expect(b"250").await?;
        for _ in 0..self.messages {
            peer.send(&transaction.envelope).await?;
            for code in [b"250", b"250", b"354"] {
                peer.expect(code).await?;
            }
            peer.send(&transaction.body).await?;
            peer.expect(b"250").await?;
        }
        peer.send(b"QUIT\r\n").await?;
        peer.expect(b"221").await
    }
}

impl Pop3 {
    pub(crate) async fn run(self) -> io::Result<()> {
        let tls = if self.tls { Some(connector()?) } else { None };
        for retrieve in self.retrieve.iter().copied() {
            let (what, unit) = match retrieve {
                0 => ("logins, nothing retrieved".to_owned(), "logins"),
                many => (format!("{many} RETR of {} octets a session", self.size), "messages"),
            };
            let title = format!(
                "POP3: {what}, {} connections, {}; median of {} rounds of {} s",
                self.connections,
                if self.tls { "TLS with a full handshake each" } else { "plain text" },
                self.rounds,
                self.seconds
            );
            compare(&title, unit, &self.targets, self.rounds, async |target| self.round(target, retrieve, tls.as_ref()).await).await?;
        }
        Ok(())
    }

    async fn round(&self, target: &Target, retrieve: usize, tls: Option<&TlsConnector>) -> io::Result<Round> {
        let tally = Arc::new(Tally::default());
        let mut sessions = JoinSet::new();
        for user in 0..self.connections {
            let (tally, target, tls, pop3) = (tally.clone(), target.clone(), tls.cloned(), self.clone());
            let mut sources = sources(user).cycle();
            let user = recipient(&self.user, user);
            sessions.spawn(async move {
                let mut failure = None;
                while let Some(source) = sources.next().filter(|_| !tally.stopping.load(Relaxed)) {
                    if let Err(error) = pop3.session(&target, source, &user, retrieve, tls.as_ref(), &tally).await {
                        tally.failures.fetch_add(1, Relaxed);
                        failure.get_or_insert(error.to_string());
                        sleep(AFTER_FAILURE).await;
                    }
                }
                failure
            });
        }
        sleep(WARM_UP).await;
        let cpu = || target.process.map(process::cpu_seconds).transpose();
        let (began, before, cpu_before) = (Instant::now(), tally.units.load(Relaxed), cpu()?);
        sleep(Duration::from_secs_f64(self.seconds)).await;
        let (units, seconds, cpu_after) = (tally.units.load(Relaxed) - before, began.elapsed().as_secs_f64(), cpu()?);
        tally.stopping.store(true, Relaxed);
        let mut first_failure = None;
        while let Ok(Some(joined)) = timeout(CLOSING, sessions.join_next()).await {
            first_failure = first_failure.or(joined.map_err(io::Error::other)?);
        }
        let used = cpu_after.zip(cpu_before).map(|(after, before)| after - before);
        Ok(Round {
            per_second: units as f64 / seconds,
            server_cpu_us: used.map(|used| used * 1e6 / units.max(1) as f64),
            failures: tally.failures.load(Relaxed),
            first_failure,
        })
    }

    async fn session(
        &self,
        target: &Target,
        source: Ipv4Addr,
        user: &str,
        retrieve: usize,
        tls: Option<&TlsConnector>,
        tally: &Tally,
    ) -> io::Result<()> {
        let mut peer = Connection::open(target.address, source, tls).await?;
        peer.expect_ok().await?;
        for command in [format!("USER {user}\r\n"), format!("PASS {}\r\n", self.password), "STAT\r\n".into()] {
            peer.send(command.as_bytes()).await?;
            peer.expect_ok().await?;
        }
        for number in 1..=retrieve {
            peer.send(format!("RETR {number}\r\n").as_bytes()).await?;
            peer.expect_ok().await?;
            let octets = peer.skip_body().await?;
            if octets < self.size {
                return Err(io::Error::other(format!("message {number} has {octets} octets, not {}", self.size)));
            }
            tally.units.fetch_add(1, Relaxed);
            if tally.stopping.load(Relaxed) {
                break;
            }
        }
        peer.send(b"QUIT\r\n").await?;
        peer.expect_ok().await?;
        if retrieve == 0 {
            tally.units.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

/// Serves one message, as often as it is asked.
#[derive(Clone)]
pub(crate) struct Sink {
    retrieved: Arc<[u8]>,
}

impl Sink {
    pub(crate) fn new(size: usize) -> Self {
        let retrieved = [format!("+OK {size} octets\r\n").as_bytes(), &message(size), b".\r\n"].concat();
        Sink { retrieved: retrieved.into() }
    }
}

impl Service for Sink {
    async fn converse<S>(self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let mut stream = BufReader::with_capacity(512, stream);
        stream.write_all(b"+OK sink\r\n").await?;
        let mut line = Vec::new();
        loop {
            line.clear();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let reply: &[u8] = match line.get(..4).unwrap_or_default() {
                b"RETR" => &self.retrieved,
                b"STAT" => b"+OK 20 204800\r\n",
                _ => b"+OK\r\n",
            };
            stream.write_all(reply).await?;
            stream.flush().await?;
            if line.starts_with(b"QUIT") {
                return Ok(());
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    stopping: AtomicBool,
    units: AtomicU64,
    failures: AtomicU64,
}

/// Where the sessions of connection `index` come from, one after the other: ports of closed connections rest for a minute, and one
/// address has too few for it.
fn sources(index: usize) -> impl Iterator<Item = Ipv4Addr> + Clone {
    let host = u8::try_from(index % 250).unwrap_or(0) + 1;
    (1..=64).map(move |network| Ipv4Addr::new(127, 0, network, host))
}

const WARM_UP: Duration = Duration::from_secs(1);
const CLOSING: Duration = Duration::from_secs(15);
const AFTER_FAILURE: Duration = Duration::from_millis(50);
