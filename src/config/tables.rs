//! The tables of the file and their defaults, in the order they are written in.
//!
//! A doc comment here is what the postmaster reads in the example and the reference, so it speaks to them: unit, consequence,
//! when to change it. A key takes effect on reload unless it, or its table, carries `x-takes-effect = "restart"`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use mail::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::when_full::{Patience, Room};
use super::{Address, Filter, Network};

/// Where clients find the server: a list of addresses for each service. An empty list, [], switches the service off.
///
/// Sockets that systemd hands over (socket activation) are used in place of binding the same address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// Mail from other servers. STARTTLS is offered when there is a certificate.
    pub(crate) smtp: Vec<Address>,
    /// Mail from people's mail programs, with a password after STARTTLS.
    pub(crate) submission: Vec<Address>,
    /// Mail from people's mail programs, with TLS from the first byte.
    pub(crate) submissions: Vec<Address>,
    /// Mail from mail servers of yours that deliver here, by LMTP (RFC 2033), which answers for each recipient: ["127.0.0.1:24"]. Only
    /// relay.lmtp_networks may use it. Nothing is screened there. Not on port 25.
    pub(crate) lmtp: Vec<Address>,
    /// Fetching mail, with a password after STLS.
    pub(crate) pop3: Vec<Address>,
    /// Fetching mail, with TLS from the first byte.
    pub(crate) pop3s: Vec<Address>,
}

/// Load balancers and other proxies between the clients and this server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Proxy {
    /// Networks whose connections begin with a PROXY header, version 1 or 2, on every address it listens on:
    /// ["192.0.2.10", "2001:db8:1::/64"]. The client that the header names is who is counted, logged and believed to be in
    /// relay.networks; the header comes before TLS. A connection from one of these networks without a header is closed, and the log
    /// says so; a header from anybody else is a wrong command. Whoever gets an address in one of these networks can pretend to be
    /// any client, so list the proxies only.
    pub(crate) trusted_proxies: Vec<Network>,
}

/// What becomes of a client that finds every place taken, service by service.
///
/// "refuse" tells it at once to come back later. Other servers do best with that: they try the next MX immediately.
///
/// { wait = "5s", places = 256 } lets it wait for a place, before any greeting, and refuses it when its time is over. That is for
/// people's mail programs, which show an error for each refusal. Those who wait get places in turns, one client address (IPv6: one
/// /64) after the other, so that nobody who sends many keeps others waiting. Up to `places` connections wait on each address
/// it listens on; when there is one more, the client with the most of them loses its newest. One that waits costs a file
/// descriptor and some hundred bytes. A client that is above its own limits (sessions_per_address and so on) is refused at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WhenFull {
    /// For mail from other servers.
    pub(crate) smtp: Patience,
    /// For submission with STARTTLS.
    pub(crate) submission: Patience,
    /// For submission with TLS from the first byte.
    pub(crate) submissions: Patience,
    /// For LMTP.
    pub(crate) lmtp: Patience,
    /// For POP3.
    pub(crate) pop3: Patience,
    /// For POP3 with TLS from the first byte.
    pub(crate) pop3s: Patience,
}

/// Encryption. TLS 1.2 and 1.3 are spoken. The two files are watched: a renewed certificate is used for the next connection,
/// without reload or restart; when the new ones do not fit together, the old certificate stays and the log says so. Other files,
/// and the other keys here, take a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// The certificate with its intermediate certificates, PEM. For Let's Encrypt it is fullchain.pem.
    #[schemars(with = "String", example = "/etc/gatepost/tls/fullchain.pem", extend("x-set" = true))]
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[schemars(with = "String", example = "/etc/gatepost/tls/privkey.pem", extend("x-set" = true))]
    pub(crate) key: Option<PathBuf>,
    /// Files with the certificates of authorities, PEM, that vouch for people: ["/etc/gatepost/tls/people-ca.pem"]. Submission and POP3 then ask
    /// programs for a certificate, and whoever has one that is signed by one of these may log in by it (EXTERNAL), as the account that the
    /// first rfc822Name of its subjectAltName names. A certificate that was revoked counts until it expires; one that cannot be
    /// verified ends the connection. Other programs go on as before.
    pub(crate) client_ca: Vec<PathBuf>,
    /// How many handshakes may be answered at once. That costs more than any other step of a session; those who have said nothing yet, or
    /// do not go on, take no turn from others.
    pub(crate) max_handshakes: u32,
    /// How long one handshake may take.
    pub(crate) handshake_timeout: Span,
}

/// How much one message or one session may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// The largest message taken, announced as SIZE. Attachments grow by a third on their way: 25MiB carries 18 MiB of files.
    pub(crate) message_bytes: ByteSize,
    /// Recipients of one message. Must be at least 100 (RFC 5321, section 4.5.3.1.8).
    pub(crate) recipients: u32,
    /// Messages in one session, announced as MAILMAX (RFC 9422); after that the client connects again. When more than half of the
    /// places of the gate are taken it is less, down to 10, so that places change hands. Must be at least 1 and at most 999999.
    #[schemars(range(min = 1, max = 999_999))]
    pub(crate) messages: u32,
    /// Received headers in a message from which on it is taken to go round in a loop, and refused. RFC 5321, section 6.3, asks
    /// for at least 100.
    pub(crate) hops: u32,
    /// Wrong commands before a session is ended. An accepted message starts the count again.
    pub(crate) bad_commands: u16,
    /// Commands that bring no message nearer (NOOP, RSET, VRFY, and MAIL that is refused for now) before a session is ended, counted
    /// likewise.
    pub(crate) idle_commands: u16,
    /// Recipients refused for good before a session is ended, so that nobody tries out names without end. An accepted message does
    /// not start the count again. Mail to people who have gone still reaches the others: the sender is told to come back.
    pub(crate) refused_recipients: u16,
    /// Wrong passwords before a session is ended.
    pub(crate) auth_failures: u16,
}

/// How long the server waits before it ends an SMTP session with "421 4.4.2 ... Timeout", so that nobody keeps a place for
/// nothing. Only time spent waiting for the client counts. POP3 has its own in [pop3].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// For the next whole SMTP command. RFC 5321, section 4.5.3.2.7, asks for at least 5m.
    pub(crate) command: Span,
    /// From one piece of a message to the next. RFC 5321, section 4.5.3.2.5, asks for at least 3m.
    pub(crate) data_block: Span,
    /// The slowest a client may send a message, in octets a second on average since its beginning; "0B" for no such rule. A
    /// client that sends an octet now and then would keep its place for as long as it likes.
    pub(crate) data_rate_bytes: ByteSize,
    /// What a message may take beyond what that rate allows.
    pub(crate) data_grace: Span,
    /// For a whole SMTP session, whatever it is doing.
    pub(crate) session: Span,
    /// For a client to take what it is sent, by SMTP or POP3.
    pub(crate) write: Span,
    /// For sessions to come to an end by themselves when the server stops: those that are left are ended then. Under `gatepost drain`
    /// for those that are idle; there, whoever is in the middle of a message may finish it. POP3 sessions, too.
    pub(crate) drain: Span,
}

/// Who may send mail to other servers through this one, beside people with an account here, who always may. This version has no
/// outbound queue yet: recipients elsewhere are answered 550 5.7.1, whoever sends to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Relay {
    /// Networks that need no password for it, such as those of printers and application servers:
    /// ["192.0.2.0/24", "2001:db8:1::/48"]. Whoever gets an address in one of them can send to anybody in your name, so
    /// networks too large to be one site's are refused.
    pub(crate) networks: Vec<Network>,
    /// Networks of proxies that may say for whom they speak, by XCLIENT: the client's address, its name, and who has logged in
    /// there, who need not have an account here. From then on the client is counted everywhere, and not the proxy. Nobody else is offered it. Whoever gets an address in one of them can send to anybody as anybody, so the same networks are
    /// refused.
    pub(crate) xclient_networks: Vec<Network>,
    /// Networks of the mail servers of yours that may deliver to listen.lmtp; at first this machine. What they bring is taken as they
    /// have judged it, so networks too large to be one site's are refused.
    pub(crate) lmtp_networks: Vec<Network>,
}

/// Fetching mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pop3 {
    /// The least time between two logins to the same account, announced as LOGIN-DELAY. "0s" for none.
    pub(crate) login_delay: Span,
    /// How long a client may take to log in.
    pub(crate) login: Span,
    /// How long after that for its next command. RFC 1939, section 3, demands at least 10m.
    pub(crate) autologout: Span,
    /// How long a whole session may last.
    pub(crate) session: Span,
}

/// For whoever runs the server. What is here is outside max_inbound: you can always get in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Where /metrics (Prometheus), /healthz and /readyz are served, over HTTP without a password and so on loopback addresses
    /// only. An empty list, [], switches it off.
    pub(crate) http: Vec<Address>,
    /// The socket that `gatepost reload`, `status`, `gate`, `sessions`, `drain`, `user`, `domain`, `alias` and `list` reach the running
    /// server by. A relative path is taken from data_dir. Only root and the server's user can open it.
    pub(crate) control: PathBuf,
}

/// The log goes to standard error, for systemd or a container to keep. It never holds passwords or what messages say. When
/// whatever reads it falls behind, lines are left out and counted: mail does not wait for the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// error, warn, info, debug or trace; for parts of the program another one, as in "info,smtp_listener=debug".
    /// --log-level and the environment variable GATEPOST_LOG go before it.
    pub(crate) level: Filter,
    /// "text" for people, "json" for programs.
    #[schemars(extend("x-takes-effect" = "restart"))]
    pub(crate) format: Format,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Text,
    Json,
}

impl Listen {
    /// Each service's key, and where it listens.
    pub(crate) fn services(&self) -> [(&'static str, &[Address]); 6] {
        [
            ("smtp", &self.smtp),
            ("submission", &self.submission),
            ("submissions", &self.submissions),
            ("lmtp", &self.lmtp),
            ("pop3", &self.pop3),
            ("pop3s", &self.pop3s),
        ]
    }
}

impl WhenFull {
    /// Each service's key, and what it does.
    pub(crate) fn services(&self) -> [(&'static str, Patience); 6] {
        [
            ("smtp", self.smtp),
            ("submission", self.submission),
            ("submissions", self.submissions),
            ("lmtp", self.lmtp),
            ("pop3", self.pop3),
            ("pop3s", self.pop3s),
        ]
    }
}

impl Default for Listen {
    fn default() -> Self {
        let everywhere = |port| [Address(([0; 4], port).into()), Address(([0u16; 8], port).into())].to_vec();
        Self {
            smtp: everywhere(25),
            submission: everywhere(587),
            submissions: everywhere(465),
            lmtp: Vec::new(),
            pop3: everywhere(110),
            pop3s: everywhere(995),
        }
    }
}

impl Default for WhenFull {
    fn default() -> Self {
        let wait = Patience::Wait(Room::default());
        Self { smtp: Patience::Refuse, submission: wait, submissions: wait, lmtp: Patience::Refuse, pop3: wait, pop3s: wait }
    }
}

impl Default for Relay {
    fn default() -> Self {
        let loopback = [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let lmtp_networks = loopback.into_iter().zip([8, 128]).map(|(address, bits)| Network(IpNet::new_assert(address, bits)));
        Self { networks: Vec::new(), xclient_networks: Vec::new(), lmtp_networks: lmtp_networks.collect() }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificate: None, key: None, client_ca: Vec::new(), max_handshakes: 256, handshake_timeout: Span::secs(30) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: ByteSize::mib(25),
            recipients: 1000,
            messages: 1000,
            hops: 100,
            bad_commands: 10,
            idle_commands: 100,
            refused_recipients: 100,
            auth_failures: 3,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            command: Span::mins(5),
            data_block: Span::mins(3),
            data_rate_bytes: ByteSize::kib(1),
            data_grace: Span::mins(1),
            session: Span::mins(120),
            write: Span::mins(2),
            drain: Span::secs(30),
        }
    }
}

impl Default for Pop3 {
    fn default() -> Self {
        Self { login_delay: Span::secs(0), login: Span::mins(2), autologout: Span::mins(10), session: Span::mins(8 * 60) }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { http: vec![Address(([127, 0, 0, 1], 9025).into())], control: "control.sock".into() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Filter::info(), format: Format::Text }
    }
}
