//! Sessions that wait, for a DNS server that never answers and for an rspamd that never does: they hold no thread, and keep nobody else waiting.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test's own tasks")]

mod zone;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mail::ReversePath;
use screening::*;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use zone::Zone;

/// Those that wait for DNS, and those that wait for rspamd.
const SILENCED: usize = 500;
const STALLED: usize = 150;

const LETTER: &str = "From: joe@example.com\r\nSubject: x\r\n\r\nx\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_holds_no_thread_and_nobody_up() {
    let silent: String = (0..SILENCED).map(|number| format!("n{number}.example.net SILENT\n")).collect();
    let zone = Zone::serve(&format!("{silent}example.com TXT v=spf1 ip4:192.0.2.1 -all"));
    let (rspamd, asked) = stalled().await;
    let screener = Arc::new(screener(&zone, &rspamd));
    let strangers = Arc::new(screener.only(|_, rule| rule.check == Check::Spf));
    let passes = async || {
        let screening = screen(&strangers, [192, 0, 2, 1].into(), "<joe@example.com>").await;
        assert_eq!(screening.findings()[0].outcome, Outcome::Pass, "{screening}");
    };
    passes().await;
    let before = threads();

    let mut waiting = JoinSet::new();
    for number in 0..SILENCED {
        let strangers = Arc::clone(&strangers);
        waiting.spawn(async move { screen(&strangers, source(number), &format!("<a@n{number}.example.net>")).await });
    }
    for number in 0..STALLED {
        let screener = Arc::clone(&screener);
        waiting.spawn(async move { screen(&screener, source(SILENCED + number), "<joe@example.com>").await });
    }
    // Each is known to have asked, and is not answered.
    let have_asked = || {
        let heard = zone.asked();
        (0..SILENCED).all(|number| heard.contains(&format!("TXT n{number}.example.net"))) && asked.load(Relaxed) == STALLED
    };
    while !have_asked() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(threads(), before);
    assert!(waiting.try_join_next().is_none(), "nobody has come to an end");
    passes().await;
    waiting.shutdown().await;
}

/// An rspamd that takes every connection and never answers; its address, and how many it has taken.
async fn stalled() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let taken = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().await.unwrap());
            taken.fetch_add(1, Relaxed);
        }
    });
    (address, asked)
}

fn screener(zone: &Zone, rspamd: &str) -> Screener {
    let dns = Dns::new(&DnsSettings { servers: vec![zone.address()], timeout: PATIENCE, cache: 1000 }).unwrap();
    let rspamd = Rspamd { endpoint: rspamd.parse().unwrap(), password: None };
    let rule = |check| Rule { check, fail: OnFail::Policy, unsure: OnUnsure::Accept, timeout: PATIENCE };
    let policy = Policy {
        rules: vec![rule(Check::Spf), rule(Check::Rspamd)],
        lists: Lists::default(),
        attachments: Vec::new(),
        services: Services::new(Some(rspamd), Vec::new(), Vec::new(), &dns).unwrap(),
        greylist_delay: Duration::ZERO,
        greylist_senders: 1,
        early_wait: Duration::ZERO,
        early_places: 0,
        // A network may have a quarter, and some share their places.
        at_once: 16 * (SILENCED + STALLED),
    };
    Screener::new("mx.example.net".parse().unwrap(), policy, dns)
}

async fn screen(screener: &Screener, ip: IpAddr, from: &str) -> Screening {
    let reverse_path = ReversePath::parse(from).unwrap();
    let client = Client { ip, helo: "mx.example.com", reverse_path: &reverse_path, is_known: false, manners: Manners::Unknown };
    let screening = screener.envelope(client).await;
    let mut reading = screener.reading();
    reading.pass(LETTER.as_bytes());
    let mut letter = Letter { id: "01ARZ3NDEKTSV4RRFFQ69G5FAV", recipients: &[], user: None, text: &mut LETTER.as_bytes() };
    screener.message(client, screening, reading, &mut letter).await
}

/// Each from a network of its own.
fn source(number: usize) -> IpAddr {
    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
    [10, high, low, 1].into()
}

/// Of this process.
fn threads() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap().trim().parse().unwrap()
}

/// Longer than the test takes.
const PATIENCE: Duration = Duration::from_secs(600);
