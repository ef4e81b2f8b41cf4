//! What can go wrong, for whom: writers ([`AuditError`]), readers ([`VerifyError`], [`Fault`]).

use std::{io, sync::Arc};

use thiserror::Error;

use crate::hash::Hash;

/// The disk refused an operation.
#[derive(Clone, Debug, Error)]
#[error("cannot {operation} `{name}`")]
pub struct StorageError {
    /// What was tried, as a verb: `append to`, `sync`, `create`, ...
    pub operation: &'static str,
    /// The file, relative to the folder of the log.
    pub name: String,
    /// The system's answer.
    #[source]
    pub source: Arc<io::Error>,
}

impl StorageError {
    pub(crate) fn new(operation: &'static str, name: &str, source: io::Error) -> Self {
        Self {
            operation,
            name: name.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Returns the message together with the system's answer, for a record or a health page.
    pub(crate) fn full(&self) -> String {
        format!("{self}: {}", self.source)
    }
}

/// Why a record was not taken, or why a log could not be opened or closed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The log is closed; nothing is taken any more.
    #[error("the audit log is closed")]
    Closed,
    /// The queue is full: the disk does not keep up.
    #[error("the audit queue is full: {records} records wait for the disk")]
    Full {
        /// Records that wait.
        records: usize,
    },
    /// The draft cannot become a record.
    #[error("audit record field `{field}`: {problem}")]
    Draft {
        /// The field as it is named in the log.
        field: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// An option is out of its range.
    #[error("audit option `{option}`: {problem}")]
    Options {
        /// The option's name.
        option: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// Another process writes this log.
    #[error("the audit log in `{folder}` is in use by another process")]
    Locked {
        /// The folder of the log.
        folder: String,
    },
    /// The disk refused an operation; the record is not in the log.
    #[error("the record is not in the audit log")]
    Storage(#[source] StorageError),
    /// An earlier write failed and no new file could be opened yet.
    #[error("the audit log is not writable since an earlier failure")]
    Unavailable(#[source] StorageError),
    /// The log on disk is not whole, so nothing may be appended to it.
    #[error("the audit log is not whole; run `fastmcp audit verify`")]
    Damaged(#[source] Arc<VerifyError>),
    /// The library that signs refused.
    #[error("the checkpoint could not be signed")]
    Signing,
}

impl From<VerifyError> for AuditError {
    fn from(error: VerifyError) -> Self {
        Self::Damaged(Arc::new(error))
    }
}

/// What is wrong with one line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The line is not a record at all.
    #[error("edited: it is not a record ({reason})")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// The line says what a record says, in other bytes.
    #[error("edited: it is not in canonical form")]
    NotCanonical,
    /// The line was changed after it was written.
    #[error("edited: its event_hash does not match its content")]
    EventHash,
    /// One or more records before this one are gone.
    #[error("records were dropped before it: expected seq {expected}")]
    Dropped {
        /// The first sequence number that is missing.
        expected: u64,
    },
    /// The expected record stands later in the log.
    #[error("records were reordered: expected seq {expected} here")]
    Reordered {
        /// The sequence number that should stand here.
        expected: u64,
    },
    /// A record with this sequence number came already.
    #[error("duplicated: expected seq {expected}")]
    Duplicated {
        /// The sequence number that should stand here.
        expected: u64,
    },
    /// The record before this one is not the one that this one was chained to.
    #[error("its prev_hash is not the event_hash of the record before it")]
    Chain,
    /// The record stands in the file of another day.
    #[error("its ts is not on the day that the file is named after")]
    Day,
    /// The last line does not end.
    #[error("torn: the line does not end")]
    Torn,
    /// The line is longer than any record.
    #[error("edited: the line is longer than {} bytes", crate::record::MAX_LINE)]
    TooLong,
    /// The record is whole and chained, but is not the one that was signed.
    #[error("rewritten: it is not the record that the checkpoint covers")]
    Rewritten,
}

/// Why a log does not verify.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The disk refused an operation.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A line is wrong; it is the first one that is.
    #[error("`{file}` line {line}{}: {fault}", seq_text(.seq))]
    Record {
        /// The file, relative to the folder of the log.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// The sequence number the line states, or the one that was expected there when it states none.
        seq: Option<u64>,
        /// What is wrong.
        fault: Fault,
    },
    /// The log ends before the size that a checkpoint covers.
    #[error(
        "truncated: the log ends with {size} records (`{file}` line {line}), the checkpoint covers {checkpoint}"
    )]
    Truncated {
        /// The last file, relative to the folder of the log; empty when there is none.
        file: String,
        /// The last line, counted from 1; 0 when there is none.
        line: u64,
        /// Records found; also the sequence number of the first one missing.
        size: u64,
        /// Records that the checkpoint covers.
        checkpoint: u64,
    },
    /// The records are chained, but are not those that a checkpoint covers.
    #[error(
        "rewritten: the first {size} records have root {found}, the checkpoint says {expected}"
    )]
    Root {
        /// Records that the checkpoint covers.
        size: u64,
        /// The checkpoint's root.
        expected: Hash,
        /// The root of the records.
        found: Hash,
    },
    /// There is no checkpoint beside the records.
    #[error(
        "the file `checkpoint` is missing: restore it, or move the folder away and begin a new log"
    )]
    CheckpointMissing,
    /// The checkpoint cannot be trusted.
    #[error("checkpoint: {0}")]
    Checkpoint(NoteError),
    /// A tile of the tree is missing or is not what the records give.
    #[error("tile `{path}` does not match the records; opening the log writes it anew")]
    Tile {
        /// The file, relative to the folder of the log.
        path: String,
    },
    /// A file is named like a file of records and is none.
    #[error("unexpected file `{name}`: expected audit-YYYYMMDD.jsonl or audit-YYYYMMDD.N.jsonl")]
    UnexpectedFile {
        /// The file's name.
        name: String,
    },
    /// There is no such record.
    #[error("there is no record {seq}")]
    NoRecord {
        /// The sequence number asked for.
        seq: u64,
    },
    /// The record is not in the log any more.
    #[error(
        "record {seq} is not in the log: it begins with {first}, what came before was archived; put the archived file back into a copy of the log"
    )]
    Archived {
        /// The sequence number asked for.
        seq: u64,
        /// The first record of the log.
        first: u64,
    },
    /// The log is not what another log wrote down of it.
    #[error("it is not what `{by}` wrote down of it (seq {seq} there)")]
    Peer {
        /// The name of the other log.
        by: String,
        /// The record there.
        seq: u64,
        /// What it is not.
        source: Box<Self>,
    },
    /// The record is too new to be proved.
    #[error(
        "record {seq} is not yet covered: the checkpoint covers {size} records, write a new one first"
    )]
    NotCovered {
        /// The sequence number or size asked for.
        seq: u64,
        /// Records that the checkpoint covers.
        size: u64,
    },
    /// A proof file is wrong.
    #[error("proof: {problem}")]
    Proof {
        /// What is wrong with it.
        problem: String,
    },
}

fn seq_text(seq: &Option<u64>) -> String {
    seq.map_or_else(String::new, |seq| format!(" (seq {seq})"))
}

/// Why a signed note, a checkpoint or a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// A key name is not allowed.
    #[error(
        "key name `{name}`: expected 1 to 255 characters without white space, `+` and control characters"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A private key is not an Ed25519 key in PKCS#8.
    #[error("the private key is not an Ed25519 key in PKCS#8 (DER)")]
    PrivateKey,
    /// A public key text is not `name+id+key`.
    #[error("the public key is not a verifier key (name+id+base64): {problem}")]
    PublicKey {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The library that draws random bytes refused.
    #[error("no random bytes for a new key")]
    Random,
    /// The note is not a signed note.
    #[error("not a signed note: {problem}")]
    Malformed {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No signature in the note is by the given key.
    #[error("no signature by `{name}`")]
    Unsigned {
        /// The name of the key.
        name: String,
    },
    /// The signature by the given key is wrong.
    #[error("bad signature by `{name}`")]
    BadSignature {
        /// The name of the key.
        name: String,
    },
    /// The checkpoint is that of another log.
    #[error("it is of the log `{found}`, not of `{expected}`")]
    Origin {
        /// The origin asked for.
        expected: String,
        /// The origin found.
        found: String,
    },
}
