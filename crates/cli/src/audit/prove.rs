//! `fastmcp audit prove`, `verify-proof` and `checkpoint`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp_audit::{Checkpoint, prove, verify_proof};
use fastmcp_gateway::keys::VERIFIER_FILE;
use serde_json::json;

use super::{Which, read_key, row, verify::MAX_CHECKPOINT_BYTES};
use crate::{Outcome, output, place::Place};

/// The longest proof file, in bytes. Source: docs/audit-format.md, "Proof files".
const MAX_PROOF_BYTES: u64 = 524_288;
/// The note beside the records. Source: docs/audit-format.md.
const CHECKPOINT_FILE: &str = "checkpoint";

/// Write a file that proves one record to somebody who has only the log's public key
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fastmcp audit prove 42 -o record-42.proof
  fastmcp audit verify-proof record-42.proof --vkey audit.vkey")]
pub(super) struct Prove {
    /// The record's sequence number
    #[arg(value_name = "SEQ")]
    seq: u64,
    /// File to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

impl Prove {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let proof = prove(&self.which.folder()?, self.seq)?;
        let proof = String::from_utf8(proof).context("proof is not text")?;
        deliver(&proof, self.output.as_deref())?;
        Ok(Outcome::Passed)
    }
}

/// Check a proof file, and print the record that it proves
#[derive(Debug, Args)]
pub(super) struct VerifyProof {
    /// The proof file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File of the log's public key [default: audit.vkey in the data folder]
    #[arg(long, value_name = "FILE")]
    vkey: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl VerifyProof {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let vkey = match self.vkey {
            Some(vkey) => vkey,
            None => self.place.audit()?.data_dir.join(VERIFIER_FILE),
        };
        let key =
            read_key(&vkey).context("the log's public key is needed; name its file with --vkey")?;
        let proof = output::read_small(&self.file, MAX_PROOF_BYTES)?;
        let proved = verify_proof(&proof, &key)
            .with_context(|| format!("`{}` proves nothing", self.file.display()))?;
        let Checkpoint { origin, size, .. } = &proved.checkpoint;
        output::say_json(
            &json!({"log": origin, "tree_size": size, "record": row::json(&proved.record)}),
        )?;
        Ok(Outcome::Passed)
    }
}

/// Print the log's newest signed checkpoint, to be kept elsewhere
///
/// Whoever keeps it can later tell, with `fastmcp audit verify --kept`, whether the log up to here is still the same.
#[derive(Debug, Args)]
pub(super) struct PrintCheckpoint {
    /// File of the log's public key [default: audit.vkey in the data folder]
    #[arg(long, value_name = "FILE")]
    vkey: Option<PathBuf>,
    /// File to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

impl PrintCheckpoint {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let folder = self.which.folder()?;
        let Some(key) = self.which.key(self.vkey.as_ref())? else {
            bail!(
                "a checkpoint is worth keeping only if its signature is good; name the log's public key with --vkey"
            );
        };
        let note = output::read_small(&folder.join(CHECKPOINT_FILE), MAX_CHECKPOINT_BYTES)?;
        let checkpoint = Checkpoint::open(&note, &key)
            .with_context(|| format!("checkpoint in `{}`", folder.display()))?;
        deliver(&checkpoint.note, self.output.as_deref())?;
        Ok(Outcome::Passed)
    }
}

/// How many records the checkpoint beside the log says that it covers.
pub(super) fn covered(folder: &Path) -> Option<u64> {
    let note = output::read_small(&folder.join(CHECKPOINT_FILE), MAX_CHECKPOINT_BYTES).ok()?;
    Checkpoint::open_unverified(&note)
        .ok()
        .map(|checkpoint| checkpoint.size)
}

/// Writes `text`, which ends with a new line, to a file or to stdout.
fn deliver(text: &str, file: Option<&Path>) -> anyhow::Result<()> {
    match file {
        Some(file) => {
            fs::write(file, text).with_context(|| format!("`{}` cannot be written", file.display()))
        }
        None => output::say(text.trim_end_matches('\n')),
    }
}
