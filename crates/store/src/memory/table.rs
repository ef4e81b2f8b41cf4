//! The entries, in the three orders that they are asked for: by name, by age, by expiry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use fastmcp_guard::clock::Timestamp;

use super::{MemoryLimits, Usage, WhenFull};
use crate::error::StoreError;
use crate::name::{Collection, Key};
use crate::store::{Entry, Page, Put, Version};

/// What keeping one entry costs beside its name and value, in bytes: an estimate of its places in the three orders.
const OVERHEAD_BYTES: usize = 256;

/// Expired entries that a write removes on its way: more than one, so that writes outrun what expires.
const SWEEP_PER_WRITE: usize = 16;

/// Everything that is kept.
///
/// INVARIANT: `by_version` names exactly the records of `collections`, `by_expiry` exactly those that expire, `bytes` is
/// the sum of their costs, and no collection is empty.
#[derive(Debug)]
pub(super) struct Table {
    limits: MemoryLimits,
    collections: HashMap<Collection, BTreeMap<Key, Record>>,
    /// Oldest first, for a version is given to every write and each is higher than those before.
    by_version: BTreeMap<Version, (Collection, Key)>,
    by_expiry: BTreeSet<(Timestamp, Version)>,
    bytes: usize,
    last_version: u64,
}

#[derive(Debug)]
struct Record {
    value: Bytes,
    version: Version,
    expires: Option<Timestamp>,
}

impl Record {
    fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl Table {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        Self {
            limits,
            collections: HashMap::new(),
            by_version: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            bytes: 0,
            last_version: 0,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            entries: self.by_version.len(),
            bytes: self.bytes,
        }
    }

    pub(super) fn entry(
        &self,
        collection: &Collection,
        key: &Key,
        now: Timestamp,
    ) -> Option<Entry> {
        let record = self.collections.get(collection)?.get(key)?;
        record.is_live(now).then(|| Entry {
            value: record.value.clone(),
            version: record.version,
            ttl: record.expires.map(|expires| expires.since(now)),
        })
    }

    pub(super) fn keys(
        &self,
        collection: &Collection,
        prefix: &str,
        page: &Page,
        now: Timestamp,
    ) -> Vec<Key> {
        let Some(records) = self.collections.get(collection) else {
            return Vec::new();
        };
        let start = match &page.after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        records
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .filter(|(_, record)| record.is_live(now))
            .take(usize::from(page.limit.get()))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Writes a record whatever was there; refused, it changes nothing that lives.
    pub(super) fn insert(
        &mut self,
        collection: &Collection,
        key: &Key,
        put: Put,
        now: Timestamp,
    ) -> Result<Version, StoreError> {
        let (value_bytes, cost) = (put.value.len(), cost(collection, key, &put.value));
        if value_bytes > self.limits.max_value_bytes || cost > self.limits.max_bytes {
            let names_and_keeping = cost.saturating_sub(value_bytes);
            let room = self.limits.max_bytes.saturating_sub(names_and_keeping);
            let max_bytes = self.limits.max_value_bytes.min(room);
            return Err(StoreError::ValueTooLarge {
                bytes: value_bytes,
                max_bytes,
            });
        }
        self.sweep(now, SWEEP_PER_WRITE);
        self.make_room(collection, key, cost, now)?;
        self.remove(collection, key);

        self.last_version += 1;
        let version = Version::from_number(self.last_version);
        let expires = put.ttl.map(|ttl| now.saturating_add(ttl));
        self.by_version
            .insert(version, (collection.clone(), key.clone()));
        self.by_expiry
            .extend(expires.map(|expires| (expires, version)));
        self.bytes += cost;
        let record = Record {
            value: put.value,
            version,
            expires,
        };
        self.collections
            .entry(collection.clone())
            .or_default()
            .insert(key.clone(), record);
        Ok(version)
    }

    pub(super) fn remove(&mut self, collection: &Collection, key: &Key) {
        let Some(records) = self.collections.get_mut(collection) else {
            return;
        };
        let Some(record) = records.remove(key) else {
            return;
        };
        if records.is_empty() {
            self.collections.remove(collection);
        }
        self.by_version.remove(&record.version);
        if let Some(expires) = record.expires {
            self.by_expiry.remove(&(expires, record.version));
        }
        self.bytes = self
            .bytes
            .saturating_sub(cost(collection, key, &record.value));
    }

    /// Removes up to `most` expired records, and returns how many it removed.
    pub(super) fn sweep(&mut self, now: Timestamp, most: usize) -> usize {
        let mut removed = 0;
        while removed < most {
            let Some(version) = self
                .by_expiry
                .first()
                .and_then(|(expires, version)| (*expires <= now).then_some(*version))
            else {
                break;
            };
            self.remove_version(version);
            removed += 1;
        }
        removed
    }

    /// Sees to it that a record of that cost fits in the place of the one that has its name, if there is one.
    fn make_room(
        &mut self,
        collection: &Collection,
        key: &Key,
        cost: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        while !self.fits(collection, key, cost) {
            if self.sweep(now, SWEEP_PER_WRITE) > 0 {
                continue;
            }
            let Usage { entries, bytes } = self.usage();
            match (
                self.limits.when_full,
                self.by_version
                    .first_key_value()
                    .map(|(version, _)| *version),
            ) {
                (WhenFull::EvictOldest, Some(oldest)) => self.remove_version(oldest),
                // Empty and still no room cannot be: the cost was held against the bounds before.
                (WhenFull::Refuse, _) | (WhenFull::EvictOldest, None) => {
                    return Err(StoreError::Full { entries, bytes });
                }
            }
        }
        Ok(())
    }

    fn fits(&self, collection: &Collection, key: &Key, added: usize) -> bool {
        let replaced = self
            .collections
            .get(collection)
            .and_then(|records| records.get(key));
        let (entries, freed) = match replaced {
            Some(record) => (self.by_version.len(), cost(collection, key, &record.value)),
            None => (self.by_version.len().saturating_add(1), 0),
        };
        let bytes = self.bytes.saturating_sub(freed).saturating_add(added);
        entries <= self.limits.max_entries && bytes <= self.limits.max_bytes
    }

    fn remove_version(&mut self, version: Version) {
        if let Some((collection, key)) = self.by_version.get(&version).cloned() {
            self.remove(&collection, &key);
        }
    }

    /// Asserts what the type promises.
    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        let mut versions = BTreeMap::new();
        let (mut expiries, mut bytes) = (BTreeSet::new(), 0);
        for (collection, records) in &self.collections {
            assert!(!records.is_empty());
            for (key, record) in records {
                versions.insert(record.version, (collection.clone(), key.clone()));
                expiries.extend(record.expires.map(|expires| (expires, record.version)));
                bytes += cost(collection, key, &record.value);
            }
        }
        assert_eq!(
            (&versions, &expiries, bytes),
            (&self.by_version, &self.by_expiry, self.bytes)
        );
        assert!(
            self.by_version.len() <= self.limits.max_entries && self.bytes <= self.limits.max_bytes
        );
    }
}

fn cost(collection: &Collection, key: &Key, value: &Bytes) -> usize {
    collection
        .as_str()
        .len()
        .saturating_add(key.as_str().len())
        .saturating_add(value.len())
        .saturating_add(OVERHEAD_BYTES)
}
