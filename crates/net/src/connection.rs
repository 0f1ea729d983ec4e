//! One admitted connection: two buffers, a peer, and the only places that wait for it.
//!
//! A session appends to `output`, takes from `input`, and calls [`Connection::flush`] and [`Connection::read`] when it
//! can do no more without its peer. One write and one read a turn are one system call each. While a read waits the
//! connection holds no empty buffer, and a partial line in one of its own size. Only [`Connection::read`] grows `input`, by
//! one read at a time, so a session that takes what it gets bounds its memory. It says whether it expects a line or text, which is what
//! the room for a read is chosen by.
//!
//! Dropping the future of `read` or `flush` is safe: what was read is in `input`, what is not written is in `output`.
//! Dropping the future of `start_tls` or `close` loses the connection. Where session time goes is decided here: whatever is
//! not spent in these functions is our own.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;

use crate::clock::{self, Alarm};
use crate::transport::{Socket, Transport};
use crate::{Drain, NetError, Tls, TlsFacts, authorities, tls};

/// A connection that belongs to one session.
pub struct Connection {
    /// What the peer has sent and the session has not taken.
    pub input: BytesMut,
    /// What the session says at the next flush.
    pub output: BytesMut,
    transport: Transport,
    alarm: Alarm,
    /// What the next read of text asks for.
    text_octets: usize,
    peer: SocketAddr,
    local: SocketAddr,
    drain: Drain,
}

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A command, or several.
    Line,
    /// The text of a message.
    Text,
}

/// How a wait for the peer ended.
#[derive(Debug)]
pub enum Read {
    /// There is more in `input`.
    Some,
    /// The peer has closed and will send nothing more.
    Eof,
    /// Nothing came by the deadline.
    TimedOut,
    /// The server leaves, and has waited for this session's next command as long as it does. Say 421 and close.
    Drained,
    /// The connection is gone.
    Lost(io::Error),
}

impl Connection {
    /// A session's end of a pipe in memory, for tests in simulated time. Both addresses are loopback's.
    pub fn over_pipe(pipe: DuplexStream, drain: Drain) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::new(Socket::Pipe(pipe), loopback, loopback, drain)
    }

    /// `local` is where the peer has connected to, if that is not this socket but a proxy's.
    pub(crate) fn over_tcp(tcp: TcpStream, peer: SocketAddr, local: Option<SocketAddr>, drain: Drain) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let local = local.map_or_else(|| tcp.local_addr().map(canonical), Ok)?;
        Ok(Self::new(Socket::Tcp(tcp), peer, local, drain))
    }

    fn new(socket: Socket, peer: SocketAddr, local: SocketAddr, drain: Drain) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        let (transport, alarm, text_octets) = (Transport::Clear(socket), Alarm::default(), TEXT_LEAST);
        Self { input, output, transport, alarm, text_octets, peer, local, drain }
    }

    /// Who is at the other end, not a trusted proxy in between. IPv4 is IPv4, also on a socket that takes both.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The address the peer has connected to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What the handshake settled; `None` in clear.
    pub fn tls(&self) -> Option<TlsFacts<'_>> {
        match &self.transport {
            Transport::Tls(stream) => Some(TlsFacts::of(stream.get_ref().1)),
            Transport::Clear(_) | Transport::Gone => None,
        }
    }

    /// What identifies this TLS channel, the same on both sides of it and on no other: `tls-exporter` (RFC 9266). `None` in clear, and in
    /// TLS 1.2, where it would depend on an extension that clients may leave out.
    pub fn channel(&self) -> Option<[u8; 32]> {
        match &self.transport {
            Transport::Tls(stream) => tls::channel(stream.get_ref().1),
            Transport::Clear(_) | Transport::Gone => None,
        }
    }

    /// The mailbox that the peer's certificate names, which one of the [`Authorities`](crate::Authorities) has signed.
    pub fn mailbox(&self) -> Option<String> {
        match &self.transport {
            Transport::Tls(stream) => stream.get_ref().1.peer_certificates()?.first().and_then(authorities::mailbox),
            Transport::Clear(_) | Transport::Gone => None,
        }
    }

    /// Whether the server is leaving: to be asked at each command boundary.
    pub fn drain_requested(&self) -> bool {
        self.drain.requested()
    }

    /// Waits until there is more in `input`, or no more to wait for.
    pub async fn read(&mut self, expected: Expected, deadline: Instant) -> Read {
        poll_fn(|cx| self.poll_read(expected, deadline, cx)).await
    }

    /// Writes all of `output`, which is empty afterwards.
    ///
    /// # Errors
    /// [`NetError::WriteTimedOut`] when the peer has not taken it by `deadline`, [`NetError::Lost`] when it is gone. Part of
    /// it may have arrived.
    pub async fn flush(&mut self, deadline: Instant) -> Result<(), NetError> {
        if self.output.is_empty() {
            return Ok(());
        }
        poll_fn(|cx| match self.transport.poll_flush(&mut self.output, cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome.map_err(NetError::Lost)),
            Poll::Pending => self.alarm.poll(deadline, cx).map(|()| Err(NetError::WriteTimedOut)),
        })
        .await
    }

    /// Goes on inside TLS: for STARTTLS and STLS behind the reply that agrees, and for implicit TLS at once. What is in
    /// `output` is written first, in clear, within the handshake's time.
    ///
    /// # Errors
    /// [`NetError::NotBeforeTls`] when `input` holds what the peer said in clear (RFC 3207 §4.2: nothing of it may count), or
    /// TLS is on; nothing has happened then. Otherwise [`NetError::Handshake`] or [`NetError::HandshakeTimedOut`], or an
    /// error of [`Connection::flush`], and the connection is gone.
    pub async fn start_tls(&mut self, tls: &Tls) -> Result<(), NetError> {
        if !self.input.is_empty() {
            return Err(NetError::NotBeforeTls("the peer did not wait for it"));
        }
        if matches!(self.transport, Transport::Tls(_)) {
            return Err(NetError::NotBeforeTls("it is on already"));
        }
        self.flush(clock::now() + tls.handshake_time()).await?;
        let Transport::Clear(socket) = std::mem::replace(&mut self.transport, Transport::Gone) else {
            return Err(NetError::Lost(io::ErrorKind::NotConnected.into()));
        };
        // Boxed: it is big and short, and a session is small and long.
        let stream = Box::pin(tls.handshake(socket)).await?;
        self.transport = Transport::Tls(Box::new(stream));
        Ok(())
    }

    /// Says that nothing follows, forgets what the peer still sends, so that a reset does not overtake our last words,
    /// and lets go of the socket: at once when the peer has closed, after [`GOODBYE`] at the latest.
    pub async fn close(&mut self) {
        let (deadline, mut shut, mut octets) = (clock::now() + GOODBYE, false, 0);
        poll_fn(|cx| match self.poll_close(&mut shut, &mut octets, cx) {
            // Whatever went wrong, it is over.
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.alarm.poll(deadline, cx),
        })
        .await;
        self.transport = Transport::Gone;
    }

    fn poll_read(&mut self, expected: Expected, deadline: Instant, cx: &mut Context<'_>) -> Poll<Read> {
        let room = match expected {
            Expected::Line => LINE_OCTETS,
            Expected::Text => self.text_octets,
        };
        match self.transport.poll_read(&mut self.input, room, cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Read::Eof),
            Poll::Ready(Ok(octets)) => {
                if expected == Expected::Text {
                    self.learn(octets);
                }
                Poll::Ready(Read::Some)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Read::Lost(error)),
            Poll::Pending => {
                give_back(&mut self.input);
                give_back(&mut self.output);
                if self.drain.closing() {
                    return Poll::Ready(Read::Drained);
                }
                self.alarm.poll(deadline, cx).map(|()| Read::TimedOut)
            }
        }
    }

    /// Asks for more when reads come back full, as they do in a body, and for less when they do not.
    fn learn(&mut self, octets: usize) {
        self.text_octets = match octets {
            many if many >= self.text_octets => TEXT_MOST.min(self.text_octets * 2),
            few if few < self.text_octets / 4 => TEXT_LEAST.max(self.text_octets / 2),
            _ => self.text_octets,
        };
    }

    fn poll_close(&mut self, shut: &mut bool, octets: &mut usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !*shut {
            ready!(self.transport.poll_shutdown(cx))?;
            *shut = true;
        }
        while *octets < GOODBYE_OCTETS {
            match ready!(self.transport.poll_discard(cx))? {
                0 => break,
                some => *octets += some,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// IPv4-mapped IPv6 is IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Frees a buffer's memory but for what it holds. Its capacity does not tell what that memory is: a buffer that octets were
/// split or taken off keeps all it was allocated with. So what is little is copied, and what is not is left.
fn give_back(buffer: &mut BytesMut) {
    if buffer.len() <= COPIED_MOST {
        *buffer = BytesMut::from(buffer.as_ref());
    }
}

/// How long a closing connection waits for its peer to close, too.
pub const GOODBYE: Duration = Duration::from_secs(1);

/// What a peer may still send to a closing connection.
const GOODBYE_OCTETS: usize = 64 << 10;

/// A line and more.
const COPIED_MOST: usize = 4 << 10;

/// What a read of a line asks for: several of them, pipelined, and an allocator has so much at hand.
const LINE_OCTETS: usize = 1 << 10;

/// What a read of text asks for at first: a message of usual size in one.
const TEXT_LEAST: usize = 16 << 10;

/// What a read asks for in a long text.
const TEXT_MOST: usize = 64 << 10;

/// The most memory that one connection takes in here: what came with one read, in a buffer of up to twice its size, and TLS.
pub const OCTETS_MOST: usize = 2 * TEXT_MOST + TLS_OCTETS;

/// Of rustls: 64 KiB that are not yet written, its own bound; a record as it came and one decrypted; its state.
const TLS_OCTETS: usize = (64 + 16 + 16) << 10;
