//! A log that proves itself.
//!
//! Records are lines of JSON in daily files. Every line carries the hash of the line before it,
//! and over all lines stands a Merkle tree (RFC 9162) whose root is signed now and then as a
//! checkpoint (C2SP). So an edit, a gap, a swap or a missing tail is found by [`verify`], and one
//! record can be proved to somebody who has nothing but the log's public key ([`verify_proof`]).
//!
//! Writing: [`Log::open`], [`Log::append`], [`Log::close`]. One thread writes; the calls that wait
//! at the same moment share one sync of the disk. An append is acknowledged when it is durable.
//!
//! Reading: [`read`] iterates, [`verify`] checks everything, [`prove`] makes a proof file.
//!
//! Keeping: [`Log::archive`] takes old files away, after a signed record that says so.
//!
//! The format is specified byte for byte in `docs/audit-format.md`. This crate knows no async
//! runtime and reads no configuration: the offline verifier is this crate alone. What it does not
//! know is whether a value is secret: redact before a value enters a [`Draft`].
//!
//! # Examples
//!
//! ```
//! use fastmcp_audit::{Draft, Log, Options, Signer, generate_key, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let dir = folder.path().join("audit");
//! let signer = Signer::for_instance("gw-1", &generate_key()?)?;
//! let key = signer.verifier();
//! let log = Log::open(&dir, Options::new("gw-1", signer))?;
//! let mut draft = Draft::intent("tools.invoke");
//! draft.tool_id = Some("database:listTables".to_owned());
//! draft.sub = Some("agent-1".to_owned());
//! log.append(&draft).wait()?;
//! log.close()?;
//! assert_eq!(verify(&dir, Some(&key))?.records, 3); // opened, the intent, closed
//! # Ok(())
//! # }
//! ```

mod ack;
mod archive;
mod checkpoint;
mod error;
mod hash;
mod log;
mod note;
mod peers;
mod proof;
mod read;
mod record;
mod segment;
mod storage;
#[cfg(test)]
mod testing;
pub mod tree;
mod verify;
mod walk;

pub use ack::Ack;
pub use archive::{Archive, ArchivedFile, Retention, plan_archive};
pub use checkpoint::Checkpoint;
pub use error::{AuditError, Fault, NoteError, StorageError, VerifyError};
pub use hash::{Hash, InvalidHash};
pub use log::{Clock, Health, Log, Mode, Options, Receipt, Tap};
pub use note::{Signer, VerifierKey, generate_key};
pub use peers::{Replica, ReplicaReport, key_of, origin, peer_checkpoint, verify_replicas};
pub use proof::{Proved, prove, prove_consistency, verify_proof};
pub use read::{Filter, Records, read};
pub use record::{Draft, MAX_LINE, Object, Phase, Record, Status};
pub use storage::{FileStorage, Segment, Storage};
pub use verify::{Report, verify, verify_against};
