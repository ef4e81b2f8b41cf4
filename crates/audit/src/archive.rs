//! Taking old files of records away without breaking what the log proves.
//!
//! Only whole files go, only from the beginning, and only what a checkpoint covers. Before a file
//! goes the log says so in a signed record, and the hashes of its records stay in the tiles: the
//! tree, every other record and every checkpoint that somebody kept are proved as before, and a
//! file that is brought back is held against its hashes.
//!
//! Specified in `docs/audit-format.md`, "Archived records".

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use crate::{
    checkpoint::{self, Checkpoint},
    error::{AuditError, Fault, StorageError, VerifyError},
    hash::{Hash, Running},
    note::VerifierKey,
    record::{ARCHIVED, Phase, Record, Status},
    segment::{Name, Piece, Survey},
    storage::{FileStorage, Storage},
    tree::{
        inclusion_path,
        tile::{Stored, WIDTH},
        verify_inclusion,
    },
    walk::{Cursor, walk},
};

/// The members of the record's details.
const FIRST_KEPT: &str = "first_kept";
const PREV_HASH: &str = "prev_hash";
const SINCE: &str = "since";
const UNTIL: &str = "until";
/// Files that go at once: what one record can name.
const MAX_FILES: usize = 128;

/// What a signed record says of the beginning of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// The first record that stays.
    pub(crate) first_kept: u64,
    /// The event hash of the record before it.
    pub(crate) prev_hash: Hash,
    pub(crate) since: Date,
    pub(crate) until: Date,
    /// The record that says so.
    pub(crate) seq: u64,
}

impl Base {
    /// Returns what the first record of a file says.
    pub(crate) fn declared_by(record: &Record) -> Option<Self> {
        let Record {
            action,
            phase,
            status,
            ..
        } = record;
        if action != ARCHIVED || *phase != Phase::Event || *status != Status::Success {
            return None;
        }
        let details = record.details.as_ref()?;
        let text = |member| details.get(member).and_then(Value::as_str);
        Some(Self {
            first_kept: details.get(FIRST_KEPT)?.as_u64()?,
            prev_hash: text(PREV_HASH)?.parse().ok()?,
            since: text(SINCE)?.parse().ok()?,
            until: text(UNTIL)?.parse().ok()?,
            seq: record.seq,
        })
    }
}

/// Which records stay, and what becomes of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whole days before today (UTC) whose records stay; 1 to 36,500.
    pub days: u32,
    /// The folder that the others are moved to. Without one they are removed.
    pub to: Option<PathBuf>,
}

/// What was taken away, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Archive {
    /// The files, in the order of their records.
    pub files: Vec<ArchivedFile>,
    /// The days (UTC) of the first and the last record that are not in the log any more, those of
    /// earlier times included. Nothing if all are there.
    pub days: Option<(Date, Date)>,
    /// The first record that stays.
    pub first_kept: u64,
    /// Files that went before and were there again.
    pub again: usize,
    prev_hash: Option<Hash>,
}

/// One file that is taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchivedFile {
    /// Its name.
    pub segment: String,
    /// How many records it holds; none if all its bytes are void.
    pub records: u64,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of all its bytes.
    pub sha256: Hash,
}

impl Archive {
    /// How many records are taken away.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.files.iter().map(|file| file.records).sum()
    }

    /// The details of the record that says so.
    pub(crate) fn details(&self, moved: bool) -> Map<String, Value> {
        let files = self.files.iter().map(|file| {
            json!({
                "segment": file.segment,
                "records": file.records,
                "bytes": file.bytes,
                "sha256": file.sha256.to_string(),
            })
        });
        let mut details = Map::new();
        details.insert("files".to_owned(), files.collect());
        details.insert(FIRST_KEPT.to_owned(), self.first_kept.into());
        details.insert("moved".to_owned(), moved.into());
        if let Some(hash) = self.prev_hash {
            details.insert(PREV_HASH.to_owned(), hash.to_string().into());
        }
        if let Some((since, until)) = self.days {
            details.insert(SINCE.to_owned(), since.to_string().into());
            details.insert(UNTIL.to_owned(), until.to_string().into());
        }
        details
    }
}

/// Returns which files of the log in `folder` would be taken away if records of days before
/// `before` (UTC) did not stay. Changes nothing, and may be used while the log is written.
///
/// # Errors
///
/// What is wrong with the log: a file is taken away only if it is what was signed.
pub fn plan_archive(
    folder: &Path,
    key: Option<&VerifierKey>,
    before: Date,
) -> Result<Archive, VerifyError> {
    let storage = FileStorage::new(folder);
    let checkpoint = checkpoint::read(&storage, key)?;
    plan(&storage, &checkpoint, before)
}

pub(crate) fn plan(
    storage: &dyn Storage,
    checkpoint: &Checkpoint,
    before: Date,
) -> Result<Archive, VerifyError> {
    let survey = Survey::new(storage)?;
    let begin = survey.begin(checkpoint.size);
    // What no record counts in goes with its day, and before the file that says so: without it, it would count.
    let counts = |name: &Name| survey.pieces.iter().any(|piece| piece.name == *name);
    let idle: Vec<_> = survey.names.iter().filter(|name| !counts(name)).collect();
    let mut void: Vec<_> = idle.iter().filter(|name| name.day < before).collect();
    void.truncate(MAX_FILES);
    let room = MAX_FILES - void.len();
    let going = leading(&survey.pieces, before, checkpoint.size, room);
    let spoken_of: Vec<_> = going.iter().flat_map(Piece::spoken_of).collect();
    let later = idle.iter().filter(|name| name.day >= before);
    void.extend(later.filter(|name| spoken_of.contains(name)));
    let base = survey.base(checkpoint.size);
    let mut archive = Archive {
        first_kept: begin.next,
        days: base
            .filter(|_| begin.next > 0)
            .map(|base| (base.since, base.until)),
        ..Archive::default()
    };
    let end = check(storage, going, begin, checkpoint)?;
    for name in void {
        archive.files.push(file(storage, **name, 0)?);
    }
    for piece in going {
        let records = match piece.seq() {
            Some(first) => following(&survey.pieces, first).unwrap_or(first) - first,
            None => 0,
        };
        archive.files.push(file(storage, piece.name, records)?);
    }
    if let (Some(first), Some(last)) = (going.first(), going.iter().map(|p| p.name.day).max()) {
        let since = archive.days.map_or(first.name.day, |(since, _)| since);
        archive.days = Some((since, last));
        archive.first_kept = end.next;
        archive.prev_hash = Some(end.prev);
    }
    Ok(archive)
}

/// The files that go: of days before `before`, from the first one on, signed to their last record,
/// and never the last file.
fn leading(pieces: &[Piece], before: Date, signed: u64, room: usize) -> &[Piece] {
    let followed = pieces.iter().zip(pieces.iter().skip(1));
    let going = followed
        .take(room)
        .take_while(|(piece, next)| {
            piece.name.day < before && next.seq().is_some_and(|next| next <= signed)
        })
        .count();
    pieces.get(..going).unwrap_or_default()
}

/// The first record of the file after the one that begins with `first`.
fn following(pieces: &[Piece], first: u64) -> Option<u64> {
    pieces
        .iter()
        .filter_map(Piece::seq)
        .find(|seq| *seq > first)
}

/// Checks that what goes is what was signed, and that the tiles know it: nothing else will once it
/// is gone. Returns where the log goes on.
fn check(
    storage: &dyn Storage,
    going: &[Piece],
    begin: Cursor,
    checkpoint: &Checkpoint,
) -> Result<Cursor, VerifyError> {
    let stored = Stored {
        storage,
        size: checkpoint.size,
    };
    let mut cursor = begin;
    let mut tile = (None, Vec::new());
    let mut last = None;
    walk(storage, going, &mut cursor, &mut |visit| {
        let seq = visit.record.seq;
        let index = seq / WIDTH as u64;
        if tile.0 != Some(index) {
            tile = (Some(index), stored.leaves(index)?.unwrap_or_default());
        }
        let at = usize::try_from(seq % WIDTH as u64).unwrap_or_default();
        if tile.1.get(at) != Some(&visit.leaf) {
            return Err(visit.place.fault(Some(seq), Fault::Rewritten));
        }
        last = Some((seq, visit.leaf));
        Ok(())
    })?;
    // All before the last one are chained to it, and it is proved to be signed.
    if let Some((seq, leaf)) = last {
        let Checkpoint { size, root, .. } = checkpoint;
        let path = inclusion_path(&stored, seq, *size)?;
        if !verify_inclusion(&leaf, seq, *size, &path, root) {
            return Err(VerifyError::Tile {
                path: "tile".to_owned(),
            });
        }
    }
    Ok(cursor)
}

fn file(storage: &dyn Storage, name: Name, records: u64) -> Result<ArchivedFile, StorageError> {
    let segment = name.to_string();
    let failed = |error| StorageError::new("read", &segment, error);
    let mut reader = storage.open(&segment).map_err(failed)?;
    let mut hash = Running::default();
    let bytes = io::copy(&mut reader, &mut hash).map_err(failed)?;
    Ok(ArchivedFile {
        sha256: hash.finish(),
        segment,
        records,
        bytes,
    })
}

/// The files that a signed record says are gone, and that are there: a crash left them, or somebody
/// put them back.
pub(crate) fn left_over(storage: &dyn Storage, signed: u64) -> Result<Vec<String>, VerifyError> {
    let survey = Survey::new(storage)?;
    let Some(base) = survey.base(signed) else {
        return Ok(Vec::new());
    };
    let gone = |piece: &&Piece| piece.seq().is_some_and(|seq| seq < base.first_kept);
    let names = survey.pieces.iter().filter(gone);
    Ok(names.map(|piece| piece.name.to_string()).collect())
}

/// Takes a file away.
pub(crate) fn take_away(
    storage: &dyn Storage,
    segment: &str,
    to: Option<&Path>,
) -> Result<(), AuditError> {
    if let Some(folder) = to {
        copy(storage, segment, folder)?;
    }
    match storage.remove(segment) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(AuditError::Storage(
            StorageError::new("remove", segment, error),
        )),
        _ => Ok(()),
    }
}

/// Copies a file to where it stays.
pub(crate) fn copy(storage: &dyn Storage, segment: &str, folder: &Path) -> Result<(), AuditError> {
    storage
        .copy_to(segment, folder)
        .map_err(|error| AuditError::Storage(StorageError::new("archive", segment, error)))
}
