//! What every store does.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;

use crate::error::StoreError;
use crate::name::{Collection, Key};

/// Keeps bytes under names, for as long as it is told.
///
/// The contract, which `contract::check` tests:
///
/// - An entry whose time has come is absent to every operation, whether or not it was removed already.
/// - Every write gives the entry a [`Version`] that no entry of that key ever had, so that a compare-and-swap notices a
///   deletion and a new write in between.
/// - [`put_if_absent`](Self::put_if_absent), [`compare_and_swap`](Self::compare_and_swap) and
///   [`delete_if`](Self::delete_if) are atomic: of many callers with the same expectation one succeeds. How far that
///   reaches is in [`Capabilities`].
/// - A write replaces value and time to live together; neither is inherited.
/// - A write that fails with anything but [`StoreError::Unavailable`] changed nothing.
///
/// # Cancel safety
///
/// Dropping the future of a read has no effect. A write whose future is dropped may or may not have taken effect, unless
/// its backend says more.
pub trait KeyValueStore: Send + Sync + fmt::Debug {
    /// What this backend can do and promise.
    fn capabilities(&self) -> Capabilities;

    /// Returns an entry: value, version and time left.
    fn entry<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// Writes an entry whatever was there, which stays for `ttl` or, without one, until it is removed.
    fn put<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Version, StoreError>>;

    /// Writes an entry if there is none.
    fn put_if_absent<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Swap, StoreError>>;

    /// Replaces an entry if it still has the version `expected`.
    fn compare_and_swap<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
        new: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>>;

    /// Removes an entry, and returns whether there was one.
    fn delete<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Removes an entry if it still has the version `expected`, and returns whether it did.
    fn delete_if<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Returns keys that begin with `prefix`, in the order of their bytes; an empty prefix is all of them.
    ///
    /// For upkeep, not for the way of a call. Entries that come or go between two pages may or may not be seen; those
    /// that stay are seen once. [`StoreError::Unsupported`] where the backend has no order.
    fn scan<'a>(
        &'a self,
        collection: &'a Collection,
        prefix: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>>;

    /// Returns a value.
    fn get<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move { Ok(self.entry(collection, key).await?.map(|entry| entry.value)) })
    }

    /// Returns the values of `keys`, in their order. Not a snapshot: each is read for itself.
    fn get_many<'a>(
        &'a self,
        collection: &'a Collection,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>> {
        Box::pin(async move {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                values.push(self.get(collection, key).await?);
            }
            Ok(values)
        })
    }

    /// Returns how long an entry stays.
    fn ttl<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Ttl, StoreError>> {
        Box::pin(async move {
            Ok(match self.entry(collection, key).await? {
                None => Ttl::Absent,
                Some(Entry { ttl: None, .. }) => Ttl::Forever,
                Some(Entry {
                    ttl: Some(left), ..
                }) => Ttl::Remaining(left),
            })
        })
    }
}

impl<S: KeyValueStore + ?Sized> KeyValueStore for Arc<S> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn entry<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        (**self).entry(collection, key)
    }

    fn put<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        (**self).put(collection, key, value, ttl)
    }

    fn put_if_absent<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        (**self).put_if_absent(collection, key, value, ttl)
    }

    fn compare_and_swap<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
        new: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        (**self).compare_and_swap(collection, key, expected, new)
    }

    fn delete<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        (**self).delete(collection, key)
    }

    fn delete_if<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        (**self).delete_if(collection, key, expected)
    }

    fn scan<'a>(
        &'a self,
        collection: &'a Collection,
        prefix: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        (**self).scan(collection, prefix, page)
    }

    fn get<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        (**self).get(collection, key)
    }

    fn get_many<'a>(
        &'a self,
        collection: &'a Collection,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>> {
        (**self).get_many(collection, keys)
    }

    fn ttl<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Ttl, StoreError>> {
        (**self).ttl(collection, key)
    }
}

/// What a backend can do and promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Entries survive the end of the process.
    pub durable: bool,
    /// Other processes see the same entries, and atomic operations hold among all of them.
    pub shared: bool,
    /// [`KeyValueStore::scan`] works.
    pub scan: bool,
}

/// A name for one write of one entry, to compare with; no write of a key has another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of that number, for backends.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number, for backends.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Which write it is of.
    pub version: Version,
    /// How long it stays from now on; without one, until it is removed.
    pub ttl: Option<Duration>,
}

/// An entry to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The value.
    pub value: Bytes,
    /// How long it stays, at least 1 millisecond; without one, until it is removed.
    pub ttl: Option<Duration>,
}

/// What came of a write with a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The condition held, and the entry is written.
    Stored(Version),
    /// The condition did not hold, and nothing is written.
    Conflict {
        /// What is there instead, if anything is.
        current: Option<Entry>,
    },
}

/// How long an entry stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// There is none.
    Absent,
    /// Until it is removed.
    Forever,
    /// For that time.
    Remaining(Duration),
}

/// A part of a list of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The last key of the page before; none for the first page.
    pub after: Option<Key>,
    /// The most keys of this page; fewer mean that it is the last one.
    pub limit: NonZeroU16,
}

/// Refuses a time to live that no backend can keep.
///
/// # Errors
///
/// [`StoreError::InvalidTtl`] below one millisecond.
pub(crate) fn check_ttl(ttl: Option<Duration>) -> Result<(), StoreError> {
    match ttl {
        Some(ttl) if ttl < Duration::from_millis(1) => Err(StoreError::InvalidTtl { ttl }),
        _ => Ok(()),
    }
}
