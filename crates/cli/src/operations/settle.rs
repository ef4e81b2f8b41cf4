//! `fastmcp operations settle`.

use std::io;

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp_audit::{AuditError, Log, Options};
use fastmcp_gateway::{
    audit::rfc3339,
    config::part::AuditPart,
    keys::Keys,
    settlement::{Held, Outbox, Settled},
    state::{
        ledger::NotSettled,
        machine::{Settlement, Status},
        operation::Report,
    },
};
use fastmcp_guard::clock::{Clock as _, SystemClock};

use super::{Which, opened::Opened};
use crate::{Outcome, output, place::Place};

/// The longest note, in bytes. A record takes texts of 4,096 bytes, and the state the note with who, what and when.
const MAX_NOTE_BYTES: usize = 2_000;
/// The longest name of who settles, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Say how an operation of unknown outcome ended, once you have found out
///
/// Nothing is done or undone: a repeated call with its key is answered accordingly from here on. Name and note are kept
/// with the operation, and callers who repeat it may be told them. They also become a record of the audit log: where a
/// running gateway holds that, within seconds, else at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp operations list --status unknown
  fastmcp operations settle 019a9f3c-2f6b-7cc1-9d53-0a4be2a1c7d4 --completed --by alice --note 'found in the ad account'")]
pub(super) struct Settle {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    verdict: Verdict,
    /// How you found out
    #[arg(long, value_name = "TEXT", value_parser = note)]
    note: String,
    /// Who found out
    #[arg(long, value_name = "NAME", default_value = "operator", value_parser = name)]
    by: String,
    #[command(flatten)]
    place: Place,
}

/// How it ended.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Verdict {
    /// It did happen
    #[arg(long)]
    completed: bool,
    /// It did not happen; doing it after all takes a new call with a new key
    #[arg(long)]
    failed: bool,
}

impl Verdict {
    const fn settlement(&self) -> (Settlement, Status) {
        if self.completed {
            (Settlement::Completed, Status::Completed)
        } else {
            (Settlement::Failed, Status::Failed)
        }
    }
}

impl Settle {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        Opened::with(&self.place, |opened| self.settle(opened))
    }

    fn settle(&self, opened: &Opened) -> anyhow::Result<Outcome> {
        let before = opened.find(&self.which)?;
        refuse_known(&before)?;
        // Held before anything changes: where the log cannot take the record for another reason, nothing is settled.
        let log = opened.log().context("nothing was settled")?;
        let (settlement, status) = self.verdict.settlement();
        let told = Settled::new(&before, status, &self.by, &self.note, SystemClock.now());
        let told = match &log {
            Some(log) => told.beginning_at(log.health().size),
            None => told,
        };
        // It waits there until it is recorded, so that whatever happens from here on the next look finds it.
        let outbox = Outbox::of(opened.data_dir());
        // Until the state has changed, or will not.
        let held = put(&outbox, opened, &self.which, &told)?;
        let detail = detail(&told, &before);
        let settling = opened.ledger().settle(&self.which.id, settlement, &detail);
        if let Err(refused) = opened.wait(settling) {
            let closed = log.as_ref().map_or(Ok(()), Log::close);
            // Where the state did not answer it may have happened: whoever records looks at the state again.
            if !matches!(refused, NotSettled::State(_)) {
                outbox.remove(&told)?;
            }
            closed?;
            return Err(refused.into());
        }
        drop(held);
        output::say(&format!("operation `{}` is {status}", self.which.id))?;
        let Some(log) = log else {
            output::complain(
                "another process holds the audit log, most likely the running gateway, which records the settlement within seconds",
            );
            return Ok(Outcome::Passed);
        };
        let recorded = log.append(&told.draft()).wait().map(drop);
        recorded.and(log.close()).with_context(|| {
            format!("operation is settled, but the audit log took no record of it; the next start of the gateway tries again, and the state keeps: `{detail}`")
        })?;
        outbox.remove(&told)?;
        Ok(Outcome::Passed)
    }
}

/// What the state keeps: the settlement first, since what is too long is cut.
fn detail(told: &Settled, before: &Report) -> String {
    match &before.detail {
        Some(before) => format!("{} (before: {})", told.said(), output::printable(before)),
        None => told.said(),
    }
}

/// Puts the settlement down. One that somebody left there who has ended, without settling, is taken away first.
fn put(outbox: &Outbox, opened: &Opened, which: &Which, told: &Settled) -> anyhow::Result<Held> {
    const FAILED: &str = "nothing was settled: the settlement cannot be put down";
    match outbox.put(told) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        put => return put.context(FAILED),
    }
    if let Some(left) = outbox.left(&which.id).context(FAILED)? {
        // Looked at while nobody can settle it but us: it may have happened in the meantime.
        refuse_known(&opened.find(which)?)?;
        left.remove().context(FAILED)?;
    }
    match outbox.put(told) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!(
                "nothing was settled: another settlement of this operation is under way; wait until it has ended"
            )
        }
        put => put.context(FAILED),
    }
}

fn refuse_known(report: &Report) -> anyhow::Result<()> {
    let id = &report.operation_id;
    match (report.status, report.lease_until) {
        (Status::Unknown, _) => Ok(()),
        (status, Some(until)) => bail!(
            "operation `{id}` cannot be settled: it is {status}, at work until {} at most; see then how it ended",
            rfc3339(until)
        ),
        (status, None) => bail!(
            "operation `{id}` cannot be settled: it is {status}, and only what is unknown can be"
        ),
    }
}

/// The audit log, unless a running gateway holds it.
pub(crate) fn open_log(config: &AuditPart, keys: &Keys) -> anyhow::Result<Option<Log>> {
    let signer = keys.audit_signer(&config.instance)?;
    match Log::open(&config.audit_dir, Options::new(&config.instance, signer)) {
        Ok(log) => Ok(Some(log)),
        Err(AuditError::Locked { .. }) => Ok(None),
        Err(error) => Err(error).context("audit log cannot be opened"),
    }
}

/// Reads a note: one line, not blank.
fn note(text: &str) -> Result<String, String> {
    line(text, MAX_NOTE_BYTES)
}

/// Reads a name: one line, not blank.
pub(crate) fn name(text: &str) -> Result<String, String> {
    line(text, MAX_NAME_BYTES)
}

fn line(text: &str, most: usize) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > most || text.contains(char::is_control) {
        return Err(format!("use one line of text, 1 to {most} bytes"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_and_names_are_one_line_of_bounded_length() {
        assert_eq!(
            note(" found in the ledger \n").as_deref(),
            Ok("found in the ledger")
        );
        assert!(name(&"n".repeat(MAX_NAME_BYTES)).is_ok());
        for text in [
            "",
            "  ",
            "two\nlines",
            "colour \u{1b}[31m",
            &"n".repeat(MAX_NOTE_BYTES + 1),
        ] {
            assert!(note(text).is_err(), "{text}");
        }
        assert!(name(&"n".repeat(MAX_NAME_BYTES + 1)).is_err());
    }
}
