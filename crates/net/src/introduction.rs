//! The PROXY protocol, versions 1 and 2: on whose behalf a trusted proxy has connected.
//! (HAProxy, doc/proxy-protocol.txt)
//!
//! Guarantees: only the header is taken off the socket, so that what follows, a TLS handshake perhaps, is there for the session;
//! octets are looked at where the kernel keeps them, and no buffer is held while the rest of a header is awaited. What cannot
//! become a header is a fault at once. Refuses: anything but a header ([`ProxyFault`]). Nothing here waits.
//!
//! A proxy's connection of its own (LOCAL, UNKNOWN, an unspecified family: its health checks, say) stays its own. So does one from
//! a Unix socket, which has no address a limit could count.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::connection::canonical;

/// What a trusted proxy did in place of sending a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyFault {
    /// What it sent is something else, for example its client's first command.
    #[error("it sent no PROXY header: has it been told to send one?")]
    Missing,
    /// It began with a header and went on otherwise.
    #[error("its PROXY header cannot be read")]
    Malformed,
    /// Its time was over.
    #[error("it sent no whole PROXY header in time")]
    Late,
    /// There is no place to wait for a header in.
    #[error("too many of its connections have not sent their PROXY header yet")]
    Crowded,
}

/// Who is at the other end of a proxied connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Introduced {
    pub(crate) client: SocketAddr,
    /// What the client has connected to.
    pub(crate) server: SocketAddr,
}

/// A header that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// None: the connection is the proxy's own.
    pub(crate) introduced: Option<Introduced>,
    octets: usize,
}

/// What a proxy has said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A header, which is no longer on the socket.
    Header(Header),
    /// Not all of one.
    Beginning,
    /// Something else.
    Fault(ProxyFault),
    /// It has hung up without a header, as a health check may.
    Gone,
}

/// Takes the header off the socket, if it is all there.
pub(crate) fn hear(socket: &OwnedFd) -> Heard {
    let mut octets = [0; HEADER_MOST];
    let heard = match recv(socket, &mut octets, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((0, _)) => return Heard::Gone,
        Ok((some, _)) => octets.get(..some).unwrap_or_default(),
        Err(Errno::AGAIN | Errno::INTR) => return Heard::Beginning,
        Err(_gone) => return Heard::Gone,
    };
    let header = match read(heard) {
        Ok(Some(header)) => header,
        Ok(None) => return Heard::Beginning,
        Err(fault) => return Heard::Fault(fault),
    };
    let header_only = octets.get_mut(..header.octets).unwrap_or_default();
    match recv(socket, header_only, RecvFlags::DONTWAIT) {
        Ok((taken, _)) if taken == header.octets => Heard::Header(header),
        _ => Heard::Gone,
    }
}

/// Reads the header `octets` begin with; `None` when they are too few.
fn read(octets: &[u8]) -> Result<Option<Header>, ProxyFault> {
    if !BEGINNINGS.iter().any(|beginning| octets.iter().zip(*beginning).all(|(heard, expected)| heard == expected)) {
        return Err(ProxyFault::Missing);
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, length) = match ProxyHeader::parse(octets, config) {
        Ok(parsed) => parsed,
        Err(proxy_header::Error::BufferTooShort) if octets.len() < HEADER_MOST => return Ok(None),
        Err(_) => return Err(ProxyFault::Malformed),
    };
    let introduced = match header.proxied_address() {
        Some(address) if address.protocol != Protocol::Stream => return Err(ProxyFault::Malformed),
        Some(address) => Some(Introduced { client: canonical(address.source), server: canonical(address.destination) }),
        None => None,
    };
    Ok(Some(Header { introduced, octets: length }))
}

const BEGINNINGS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// Of version 1, 107 octets are the most; of version 2, what lies behind the addresses is not ours to read, and short.
const HEADER_MOST: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// A header of version 2, with that command and family.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [BEGINNINGS[1], &[0x20 | command, family], &length, rest].concat()
    }

    fn v2_ipv4(more: &[u8]) -> Vec<u8> {
        v2(1, 0x11, &[&[192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0, 25][..], more].concat())
    }

    fn v2_ipv6() -> Vec<u8> {
        let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        v2(1, 0x21, &[&address("2001:db8::7")[..], &address("2001:db8::1"), &[0x9c, 0x40, 0, 25]].concat())
    }

    /// Client and server.
    type Addresses = Option<(&'static str, &'static str)>;

    fn whole() -> Vec<(Vec<u8>, Addresses)> {
        let unix = [0; 216];
        vec![
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n".to_vec(), Some(("192.0.2.7:40000", "198.51.100.1:25"))),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n".to_vec(), Some(("[2001:db8::7]:40000", "[2001:db8::1]:25"))),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 40000 25\r\n".to_vec(), Some(("192.0.2.7:40000", "198.51.100.1:25"))),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), None),
            (v2_ipv4(b""), Some(("192.0.2.7:40000", "198.51.100.1:25"))),
            (v2_ipv4(&[4, 0, 3, 1, 2, 3].repeat(100)), Some(("192.0.2.7:40000", "198.51.100.1:25"))),
            (v2_ipv6(), Some(("[2001:db8::7]:40000", "[2001:db8::1]:25"))),
            (v2(0, 0x00, b""), None),
            (v2(0, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0, 25]), None),
            (v2(1, 0x00, b""), None),
            (v2(1, 0x31, &unix), None),
        ]
    }

    #[test]
    fn a_header_is_read_at_every_cutting() {
        for (header, addresses) in whole() {
            for end in 0..header.len() {
                assert_eq!(read(&header[..end]), Ok(None), "{end} of {header:?}");
            }
            let introduced =
                addresses.map(|(client, server)| Introduced { client: client.parse().unwrap(), server: server.parse().unwrap() });
            let expected = Ok(Some(Header { introduced, octets: header.len() }));
            for behind in [&b""[..], b"E", b"EHLO client.example\r\n", BEGINNINGS[0], BEGINNINGS[1], b"\x16\x03\x01"] {
                assert_eq!(read(&[&header[..], behind].concat()), expected, "{behind:?} behind {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_told_at_its_first_wrong_octet() {
        for text in ["EHLO client.example\r\n", "PROXi", "PROXY\t", "proxy TCP4", "\x16\x03\x01", "\r\n\r\n\0\r\nQUIX", "\n"] {
            for end in 1..text.len() {
                assert!(matches!(read(&text.as_bytes()[..end]), Ok(None) | Err(ProxyFault::Missing)), "{end} of {text:?}");
            }
            assert_eq!(read(text.as_bytes()), Err(ProxyFault::Missing), "{text:?}");
        }
    }

    #[test]
    fn a_header_that_is_none_is_a_fault() {
        let mut third = v2_ipv4(b"");
        third[12] = 0x31;
        for wrong in [
            b"PROXY TCP5 192.0.2.7 198.51.100.1 40000 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.777 198.51.100.1 40000 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 400000 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\rX".to_vec(),
            b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 25\r\n".to_vec(),
            [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(),
            third,
            v2(2, 0x11, &[0; 12]),
            v2(1, 0x12, &[0; 12]),
            // Told once one octet more is there.
            [v2(1, 0x11, &[0; 11]), b"E".to_vec()].concat(),
            v2(1, 0x41, &[0; 12]),
            [v2_ipv4(&[0; 3000])].concat()[..HEADER_MOST].to_vec(),
        ] {
            assert_eq!(read(&wrong), Err(ProxyFault::Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn only_the_header_is_taken_off_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for (header, _) in whole() {
            let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let socket: OwnedFd = listener.accept().unwrap().0.into();
            proxy.set_nodelay(true).unwrap();
            assert_eq!(hear(&socket), Heard::Beginning);
            proxy.write_all(&header[..9]).unwrap();
            assert_eq!(hear(&socket), Heard::Beginning);
            proxy.write_all(&[&header[9..], b"EHLO client.example\r\n"].concat()).unwrap();
            let heard = std::iter::repeat_with(|| hear(&socket)).find(|heard| *heard != Heard::Beginning);
            assert!(matches!(heard, Some(Heard::Header(heard)) if heard.octets == header.len()), "{heard:?}");
            drop(proxy);
            let mut rest = String::new();
            TcpStream::from(socket).read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "EHLO client.example\r\n");
        }
    }

    #[test]
    fn one_who_hangs_up_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let socket: OwnedFd = listener.accept().unwrap().0.into();
        assert_eq!(hear(&socket), Heard::Gone);
    }
}
