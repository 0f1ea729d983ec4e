//! What the kernel knows of our listeners: how many connections wait to be accepted, and how many it has turned away.
//!
//! Read from /proc (proc(5)); where that is not to be had, the figures are not shown.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};

use events::{Figure, Figures};

/// States the figures for the listeners on these ports.
pub(crate) fn report(ports: &HashSet<u16>, figures: &mut Figures) {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| waiting(BufReader::new(File::open(path)?), ports));
    if tables.iter().any(Result::is_ok) {
        figures.set(Figure::AcceptQueue, tables.into_iter().flatten().sum());
    }
    if let Some(overflows) = fs::read_to_string("/proc/net/netstat").ok().and_then(|text| counter(&text, "TcpExt:", "ListenOverflows")) {
        figures.set(Figure::AcceptOverflows, overflows);
    }
}

/// Connections in the accept queues of listening sockets on these ports: of such a socket the kernel shows that number as rx_queue. Those
/// sockets come first (Documentation/networking/proc_net_tcp.rst of the kernel), and nothing behind them is read: in a flood, and for a minute
/// after it, that is megabytes.
fn waiting(table: impl BufRead, ports: &HashSet<u16>) -> io::Result<u64> {
    let mut sum = 0;
    for line in table.lines().skip(1) {
        let line = line?;
        let Some((port, waiting)) = queue(&line) else { break };
        if ports.contains(&port) {
            sum += waiting;
        }
    }
    Ok(sum)
}

/// Port and queue of a listening socket's line.
fn queue(line: &str) -> Option<(u16, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, _remote, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    let waiting = u64::from_str_radix(queues.split_once(':')?.1, 16).ok()?;
    (state == LISTEN).then_some((port, waiting))
}

/// The counter `name` of a table that has a line of names and a line of values.
fn counter(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(table));
    let (names, values) = (lines.next()?, lines.next()?);
    names.split(' ').zip(values.split(' ')).find(|(found, _)| *found == name)?.1.parse().ok()
}

/// TCP_LISTEN of the kernel's include/net/tcp_states.h.
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_of_our_ports_alone_is_counted() {
        let table = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
            0: 0100007F:0019 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0\n   \
            1: 00000000:006E 00000000:0000 0A 00000000:00000010 00:00000000 00000000     0\n   \
            2: 00000000:0050 00000000:0000 0A 00000000:00000005 00:00000000 00000000     0\n   \
            3: 0100007F:0019 0100007F:C350 01 00000000:00000009 00:00000000 00000000     0\n";
        assert_eq!(waiting(&table[..], &HashSet::from([25, 110])).unwrap(), 3 + 16);
        assert_eq!(waiting(&b""[..], &HashSet::from([25])).unwrap(), 0);
    }

    #[test]
    fn nothing_is_read_behind_the_listening_sockets() {
        let mut table = b"  sl\n   0: 0100007F:0019 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0\n".to_vec();
        for _ in 0..1000 {
            table.extend(b"   1: 0100007F:0019 0100007F:C350 06 00000000:00000000 03:00000000 00000000     0\n");
        }
        let mut unread = &table[..];
        assert_eq!(waiting(&mut unread, &HashSet::from([25])).unwrap(), 3);
        assert_eq!(unread.iter().filter(|octet| **octet == b'\n').count(), 999, "one line to see that it is another state's");
    }

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 42 43\nIpExt: ListenOverflows\nIpExt: 7\n";
        assert_eq!(counter(text, "TcpExt:", "ListenOverflows"), Some(42));
        assert_eq!(counter(text, "TcpExt:", "Nothing"), None);
    }

    #[test]
    fn a_connection_that_waits_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _waiting = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let table = BufReader::new(File::open("/proc/net/tcp").unwrap());
        assert_eq!(waiting(table, &HashSet::from([port])).unwrap(), 1);
    }
}
