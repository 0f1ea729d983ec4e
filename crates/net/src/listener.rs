//! Listening sockets: bound here, or passed by the service manager (systemd's socket activation, sd_listen_fds(3)).
//!
//! A [`Listener`] is bound before there is a runtime and before privileges are dropped; [`serve`](crate::serve()) takes it from
//! there. `[::]` takes IPv4 too, unless `0.0.0.0` with the same port is listed beside it. A port of 0 gets a free one, which
//! [`Listener::local`] tells. Refuses what the system refuses, and says which address it was.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

use crate::NetError;

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: TcpListener,
    local: SocketAddr,
}

/// Where listeners come from: passed sockets by their address, new ones otherwise.
#[derive(Debug)]
pub struct Listeners {
    passed: Vec<Listener>,
    backlog: i32,
}

impl Listener {
    /// Binds `address` with a queue of `backlog` connections (the system's `net.core.somaxconn` caps it).
    ///
    /// # Errors
    /// [`NetError::Bind`].
    pub fn bind(address: SocketAddr, backlog: i32) -> Result<Self, NetError> {
        Self::open(address, backlog, false)
    }

    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// What the system says about the socket, when it has no address.
    pub fn adopt(socket: TcpListener) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }

    /// The address it listens on, with the port it got.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    fn open(address: SocketAddr, backlog: i32, only_v6: bool) -> Result<Self, NetError> {
        let listen = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            if address.is_ipv6() {
                socket.set_only_v6(only_v6)?;
            }
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(backlog)?;
            Self::adopt(socket.into())
        };
        listen().map_err(|source| NetError::Bind { address, source })
    }
}

impl Listeners {
    /// With the sockets passed in this process's environment, if any. To be called once: a passed socket has one owner.
    ///
    /// # Errors
    /// [`NetError::Inherited`] when one of them is not a listening TCP socket.
    pub fn from_env(backlog: i32) -> Result<Self, NetError> {
        let (mut sockets, mut passed) = (ListenFd::from_env(), Vec::new());
        for index in 0..sockets.len() {
            let inherited = |source| NetError::Inherited { index, source };
            if let Some(socket) = sockets.take_tcp_listener(index).map_err(inherited)? {
                passed.push(Listener::adopt(socket).map_err(inherited)?);
            }
        }
        Ok(Self { passed, backlog })
    }

    /// With sockets that were bound before, as if they had been passed.
    pub fn passed(passed: Vec<Listener>, backlog: i32) -> Self {
        Self { passed, backlog }
    }

    /// With no passed sockets.
    pub fn new(backlog: i32) -> Self {
        Self::passed(Vec::new(), backlog)
    }

    /// One listener for each of `addresses`: the passed one that has this address, or a new one.
    ///
    /// # Errors
    /// [`NetError::Bind`] for the first that cannot be bound.
    pub fn open(&mut self, addresses: &[SocketAddr]) -> Result<Vec<Listener>, NetError> {
        addresses
            .iter()
            .map(|&address| match self.passed.iter().position(|listener| listener.local == address) {
                Some(at) => Ok(self.passed.swap_remove(at)),
                None => Listener::open(address, self.backlog, beside_v4(address, addresses)),
            })
            .collect()
    }

    /// Addresses of passed sockets that nobody has asked for: the service manager and the configuration disagree.
    pub fn unclaimed(&self) -> Vec<SocketAddr> {
        self.passed.iter().map(Listener::local).collect()
    }
}

/// Whether `address` is `[::]` and `0.0.0.0` with its port is listed too, so that each must keep to its own family.
fn beside_v4(address: SocketAddr, addresses: &[SocketAddr]) -> bool {
    address.ip() == Ipv6Addr::UNSPECIFIED && addresses.contains(&(Ipv4Addr::UNSPECIFIED, address.port()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_free_port_is_told_and_a_taken_one_is_named() {
        let listener = Listener::bind(address("127.0.0.1:0"), 16).unwrap();
        assert_ne!(listener.local().port(), 0);
        TcpStream::connect(listener.local()).unwrap();
        let taken = Listener::bind(listener.local(), 16).unwrap_err().to_string();
        assert!(taken.starts_with(&format!("cannot listen on {}: ", listener.local())), "{taken}");
    }

    #[test]
    fn all_of_v6_takes_v4_unless_v4_has_its_own() {
        assert!(!beside_v4(address("[::]:25"), &[address("[::]:25"), address("0.0.0.0:26")]));
        assert!(beside_v4(address("[::]:25"), &[address("[::]:25"), address("0.0.0.0:25")]));
        assert!(!beside_v4(address("0.0.0.0:25"), &[address("[::]:25"), address("0.0.0.0:25")]));
        let Ok(both) = Listener::bind(address("[::]:0"), 16) else { return }; // a machine without IPv6
        TcpStream::connect((Ipv4Addr::LOCALHOST, both.local().port())).unwrap();
    }

    #[test]
    fn a_passed_socket_is_adopted_by_its_address() {
        let passed = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = passed.local_addr().unwrap();
        let mut listeners = Listeners { passed: vec![Listener::adopt(passed).unwrap()], backlog: 16 };
        assert_eq!(listeners.unclaimed(), [local]);
        let opened = listeners.open(&[address("127.0.0.1:0"), local]).unwrap();
        assert_eq!(opened.get(1).map(Listener::local), Some(local));
        assert!(listeners.unclaimed().is_empty());
    }
}
