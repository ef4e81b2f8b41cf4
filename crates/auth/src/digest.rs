//! SHA-256, by the workspace's library.

use aws_lc_rs::digest;

/// A SHA-256 value.
pub(crate) type Sha256 = [u8; 32];

/// Returns the SHA-256 of `data`.
pub(crate) fn sha256(data: &[u8]) -> Sha256 {
    let mut out = [0; 32];
    // SHA-256 is 32 bytes, as `out` is.
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}
