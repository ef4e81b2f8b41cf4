//! Questions about every request, answered by the real solver.

use std::time::Duration;

use fastmcp_policy::prove::{Answer, Demands, LocalSolver, Prover, Question, Refutation, Tool};
use fastmcp_policy::{Effect, PolicySet, Reason, Resource, Sources};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::generate::{numbered, policy, question as request, rule};
use crate::load;

/// More than any of these questions takes, on a machine that has much else to do.
const LONG: Duration = Duration::from_secs(300);

async fn ask(
    parts: &[(&str, &str)],
    set: &PolicySet,
    other: Option<&PolicySet>,
    tools: &[Tool],
) -> Answer {
    ask_of(solver(), parts, (set, other), tools).await
}

fn solver() -> Command {
    let mut command = Command::new("cvc5");
    command.args(["--lang", "smt"]).kill_on_drop(true);
    command
}

/// A solver that leaves each question open that takes longer than 4 s.
fn hasty() -> Command {
    let mut command = solver();
    command.arg("--tlimit-per=4000");
    command
}

async fn ask_of(
    mut command: Command,
    parts: &[(&str, &str)],
    (set, other): (&PolicySet, Option<&PolicySet>),
    tools: &[Tool],
) -> Answer {
    let question = Question::from_parts("a question", parts).expect("a question");
    question.check(set).expect("roles that there are");
    let solver = LocalSolver::from_command(&mut command).expect("cvc5 is installed");
    let mut prover = Prover::new(solver).expect("a prover");
    let asked = prover.ask(&question, set, other, tools);
    timeout(LONG, Box::pin(asked)).await.expect("in time")
}

async fn never(conditions: &str, set: &PolicySet) -> Answer {
    ask(&[("never", conditions)], set, None, &[]).await
}

/// The refutation, whose decision the evaluator makes here once more.
fn refuted(answer: Answer, set: &PolicySet) -> Refutation {
    let Answer::Refuted(refutation) = answer else {
        panic!("refuted, not {answer:?}")
    };
    let decision = refutation.example.with(|request| set.decide(request));
    assert_eq!(decision, refutation.decision);
    *refutation
}

fn built_in() -> PolicySet {
    PolicySet::load(&Sources::built_in(), 1).expect("loads")
}

/// A policy of these rules, each on a line of its own.
fn rules(roles: &str, rules: &[&str]) -> PolicySet {
    let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
    load(&format!("version: 1\nroles: {roles}\nrules:\n{rules}"))
}

fn with_cedar(set: &str, cedar: &str) -> PolicySet {
    let sources = Sources::new()
        .with_yaml("p.yml", set)
        .with_cedar("p.cedar", cedar);
    PolicySet::load(&sources, 1).unwrap_or_else(|error| panic!("{error}"))
}

const MONEY: &str =
    "{action: tools.invoke, \"subject.roles !=\": finance-write, resource.safety_tags: financial}";

#[tokio::test]
async fn who_reaches_money_depends_on_which_tools_there_are() {
    let set = built_in();
    // Somebody may yet register a tool of another provider and tag it so.
    let found = refuted(never(MONEY, &set).await, &set);
    let tool = found.example.resource.as_ref().expect("a tool");
    assert!(tool.safety_tags.contains("financial"), "{found:?}");
    assert!(!found.example.subject.roles.contains("finance-write"));
    assert_eq!(found.decision.effect, Effect::Allow);
    assert!(!found.decision.policy_ids.is_empty());

    let ads = Resource::new("ads:createCampaign", "ads")
        .tenant("public")
        .safety_tags(["financial", "destructive"])
        .required_scopes(["ads.write"]);
    let query = Resource::new("database:executeQuery", "database")
        .tenant("public")
        .required_scopes(["database.execute"]);
    let mut tools = [ads, query].map(|resource| Tool {
        resource,
        demands: Demands::AtMost {
            tags: ["destructive".to_owned()].into(),
            scopes: [].into(),
            writes: false,
        },
    });
    let parts = [("never", MONEY)];
    assert_eq!(ask(&parts, &set, None, &tools).await, Answer::Proved);
    // Arguments may make a call destructive, and such a call is confirmed, but by a client.
    let destroys = "{action: tools.invoke, resource.safety_tags: destructive}";
    let parts = [("never", destroys), ("without", "confirm")];
    assert_eq!(ask(&parts, &set, None, &tools).await, Answer::Proved);
    let parts = [("never", destroys), ("without", "confirm:person")];
    let found = refuted(ask(&parts, &set, None, &tools).await, &set);
    assert_eq!(found.sentence, "this is allowed without `confirm:person`");
    // What arguments cannot add is not assumed.
    for tool in &mut tools {
        tool.demands = Demands::nothing();
    }
    let reads =
        "{action: tools.invoke, resource.safety_tags: destructive, resource.provider_id: database}";
    let parts = [("never", reads)];
    assert_eq!(ask(&parts, &set, None, &tools).await, Answer::Proved);
    // Of whom it is not known what it adds, everything is assumed.
    let query = tools.last_mut().expect("a tool");
    query.demands = Demands::Anything;
    let found = refuted(ask(&parts, &set, None, &tools).await, &set);
    let tool = found.example.resource.expect("a tool");
    assert_eq!(tool.tool_id, "database:executeQuery");
    assert_eq!(tool.safety_tags, ["destructive".to_owned()].into());
}

#[tokio::test]
async fn tenants_and_scopes_are_part_of_the_proof() {
    let set = built_in();
    let abroad = "{action: tools.invoke, resource.tenant: acme, \"subject.tenant !=\": acme}";
    assert_eq!(never(abroad, &set).await, Answer::Proved);
    // Only `mcp.*` gives this scope, and without its scopes no tool is called.
    let scope = "{action: tools.invoke, resource.required_scopes: mcp.secret, \"subject.roles !=\": mcp-admin}";
    assert_eq!(never(scope, &set).await, Answer::Proved);
    let scope = "{action: tools.invoke, resource.required_scopes: mcp.git, \"subject.roles !=\": mcp-admin}";
    let found = refuted(never(scope, &set).await, &set);
    assert!(
        found.example.subject.roles.contains("mcp-user"),
        "{found:?}"
    );
    // A token without the scope.
    let token = "{action: tools.invoke, \"subject.scopes !=\": \"tools.invoke:read\"}";
    assert_eq!(never(token, &set).await, Answer::Proved);
    let write = "{action: tools.invoke, \"subject.scopes !=\": \"tools.invoke:write\", resource.read_only: false}";
    assert_eq!(never(write, &set).await, Answer::Proved);
    assert_eq!(
        never(
            "{action: manifests.register, \"subject.scopes !=\": manifests.register}",
            &set
        )
        .await,
        Answer::Proved
    );
}

#[tokio::test]
async fn what_is_always_allowed_is_proved_with_its_scopes() {
    let set = built_in();
    let always = [("always", "{action: catalog:list}")];
    assert_eq!(ask(&always, &set, None, &[]).await, Answer::Proved);
    let reads = "{action: tools.invoke, subject.roles: fs-reader, resource.toolId: \"filesystem:readFile\"}";
    let tool = Tool {
        resource: Resource::new("filesystem:readFile", "filesystem")
            .tenant("public")
            .required_scopes(["filesystem.read"])
            .read_only(true),
        demands: Demands::nothing(),
    };
    // The caller may be without a tenant, or bring a token that says less.
    let found = refuted(
        ask(
            &[("always", reads)],
            &set,
            None,
            std::slice::from_ref(&tool),
        )
        .await,
        &set,
    );
    assert_eq!(found.decision.effect, Effect::Deny);
    let sure = "{action: tools.invoke, subject.roles: fs-reader, subject.tenant: acme, resource.toolId: \"filesystem:readFile\"}";
    let found = refuted(
        ask(&[("always", sure)], &set, None, std::slice::from_ref(&tool)).await,
        &set,
    );
    assert!(found.example.subject.scopes.is_some(), "{found:?}");
}

#[tokio::test]
async fn a_change_that_gives_more_is_found() {
    let roles = "{a: [\"tools.invoke:write\", x.read], b: [\"tools.invoke:write\"]}";
    let rule = "{id: r, effect: allow, when: {action: tools.invoke, subject.roles: a}, require_confirmation: true}";
    let old = rules(roles, &[rule]);
    let no_more = [("no_more_than", "old")];
    assert_eq!(ask(&no_more, &old, Some(&old), &[]).await, Answer::Proved);

    let unasked = rules(roles, &[&rule.replace("true", "false")]);
    let found = refuted(ask(&no_more, &unasked, Some(&old), &[]).await, &unasked);
    assert_eq!(
        found.sentence,
        "this policy allows this without `confirm:client`, and the other one does not"
    );
    assert!(found.compared.expect("the other").needs_ticket());
    assert_eq!(
        ask(&no_more, &old, Some(&unasked), &[]).await,
        Answer::Proved
    );

    let wider = rules(
        roles,
        &[&rule.replace("subject.roles: a", "subject.roles: [a, b]")],
    );
    let found = refuted(ask(&no_more, &wider, Some(&old), &[]).await, &wider);
    assert_eq!(found.example.subject.roles, ["b".to_owned()].into());
    assert_eq!(ask(&no_more, &old, Some(&wider), &[]).await, Answer::Proved);
    let same = ask(&[("same_as", "old")], &old, Some(&wider), &[]).await;
    let Answer::Refuted(found) = same else {
        panic!("not the same: {same:?}")
    };
    assert_eq!(
        found.sentence,
        "the other policy allows this without `confirm:client`, and this one does not"
            .replace(" without `confirm:client`", "")
    );
    assert_eq!(
        (found.decision.effect, found.compared.map(|it| it.effect)),
        (Effect::Deny, Some(Effect::Allow))
    );

    // Not a word of a rule changes, but what a role gives does.
    let richer = rules(&roles.replace("x.read", "x.*"), &[rule]);
    let found = refuted(ask(&no_more, &richer, Some(&old), &[]).await, &richer);
    let needs = &found
        .example
        .resource
        .as_ref()
        .expect("a tool")
        .required_scopes;
    assert!(
        needs
            .iter()
            .any(|scope| scope.starts_with("x.") && scope != "x.read"),
        "{found:?}"
    );
    assert_eq!(
        ask(&no_more, &old, Some(&richer), &[]).await,
        Answer::Proved
    );
}

const CEDAR: &str = r#"
@id("up-to")
forbid (principal, action == Action::"tools.invoke", resource in Provider::"ads")
when {
  context has arguments && context.arguments.decimal.hasTag("budget") &&
  context.arguments.decimal.getTag("budget").greaterThan(decimal("1000.0"))
};
@id("buyers")
permit (principal in Role::"a", action == Action::"tools.invoke", resource in Provider::"ads");
"#;

#[tokio::test]
async fn amounts_in_cedar_are_compared() {
    let yaml = "version: 1\nroles: {a: [\"tools.invoke:write\"]}\nrules: [{id: l, effect: allow, when: {action: catalog:list}}]\n";
    let (old, new) = (
        with_cedar(yaml, CEDAR),
        with_cedar(yaml, &CEDAR.replace("1000.0", "2000.0")),
    );
    let no_more = [("no_more_than", "old")];
    assert_eq!(ask(&no_more, &old, Some(&new), &[]).await, Answer::Proved);
    let found = refuted(ask(&no_more, &new, Some(&old), &[]).await, &new);
    let budget = found.example.arguments["budget"]
        .as_f64()
        .expect("a number");
    assert!(budget > 1000.0 && budget <= 2000.0, "{budget}");
    assert_eq!(found.example.resource.expect("a tool").provider_id, "ads");
    let set = never("{action: tools.invoke, \"subject.roles !=\": a}", &old).await;
    assert_eq!(set, Answer::Proved);
}

#[tokio::test]
async fn a_rule_that_can_fail_is_shown_and_nothing_is_built_on_it() {
    let yaml = "version: 1\nroles: {a: [\"tools.invoke:write\"]}\nrules: [{id: l, effect: allow, when: {action: tools.invoke, subject.roles: a}}]\n";
    let cedar = r#"
@id("sum")
forbid (principal, action == Action::"tools.invoke", resource)
when { context has arguments && context.arguments.number.hasTag("n") && context.arguments.number.getTag("n") + 1 > 10 };
"#;
    let set = with_cedar(yaml, cedar);
    let fails = [("never_fails", "true")];
    let found = refuted(ask(&fails, &set, None, &[]).await, &set);
    assert_eq!(found.example.arguments["n"], json!(i64::MAX));
    assert_eq!(found.sentence, "rule `sum` fails to be evaluated");
    let Answer::Open { why } = ask(&[("no_more_than", "x")], &set, Some(&set), &[]).await else {
        panic!("nothing follows from a rule that fails")
    };
    assert!(why.contains("rule `sum` can fail"), "{why}");
    assert_eq!(ask(&fails, &built_in(), None, &[]).await, Answer::Proved);
}

#[tokio::test]
async fn circumstances_and_claims_are_found_again_in_the_example() {
    let set = rules(
        "{a: [\"tools.invoke:write\"]}",
        &[
            "{id: r, effect: allow, when: {action: tools.invoke, subject.roles: a, subject.claims.dept: sales, context.hour: [9, 10], \
             context.weekday: tuesday, context.ip: 10.0.0.0/8, context.client: cli, context.arguments.mode: [safe, 7]}}",
            "{id: d, effect: deny, when: {context.arguments.mode: safe}}",
        ],
    );
    let found = refuted(
        never("{action: tools.invoke, subject.roles: a}", &set).await,
        &set,
    );
    let example = &found.example;
    assert_eq!(example.arguments, json!({"mode": 7}));
    assert_eq!(example.client.as_deref(), Some("cli"));
    assert!(
        example
            .ip
            .expect("an address")
            .to_string()
            .starts_with("10.")
    );
    assert!(
        example.time.to_string().starts_with("2024-01-02T"),
        "a Tuesday: {}",
        example.time
    );
    for conditions in [
        "{action: tools.invoke, context.hour: [3, 4]}",
        "{action: tools.invoke, \"context.weekday !=\": tuesday}",
        "{action: tools.invoke, \"context.arguments.mode !=\": 7}",
        "{action: tools.invoke, subject.claims.dept: \"!= sales\"}",
        "{action: tools.invoke, context.client: other}",
    ] {
        assert_eq!(
            never(conditions, &set).await,
            Answer::Proved,
            "{conditions}"
        );
    }
}

#[tokio::test]
async fn an_approval_is_about_the_tool_that_was_asked_for() {
    let set = rules(
        "{a: [\"tools.invoke:write\", approvals.decide]}",
        &["{id: r, effect: allow, when: {action: tools.invoke, subject.roles: a}}"],
    );
    let tools = [Tool {
        resource: Resource::new("p:plain", "p").tenant("public"),
        demands: Demands::nothing(),
    }];
    let payroll = |action: &str| format!("{{action: {action}, resource.safety_tags: payroll}}");
    let calls = payroll("tools.invoke");
    let answer = ask(&[("never", calls.as_str())], &set, None, &tools).await;
    assert_eq!(answer, Answer::Proved);
    // It may have had the tag when the call was asked for.
    let approvals = payroll("approvals.decide");
    let answer = ask(&[("never", approvals.as_str())], &set, None, &tools).await;
    let found = refuted(answer, &set);
    let tool = found.example.resource.expect("a tool");
    assert!(tool.safety_tags.contains("payroll"), "{tool:?}");
}

#[tokio::test]
async fn what_policy_refuses_to_judge_is_refused() {
    let roles = "{a: [\"tools.invoke:write\"], b: [\"tools.invoke:write\"]}";
    let anybody = "{id: r, effect: allow, when: {action: tools.invoke, subject.roles: [a, b]}}";
    let looking = "{id: d, effect: deny, when: {action: tools.invoke, subject.roles: a, context.arguments.o.x: 1, \"context.arguments.o.x !=\": 1}}";
    let (plain, looks) = (rules(roles, &[anybody]), rules(roles, &[anybody, looking]));
    // The rule never denies, but who reads an argument refuses what has two of it.
    let no_more = [("no_more_than", "old")];
    let found = refuted(ask(&no_more, &plain, Some(&looks), &[]).await, &plain);
    assert_eq!(
        found.example.arguments,
        json!({"o.x": true, "o": {"x": true}})
    );
    let compared = found.compared.expect("the other").reason.to_string();
    assert!(compared.contains("stands in several places"), "{compared}");
    assert_eq!(
        ask(&no_more, &looks, Some(&plain), &[]).await,
        Answer::Proved
    );
    // It reads it of some callers alone.
    let always = "{action: tools.invoke, subject.roles: ROLE, \"subject.roles !=\": OTHER, subject.scopes: \"tools.invoke:write\", resource.public: true, resource.required_scopes: \"tools.invoke:write\"}";
    for (role, other, proved) in [("a", "b", false), ("b", "a", true)] {
        let conditions = always.replace("ROLE", role).replace("OTHER", other);
        let tools = [Tool {
            resource: Resource::new("p:plain", "p")
                .tenant("public")
                .required_scopes(["tools.invoke:write"]),
            demands: Demands::nothing(),
        }];
        let answer = ask(&[("always", conditions.as_str())], &looks, None, &tools).await;
        if proved {
            assert_eq!(answer, Answer::Proved);
        } else {
            let found = refuted(answer, &looks);
            let reason = found.decision.reason.to_string();
            assert!(reason.contains("stands in several places"), "{reason}");
        }
    }
    // A question that reads it is about those of whom it has one.
    let one = "{action: tools.invoke, subject.roles: a, context.arguments.o.x: 2, \"context.arguments.o.x !=\": 2}";
    assert_eq!(never(one, &plain).await, Answer::Proved);
    let other = "{action: tools.invoke, \"context.arguments.o.x !=\": 2}";
    let found = refuted(never(other, &plain).await, &plain);
    assert_eq!(found.example.arguments, json!({}));
}

#[tokio::test]
async fn lists_are_proved_as_they_are_judged() {
    let roles = "{a: [\"tools.invoke:write\"], b: [\"tools.invoke:write\"]}";
    let anybody = "{id: r, effect: allow, when: {action: tools.invoke, subject.roles: [a, b]}}";
    let looking = |conditions: &str| {
        let rule = format!("{{id: d, effect: deny, when: {{action: tools.invoke, {conditions}}}}}");
        rules(roles, &[anybody, &rule])
    };
    let denies = looking("context.arguments.to: [rival, 5]");
    let about = |value: &str| format!("{{action: tools.invoke, context.arguments.to: {value}}}");
    for value in ["rival", "5", "[5, rival]"] {
        assert_eq!(
            never(&about(value), &denies).await,
            Answer::Proved,
            "{value}"
        );
    }
    // A list that holds it among others is one of them.
    let alone = looking("context.arguments.to: 5, \"context.arguments.to !=\": 6");
    let found = refuted(never(&about("5"), &alone).await, &alone);
    let entries = found.example.arguments["to"].as_array().expect("a list");
    assert!(
        entries.contains(&json!(5)) && entries.contains(&json!(6)),
        "{found:?}"
    );
    // Neither rule ever denies, but who reads a list refuses what it cannot compare.
    let plain = rules(roles, &[anybody]);
    let no_more = [("no_more_than", "old")];
    let never_holds = [
        "context.arguments.to: 5, \"context.arguments.to !=\": 5",
        "context.arguments.to: \"== subject.sub\", \"context.arguments.to !=\": subject.sub",
    ];
    for conditions in never_holds {
        let looks = looking(conditions);
        let found = refuted(ask(&no_more, &plain, Some(&looks), &[]).await, &plain);
        let compared = found.compared.expect("the other").reason.to_string();
        assert!(
            compared.contains("this list is not of a form"),
            "{compared}"
        );
        let answer = ask(&no_more, &looks, Some(&plain), &[]).await;
        assert_eq!(answer, Answer::Proved);
    }
}

#[tokio::test]
async fn a_solver_that_is_none_proves_nothing() {
    let set = built_in();
    let question = Question::from_parts("q", &[("never", MONEY)]).expect("a question");
    for program in ["cat", "true", "false"] {
        let mut command = Command::new(program);
        let solver = LocalSolver::from_command(command.kill_on_drop(true)).expect(program);
        let mut prover = Prover::new(solver).expect("a prover");
        let asked = prover.ask(&question, &set, None, &[]);
        let answer = timeout(LONG, Box::pin(asked)).await.expect("in time");
        let Answer::Open { why } = answer else {
            panic!("{program}: {answer:?}")
        };
        assert!(why.starts_with("the solver failed"), "{program}: {why}");
    }
}

#[test]
fn questions_are_read_as_strictly_as_rules() {
    let set = built_in();
    let told = |text: &str| {
        Question::read("q.yml", text)
            .and_then(|read| read.iter().try_for_each(|question| question.check(&set)))
            .map_or_else(|error| error.to_string(), |()| "well".to_owned())
    };
    let one = |question: &str| told(&format!("version: 1\nquestions:\n  - {question}\n"));
    let cases = [
        ("{name: a, never: {action: catalog:list}}", "well"),
        (
            "{name: a, never: {subject.roles: agnt}}",
            "policy not loaded: q.yml:3: `subject.roles`: role `agnt` is not defined under `roles`; did you mean `agent`?",
        ),
        (
            "{name: a, never: {subject.role: x}}",
            "policy not loaded: q.yml:3: rule `a`: unknown condition `subject.role`; did you mean `subject.roles`?",
        ),
        (
            "{name: a, nver: {subject.sub: x}}",
            "unknown key `nver`; did you mean `never`?",
        ),
        ("{name: a}", "a question has exactly one of"),
        (
            "{name: a, never_fails: true, same_as: x}",
            "a question has exactly one of",
        ),
        (
            "{name: a, never_fails: false}",
            "`never_fails` must be `true`, found a boolean",
        ),
        (
            "{name: a, always: {subject.sub: x}, without: once}",
            "`without` belongs to `never`",
        ),
        (
            "{name: a, never: {subject.sub: x}, without: often}",
            "`without` must be `confirm`",
        ),
        (
            "{name: a, never: {subject.sub: x}, without: \"approver:bss\"}",
            "`without`: role `bss` is not defined",
        ),
        (
            "{name: a, no_more_than: 7}",
            "`no_more_than` must be the path of a policy file or folder, found a number",
        ),
        ("{never: {subject.sub: x}}", "key `name` is missing"),
        (
            "{name: a, never: {}}",
            "`when` needs at least one condition",
        ),
    ];
    for (question, expected) in cases {
        let said = one(question);
        assert!(said.contains(expected), "{question}: {said}");
    }
    assert!(told("version: 2\nquestions: []").contains("`version` must be 1"));
    assert!(told("version: 1\nquestions: []").contains("`questions` is empty"));
    assert!(told("version: 1").contains("key `questions` is missing"));
}

#[test]
fn the_guides_questions_are_questions() {
    let guide = include_str!("../../../../docs/policy.md");
    let (_, proofs) = guide.split_once("## Proofs").expect("a chapter");
    let block = proofs
        .split("```yml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let questions = Question::read("guide", block.expect("an example")).expect("questions");
    assert_eq!(questions.len(), 5);
    assert_eq!(questions[3].compares_with(), Some("policies-in-force/"));
    for question in questions {
        question.check(&built_in()).expect("roles that there are");
    }
}

/// A policy with one more rule, which denies under these conditions.
fn and_deny(policy: &Value, when: &Value) -> PolicySet {
    let mut rules = policy["rules"].as_array().cloned().unwrap_or_default();
    rules.push(json!({"effect": "deny", "when": when}));
    load(&numbered(rules).to_string())
}

/// Requests as the gateway makes them: a call and its approval carry arguments, and nothing else does. Some have one in two places.
fn requests() -> impl Strategy<Value = Vec<crate::generate::Question>> {
    let one = (request(), proptest::bool::weighted(0.2));
    let one = one.prop_map(|(mut one, twice)| {
        let arguments = one.arguments.take().unwrap_or_else(|| json!({}));
        one.arguments = one.action.is_of_a_call().then_some(arguments);
        if let (Some(arguments), true) = (&mut one.arguments, twice) {
            arguments["o"] = json!({"check_in": true});
            arguments["o.check_in"] = json!(false);
        }
        one
    });
    vec(one, 300)
}

/// Whether a request meets the conditions of a question whose rule allows.
fn is_asked(rule: &PolicySet, request: &crate::generate::Question) -> bool {
    let decision = request.ask(rule);
    let held = matches!(
        decision.reason,
        Reason::Allowed { .. } | Reason::MissingScope { .. }
    );
    // Approving takes no rule, so that it may be allowed without this one.
    held && !decision.policy_ids.is_empty()
}

/// Holds requests against what else may be proved: a policy that allows no more than one that has nothing to do with it, and what is
/// always allowed.
fn hold(
    runtime: &Runtime,
    (policy, question, other): (&Value, &Value, &Value),
    requests: &[crate::generate::Question],
) -> Result<[Answer; 2], TestCaseError> {
    let (set, other) = (load(&policy.to_string()), load(&other.to_string()));
    let no_more = runtime.block_on(ask_of(
        hasty(),
        &[("no_more_than", "x")],
        (&set, Some(&other)),
        &[],
    ));
    if no_more == Answer::Proved {
        let more = requests
            .iter()
            .find(|request| request.ask(&set).is_allowed() && !request.ask(&other).is_allowed());
        prop_assert!(more.is_none(), "{policy}\n{more:?}");
    }
    let conditions = question["when"].to_string();
    let rule = json!({"effect": "allow", "when": question["when"]});
    let asked = load(&numbered(vec![rule]).to_string());
    let parts = [("always", conditions.as_str())];
    let always = runtime.block_on(ask_of(hasty(), &parts, (&set, None), &[]));
    if always == Answer::Proved {
        let refused = requests
            .iter()
            .find(|request| is_asked(&asked, request) && !request.ask(&set).is_allowed());
        prop_assert!(refused.is_none(), "{policy}\n{conditions}\n{refused:?}");
    }
    Ok([no_more, always])
}

#[test]
fn what_is_proved_no_request_refutes() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut runner = TestRunner::new(Config {
        cases: 8,
        failure_persistence: None,
        ..Config::default()
    });
    let mut words = std::collections::BTreeMap::<&str, u32>::new();
    let cases = (policy(1..7), rule(Just(false)), policy(1..4), requests());
    let mut told = |answer: &Answer| {
        let word = match answer {
            Answer::Proved => "proved",
            Answer::Refuted(_) => "refuted",
            Answer::Open { .. } => "open",
        };
        *words.entry(word).or_default() += 1;
        word
    };
    // The runner wants a closure that changes nothing.
    let told = std::cell::RefCell::new(&mut told);
    runner
        .run(&cases, |(policy, question, other, requests)| {
            let (set, stricter) = (
                load(&policy.to_string()),
                and_deny(&policy, &question["when"]),
            );
            let conditions = question["when"].to_string();
            let answer = runtime.block_on(ask_of(hasty(), &[("never", &conditions)], (&set, None), &[]));
            // Of an argument in two places nobody can say whether it meets a condition: adding a rule that reads it is no test there.
            let lost = requests.iter().find(|request| {
                let decided = request.ask(&stricter);
                let judged = !matches!(decided.reason, Reason::Undecidable { .. });
                request.ask(&set).is_allowed() && !decided.is_allowed() && judged
            });
            let word = told.borrow_mut()(&answer);
            match answer {
                Answer::Proved => prop_assert!(lost.is_none(), "{policy}\n{conditions}\n{lost:?}"),
                Answer::Refuted(found) => {
                    let decide =
                        |set: &PolicySet| found.example.with(|request| set.decide(request));
                    prop_assert!(decide(&set).is_allowed() && !decide(&stricter).is_allowed());
                }
                Answer::Open { why } => eprintln!("{why}\n{policy}\n{conditions}"),
            }
            // The same said as a change: with the rule, nobody has more; without it, somebody has, or the rule does nothing.
            let change = [("no_more_than", "x")];
            let answer = runtime.block_on(ask_of(hasty(), &change, (&stricter, Some(&set)), &[]));
            prop_assert!(
                !matches!(answer, Answer::Refuted(_)),
                "{policy}\n{conditions}\n{answer:?}"
            );
            let answer = runtime.block_on(ask_of(hasty(), &change, (&set, Some(&stricter)), &[]));
            let again = told.borrow_mut()(&answer);
            // Who reads an argument refuses what has two of it, which is more than the question asks.
            let by_places = matches!(&answer, Answer::Refuted(found)
                if found.compared.as_ref().is_some_and(|it| matches!(it.reason, Reason::Undecidable { .. })));
            prop_assert!(
                word == again || word == "open" || again == "open" || by_places,
                "{policy}\n{conditions}\n{word} {answer:?}"
            );
            for answer in hold(&runtime, (&policy, &question, &other), &requests)? {
                told.borrow_mut()(&answer);
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{words:?}");
    // Policies that nobody would write are among them, so that many answers are open; never all of them.
    let known = words.iter().filter(|(word, _)| **word != "open");
    assert!(known.count() > 0, "something is known: {words:?}");
}
