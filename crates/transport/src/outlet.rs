//! Messages that leave before the answer does.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytestring::ByteString;
use tokio::sync::Notify;

/// One message on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The message; empty for a priming event.
    pub data: ByteString,
    /// The event's id on a resumable stream.
    pub id: Option<ByteString>,
    /// How long a client shall wait before it connects again.
    pub retry: Option<Duration>,
}

impl Frame {
    /// A message without an event id.
    pub fn message(data: impl Into<ByteString>) -> Self {
        Self {
            data: data.into(),
            id: None,
            retry: None,
        }
    }
}

/// The reader of an [`Outlet`] is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads this stream any more")]
pub struct Closed;

/// The sending side of a call's stream. Bounded; costs nothing until the first frame.
#[derive(Clone, Debug)]
pub struct Outlet(Arc<Pipe>);

#[derive(Debug)]
struct Pipe {
    state: Mutex<State>,
    capacity: usize,
    space: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Frame>,
    reader: Option<Waker>,
    closed: bool,
}

impl Outlet {
    /// Creates an outlet that holds `capacity` frames, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Pipe {
            state: Mutex::default(),
            capacity: capacity.max(1),
            space: Notify::new(),
        }))
    }

    /// Sends `frame`, waiting while the reader is slow.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the reader is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, nothing is sent.
    pub async fn send(&self, frame: Frame) -> Result<(), Closed> {
        let mut frame = Some(frame);
        loop {
            let space = self.0.space.notified();
            if self.offer(&mut frame)? {
                return Ok(());
            }
            space.await;
        }
    }

    /// Sends `frame` unless the reader is slow; whether it was sent.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the reader is gone.
    pub fn try_send(&self, frame: Frame) -> Result<bool, Closed> {
        self.offer(&mut Some(frame))
    }

    /// Whether the reader is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn offer(&self, frame: &mut Option<Frame>) -> Result<bool, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        if state.queue.len() >= self.0.capacity {
            return Ok(false);
        }
        state.queue.extend(frame.take());
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(true)
    }

    /// Takes the next frame, if there is one.
    pub(crate) fn pop(&self) -> Option<Frame> {
        let frame = self.lock().queue.pop_front();
        if frame.is_some() {
            self.0.space.notify_one();
        }
        frame
    }

    /// Takes the next frame or remembers who waits for it.
    pub(crate) fn poll_pop(&self, cx: &Context<'_>) -> Poll<Frame> {
        let mut state = self.lock();
        let Some(frame) = state.queue.pop_front() else {
            match &mut state.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        drop(state);
        self.0.space.notify_one();
        Poll::Ready(frame)
    }

    /// Ends the stream from the reader's side: what waits and what comes is refused.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queue.clear();
        drop(state);
        self.0.space.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_outlet_makes_the_sender_wait() {
        let outlet = Outlet::new(1);
        outlet.send(Frame::message("1")).await.unwrap();
        assert_eq!(outlet.try_send(Frame::message("2")), Ok(false));
        let waiting = outlet.send(Frame::message("3"));
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(outlet.pop(), Some(Frame::message("1")));
        waiting.await.unwrap();
        assert_eq!(outlet.pop(), Some(Frame::message("3")));
    }

    #[tokio::test]
    async fn a_closed_outlet_refuses_waiters_too() {
        let outlet = Outlet::new(1);
        outlet.send(Frame::message("1")).await.unwrap();
        let waiting = outlet.send(Frame::message("2"));
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        outlet.close();
        assert_eq!(waiting.await, Err(Closed));
        assert_eq!(outlet.try_send(Frame::message("3")), Err(Closed));
    }
}
