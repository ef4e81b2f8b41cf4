//! Rule sets and requests over a universe small enough for them to meet.

use std::collections::BTreeSet;

use fastmcp_policy::{Action, Context, Decision, PolicySet, Request, Resource, Subject};
use jiff::Timestamp;
use proptest::collection::{btree_set, vec};
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

/// A request that owns its parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    pub(crate) action: Action,
    pub(crate) subject: Subject,
    pub(crate) tool: Resource,
    pub(crate) time: Timestamp,
    pub(crate) client: Option<String>,
    pub(crate) ip: Option<std::net::IpAddr>,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) arguments: Option<Value>,
}

impl Question {
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&Request<'_>) -> T) -> T {
        let context = Context {
            time: self.time,
            client: self.client.as_deref(),
            ip: self.ip,
            corr_id: None,
            labels: Some(&self.labels),
            arguments: self.arguments.as_ref(),
        };
        let resource = Some(&self.tool).filter(|_| self.action.has_resource());
        use_it(&Request {
            action: self.action,
            subject: &self.subject,
            resource,
            context: &context,
        })
    }

    pub(crate) fn ask(&self, set: &PolicySet) -> Decision {
        self.with(|request| set.decide(request))
    }
}

pub(crate) fn roles() -> Value {
    json!({
        "r1": ["tools.invoke:write", "s.a"],
        "r2": ["tools.invoke:read", "s.*"],
        "r3": ["s.b", "manifests.register", "tools.invoke:write", "approvals.decide"],
    })
}

/// Every kind of condition, in every spelling.
fn condition() -> impl Strategy<Value = (String, Value)> {
    let cases = [
        ("subject.roles", json!(["r1"])),
        ("subject.roles", json!("r2")),
        ("subject.roles_any", json!(["r1", "r3"])),
        ("subject.roles !=", json!("r1")),
        ("subject.roles", json!("!= r3")),
        ("subject.roles", json!("== resource.classification")),
        ("subject.scopes", json!(["s.a"])),
        ("subject.scopes", json!("!= s.b")),
        ("subject.tenant", json!("acme")),
        ("subject.tenant", json!("!= acme")),
        ("subject.tenant", json!("== resource.tenant")),
        ("subject.sub", json!("alice")),
        ("subject.sub !=", json!(["alice", "it's \"b\\ob\""])),
        ("resource.toolId", json!("p1:a")),
        ("resource.toolId_in", json!(["p1:a", "p2:b"])),
        ("resource.toolId", json!("!= p1:a")),
        ("resource.provider_id", json!("p2")),
        ("resource.tenant", json!("!= subject.tenant")),
        ("resource.tenant != subject.tenant", json!(true)),
        ("resource.tenant !=", json!("subject.tenant")),
        ("resource.tenant", json!("== subject.tenant")),
        ("resource.tenant", json!(["acme", "other"])),
        ("resource.public", json!(true)),
        ("resource.public", json!(false)),
        (
            "resource.safety_tags_any",
            json!(["financial", "destructive"]),
        ),
        ("resource.safety_tags", json!("!= financial")),
        ("resource.required_scopes", json!("s.a")),
        ("resource.classification", json!("secret")),
        ("resource.classification", json!("!= secret")),
        ("resource.read_only", json!(true)),
        ("resource.read_only !=", json!(true)),
        ("context.client", json!("cli")),
        ("context.client !=", json!("cli")),
        ("context.labels", json!("pii")),
        ("context.labels_any", json!(["pii", "secret"])),
        ("context.labels", json!("!= secret")),
        ("context.labels", json!("== resource.classification")),
        ("context.hour", json!([9, 10])),
        ("context.hour !=", json!(9)),
        ("context.weekday", json!(["friday"])),
        ("context.ip", json!(["10.0.0.0/8", "192.168.1.1"])),
        ("context.ip", json!("!= 10.0.0.0/8")),
        ("context.time_before", json!("2026-11-20T09:45:00Z")),
        ("context.time_after", json!("2026-11-20T10:15:00+01:00")),
    ];
    let cases = cases.into_iter().chain(on_open_names()).collect::<Vec<_>>();
    select(cases).prop_map(|(key, value)| (key.to_owned(), value))
}

/// Those on claims and arguments, whose names may end like an operator.
fn on_open_names() -> impl Iterator<Item = (&'static str, Value)> {
    [
        ("subject.claims.dept", json!("sales")),
        ("subject.claims.dept", json!("!= sales")),
        ("subject.claims.dept", json!(["sales", "eng"])),
        ("subject.claims.dept", json!("== resource.classification")),
        ("subject.claims.level", json!(3)),
        ("subject.claims.dept_in", json!(["sales", "eng"])),
        ("subject.claims.dept_any", json!(["secret", "eng"])),
        ("subject.claims.dept !=", json!(["sales", "eng"])),
        (
            "subject.claims.\"dept\" !=",
            json!("resource.classification"),
        ),
        ("subject.claims.level_in", json!([3, "4"])),
        ("subject.claims.opt_in", json!(["sales"])),
        ("subject.claims.\"opt_in\"", json!("sales")),
        ("subject.claims.\"opt_in\"_any", json!(["sales", true])),
        ("context.arguments.x", json!("v")),
        ("context.arguments.x", json!(["v", 1, true])),
        ("context.arguments.x", json!("!= v")),
        ("context.arguments.x !=", json!([1])),
        ("context.arguments.x", json!("== subject.sub")),
        ("context.arguments.x !=", json!("subject.sub")),
        ("context.arguments.x_in", json!(["v", 1, true])),
        ("context.arguments.x_any", json!(["alice", "w"])),
        ("context.arguments.\"x\"_in", json!(["w", 1])),
        ("context.arguments.\"x\" !=", json!(["v", true])),
        ("context.arguments.o.check_in", json!([true, "v"])),
        ("context.arguments.\"o.check_in\"", json!(true)),
        ("context.arguments.\"o.check_in\" !=", json!([true])),
        ("context.arguments.o.check", json!("!= v")),
    ]
    .into_iter()
}

fn duty() -> impl Strategy<Value = Option<(&'static str, Value)>> {
    let duties = vec![
        ("require_confirmation", json!(true)),
        ("require_confirmation", json!(false)),
        ("require_confirmation", json!("person")),
        ("require_confirmation", json!("other_person")),
        ("once", json!(true)),
    ];
    weighted(0.35, select(duties))
}

/// One rule without its id.
pub(crate) fn rule(allows: impl Strategy<Value = bool>) -> impl Strategy<Value = Value> {
    let actions = select(vec![
        json!("tools.invoke"),
        json!(["tools.invoke", "manifests.register"]),
        json!("catalog:list"),
        json!("approvals.decide"),
    ]);
    (
        allows,
        vec(condition(), 0..4),
        weighted(0.6, actions),
        duty(),
    )
        .prop_map(|(allows, conditions, action, duty)| {
            let mut when: Map<String, Value> = conditions.into_iter().collect();
            let reads_resource = Value::Object(when.clone())
                .to_string()
                .contains("resource.");
            if let Some(action) =
                action.filter(|action| !reads_resource || *action != json!("catalog:list"))
            {
                when.insert("action".to_owned(), action);
            }
            if when.is_empty() {
                when.insert(
                    "action".to_owned(),
                    json!(["tools.invoke", "catalog:list", "manifests.register"]),
                );
            }
            let approves = when.get("action") == Some(&json!("approvals.decide"));
            let mut rule = json!({"effect": if allows { "allow" } else { "deny" }, "when": when});
            if let (Some((key, value)), true) = (duty, allows && !approves) {
                rule[key] = value;
            }
            rule
        })
}

/// A whole policy. JSON is YAML, so its text loads as it is.
pub(crate) fn policy(size: std::ops::Range<usize>) -> impl Strategy<Value = Value> {
    vec(rule(proptest::bool::weighted(0.75)), size).prop_map(numbered)
}

pub(crate) fn numbered(mut rules: Vec<Value>) -> Value {
    for (at, rule) in rules.iter_mut().enumerate() {
        rule["id"] = json!(format!("rule-{at}"));
    }
    json!({"version": 1, "roles": roles(), "rules": rules})
}

fn subject() -> impl Strategy<Value = Subject> {
    let texts = |all: &'static [&'static str]| subsequence(all.to_vec(), 0..=all.len());
    let tenants = of(select(vec!["acme", "other", "public", ""]));
    let dept = select(vec![
        json!(null),
        json!("sales"),
        json!(["eng", "secret"]),
        json!({"a": 1}),
        json!("secret"),
    ]);
    let level = of(select(vec![json!(3), json!("3"), json!(4)]));
    let opt_in = of(select(vec![
        json!("sales"),
        json!(true),
        json!(["a", "sales"]),
    ]));
    let scopes = weighted(
        0.3,
        texts(&[
            "s.a",
            "s.b",
            "s.*",
            "tools.invoke:read",
            "tools.invoke:write",
            "manifests.register",
            "approvals.decide",
        ]),
    );
    let sub = select(vec!["alice", "bob", "it's \"b\\ob\""]);
    (
        sub,
        tenants,
        texts(&["r1", "r2", "r3", "stranger", "secret"]),
        scopes,
        dept,
        (level, opt_in),
    )
        .prop_map(|(sub, tenant, roles, scopes, dept, (level, opt_in))| {
            let mut subject = Subject::new(sub).roles(roles).claim("dept", dept);
            subject.tenant = tenant.map(str::to_owned);
            subject.scopes = scopes.map(|scopes| scopes.into_iter().map(str::to_owned).collect());
            [("level", level), ("opt_in", opt_in)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .fold(subject, |subject, (name, value)| subject.claim(name, value))
        })
}

fn tool() -> impl Strategy<Value = Resource> {
    let ids = select(vec![
        ("p1:a", "p1"),
        ("p1:b", "p1"),
        ("p2:b", "p2"),
        ("p3:c", "p3"),
    ]);
    let tenant = of(select(vec!["acme", "other", "public", ""]));
    let tags = btree_set(select(vec!["financial", "destructive", "data"]), 0..3);
    let scopes = btree_set(select(vec!["s.a", "s.b", "s.c"]), 0..2);
    let label = of(select(vec!["secret", "open", "r1"]));
    (ids, tenant, tags, scopes, label, any::<bool>()).prop_map(
        |((tool, provider), tenant, tags, scopes, label, read_only)| {
            let mut resource = Resource::new(tool, provider)
                .safety_tags(tags)
                .required_scopes(scopes)
                .read_only(read_only);
            resource.tenant = tenant.map(str::to_owned);
            resource.classification = label.map(str::to_owned);
            resource
        },
    )
}

pub(crate) fn question() -> impl Strategy<Value = Question> {
    let action = prop_oneof![
        8 => Just(Action::ToolsInvoke),
        1 => Just(Action::CatalogList),
        1 => Just(Action::ManifestsRegister),
        1 => Just(Action::ApprovalsDecide),
    ];
    let time = select(vec![
        "2026-11-20T09:30:00Z",
        "2026-11-20T09:50:00Z",
        "2026-11-21T10:00:00Z",
    ]);
    let client = of(select(vec!["cli", "desktop"]));
    let ip = of(select(vec!["10.1.2.3", "192.168.1.1", "192.168.1.2"]));
    let x = select(vec![
        json!(null),
        json!("v"),
        json!("alice"),
        json!(1),
        json!(1.5),
        json!(true),
        json!(["v", "w"]),
        json!([1]),
        json!(["alice", 1.0, null]),
        json!([true, 1.5, "w"]),
        json!([null]),
        json!([["v"]]),
        json!(["v", {}]),
        json!({}),
    ]);
    let labels = btree_set(select(vec!["pii", "secret", "open"]), 0..3);
    let arguments = of((
        weighted(0.7, x),
        of(any::<bool>()),
        of(select(vec!["v", "w"])),
    )
        .prop_map(|(x, check_in, check)| {
            let mut map = Map::new();
            map.extend(x.map(|x| ("x".to_owned(), x)));
            map.extend(
                check_in.map(|flag| ("o".to_owned(), json!({"check_in": flag, "check": check}))),
            );
            Value::Object(map)
        }));
    let circumstances = (time, client, ip, labels, arguments);
    (action, subject(), tool(), circumstances).prop_map(
        |(action, subject, tool, (time, client, ip, labels, arguments))| Question {
            action,
            subject,
            tool,
            time: time.parse().expect("a time"),
            client: client.map(str::to_owned),
            ip: ip.map(|ip| ip.parse().expect("an address")),
            labels: labels.into_iter().map(str::to_owned).collect(),
            arguments,
        },
    )
}
