//! `fastmcp operations show`.

use clap::Args;
use fastmcp_gateway::state::operation::{Report, Stored};
use serde_json::{Map, Value};

use super::{Which, opened::Opened, row};
use crate::{Outcome, output, place::Place};

/// Print one operation, whole
///
/// Arguments and results are the caller's and may be confidential; they are printed with --reveal alone. Action tokens
/// never are.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    which: Which,
    /// Print the result too, and the arguments while they are kept: until the operation is final
    #[arg(long)]
    reveal: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Show {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        Opened::with(&self.place, |opened| self.print(opened))
    }

    fn print(&self, opened: &Opened) -> anyhow::Result<Outcome> {
        let report = opened.find(&self.which)?;
        let mut shown = row::json(&report);
        if self.reveal {
            reveal(opened, &report, &mut shown)?;
        }
        if self.json {
            output::say_json(&shown)?;
        } else {
            let rows: Vec<_> = shown
                .iter()
                .map(|(name, value)| vec![name.clone(), text(value)])
                .collect();
            output::say(&output::table(&rows))?;
        }
        Ok(Outcome::Passed)
    }
}

fn reveal(opened: &Opened, report: &Report, shown: &mut Map<String, Value>) -> anyhow::Result<()> {
    let arguments = opened
        .ledger()
        .arguments(&report.binding.tenant, &report.operation_id);
    if let Some(arguments) = opened.wait(arguments)? {
        shown.insert("arguments".to_owned(), value(&arguments));
    }
    if let Some(result) = report.result.as_ref().and_then(Stored::bytes) {
        shown.insert("result".to_owned(), value(result));
    }
    Ok(())
}

/// What was kept: JSON where it is JSON, else its text.
fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => output::printable(text),
        other => output::printable(&other.to_string()),
    }
}
