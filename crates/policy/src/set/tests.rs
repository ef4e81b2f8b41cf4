//! Decisions beside those of Cedar alone, asked with every policy as it was written.

use cedar_policy::{ActionConstraint, Authorizer};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::*;
use crate::expression::{Term, head};
use crate::generate::policy;
use crate::prepare::Question;
use crate::request::Context;
use crate::settle::{Known, Rest};
use crate::strange::{everything, strange};

/// Every policy as it was written, for Cedar alone.
struct Alone<'a> {
    set: &'a PolicySet,
    /// Grants and obligations.
    sets: [CedarSet; 2],
    /// The same for an approval, which only a forbid is about without naming it.
    on_approvals: [CedarSet; 2],
}

/// What Cedar answers: its decision, the policies that made it, those that could not be evaluated.
type Answer = (CedarDecision, Vec<String>, Vec<String>);

impl<'a> Alone<'a> {
    fn of(set: &'a PolicySet) -> Self {
        let policies = |obliges: bool, approves: bool| {
            let units = set.index.units().iter().filter(|unit| {
                let names = unit.policy.action_constraint() != ActionConstraint::Any;
                (unit.role == Role::Oblige) == obliges
                    && (!approves || names || unit.role == Role::Forbid)
            });
            CedarSet::from_policies(units.map(|unit| unit.policy.clone()))
                .expect("policies that fit together")
        };
        let both = |approves| [false, true].map(|obliges| policies(obliges, approves));
        Self {
            set,
            sets: both(false),
            on_approvals: both(true),
        }
    }

    fn unit(&self, id: &str, role: Role) -> Option<&Unit> {
        let mut units = self.set.index.units().iter();
        units
            .find(|unit| &*unit.id == id && unit.role == role)
            .map(AsRef::as_ref)
    }

    /// Decides. A request that the policies at hand refuse to judge is refused.
    fn decide(&self, request: &Request<'_>) -> Decision {
        let decided = self.ask(request).map_err(|reason| (reason, Vec::new()));
        let decided = decided.and_then(|answers| self.conclude(request, answers));
        decided.unwrap_or_else(|(reason, ids)| Decision::deny(reason, ids, &self.set.version))
    }

    fn ask(&self, request: &Request<'_>) -> Result<(Vec<String>, [Answer; 2]), Reason> {
        let set = self.set;
        let tool = request.resource;
        let tool = tool.map(|tool| (tool.tool_id.as_str(), tool.provider_id.as_str()));
        let roles = &request.subject.roles;
        let slice = set.index.slice(request.action, tool, roles)?;
        crate::entity::check(request.context, &slice.1.reads)?;
        // Caller and context as a whole, whatever the policies are found to read.
        let all = Arc::new(everything());
        let key = Arc::new(Asked::of(request, &all).into_key());
        let held = set.held(request.subject);
        let prepared = Prepared::new(key, slice, held, Arc::clone(&all));
        let sets = if request.action == Action::ApprovalsDecide {
            &self.on_approvals
        } else {
            &self.sets
        };
        let Question { request, entities } = prepared.ask(request.context, &all)?;
        let answers = sets.each_ref().map(|policies| {
            let response = Authorizer::new().is_authorized(&request, policies, &entities);
            let reason = response.diagnostics().reason();
            let mut ids: Vec<_> = reason.map(ToString::to_string).collect();
            ids.sort();
            let mut failed: Vec<_> = failed_ids(&response).collect();
            failed.sort();
            (response.decision(), ids, failed)
        });
        Ok((prepared.missing_scopes, answers))
    }

    fn conclude(
        &self,
        request: &Request<'_>,
        (missing, [grants, obligations]): (Vec<String>, [Answer; 2]),
    ) -> Result<Decision, (Reason, Vec<String>)> {
        let (decision, rules, mut failed) = grants;
        if decision == CedarDecision::Deny && !rules.is_empty() {
            let denying = rules.iter().filter_map(|id| self.unit(id, Role::Forbid));
            let mut descriptions = denying.filter_map(|unit| unit.description.as_deref());
            let description = descriptions.next().map(str::to_owned);
            let reason = Reason::RuleDenies {
                rules: rules.clone(),
                description,
            };
            return Err((reason, rules));
        }
        failed.retain(|id| self.unit(id, Role::Forbid).is_some());
        if !failed.is_empty() {
            let rules = failed.clone();
            return Err((Reason::RuleFailed { rules }, failed));
        }
        if decision == CedarDecision::Deny && !self.set.needs_no_grant(request) {
            let tool = request.resource.map(|tool| tool.tool_id.clone());
            let action = request.action;
            return Err((Reason::NoRuleAllows { action, tool }, Vec::new()));
        }
        if !missing.is_empty() {
            return Err((Reason::MissingScope { scopes: missing }, rules));
        }
        // An obligation that cannot be evaluated obliges.
        let (_, obliging, unclear) = obligations;
        let all = [&rules, &obliging, &unclear].into_iter().flatten();
        let all: BTreeSet<String> = all.cloned().collect();
        let duties = all.iter().flat_map(|id| {
            let units = [self.unit(id, Role::Permit), self.unit(id, Role::Oblige)];
            units.into_iter().flatten().flat_map(|unit| &unit.duties)
        });
        Ok(Decision {
            effect: Effect::Allow,
            obligations: join(duties),
            reason: Reason::Allowed { rules },
            policy_ids: all.iter().cloned().collect(),
            version: self.set.version.clone(),
        })
    }
}

/// Conditions of rules that the second interpreter does not know.
fn more_conditions() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let cases = vec![
        ("context.corr_id", json!("c-1")),
        ("context.corr_id !=", json!("subject.sub")),
        ("context.client", json!("== subject.sub")),
        ("subject.sub", json!("== context.client")),
        ("subject.tenant", json!("!= context.client")),
        ("subject.roles", json!("== context.client")),
        ("subject.claims.dept", json!("== context.client")),
        ("subject.claims.dept", json!("!= context.weekday")),
        ("resource.classification", json!("!= context.corr_id")),
        ("resource.safety_tags", json!("== context.client")),
        ("resource.required_scopes", json!("!= context.client")),
        ("resource.tenant", json!("== context.client")),
        ("context.labels", json!("!= context.client")),
        ("context.weekday", json!("!= friday")),
        ("context.weekday", json!(["monday", "wednesday"])),
        ("context.hour", json!([0, 23])),
        ("context.ip", json!(["0.0.0.0/0"])),
        ("context.ip", json!(["2001:db8::/33", "::1", "10.1.2.3/31"])),
        ("context.ip !=", json!(["::/0", "10.1.2.2/32"])),
        ("context.time_before", json!("1969-12-31T23:59:59.999Z")),
        ("context.time_after", json!("1969-12-31T23:59:59.9995Z")),
        ("context.arguments.x", json!("== resource.tenant")),
        ("context.arguments.x", json!("!= context.client")),
        ("context.arguments.x", json!([0, 3, false])),
        ("context.arguments.x !=", json!([3, "w", true])),
        ("context.arguments.x", json!(9_007_199_254_740_993_i64)),
        ("context.arguments.n", json!([3, -1])),
        ("context.arguments.n !=", json!(3)),
        ("context.arguments.\"o.check_in\" !=", json!(true)),
        ("context.arguments.x_in", json!([0, 3, false])),
        ("context.arguments.x_any", json!(["w", true])),
        ("context.arguments.n_in", json!([3, -1])),
        ("subject.claims.dept_any", json!(["eng", "secret"])),
        ("subject.claims.level_in", json!([3, 4])),
        ("subject.scopes", json!(["s.a", "s.c", "nobody's"])),
        ("subject.scopes !=", json!(["s.z", "tools.invoke:read"])),
        ("resource.public", json!("== resource.read_only")),
        ("resource.read_only", json!("!= resource.public")),
        ("resource.toolId", json!("!= resource.provider_id")),
        ("resource.classification", json!("== subject.tenant")),
        ("resource.safety_tags", json!("== resource.classification")),
        ("subject.sub", json!("!= resource.tenant")),
        ("subject.claims.dept", json!("== subject.sub")),
        ("resource.tenant !=", json!("subject.sub")),
    ];
    vec(select(cases), 0..3)
}

fn cedar_conditions() -> Vec<&'static str> {
    vec![
        "principal.roles.contains(\"r1\")",
        "principal.scopes.contains(\"s.b\")",
        "principal in [Caller::\"alice\", Caller::\"bob\"]",
        "[Caller::\"bob\"].contains(principal)",
        "Caller::\"alice\" in Role::\"r1\"",
        "Caller::\"alice\" has tenant && context.hour == 9",
        "principal has tenant && resource has tenant && principal.tenant == resource.tenant",
        "principal.hasTag(\"dept\") && principal.getTag(\"dept\").contains(\"sales\")",
        "principal.hasTag(\"dept\")",
        "principal.hasTag(\"org.unit\")",
        "principal.hasTag(\"org.unit\") && principal.getTag(\"org.unit\").contains(\"sales\") || context.hour == 3",
        "principal.hasTag(\"level\") && principal.getTag(\"level\").containsAny([\"3\"])",
        "principal.sub == \"bob\" || principal has tenant",
        "(if resource.read_only then 9223372036854775807 else 0) + 1 > 0",
        "resource.toolId like \"p1:*\"",
        "principal.roles.containsAll(resource.required_scopes) || resource.public",
        "principal.sub like \"a*\" && resource.provider_id != \"p1\"",
        "if resource.read_only then resource.safety_tags.isEmpty() else principal.roles.containsAny([\"r1\", \"r3\"])",
        "principal is Caller && resource in Provider::\"p1\"",
        "resource has classification && resource.classification == \"secret\" || context.hour == 9",
        "{Value: context.hour, kind: 1} == {Value: 9, kind: 1}",
        "context.hour * 1000000000000000000 > 5",
        "(if principal.sub == \"bob\" then context.hour else 0) * 9223372036854775807 >= 0",
        "context has client && context.client == \"cli\"",
        "context has corr_id && context.corr_id like \"c*\"",
        "context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\"))",
        "context.time < datetime(\"2026-11-20T09:45:00Z\")",
        "[\"friday\", \"it's \\\"\"].contains(context.weekday)",
        "context.labels.containsAny([\"pii\", \"secret\"])",
        "context has arguments && context.arguments.text.hasTag(\"x\") && context.arguments.text.getTag(\"x\") == \"v\"",
        "context has arguments && context.arguments.kind.hasTag(\"x\") && context.arguments.kind.getTag(\"x\") != \"list\"",
        "context has arguments && context.arguments.list.hasTag(\"x\") && context.arguments.list.getTag(\"x\").contains(\"w\")",
        "context has arguments && context.arguments.mixed.hasTag(\"x\") && context.arguments.mixed.getTag(\"x\").containsAny([\"\\\"w\\\"\", \"3\"])",
        "context has arguments && context.arguments.number.hasTag(\"n\") && context.arguments.number.getTag(\"n\") + 9223372036854775805 > 0",
        "context has arguments && context.arguments.decimal.hasTag(\"n\") && context.arguments.decimal.getTag(\"n\").lessThan(decimal(\"3.5\"))",
    ]
}

/// What the head of a policy says of action and resource.
#[derive(Debug, Clone)]
struct About {
    action: &'static str,
    resource: &'static str,
}

impl About {
    /// Says whether the resource may be the catalogue, of which no condition on tools is valid.
    fn may_be_catalog(&self) -> bool {
        let is_any = self.action == "action" && self.resource == "resource";
        is_any || self.action.contains("catalog") || self.resource.contains("Catalog")
    }

    /// Whoever approves is asked for nothing.
    fn names_approvals(&self) -> bool {
        self.action.contains("approvals.decide")
    }
}

fn about() -> impl Strategy<Value = About> {
    let of_tools = vec![
        "action",
        "action == Action::\"tools.invoke\"",
        "action in Action::\"tools.invoke\"",
        "action in [Action::\"tools.invoke\", Action::\"manifests.register\"]",
        "action == Action::\"approvals.decide\"",
        "action in [Action::\"approvals.decide\", Action::\"tools.invoke\"]",
    ];
    let tools = vec![
        "resource",
        "resource",
        "resource == Tool::\"p1:a\"",
        "resource in Provider::\"p2\"",
        "resource is Tool",
        "resource in Tool::\"p1:b\"",
        "resource is Tool in Provider::\"p1\"",
        "resource is Tool in Tool::\"p2:b\"",
    ];
    let of_catalog = vec![
        "action",
        "action == Action::\"catalog:list\"",
        "action in Action::\"catalog:list\"",
        "action in [Action::\"catalog:list\"]",
    ];
    let catalog = vec![
        "resource",
        "resource is Catalog",
        "resource == Catalog::\"catalog\"",
    ];
    let heads = |actions, resources| {
        let head = (select(actions), select(resources));
        head.prop_map(|(action, resource)| About { action, resource })
    };
    prop_oneof![3 => heads(of_tools, tools), 1 => heads(of_catalog, catalog)]
}

/// Policies in Cedar: heads and conditions, with and without the context, some of which cannot be evaluated.
fn cedar_policy() -> impl Strategy<Value = String> {
    let principals = vec![
        "principal",
        "principal",
        "principal in Role::\"r1\"",
        "principal == Caller::\"alice\"",
        "principal in Caller::\"alice\"",
        "principal is Caller",
        "principal is Caller in Caller::\"bob\"",
        "principal is Caller in Role::\"r2\"",
    ];
    let condition = (select(vec!["when", "unless"]), select(cedar_conditions()));
    let effects = vec![
        "permit",
        "permit",
        "@description(\"no\") forbid",
        "@obligation(\"confirm\") permit",
        "@obligation(\"once\") @grant(\"no\") permit",
        "@obligation(\"confirm:person\") @grant(\"no\") permit",
    ];
    let head = (select(effects), select(principals), about());
    (head, vec(condition, 0..4)).prop_map(|((effect, principal, about), conditions)| {
        let is_valid = |body: &str| !about.may_be_catalog() || !body.contains("resource");
        let conditions = conditions.iter().filter(|(_, body)| is_valid(body));
        let conditions = conditions.map(|(kind, body)| format!("\n{kind} {{ {body} }}"));
        let effect = if about.names_approvals() && effect.contains("@obligation") {
            "permit"
        } else {
            effect
        };
        let About { action, resource } = &about;
        format!(
            "{effect} ({principal}, {action}, {resource}){};",
            conditions.collect::<String>()
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_decision_is_cedars_over_every_policy(
        mut policy in prop_oneof![policy(1..4), policy(1..24)],
        more in vec(more_conditions(), 24),
        cedar in vec(cedar_policy(), 0..6),
        questions in vec(strange(), 6),
    ) {
        let rules = policy["rules"].as_array_mut().expect("rules");
        for (rule, more) in rules.iter_mut().zip(more) {
            let when = rule["when"].as_object_mut().expect("when");
            // A rule that is about a catalogue reads no tool.
            if !when.get("action").is_some_and(|action| action.to_string().contains("catalog")) {
                when.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
            }
        }
        let cedar: String = cedar.iter().enumerate().map(|(at, text)| format!("@id(\"cedar-{at}\")\n{text}\n")).collect();
        let sources = Sources::new().with_yaml("p", policy.to_string()).with_cedar("c", &cedar);
        let set = PolicySet::load(&sources, 1).map_err(|error| TestCaseError::fail(format!("{error}\n{cedar}")))?;
        let alone = Alone::of(&set);
        for asked in &questions {
            // The same caller and tool in every context: what is kept of one must not show in the next.
            for context in &questions {
                asked.with(|asked| context.with(|other| {
                    let moved = Request { context: other.context, ..*asked };
                    prop_assert_eq!(set.decide(&moved), alone.decide(&moved), "{}", cedar);
                    Ok(())
                }))?;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whom a set has answered before changes nothing of what it answers.
    #[test]
    fn an_answer_is_the_same_whoever_asked_first(
        policy in policy(1..8),
        cedar in vec(cedar_policy(), 0..4),
        questions in vec(strange(), 3),
        subs in vec(select(vec!["alice", "bob", "it's \"b\\ob\"", ""]), 3),
        parts in subsequence(outlook::Part::ALL.to_vec(), 0..=8),
    ) {
        let cedar: String = cedar.iter().enumerate().map(|(at, text)| format!("@id(\"cedar-{at}\")\n{text}\n")).collect();
        let sources = Sources::new().with_yaml("p", policy.to_string()).with_cedar("c", &cedar);
        let seen = PolicySet::load(&sources, 1).map_err(|error| TestCaseError::fail(format!("{error}\n{cedar}")))?;
        let unknown = Unknown::parts(parts);
        for asked in &questions {
            // Callers who differ in their names, and perhaps in their claims.
            for (sub, other) in subs.iter().zip(&questions) {
                let mut asked = asked.clone();
                (*sub).clone_into(&mut asked.question.subject.sub);
                if sub.is_empty() {
                    asked.question.subject.claims.clone_from(&other.question.subject.claims);
                }
                let fresh = unasked(&seen);
                asked.with(|request| {
                    prop_assert_eq!(seen.decide(request), fresh.decide(request), "{}", cedar);
                    prop_assert_eq!(seen.visible(request), fresh.visible(request), "{}", cedar);
                    prop_assert_eq!(seen.explain(request), fresh.explain(request), "{}", cedar);
                    prop_assert_eq!(seen.outlook(request, &unknown), fresh.outlook(request, &unknown), "{}", cedar);
                    Ok(())
                })?;
            }
        }
    }
}

type Change = fn(&mut Asking);

fn changes() -> [(&'static str, Change); 25] {
    [
        ("action", |of| of.action = Action::ManifestsRegister),
        ("sub", |of| of.subject.sub = "bob".to_owned()),
        ("tenant", |of| of.subject.tenant = Some("other".to_owned())),
        ("no tenant", |of| of.subject.tenant = None),
        ("another role", |of| {
            of.subject.roles = ["r1".to_owned(), "r2".to_owned()].into();
        }),
        ("no role", |of| of.subject.roles.clear()),
        ("a role that gives nothing", |of| {
            of.subject.roles.insert("stranger".to_owned());
        }),
        ("token", |of| {
            of.subject.scopes = Some(["s.a".to_owned()].into())
        }),
        ("empty token", |of| {
            of.subject.scopes = Some(BTreeSet::new())
        }),
        ("claim", |of| of.claim("dept", json!("eng"))),
        ("claim of two parts", |of| {
            of.claim("org", json!({"unit": "eng"}))
        }),
        ("tool", |of| of.tool.tool_id = "p1:b".to_owned()),
        ("provider", |of| of.tool.provider_id = "p2".to_owned()),
        ("the tool's tenant", |of| {
            of.tool.tenant = Some("public".to_owned())
        }),
        ("tags", |of| {
            of.tool.safety_tags = ["data".to_owned()].into()
        }),
        ("required scopes", |of| {
            of.tool.required_scopes = ["s.c".to_owned()].into();
        }),
        ("classification", |of| {
            of.tool.classification = Some("open".to_owned())
        }),
        ("read_only", |of| of.tool.read_only = true),
        ("hour", |of| of.time = "2026-11-20T10:30:00Z"),
        ("day", |of| of.time = "2026-11-21T09:30:00Z"),
        ("client", |of| of.client = "desktop"),
        ("address", |of| of.ip = "192.168.1.1"),
        ("correlation id", |of| of.corr_id = "c-2"),
        ("labels", |of| of.labels.clear()),
        ("argument", |of| of.arguments = json!({"x": "w"})),
    ]
}

/// Conditions each of which some change turns about.
fn on_each_part() -> [&'static str; 22] {
    [
        "principal.sub == \"alice\"",
        "principal has tenant && principal.tenant == \"acme\"",
        "principal.roles == [\"r1\"]",
        "principal.scopes.contains(\"s.b\")",
        "principal.hasTag(\"dept\") && principal.getTag(\"dept\").contains(\"sales\")",
        "principal.hasTag(\"org.unit\") && principal.getTag(\"org.unit\").contains(\"sales\")",
        "resource is Tool && resource.toolId == \"p1:a\"",
        "resource is Tool && resource.provider_id == \"p1\"",
        "resource is Tool && resource has tenant && resource.tenant == \"acme\"",
        "resource is Tool && resource.safety_tags.isEmpty()",
        "resource is Tool && resource.required_scopes.isEmpty()",
        "resource is Tool && resource has classification && resource.classification == \"secret\"",
        "resource is Tool && !resource.read_only",
        "action == Action::\"tools.invoke\"",
        "context.hour == 9",
        "context.weekday == \"friday\"",
        "context.time < datetime(\"2026-11-20T10:00:00Z\")",
        "context has client && context.client == \"cli\"",
        "context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\"))",
        "context has corr_id && context.corr_id == \"c-1\"",
        "context.labels.contains(\"pii\")",
        "context has arguments && context.arguments.text.hasTag(\"x\") && context.arguments.text.getTag(\"x\") == \"v\"",
    ]
}

/// What is kept of one request is not another's, wherever the two differ, and what differs is seen.
#[test]
fn whatever_part_a_policy_reads_tells_requests_apart() {
    let of_base = |condition: &str| {
        let head = "@grant(\"no\") @obligation(\"confirm\") permit (principal, action, resource)";
        format!("{head} when {{ {condition} }};")
    };
    let alone = on_each_part().map(of_base).to_vec();
    let sets = alone
        .iter()
        .map(|of| vec![of])
        .chain([alone.iter().collect()]);
    for cedar in sets {
        let numbered = cedar.iter().enumerate();
        let cedar: String = numbered
            .map(|(at, of)| format!("@id(\"c-{at}\")\n{of}\n"))
            .collect();
        let yaml = "version: 1\nroles: {r1: [\"tools.invoke:write\", \"tools.invoke:read\", manifests.register, \"s.*\"], r2: [s.b]}\nrules:\n  - {id: open, effect: allow, when: {action: [tools.invoke, manifests.register]}}\n";
        let sources = Sources::new().with_yaml("p", yaml).with_cedar("c", &cedar);
        let seen = PolicySet::load(&sources, 1).unwrap_or_else(|error| panic!("{error}\n{cedar}"));
        let base = Asking::base();
        for (what, change) in changes() {
            let mut changed = base.clone();
            change(&mut changed);
            for asked in [&base, &changed, &base] {
                asked.with(|request| {
                    let decision = seen.decide(request);
                    assert_eq!(decision, unasked(&seen).decide(request), "{what}: {cedar}");
                    assert_eq!(
                        decision,
                        Alone::of(&seen).decide(request),
                        "{what}: {cedar}"
                    );
                });
            }
        }
    }
}

/// A request of which one part at a time is changed.
#[derive(Debug, Clone)]
struct Asking {
    action: Action,
    subject: Subject,
    tool: crate::Resource,
    time: &'static str,
    client: &'static str,
    ip: &'static str,
    corr_id: &'static str,
    labels: BTreeSet<String>,
    arguments: Value,
}

impl Asking {
    fn base() -> Self {
        let subject = Subject::new("alice").tenant("acme").roles(["r1"]);
        let claims = subject.claim("dept", "sales");
        let tool = crate::Resource::new("p1:a", "p1").tenant("acme");
        Self {
            action: Action::ToolsInvoke,
            subject: claims.claim("org", json!({"unit": "sales"})),
            tool: tool.classification("secret"),
            time: "2026-11-20T09:30:00Z",
            client: "cli",
            ip: "10.1.2.3",
            corr_id: "c-1",
            labels: ["pii".to_owned()].into(),
            arguments: json!({"x": "v"}),
        }
    }

    fn claim(&mut self, name: &str, value: Value) {
        self.subject = self.subject.clone().claim(name, value);
    }

    fn with(&self, use_it: impl FnOnce(&Request<'_>)) {
        let context = Context::at(self.time.parse().expect("a time"))
            .client(self.client)
            .ip(self.ip.parse().expect("an address"))
            .corr_id(self.corr_id)
            .labels(&self.labels)
            .arguments(&self.arguments);
        use_it(&Request {
            action: self.action,
            subject: &self.subject,
            resource: Some(&self.tool),
            context: &context,
        });
    }
}

/// The same policies in a set that has kept nothing.
fn unasked(set: &PolicySet) -> PolicySet {
    let units = set.index.units().iter();
    let units = units.map(|unit| Unit::clone(unit)).collect();
    PolicySet::of(set.version.clone(), set.roles.clone(), units)
}

#[test]
fn callers_whom_no_policy_tells_apart_share_what_is_settled() {
    let kept = |cedar: &str| {
        let set = load(
            "  - {id: other, effect: deny, when: {resource.toolId: \"t:b\", subject.sub: bob, subject.claims.dept: x}}\n",
            cedar,
        );
        let context = Context::at("2026-11-20T09:30:00Z".parse().expect("a time"));
        let tool = crate::Resource::new("t:a", "t").tenant("acme");
        let kept = |sub: &str| {
            let subject = Subject::new(sub).tenant("acme").roles(["agent"]);
            let request = Request {
                action: Action::ToolsInvoke,
                subject: &subject.claim("dept", sub),
                resource: Some(&tool),
                context: &context,
            };
            set.prepare(&request).expect("a preparation")
        };
        Arc::ptr_eq(&kept("ann"), &kept("bob"))
    };
    let head = "@id(\"x\") forbid (principal, action, resource)";
    let told_apart = [
        "@id(\"x\") forbid (principal == Caller::\"bob\", action, resource);".to_owned(),
        "@id(\"x\") forbid (principal in Caller::\"bob\", action, resource);".to_owned(),
        "@id(\"x\") forbid (principal is Caller in Caller::\"bob\", action, resource);".to_owned(),
        format!("{head} when {{ principal == Caller::\"bob\" }};"),
        format!("{head} when {{ [Caller::\"bob\"].contains(principal) }};"),
        format!("{head} when {{ principal in [Caller::\"bob\", Caller::\"eve\"] }};"),
        format!("{head} when {{ {{a: principal}} == {{a: Caller::\"bob\"}} }};"),
        format!("{head} when {{ Caller::\"bob\" in Role::\"agent\" }};"),
        format!("{head} when {{ Caller::\"bob\" has tenant }};"),
        format!("{head} when {{ context.hour == 9 && principal.sub == \"bob\" }};"),
        format!("{head} when {{ context.hour == 3 }} unless {{ principal.sub like \"a*\" }};"),
        format!("{head} when {{ principal.hasTag(\"dept\") }};"),
    ];
    for cedar in told_apart {
        assert!(!kept(&cedar), "{cedar}");
    }
    let alike = [
        String::new(),
        "@id(\"x\") forbid (principal in Role::\"agent\", action, resource);".to_owned(),
        "@id(\"x\") forbid (principal is Caller, action, resource);".to_owned(),
        "@id(\"x\") forbid (principal == Caller::\"bob\", action, resource == Tool::\"t:b\");"
            .to_owned(),
        format!(
            "{head} when {{ principal.roles.contains(\"x\") && principal has tenant && context.hour == 9 }};"
        ),
    ];
    for cedar in alike {
        assert!(kept(&cedar), "{cedar}");
    }
}

fn load(yaml: &str, cedar: &str) -> PolicySet {
    let yaml = format!(
        "version: 1\nroles: {{agent: [\"tools.invoke:write\"]}}\nrules:\n  - {{id: open, effect: allow, when: {{subject.roles: agent}}}}\n{yaml}"
    );
    let sources = Sources::new().with_yaml("p", yaml).with_cedar("c", cedar);
    PolicySet::load(&sources, 1).unwrap_or_else(|error| panic!("{error}\n{cedar}"))
}

/// Decides, compares with Cedar, and returns the effect and the rules.
fn decided(set: &PolicySet, context: &Context<'_>) -> (Effect, String) {
    let subject = Subject::new("ann").tenant("acme").roles(["agent"]);
    let tool = crate::Resource::new("t:a", "t").tenant("acme");
    let request = Request {
        action: Action::ToolsInvoke,
        subject: &subject,
        resource: Some(&tool),
        context,
    };
    let decision = set.decide(&request);
    assert_eq!(decision, Alone::of(set).decide(&request));
    assert_eq!(decision, set.decide(&request), "once more");
    (decision.effect, decision.policy_ids.join(" "))
}

#[test]
fn what_cannot_be_evaluated_fails_as_in_cedar_wherever_it_stands() {
    const FAILS: &str = "9223372036854775807 + (if principal.sub == \"ann\" then 1 else 0) > 0";
    const FAILS_LATER: &str = "9223372036854775807 + context.hour > 0";
    let context = Context::at("2026-11-20T09:30:00Z".parse().expect("a time"));
    let duty = "@obligation(\"confirm\") @grant(\"no\") permit";
    let (allow, deny) = (Effect::Allow, Effect::Deny);
    let cases = [
        ("forbid", vec![FAILS], (deny, "x")),
        ("forbid", vec![FAILS_LATER], (deny, "x")),
        ("forbid", vec![FAILS, "context.hour == 9"], (deny, "x")),
        ("forbid", vec![FAILS, "context.hour == 8"], (deny, "x")),
        ("forbid", vec!["context.hour == 8", FAILS], (allow, "open")),
        ("forbid", vec!["context.hour == 9", FAILS], (deny, "x")),
        (
            "forbid",
            vec!["principal.sub == \"bob\"", FAILS_LATER],
            (allow, "open"),
        ),
        (
            "forbid",
            vec!["principal.sub == \"bob\"", FAILS],
            (allow, "open"),
        ),
        (duty, vec![FAILS], (allow, "open x")),
        (duty, vec![FAILS_LATER], (allow, "open x")),
        (duty, vec![FAILS, "context.hour == 8"], (allow, "open x")),
        (duty, vec!["context.hour == 8", FAILS], (allow, "open")),
        ("permit", vec![FAILS], (allow, "open")),
        ("permit", vec![FAILS_LATER], (allow, "open")),
        ("permit", vec!["context.hour == 9"], (allow, "open x")),
    ];
    for (effect, conditions, (expected, ids)) in cases {
        let conditions = conditions.iter().map(|body| format!(" when {{ {body} }}"));
        let conditions: String = conditions.collect();
        let head = "(principal, action == Action::\"tools.invoke\", resource)";
        let cedar = format!("@id(\"x\") {effect} {head}{conditions};");
        let found = decided(&load("", &cedar), &context);
        assert_eq!(found, (expected, ids.to_owned()), "{cedar}");
    }
}

#[test]
fn moments_are_compared_to_the_millisecond() {
    let moments = [
        "1969-12-31T23:59:59.999Z",
        "1969-12-31T23:59:59.9995Z",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00.0004Z",
        "2026-11-20T09:30:00.001999Z",
    ];
    for moment in moments {
        let set = load(
            &format!(
                "  - {{id: before, effect: allow, when: {{subject.roles: agent, context.time_before: \"{moment}\"}}}}\n  - {{id: after, effect: allow, when: {{subject.roles: agent, context.time_after: \"{moment}\"}}}}\n"
            ),
            "",
        );
        for moment in moments {
            let time: jiff::Timestamp = moment.parse().expect("a time");
            for nanos in [-1_000_000, -400_000, -1, 0, 1, 400_000, 1_000_000] {
                let time = time + jiff::SignedDuration::from_nanos(nanos);
                let (_, ids) = decided(&set, &Context::at(time));
                assert!(ids == "after open" || ids == "before open", "{time}: {ids}");
            }
        }
    }
}

#[test]
fn what_reads_no_context_is_settled_before() {
    let cedar = "@id(\"a\") permit (principal in Role::\"agent\", action, resource) unless { principal.sub == \"x\" } when { context.hour > 3 } unless { context.hour == 9 && principal.sub == \"y\" };";
    let yaml = "version: 1\nroles: {agent: [\"tools.invoke:write\"]}\nrules:\n  - {id: b, effect: deny, when: {context.hour: 5, resource.toolId: \"t:a\", context.client: \"!= cli\"}}\n";
    let sources = Sources::new().with_yaml("p", yaml).with_cedar("c", cedar);
    let set = PolicySet::load(&sources, 1).expect("loads");
    let [native, rule] = set.index.units() else {
        panic!("two policies")
    };
    let left = json!({".": {"left": {"Var": "principal"}, "attr": "sub"}});
    let body = json!({"==": {"left": left, "right": {"Value": "x"}}});
    let known = Term::of_conditions(&[json!({"kind": "unless", "body": body})]).expect("a term");
    let head = head(
        &native.policy.principal_constraint(),
        &native.policy.resource_constraint(),
    );
    assert!(
        matches!(&native.known, Known::Term(term) if *term == head.expect("a head").and(known))
    );
    assert!(matches!(&native.rest, Some(Rest::Term(_))));
    assert!(matches!(&rule.known, Known::Checks(checks) if checks.len() == 1));
    assert!(matches!(&rule.rest, Some(Rest::Checks(checks)) if checks.len() == 2));
}

#[test]
fn a_slice_holds_only_what_can_match() {
    let rules: String = (0..300)
        .map(|at| format!("  - {{id: r{at}, effect: allow, when: {{resource.toolId: \"t:{at}\", subject.roles: agent}}}}\n"))
        .collect();
    let text = format!(
        "version: 1\nroles: {{agent: [\"tools.invoke:write\"]}}\nrules:\n{rules}  - {{id: d, effect: deny, when: {{resource.tenant: x}}}}\n"
    );
    let set = PolicySet::load(&Sources::new().with_yaml("p", text), 1).expect("loads");
    let slice = |tool, role: &str| {
        let cut = set
            .index
            .slice(
                crate::Action::ToolsInvoke,
                Some((tool, "t")),
                &[role.to_owned()].into(),
            )
            .expect("a slice");
        cut.1
            .units
            .iter()
            .map(|unit| unit.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(slice("t:7", "agent"), ["d", "r7"]);
    assert_eq!(slice("t:7", "stranger"), ["d"]);
    assert_eq!(slice("unknown", "agent"), ["d"]);
}
