//! What can be wrong with a configuration of this crate; found when it is built, never at a request.

use crate::algorithm::Algorithm;

/// A configuration that cannot work or would not be safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two entries of a verifier's table hold the same token.
    #[error("`{field}` holds the same token twice: give every caller a token of their own")]
    DuplicateToken {
        /// The setting.
        field: &'static str,
    },
    /// A setting that needs a value has none.
    #[error("`{field}` must not be empty")]
    Empty {
        /// The setting.
        field: &'static str,
    },
    /// A number outside its range.
    #[error("`{field}` must lie between {least} and {most}, not {given}")]
    OutOfRange {
        /// The setting, with its unit.
        field: &'static str,
        /// What was given.
        given: u64,
        /// The smallest value that is allowed.
        least: u64,
        /// The largest value that is allowed.
        most: u64,
    },
    /// A fixed token that could be guessed.
    #[error(
        "`{field}` holds a token of {given} characters: use at least {least} random ones, or allow short tokens for a test"
    )]
    ShortToken {
        /// The setting.
        field: &'static str,
        /// Characters of the token.
        given: usize,
        /// The fewest that are allowed.
        least: usize,
    },
    /// A shared-secret algorithm.
    #[error(
        "`algorithms`: `{name}` rests on a shared secret, so that whoever checks a token could mint one; use {}",
        Algorithm::CHOICES
    )]
    SymmetricAlgorithm {
        /// The algorithm as it was written.
        name: String,
    },
    /// An algorithm that is not known here.
    #[error("`algorithms`: `{name}` is not supported; use {}", Algorithm::CHOICES)]
    UnsupportedAlgorithm {
        /// The algorithm as it was written.
        name: String,
    },
    /// A value of the wrong form.
    #[error("`{field}`: `{value}` {problem}")]
    Unfit {
        /// The setting.
        field: &'static str,
        /// The value, never a secret.
        value: String,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// A secret of the wrong form; the value is not repeated.
    #[error("`{field}` {problem}")]
    UnfitSecret {
        /// The setting.
        field: &'static str,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
}

impl ConfigError {
    /// Refuses an empty setting.
    pub(crate) fn unless_empty(field: &'static str, empty: bool) -> Result<(), Self> {
        if empty {
            return Err(Self::Empty { field });
        }
        Ok(())
    }

    /// Refuses a number outside `range`.
    pub(crate) fn unless_outside(
        field: &'static str,
        given: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<(), Self> {
        if range.contains(&given) {
            return Ok(());
        }
        Err(Self::OutOfRange {
            field,
            given,
            least: *range.start(),
            most: *range.end(),
        })
    }
}
