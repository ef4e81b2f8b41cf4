//! What outlives a request, and with a durable store the process: registrations and tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use bytes::Bytes;
use fastmcp_store::{Collection, Key, KeyValueStore, StoreError};
use futures_core::future::BoxFuture;
use secrecy::{ExposeSecret, SecretBox, SecretString};

/// The most entries that [`MemoryStorage`] holds; beyond them nothing more is taken.
const MAX_ENTRIES: usize = 10_000;

/// Bytes of a nonce of AES-256-GCM.
const NONCE_BYTES: usize = 12;

/// Keeps registrations and tokens of OAuth clients.
///
/// Keys are plain text of at most 128 bytes, a word and a digest; they differ by issuer, resource and owner, so that
/// one storage serves many clients. Values are secrets: an implementation must neither log them nor write them where
/// others can read them.
pub trait TokenStorage: Send + Sync + fmt::Debug {
    /// Returns what was saved under `key`.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if that is not known.
    fn load<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<SecretString>, StorageError>>;

    /// Saves `value` under `key`, in place of what was there.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if it was not saved, or that is not known.
    fn save<'a>(
        &'a self,
        key: &'a str,
        value: SecretString,
    ) -> BoxFuture<'a, Result<(), StorageError>>;

    /// Removes what is under `key`, if anything is.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if it is not known to be gone.
    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StorageError>>;
}

/// A storage that failed.
#[derive(Debug, thiserror::Error)]
#[error("the storage of tokens failed: {reason}")]
pub struct StorageError {
    reason: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StorageError {
    /// Failed for that reason, which must hold no secret.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            source: None,
        }
    }
}

impl From<StoreError> for StorageError {
    fn from(error: StoreError) -> Self {
        Self {
            reason: "the store cannot be used".to_owned(),
            source: Some(Box::new(error)),
        }
    }
}

/// Keeps everything in this process, and loses it with it.
#[derive(Default)]
pub struct MemoryStorage {
    entries: Mutex<BTreeMap<String, SecretString>>,
}

impl MemoryStorage {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").finish_non_exhaustive()
    }
}

impl TokenStorage for MemoryStorage {
    fn load<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<SecretString>, StorageError>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.get(key).cloned();
        Box::pin(async { Ok(found) })
    }

    fn save<'a>(
        &'a self,
        key: &'a str,
        value: SecretString,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(async move {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            if entries.len() >= MAX_ENTRIES && !entries.contains_key(key) {
                return Err(StorageError::new("it is full"));
            }
            entries.insert(key.to_owned(), value);
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(async move {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.remove(key);
            Ok(())
        })
    }
}

/// Keeps everything in a key-value store, in the collection `oauth-client`.
pub struct KeyValueStorage {
    store: Arc<dyn KeyValueStore>,
    collection: Collection,
    seal: Option<RandomizedNonceKey>,
}

impl KeyValueStorage {
    /// Values are sealed with AES-256-GCM under `key`, each bound to its name, so that who reads the store learns
    /// nothing and who writes to it cannot swap entries.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if the library refuses the key.
    pub fn sealed(
        store: Arc<dyn KeyValueStore>,
        key: &SecretBox<[u8; 32]>,
    ) -> Result<Self, StorageError> {
        let seal = RandomizedNonceKey::new(&AES_256_GCM, key.expose_secret())
            .map_err(|_| StorageError::new("the sealing key cannot be used"))?;
        Ok(Self {
            seal: Some(seal),
            ..Self::plain(store)?
        })
    }

    /// Values are written as they are: for a store that nobody else can read, such as one in memory.
    ///
    /// # Errors
    ///
    /// None today; the signature leaves room.
    pub fn plain(store: Arc<dyn KeyValueStore>) -> Result<Self, StorageError> {
        Ok(Self {
            store,
            collection: Collection::new("oauth-client")?,
            seal: None,
        })
    }

    fn close(&self, key: &str, value: &SecretString) -> Result<Bytes, StorageError> {
        let plain = value.expose_secret().as_bytes();
        let Some(seal) = &self.seal else {
            return Ok(Bytes::copy_from_slice(plain));
        };
        let mut sealed = plain.to_vec();
        let nonce = seal
            .seal_in_place_append_tag(Aad::from(key), &mut sealed)
            .map_err(|_| StorageError::new("an entry could not be sealed"))?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(bytes.into())
    }

    fn open(&self, key: &str, bytes: &[u8]) -> Result<SecretString, StorageError> {
        let unfit = || {
            StorageError::new(
                "an entry cannot be opened: it was sealed with another key, or changed",
            )
        };
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(SecretString::from);
        let Some(seal) = &self.seal else {
            return text(bytes).map_err(|_| unfit());
        };
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(unfit)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unfit())?;
        let mut sealed = sealed.to_vec();
        let plain = seal
            .open_in_place(nonce, Aad::from(key), &mut sealed)
            .map_err(|_| unfit())?;
        text(plain).map_err(|_| unfit())
    }
}

impl fmt::Debug for KeyValueStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValueStorage")
            .field("store", &self.store)
            .field("sealed", &self.seal.is_some())
            .finish_non_exhaustive()
    }
}

impl TokenStorage for KeyValueStorage {
    fn load<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<SecretString>, StorageError>> {
        Box::pin(async move {
            let name = Key::new(key)?;
            let value = self.store.get(&self.collection, &name).await?;
            value.map(|bytes| self.open(key, &bytes)).transpose()
        })
    }

    fn save<'a>(
        &'a self,
        key: &'a str,
        value: SecretString,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(async move {
            let name = Key::new(key)?;
            let bytes = self.close(key, &value)?;
            self.store.put(&self.collection, &name, bytes, None).await?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(async move {
            let name = Key::new(key)?;
            self.store.delete(&self.collection, &name).await?;
            Ok(())
        })
    }
}
