//! The store behind the delivery gate, slowed down to ten messages a second and fast again.
//!
//!     cargo run --release -p store-embedded --example slow_and_back [SLOW_SECONDS] [DIR]
//!
//! Four hundred clients send a message each, hear the reply, pause for a second and send the next; one that is refused comes back after
//! three. Messages go to a real store on the disk of DIR by the three steps of [`gate::Delivery`], as the listener takes them. For the
//! seconds in the middle a commit waits in line for a tenth of a second before it is the store's; before and after, the store is as fast as it is.
//! Printed of each part: messages stored a second, refusals at MAIL and DATA, refusals of whole messages, the longest wait for a reply and the
//! most commits at once; and how long after the slow part the last client was refused.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench fails by panicking and prints"
)]

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gate::Delivery;
use mail::{BodyType, Envelope, MessageId, ReversePath};
use store::{Directory as _, Intake as _};
use store_embedded::{Embedded, Settings};
use tokio::time::{sleep, timeout};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let slow = arguments.next().map_or(60, |seconds| seconds.parse().unwrap());
    let dir = tempfile::tempdir_in(arguments.next().unwrap_or_else(|| ".".into())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Embedded::open(dir.path(), Settings::default()).unwrap();
        store.change(store::Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None }).await.unwrap();
        store.change(store::Change::AddAccount { name: ANN.into(), password_hash: String::new(), verifier: None }).await.unwrap();
        let slow = FAST..FAST + slow;
        let bench = Arc::new(Bench {
            store,
            delivery: Delivery::new(&gate::delivery::Settings::default()),
            line: tokio::sync::Mutex::default(),
            began: Instant::now(),
            seconds: Mutex::new(vec![Second::default(); slow.end + FAST_AGAIN]),
            slow,
        });
        let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(send(Arc::clone(&bench), number))).collect();
        for client in clients {
            client.await.unwrap();
        }
        bench.report();
        tokio::task::spawn_blocking(move || drop(bench)).await.unwrap();
    });
}

struct Bench {
    store: Embedded,
    delivery: Delivery,
    /// While the store is slow, who commits.
    line: tokio::sync::Mutex<()>,
    began: Instant,
    slow: Range<usize>,
    seconds: Mutex<Vec<Second>>,
}

#[derive(Clone, Copy, Default)]
struct Second {
    stored: u32,
    refused: u32,
    refused_whole: u32,
    longest: Duration,
    at_once: u32,
}

impl Bench {
    fn second(&self) -> usize {
        self.began.elapsed().as_secs() as usize
    }

    /// Nothing once the time is over.
    fn count(&self, count: impl FnOnce(&mut Second)) {
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(second) = seconds.get_mut(self.second()) {
            count(second);
        }
    }

    /// One message; how long its sender waited for the reply to the whole of it, or that it was refused before.
    async fn deliver(&self) -> Option<Result<Duration, ()>> {
        let mut promise = self.delivery.promise(Instant::now()).ok()?;
        sleep(Duration::from_millis(20)).await;
        promise.begin(Instant::now()).ok()?;
        sleep(Duration::from_millis(200)).await;
        let whole = Instant::now();
        let Ok(passage) = timeout(self.delivery.deadline(), promise.turn(whole)).await else { return Some(Err(())) };
        let (id, recipients) = (MessageId::generate(), vec![ANN.into()]);
        let envelope = Envelope { id, reverse_path: ReversePath::Null, recipients, body: BodyType::SevenBit, utf8: false, requests: None };
        let mut incoming = self.store.begin(envelope).await.unwrap();
        incoming.write(&[b'x'; 2 << 10]).await.unwrap();
        if self.slow.contains(&self.second()) {
            let _turn = self.line.lock().await;
            sleep(Duration::from_secs(1) / PER_SECOND).await;
        }
        drop(incoming.commit(b"Received: from bench\r\n".to_vec()).await.unwrap());
        passage.stored(Instant::now());
        Some(Ok(whole.elapsed()))
    }

    fn report(&self) {
        let seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{:>12} {:>10} {:>10} {:>14} {:>12} {:>10}", "", "stored/s", "refused/s", "refused whole", "longest", "at once");
        for (name, part) in [("fast", 1..self.slow.start), ("slow", self.slow.clone()), ("fast again", self.slow.end..seconds.len())] {
            let part = &seconds[part];
            let a_second = |of: fn(&Second) -> u32| f64::from(part.iter().map(of).sum::<u32>()) / part.len() as f64;
            println!(
                "{name:>12} {:>10.1} {:>10.1} {:>14} {:>10.1} s {:>10}",
                a_second(|second| second.stored),
                a_second(|second| second.refused),
                part.iter().map(|second| second.refused_whole).sum::<u32>(),
                part.iter().map(|second| second.longest).max().unwrap_or_default().as_secs_f64(),
                part.iter().map(|second| second.at_once).max().unwrap_or_default()
            );
        }
        let last_refused = seconds[self.slow.end..].iter().rposition(|second| second.refused + second.refused_whole > 0);
        println!(
            "the store can do {PER_SECOND} a second while it is slow; the last refusal came {} s after that",
            last_refused.map_or(0, |at| at + 1)
        );
    }
}

/// A client.
async fn send(bench: Arc<Bench>, number: u32) {
    sleep(Duration::from_secs(1) * number / CLIENTS).await;
    while bench.second() < bench.slow.end + FAST_AGAIN {
        let pause = match bench.deliver().await {
            Some(outcome) => {
                let at_once = bench.delivery.snapshot(Instant::now()).limit;
                bench.count(|second| {
                    second.at_once = second.at_once.max(at_once);
                    match outcome {
                        Ok(waited) => (second.stored, second.longest) = (second.stored + 1, second.longest.max(waited)),
                        Err(()) => second.refused_whole += 1,
                    }
                });
                1
            }
            None => {
                bench.count(|second| second.refused += 1);
                3
            }
        };
        sleep(Duration::from_secs(pause)).await;
    }
}

const ANN: &str = "ann@example.org";
const CLIENTS: u32 = 400;
const PER_SECOND: u32 = 10;
/// Seconds before the store is slow, and after.
const FAST: usize = 15;
const FAST_AGAIN: usize = 40;
