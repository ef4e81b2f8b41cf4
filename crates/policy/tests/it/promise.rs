//! What the policy promises, over generated rule sets and requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use fastmcp_policy::{Action, Decision, Effect, Reason};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::generate::{Question, numbered, policy, question, rule};
use crate::load;
use crate::oracle::{self, Verdict};

fn verdict(decision: &Decision) -> Verdict {
    Verdict {
        allowed: decision.effect == Effect::Allow,
        ids: decision.policy_ids.iter().cloned().collect(),
        obligations: decision
            .obligations
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

/// The weight of a decision: what a caller may do with it, the less the smaller.
fn freedom(decision: &Decision) -> i32 {
    match (decision.effect, decision.confirmation()) {
        (Effect::Deny, _) => 0,
        (Effect::Allow, Some(level)) => 3 - level as i32,
        (Effect::Allow, None) => 4,
    }
}

/// Everything that a request can lack. Sets are never missing, only empty.
const OPTIONAL: [&str; 7] = [
    "subject tenant",
    "resource tenant",
    "classification",
    "dept",
    "client",
    "ip",
    "arguments",
];

fn without(question: &Question, what: &str) -> Question {
    let mut less = question.clone();
    match what {
        "subject tenant" => less.subject.tenant = None,
        // A public tool that loses its tenant is no longer public: it changes, it does not lack something.
        "resource tenant" if question.tool.tenant.as_deref() != Some("public") => {
            less.tool.tenant = None
        }
        "classification" => less.tool.classification = None,
        "dept" => {
            Arc::make_mut(&mut less.subject.claims).remove("dept");
        }
        "client" => less.client = None,
        "ip" => less.ip = None,
        "arguments" => less.arguments = None,
        _ => {}
    }
    less
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn the_compiled_policy_and_the_oracle_agree(policy in policy(1..12), questions in vec(question(), 24)) {
        let set = load(&policy.to_string());
        for question in questions {
            let expected = question.with(|request| oracle::decide(&policy, request));
            prop_assert_eq!(verdict(&question.ask(&set)), expected.clone(), "{:#?}\n{:#}", question, policy);
            // Once more, from the cache.
            prop_assert_eq!(verdict(&question.ask(&set)), expected);
        }
    }

}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn the_order_of_the_rules_does_not_matter(policy in policy(2..10), at in any::<prop::sample::Index>(), questions in vec(question(), 12)) {
        let mut turned = policy.clone();
        let rules = turned["rules"].as_array_mut().expect("rules");
        let by = at.index(rules.len());
        rules.rotate_left(by);
        rules.reverse();
        let (one, other) = (load(&policy.to_string()), load(&turned.to_string()));
        for question in questions {
            prop_assert_eq!(verdict(&question.ask(&one)), verdict(&question.ask(&other)));
        }
    }

    #[test]
    fn adding_a_deny_rule_never_allows(policy in policy(1..10), deny in rule(Just(false)), questions in vec(question(), 12)) {
        let mut rules = policy["rules"].as_array().expect("rules").clone();
        rules.push(deny);
        let (before, after) = (load(&policy.to_string()), load(&numbered(rules).to_string()));
        for question in questions {
            prop_assert!(freedom(&question.ask(&after)) <= freedom(&question.ask(&before)));
        }
    }

    #[test]
    fn adding_a_confirmation_without_a_subject_never_allows(policy in policy(1..10), questions in vec(question(), 12)) {
        let mut rules = policy["rules"].as_array().expect("rules").clone();
        rules.push(json!({"effect": "allow", "require_confirmation": true, "when": {"resource.safety_tags_any": ["financial", "destructive", "data"]}}));
        let (before, after) = (load(&policy.to_string()), load(&numbered(rules).to_string()));
        for question in questions {
            prop_assert!(freedom(&question.ask(&after)) <= freedom(&question.ask(&before)));
        }
    }

    #[test]
    fn no_rule_reaches_another_tenant(
        policy in policy(1..10),
        spelling in select(vec![
            json!({"resource.tenant": "!= subject.tenant"}),
            json!({"resource.tenant != subject.tenant": true}),
            json!({"resource.tenant !=": "subject.tenant"}),
        ]),
        questions in vec(question(), 24),
    ) {
        let mut rules: Vec<Value> = policy["rules"].as_array().expect("rules").clone();
        rules.push(json!({"effect": "deny", "when": spelling}));
        let set = load(&numbered(rules).to_string());
        for question in questions.into_iter().filter(|question| question.action.has_resource()) {
            let own = |tenant: &Option<String>| tenant.clone().filter(|tenant| !tenant.is_empty());
            let (caller, tool) = (own(&question.subject.tenant), own(&question.tool.tenant));
            let shared = question.action != Action::ManifestsRegister && tool.as_deref() == Some("public");
            let is_own = caller.is_some() && (caller == tool || shared);
            prop_assert!(is_own || !question.ask(&set).is_allowed(), "{:#?}", question);
        }
    }

    #[test]
    fn what_is_missing_never_widens(policy in policy(1..12), lacking in subsequence(OPTIONAL.to_vec(), 1..4), questions in vec(question(), 16)) {
        let set = load(&policy.to_string());
        // Of arguments that cannot be judged it is not known what they deny.
        for question in questions.into_iter().filter(|question| !matches!(question.ask(&set).reason, Reason::Undecidable { .. })) {
            let less = lacking.iter().fold(question.clone(), |question, what| without(&question, what));
            prop_assert!(freedom(&less.ask(&set)) <= freedom(&question.ask(&set)), "{:?} {:#?}\n{:#}", lacking, question, policy);
        }
    }

    #[test]
    fn a_listing_shows_whatever_could_be_called(policy in policy(1..12), questions in vec(question(), 16)) {
        let set = load(&policy.to_string());
        for question in questions.into_iter().filter(|question| question.action == Action::ToolsInvoke && question.arguments.is_some()) {
            let listed = without(&question, "arguments").with(|request| set.visible(request));
            prop_assert!(listed || !question.ask(&set).is_allowed(), "{:#?}\n{:#}", question, policy);
        }
    }

    #[test]
    fn an_explanation_tells_the_same_story(policy in policy(1..10), question in question()) {
        let set = load(&policy.to_string());
        let story = question.with(|request| set.explain(request));
        prop_assert_eq!(&story.decision, &question.ask(&set));
        let met = |does: &[&str]| -> BTreeSet<String> {
            let lines = story.rules.iter().filter(|line| does.contains(&line.does) && line.outcome == fastmcp_policy::Outcome::Met);
            lines.map(|line| line.id.clone()).collect()
        };
        let ids: BTreeSet<String> = story.decision.policy_ids.iter().cloned().collect();
        match story.decision.effect {
            Effect::Allow => prop_assert_eq!(ids, met(&["allow", "oblige"])),
            Effect::Deny => prop_assert!(ids == met(&["deny"]) || ids == met(&["allow"])),
        }
        for line in &story.rules {
            use fastmcp_policy::Outcome::{Met, MissingCountsAsMet};
            let all = line.conditions.iter().all(|condition| matches!(condition.outcome, Met | MissingCountsAsMet));
            prop_assert_eq!(all, line.outcome == Met, "{}", story);
        }
    }
}
