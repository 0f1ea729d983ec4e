//! SCRAM-SHA-256 on the server's side (RFC 5802, RFC 7677): the verifier that is kept of a password, and the messages of one exchange.
//!
//! All of it is arithmetic: nothing waits, nobody is looked up. A [`ClientFirst`] is answered with a verifier, a real one or one
//! [made up](Verifier::made_up) for a name that has none; the [`Exchange`] says of the client's last message whether its proof holds. A
//! made-up verifier is told from a real one by nothing but that no proof holds for it: its salt is as long, stays the same for
//! good, and its iterations are those of all.
//!
//! Refuses what RFC 5802 §7 does not allow, extensions that must be understood (`m=`), nonces and messages beyond their limits, and each
//! attempt to talk the client out of binding its channel: `y` where binding is offered, PLUS without `p`, `p` without PLUS, another type
//! of binding than the one offered (§6).

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::{hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail::Secret;

/// What is kept of a password, to compare proofs with. Displays as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

/// The client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientFirst {
    /// Whose password it is.
    pub(crate) name: String,
    /// As whom the client wants to act, where it says so.
    pub(crate) acting_as: Option<String>,
    nonce: String,
    /// What comes before the message proper: the client's word on binding, and `acting_as`.
    gs2_header: String,
    bare: String,
    bound: bool,
}

/// An exchange that waits for the client's proof.
#[derive(Debug)]
pub(crate) struct Exchange {
    first: ClientFirst,
    verifier: Verifier,
    /// The whole of it, the client's part in front.
    nonce: String,
    server_first: String,
}

/// What the client's last message comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It holds; this is the server's own, for the client.
    Holds(String),
    /// It does not.
    Fails,
    /// It is none.
    Malformed,
}

type Key = [u8; SHA256_OUTPUT_LEN];

/// What a password is salted with.
pub(crate) type Salt = [u8; SALT_OCTETS];

/// The salt of this name, always the same for it and this secret, whoever has it: it says neither who has an account nor when a
/// password was changed.
pub(crate) fn salt_of(name: &str, secret: &[u8; 32]) -> Salt {
    let mut salt = Salt::default();
    salt.iter_mut().zip(derived("salt", name, secret)).for_each(|(octet, from)| *octet = from);
    salt
}

fn derived(what: &str, name: &str, secret: &[u8; 32]) -> Key {
    keyed(secret, format!("{what} {name}").as_bytes())
}

impl Verifier {
    /// Of this password. Takes a processor for some ten milliseconds. Of a password that SASLprep (RFC 4013) does not let through, which
    /// nobody can say in SCRAM, it is one that no proof holds for.
    pub(crate) fn of(password: &Secret, salt: &Salt) -> Self {
        let unsayable = || Self { iterations: ITERATIONS, salt: salt.to_vec(), stored_key: rand::random(), server_key: rand::random() };
        Self::salted(password, salt, ITERATIONS).unwrap_or_else(unsayable)
    }

    fn salted(password: &Secret, salt: &[u8], iterations: NonZeroU32) -> Option<Self> {
        let prepared = Secret::new(stringprep::saslprep(std::str::from_utf8(password.expose()).ok()?).ok()?.as_bytes());
        let mut salted = Key::default();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, prepared.expose(), &mut salted);
        let stored_key = hash(&keyed(&salted, b"Client Key"));
        Some(Self { iterations, salt: salt.to_vec(), stored_key, server_key: keyed(&salted, b"Server Key") })
    }

    /// One for a name that has none, always the same for it and this secret. No proof holds for it.
    pub(crate) fn made_up(name: &str, secret: &[u8; 32]) -> Self {
        let [stored_key, server_key] = ["stored", "server"].map(|what| derived(what, name, secret));
        Self { iterations: ITERATIONS, salt: salt_of(name, secret).to_vec(), stored_key, server_key }
    }

    /// What [`Verifier`] displays as.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(kept: &str) -> Result<Self, &'static str> {
        let [scheme, cost, keys] = split(kept, '$').ok_or("it is not three parts with $ between them")?;
        let [iterations, salt] = split(cost, ':').ok_or("it has no salt")?;
        let [stored_key, server_key] = split(keys, ':').ok_or("it has not two keys")?;
        if scheme != SCHEME {
            return Err("it is not of SCRAM-SHA-256");
        }
        Ok(Self {
            iterations: iterations.parse().map_err(|_| "its iterations are not a number above 0")?,
            salt: STANDARD.decode(salt).map_err(|_| "its salt is not base64")?,
            stored_key: key(stored_key).ok_or("its StoredKey is none")?,
            server_key: key(server_key).ok_or("its ServerKey is none")?,
        })
    }
}

/// Whether an account has a verifier, as they are made now.
pub(crate) fn is_current(kept: Option<&str>) -> bool {
    kept.is_some_and(|kept| Verifier::parse(kept).is_ok_and(|verifier| verifier.iterations == ITERATIONS))
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored_key, server_key] = [&self.salt[..], &self.stored_key, &self.server_key].map(|octets| STANDARD.encode(octets));
        write!(f, "{SCHEME}${}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

/// As little as of a password.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl ClientFirst {
    /// Reads `message`, sent in SCRAM-SHA-256-PLUS where `plus`, on a channel where that is offered where `offered`. None where it must
    /// not be answered.
    pub(crate) fn parse(message: &[u8], plus: bool, offered: bool) -> Option<Self> {
        let message = std::str::from_utf8(message).ok().filter(|message| message.len() <= MESSAGE_OCTETS)?;
        let (binding, rest) = message.split_once(',')?;
        let (acting_as, bare) = rest.split_once(',')?;
        let bound = match binding {
            "p=tls-exporter" if plus && offered => true,
            "n" if !plus => false,
            // The client could bind and believes that we cannot: somebody has told it so.
            "y" if !plus && !offered => false,
            _ => return None,
        };
        let acting_as = if acting_as.is_empty() { None } else { Some(name(acting_as.strip_prefix("a=")?)?) };
        let mut attributes = bare.split(',');
        let name = name(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let usable = !nonce.is_empty() && nonce.len() <= NONCE_OCTETS && nonce.bytes().all(|octet| octet.is_ascii_graphic());
        let (gs2_header, _) = message.split_at_checked(message.len() - bare.len())?;
        usable.then(|| Self { name, acting_as, nonce: nonce.into(), gs2_header: gs2_header.into(), bare: bare.into(), bound })
    }

    /// Answers with what the name's proofs are compared with.
    pub(crate) fn answer(self, verifier: Verifier) -> Exchange {
        self.answer_with(verifier, &STANDARD.encode(rand::random::<[u8; 18]>()))
    }

    fn answer_with(self, verifier: Verifier, own_nonce: &str) -> Exchange {
        let nonce = format!("{}{own_nonce}", self.nonce);
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        Exchange { first: self, verifier, nonce, server_first }
    }
}

impl Exchange {
    /// The first message to the client. With a verifier of ours it is shorter than 378 octets, which fit one line in base64.
    pub(crate) fn server_first(&self) -> &str {
        &self.server_first
    }

    /// What the client has said.
    pub(crate) fn first(&self) -> &ClientFirst {
        &self.first
    }

    /// Reads the client's last message; `channel` is what identifies its TLS channel, where that is known.
    pub(crate) fn proof(&self, message: &[u8], channel: Option<&[u8; 32]>) -> Proof {
        self.weigh(message, channel).unwrap_or(Proof::Malformed)
    }

    fn weigh(&self, message: &[u8], channel: Option<&[u8; 32]>) -> Option<Proof> {
        let message = std::str::from_utf8(message).ok().filter(|message| message.len() <= MESSAGE_OCTETS)?;
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let proof = key(proof)?;
        let mut attributes = without_proof.split(',');
        let binding = STANDARD.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if attributes.next().is_some_and(|extension| extension.starts_with("m=")) {
            return None;
        }
        let channel = channel.filter(|_| self.first.bound).map_or(&[][..], |channel| channel);
        let is_ours = nonce == self.nonce && binding == [self.first.gs2_header.as_bytes(), channel].concat();
        let all = format!("{},{},{without_proof}", self.first.bare, self.server_first);
        let signature = keyed(&self.verifier.stored_key, all.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(octet, mask)| *octet ^= mask);
        let holds = verify_slices_are_equal(&hash(&client_key), &self.verifier.stored_key).is_ok();
        // A channel of which nothing is known is not the one that the client has bound itself to.
        let is_bound = !self.first.bound || !channel.is_empty();
        if !(is_ours && is_bound && holds) {
            return Some(Proof::Fails);
        }
        Some(Proof::Holds(format!("v={}", STANDARD.encode(keyed(&self.verifier.server_key, all.as_bytes())))))
    }
}

/// A saslname (RFC 5802 §7): `=2C` and `=3D` stand for the two characters that have a meaning.
pub(crate) fn name(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(2)?;
        name.push(match escaped {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

fn split<const PARTS: usize>(text: &str, at: char) -> Option<[&str; PARTS]> {
    text.split(at).collect::<Vec<_>>().try_into().ok()
}

fn key(base64: &str) -> Option<Key> {
    STANDARD.decode(base64).ok()?.try_into().ok()
}

fn keyed(key: &[u8], message: &[u8]) -> Key {
    octets(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

fn hash(message: &[u8]) -> Key {
    octets(digest(&SHA256, message).as_ref())
}

/// Both are as long.
fn octets(from: &[u8]) -> Key {
    let mut key = Key::default();
    key.iter_mut().zip(from).for_each(|(octet, from)| *octet = *from);
    key
}

const SCHEME: &str = "SCRAM-SHA-256";

/// The same for all, so that they tell nobody from anybody. RFC 7677 §4 asks for 4096 at least and, where clients can bear it, more: for
/// whoever steals the directory this is all there is between a verifier and its password, and a telephone takes a tenth of a second.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(65_535);

const SALT_OCTETS: usize = 16;

/// Clients send some twenty.
const NONCE_OCTETS: usize = 256;

/// Either message of a client's; two names and a nonce are well below it.
const MESSAGE_OCTETS: usize = 2048;

#[cfg(test)]
pub(crate) mod tests;
