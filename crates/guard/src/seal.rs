//! Values that leave our hands and must come back as they were.
//!
//! AES-256-GCM from aws-lc-rs under a key ring: the first key seals, every key opens, so keys
//! rotate by putting a new one in front. What a sealed value is bound to (caller, method,
//! arguments, purpose) goes into the associated data, which is not stored.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{SHA256, digest},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Keys that seal and open.
pub struct KeyRing {
    keys: Vec<Key>,
}

struct Key {
    id: [u8; KEY_ID_LEN],
    key: RandomizedNonceKey,
}

/// A key or a sealed value could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The ring holds no key.
    #[error("key ring is empty")]
    NoKey,
    /// The value was not sealed here, for this purpose, or was changed since.
    #[error("sealed value does not open")]
    Forged,
    /// The cryptographic library refused.
    #[error("value could not be sealed")]
    Failed,
}

impl KeyRing {
    /// Creates a ring; the first key seals.
    ///
    /// # Errors
    ///
    /// [`SealError::NoKey`] when `keys` is empty.
    pub fn new(keys: &[[u8; 32]]) -> Result<Self, SealError> {
        if keys.is_empty() {
            return Err(SealError::NoKey);
        }
        let keys = keys
            .iter()
            .map(|bytes| {
                let mut id = [0; KEY_ID_LEN];
                let hash = digest(&SHA256, bytes);
                id.copy_from_slice(hash.as_ref().get(..KEY_ID_LEN).ok_or(SealError::Failed)?);
                let key =
                    RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::Failed)?;
                Ok(Key { id, key })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// A ring with one key from the operating system's random source, forgotten with the process.
    ///
    /// # Errors
    ///
    /// [`SealError::Failed`] when no randomness can be had.
    pub fn ephemeral() -> Result<Self, SealError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| SealError::Failed)?;
        Self::new(&[key])
    }

    /// Seals `plain`, bound to `aad`.
    ///
    /// # Errors
    ///
    /// [`SealError::Failed`] when the library refuses.
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.keys.first().ok_or(SealError::NoKey)?;
        let mut body = plain.to_vec();
        let nonce = key
            .key
            .seal_in_place_append_tag(Aad::from(aad), &mut body)
            .map_err(|_| SealError::Failed)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + body.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] made with the same `aad`.
    ///
    /// # Errors
    ///
    /// [`SealError::Forged`] for anything else.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (header, body) = sealed
            .split_at_checked(HEADER_LEN)
            .ok_or(SealError::Forged)?;
        let (format, rest) = header.split_first().ok_or(SealError::Forged)?;
        let (id, nonce) = rest.split_at_checked(KEY_ID_LEN).ok_or(SealError::Forged)?;
        if *format != FORMAT {
            return Err(SealError::Forged);
        }
        let key = self
            .keys
            .iter()
            .find(|k| k.id == id)
            .ok_or(SealError::Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Forged)?;
        let mut body = body.to_vec();
        let plain = key
            .key
            .open_in_place(nonce, Aad::from(aad), &mut body)
            .map_err(|_| SealError::Forged)?
            .len();
        body.truncate(plain);
        Ok(body)
    }

    /// Seals into text: base64url without padding (RFC 4648 section 5).
    ///
    /// # Errors
    ///
    /// As [`Self::seal`].
    pub fn seal_text(&self, aad: &[u8], plain: &[u8]) -> Result<String, SealError> {
        Ok(URL_SAFE_NO_PAD.encode(self.seal(aad, plain)?))
    }

    /// Opens what [`Self::seal_text`] made; the decoding is strict.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_text(&self, aad: &[u8], sealed: &str) -> Result<Vec<u8>, SealError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(sealed)
            .map_err(|_| SealError::Forged)?;
        self.open(aad, &bytes)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("keys", &self.keys.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_was_sealed_for_the_same_purpose() {
        let ring = KeyRing::ephemeral().unwrap();
        let sealed = ring.seal_text(b"purpose", b"value").unwrap();
        assert_eq!(ring.open_text(b"purpose", &sealed).unwrap(), b"value");
        assert_eq!(ring.open_text(b"other", &sealed), Err(SealError::Forged));
        assert_eq!(
            ring.open_text(b"purpose", &format!("{sealed}-TAMPERED")),
            Err(SealError::Forged)
        );
        assert_eq!(
            ring.open_text(b"purpose", &format!("{sealed}=")),
            Err(SealError::Forged)
        );
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let ring = KeyRing::ephemeral().unwrap();
        let sealed = ring.seal(b"", b"value").unwrap();
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert_eq!(ring.open(b"", &forged), Err(SealError::Forged), "byte {at}");
        }
    }

    #[test]
    fn keys_rotate() {
        let (old, new) = ([1; 32], [2; 32]);
        let sealed = KeyRing::new(&[old]).unwrap().seal(b"", b"value").unwrap();
        assert_eq!(
            KeyRing::new(&[new, old])
                .unwrap()
                .open(b"", &sealed)
                .unwrap(),
            b"value"
        );
        assert_eq!(
            KeyRing::new(&[new]).unwrap().open(b"", &sealed),
            Err(SealError::Forged)
        );
    }
}
