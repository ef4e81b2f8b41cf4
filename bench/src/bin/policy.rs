//! What one policy decision costs, in CPU, beside what Cedar alone takes for the same request and the same policies.
//!
//! The policy is one that a company might have: each provider has tools, each tool has rules for some of the roles, some ask for a
//! confirmation, and few rules deny for everybody. Every request is one that the cache of whole decisions cannot answer, since the rules
//! read the context; `cached` is one that it can.
//!
//! Run with: `cargo run --profile gate --features policy --bin policy`

use std::{fmt::Write as _, hint::black_box, str::FromStr as _};

use anyhow::{Context as _, ensure};
use cedar_policy::{
    Authorizer, Context as CedarContext, Decision as CedarDecision, Entities, Entity, EntityUid,
    PolicySet as CedarSet, Request as CedarRequest, RestrictedExpression as Expr,
};
use clap::Parser;
use fastmcp_policy::{Action, Context, PolicySet, Request, Resource, Sources, Subject};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Measures decisions among so many rules.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many rules; may be repeated.
    #[arg(long, default_values_t = [10, 50, 1_000, 10_000])]
    rules: Vec<usize>,
    /// How many decisions are one measurement.
    #[arg(long, default_value_t = 20_000)]
    decisions: usize,
    /// How many measurements; the least and the median count.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

/// How many tools a provider has.
const TOOLS: usize = 10;
/// How many callers and tools take turns, so that no one request is all that is asked.
const TURNS: usize = 64;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!("CPU of one decision in µs: median (least)\n");
    println!(
        "| rules | context read | arguments read | cached | first of its kind | Cedar, all rules |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    for rules in &arguments.rules {
        let row = [
            warm(&arguments, *rules, Reads::Context)?,
            warm(&arguments, *rules, Reads::Arguments)?,
            warm(&arguments, *rules, Reads::Nothing)?,
            cold(&arguments, *rules)?,
            cedar(&arguments, *rules)?,
        ];
        println!("| {rules} | {} |", row.join(" | "));
    }
    Ok(())
}

/// What the rules read beside caller and tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Nothing,
    Context,
    Arguments,
}

fn tool_id(number: usize) -> String {
    format!("provider-{}:tool-{}", number / TOOLS, number % TOOLS)
}

/// Rules spread over tools and roles: three quarters name a tool and a role, the rest a provider, some oblige, three deny for everybody.
fn policy(rules: usize, reads: Reads) -> String {
    let mut text = String::from("version: 1\nroles:\n");
    let roles = (rules / 8).max(4);
    for role in 0..roles {
        let _ = writeln!(
            text,
            "  role-{role}: [\"tools.invoke:write\", \"provider-{role}.use\"]"
        );
    }
    text.push_str("rules:\n");
    let more = match reads {
        Reads::Nothing => "",
        Reads::Context => ", \"context.hour !=\": [3, 4]",
        Reads::Arguments => ", \"context.arguments.mode !=\": forbidden",
    };
    for rule in 0..rules.saturating_sub(3) {
        let role = rule % roles;
        let about = match rule % 8 {
            6 => format!("resource.provider_id: provider-{}", rule / 8),
            7 => format!("resource.toolId: \"{}\"", tool_id(rule / 2)),
            _ => format!("resource.toolId: \"{}\"", tool_id(rule / 2)),
        };
        let duty = if rule % 8 == 7 {
            ", require_confirmation: true"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  - {{id: rule-{rule}, effect: allow, when: {{action: tools.invoke, {about}, subject.roles: role-{role}{more}}}{duty}}}"
        );
    }
    text.push_str(
        "  - {id: tenants, effect: deny, when: {resource.tenant: \"!= subject.tenant\"}}\n",
    );
    text.push_str("  - {id: secrets, effect: deny, when: {resource.classification: [secret], \"subject.roles !=\": role-0}}\n");
    text.push_str("  - {id: money, effect: allow, when: {action: tools.invoke, resource.safety_tags_any: [financial]}, require_confirmation: person}\n");
    text
}

/// Callers and tools that a rule brings together.
fn requests(rules: usize) -> Vec<(Subject, Resource)> {
    let roles = (rules / 8).max(4);
    let each = (0..TURNS).map(|turn| {
        // Rules whose number is a multiple of eight name a tool.
        let rule = (turn * 8) % rules.saturating_sub(3).max(8) / 8 * 8;
        let tool = tool_id(rule / 2);
        let provider = tool.split(':').next().unwrap_or_default().to_owned();
        let subject = Subject::new(format!("agent-{turn}")).tenant("acme").roles([
            format!("role-{}", rule % roles),
            format!("role-{}", (rule + 1) % roles),
        ]);
        let tool = Resource::new(tool, provider)
            .tenant("acme")
            .classification("internal")
            .safety_tags(["external"]);
        (subject, tool)
    });
    each.collect()
}

/// Times rounds of so many decisions; in microseconds each.
fn timed(
    rounds: usize,
    decisions: usize,
    mut decide: impl FnMut(usize) -> anyhow::Result<bool>,
) -> anyhow::Result<String> {
    let mut all = Vec::new();
    for _ in 0..rounds.max(1) {
        let before = cpu();
        for turn in 0..decisions {
            ensure!(decide(turn)?, "request {turn} is not allowed");
        }
        all.push((cpu() - before) * 1e6 / decisions as f64);
    }
    all.sort_by(f64::total_cmp);
    let median = all.get(all.len() / 2).copied().unwrap_or_default();
    let least = all.first().copied().unwrap_or_default();
    Ok(format!("{median:.2} ({least:.2})"))
}

/// The CPU time of this thread, in seconds: neighbours do not count.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn load(rules: usize, reads: Reads) -> anyhow::Result<PolicySet> {
    let sources = Sources::new().with_yaml("policies.yml", policy(rules, reads));
    PolicySet::load(&sources, 1).context("the policy does not load")
}

fn ask(
    set: &PolicySet,
    subject: &Subject,
    tool: &Resource,
    arguments: &Value,
) -> anyhow::Result<bool> {
    let mut context = Context::at("2026-11-20T09:30:00Z".parse()?)
        .client("cli")
        .corr_id("0199b2f0");
    context.arguments = Some(arguments);
    let decision = set.decide(&Request {
        action: Action::ToolsInvoke,
        subject,
        resource: Some(tool),
        context: &context,
    });
    Ok(black_box(decision).is_allowed())
}

/// Callers and tools have been seen before.
fn warm(arguments: &Arguments, rules: usize, reads: Reads) -> anyhow::Result<String> {
    let (set, requests) = (load(rules, reads)?, requests(rules));
    let given = json!({"mode": "plain", "amount": 12, "query": "SELECT 1"});
    let each = |turn: usize| {
        let (subject, tool) = requests.get(turn % TURNS).context("a request")?;
        ask(&set, subject, tool, &given)
    };
    for turn in 0..TURNS {
        each(turn)?;
    }
    timed(arguments.rounds, arguments.decisions, each)
}

/// A caller who was never seen before calls: nothing is prepared for it.
fn cold(arguments: &Arguments, rules: usize) -> anyhow::Result<String> {
    let (set, requests) = (load(rules, Reads::Context)?, requests(rules));
    let given = json!({});
    let mut stranger = 0_u64;
    timed(arguments.rounds, arguments.decisions / 10, |turn| {
        let (subject, tool) = requests.get(turn % TURNS).context("a request")?;
        stranger += 1;
        let subject = Subject {
            sub: format!("stranger-{stranger}"),
            ..subject.clone()
        };
        ask(&set, &subject, tool, &given)
    })
}

/// Cedar's authoriser with every policy, and with entities and context made beforehand.
fn cedar(arguments: &Arguments, rules: usize) -> anyhow::Result<String> {
    let text = load(rules, Reads::Context)?.to_cedar();
    let (grants, _) = text.split_once("// obligations").context("grants")?;
    let set = CedarSet::from_str(grants)?;
    let authorizer = Authorizer::new();
    let ready: Vec<_> = requests(rules)
        .iter()
        .map(|(subject, tool)| ready(subject, tool))
        .collect::<anyhow::Result<_>>()?;
    let decisions = (arguments.decisions * 10 / rules.max(10)).clamp(20, arguments.decisions);
    timed(arguments.rounds, decisions, |turn| {
        let (request, entities) = ready.get(turn % TURNS).context("a request")?;
        let response = authorizer.is_authorized(request, &set, entities);
        Ok(black_box(response).decision() == CedarDecision::Allow)
    })
}

fn ready(subject: &Subject, tool: &Resource) -> anyhow::Result<(CedarRequest, Entities)> {
    let uid = |kind: &str, id: &str| EntityUid::from_str(&format!("{kind}::\"{id}\""));
    let text = |value: &str| Expr::new_string(value.to_owned());
    let set = |values: &std::collections::BTreeSet<String>| {
        Expr::new_set(values.iter().map(|value| text(value)))
    };
    let caller = Entity::new(
        uid("Caller", &subject.sub)?,
        [
            ("sub".to_owned(), text(&subject.sub)),
            ("tenant".to_owned(), text("acme")),
            ("roles".to_owned(), set(&subject.roles)),
            (
                "scopes".to_owned(),
                set(&["tools.invoke:write".to_owned()].into()),
            ),
        ]
        .into(),
        subject
            .roles
            .iter()
            .map(|role| uid("Role", role))
            .collect::<Result<_, _>>()?,
    )?;
    let called = Entity::new(
        uid("Tool", &tool.tool_id)?,
        [
            ("toolId".to_owned(), text(&tool.tool_id)),
            ("provider_id".to_owned(), text(&tool.provider_id)),
            ("tenant".to_owned(), text("acme")),
            ("public".to_owned(), Expr::new_bool(false)),
            ("safety_tags".to_owned(), set(&tool.safety_tags)),
            ("required_scopes".to_owned(), set(&tool.required_scopes)),
            ("classification".to_owned(), text("internal")),
            ("read_only".to_owned(), Expr::new_bool(false)),
        ]
        .into(),
        [uid("Provider", &tool.provider_id)?].into(),
    )?;
    let context = CedarContext::from_pairs([("hour".to_owned(), Expr::new_long(9))])?;
    let request = CedarRequest::new(
        uid("Caller", &subject.sub)?,
        uid("Action", "tools.invoke")?,
        uid("Tool", &tool.tool_id)?,
        context,
        None,
    )?;
    Ok((request, Entities::from_entities([caller, called], None)?))
}
