//! A raised limit: how long it takes from the change in the file to the greeting of a client that was refused before.
//!
//! The server has one place, and a client holds it. In turns `max_inbound` is raised to 2 in the configuration file, SIGHUP sent, and a
//! client refused again and again until it is greeted; then it is lowered to 1, which must not cut the client that holds the place, and
//! waited for until others are refused. The time is the raise's alone.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Connection;
use crate::flood::from;
use crate::table::{Target, median};

#[derive(Args)]
pub(crate) struct Raise {
    /// NAME=HOST:PORT@PID, with one place.
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    /// The server's configuration file, in which `max_inbound = 1` is changed.
    #[arg(long)]
    config: PathBuf,
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

impl Raise {
    pub(crate) async fn run(self) -> io::Result<()> {
        println!(
            "\nraise: from the change of max_inbound in the file, by SIGHUP, to the greeting of a client refused before; {} rounds",
            self.rounds
        );
        println!("  {:<14} {:>10} {:>10} {:>14} {:>10}", "target", "median ms", "most ms", "refused before", "cut");
        for target in &self.targets {
            self.measure(target).await?;
        }
        Ok(())
    }

    async fn measure(&self, target: &Target) -> io::Result<()> {
        let server = target.process.and_then(|process| Pid::from_raw(process as i32));
        let server = server.ok_or_else(|| io::Error::other(format!("{}: needs its process: NAME=HOST:PORT@PID", target.name)))?;
        let mut holder = holder(target).await?;
        let (mut millis, mut refused) = (Vec::new(), 0);
        for _ in 0..self.rounds {
            attempts(target, false).await?;
            let began = Instant::now();
            set(&self.config, 1, 2)?;
            kill_process(server, Signal::HUP)?;
            refused += attempts(target, true).await?;
            millis.push(began.elapsed().as_secs_f64() * 1e3);
            set(&self.config, 2, 1)?;
            kill_process(server, Signal::HUP)?;
        }
        holder.send(b"NOOP\r\n").await?;
        let cut = usize::from(holder.expect(b"250").await.is_err());
        let most = millis.iter().copied().fold(0.0, f64::max);
        println!("  {:<14} {:>10.2} {most:>10.2} {refused:>14} {cut:>10}", target.name, median(millis.iter().copied()));
        Ok(())
    }
}

/// Takes the place. Whoever has looked whether the server listens may still have it.
async fn holder(target: &Target) -> io::Result<Connection> {
    let since = Instant::now();
    loop {
        let mut holder = Connection::open(target.address, HOLDER, None).await?;
        match holder.expect(b"220").await {
            Ok(()) => return Ok(holder),
            Err(error) if since.elapsed() >= PATIENCE => return Err(error),
            Err(_refused) => {}
        }
    }
}

/// Connects until greeted, or until refused; how many it took besides.
async fn attempts(target: &Target, greeted: bool) -> io::Result<usize> {
    let (since, mut before) = (Instant::now(), 0);
    while since.elapsed() < PATIENCE {
        let mut client = Connection::open(target.address, from(before), None).await?;
        let is_greeted = client.line().await?.starts_with(b"220");
        if is_greeted {
            client.send(b"QUIT\r\n").await?;
            client.expect(b"221").await?;
        }
        if is_greeted == greeted {
            return Ok(before);
        }
        before += 1;
    }
    Err(io::Error::other(format!("{}: the changed limit is not in force after {PATIENCE:?}", target.name)))
}

fn set(config: &Path, before: u32, after: u32) -> io::Result<()> {
    let text = std::fs::read_to_string(config)?;
    let (before, after) = (format!("max_inbound = {before}\n"), format!("max_inbound = {after}\n"));
    if !text.contains(&before) {
        return Err(io::Error::other(format!("{}: has no line {}", config.display(), before.trim_end())));
    }
    // As an editor does it: the file is never half there.
    let written = config.with_extension("new");
    std::fs::write(&written, text.replace(&before, &after))?;
    std::fs::rename(written, config)
}

/// In a network of its own.
const HOLDER: Ipv4Addr = Ipv4Addr::new(127, 3, 0, 1);
const PATIENCE: Duration = Duration::from_secs(10);
