//! What refusing may cost, for all listeners together: processor time, and descriptors of those on their way out ([`Lingering`]).
//!
//! Refusing may take the whole of one core while the server does nothing else. What else it does, and that is its sessions' work, counts
//! [`RESPECT`] times against that, down to [`FLOOR`] of a core, however many listeners refuse: the busier the sessions, the longer
//! the kernel's queues hold those who will be refused. Sessions that a flood slows down use less of the processor, too; so that this
//! does not give the flood more, what they used is remembered for some [`MEMORY`]. Time not used can be kept, up to [`SAVED_MOST`],
//! and is overdrawn by one turn of each listener at most. Listeners that have to rest go on in the order in which they began to.
//!
//! The account is a pure value: the time of day and the processor time of both kinds are told. Cannot fail. Dropping the future of
//! [`Budget::turn`] is safe: another listener goes on.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::sync::Semaphore;

use crate::clock;
use crate::lingering::{LINGERING_MOST, Lingering};

/// One for the whole server; a clone is the same budget.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    account: Mutex<Account>,
    /// Those who rest, first come first: a semaphore of tokio's is fair.
    line: Semaphore,
    /// What the process has used of its processors so far.
    used: fn() -> Duration,
    lingering: Mutex<Lingering>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(|| processor_time(ClockId::ProcessCPUTime))
    }
}

impl Budget {
    fn of(used: fn() -> Duration) -> Self {
        let (now, line) = (clock::now(), Semaphore::new(1));
        let lingering = Mutex::new(Lingering::new(LINGERING_MOST, now));
        Self(Arc::new(Shared { account: Mutex::new(Account::new(now, used())), line, used, lingering }))
    }

    /// Does what refusing takes, and takes off `part` of what it has cost this thread.
    pub(crate) fn spending<T>(&self, work: impl FnOnce() -> (T, Part)) -> T {
        let began = processor_time(ClockId::ThreadCPUTime);
        let (done, Part(part, of)) = work();
        if part > 0 {
            self.account().spend(processor_time(ClockId::ThreadCPUTime).saturating_sub(began) * part / of.max(1));
        }
        done
    }

    /// Takes off what this future costs whichever threads it runs on: a refusal that takes a task of its own is no session's work. As safe
    /// to drop as the future.
    pub(crate) async fn charged<T>(&self, mut refusing: impl Future<Output = T> + Unpin) -> T {
        poll_fn(|cx| self.spending(|| (Pin::new(&mut refusing).poll(cx), Part(1, 1)))).await
    }

    /// What refusing has cost so far, in processor time.
    pub fn spent(&self) -> Duration {
        self.account().refusing
    }

    /// Whether refusing has to wait.
    pub(crate) fn is_spent(&self) -> bool {
        self.account().is_spent(clock::now(), self.0.used)
    }

    /// Returns when a listener that has rested may go on.
    pub(crate) async fn turn(self) {
        let _first = self.0.line.acquire().await;
        while self.is_spent() {
            clock::pause(REST).await;
        }
    }

    /// Refused connections on their way out.
    pub(crate) fn lingering(&self) -> MutexGuard<'_, Lingering> {
        self.0.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers, which no panic leaves half written.
    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many of so many.
pub(crate) struct Part(pub(crate) u32, pub(crate) u32);

/// A budget in nanoseconds, refilled by the passing of time.
#[derive(Debug)]
struct Account {
    left: i64,
    refilled: Instant,
    /// What refusing has cost so far.
    refusing: Duration,
    /// That, when last looked at.
    refused: Duration,
    /// What all the rest has cost, when last looked at.
    rest: Duration,
    /// How many processors the rest uses, of late and at the most of some time.
    rate: f64,
    most: f64,
}

impl Account {
    fn new(now: Instant, used: Duration) -> Self {
        Self { left: nanos(SAVED_MOST), refilled: now, refusing: Duration::ZERO, refused: Duration::ZERO, rest: used, rate: 0.0, most: 0.0 }
    }

    fn spend(&mut self, processor_time: Duration) {
        self.refusing += processor_time;
        self.left = self.left.saturating_sub(nanos(processor_time)).max(-nanos(OVERDRAWN_MOST));
    }

    /// `used` tells what both kinds have cost so far.
    fn is_spent(&mut self, now: Instant, used: impl FnOnce() -> Duration) -> bool {
        let passed = now.saturating_duration_since(self.refilled);
        if passed >= PERIOD {
            self.refill(passed, used().saturating_sub(self.refusing));
            self.refilled = now;
        }
        self.left < 0
    }

    fn refill(&mut self, passed: Duration, rest: Duration) {
        let share = |length: Duration| (passed.as_secs_f64() / length.as_secs_f64()).min(1.0);
        // Waking up for who is refused is no session's work, though nobody can tell the two apart.
        let waking = (self.refusing - self.refused).mul_f64(WAKING);
        self.refused = self.refusing;
        let processors = rest.saturating_sub(self.rest).saturating_sub(waking).as_secs_f64() / passed.as_secs_f64();
        self.rate += (processors - self.rate) * share(OF_LATE);
        self.most = self.rate.max(self.most * (1.0 - share(MEMORY)));
        self.rest = self.rest.max(rest);
        let earned = passed.mul_f64((1.0 - RESPECT * self.most).max(FLOOR));
        self.left = self.left.saturating_add(nanos(earned)).min(nanos(SAVED_MOST));
    }
}

/// What this thread or this process has used of its processors so far.
fn processor_time(whose: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(whose);
    Duration::new(u64::try_from(tv_sec).unwrap_or_default(), u32::try_from(tv_nsec).unwrap_or_default())
}

fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}

/// What goes with refusing, as a part of it: less than there is (a third, in a flood that a processor can just refuse), so that refusing
/// more never looks like working less.
const WAKING: f64 = 0.2;

/// So that sessions come first well before the machine is full: at a quarter of a core, refusing has come down to its floor.
const RESPECT: f64 = 4.0;

/// Of one core: enough to answer a thousand or two a second on any machine. Whoever floods from this machine, or keeps its network busy, takes
/// several times as much of it.
const FLOOR: f64 = 0.06;

/// Evens out that work comes in bursts.
const OF_LATE: Duration = Duration::from_millis(250);

/// Longer than sessions pause between messages.
const MEMORY: Duration = Duration::from_secs(10);

/// How often the account is looked into.
const PERIOD: Duration = Duration::from_millis(10);

/// How long refusing rests before it looks whether it may go on.
const REST: Duration = Duration::from_millis(5);

/// A turn of each listener; a debt beyond it would be for others to pay.
const OVERDRAWN_MOST: Duration = Duration::from_millis(20);

/// A burst that nobody notices.
const SAVED_MOST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const TURN: Duration = Duration::from_micros(500);

    /// Offers more refusals than fit for ten seconds, beside sessions that use so many percent of a core in each of the seconds; the share of
    /// a core that refusing got in each, in percent.
    fn shares(sessions: [u32; 10]) -> Vec<u128> {
        let start = Instant::now();
        let (mut now, mut account, mut worked) = (start, Account::new(start, Duration::ZERO), Duration::ZERO);
        let second = |percent: u32| {
            let (before, began) = (account.refusing, now);
            while now - began < Duration::from_secs(1) {
                let refusing = account.refusing;
                let spent = account.is_spent(now, || worked + refusing);
                let step = if spent { Duration::from_millis(1) } else { TURN };
                if !spent {
                    account.spend(TURN);
                }
                now += step;
                worked += step * percent / 100;
            }
            (account.refusing - before).as_millis() / 10
        };
        sessions.map(second).into()
    }

    #[test]
    fn refusing_gets_what_sessions_leave_and_never_less_than_its_floor() {
        assert!(shares([0; 10]).iter().all(|share| *share >= 99));
        assert!(shares([18; 10])[2..].iter().all(|share| *share >= 50), "{:?}", shares([18; 10]));
        assert!(shares([30; 10])[2..].iter().all(|share| (5..=8).contains(share)), "{:?}", shares([30; 10]));
        assert!(shares([100; 10])[1..].iter().all(|share| (5..=8).contains(share)), "{:?}", shares([100; 10]));
    }

    #[test]
    fn sessions_that_a_flood_slows_down_are_remembered() {
        let shares = shares([100, 100, 100, 5, 5, 5, 5, 5, 5, 5]);
        assert!(shares[1..].iter().all(|share| *share <= 8), "{shares:?}");
    }

    #[test]
    fn a_quiet_hour_saves_no_more_than_a_burst() {
        let start = Instant::now();
        let (mut account, later) = (Account::new(start, Duration::ZERO), start + Duration::from_secs(3600));
        let idle = || Duration::ZERO;
        assert!(!account.is_spent(later, idle));
        account.spend(SAVED_MOST + Duration::from_micros(1));
        assert!(account.is_spent(later, idle));
        assert!(!account.is_spent(later + PERIOD, idle));
    }

    #[tokio::test]
    async fn what_a_task_costs_to_refuse_is_taken_off() {
        let budget = Budget::of(|| Duration::ZERO);
        let mut waits = true;
        let works = std::pin::pin!(poll_fn(|cx| {
            let began = processor_time(ClockId::ThreadCPUTime);
            while processor_time(ClockId::ThreadCPUTime).saturating_sub(began) < TURN {}
            cx.waker().wake_by_ref();
            if std::mem::take(&mut waits) { std::task::Poll::Pending } else { std::task::Poll::Ready(7) }
        }));
        assert_eq!(budget.charged(works).await, 7);
        assert!(budget.spent() >= 2 * TURN, "both times");
    }

    /// Five listeners that only refuse, beside sessions that are as busy as can be: they share one floor, each as much as any other.
    #[tokio::test(start_paused = true)]
    async fn listeners_share_one_floor_in_turns() {
        static WORKED_MILLIS: AtomicU64 = AtomicU64::new(0);
        let (budget, start) = (Budget::of(|| Duration::from_millis(WORKED_MILLIS.load(Ordering::Relaxed))), clock::now());
        let refuses = async || {
            let mut turns = 0_u32;
            while clock::now() - start < Duration::from_secs(20) {
                budget.clone().turn().await;
                WORKED_MILLIS.fetch_add(100, Ordering::Relaxed);
                budget.account().spend(TURN);
                turns += 1;
                clock::pause(TURN).await;
            }
            turns
        };
        let turns: [u32; 5] = tokio::join!(refuses(), refuses(), refuses(), refuses(), refuses()).into();
        let all = TURN * turns.iter().sum::<u32>();
        assert!((1_150..=1_350).contains(&all.as_millis()), "{turns:?}");
        assert!(turns.iter().all(|own| turns[0].abs_diff(*own) <= turns[0] / 10), "{turns:?}");
    }
}
