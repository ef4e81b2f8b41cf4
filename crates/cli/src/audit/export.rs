//! `fastmcp audit export`.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use fastmcp_audit::{Record, read};

use super::{Which, find::Wanted};
use crate::{Outcome, output};

/// The columns of the CSV form.
const COLUMNS: [&str; 17] = [
    "seq",
    "ts",
    "phase",
    "action",
    "status",
    "corr_id",
    "operation_id",
    "tenant",
    "sub",
    "ip_address",
    "toolId",
    "policy_decision",
    "policy_version",
    "reason",
    "instance",
    "request_hash",
    "event_hash",
];

/// Write the records that fit to a file: all of them, as they stand in the log
///
/// A line of the `jsonl` form is the line of the log, byte for byte, so its hashes can be checked. The `csv` form has
/// the columns that people sort by.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp audit export -o audit.jsonl
  fastmcp audit export --from 4711 --to 4800          what a collector lacks
  fastmcp audit export --tenant acme --since 2026-11-01 --format csv -o acme.csv")]
pub(super) struct Export {
    #[command(flatten)]
    wanted: Wanted,
    /// The form
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Jsonl)]
    format: Form,
    /// File to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Jsonl,
    Csv,
}

impl Export {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let folder = self.which.folder()?;
        let mut to: Box<dyn Write> = match &self.output {
            Some(path) => Box::new(
                File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?,
            ),
            None => Box::new(output::stdout()),
        };
        let mut to = BufWriter::new(&mut to);
        if matches!(self.format, Form::Csv) {
            writeln!(to, "{}", COLUMNS.join(","))?;
        }
        for record in read(&folder, self.wanted.filter())? {
            let record = record?;
            match self.format {
                // A record is written as it was read: in the one form that the format knows.
                Form::Jsonl => writeln!(to, "{}", serde_json::to_string(&record)?)?,
                Form::Csv => writeln!(to, "{}", cells(&record).join(","))?,
            }
        }
        to.flush()?;
        Ok(Outcome::Passed)
    }
}

fn cells(record: &Record) -> [String; 17] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        record.seq.to_string(),
        format!("{:.3}", record.ts),
        record.phase.as_str().to_owned(),
        record.action.clone(),
        record.status.as_str().to_owned(),
        text(&record.corr_id),
        text(&record.operation_id),
        text(&record.tenant),
        text(&record.sub),
        text(&record.ip_address),
        text(&record.tool_id),
        text(&record.policy_decision),
        text(&record.policy_version),
        text(&record.reason),
        record.instance.clone(),
        text(&record.request_hash),
        record.event_hash.to_string(),
    ]
    .map(|cell| quoted(&cell))
}

/// A cell. Source: RFC 4180; OWASP, "CSV Injection": what a spreadsheet would take for a formula begins with an
/// apostrophe.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let safe = if formula {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    if safe.contains(['"', ',', '\n', '\r']) || formula {
        format!("\"{}\"", safe.replace('"', "\"\""))
    } else {
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_text_to_every_reader() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(quoted("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
        assert_eq!(quoted("-1"), "\"'-1\"");
        assert_eq!(quoted(""), "");
    }
}
