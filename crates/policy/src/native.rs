//! Policies written in Cedar: read, surveyed, and given the same standing as compiled rules.
//!
//! Annotations: `@id` (needed), `@description`, `@obligation("confirm, once")`, `@approver("role")`, and `@grant("no")` for a permit that only
//! obliges.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Expression, Policy, PolicyId, PolicySet,
    PrincipalConstraint, ResourceConstraint,
};
use miette::Diagnostic;
use serde_json::{Value, json};

use crate::action::Action;
use crate::compile::{Listing, Reach, Role, Unit};
use crate::error::{Fault, Place, Problem, nearest};
use crate::expression::{Term, head, own_kind};
use crate::obligation::Obligation;
use crate::reads::{Reads, Survey, survey};
use crate::rule::is_id;
use crate::schema::action_uid;
use crate::settle::{Known, Rest};
use crate::source::{Source, one_line};

const ANNOTATIONS: [&str; 5] = ["id", "description", "obligation", "approver", "grant"];

/// Reads one text. `roles` are the defined ones. What is wrong goes to `problems`, and then the units must not be used.
pub(crate) fn read(
    source: &Source,
    roles: &BTreeSet<&str>,
    problems: &mut Vec<Problem>,
) -> Vec<(Unit, Notice)> {
    let mut problem = |rule: Option<&str>, at, fault| {
        problems.push(Problem {
            file: source.name.clone(),
            at,
            rule: rule.map(str::to_owned),
            fault,
        });
    };
    let text = source.text.as_str();
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(error) => {
            for error in cedar_policy::ParseErrors::iter(&error) {
                let message = explained(error);
                problem(None, place_of(error, text), Fault::Cedar { message });
            }
            return Vec::new();
        }
    };
    if let Some(template) = set.templates().next() {
        let at = text.find(&template.to_cedar());
        problem(None, at.and_then(|at| Place::of(text, at)), Fault::Template);
    }
    let file: Arc<str> = source.name.as_str().into();
    let mut policies: Vec<_> = set.policies().collect();
    policies.sort_by_key(|policy| number(policy));
    let mut units = Vec::new();
    let mut read_up_to = 0;
    for policy in policies {
        let written = policy.to_cedar().unwrap_or_default();
        let found = text.get(read_up_to..).and_then(|rest| rest.find(&written));
        let start = read_up_to + found.unwrap_or_default();
        match unit(&file, policy, roles) {
            Ok((mut unit, notice)) => {
                unit.at = Place::of(text, start);
                units.push((unit, notice));
            }
            Err(fault) => {
                let within = fault
                    .annotation()
                    .and_then(|key| written.find(&format!("@{key}")));
                let at = Place::of(text, start + within.unwrap_or_default());
                problem(policy.annotation("id"), at, fault);
            }
        }
        read_up_to = start + written.len();
    }
    units
}

/// What those who look after the policy should hear of a unit.
pub(crate) type Notice = Option<&'static str>;

const GRANTS_ALL: &str = "it obliges and also permits everybody, since no condition names the principal; add `@grant(\"no\")` if it should only oblige";

/// Cedar numbers the policies of a text; their order in the map is arbitrary.
fn number(policy: &Policy) -> (usize, String) {
    let id = policy.id().to_string();
    (
        id.trim_start_matches("policy")
            .parse()
            .unwrap_or(usize::MAX),
        id,
    )
}

fn unit(file: &Arc<str>, policy: &Policy, roles: &BTreeSet<&str>) -> Result<(Unit, Notice), Fault> {
    let id = policy.annotation("id").ok_or(Fault::NoId)?;
    if !is_id(id) {
        return Err(Fault::Id { id: id.to_owned() });
    }
    if let Some((key, _)) = policy
        .annotations()
        .find(|(key, _)| !ANNOTATIONS.contains(key))
    {
        return Err(Fault::UnknownAnnotation {
            key: key.to_owned(),
            nearest: nearest(key, ANNOTATIONS),
        });
    }
    let duties = duties(policy, roles)?;
    let permits = policy.effect() == Effect::Permit;
    let grants = grants(policy, &duties)?;
    let policy = policy.new_id(PolicyId::new(id));
    let names_approvals = action_uid(Action::ApprovalsDecide);
    let approves = match policy.action_constraint() {
        ActionConstraint::Any => false,
        ActionConstraint::Eq(uid) => uid == names_approvals,
        ActionConstraint::In(uids) => uids.contains(&names_approvals),
    };
    if approves && !duties.is_empty() {
        return Err(Fault::DutyOnApproval);
    }
    let json = policy.to_json().map_err(fault)?;
    let mut survey = survey(json.get("conditions").unwrap_or(&Value::Null));
    survey.reads.sub |= match policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => false,
        PrincipalConstraint::Eq(_) => true,
        // Everybody is in himself, and nobody is a role.
        PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
            own_kind(uid.type_name()) != Some("Role")
        }
    };
    if survey.computed_tag {
        return Err(Fault::ComputedTag);
    }
    let role = match (permits, grants) {
        (false, _) => Role::Forbid,
        (true, true) => Role::Permit,
        (true, false) => Role::Oblige,
    };
    let names_somebody = survey.names_principal
        || policy.principal_constraint() != PrincipalConstraint::Any
        || mentions_principal(&json);
    let notice =
        (role == Role::Permit && !duties.is_empty() && !names_somebody).then_some(GRANTS_ALL);
    let (known, rest) = parts(&policy, &survey, &json)?;
    let listing = listing(&policy, role, &survey, json)?;
    let unit = Unit {
        id: id.into(),
        file: Arc::clone(file),
        at: None,
        role,
        reach: reach(&policy, role),
        policy: policy.clone(),
        listing,
        known,
        rest,
        reads: survey.reads,
        duties,
        description: policy.annotation("description").map(Arc::from),
        clauses: Vec::new(),
    };
    Ok((unit, notice))
}

fn duties(policy: &Policy, roles: &BTreeSet<&str>) -> Result<BTreeSet<Obligation>, Fault> {
    let mut duties = BTreeSet::new();
    if let Some(text) = policy.annotation("obligation") {
        for part in text.split(',') {
            duties.insert(Obligation::from_annotation(part).ok_or_else(|| Fault::Annotation {
                key: "obligation",
                value: text.to_owned(),
                expected: "`confirm`, `confirm:person`, `confirm:other_person` or `once`, separated by commas",
            })?);
        }
    }
    if let Some(role) = policy.annotation("approver") {
        if !roles.contains(role) {
            let nearest = nearest(role, roles.iter().copied());
            return Err(Fault::UnknownRole {
                key: "@approver".to_owned(),
                role: role.to_owned(),
                nearest,
            });
        }
        duties.insert(Obligation::Approver {
            role: role.to_owned(),
        });
    }
    if policy.effect() == Effect::Forbid && !duties.is_empty() {
        return Err(Fault::DutyOnDeny {
            key: if policy.annotation("approver").is_some() {
                "@approver"
            } else {
                "@obligation"
            },
        });
    }
    Ok(duties)
}

fn grants(policy: &Policy, duties: &BTreeSet<Obligation>) -> Result<bool, Fault> {
    match policy.annotation("grant") {
        None => Ok(true),
        Some("no") if policy.effect() == Effect::Permit && !duties.is_empty() => Ok(false),
        Some(value) => Err(Fault::Annotation {
            key: "grant",
            value: value.to_owned(),
            expected: "`no`, on a permit that has an `@obligation` or an `@approver`",
        }),
    }
}

/// The survey notes a bare `principal`; here also `principal.x` counts.
fn mentions_principal(json: &Value) -> bool {
    match json {
        Value::Object(map) => map.iter().any(|(key, inner)| {
            (key == "Var" && inner == "principal") || mentions_principal(inner)
        }),
        Value::Array(list) => list.iter().any(mentions_principal),
        _ => false,
    }
}

fn listing(policy: &Policy, role: Role, survey: &Survey, json: Value) -> Result<Listing, Fault> {
    if !survey.reads.reads_arguments() {
        return Ok(Listing::Same);
    }
    if role != Role::Permit {
        return Ok(Listing::Left);
    }
    with_conditions(policy, json, Vec::new()).map(|policy| Listing::Relaxed(Box::new(policy)))
}

/// Takes a policy apart before its first condition that reads the context: what stands before it may be evaluated once, and if it is false or
/// fails, so is the policy or does it. What stands after it is not to be evaluated before.
fn parts(policy: &Policy, survey: &Survey, json: &Value) -> Result<(Known, Option<Rest>), Fault> {
    let conditions = json.get("conditions").and_then(Value::as_array);
    let conditions = conditions.map_or(&[] as &[Value], Vec::as_slice);
    let is_free = |condition: &&Value| crate::reads::survey(condition).reads.is_context_free();
    let known = conditions.iter().take_while(is_free).count();
    let (known, rest) = conditions.split_at(known);
    let head = head(
        &policy.principal_constraint(),
        &policy.resource_constraint(),
    );
    let known = match head.zip(Term::of_conditions(known)) {
        Some((head, conditions)) => Known::Term(head.and(conditions)),
        None => Known::Cedar(Box::new(with_conditions(
            policy,
            json.clone(),
            known.to_vec(),
        )?)),
    };
    let rest = match Term::of_conditions(rest) {
        _ if rest.is_empty() => None,
        Some(term) => Some(Rest::Term(term)),
        None => Some(Rest::Cedar(Box::new(expression(json, rest)?))),
    };
    guard(&known, rest.as_ref(), &survey.reads)?;
    Ok((known, rest))
}

/// Refuses a policy of which a term reads what the survey has not found: what is kept for one caller would be another's answer. The two walk
/// through a policy apart from each other, so that what one of them overlooks shows.
fn guard(known: &Known, rest: Option<&Rest>, reads: &Reads) -> Result<(), Fault> {
    let without_context = Reads {
        sub: reads.sub,
        claims: reads.claims.clone(),
        ..Reads::default()
    };
    let is_seen = match known {
        Known::Term(term) => term.is_within(&without_context),
        Known::Checks(_) | Known::Cedar(_) => true,
    };
    let is_seen = is_seen
        && match rest {
            Some(Rest::Term(term)) => term.is_within(reads),
            Some(Rest::Checks(_) | Rest::Cedar(_)) | None => true,
        };
    if is_seen {
        return Ok(());
    }
    Err(fault(
        "what this policy reads was not wholly found out; say it in another form",
    ))
}

/// Conditions of a policy as one expression.
fn expression(json: &Value, conditions: &[Value]) -> Result<Expression, Fault> {
    let each = conditions.iter().map(|condition| body(json, condition));
    let all = each.collect::<Result<Vec<_>, _>>()?.join(" && ");
    all.parse().map_err(fault)
}

/// A condition as text. Cedar writes policies only, so one is made that says nothing else.
fn body(json: &Value, condition: &Value) -> Result<String, Fault> {
    let all = json!({"op": "All"});
    let policy = json!({
        "effect": json.get("effect"),
        "principal": all,
        "action": all,
        "resource": all,
        "conditions": [condition],
    });
    let text = Policy::from_json(None, policy).map_err(fault)?.to_string();
    let body = text.find('{').zip(text.rfind('}'));
    let body = body.and_then(|(start, end)| text.get(start + 1..end));
    let body = body.ok_or_else(|| fault("a condition without a body"))?;
    let negation = if condition.get("kind").and_then(Value::as_str) == Some("unless") {
        "!"
    } else {
        ""
    };
    Ok(format!("{negation}({body})"))
}

fn with_conditions(
    policy: &Policy,
    mut json: Value,
    conditions: Vec<Value>,
) -> Result<Policy, Fault> {
    if let Some(all) = json.get_mut("conditions") {
        *all = Value::Array(conditions);
    }
    Policy::from_json(Some(policy.id().clone()), json).map_err(fault)
}

fn fault(error: impl Display) -> Fault {
    Fault::Cedar {
        message: one_line(&error.to_string()),
    }
}

/// Only the scope narrows the reach; conditions are not looked into.
fn reach(policy: &Policy, role: Role) -> Reach {
    let all = || Action::ALL.into_iter();
    let actions = match policy.action_constraint() {
        // Who may call whatever it is may not therefore approve whatever it is: that has to be named.
        ActionConstraint::Any => all()
            .filter(|action| role == Role::Forbid || *action != Action::ApprovalsDecide)
            .collect(),
        ActionConstraint::Eq(uid) => all().filter(|action| action_uid(*action) == uid).collect(),
        ActionConstraint::In(uids) => all()
            .filter(|action| uids.contains(&action_uid(*action)))
            .collect(),
    };
    let mut reach = Reach {
        actions,
        ..Reach::default()
    };
    match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
        ResourceConstraint::Eq(uid)
        | ResourceConstraint::In(uid)
        | ResourceConstraint::IsIn(_, uid) => {
            reach.tools = only("Tool", &uid);
            reach.providers = only("Provider", &uid);
        }
    }
    match policy.principal_constraint() {
        PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
            reach.roles = only("Role", &uid)
        }
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) | PrincipalConstraint::Eq(_) => {}
    }
    reach
}

fn only(kind: &str, uid: &EntityUid) -> Option<BTreeSet<String>> {
    (own_kind(uid.type_name()) == Some(kind))
        .then(|| BTreeSet::from([uid.id().unescaped().to_owned()]))
}

/// Returns the first place that an error points to.
fn place_of(error: &dyn Diagnostic, text: &str) -> Option<Place> {
    Place::of(text, error.labels()?.next()?.offset())
}

/// Returns an error's message together with its help, on one line.
pub(crate) fn explained(error: &dyn Diagnostic) -> String {
    let help = error
        .help()
        .map(|help| format!(" ({help})"))
        .unwrap_or_default();
    one_line(&format!("{error}{help}"))
}

/// Validates policies against the schema, strictly.
pub(crate) fn validate(policies: &PolicySet) -> Findings {
    let validator = cedar_policy::Validator::new(crate::schema::PARSED.clone());
    let result = validator.validate(policies, cedar_policy::ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| {
        let offset = error
            .labels()
            .and_then(|mut labels| labels.next())
            .map(|label| label.offset());
        Finding {
            id: error.policy_id().to_string(),
            message: explained(error),
            offset,
        }
    });
    let warnings = result.validation_warnings().map(|warning| Finding {
        id: warning.policy_id().to_string(),
        message: explained(warning),
        offset: None,
    });
    Findings {
        errors: errors.collect(),
        warnings: warnings.collect(),
    }
}

/// What the validator found.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
}

/// One thing that the validator found, and where in the text the policy was read from.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) id: String,
    pub(crate) message: String,
    pub(crate) offset: Option<usize>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Change = fn(&mut Reads);

    /// Takes a policy apart whose reads lack something.
    fn without(text: &str, change: Change) -> Result<(), Fault> {
        let policy = Policy::parse(None, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let json = policy.to_json().expect("JSON");
        let mut survey = survey(&json["conditions"]);
        survey.reads.sub |= text.contains("principal == ");
        change(&mut survey.reads);
        parts(&policy, &survey, &json).map(drop)
    }

    fn as_list(path: &str) -> BTreeMap<String, BTreeSet<String>> {
        BTreeMap::from([(path.to_owned(), BTreeSet::from(["list".to_owned()]))])
    }

    #[test]
    fn a_policy_that_reads_more_than_was_found_is_refused() {
        let head = "permit (principal, action, resource)";
        let argument = "context has arguments && context.arguments.text.hasTag(\"x\") && context.arguments.text.getTag(\"x\") == \"v\"";
        let cases: Vec<(String, Vec<Change>)> = vec![
            (
                "permit (principal == Caller::\"a\", action, resource);".to_owned(),
                vec![|reads| reads.sub = false],
            ),
            (
                format!("{head} unless {{ resource.public || !(principal.sub like \"a*\") }};"),
                vec![|reads| reads.sub = false],
            ),
            (
                format!("{head} when {{ if principal.hasTag(\"dept\") then true else false }};"),
                vec![|reads| reads.claims.clear()],
            ),
            (
                format!(
                    "{head} when {{ context.hour == 3 && principal.getTag(\"dept\").isEmpty() }};"
                ),
                vec![|reads| reads.claims.clear(), |reads| {
                    reads.context.retain(|name| name != "hour")
                }],
            ),
            (
                format!("{head} when {{ context.labels.contains(\"a\") && context has corr_id }};"),
                vec![
                    |reads| reads.context.retain(|name| name != "labels"),
                    |reads| reads.any_label = false,
                    |reads| reads.context.retain(|name| name != "corr_id"),
                ],
            ),
            (
                format!("{head} when {{ {argument} }};"),
                vec![
                    |reads| reads.context.clear(),
                    |reads| reads.arguments.clear(),
                    |reads| reads.typed.clear(),
                    |reads| reads.typed = vec![Arc::new(as_list("x"))],
                ],
            ),
        ];
        for (text, changes) in cases {
            assert_eq!(without(&text, |_| {}), Ok(()), "{text}");
            for (at, change) in changes.into_iter().enumerate() {
                let refused = without(&text, change);
                assert!(matches!(refused, Err(Fault::Cedar { .. })), "{text} {at}");
            }
        }
    }
}
