//! `fastmcp operations list`.

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use fastmcp_gateway::state::machine::Status;
use serde_json::Value;

use super::{
    opened::{MOST, Opened},
    row,
};
use crate::{Outcome, output, place::Place};

/// Print operations, the one that moved last first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp operations list --status unknown             what awaits a person
  fastmcp operations list --tenant acme --json")]
pub(super) struct List {
    /// Operations of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Operations with this status
    #[arg(long, value_name = "STATUS", value_parser = statuses())]
    status: Option<Status>,
    /// The most operations to print
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    limit: u32,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

fn statuses() -> impl TypedValueParser<Value = Status> {
    PossibleValuesParser::new(Status::ALL.map(Status::as_str))
        .try_map(|word| Status::parse(&word).ok_or("no status"))
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        Opened::with(&self.place, |opened| self.print(opened))
    }

    fn print(&self, opened: &Opened) -> anyhow::Result<Outcome> {
        let tenant = self.tenant.as_deref();
        let found = opened.list(tenant, self.status, self.limit)?;
        if self.json {
            for report in &found {
                output::say(&Value::Object(row::json(report)).to_string())?;
            }
        } else {
            let head = row::HEADS.map(str::to_owned).to_vec();
            let rows: Vec<_> = std::iter::once(head)
                .chain(found.iter().map(row::cells))
                .collect();
            output::say(&output::table(&rows))?;
        }
        if u32::try_from(found.len()).is_ok_and(|found| found >= self.limit) {
            output::complain(&more(self.limit));
        }
        Ok(Outcome::Passed)
    }
}

/// What is said where not all may be shown.
fn more(limit: u32) -> String {
    let raise = match limit {
        MOST.. => String::new(),
        _ => format!("raise --limit (at most {MOST}), or "),
    };
    format!(
        "these are the newest {limit}, there may be more; {raise}narrow with --tenant or --status"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_ask_for_more_than_there_is_at_once() {
        assert!(more(100).contains("raise --limit (at most 500), or narrow"));
        let most = more(MOST);
        assert!(
            most.contains("there may be more") && !most.contains("raise"),
            "{most}"
        );
    }
}
