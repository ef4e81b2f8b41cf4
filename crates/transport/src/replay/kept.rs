//! The sending side of a stream that is kept.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytestring::ByteString;

use super::{Closed, Frame, Offer, Outlet, Replay};

/// Begins its stream with the first message: a call that only answers has none.
#[derive(Debug)]
pub(crate) struct Kept {
    replay: Arc<Replay>,
    /// Where the stream is read at first.
    reader: Outlet,
    primed: bool,
    /// The stream's number; nothing once it turned out that it cannot be kept.
    number: OnceLock<Option<u64>>,
}

impl Kept {
    pub(super) const fn new(replay: Arc<Replay>, reader: Outlet, primed: bool) -> Self {
        Self {
            replay,
            reader,
            primed,
            number: OnceLock::new(),
        }
    }

    pub(super) fn resumed(replay: Arc<Replay>, reader: Outlet, number: u64) -> Self {
        Self {
            replay,
            reader,
            primed: false,
            number: OnceLock::from(Some(number)),
        }
    }

    pub(crate) const fn reader(&self) -> &Outlet {
        &self.reader
    }

    /// Begins the stream, if it has not begun.
    pub(super) fn number(&self) -> Option<u64> {
        *self
            .number
            .get_or_init(|| self.replay.open(&self.reader, self.primed))
    }

    pub(crate) async fn send(&self, frame: Frame) -> Result<(), Closed> {
        let Some(number) = self.number() else {
            return Box::pin(self.reader.send(frame)).await;
        };
        loop {
            match self.replay.offer(number, &frame.data) {
                Offer::Sent => return Ok(()),
                Offer::Full(reader) => reader.room().await,
                Offer::Ended => return Err(Closed),
            }
        }
    }

    pub(crate) fn try_send(&self, frame: Frame) -> Result<bool, Closed> {
        let Some(number) = self.number() else {
            return self.reader.try_send(frame);
        };
        match self.replay.offer(number, &frame.data) {
            Offer::Sent => Ok(true),
            Offer::Full(_) => Ok(false),
            Offer::Ended => Err(Closed),
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        match self.number.get() {
            Some(Some(number)) => self
                .replay
                .lock()
                .by_number
                .get(number)
                .is_none_or(super::Log::has_ended),
            _ => self.reader.is_closed(),
        }
    }

    pub(crate) fn let_go(&self, retry: Duration) -> bool {
        if !self.primed {
            return false;
        }
        let Some(number) = self.number() else {
            return false;
        };
        let mut streams = self.replay.lock();
        let Some(log) = streams.by_number.get_mut(&number) else {
            return false;
        };
        // Where the reader is slow it keeps the time that it was told at first.
        let _told = log.mark(number, retry);
        log.send_away();
        true
    }

    /// Ends the stream with its last message. Gives the message back where no stream has begun that is
    /// kept: then it is the answer itself.
    pub(crate) async fn finish(&self, last: ByteString) -> Option<ByteString> {
        let Some(Some(number)) = self.number.get() else {
            return Some(last);
        };
        // Who cannot be reached any more gets it when it comes back, if it does.
        let _ended = self.send(Frame::message(last)).await;
        self.replay.end(*number);
        None
    }

    /// Ends the stream, if it has begun.
    pub(crate) fn abandon(&self) {
        if let Some(Some(number)) = self.number.get() {
            self.replay.end(*number);
        }
    }
}
