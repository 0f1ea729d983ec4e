//! The clock, for everybody.
//!
//! All time in a running server is read here and handed on by value, so that a test that pauses and advances tokio's clock
//! moves everything. Nothing here fails. Dropping a future is safe: nothing is lost but the waiting.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// What time it is.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until `deadline`.
pub async fn until(deadline: Instant) {
    sleep_until(deadline).await;
}

/// Waits for `length`, counted from the first poll.
pub async fn pause(length: Duration) {
    sleep_until(now() + length).await;
}

/// What `future` yields, or `None` when it has not by `deadline`; then it is dropped.
pub async fn within<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}

/// One timer for a life of many deadlines.
///
/// A deadline that moves away, as an idle deadline does with every command, costs a comparison: the timer is left as it was
/// and looks again when it fires. Nothing is allocated before the first wait.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when `deadline` has come; otherwise the task is woken then or earlier.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline().into_std() > deadline {
            sleep.as_mut().reset(deadline.into());
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that waits for the clock")]
fn sleep_until(deadline: Instant) -> Sleep {
    tokio::time::sleep_until(deadline.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_follows_its_deadline_both_ways() {
        let (start, mut alarm) = (now(), Alarm::default());
        let hour = start + Duration::from_secs(3600);
        poll_fn(|cx| {
            assert!(alarm.poll(start + Duration::from_secs(300), cx).is_pending());
            assert!(alarm.poll(hour, cx).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| alarm.poll(hour, cx)).await;
        assert_eq!(now(), hour, "moved away: fires at the new deadline, not at the old");

        let soon = now() + Duration::from_secs(5);
        poll_fn(|cx| {
            assert!(alarm.poll(soon + Duration::from_secs(60), cx).is_pending());
            assert!(alarm.poll(soon, cx).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| alarm.poll(soon, cx)).await;
        assert_eq!(now(), soon, "moved nearer");
    }

    #[tokio::test(start_paused = true)]
    async fn within_gives_up_at_its_deadline() {
        let start = now();
        assert_eq!(within(start + Duration::from_secs(2), async { 7 }).await, Some(7));
        assert_eq!(within(start + Duration::from_secs(2), std::future::pending::<()>()).await, None);
        assert_eq!(now() - start, Duration::from_secs(2));
    }
}
