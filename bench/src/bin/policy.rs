//! What one policy decision costs, in CPU and in instructions, beside what Cedar alone takes for the same request and the same policies.
//!
//! The policy is one that a company might have: each provider has tools, each tool has rules for some of the roles, some ask for a
//! confirmation, and few rules deny for everybody. The rules read the context: the hour or an argument, in YAML or in policies written in Cedar,
//! or (`kept`) nothing of it. Callers and tools have been seen before, but for three columns: a stranger is a caller with the roles of one who was
//! seen, and roles that were never seen come with a slice of the policy that was never cut. The context differs from call to call, in the moment, the correlation id and every argument, so that no answer
//! could be kept by it.
//!
//! Run with: `cargo run --profile gate --features policy --bin policy`. With `--instructions`, callgrind counts them (`valgrind` is needed).

use std::{env, fmt::Write as _, hint::black_box, process::Command, str::FromStr as _};

use anyhow::{Context as _, ensure};
use cedar_policy::{
    Authorizer, Context as CedarContext, Decision as CedarDecision, Entities, Entity, EntityUid,
    PolicySet as CedarSet, Request as CedarRequest, Response, RestrictedExpression as Expr,
};
use clap::{Parser, ValueEnum};
use fastmcp_policy::{Action, Context, Decision, PolicySet, Request, Resource, Sources, Subject};
use jiff::{SignedDuration, Timestamp};
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
    /// Count instructions instead of time.
    #[arg(long)]
    instructions: bool,
    /// Measure one column alone, without a clock: what callgrind is given.
    #[arg(long, hide = true)]
    column: Option<Column>,
}

/// How many tools a provider has.
const TOOLS: usize = 10;
/// How many callers and tools take turns, so that no one request is all that is asked.
const TURNS: usize = 64;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Column {
    /// The rules read the hour.
    Context,
    /// The rules read an argument.
    Arguments,
    /// The policies are written in Cedar and read the hour.
    NativeContext,
    /// The policies are written in Cedar and read an argument.
    NativeArguments,
    /// The rules read nothing of the context: the decision is kept.
    Kept,
    /// The rules read the hour, and the caller was never seen before, though somebody with the same roles was.
    Stranger,
    /// The rules read the hour, and nobody with the same roles was seen before.
    NewRoles,
    /// The policies are written in Cedar and read an argument, and nobody with the same roles was seen before.
    NativeNewRoles,
    /// Cedar with every policy.
    Cedar,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(column) = arguments.column {
        for rules in &arguments.rules {
            measure(&arguments, *rules, column, once)?;
        }
        return Ok(());
    }
    let unit = if arguments.instructions {
        "Instructions of one decision"
    } else {
        "CPU of one decision in µs: median (least)"
    };
    println!("{unit}\n");
    println!(
        "| rules | context read | arguments read | context read, in Cedar | arguments read, in Cedar | decision kept | a stranger | roles never seen | roles never seen, in Cedar | Cedar, all rules |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for rules in &arguments.rules {
        let columns = Column::value_variants().iter();
        let row = columns.map(|column| {
            if arguments.instructions {
                counted(*rules, *column)
            } else {
                measure(&arguments, *rules, *column, timed)
            }
        });
        let row = row.collect::<anyhow::Result<Vec<_>>>()?;
        println!("| {rules} | {} |", row.join(" | "));
    }
    Ok(())
}

/// Runs decisions, and says what they cost.
type Measure = fn(&Arguments, usize, Decide<'_>) -> anyhow::Result<String>;

/// Decides the request of a turn, and says whether it is allowed.
type Decide<'a> = &'a mut dyn FnMut(usize) -> anyhow::Result<bool>;

fn measure(
    arguments: &Arguments,
    rules: usize,
    column: Column,
    measure: Measure,
) -> anyhow::Result<String> {
    let (set, requests, all) = (load(rules, column)?, requests(rules), circumstances());
    let each = |turn: usize| requests.get(turn % TURNS).context("a request");
    // These callers and tools have been seen before.
    for (subject, tool) in &requests {
        black_box(set.decide(&Request {
            action: Action::ToolsInvoke,
            subject,
            resource: Some(tool),
            context: &Context::at(Timestamp::UNIX_EPOCH),
        }));
    }
    match column {
        Column::Cedar => {
            let (set, authorizer) = (grants(&set)?, Authorizer::new());
            let ready = requests.iter().map(|(subject, tool)| ready(subject, tool));
            let ready: Vec<_> = ready.collect::<anyhow::Result<_>>()?;
            let decisions = arguments.decisions * 10 / rules.max(10);
            let decisions = decisions.clamp(20, arguments.decisions.max(20));
            measure(arguments, decisions, &mut |turn| {
                let ready = ready.get(turn % TURNS).context("a request")?;
                let response = cedars_decision_counted(&authorizer, &set, ready);
                Ok(black_box(response).decision() == CedarDecision::Allow)
            })
        }
        Column::Stranger | Column::NewRoles | Column::NativeNewRoles => {
            let mut strangers = 0_usize;
            measure(arguments, arguments.decisions / 10, &mut |turn| {
                let (subject, tool) = each(turn)?;
                strangers += 1;
                let mut subject = Subject {
                    sub: format!("stranger-{strangers}"),
                    ..subject.clone()
                };
                if column != Column::Stranger {
                    subject.roles.extend(more_roles(rules, strangers));
                }
                ask(&set, (&subject, tool), &all, turn)
            })
        }
        _ => measure(arguments, arguments.decisions, &mut |turn| {
            let (subject, tool) = each(turn)?;
            ask(&set, (subject, tool), &all, turn)
        }),
    }
}

/// Counts what callgrind sees within the decisions, in a process of its own.
fn counted(rules: usize, column: Column) -> anyhow::Result<String> {
    let decisions = if column == Column::Cedar { 20 } else { 640 };
    let name = column.to_possible_value().context("a name")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--toggle-collect=*decision_counted*"])
        .arg(env::current_exe()?)
        .args(["--rules", &rules.to_string(), "--rounds", "1"])
        .args(["--column", name.get_name()])
        // What is new makes a tenth of them, Cedar as many fewer as there are more rules.
        .args(["--decisions", &decisions.to_string()])
        .output()
        .context("valgrind does not run")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}");
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let collected: u64 = collected.context("a count")?.1.trim().parse()?;
    let made = match column {
        Column::Stranger | Column::NewRoles | Column::NativeNewRoles => decisions / 10,
        _ => decisions,
    };
    Ok((collected / made).to_string())
}

/// Two roles that rules name, which meet anew each time, as long as there are enough of them, and one that no rule knows.
fn more_roles(rules: usize, number: usize) -> [String; 3] {
    let roles = (rules / 8).max(4);
    [
        format!("role-{}", number % roles),
        format!("role-{}", number / roles % roles),
        format!("team-{number}"),
    ]
}

fn tool_id(number: usize) -> String {
    format!("provider-{}:tool-{}", number / TOOLS, number % TOOLS)
}

/// Rules spread over tools and roles: three quarters name a tool and a role, the rest a provider, some oblige, three deny for everybody or ask
/// everybody. As YAML, and as Cedar where that is what is measured.
fn policy(rules: usize, column: Column) -> (String, String) {
    let (mut yaml, mut cedar) = (String::from("version: 1\nroles:\n"), String::new());
    let roles = (rules / 8).max(4);
    for role in 0..roles {
        let _ = writeln!(
            yaml,
            "  role-{role}: [\"tools.invoke:write\", \"provider-{role}.use\"]"
        );
    }
    yaml.push_str("rules:\n");
    let more = match column {
        Column::Kept => "",
        Column::Arguments => ", \"context.arguments.mode !=\": forbidden",
        _ => ", \"context.hour !=\": [3, 4]",
    };
    for rule in 0..rules.saturating_sub(3) {
        let (role, tool) = (rule % roles, tool_id(rule / 2));
        let (provider, obliges) = (rule % 8 == 6, rule % 8 == 7);
        let native = match column {
            Column::NativeContext => Some("![3, 4].contains(context.hour)"),
            Column::NativeArguments | Column::NativeNewRoles => Some(
                "context has arguments && context.arguments.text.hasTag(\"mode\") && context.arguments.text.getTag(\"mode\") != \"forbidden\"",
            ),
            _ => None,
        };
        if let Some(condition) = native {
            let about = if provider {
                format!("resource in Provider::\"provider-{}\"", rule / 8)
            } else {
                format!("resource == Tool::\"{tool}\"")
            };
            let duty = if obliges {
                "@obligation(\"confirm\") "
            } else {
                ""
            };
            let _ = writeln!(
                cedar,
                "@id(\"rule-{rule}\") {duty}permit (principal in Role::\"role-{role}\", action == Action::\"tools.invoke\", {about}) when {{ {condition} }};"
            );
            continue;
        }
        let about = if provider {
            format!("resource.provider_id: provider-{}", rule / 8)
        } else {
            format!("resource.toolId: \"{tool}\"")
        };
        let duty = if obliges {
            ", require_confirmation: true"
        } else {
            ""
        };
        let _ = writeln!(
            yaml,
            "  - {{id: rule-{rule}, effect: allow, when: {{action: tools.invoke, {about}, subject.roles: role-{role}{more}}}{duty}}}"
        );
    }
    yaml.push_str(
        "  - {id: tenants, effect: deny, when: {resource.tenant: \"!= subject.tenant\"}}\n",
    );
    yaml.push_str("  - {id: secrets, effect: deny, when: {resource.classification: [secret], \"subject.roles !=\": role-0}}\n");
    yaml.push_str("  - {id: money, effect: allow, when: {action: tools.invoke, resource.safety_tags_any: [financial]}, require_confirmation: person}\n");
    (yaml, cedar)
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

/// Times rounds of so many decisions; in microseconds each. What a decision is asked with is made before.
fn timed(arguments: &Arguments, decisions: usize, decide: Decide<'_>) -> anyhow::Result<String> {
    let mut all = Vec::new();
    for _ in 0..arguments.rounds.max(1) {
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

/// Runs the decisions once, without a clock.
fn once(_: &Arguments, decisions: usize, decide: Decide<'_>) -> anyhow::Result<String> {
    for turn in 0..decisions {
        ensure!(decide(turn)?, "request {turn} is not allowed");
    }
    Ok(String::new())
}

/// The CPU time of this thread, in seconds: neighbours do not count.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn load(rules: usize, column: Column) -> anyhow::Result<PolicySet> {
    let (yaml, cedar) = policy(rules, column);
    let sources = Sources::new().with_yaml("policies.yml", yaml);
    let sources = if cedar.is_empty() {
        sources
    } else {
        sources.with_cedar("policies.cedar", cedar)
    };
    PolicySet::load(&sources, 1).context("the policy does not load")
}

/// What differs from call to call.
struct Circumstances {
    corr_id: String,
    arguments: Value,
}

/// As many as there are callers, and a prime more, so that they meet anew.
fn circumstances() -> Vec<Circumstances> {
    let each = |turn| Circumstances {
        corr_id: format!("0199b2f0-{turn}"),
        arguments: json!({"mode": format!("plain-{turn}"), "amount": turn, "query": format!("SELECT {turn}")}),
    };
    (0..TURNS + 3).map(each).collect()
}

/// Asks for a call in a moment and with arguments of its own.
fn ask(
    set: &PolicySet,
    (subject, tool): (&Subject, &Resource),
    all: &[Circumstances],
    turn: usize,
) -> anyhow::Result<bool> {
    const MORNING: Timestamp = Timestamp::constant(1_795_167_000, 0);
    let given = all.get(turn % all.len().max(1)).context("circumstances")?;
    // Within the half hour that begins then.
    let later = SignedDuration::from_millis(i64::try_from(turn)? % 1_800_000);
    let context = Context::at(MORNING + later)
        .client("cli")
        .corr_id(&given.corr_id)
        .arguments(&given.arguments);
    let decision = decision_counted(
        set,
        &Request {
            action: Action::ToolsInvoke,
            subject,
            resource: Some(tool),
            context: &context,
        },
    );
    Ok(black_box(decision).is_allowed())
}

/// What callgrind counts.
#[inline(never)]
fn decision_counted(set: &PolicySet, request: &Request<'_>) -> Decision {
    set.decide(request)
}

/// The same of Cedar's authoriser, with request and entities made beforehand.
#[inline(never)]
fn cedars_decision_counted(
    authorizer: &Authorizer,
    set: &CedarSet,
    (request, entities): &(CedarRequest, Entities),
) -> Response {
    authorizer.is_authorized(request, set, entities)
}

/// What Cedar is given: the grants of a set.
fn grants(set: &PolicySet) -> anyhow::Result<CedarSet> {
    let text = set.to_cedar();
    let (grants, _) = text.split_once("// obligations").context("grants")?;
    Ok(CedarSet::from_str(grants)?)
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
