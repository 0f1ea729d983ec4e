//! What the server's process has of the machine, and whether it comes to have ever more of it.
//!
//! How much memory is in use when a wave of clients has gone is a matter of luck: an allocator gives pages back when it comes to it, and a
//! hash of a password may still be under way. So each wave counts by the least that it was found with; what leaks is never given back, and
//! raises that too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use crate::harness::{Server, let_pass};

/// The sockets it has open.
pub(crate) fn sockets(server: &Server) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    // A descriptor may be closed while we look.
    let files = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    files.filter(|file| file.to_string_lossy().starts_with("socket:")).count()
}

/// The least memory it was seen with, wave by wave.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    waves_kib: Vec<u64>,
}

impl Memory {
    /// Looks while a wave goes by.
    pub(crate) fn during<T>(&mut self, server: &Server, wave: impl FnOnce() -> T) -> T {
        let (process, over) = (server.pid(), AtomicBool::new(false));
        // However the wave ends, even by a panic, the watch does.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (outcome, least_kib) = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut least_kib = anonymous_kib(process);
                while !over.load(Ordering::Relaxed) {
                    let_pass(BETWEEN_LOOKS);
                    least_kib = least_kib.min(anonymous_kib(process));
                }
                least_kib
            });
            let end = Over(&over);
            let outcome = wave();
            drop(end);
            (outcome, watch.join().unwrap())
        });
        self.waves_kib.push(least_kib);
        outcome
    }

    /// What the first waves have touched may stay for reuse; nothing may be added with every further one but what is named.
    ///
    /// The allocator's luck is some 8 MiB of `growth_kib`.
    pub(crate) fn grows_less_than(&self, growth_kib: u64) {
        eprintln!("KiB of memory at the least, wave by wave: {:?}", self.waves_kib);
        let [first, second, .., last_but_one, last] = self.waves_kib[..] else { panic!("too few waves: {:?}", self.waves_kib) };
        assert!(last.min(last_but_one) < first.max(second) + growth_kib, "memory grows with every wave: {:?}", self.waves_kib);
    }
}

/// Memory that is backed by no file, so without the executable's own pages.
fn anonymous_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next()?.parse().ok()).unwrap()
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
