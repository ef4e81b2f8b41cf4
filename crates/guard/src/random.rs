//! Unpredictable bytes, as a source that is handed in.
//!
//! Tokens, nonces and identifiers take their bytes from a [`Random`] that their owner was given: [`OsRandom`] in a
//! product, a seeded one in a test (feature `testing`).

use std::{cell::RefCell, fmt};

use thiserror::Error;

/// What yields bytes that nobody can guess.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills the whole of `bytes`.
    ///
    /// # Errors
    ///
    /// [`RandomError`] if the source cannot deliver; `bytes` then holds nothing that may be used.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

impl<R: Random + ?Sized> Random for std::sync::Arc<R> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        (**self).fill(bytes)
    }
}

/// Returns `N` fresh bytes of `random`.
///
/// # Errors
///
/// [`RandomError`] if the source cannot deliver.
pub fn array<const N: usize>(random: &dyn Random) -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

/// The source of randomness could not deliver.
#[derive(Debug, Error)]
#[error("the operating system yields no random bytes")]
pub struct RandomError {
    #[source]
    source: getrandom::Error,
}

/// The operating system's generator (`getrandom(2)` and its like).
///
/// What is longer than 16 bytes, as keys and tokens are, comes from it directly. What is shorter, as identifiers are, comes from
/// bytes that each thread asked for ahead: every request needs some, and asking costs more than they do. No byte is yielded
/// twice; but a copy of the process's memory shows those to come, so a short secret asks for more than it needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        if bytes.len() > SHORT {
            return ask(bytes);
        }
        let taken = AHEAD.try_with(|ahead| ahead.borrow_mut().take(bytes));
        // A thread that ends has none any more.
        taken.unwrap_or_else(|_| ask(bytes))
    }
}

/// The most bytes that are taken from those asked for ahead.
const SHORT: usize = 16;

thread_local! {
    static AHEAD: RefCell<Ahead> = const { RefCell::new(Ahead { bytes: [0; 256], left: 0 }) };
}

/// Bytes that were asked for ahead; the first `left` of them have not been yielded.
struct Ahead {
    bytes: [u8; 256],
    left: usize,
}

impl Ahead {
    fn take(&mut self, to: &mut [u8]) -> Result<(), RandomError> {
        if self.left < to.len() {
            self.left = 0;
            ask(&mut self.bytes)?;
            self.left = self.bytes.len();
        }
        let rest = self.left.saturating_sub(to.len());
        let from = self.bytes.get_mut(rest..self.left).unwrap_or_default();
        for (to, from) in to.iter_mut().zip(from) {
            // What was yielded is not here any more.
            *to = std::mem::take(from);
        }
        self.left = rest;
        Ok(())
    }
}

fn ask(bytes: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(bytes).map_err(|source| RandomError { source })
}

/// A generator whose bytes follow from its seed alone: **for tests only**, everybody can predict it.
///
/// Bytes come from `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014); two calls never yield the same block.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct SeededRandom {
    state: std::sync::atomic::AtomicU64,
}

#[cfg(any(test, feature = "testing"))]
impl SeededRandom {
    /// `SplitMix64`'s step, the odd number nearest to 2^64 divided by the golden ratio.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// A generator that starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            state: std::sync::atomic::AtomicU64::new(seed),
        }
    }

    /// The next 64 bits.
    fn next(&self) -> u64 {
        let before = self
            .state
            .fetch_add(Self::STEP, std::sync::atomic::Ordering::Relaxed);
        let mut mixed = before.wrapping_add(Self::STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(any(test, feature = "testing"))]
impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        for chunk in bytes.chunks_mut(8) {
            let block = self.next().to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(block) {
                *to = from;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_never_repeats_itself() {
        let (first, second): ([u8; 32], [u8; 32]) =
            (array(&OsRandom).unwrap(), array(&OsRandom).unwrap());
        assert_ne!(first, second);
        assert_ne!(first, [0; 32]);
    }

    #[test]
    fn what_is_asked_for_ahead_is_yielded_once() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            // Lengths that do not divide what is asked for ahead, and one that is asked for by itself.
            assert!(seen.insert(array::<16>(&OsRandom).unwrap().to_vec()));
            assert!(seen.insert(array::<10>(&OsRandom).unwrap().to_vec()));
            assert!(seen.insert(array::<32>(&OsRandom).unwrap().to_vec()));
        }
        assert!(seen.iter().all(|bytes| bytes.iter().any(|byte| *byte != 0)));
    }

    #[test]
    fn a_seed_decides_every_byte() {
        let (one, same, other) = (
            SeededRandom::new(7),
            SeededRandom::new(7),
            SeededRandom::new(8),
        );
        let bytes: [u8; 21] = array(&one).unwrap();
        assert_eq!(bytes, array(&same).unwrap());
        assert_ne!(bytes, array(&other).unwrap());
        assert_ne!(bytes, array(&one).unwrap(), "a second call goes on");
    }

    #[test]
    fn splitmix64_matches_its_published_vector() {
        // The reference implementation (Vigna, splitmix64.c) with seed 1234567.
        let random = SeededRandom::new(1_234_567);
        let words = [random.next(), random.next(), random.next()];
        assert_eq!(
            words,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
