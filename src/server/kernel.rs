//! What the kernel knows of our listeners: how many connections wait to be accepted, and how many it has turned away.
//!
//! Read from /proc (proc(5)); where that is not to be had, the figures are not shown.

use std::collections::HashSet;
use std::fs;

use events::{Figure, Figures};

/// States the figures for the listeners on these ports.
pub(crate) fn report(ports: &HashSet<u16>, figures: &mut Figures) {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    if tables.iter().any(|table| !table.is_empty()) {
        figures.set(Figure::AcceptQueue, tables.iter().map(|table| waiting(table, ports)).sum());
    }
    if let Some(overflows) = fs::read_to_string("/proc/net/netstat").ok().and_then(|text| counter(&text, "TcpExt:", "ListenOverflows")) {
        figures.set(Figure::AcceptOverflows, overflows);
    }
}

/// Connections in the accept queues of listening sockets on these ports: of such a socket the kernel shows that number as rx_queue.
fn waiting(table: &str, ports: &HashSet<u16>) -> u64 {
    let queue = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _remote, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let waiting = u64::from_str_radix(queues.split_once(':')?.1, 16).ok()?;
        (state == LISTEN && ports.contains(&port)).then_some(waiting)
    };
    table.lines().skip(1).filter_map(queue).sum()
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
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
            0: 0100007F:0019 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0\n   \
            1: 0100007F:0019 0100007F:C350 01 00000000:00000009 00:00000000 00000000     0\n   \
            2: 00000000:006E 00000000:0000 0A 00000000:00000010 00:00000000 00000000     0\n   \
            3: 00000000:0050 00000000:0000 0A 00000000:00000005 00:00000000 00000000     0\n";
        assert_eq!(waiting(table, &HashSet::from([25, 110])), 3 + 16);
        assert_eq!(waiting("", &HashSet::from([25])), 0);
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
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        assert_eq!(waiting(&table, &HashSet::from([port])), 1);
    }
}
