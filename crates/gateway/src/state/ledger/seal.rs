//! What the ledger seals and opens, and which keys it takes.

use std::{collections::BTreeSet, sync::PoisonError};

use fastmcp::seal::KeyId;

use super::{
    super::{SealedWith, StateError},
    Field, Ledger, OperationId,
};

/// The most keys that are remembered as missing.
const MOST_MISSING: usize = 16;

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
        let found = self.inner.store.sealed_with().await?;
        let missing: BTreeSet<_> = found
            .iter()
            .map(|sealed| sealed.key)
            .filter(|key| !self.inner.keys.holds(*key))
            .take(MOST_MISSING)
            .collect();
        let mut known = self
            .inner
            .missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = missing;
        drop(known);
        Ok(found)
    }

    /// The keys that are not in the ring and that sealed what the state keeps, as far as that was seen: by
    /// [`Self::sealed_with`], or by a call that could not read something.
    #[must_use]
    pub fn missing_keys(&self) -> Vec<KeyId> {
        let missing = self
            .inner
            .missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let missing = missing.iter().copied();
        missing.filter(|key| !self.inner.keys.holds(*key)).collect()
    }

    /// What to say of [`Self::missing_keys`], if there are some.
    pub(crate) fn missing_told(&self) -> Option<String> {
        let missing: Vec<_> = self.missing_keys().iter().map(KeyId::to_string).collect();
        (!missing.is_empty()).then(|| {
            format!(
                "the state keeps what is sealed with keys that are not in `keys/seal.key`: {}; put the file back that holds them",
                missing.join(", ")
            )
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
        let mut missing = self
            .inner
            .missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if missing.len() < MOST_MISSING {
            missing.insert(key);
        }
    }
}

/// Sealed bytes open in their own row and column only.
fn bound_to(id: &OperationId, field: Field) -> String {
    format!("operations|{id}|{}", field.column())
}
