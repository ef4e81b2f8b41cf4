//! `fastmcp policy test`.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp_policy::{
    Action, Context, Decision, Explanation, Obligation, PolicySet, Reason, Request, Resource,
};
use fastmcp_protocol::args::{Args as ToolArgs, ArgsLimits};
use serde_json::{Value, json};

use super::{
    Which,
    expected::{Because, Case, Expected},
    explain::unknown_tool,
    sandbox::Sandbox,
};
use crate::{Outcome, output};

/// When a test takes place that names no time, so that it says the same every day: a Monday noon.
const NOON: &str = "2024-01-01T12:00:00Z";

/// Hold a policy to a file of expected decisions
///
/// Each test names a caller, a tool and what must come of the call; all of it is decided by the same code that decides in
/// the gateway, including what the arguments of built-in tools demand. Without a time of its own a test takes place on
/// 2024-01-01 at 12:00 UTC, a Monday.
#[derive(Debug, Args)]
#[command(after_help = "\
A file:
  version: 1
  callers:
    ann: {sub: ann, tenant: acme, roles: [data-analyst]}
    carl: {sub: carl, tenant: acme, roles: [finance-write], scopes: [ads.write], claims: {region: eu}}
  tools:                                   # those that are not built in
    \"crm:merge\": {required_scopes: [crm.write], safety_tags: [destructive], classification: secret}
  tests:
    - name: analysts look at tables
      caller: ann
      tool: database:listTables
      arguments: {}
      expect: allow                        # or deny, confirm, confirm:person, confirm:other_person
      rule: invoke-database-tools          # one or several that must have decided
    - caller: ann
      tool: database:executeQuery
      arguments: {query: DROP TABLE orders}
      expect: deny
      because: missing_scope               # no_rule_allows, rule_denies, missing_scope, rule_failed, undecidable, too_large
    - caller: {sub: eve, roles: [finance-write]}
      tool: ads:createCampaign
      context: {time: \"2026-11-20T09:00:00Z\", client: cli, ip: 10.0.0.7, labels: [pii]}
      expect: confirm
      once: false

Examples:
  fastmcp policy test policy-tests.yml                     the gateway's own policy
  fastmcp policy test --policy policies/ tests/*.yml       a policy that is not in force yet

Exit codes: 0 all as expected, 1 not.")]
pub(super) struct Test {
    /// Files of expected decisions
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// A policy file or folder [default: the gateway's own, or else the built-in policy]
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// What a test was held to and what came out.
struct Tested {
    file: String,
    line: u64,
    title: String,
    expected: String,
    explanation: Explanation,
    /// What is not as expected; empty when the test passed.
    wrong: Vec<String>,
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let set = PolicySet::load(&self.which.sources(self.policy.as_ref())?, 1)?;
        let sandbox = Sandbox::open()?;
        let mut tested = Vec::new();
        for path in &self.files {
            let expected = Expected::read(path)?;
            let file = path.display().to_string();
            let known = set.rule_ids();
            if let Some((line, rule)) = expected.rules().find(|(_, rule)| !known.contains(rule)) {
                bail!(
                    "{file}:{line}: the policy has no rule `{rule}`; its rules are {}",
                    known.join(", ")
                );
            }
            for (line, case) in expected.cases() {
                let explanation = explain(&set, &sandbox, &expected, case)
                    .with_context(|| format!("{file}:{line}: {}", case.title()))?;
                tested.push(Tested {
                    file: file.clone(),
                    line,
                    title: case.title(),
                    expected: wanted(case)?,
                    wrong: compare(case, &explanation.decision)?,
                    explanation,
                });
            }
        }
        self.report(&set, &tested)
    }

    fn report(&self, set: &PolicySet, tested: &[Tested]) -> anyhow::Result<Outcome> {
        let failed = tested.iter().filter(|test| !test.wrong.is_empty()).count();
        if self.json {
            let tests: Vec<_> = tested.iter().map(Tested::json).collect();
            output::say_json(&json!({
                "ok": failed == 0,
                "passed": tested.len() - failed,
                "failed": failed,
                "policy_version": &*set.version().hash,
                "tests": tests,
            }))?;
        } else {
            for test in tested {
                output::say(&test.to_text()?)?;
            }
            output::say(&format!(
                "{} passed, {failed} failed",
                tested.len() - failed
            ))?;
        }
        Ok(if failed == 0 {
            Outcome::Passed
        } else {
            Outcome::Failed
        })
    }
}

fn explain(
    set: &PolicySet,
    sandbox: &Sandbox,
    expected: &Expected,
    case: &Case,
) -> anyhow::Result<Explanation> {
    let args = match &case.arguments {
        Some(arguments) => {
            let limits = ArgsLimits::default();
            Some(
                ToolArgs::of(arguments, &limits)
                    .context("`arguments` are not what a tool would take")?,
            )
        }
        None => None,
    };
    let action = case.action()?;
    let resource = match &case.tool {
        Some(tool) => Some(resource(sandbox, expected, tool, action, args.as_ref())?),
        None => None,
    };
    let arguments = args.as_ref().map(ToolArgs::to_value);
    let time = match case.context.time {
        Some(time) => time,
        None => NOON.parse()?,
    };
    let mut context = Context::at(time);
    context.client = case.context.client.as_deref();
    context.ip = case.context.ip;
    context.corr_id = case.context.corr_id.as_deref();
    context.labels = Some(&case.context.labels);
    context.arguments = arguments.as_ref();
    Ok(set.explain(&Request {
        action,
        subject: &expected.caller(case)?,
        resource: resource.as_ref(),
        context: &context,
    }))
}

fn resource(
    sandbox: &Sandbox,
    expected: &Expected,
    tool: &str,
    action: Action,
    args: Option<&ToolArgs>,
) -> anyhow::Result<Resource> {
    let Some(described) = expected.tools.get(tool) else {
        // Only a call has arguments that demand something, and its approval.
        let args = args.filter(|_| action != Action::ManifestsRegister);
        return sandbox.resource(tool, args)?.with_context(|| {
            format!("tool `{tool}` is neither built in nor described under `tools`")
        });
    };
    let mut resource = unknown_tool(tool)
        .required_scopes(described.required_scopes.iter().cloned())
        .safety_tags(described.safety_tags.iter().cloned())
        .read_only(described.read_only);
    if let Some(provider) = &described.provider {
        resource.provider_id.clone_from(provider);
    }
    if let Some(tenant) = &described.tenant {
        resource = resource.tenant(tenant);
    }
    resource
        .classification
        .clone_from(&described.classification);
    Ok(resource)
}

/// What a test expects, in words.
fn wanted(case: &Case) -> anyhow::Result<String> {
    let mut text = case.verdict()?.to_string();
    if !case.rules().is_empty() {
        let _ = write!(text, " by {}", case.rules().join(", "));
    }
    if let Some(because) = case.because {
        let _ = write!(text, " because {}", name(because)?);
    }
    if let Some(once) = case.once {
        text.push_str(if once { ", once" } else { ", not once" });
    }
    Ok(text)
}

fn name(because: Because) -> anyhow::Result<String> {
    let value = serde_json::to_value(because)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

/// What a decision was, in the words of [`wanted`].
fn got(decision: &Decision) -> String {
    let mut text = decision.verdict().to_string();
    if !decision.policy_ids.is_empty() {
        let _ = write!(text, " by {}", decision.policy_ids.join(", "));
    }
    if let Some(because) = because(&decision.reason) {
        let _ = write!(text, " because {because}");
    }
    if decision.obligations.contains(&Obligation::Once) {
        text.push_str(", once");
    }
    text
}

/// The reason's name, where something is denied.
fn because(reason: &Reason) -> Option<String> {
    let value = serde_json::to_value(reason).ok()?;
    let code = value.get("code").and_then(Value::as_str)?;
    (code != "allowed").then(|| code.to_owned())
}

fn compare(case: &Case, decision: &Decision) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let (wanted, found) = (case.verdict()?, decision.verdict());
    if wanted != found {
        wrong.push(format!("expected {wanted}, and it is {found}"));
    }
    for rule in case.rules() {
        if !decision.policy_ids.contains(rule) {
            wrong.push(format!("rule `{rule}` did not decide"));
        }
    }
    if let Some(expected) = case.because {
        let (expected, found) = (name(expected)?, because(&decision.reason));
        if found.as_ref() != Some(&expected) {
            wrong.push(format!("it is not because of {expected}"));
        }
    }
    if let Some(once) = case.once
        && once != decision.obligations.contains(&Obligation::Once)
    {
        let is = if once { "it is not" } else { "it is" };
        wrong.push(format!("{is} done at most once, under a ticket"));
    }
    Ok(wrong)
}

impl Tested {
    fn json(&self) -> Value {
        json!({
            "file": self.file,
            "line": self.line,
            "name": self.title,
            "ok": self.wrong.is_empty(),
            "expected": self.expected,
            "got": got(&self.explanation.decision),
            "wrong": self.wrong,
            "decision": self.explanation.decision,
            "reason": self.explanation.decision.reason.to_string(),
        })
    }

    /// One line for a test that passed; for one that failed, everything that led to the decision.
    fn to_text(&self) -> anyhow::Result<String> {
        if self.wrong.is_empty() {
            return Ok(format!("ok    {}", self.title));
        }
        let mut text = format!("FAIL  {} ({}:{})\n", self.title, self.file, self.line);
        writeln!(text, "      - {}", self.expected)?;
        writeln!(text, "      + {}", got(&self.explanation.decision))?;
        for wrong in &self.wrong {
            writeln!(text, "      {wrong}")?;
        }
        for line in self.explanation.to_string().lines() {
            writeln!(text, "        {line}")?;
        }
        text.truncate(text.trim_end().len());
        Ok(text)
    }
}
