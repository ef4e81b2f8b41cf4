//! The tree on disk: tiles of 256 hashes.
//!
//! Level 0 holds the hashes of the leaves; a hash of level l + 1 is the root of a full tile of
//! level l. Tiles are never changed, only completed, so any web server can hand them out.
//!
//! Source: C2SP tlog-tiles, "Merkle Tree".

use std::io;

use super::{Compact, Nodes};
use crate::{
    error::{StorageError, VerifyError},
    hash::Hash,
    storage::{Storage, read_small},
};

/// Hashes in a full tile.
pub(crate) const WIDTH: usize = 256;
/// The height of a tile: 2^8 = 256.
const HEIGHT: u32 = 8;

/// One tile file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) level: u32,
    pub(crate) index: u64,
    /// From 1 to [`WIDTH`].
    pub(crate) width: usize,
}

impl Tile {
    pub(crate) const fn is_full(&self) -> bool {
        self.width == WIDTH
    }

    /// Returns the file's path. Source: C2SP tlog-tiles, "Merkle Tree" (`tile/<L>/<N>[.p/<W>]`).
    pub(crate) fn path(&self) -> String {
        let full = self.full_path();
        if self.is_full() {
            full
        } else {
            format!("{full}.p/{}", self.width)
        }
    }

    /// Returns the folder of the partial tiles that came before this full one.
    pub(crate) fn partials(&self) -> String {
        format!("{}.p", self.full_path())
    }

    fn full_path(&self) -> String {
        let mut path = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            path = format!("x{:03}/{path}", rest % 1000);
            rest /= 1000;
        }
        format!("tile/{}/{path}", self.level)
    }
}

/// The right edge of the tree, and the hashes not yet written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tiles {
    levels: Vec<Level>,
}

#[derive(Clone, Debug, Default)]
struct Level {
    /// The tile that `hashes` begins with.
    first: u64,
    hashes: Vec<Hash>,
    /// How many of `hashes` are on disk.
    written: usize,
}

impl Tiles {
    /// Adds a leaf.
    pub(crate) fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for at in 0.. {
            if self.levels.len() == at {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(at) else {
                return;
            };
            level.hashes.push(hash);
            match level.hashes.rchunks_exact(WIDTH).next() {
                Some(tile) if level.hashes.len().is_multiple_of(WIDTH) => hash = root(tile),
                _ => return,
            }
        }
    }

    /// Returns the tiles to write: full ones, and with `partials` the right edge as well.
    pub(crate) fn pending(&self, partials: bool) -> Vec<(Tile, Vec<u8>)> {
        let mut pending = Vec::new();
        for (level, number) in self.levels.iter().zip(0..) {
            for (hashes, offset) in level.hashes.chunks(WIDTH).zip(0..) {
                let tile = Tile {
                    level: number,
                    index: level.first + offset,
                    width: hashes.len(),
                };
                let end = hashes.len() + WIDTH * usize::try_from(offset).unwrap_or(usize::MAX);
                if end > level.written && (partials || tile.is_full()) {
                    let bytes = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
                    pending.push((tile, bytes));
                }
            }
        }
        pending
    }

    /// Forgets what [`Tiles::pending`] returned, which is on disk now.
    pub(crate) fn written(&mut self, partials: bool) {
        for level in &mut self.levels {
            let full = level.hashes.len() / WIDTH;
            level.hashes.drain(..full * WIDTH);
            level.first += full as u64;
            level.written = match (partials, full) {
                (true, _) => level.hashes.len(),
                (false, 0) => level.written,
                (false, _) => 0,
            };
        }
    }

    /// Reads the right edge of the tree of `size` leaves, with its compact form.
    ///
    /// Returns nothing if a tile is missing or has the wrong length.
    pub(crate) fn load(
        storage: &dyn Storage,
        size: u64,
    ) -> Result<Option<(Self, Compact)>, StorageError> {
        let mut levels = Vec::new();
        let mut rest = size;
        for level in 0.. {
            if rest == 0 {
                break;
            }
            let width = usize::try_from(rest % WIDTH as u64).unwrap_or_default();
            let first = rest / WIDTH as u64;
            let hashes = if width == 0 {
                Vec::new()
            } else {
                let tile = Tile {
                    level,
                    index: first,
                    width,
                };
                match read(storage, tile)? {
                    Some(hashes) => hashes,
                    None => return Ok(None),
                }
            };
            levels.push(Level {
                first,
                written: hashes.len(),
                hashes,
            });
            rest = first;
        }
        let mut compact = Compact::default();
        let mut height = HEIGHT * u32::try_from(levels.len()).unwrap_or_default();
        for level in levels.iter().rev() {
            height -= HEIGHT;
            for hash in &level.hashes {
                compact.push_at(height, *hash);
            }
        }
        Ok(Some((Self { levels }, compact)))
    }
}

/// The hashes of a tree of a given size, read from its tiles.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) size: u64,
}

impl Stored<'_> {
    /// Returns the hashes of one tile of level 0, or of the part of it that the tree has.
    pub(crate) fn leaves(&self, index: u64) -> Result<Option<Vec<Hash>>, StorageError> {
        self.tile(0, index)
    }

    /// Returns the hashes of the first `count` leaves, whose records may be gone: nothing but their
    /// tiles knows them.
    pub(crate) fn first_leaves(&self, count: u64) -> Result<Vec<Hash>, VerifyError> {
        let mut leaves = Vec::new();
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        for index in 0..count.div_ceil(WIDTH as u64) {
            let tile = self
                .leaves(index)?
                .filter(|tile| tile.len() >= left.min(WIDTH));
            let Some(tile) = tile else {
                let width = WIDTH;
                let path = Tile {
                    level: 0,
                    index,
                    width,
                }
                .path();
                return Err(VerifyError::Tile { path });
            };
            leaves.extend(tile.into_iter().take(left));
            left = left.saturating_sub(WIDTH);
        }
        Ok(leaves)
    }

    fn tile(&self, level: u32, index: u64) -> Result<Option<Vec<Hash>>, StorageError> {
        let hashes = self.size.checked_shr(level * HEIGHT).unwrap_or(0);
        let width = hashes.saturating_sub(index.saturating_mul(WIDTH as u64));
        let width = usize::try_from(width).map_or(WIDTH, |width| width.min(WIDTH));
        if width == 0 {
            return Ok(None);
        }
        let tile = Tile {
            level,
            index,
            width,
        };
        read(self.storage, tile)
    }
}

impl Nodes for Stored<'_> {
    type Error = StorageError;

    fn node(&self, height: u32, index: u64) -> Result<Hash, StorageError> {
        let (level, inside) = (height / HEIGHT, height % HEIGHT);
        let start = index << inside;
        let hashes = self.tile(level, start / WIDTH as u64)?;
        let start = usize::try_from(start % WIDTH as u64).unwrap_or_default();
        hashes
            .as_deref()
            .and_then(|hashes| hashes.get(start..start + (1 << inside)))
            .map(root)
            .ok_or_else(|| {
                let tile = Tile {
                    level,
                    index: (index << inside) / WIDTH as u64,
                    width: WIDTH,
                };
                let missing = io::Error::new(io::ErrorKind::NotFound, "the tile is missing");
                StorageError::new("read", &tile.path(), missing)
            })
    }
}

fn root(hashes: &[Hash]) -> Hash {
    let mut compact = Compact::default();
    for hash in hashes {
        compact.push(*hash);
    }
    compact.root()
}

/// Reads a tile, from the full one if the partial one was tidied away. Nothing if it is not whole.
fn read(storage: &dyn Storage, tile: Tile) -> Result<Option<Vec<Hash>>, StorageError> {
    let max = WIDTH * Hash::LEN;
    let mut bytes = read_small(storage, &tile.path(), max)?;
    if bytes.is_none() && !tile.is_full() {
        bytes = read_small(storage, &tile.full_path(), max)?;
    }
    let Some(bytes) = bytes else { return Ok(None) };
    let hashes: Vec<_> = bytes
        .as_chunks::<{ Hash::LEN }>()
        .0
        .iter()
        .take(tile.width)
        .map(|bytes| Hash::new(*bytes))
        .collect();
    Ok((hashes.len() == tile.width && bytes.len().is_multiple_of(Hash::LEN)).then_some(hashes))
}

#[cfg(test)]
mod tests {
    use super::super::{inclusion_path, tests::Naive, verify_inclusion};
    use super::*;
    use crate::storage::memory::Memory;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |level, index, width| {
            Tile {
                level,
                index,
                width,
            }
            .path()
        };
        assert_eq!(path(0, 0, 256), "tile/0/000");
        assert_eq!(path(1, 8, 25), "tile/1/008.p/25");
        // The specification's own example.
        assert_eq!(path(3, 1_234_067, 256), "tile/3/x001/x234/067");
    }

    /// Writes a tree in steps, as checkpoints do, and reads it back.
    #[test]
    fn what_is_written_is_found_again() {
        let storage = Memory::new();
        let leaves: Vec<_> = (0..70_000_u32)
            .map(|n| Hash::leaf(&n.to_be_bytes()))
            .collect();
        let (mut tiles, mut compact) = (Tiles::default(), Compact::default());
        let mut done = 0;
        for size in [1, 2, 255, 256, 257, 511, 600, 600, 65_536, 65_537, 70_000] {
            for leaf in &leaves[done..size] {
                tiles.push(*leaf);
                compact.push(*leaf);
            }
            done = size;
            for (tile, bytes) in tiles.pending(true) {
                storage.replace(&tile.path(), &bytes).unwrap();
            }
            tiles.written(true);
            assert!(tiles.pending(true).is_empty());
            let (loaded, again) = Tiles::load(&storage, size as u64).unwrap().unwrap();
            assert_eq!(
                (again.size(), again.root()),
                (size as u64, compact.root()),
                "{size}"
            );
            assert!(loaded.pending(true).is_empty());
            // Going on from what was loaded gives the same tree.
            tiles = loaded;
        }
        let root = compact.root();
        let stored = Stored {
            storage: &storage,
            size: 70_000,
        };
        for index in [0, 1, 255, 256, 65_535, 65_536, 69_999] {
            let path = inclusion_path(&stored, index, 70_000).unwrap();
            let leaf = leaves[usize::try_from(index).unwrap()];
            assert!(
                verify_inclusion(&leaf, index, 70_000, &path, &root),
                "{index}"
            );
        }
        assert_eq!(root, Naive::root(&leaves));
    }

    #[test]
    fn full_tiles_alone_leave_the_edge_for_later() {
        let mut tiles = Tiles::default();
        for n in 0..=256_u32 {
            tiles.push(Hash::leaf(&n.to_be_bytes()));
        }
        assert_eq!(tiles.pending(false).len(), 1);
        tiles.written(false);
        let widths: Vec<_> = tiles
            .pending(true)
            .iter()
            .map(|(tile, _)| (tile.level, tile.width))
            .collect();
        assert_eq!(widths, [(0, 1), (1, 1)]);
    }

    #[test]
    fn a_missing_or_short_tile_is_noticed() {
        let storage = Memory::new();
        assert!(Tiles::load(&storage, 3).unwrap().is_none());
        storage.replace("tile/0/000.p/3", &[0; 95]).unwrap();
        assert!(Tiles::load(&storage, 3).unwrap().is_none());
        let stored = Stored {
            storage: &storage,
            size: 3,
        };
        assert!(stored.node(0, 2).is_err());
        assert!(stored.node(0, 9).is_err());
    }
}
