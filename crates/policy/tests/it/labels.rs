//! What a caller has read, and who approves: `context.labels` and the action `approvals.decide`.

use std::collections::BTreeSet;

use fastmcp_policy::{
    Action, Context, Decision, Effect, LoadError, PolicySet, Reason, Request, Resource, Sources,
    Subject,
};
use serde_json::json;

use crate::{ask, load, now};

const HEAD: &str = "version: 1\nroles:\n  agent: [\"tools.invoke:write\"]\n  lead: [\"approvals.decide\"]\n  intern: [\"approvals.decide\"]\nrules:\n  \
                    - {id: agents, effect: allow, when: {action: tools.invoke, subject.roles: agent}}\n";

fn with(rules: &str) -> PolicySet {
    load(&format!("{HEAD}{rules}"))
}

fn labels(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn mail() -> Resource {
    Resource::new("mail:send", "mail")
        .tenant("acme")
        .safety_tags(["external"])
        .classification("internal")
}

fn agent() -> Subject {
    Subject::new("agent-1").tenant("acme").roles(["agent"])
}

fn carrying(set: &PolicySet, tool: &Resource, carried: &[&str]) -> Decision {
    let carried = labels(carried);
    set.decide(&Request {
        action: Action::ToolsInvoke,
        subject: &agent(),
        resource: Some(tool),
        context: &Context::at(now()).labels(&carried),
    })
}

const LEAVES: &str = "  - {id: leaves, effect: deny, when: {resource.safety_tags: external, context.labels_any: [pii, confidential]}}\n";

#[test]
fn after_reading_nothing_leaves() {
    let set = with(LEAVES);
    for (carried, expected) in [
        (&[][..], Effect::Allow),
        (&["internal", "public"], Effect::Allow),
        (&["pii"], Effect::Deny),
        (&["internal", "confidential", "x"], Effect::Deny),
    ] {
        let decision = carrying(&set, &mail(), carried);
        assert_eq!(decision.effect, expected, "{carried:?}");
    }
    let denied = carrying(&set, &mail(), &["pii"]);
    assert_eq!(denied.policy_ids, ["leaves"]);
    let inside = mail().safety_tags(Vec::<String>::new());
    assert_eq!(carrying(&set, &inside, &["pii"]).effect, Effect::Allow);
    // Asked in turns, no answer is kept for a caller who carries something else.
    for round in 0..20 {
        let carried: &[&str] = if round % 2 == 0 { &["pii"] } else { &[] };
        let expected = [Effect::Deny, Effect::Allow][round % 2];
        assert_eq!(carrying(&set, &mail(), carried).effect, expected);
    }
}

#[test]
fn a_set_knows_which_labels_it_reads() {
    let plain = with("");
    assert!(!plain.reads_labels() && !plain.reads_label("pii"));
    let named = with(LEAVES);
    assert!(named.reads_labels() && named.reads_label("pii") && !named.reads_label("internal"));
    let compared = with(
        "  - {id: same, effect: deny, when: {context.labels: \"== resource.classification\"}}\n",
    );
    assert!(compared.reads_label("internal"));
    assert_eq!(
        carrying(&compared, &mail(), &["internal"]).effect,
        Effect::Deny
    );
    let cedar = "@id(\"clean\") forbid (principal, action == Action::\"tools.invoke\", resource) when { !context.labels.isEmpty() };";
    let sources = Sources::new().with_yaml("p", HEAD).with_cedar("c", cedar);
    let cedar = PolicySet::load(&sources, 1).expect("loads");
    assert!(cedar.reads_labels() && cedar.reads_label("internal"));
    assert_eq!(carrying(&cedar, &mail(), &["x"]).effect, Effect::Deny);
    assert_eq!(carrying(&cedar, &mail(), &[]).effect, Effect::Allow);
}

#[test]
fn a_duty_may_hang_on_what_was_read() {
    let set = with(
        "  - {id: ask, effect: allow, when: {resource.safety_tags: external, context.labels: pii}, require_confirmation: person}\n",
    );
    assert!(carrying(&set, &mail(), &[]).obligations.is_empty());
    assert_eq!(carrying(&set, &mail(), &["pii"]).obligations.len(), 1);
}

#[test]
fn too_many_labels_are_denied() {
    let set = with(LEAVES);
    let many: Vec<String> = (0..513).map(|n| format!("l{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let denied = carrying(&set, &mail(), &many);
    assert_eq!(
        denied.reason,
        Reason::TooLarge {
            field: "context.labels"
        }
    );
}

fn approve(set: &PolicySet, role: &str, tool: &Resource) -> Decision {
    let subject = Subject::new("zoe").tenant("acme").roles([role]);
    ask(set, Action::ApprovalsDecide, &subject, Some(tool))
}

#[test]
fn without_rules_the_scope_alone_approves() {
    let set = with("  - {id: broad, effect: allow, when: {subject.roles: agent}}\n");
    assert!(!set.judges_approvals());
    assert_eq!(approve(&set, "lead", &mail()).effect, Effect::Allow);
    let denied = approve(&set, "agent", &mail());
    assert_eq!(
        denied.reason,
        Reason::MissingScope {
            scopes: vec!["approvals.decide".to_owned()]
        }
    );
}

#[test]
fn a_rule_that_names_approvers_leaves_nobody_else() {
    let set = with(
        "  - {id: leads, effect: allow, when: {action: approvals.decide, resource.provider_id: mail, subject.roles: lead}}\n",
    );
    assert!(set.judges_approvals());
    assert_eq!(approve(&set, "lead", &mail()).policy_ids, ["leads"]);
    assert_eq!(approve(&set, "intern", &mail()).effect, Effect::Deny);
    let other = Resource::new("ads:create", "ads").tenant("acme");
    assert_eq!(approve(&set, "lead", &other).effect, Effect::Deny);
    // A public tool is one's own, to approve as to call.
    let own = with(
        "  - {id: own, effect: deny, when: {action: approvals.decide, resource.tenant: \"!= subject.tenant\"}}\n",
    );
    assert_eq!(
        approve(&own, "lead", &mail().tenant("public")).effect,
        Effect::Allow
    );
    assert_eq!(
        approve(&own, "lead", &mail().tenant("globex")).effect,
        Effect::Deny
    );
}

#[test]
fn what_allows_and_does_not_name_approving_is_not_about_it() {
    let rules = [
        "  - {id: open, effect: allow, when: {subject.roles: intern}}\n",
        "  - {id: closed, effect: deny, when: {action: tools.invoke, resource.tenant: acme}}\n",
    ];
    for rule in rules {
        assert_eq!(
            approve(&with(rule), "lead", &mail()).effect,
            Effect::Allow,
            "{rule}"
        );
    }
    // What denies whatever it is denies approving too.
    let closed = with("  - {id: closed, effect: deny, when: {subject.roles: intern}}\n");
    assert_eq!(approve(&closed, "intern", &mail()).effect, Effect::Deny);
    assert_eq!(approve(&closed, "lead", &mail()).effect, Effect::Allow);
    let cedar = |text: &str| -> Result<PolicySet, LoadError> {
        PolicySet::load(
            &Sources::new().with_yaml("p", HEAD).with_cedar("c", text),
            1,
        )
    };
    // So it is in Cedar.
    let all = cedar("@id(\"no\") forbid (principal in Role::\"intern\", action, resource);")
        .expect("loads");
    assert_eq!(approve(&all, "intern", &mail()).effect, Effect::Deny);
    assert_eq!(approve(&all, "lead", &mail()).effect, Effect::Allow);
    let any = cedar("@id(\"yes\") permit (principal in Role::\"agent\", action, resource);")
        .expect("loads");
    assert!(!any.judges_approvals());
    let duty = "@id(\"d\") @obligation(\"once\") permit (principal in Role::\"lead\", action == Action::\"approvals.decide\", resource);";
    let error = cedar(duty)
        .expect_err("a duty has no meaning there")
        .to_string();
    assert!(
        error.contains("`approvals.decide` is about who may approve"),
        "{error}"
    );
}

#[test]
fn an_approval_is_judged_by_what_is_asked_and_by_what_was_read() {
    let set = with(
        "  - {id: leads, effect: allow, when: {action: approvals.decide, subject.roles: lead}}\n  \
           - {id: not-after-pii, effect: deny, when: {action: approvals.decide, context.labels: pii}}\n  \
           - {id: small, effect: deny, when: {action: approvals.decide, context.arguments.size: large}}\n",
    );
    let judge = |carried: &[&str], size: &str| {
        let (carried, arguments) = (labels(carried), json!({"size": size}));
        set.decide(&Request {
            action: Action::ApprovalsDecide,
            subject: &Subject::new("zoe").tenant("acme").roles(["lead"]),
            resource: Some(&mail()),
            context: &Context::at(now()).labels(&carried).arguments(&arguments),
        })
        .effect
    };
    assert_eq!(judge(&[], "small"), Effect::Allow);
    assert_eq!(judge(&["pii"], "small"), Effect::Deny);
    assert_eq!(judge(&[], "large"), Effect::Deny);
}
