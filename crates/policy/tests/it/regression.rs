//! What the Python original of the platform got wrong, one test each, and other things that must never come back.

use fastmcp_policy::{
    Action, ConsentLevel, Context, Effect, Obligation, PolicySet, Reason, Request, Resource,
    Sources, Subject,
};
use serde_json::{Value, json};

use crate::{invoke, load, now};

const ROLES: &str = "version: 1\nroles:\n  finance-write: [\"ads.write\", \"tools.invoke:write\"]\n  mcp-admin: [\"mcp.*\", \"tools.invoke:write\"]\n";

fn with_rules(rules: &str) -> String {
    format!("{ROLES}rules:\n{rules}")
}

fn finance() -> Subject {
    Subject::new("agent-1")
        .tenant("acme")
        .roles(["finance-write"])
}

fn ads() -> Resource {
    Resource::new("ads:createCampaign", "ads")
        .tenant("public")
        .required_scopes(["ads.write"])
        .safety_tags(["financial", "destructive"])
}

const ALLOW_FINANCE: &str =
    "  - {id: open, effect: allow, when: {action: tools.invoke, subject.roles: [finance-write]}}\n";

#[test]
fn tenant_isolation_in_the_value_spelling_is_enforced() {
    let set = load(&with_rules(&format!(
        "{ALLOW_FINANCE}  - id: tenant-isolation\n    effect: deny\n    when:\n      resource.tenant: \"!= subject.tenant\"\n"
    )));
    let decision = invoke(&set, &finance(), &ads().tenant("other"));
    assert_eq!(
        (decision.effect, decision.policy_ids),
        (Effect::Deny, vec!["tenant-isolation".to_owned()])
    );
    assert_eq!(
        invoke(&set, &finance(), &ads().tenant("acme")).effect,
        Effect::Allow
    );
}

#[test]
fn tenant_isolation_with_a_tenant_missing_on_either_side_fails_closed() {
    for spelling in [
        "resource.tenant: \"!= subject.tenant\"",
        "\"resource.tenant != subject.tenant\": true",
        "\"resource.tenant !=\": subject.tenant",
    ] {
        let set = load(&with_rules(&format!(
            "{ALLOW_FINANCE}  - {{id: tenant-isolation, effect: deny, when: {{{spelling}}}}}\n"
        )));
        let without = Subject::new("agent-1").roles(["finance-write"]);
        let mut nobodys = ads();
        nobodys.tenant = None;
        for (subject, tool) in [
            (&finance(), &nobodys),
            (&without, &ads().tenant("acme")),
            (&without, &nobodys),
            (&without, &ads()),
        ] {
            assert_eq!(
                invoke(&set, subject, tool).effect,
                Effect::Deny,
                "{spelling}"
            );
        }
        let (empty, empty_tool) = (without.clone().tenant(""), ads().tenant(""));
        assert_eq!(
            invoke(&set, &empty, &empty_tool).effect,
            Effect::Deny,
            "two empty tenants are not the same tenant"
        );
        assert_eq!(
            invoke(&set, &finance(), &ads()).effect,
            Effect::Allow,
            "a public tool is everybody's own"
        );
    }
}

#[test]
fn a_confirmation_rule_works_in_every_order_and_with_its_own_grant() {
    let grant = "  - {id: invoke-ads-create, effect: allow, when: {action: tools.invoke, resource.toolId: \"ads:createCampaign\", subject.roles: [finance-write]}, require_confirmation: true}\n";
    let safety = "  - {id: safety, effect: allow, when: {action: tools.invoke, resource.safety_tags_any: [financial, destructive]}, require_confirmation: person}\n";
    for rules in [
        grant.to_owned(),
        format!("{grant}{safety}"),
        format!("{safety}{grant}"),
    ] {
        let decision = invoke(&load(&with_rules(&rules)), &finance(), &ads());
        assert_eq!(decision.effect, Effect::Allow, "{rules}");
        let expected = if rules.contains("safety") {
            ConsentLevel::Person
        } else {
            ConsentLevel::Client
        };
        assert_eq!(
            decision.obligations.into_iter().collect::<Vec<_>>(),
            [Obligation::Confirm { level: expected }]
        );
    }
}

#[test]
fn a_confirmation_rule_without_a_subject_grants_nothing() {
    let set = load(&with_rules(
        "  - {id: safety, effect: allow, when: {action: tools.invoke, resource.safety_tags_any: [financial, destructive]}, require_confirmation: true}\n",
    ));
    let decision = invoke(&set, &finance(), &ads());
    assert_eq!(decision.effect, Effect::Deny);
    assert!(matches!(
        decision.reason,
        Reason::NoRuleAllows {
            action: Action::ToolsInvoke,
            ..
        }
    ));
    assert_eq!(set.notes().len(), 1, "and those who wrote it are told");
    assert!(
        set.notes()[0].text.contains("never grants"),
        "{}",
        set.notes()[0]
    );
}

#[test]
fn a_suffix_is_an_operator_and_not_part_of_the_name() {
    let set = load(&with_rules(
        "  - {id: a, effect: allow, when: {resource.toolId_in: [\"ads:createCampaign\"], subject.roles: [finance-write]}}\n",
    ));
    assert_eq!(invoke(&set, &finance(), &ads()).effect, Effect::Allow);
    let mut other = ads();
    other.tool_id = "ads:deleteCampaign".to_owned();
    assert_eq!(invoke(&set, &finance(), &other).effect, Effect::Deny);
}

#[test]
fn a_wildcard_scope_of_a_role_reaches_what_a_tool_requires() {
    let set = load(&with_rules(
        "  - {id: mcp, effect: allow, when: {resource.provider_id: mcp, subject.roles: [mcp-admin]}}\n",
    ));
    let admin = Subject::new("root").tenant("acme").roles(["mcp-admin"]);
    let tool = |scope: &str| {
        Resource::new("mcp:git:commit", "mcp")
            .tenant("public")
            .required_scopes([scope])
    };
    assert_eq!(invoke(&set, &admin, &tool("mcp.git")).effect, Effect::Allow);
    let decision = invoke(&set, &admin, &tool("mcpx.git"));
    assert_eq!(
        decision.reason,
        Reason::MissingScope {
            scopes: vec!["mcpx.git".to_owned()]
        }
    );
    let narrowed = admin.clone().scopes(["mcp.git", "tools.invoke:write"]);
    assert_eq!(
        invoke(&set, &narrowed, &tool("mcp.git")).effect,
        Effect::Allow
    );
    assert_eq!(
        invoke(&set, &narrowed, &tool("mcp.database")).effect,
        Effect::Deny,
        "a token narrows its roles"
    );
    let none = admin.scopes([""; 0]);
    assert_eq!(
        invoke(&set, &none, &tool("mcp.git")).effect,
        Effect::Deny,
        "a token without scopes leaves nothing"
    );
}

#[test]
fn a_rule_on_the_provider_is_alive() {
    let set = load(&with_rules(
        "  - {id: p, effect: allow, when: {action: tools.invoke, resource.provider_id: ads, subject.roles: [finance-write]}}\n",
    ));
    assert_eq!(invoke(&set, &finance(), &ads()).policy_ids, ["p"]);
}

#[test]
fn a_public_manifest_is_registered_only_by_the_public_tenant() {
    let set = load(
        "version: 1\nroles: {admin: [\"manifests.register\"]}\nrules:\n  - {id: r, effect: allow, when: {action: manifests.register, subject.roles: [admin]}}\n  \
         - {id: t, effect: deny, when: {resource.tenant: \"!= subject.tenant\"}}\n",
    );
    let register = |tenant: &str, manifest: &str| {
        let admin = Subject::new("root").tenant(tenant).roles(["admin"]);
        crate::ask(
            &set,
            Action::ManifestsRegister,
            &admin,
            Some(&Resource::new("x:y", "x").tenant(manifest)),
        )
        .effect
    };
    assert_eq!(register("acme", "acme"), Effect::Allow);
    assert_eq!(
        register("acme", "public"),
        Effect::Deny,
        "it would reach into every tenant"
    );
    assert_eq!(register("public", "public"), Effect::Allow);
}

#[test]
fn a_request_out_of_shape_or_bounds_is_denied() {
    let set = load(&with_rules(ALLOW_FINANCE));
    let no_tool = crate::ask(&set, Action::ToolsInvoke, &finance(), None);
    assert!(
        matches!(no_tool.reason, Reason::Undecidable { .. }),
        "{}",
        no_tool.reason
    );
    let with_tool = crate::ask(&set, Action::CatalogList, &finance(), Some(&ads()));
    assert!(
        matches!(with_tool.reason, Reason::Undecidable { .. }),
        "{}",
        with_tool.reason
    );
    let many = finance().roles((0..600).map(|at| format!("r{at}")));
    assert_eq!(
        invoke(&set, &many, &ads()).reason,
        Reason::TooLarge {
            field: "subject.roles"
        }
    );
    let long = ads().tenant("x".repeat(2000));
    assert_eq!(
        invoke(&set, &finance(), &long).reason,
        Reason::TooLarge {
            field: "resource.tenant"
        }
    );
}

#[test]
fn operators_on_arguments_and_claims_deny_what_they_say() {
    let write = |path: &str| json!({"path": path});
    for condition in [
        "context.arguments.path_in: [secret.txt, b.txt]",
        "context.arguments.path_any: [secret.txt, b.txt]",
        "context.arguments.\"path\"_in: [secret.txt]",
        "context.arguments.path: [secret.txt]",
        "\"context.arguments.path !=\": [e.txt]",
    ] {
        let set = load(&with_rules(&format!(
            "{ALLOW_FINANCE}  - {{id: no-secret, effect: deny, when: {{action: tools.invoke, {condition}}}}}\n"
        )));
        let decide = |arguments: &Value| {
            set.decide(&Request {
                action: Action::ToolsInvoke,
                subject: &finance(),
                resource: Some(&ads()),
                context: &Context::at(now()).arguments(arguments),
            })
            .effect
        };
        assert_eq!(decide(&write("secret.txt")), Effect::Deny, "{condition}");
        assert_eq!(decide(&write("e.txt")), Effect::Allow, "{condition}");
    }
    for condition in [
        "subject.claims.dept_in: [sales]",
        "subject.claims.dept_any: [sales]",
    ] {
        let set = load(&with_rules(&format!(
            "{ALLOW_FINANCE}  - {{id: no-sales, effect: deny, when: {{{condition}}}}}\n"
        )));
        let of = |dept: &str| invoke(&set, &finance().claim("dept", dept), &ads()).effect;
        assert_eq!((of("sales"), of("eng")), (Effect::Deny, Effect::Allow));
        assert_eq!(
            invoke(&set, &finance(), &ads()).effect,
            Effect::Deny,
            "not known"
        );
    }
}

#[test]
fn a_misspelt_operator_is_no_name() {
    for condition in [
        "context.arguments.path_not_in: [a]",
        "context.arguments.path_IN: [a]",
        "\"context.arguments.path in\": [a]",
        "context.arguments.path_is_in: [a]",
        "context.arguments.tags_contains_any: [a]",
        "context.arguments.path_starts_with_any: [a]",
        "context.arguments.path__in: [a]",
        "context.arguments.path_noneof: [a]",
        "context.arguments.path_isnot: a",
        "context.arguments.path_not_equal: a",
        "context.arguments.path_has: a",
        "context.arguments.path_prefix: a",
        "context.arguments.cost_greater_than: 5",
        "context.arguments.pathIn: [a]",
        "context.arguments.pathNotIn: [a]",
        "subject.claims.groups_includes: a",
        "\"context.arguments.path_in !=\": [a]",
        "\"subject.claims.dept \": a",
        "subject.claims.dept_before: \"2027-01-01T00:00:00Z\"",
    ] {
        let text = with_rules(&format!(
            "{ALLOW_FINANCE}  - id: odd\n    effect: deny\n    when:\n      {condition}\n"
        ));
        let error = PolicySet::load(&Sources::new().with_yaml("p.yml", text), 1)
            .map(|_| ())
            .expect_err(condition)
            .to_string();
        assert!(
            error.starts_with("policy not loaded: p.yml:10: rule `odd`: `"),
            "{error}"
        );
        assert!(error.contains("stands in quotes: `"), "{error}");
    }
}

#[test]
fn a_negated_operator_is_not_told_to_be_the_opposite() {
    for word in [
        "_not_one_of",
        "_not_any_of",
        "_is_not_one_of",
        "NotOneOf",
        "_not_ayn",
    ] {
        let text = with_rules(&format!(
            "{ALLOW_FINANCE}  - id: odd\n    effect: deny\n    when:\n      context.arguments.path{word}: [a]\n"
        ));
        let error = PolicySet::load(&Sources::new().with_yaml("p.yml", text), 1)
            .map(|_| ())
            .expect_err(word)
            .to_string();
        let said = format!("`{word}` is no operator; write `!=` behind the name");
        assert!(error.contains(&said), "{error}");
    }
}

/// What becomes of a call with these arguments, where anybody of finance may call unless the one rule denies.
fn with_condition(condition: &str) -> impl Fn(&Value) -> Reason {
    let set = load(&with_rules(&format!(
        "{ALLOW_FINANCE}  - {{id: no, effect: deny, when: {{action: tools.invoke, {condition}}}}}\n"
    )));
    move |arguments| {
        set.decide(&Request {
            action: Action::ToolsInvoke,
            subject: &finance(),
            resource: Some(&ads()),
            context: &Context::at(now()).arguments(arguments),
        })
        .reason
    }
}

#[test]
fn a_list_is_compared_entry_by_entry_whatever_else_is_in_it() {
    let cases = [
        (
            "context.arguments.to_any: [\"rival@x\"]",
            json!(["rival@x"]),
            json!(["a@x"]),
        ),
        (
            "context.arguments.to_any: [\"rival@x\"]",
            json!(["rival@x", 1]),
            json!(["a@x", 1, null]),
        ),
        (
            "context.arguments.to: [\"rival@x\", 7]",
            json!([null, true, 7.0]),
            json!(["7", false, 7.5]),
        ),
        (
            "context.arguments.to_any: [5]",
            json!([5]),
            json!(["5", 5.5, true, 1e300]),
        ),
        (
            "context.arguments.to: true",
            json!([false, true]),
            json!(["true", 1]),
        ),
        (
            "\"context.arguments.to !=\": [\"a@x\", 5]",
            json!([6, "b@x"]),
            json!([5, "b@x"]),
        ),
    ];
    for (condition, denied, allowed) in cases {
        let decide = with_condition(condition);
        let told = |to: &Value| decide(&json!({"to": to}));
        assert!(
            matches!(told(&denied), Reason::RuleDenies { .. }),
            "{condition} {denied}: {}",
            told(&denied)
        );
        assert!(
            matches!(told(&allowed), Reason::Allowed { .. }),
            "{condition} {allowed}: {}",
            told(&allowed)
        );
    }
}

#[test]
fn a_list_that_cannot_be_judged_passes_by_no_rule() {
    let mut many: Vec<_> = (0..1024).map(|at| json!(format!("a{at}@x"))).collect();
    many.push(json!("rival@x"));
    let texts = Value::Array(many);
    let flags = Value::Array(vec![json!(true); 1025]);
    for condition in [
        "context.arguments.to_any: [\"rival@x\"]",
        "\"context.arguments.to !=\": [\"a@x\"]",
        "context.arguments.to: 5",
        "context.arguments.to: \"== subject.sub\"",
    ] {
        let decide = with_condition(condition);
        for list in [
            &texts,
            &flags,
            &json!(["rival@x", {}]),
            &json!([["rival@x"]]),
        ] {
            let reason = decide(&json!({"to": list})).to_string();
            assert_eq!(
                reason,
                "policy cannot decide: a rule reads the argument `to`, and this list is not of a form that it can compare exactly",
                "{condition}"
            );
            assert!(matches!(
                decide(&json!({"cc": list})),
                Reason::Allowed { .. } | Reason::RuleDenies { .. }
            ));
        }
    }
}

#[test]
fn a_list_is_not_compared_with_another_attribute() {
    for condition in [
        "context.arguments.to: \"== subject.sub\"",
        "context.arguments.to: \"!= subject.sub\"",
    ] {
        let decide = with_condition(condition);
        for list in [json!(["agent-1"]), json!(["agent-1", "b"]), json!([])] {
            let reason = decide(&json!({"to": list}));
            assert!(
                matches!(reason, Reason::Undecidable { .. }),
                "{condition} {list}: {reason}"
            );
        }
    }
}

#[test]
fn a_grant_on_an_argument_is_not_widened_by_a_list_that_cannot_be_judged() {
    let rules = "  - {id: open, effect: allow, when: {action: tools.invoke, subject.roles: [finance-write], \"context.arguments.to !=\": [\"rival@x\"]}}\n";
    let set = load(&with_rules(rules));
    let decide = |arguments: &Value| {
        set.decide(&Request {
            action: Action::ToolsInvoke,
            subject: &finance(),
            resource: Some(&ads()),
            context: &Context::at(now()).arguments(arguments),
        })
        .effect
    };
    assert_eq!(decide(&json!({"to": ["a@x", 1]})), Effect::Allow);
    let long: Vec<_> = (0..1025).map(|at| json!(at)).collect();
    for to in [json!(["rival@x", 1]), json!([["rival@x"]]), json!(long)] {
        assert_eq!(decide(&json!({"to": to})), Effect::Deny, "{to}");
    }
}
