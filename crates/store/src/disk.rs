//! A store in one file of this machine.
//!
//! The file is a database of the crate `redb`: pages in a B-tree, written beside the old ones and then made current by
//! one small write. A process that is killed leaves the last state that was made so.

mod table;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastmcp_guard::clock::{Clock, SystemClock};
use futures_core::future::BoxFuture;
use redb::{Database, backends::FileBackend};
use thiserror::Error;
use tokio::sync::Mutex;

use self::table::{Found, Reading, Writing};
use crate::error::StoreError;
use crate::name::{Collection, Key};
use crate::store::{Capabilities, Entry, KeyValueStore, Page, Put, Swap, Version, check_ttl};

/// How a [`DiskStore`] keeps what it is given.
#[derive(Clone, Debug)]
pub struct DiskConfig {
    /// Most entries, expired ones included until they are removed; 1 to 1,000 million, default 1 million.
    pub max_entries: u64,
    /// Most bytes of all names and values; 1 KiB to 1 TiB, default 1 GiB. The file is larger: it keeps room for the
    /// next state beside the last one.
    pub max_bytes: u64,
    /// Most bytes of one value; 1 byte to `max_bytes` and to 1 GiB, default 1 MiB.
    pub max_value_bytes: usize,
    /// What tells when an entry's time is over; default the system's clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            max_entries: 1_000_000,
            max_bytes: 1 << 30,
            max_value_bytes: 1 << 20,
            clock: Arc::new(SystemClock),
        }
    }
}

impl DiskConfig {
    fn check(&self) -> Result<(), StoreError> {
        let value = u64::try_from(self.max_value_bytes).unwrap_or(u64::MAX);
        let limits = [
            ("max_entries", self.max_entries, 1, 1_000_000_000),
            ("max_bytes", self.max_bytes, 1_024, 1 << 40),
            ("max_value_bytes", value, 1, self.max_bytes.min(1 << 30)),
        ];
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        for (field, value, min, max) in limits {
            if value < min || value > max {
                return Err(StoreError::InvalidLimit {
                    field,
                    value: number(value),
                    min: number(min),
                    max: number(max),
                });
            }
        }
        Ok(())
    }
}

/// Keeps entries in a file, so that they outlive the process.
///
/// A write is on the disk when its future is ready, and survives the end of the process however it comes; it survives
/// the loss of power as far as the disk keeps what it says is written. One process has the file at a time: another is
/// refused. Atomic operations hold among all who share this value.
///
/// The disk is touched on threads that may wait, never on those of the runtime. Writes go one after the other; reads
/// wait for nobody. Expired entries are absent at once; their room is taken back by later writes, a few at a time, and
/// all of it before anything is refused. What is full refuses with [`StoreError::Full`] and keeps what it has.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use fastmcp_store::{Collection, DiskStore, Key, KeyValueStore as _};
///
/// # let folder = tempfile::tempdir()?;
/// let file = folder.path().join("state.redb");
/// let (greetings, english) = (Collection::new("greetings")?, Key::new("en")?);
/// let store = DiskStore::open(&file).await?;
/// store.put(&greetings, &english, "hello".into(), None).await?;
/// drop(store);
///
/// let again = DiskStore::open(&file).await?;
/// assert_eq!(again.get(&greetings, &english).await?, Some("hello".into()));
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(example())?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// A write whose future is dropped takes effect if it had begun.
pub struct DiskStore {
    database: Arc<Database>,
    /// Who writes next: waiting here costs no thread.
    writer: Arc<Mutex<()>>,
    file: PathBuf,
    config: DiskConfig,
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
#[error("the file `{}` {advice}", file.display())]
struct Failure {
    file: PathBuf,
    advice: &'static str,
    #[source]
    source: Option<redb::Error>,
}

impl DiskStore {
    /// The store in `file`, with the default configuration. A file that is not there is made, readable by its owner
    /// alone; its folder must be there.
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave an empty store in the file.
    pub async fn open(file: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(file, DiskConfig::default()).await
    }

    /// The store in `file`. What an end without warning left behind is put in order first.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidLimit`] for a bound out of its range; [`StoreError::Unavailable`] if the file cannot be
    /// made, is open already, or is not one of this store.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave an empty store in the file.
    pub async fn open_with(file: impl AsRef<Path>, config: DiskConfig) -> Result<Self, StoreError> {
        config.check()?;
        let file = file.as_ref().to_path_buf();
        let place = file.clone();
        let database = on_thread(move || {
            let failed = |advice| {
                let file = place.clone();
                move |source| unavailable(file, advice, Some(source))
            };
            let database = opened(&place).map_err(|error| {
                let advice = match &error {
                    redb::Error::DatabaseAlreadyOpen => {
                        "is in use: one process has it at a time; end the other, or give another file"
                    }
                    redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
                        "cannot be opened: let its folder be there and this user write to it"
                    }
                    redb::Error::UpgradeRequired(_) => {
                        "was written by another version: give another file"
                    }
                    _ => "is not one of this store, or is damaged: give another file",
                };
                failed(advice)(error)
            })?;
            table::create(&database).map_err(failed("is not one of this store: give another file"))?;
            Ok(database)
        })
        .await?;
        Ok(Self {
            database: Arc::new(database),
            writer: Arc::default(),
            file,
            config,
        })
    }

    fn failed(&self) -> impl FnOnce(redb::Error) -> StoreError + Send + use<> {
        let file = self.file.clone();
        |error| {
            let advice = "failed: look at its disk, and open it anew";
            unavailable(file, advice, Some(error))
        }
    }

    /// Reads, on a thread that may wait.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reading) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (database, failed) = (Arc::clone(&self.database), self.failed());
        let now = self.config.clock.now();
        on_thread(move || {
            Reading::begin(&database, now)
                .and_then(|reading| read(&reading))
                .map_err(failed)
        })
        .await
    }

    /// Writes, on a thread that may wait, after everybody who came before. What `write` gives back as an error leaves
    /// everything as it was.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Writing<'_>) -> Result<Result<T, StoreError>, redb::Error>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.writer).lock_owned().await;
        let (database, failed) = (Arc::clone(&self.database), self.failed());
        let config = self.config.clone();
        on_thread(move || {
            let written = table::write(&database, &config, write);
            drop(turn);
            written.map_err(failed)?
        })
        .await
    }

    /// Refuses what cannot be kept.
    fn check(&self, put: &Put) -> Result<(), StoreError> {
        check_ttl(put.ttl)?;
        let (bytes, max_bytes) = (put.value.len(), self.config.max_value_bytes);
        if bytes > max_bytes {
            return Err(StoreError::ValueTooLarge { bytes, max_bytes });
        }
        Ok(())
    }

    /// Writes `put` if `holds` says so of what is there.
    async fn put_if(
        &self,
        collection: &Collection,
        key: &Key,
        put: Put,
        holds: impl FnOnce(Option<&Found>) -> bool + Send + 'static,
    ) -> Result<Swap, StoreError> {
        self.check(&put)?;
        let name = table::name(collection, key);
        self.write(move |writing| {
            let current = writing.found(&name)?;
            if !holds(current.as_ref()) {
                let current = current.map(Found::into_entry);
                return Ok(Ok(Swap::Conflict { current }));
            }
            Ok(writing.insert(&name, &put)?.map(Swap::Stored))
        })
        .await
    }

    /// Removes an entry if `holds` says so of it.
    async fn delete_when(
        &self,
        collection: &Collection,
        key: &Key,
        holds: impl FnOnce(&Found) -> bool + Send + 'static,
    ) -> Result<bool, StoreError> {
        let name = table::name(collection, key);
        // Nothing is written for what is not there.
        let looked = name.clone();
        if self.read(move |r| r.found(&looked)).await?.is_none() {
            return Ok(false);
        }
        self.write(move |writing| {
            let held = writing.found(&name)?.is_some_and(|found| holds(&found));
            if held {
                writing.remove(&name)?;
            }
            Ok(Ok(held))
        })
        .await
    }
}

/// Opens the database, which its owner alone may read.
fn opened(file: &Path) -> Result<Database, redb::Error> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(file).map_err(redb::Error::Io)?;
    Ok(Database::builder().create_with_backend(FileBackend::new(opened)?)?)
}

fn unavailable(file: PathBuf, advice: &'static str, source: Option<redb::Error>) -> StoreError {
    StoreError::Unavailable {
        source: Box::new(Failure {
            file,
            advice,
            source,
        }),
    }
}

/// Does what may wait for the disk.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError::Unavailable {
            source: Box::new(error),
        }),
    }
}

impl KeyValueStore for DiskStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: false,
            scan: true,
        }
    }

    fn entry<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        let name = table::name(collection, key);
        Box::pin(self.read(move |reading| Ok(reading.found(&name)?.map(Found::into_entry))))
    }

    fn put<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(async move {
            let put = Put { value, ttl };
            self.check(&put)?;
            let name = table::name(collection, key);
            self.write(move |writing| writing.insert(&name, &put)).await
        })
    }

    fn put_if_absent<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(self.put_if(collection, key, Put { value, ttl }, |found| found.is_none()))
    }

    fn compare_and_swap<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
        new: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(self.put_if(collection, key, new, move |found| {
            found.is_some_and(|found| found.version == expected)
        }))
    }

    fn delete<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.delete_when(collection, key, |_| true))
    }

    fn delete_if<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.delete_when(collection, key, move |found| found.version == expected))
    }

    fn scan<'a>(
        &'a self,
        collection: &'a Collection,
        prefix: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        let (collection, prefix) = (collection.clone(), prefix.to_owned());
        Box::pin(async move {
            let keys = self
                .read(move |r| r.keys(&collection, &prefix, &page))
                .await?;
            keys.iter().map(|key| Key::new(key)).collect()
        })
    }

    fn get_many<'a>(
        &'a self,
        collection: &'a Collection,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>> {
        let names: Vec<_> = keys
            .iter()
            .map(|key| table::name(collection, key))
            .collect();
        Box::pin(self.read(move |reading| {
            let found = names.iter().map(|name| reading.found(name));
            let values = found.map(|found| Ok(found?.map(|found| found.into_entry().value)));
            values.collect()
        }))
    }
}

#[cfg(test)]
mod tests;
