//! The arithmetic of each kind of limit, on one key. The script for Redis does the same.

use std::{collections::VecDeque, num::NonZeroU32, time::Duration};

use super::rule::{Kind, Rate, grain, millis};

/// What is known of one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// When the bucket will be full again (GCRA), in milliseconds: an idle one needs no refill.
    Bucket(f64),
    /// Steps of a window by the moment at which they have left it, and how many calls each saw; the oldest first.
    Window(VecDeque<(u64, u32)>),
    /// What a period has seen that ends at `until`.
    Total { until: u64, used: u64 },
    /// Calls under way.
    Running(u32),
}

/// How one more call stands with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Whether there is no room for it, and in how many milliseconds there will be some; 0: nobody knows.
    pub(super) full: Option<u64>,
    /// What is left: behind it where it fits, else now.
    pub(super) left: u64,
    /// When all will be free again, in milliseconds since 1970; 0: nobody knows.
    pub(super) reset: u64,
}

/// What was taken for one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Take {
    /// When.
    pub(super) at: u64,
    /// How much.
    pub(super) amount: u64,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit a double exactly for 285,000 years"
)]
const fn float(now: u64) -> f64 {
    now as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and what is compared with it is no larger"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

/// Milliseconds from one call to the next, and how far a bucket may be from full.
pub(super) fn pace(rate: Rate) -> (f64, f64) {
    let interval = 1_000.0 / rate.per_second;
    (interval, interval * f64::from(rate.burst.get()))
}

impl Kind {
    /// How a call of that `amount` stands with `state`. Changes nothing.
    pub(super) fn read(&self, state: Option<&State>, amount: u64, now: u64) -> Reading {
        match (*self, state) {
            (Self::Bucket(rate), state) => read_bucket(rate, state, now),
            (Self::Window { max, per }, state) => {
                let max_calls = u64::from(max.get());
                match state {
                    Some(State::Window(steps)) => {
                        read_window(max_calls, steps, leaves(max, per, now), now)
                    }
                    _ => read_window(max_calls, &VecDeque::new(), leaves(max, per, now), now),
                }
            }
            (Self::Quota { max, per } | Self::Budget { max, per }, state) => {
                let (until, used) = match state {
                    Some(State::Total { until, used }) if *until > now => (*until, *used),
                    _ => (per.end(now), 0),
                };
                let sum = used.saturating_add(amount);
                let fits = sum <= max;
                Reading {
                    full: (!fits).then(|| until - now),
                    left: max.saturating_sub(if fits { sum } else { used }),
                    reset: until,
                }
            }
            (Self::Concurrency { max }, state) => {
                let running = match state {
                    Some(State::Running(count)) => *count,
                    _ => 0,
                };
                let fits = running < max.get();
                Reading {
                    full: (!fits).then_some(0),
                    left: u64::from(
                        max.get()
                            .saturating_sub(running.saturating_add(u32::from(fits))),
                    ),
                    reset: 0,
                }
            }
        }
    }

    /// What is known of a key that saw nothing.
    pub(super) fn fresh(&self, now: u64) -> State {
        match self {
            Self::Bucket(_) => State::Bucket(float(now)),
            Self::Window { .. } => State::Window(VecDeque::new()),
            Self::Quota { .. } | Self::Budget { .. } => State::Total { until: 0, used: 0 },
            Self::Concurrency { .. } => State::Running(0),
        }
    }

    /// Takes for a call that fits.
    pub(super) fn take(&self, state: &mut State, amount: u64, now: u64) {
        match (*self, state) {
            (Self::Bucket(rate), State::Bucket(full_at)) => {
                *full_at = full_at.max(float(now)) + pace(rate).0;
            }
            (Self::Window { max, per }, State::Window(steps)) => {
                let step = leaves(max, per, now);
                while steps.front().is_some_and(|(leaves, _)| *leaves <= now) {
                    steps.pop_front();
                }
                match steps.back_mut() {
                    // A clock that was put back counts into the newest step.
                    Some((last, count)) if *last >= step => *count = count.saturating_add(1),
                    _ => steps.push_back((step, 1)),
                }
            }
            (Self::Quota { per, .. } | Self::Budget { per, .. }, State::Total { until, used }) => {
                if *until <= now {
                    (*until, *used) = (per.end(now), 0);
                }
                *used = used.saturating_add(amount);
            }
            (Self::Concurrency { .. }, State::Running(count)) => *count = count.saturating_add(1),
            (kind, state) => {
                *state = kind.fresh(now);
                kind.take(state, amount, now);
            }
        }
    }

    /// Gives back what was taken for a call that did not come to act.
    ///
    /// Never more than the key would have if that call had not been: a bucket that refilled meanwhile gets only what is
    /// missing, a period that is over gets nothing.
    pub(super) fn give_back(&self, state: &mut State, take: Take, now: u64) {
        match (*self, state) {
            (Self::Bucket(rate), State::Bucket(full_at)) => {
                let refilled = float(now.saturating_sub(take.at));
                *full_at -= (pace(rate).0 - refilled).max(0.0);
            }
            (Self::Window { max, per }, State::Window(steps)) => {
                let step = leaves(max, per, take.at);
                if let Some((_, count)) = steps.iter_mut().find(|(known, _)| *known == step) {
                    *count = count.saturating_sub(1);
                }
                steps.retain(|(_, count)| *count > 0);
            }
            (Self::Quota { per, .. } | Self::Budget { per, .. }, State::Total { until, used })
                if per.end(take.at) == *until =>
            {
                *used = used.saturating_sub(take.amount)
            }
            (Self::Concurrency { .. }, State::Running(count)) => *count = count.saturating_sub(1),
            _ => {}
        }
    }
}

fn read_bucket(rate: Rate, state: Option<&State>, now: u64) -> Reading {
    let (interval, tolerance) = pace(rate);
    let full_at = match state {
        Some(State::Bucket(full_at)) => full_at.max(float(now)),
        _ => float(now),
    };
    let next = full_at + interval;
    let behind = next - float(now);
    // A thousandth of an interval forgives the rounding of fractions.
    let fits = behind <= tolerance + interval / 1_000.0;
    let ahead = if fits { next } else { full_at };
    Reading {
        full: (!fits).then(|| whole((behind - tolerance).ceil()).max(1)),
        left: whole(((tolerance - (ahead - float(now))) / interval + 0.001).floor()),
        reset: whole(ahead.ceil()),
    }
}

/// When the step that `now` belongs to has left the window.
pub(super) fn leaves(max: NonZeroU32, per: Duration, now: u64) -> u64 {
    let grain = grain(max, per);
    (now / grain + 1)
        .saturating_mul(grain)
        .saturating_sub(1)
        .saturating_add(millis(per))
}

fn read_window(max: u64, steps: &VecDeque<(u64, u32)>, leaves: u64, now: u64) -> Reading {
    let inside = || steps.iter().filter(|(leaves, _)| *leaves > now);
    let sum: u64 = inside().map(|(_, count)| u64::from(*count)).sum();
    if sum < max {
        return Reading {
            full: None,
            left: max - sum - 1,
            reset: leaves,
        };
    }
    let mut behind = sum;
    let frees = inside().find(|(_, count)| {
        behind -= u64::from(*count);
        behind < max
    });
    Reading {
        full: Some(frees.map_or(1, |(leaves, _)| leaves - now)),
        left: 0,
        reset: steps.back().map_or(0, |(leaves, _)| *leaves),
    }
}

impl State {
    /// Until when the key says something: afterwards it is as one that saw nothing.
    pub(super) fn until(&self) -> u64 {
        match self {
            Self::Bucket(full_at) => whole(full_at.ceil()),
            Self::Window(steps) => steps.back().map_or(0, |(leaves, _)| *leaves),
            Self::Total { until, .. } => *until,
            Self::Running(0) => 0,
            Self::Running(_) => u64::MAX,
        }
    }
}
