//! Whom the writer waits for before it syncs: a sync costs the same for one record as for many.
//!
//! Nobody says that they will write soon, and nobody need: those who were answered last and those who came while that
//! was done are *around*. They are waited for as long as they need to come back at once: always if they are many, and if they
//! are few, only where that was not in vain. For many the wait is drawn out as long as it brings records.

use std::time::Duration;

/// The shortest wait: about what a sync takes, and who comes back at once has come by then.
const FIRST: Duration = Duration::from_micros(200);
/// From so many on a longer wait is tried. PostgreSQL's `commit_siblings` is 5.
const CROWD: usize = 4;
/// After so many waits in vain one after the other, the next is 2 to the power of it batches away.
const MOST_VAIN: u32 = 10;

#[derive(Clone, Debug)]
pub(super) struct Company {
    /// The longest wait.
    most: Duration,
    /// How many are around.
    around: usize,
    /// How long they are waited for.
    patience: Duration,
    /// Waits in vain, less those that were not.
    vain: u32,
    /// Batches to come before few are waited for again, and many for long.
    rest: u32,
}

/// A wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// It ends when so many records are there,
    pub(super) records: usize,
    /// or when so much time has passed.
    pub(super) time: Duration,
}

/// How a batch came together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gathered {
    /// Records that were there before the wait.
    pub(super) found: usize,
    /// Records after it.
    pub(super) taken: usize,
    pub(super) waited: Waited,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waited {
    /// For nobody.
    #[default]
    Not,
    /// For all who were expected, and less than half of the time.
    Shortly,
    /// For all who were expected.
    Long,
    /// Until the time was up.
    Out,
}

impl Company {
    /// Waits for at most so long.
    pub(super) fn new(most: Duration) -> Self {
        Self {
            most,
            around: 0,
            patience: most.min(FIRST),
            vain: 0,
            rest: 0,
        }
    }

    /// Says whom to wait for where so many records are there.
    pub(super) fn wait(&self, found: usize) -> Option<Wait> {
        let rests = self.rest > 0 && self.around < CROWD;
        let worth = !rests && self.around > found && !self.patience.is_zero();
        worth.then_some(Wait {
            records: self.around,
            time: self.patience,
        })
    }

    /// Learns from a batch that was written, and from how many came `meanwhile`.
    pub(super) fn learn(&mut self, batch: Gathered, meanwhile: usize) {
        let missing = self.around.saturating_sub(batch.taken);
        self.around = batch.taken + meanwhile;
        self.rest = self.rest.saturating_sub(1);
        match batch.waited {
            Waited::Not => {}
            Waited::Shortly => {
                self.vain = self.vain.saturating_sub(1);
                self.shorten();
            }
            Waited::Long => self.vain = self.vain.saturating_sub(1),
            Waited::Out => self.ran_out(batch, missing),
        }
    }

    fn ran_out(&mut self, batch: Gathered, missing: usize) {
        let crowd = self.around >= CROWD;
        let came = batch.taken > batch.found;
        if !came && (!crowd || self.patience >= self.most) {
            self.rest = 1 << self.vain;
            self.vain = (self.vain + 1).min(MOST_VAIN);
            self.patience = self.most.min(FIRST);
            return;
        }
        self.vain = self.vain.saturating_sub(u32::from(came));
        if crowd && self.rest == 0 && missing * 8 >= batch.taken {
            self.patience = (self.patience * 2).min(self.most);
        } else {
            // Many need not wait longer for one of them who is late.
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        self.patience = (self.patience / 2).max(self.most.min(FIRST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: u64 = 300;
    const MOST: Duration = Duration::from_millis(4);

    /// What came of so many syncs.
    #[derive(Debug, Default)]
    struct Told {
        records: usize,
        syncs: u64,
        /// All times are in µs.
        time: u64,
        waited: u64,
    }

    impl Told {
        fn a_sync(&self) -> f64 {
            self.records as f64 / self.syncs as f64
        }

        fn a_second(&self) -> f64 {
            self.records as f64 / self.time as f64 * 1e6
        }
    }

    /// Clients that each wait for their own record; `back` says when one is back who was answered at a time.
    fn tell(
        company: &mut Company,
        clients: usize,
        syncs: u64,
        mut back: impl FnMut(u64) -> u64,
    ) -> Told {
        let mut told = Told {
            syncs,
            ..Told::default()
        };
        let mut coming = vec![0; clients];
        let mut now = 0;
        for _ in 0..syncs {
            coming.sort_unstable();
            let there = |now: u64| coming.iter().filter(|time| **time <= now).count();
            now = now.max(coming[0]);
            let mut batch = Gathered {
                found: there(now),
                ..Gathered::default()
            };
            if let Some(Wait { records, time }) = company.wait(batch.found) {
                let time = u64::try_from(time.as_micros()).unwrap();
                let all = coming.get(records - 1).map(|last| last - now);
                let (waited, took) = match all {
                    Some(took) if took <= time / 2 => (Waited::Shortly, took),
                    Some(took) if took <= time => (Waited::Long, took),
                    _ => (Waited::Out, time),
                };
                batch.waited = waited;
                told.waited += took;
                now += took;
            }
            batch.taken = there(now);
            now += SYNC;
            company.learn(batch, there(now) - batch.taken);
            for client in &mut coming[..batch.taken] {
                *client = back(now);
            }
            told.records += batch.taken;
        }
        told.time = now;
        told
    }

    /// Times of the mean that is given, as unlike as those of callers who know nothing of each other.
    fn unlike(mean: f64) -> impl FnMut(u64) -> u64 {
        let mut state = 1_u64;
        move |now| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let part = ((state >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
            let pause = Duration::from_micros(1).mul_f64(-part.ln() * mean);
            now + u64::try_from(pause.as_micros()).unwrap()
        }
    }

    /// A core that has so much to do for each record, and something for each sync.
    fn core(each: u64) -> impl FnMut(u64) -> u64 {
        let (mut free, mut synced) = (0, 0);
        move |now| {
            if synced != now {
                (free, synced) = (free + SYNC / 2, now);
            }
            free = now.max(free) + each;
            free
        }
    }

    fn nobody() -> Company {
        Company::new(Duration::ZERO)
    }

    #[test]
    fn who_writes_alone_is_never_kept_waiting() {
        for pause in [0.0, 50.0, 10_000.0] {
            let told = tell(&mut Company::new(MOST), 1, 10_000, unlike(pause));
            assert_eq!((told.records, told.waited), (10_000, 0));
        }
    }

    #[test]
    fn who_comes_back_at_once_shares_every_sync() {
        for clients in [2, 3, 8, 32, 64, 128] {
            let told = tell(&mut Company::new(MOST), clients, 1_000, core(3));
            assert!(told.a_sync() > 0.99 * clients as f64, "{clients}: {told:?}");
            let least = clients as u64 * 3 * 1_000;
            assert!(told.waited <= least, "{clients}: {told:?}");
        }
    }

    #[test]
    fn the_few_who_think_before_they_come_back_are_soon_not_waited_for() {
        for clients in [2, 3, 4] {
            for pause in [1_000.0, 3_000.0, 20_000.0] {
                let told = tell(&mut Company::new(MOST), clients, 20_000, unlike(pause));
                let alone = tell(&mut nobody(), clients, 20_000, unlike(pause));
                let label = format!("{clients} {pause}: {told:?} {alone:?}");
                assert!(told.waited * 50 < told.time, "{label}");
                assert!(told.a_second() > 0.98 * alone.a_second(), "{label}");
            }
        }
    }

    #[test]
    fn many_on_a_busy_core_share_more_and_more() {
        for each in [10, 30, 100, 200] {
            let told = tell(&mut Company::new(MOST), 64, 5_000, core(each));
            let alone = tell(&mut nobody(), 64, 5_000, core(each));
            let label = format!("{each}: {told:?} {alone:?}");
            assert!(told.a_sync() > 2.0 * alone.a_sync(), "{label}");
            assert!(told.a_second() > alone.a_second(), "{label}");
        }
    }

    #[test]
    fn many_who_come_one_by_one_share_a_sync_and_few_do_not() {
        let told = tell(&mut Company::new(MOST), 64, 5_000, unlike(5_000.0));
        assert!(told.a_sync() > 15.0, "{told:?}");
        let told = tell(&mut Company::new(MOST), 16, 5_000, unlike(20_000.0));
        assert!(told.waited * 50 < told.time, "{told:?}");
    }

    /// Timers tick for all at once: so many come in a wave, with so much between one and the next.
    fn waves(spread: u64) -> impl FnMut(u64) -> u64 {
        let (mut random, mut last) = (unlike(1_500.0), 0);
        move |now| {
            let tick = random(now + 1_000) / 1_000 * 1_000;
            last = (last + spread).max(tick);
            last
        }
    }

    #[test]
    fn who_comes_in_waves_shares_a_sync() {
        for (clients, spread) in [(8, 2), (16, 5), (64, 2), (64, 10)] {
            let told = tell(&mut Company::new(MOST), clients, 5_000, waves(spread));
            let alone = tell(&mut nobody(), clients, 5_000, waves(spread));
            let label = format!("{clients} {spread}: {told:?} {alone:?}");
            assert!(told.a_sync() > alone.a_sync(), "{label}");
            assert!(told.a_second() > 0.9 * alone.a_second(), "{label}");
        }
    }

    #[test]
    fn a_crowd_that_goes_away_is_waited_for_once() {
        let mut company = Company::new(MOST);
        tell(&mut company, 64, 1_000, core(30));
        let told = tell(&mut company, 1, 1_000, core(3));
        assert!(told.waited <= 2_000, "{told:?}");
    }

    #[test]
    fn one_who_is_late_is_not_waited_for_long() {
        let mut company = Company::new(MOST);
        for _ in 0..100 {
            let wait = company.wait(1).map(|wait| wait.time);
            assert!(wait.is_none_or(|time| time <= FIRST), "{company:?}");
            let batch = Gathered {
                found: 1,
                taken: 63,
                waited: Waited::Out,
            };
            company.learn(batch, 1);
        }
    }
}
