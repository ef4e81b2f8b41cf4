//! Keys that an issuer publishes at a URL.
//!
//! They are fetched when they are first needed, again when they are old, and again when a token names a key that is not
//! among them; by one request at a time, and not more often than an attacker with invented key ids should be able to
//! cause. While the issuer is away the last keys stay good for a day.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::metadata::{Metadata, MetadataError};
use super::{Fetch, FetchError, NoKey};
use crate::algorithm::Algorithm;
use crate::endpoint;
use crate::error::ConfigError;
use crate::jwks::{JwkSet, JwksError, Unselected, VerifyingKey};

/// Between two fetches while there are no keys at all.
const RETRY_WITHOUT_KEYS: Duration = Duration::from_secs(1);

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeysAt {
    /// At this address.
    Url(String),
    /// Where the metadata of this issuer says, which is looked up anew with each fetch. The identifier is compared
    /// exactly with the one in the metadata.
    Issuer(String),
}

/// How [`RemoteKeys`] fetch and keep keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteKeysConfig {
    /// Where the JWK Set is: `https://`, or `http://` to this machine.
    pub at: KeysAt,
    /// After how long the keys are fetched again. Default 15 minutes; 1 second to 24 hours.
    pub refresh_after: Duration,
    /// The shortest time between two fetches. Default 30 seconds; 1 second to 1 hour.
    pub min_interval: Duration,
    /// How long keys stay good without a successful fetch. Default 24 hours; at least `refresh_after`, at most 7 days.
    pub stale_limit: Duration,
    /// How long a fetch may take. Default 5 seconds; 100 milliseconds to 1 minute.
    pub fetch_timeout: Duration,
}

impl RemoteKeysConfig {
    /// The defaults, for a JWK Set at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self::at(KeysAt::Url(url.into()))
    }

    /// The defaults, for the keys that the metadata of `issuer` names.
    ///
    /// Source: OpenID Connect Discovery 1.0, section 4; RFC 8414, section 3.
    #[must_use]
    pub fn discover(issuer: impl Into<String>) -> Self {
        Self::at(KeysAt::Issuer(issuer.into()))
    }

    const fn at(at: KeysAt) -> Self {
        Self {
            at,
            refresh_after: Duration::from_secs(15 * 60),
            min_interval: Duration::from_secs(30),
            stale_limit: Duration::from_secs(24 * 60 * 60),
            fetch_timeout: Duration::from_secs(5),
        }
    }

    fn check(&self) -> Result<Source, ConfigError> {
        const DAY: u64 = 24 * 60 * 60;
        let refresh = self.refresh_after.as_secs();
        ConfigError::unless_outside("jwks refresh_after (seconds)", refresh, 1..=DAY)?;
        let interval = self.min_interval.as_secs();
        ConfigError::unless_outside("jwks min_interval (seconds)", interval, 1..=3_600)?;
        let stale = self.stale_limit.as_secs();
        ConfigError::unless_outside("jwks stale_limit (seconds)", stale, refresh..=7 * DAY)?;
        let wait = u64::try_from(self.fetch_timeout.as_millis()).unwrap_or(u64::MAX);
        ConfigError::unless_outside("jwks fetch_timeout (milliseconds)", wait, 100..=60_000)?;
        match &self.at {
            KeysAt::Url(url) => endpoint::parse("jwks url", url).map(Source::Url),
            KeysAt::Issuer(issuer) => Metadata::of(issuer).map(Source::Issuer),
        }
    }
}

/// The keys of an issuer, fetched and kept fresh.
///
/// Without [`run`](Self::run) they are refreshed by the requests that meet them old; with it, in the background, so that
/// no request waits.
pub struct RemoteKeys {
    config: RemoteKeysConfig,
    source: Source,
    fetch: Arc<dyn Fetch>,
    current: ArcSwapOption<Loaded>,
    /// One fetch at a time; whoever waits here looks again afterwards.
    flight: Semaphore,
    attempts: Mutex<Attempts>,
}

#[derive(Debug)]
enum Source {
    Url(Url),
    Issuer(Metadata),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Issuer(metadata) => metadata.issuer().fmt(f),
        }
    }
}

struct Loaded {
    keys: JwkSet,
    at: Instant,
}

#[derive(Default)]
struct Attempts {
    last: Option<Instant>,
    error: Option<String>,
}

/// How [`RemoteKeys`] are doing, for a readiness check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteKeysStatus {
    /// How many usable keys there are; 0 if there are none or they are too old.
    pub keys: usize,
    /// How long ago they were fetched.
    pub age: Option<Duration>,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error("fetching it failed")]
    Fetch(#[from] FetchError),
    #[error("the metadata of the issuer cannot be used")]
    Metadata(#[from] MetadataError),
    #[error("it cannot be used")]
    Set(#[from] JwksError),
    #[error("there was no answer in time")]
    Timeout,
}

impl RemoteKeys {
    /// Prepares to fetch; nothing is fetched yet.
    ///
    /// # Errors
    /// If the URL or a duration is not allowed.
    pub fn new(config: RemoteKeysConfig, fetch: Arc<dyn Fetch>) -> Result<Self, ConfigError> {
        let source = config.check()?;
        Ok(Self {
            config,
            source,
            fetch,
            current: ArcSwapOption::empty(),
            flight: Semaphore::new(1),
            attempts: Mutex::default(),
        })
    }

    /// Keeps the keys fresh until `shutdown`. The owner spawns it on its task tracker.
    ///
    /// # Cancel safety
    /// Dropping it abandons a fetch under way and leaves the last keys in use.
    pub async fn run(&self, shutdown: CancellationToken) {
        let keep_fresh = async {
            loop {
                self.refresh().await;
                sleep(self.until_next()).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = keep_fresh => {}
        }
    }

    /// How the keys are doing.
    #[must_use]
    pub fn status(&self) -> RemoteKeysStatus {
        let loaded = self.usable();
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        RemoteKeysStatus {
            keys: loaded.as_ref().map_or(0, |loaded| loaded.keys.len()),
            age: loaded.map(|loaded| loaded.at.elapsed()),
            last_error: attempts.error.clone(),
        }
    }

    /// Finds the key for a token with these headers; waits for at most one fetch.
    ///
    /// # Cancel safety
    /// Dropping the future abandons a fetch under way; the next request may try again after `min_interval`.
    pub(crate) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<VerifyingKey>, NoKey> {
        self.refresh_if_old().await;
        if let Some(loaded) = self.usable() {
            match loaded.keys.select(kid, algorithm) {
                // The issuer may have begun to use a new key.
                Err(Unselected::Unknown) => {}
                found => return found.map_err(NoKey::Unselected),
            }
        }
        self.refresh().await;
        let loaded = self.usable().ok_or(NoKey::Unavailable)?;
        loaded
            .keys
            .select(kid, algorithm)
            .map_err(NoKey::Unselected)
    }

    /// The keys, unless they are too old to be trusted.
    fn usable(&self) -> Option<Arc<Loaded>> {
        let loaded = self.current.load_full()?;
        (loaded.at.elapsed() < self.config.stale_limit).then_some(loaded)
    }

    async fn refresh_if_old(&self) {
        let is_old = |loaded: Arc<Loaded>| loaded.at.elapsed() >= self.config.refresh_after;
        if !self.usable().is_some_and(is_old) {
            return;
        }
        // Whoever comes second goes on with the old keys.
        if let Ok(_alone) = self.flight.try_acquire() {
            self.attempt().await;
        }
    }

    async fn refresh(&self) {
        if let Ok(_alone) = self.flight.acquire().await {
            self.attempt().await;
        }
    }

    /// Fetches once, unless that was tried a moment ago. The caller holds the permit.
    async fn attempt(&self) {
        if !self.may_attempt() {
            return;
        }
        match self.load().await {
            Ok(keys) => {
                tracing::debug!(source = %self.source, keys = keys.len(), "key set loaded");
                let at = Instant::now();
                self.current.store(Some(Arc::new(Loaded { keys, at })));
                self.note(None);
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause = cause.unwrap_or_default();
                tracing::warn!(source = %self.source, %error, cause, "key set not refreshed");
                self.note(Some(format!("{error}: {cause}")));
            }
        }
    }

    async fn load(&self) -> Result<JwkSet, RefreshError> {
        let get = async {
            let body = match &self.source {
                Source::Url(url) => self.fetch.get(url).await?,
                Source::Issuer(metadata) => {
                    let url = metadata.jwks_uri(&*self.fetch).await?;
                    self.fetch.get(&url).await?
                }
            };
            Ok::<Bytes, RefreshError>(body)
        };
        let answer = timeout(self.config.fetch_timeout, get).await;
        let body = answer.map_err(|_elapsed| RefreshError::Timeout)??;
        Ok(JwkSet::parse(&body)?)
    }

    /// Claims the next attempt, if its time has come.
    fn may_attempt(&self) -> bool {
        let interval = match self.usable() {
            Some(_) => self.config.min_interval,
            None => RETRY_WITHOUT_KEYS,
        };
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.last.is_some_and(|last| last.elapsed() < interval) {
            return false;
        }
        attempts.last = Some(Instant::now());
        true
    }

    fn note(&self, error: Option<String>) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.error = error.map(|text| text.trim_end_matches(": ").to_owned());
    }

    /// How long the background refresh sleeps: so long that it comes before the requests would refresh.
    fn until_next(&self) -> Duration {
        let planned = self.config.refresh_after * 4 / 5;
        match self.usable() {
            Some(loaded) => planned
                .saturating_sub(loaded.at.elapsed())
                .max(self.config.min_interval),
            None => RETRY_WITHOUT_KEYS,
        }
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys")
            .field("config", &self.config)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
