//! How fast messages are made durable, next to a bare log in the same run.
//!
//!     cargo run --release -p store-embedded --example commit_rate [SECONDS] [DIR] [WRITERS...]
//!
//! For 1, 16, 50 and 128 concurrent writers of 10 KiB: messages a second of the store and of two yardsticks, and their ratios; and
//! the processor's time for a message in each, user and system, all threads, from opening to closing. The
//! yardsticks are the least a server could do: one thread that takes whatever waits, appends it to a file, calls fdatasync
//! once and answers all. One file grows; the other was written in full before and is written over again and again, which no
//! store of growing content can do. All run twice, taking turns; the better run of each counts.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench fails by panicking and prints"
)]

use std::fs::File;
use std::io::IoSlice;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mail::{BodyType, ByteSize, Envelope, MessageId, ReversePath};
use store::{Directory as _, Intake as _};
use store_embedded::{Embedded, Settings};
use tokio::sync::oneshot;

const BODY: usize = 10 << 10;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let run = Duration::from_secs_f64(arguments.next().map_or(3.0, |seconds| seconds.parse().unwrap()));
    let parent = arguments.next().unwrap_or_else(|| ".".into());
    let all: Vec<usize> = arguments.map(|writers| writers.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("{:>8} {:>21} {:>21} {:>21} {:>11} {:>15}", "writers", "growing", "overwriting", "store", "of growing", "of overwriting");
    for writers in if all.is_empty() { vec![1, 16, 50, 128] } else { all } {
        let (mut growing, mut overwriting, mut ours) = (Best::default(), Best::default(), Best::default());
        for _ in 0..2 {
            growing.take(|dir| runtime.block_on(yardstick(dir, writers, run, false)), &parent, run);
            overwriting.take(|dir| runtime.block_on(yardstick(dir, writers, run, true)), &parent, run);
            ours.take(|dir| runtime.block_on(embedded(dir, writers, run)), &parent, run);
        }
        let of = |bare: &Best| ours.rate / bare.rate * 100.0;
        println!("{writers:>8} {growing} {overwriting} {ours} {:>10.0}% {:>14.0}%", of(&growing), of(&overwriting));
    }
}

/// The better of several runs.
#[derive(Default)]
struct Best {
    rate: f64,
    cpu_micros: f64,
}

impl Best {
    fn take(&mut self, work: impl FnOnce(&Path) -> u64, parent: &str, run: Duration) {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let before = cpu_ticks();
        let messages = work(dir.path()) as f64;
        let cpu_micros = (cpu_ticks() - before) * TICK_MICROS / messages;
        self.rate = self.rate.max(messages / run.as_secs_f64());
        self.cpu_micros = if self.cpu_micros == 0.0 { cpu_micros } else { self.cpu_micros.min(cpu_micros) };
    }
}

impl std::fmt::Display for Best {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{:>9.0}/s {:>7.1} us", self.rate, self.cpu_micros)
    }
}

/// The processor's time of this process: fields 14 and 15 of /proc/self/stat.
fn cpu_ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = &stat[stat.rfind(')').unwrap()..];
    behind_name.split(' ').skip(12).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum()
}

/// What Linux shows, whatever the kernel counts in.
const TICK_MICROS: f64 = 10_000.0;

async fn embedded(dir: &Path, writers: usize, run: Duration) -> u64 {
    let settings = Settings { segment: ByteSize::mib(64), ..Settings::default() };
    let store = Arc::new(Embedded::open(dir, settings).unwrap());
    store.change(store::Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None }).await.unwrap();
    for writer in 0..writers {
        let (name, password_hash) = (format!("user{writer}@example.org"), String::new());
        store.change(store::Change::AddAccount { name, password_hash, verifier: None }).await.unwrap();
    }
    let end = Instant::now() + run;
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let body = [b'x'; BODY];
                let recipients = vec![format!("user{writer}@example.org").into()];
                let mut count = 0u64;
                while Instant::now() < end {
                    let (id, recipients) = (MessageId::generate(), recipients.clone());
                    let reverse_path = ReversePath::Null;
                    let envelope = Envelope { id, reverse_path, recipients, body: BodyType::SevenBit, utf8: false, requests: None };
                    let mut incoming = store.begin(envelope).await.unwrap();
                    incoming.write(&body).await.unwrap();
                    drop(incoming.commit(b"Received: from bench\r\n".to_vec()).await.unwrap());
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    if std::env::var_os("FIGURES").is_some() {
        println!("{:?}", store.figures());
    }
    tokio::task::spawn_blocking(move || drop(store)).await.unwrap();
    total
}

type Waiting = (Vec<u8>, oneshot::Sender<()>);

async fn yardstick(dir: &Path, writers: usize, run: Duration, overwrite: bool) -> u64 {
    const LOG_BYTES: u64 = 256 << 20;
    let file = File::create(dir.join("log")).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..if overwrite { LOG_BYTES >> 20 } else { 0 })
        .for_each(|at| std::os::unix::fs::FileExt::write_all_at(&file, &zeros, at << 20).unwrap());
    file.sync_all().unwrap();
    let queue = Arc::new((Mutex::new((Vec::<Waiting>::new(), false)), Condvar::new()));
    let log = Arc::clone(&queue);
    let thread = std::thread::spawn(move || {
        let mut offset = 0;
        loop {
            let batch = {
                let mut held = log.1.wait_while(log.0.lock().unwrap(), |(waiting, closed)| waiting.is_empty() && !*closed).unwrap();
                std::mem::take(&mut held.0)
            };
            if batch.is_empty() {
                return;
            }
            let bytes: u64 = batch.iter().map(|(body, _)| body.len() as u64).sum();
            if overwrite && offset + bytes > LOG_BYTES {
                offset = 0;
            }
            let slices: Vec<_> = batch.iter().map(|(body, _)| IoSlice::new(body)).collect();
            let written = rustix::io::pwritev(&file, &slices, offset).unwrap();
            assert_eq!(written as u64, bytes);
            file.sync_data().unwrap();
            offset += bytes;
            batch.into_iter().for_each(|(_, answer)| answer.send(()).unwrap());
        }
    });
    let end = Instant::now() + run;
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                let body = [b'x'; BODY];
                let mut count = 0u64;
                while Instant::now() < end {
                    let (answer, answered) = oneshot::channel();
                    queue.0.lock().unwrap().0.push((body.to_vec(), answer));
                    queue.1.notify_one();
                    answered.await.unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    queue.0.lock().unwrap().1 = true;
    queue.1.notify_one();
    thread.join().unwrap();
    total
}
