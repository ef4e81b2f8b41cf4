//! `fastmcp policy`: what the rules say, without a gateway.

mod expected;
mod explain;
mod matrix;
#[cfg(feature = "prove")]
mod prove;
#[cfg(not(feature = "prove"))]
#[path = "policy/unproved.rs"]
mod prove;
mod sandbox;
mod schema;
mod simulate;
mod test;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use fastmcp_gateway::config::policy_sources;
use fastmcp_policy::{Note, PolicySet, Sources};
use serde_json::json;

use crate::{Outcome, output, place::Place, surroundings::did_you_mean};

/// Check policies, explain and test their decisions, and see what a change would do
#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Check(Check),
    Explain(Box<explain::Explain>),
    Test(test::Test),
    Matrix(matrix::Matrix),
    Simulate(simulate::Simulate),
    Prove(Box<prove::Prove>),
    Schema(schema::Schema),
}

impl Policy {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            PolicyCommand::Check(check) => check.run(),
            PolicyCommand::Explain(explain) => explain.run(),
            PolicyCommand::Test(test) => test.run(),
            PolicyCommand::Matrix(matrix) => matrix.run(),
            PolicyCommand::Simulate(simulate) => simulate.run(),
            PolicyCommand::Prove(prove) => prove.run(),
            PolicyCommand::Schema(schema) => schema.run(),
        }
    }
}

/// Which policy.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    pub(crate) place: Place,
}

impl Which {
    /// The texts at `path`, at the configured place, or, where nobody has put any there yet, the built-in ones.
    pub(crate) fn sources(&self, path: Option<&PathBuf>) -> anyhow::Result<Sources> {
        if let Some(path) = path {
            return Ok(policy_sources(path)?);
        }
        let configured = self.place.policy()?;
        if configured.exists() {
            Ok(policy_sources(&configured)?)
        } else {
            Ok(Sources::built_in())
        }
    }
}

/// Refuses a role that no file defines: it would give nothing, and nobody would see why.
fn check_roles<'a>(
    set: &PolicySet,
    mut roles: impl Iterator<Item = &'a str>,
) -> anyhow::Result<()> {
    let known: Vec<_> = set.roles().collect();
    let Some(role) = roles.find(|role| !known.contains(role)) else {
        return Ok(());
    };
    let meant = did_you_mean(role, known.iter().copied());
    let there_are = format!("; there are {}", known.join(", "));
    bail!(
        "no policy file defines the role `{role}`{}",
        if meant.is_empty() { there_are } else { meant }
    )
}

/// Load a policy as the gateway would, and say what is wrong with it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp policy check                       the policy of the gateway in .fastmcp
  fastmcp policy check policies/             a folder of *.yml and *.cedar files")]
struct Check {
    /// A policy file or folder [default: the gateway's own, or else the built-in policy]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Tools from a file: a JSON list of manifests, or what GET /tool-catalog answers
    #[arg(long, value_name = "FILE")]
    manifests: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    fn run(self) -> anyhow::Result<Outcome> {
        let sources = self.which.sources(self.path.as_ref())?;
        let files: Vec<_> = sources
            .yaml
            .iter()
            .chain(&sources.cedar)
            .map(|source| source.name.clone())
            .collect();
        match PolicySet::load(&sources, 1) {
            Ok(set) => self.report(&set, &files),
            Err(error) if self.json => {
                let problems: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
                output::say_json(&json!({"ok": false, "files": files, "problems": problems}))?;
                Ok(Outcome::Failed)
            }
            Err(error) => Err(error).context("policy cannot be used"),
        }
    }

    fn report(&self, set: &PolicySet, files: &[String]) -> anyhow::Result<Outcome> {
        let (roles, rules): (Vec<_>, _) = (set.roles().collect(), set.rule_ids());
        let mut notes: Vec<_> = set.notes().iter().map(ToString::to_string).collect();
        notes.extend(self.of_tools(set)?.iter().map(ToString::to_string));
        if self.json {
            let version = &set.version().hash;
            output::say_json(
                &json!({"ok": true, "files": files, "version": &**version, "roles": roles, "rules": rules, "notes": notes}),
            )?;
            return Ok(Outcome::Passed);
        }
        output::say(&format!(
            "policy is sound\n  files    {}\n  version  {}\n  roles    {}\n  rules    {}",
            files.join(", "),
            set.version().hash,
            roles.join(", "),
            rules.join(", "),
        ))?;
        notes
            .iter()
            .try_for_each(|note| output::say(&format!("  note     {note}")))?;
        Ok(Outcome::Passed)
    }

    /// What is to be said of the rules where the tools are known. A policy is sound or not without a gateway's.
    fn of_tools(&self, set: &PolicySet) -> anyhow::Result<Vec<Note>> {
        let manifests = match matrix::manifests(self.manifests.as_ref(), &self.which) {
            Err(error) if self.manifests.is_some() => return Err(error),
            found => found.unwrap_or_default(),
        };
        let tools: Vec<_> = manifests
            .iter()
            .map(|manifest| (manifest.tool_id.as_str(), &manifest.inputs))
            .collect();
        Ok(set.notes_on(&tools))
    }
}
