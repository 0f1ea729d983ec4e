//! What it costs to screen a message, next to the least that proving a signature takes, in the same run.
//!
//!     cargo run --release -p screening --example cost [MESSAGES] [ROUNDS]
//!
//! Each message is one of 20 KiB with a signature by RSA of 2,048 bits over body and header, relaxed. It is screened as the listener does it, in
//! pieces of 4 KiB: SPF at MAIL; the message watched as it passes, and what is forged looked for; DKIM and DMARC at the end; the fields made. Records come from
//! a DNS server on loopback, once; then from the cache. The yardstick is what no program gets around: that message through SHA-256 once, and
//! one such signature verified, by aws-lc-rs. What counts is the processor's time, user and system, of all threads, for one message: the median of the rounds, which
//! take turns. A message that does not pass ends the run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench fails by panicking and prints"
)]

#[path = "../tests/zone/mod.rs"]
mod zone;

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::ReversePath;
use mail_auth::common::crypto::{RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use rcgen::{KeyPair, PublicKeyData, RsaKeySize};
use rustix::time::{ClockId, clock_gettime};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use screening::*;
use zone::Zone;

const OCTETS: usize = 20 << 10;
const PIECE: usize = 4 << 10;
/// What the field with the signature takes, about.
const SIGNATURE: usize = 640;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|number| number.parse::<usize>().unwrap());
    let (messages, rounds) = (arguments.next().unwrap_or(1000), arguments.next().unwrap_or(5));
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let (message, zone) = (signed(&key), serve(&key));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked: [&[Check]; 4] = [&[], &[Check::Spf], &[Check::Dkim], &[Check::Spf, Check::Dkim, Check::Dmarc]];
    let screeners = runtime.block_on(async { asked.map(|checks| screener(&zone, checks)) });
    let mut yardstick = yardstick(&key, &message);
    for (screener, checks) in screeners.iter().zip(asked) {
        runtime.block_on(screen(screener, checks, &message));
    }
    let questions = zone.asked().len();

    let mut micros = vec![Vec::new(); 1 + screeners.len()];
    for _ in 0..rounds {
        micros[0].push(each(messages, || (0..messages).for_each(|_| yardstick())));
        for (number, (screener, checks)) in screeners.iter().zip(asked).enumerate() {
            let all = async {
                for _ in 0..messages {
                    screen(screener, checks, &message).await;
                }
            };
            micros[1 + number].push(each(messages, || runtime.block_on(all)));
        }
    }
    assert_eq!(zone.asked().len(), questions, "all of it comes from the cache");

    println!("{} octets, {messages} messages a round, {rounds} rounds: processor time for a message", message.len());
    println!("{:<32} {:>10} {:>20} {:>14}", "", "median us", "lowest to highest", "of yardstick");
    let names = ["SHA-256 once, RSA-2048 once", "no check: watched as it passes", "spf", "dkim", "spf, dkim, dmarc"];
    let medians: Vec<f64> = micros.iter_mut().map(|rounds| median(rounds)).collect();
    for ((name, median), rounds) in names.iter().zip(&medians).zip(&micros) {
        let range = format!("{:.1} to {:.1}", rounds[0], rounds[rounds.len() - 1]);
        println!("{name:<32} {median:>10.1} {range:>20} {:>14.2}", median / medians[0]);
    }
}

/// What no program gets around.
fn yardstick(key: &KeyPair, message: &[u8]) -> impl FnMut() {
    let provider = default_provider();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = provider.key_provider.load_private_key(private).unwrap();
    let signature = signer.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).unwrap().sign(message).unwrap();
    let schemes = provider.signature_verification_algorithms.mapping;
    let (_, verifiers) = schemes.iter().find(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256).unwrap();
    let (verifier, public) = (verifiers[0], key.der_bytes().to_vec());
    move || verifier.verify_signature(&public, std::hint::black_box(message), &signature).unwrap()
}

/// A message that is signed.
fn signed(key: &KeyPair) -> Vec<u8> {
    let header = "From: Joe <joe@example.com>\r\nTo: Ann <ann@example.org>\r\nSubject: Is dinner ready?\r\n\
        Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\r\n";
    let line = "The quick brown fox jumps over the lazy dog, and the dog lets it be, as ever.\r\n";
    let private = RsaKey::<Sha256>::from_key_der(PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()))).unwrap();
    let signer = DkimSigner::from_key(private).domain("example.com").selector("s").headers(["From", "To", "Subject", "Date", "Message-ID"]);
    let signer = signer.header_canonicalization(Canonicalization::Relaxed).body_canonicalization(Canonicalization::Relaxed);
    // As many lines as there is room for beside the signature.
    let lines = (OCTETS - header.len() - SIGNATURE) / line.len();
    let text = format!("{header}{}", line.repeat(lines));
    let signature = signer.sign(text.as_bytes()).unwrap().to_header();
    format!("{signature}{text}").into_bytes()
}

fn serve(key: &KeyPair) -> Zone {
    let public = STANDARD.encode(key.subject_public_key_info());
    Zone::serve(&format!(
        "example.com TXT v=spf1 mx include:other.example -all\nexample.com MX 10 mx.example.com\nmx.example.com A 192.0.2.7\n\
         other.example TXT v=spf1 ip4:192.0.2.1 -all\ns._domainkey.example.com TXT v=DKIM1; k=rsa; p={public}\n\
         _dmarc.example.com TXT v=DMARC1; p=reject"
    ))
}

fn screener(zone: &Zone, checks: &[Check]) -> Screener {
    let dns = Dns::new(&DnsSettings { servers: vec![zone.address()], timeout: Duration::from_secs(5), cache: 1000 }).unwrap();
    let rule = |check: &Check| Rule {
        check: *check,
        fail: OnFail::Verdict(Verdict::Reject),
        unsure: OnUnsure::Defer,
        timeout: Duration::from_secs(10),
    };
    let policy = Policy {
        rules: checks.iter().map(rule).collect(),
        lists: Lists::default(),
        attachments: Vec::new(),
        services: Services::default(),
        greylist_delay: Duration::ZERO,
        greylist_senders: 1,
        early_wait: Duration::ZERO,
        early_places: 0,
        at_once: 128,
    };
    Screener::new("mx.example.net".parse().unwrap(), policy, dns)
}

/// As the listener does it.
async fn screen(screener: &Screener, checks: &[Check], message: &[u8]) {
    let reverse_path = ReversePath::parse("<joe@example.com>").unwrap();
    let client = Client {
        ip: IpAddr::from([192, 0, 2, 1]),
        helo: "mx.example.com",
        reverse_path: &reverse_path,
        is_known: false,
        manners: Manners::Unknown,
    };
    let screening = screener.envelope(client).await;
    let (mut reading, mut forgeries) = (screener.reading(), screener.forgeries());
    let mut stored = Vec::with_capacity(message.len());
    for piece in message.chunks(PIECE) {
        reading.pass(piece);
        stored.extend_from_slice(&forgeries.pass(piece));
    }
    stored.extend_from_slice(&forgeries.rest());
    let mut text = &*stored;
    let mut letter = Letter { id: "01ARZ3NDEKTSV4RRFFQ69G5FAV", recipients: &[], user: None, text: &mut text };
    let screening = screener.message(client, screening, reading, &mut letter).await;
    let passed = screening.findings().iter().filter(|finding| finding.outcome == Outcome::Pass).count();
    assert_eq!((passed, stored.len()), (checks.len(), message.len()), "{screening:?}");
    std::hint::black_box(screening.fields());
}

/// Processor time for each of them, in microseconds.
fn each(messages: usize, work: impl FnOnce()) -> f64 {
    let spent = || clock_gettime(ClockId::ProcessCPUTime);
    let before = spent();
    work();
    let after = spent();
    let nanos = (after.tv_sec - before.tv_sec) * 1_000_000_000 + (after.tv_nsec - before.tv_nsec);
    nanos as f64 / 1000.0 / messages as f64
}

/// The middle one; they are in order then.
fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
