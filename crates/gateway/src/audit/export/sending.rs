//! How records go to one receiver, which may be away, refuse everything for a while, or never take one of them.
//!
//! What is refused is halved until it is one record. Whether it is refused for what it says or because the receiver is
//! wrong, no status tells: 500 may be either, and so may 400. So a record is passed by only where the receiver takes
//! others meanwhile; where it takes none, all wait, and what comes is tried with them.

use std::{mem, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Delivery, Failure, State};

/// Records that are sent at once, and the most that are held in doubt.
pub(super) const MAX_BATCH: usize = 256;
/// Bytes that are sent at once, unless one record has more.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// The wait before the first repetition; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often a record is tried, once others are taken, before it is passed by.
const TRIES: u32 = 3;
/// How long a receiver is given that takes none of [`MAX_BATCH`] records, while more wait behind them.
pub(super) const LONGEST_DOUBT: Duration = Duration::from_hours(1);

/// One sink at work.
pub(super) struct Sending {
    to: Delivery,
    state: Arc<State>,
    stop: CancellationToken,
}

/// What came of trying all that is in hand.
#[derive(Default)]
struct Round {
    /// Whether the receiver took something.
    taken: bool,
    /// What it refused, each alone.
    refused: Vec<Arc<str>>,
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
        let mut hand = Vec::with_capacity(MAX_BATCH);
        while lines.recv_many(&mut hand, MAX_BATCH).await > 0 {
            self.empty(&mut hand, &mut lines).await;
        }
    }

    /// Sends what is in hand, and with it what comes while the receiver takes nothing.
    async fn empty(&mut self, hand: &mut Vec<Arc<str>>, lines: &mut Receiver<Arc<str>>) {
        let (mut pause, mut tries, mut in_the_way) = (Pause::default(), 0, None);
        loop {
            let round = self.round(mem::take(hand)).await;
            if round.refused.is_empty() {
                return;
            }
            if round.taken && tries == 0 {
                pause = Pause::default();
            }
            tries += u32::from(round.taken || tries > 0);
            if round.refused.len() == MAX_BATCH && !lines.is_empty() {
                in_the_way.get_or_insert_with(Instant::now);
            }
            if tries == TRIES || in_the_way.is_some_and(|since| since.elapsed() >= LONGEST_DOUBT) {
                return self.pass_by(&round);
            }
            self.state.set_failure(Some(&round.why));
            self.wait(pause.next(None)).await;
            *hand = round.refused;
            while tries == 0
                && hand.len() < MAX_BATCH
                && let Ok(line) = lines.try_recv()
            {
                hand.push(line);
            }
        }
    }

    /// Sends each of `lines` that the receiver takes, in order, in as few batches as it takes them in.
    async fn round(&mut self, lines: Vec<Arc<str>>) -> Round {
        let mut round = Round::default();
        let mut parts = vec![lines.as_slice()];
        while let Some(part) = parts.pop() {
            let (part, later) = part.split_at(fitting(part));
            if !later.is_empty() {
                parts.push(later);
            }
            match self.send(part).await {
                Ok(()) => round.taken = true,
                Err(why) if part.len() == 1 => {
                    round.refused.extend_from_slice(part);
                    round.why = why;
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
    async fn send(&mut self, batch: &[Arc<str>]) -> Result<(), String> {
        let records = batch.len() as u64;
        let mut pause = Pause::default();
        loop {
            let delivering = self.to.deliver(batch);
            let Some(delivered) = self.stop.run_until_cancelled(delivering).await else {
                self.state.drop_records(records, "the gateway ended");
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
        self.state.done(records, bytes(batch));
        Ok(())
    }

    /// Gives up what was refused, and says which records these are: the log has them.
    fn pass_by(&self, Round { refused, why, .. }: &Round) {
        #[derive(Deserialize)]
        struct Head {
            seq: u64,
        }
        let sink = self.state.name;
        for line in refused {
            let seq = serde_json::from_str(line).map(|Head { seq }| seq).ok();
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
pub(super) fn fitting(lines: &[Arc<str>]) -> usize {
    let mut bytes = 0_usize;
    let fit = lines.iter().take_while(|line| {
        bytes = bytes.saturating_add(line.len());
        bytes <= MAX_BATCH_BYTES
    });
    fit.count().clamp(1, lines.len().max(1))
}

fn bytes(lines: &[Arc<str>]) -> usize {
    lines.iter().map(|line| line.len()).sum()
}
