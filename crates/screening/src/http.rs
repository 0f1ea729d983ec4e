//! Asking a service of the operator's over HTTP: a request whose body is the message, and an answer that is short.
//!
//! The message is read again from where it is stored, piece by piece, while the request goes out: [`Source`]. So what is
//! asked keeps no client waiting and is kept waiting by none, and its length is known. Names are looked up by [`Dns`]; nobody is
//! redirected. Memory: a piece, what is on its way, and [`ANSWER_OCTETS`]. Fails with words for the operator. Dropping a future
//! is safe: the connection is closed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use tokio::sync::mpsc;

use crate::Error;
use crate::dns::{Dns, Kind};

/// A message that has come, read again for those who want to see all of it.
#[async_trait]
pub trait Source: Send {
    /// How long it is.
    fn octets(&self) -> u64;

    /// A piece of it from octet `from` on; empty where there is no more. Cancel-safe.
    ///
    /// # Errors
    /// Why it cannot be read.
    async fn read(&mut self, from: u64) -> Result<Bytes, String>;
}

#[async_trait]
impl Source for &[u8] {
    fn octets(&self) -> u64 {
        self.len() as u64
    }

    async fn read(&mut self, from: u64) -> Result<Bytes, String> {
        let rest = usize::try_from(from).ok().and_then(|from| self.get(from..)).unwrap_or_default();
        Ok(Bytes::copy_from_slice(rest.get(..PIECE_OCTETS).unwrap_or(rest)))
    }
}

/// Where a service is asked: an address of http or https, without a password in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

/// Why a text is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It cannot be read.
    #[error("{0:?} is not the address of a service: write it as in \"http://127.0.0.1:11333\"")]
    Wrong(String),
    /// It holds a secret, and the configuration holds none.
    #[error("a password must not stand in an address")]
    Password,
}

/// Asks; one for all.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client,
}

/// What is sent: the message as it is, or in base64 between two texts.
pub(crate) enum Content {
    Message,
    Text(String),
    Between(String, &'static str),
}

impl Endpoint {
    /// As it is written.
    pub(crate) fn url(&self) -> Url {
        self.0.clone()
    }

    /// The same service's other address.
    pub(crate) fn join(&self, path: &str) -> Url {
        self.0.join(path).unwrap_or_else(|_| self.0.clone())
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Wrong(text.into());
        let url: Url = text.parse().map_err(|_| wrong())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Password);
        }
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        if is_http { Ok(Self(url)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Http {
    /// To be called within a runtime.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(dns: Dns) -> Result<Self, Error> {
        // Whoever was first has installed the same.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = Client::builder().dns_resolver(Arc::new(Names(dns))).redirect(Policy::none());
        // One that was kept could be closed by the service as we begin, and a message is not sent twice.
        let builder = builder.pool_max_idle_per_host(0);
        let client = builder.build().map_err(|error| Error::Http(told(&error)))?;
        Ok(Self { client })
    }

    /// Asks with POST; what is answered with 200.
    ///
    /// # Errors
    /// In words: no connection, another status, an answer without end, or that the message cannot be read.
    pub(crate) async fn post(&self, url: Url, headers: HeaderMap, content: Content, source: &mut dyn Source) -> Result<Vec<u8>, String> {
        let (sender, receiver) = mpsc::channel(1);
        let left = content.octets(source.octets());
        let request = self.client.post(url).headers(headers).body(reqwest::Body::wrap(Pieces { receiver, left }));
        let mut answer = pin!(async {
            let mut response = request.send().await.map_err(|error| told(&error))?;
            let mut answer = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|error| told(&error))? {
                answer.extend_from_slice(&piece);
                if answer.len() > ANSWER_OCTETS {
                    return Err(format!("its answer is longer than {ANSWER_OCTETS} octets"));
                }
            }
            match response.status() {
                StatusCode::OK => Ok(answer),
                status => Err(format!("it answers {status}")),
            }
        });
        tokio::select! {
            // One that answers early wants no more of it.
            biased;
            answered = &mut answer => answered,
            fed = feed(content, source, sender) => match fed {
                Ok(()) => answer.await,
                Err(why) => Err(format!("the message cannot be read again: {why}")),
            },
        }
    }
}

impl Content {
    fn octets(&self, message: u64) -> u64 {
        match self {
            Self::Message => message,
            Self::Text(text) => text.len() as u64,
            Self::Between(head, tail) => message.div_ceil(3) * 4 + (head.len() + tail.len()) as u64,
        }
    }
}

/// Hands all of it to the request, or as much as that takes.
async fn feed(content: Content, source: &mut dyn Source, sender: mpsc::Sender<Bytes>) -> Result<(), String> {
    let (head, tail, encoded) = match content {
        Content::Message => (String::new(), "", false),
        Content::Text(text) => {
            sender.send(text.into()).await.unwrap_or_default();
            return Ok(());
        }
        Content::Between(head, tail) => (head, tail, true),
    };
    // Nobody takes it any more: what becomes of the request says why.
    if sender.send(head.into()).await.is_err() {
        return Ok(());
    }
    let (mut from, mut carried) = (0, Vec::new());
    loop {
        let piece = source.read(from).await?;
        from += piece.len() as u64;
        let (last, ready) = (piece.is_empty(), if encoded { encode(&mut carried, &piece) } else { piece });
        if sender.send(ready).await.is_err() || last {
            break;
        }
    }
    sender.send(tail.into()).await.unwrap_or_default();
    Ok(())
}

/// Base64 in threes; what is left over is carried to the next piece, and ends with the empty one.
fn encode(carried: &mut Vec<u8>, piece: &[u8]) -> Bytes {
    carried.extend_from_slice(piece);
    let whole = if piece.is_empty() { carried.len() } else { carried.len() / 3 * 3 };
    let rest = carried.split_off(whole);
    STANDARD.encode(std::mem::replace(carried, rest)).into()
}

/// The body of a request: pieces of a length that is known together.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            match ready!(self.receiver.poll_recv(cx)) {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => {
                    self.left = self.left.saturating_sub(piece.len() as u64);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                None if self.left > 0 => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Looks names up as everything else here is.
struct Names(Dns);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let dns = self.0.clone();
        Box::pin(async move { Ok(Box::new(addresses(&dns, name.as_str()).await?.into_iter()) as Addrs) })
    }
}

/// Where a host is, with port 0.
pub(crate) async fn addresses(dns: &Dns, name: &str) -> Result<Vec<SocketAddr>, crate::dns::Unanswered> {
    if name.eq_ignore_ascii_case(LOCALHOST) {
        return Ok(vec![(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()]);
    }
    let (v4, v6) = tokio::join!(dns.lookup(name, Kind::A), dns.lookup(name, Kind::Aaaa));
    let texts = match (v4, v6) {
        (Ok(v4), v6) => v4.into_iter().chain(v6.unwrap_or_default()).collect(),
        (Err(_), Ok(v6)) => v6,
        (Err(error), Err(_)) => return Err(error),
    };
    let texts: Vec<String> = texts;
    Ok(texts.iter().filter_map(|text| text.parse::<IpAddr>().ok()).map(|ip| (ip, 0).into()).collect())
}

/// An error with its causes, without the address: whoever reads it has written that.
fn told(error: &reqwest::Error) -> String {
    let mut causes: Vec<String> =
        std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source()).map(ToString::to_string).collect();
    causes.dedup();
    causes.pop().unwrap_or_default()
}

/// Of a message in memory.
const PIECE_OCTETS: usize = 64 << 10;
/// The longest answer that is read.
const ANSWER_OCTETS: usize = 256 << 10;
const LOCALHOST: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_its_address() {
        for text in ["http://127.0.0.1:11333", "https://rspamd.example/", "http://[::1]:80/hook?x=1"] {
            assert!(text.parse::<Endpoint>().is_ok(), "{text}");
        }
        for text in ["", "127.0.0.1:11333", "ftp://a.example", "unix:/run/x", "http://"] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError::Wrong(text.into())), "{text}");
        }
        assert_eq!("http://u:p@a.example".parse::<Endpoint>(), Err(EndpointError::Password));
        assert_eq!("http://a.example:1".parse::<Endpoint>().unwrap().join("checkv2").as_str(), "http://a.example:1/checkv2");
    }

    #[test]
    fn base64_in_pieces_is_base64_of_the_whole() {
        let text: Vec<u8> = (0..100).collect();
        for length in 0..text.len() {
            for step in [1, 2, 3, 7, 100] {
                let (mut carried, mut encoded) = (Vec::new(), Vec::new());
                text[..length].chunks(step).chain([&[][..]]).for_each(|piece| encoded.extend(encode(&mut carried, piece)));
                assert_eq!(encoded, STANDARD.encode(&text[..length]).into_bytes());
                assert_eq!(encoded.len() as u64, Content::Between(String::new(), "").octets(length as u64));
            }
        }
    }
}
