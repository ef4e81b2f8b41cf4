//! Replicas that keep each other's checkpoints, and their logs held against each other.
//!
//! Specified in `docs/audit-format.md`, "Replicas".

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    checkpoint::Checkpoint,
    error::{NoteError, VerifyError},
    note::VerifierKey,
    read::{Filter, read},
    record::{Draft, Object, Record, Status},
    verify::{Report, verify_against},
};

const ACTION: &str = "audit.peer_checkpoint";
const NOTE: &str = "note";

/// Returns the record of another log's checkpoint; `wrong` says what is wrong with it.
#[must_use]
pub fn peer_checkpoint(checkpoint: &Checkpoint, wrong: Option<String>) -> Draft {
    let status = match wrong {
        Some(_) => Status::Failed,
        None => Status::Success,
    };
    let mut draft = Draft::event(ACTION, status);
    draft.reason = wrong;
    draft.resource_type = Some("audit log".to_owned());
    draft.resource_id = Some(checkpoint.origin.clone());
    draft.details = Some(Object::from_iter([
        ("size", checkpoint.size.into()),
        ("root", checkpoint.root.to_string().into()),
        (NOTE, checkpoint.note.clone().into()),
    ]));
    draft
}

/// A log of one replica.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The folder of its log.
    pub folder: PathBuf,
    /// Its public key.
    pub key: VerifierKey,
}

/// What [`verify_replicas`] found out about one log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaReport {
    /// The log by itself.
    pub report: Report,
    /// Checkpoints of this log that the others wrote down, and that it was held against.
    pub held_against: usize,
    /// Those of them that its key did not sign: somebody else left them.
    pub forged: usize,
    /// What this log wrote down of logs that were not given, by their names.
    pub unknown: Vec<String>,
}

/// What one log says of another.
struct Said {
    /// Who wrote it down, and where.
    by: String,
    seq: u64,
    origin: String,
    note: String,
}

/// Verifies the logs of all replicas, each by itself and against what the others wrote down of it.
/// This is what notices that a whole log was put back and signed again.
///
/// # Errors
///
/// For each log the first fault, as [`verify`](crate::verify());
/// [`VerifyError::Peer`] where it is not what another one wrote down.
#[must_use]
pub fn verify_replicas(replicas: &[Replica]) -> Vec<Result<ReplicaReport, VerifyError>> {
    let said: Vec<_> = replicas.iter().map(said_by).collect();
    let known: Vec<_> = replicas.iter().map(|replica| replica.key.name()).collect();
    replicas
        .iter()
        .zip(&said)
        .map(|(replica, own)| {
            let own = own.as_ref().map_err(Clone::clone)?;
            let others = said.iter().flatten().flatten();
            let about = others.filter(|said| said.origin == replica.key.name());
            let mut report = hold_against(replica, about)?;
            let unknown = own.iter().map(|said| said.origin.clone());
            report.unknown = unknown
                .filter(|origin| !known.contains(&origin.as_str()))
                .collect();
            report.unknown.sort_unstable();
            report.unknown.dedup();
            Ok(report)
        })
        .collect()
}

fn said_by(replica: &Replica) -> Result<Vec<Said>, VerifyError> {
    let filter = Filter {
        action: Some(ACTION.to_owned()),
        ..Filter::default()
    };
    let mut said = Vec::new();
    for record in read(&replica.folder, filter)? {
        said.extend(of(&record?, replica.key.name()));
    }
    Ok(said)
}

fn of(record: &Record, by: &str) -> Option<Said> {
    let note = record.details.as_ref()?.get(NOTE).and_then(Value::as_str)?;
    Some(Said {
        by: by.to_owned(),
        seq: record.seq,
        origin: record.resource_id.clone()?,
        note: note.to_owned(),
    })
}

fn hold_against<'a>(
    replica: &Replica,
    about: impl Iterator<Item = &'a Said>,
) -> Result<ReplicaReport, VerifyError> {
    let mut kept: Vec<(&Said, Checkpoint)> = Vec::new();
    let mut forged = 0;
    for said in about {
        match Checkpoint::open(said.note.as_bytes(), &replica.key) {
            Ok(checkpoint) => kept.push((said, checkpoint)),
            Err(_) => forged += 1,
        }
    }
    let checkpoints: Vec<_> = kept
        .iter()
        .map(|(_, checkpoint)| checkpoint.clone())
        .collect();
    let report = verify_against(&replica.folder, &replica.key, &checkpoints);
    let report = report.map_err(|error| blame(error, &kept))?;
    Ok(ReplicaReport {
        report,
        held_against: kept.len(),
        forged,
        unknown: Vec::new(),
    })
}

/// Says who wrote down what the log is not.
fn blame(error: VerifyError, kept: &[(&Said, Checkpoint)]) -> VerifyError {
    let told = kept.iter().find(|(_, checkpoint)| match &error {
        VerifyError::Truncated {
            checkpoint: size, ..
        } => checkpoint.size == *size,
        VerifyError::Root { size, expected, .. } => {
            checkpoint.size == *size && checkpoint.root == *expected
        }
        _ => false,
    });
    match told {
        Some((said, _)) => VerifyError::Peer {
            by: said.by.clone(),
            seq: said.seq,
            source: Box::new(error),
        },
        None => error,
    }
}

/// Returns the name of the log in `folder`: the origin of its checkpoint, whoever signed it.
///
/// # Errors
///
/// [`VerifyError::CheckpointMissing`], [`VerifyError::Checkpoint`] and [`VerifyError::Storage`].
pub fn origin(folder: &Path) -> Result<String, VerifyError> {
    let storage = crate::storage::FileStorage::new(folder);
    Ok(crate::checkpoint::read(&storage, None)?.origin)
}

/// Returns the key among `keys` that is the log's in `folder`.
///
/// # Errors
///
/// As [`origin`]; [`NoteError::Unsigned`] if there is none.
pub fn key_of(folder: &Path, keys: &[VerifierKey]) -> Result<VerifierKey, VerifyError> {
    let name = origin(folder)?;
    let key = keys.iter().find(|key| key.name() == name);
    key.cloned()
        .ok_or(VerifyError::Checkpoint(NoteError::Unsigned { name }))
}
