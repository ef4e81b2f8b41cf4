//! Messages that leave before the answer does.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytestring::ByteString;
use tokio::sync::Notify;

use crate::replay::Kept;

/// One message on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The message; empty for a priming event, and for a comment where there is no `id` either.
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

    /// Nothing: a comment, with which a stream begins that has nothing to say yet.
    #[must_use]
    pub const fn comment() -> Self {
        Self {
            data: ByteString::new(),
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
pub struct Outlet(Way);

#[derive(Clone, Debug)]
enum Way {
    /// Straight to the reader.
    Pipe(Arc<Pipe>),
    /// By a stream that is kept for readers who come back.
    Kept(Arc<Kept>),
}

#[derive(Debug)]
struct Pipe {
    state: Mutex<State>,
    capacity: usize,
    space: Notify,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Frame>,
    reader: Option<Waker>,
    closed: bool,
    /// The sender ended the stream: what waits is still read.
    hung_up: bool,
}

impl Outlet {
    /// Creates an outlet that holds `capacity` frames, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Way::Pipe(Arc::new(Pipe {
            state: Mutex::default(),
            capacity: capacity.max(1),
            space: Notify::new(),
            ended: Notify::new(),
        })))
    }

    /// An outlet whose messages are kept for readers who come back.
    pub(crate) const fn kept(kept: Arc<Kept>) -> Self {
        Self(Way::Kept(kept))
    }

    /// Sends `frame`, waiting while the reader is slow.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the reader is gone and cannot come back.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, nothing is sent.
    pub async fn send(&self, frame: Frame) -> Result<(), Closed> {
        match &self.0 {
            Way::Pipe(pipe) => pipe.send(frame).await,
            // Boxed: few calls have such a stream, and all would carry the bytes of its future.
            Way::Kept(kept) => Box::pin(kept.send(frame)).await,
        }
    }

    /// Sends `frame` unless the reader is slow; whether it was sent.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn try_send(&self, frame: Frame) -> Result<bool, Closed> {
        match &self.0 {
            Way::Pipe(pipe) => pipe.offer(&mut Some(frame)),
            Way::Kept(kept) => kept.try_send(frame),
        }
    }

    /// Whether nobody reads any more, nor can come back.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            Way::Pipe(pipe) => pipe.is_ended(),
            Way::Kept(kept) => kept.is_ended(),
        }
    }

    /// Waits until [`Self::is_closed`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closed(&self) {
        match &self.0 {
            Way::Pipe(pipe) => pipe.ended().await,
            Way::Kept(kept) => kept.reader().closed_reader().await,
        }
    }

    /// Ends the stream while its call goes on, so that the client comes back for the rest after
    /// `retry`; whether that was possible: only on a stream that is kept, for clients that know of
    /// this.
    ///
    /// Source: MCP 2025-11-25, basic/transports, "Sending Messages to the Server" (SEP-1699).
    #[must_use]
    pub fn let_go(&self, retry: Duration) -> bool {
        match &self.0 {
            Way::Pipe(_) => false,
            Way::Kept(kept) => kept.let_go(retry),
        }
    }

    /// Ends a stream with the answer of its call. Gives the answer back where it must be given as
    /// such: on streams that are not kept, and where no stream has begun.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for a slow reader, the answer is not sent.
    pub async fn finish(&self, answer: ByteString) -> Option<ByteString> {
        match &self.0 {
            Way::Pipe(_) => Some(answer),
            Way::Kept(kept) => Box::pin(kept.finish(answer)).await,
        }
    }

    /// Ends a kept stream without an answer, where one has begun.
    pub fn abandon(&self) {
        if let Way::Kept(kept) = &self.0 {
            kept.abandon();
        }
    }

    pub(crate) const fn as_kept(&self) -> Option<&Arc<Kept>> {
        match &self.0 {
            Way::Pipe(_) => None,
            Way::Kept(kept) => Some(kept),
        }
    }

    /// Ends a stream whose call goes on or has nothing more to say here: what waits is read, what
    /// comes is refused.
    pub(crate) fn hang_up(&self) {
        if let Way::Pipe(pipe) = &self.0 {
            pipe.hang_up();
        }
    }

    /// Waits until a frame may fit, or nobody reads.
    pub(crate) async fn room(&self) {
        if let Way::Pipe(pipe) = &self.0 {
            pipe.room().await;
        }
    }

    /// As [`Self::closed`], for the reader of a kept stream; a method of its own so that neither
    /// future contains itself.
    async fn closed_reader(&self) {
        if let Way::Pipe(pipe) = &self.0 {
            pipe.ended().await;
        }
    }

    /// Takes the next frame, if there is one.
    pub(crate) fn pop(&self) -> Option<Frame> {
        let Way::Pipe(pipe) = &self.0 else {
            return None;
        };
        let frame = pipe.lock().queue.pop_front();
        if frame.is_some() {
            pipe.space.notify_one();
        }
        frame
    }

    /// Takes the next frame or remembers who waits for it; nothing where the sender hung up.
    pub(crate) fn poll_pop(&self, cx: &Context<'_>) -> Poll<Option<Frame>> {
        let Way::Pipe(pipe) = &self.0 else {
            return Poll::Pending;
        };
        let mut state = pipe.lock();
        let Some(frame) = state.queue.pop_front() else {
            if state.hung_up {
                return Poll::Ready(None);
            }
            match &mut state.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        drop(state);
        pipe.space.notify_one();
        Poll::Ready(Some(frame))
    }

    /// Ends the stream from the reader's side: what waits and what comes is refused.
    pub(crate) fn close(&self) {
        if let Way::Pipe(pipe) = &self.0 {
            pipe.close();
        }
    }
}

impl Pipe {
    async fn send(&self, frame: Frame) -> Result<(), Closed> {
        let mut frame = Some(frame);
        loop {
            let space = self.space.notified();
            if self.offer(&mut frame)? {
                return Ok(());
            }
            space.await;
        }
    }

    fn offer(&self, frame: &mut Option<Frame>) -> Result<bool, Closed> {
        let mut state = self.lock();
        if state.closed || state.hung_up {
            return Err(Closed);
        }
        if state.queue.len() >= self.capacity {
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

    async fn room(&self) {
        loop {
            let space = self.space.notified();
            {
                let state = self.lock();
                if state.closed || state.hung_up || state.queue.len() < self.capacity {
                    return;
                }
            }
            space.await;
        }
    }

    async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_ended() {
                return;
            }
            ended.await;
        }
    }

    fn is_ended(&self) -> bool {
        let state = self.lock();
        state.closed || state.hung_up
    }

    fn hang_up(&self) {
        let mut state = self.lock();
        state.hung_up = true;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        self.space.notify_waiters();
        self.ended.notify_waiters();
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queue.clear();
        drop(state);
        self.space.notify_waiters();
        self.ended.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test]
    async fn who_hangs_up_is_heard_to_the_end() {
        let outlet = Outlet::new(4);
        outlet.send(Frame::message("1")).await.unwrap();
        outlet.hang_up();
        outlet.closed().await;
        assert_eq!(outlet.try_send(Frame::message("2")), Err(Closed));
        let next = || std::future::poll_fn(|cx| outlet.poll_pop(cx));
        assert_eq!(next().await, Some(Frame::message("1")));
        assert_eq!(next().await, None);
    }
}
