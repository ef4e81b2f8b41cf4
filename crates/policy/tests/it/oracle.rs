//! A second, naive interpreter of `policies.yml`: plain text in, plain comparison, no Cedar, no index, no cache, nothing shared with the crate
//! but the request's types. What it says and what the compiled policy says must be the same.

use std::collections::BTreeSet;

use fastmcp_policy::{Action, Request};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

/// What the interpreter concludes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) ids: BTreeSet<String>,
    pub(crate) obligations: BTreeSet<String>,
}

/// A value of the request.
#[derive(Debug)]
enum Seen {
    /// Not known.
    Missing,
    /// Known not to be there: an argument that the call does not carry.
    Absent,
    One(Value),
    Many(Vec<Value>),
}

pub(crate) fn decide(policy: &Value, request: &Request<'_>) -> Verdict {
    let rules = policy["rules"].as_array().expect("rules");
    if rules.iter().any(|rule| is_unjudged(rule, request)) {
        return Verdict {
            allowed: false,
            ids: BTreeSet::new(),
            obligations: BTreeSet::new(),
        };
    }
    let denied: Vec<_> = rules
        .iter()
        .filter(|rule| rule["effect"] == "deny" && matches(policy, rule, request, true))
        .collect();
    let refuse = |ids: BTreeSet<String>| Verdict {
        allowed: false,
        ids,
        obligations: BTreeSet::new(),
    };
    if !denied.is_empty() {
        return refuse(denied.into_iter().map(id).collect());
    }
    let allow: Vec<_> = rules
        .iter()
        .filter(|rule| rule["effect"] == "allow")
        .collect();
    let granting = allow
        .iter()
        .filter(|rule| grants(rule) && matches(policy, rule, request, false));
    let mut ids: BTreeSet<_> = granting.map(|rule| id(rule)).collect();
    // Where no rule says who may approve, the scope does.
    let by_scope = request.action == Action::ApprovalsDecide
        && !allow.iter().any(|rule| names_approvals(rule));
    if (ids.is_empty() && !by_scope) || !missing_scopes(policy, request).is_empty() {
        return refuse(ids);
    }
    let (mut level, mut once) = (0, false);
    for rule in allow
        .iter()
        .filter(|rule| has_duty(rule) && matches(policy, rule, request, true))
    {
        ids.insert(id(rule));
        once |= rule["once"] == true;
        let asked = ["client", "person", "other_person"]
            .iter()
            .position(|name| rule["require_confirmation"] == *name);
        level = level.max(
            asked.map_or(usize::from(rule["require_confirmation"] == true), |at| {
                at + 1
            }),
        );
    }
    let mut obligations = BTreeSet::new();
    if once {
        obligations.insert("once".to_owned());
    }
    if let Some(name) = [None, Some("client"), Some("person"), Some("other_person")][level] {
        obligations.insert(format!("confirm:{name}"));
    }
    Verdict {
        allowed: true,
        ids,
        obligations,
    }
}

fn names_approvals(rule: &Value) -> bool {
    list(&rule["when"]["action"]).contains(&json!("approvals.decide"))
}

fn id(rule: &Value) -> String {
    rule["id"].as_str().expect("an id").to_owned()
}

fn has_duty(rule: &Value) -> bool {
    rule["once"] == true
        || !matches!(
            rule.get("require_confirmation"),
            None | Some(Value::Bool(false))
        )
}

/// A duty without a word about who the caller is grants nothing.
fn grants(rule: &Value) -> bool {
    let who = |(key, value): (&String, &Value)| {
        key.starts_with("subject.") && !key.contains("!=") && !is_operator(value)
    };
    !has_duty(rule) || rule["when"].as_object().expect("when").iter().any(who)
}

fn is_operator(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.starts_with("!=") || text.starts_with("=="))
}

fn matches(policy: &Value, rule: &Value, request: &Request<'_>, missing_matches: bool) -> bool {
    let when = rule["when"].as_object().expect("when");
    is_about(rule, request)
        && when
            .iter()
            .filter(|(key, _)| *key != "action")
            .all(|(key, value)| holds(policy, key, value, request, missing_matches))
}

/// Whether the rule is about requests of this action.
fn is_about(rule: &Value, request: &Request<'_>) -> bool {
    let when = rule["when"].as_object().expect("when");
    let reads_resource = when
        .iter()
        .any(|(key, value)| key.contains("resource.") || value.to_string().contains("resource."));
    let named = when.get("action").map_or(
        request.action != Action::ApprovalsDecide || rule["effect"] == "deny",
        |action| list(action).contains(&json!(request.action.name())),
    );
    named && (!reads_resource || request.action != Action::CatalogList)
}

/// Whether the rule refuses to judge the request: its action, tool, provider and roles fit, and it reads an argument that is a list which it
/// cannot compare.
fn is_unjudged(rule: &Value, request: &Request<'_>) -> bool {
    let Some(arguments) = request.context.arguments else {
        return false;
    };
    let when = rule["when"].as_object().expect("when");
    let asked: Vec<_> = when
        .iter()
        .map(|(key, value)| Asked::of(key, value))
        .collect();
    let tool = request.resource;
    let own = [
        ("resource.toolId", tool.map(|tool| vec![&tool.tool_id])),
        (
            "resource.provider_id",
            tool.map(|tool| vec![&tool.provider_id]),
        ),
        (
            "subject.roles",
            Some(request.subject.roles.iter().collect()),
        ),
    ];
    let fits = own.into_iter().all(|(name, own)| {
        let mut all = asked.iter();
        let first = all.find(|it| it.name == name && !it.negated && !it.is_reference());
        let own = own.unwrap_or_default();
        first.is_none_or(|it| {
            list(&it.right)
                .iter()
                .any(|value| own.iter().any(|text| value == *text))
        })
    });
    let is_unfit = |it: &Asked| {
        let path = it.name.strip_prefix("context.arguments.");
        let entries = path.and_then(|path| at(arguments, path)?.as_array());
        entries.is_some_and(|entries| {
            let deep = |entry: &Value| entry.is_array() || entry.is_object();
            it.is_reference() || entries.len() > 1024 || entries.iter().any(deep)
        })
    };
    is_about(rule, request) && fits && asked.iter().any(is_unfit)
}

fn list(value: &Value) -> Vec<Value> {
    value
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![value.clone()])
}

/// A condition taken apart.
struct Asked {
    name: String,
    suffix: Option<&'static str>,
    negated: bool,
    right: Value,
}

impl Asked {
    fn of(key: &str, value: &Value) -> Self {
        let text = value.as_str().unwrap_or_default();
        let (name, negated, right) = if let Some((left, right)) = key.split_once("!=") {
            (
                left.trim(),
                true,
                if right.trim().is_empty() {
                    value.clone()
                } else {
                    json!(right.trim())
                },
            )
        } else if let Some(right) = text.strip_prefix("!=") {
            (key, true, json!(right.trim()))
        } else if let Some(right) = text.strip_prefix("==") {
            (key, false, json!(right.trim()))
        } else {
            (key, false, value.clone())
        };
        let suffix = ["_in", "_any", "_before", "_after"]
            .into_iter()
            .find(|suffix| name.ends_with(suffix));
        let name = suffix.map_or(name, |suffix| name.trim_end_matches(suffix));
        // Quotes keep the end of an open name from being an operator, and mean nothing else.
        let name = name.replace('"', "");
        Self {
            name,
            suffix,
            negated,
            right,
        }
    }

    fn is_reference(&self) -> bool {
        let is_name = |text: &str| text.starts_with("subject.") || text.starts_with("resource.");
        self.right.as_str().is_some_and(is_name)
    }
}

fn holds(
    policy: &Value,
    key: &str,
    value: &Value,
    request: &Request<'_>,
    missing_matches: bool,
) -> bool {
    let asked = Asked::of(key, value);
    let is_reference = asked.is_reference();
    let Asked {
        name,
        suffix,
        negated,
        right,
    } = asked;
    let name = &name;
    let left = see(policy, name, request);
    let right = if is_reference {
        see(policy, right.as_str().expect("text"), request)
    } else {
        Seen::Many(list(&right))
    };
    if matches!(left, Seen::Missing) || matches!(right, Seen::Missing) {
        return missing_matches;
    }
    let is_absent = matches!(left, Seen::Absent);
    let (lefts, rights) = (values(left), values(right));
    let same = match suffix {
        Some("_before") => moment(&lefts[0]) < moment(&rights[0]),
        Some("_after") => moment(&lefts[0]) >= moment(&rights[0]),
        _ => lefts
            .iter()
            .any(|left| rights.iter().any(|right| equal(name, left, right))),
    };
    // An argument that is not there differs from everything, but that alone grants nothing.
    if negated {
        !same && (missing_matches || !is_absent)
    } else {
        same
    }
}

fn values(seen: Seen) -> Vec<Value> {
    match seen {
        Seen::Missing | Seen::Absent => Vec::new(),
        Seen::One(value) => vec![value],
        Seen::Many(values) => values,
    }
}

fn moment(value: &Value) -> jiff::Timestamp {
    value.as_str().expect("a time").parse().expect("a time")
}

fn equal(name: &str, left: &Value, right: &Value) -> bool {
    match name {
        "context.ip" => within(left.as_str().expect("text"), right.as_str().expect("text")),
        _ if name.starts_with("subject.claims.") => plain(left) == plain(right),
        "subject.scopes" => covers(left.as_str().expect("text"), right.as_str().expect("text")),
        _ => left == right || (left.is_number() && left.as_f64() == right.as_f64()),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// IPv4 only; enough for what is generated.
fn within(address: &str, network: &str) -> bool {
    let bits = |text: &str| {
        text.parse::<std::net::Ipv4Addr>()
            .map(u32::from)
            .expect("an address")
    };
    let (base, length) = network.split_once('/').unwrap_or((network, "32"));
    let shift = 32 - length.parse::<u32>().expect("a length");
    u64::from(bits(address)) >> shift == u64::from(bits(base)) >> shift
}

fn texts<'a>(values: impl IntoIterator<Item = &'a String>) -> Seen {
    Seen::Many(values.into_iter().map(|text| json!(text)).collect())
}

fn one(value: Option<&str>) -> Seen {
    value
        .filter(|text| !text.is_empty())
        .map_or(Seen::Missing, |text| Seen::One(json!(text)))
}

fn see(policy: &Value, name: &str, request: &Request<'_>) -> Seen {
    let (subject, context) = (request.subject, request.context);
    if let Some(claim) = name.strip_prefix("subject.claims.") {
        return match subject.claims.get(claim) {
            None | Some(Value::Null | Value::Object(_)) => Seen::Missing,
            Some(Value::Array(list)) => Seen::Many(list.clone()),
            Some(value) => Seen::One(value.clone()),
        };
    }
    if let Some(path) = name.strip_prefix("context.arguments.") {
        return match context.arguments {
            None => Seen::Missing,
            Some(arguments) => argument(arguments, path),
        };
    }
    let zoned = context.time.to_zoned(TimeZone::UTC);
    match name {
        "subject.sub" => Seen::One(json!(subject.sub)),
        "subject.tenant" => one(subject.tenant.as_deref()),
        "subject.roles" => texts(&subject.roles),
        "subject.scopes" => texts(&effective(policy, request)),
        "context.labels" => context.labels.map_or(Seen::Many(Vec::new()), texts),
        "context.client" => one(context.client),
        "context.ip" => context
            .ip
            .map_or(Seen::Missing, |ip| Seen::One(json!(ip.to_string()))),
        "context.hour" => Seen::One(json!(zoned.hour())),
        "context.weekday" => Seen::One(json!(zoned.strftime("%A").to_string().to_lowercase())),
        "context.time" => Seen::One(json!(context.time.to_string())),
        _ => see_tool(name, request),
    }
}

fn see_tool(name: &str, request: &Request<'_>) -> Seen {
    let tool = request.resource.expect("a tool");
    let is_public = tool.tenant.as_deref() == Some("public");
    match name {
        "resource.toolId" => Seen::One(json!(tool.tool_id)),
        "resource.provider_id" => Seen::One(json!(tool.provider_id)),
        "resource.tenant" if is_public && request.action != Action::ManifestsRegister => {
            one(request.subject.tenant.as_deref())
        }
        "resource.tenant" => one(tool.tenant.as_deref()),
        "resource.public" => Seen::One(json!(is_public)),
        "resource.safety_tags" => texts(&tool.safety_tags),
        "resource.required_scopes" => texts(&tool.required_scopes),
        "resource.classification" => tool
            .classification
            .as_deref()
            .map_or(Seen::Missing, |label| Seen::One(json!(label))),
        "resource.read_only" => Seen::One(json!(tool.read_only)),
        other => panic!("the oracle does not know {other}"),
    }
}

fn at<'a>(arguments: &'a Value, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    parts.try_fold(arguments, |value, part| value.get(part))
}

fn argument(arguments: &Value, path: &str) -> Seen {
    match at(arguments, path) {
        None | Some(Value::Null) => Seen::Absent,
        Some(Value::Array(list)) => Seen::Many(list.clone()),
        // Equals nothing that a rule can write.
        Some(Value::Object(_)) => Seen::One(json!({})),
        Some(value) => Seen::One(value.clone()),
    }
}

fn covers(held: &str, wanted: &str) -> bool {
    let by_wildcard = held
        .strip_suffix('*')
        .is_some_and(|prefix| wanted.len() > prefix.len() && wanted.starts_with(prefix));
    held == wanted || by_wildcard || (held == "tools.invoke:write" && wanted == "tools.invoke:read")
}

fn effective(policy: &Value, request: &Request<'_>) -> BTreeSet<String> {
    let none = Map::new();
    let roles = policy["roles"].as_object().unwrap_or(&none);
    let of = |role: &String| {
        roles
            .get(role)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let given: Vec<_> = request
        .subject
        .roles
        .iter()
        .flat_map(of)
        .filter_map(|scope| scope.as_str().map(str::to_owned))
        .collect();
    let Some(token) = &request.subject.scopes else {
        return given.into_iter().collect();
    };
    let mut kept = BTreeSet::new();
    for given in &given {
        for carried in token {
            if covers(given, carried) {
                kept.insert(carried.clone());
            }
            if covers(carried, given) {
                kept.insert(given.clone());
            }
        }
    }
    kept
}

fn missing_scopes(policy: &Value, request: &Request<'_>) -> Vec<String> {
    let held = effective(policy, request);
    let mut needed: Vec<String> = Vec::new();
    match request.action {
        Action::ToolsInvoke => {
            let tool = request.resource.expect("a tool");
            needed.extend(tool.required_scopes.iter().cloned());
            needed.push(format!(
                "tools.invoke:{}",
                if tool.read_only { "read" } else { "write" }
            ));
        }
        Action::ManifestsRegister => needed.push("manifests.register".to_owned()),
        Action::ApprovalsDecide => needed.push("approvals.decide".to_owned()),
        Action::CatalogList => {}
    }
    needed.retain(|wanted| !held.iter().any(|held| covers(held, wanted)));
    needed
}
