//! The whole log, read from the first byte to the last and held against what was signed.

#[cfg(test)]
mod tests;

use std::path::Path;

use jiff::{Timestamp, civil::Date};

use crate::{
    checkpoint::{self, Checkpoint},
    error::{Fault, StorageError, VerifyError},
    hash::Hash,
    note::VerifierKey,
    record::CLOSED,
    segment::Survey,
    storage::{FileStorage, Storage, read_small},
    tree::{
        Compact,
        tile::{Stored, Tile, Tiles, WIDTH},
    },
    walk::{Place, walk},
};

/// What a log that verifies holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Records in the log.
    pub records: u64,
    /// The root of the tree over all of them.
    pub root: Hash,
    /// The checkpoint beside the log. Records after its size are chained, but nobody signed them.
    pub checkpoint: Checkpoint,
    /// Whether the checkpoint's signature was checked.
    pub signed: bool,
    /// How many of them were archived, and the days (UTC) of the first and the last of those. The
    /// checkpoint covers them, by hashes that are still there.
    pub archived: Option<(u64, Date, Date)>,
    /// Files of records.
    pub files: usize,
    /// Bytes that recovery records declare void: what a crash or a full disk left behind, room included.
    pub voided_bytes: u64,
    /// The time of the first record.
    pub first: Option<Timestamp>,
    /// The time of the last record.
    pub last: Option<Timestamp>,
    /// Whether the last record says that the log was closed in good order.
    pub closed: bool,
}

/// Reads the log in `folder` and checks every line, the chain, the tree and the checkpoint.
///
/// With `key` the checkpoint must be signed by it; without, only its root counts. A log that is
/// being written may show a torn last line, where a record is being written just then: look again.
///
/// # Errors
///
/// The first fault, with its file, line and sequence number.
pub fn verify(folder: &Path, key: Option<&VerifierKey>) -> Result<Report, VerifyError> {
    verify_storage(&FileStorage::new(folder), key, &[])
}

/// As [`verify`], and also checks that the log still begins with what was signed in checkpoints
/// that were kept elsewhere. This is what notices that an old copy of the folder was put back.
///
/// # Errors
///
/// As [`verify`]; [`VerifyError::Truncated`] and [`VerifyError::Root`] also for a kept checkpoint.
pub fn verify_against(
    folder: &Path,
    key: &VerifierKey,
    kept: &[Checkpoint],
) -> Result<Report, VerifyError> {
    // What a caller holds as a `Checkpoint` may have been read without its signature.
    let kept: Result<Vec<_>, _> = kept
        .iter()
        .map(|kept| Checkpoint::open(kept.note.as_bytes(), key))
        .collect();
    let kept = kept.map_err(VerifyError::Checkpoint)?;
    verify_storage(&FileStorage::new(folder), Some(key), &kept)
}

pub(crate) fn verify_storage(
    storage: &dyn Storage,
    key: Option<&VerifierKey>,
    kept: &[Checkpoint],
) -> Result<Report, VerifyError> {
    let checkpoint = checkpoint::read(storage, key)?;
    let survey = Survey::new(storage)?;
    let mut anchors = Anchors::new(storage, &checkpoint, kept);
    let (mut first, mut last, mut closed) = (None, None, false);
    let begin = survey.begin(checkpoint.size);
    let mut cursor = begin;
    let gone = anchors.stored().first_leaves(begin.next)?;
    gone.into_iter().try_for_each(|leaf| anchors.push(leaf))?;
    let place = walk(storage, &survey.pieces, &mut cursor, &mut |visit| {
        first.get_or_insert(visit.record.ts);
        last = Some(visit.record.ts);
        closed = visit.record.action == CLOSED;
        anchors.push(visit.leaf)
    });
    place
        .map_err(VerifyError::from)
        .and_then(|place| anchors.finish(&place))
        .map_err(|error| anchors.locate(&survey, error))?;
    Ok(Report {
        records: anchors.tree.size(),
        root: anchors.tree.root(),
        signed: key.is_some(),
        archived: survey
            .base(checkpoint.size)
            .filter(|_| begin.next > 0)
            .map(|base| (begin.next, base.since, base.until)),
        files: survey.pieces.len(),
        voided_bytes: survey.voided_bytes,
        first,
        last,
        closed,
        checkpoint,
    })
}

/// The tree as it grows, held against the checkpoints and the tiles.
struct Anchors<'a> {
    storage: &'a dyn Storage,
    checkpoint: &'a Checkpoint,
    /// By size, the next one last.
    open: Vec<&'a Checkpoint>,
    tree: Compact,
    tiles: Tiles,
    /// The first tile that is not what the records give.
    wrong_tile: Option<String>,
}

impl<'a> Anchors<'a> {
    fn new(storage: &'a dyn Storage, checkpoint: &'a Checkpoint, kept: &'a [Checkpoint]) -> Self {
        let mut open: Vec<_> = kept.iter().chain([checkpoint]).collect();
        open.sort_by_key(|anchor| std::cmp::Reverse(anchor.size));
        Self {
            storage,
            checkpoint,
            open,
            tree: Compact::default(),
            tiles: Tiles::default(),
            wrong_tile: None,
        }
    }

    fn push(&mut self, leaf: Hash) -> Result<(), VerifyError> {
        self.reached()?;
        self.tree.push(leaf);
        if self.tree.size() <= self.checkpoint.size {
            self.tiles.push(leaf);
            let edge = self.tree.size() == self.checkpoint.size;
            if edge || self.tree.size().is_multiple_of(WIDTH as u64) {
                self.compare_tiles(edge)?;
            }
        }
        Ok(())
    }

    const fn stored(&self) -> Stored<'a> {
        Stored {
            storage: self.storage,
            size: self.checkpoint.size,
        }
    }

    /// Checks the checkpoints of exactly this size.
    fn reached(&mut self) -> Result<(), VerifyError> {
        let size = self.tree.size();
        while let Some(anchor) = self.open.pop_if(|anchor| anchor.size <= size) {
            let found = self.tree.root();
            if anchor.root != found {
                return Err(VerifyError::Root {
                    size,
                    expected: anchor.root,
                    found,
                });
            }
        }
        Ok(())
    }

    fn compare_tiles(&mut self, partials: bool) -> Result<(), StorageError> {
        for (tile, bytes) in self.tiles.pending(partials) {
            let path = tile.path();
            let found = match read_small(self.storage, &path, bytes.len()) {
                Ok(found) => found,
                // A tile that is too long is a wrong tile, not a broken disk.
                Err(error) if error.source.kind() == std::io::ErrorKind::InvalidData => None,
                Err(error) => return Err(error),
            };
            let right = match found {
                Some(found) => found == bytes,
                // A writer that has gone on meanwhile leaves only the full tile.
                None => self.begins_full_tile(&tile, &bytes),
            };
            if !right {
                self.wrong_tile.get_or_insert(path);
            }
        }
        self.tiles.written(partials);
        Ok(())
    }

    fn begins_full_tile(&self, tile: &Tile, bytes: &[u8]) -> bool {
        let full = Tile {
            width: WIDTH,
            ..*tile
        };
        read_small(self.storage, &full.path(), WIDTH * Hash::LEN)
            .is_ok_and(|full| full.is_some_and(|full| full.starts_with(bytes)))
    }

    fn finish(&mut self, end: &Place) -> Result<(), VerifyError> {
        self.reached()?;
        if let Some(anchor) = self.open.first() {
            return Err(VerifyError::Truncated {
                file: end.file.clone(),
                line: end.line,
                size: self.tree.size(),
                checkpoint: anchor.size,
            });
        }
        match self.wrong_tile.take() {
            Some(path) => Err(VerifyError::Tile { path }),
            None => Ok(()),
        }
    }

    /// Finds the record that a wrong root is about, where the tiles still know the right ones.
    fn locate(&self, survey: &Survey, error: VerifyError) -> VerifyError {
        match &error {
            VerifyError::Root { size, .. } if *size == self.checkpoint.size => {
                self.first_rewritten(survey).unwrap_or(error)
            }
            _ => error,
        }
    }

    fn first_rewritten(&self, survey: &Survey) -> Option<VerifyError> {
        let size = self.checkpoint.size;
        let stored = self.stored();
        let mut tree = Compact::default();
        for index in 0..size.div_ceil(WIDTH as u64) {
            for leaf in stored.leaves(index).ok()?? {
                tree.push(leaf);
            }
        }
        if tree.root() != self.checkpoint.root {
            return None;
        }
        let mut tile = Vec::new();
        let found = walk(
            self.storage,
            &survey.pieces,
            &mut survey.begin(size),
            &mut |visit| {
                let seq = visit.record.seq;
                let at = usize::try_from(seq % WIDTH as u64).unwrap_or_default();
                if at == 0 {
                    tile = stored.leaves(seq / WIDTH as u64)?.unwrap_or_default();
                }
                match tile.get(at) {
                    Some(leaf) if *leaf != visit.leaf => {
                        Err(visit.place.fault(Some(seq), Fault::Rewritten))
                    }
                    _ => Ok(()),
                }
            },
        );
        match found.map_err(VerifyError::from) {
            Err(error @ VerifyError::Record { .. }) => Some(error),
            _ => None,
        }
    }
}
