//! How records go to one receiver, which may be away, refuse everything for a while, or never take one of them.
//!
//! What is refused is halved until it is one record. Whether it is refused for what it says or because the receiver is
//! wrong, no status tells: 500 may be either, and so may 400. So a record is passed by only where the receiver takes
//! others each time that it refuses it; where it takes none, all wait. What comes is tried with them, and before them. While it
//! takes nothing, a few refusals on end are enough at once: what they leave is tried before those the next time.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{sync::mpsc::Receiver, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Delivery, Failure, State};

/// Records that are sent at once, and the most that are held in doubt.
pub(super) const MAX_BATCH: usize = 256;
/// Bytes that are sent at once, unless one record has more.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// The wait before the first repetition; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often a record is refused among others that are taken, before it is passed by.
const TRIES: u32 = 3;
/// How many records are refused one after another, each alone and nothing taken, before the rest is left for later.
const MAX_ON_END: usize = 8;
/// How long a receiver is given that refuses all of [`MAX_BATCH`] records, while more wait behind them: the time between
/// refusals, without what it was away.
pub(super) const LONGEST_DOUBT: Duration = Duration::from_hours(1);

/// One sink at work.
pub(super) struct Sending {
    to: Delivery,
    state: Arc<State>,
    stop: CancellationToken,
}

/// A record in hand.
#[derive(Clone)]
struct Held {
    line: Arc<str>,
    /// How often it was refused where others were taken.
    tries: u32,
    /// Whether it was refused at all, alone.
    refused: bool,
}

/// What came of trying all that is in hand.
#[derive(Default)]
struct Round {
    /// Whether the receiver took something.
    taken: bool,
    /// What it refused, each alone.
    refused: Vec<Held>,
    /// What it was not asked to take alone, having refused [`MAX_ON_END`].
    left: Vec<Held>,
    /// Why it refused the last of them.
    why: String,
}

/// The pause before the next repetition.
struct Pause(Duration);

impl Sending {
    pub(super) const fn new(to: Delivery, state: Arc<State>, stop: CancellationToken) -> Self {
        Self { to, state, stop }
    }

    /// Sends what comes until nothing will come any more.
    pub(super) async fn all(mut self, mut lines: Receiver<Arc<str>>) {
        let mut come = Vec::with_capacity(MAX_BATCH);
        while lines.recv_many(&mut come, MAX_BATCH).await > 0 {
            let hand = come.drain(..).map(Held::new).collect();
            self.empty(hand, &mut lines).await;
        }
    }

    /// Sends what is in hand, and with it what comes while the receiver refuses some.
    async fn empty(&mut self, mut hand: Vec<Held>, lines: &mut Receiver<Arc<str>>) {
        let (mut pause, mut doubt) = (Pause::default(), Duration::ZERO);
        loop {
            let Round {
                taken,
                mut refused,
                left,
                why,
            } = self.round(&hand).await;
            if taken {
                (pause, doubt) = (Pause::default(), Duration::ZERO);
                refused.iter_mut().for_each(|held| held.tries += 1);
            }
            refused.iter_mut().for_each(|held| held.refused = true);
            let over: Vec<_>;
            (over, refused) = refused.into_iter().partition(|held| held.tries == TRIES);
            self.pass_by(&over, &why);
            hand = [left, refused].concat();
            if hand.is_empty() {
                return;
            }
            if doubt >= LONGEST_DOUBT {
                return self.pass_by(&hand, &why);
            }
            self.state.set_failure(Some(&why));
            let pause = pause.next(None);
            if hand.len() == MAX_BATCH && !lines.is_empty() {
                doubt += pause;
            }
            self.wait(pause).await;
            while hand.len() < MAX_BATCH
                && let Ok(line) = lines.try_recv()
            {
                hand.push(Held::new(line));
            }
            // What is refused each time would keep the receiver from what it takes.
            hand.sort_by_key(|held| held.refused);
        }
    }

    /// Sends each record of `hand` that the receiver takes, in order, in as few batches as it takes them in, until it refuses
    /// too many.
    async fn round(&mut self, hand: &[Held]) -> Round {
        let (mut round, mut on_end) = (Round::default(), 0);
        let mut parts = vec![hand];
        while let Some(part) = parts.pop() {
            if on_end >= MAX_ON_END && !round.taken {
                round.left.extend_from_slice(part);
                continue;
            }
            let (part, later) = part.split_at(fitting(part));
            if !later.is_empty() {
                parts.push(later);
            }
            match self.send(part).await {
                Ok(()) => (round.taken, on_end) = (true, 0),
                Err(why) if part.len() == 1 => {
                    round.refused.extend_from_slice(part);
                    round.why = why;
                    on_end += 1;
                }
                Err(_) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        round
    }

    /// Sends one batch, again and again until it is taken, nobody waits any more, or it is refused for the reason that is
    /// returned.
    async fn send(&mut self, part: &[Held]) -> Result<(), String> {
        let batch: Vec<_> = part.iter().map(|held| Arc::clone(&held.line)).collect();
        let records = batch.len() as u64;
        let mut pause = Pause::default();
        loop {
            let delivering = self.to.deliver(&batch);
            let Some(delivered) = self.stop.run_until_cancelled(delivering).await else {
                self.state.drop_records(records, "the gateway ended");
                self.state.leave(part.iter().filter_map(Held::seq));
                break;
            };
            match delivered {
                Ok(unwanted) => {
                    self.state.send_records(records.saturating_sub(unwanted));
                    let why = "the receiver did not want some records";
                    self.state.drop_records(unwanted, why);
                    break;
                }
                Err(Failure::Refused(why)) => return Err(why),
                Err(Failure::Away(why, after)) => {
                    self.state.set_failure(Some(&why));
                    self.wait(pause.next(after)).await;
                }
            }
        }
        self.state.done(records, bytes(part));
        Ok(())
    }

    /// Gives up what was refused, and says which records these are: the log has them.
    fn pass_by(&self, refused: &[Held], why: &str) {
        let sink = self.state.name;
        for held in refused {
            let seq = held.seq();
            tracing::warn!(sink, seq, why, "record is refused, and not exported");
        }
        let records = refused.len() as u64;
        self.state.drop_records(records, why);
        self.state.done(records, bytes(refused));
    }

    async fn wait(&self, pause: Duration) {
        let _elapsed = self.stop.run_until_cancelled(sleep(pause)).await;
    }
}

impl Held {
    const fn new(line: Arc<str>) -> Self {
        Self {
            line,
            tries: 0,
            refused: false,
        }
    }

    /// Its number in the log.
    fn seq(&self) -> Option<u64> {
        #[derive(Deserialize)]
        struct Head {
            seq: u64,
        }
        let head = serde_json::from_str(&self.line);
        head.map(|Head { seq }| seq).ok()
    }
}

impl AsRef<str> for Held {
    fn as_ref(&self) -> &str {
        &self.line
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_WAIT)
    }
}

impl Pause {
    /// How long it is now: what the receiver says, within bounds. The next one is twice as long.
    fn next(&mut self, after: Option<Duration>) -> Duration {
        let pause = after.unwrap_or(self.0).clamp(FIRST_WAIT, LONGEST_WAIT);
        self.0 = (self.0 * 2).min(LONGEST_WAIT);
        pause
    }
}

/// How many of the lines fit into one batch: at least one.
pub(super) fn fitting(lines: &[impl AsRef<str>]) -> usize {
    let mut bytes = 0_usize;
    let fit = lines.iter().take_while(|line| {
        bytes = bytes.saturating_add(line.as_ref().len());
        bytes <= MAX_BATCH_BYTES
    });
    fit.count().clamp(1, lines.len().max(1))
}

fn bytes(lines: &[Held]) -> usize {
    lines.iter().map(|held| held.line.len()).sum()
}
