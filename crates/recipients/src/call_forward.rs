//! The mail server behind ours, asked whether it would take mail for an address.
//!
//! A conversation a question, by LMTP or SMTP, in clear: greeting, LHLO or EHLO, `MAIL FROM:<>`, `RCPT TO`, QUIT. The empty sender is nobody's, so
//! that nobody's servers are asked about it in turn, and no message follows. What counts is the reply to RCPT: 2xx, the address is known; a
//! reply for good that speaks of the address, it is not. Everything else is an error: a reply for now, a refusal before RCPT, one that
//! speaks of us or of the server (RFC 3463: 5.3, 5.5, 5.7) or of a mailbox without room, a connection that fails, octets that are no reply.
//!
//! A reply may have [`REPLY_OCTETS`]. Who waits for an answer sees to the time. Dropping a future closes its connection.

use std::time::Duration;

use mail::{Domain, ForwardPath, Mailbox};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Error;

/// How to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallForward {
    /// Where the server is: its name or address, and its port.
    pub server: String,
    /// What is spoken with it.
    pub protocol: Protocol,
    /// Our own name.
    pub host: Domain,
    /// How long one question may take, its waiting for others included.
    pub timeout: Duration,
}

/// What is spoken with a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 2033.
    #[default]
    Lmtp,
    /// RFC 5321.
    Smtp,
}

impl CallForward {
    /// Whether the server is there and takes mail with an empty sender, within the time.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn check(&self) -> Result<(), Error> {
        let asked = async {
            let mut conversation = self.connect().await?;
            self.begin(&mut conversation, false).await?;
            conversation.quit().await;
            Ok(())
        };
        tokio::time::timeout(self.timeout, asked).await.unwrap_or_else(|_| Err(Error::TimedOut(self.server.clone(), self.timeout)))
    }

    /// Whether the server knows the address that is called so.
    pub(crate) async fn knows(&self, name: &str) -> Result<bool, Error> {
        // What cannot be said in SMTP is nobody's address there.
        let Some(mailbox) = mailbox(name) else { return Ok(false) };
        let mut conversation = self.connect().await?;
        let known = self.ask(&mut conversation, mailbox).await;
        if known.is_ok() {
            conversation.quit().await;
        }
        known
    }

    async fn connect(&self) -> Result<Conversation<'_, TcpStream>, Error> {
        let failed = |source| Error::Connection { server: self.server.clone(), source };
        let stream = TcpStream::connect(&self.server).await.map_err(failed)?;
        Ok(Conversation { server: &self.server, stream })
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        conversation: &mut Conversation<'_, S>,
        mailbox: Mailbox,
    ) -> Result<bool, Error> {
        let is_ascii = mailbox.is_ascii();
        if !self.begin(conversation, !is_ascii).await? {
            return Ok(false);
        }
        let path = ForwardPath::Mailbox(mailbox);
        let said = conversation.say("RCPT", &format!("RCPT TO:{path}\r\n")).await?;
        match said.code {
            200..300 => Ok(true),
            _ if said.is_about_the_address() => Ok(false),
            _ => Err(conversation.unwilling("RCPT", &said)),
        }
    }

    /// Everything before the question; whether it can be asked: one with UTF-8 of a server that has none cannot, and is answered by that.
    async fn begin<S: AsyncRead + AsyncWrite + Unpin>(&self, conversation: &mut Conversation<'_, S>, utf8: bool) -> Result<bool, Error> {
        let greeting = conversation.hear("the connection").await?;
        conversation.agreed("the connection", greeting)?;
        let verb = match self.protocol {
            Protocol::Lmtp => "LHLO",
            Protocol::Smtp => "EHLO",
        };
        let said = conversation.say(verb, &format!("{verb} {}\r\n", self.host.as_str())).await?;
        let said = conversation.agreed(verb, said)?;
        if utf8 && !said.offers("SMTPUTF8") {
            return Ok(false);
        }
        let mail = if utf8 { "MAIL FROM:<> SMTPUTF8\r\n" } else { "MAIL FROM:<>\r\n" };
        let said = conversation.say("MAIL", mail).await?;
        conversation.agreed("MAIL", said)?;
        Ok(true)
    }
}

/// A mailbox by the name that it is kept by: unquoted.
fn mailbox(name: &str) -> Option<Mailbox> {
    let (local_part, domain) = name.rsplit_once('@')?;
    let quoted = || format!("\"{}\"@{domain}", local_part.replace('\\', "\\\\").replace('"', "\\\""));
    let meant = |mailbox: &Mailbox| mailbox.local_part() == local_part;
    name.parse().ok().filter(meant).or_else(|| quoted().parse().ok().filter(meant))
}

/// One connection.
struct Conversation<'c, S> {
    server: &'c str,
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<'_, S> {
    async fn say(&mut self, command: &'static str, line: &str) -> Result<Said, Error> {
        self.stream.write_all(line.as_bytes()).await.map_err(|source| self.failed(source))?;
        self.hear(command).await
    }

    /// The reply to a command. Nothing may follow it: nothing else was asked.
    async fn hear(&mut self, command: &'static str) -> Result<Said, Error> {
        let (mut octets, mut piece) = (Vec::new(), [0; 512]);
        loop {
            let read = self.stream.read(&mut piece).await.map_err(|source| self.failed(source))?;
            if read == 0 {
                return Err(self.failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            octets.extend_from_slice(piece.get(..read).unwrap_or_default());
            match read_reply(&octets) {
                Ok(Some(said)) => return Ok(said),
                Ok(None) if octets.len() < REPLY_OCTETS => {}
                _ => return Err(Error::Nonsense { server: self.server.to_owned(), command, reply: shown(&octets) }),
            }
        }
    }

    /// A reply that says to go on.
    fn agreed(&self, command: &'static str, said: Said) -> Result<Said, Error> {
        if (200..300).contains(&said.code) { Ok(said) } else { Err(self.unwilling(command, &said)) }
    }

    /// Takes its leave, and does not wait for the answer: what counts is known.
    async fn quit(&mut self) {
        let _said = self.stream.write_all(b"QUIT\r\n").await;
    }

    fn unwilling(&self, command: &'static str, said: &Said) -> Error {
        Error::Unwilling { server: self.server.to_owned(), command, reply: shown(said.text.as_bytes()) }
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Connection { server: self.server.to_owned(), source }
    }
}

/// A reply (RFC 5321 §4.2).
#[derive(Debug)]
struct Said {
    code: u16,
    /// All lines, with the code before each.
    text: String,
}

impl Said {
    /// A refusal for good because of the address: of those codes that refuse a mailbox (RFC 5321 §4.2.3), and 554 where its status says so. Others
    /// that have a status (RFC 3463 §3) are about a full mailbox, the server, the protocol or a policy.
    fn is_about_the_address(&self) -> bool {
        match self.status() {
            Some((5, 1, _)) => (500..600).contains(&self.code),
            Some((_, 3 | 5 | 7, _) | (_, 2, 2)) => false,
            _ => matches!(self.code, 550 | 551 | 553 | 556),
        }
    }

    /// The status that the last line's text begins with (RFC 2034).
    fn status(&self) -> Option<(u16, u16, u16)> {
        let status = self.text.lines().last()?.get(4..)?.split_whitespace().next()?;
        let mut numbers = status.splitn(3, '.').map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    }

    /// Whether it names an extension (RFC 5321 §4.1.1.1).
    fn offers(&self, keyword: &str) -> bool {
        let words = self.text.lines().skip(1).filter_map(|line| line.get(4..)?.split_whitespace().next());
        words.into_iter().any(|word| word.eq_ignore_ascii_case(keyword))
    }
}

/// A whole reply, if it has come; an error where this can be none.
fn read_reply(octets: &[u8]) -> Result<Option<Said>, ()> {
    let mut code = None;
    let mut rest = octets;
    while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
        let (line, after) = rest.split_at(end + 1);
        let digits = line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit)).ok_or(())?;
        let said = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        if !(200..600).contains(&said) || code.is_some_and(|code| code != said) {
            return Err(());
        }
        code = Some(said);
        match line.get(3) {
            Some(b'-') => rest = after,
            Some(b' ' | b'\r' | b'\n') if after.is_empty() => {
                return Ok(Some(Said { code: said, text: String::from_utf8_lossy(octets).into_owned() }));
            }
            _ => return Err(()),
        }
    }
    Ok(None)
}

/// As much of what was said as a line of the log has room for.
fn shown(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets.get(..SHOWN_OCTETS).unwrap_or(octets)).trim_end().to_owned()
}

/// The most that one reply may have, all its lines.
const REPLY_OCTETS: usize = 8 << 10;
const SHOWN_OCTETS: usize = 200;

#[cfg(test)]
mod tests;
