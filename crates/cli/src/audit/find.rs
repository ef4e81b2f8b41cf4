//! `fastmcp audit show`, `tail` and `search`.

use std::{collections::VecDeque, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use fastmcp_audit::{Filter, Record, Status, read};
use fastmcp_guard::clock::{Clock as _, SystemClock};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tokio::time::{MissedTickBehavior, interval};

use super::{Which, row};
use crate::{Outcome, output};

/// How often a log is looked at that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most records that one command holds.
const MAX_RECORDS: u64 = 100_000;

/// Print one record, whole
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The record's sequence number
    #[arg(value_name = "SEQ")]
    seq: u64,
    #[command(flatten)]
    which: Which,
}

impl Show {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let filter = Filter {
            from_seq: Some(self.seq),
            to_seq: self.seq.checked_add(1),
            ..Filter::default()
        };
        let folder = self.which.folder()?;
        let Some(record) = read(&folder, filter)?.next().transpose()? else {
            let first = read(&folder, Filter::default())?.next().transpose()?;
            match first.map(|record| record.seq) {
                Some(first) if self.seq < first => bail!(
                    "record {} is not in `{}` any more: it begins with {first}, and what came before was archived",
                    self.seq,
                    folder.display()
                ),
                _ => bail!("there is no record {} in `{}`", self.seq, folder.display()),
            }
        };
        output::say_json(&row::json(&record))?;
        Ok(Outcome::Passed)
    }
}

/// Print the last records
#[derive(Debug, Args)]
pub(super) struct Tail {
    /// How many
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=MAX_RECORDS))]
    lines: u64,
    /// Go on printing what is recorded, until ctrl-c
    #[arg(short, long)]
    follow: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

impl Tail {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let folder = self.which.folder()?;
        let most = usize::try_from(self.lines).unwrap_or(usize::MAX);
        let mut last = VecDeque::new();
        for record in read(
            &folder,
            Filter {
                from_seq: Some(self.begin(&folder)),
                ..Filter::default()
            },
        )? {
            last.push_back(record?);
            if last.len() > most {
                last.pop_front();
            }
        }
        let records: Vec<Record> = last.into();
        print(&records, self.json)?;
        if self.follow {
            let next = records.last().map_or(0, |record| record.seq + 1);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .context("no timer can be started")?;
            let widths = row::widths(&records);
            runtime.block_on(self.follow(&folder, next, widths))?;
        }
        Ok(Outcome::Passed)
    }

    /// A sequence number from which on the last records certainly are: what the checkpoint covers is there.
    fn begin(&self, folder: &Path) -> u64 {
        let covered = super::prove::covered(folder).unwrap_or_default();
        covered.saturating_sub(self.lines)
    }

    async fn follow(
        &self,
        folder: &Path,
        mut next: u64,
        mut widths: row::Widths,
    ) -> anyhow::Result<()> {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for record in read(
                folder,
                Filter {
                    from_seq: Some(next),
                    ..Filter::default()
                },
            )? {
                let record = record?;
                next = record.seq + 1;
                let line = if self.json {
                    row::json(&record).to_string()
                } else {
                    row::padded(&record, &mut widths)
                };
                output::say(&line)?;
            }
        }
    }
}

/// What came of an action.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StatusName {
    Success,
    Failed,
    Denied,
    Pending,
    Unknown,
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Success => Self::Success,
            StatusName::Failed => Self::Failed,
            StatusName::Denied => Self::Denied,
            StatusName::Pending => Self::Pending,
            StatusName::Unknown => Self::Unknown,
        }
    }
}

/// Which records; everything that is given must hold.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// Records of this subject
    #[arg(long, value_name = "NAME")]
    sub: Option<String>,
    /// Records of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Records of this tool
    #[arg(long, value_name = "ID")]
    tool: Option<String>,
    /// Records of this action, such as tools.invoke
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// Records with this status
    #[arg(long, value_name = "STATUS")]
    status: Option<StatusName>,
    /// Records of this request
    #[arg(long, value_name = "ID")]
    corr_id: Option<String>,
    /// Records of this operation
    #[arg(long, value_name = "ID")]
    operation: Option<String>,
    /// Records of this time or later: 2026-11-20T09:00:00Z, 2026-11-20 (UTC), or 30m, 24h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Records before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Records from this sequence number on
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Records up to, but not including, this sequence number
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
}

/// A moment as people write it: a time, a day, or how long ago.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let now = i64::try_from(SystemClock.now().unix_seconds()).unwrap_or(i64::MAX);
    at(text, now).ok_or_else(|| {
        "expected a time as in 2026-11-20T09:00:00Z, a day as in 2026-11-20 (UTC), or how long ago as in 30m, 24h or 7d"
            .to_owned()
    })
}

fn at(text: &str, now: i64) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    // A time without its zone would be taken for its day.
    if text.len() == 10
        && let Ok(day) = text.parse::<Date>()
    {
        let begin = day.to_zoned(TimeZone::UTC).ok()?;
        return Some(begin.timestamp());
    }
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let ago = i64::from(number.parse::<u32>().ok()?).checked_mul(seconds)?;
    Timestamp::from_second(now.checked_sub(ago)?).ok()
}

impl Wanted {
    pub(super) fn filter(self) -> Filter {
        Filter {
            from_seq: self.from,
            to_seq: self.to,
            since: self.since,
            until: self.until,
            tool_id: self.tool,
            sub: self.sub,
            tenant: self.tenant,
            corr_id: self.corr_id,
            action: self.action,
            status: self.status.map(Status::from),
            operation_id: self.operation,
        }
    }
}

/// Print the records that fit; everything that is given must hold
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp audit search --sub agent-1 --status denied
  fastmcp audit search --status denied --since 24h     what was refused since yesterday
  fastmcp audit search --tool ads:createCampaign --since 2026-11-01 --until 2026-12-01 --json
  fastmcp audit search --corr-id 0f3a...               all records of one request")]
pub(super) struct Search {
    #[command(flatten)]
    wanted: Wanted,
    /// The most records to print
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=MAX_RECORDS))]
    limit: u64,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

impl Search {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let folder = self.which.folder()?;
        let filter = self.wanted.filter();
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        // One more than is printed tells whether there are more.
        let mut found = read(&folder, filter)?
            .take(most.saturating_add(1))
            .collect::<Result<Vec<_>, _>>()?;
        let are_more = found.len() > most;
        found.truncate(most);
        if found.is_empty() && !self.json {
            output::complain("no record fits");
            return Ok(Outcome::Passed);
        }
        print(&found, self.json)?;
        if are_more {
            output::complain(&format!(
                "there are more than {most}; raise --limit, or go on with --from"
            ));
        }
        Ok(Outcome::Passed)
    }
}

fn print(records: &[Record], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return records
            .iter()
            .try_for_each(|record| output::say(&row::json(record).to_string()));
    }
    let head = row::HEADS.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(head)
        .chain(records.iter().map(row::cells))
        .collect();
    output::say(&output::table(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_days_and_how_long_ago() {
        let now = 1_795_000_000;
        let said = |text| at(text, now).map(Timestamp::as_second);
        assert_eq!(said("30m"), Some(now - 1_800));
        assert_eq!(said("7d"), Some(now - 604_800));
        assert_eq!(said("2026-11-20T09:00:00Z"), Some(1_795_165_200));
        assert_eq!(said("2026-11-20"), Some(1_795_132_800));
        for wrong in [
            "",
            "d",
            "yesterday",
            "-1h",
            "1.5h",
            "5 d",
            "2026-13-01",
            "2026-11-20T09:00",
            "é",
            "4294967296d",
        ] {
            assert_eq!(said(wrong), None, "{wrong}");
        }
    }
}
