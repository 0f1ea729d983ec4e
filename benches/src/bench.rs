//! Load, yardsticks and sinks for measuring mail servers side by side. `benches/run` starts the servers and calls this.
//!
//! Each part says what work it does and prints ratios taken in one run on one machine; the digits themselves say little. The load
//! runs on the same processors as the server. A wrong reply is counted and shown, never measured as work done.

mod ballast;
mod client;
mod flood;
mod idle;
mod ingest;
mod listen;
mod message;
mod pop3;
mod process;
mod refuse;
mod table;
mod yardstick;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};

#[derive(Parser)]
#[command(name = "bench", about = "Load, yardsticks and sinks for measuring mail servers side by side")]
enum Bench {
    /// Serve SMTP with nothing but a group commit: what a durable server is compared with.
    Yardstick(Yardstick),
    /// Accept, write a refusal, close: what a full server is compared with.
    BareRefuser(Listen),
    /// Serve POP3 from memory, any login, one message: what a POP3 server is compared with.
    Pop3Sink(Pop3Sink),
    /// Hold memory, so that what is measured beside it writes to pages that were in use before.
    Ballast(ballast::Ballast),
    /// Measure how many messages a second are durably taken.
    Ingest(ingest::Ingest),
    /// Measure what idle sessions hold in memory.
    Idle(idle::Idle),
    /// Measure refusals.
    Refuse(refuse::Refuse),
    /// Deliver messages to maildrops that are to be read.
    Deliver(pop3::Deliver),
    /// Measure how many messages and logins a second are given out.
    Pop3(pop3::Pop3),
}

#[derive(Args)]
struct Listen {
    /// Address to listen on; with port 0 the first line printed says which it became.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[derive(Args)]
struct Yardstick {
    #[command(flatten)]
    at: Listen,
    /// Directory for the log.
    #[arg(long)]
    data: PathBuf,
    /// Speak TLS from the first octet.
    #[arg(long)]
    tls: bool,
    /// Sessions at a time; more are refused.
    #[arg(long, default_value_t = usize::MAX)]
    max_sessions: usize,
}

#[derive(Args)]
struct Pop3Sink {
    #[command(flatten)]
    at: Listen,
    /// Octets of the message.
    #[arg(long, value_parser = table::size, default_value = "10KiB")]
    size: usize,
    /// Speak TLS from the first octet.
    #[arg(long)]
    tls: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Bench::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(bench: Bench) -> io::Result<()> {
    match bench {
        Bench::Yardstick(Yardstick { at, data, tls, max_sessions }) => {
            process::raise_open_files()?;
            let service = yardstick::Yardstick::new(&data)?;
            let tls = if tls { Some(listen::acceptor()?) } else { None };
            listen::serve(listen::bind(at.listen)?, tls, max_sessions, b"421 4.3.2 yardstick full\r\n", service).await
        }
        Bench::BareRefuser(at) => refuse::refuser(listen::bind(at.listen)?).await,
        Bench::Pop3Sink(Pop3Sink { at, size, tls }) => {
            process::raise_open_files()?;
            let tls = if tls { Some(listen::acceptor()?) } else { None };
            listen::serve(listen::bind(at.listen)?, tls, usize::MAX, b"-ERR full\r\n", pop3::Sink::new(size)).await
        }
        Bench::Ballast(ballast) => ballast.run().await,
        Bench::Ingest(ingest) => ingest.run().await,
        Bench::Idle(idle) => idle.run().await,
        Bench::Refuse(refuse) => refuse.run().await,
        Bench::Deliver(deliver) => deliver.run().await,
        Bench::Pop3(pop3) => pop3.run().await,
    }
}
