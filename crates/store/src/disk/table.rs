//! The tables of the file.
//!
//! `entries` holds an entry below its collection, a zero byte and its key, which is the order of a scan: eight bytes of
//! version, eight of the moment that ends it (all ones for never), then the value. `expiries` has those that end, by
//! the moment. `counts` has the last version and the bytes of all names and values.

use bytes::Bytes;
use fastmcp_guard::clock::Timestamp;
use redb::{
    Database, Error, ReadOnlyTable, ReadableDatabase as _, ReadableTable,
    ReadableTableMetadata as _, Table, TableDefinition,
};

use super::DiskConfig;
use crate::error::StoreError;
use crate::name::{Collection, Key};
use crate::store::{Entry, Page, Put, Version};

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const EXPIRIES: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("expiries");
const COUNTS: TableDefinition<'_, &str, u64> = TableDefinition::new("counts");
const VERSION: &str = "version";
const BYTES: &str = "bytes";

/// What ends never.
const NEVER: u64 = u64::MAX;

/// Expired entries that a write removes on its way.
const SWEEP_PER_WRITE: usize = 16;

/// Expired entries that are held in memory at a time while all of them are removed.
const SWEEP_AT_ONCE: usize = 1_024;

/// Where an entry stands. Neither part has a zero byte.
pub(super) fn name(collection: &Collection, key: &Key) -> Vec<u8> {
    [
        collection.as_str().as_bytes(),
        &[0],
        key.as_str().as_bytes(),
    ]
    .concat()
}

/// Makes the tables that are not there.
pub(super) fn create(database: &Database) -> Result<(), Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(EXPIRIES)?;
    transaction.open_table(COUNTS)?;
    transaction.commit()?;
    Ok(())
}

/// An entry that is there.
pub(super) struct Found {
    pub(super) version: Version,
    value: Bytes,
    ends: u64,
    now: Timestamp,
}

impl Found {
    pub(super) fn into_entry(self) -> Entry {
        let ends = (self.ends != NEVER).then(|| Timestamp::from_unix_millis(self.ends));
        Entry {
            value: self.value,
            version: self.version,
            ttl: ends.map(|ends| ends.since(self.now)),
        }
    }
}

/// The parts of a record: version, end, value.
fn parts(record: &[u8]) -> Result<(u64, u64, &[u8]), Error> {
    let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
    record
        .split_first_chunk::<8>()
        .and_then(|(version, rest)| {
            let (ends, value) = rest.split_first_chunk::<8>()?;
            Some((number(version), number(ends), value))
        })
        .ok_or_else(|| Error::Corrupted("an entry is too short".to_owned()))
}

fn found(
    entries: &impl ReadableTable<&'static [u8], &'static [u8]>,
    name: &[u8],
    now: Timestamp,
) -> Result<Option<Found>, Error> {
    let Some(record) = entries.get(name)? else {
        return Ok(None);
    };
    let (version, ends, value) = parts(record.value())?;
    Ok((now.millis() < ends).then(|| Found {
        version: Version::from_number(version),
        value: Bytes::copy_from_slice(value),
        ends,
        now,
    }))
}

/// The state as it is now; what is written meanwhile is not seen.
pub(super) struct Reading {
    entries: ReadOnlyTable<&'static [u8], &'static [u8]>,
    now: Timestamp,
}

impl Reading {
    pub(super) fn begin(database: &Database, now: Timestamp) -> Result<Self, Error> {
        let entries = database.begin_read()?.open_table(ENTRIES)?;
        Ok(Self { entries, now })
    }

    pub(super) fn found(&self, name: &[u8]) -> Result<Option<Found>, Error> {
        found(&self.entries, name, self.now)
    }

    /// The keys of a page.
    pub(super) fn keys(
        &self,
        collection: &Collection,
        prefix: &str,
        page: &Page,
    ) -> Result<Vec<String>, Error> {
        let head = [collection.as_str().as_bytes(), &[0]].concat();
        let begins = [&head, prefix.as_bytes()].concat();
        let from = match &page.after {
            // Nothing is between a key and the same with a zero byte.
            Some(after) if after.as_str() >= prefix => {
                [&head, after.as_str().as_bytes(), &[0]].concat()
            }
            _ => begins.clone(),
        };
        let mut keys = Vec::new();
        for entry in self.entries.range(from.as_slice()..)? {
            let (name, record) = entry?;
            if keys.len() >= usize::from(page.limit.get()) || !name.value().starts_with(&begins) {
                break;
            }
            if self.now.millis() < parts(record.value())?.1 {
                let key = name.value().get(head.len()..).unwrap_or_default();
                keys.push(String::from_utf8_lossy(key).into_owned());
            }
        }
        Ok(keys)
    }
}

/// A change of the state, which becomes it as a whole or not at all.
pub(super) struct Writing<'t> {
    entries: Table<'t, &'static [u8], &'static [u8]>,
    expiries: Table<'t, (u64, &'static [u8]), ()>,
    counts: Table<'t, &'static str, u64>,
    now: Timestamp,
    config: &'t DiskConfig,
    changed: bool,
}

/// Lets `write` make a change. What it refuses, and what changes nothing, costs no write of the disk.
pub(super) fn write<T>(
    database: &Database,
    config: &DiskConfig,
    write: impl FnOnce(&mut Writing<'_>) -> Result<Result<T, StoreError>, Error>,
) -> Result<Result<T, StoreError>, Error> {
    let transaction = database.begin_write()?;
    let (outcome, changed) = {
        let mut writing = Writing {
            entries: transaction.open_table(ENTRIES)?,
            expiries: transaction.open_table(EXPIRIES)?,
            counts: transaction.open_table(COUNTS)?,
            now: config.clock.now(),
            config,
            changed: false,
        };
        (write(&mut writing)?, writing.changed)
    };
    if outcome.is_ok() && changed {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(outcome)
}

impl Writing<'_> {
    pub(super) fn found(&self, name: &[u8]) -> Result<Option<Found>, Error> {
        found(&self.entries, name, self.now)
    }

    /// Writes an entry whatever was there, if there is room.
    pub(super) fn insert(
        &mut self,
        name: &[u8],
        put: &Put,
    ) -> Result<Result<Version, StoreError>, Error> {
        self.sweep(SWEEP_PER_WRITE)?;
        self.remove(name)?;
        let cost = cost(name, put.value.len());
        while !self.fits(cost)? {
            if self.sweep(SWEEP_AT_ONCE)? == 0 {
                // What was changed up to here is given up with the refusal.
                return self.full().map(Err);
            }
        }
        let version = self.count(VERSION)?.wrapping_add(1);
        let ends = put
            .ttl
            .map_or(NEVER, |ttl| self.now.saturating_add(ttl).millis());
        let head = [version.to_be_bytes(), ends.to_be_bytes()].concat();
        let record = [head.as_slice(), &put.value].concat();
        self.entries.insert(name, record.as_slice())?;
        if ends != NEVER {
            self.expiries.insert((ends, name), ())?;
        }
        let bytes = self.count(BYTES)?.saturating_add(cost);
        self.counts.insert(BYTES, bytes)?;
        self.counts.insert(VERSION, version)?;
        self.changed = true;
        Ok(Ok(Version::from_number(version)))
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Result<(), Error> {
        let (ends, cost) = match self.entries.remove(name)? {
            None => return Ok(()),
            Some(record) => {
                let (_, ends, value) = parts(record.value())?;
                (ends, cost(name, value.len()))
            }
        };
        if ends != NEVER {
            self.expiries.remove((ends, name))?;
        }
        let bytes = self.count(BYTES)?.saturating_sub(cost);
        self.counts.insert(BYTES, bytes)?;
        self.changed = true;
        Ok(())
    }

    /// Removes up to `most` expired entries, and returns how many.
    fn sweep(&mut self, most: usize) -> Result<usize, Error> {
        let mut over = Vec::new();
        for entry in self.expiries.iter()?.take(most) {
            let (place, _) = entry?;
            let (ends, name) = place.value();
            if ends > self.now.millis() {
                break;
            }
            over.push(name.to_vec());
        }
        for name in &over {
            self.remove(name)?;
        }
        Ok(over.len())
    }

    fn fits(&self, cost: u64) -> Result<bool, Error> {
        let bytes = self.count(BYTES)?.saturating_add(cost);
        Ok(self.entries.len()? < self.config.max_entries && bytes <= self.config.max_bytes)
    }

    fn full(&self) -> Result<StoreError, Error> {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(StoreError::Full {
            entries: number(self.entries.len()?),
            bytes: number(self.count(BYTES)?),
        })
    }

    fn count(&self, which: &str) -> Result<u64, Error> {
        Ok(self.counts.get(which)?.map_or(0, |count| count.value()))
    }
}

/// Bytes that an entry counts.
fn cost(name: &[u8], value: usize) -> u64 {
    u64::try_from(name.len().saturating_add(value)).unwrap_or(u64::MAX)
}
