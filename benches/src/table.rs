//! Targets, rounds and the table that comes out.
//!
//! Rounds are interleaved, A B A B, so that what disturbs the machine disturbs every target alike; a figure is the median
//! of its rounds, and its ratio is to the first target of the same table. The server's CPU time for one unit of work has a ratio of
//! its own: where the load takes more of the processors than the server does, it says more than the rate.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A server to measure: `NAME=HOST:PORT` or, with the process that serves, `NAME=HOST:PORT@PID`.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<u32>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("write NAME=HOST:PORT or NAME=HOST:PORT@PID")?;
        let (address, process) = match rest.split_once('@') {
            Some((address, process)) => (address, Some(process.parse().map_err(|_| format!("no process number: {process}"))?)),
            None => (rest, None),
        };
        let address = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?.next();
        Ok(Target { name: name.into(), address: address.ok_or("no address")?, process })
    }
}

/// What one round of one target gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// Units of work a second.
    pub(crate) per_second: f64,
    /// CPU time the server used for one unit, where its process is known.
    pub(crate) server_cpu_us: Option<f64>,
    /// Units that went wrong, and what the first one of them said.
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
}

/// Runs `measure` for every target in turn, `rounds` times, and prints the table.
pub(crate) async fn compare(
    title: &str,
    unit: &str,
    targets: &[Target],
    rounds: usize,
    mut measure: impl AsyncFnMut(&Target) -> io::Result<Round>,
) -> io::Result<()> {
    let mut results = vec![Vec::new(); targets.len()];
    for _ in 0..rounds {
        for (target, results) in targets.iter().zip(&mut results) {
            results.push(measure(target).await?);
        }
    }
    let rates: Vec<f64> = results.iter().map(|rounds| median(rounds.iter().map(|round| round.per_second))).collect();
    let first = rates.first().copied().unwrap_or(0.0);

    println!("\n{title}");
    let unit = format!("{unit}/s");
    println!("  {:<14} {unit:>12} {:>8} {:>19} {:>14} {:>8}", "target", "ratio", "lowest to highest", "server CPU us", "ratio");
    let cpu = |rounds: &[Round]| median(rounds.iter().filter_map(|round| round.server_cpu_us));
    let first_cpu = results.first().map_or(0.0, |rounds| cpu(rounds));
    for ((target, rounds), rate) in targets.iter().zip(&results).zip(&rates) {
        let lowest = rounds.iter().map(|round| round.per_second).fold(f64::INFINITY, f64::min);
        let highest = rounds.iter().map(|round| round.per_second).fold(0.0, f64::max);
        let cpu = cpu(rounds);
        println!(
            "  {:<14} {rate:>12.0} {:>8} {:>19} {:>14} {:>8}",
            target.name,
            Ratio(*rate, first),
            format!("{lowest:.0} to {highest:.0}"),
            if cpu > 0.0 { format!("{cpu:.1}") } else { "-".into() },
            if cpu > 0.0 { Ratio(cpu, first_cpu).to_string() } else { "-".into() },
        );
        let failures: u64 = rounds.iter().map(|round| round.failures).sum();
        if let Some(failure) = rounds.iter().find_map(|round| round.first_failure.as_ref()) {
            println!("  {:<14} {failures} failed, the first: {failure}", "");
        }
    }
    Ok(())
}

/// One figure in another's, for print.
pub(crate) struct Ratio(pub(crate) f64, pub(crate) f64);

impl fmt::Display for Ratio {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.1 > 0.0 { format!("{:.2}", self.0 / self.1) } else { "-".into() };
        out.pad(&text)
    }
}

/// The middle value; of an even number, the mean of the two in the middle; of none, zero.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.get(values.len().saturating_sub(1) / 2), values.get(values.len() / 2)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

/// `10KiB`, `1MiB` or plain bytes.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let (digits, factor) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(digits), _) => (digits, 1024),
        (_, Some(digits)) => (digits, 1024 * 1024),
        _ => (text, 1),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("write {text} as 10KiB, 1MiB or bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }

    #[test]
    fn targets_and_sizes_are_read() {
        let target: Target = "a=127.0.0.1:25@7".parse().unwrap();
        assert_eq!((target.name.as_str(), target.address.port(), target.process), ("a", 25, Some(7)));
        assert!("127.0.0.1:25".parse::<Target>().is_err());
        assert_eq!(size("10KiB"), Ok(10_240));
        assert!(size("10kB").is_err());
    }
}
