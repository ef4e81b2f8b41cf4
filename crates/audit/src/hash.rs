//! SHA-256, and the three ways in which this format applies it.
//!
//! The only module that names the hash function. It must not know what a record is.

use std::{fmt, io, str::FromStr};

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Separates event hashes from every other use of SHA-256 over the same bytes.
pub(crate) const EVENT_DOMAIN: &[u8] = b"fastmcp-audit/record/v1\0";
/// Separates leaves of the tree from its inner nodes. Source: RFC 9162, 2.1.1.
const LEAF_DOMAIN: &[u8] = &[0];
const NODE_DOMAIN: u8 = 1;

/// A SHA-256 hash. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash([u8; Self::LEN]);

impl Hash {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Thirty-two zero bytes: the `prev_hash` of the first record of a log.
    pub const ZERO: Self = Self([0; Self::LEN]);

    /// Takes the 32 bytes of a hash.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Returns the SHA-256 of the parts, one after the other.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut running = Running::default();
        for part in parts {
            running.0.update(part);
        }
        running.finish()
    }

    /// Returns the SHA-256 of `bytes`, which cost less as one piece than as parts.
    pub(crate) fn of_one(bytes: &[u8]) -> Self {
        Self::take(&digest::digest(&digest::SHA256, bytes))
    }

    fn take(digest: &digest::Digest) -> Self {
        let mut bytes = [0; Self::LEN];
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// Returns the hash of a leaf of the tree.
    ///
    /// Source: RFC 9162, 2.1.1 (`SHA-256(0x00 || entry)`).
    #[must_use]
    pub fn leaf(entry: &[u8]) -> Self {
        Self::of(&[LEAF_DOMAIN, entry])
    }

    /// Returns the hashes of leaves, in their order.
    pub(crate) fn leaves<'a>(
        entries: impl Iterator<Item = &'a [u8]>,
    ) -> impl Iterator<Item = Self> {
        let mut whole = Vec::new();
        entries.map(move |entry| {
            whole.clear();
            whole.extend_from_slice(LEAF_DOMAIN);
            whole.extend_from_slice(entry);
            Self::of_one(&whole)
        })
    }

    /// Returns the hash of an inner node of the tree.
    ///
    /// Source: RFC 9162, 2.1.1 (`SHA-256(0x01 || left || right)`).
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut whole = [NODE_DOMAIN; 1 + 2 * Self::LEN];
        let hashes = left.0.iter().chain(&right.0);
        for (to, from) in whole.iter_mut().skip(1).zip(hashes) {
            *to = *from;
        }
        Self::of_one(&whole)
    }

    /// Returns the 64 digits.
    pub(crate) fn digits(&self) -> [u8; 2 * Self::LEN] {
        let mut digits = [b'0'; 2 * Self::LEN];
        for (to, byte) in digits.chunks_exact_mut(2).zip(&self.0) {
            to.copy_from_slice(&hex(*byte));
        }
        digits
    }
}

/// A SHA-256 that bytes are written into.
pub(crate) struct Running(digest::Context);

impl Default for Running {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Running {
    pub(crate) fn finish(self) -> Hash {
        Hash::take(&self.0.finish())
    }
}

impl io::Write for Running {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

/// A text is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a hash: expected 64 lower-case hexadecimal digits")]
pub struct InvalidHash;

impl FromStr for Hash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; Self::LEN];
        read_hex(text, &mut bytes).ok_or(InvalidHash)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn write_hex(bytes: &[u8], to: &mut dyn fmt::Write) -> fmt::Result {
    for byte in bytes {
        for digit in hex(*byte) {
            to.write_char(char::from(digit))?;
        }
    }
    Ok(())
}

/// The two digits of a byte.
const fn hex(byte: u8) -> [u8; 2] {
    const fn digit(nibble: u8) -> u8 {
        match nibble {
            0..=9 => b'0' + nibble,
            _ => b'a' + nibble - 10,
        }
    }
    [digit(byte >> 4), digit(byte & 15)]
}

/// Fills `bytes` from exactly as many pairs of lower-case hexadecimal digits.
pub(crate) fn read_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    if text.len() != bytes.len() * 2 {
        return None;
    }
    for (to, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(())
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_published_vectors() {
        // FIPS 180-4 example, and RFC 6962's empty leaf.
        assert_eq!(
            Hash::of(&[b"a", b"bc"]).to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            Hash::leaf(b"").to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        let entries = [b"a".as_slice(), b"", b"bc"];
        assert!(Hash::leaves(entries.into_iter()).eq(entries.map(Hash::leaf)));
    }

    #[test]
    fn text_round_trips_and_has_one_spelling() {
        let hash = Hash::of(&[b"x"]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(
            hash.to_string().to_uppercase().parse::<Hash>(),
            Err(InvalidHash)
        );
        assert_eq!("00".parse::<Hash>(), Err(InvalidHash));
        assert_eq!("zz".repeat(32).parse::<Hash>(), Err(InvalidHash));
        assert_eq!("é".repeat(32).parse::<Hash>(), Err(InvalidHash));
    }
}
