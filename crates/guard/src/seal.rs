//! Values that leave our hands and must come back as they were.
//!
//! AES-256-GCM from aws-lc-rs under a key ring: the first key seals, every key opens, so keys
//! rotate by putting a new one in front, while values are sealed and opened. What a sealed value is bound to (caller, method,
//! arguments, purpose) goes into the associated data, which is not stored.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{SHA256, digest},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Keys that seal and open. Its clones are one ring: what [`Self::replace`] puts in place, all of them use.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<RwLock<Arc<[Key]>>>,
}

struct Key {
    id: KeyId,
    key: RandomizedNonceKey,
}

/// The name of a key: the first four bytes of its SHA-256, in eight digits of hexadecimal. It is no secret, and stands in
/// every value that the key sealed.
///
/// ```
/// use fastmcp_guard::seal::{KeyId, KeyRing};
///
/// let ring = KeyRing::new(&[[7; 32]])?;
/// let sealed = ring.seal(b"purpose", b"value")?;
/// assert_eq!(KeyId::of_sealed(&sealed), Some(KeyId::of(&[7; 32])));
/// # Ok::<(), fastmcp_guard::seal::SealError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID_LEN]);

impl KeyId {
    /// The name of `key`.
    #[must_use]
    pub fn of(key: &[u8; 32]) -> Self {
        let hash = digest(&SHA256, key);
        // A hash is longer than that.
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// The name of the key that sealed a value, of which the first five bytes are enough. `None` for what no ring sealed.
    #[must_use]
    pub fn of_sealed(sealed: &[u8]) -> Option<Self> {
        let (format, rest) = sealed.split_first()?;
        if *format != FORMAT {
            return None;
        }
        rest.first_chunk().copied().map(Self)
    }

    /// Reads eight digits of hexadecimal.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 2 * KEY_ID_LEN && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u32::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
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
        Ok(Self {
            keys: Arc::new(RwLock::new(made(keys)?)),
        })
    }

    /// Puts `keys` in the place of those of the ring and of its clones; the first seals from here on.
    ///
    /// # Errors
    ///
    /// As [`Self::new`]; the ring is then as it was.
    pub fn replace(&self, keys: &[[u8; 32]]) -> Result<(), SealError> {
        let keys = made(keys)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// The names of the keys; that of the one that seals is the first.
    #[must_use]
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys().iter().map(|key| key.id).collect()
    }

    /// The name of the key that sealed a value, if the ring does not hold that key.
    #[must_use]
    pub fn lacks(&self, sealed: &[u8]) -> Option<KeyId> {
        KeyId::of_sealed(sealed).filter(|id| !self.holds(*id))
    }

    /// Whether it holds the key of this name.
    #[must_use]
    pub fn holds(&self, id: KeyId) -> bool {
        self.keys().iter().any(|key| key.id == id)
    }

    fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
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
        let keys = self.keys();
        let key = keys.first().ok_or(SealError::NoKey)?;
        let mut body = plain.to_vec();
        let nonce = key
            .key
            .seal_in_place_append_tag(Aad::from(aad), &mut body)
            .map_err(|_| SealError::Failed)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + body.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&key.id.0);
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
        let keys = self.keys();
        let key = keys
            .iter()
            .find(|key| key.id.0 == id)
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
            .field("keys", &self.keys().len())
            .finish()
    }
}

fn made(keys: &[[u8; 32]]) -> Result<Arc<[Key]>, SealError> {
    if keys.is_empty() {
        return Err(SealError::NoKey);
    }
    let made = keys.iter().map(|bytes| {
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::Failed)?;
        Ok(Key {
            id: KeyId::of(bytes),
            key,
        })
    });
    made.collect()
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

    #[test]
    fn keys_rotate_under_those_who_use_them() {
        let (old, new) = ([1; 32], [2; 32]);
        let ring = KeyRing::new(&[old]).unwrap();
        let user = ring.clone();
        let before = user.seal(b"", b"value").unwrap();
        ring.replace(&[new, old]).unwrap();
        assert_eq!(user.ids(), [KeyId::of(&new), KeyId::of(&old)]);
        let after = user.seal(b"", b"value").unwrap();
        assert_eq!(KeyId::of_sealed(&after), Some(KeyId::of(&new)));
        assert_eq!(user.open(b"", &before).unwrap(), b"value");
        assert_eq!(user.lacks(&before), None);
        ring.replace(&[new]).unwrap();
        assert_eq!(user.open(b"", &before), Err(SealError::Forged));
        assert_eq!(user.lacks(&before), Some(KeyId::of(&old)));
        assert_eq!(ring.replace(&[]), Err(SealError::NoKey));
        assert_eq!(user.open(b"", &after).unwrap(), b"value", "as it was");
    }

    #[test]
    fn names_of_keys_are_read_as_they_are_shown() {
        let id = KeyId::of(&[1; 32]);
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        for text in ["", "72cd6e84x", "72cd6e8", "+2cd6e84", "72cd6e8\u{e4}"] {
            assert_eq!(KeyId::parse(text), None, "{text}");
        }
        for sealed in [&b""[..], b"\x01abc", b"\x02abcd"] {
            assert_eq!(KeyId::of_sealed(sealed), None);
        }
    }
}
