//! The time of day, as a value that is handed in.
//!
//! Everything that expires (tokens, tickets, cached keys, stored entries) asks a [`Clock`] that its owner was given, so
//! that a test moves time with [`ManualClock`] instead of sleeping. Durations *within* one process (timeouts, backoff)
//! belong to `tokio::time`, which tests can pause: a wall clock may jump.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Milliseconds in a second.
const MILLIS_PER_SECOND: u64 = 1_000;

/// A moment: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time).
///
/// Range: 1970 to the year 584 million; every arithmetic saturates at those ends, so that no input can make it wrap.
/// Serialises as a bare integer of milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z, the earliest moment that can be named.
    pub const UNIX_EPOCH: Self = Self(0);
    /// The latest moment that can be named: what saturating arithmetic stops at, and a fit value for "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The moment that many milliseconds after the epoch.
    #[must_use]
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The moment that many seconds after the epoch; beyond the range it is [`Timestamp::MAX`].
    ///
    /// Takes what a JWT's `exp` or `iat` holds once it was parsed as an unsigned number.
    #[must_use]
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(MILLIS_PER_SECOND))
    }

    /// The moment as the standard library names it; before 1970 it is the epoch, beyond the range [`Timestamp::MAX`].
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Self {
        let since_epoch = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self::UNIX_EPOCH.saturating_add(since_epoch)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.0 / MILLIS_PER_SECOND
    }

    /// The moment `duration` later, in whole milliseconds (a fraction is dropped); stops at [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }

    /// The moment `duration` earlier, in whole milliseconds (a fraction is dropped); stops at the epoch.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    /// Seconds with three decimals, as in `1700000000.250`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:03}",
            self.unix_seconds(),
            self.0 % MILLIS_PER_SECOND
        )
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self::from_system_time(time)
    }
}

/// Whole milliseconds of a duration; what does not fit is as long as can be.
fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What tells the time of day.
///
/// Implementations may go backwards (an administrator sets the clock); a caller that needs a span uses
/// [`Timestamp::since`], which then yields zero.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current moment.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_system_time(SystemTime::now())
    }
}

/// A clock that stands still until it is told otherwise.
///
/// For tests, of this workspace and of its users: share it in an `Arc`, hand clones to what is tested, and move it.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use fastmcp_guard::clock::{Clock, ManualClock, Timestamp};
///
/// let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000)));
/// let tested: Arc<dyn Clock> = clock.clone();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(tested.now().unix_seconds(), 1_700_000_060);
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    millis: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            millis: AtomicU64::new(now.0),
        }
    }

    /// Shows `now` from here on, earlier or later than before.
    pub fn set(&self, now: Timestamp) {
        self.millis.store(now.0, Ordering::SeqCst);
    }

    /// Moves on by `duration`, in whole milliseconds; stops at [`Timestamp::MAX`].
    pub fn advance(&self, duration: Duration) {
        let moved = |millis| Some(Timestamp(millis).saturating_add(duration).0);
        // The closure always answers, so the update cannot fail.
        let _ = self
            .millis
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.millis.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_milliseconds_agree() {
        let moment = Timestamp::from_unix_millis(1_700_000_000_999);
        assert_eq!(moment.unix_seconds(), 1_700_000_000);
        assert_eq!(moment.millis(), 1_700_000_000_999);
        assert_eq!(moment.to_string(), "1700000000.999");
        assert_eq!(Timestamp::from_unix_seconds(7).millis(), 7_000);
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Timestamp::from_unix_seconds(u64::MAX), Timestamp::MAX);
        assert_eq!(
            Timestamp::MAX.saturating_add(Duration::from_secs(1)),
            Timestamp::MAX
        );
        assert_eq!(
            Timestamp::UNIX_EPOCH.saturating_add(Duration::MAX),
            Timestamp::MAX
        );
        assert_eq!(
            Timestamp::from_unix_seconds(1).saturating_sub(Duration::from_secs(2)),
            Timestamp::UNIX_EPOCH
        );
    }

    #[test]
    fn a_span_is_never_negative() {
        let (early, late) = (
            Timestamp::from_unix_seconds(10),
            Timestamp::from_unix_seconds(12),
        );
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[test]
    fn a_time_before_1970_is_the_epoch() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(Timestamp::from_system_time(before), Timestamp::UNIX_EPOCH);
        assert!(SystemClock.now() > Timestamp::from_unix_seconds(1_700_000_000));
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(Timestamp::from_unix_seconds(5));
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now().millis(), 6_500);
        clock.set(Timestamp::from_unix_seconds(1));
        assert_eq!(clock.now().unix_seconds(), 1);
        clock.set(Timestamp::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::MAX);
    }

    #[test]
    fn serialises_as_a_bare_integer() {
        let text = serde_json::to_string(&Timestamp::from_unix_millis(42)).unwrap();
        assert_eq!(text, "42");
        assert_eq!(
            serde_json::from_str::<Timestamp>(&text).unwrap(),
            Timestamp::from_unix_millis(42)
        );
    }
}
