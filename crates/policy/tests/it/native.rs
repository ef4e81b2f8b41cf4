//! Policies written in Cedar, beside the YAML.

use fastmcp_policy::{
    Action, Context, Decision, Effect, LoadError, PolicySet, Reason, Request, Resource, Sources,
    Subject,
};
use serde_json::{Value, json};

use crate::{invoke, now};

const YAML: &str = "version: 1\nroles:\n  finance: [\"tools.invoke:write\"]\n  lead: [\"tools.invoke:write\"]\nrules:\n  \
                    - {id: pay, effect: allow, when: {action: tools.invoke, resource.provider_id: bank, subject.roles: [finance]}}\n";

fn with(cedar: &str) -> Result<PolicySet, LoadError> {
    PolicySet::load(
        &Sources::new()
            .with_yaml("p.yml", YAML)
            .with_cedar("p.cedar", cedar),
        1,
    )
}

fn loaded(cedar: &str) -> PolicySet {
    with(cedar).unwrap_or_else(|error| panic!("{error}"))
}

fn caller() -> Subject {
    Subject::new("agent").tenant("acme").roles(["finance"])
}

fn pay(set: &PolicySet, arguments: &Value) -> Decision {
    let tool = Resource::new("bank:pay", "bank").tenant("acme");
    let context = Context::at(now())
        .arguments(arguments)
        .ip("10.0.0.7".parse().expect("an address"));
    set.decide(&Request {
        action: Action::ToolsInvoke,
        subject: &caller(),
        resource: Some(&tool),
        context: &context,
    })
}

const LIMIT: &str = "@id(\"limit\") @description(\"at most 1000\")\nforbid (principal, action == Action::\"tools.invoke\", resource in Provider::\"bank\")\n\
                     when { context has arguments && context.arguments.decimal.hasTag(\"amount\") &&\n       \
                     context.arguments.decimal.getTag(\"amount\").greaterThan(decimal(\"1000.0\")) };\n";

#[test]
fn a_forbid_looks_at_amounts_exactly_or_not_at_all() {
    let set = loaded(LIMIT);
    for (amount, effect) in [
        (json!(1000), Effect::Allow),
        (json!(1000.0001), Effect::Deny),
        (json!(1001), Effect::Deny),
        (json!(-5), Effect::Allow),
    ] {
        assert_eq!(
            pay(&set, &json!({"amount": amount})).effect,
            effect,
            "{amount}"
        );
    }
    let denied = pay(&set, &json!({"amount": 2000}));
    assert_eq!(
        denied.reason.to_string(),
        "rule `limit` denies: at most 1000"
    );
    for trick in [
        json!(1e300),
        json!(1000.00001),
        json!("2000"),
        json!([2000]),
        json!({"value": 2000}),
    ] {
        let decision = pay(&set, &json!({"amount": trick}));
        assert!(
            matches!(decision.reason, Reason::Undecidable { .. }),
            "{trick}: {}",
            decision.reason
        );
    }
    assert_eq!(
        pay(&set, &json!({"amount": null})).effect,
        Effect::Allow,
        "null is no amount"
    );
    assert_eq!(
        pay(&set, &json!({"other": 1e300})).effect,
        Effect::Allow,
        "what no rule reads may be anything"
    );
    assert!(matches!(
        pay(&set, &json!([1])).reason,
        Reason::Undecidable { .. }
    ));
}

#[test]
fn an_argument_with_two_meanings_is_not_judged() {
    let set = loaded(&LIMIT.replace("\"amount\"", "\"order.amount\""));
    assert_eq!(
        pay(&set, &json!({"order": {"amount": 5}})).effect,
        Effect::Allow
    );
    assert_eq!(
        pay(&set, &json!({"order": {"amount": 5000}})).effect,
        Effect::Deny
    );
    let both = pay(&set, &json!({"order": {"amount": 5}, "order.amount": 5000}));
    assert_eq!(
        both.reason.to_string(),
        "policy cannot decide: the argument `order.amount` stands in several places"
    );
}

#[test]
fn a_forbid_that_fails_denies_instead_of_being_skipped() {
    let set = loaded(
        "@id(\"overflow\") forbid (principal, action == Action::\"tools.invoke\", resource) when { context.hour * 9223372036854775807 == 3 };",
    );
    let decision = pay(&set, &json!({}));
    assert_eq!(
        decision.reason,
        Reason::RuleFailed {
            rules: vec!["overflow".to_owned()]
        }
    );
    assert_eq!(decision.policy_ids, ["overflow"]);
}

#[test]
fn annotations_oblige() {
    let set = loaded(
        "@id(\"net\") @obligation(\"confirm:person, once\") @approver(\"lead\")\npermit (principal in Role::\"finance\", action == Action::\"tools.invoke\", resource) when { context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\")) };",
    );
    let decision = pay(&set, &json!({}));
    let duties: Vec<_> = decision
        .obligations
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(duties, ["confirm:other_person", "approver:lead", "once"]);
    assert_eq!(decision.policy_ids, ["net", "pay"]);
    assert!(set.notes().is_empty());
}

#[test]
fn a_permit_can_be_told_only_to_oblige() {
    let only = "@id(\"late\") @obligation(\"confirm\") @grant(\"no\")\npermit (principal, action == Action::\"tools.invoke\", resource) when { context.hour < 24 };";
    let set = loaded(only);
    assert!(pay(&set, &json!({})).confirmation().is_some());
    let stranger = Subject::new("x").tenant("acme").roles(["lead"]);
    let tool = Resource::new("bank:pay", "bank").tenant("acme");
    assert_eq!(invoke(&set, &stranger, &tool).effect, Effect::Deny);
    let granting = loaded(&only.replace(" @grant(\"no\")", ""));
    assert_eq!(invoke(&granting, &stranger, &tool).effect, Effect::Allow);
    assert!(
        granting.notes()[0].text.contains("permits everybody"),
        "{:?}",
        granting.notes()
    );
}

#[test]
fn a_listing_shows_a_tool_whose_arguments_decide() {
    let set = loaded(LIMIT);
    let tool = Resource::new("bank:pay", "bank").tenant("acme");
    let context = Context::at(now());
    let caller = caller();
    let request = Request {
        action: Action::ToolsInvoke,
        subject: &caller,
        resource: Some(&tool),
        context: &context,
    };
    assert!(set.visible(&request));
    let stranger = Subject::new("x").tenant("acme");
    assert!(!set.visible(&Request {
        subject: &stranger,
        ..request
    }));
}

#[test]
fn claims_and_roles_are_read_as_the_schema_says() {
    let set = loaded(
        "@id(\"dept\") forbid (principal, action, resource) unless { principal.hasTag(\"org.dept\") && principal.getTag(\"org.dept\").contains(\"sales\") };",
    );
    let tool = Resource::new("bank:pay", "bank").tenant("acme");
    assert_eq!(invoke(&set, &caller(), &tool).effect, Effect::Deny);
    assert_eq!(
        invoke(
            &set,
            &caller().claim("org", json!({"dept": ["eng", "sales"]})),
            &tool
        )
        .effect,
        Effect::Allow
    );
}

#[test]
fn cedar_is_read_strictly() {
    let cases = [
        (
            "permit (principal, action, resource)",
            "p.cedar:1:37: not valid Cedar:",
        ),
        (
            "\n\npermit (principal, action, resource) when { resource. };",
            "p.cedar:3:55: not valid Cedar:",
        ),
        (
            "permit (principal, action, resource);",
            "p.cedar:1:1: a policy has no id; write `@id(\"...\")` before it",
        ),
        (
            "@id(\"pay\") permit (principal, action, resource);",
            "the id `pay` is used already in p.cedar",
        ),
        (
            "@id(\"a\") @obligatoin(\"confirm\") permit (principal, action, resource);",
            "p.cedar:1:10: rule `a`: unknown annotation `@obligatoin`; did you mean `obligation`?",
        ),
        (
            "@id(\"a\") @obligation(\"redact\") permit (principal, action, resource);",
            "p.cedar:1:10: rule `a`: `@obligation(\"redact\")`: use `confirm`",
        ),
        (
            "// permit (principal, action, resource);\n@id(\"b\") permit (principal, action, resource);\n\n  permit (principal, action, resource);",
            "p.cedar:4:3: a policy has no id; write `@id(\"...\")` before it",
        ),
        (
            "@id(\"b\")\npermit (principal, action, resource);\n\n@id(\"a\")\n  @obligation(\"confirm:persn\")\npermit (principal, action, resource);",
            "p.cedar:5:3: rule `a`: `@obligation(\"confirm:persn\")`: use `confirm`",
        ),
        (
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") permit (principal, action, resource);",
            "p.cedar:2:1: the id `a` is used already in p.cedar",
        ),
        (
            "@id(\"a\") @approver(\"leed\") permit (principal, action, resource);",
            "role `leed` is not defined under `roles`; did you mean `lead`?",
        ),
        (
            "@id(\"a\") @obligation(\"once\") forbid (principal, action, resource);",
            "`@obligation` has no meaning on a rule that denies",
        ),
        (
            "@id(\"a\") permit (principal == ?principal, action, resource);",
            "p.cedar:1:1: templates are not supported; write the policy out",
        ),
        (
            "@id(\"a\")\npermit (principal, action == Action::\"tools.invoke\", resource)\nwhen { resource.toolid == \"x\" };",
            "p.cedar:3:8: rule `a`: not valid Cedar:",
        ),
        (
            "@id(\"a\")\npermit (principal, action == Action::\"tools.invoke\", resource)\nwhen { resource.tenant == \"x\" };",
            "p.cedar:3:8: rule `a`: not valid Cedar:",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"tools.invoke\", resource) when { principal.hasTag(resource.toolId) };",
            "`hasTag` and `getTag` need a name in quotes",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"tools.invok\", resource);",
            "not valid Cedar:",
        ),
    ];
    for (cedar, expected) in cases {
        let error = with(cedar).map(|_| ()).expect_err(cedar).to_string();
        assert!(error.contains(expected), "{cedar}\n{error}");
    }
}
