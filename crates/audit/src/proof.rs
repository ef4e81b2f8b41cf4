//! A proof file: one record, and all that is needed to believe it.
//!
//! Specified in `docs/audit-format.md`, "Proof files".

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{self, Checkpoint},
    error::VerifyError,
    hash::Hash,
    note::VerifierKey,
    record::{Record, parse},
    segment::{Lines, Piece, Survey},
    storage::{FileStorage, Storage},
    tree::{
        consistency_path, inclusion_path,
        tile::{Stored, Tiles},
        verify_inclusion,
    },
};

const FORMAT: &str = "fastmcp-audit-proof/v1";
/// A record of 65,535 bytes, each escaped into six, a path of 64 hashes and a note.
const MAX_PROOF: usize = 1 << 19;
const MAX_PATH: usize = 64;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofFile {
    format: String,
    line: String,
    leaf_index: u64,
    tree_size: u64,
    inclusion_path: Vec<Hash>,
    checkpoint: String,
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Proved {
    /// The record.
    pub record: Record,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
}

/// Returns a proof file for the record `seq` of the log in `folder`.
///
/// # Errors
///
/// [`VerifyError::NotCovered`] if the log's checkpoint is older than the record,
/// [`VerifyError::NoRecord`] if there is none, and whatever is wrong with the log.
pub fn prove(folder: &Path, seq: u64) -> Result<Vec<u8>, VerifyError> {
    prove_storage(&FileStorage::new(folder), seq)
}

pub(crate) fn prove_storage(storage: &dyn Storage, seq: u64) -> Result<Vec<u8>, VerifyError> {
    let checkpoint = checkpoint::read(storage, None)?;
    let size = checkpoint.size;
    let line = find(storage, seq)?;
    if seq >= size {
        return Err(VerifyError::NotCovered { seq, size });
    }
    let path = inclusion_path(&Stored { storage, size }, seq, size)?;
    let leaf = Hash::leaf(line.as_bytes());
    if !verify_inclusion(&leaf, seq, size, &path, &checkpoint.root) {
        return Err(wrong(
            "the record, the tiles and the checkpoint do not agree; run `fastmcp audit verify`",
        ));
    }
    let file = ProofFile {
        format: FORMAT.to_owned(),
        line,
        leaf_index: seq,
        tree_size: size,
        inclusion_path: path,
        checkpoint: checkpoint.note,
    };
    let mut bytes = serde_json::to_vec_pretty(&file).map_err(|error| wrong(&error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Checks a proof file with nothing but the log's public key.
///
/// # Errors
///
/// Why the file proves nothing.
pub fn verify_proof(proof: &[u8], key: &VerifierKey) -> Result<Proved, VerifyError> {
    if proof.len() > MAX_PROOF {
        return Err(wrong("the file is longer than 524288 bytes"));
    }
    let file: ProofFile = serde_json::from_slice(proof)
        .map_err(|error| wrong(&format!("not a proof file: {error}")))?;
    if file.format != FORMAT {
        return Err(wrong(&format!(
            "the format is `{}`, expected `{FORMAT}`",
            file.format
        )));
    }
    if file.inclusion_path.len() > MAX_PATH {
        return Err(wrong("the inclusion path has more than 64 hashes"));
    }
    let checkpoint =
        Checkpoint::open(file.checkpoint.as_bytes(), key).map_err(VerifyError::Checkpoint)?;
    let record =
        parse(file.line.as_bytes()).map_err(|fault| wrong(&format!("the line: {fault}")))?;
    if record.seq != file.leaf_index {
        return Err(wrong("the leaf index is not the record's seq"));
    }
    if checkpoint.size != file.tree_size {
        return Err(wrong("the tree size is not the checkpoint's"));
    }
    let leaf = Hash::leaf(file.line.as_bytes());
    let (index, size) = (file.leaf_index, file.tree_size);
    if !verify_inclusion(&leaf, index, size, &file.inclusion_path, &checkpoint.root) {
        return Err(wrong("the path does not lead to the checkpoint's root"));
    }
    Ok(Proved { record, checkpoint })
}

/// Returns the path that proves that the log's first `old` records are still what they were, for
/// [`verify_consistency`](crate::tree::verify_consistency), with the checkpoint that it leads to.
///
/// # Errors
///
/// [`VerifyError::NotCovered`] if the checkpoint is smaller than `old`, and whatever is wrong with
/// the checkpoint or the tiles.
pub fn prove_consistency(folder: &Path, old: u64) -> Result<(Vec<Hash>, Checkpoint), VerifyError> {
    let storage = FileStorage::new(folder);
    let checkpoint = checkpoint::read(&storage, None)?;
    let size = checkpoint.size;
    if old > size {
        return Err(VerifyError::NotCovered { seq: old, size });
    }
    let edge = Tiles::load(&storage, size)?;
    if edge.is_none_or(|(_, tree)| tree.root() != checkpoint.root) {
        return Err(wrong(
            "the tiles and the checkpoint do not agree; run `fastmcp audit verify`",
        ));
    }
    let nodes = Stored {
        storage: &storage,
        size,
    };
    Ok((consistency_path(&nodes, old, size)?, checkpoint))
}

/// Returns the line of a record.
fn find(storage: &dyn Storage, seq: u64) -> Result<String, VerifyError> {
    let pieces = Survey::new(storage)?.pieces;
    let first = pieces.first().and_then(Piece::seq).unwrap_or_default();
    if seq < first {
        return Err(VerifyError::Archived { seq, first });
    }
    let missing = VerifyError::NoRecord { seq };
    let Some(piece) = pieces
        .iter()
        .rfind(|piece| piece.seq().is_some_and(|first| first <= seq))
    else {
        return Err(missing);
    };
    let file = piece.name.to_string();
    let mut lines = Lines::open(storage, &file, piece.valid)?;
    while let Some(ending) = lines.next()? {
        let record = lines.record(ending).map_err(|fault| VerifyError::Record {
            file: file.clone(),
            line: lines.number,
            seq: None,
            fault,
        })?;
        if record.seq == seq {
            return Ok(String::from_utf8_lossy(lines.bytes()).into_owned());
        }
    }
    Err(missing)
}

fn wrong(problem: &str) -> VerifyError {
    VerifyError::Proof {
        problem: problem.to_owned(),
    }
}
