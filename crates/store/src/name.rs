//! Names of what is kept: a collection, and a key within it. Parsed once, valid in every backend.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::error::StoreError;

/// Longest name of a collection, in bytes.
const MAX_COLLECTION_BYTES: usize = 64;

/// Longest key, in bytes: fits a digest, a URL of usual length, and the sort key of every backend.
const MAX_KEY_BYTES: usize = 512;

/// The name of a collection: 1 to 64 characters of `A-Z a-z 0-9 _ . -`.
///
/// Part of what is kept belongs together, and no key of one collection is a key of another. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Collection(Arc<str>);

impl Collection {
    /// Parses a name.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidName`] if it is empty, too long or has other characters.
    pub fn new(name: &str) -> Result<Self, StoreError> {
        let refuse = |reason| {
            Err(StoreError::InvalidName {
                field: "collection",
                reason,
            })
        };
        if name.is_empty() || name.len() > MAX_COLLECTION_BYTES {
            return refuse("give 1 to 64 characters");
        }
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        {
            return refuse("use letters, digits, `_`, `.` and `-` alone");
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key within a collection: 1 to 512 bytes of UTF-8 without control characters.
///
/// Keys are ordered by their bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidName`] if it is empty, too long or has a control character.
    pub fn new(key: &str) -> Result<Self, StoreError> {
        let refuse = |reason| {
            Err(StoreError::InvalidName {
                field: "key",
                reason,
            })
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return refuse("give 1 to 512 bytes; of what is longer, give a digest");
        }
        if key.chars().any(char::is_control) {
            return refuse("use no control characters");
        }
        Ok(Self(key.into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_plain() {
        for good in ["a", "tokens.v1", "A_b-9", &"c".repeat(64)] {
            assert_eq!(Collection::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a/b", "a:b", "ü", "a\0", &"c".repeat(65)] {
            assert!(Collection::new(bad).is_err(), "{bad:?}");
        }
        for good in ["k", "a:b/c d", "ключ", &"k".repeat(512)] {
            assert_eq!(Key::new(good).unwrap().to_string(), good);
        }
        for bad in ["", "a\nb", "a\0", "\u{7f}", &"k".repeat(513)] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        let message = Key::new("").unwrap_err().to_string();
        assert_eq!(
            message,
            "`key`: give 1 to 512 bytes; of what is longer, give a digest"
        );
    }
}
