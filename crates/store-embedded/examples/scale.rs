//! How the store bears a million messages: opening after a kill, large maildrops, many logins, one great deletion.
//!
//!     cargo run --release -p store-embedded --example scale [MESSAGES] [DIR]
//!
//! The store is filled by a child process that ends without closing it. `MESSAGES` (a million) of 500 octets go to maildrops of 20
//! and one of 100,000. Each figure is of one run, with what was just written still in the page cache, as after a kill.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench fails by panicking, prints, and reads its own figures from /proc"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mail::{BodyType, ByteSize, Envelope, MessageId, ReversePath};
use store::{Intake as _, Maildrops as _};
use store_embedded::{Embedded, Settings};

const BODY: &[u8] = &[b'x'; 500];
const LARGE: &str = "large@example.org";
const LARGE_MESSAGES: usize = 100_000;
const SMALL_MESSAGES: usize = 20;
const SESSIONS: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let messages = arguments.first().map_or(1_000_000, |count| count.parse().unwrap()).max(LARGE_MESSAGES + SMALL_MESSAGES);
    let maildrops = (messages - LARGE_MESSAGES) / SMALL_MESSAGES;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let (Some(dir), Some(how)) = (std::env::var_os("FILL"), arguments.get(1)) {
        let store = runtime.block_on(fill(Path::new(&dir), maildrops, how));
        // As a kill would: nothing is closed, nothing is flushed.
        std::mem::forget(store);
        std::process::abort();
    }
    let dir = tempfile::tempdir_in(arguments.get(1).map_or(".", String::as_str)).unwrap();
    println!("{messages} messages, {maildrops} maildrops of {SMALL_MESSAGES} and one of {LARGE_MESSAGES}");
    child(dir.path(), messages, "accounts");
    timed("filled, each message durable", messages, || child(dir.path(), messages, "all"));
    open(dir.path(), "open after a kill, index current", |_| {});
    child(dir.path(), messages, "trail");
    open(dir.path(), "open after a kill, index trailing", |_| {});
    remove_index(dir.path());
    open(dir.path(), "open after a kill, index deleted", |store| runtime.block_on(use_it(store, maildrops)));
}

/// Fills in a child process, which ends by a signal.
fn child(dir: &Path, messages: usize, how: &str) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let ended = command.args([&messages.to_string(), how]).env("FILL", dir).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(6), "the child ended by itself");
}

async fn fill(dir: &Path, maildrops: usize, how: &str) -> Embedded {
    let settings = Settings { reserve_free: ByteSize(0), ..Settings::default() };
    if how == "accounts" {
        // By SQL: a change copies the book, which is meant for one at a time.
        drop(Embedded::open(dir, settings.clone()).unwrap());
        add_accounts(dir, maildrops);
        return Embedded::open(dir, settings).unwrap();
    }
    let store = Embedded::open(dir, settings).unwrap();
    let trail: usize = 20_000;
    let total = if how == "all" { LARGE_MESSAGES + maildrops * SMALL_MESSAGES } else { trail };
    let next = AtomicUsize::new(0);
    let next = &next;
    let (store_ref, mut sessions) = (&store, Vec::new());
    for _ in 0..SESSIONS * 4 {
        sessions.push(Box::pin(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return;
                }
                let turn = number % (total / LARGE_MESSAGES.min(total)).max(1);
                let account = if how == "trail" || turn == 0 && number / (total / LARGE_MESSAGES) < LARGE_MESSAGES {
                    LARGE.to_owned()
                } else {
                    small(number % maildrops)
                };
                deliver(store_ref, account).await;
            }
        }));
    }
    join_all(sessions).await;
    // The trailing index is the one that was there when the last commit was answered.
    while how == "all" && store.figures().index_lag > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store
}

/// Drives all to their end, in one task.
async fn join_all(mut all: Vec<std::pin::Pin<Box<impl Future<Output = ()>>>>) {
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

async fn deliver(store: &Embedded, account: String) {
    let (id, reverse_path, recipients) = (MessageId::generate(), ReversePath::Null, vec![account.into()]);
    let envelope = Envelope { id, reverse_path, recipients, body: BodyType::SevenBit, utf8: false, requests: None };
    let mut incoming = store.begin(envelope).await.unwrap();
    incoming.write(BODY).await.unwrap();
    drop(incoming.commit(b"Received: from bench\r\n".to_vec()).await.unwrap());
}

async fn use_it(store: &Arc<Embedded>, maildrops: usize) {
    let before = resident();
    let maildrop = timed_async("maildrop of 100,000, first open", 1, store.open(LARGE)).await.unwrap();
    println!("{:>44} {:>9.1} MiB", "memory for its listing", (resident().saturating_sub(before)) as f64 / 1024.0);
    let entries = maildrop.listing().len();
    drop(maildrop);
    drop(timed_async("again, unchanged", 1, store.open(LARGE)).await.unwrap());
    deliver(store, LARGE.to_owned()).await;
    let maildrop = timed_async("again, after one more message", 1, store.open(LARGE)).await.unwrap();
    assert_eq!(maildrop.listing().len(), entries + 1);
    for name in ["logins, 20 messages each, listing not at hand", "logins, listing at hand"] {
        let begun = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|_| {
                let (store, next) = (Arc::clone(store), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= maildrops.min(20_000) {
                            return;
                        }
                        drop(store.open(&small(number)).await.unwrap());
                    }
                })
            })
            .collect();
        for session in sessions {
            session.await.unwrap();
        }
        report(name, maildrops.min(20_000), begun.elapsed());
    }
    let all = maildrop.listing().to_vec();
    let count = all.len();
    timed_async("all of it deleted in one update", count, maildrop.update(all)).await.unwrap();
    let maildrop = timed_async("open after that", 1, store.open(LARGE)).await.unwrap();
    assert_eq!(maildrop.listing().len(), 0);
}

fn open(dir: &Path, what: &str, then: impl FnOnce(&Arc<Embedded>)) {
    let settings = Settings { reserve_free: ByteSize(0), ..Settings::default() };
    let store = timed(what, 1, || Arc::new(Embedded::open(dir, settings).unwrap()));
    println!("{:>44} {:>9.1} MiB, at most {:.1}", "memory then", resident() as f64 / 1024.0, status("VmHWM:") as f64 / 1024.0);
    then(&store);
    timed("closed", 1, || store.close());
}

fn timed<T>(what: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    report(what, count, begun.elapsed());
    done
}

async fn timed_async<T>(what: &str, count: usize, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    report(what, count, begun.elapsed());
    done
}

fn report(what: &str, count: usize, time: Duration) {
    let rate = if count > 1 { format!(" {:>9.0}/s", count as f64 / time.as_secs_f64()) } else { String::new() };
    println!("{what:>44} {:>9.1} ms{rate}", time.as_secs_f64() * 1e3);
}

fn small(number: usize) -> String {
    format!("user{number}@example.org")
}

fn add_accounts(dir: &Path, maildrops: usize) {
    let mut db = rusqlite::Connection::open(dir.join("directory.sqlite")).unwrap();
    let transaction = db.transaction().unwrap();
    transaction.execute("INSERT INTO domains (name) VALUES ('example.org')", []).unwrap();
    for name in (0..maildrops).map(small).chain([LARGE.to_owned()]) {
        transaction.execute("INSERT INTO accounts (name, password_hash, serial) VALUES (?, 'x', 0)", [name]).unwrap();
    }
    transaction.commit().unwrap();
}

fn remove_index(dir: &Path) {
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        drop(std::fs::remove_file(dir.join(name)));
    }
}

fn resident() -> u64 {
    status("VmRSS:")
}

/// KiB by a line of /proc/self/status.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok()).unwrap()
}
