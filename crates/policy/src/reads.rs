//! What a policy reads of a request, so that only that much is prepared for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::schema::ARGUMENT_KINDS;

/// What one policy reads, or several together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// The caller's name.
    pub(crate) sub: bool,
    /// Attributes of the context, `arguments` among them.
    pub(crate) context: BTreeSet<String>,
    /// Paths under `context.arguments`.
    pub(crate) arguments: BTreeSet<String>,
    /// Those of them that rules compare with values.
    pub(crate) compared: BTreeSet<String>,
    /// Those of them that rules compare with another attribute.
    pub(crate) equated: BTreeSet<String>,
    /// Paths under `subject.claims`.
    pub(crate) claims: BTreeSet<String>,
    /// Scopes with which the caller's are compared.
    pub(crate) scopes: BTreeSet<String>,
    /// Labels that are named where `context.labels` is read.
    pub(crate) labels: BTreeSet<String>,
    /// Labels are read in a way that may be about any of them.
    pub(crate) any_label: bool,
    /// For each policy written in Cedar: the argument paths that it reads, with the kinds that it looks under.
    pub(crate) typed: Vec<Arc<BTreeMap<String, BTreeSet<String>>>>,
}

impl Reads {
    /// Says whether the decision depends on anything but the caller, the action and the tool.
    pub(crate) fn is_context_free(&self) -> bool {
        self.context.is_empty()
    }

    /// Says whether the decision depends on more of the caller than tenant, roles and scopes.
    pub(crate) fn tells_apart(&self) -> bool {
        self.sub || !self.claims.is_empty()
    }

    /// Says whether the decision depends on the call's arguments.
    pub(crate) fn reads_arguments(&self) -> bool {
        self.context.contains("arguments")
    }

    /// Says whether the decision depends on what the caller has read.
    pub(crate) fn reads_labels(&self) -> bool {
        self.context.contains("labels")
    }

    /// The paths under `context.arguments`, without those that are looked up only because they may be a claim's.
    pub(crate) fn argument_paths(&self) -> BTreeSet<&str> {
        let typed = self.typed.iter().flat_map(|typed| &**typed);
        let typed = typed.filter(|(_, kinds)| !kinds.is_empty());
        let rules = self.compared.iter().chain(&self.equated);
        let paths = rules.chain(typed.map(|(path, _)| path));
        paths.map(String::as_str).collect()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sub |= other.sub;
        join(&mut self.context, &other.context);
        join(&mut self.arguments, &other.arguments);
        join(&mut self.compared, &other.compared);
        join(&mut self.equated, &other.equated);
        join(&mut self.claims, &other.claims);
        join(&mut self.scopes, &other.scopes);
        join(&mut self.labels, &other.labels);
        self.any_label |= other.any_label;
        self.typed.extend(other.typed.iter().cloned());
    }
}

/// Adds names. Those that are there are not copied.
fn join(names: &mut BTreeSet<String>, more: &BTreeSet<String>) {
    for name in more {
        if !names.contains(name) {
            names.insert(name.clone());
        }
    }
}

/// What the walk through a policy's syntax tree found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) reads: Reads,
    /// The policy mentions the principal in its conditions.
    pub(crate) names_principal: bool,
    /// A tag is looked up by a name that is not written out.
    pub(crate) computed_tag: bool,
}

/// Walks the conditions of a policy in Cedar's JSON form.
///
/// Source: Cedar policy language guide, "JSON policy format".
pub(crate) fn survey(conditions: &Value) -> Survey {
    let mut walk = Walk::default();
    walk.visit(conditions);
    let Walk {
        mut survey,
        texts,
        mentions_scopes,
        typed,
        claims,
    } = walk;
    if mentions_scopes {
        survey.reads.scopes = texts;
    }
    // What is asked of the set is not looked into.
    survey.reads.any_label = survey.reads.reads_labels();
    // A claim's path may be an argument's; looking that up is harmless.
    survey.reads.arguments = typed.keys().cloned().collect();
    survey.reads.claims = claims;
    if survey.reads.reads_arguments() {
        survey.reads.typed = vec![Arc::new(typed)];
    }
    survey
}

#[derive(Default)]
struct Walk {
    survey: Survey,
    texts: BTreeSet<String>,
    mentions_scopes: bool,
    typed: BTreeMap<String, BTreeSet<String>>,
    claims: BTreeSet<String>,
}

impl Walk {
    fn visit(&mut self, value: &Value) {
        match value {
            Value::Object(map) => map
                .iter()
                .for_each(|(key, inner)| self.visit_entry(key, inner)),
            Value::Array(list) => list.iter().for_each(|inner| self.visit(inner)),
            _ => {}
        }
    }

    fn visit_entry(&mut self, key: &str, inner: &Value) {
        match key {
            "Value" => {
                self.texts.extend(inner.as_str().map(str::to_owned));
                // Sets of literals may be folded into one value.
                self.visit_literal(inner);
            }
            "Var" => self.visit_variable(inner),
            "." | "has" => self.visit_access(inner),
            "hasTag" | "getTag" => self.visit_tag(inner),
            // The names of its fields are free, and may be words of this form.
            "Record" => inner
                .as_object()
                .into_iter()
                .flatten()
                .for_each(|(_, field)| self.visit(field)),
            _ => self.visit(inner),
        }
    }

    fn visit_literal(&mut self, value: &Value) {
        match value {
            Value::Array(list) => list.iter().for_each(|inner| self.visit_literal(inner)),
            Value::Object(map) => {
                // Of somebody who is named, all that can be found out is whether it is the caller.
                let kind = value.pointer("/__entity/type");
                self.survey.reads.sub |= kind.is_some_and(|kind| kind == "Caller");
                map.values().for_each(|inner| self.visit_literal(inner));
            }
            Value::String(text) => {
                self.texts.insert(text.clone());
            }
            _ => {}
        }
    }

    /// A variable that is not merely the left side of an access: everything of it may be read.
    fn visit_variable(&mut self, name: &Value) {
        match name.as_str() {
            Some("principal") => {
                self.survey.names_principal = true;
                self.survey.reads.sub = true;
            }
            Some("context") => {
                let all = [
                    "time",
                    "hour",
                    "weekday",
                    "client",
                    "ip",
                    "corr_id",
                    "labels",
                    "arguments",
                ];
                self.survey.reads.context.extend(all.map(str::to_owned));
            }
            _ => {}
        }
    }

    /// `left.attr`, `left has attr` or `left has a.b`.
    fn visit_access(&mut self, access: &Value) {
        let first = match access.get("attr") {
            Some(Value::Array(path)) => path.first().and_then(Value::as_str),
            Some(attr) => attr.as_str(),
            None => None,
        };
        self.mentions_scopes |= first == Some("scopes");
        let left = access.get("left");
        match (left.and_then(variable), first) {
            (Some("context"), Some(first)) => {
                self.survey.reads.context.insert(first.to_owned());
            }
            (Some("principal"), Some(first)) => {
                self.survey.names_principal = true;
                self.survey.reads.sub |= first == "sub";
            }
            _ => left.iter().for_each(|left| self.visit(left)),
        }
    }

    fn visit_tag(&mut self, access: &Value) {
        let name = access
            .get("right")
            .and_then(|right| right.get("Value"))
            .and_then(Value::as_str);
        let Some(name) = name else {
            self.survey.computed_tag = true;
            return;
        };
        let kinds = self.typed.entry(name.to_owned()).or_default();
        let left = access.get("left");
        if !left.is_some_and(is_argument_kind) {
            self.claims.insert(name.to_owned());
        }
        let kind = left
            .and_then(|left| left.get("."))
            .and_then(|access| access.get("attr"))
            .and_then(Value::as_str);
        match kind.filter(|kind| ARGUMENT_KINDS.iter().any(|(known, _)| known == kind)) {
            Some(kind) => {
                kinds.insert(kind.to_owned());
            }
            // Not a plain `context.arguments.<kind>`: a claim, or something roundabout that is taken to look under every kind.
            None if left.and_then(variable) != Some("principal") => {
                kinds.extend(ARGUMENT_KINDS.map(|(kind, _)| kind.to_owned()));
            }
            None => {}
        }
        match left.and_then(variable) {
            Some("principal") => self.survey.names_principal = true,
            _ => left.iter().for_each(|left| self.visit(left)),
        }
    }
}

/// Says whether it is plainly `context.arguments.<kind>`, so that its tags are nobody's claims.
fn is_argument_kind(expression: &Value) -> bool {
    let kind = expression.get(".").and_then(|access| access.get("left"));
    let arguments = kind.and_then(|arguments| arguments.get("."));
    arguments.is_some_and(|access| {
        access.get("left").and_then(variable) == Some("context")
            && access.get("attr").is_some_and(|name| name == "arguments")
    })
}

fn variable(expression: &Value) -> Option<&str> {
    expression.get("Var").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn of(condition: &str) -> Survey {
        let policy = Policy::parse(
            None,
            format!("permit(principal, action, resource) when {{ {condition} }};"),
        )
        .expect("a policy");
        survey(&policy.to_json().expect("JSON")["conditions"])
    }

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_survey_sees_what_is_read() {
        let plain = of("resource.toolId == \"x\"");
        assert!(plain.reads.is_context_free() && !plain.names_principal);
        let scopes = of("principal.scopes.containsAny([\"a\", \"b\"]) && context.hour > 3");
        assert!(scopes.names_principal);
        assert_eq!(
            (scopes.reads.scopes, scopes.reads.context),
            (names(&["a", "b"]), names(&["hour"]))
        );
        let argument = of(
            "context has arguments && context.arguments.number.hasTag(\"budget\") && context.arguments.number.getTag(\"budget\") > 5",
        );
        assert!(argument.reads.reads_arguments() && !argument.names_principal);
        assert_eq!(
            argument.reads.typed,
            [Arc::new(BTreeMap::from([(
                "budget".to_owned(),
                names(&["number"])
            )]))]
        );
        let claim =
            of("principal.hasTag(\"dept\") && principal.getTag(\"dept\").contains(\"sales\")");
        assert_eq!(claim.reads.claims, names(&["dept"]));
        assert!(claim.reads.is_context_free() && claim.reads.typed.is_empty());
        for argument in ["text", "kind", "mixed"] {
            let argument = of(&format!("context.arguments.{argument}.hasTag(\"x\")"));
            assert_eq!(argument.reads.claims, names(&[]));
        }
        for roundabout in [
            "{text: principal}.text.hasTag(\"x\")",
            "(if true then principal else principal).hasTag(\"x\")",
            "{arguments: {text: principal}}.arguments.text.hasTag(\"x\")",
            "{context: principal}.context.hasTag(\"x\")",
        ] {
            assert_eq!(of(roundabout).reads.claims, names(&["x"]), "{roundabout}");
        }
        assert!(of("principal.hasTag(resource.toolId)").computed_tag);
        assert!(
            of("context.arguments == context.arguments")
                .reads
                .reads_arguments()
        );
        assert!(of("{a: context} has a").reads.reads_arguments());
        let named = of("{Value: context.hour, Var: principal.sub} == {Value: 3, Var: \"x\"}");
        assert_eq!(named.reads.context, names(&["hour"]));
        assert!(named.reads.sub);
        for names in [
            "principal == Caller::\"a\"",
            "[Caller::\"a\"].contains(principal)",
            "Caller::\"a\" has tenant",
            "{a: [Caller::\"a\"]} has a",
        ] {
            assert!(of(names).reads.sub, "{names}");
        }
        assert!(
            !of("principal.roles.contains(\"a\") && principal has tenant")
                .reads
                .sub
        );
    }
}
