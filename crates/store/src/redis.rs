//! A store in a Redis server, which many processes share.
//!
//! What is kept, below the prefix `P`:
//!
//! - `P:e:COLLECTION:KEY` is an entry: the eight bytes of its version, then its value. Redis's own time to live ends it.
//! - `P:n:COLLECTION` is the sorted set of the keys of a collection, by their bytes: what a scan reads.
//! - `P:x:COLLECTION` is the sorted set of the keys that expire, by the moment: what takes them out of the names again.
//!
//! A step that touches more than one of them is one script, which Redis runs as a whole.
//!
//! A version is 64 random bits and not a count: no count survives a server that lost its data, and whoever repeats a
//! write whose answer was lost recognises its own.

mod failure;
mod script;
mod tls;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Cmd, FromRedisValue, IntoConnectionInfo as _, RedisResult, ScriptInvocation};
use bytes::Bytes;
use fastmcp_guard::random::{self, OsRandom, Random};
use futures_core::future::BoxFuture;

use self::failure::Server;
use self::script::Scripts;
use crate::error::StoreError;
use crate::name::{Collection, Key};
use crate::store::{Capabilities, Entry, KeyValueStore, Page, Put, Swap, Ttl, Version, check_ttl};

/// Bytes of a version, which stand before the value.
const VERSION_BYTES: usize = 8;

/// The longest time to live, in milliseconds: a hundred years. What is given longer gets it.
const MAX_TTL_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1_000;

/// Keys that one command reads.
const MANY: usize = 64;

/// Names that one command looks at while it scans.
const SCANNED: usize = 1_000;

/// Tries of a command that may be repeated: a connection is found broken only by who uses it.
const TRIES: usize = 2;

/// How a [`RedisStore`] keeps what it is given.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// What the names of everything it keeps begin with: 1 to 64 characters of `A-Z a-z 0-9 _ . -`, default `fastmcp`.
    /// Stores with different prefixes know nothing of one another.
    pub prefix: String,
    /// How long one operation may take, a new connection included; 50 ms to 60 s, default 3 s.
    pub timeout: Duration,
    /// Most bytes of one value; 1 byte to 256 MiB, default 1 MiB.
    pub max_value_bytes: usize,
    /// Certificates in PEM, to one of which that of a `rediss://` server must lead; default Mozilla's roots.
    pub authorities: Option<Bytes>,
    /// What versions are made of; default the operating system's generator.
    pub random: Arc<dyn Random>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            prefix: "fastmcp".to_owned(),
            timeout: Duration::from_secs(3),
            max_value_bytes: 1024 * 1024,
            authorities: None,
            random: Arc::new(OsRandom),
        }
    }
}

impl RedisConfig {
    fn check(&self) -> Result<(), StoreError> {
        let fits = Collection::new(&self.prefix);
        fits.map_err(|_| StoreError::InvalidName {
            field: "prefix",
            reason: "give 1 to 64 letters, digits, `_`, `.` and `-`",
        })?;
        let (least, most) = (50, 60_000);
        let timeout = usize::try_from(self.timeout.as_millis()).unwrap_or(usize::MAX);
        let limits = [
            ("timeout (ms)", timeout, least, most),
            (
                "max_value_bytes",
                self.max_value_bytes,
                1,
                256 * 1024 * 1024,
            ),
        ];
        for (field, value, min, max) in limits {
            if value < min || value > max {
                return Err(StoreError::InvalidLimit {
                    field,
                    value,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}

/// Keeps entries in a Redis server (6.2 or newer, or Valkey), for all processes that are given the same server and
/// prefix.
///
/// Atomic operations hold among all of them. How durable entries are is the server's own affair: what must not be
/// forgotten needs `appendonly yes`, and `maxmemory-policy noeviction`. A Redis Cluster is refused; a primary behind one
/// address is what it takes.
///
/// One connection carries all operations. When it breaks, the next operation opens another, and operations that can be
/// repeated without harm are repeated once; each ends with [`StoreError::Unavailable`] when its time is over. The store
/// works again as soon as the server does.
///
/// ```no_run
/// # async fn example() -> Result<(), fastmcp_store::StoreError> {
/// use fastmcp_store::{Collection, Key, KeyValueStore as _, RedisStore};
///
/// let store = RedisStore::connect("redis://user:password@redis.example.com:6379/0").await?;
/// let (greetings, english) = (Collection::new("greetings")?, Key::new("en")?);
/// store.put(&greetings, &english, "hello".into(), None).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A write whose future is dropped may or may not take effect.
pub struct RedisStore {
    connection: ConnectionManager,
    server: Server,
    config: RedisConfig,
    scripts: Scripts,
}

impl fmt::Debug for RedisStore {
    /// Where, never with which password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("server", &self.server)
            .field("prefix", &self.config.prefix)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// A store in the server at `url`, with the default configuration.
    ///
    /// The URL is `redis://[[user]:password@]host[:port][/database]`, `rediss://` for TLS, or `unix:///path/to/socket`.
    ///
    /// # Errors
    ///
    /// As [`connect_with`](Self::connect_with).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, RedisConfig::default()).await
    }

    /// A store in the server at `url`. Connects within the configured time and asks the server whether it is there.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidUrl`], [`StoreError::InvalidName`] and [`StoreError::InvalidLimit`] for what cannot be used;
    /// [`StoreError::Unavailable`] if the server is away or refuses the user.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn connect_with(url: &str, config: RedisConfig) -> Result<Self, StoreError> {
        config.check()?;
        let info = parsed(url)?;
        let server = Server::new(info.addr().to_string(), &config.prefix);
        let settings = info.tcp_settings().clone().set_nodelay(true);
        // A peer that is gone without a word is noticed by what it does not acknowledge.
        #[cfg(target_os = "linux")]
        let settings = settings.set_user_timeout(config.timeout);
        let client = tls::client(
            info.set_tcp_settings(settings),
            config.authorities.as_deref(),
        )?;
        let manager = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(config.timeout))
            .set_response_timeout(Some(config.timeout))
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_number_of_retries(2);
        let connection = ConnectionManager::new_lazy_with_config(client, manager)
            .map_err(|error| server.failed(error))?;
        let store = Self {
            connection,
            server,
            config,
            scripts: Scripts::new(),
        };
        let _pong: String = store.command(&::redis::cmd("PING")).await?;
        Ok(store)
    }

    /// Where an entry stands.
    fn place(&self, collection: &Collection, key: &Key) -> String {
        format!("{}:e:{collection}:{key}", self.config.prefix)
    }

    /// The names and the expiries of a collection.
    fn indexes(&self, collection: &Collection) -> [String; 2] {
        let prefix = &self.config.prefix;
        [
            format!("{prefix}:n:{collection}"),
            format!("{prefix}:x:{collection}"),
        ]
    }

    /// A script's call for one entry.
    fn on<'s>(
        &self,
        script: &'s ::redis::Script,
        collection: &Collection,
        key: &Key,
    ) -> ScriptInvocation<'s> {
        let mut call = script.key(self.place(collection, key));
        for index in self.indexes(collection) {
            call.key(index);
        }
        call.arg(key.as_str());
        call
    }

    /// Runs a command that may be repeated.
    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let ask = |mut connection: ConnectionManager| async move {
            command.query_async(&mut connection).await
        };
        self.within_time(TRIES, ask).await
    }

    /// Runs a script, up to `tries` times.
    async fn script<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        tries: usize,
    ) -> Result<T, StoreError> {
        let ask = |mut connection: ConnectionManager| async move {
            call.invoke_async(&mut connection).await
        };
        self.within_time(tries, ask).await
    }

    async fn within_time<T, F>(
        &self,
        tries: usize,
        ask: impl Fn(ConnectionManager) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let asked = async {
            let mut left = tries;
            loop {
                left = left.saturating_sub(1);
                match ask(self.connection.clone()).await {
                    Err(error) if left > 0 && error.is_unrecoverable_error() => {}
                    outcome => return outcome,
                }
            }
        };
        match tokio::time::timeout(self.config.timeout, asked).await {
            Ok(outcome) => outcome.map_err(|error| self.server.failed(error)),
            Err(_) => Err(self.server.silent(self.config.timeout)),
        }
    }

    /// Runs a script that writes: what it calls and with which record.
    async fn write(
        &self,
        script: &::redis::Script,
        (collection, key): (&Collection, &Key),
        new: Put,
        expected: Option<Version>,
    ) -> Result<Swap, StoreError> {
        check_ttl(new.ttl)?;
        let (bytes, max_bytes) = (new.value.len(), self.config.max_value_bytes);
        if bytes > max_bytes {
            return Err(StoreError::ValueTooLarge { bytes, max_bytes });
        }
        let version: [u8; VERSION_BYTES] =
            random::array(&*self.config.random).map_err(|error| StoreError::Unavailable {
                source: Box::new(error),
            })?;
        let mut record = Vec::with_capacity(VERSION_BYTES.saturating_add(bytes));
        record.extend_from_slice(&version);
        record.extend_from_slice(&new.value);
        let mut call = self.on(script, collection, key);
        call.arg(record).arg(millis(new.ttl));
        if let Some(expected) = expected {
            call.arg(expected.number().to_be_bytes().as_slice());
        }
        let (stored, found, left): (bool, Option<Vec<u8>>, i64) = self.script(&call, TRIES).await?;
        if stored {
            return Ok(Swap::Stored(Version::from_number(u64::from_be_bytes(
                version,
            ))));
        }
        let current = self.entry_of(found, left)?;
        Ok(Swap::Conflict { current })
    }

    /// What Redis answered, as an entry.
    fn entry_of(&self, found: Option<Vec<u8>>, left: i64) -> Result<Option<Entry>, StoreError> {
        let Some(record) = found else {
            return Ok(None);
        };
        let (version, value) = self.split(record)?;
        let ttl = u64::try_from(left)
            .ok()
            .map(|left| Duration::from_millis(left.max(1)));
        Ok(Some(Entry {
            value,
            version,
            ttl,
        }))
    }

    fn split(&self, record: Vec<u8>) -> Result<(Version, Bytes), StoreError> {
        let mut value = Bytes::from(record);
        if value.len() < VERSION_BYTES {
            return Err(self.server.foreign());
        }
        let head = value.split_to(VERSION_BYTES);
        let number = head
            .iter()
            .fold(0, |all, byte| (all << 8) | u64::from(*byte));
        Ok((Version::from_number(number), value))
    }
}

/// What is wrong with a URL. It is not shown: it may hold a password.
const UNFIT: &str = "give `redis://[[user]:password@]host[:port][/database]`, `rediss://` for TLS, or \
    `unix:///path/to/socket`, and write characters of user and password that mean something in a URL as `%XX`";

fn parsed(url: &str) -> Result<::redis::ConnectionInfo, StoreError> {
    // What the driver takes there is to check no certificate.
    if url.contains('#') {
        return Err(StoreError::InvalidUrl { reason: UNFIT });
    }
    url.into_connection_info()
        .map_err(|_| StoreError::InvalidUrl { reason: UNFIT })
}

/// A time to live as scripts take it: milliseconds, rounded up so that nothing goes early; 0 is none.
fn millis(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| {
        let millis = ttl.as_nanos().div_ceil(1_000_000);
        u64::try_from(millis).unwrap_or(u64::MAX).min(MAX_TTL_MS)
    })
}

impl KeyValueStore for RedisStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
            scan: true,
        }
    }

    fn entry<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            let call = self.scripts.entry.key(self.place(collection, key));
            let (found, left) = self.script(&call, TRIES).await?;
            self.entry_of(found, left)
        })
    }

    fn put<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(async move {
            let new = Put { value, ttl };
            let put = &self.scripts.put;
            match self.write(put, (collection, key), new, None).await? {
                Swap::Stored(version) => Ok(version),
                Swap::Conflict { .. } => Err(self.server.foreign()),
            }
        })
    }

    fn put_if_absent<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        let put = &self.scripts.put_if_absent;
        Box::pin(self.write(put, (collection, key), Put { value, ttl }, None))
    }

    fn compare_and_swap<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
        new: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        let swap = &self.scripts.compare_and_swap;
        Box::pin(self.write(swap, (collection, key), new, Some(expected)))
    }

    fn delete<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let call = self.on(&self.scripts.delete, collection, key);
            // Not repeated: the second time would say that there was none.
            self.script(&call, 1).await
        })
    }

    fn delete_if<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
        expected: Version,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut call = self.on(&self.scripts.delete, collection, key);
            call.arg(expected.number().to_be_bytes().as_slice());
            self.script(&call, 1).await
        })
    }

    fn scan<'a>(
        &'a self,
        collection: &'a Collection,
        prefix: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        Box::pin(async move {
            let limit = usize::from(page.limit.get());
            let after = page.after.as_ref().map(Key::as_str);
            let mut least = match after {
                Some(after) if after >= prefix => format!("({after}"),
                _ => format!("[{prefix}"),
            };
            // No text has the byte 255, so this is after everything that begins with the prefix.
            let mut most = format!("[{prefix}").into_bytes();
            most.push(u8::MAX);
            let place = format!("{}:e:{collection}:", self.config.prefix);
            let mut keys: Vec<Key> = Vec::new();
            while keys.len() < limit {
                let wanted = limit.saturating_sub(keys.len()).clamp(64, SCANNED);
                let mut call = self.scripts.scan.prepare_invoke();
                for index in self.indexes(collection) {
                    call.key(index);
                }
                call.arg(&least)
                    .arg(most.as_slice())
                    .arg(wanted)
                    .arg(&place);
                let (seen, last, live): (usize, String, Vec<String>) =
                    self.script(&call, TRIES).await?;
                for name in &live {
                    keys.push(Key::new(name)?);
                }
                if seen < wanted {
                    break;
                }
                least = format!("({last}");
            }
            keys.truncate(limit);
            Ok(keys)
        })
    }

    fn get<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            let command = Cmd::get(self.place(collection, key));
            let found: Option<Vec<u8>> = self.command(&command).await?;
            found.map(|record| Ok(self.split(record)?.1)).transpose()
        })
    }

    fn get_many<'a>(
        &'a self,
        collection: &'a Collection,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>> {
        Box::pin(async move {
            let mut values = Vec::with_capacity(keys.len());
            for part in keys.chunks(MANY) {
                let mut command = ::redis::cmd("MGET");
                for key in part {
                    command.arg(self.place(collection, key));
                }
                let found: Vec<Option<Vec<u8>>> = self.command(&command).await?;
                for record in found {
                    values.push(record.map(|record| self.split(record)).transpose()?);
                }
            }
            Ok(values
                .into_iter()
                .map(|v| v.map(|(_, value)| value))
                .collect())
        })
    }

    fn ttl<'a>(
        &'a self,
        collection: &'a Collection,
        key: &'a Key,
    ) -> BoxFuture<'a, Result<Ttl, StoreError>> {
        Box::pin(async move {
            let mut command = ::redis::cmd("PTTL");
            command.arg(self.place(collection, key));
            let left: i64 = self.command(&command).await?;
            Ok(match u64::try_from(left) {
                Ok(left) => Ttl::Remaining(Duration::from_millis(left.max(1))),
                // Redis says -1 of what stays, and -2 of what is not there.
                Err(_) if left == -1 => Ttl::Forever,
                Err(_) => Ttl::Absent,
            })
        })
    }
}

#[cfg(test)]
mod tests;
