//! One stream: what was sent on it, and who reads it now.

use std::{collections::VecDeque, time::Duration};

use bytestring::ByteString;

use super::{Closed, Frame, Offer, Outlet, event_id};

#[derive(Debug)]
pub(super) struct Log {
    /// Where the next message stands.
    pub(super) next: u64,
    kept: VecDeque<(u64, ByteString)>,
    bytes: usize,
    /// Where the last message stands that was forgotten.
    forgotten: Option<u64>,
    reader: Option<Outlet>,
    /// Counts the readers: only the newest goes on.
    turn: u64,
    ended: bool,
}

impl Log {
    pub(super) const fn new(reader: Outlet) -> Self {
        Self {
            next: 0,
            kept: VecDeque::new(),
            bytes: 0,
            forgotten: None,
            reader: Some(reader),
            turn: 0,
            ended: false,
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the stream has ended and nobody reads it.
    pub(super) fn is_over(&self) -> bool {
        self.ended && !self.is_read()
    }

    pub(super) fn is_read(&self) -> bool {
        self.reader.as_ref().is_some_and(|r| !r.is_closed())
    }

    /// Sends an event that says only where the stream stands, and when to come back if it breaks.
    /// Whether the reader got it.
    pub(super) fn mark(&mut self, number: u64, retry: Duration) -> bool {
        let Some(reader) = &self.reader else {
            return false;
        };
        let frame = Frame {
            data: ByteString::new(),
            id: Some(event_id(number, self.next)),
            retry: Some(retry),
        };
        let sent = reader.try_send(frame) == Ok(true);
        self.next += u64::from(sent);
        sent
    }

    /// Keeps a message, and sends it where somebody reads.
    pub(super) fn offer(&mut self, number: u64, data: &ByteString) -> Result<(), Offer> {
        if self.ended {
            return Err(Offer::Ended);
        }
        let at = self.next;
        if let Some(reader) = &self.reader {
            match reader.try_send(frame(number, at, data)) {
                Ok(true) => {}
                Ok(false) => return Err(Offer::Full(reader.clone())),
                Err(Closed) => self.reader = None,
            }
        }
        self.next += 1;
        self.bytes += data.len();
        self.kept.push_back((at, data.clone()));
        Ok(())
    }

    /// The first messages after `seen`, `count` at most.
    pub(super) fn after(&self, number: u64, seen: u64, count: usize) -> Vec<(u64, Frame)> {
        let begin = self.kept.partition_point(|(at, _)| *at <= seen);
        let missed = self.kept.range(begin..).take(count);
        missed
            .map(|(at, data)| (*at, frame(number, *at, data)))
            .collect()
    }

    pub(super) fn forgotten_after(&self, seen: u64) -> bool {
        self.forgotten.is_some_and(|at| at > seen)
    }

    /// Forgets the oldest until the bounds hold; returns the bytes that came free.
    pub(super) fn trim(&mut self, frames: usize, bytes: usize) -> usize {
        let mut freed = 0;
        while self.kept.len() > frames.max(1) || self.bytes > bytes {
            let Some(one) = self.forget_one(1) else { break };
            freed += one;
        }
        freed
    }

    /// Forgets the oldest message, if there are more than `spare`; returns its bytes.
    pub(super) fn forget_one(&mut self, spare: usize) -> Option<usize> {
        if self.kept.len() <= spare {
            return None;
        }
        let (at, data) = self.kept.pop_front()?;
        self.bytes -= data.len();
        self.forgotten = Some(at);
        Some(data.len())
    }

    /// Sends the reader away; the next one has this turn.
    pub(super) fn take_over(&mut self) -> u64 {
        self.send_away();
        self.turn += 1;
        self.turn
    }

    pub(super) const fn is_turn(&self, turn: u64) -> bool {
        self.turn == turn
    }

    pub(super) fn attach(&mut self, reader: Outlet) {
        self.reader = Some(reader);
    }

    /// Ends the reader's connection after what waits for it.
    pub(super) fn send_away(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.hang_up();
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.send_away();
    }
}

fn frame(number: u64, at: u64, data: &ByteString) -> Frame {
    Frame {
        data: data.clone(),
        id: Some(event_id(number, at)),
        retry: None,
    }
}
