//! The Merkle tree over the lines: roots and proofs.
//!
//! Pure functions over hashes; where the hashes are kept is `tile`'s affair. A leaf is the line of
//! a record without its newline, hashed by [`Hash::leaf`].
//!
//! Source: RFC 9162, 2.1 (the same tree as RFC 6962).

mod check;
pub(crate) mod tile;

pub use check::{verify_consistency, verify_inclusion};

use crate::hash::Hash;

/// The root of a tree that only grows, in space logarithmic in its size.
#[derive(Clone, Debug, Default)]
pub struct Compact {
    /// Roots of perfect subtrees with their heights; the highest first.
    peaks: Vec<(u32, Hash)>,
    size: u64,
}

impl Compact {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_at(0, leaf);
    }

    /// Adds a perfect subtree of 2^`height` leaves. The size so far must be a multiple of that.
    pub(crate) fn push_at(&mut self, height: u32, hash: Hash) {
        let (mut height, mut hash) = (height, hash);
        self.size += 1_u64.checked_shl(height).unwrap_or(0);
        while let Some((_, left)) = self.peaks.pop_if(|(peak, _)| *peak == height) {
            hash = Hash::node(&left, &hash);
            height += 1;
        }
        self.peaks.push((height, hash));
    }

    /// Returns the number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the root. That of the empty tree is the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some((_, last)) = peaks.next() else {
            return Hash::of(&[]);
        };
        peaks.fold(*last, |right, (_, left)| Hash::node(left, &right))
    }
}

/// Where the hashes of perfect subtrees are found.
pub trait Nodes {
    /// Why a hash could not be had.
    type Error;

    /// Returns the root of the perfect subtree over the leaves from `index << height` up to, but
    /// not including, `(index + 1) << height`.
    ///
    /// # Errors
    ///
    /// If the hash is not there or cannot be read.
    fn node(&self, height: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Returns the path that proves leaf `index` in the tree of `size` leaves.
///
/// Empty if there is nothing to prove: `index` must be less than `size`.
///
/// # Errors
///
/// If a node cannot be had.
///
/// Source: RFC 9162, 2.1.3.1.
pub fn inclusion_path<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let mut path = Vec::new();
    if index >= size {
        return Ok(path);
    }
    // From the root down; the path is listed from the leaf up.
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            path.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Returns the path that proves that the tree of `old` leaves is a prefix of that of `new`.
///
/// Empty if there is nothing to prove: `old` must be less than `new` and not 0.
///
/// # Errors
///
/// If a node cannot be had.
///
/// Source: RFC 9162, 2.1.4.1.
pub fn consistency_path<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut low, mut high) = (0, new);
    // `old` is the end of the old tree; `low` moves right of its whole subtrees.
    while high != old {
        let middle = low + split(high - low);
        if old <= middle {
            path.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    if low != 0 {
        // The verifier knows the old root only if that subtree is all of the old tree.
        path.push(range_root(nodes, low, high)?);
    }
    path.reverse();
    Ok(path)
}

/// Returns the root over the leaves from `low` up to `high`; `low` must be aligned to the largest
/// power of two in the range, as the ranges of [`split`] are.
fn range_root<N: Nodes>(nodes: &N, low: u64, high: u64) -> Result<Hash, N::Error> {
    let mut peaks = Vec::new();
    let mut low = low;
    while low < high {
        let height = (high - low).ilog2();
        peaks.push(nodes.node(height, low >> height)?);
        low += 1 << height;
    }
    let mut peaks = peaks.into_iter().rev();
    let last = peaks.next().unwrap_or_else(|| Hash::of(&[]));
    Ok(peaks.fold(last, |right, left| Hash::node(&left, &right)))
}

/// Returns the largest power of two below `size`, which is at least 2.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::convert::Infallible;

    use super::*;

    /// All leaves in memory: the tree as the RFC defines it, without any cleverness.
    pub(crate) struct Naive(pub(crate) Vec<Hash>);

    impl Naive {
        pub(crate) fn root(leaves: &[Hash]) -> Hash {
            match leaves {
                [] => Hash::of(&[]),
                [leaf] => *leaf,
                _ => {
                    let (left, right) =
                        leaves.split_at(split(leaves.len() as u64).try_into().unwrap());
                    Hash::node(&Self::root(left), &Self::root(right))
                }
            }
        }
    }

    impl Nodes for Naive {
        type Error = Infallible;

        fn node(&self, height: u32, index: u64) -> Result<Hash, Infallible> {
            let low = usize::try_from(index << height).unwrap();
            Ok(Self::root(&self.0[low..low + (1 << height)]))
        }
    }

    pub(crate) fn hash(text: &str) -> Hash {
        text.parse().unwrap()
    }

    /// The entries and heads of the Certificate Transparency reference tests.
    fn reference() -> (Vec<Hash>, [&'static str; 9]) {
        let entries: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        (entries.map(Hash::leaf).to_vec(), roots)
    }

    #[test]
    fn roots_match_the_reference_vectors() {
        let (leaves, roots) = reference();
        let mut compact = Compact::default();
        for (size, root) in roots.into_iter().enumerate() {
            assert_eq!(compact.root(), hash(root), "{size}");
            assert_eq!(compact.size(), size as u64);
            if let Some(leaf) = leaves.get(size) {
                compact.push(*leaf);
            }
        }
    }

    #[test]
    fn inclusion_paths_match_the_reference_vectors() {
        let (leaves, roots) = reference();
        let nodes = Naive(leaves.clone());
        let vectors: [(u64, u64, &[&str]); 5] = [
            (0, 1, &[]),
            (
                0,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                5,
                8,
                &[
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (
                2,
                3,
                &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
            ),
            (
                1,
                5,
                &[
                    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ];
        for (index, size, path) in vectors {
            let path: Vec<_> = path.iter().map(|text| hash(text)).collect();
            assert_eq!(inclusion_path(&nodes, index, size), Ok(path.clone()));
            let leaf = leaves[usize::try_from(index).unwrap()];
            let root = hash(roots[usize::try_from(size).unwrap()]);
            assert!(
                verify_inclusion(&leaf, index, size, &path, &root),
                "{index} {size}"
            );
        }
    }

    #[test]
    fn consistency_paths_match_the_reference_vectors() {
        let (leaves, roots) = reference();
        let nodes = Naive(leaves);
        let vectors: [(u64, u64, &[&str]); 4] = [
            (1, 1, &[]),
            (
                1,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                6,
                8,
                &[
                    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (
                2,
                5,
                &[
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ];
        for (old, new, path) in vectors {
            let path: Vec<_> = path.iter().map(|text| hash(text)).collect();
            assert_eq!(consistency_path(&nodes, old, new), Ok(path.clone()));
            let at = |size: u64| hash(roots[usize::try_from(size).unwrap()]);
            assert!(
                verify_consistency(old, new, &path, &at(old), &at(new)),
                "{old} {new}"
            );
        }
    }
}
