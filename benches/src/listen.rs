//! Accepting for the yardsticks: plain or TLS, one task a connection, nothing else.
//!
//! Prints the address it listens on as its first line, so that port 0 can be used. Ends with the process. A connection that
//! fails ends alone.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A protocol spoken on one connection until it ends.
pub(crate) trait Service: Clone + Send + Sync + 'static {
    /// Serves one connection. Dropping the future drops the connection.
    fn converse<S>(self, stream: S) -> impl Future<Output = io::Result<()>> + Send
    where
        S: AsyncRead + AsyncWrite + Send + Unpin;
}

/// Binds and says where.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(4096)?;
    println!("listening on {}", listener.local_addr()?);
    io::stdout().flush()?;
    Ok(listener)
}

/// Serves connections, at most `places` at a time; the ones beyond get `refusal` and a close. Returns only with an error.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    places: usize,
    refusal: &'static [u8],
    service: impl Service,
) -> io::Result<()> {
    let taken = Arc::new(());
    loop {
        let (stream, _) = listener.accept().await?;
        // Every served connection holds a clone; the count is exact because only this task makes new ones.
        if Arc::strong_count(&taken) > places {
            let _ = stream.try_write(refusal);
            continue;
        }
        let (tls, service, place) = (tls.clone(), service.clone(), taken.clone());
        tokio::spawn(async move {
            let _place = place;
            stream.set_nodelay(true)?;
            match tls {
                None => service.converse(stream).await,
                Some(tls) => {
                    let stream = tls.accept(stream).await?;
                    service.converse(stream).await
                }
            }
        });
    }
}

/// TLS as it comes from rustls, with a certificate made for this run.
pub(crate) fn acceptor() -> io::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(io::Error::other)?)))
}
