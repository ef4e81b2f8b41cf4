//! What the ledger seals and opens, and which keys it takes.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
};

use fastmcp::seal::KeyId;

use super::{
    super::{SealedWith, StateError},
    Field, Ledger, OperationId,
};

/// The most keys that are remembered as missing.
const MOST_MISSING: usize = 16;

/// What is known of the keys that the state was sealed with and the ring does not hold.
#[derive(Debug, Default)]
pub(super) struct Missing {
    keys: BTreeSet<KeyId>,
    search: Search,
}

/// How the search for them went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Search {
    #[default]
    Outstanding,
    Failed,
    Done,
}

impl Ledger {
    /// How much the state keeps that each key sealed. Looks at every operation, and remembers which keys are missing.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn sealed_with(&self) -> Result<Vec<SealedWith>, StateError> {
        let found = match self.inner.store.sealed_with().await {
            Ok(found) => found,
            Err(error) => {
                let mut known = self.known_missing();
                if known.search == Search::Outstanding {
                    known.search = Search::Failed;
                }
                return Err(error);
            }
        };
        let missing: BTreeSet<_> = found
            .iter()
            .map(|sealed| sealed.key)
            .filter(|key| !self.inner.keys.holds(*key))
            .take(MOST_MISSING)
            .collect();
        *self.known_missing() = Missing {
            keys: missing,
            search: Search::Done,
        };
        Ok(found)
    }

    fn known_missing(&self) -> MutexGuard<'_, Missing> {
        let missing = self.inner.missing.lock();
        missing.unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that are not in the ring and that sealed what the state keeps, as far as that was seen: by
    /// [`Self::sealed_with`], or by a call that could not read something.
    #[must_use]
    pub fn missing_keys(&self) -> Vec<KeyId> {
        let missing = self.known_missing();
        let missing = missing.keys.iter().copied();
        missing.filter(|key| !self.inner.keys.holds(*key)).collect()
    }

    /// What to say of [`Self::missing_keys`], if there are some, or if nobody could look for them yet.
    pub(crate) fn missing_told(&self) -> Option<String> {
        let missing: Vec<_> = self.missing_keys().iter().map(KeyId::to_string).collect();
        if !missing.is_empty() {
            return Some(format!(
                "the state keeps what is sealed with keys that are not in `keys/seal.key`: {}; put the file back that holds them",
                missing.join(", ")
            ));
        }
        (self.known_missing().search == Search::Failed).then(|| {
            "the state could not be searched yet for what is sealed with keys that are not in `keys/seal.key`; it is tried again"
                .to_owned()
        })
    }

    pub(super) fn seal(
        &self,
        id: &OperationId,
        field: Field,
        plain: &[u8],
    ) -> Result<Vec<u8>, StateError> {
        let bound_to = bound_to(id, field);
        Ok(self.inner.keys.seal(bound_to.as_bytes(), plain)?)
    }

    pub(crate) fn open(
        &self,
        id: &OperationId,
        field: Field,
        sealed: &[u8],
    ) -> Result<Vec<u8>, StateError> {
        let keys = &self.inner.keys;
        let opened = keys.open(bound_to(id, field).as_bytes(), sealed);
        opened.map_err(|error| match keys.lacks(sealed) {
            Some(key) => {
                self.miss(key);
                StateError::KeyMissing(key)
            }
            None => error.into(),
        })
    }

    fn miss(&self, key: KeyId) {
        let mut missing = self.known_missing();
        if missing.keys.len() < MOST_MISSING {
            missing.keys.insert(key);
        }
    }
}

/// Sealed bytes open in their own row and column only.
fn bound_to(id: &OperationId, field: Field) -> String {
    format!("operations|{id}|{}", field.column())
}
