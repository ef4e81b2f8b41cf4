//! From a rule to Cedar.
//!
//! One rule becomes at most two policies: one among the grants (`permit` or `forbid`) and one among the obligations. A permit is satisfied only
//! by what is there; a forbid or an obligation is satisfied also by what is missing. That is the whole of "fail closed", and it stands here.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{Policy, PolicyId};

use crate::action::Action;
use crate::attribute::{Attribute, Kind};
use crate::check::Check;
use crate::condition::{Condition, Literal, Test};
use crate::error::Place;
use crate::obligation::Obligation;
use crate::reads::Reads;
use crate::rule::Rule;
use crate::schema::{action_uid, datetime, quoted};
use crate::settle::{Known, Rest};

/// What a compiled policy does when it is satisfied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Permit,
    Forbid,
    Oblige,
}

/// How a missing attribute counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Fails,
    Satisfies,
}

impl Role {
    const fn missing(self) -> Missing {
        match self {
            Self::Permit => Missing::Fails,
            Self::Forbid | Self::Oblige => Missing::Satisfies,
        }
    }
}

/// The requests that a policy can possibly match; the slice index rests on it. `None` stands for any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) actions: BTreeSet<Action>,
    pub(crate) tools: Option<BTreeSet<String>>,
    pub(crate) providers: Option<BTreeSet<String>>,
    /// At least one of these is needed.
    pub(crate) roles: Option<BTreeSet<String>>,
}

/// How a policy takes part in deciding what a listing shows, where the arguments are not known yet.
#[derive(Debug, Clone)]
pub(crate) enum Listing {
    /// As it stands: it does not read arguments.
    Same,
    /// Without its conditions on arguments: some arguments might satisfy them.
    Relaxed(Box<Policy>),
    /// Not at all: some arguments might not satisfy it.
    Left,
}

/// A condition as it is explained.
#[derive(Debug, Clone)]
pub(crate) struct Clause {
    /// As the rule states it.
    pub(crate) text: String,
    /// The Cedar expression that is true when the attribute is there; `None` if it always is.
    pub(crate) presence: Option<String>,
    /// The Cedar expression that is evaluated.
    pub(crate) expression: String,
    /// What it reads.
    pub(crate) attributes: Vec<Attribute>,
}

/// One compiled policy and what has to be known of it.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) id: Arc<str>,
    pub(crate) file: Arc<str>,
    pub(crate) at: Option<Place>,
    pub(crate) role: Role,
    pub(crate) policy: Policy,
    pub(crate) listing: Listing,
    /// What does not depend on the context.
    pub(crate) known: Known,
    /// What does; `None` where nothing does.
    pub(crate) rest: Option<Rest>,
    pub(crate) reach: Reach,
    pub(crate) reads: Reads,
    pub(crate) duties: BTreeSet<Obligation>,
    pub(crate) description: Option<Arc<str>>,
    /// Empty for policies written in Cedar, whose conditions are one expression.
    pub(crate) clauses: Vec<Clause>,
}

/// Says whether a rule grants: it allows, and if it carries duties it also says to whom.
pub(crate) fn grants(rule: &Rule) -> bool {
    rule.allows
        && (rule.duties.is_empty()
            || rule
                .when
                .iter()
                .any(|(_, condition)| condition.names_subject()))
}

/// Compiles a rule.
///
/// # Errors
///
/// Cedar's message, if Cedar does not accept what was generated. That would be a fault of this module, and it must not load silently.
pub(crate) fn compile(file: &Arc<str>, rule: &Rule) -> Result<Vec<Unit>, String> {
    let mut roles = Vec::new();
    if !rule.allows {
        roles.push(Role::Forbid);
    }
    if grants(rule) {
        roles.push(Role::Permit);
    }
    if !rule.duties.is_empty() {
        roles.push(Role::Oblige);
    }
    roles
        .into_iter()
        .map(|role| unit(file, rule, role))
        .collect()
}

fn unit(file: &Arc<str>, rule: &Rule, role: Role) -> Result<Unit, String> {
    let clauses: Vec<_> = rule
        .when
        .iter()
        .map(|(_, condition)| clause(condition, role.missing()))
        .collect();
    let of_arguments = |condition: &Condition| {
        condition
            .attributes()
            .any(|attribute| matches!(attribute, Attribute::Argument(_)))
    };
    let reads = reads(rule);
    let policy = parse(rule, role, clauses.iter())?;
    let listing = match role {
        _ if !reads.reads_arguments() => Listing::Same,
        Role::Permit => {
            let kept = rule
                .when
                .iter()
                .zip(&clauses)
                .filter(|((_, condition), _)| !of_arguments(condition));
            Listing::Relaxed(Box::new(parse(rule, role, kept.map(|(_, clause)| clause))?))
        }
        Role::Forbid | Role::Oblige => Listing::Left,
    };
    let (known, rest) = parts(rule, role)?;
    Ok(Unit {
        id: rule.id.as_str().into(),
        file: Arc::clone(file),
        at: Place::line(rule.line),
        role,
        policy,
        listing,
        known,
        rest,
        reach: reach(rule),
        reads,
        duties: if role == Role::Oblige {
            rule.duties.clone()
        } else {
            BTreeSet::new()
        },
        description: rule.description.as_deref().map(Arc::from),
        clauses,
    })
}

/// Takes the conditions apart: those that read the context, and the others. None of them can fail, so that order does not matter. What a rule
/// says of actions, its reach does.
fn parts(rule: &Rule, role: Role) -> Result<(Known, Option<Rest>), String> {
    let conditions = rule.when.iter().map(|(_, condition)| condition);
    let (reading, known): (Vec<_>, Vec<_>) = conditions.partition(|of| of.reads_context());
    let checks = |of: Vec<&Condition>| {
        let checks = of.into_iter().map(|of| Check::of(of, role.missing()));
        checks.collect::<Result<Vec<_>, _>>()
    };
    let rest = (!reading.is_empty()).then(|| checks(reading)).transpose()?;
    Ok((Known::Checks(checks(known)?), rest.map(Rest::Checks)))
}

fn parse<'a>(
    rule: &Rule,
    role: Role,
    clauses: impl Iterator<Item = &'a Clause>,
) -> Result<Policy, String> {
    let effect = if role == Role::Forbid {
        "forbid"
    } else {
        "permit"
    };
    let actions: Vec<_> = rule
        .actions
        .iter()
        .map(|action| action_uid(*action).to_string())
        .collect();
    let mut text = format!(
        "@id({})\n{effect} (principal, action in [{}], resource)",
        quoted(&rule.id),
        actions.join(", ")
    );
    for clause in clauses {
        text.push_str("\nwhen { ");
        text.push_str(&clause.expression);
        text.push_str(" }");
    }
    text.push(';');
    Policy::parse(Some(PolicyId::new(&rule.id)), text).map_err(|error| error.to_string())
}

/// Only conditions on attributes that are never missing may narrow the reach: a deny rule matches what is missing.
fn reach(rule: &Rule) -> Reach {
    let accepted = |attribute: &Attribute| {
        let mut sets = rule
            .when
            .iter()
            .filter_map(|(_, condition)| condition.accepted(attribute));
        sets.next()
            .map(|values| values.map(str::to_owned).collect())
    };
    Reach {
        actions: rule.actions.clone(),
        tools: accepted(&Attribute::ToolId),
        providers: accepted(&Attribute::ProviderId),
        roles: accepted(&Attribute::Roles),
    }
}

fn reads(rule: &Rule) -> Reads {
    let mut reads = Reads::default();
    for condition in rule.when.iter().map(|(_, condition)| condition) {
        for attribute in condition.attributes() {
            reads
                .context
                .extend(attribute.context_name().map(str::to_owned));
            match attribute {
                Attribute::Claim(path) => reads.claims.insert(path.clone()),
                Attribute::Argument(path) => reads.arguments.insert(path.clone()),
                _ => false,
            };
            reads.sub |= *attribute == Attribute::Sub;
        }
        if let Attribute::Argument(path) = &condition.attribute {
            let with = match &condition.test {
                Test::Same(_) | Test::Differs(_) => &mut reads.equated,
                _ => &mut reads.compared,
            };
            with.insert(path.clone());
        }
        if let (Attribute::Scopes, Test::AnyOf(values) | Test::NoneOf(values)) =
            (&condition.attribute, &condition.test)
        {
            reads.scopes.extend(texts(values).map(str::to_owned));
        }
        match (&condition.attribute, &condition.test) {
            (Attribute::Labels, Test::AnyOf(values) | Test::NoneOf(values)) => {
                reads.labels.extend(texts(values).map(str::to_owned));
            }
            (Attribute::Labels, _) => reads.any_label = true,
            _ => {}
        }
    }
    reads
}

fn clause(condition: &Condition, missing: Missing) -> Clause {
    let presence: Vec<_> = condition
        .attributes()
        .filter_map(Attribute::presence)
        .collect();
    let presence = (!presence.is_empty()).then(|| presence.join(" && "));
    let test = test(condition, missing);
    let expression = match (&presence, missing) {
        (None, _) => test,
        (Some(presence), Missing::Fails) => format!("{presence} && ({test})"),
        (Some(presence), Missing::Satisfies) => format!("!({presence} && !({test}))"),
    };
    Clause {
        text: condition.to_string(),
        presence,
        expression,
        attributes: condition.attributes().cloned().collect(),
    }
}

fn test(condition: &Condition, missing: Missing) -> String {
    let attribute = &condition.attribute;
    match &condition.test {
        Test::AnyOf(values) => any_of(attribute, values),
        Test::NoneOf(values) => not(attribute, &any_of(attribute, values), missing),
        Test::Same(other) => same(attribute, other),
        Test::Differs(other) => not(attribute, &same(attribute, other), missing),
        Test::Before(moment) => format!("context.time < datetime(\"{}\")", datetime(*moment)),
        Test::After(moment) => format!("context.time >= datetime(\"{}\")", datetime(*moment)),
    }
}

/// Negates a test. An argument that the call does not carry differs from everything, which must not widen a grant.
fn not(attribute: &Attribute, test: &str, missing: Missing) -> String {
    match (attribute, missing) {
        (Attribute::Argument(path), Missing::Fails) => format!(
            "context.arguments.kind.hasTag({}) && !({test})",
            quoted(path)
        ),
        _ => format!("!({test})"),
    }
}

fn any_of(attribute: &Attribute, values: &[Literal]) -> String {
    let access = attribute.access();
    match attribute.kind() {
        Kind::Set | Kind::Claim => format!("{access}.containsAny({})", set(values)),
        Kind::Address => {
            let ranges: Vec<_> = texts(values)
                .map(|range| format!("{access}.isInRange(ip({}))", quoted(range)))
                .collect();
            ranges.join(" || ")
        }
        Kind::Argument => argument_any_of(attribute, values),
        Kind::Text | Kind::Bool | Kind::Hour | Kind::Weekday | Kind::Time => match values {
            [value] => format!("{access} == {}", literal(value)),
            _ => format!("{}.contains({access})", set(values)),
        },
    }
}

/// An argument equals a value of its own type only; a list matches if it shares one.
fn argument_any_of(attribute: &Attribute, values: &[Literal]) -> String {
    let Attribute::Argument(path) = attribute else {
        return "false".to_owned();
    };
    let path = quoted(path);
    let of = |kind: &str, fits: fn(&Literal) -> bool| {
        let values: Vec<_> = values.iter().filter(|value| fits(value)).cloned().collect();
        let tag = format!("context.arguments.{kind}");
        (!values.is_empty()).then(|| {
            (
                format!("{tag}.hasTag({path})"),
                format!("{tag}.getTag({path})"),
                set(&values),
            )
        })
    };
    let is_text = |value: &Literal| matches!(value, Literal::Text(_));
    let single = [
        of("text", is_text),
        of("number", |value| matches!(value, Literal::Int(_))),
        of("flag", |value| matches!(value, Literal::Bool(_))),
    ];
    let mut tests: Vec<_> = single
        .into_iter()
        .flatten()
        .map(|(has, get, set)| format!("({has} && {set}.contains({get}))"))
        .collect();
    let mixed = of("mixed", |_| true).map(|(has, get, _)| {
        let entries: Vec<_> = values.iter().map(|value| quoted(&entry(value))).collect();
        (has, get, format!("[{}]", entries.join(", ")))
    });
    let lists = of("list", is_text).into_iter().chain(mixed);
    tests.extend(lists.map(|(has, get, set)| format!("({has} && {get}.containsAny({set}))")));
    tests.join(" || ")
}

fn same(attribute: &Attribute, other: &Attribute) -> String {
    let (left, right) = (attribute.access(), other.access());
    match attribute {
        Attribute::Argument(path) => format!(
            "context.arguments.text.hasTag({}) && {left} == {right}",
            quoted(path)
        ),
        _ if matches!(attribute.kind(), Kind::Set | Kind::Claim) => {
            format!("{left}.contains({right})")
        }
        _ => format!("{left} == {right}"),
    }
}

fn texts(values: &[Literal]) -> impl Iterator<Item = &str> {
    values.iter().filter_map(|value| match value {
        Literal::Text(text) => Some(text.as_str()),
        Literal::Int(_) | Literal::Bool(_) => None,
    })
}

fn set(values: &[Literal]) -> String {
    let values: Vec<_> = values.iter().map(literal).collect();
    format!("[{}]", values.join(", "))
}

/// A value as it stands in a list of several types: see [`crate::argument::entry`].
fn entry(value: &Literal) -> String {
    match value {
        Literal::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        Literal::Int(number) => number.to_string(),
        Literal::Bool(flag) => flag.to_string(),
    }
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Text(text) => quoted(text),
        Literal::Int(number) => number.to_string(),
        Literal::Bool(flag) => flag.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Source, read};

    /// The Cedar text of the rules of one file, without the parts that are always the same.
    fn compiled(rule: &str) -> Vec<(Role, String)> {
        let text = format!("version: 1\nroles: {{boss: [x]}}\nrules:\n  - {rule}\n");
        let mut problems = Vec::new();
        let document = read(
            &[Source {
                name: "p".to_owned(),
                text,
            }],
            &mut problems,
        );
        assert_eq!(problems, []);
        let units = document
            .rules
            .iter()
            .flat_map(|(file, rule)| compile(&file.as_str().into(), rule).expect("compiles"));
        units
            .map(|unit| {
                (
                    unit.role,
                    unit.clauses
                        .iter()
                        .map(|clause| clause.expression.clone())
                        .collect::<Vec<_>>()
                        .join(" AND "),
                )
            })
            .collect()
    }

    #[test]
    fn a_missing_attribute_fails_a_permit_and_satisfies_a_forbid() {
        assert_eq!(
            compiled("{id: a, effect: deny, when: {resource.tenant: \"!= subject.tenant\"}}"),
            [(Role::Forbid, "!(resource has tenant && principal has tenant && !(!(resource.tenant == principal.tenant)))".to_owned())]
        );
        assert_eq!(
            compiled("{id: a, effect: allow, when: {resource.classification: open}}"),
            [(
                Role::Permit,
                "resource has classification && (resource.classification == \"open\")".to_owned()
            )]
        );
    }

    #[test]
    fn a_duty_grants_only_to_those_whom_the_rule_names() {
        let roles = |rule| {
            compiled(rule)
                .into_iter()
                .map(|(role, _)| role)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            roles(
                "{id: a, effect: allow, require_confirmation: true, when: {resource.safety_tags_any: [x]}}"
            ),
            [Role::Oblige]
        );
        assert_eq!(
            roles("{id: a, effect: allow, once: true, when: {\"subject.roles !=\": boss}}"),
            [Role::Oblige]
        );
        assert_eq!(
            roles(
                "{id: a, effect: allow, require_confirmation: true, when: {subject.roles: boss}}"
            ),
            [Role::Permit, Role::Oblige]
        );
        assert_eq!(
            roles(
                "{id: a, effect: allow, require_confirmation: false, when: {resource.read_only: true}}"
            ),
            [Role::Permit]
        );
    }

    #[test]
    fn strings_survive_the_way_through_cedar() {
        for text in [
            "a\"b\\c",
            "it's",
            "\u{301}x",
            "tab\t\u{0}",
            "日本\u{200d}",
            "\u{feff}",
        ] {
            let policy = Policy::parse(
                None,
                format!(
                    "permit(principal, action, resource) when {{ resource.x == {} }};",
                    quoted(text)
                ),
            )
            .expect(text);
            assert!(
                policy
                    .to_json()
                    .expect("JSON")
                    .to_string()
                    .contains(&serde_json::to_string(text).expect("JSON")),
                "{text:?}"
            );
        }
    }
}
