//! One call and the messages that leave before its answer.

use std::{
    fmt,
    future::poll_fn,
    task::{Context, Poll},
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    door::{Call, Reply},
    outlet::{Frame, Outlet},
};

/// What a call has to say next.
#[derive(Debug)]
pub enum Step {
    /// A message before the answer: the reply is a stream from here on.
    Frame(Frame),
    /// The answer; nothing follows.
    Done(Reply),
}

/// A call that is polled by whoever writes its answer.
///
/// # Cancel safety
///
/// A call that has begun is never dropped half-way. When the exchange is dropped before the answer
/// (the peer went away), its token fires if a disconnect cancels, and the call is finished by
/// the task tracker, where shutdown waits for it.
pub struct Exchange {
    call: Option<Call>,
    reply: Option<Reply>,
    outlet: Outlet,
    cancel: CancellationToken,
    cancel_on_drop: bool,
    /// The stream was ended by its sender.
    let_go: bool,
    tracker: TaskTracker,
    slot: Option<OwnedSemaphorePermit>,
}

impl Exchange {
    /// Wraps `call`, whose messages come from `outlet`.
    #[must_use]
    pub fn new(
        call: Call,
        outlet: Outlet,
        cancel: CancellationToken,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            call: Some(call),
            reply: None,
            outlet,
            cancel,
            cancel_on_drop: true,
            let_go: false,
            tracker,
            slot: None,
        }
    }

    /// Holds `slot` until the call has ended, not only until its client hangs up: clients that come,
    /// ask and go would have calls without end otherwise.
    #[must_use]
    pub(crate) fn holding(mut self, slot: OwnedSemaphorePermit) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Says whether dropping the exchange cancels the call. It does unless told otherwise.
    #[must_use]
    pub const fn cancel_on_drop(mut self, cancel: bool) -> Self {
        self.cancel_on_drop = cancel;
        self
    }

    /// Waits for the next step.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no step is lost.
    pub async fn next(&mut self) -> Step {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Polls for the next step. After [`Step::Done`] it stays pending.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if self.let_go {
            return Poll::Pending;
        }
        if let Some(call) = &mut self.call {
            if let Some(frame) = self.outlet.pop() {
                return Poll::Ready(Step::Frame(frame));
            }
            if let Poll::Ready(reply) = call.as_mut().poll(cx) {
                self.call = None;
                self.reply = Some(reply);
            }
        }
        if self.call.is_none() {
            if let Some(frame) = self.outlet.pop() {
                return Poll::Ready(Step::Frame(frame));
            }
            return self
                .reply
                .take()
                .map_or(Poll::Pending, |reply| Poll::Ready(Step::Done(reply)));
        }
        self.outlet.poll_pop(cx).map(|frame| match frame {
            Some(frame) => Step::Frame(frame),
            None => {
                // The stream ends and its call goes on, with whoever finishes what was dropped.
                self.let_go = true;
                self.cancel_on_drop = false;
                Step::Done(Reply::Status(200))
            }
        })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.outlet.close();
        let Some(call) = self.call.take() else { return };
        let slot = self.slot.take();
        if self.cancel_on_drop {
            self.cancel.cancel();
        }
        // Without a runtime the process is past its shutdown, which has waited for the tracker.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.tracker.spawn_on(
                async move {
                    let _slot = slot;
                    call.await;
                },
                &runtime,
            );
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("answered", &self.call.is_none())
            .field("cancel_on_drop", &self.cancel_on_drop)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(make: impl FnOnce(Outlet, CancellationToken) -> Call) -> (Exchange, TaskTracker) {
        let (outlet, cancel, tracker) =
            (Outlet::new(4), CancellationToken::new(), TaskTracker::new());
        let call = make(outlet.clone(), cancel.clone());
        (
            Exchange::new(call, outlet, cancel, tracker.clone()),
            tracker,
        )
    }

    #[tokio::test]
    async fn frames_come_before_the_answer() {
        let (mut exchange, _) = exchange(|outlet, _| {
            Box::pin(async move {
                outlet.send(Frame::message("a")).await.unwrap();
                outlet.send(Frame::message("b")).await.unwrap();
                Reply::ok("done")
            })
        });
        assert!(matches!(exchange.next().await, Step::Frame(f) if f.data == "a"));
        assert!(matches!(exchange.next().await, Step::Frame(f) if f.data == "b"));
        assert!(
            matches!(exchange.next().await, Step::Done(Reply::Message { body, .. }) if body == "done")
        );
    }

    #[tokio::test]
    async fn a_dropped_exchange_is_cancelled_and_finished() {
        let (done, finished) = tokio::sync::oneshot::channel();
        let (mut exchange, tracker) = exchange(|outlet, cancel| {
            Box::pin(async move {
                cancel.cancelled().await;
                done.send(outlet.is_closed()).unwrap();
                Reply::Accepted
            })
        });
        assert!(futures_util::poll!(Box::pin(exchange.next())).is_pending());
        drop(exchange);
        tracker.close();
        tracker.wait().await;
        assert!(finished.await.unwrap(), "nothing more is sent");
    }

    #[tokio::test]
    async fn a_legacy_disconnect_cancels_nothing() {
        let (done, finished) = tokio::sync::oneshot::channel();
        let (exchange, tracker) = exchange(|_, cancel| {
            Box::pin(async move {
                done.send(cancel.is_cancelled()).unwrap();
                Reply::Accepted
            })
        });
        drop(exchange.cancel_on_drop(false));
        tracker.close();
        tracker.wait().await;
        assert!(!finished.await.unwrap());
    }
}
