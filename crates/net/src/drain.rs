//! The drain: how a server that is asked to leave ends its sessions, and the tracker through which every task is spawned.
//!
//! Three phases follow being asked. *Requested*: sessions finish what they are at and end at the next command boundary
//! ([`Drain::requested`]). *Closing*, at the deadline: a session that waits for its peer is woken with
//! [`Read::Drained`](crate::Read::Drained) and has [`FAREWELL`] to say goodbye. *Cut*: what is left is dropped, but not
//! before every [`Hold`] is back, so that there is never an exit between a durable accept and its 250; a hold is waited
//! for [`HOLD_MOST`] and no longer. Background tasks are dropped when the last session is gone.
//!
//! A phase is one number. When it changes, the drain wakes every task it has spawned, and the task looks. A session that
//! waits therefore holds nothing of ours and registers nowhere; in turn, what waits for a phase must be polled by a task of
//! this drain, not from within a combinator that keeps wake-ups to itself. Dropping any future here is safe.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::clock;

/// One for the whole server; a clone is the same drain.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<Shared>);

/// While this lives, its session is not cut. Taken before a durable accept, given back when the reply has been written.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "counts until it is dropped")] TaskTrackerToken);

/// While this lives, the drain waits for its owner as for a session, and cuts nothing.
#[derive(Debug)]
pub(crate) struct Attendance(#[expect(dead_code, reason = "counts until it is dropped")] TaskTrackerToken);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Sessions that had to be cut.
    pub cut: usize,
    /// Of these, sessions that still held a message accepted and not answered: nonzero only when one was stuck for
    /// [`HOLD_MOST`].
    pub cut_while_held: usize,
}

impl Drain {
    /// A drain that nobody has asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a session: it is waited for, and cut when it outstays the drain.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        self.0.sessions.spawn(self.attend(session, Phase::Cut));
    }

    /// Spawns a task that serves sessions (an accept loop, a watch): it is dropped when the last of them is gone.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.background.spawn(self.attend(task, Phase::Over));
    }

    /// Asks every session to end at its next command boundary. Asking again changes nothing.
    pub fn begin(&self) {
        self.0.enter(Phase::Requested);
    }

    /// Whether sessions are asked to end.
    pub fn requested(&self) -> bool {
        self.0.phase() >= Phase::Requested
    }

    /// Returns when sessions are asked to end.
    pub async fn wait(&self) {
        poll_fn(|_| if self.requested() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Sessions there are.
    pub fn sessions(&self) -> usize {
        self.0.sessions.len()
    }

    /// Keeps the calling session from being cut. `None`: it is too late to begin something durable; answer 421 instead.
    pub fn hold(&self) -> Option<Hold> {
        let token = self.0.holds.token();
        (!self.0.holds.is_closed()).then_some(Hold(token))
    }

    /// Begins, and returns when all is over: at once after the last session has ended, otherwise soon after `deadline`.
    ///
    /// Not to be called from a task of this drain. Dropping this future leaves the drain in the phase it has reached;
    /// another call goes on from there, with its own deadline.
    pub async fn finish(&self, deadline: Instant) -> Finished {
        self.begin();
        let shared = &*self.0;
        shared.sessions.close();
        let mut finished = Finished { cut: 0, cut_while_held: 0 };
        if clock::within(deadline, shared.sessions.wait()).await.is_none() {
            shared.enter(Phase::Closing);
            if clock::within(clock::now() + FAREWELL, shared.sessions.wait()).await.is_none() {
                shared.holds.close();
                if clock::within(clock::now() + HOLD_MOST, shared.holds.wait()).await.is_none() {
                    finished.cut_while_held = shared.holds.len();
                }
                finished.cut = shared.sessions.len();
                shared.enter(Phase::Cut);
                shared.sessions.wait().await;
            }
        }
        shared.enter(Phase::Over);
        shared.background.close();
        shared.background.wait().await;
        finished
    }

    /// Has the drain wait for somebody who has no task. They have to leave by themselves.
    pub(crate) fn attendance(&self) -> Attendance {
        Attendance(self.0.sessions.token())
    }

    /// Whether a session that waits for its peer should stop waiting.
    pub(crate) fn closing(&self) -> bool {
        self.0.phase() >= Phase::Closing
    }

    fn attend<F>(&self, future: F, cut_at: Phase) -> Attended<F> {
        Attended { future, cut_at, place: Place { shared: Arc::clone(&self.0), key: None } }
    }
}

/// Order matters: a phase includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    Open,
    Requested,
    Closing,
    Cut,
    Over,
}

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    sessions: TaskTracker,
    background: TaskTracker,
    holds: TaskTracker,
    /// Of every task of ours that has been polled and has not ended.
    wakers: Mutex<Slab<Waker>>,
}

impl Shared {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Open,
            1 => Phase::Requested,
            2 => Phase::Closing,
            3 => Phase::Cut,
            _ => Phase::Over,
        }
    }

    fn enter(&self, phase: Phase) {
        if self.phase.fetch_max(phase as u8, Ordering::SeqCst) < phase as u8 {
            self.wakers().iter().for_each(|(_, waker)| waker.wake_by_ref());
        }
    }

    /// What is in there is valid whoever panicked.
    fn wakers(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pin_project_lite::pin_project! {
    /// A future that ends by itself or when its phase has come.
    struct Attended<F> {
        #[pin]
        future: F,
        cut_at: Phase,
        place: Place,
    }
}

impl<F: Future<Output = ()>> Future for Attended<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.place.take(cx.waker());
        if this.place.shared.phase() >= *this.cut_at {
            return Poll::Ready(());
        }
        this.future.poll(cx)
    }
}

/// Where the drain finds a task's waker. A task has one waker all its life, so the first is kept.
struct Place {
    shared: Arc<Shared>,
    key: Option<usize>,
}

impl Place {
    fn take(&mut self, waker: &Waker) {
        if self.key.is_none() {
            self.key = Some(self.shared.wakers().insert(waker.clone()));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // Out of the lock before it is dropped: it may be the last of its task.
            let _waker = self.shared.wakers().try_remove(key);
        }
    }
}

/// What a session has, after the deadline, to say goodbye.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// How long past the deadline a [`Hold`] keeps the server from leaving: longer than any store that still works takes to
/// commit and any peer that still reads takes to hear about it.
pub const HOLD_MOST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::sync::atomic::AtomicBool;
    use tokio::sync::oneshot;

    const NEVER_CUT: Finished = Finished { cut: 0, cut_while_held: 0 };

    fn after(length: Duration) -> Instant {
        clock::now() + length
    }

    /// Tells when its owner has been dropped.
    struct Falls(Arc<AtomicBool>);

    impl Drop for Falls {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_leave_when_asked_end_the_drain_at_once() {
        let (drain, start) = (Drain::new(), clock::now());
        for _ in 0..3 {
            let asked = drain.clone();
            drain.spawn(async move { asked.wait().await });
        }
        tokio::task::yield_now().await;
        assert_eq!((drain.sessions(), drain.requested()), (3, false));
        assert_eq!(drain.finish(after(Duration::from_secs(60))).await, NEVER_CUT);
        assert_eq!((clock::now(), drain.sessions()), (start, 0));
        assert!(drain.0.wakers().is_empty(), "nothing is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_is_cut_after_the_farewell() {
        let (drain, start, fell) = (Drain::new(), clock::now(), Arc::default());
        let falls = Falls(Arc::clone(&fell));
        drain.spawn(async move {
            let _falls = falls;
            pending::<()>().await;
        });
        assert_eq!(drain.finish(after(Duration::from_secs(60))).await, Finished { cut: 1, cut_while_held: 0 });
        assert_eq!(clock::now() - start, Duration::from_secs(60) + FAREWELL);
        assert!(fell.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_session_outlives_the_deadline_until_it_has_answered() {
        let (drain, start, answered) = (Drain::new(), clock::now(), Arc::new(AtomicBool::new(false)));
        let (held, said, length) = (drain.clone(), Arc::clone(&answered), Duration::from_secs(20));
        drain.spawn(async move {
            let hold = held.hold();
            assert!(hold.is_some());
            clock::pause(length).await;
            said.store(true, Ordering::SeqCst);
            drop(hold);
            assert!(held.hold().is_none(), "nothing durable is begun after the last hold was waited for");
            pending::<()>().await;
        });
        assert_eq!(drain.finish(start).await, Finished { cut: 1, cut_while_held: 0 });
        assert!(answered.load(Ordering::SeqCst));
        assert_eq!(clock::now() - start, length);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_hold_does_not_keep_the_server_for_ever() {
        let (drain, start) = (Drain::new(), clock::now());
        let held = drain.clone();
        drain.spawn(async move {
            let _hold = held.hold();
            pending::<()>().await;
        });
        assert_eq!(drain.finish(start).await, Finished { cut: 1, cut_while_held: 1 });
        assert_eq!(clock::now() - start, FAREWELL + HOLD_MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn an_impatient_second_call_shortens_the_first() {
        let (drain, start) = (Drain::new(), clock::now());
        drain.spawn(pending());
        let first = drain.finish(after(Duration::from_secs(3600)));
        assert_eq!(clock::within(after(Duration::from_secs(1)), first).await, None);
        assert_eq!(drain.finish(clock::now()).await.cut, 1);
        assert_eq!(clock::now() - start, Duration::from_secs(1) + FAREWELL);
    }

    #[tokio::test(start_paused = true)]
    async fn background_tasks_serve_to_the_last_session() {
        let (drain, fell) = (Drain::new(), Arc::default());
        let falls = Falls(Arc::clone(&fell));
        drain.spawn_background(async move {
            let _falls = falls;
            pending::<()>().await;
        });
        let ((end, ended), seen) = (oneshot::channel::<()>(), Arc::clone(&fell));
        drain.spawn(async move {
            let _asked = ended.await;
            assert!(!seen.load(Ordering::SeqCst), "served while there was a session");
        });
        let ending = async {
            clock::pause(Duration::from_secs(5)).await;
            end.send(()).unwrap();
        };
        let (finished, ()) = tokio::join!(drain.finish(after(Duration::from_secs(60))), ending);
        assert_eq!(finished, NEVER_CUT);
        assert!(fell.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_session_that_panics_is_forgotten() {
        let drain = Drain::new();
        drain.spawn(async { panic!("as a session may") });
        assert_eq!(drain.finish(after(Duration::from_secs(60))).await, NEVER_CUT);
        assert!(drain.0.wakers().is_empty());
    }
}
