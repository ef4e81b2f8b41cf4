//! Why a store did not do what was asked.

use std::error::Error;
use std::time::Duration;

use thiserror::Error;

/// Why a store did not do what was asked.
///
/// A lost race is none of these: [`Swap`](crate::Swap) tells it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A collection or key cannot be one.
    #[error("`{field}`: {reason}")]
    InvalidName {
        /// `collection` or `key`.
        field: &'static str,
        /// What is wrong with it, and what to give instead.
        reason: &'static str,
    },
    /// A URL that no backend can use. It is not shown, for it may hold a password.
    #[error("the URL of the store cannot be used: {reason}")]
    InvalidUrl {
        /// What to give instead.
        reason: &'static str,
    },
    /// A time to live that no entry can have.
    #[error("`ttl` is {ttl:?}: give at least 1 millisecond, or none for an entry that stays")]
    InvalidTtl {
        /// The time that was given.
        ttl: Duration,
    },
    /// A bound of the store itself is out of its range.
    #[error("`{field}` is {value}: give {min} to {max}")]
    InvalidLimit {
        /// The bound's name.
        field: &'static str,
        /// The value that was given.
        value: usize,
        /// The least value.
        min: usize,
        /// The greatest value.
        max: usize,
    },
    /// The value alone is larger than the store takes; what was there before is still there.
    #[error("the value has {bytes} bytes: at most {max_bytes} can be stored")]
    ValueTooLarge {
        /// Bytes of the value.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The store is full and set to refuse; what was there before is still there.
    #[error("the store is full: {entries} entries, {bytes} bytes")]
    Full {
        /// Entries that are kept.
        entries: usize,
        /// Bytes that are kept.
        bytes: usize,
    },
    /// The backend cannot do this; its capabilities say so.
    #[error("this store cannot {operation}")]
    Unsupported {
        /// What was asked for, as a verb.
        operation: &'static str,
    },
    /// The backend is away or failed. Whether a write took effect is not known.
    #[error("the store is unavailable")]
    Unavailable {
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}
