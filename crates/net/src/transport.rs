//! What octets travel over: TCP, or a pipe in memory for tests in simulated time; in clear or inside TLS.
//!
//! Waiting holds no buffer of ours: TCP is asked whether there is something to read before there is a place to put it, and TLS
//! lends its own. All functions are polls with the usual contract; nothing is lost when the caller stops polling.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// In clear, inside TLS, or no more.
pub(crate) enum Transport {
    Clear(Socket),
    /// Boxed: a rustls session is a thousand octets that a session in clear need not carry.
    Tls(Box<TlsStream<Socket>>),
    Gone,
}

/// One that octets can be read from and written to.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Pipe(DuplexStream),
}

impl Transport {
    /// Appends what is there to `input`, at most `octets` in clear and a record inside TLS; there is no place for it before it is there. 0: the peer has
    /// closed. Peers that close TLS without saying so have closed; SMTP and POP3 have their own ends.
    pub(crate) fn poll_read(&mut self, input: &mut BytesMut, octets: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Clear(socket) => {
                ready!(socket.poll_read_ready(cx))?;
                if input.is_empty() && input.capacity() < octets {
                    *input = BytesMut::with_capacity(octets);
                }
                input.reserve(octets);
                pin!(socket.read_buf(&mut input.limit(octets))).poll(cx)
            }
            Self::Tls(stream) => {
                let mut stream = Pin::new(stream);
                let taken = match ready!(stream.as_mut().poll_fill_buf(cx)) {
                    Ok(chunk) => {
                        input.extend_from_slice(chunk);
                        chunk.len()
                    }
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                stream.consume(taken);
                Poll::Ready(Ok(taken))
            }
            Self::Gone => Poll::Ready(Ok(0)),
        }
    }

    /// Writes `output` until it is empty and on its way.
    pub(crate) fn poll_flush(&mut self, output: &mut BytesMut, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.stream()?;
        while !output.is_empty() {
            let written = ready!(stream.as_mut().poll_write(cx, output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            output.advance(written);
        }
        stream.poll_flush(cx)
    }

    /// Says that nothing follows: close_notify inside TLS, then a FIN.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    /// Reads and forgets; the octets forgotten, 0 when the peer has closed.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut forgotten = [0; 2048];
        let mut forgotten = ReadBuf::new(&mut forgotten);
        ready!(self.stream()?.poll_read(cx, &mut forgotten))?;
        Poll::Ready(Ok(forgotten.filled().len()))
    }

    fn stream(&mut self) -> io::Result<Pin<&mut dyn Stream>> {
        match self {
            Self::Clear(socket) => Ok(Pin::new(socket)),
            Self::Tls(stream) => Ok(Pin::new(&mut **stream)),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Both ways.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Socket {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Pipe(_) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, octets),
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(cx, octets),
        }
    }

    // rustls hands over several records at once; without this each would be a system call.
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, pieces),
            Self::Pipe(pipe) => Pin::new(pipe).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_write_vectored(),
            Self::Pipe(pipe) => pipe.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
