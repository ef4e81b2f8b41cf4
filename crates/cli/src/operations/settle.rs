//! `fastmcp operations settle`.

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp_audit::{AuditError, Draft, Log, Options, Status as AuditStatus};
use fastmcp_gateway::{
    audit::rfc3339,
    state::{
        machine::{Settlement, Status},
        operation::Report,
    },
};
use fastmcp_guard::clock::{Clock as _, SystemClock};
use serde_json::{Map, json};

use super::{Which, opened::Opened};
use crate::{Outcome, output, place::Place};

/// The longest note, in bytes. A record takes texts of 4,096 bytes, and the state the note with who, what and when.
const MAX_NOTE_BYTES: usize = 2_000;
/// The longest name of who settles, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Say how an operation of unknown outcome ended, once you have found out
///
/// Nothing is done or undone: a repeated call with its key is answered accordingly from here on. Name and note are kept
/// with the operation, and callers who repeat it may be told them. They also become a record of the audit log, unless a
/// running gateway holds it.
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
        let log = open_log(opened).context("nothing was settled")?;
        let (settlement, status) = self.verdict.settlement();
        let detail = self.detail(&before, status);
        let settling = opened.ledger().settle(&self.which.id, settlement, &detail);
        let settled = opened.wait(settling);
        let recorded = match (&settled, &log) {
            (Ok(_), Some(log)) => log.append(&self.record(&before, status)).wait().map(drop),
            _ => Ok(()),
        };
        let closed = log.as_ref().map_or(Ok(()), Log::close);
        settled?;
        output::say(&format!("operation `{}` is {status}", self.which.id))?;
        recorded.and(closed).with_context(|| {
            format!("operation is settled, but the audit log took no record of it; the state keeps: `{detail}`")
        })?;
        if log.is_none() {
            output::complain(&format!(
                "another process holds the audit log, most likely the running gateway, so the settlement is recorded in the state alone: `{detail}`"
            ));
        }
        Ok(Outcome::Passed)
    }

    /// What the state keeps: the settlement first, since what is too long is cut.
    fn detail(&self, before: &Report, status: Status) -> String {
        let (by, note, at) = (&self.by, &self.note, rfc3339(SystemClock.now()));
        let detail = format!("settled as {status} by {by} at {at}: {note}");
        match &before.detail {
            Some(before) => format!("{detail} (before: {})", output::printable(before)),
            None => detail,
        }
    }

    /// What the log keeps. The reason of the doubt is not in it: the state seals what providers say.
    fn record(&self, before: &Report, status: Status) -> Draft {
        let id = self.which.id.as_str().to_owned();
        let mut draft = Draft::event("operations.settled", AuditStatus::Success);
        draft.reason = Some(self.note.clone());
        draft.resource_type = Some("operation".to_owned());
        draft.resource_id = Some(id.clone());
        draft.operation_id = Some(id);
        draft.tool_id = Some(before.binding.tool_id.as_str().to_owned());
        draft.tenant = Some(before.binding.tenant.clone());
        // `sub` is who acted with a token; an operator has none.
        draft.details = Some(Map::from_iter([
            ("by".to_owned(), json!(self.by)),
            ("settled_as".to_owned(), json!(status.as_str())),
            ("operation_sub".to_owned(), json!(before.binding.subject)),
        ]));
        draft
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
pub(crate) fn open_log(opened: &Opened) -> anyhow::Result<Option<Log>> {
    let config = &opened.config;
    let signer = opened.keys.audit_signer(&config.instance)?;
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
fn name(text: &str) -> Result<String, String> {
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
