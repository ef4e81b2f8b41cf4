//! `fastmcp audit`: the record, read and proved.

mod export;
mod find;
mod prove;
mod prune;
mod replicas;
mod row;
mod verify;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use fastmcp_audit::{Report, VerifierKey};
use fastmcp_gateway::keys::VERIFIER_FILE;

pub(crate) use self::find::moment;
use crate::{Outcome, output, place::Place};

/// The longest key file, in bytes.
const MAX_KEY_BYTES: u64 = 4_096;

/// Read the audit log and prove that it is whole
///
/// These commands only read, and may be used while the gateway runs; all but `prune`, which needs a log that nobody
/// writes to.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Verify(verify::Verify),
    Show(find::Show),
    Tail(find::Tail),
    Search(Box<find::Search>),
    Prove(prove::Prove),
    VerifyProof(prove::VerifyProof),
    Checkpoint(prove::PrintCheckpoint),
    Export(Box<export::Export>),
    Prune(prune::Prune),
}

impl Audit {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            AuditCommand::Verify(verify) => verify.run(),
            AuditCommand::Show(show) => show.run(),
            AuditCommand::Tail(tail) => tail.run(),
            AuditCommand::Search(search) => search.run(),
            AuditCommand::Prove(prove) => prove.run(),
            AuditCommand::VerifyProof(verify) => verify.run(),
            AuditCommand::Checkpoint(checkpoint) => checkpoint.run(),
            AuditCommand::Export(export) => export.run(),
            AuditCommand::Prune(prune) => prune.run(),
        }
    }
}

/// Which log.
#[derive(Clone, Debug, Args)]
struct Which {
    /// Folder of the log [default: `audit` in the data folder; variable AUDIT_WORM_DIR]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Which {
    /// The folder of the log.
    fn folder(&self) -> anyhow::Result<PathBuf> {
        let folder = match &self.dir {
            Some(dir) => dir.clone(),
            None => self.place.audit()?.audit_dir,
        };
        if !folder.is_dir() {
            bail!(
                "there is no audit log in `{}`; name its folder with --dir, or the data folder with --data-dir",
                folder.display()
            );
        }
        Ok(folder)
    }

    /// The log's public key: the one that is named, or the one that the gateway left in its data folder.
    fn key(&self, named: Option<&PathBuf>) -> anyhow::Result<Option<VerifierKey>> {
        if let Some(path) = named {
            return read_key(path).map(Some);
        }
        if self.dir.is_some() && self.place.data_dir.is_none() {
            return Ok(None);
        }
        let path = self.place.audit()?.data_dir.join(VERIFIER_FILE);
        if path.exists() {
            read_key(&path).map(Some)
        } else {
            Ok(None)
        }
    }
}

fn read_key(path: &Path) -> anyhow::Result<VerifierKey> {
    let text = output::read_small(path, MAX_KEY_BYTES)?;
    let text = String::from_utf8(text)
        .ok()
        .with_context(|| format!("key `{}` is not text", path.display()))?;
    text.trim()
        .parse()
        .with_context(|| format!("key `{}`", path.display()))
}

/// Verifies the log in `folder`, with the public key in the file `key` if that is there.
pub(crate) fn verify_with(folder: &Path, key: &Path) -> anyhow::Result<Report> {
    let key = if key.exists() {
        Some(read_key(key)?)
    } else {
        None
    };
    Ok(verify::check(folder, key.as_ref(), &[])?)
}
