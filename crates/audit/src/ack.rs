//! A promise that the writer keeps: a future without a runtime, or a blocking wait.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::error::AuditError;

/// The answer to a request to the log: await it or [`wait`](Ack::wait) for it.
///
/// Works under every executor. If the writer ends before it answers, the answer is
/// [`AuditError::Closed`].
///
/// # Cancel safety
///
/// Dropping it withdraws nothing: the record is written all the same.
#[must_use = "a record is durable only when its acknowledgement says so"]
pub struct Ack<T> {
    slot: Arc<Slot<T>>,
}

impl<T: Clone> Ack<T> {
    /// Blocks until the answer is there.
    ///
    /// # Errors
    ///
    /// The writer's answer; see [`Log::append`](crate::Log::append).
    pub fn wait(self) -> Result<T, AuditError> {
        let mut state = self.slot.lock();
        loop {
            if let Some(result) = &state.result {
                return result.clone();
            }
            state.blocks = true;
            state = self
                .slot
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn ready(result: Result<T, AuditError>) -> Self {
        let (completer, ack) = pair();
        completer.complete(result);
        ack
    }
}

impl<T: Clone> Future for Ack<T> {
    type Output = Result<T, AuditError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(result.clone());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Ack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack")
            .field("answered", &self.slot.lock().result.is_some())
            .finish()
    }
}

/// The writer's end of an [`Ack`]. Dropped unanswered, it answers `Closed`.
pub(crate) struct Completer<T> {
    slot: Arc<Slot<T>>,
}

impl<T> Completer<T> {
    pub(crate) fn complete(self, result: Result<T, AuditError>) {
        self.slot.fill(result);
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        self.slot.fill(Err(AuditError::Closed));
    }
}

pub(crate) fn pair<T>() -> (Completer<T>, Ack<T>) {
    let slot = Arc::new(Slot {
        state: Mutex::new(State {
            result: None,
            waker: None,
            blocks: false,
        }),
        done: Condvar::new(),
    });
    let completer = Completer {
        slot: Arc::clone(&slot),
    };
    (completer, Ack { slot })
}

struct Slot<T> {
    state: Mutex<State<T>>,
    done: Condvar,
}

struct State<T> {
    result: Option<Result<T, AuditError>>,
    waker: Option<Waker>,
    /// Whether a thread waits: telling a condition variable is a system call even if nobody does.
    blocks: bool,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the first answer and wakes whoever waits.
    fn fill(&self, result: Result<T, AuditError>) {
        let (waker, blocks) = {
            let mut state = self.lock();
            if state.result.is_some() {
                return;
            }
            state.result = Some(result);
            (state.waker.take(), state.blocks)
        };
        if blocks {
            self.done.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
        thread,
    };

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_future_is_woken_once_and_stays_answered() {
        let (completer, mut ack) = pair::<u8>();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut ack).poll(&mut context).is_pending());
        assert!(Pin::new(&mut ack).poll(&mut context).is_pending());
        completer.complete(Ok(7));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        for _ in 0..2 {
            assert!(matches!(
                Pin::new(&mut ack).poll(&mut context),
                Poll::Ready(Ok(7))
            ));
        }
    }

    #[test]
    fn a_waiting_thread_gets_the_answer() {
        let (completer, ack) = pair::<u8>();
        let waiter = thread::spawn(move || ack.wait());
        completer.complete(Ok(1));
        assert!(matches!(waiter.join().unwrap(), Ok(1)));
    }

    #[test]
    fn a_lost_writer_answers_closed() {
        let (completer, ack) = pair::<u8>();
        drop(completer);
        assert!(matches!(ack.wait(), Err(AuditError::Closed)));
    }
}
