//! Reading a log before it is written on: from its last checkpoint to its end.

use std::io;

use serde::de::IgnoredAny;

use super::Options;
use crate::{
    checkpoint::{self, Checkpoint},
    error::{AuditError, Fault, NoteError, StorageError, VerifyError},
    hash::Hash,
    record::CLOSED,
    segment::{Ending, Head, Lines, Name, Piece, Survey, Void},
    storage::Storage,
    tree::{
        Compact, inclusion_path,
        tile::{Stored, Tiles},
        verify_inclusion,
    },
    walk::{Cursor, Stop, Visit, walk},
};

/// At most so many files without a single record are declared void at once.
pub(super) const MAX_VOIDS: usize = 64;
/// How many records a rebuilt tree takes in before its tiles are written.
const REBUILD_STEP: u64 = 1 << 16;

/// What a log on disk comes to.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) cursor: Cursor,
    pub(super) tree: Compact,
    pub(super) tiles: Tiles,
    /// The last file with a record in it.
    pub(super) tail: Option<Tail>,
    /// What a crash left half-done.
    pub(super) voids: Vec<Void>,
    /// Whether the log was closed in good order, or is new.
    pub(super) closed: bool,
    /// Names that records speak of.
    pub(super) spoken_of: Vec<Name>,
}

/// The file that is written on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) name: Name,
    /// The bytes that the checkpoint covers: these are on the disk.
    pub(super) signed: u64,
    /// The bytes that are to be kept.
    pub(super) len: u64,
}

/// Reads the log, and makes sure that what is read is on the disk.
///
/// Where a sync failed and the process ended before it could say so, the system may remember what the disk does not
/// have, and take it for written. What no checkpoint covers is therefore written once more, synced, and read again.
pub(super) fn load(storage: &dyn Storage, options: &Options) -> Result<Loaded, AuditError> {
    let loaded = read(storage, options)?;
    match loaded.tail {
        Some(tail) if tail.signed < tail.len => {
            make_durable(storage, tail).map_err(AuditError::Storage)?;
            read(storage, options)
        }
        _ => Ok(loaded),
    }
}

fn make_durable(storage: &dyn Storage, tail: Tail) -> Result<(), StorageError> {
    let name = tail.name.to_string();
    let mut file = storage
        .resume(&name, tail.signed, tail.len)
        .map_err(|error| StorageError::new("open", &name, error))?;
    file.sync()
        .map_err(|error| StorageError::new("sync", &name, error))
}

fn read(storage: &dyn Storage, options: &Options) -> Result<Loaded, AuditError> {
    let mut survey = Survey::new(storage)?;
    let torn = survey.take_torn();
    let checkpoint = match checkpoint::load(storage).map_err(AuditError::Storage)? {
        Some(note) => open(&note, options).map_err(VerifyError::Checkpoint)?,
        None if survey.pieces.is_empty() => begin(storage, options)?,
        None => return Err(VerifyError::CheckpointMissing.into()),
    };
    let begin = survey.begin(checkpoint.size);
    check_begin(&survey.pieces, begin)?;
    let log = OnDisk {
        storage,
        pieces: &survey.pieces,
        begin,
        checkpoint: &checkpoint,
    };
    let mut loaded = match log.read_tail() {
        // The tiles follow from the records: if the records are good they are made anew.
        Err(VerifyError::Tile { .. }) => log.read_all()?,
        other => other?,
    };
    loaded.spoken_of = survey.spoken_of();
    loaded.voids.extend(torn.iter().map(|piece| Void {
        segment: piece.name.to_string(),
        valid_bytes: 0,
    }));
    if loaded.voids.len() > MAX_VOIDS {
        let problem = "too many files hold nothing but a torn line; move them away";
        let error = StorageError::new("open", "audit-*.jsonl", io::Error::other(problem));
        return Err(AuditError::Storage(error));
    }
    Ok(loaded)
}

/// Refuses a log whose beginning is gone. Nothing else would notice: only its end is read.
fn check_begin(pieces: &[Piece], begin: Cursor) -> Result<(), VerifyError> {
    let first = pieces.first().and_then(|piece| Some((piece, piece.seq()?)));
    match first {
        Some((piece, seq)) if seq != begin.next => Err(VerifyError::Record {
            file: piece.name.to_string(),
            line: 1,
            seq: Some(seq),
            fault: Fault::Dropped {
                expected: begin.next,
            },
        }),
        _ => Ok(()),
    }
}

/// Opens the checkpoint with this log's key, or with a former one.
fn open(note: &[u8], options: &Options) -> Result<Checkpoint, NoteError> {
    let mut result = Checkpoint::open(note, &options.signer.verifier());
    for key in &options.trusted {
        if let Err(NoteError::Unsigned { .. }) = result {
            result = Checkpoint::open(note, key).or(result);
        }
    }
    result
}

/// Signs the empty log before its first record, so that records without a checkpoint are always a
/// sign that something was taken away.
fn begin(storage: &dyn Storage, options: &Options) -> Result<Checkpoint, AuditError> {
    let checkpoint = Checkpoint::sign(&options.signer, 0, Compact::default().root())?;
    storage
        .replace(checkpoint::FILE, checkpoint.note.as_bytes())
        .map_err(|error| {
            AuditError::Storage(StorageError::new("write", checkpoint::FILE, error))
        })?;
    Ok(checkpoint)
}

struct OnDisk<'a> {
    storage: &'a dyn Storage,
    pieces: &'a [Piece],
    /// Where the first of them begins.
    begin: Cursor,
    checkpoint: &'a Checkpoint,
}

impl OnDisk<'_> {
    /// Takes the tree from its tiles and reads the records from the file in which the checkpoint
    /// lies. [`VerifyError::Tile`] if the tiles are not those of the checkpoint.
    fn read_tail(&self) -> Result<Loaded, VerifyError> {
        let size = self.checkpoint.size;
        let damaged = || VerifyError::Tile {
            path: "tile".to_owned(),
        };
        let edge = Tiles::load(self.storage, size).map_err(|_| damaged())?;
        let (mut tiles, mut tree) = edge.ok_or_else(damaged)?;
        if tree.root() != self.checkpoint.root {
            return Err(damaged());
        }
        let start = match size.checked_sub(1) {
            None => 0,
            Some(last) => self.file_of(last),
        };
        let pieces = self.pieces.get(start..).unwrap_or_default();
        let mut cursor = match pieces.first().map(|piece| &piece.head) {
            // What the first line says of the records before it is believed only because the
            // last signed record, which is chained to it, is proved below.
            Some(Head::Record(record)) if start > 0 => Cursor {
                next: record.seq,
                prev: record.prev_hash,
            },
            _ => self.begin,
        };
        let mut closed = self.pieces.is_empty();
        let end = self.walk_on(pieces, &mut cursor, &mut |visit| {
            closed = visit.record.action == CLOSED;
            let seq = visit.record.seq;
            if seq.checked_add(1) == Some(size) && !self.is_signed(seq, &visit.leaf) {
                return Err(damaged());
            }
            if seq >= size {
                tree.push(visit.leaf);
                tiles.push(visit.leaf);
            }
            Ok(())
        })?;
        Ok(end.loaded(cursor, tree, tiles, closed))
    }

    /// Reads everything, and makes the tiles anew if it is what was signed.
    fn read_all(&self) -> Result<Loaded, VerifyError> {
        let size = self.checkpoint.size;
        let mut tree = Compact::default();
        let gone = Stored {
            storage: self.storage,
            size,
        }
        .first_leaves(self.begin.next)?;
        for leaf in &gone {
            tree.push(*leaf);
        }
        let mut cursor = self.begin;
        let mut closed = true;
        let end = self.walk_on(self.pieces, &mut cursor, &mut |visit| {
            closed = visit.record.action == CLOSED;
            tree.push(visit.leaf);
            if tree.size() == size {
                self.check_root(&tree)?;
            }
            Ok(())
        })?;
        // Only now: the tiles of a log that was rewritten still tell which record was.
        let mut tiles = Tiles::default();
        for leaf in gone {
            tiles.push(leaf);
        }
        let mut again = self.begin;
        self.walk_on(self.pieces, &mut again, &mut |visit| {
            tiles.push(visit.leaf);
            if (visit.record.seq + 1).is_multiple_of(REBUILD_STEP) {
                write_tiles(self.storage, &mut tiles, false)?;
            }
            Ok(())
        })?;
        Ok(end.loaded(cursor, tree, tiles, closed))
    }

    fn check_root(&self, tree: &Compact) -> Result<(), VerifyError> {
        let found = tree.root();
        if found == self.checkpoint.root {
            return Ok(());
        }
        Err(VerifyError::Root {
            size: tree.size(),
            expected: self.checkpoint.root,
            found,
        })
    }

    fn is_signed(&self, seq: u64, leaf: &Hash) -> bool {
        let Checkpoint { size, root, .. } = self.checkpoint;
        let nodes = Stored {
            storage: self.storage,
            size: *size,
        };
        inclusion_path(&nodes, seq, *size)
            .is_ok_and(|path| verify_inclusion(leaf, seq, *size, &path, root))
    }

    /// Returns the position of the file in which a record should be.
    fn file_of(&self, seq: u64) -> usize {
        self.pieces
            .iter()
            .rposition(|piece| piece.seq().is_some_and(|first| first <= seq))
            .unwrap_or(0)
    }

    /// Walks to the end of the log, which may be a torn line.
    fn walk_on(
        &self,
        pieces: &[Piece],
        cursor: &mut Cursor,
        visit: &mut dyn FnMut(&Visit<'_>) -> Result<(), VerifyError>,
    ) -> Result<End, VerifyError> {
        let size = self.checkpoint.size;
        let mut end = End::default();
        let mut signed = (0, 0);
        let walked = walk(self.storage, pieces, cursor, &mut |visited| {
            if visited.record.seq < size {
                signed = (visited.place.piece, visited.place.end);
            }
            visit(visited)
        });
        let tail = |last: &Piece, len| Tail {
            name: last.name,
            signed: if signed.0 + 1 == pieces.len() {
                signed.1
            } else {
                0
            },
            len,
        };
        let place = match walked {
            Ok(place) => {
                // What follows the last line, if anything, is room.
                let last = pieces.last().filter(|last| last.valid == last.len);
                end.tail = last.map(|last| tail(last, place.end));
                place
            }
            Err(Stop::Fault { place, seq, fault }) => {
                let last = pieces
                    .split_last()
                    .filter(|(_, rest)| rest.len() == place.piece);
                let torn = match last {
                    Some((piece, _)) => self.is_torn(piece, place.start)?,
                    None => false,
                };
                if !torn {
                    return Err(Stop::Fault { place, seq, fault }.into());
                }
                end.tail = last.map(|(last, _)| tail(last, last.valid));
                end.voids.push(Void {
                    segment: place.file.clone(),
                    valid_bytes: place.start,
                });
                place
            }
            Err(stop) => return Err(stop.into()),
        };
        if cursor.next < size {
            return Err(VerifyError::Truncated {
                file: place.file,
                line: place.line,
                size: cursor.next,
                checkpoint: size,
            });
        }
        Ok(end)
    }

    /// Tells whether a file from `start` on is what a crash leaves of an unfinished write: bytes that
    /// never got there, whatever follows them, or not a single line of JSON. A line that somebody edited still is one.
    fn is_torn(&self, piece: &Piece, start: u64) -> Result<bool, StorageError> {
        let mut lines = Lines::open(self.storage, &piece.name.to_string(), piece.valid)?;
        while let Some(ending) = lines.next()? {
            match ending {
                _ if lines.start < start => {}
                Ending::Unwritten if lines.start == start => return Ok(true),
                Ending::Newline if serde_json::from_slice::<IgnoredAny>(lines.bytes()).is_ok() => {
                    return Ok(false);
                }
                _ => {}
            }
        }
        Ok(true)
    }
}

#[derive(Default)]
struct End {
    tail: Option<Tail>,
    voids: Vec<Void>,
}

impl End {
    fn loaded(self, cursor: Cursor, tree: Compact, tiles: Tiles, closed: bool) -> Loaded {
        Loaded {
            cursor,
            tree,
            tiles,
            closed: closed && self.voids.is_empty(),
            spoken_of: Vec::new(),
            tail: self.tail,
            voids: self.voids,
        }
    }
}

/// Writes the tiles that are due, then tidies away the partial tiles that full ones replace.
pub(super) fn write_tiles(
    storage: &dyn Storage,
    tiles: &mut Tiles,
    partials: bool,
) -> Result<(), StorageError> {
    let (due, files): (Vec<_>, Vec<_>) = tiles
        .pending(partials)
        .into_iter()
        .map(|(tile, bytes)| (tile, (tile.path(), bytes)))
        .unzip();
    storage
        .replace_all(&files)
        .map_err(|error| StorageError::new("write", "tile", error))?;
    tiles.written(partials);
    for tile in due {
        if tile.is_full() {
            // Readers fall back to the full tile; a partial one that stays does no harm.
            let _ = storage.remove(&tile.partials());
        }
    }
    Ok(())
}
