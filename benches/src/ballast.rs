//! Memory that is in use, as on a machine that has been up for days.
//!
//! A virtual machine's memory that nobody has touched for a while is not there: the host finds a page for it at its first use, which
//! costs a server several times what copying a message does. Whoever writes first then pays, or whoever comes
//! behind one who has just given gigabytes back does not. With nearly all memory held what servers write goes to pages that were in
//! use before, for each of them, and the comparison is fair.

use std::fs;
use std::io;

use clap::Args;

use crate::table;

#[derive(Args)]
pub(crate) struct Ballast {
    /// Octets that stay available to everybody else.
    #[arg(long, value_parser = table::size, default_value = "3072MiB")]
    leave: usize,
}

impl Ballast {
    /// Takes and touches all available memory but what is left, says so, and holds it until it is ended.
    pub(crate) async fn run(self) -> io::Result<()> {
        let mut held = Vec::new();
        while available()?.saturating_sub(self.leave) > PIECE_OCTETS {
            held.push(vec![1_u8; PIECE_OCTETS]);
        }
        println!("holding {} MiB", held.len() * (PIECE_OCTETS >> 20));
        tokio::signal::ctrl_c().await?;
        drop(held);
        Ok(())
    }
}

/// proc_meminfo(5).
fn available() -> io::Result<usize> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("/proc/meminfo has no MemAvailable"))
}

const PIECE_OCTETS: usize = 64 << 20;
