//! A policy as the solver is given it: its grants, and whatever else refuses in this product, as Cedar policies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use cedar_policy::{Policy, PolicyId};
use serde_json::Value;

use super::question::Area;
use crate::action::Action;
use crate::compile::{Reach, Role, Unit};
use crate::obligation::{ConsentLevel, Obligation};
use crate::reads::Reads;
use crate::schema::quoted;
use crate::scope::{APPROVE, INVOKE_READ, INVOKE_WRITE, REGISTER};
use crate::set::PolicySet;

/// The attribute of a caller that holds the effective scopes.
pub(super) const SCOPES: &str = "scopes";
/// The same under the policy that another one is compared with. Only the solver's schema has it.
pub(super) const OTHER_SCOPES: &str = "scopes_elsewhere";

/// One policy in one question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) set: &'a PolicySet,
    /// The attribute that holds the effective scopes under this policy.
    pub(super) scopes: &'static str,
    /// Only what is allowed without this duty counts as allowed.
    pub(super) without: Option<&'a Obligation>,
}

impl Side<'_> {
    /// Returns the policies that together allow what this product allows for the action.
    ///
    /// Exact but for one thing: a forbid that fails to be evaluated denies here, and is skipped there. So what is refused there is refused here.
    pub(super) fn policies(&self, action: Action) -> Result<Vec<Policy>, String> {
        let mut policies = Vec::new();
        let units = || {
            let all = self.set.units().iter();
            all.filter(|unit| unit.reach.actions.contains(&action))
        };
        for (at, unit) in units().enumerate() {
            match (unit.role, self.without) {
                (Role::Oblige, Some(duty)) if implies(&unit.duties, duty) => {
                    policies.push(self.translated(unit, &format!("duty {at}"), true)?);
                }
                (Role::Oblige, _) => {}
                (Role::Permit, Some(duty)) if implies(&unit.duties, duty) => {
                    policies.push(self.translated(unit, &format!("duty {at}"), true)?);
                }
                _ => policies.push(self.translated(unit, &format!("rule {at}"), false)?),
            }
        }
        policies.extend(
            self.scope_gate(action)
                .map(|needed| unless("scopes", &needed))
                .transpose()?,
        );
        if action == Action::ApprovalsDecide && !self.set.names_approvers() {
            policies.push(permit("whoever holds the scope", "true")?);
        }
        for (at, unit) in units().enumerate() {
            for (nth, unfit) in unfit_arguments(unit).iter().enumerate() {
                policies.push(unless(&format!("form {at} {nth}"), &format!("!({unfit})"))?);
            }
        }
        let units: Vec<&Unit> = units().map(AsRef::as_ref).collect();
        for (nth, refused) in ambiguous_arguments(&units).iter().enumerate() {
            policies.push(unless(&format!("places {nth}"), &format!("!({refused})"))?);
        }
        Ok(policies)
    }

    /// The scopes that a call needs beside its rules.
    fn scope_gate(&self, action: Action) -> Option<String> {
        let held = format!("principal.{}", self.scopes);
        let has = |scope| format!("{held}.contains({})", quoted(scope));
        match action {
            Action::ToolsInvoke => Some(format!(
                "{held}.containsAll(resource.required_scopes) && (if resource.read_only then {} else {})",
                has(INVOKE_READ),
                has(INVOKE_WRITE)
            )),
            Action::ManifestsRegister => Some(has(REGISTER)),
            Action::ApprovalsDecide => Some(has(APPROVE)),
            Action::CatalogList => None,
        }
    }

    fn translated(&self, unit: &Unit, id: &str, forbid: bool) -> Result<Policy, String> {
        let mut json = json(&unit.policy)?;
        if let (true, Some(effect)) = (forbid, json.get_mut("effect")) {
            *effect = Value::from("forbid");
        }
        if self.scopes != SCOPES {
            rename_scopes(&mut json, self.scopes);
        }
        Policy::from_json(Some(PolicyId::new(id)), json).map_err(|error| error.to_string())
    }
}

/// Says whether one of these duties brings at least what `wanted` asks for.
pub(super) fn implies(duties: &BTreeSet<Obligation>, wanted: &Obligation) -> bool {
    duties.iter().any(|duty| match (duty, wanted) {
        // Whatever waits for a consent runs under a ticket, and so at most once.
        (_, Obligation::Once) => true,
        (Obligation::Confirm { level }, Obligation::Confirm { level: wanted }) => level >= wanted,
        // An approver is another person.
        (Obligation::Approver { .. }, Obligation::Confirm { level }) => {
            *level <= ConsentLevel::OtherPerson
        }
        (Obligation::Approver { role }, Obligation::Approver { role: wanted }) => role == wanted,
        (Obligation::Once, _) | (Obligation::Confirm { .. }, Obligation::Approver { .. }) => false,
    })
}

/// The requests that a question is about, as one expression.
pub(super) fn conditions(area: &Area) -> String {
    let all: Vec<_> = area
        .unit
        .clauses
        .iter()
        .map(|clause| format!("({})", clause.expression))
        .collect();
    if all.is_empty() {
        "true".to_owned()
    } else {
        all.join(" && ")
    }
}

/// A policy that refuses all that an expression does not hold for.
pub(super) fn unless(id: &str, expression: &str) -> Result<Policy, String> {
    written(
        id,
        &format!("forbid (principal, action, resource) unless {{ {expression} }};"),
    )
}

/// A policy that permits all that an expression holds for.
pub(super) fn permit(id: &str, expression: &str) -> Result<Policy, String> {
    written(
        id,
        &format!("permit (principal, action, resource) when {{ {expression} }};"),
    )
}

fn written(id: &str, text: &str) -> Result<Policy, String> {
    Policy::parse(Some(PolicyId::new(id)), text).map_err(|error| error.to_string())
}

/// Under which circumstances the argument check of this policy refuses the whole call: see `entity::check_arguments`.
fn unfit_arguments(unit: &Unit) -> Vec<String> {
    let reached = reached(&unit.reach);
    let asked = unit.reads.typed.iter().flat_map(|typed| &**typed);
    let narrowed = asked.filter(|(_, kinds)| !kinds.is_empty() && !kinds.contains("kind"));
    let one = |(path, kinds): (&String, &BTreeSet<String>)| {
        let path = quoted(path);
        let fits: Vec<_> = kinds
            .iter()
            .map(|kind| format!("context.arguments.{kind}.hasTag({path})"))
            .collect();
        format!(
            "{reached}context has arguments && context.arguments.kind.hasTag({path}) && !({})",
            fits.join(" || ")
        )
    };
    let lists = unfit_lists(&unit.reads).into_iter();
    let lists = lists.map(|list| format!("{reached}context has arguments && {list}"));
    narrowed.map(one).chain(lists).collect()
}

/// The lists that rules with these reads refuse to judge, where a call has arguments.
pub(super) fn unfit_lists(reads: &Reads) -> Vec<String> {
    let is_list = |path: &str| {
        let kind = "context.arguments.kind";
        format!("({kind}.hasTag({path}) && {kind}.getTag({path}) == \"list\")")
    };
    let compared = reads.compared.iter().map(|path| {
        let path = quoted(path);
        let judged =
            ["list", "mixed"].map(|kind| format!("context.arguments.{kind}.hasTag({path})"));
        format!("({} && !({}))", is_list(&path), judged.join(" || "))
    });
    let equated = reads.equated.iter().map(|path| is_list(&quoted(path)));
    compared.chain(equated).collect()
}

/// Under which circumstances the whole call is refused because an argument that these policies read stands in several places: see
/// `entity::find`. Whether a policy is at hand counts, not whether it applies.
fn ambiguous_arguments(units: &[&Unit]) -> Vec<String> {
    let at_hand = |unit: &Unit| format!("{}true", reached(&unit.reach));
    // Who reads claims alone names paths that are looked up among the arguments too, where another policy reads arguments.
    let readers = units.iter().filter(|unit| unit.reads.reads_arguments());
    let readers = any(readers.map(|unit| format!("({})", at_hand(unit))).collect());
    let mut refused: BTreeMap<&String, BTreeSet<String>> = BTreeMap::new();
    for unit in units {
        let when = match (unit.reads.reads_arguments(), readers.is_empty()) {
            (true, _) => format!("({})", at_hand(unit)),
            (false, false) => format!("({} && {readers})", at_hand(unit)),
            (false, true) => continue,
        };
        let dotted = unit
            .reads
            .arguments
            .iter()
            .filter(|path| path.contains('.'));
        for path in dotted {
            refused.entry(path).or_default().insert(when.clone());
        }
    }
    let told = refused.into_iter().map(|(path, when)| {
        format!(
            "context has arguments && context.arguments.several.hasTag({}) && {}",
            quoted(path),
            any(when.into_iter().collect())
        )
    });
    told.collect()
}

/// Joins by `||` as a balanced tree, so that many parts make no deep expression.
pub(super) fn any(mut all: Vec<String>) -> String {
    while all.len() > 1 {
        let pairs = all.chunks(2).map(|pair| match pair {
            [left, right] => format!("({left} || {right})"),
            rest => rest.concat(),
        });
        all = pairs.collect();
    }
    all.concat()
}

/// When a policy is part of the slice that decides a request.
fn reached(reach: &Reach) -> String {
    let mut text = String::new();
    let list = |names: &BTreeSet<String>| {
        let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
        names.join(", ")
    };
    if let Some(tools) = &reach.tools {
        let _ = write!(text, "[{}].contains(resource.toolId) && ", list(tools));
    }
    if let Some(providers) = &reach.providers {
        let _ = write!(
            text,
            "[{}].contains(resource.provider_id) && ",
            list(providers)
        );
    }
    if let Some(roles) = &reach.roles {
        let _ = write!(text, "principal.roles.containsAny([{}]) && ", list(roles));
    }
    text
}

pub(super) fn json(policy: &Policy) -> Result<Value, String> {
    policy.to_json().map_err(|error| error.to_string())
}

/// Only callers have an attribute of that name.
fn rename_scopes(value: &mut Value, to: &str) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, inner)| {
            if matches!(key.as_str(), "." | "has")
                && let Some(attr) = inner.get_mut("attr")
            {
                rename_attribute(attr, to);
            }
            rename_scopes(inner, to);
        }),
        Value::Array(list) => list.iter_mut().for_each(|inner| rename_scopes(inner, to)),
        _ => {}
    }
}

fn rename_attribute(attr: &mut Value, to: &str) {
    match attr {
        Value::Array(path) => path.iter_mut().for_each(|part| rename_attribute(part, to)),
        Value::String(name) if name == SCOPES => to.clone_into(name),
        _ => {}
    }
}

/// What the policies of a question name, and how they look at scopes.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Entities: type and id.
    pub(super) entities: BTreeSet<(String, String)>,
    /// Every text that is written out anywhere.
    pub(super) texts: BTreeSet<String>,
    /// Every scope with which a set of scopes is compared.
    pub(super) scopes: BTreeSet<String>,
    /// A set of scopes is compared with something that is not written out.
    pub(super) computed_scopes: bool,
}

impl Named {
    pub(super) fn add(&mut self, set: &PolicySet) -> Result<(), String> {
        for unit in set.units() {
            self.add_unit(unit)?;
        }
        Ok(())
    }

    /// Adds the conditions of a question.
    pub(super) fn add_unit(&mut self, unit: &Unit) -> Result<(), String> {
        self.visit(&json(&unit.policy)?);
        Ok(())
    }

    pub(super) fn of(&self, kind: &str) -> impl Iterator<Item = &str> {
        let all = self.entities.iter();
        all.filter(move |(found, _)| found == kind)
            .map(|(_, id)| id.as_str())
    }

    fn visit(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                if let (Some(Value::String(kind)), Some(Value::String(id))) =
                    (map.get("type"), map.get("id"))
                {
                    self.entities.insert((kind.clone(), id.clone()));
                }
                map.iter().for_each(|(key, inner)| self.entry(key, inner));
            }
            Value::Array(list) => list.iter().for_each(|inner| self.visit(inner)),
            Value::String(text) => {
                self.texts.insert(text.clone());
            }
            _ => {}
        }
    }

    fn entry(&mut self, key: &str, inner: &Value) {
        let compares = matches!(key, "contains" | "containsAny" | "containsAll");
        let is_scopes = inner.get("left").is_some_and(reads_scopes);
        let compared = inner.get("right").filter(|_| compares && is_scopes);
        if let Some(scopes) = compared.and_then(written_out) {
            self.scopes.extend(scopes);
            return;
        }
        self.computed_scopes |= key == "." && names_scopes(inner.get("attr"));
        self.visit(inner);
    }
}

fn names_scopes(attr: Option<&Value>) -> bool {
    let named = |name: &Value| matches!(name.as_str(), Some("scopes" | "required_scopes"));
    match attr {
        Some(Value::Array(path)) => path.iter().any(named),
        Some(attr) => named(attr),
        None => false,
    }
}

/// `principal.scopes` or `resource.required_scopes`.
fn reads_scopes(expression: &Value) -> bool {
    let access = expression.get(".");
    access.is_some_and(|access| {
        names_scopes(access.get("attr"))
            && access
                .get("left")
                .is_some_and(|left| left.get("Var").is_some())
    })
}

/// The texts of a set, or the one text, if all of it is written out.
fn written_out(expression: &Value) -> Option<Vec<String>> {
    match (expression.get("Value"), expression.get("Set")) {
        (Some(Value::String(text)), _) => Some(vec![text.clone()]),
        (Some(Value::Array(entries)), _) => {
            let texts = entries
                .iter()
                .map(|entry| entry.as_str().map(str::to_owned));
            texts.collect()
        }
        (None, Some(Value::Array(entries))) => {
            let texts: Option<Vec<_>> = entries.iter().map(written_out).collect();
            Some(texts?.concat())
        }
        _ => None,
    }
}
