//! `fastmcp approvals`: deciding on calls that wait for a person.

mod gateway;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use fastmcp_gateway::state::operation::OperationId;
use fastmcp_guard::display::unmistakable;
use serde_json::{Map, Value, json};

use crate::{Outcome, output};
use gateway::Gateway;

/// Decide on calls that wait for a person's approval
///
/// Asks the running gateway. The token that it is asked with says who decides, and needs the scope `approvals.decide`: it is
/// read from --token-file or from the variable FASTMCP_TOKEN.
#[derive(Debug, Args)]
pub(crate) struct Approvals {
    #[command(subcommand)]
    command: ApprovalsCommand,
}

#[derive(Debug, Subcommand)]
enum ApprovalsCommand {
    List(List),
    Show(Show),
    Approve(Approve),
    Deny(Deny),
}

impl Approvals {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            ApprovalsCommand::List(list) => list.run(),
            ApprovalsCommand::Show(show) => show.run(),
            ApprovalsCommand::Approve(approve) => approve.run(),
            ApprovalsCommand::Deny(deny) => deny.run(),
        }
    }
}

/// Print the calls that wait and that you may decide on
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  export FASTMCP_TOKEN=$(fastmcp token mint --sub alice --role approver)
  fastmcp approvals list
  fastmcp approvals show 0199b2f0-...
  fastmcp approvals approve 0199b2f0-... --note 'as agreed'")]
struct List {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

/// Print one such call with its exact arguments
#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    which: Which,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

/// Approve a call, exactly as it is shown
///
/// Shows the call with its exact arguments and asks for a yes. Without a terminal the digest of the arguments has to be
/// named, as `show` prints it: what is approved is what was looked at.
#[derive(Debug, Args)]
struct Approve {
    #[command(flatten)]
    which: Which,
    /// The digest of the arguments that were looked at; nothing is asked then
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    gateway: Gateway,
}

/// Refuse a call
#[derive(Debug, Args)]
struct Deny {
    #[command(flatten)]
    which: Which,
    /// Why, for the record and for the caller
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    gateway: Gateway,
}

/// Which operation.
#[derive(Clone, Debug, Args)]
struct Which {
    /// The operation's id
    #[arg(value_name = "ID", value_parser = id)]
    id: OperationId,
}

impl Which {
    fn path(&self) -> String {
        format!("/approvals/{}", self.id)
    }
}

fn id(text: &str) -> Result<OperationId, String> {
    OperationId::parse(text).map_err(|error| error.to_string())
}

/// The heads of the columns, and the members that fill them.
const COLUMNS: [(&str, &str); 6] = [
    ("OPERATION", "operation_id"),
    ("TOOL", "toolId"),
    ("SUBJECT", "sub"),
    ("REQUIRES", "requires"),
    ("ASKED", "created_at"),
    ("UNTIL", "expires_at"),
];

impl List {
    fn run(self) -> anyhow::Result<Outcome> {
        let answer = self.gateway.get("/approvals")?;
        let found = answer.member("approvals");
        let found = found
            .as_array()
            .context("the gateway's answer holds no `approvals`")?;
        if self.json {
            for one in found {
                output::say(&one.to_string())?;
            }
            return Ok(Outcome::Passed);
        }
        let cell = |one: &Value, name| text(one.get(name).unwrap_or(&Value::Null));
        let rows = found
            .iter()
            .map(|one| COLUMNS.map(|(_, name)| cell(one, name)).to_vec());
        let head = COLUMNS.map(|(head, _)| head.to_owned()).to_vec();
        let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
        output::say(&output::table(&rows))?;
        Ok(Outcome::Passed)
    }
}

impl Show {
    fn run(self) -> anyhow::Result<Outcome> {
        let answer = self.gateway.get(&self.which.path())?;
        if self.json {
            // As it came: a number that was read and written again might be another one.
            output::say(&answer.text)?;
        } else {
            output::say(&told(&answer)?)?;
        }
        Ok(Outcome::Passed)
    }
}

impl Approve {
    fn run(self) -> anyhow::Result<Outcome> {
        let digest = match &self.digest {
            Some(digest) => digest.clone(),
            None => self.look()?,
        };
        let decision = json!({"decision": "approve", "digest": digest, "note": self.note});
        decide(&self.gateway, &self.which, decision)
    }

    /// Shows the call and asks for a yes.
    fn look(&self) -> anyhow::Result<String> {
        if !io::stdin().is_terminal() {
            bail!(
                "there is no terminal to ask at; look with `fastmcp approvals show` and name what you saw with --digest"
            );
        }
        let answer = self.gateway.get(&self.which.path())?;
        let digest = answer.member("digest");
        let digest = digest
            .as_str()
            .context("the gateway's answer holds no `digest`")?;
        output::say(&told(&answer)?)?;
        let mut stdout = output::stdout();
        write!(stdout, "approve exactly this? [yes/no] ").and_then(|()| stdout.flush())?;
        let mut said = String::new();
        io::stdin().lock().read_line(&mut said)?;
        if said.trim() != "yes" {
            bail!("nothing was decided");
        }
        Ok(digest.to_owned())
    }
}

impl Deny {
    fn run(self) -> anyhow::Result<Outcome> {
        let decision = json!({"decision": "deny", "note": self.note});
        decide(&self.gateway, &self.which, decision)
    }
}

fn decide(gateway: &Gateway, which: &Which, mut decision: Value) -> anyhow::Result<Outcome> {
    if let Some(members) = decision.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    let answer = gateway.post(&which.path(), &decision)?;
    let (status, by) = (
        text(&answer.member("status")),
        text(&answer.member("decided_by")),
    );
    output::say(&format!("operation `{}` is {status} by {by}", which.id))?;
    Ok(Outcome::Passed)
}

/// A call as a person reads it, the arguments last and whole.
fn told(answer: &gateway::Answer) -> anyhow::Result<String> {
    let members: Map<String, Value> = serde_json::from_str(&answer.text)?;
    let rows: Vec<_> = members
        .iter()
        .filter(|(name, value)| *name != "arguments" && !value.is_null())
        .map(|(name, value)| vec![output::printable(name), text(value)])
        .collect();
    let arguments = match answer.arguments()? {
        Some(arguments) => unmistakable(arguments),
        None => "(no longer kept)".to_owned(),
    };
    Ok(format!(
        "{}\narguments\n  {arguments}",
        output::table(&rows)
    ))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => unmistakable(text),
        Value::Null => "-".to_owned(),
        other => unmistakable(&other.to_string()),
    }
}
