//! Streams that a client may leave and come back to.
//!
//! Every message on such a stream has an id that names the stream, and is kept for a while. A client
//! whose connection broke names the last id that it saw, gets what it missed on that stream, and
//! goes on with it. What is kept is bounded in count and bytes; the oldest is forgotten first, and
//! who comes back for it is told that something is lost.
//!
//! Source: MCP 2025-11-25, basic/transports, "Resumability and Redelivery" (SEP-1699).

mod kept;
mod log;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytestring::ByteString;

use self::log::Log;
use crate::outlet::{Closed, Frame, Outlet};

pub(crate) use self::kept::Kept;

/// Bounds of what is kept.
#[derive(Clone, Debug)]
pub struct ReplayLimits {
    /// Streams of one session. Further ones work but cannot be resumed. Default 64.
    pub streams: usize,
    /// Messages of one stream. Default 256.
    pub frames: usize,
    /// Bytes of the messages of one stream; the newest is kept whatever its size. Default 1 MiB.
    pub stream_bytes: usize,
    /// Bytes of the messages of one session; as above. Default 4 MiB.
    pub session_bytes: usize,
    /// Bytes of the messages of all sessions that share a [`Budget`]; beyond, each session keeps
    /// nothing but its newest message. Default 256 MiB.
    pub total_bytes: usize,
    /// How soon a client shall come back whose connection broke. Default 1 s.
    pub retry: Duration,
}

impl Default for ReplayLimits {
    fn default() -> Self {
        Self {
            streams: 64,
            frames: 256,
            stream_bytes: 1024 * 1024,
            session_bytes: 4 * 1024 * 1024,
            total_bytes: 256 * 1024 * 1024,
            retry: Duration::from_secs(1),
        }
    }
}

/// The bytes that all sessions of a server keep.
#[derive(Debug, Default)]
pub struct Budget(AtomicUsize);

impl Budget {
    /// Bytes that are kept now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The streams of one session.
#[derive(Debug)]
pub struct Replay {
    streams: Mutex<Streams>,
    limits: Arc<ReplayLimits>,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Streams {
    next: u64,
    by_number: BTreeMap<u64, Log>,
    bytes: usize,
}

/// Why a stream cannot be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// No such id was ever given.
    #[error("Last-Event-ID is not one of this session")]
    Unknown,
    /// The stream has ended, and what was on it is forgotten.
    #[error("the stream that Last-Event-ID names is not kept any more; open a new one without it")]
    Forgotten,
}

/// What became of a message.
enum Offer {
    /// It is kept, and sent where somebody reads.
    Sent,
    /// The reader is slow: this is the outlet to wait for.
    Full(Outlet),
    /// The stream has ended.
    Ended,
}

impl Replay {
    /// Creates the streams of a session.
    #[must_use]
    pub fn new(limits: Arc<ReplayLimits>, budget: Arc<Budget>) -> Self {
        Self {
            streams: Mutex::default(),
            limits,
            budget,
        }
    }

    /// A stream that begins with its first message and is read at `reader`. `primed` streams begin
    /// with an event that has an id and no data, for clients that know of it.
    #[must_use]
    pub fn stream(self: &Arc<Self>, reader: Outlet, primed: bool) -> Outlet {
        Outlet::kept(Arc::new(Kept::new(Arc::clone(self), reader, primed)))
    }

    /// The number of a stream of [`Self::stream`], which begins now; absent where it cannot be kept.
    #[must_use]
    pub fn begin(&self, stream: &Outlet) -> Option<u64> {
        stream.as_kept()?.number()
    }

    /// Goes on with the stream on which `last_event_id` was seen. Whoever read it so far is sent away.
    ///
    /// # Errors
    ///
    /// [`ResumeError`] where there is no such stream.
    pub fn resume(
        self: &Arc<Self>,
        last_event_id: &str,
        reader: Outlet,
    ) -> Result<Resumed, ResumeError> {
        let (number, seen) = parse_id(last_event_id).ok_or(ResumeError::Unknown)?;
        let mut streams = self.lock();
        let begun = streams.next;
        let Some(log) = streams.by_number.get_mut(&number) else {
            return Err(if number < begun {
                ResumeError::Forgotten
            } else {
                ResumeError::Unknown
            });
        };
        if seen >= log.next {
            return Err(ResumeError::Unknown);
        }
        let turn = log.take_over();
        let lost = log.forgotten_after(seen);
        drop(streams);
        Ok(Resumed {
            replay: Arc::clone(self),
            reader,
            number,
            turn,
            seen,
            lost,
        })
    }

    /// Ends the stream `number`: what was sent on it can still be resumed, nothing more comes.
    pub fn end(&self, number: u64) {
        let mut streams = self.lock();
        if let Some(log) = streams.by_number.get_mut(&number) {
            log.end();
        }
        streams.sweep(number);
    }

    /// Whether somebody reads one of the streams.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.lock().by_number.values().any(Log::is_read)
    }

    /// Ends every stream and forgets what was kept.
    pub fn close(&self) {
        let mut streams = self.lock();
        for log in streams.by_number.values_mut() {
            log.end();
        }
        self.budget.0.fetch_sub(streams.bytes, Ordering::Relaxed);
        streams.bytes = 0;
        streams.by_number.clear();
    }

    /// Begins a stream; nothing where there is no room for one more, or nobody to read it.
    fn open(&self, reader: &Outlet, primed: bool) -> Option<u64> {
        if reader.is_closed() {
            return None;
        }
        let mut streams = self.lock();
        if streams.by_number.len() >= self.limits.streams {
            let done = streams.by_number.iter().find(|(_, log)| log.is_over());
            let done = done.map(|(number, _)| *number)?;
            let freed = streams.by_number.remove(&done).map_or(0, |log| log.bytes());
            self.free(&mut streams, freed);
        }
        let number = streams.next;
        streams.next += 1;
        let mut log = Log::new(reader.clone());
        if primed {
            log.mark(number, self.limits.retry);
        }
        streams.by_number.insert(number, log);
        Some(number)
    }

    /// Keeps a message, and sends it where somebody reads; both or neither, so that messages stay in
    /// the order of their ids.
    fn offer(&self, number: u64, data: &ByteString) -> Offer {
        let mut streams = self.lock();
        let Some(log) = streams.by_number.get_mut(&number) else {
            return Offer::Ended;
        };
        if let Err(offer) = log.offer(number, data) {
            return offer;
        }
        streams.bytes += data.len();
        self.budget.0.fetch_add(data.len(), Ordering::Relaxed);
        self.trim(&mut streams, number);
        Offer::Sent
    }

    /// Forgets the oldest until the bounds hold. The newest message of `current` stays.
    fn trim(&self, streams: &mut Streams, current: u64) {
        let limits = &self.limits;
        let mut freed = 0;
        if let Some(log) = streams.by_number.get_mut(&current) {
            freed += log.trim(limits.frames, limits.stream_bytes);
        }
        self.free(streams, freed);
        let limit = if self.budget.used() > limits.total_bytes {
            0
        } else {
            limits.session_bytes
        };
        while streams.bytes > limit {
            let oldest = streams
                .by_number
                .iter_mut()
                .find_map(|(number, log)| log.forget_one(usize::from(*number == current)));
            let Some(freed) = oldest else { break };
            self.free(streams, freed);
        }
        streams.sweep(current);
    }

    fn free(&self, streams: &mut Streams, bytes: usize) {
        streams.bytes = streams.bytes.saturating_sub(bytes);
        self.budget.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.close();
    }
}

impl Streams {
    /// Drops ended streams of which nothing is left, `current` apart.
    fn sweep(&mut self, current: u64) {
        self.by_number
            .retain(|number, log| *number == current || !(log.is_over() && log.is_empty()));
    }
}

/// A stream that a client came back to.
#[derive(Debug)]
pub struct Resumed {
    replay: Arc<Replay>,
    reader: Outlet,
    number: u64,
    turn: u64,
    seen: u64,
    lost: bool,
}

impl Resumed {
    /// The stream's number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether something that the client did not see is forgotten.
    #[must_use]
    pub const fn is_lossy(&self) -> bool {
        self.lost
    }

    /// Sends what the client missed, and then lets it read what comes. Returns the stream; nothing
    /// where it has ended, or the reader is gone or was sent away meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the client may have got a part, and comes back for the rest.
    pub async fn replay(mut self) -> Option<Outlet> {
        loop {
            match self.next() {
                Next::Missed(missed) => {
                    for (seen, frame) in missed {
                        self.reader.send(frame).await.ok()?;
                        self.seen = seen;
                    }
                }
                Next::Live => break,
                Next::Over => return None,
            }
        }
        let kept = Kept::resumed(self.replay, self.reader, self.number);
        Some(Outlet::kept(Arc::new(kept)))
    }

    /// What comes next; where nothing was missed any more, the reader is put where it reads what comes.
    fn next(&self) -> Next {
        /// Messages that are copied at once.
        const CHUNK: usize = 32;
        let mut streams = self.replay.lock();
        let Some(log) = streams.by_number.get_mut(&self.number) else {
            return Next::Over;
        };
        if !log.is_turn(self.turn) {
            return Next::Over;
        }
        let missed = log.after(self.number, self.seen, CHUNK);
        if !missed.is_empty() {
            return Next::Missed(missed);
        }
        if log.has_ended() {
            return Next::Over;
        }
        log.attach(self.reader.clone());
        Next::Live
    }
}

/// How a replay goes on.
enum Next {
    /// With these.
    Missed(Vec<(u64, Frame)>),
    /// Everything is sent.
    Live,
    /// There is nothing more for this reader.
    Over,
}

/// The id of a message: the stream, and where on it.
fn event_id(number: u64, at: u64) -> ByteString {
    format!("{number:x}-{at:x}").into()
}

fn parse_id(text: &str) -> Option<(u64, u64)> {
    let (number, at) = text.split_once('-')?;
    let parse = |text: &str| {
        let plain = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(text, 16).ok()).flatten()
    };
    Some((parse(number)?, parse(at)?))
}

#[cfg(test)]
mod tests;
