//! `fastmcp audit prune`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp_audit::{Archive, AuditError, Log, Options, Retention, plan_archive};
use fastmcp_gateway::keys::Keys;
use fastmcp_guard::clock::{Clock as _, SystemClock};
use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};

use super::Which;
use crate::{Outcome, output, place::Place};

/// Take old records away: whole files of whole days that a signed checkpoint covers
///
/// The log says so first, in a signed record, and keeps the hashes of what goes: the rest verifies and is proved as
/// before. A running gateway does this by itself every hour (AUDIT_RETENTION_DAYS); this command is for a log that
/// nobody writes to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp audit prune --days 90 --dry-run
  fastmcp audit prune --days 90 --archive-dir /mnt/cold/audit")]
pub(super) struct Prune {
    /// Whole days before today (UTC) whose records stay [default: AUDIT_RETENTION_DAYS]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    /// Folder to move the files to; without one they are removed [default: AUDIT_ARCHIVE_DIR]
    #[arg(long, value_name = "DIR")]
    archive_dir: Option<PathBuf>,
    /// Say what would go, and change nothing; may be used while the gateway runs
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
}

impl Prune {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let config = self.place.audit()?;
        let configured = config.retention.clone();
        let days = self.days.or(configured.as_ref().map(|asked| asked.days));
        let Some(days) = days else {
            bail!("say how many days stay, with --days or AUDIT_RETENTION_DAYS");
        };
        let to = self
            .archive_dir
            .clone()
            .or(configured.and_then(|asked| asked.to));
        let retention = Retention { days, to };
        let which = Which {
            dir: None,
            place: self.place.clone(),
        };
        let folder = which.folder()?;
        if self.dry_run {
            let key = which.key(None)?;
            let plan = plan_archive(&folder, key.as_ref(), before(days))?;
            return say(&plan, &retention, true);
        }
        let keys = Keys::open(&config.data_dir)?;
        let signer = keys.audit_signer(&config.instance)?;
        let log = match Log::open(&folder, Options::new(&config.instance, signer)) {
            Ok(log) => log,
            Err(AuditError::Locked { folder }) => bail!(
                "the audit log in `{folder}` is in use, most likely by the running gateway: that prunes by itself where AUDIT_RETENTION_DAYS is set; --dry-run says what would go"
            ),
            Err(error) => return Err(error).context("audit log cannot be opened"),
        };
        let mut whole = Archive::default();
        let pruned = loop {
            match log.archive(&retention) {
                Ok(archive) if archive.files.is_empty() => break Ok(()),
                Ok(archive) => {
                    whole.files.extend(archive.files);
                    whole.days = archive.days;
                }
                Err(error) => break Err(error),
            }
        };
        let closed = log.close();
        say(&whole, &retention, false)?;
        pruned?;
        closed?;
        Ok(Outcome::Passed)
    }
}

/// The first day whose records stay.
fn before(days: u32) -> Date {
    let seconds = i64::try_from(SystemClock.now().unix_seconds()).unwrap_or(i64::MAX);
    let now = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let today = now.to_zoned(TimeZone::UTC).date();
    let span = Span::new().days(i64::from(days));
    today.checked_sub(span).unwrap_or(Date::MIN)
}

fn say(archive: &Archive, retention: &Retention, would: bool) -> anyhow::Result<Outcome> {
    let stay = format!("records of the last {} days stay", retention.days);
    if archive.files.is_empty() {
        output::say(&format!(
            "nothing goes: {stay}, and no older file is signed to its end"
        ))?;
        return Ok(Outcome::Passed);
    }
    let mut rows = vec![
        ["FILE", "RECORDS", "BYTES", "SHA-256"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for file in &archive.files {
        rows.push(vec![
            file.segment.clone(),
            file.records.to_string(),
            file.bytes.to_string(),
            file.sha256.to_string(),
        ]);
    }
    output::say(&output::table(&rows))?;
    let went = match (would, &retention.to) {
        (true, Some(_)) => "would be moved",
        (true, None) => "would be removed",
        (false, Some(_)) => "moved",
        (false, None) => "removed",
    };
    let whither = retention.to.as_ref();
    let whither = whither.map_or_else(String::new, |to| format!(" to `{}`", to.display()));
    let (files, records) = (archive.files.len(), archive.records());
    output::say(&format!(
        "{files} files with {records} records {went}{whither}; {stay}"
    ))?;
    Ok(Outcome::Passed)
}

/// The days of the records that are not in the log any more, for people.
pub(super) fn days((records, since, until): (u64, Date, Date)) -> String {
    format!("{records} records of {since} to {until} were taken away; the checkpoint covers them")
}
