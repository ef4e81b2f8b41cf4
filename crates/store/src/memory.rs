//! A store in this process's memory, within stated bounds.

mod table;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastmcp_guard::clock::Clock;
use futures_core::future::BoxFuture;

use self::table::Table;
use crate::error::StoreError;
use crate::name::{Collection, Key};
use crate::store::{Capabilities, Entry, KeyValueStore, Page, Put, Swap, Version, check_ttl};

/// What happens to a new entry when there is no room, not even after what has expired is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It is refused with [`StoreError::Full`]: for what must not be forgotten, such as replay guards.
    Refuse,
    /// The entries that were written longest ago make room, whatever time they had left: for caches.
    EvictOldest,
}

/// Bounds of a store in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Most entries, expired ones included until they are removed; 1 to 100 million, default 100,000.
    pub max_entries: usize,
    /// Most bytes of all entries: names, values and an estimated 256 for the keeping of each; 1 KiB to 1 TiB, default
    /// 64 MiB.
    pub max_bytes: usize,
    /// Most bytes of one value; 1 byte to `max_bytes`, default 1 MiB.
    pub max_value_bytes: usize,
    /// What happens to a new entry when there is no room; default it is refused.
    pub when_full: WhenFull,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            max_entries: 100_000,
            max_bytes: 64 * 1024 * 1024,
            max_value_bytes: 1024 * 1024,
            when_full: WhenFull::Refuse,
        }
    }
}

impl MemoryLimits {
    /// Most bytes on machines that can address them: 1 TiB.
    const LIMIT_BYTES: usize = if usize::BITS > 40 {
        1 << 40
    } else {
        usize::MAX
    };

    fn check(&self) -> Result<(), StoreError> {
        let within = |field, value, min, max| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(StoreError::InvalidLimit {
                    field,
                    value,
                    min,
                    max,
                })
            }
        };
        within("max_entries", self.max_entries, 1, 100_000_000)?;
        within("max_bytes", self.max_bytes, 1024, Self::LIMIT_BYTES)?;
        within("max_value_bytes", self.max_value_bytes, 1, self.max_bytes)
    }
}

/// How much a store in memory keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Entries, expired ones included until they are removed.
    pub entries: usize,
    /// Bytes as [`MemoryLimits::max_bytes`] counts them.
    pub bytes: usize,
}

/// Keeps entries in this process, and forgets them with it.
///
/// Atomic operations are linearizable within the process. Expired entries are absent at once; their memory is taken back
/// by later writes, a few at a time, and all of it before anything is refused or evicted. Operations take a lock for a
/// short while and never wait for anything else, so their futures are ready when first polled, and dropping one before
/// that has no effect.
pub struct MemoryStore {
    table: Mutex<Table>,
    max_value_bytes: usize,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for MemoryStore {
    /// How much, never what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store that takes the time from `clock`.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidLimit`] for a bound out of its range.
    pub fn new(limits: MemoryLimits, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        limits.check()?;
        Ok(Self {
            table: Mutex::new(Table::new(limits)),
            max_value_bytes: limits.max_value_bytes,
            clock,
        })
    }

    /// How much is kept now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.table().usage()
    }

    /// Removes every expired entry, and returns how many there were.
    ///
    /// Not needed for the bounds; for an owner who wants memory back while nothing is written.
    pub fn remove_expired(&self) -> usize {
        let now = self.clock.now();
        self.table().sweep(now, usize::MAX)
    }

    /// An entry as it is kept: checked, and in memory of its own, for a value may be a small part of a large buffer that
    /// would stay alive with it. One that is too large is left to the table, which refuses it.
    fn prepared(&self, put: Put) -> Result<Put, StoreError> {
        check_ttl(put.ttl)?;
        if put.value.len() > self.max_value_bytes {
            return Ok(put);
        }
        Ok(Put {
            value: Bytes::copy_from_slice(&put.value),
            ttl: put.ttl,
        })
    }

    /// The table. A panic elsewhere cannot leave it half-changed: nothing in it panics.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyValueStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            shared: false,
            scan: true,
        }
    }

    fn entry<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move { Ok(self.table().entry(collection, key, self.clock.now())) })
    }

    fn put<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(async move {
            let put = self.prepared(Put { value, ttl })?;
            self.table().insert(collection, key, put, self.clock.now())
        })
    }

    fn put_if_absent<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(async move {
            let put = self.prepared(Put { value, ttl })?;
            let (mut table, now) = (self.table(), self.clock.now());
            match table.entry(collection, key, now) {
                None => table.insert(collection, key, put, now).map(Swap::Stored),
                current => Ok(Swap::Conflict { current }),
            }
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
        new: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(async move {
            let new = self.prepared(new)?;
            let (mut table, now) = (self.table(), self.clock.now());
            match table.entry(collection, key, now) {
                Some(current) if current.version == expected => {
                    table.insert(collection, key, new, now).map(Swap::Stored)
                }
                current => Ok(Swap::Conflict { current }),
            }
        })
    }

    fn delete<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let (mut table, now) = (self.table(), self.clock.now());
            let was_there = table.entry(collection, key, now).is_some();
            table.remove(collection, key);
            Ok(was_there)
        })
    }

    fn delete_if<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let (mut table, now) = (self.table(), self.clock.now());
            let holds = table
                .entry(collection, key, now)
                .is_some_and(|current| current.version == expected);
            if holds {
                table.remove(collection, key);
            }
            Ok(holds)
        })
    }

    fn scan<'a>(
        &'a self,
        collection: &'a Collection,
        prefix: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        Box::pin(async move {
            Ok(self
                .table()
                .keys(collection, prefix, &page, self.clock.now()))
        })
    }
}

#[cfg(test)]
mod tests;
