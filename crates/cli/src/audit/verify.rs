//! `fastmcp audit verify`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp_audit::{Checkpoint, Fault, Report, VerifierKey, VerifyError, verify, verify_against};
use serde_json::{Value, json};

use super::{Which, prune, replicas};
use crate::{Outcome, output};

/// How often a log is looked at that is being written to, before a torn line counts as one.
const TRIES: usize = 5;
/// The longest checkpoint, in bytes. Source: docs/audit-format.md.
pub(super) const MAX_CHECKPOINT_BYTES: u64 = 65_536;

/// Check every record, the chain, the tree and the signed checkpoint
///
/// Fails, naming file, line and sequence number, when a byte was edited, or a record dropped, added or moved. Against
/// checkpoints that you keep elsewhere (--kept) it also notices that the whole log was rewritten or put back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp audit verify
  fastmcp audit verify --dir /mnt/copy/audit --vkey audit.vkey --json
  fastmcp audit checkpoint -o 2026-11-20.checkpoint   keep it elsewhere, and later:
  fastmcp audit verify --kept 2026-11-20.checkpoint
  fastmcp audit verify gw-1/audit gw-2/audit --vkey gw-1.vkey --vkey gw-2.vkey   all replicas, against each other")]
pub(super) struct Verify {
    /// Folders of the logs of several replicas: each is held against what the others wrote down of it
    #[arg(value_name = "FOLDER", conflicts_with_all = ["dir", "kept"], requires = "vkey")]
    replicas: Vec<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// File of the log's public key; one for each replica [default: audit.vkey in the data folder]
    #[arg(long, value_name = "FILE")]
    vkey: Vec<PathBuf>,
    /// A checkpoint of this log that was kept elsewhere; may be repeated
    #[arg(long, value_name = "FILE")]
    kept: Vec<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        if !self.replicas.is_empty() {
            return replicas::verify(&self.replicas, &self.vkey, self.json);
        }
        if self.vkey.len() > 1 {
            bail!("several keys are for several replicas: name the folders of their logs");
        }
        let folder = self.which.folder()?;
        let key = self.which.key(self.vkey.first())?;
        let kept = self.kept(key.as_ref())?;
        let verified = check(&folder, key.as_ref(), &kept);
        match (&verified, self.json) {
            (Ok(report), true) => output::say_json(&report_json(report))?,
            (Ok(report), false) => {
                let mut text = report_text(&folder, report);
                if let Some(largest) = kept.iter().map(|kept| kept.size).max() {
                    text.push_str(&format!(
                        "\n  kept        {} checkpoints that were kept elsewhere, the largest of {largest} records, are part of it",
                        kept.len()
                    ));
                }
                output::say(&text)?;
            }
            (Err(error), true) => output::say_json(&error_json(error))?,
            (Err(error), false) => output::complain(&format!(
                "audit log `{}` does not verify: {}",
                folder.display(),
                output::printable(&output::told_of(error))
            )),
        }
        Ok(if verified.is_ok() {
            Outcome::Passed
        } else {
            Outcome::Failed
        })
    }

    fn kept(&self, key: Option<&VerifierKey>) -> anyhow::Result<Vec<Checkpoint>> {
        let Some(key) = key else {
            if self.kept.is_empty() {
                return Ok(Vec::new());
            }
            bail!(
                "checkpoints that were kept need the log's public key; name its file with --vkey"
            );
        };
        let open = |path: &PathBuf| {
            let note = output::read_small(path, MAX_CHECKPOINT_BYTES)?;
            Checkpoint::open(&note, key).with_context(|| format!("checkpoint `{}`", path.display()))
        };
        self.kept.iter().map(open).collect()
    }
}

/// Verifies, and again when the only fault is a last line that is just being written.
pub(super) fn check(
    folder: &Path,
    key: Option<&VerifierKey>,
    kept: &[Checkpoint],
) -> Result<Report, VerifyError> {
    let once = || match key {
        Some(key) if !kept.is_empty() => verify_against(folder, key, kept),
        _ => verify(folder, key),
    };
    let mut verified = once();
    for _ in 1..TRIES {
        match &verified {
            Err(error) if may_pass(error) => verified = once(),
            _ => break,
        }
    }
    verified
}

/// Whether it may be what a writer does at this very moment: a line is half written, or old files are taken away.
pub(super) const fn may_pass(error: &VerifyError) -> bool {
    matches!(
        error,
        VerifyError::Record {
            fault: Fault::Torn | Fault::Dropped { expected: 0 },
            ..
        } | VerifyError::Storage(_)
    )
}

pub(super) fn report_text(folder: &Path, report: &Report) -> String {
    let range = match (report.first, report.last) {
        (Some(first), Some(last)) => format!(", {first:.3} to {last:.3}"),
        _ => String::new(),
    };
    let signed = if report.signed {
        "signed"
    } else {
        "not checked, name the public key with --vkey"
    };
    let unsigned = report.records.saturating_sub(report.checkpoint.size);
    let mut text = format!(
        "audit log `{}` is whole\n  records     {}{range}\n  files       {}\n  root        {}\n  checkpoint  of {} records by {} ({signed}); {unsigned} came after it",
        folder.display(),
        report.records,
        report.files,
        report.root,
        report.checkpoint.size,
        output::printable(&report.checkpoint.origin),
    );
    if let Some(archived) = report.archived {
        text.push_str(&format!("\n  archived    {}", prune::days(archived)));
    }
    if report.voided_bytes > 0 {
        text.push_str(&format!(
            "\n  voided      {} bytes that a crash or a full disk left behind",
            report.voided_bytes
        ));
    }
    if !report.closed {
        text.push_str("\n  open        the last record is not a closing one: the log is in use, or its process was killed");
    }
    text
}

pub(super) fn report_json(report: &Report) -> Value {
    json!({
        "ok": true,
        "records": report.records,
        "files": report.files,
        "root": report.root.to_string(),
        "checkpoint": {"origin": report.checkpoint.origin, "size": report.checkpoint.size, "signed": report.signed},
        "archived": report.archived.map(|(records, since, until)| json!({"records": records, "since": since.to_string(), "until": until.to_string()})),
        "voided_bytes": report.voided_bytes,
        "first": report.first.map(|ts| format!("{ts:.3}")),
        "last": report.last.map(|ts| format!("{ts:.3}")),
        "closed": report.closed,
    })
}

pub(super) fn error_json(error: &VerifyError) -> Value {
    let (file, line, seq) = match error {
        VerifyError::Record {
            file, line, seq, ..
        } => (Some(file), Some(line), seq.as_ref()),
        VerifyError::Truncated {
            file, line, size, ..
        } => (Some(file), Some(line), Some(size)),
        VerifyError::NoRecord { seq } => (None, None, Some(seq)),
        _ => (None, None, None),
    };
    json!({"ok": false, "error": output::told_of(error), "file": file, "line": line, "seq": seq})
}
