//! The provider's credential for this caller. The caller's own token never goes on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fastmcp_guard::clock::{Clock, Timestamp};

use crate::{
    call::TokenMeta,
    error::{Code, Error},
    policy::Permit,
    provider::{Exchange, Grant},
};

/// Credentials that are kept.
const MAX_KEPT: usize = 10_000;

/// For whom and for what a credential is: the subject is part of it. One text, since it is made for each call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(Box<[u8]>);

impl Key {
    fn of(provider: &str, exchange: &Exchange<'_>) -> Self {
        let Exchange {
            scopes,
            subject,
            tenant,
            purpose,
        } = exchange;
        let parts = [provider, *tenant, *subject, *purpose].into_iter();
        let mut key = Vec::with_capacity(256);
        for part in parts.chain(scopes.iter().map(String::as_str)) {
            // The length keeps what two parts say apart.
            key.extend_from_slice(&part.len().to_le_bytes());
            key.extend_from_slice(part.as_bytes());
        }
        Self(key.into())
    }
}

/// A credential for this caller and call. Only this room makes one.
#[derive(Clone, Debug)]
pub struct Brokered {
    grant: Grant,
    expires_in: Duration,
}

impl Brokered {
    /// The credential.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// What callers are told of it: never its value.
    #[must_use]
    pub fn meta(&self) -> TokenMeta {
        TokenMeta {
            token_type: Some(self.grant.token_type().to_owned()),
            expires_in: Some(self.expires_in.as_secs()),
            audience: self.grant.audience().map(str::to_owned),
        }
    }
}

/// Obtains credentials and keeps them for four fifths of their life.
#[derive(Debug)]
pub struct Broker {
    kept: Mutex<HashMap<Key, (Grant, Timestamp)>>,
    clock: Arc<dyn Clock>,
}

impl Broker {
    /// Creates a broker.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            kept: Mutex::default(),
            clock,
        }
    }

    /// The credential for a permitted call.
    ///
    /// # Errors
    ///
    /// [`Code::FailedDependency`] when the provider gives none.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn grant(&self, permit: &Permit) -> Result<Brokered, Error> {
        let manifest = permit.target().manifest();
        let exchange = Exchange {
            scopes: permit.scopes(),
            subject: permit.caller().subject(),
            tenant: permit.tenant(),
            purpose: manifest.tool_id.as_str(),
        };
        let key = Key::of(&manifest.provider_id, &exchange);
        if let Some(kept) = self.kept(&key) {
            return Ok(kept);
        }
        let grant = permit
            .target()
            .adapter()
            .exchange(&exchange)
            .await
            .map_err(|e| {
                Error::new(Code::FailedDependency, "Provider invocation failed")
                    .with_log(e.detail.unwrap_or(e.message))
            })?;
        let expires_in = grant.expires_in();
        self.keep(key, grant.clone(), expires_in);
        Ok(Brokered { grant, expires_in })
    }

    fn kept(&self, key: &Key) -> Option<Brokered> {
        let now = self.clock.now();
        let kept = self.lock();
        let (grant, made) = kept.get(key)?;
        let age = now.since(*made);
        (age < grant.expires_in() / 5 * 4).then(|| Brokered {
            grant: grant.clone(),
            expires_in: grant.expires_in().saturating_sub(age),
        })
    }

    fn keep(&self, key: Key, grant: Grant, lives: Duration) {
        let now = self.clock.now();
        let mut kept = self.lock();
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (grant, made)| now.since(*made) < grant.expires_in() / 5 * 4);
        }
        if kept.len() < MAX_KEPT && !lives.is_zero() {
            kept.insert(key, (grant, now));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, (Grant, Timestamp)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::clock::ManualClock;

    use super::*;

    #[test]
    fn a_credential_is_of_one_subject_of_one_tenant() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
        let broker = Broker::new(clock.clone());
        let key = |tenant: &str, subject: &str| {
            let exchange = Exchange {
                scopes: &["ads.write".to_owned()],
                subject,
                tenant,
                purpose: "ads:createCampaign",
            };
            Key::of("ads", &exchange)
        };
        let life = Duration::from_secs(100);
        let grant = Grant::new("Bearer", "a secret", life);
        broker.keep(key("acme", "alice"), grant, life);
        assert!(broker.kept(&key("acme", "alice")).is_some());
        assert!(broker.kept(&key("acme", "bob")).is_none());
        assert!(broker.kept(&key("globex", "alice")).is_none());
        assert!(broker.kept(&key("acm", "ealice")).is_none());
        clock.advance(Duration::from_secs(80));
        assert!(broker.kept(&key("acme", "alice")).is_none());
    }
}
