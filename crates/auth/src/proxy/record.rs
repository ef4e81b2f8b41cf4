//! What a proxy remembers, and the sealed place where it does.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use fastmcp_guard::clock::Timestamp;
use fastmcp_store::{Collection, Key, KeyValueStore, Put, StoreError, Swap, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::keys::ProxyKeys;
use crate::digest::sha256;

/// What a client asked for.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) client_id: String,
    pub(super) client_name: Option<String>,
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) challenge: String,
    pub(super) scopes: Vec<String>,
}

/// A login that a person agreed to and that is under way at the identity provider. Its browser keeps it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) request: Request,
    /// The browser that agreed.
    pub(super) browser: String,
    /// Our own proof towards the identity provider (RFC 7636).
    pub(super) verifier: String,
    /// What its ID token must repeat.
    pub(super) nonce: String,
    pub(super) until: Timestamp,
}

/// A code.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Code {
    /// One that nobody has used yet.
    Fresh(Box<Fresh>),
    /// One that was used, and the session that came of it.
    Spent { session: Option<String> },
}

/// What a code stands for.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Fresh {
    pub(super) request: Request,
    pub(super) person: Person,
    pub(super) tokens: UpstreamTokens,
    pub(super) until: Timestamp,
}

/// Who logged in.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Person {
    pub(super) subject: String,
    /// What of the scopes that were asked for was granted.
    pub(super) scopes: Vec<String>,
    /// What the ID token says, where there is one.
    pub(super) claims: Map<String, Value>,
}

/// The tokens of the identity provider. They never leave but to it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct UpstreamTokens {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
}

/// One login of one person with one client: all tokens that came of it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) client_id: String,
    pub(super) person: Person,
    pub(super) tokens: UpstreamTokens,
    /// Which refresh token is good: each has the number after its predecessor's.
    pub(super) generation: u64,
    /// When the last one came about.
    pub(super) rotated_at: Timestamp,
    pub(super) until: Timestamp,
    /// When it ends however often it is refreshed, where the identity provider does not say how long its tokens are good.
    #[serde(default)]
    pub(super) ends_at: Option<Timestamp>,
}

impl Session {
    /// Gives it an end where its tokens have none, so that no session is for ever; keeps it until then at most.
    pub(super) fn bounded(mut self, now: Timestamp, longest: Duration) -> Self {
        if self.tokens.expires_at.is_none() {
            self.ends_at.get_or_insert(now.saturating_add(longest));
        }
        self.until = self.ends_at.map_or(self.until, |end| end.min(self.until));
        self
    }
}

/// What there is to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A login that was used.
    Login,
    Code,
    Session,
    /// Whose turn it is to renew the tokens of a session.
    Turn,
    /// The sessions of a person.
    Person,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Login,
        Self::Code,
        Self::Session,
        Self::Turn,
        Self::Person,
    ];

    const fn collection(self) -> &'static str {
        match self {
            Self::Login => "oauth-proxy.logins",
            Self::Code => "oauth-proxy.codes",
            Self::Session => "oauth-proxy.sessions",
            Self::Turn => "oauth-proxy.turns",
            Self::Person => "oauth-proxy.people",
        }
    }
}

/// Why something could not be remembered or recalled.
#[derive(Debug, thiserror::Error)]
pub(super) enum VaultError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("a record cannot be sealed")]
    Seal,
}

/// Keeps records sealed, under names that tell nothing.
pub(super) struct Vault {
    store: Arc<dyn KeyValueStore>,
    keys: Arc<ProxyKeys>,
    /// Of whom: two proxies may share a store and even keys, but not what they remember.
    owner: String,
    collections: [Collection; 5],
}

/// A record and which write it is of.
pub(super) struct Held<T> {
    pub(super) record: T,
    pub(super) version: Version,
}

impl Vault {
    pub(super) fn new(
        store: Arc<dyn KeyValueStore>,
        keys: Arc<ProxyKeys>,
        owner: String,
    ) -> Result<Self, StoreError> {
        let [login, code, session, turn, person] =
            Kind::ALL.map(|kind| Collection::new(kind.collection()));
        Ok(Self {
            store,
            keys,
            owner,
            collections: [login?, code?, session?, turn?, person?],
        })
    }

    fn place(&self, kind: Kind, id: &str) -> Result<(&Collection, Key), StoreError> {
        let [login, code, session, turn, person] = &self.collections;
        let collection = match kind {
            Kind::Login => login,
            Kind::Code => code,
            Kind::Session => session,
            Kind::Turn => turn,
            Kind::Person => person,
        };
        let named = sha256(format!("{}\n{id}", self.owner).as_bytes());
        Ok((collection, Key::new(&URL_SAFE_NO_PAD.encode(named))?))
    }

    fn sealed<T: Serialize>(&self, kind: Kind, key: &Key, record: &T) -> Result<Bytes, VaultError> {
        let plain = serde_json::to_vec(record).map_err(|_| VaultError::Seal)?;
        let bound = format!("{}|{key}", kind.collection());
        let sealed = self.keys.ring().seal(bound.as_bytes(), &plain);
        Ok(sealed.map_err(|_| VaultError::Seal)?.into())
    }

    /// Writes a record that stays for `ttl`.
    pub(super) async fn put<T: Serialize + Sync>(
        &self,
        kind: Kind,
        id: &str,
        record: &T,
        ttl: Duration,
    ) -> Result<(), VaultError> {
        let (collection, key) = self.place(kind, id)?;
        let value = self.sealed(kind, &key, record)?;
        self.store.put(collection, &key, value, Some(ttl)).await?;
        Ok(())
    }

    /// Writes a record where there is none; whether it did.
    pub(super) async fn put_new<T: Serialize + Sync>(
        &self,
        kind: Kind,
        id: &str,
        record: &T,
        ttl: Duration,
    ) -> Result<bool, VaultError> {
        let (collection, key) = self.place(kind, id)?;
        let value = self.sealed(kind, &key, record)?;
        let put = self.store.put_if_absent(collection, &key, value, Some(ttl));
        Ok(matches!(put.await?, Swap::Stored(_)))
    }

    /// Reads a record; one that does not open is none.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        kind: Kind,
        id: &str,
    ) -> Result<Option<Held<T>>, VaultError> {
        let (collection, key) = self.place(kind, id)?;
        let Some(entry) = self.store.entry(collection, &key).await? else {
            return Ok(None);
        };
        let bound = format!("{}|{key}", kind.collection());
        let opened = self.keys.ring().open(bound.as_bytes(), &entry.value);
        let record = opened
            .ok()
            .and_then(|plain| serde_json::from_slice(&plain).ok());
        Ok(record.map(|record| Held {
            record,
            version: entry.version,
        }))
    }

    /// Replaces a record that is still the one that was read; whether it was.
    pub(super) async fn replace<T: Serialize + Sync>(
        &self,
        (kind, id): (Kind, &str),
        version: Version,
        record: &T,
        ttl: Duration,
    ) -> Result<bool, VaultError> {
        let (collection, key) = self.place(kind, id)?;
        let new = Put {
            value: self.sealed(kind, &key, record)?,
            ttl: Some(ttl),
        };
        let swap = self.store.compare_and_swap(collection, &key, version, new);
        Ok(matches!(swap.await?, Swap::Stored(_)))
    }

    /// Takes a record away.
    pub(super) async fn forget(&self, kind: Kind, id: &str) -> Result<(), VaultError> {
        let (collection, key) = self.place(kind, id)?;
        self.store.delete(collection, &key).await?;
        Ok(())
    }
}
