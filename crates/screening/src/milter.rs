//! Milters, asked when the message has come: one connection for each message and milter, in the order of sendmail's protocol.
//!
//! A milter is told of connection, name, envelope, header and body, as far as it wants to be, and its last word is what it finds. It may add fields
//! and ask for quarantine. What it changes besides is not changed: a message here is as it came. Where it refuses the message that is no matter, and else its
//! word is not taken, because it was about another message. A recipient that it refuses is not left out behind the client's back: the message is refused for all. The message is read
//! again from where it is stored. Memory: its header, a piece of it, and 64 KiB of what is added. Whatever goes wrong, the check is
//! unsure. Dropping a future is safe: the connection is closed.

mod conversation;
pub mod wire;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::net::{TcpStream, UnixStream};

use crate::client_name::ClientName;
use crate::dns::Dns;
use crate::http::addresses;
use crate::letter::Letter;
use crate::screener::Sender;
use crate::screening::Found;
use crate::several::Several;
use crate::verdict::{Outcome, Verdict};
use conversation::{Conversation, Error, Stream};

/// Where a milter is: `inet:HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Milter {
    /// A host by name or address, and its port.
    Inet(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A text is no [`Milter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not where a milter can be: write \"inet:127.0.0.1:8891\" or \"unix:/run/milter.sock\"")]
pub struct MilterError(String);

/// Who has come, and to whom.
#[derive(Clone, Copy)]
pub(crate) struct Client<'c> {
    /// We.
    pub(crate) host: &'c str,
    pub(crate) sender: &'c Sender<'c>,
    /// Of its address.
    pub(crate) name: &'c ClientName,
}

/// What milters have found.
pub(crate) struct Told {
    pub(crate) found: Found,
    /// What they put before the message.
    pub(crate) fields: String,
}

impl FromStr for Milter {
    type Err = MilterError;

    fn from_str(text: &str) -> Result<Self, MilterError> {
        let wrong = || MilterError(text.into());
        match text.split_once(':').ok_or_else(wrong)? {
            ("unix", path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            ("inet", place) => {
                let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
                if host.is_empty() { Err(wrong()) } else { Ok(Self::Inet(host.into(), port)) }
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Milter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(host, port) if host.contains(':') => write!(f, "inet:[{host}]:{port}"),
            Self::Inet(host, port) => write!(f, "inet:{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Asks one after the other until one has refused, or says nothing, which leaves it open. Of what they say the gravest counts, and stands in
/// `so_far` as soon as it is known: one that is silent takes nothing back.
pub(crate) async fn ask(milters: &[Milter], dns: &Dns, client: Client<'_>, letter: &mut Letter<'_>, so_far: &mut Verdict) -> Told {
    let (mut several, mut all) = (Several::new(), String::new());
    for milter in milters {
        let Told { found, fields } = milter.ask(dns, client, letter).await;
        all.push_str(&fields);
        if several.is_last(milter, found, so_far) {
            break;
        }
    }
    Told { found: several.found(), fields: all }
}

impl Milter {
    async fn ask(&self, dns: &Dns, client: Client<'_>, letter: &mut Letter<'_>) -> Told {
        let conversed = async {
            let mut conversation = Conversation::begin(self.connect(dns).await?).await?;
            let last = conversation.tell(client, letter).await?;
            // It may be gone already, and has said all there is.
            let _ended = conversation.say(b'Q', &[]).await;
            Ok::<_, Error>((last, conversation))
        };
        match conversed.await {
            Ok((last, conversation)) => conversation.told(last),
            Err(error) => Told { found: Found::new(Outcome::Unsure, error.to_string()), fields: String::new() },
        }
    }

    async fn connect(&self, dns: &Dns) -> Result<Box<dyn Stream>, Error> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Inet(host, port) => match host.parse::<IpAddr>() {
                Ok(ip) => Box::new(TcpStream::connect((ip, *port)).await?),
                Err(_) => {
                    let mut found = addresses(dns, host).await?;
                    found.iter_mut().for_each(|address| address.set_port(*port));
                    Box::new(TcpStream::connect(&*found).await?)
                }
            },
        })
    }
}
