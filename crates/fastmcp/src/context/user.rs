//! What a server remembers of one caller from request to request.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastmcp_auth::CallerKind;
use fastmcp_store::{Collection, Entry, Key, KeyValueStore, Put, Swap};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Context, FromContext};
use crate::error::{Error, Result};

/// Where the state of callers stands.
const COLLECTION: &str = "fastmcp.user";
/// How long state is kept unless told otherwise.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of all that is remembered of one caller.
const MAX_BYTES: usize = 256 * 1024;
/// How often a write is tried while others write too.
const MAX_TRIES: usize = 64;

/// State of one caller that outlasts requests, sessions and connections: handed to handlers that take one, and by
/// [`Context::user_session`]. What a client since 2026-07-28 has in place of a session, since each of its requests
/// stands alone.
///
/// It stands in the server's [store](crate::FastMcp::store) under a digest of who is calling, and, with a store that
/// replicas share, it is the same at each of them. Whoever is not authenticated is nobody in particular: of such
/// callers only those that opened a session over HTTP have one, as long as that lives. Callers over standard input and output
/// and from within the process are who runs the server.
///
/// Everything of one caller is at most 256 KiB of JSON, and is forgotten 24 h after the last write, see
/// [`Self::keep_for`]. Writes at the same time are all done, one after the other.
///
/// ```
/// use fastmcp::{UserSession, prelude::*};
///
/// /// Puts something into the caller's cart.
/// #[tool]
/// async fn put(item: String, session: UserSession) -> Result<usize> {
///     let cart = session
///         .update("cart", |cart: Option<Vec<String>>| {
///             let mut cart = cart.unwrap_or_default();
///             cart.push(item.clone());
///             cart
///         })
///         .await?;
///     Ok(cart.len())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct UserSession {
    store: Arc<dyn KeyValueStore>,
    collection: Collection,
    /// Who is calling, and the names of parts.
    path: Vec<String>,
    key: Key,
    ttl: Duration,
}

/// What stands in the store.
type Values = BTreeMap<String, Value>;

impl UserSession {
    fn at(store: Arc<dyn KeyValueStore>, path: Vec<String>, ttl: Duration) -> Result<Self> {
        let hash = digest(&SHA256, &serde_json::to_vec(&path)?);
        Ok(Self {
            store,
            collection: Collection::new(COLLECTION)?,
            key: Key::new(&URL_SAFE_NO_PAD.encode(hash))?,
            path,
            ttl,
        })
    }

    /// A part of its own, with its own bound and end: for a handle that a tool gave the client and takes as an
    /// argument, as a cart among several. A part of another caller is never reached by its name.
    ///
    /// # Errors
    ///
    /// None that depend on `name`.
    pub fn part(&self, name: impl Into<String>) -> Result<Self> {
        let mut path = self.path.clone();
        path.push(name.into());
        Self::at(Arc::clone(&self.store), path, self.ttl)
    }

    /// How long after a write everything is forgotten, at least a second. Default 24 h.
    #[must_use]
    pub fn keep_for(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.max(Duration::from_secs(1));
        self
    }

    /// What was set for `key`.
    ///
    /// # Errors
    ///
    /// When it has not the shape of `T`, and when the store fails.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let (mut values, _) = self.read().await?;
        let value = values.remove(key);
        Ok(value.map(serde_json::from_value).transpose()?)
    }

    /// Sets `key`.
    ///
    /// # Errors
    ///
    /// When `value` cannot be represented as JSON or there is no room for it, and when the store fails.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is set or not.
    pub async fn set<T: Serialize + Sync>(&self, key: &str, value: &T) -> Result<()> {
        let value = serde_json::to_value(value)?;
        let set = |values: &mut Values| {
            values.insert(key.to_owned(), value.clone());
            Ok(())
        };
        self.change(set).await
    }

    /// Sets `key` to what `make` makes of what is there; what it is then. Where somebody else writes meanwhile,
    /// `make` is called again.
    ///
    /// # Errors
    ///
    /// As [`Self::get`] and [`Self::set`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::set`].
    pub async fn update<T, F>(&self, key: &str, make: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send,
        F: Fn(Option<T>) -> T + Send + Sync,
    {
        let update = |values: &mut Values| {
            let before = values.get(key).cloned();
            let made = make(before.map(serde_json::from_value).transpose()?);
            values.insert(key.to_owned(), serde_json::to_value(&made)?);
            Ok(made)
        };
        self.change(update).await
    }

    /// Forgets `key`; whether something was there.
    ///
    /// # Errors
    ///
    /// When the store fails.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::set`].
    pub async fn delete(&self, key: &str) -> Result<bool> {
        self.change(|values| Ok(values.remove(key).is_some())).await
    }

    /// Forgets everything but its parts; whether something was there.
    ///
    /// # Errors
    ///
    /// When the store fails.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::set`].
    pub async fn clear(&self) -> Result<bool> {
        Ok(self.store.delete(&self.collection, &self.key).await?)
    }

    async fn read(&self) -> Result<(Values, Option<Entry>)> {
        let entry = self.store.entry(&self.collection, &self.key).await?;
        let values = match &entry {
            Some(entry) => serde_json::from_slice(&entry.value)?,
            None => Values::new(),
        };
        Ok((values, entry))
    }

    /// Changes what is there, as long as it takes until nobody else writes meanwhile.
    async fn change<T>(
        &self,
        change: impl Fn(&mut Values) -> Result<T> + Send + Sync,
    ) -> Result<T> {
        for _ in 0..MAX_TRIES {
            let (mut values, entry) = self.read().await?;
            let made = change(&mut values)?;
            let value = serde_json::to_vec(&values)?;
            if value.len() > MAX_BYTES {
                return Err(Error::tool(format!(
                    "a user session has room for {MAX_BYTES} bytes, and this makes it {}",
                    value.len()
                )));
            }
            let (value, ttl) = (value.into(), Some(self.ttl));
            let swap = match entry {
                Some(entry) => {
                    let new = Put { value, ttl };
                    self.store
                        .compare_and_swap(&self.collection, &self.key, entry.version, new)
                        .await?
                }
                None => {
                    self.store
                        .put_if_absent(&self.collection, &self.key, value, ttl)
                        .await?
                }
            };
            if matches!(swap, Swap::Stored(_)) {
                return Ok(made);
            }
        }
        Err(Error::internal(
            "too many others write to this user session at once",
        ))
    }
}

impl Context {
    /// What the server remembers of who is calling; see [`UserSession`].
    ///
    /// # Errors
    ///
    /// When nobody was authenticated and there is no session either.
    pub fn user_session(&self) -> Result<UserSession> {
        let caller = self.caller();
        let mut path = vec![caller.principal().as_str().to_owned()];
        if caller.kind() == CallerKind::Anonymous {
            // The sessions of connections have names that come again in the next process.
            let session = self
                .session_id()
                .filter(|_| self.peer().connection.is_none());
            let session = session.ok_or_else(|| {
                Error::forbidden("this is remembered of who is authenticated, and you are not")
            })?;
            path.push(format!("session:{session}"));
        }
        UserSession::at(Arc::clone(self.home().store()), path, KEPT_FOR)
    }
}

impl FromContext for UserSession {
    async fn from_context(context: &Context) -> Result<Self> {
        context.user_session()
    }
}
