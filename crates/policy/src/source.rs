//! The texts that a policy is made of, and the strict reading of `policies.yml`.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use crate::attribute::Attribute;
use crate::condition::{Condition, Literal, Test};
use crate::error::{Fault, Place, Problem, nearest};
use crate::obligation::Obligation;
use crate::rule::{Report, Role, Rule, read_roles, read_rule};
use crate::yaml::{self, Entry, Node, Value};

/// The most bytes of one text.
const TEXT_MAX: usize = 4 << 20;
/// The most texts.
const TEXTS_MAX: usize = 256;
/// The most roles, over all files.
const ROLES_MAX: usize = 10_000;
/// The most rules and Cedar policies, over all files.
pub(crate) const RULES_MAX: usize = 20_000;
/// The version of the format.
const VERSION: i64 = 1;
const KEYS: [&str; 3] = ["version", "roles", "rules"];

/// One text and the name by which errors call it, usually its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// The texts that a policy set is loaded from. Their order does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Texts in the form of `policies.yml`.
    pub yaml: Vec<Source>,
    /// Texts in Cedar's own language.
    pub cedar: Vec<Source>,
}

impl Sources {
    /// Creates an empty collection, which loads to a policy that denies everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the built-in policy, [`DEFAULT_POLICY`](crate::DEFAULT_POLICY).
    #[must_use]
    pub fn built_in() -> Self {
        Self::new().with_yaml("policies.yml", crate::DEFAULT_POLICY)
    }

    /// Adds a text in the form of `policies.yml`.
    #[must_use]
    pub fn with_yaml(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.yaml.push(Source {
            name: name.into(),
            text: text.into(),
        });
        self
    }

    /// Adds a text in Cedar's own language.
    #[must_use]
    pub fn with_cedar(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.cedar.push(Source {
            name: name.into(),
            text: text.into(),
        });
        self
    }

    /// Returns the SHA-256 of the texts in lower-case hex, whatever their order and names.
    pub(crate) fn hash(&self) -> String {
        let tagged = |kind: u8, sources: &[Source]| {
            sources
                .iter()
                .map(|source| (kind, source.text.clone()))
                .collect::<Vec<_>>()
        };
        let mut texts = tagged(b'y', &self.yaml);
        texts.extend(tagged(b'c', &self.cedar));
        texts.sort();
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"fastmcp-policy/1\n");
        for (kind, text) in &texts {
            context.update(&[*kind]);
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        HEXLOWER.encode(context.finish().as_ref())
    }

    /// Lists the texts that are beyond bounds.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let problem = |file: &str, fault| Problem {
            file: file.to_owned(),
            at: None,
            rule: None,
            fault,
        };
        if self.yaml.len() + self.cedar.len() > TEXTS_MAX {
            problems.push(problem(
                "policy",
                Fault::TooLarge {
                    what: "the number of policy files",
                    limit: TEXTS_MAX,
                },
            ));
        }
        let long = self
            .yaml
            .iter()
            .chain(&self.cedar)
            .filter(|source| source.text.len() > TEXT_MAX);
        problems.extend(long.map(|source| {
            problem(
                &source.name,
                Fault::TooLarge {
                    what: "the size of a policy file in bytes",
                    limit: TEXT_MAX,
                },
            )
        }));
        problems
    }
}

/// What all YAML texts say together.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Roles by name, each with the file that defines it.
    pub(crate) roles: BTreeMap<String, (String, Role)>,
    /// Rules in the order of the texts, each with its file.
    pub(crate) rules: Vec<(String, Rule)>,
}

/// Reads every YAML text. What is wrong goes to `problems`, and then the document must not be used.
pub(crate) fn read(sources: &[Source], problems: &mut Vec<Problem>) -> Document {
    let mut document = Document::default();
    for source in sources {
        let mut report = Report {
            file: &source.name,
            problems: Vec::new(),
        };
        match yaml::parse(&source.text) {
            Ok(node) => read_file(&node, &mut document, &mut report),
            Err(error) => {
                let line = error.location().map_or(0, |at| at.line());
                let fault = unreadable(&error, &source.text);
                report.add(line, None, fault);
            }
        }
        problems.append(&mut report.problems);
    }
    if document.roles.len() > ROLES_MAX || document.rules.len() > RULES_MAX {
        let fault = Fault::TooLarge {
            what: "the number of roles or rules",
            limit: ROLES_MAX.min(RULES_MAX),
        };
        problems.push(Problem {
            file: "policy".to_owned(),
            at: None,
            rule: None,
            fault,
        });
    }
    problems.extend(document.undefined_roles());
    document
}

fn read_file(node: &Node, document: &mut Document, report: &mut Report<'_>) {
    let Value::Map(entries) = &node.value else {
        let fault = Fault::Shape {
            key: "policies".to_owned(),
            expected: "a map with `version`, `roles` and `rules`",
            found: node.value.shape(),
        };
        report.add(node.line, None, fault);
        return;
    };
    if !entries.iter().any(|entry| entry.key == "version") {
        report.add(node.line, None, Fault::MissingKey { key: "version" });
    }
    for entry in entries {
        match entry.key.as_str() {
            "version" if entry.node.value == Value::Int(VERSION) => {}
            "version" => {
                let fault = Fault::Shape {
                    key: entry.key.clone(),
                    expected: "1",
                    found: version_shape(&entry.node.value),
                };
                report.add(entry.line, None, fault);
            }
            "roles" => {
                for role in read_roles(&entry.node, report) {
                    document.add_role(role, report);
                }
            }
            "rules" => read_rules(entry, document, report),
            other => report.add(
                entry.line,
                None,
                Fault::UnknownKey {
                    key: other.to_owned(),
                    nearest: nearest(other, KEYS),
                },
            ),
        }
    }
}

const fn version_shape(value: &Value) -> &'static str {
    match value {
        Value::Int(_) => "another number",
        other => other.shape(),
    }
}

fn read_rules(entry: &Entry, document: &mut Document, report: &mut Report<'_>) {
    let Value::List(list) = &entry.node.value else {
        let fault = Fault::Shape {
            key: entry.key.clone(),
            expected: "a list of rules",
            found: entry.node.value.shape(),
        };
        report.add(entry.line, None, fault);
        return;
    };
    if list.is_empty() {
        report.add(
            entry.line,
            None,
            Fault::Empty {
                key: entry.key.clone(),
            },
        );
    }
    for node in list {
        if let Some(rule) = read_rule(node, report) {
            document.rules.push((report.file.to_owned(), rule));
        }
    }
}

impl Document {
    fn add_role(&mut self, role: Role, report: &mut Report<'_>) {
        if let Some((first, _)) = self.roles.get(&role.name) {
            report.add(
                role.line,
                None,
                Fault::DuplicateRole {
                    role: role.name.clone(),
                    first: first.clone(),
                },
            );
            return;
        }
        self.roles
            .insert(role.name.clone(), (report.file.to_owned(), role));
    }

    /// Lists every role that a rule names and no file defines.
    fn undefined_roles(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (file, rule) in &self.rules {
            let approvers = rule.duties.iter().filter_map(|duty| match duty {
                Obligation::Approver { role } => Some((rule.line, "approver".to_owned(), role)),
                _ => None,
            });
            let conditions = rule.when.iter().flat_map(|(line, condition)| {
                roles_of(condition).map(|role| (*line, condition.attribute.to_string(), role))
            });
            for (line, key, role) in approvers
                .chain(conditions)
                .filter(|(_, _, role)| !self.roles.contains_key(*role))
            {
                let nearest = nearest(role, self.roles.keys().map(String::as_str));
                let fault = Fault::UnknownRole {
                    key,
                    role: role.clone(),
                    nearest,
                };
                problems.push(Problem {
                    file: file.clone(),
                    at: Place::line(line),
                    rule: Some(rule.id.clone()),
                    fault,
                });
            }
        }
        problems
    }
}

/// The roles that a condition names.
fn roles_of(condition: &Condition) -> impl Iterator<Item = &String> {
    let values = match (&condition.attribute, &condition.test) {
        (Attribute::Roles, Test::AnyOf(values) | Test::NoneOf(values)) => values.as_slice(),
        _ => &[],
    };
    values.iter().filter_map(|value| match value {
        Literal::Text(role) => Some(role),
        Literal::Int(_) | Literal::Bool(_) => None,
    })
}

/// What is wrong with a text that is not read at all.
pub(crate) fn unreadable(error: &yaml::Error, text: &str) -> Fault {
    match yaml::repeated_key(error, text) {
        Some((key, first)) => Fault::RepeatedKey { key, first },
        None => Fault::Yaml {
            message: one_line(&error.to_string()),
        },
    }
}

/// Keeps an error message on its line.
pub(crate) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with one text, a line per problem.
    fn faults(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        read(
            &[Source {
                name: "p.yml".to_owned(),
                text: text.to_owned(),
            }],
            &mut problems,
        );
        problems.iter().map(ToString::to_string).collect()
    }

    const HEAD: &str = "version: 1\nroles:\n  agent: [\"tools.invoke:read\"]\nrules:\n";

    #[test]
    fn a_sound_file_has_no_faults() {
        assert_eq!(
            faults(&format!(
                "{HEAD}  - id: a\n    effect: allow\n    when: {{action: tools.invoke, subject.roles: agent}}\n"
            )),
            [""; 0]
        );
    }

    #[test]
    fn all_faults_of_a_file_are_told_at_once_with_their_lines() {
        let text = "version: 2\nrols: {}\nroles:\n  agent: [\"mcp*\"]\n  bare: x\nrules:\n  - id: a\n    efect: allow\n    when: {}\n  \
                    - effect: deny\n  - id: b\n    effect: permit\n    when:\n      action: tools.invok\n      subject.roles: [agnt]\n";
        insta::assert_snapshot!(faults(text).join("\n"), @r"
        p.yml:1: `version` must be 1, found another number
        p.yml:2: unknown key `rols`; did you mean `roles`?
        p.yml:4: `mcp*` is not a scope; a `*` stands only at the end, after a dot, as in `mcp.*`
        p.yml:5: `bare` must be a list of scopes, found text
        p.yml:8: rule `a`: unknown key `efect`; did you mean `effect`?
        p.yml:7: rule `a`: key `effect` is missing
        p.yml:9: rule `a`: `when` needs at least one condition; a rule for everything names its actions
        p.yml:10: key `id` is missing
        p.yml:12: rule `b`: `effect`: unknown value `permit`; use `allow` or `deny`
        p.yml:14: rule `b`: `action`: unknown value `tools.invok`; use `tools.invoke`, `catalog:list`, `manifests.register` or `approvals.decide`
        ");
    }

    #[test]
    fn rules_are_read_strictly() {
        let cases = [
            (
                "  - {id: a, effect: allow, when: {subject.roles: [agnt]}}",
                "rule `a`: `subject.roles`: role `agnt` is not defined under `roles`; did you mean `agent`?",
            ),
            (
                "  - {id: a, effect: allow, when: {\"subject.roles !=\": boss}}",
                "rule `a`: `subject.roles`: role `boss` is not defined under `roles`",
            ),
            (
                "  - {id: a, effect: allow, approver: boss, when: {subject.roles: agent}}",
                "rule `a`: `approver`: role `boss` is not defined under `roles`",
            ),
            (
                "  - {id: a, effect: deny, require_confirmation: true, when: {subject.roles: agent}}",
                "rule `a`: `require_confirmation` has no meaning on a rule that denies; make it `effect: allow` or remove the key",
            ),
            (
                "  - {id: a, effect: allow, require_confirmation: persn, when: {subject.roles: agent}}",
                "rule `a`: `require_confirmation`: unknown value `persn`; use `client`, `person` or `other_person`",
            ),
            (
                "  - {id: a, effect: allow, when: {action: \"catalog:list\", resource.toolId: x}}",
                "rule `a`: `resource.toolId` needs a resource, but the action `catalog:list` has none; name other actions or remove the condition",
            ),
            (
                "  - {id: a, effect: allow, require_confirmation: true, when: {action: approvals.decide, subject.roles: agent}}",
                "rule `a`: `approvals.decide` is about who may approve, and has no `require_confirmation`, `approver` or `once`; write a rule of its own for them",
            ),
            (
                "  - {id: a, effect: deny, when: {context.labels_any: [pii, PII]}}",
                "rule `a`: `context.labels_any`: `PII` is not a label: 1 to 64 of `a-z`, `0-9`, `_`, `.`, `-` and `:`",
            ),
            (
                "  - {id: a, effect: allow, when: {action: []}}",
                "rule `a`: `action` is empty; name at least one entry or leave the key out",
            ),
            (
                "  - {id: \"a b\", effect: allow, when: {subject.roles: agent}}",
                "`a b` is not an id; use 1 to 128 letters, digits, `-`, `_`, `.` and `:`",
            ),
            (
                "  - just text",
                "`rules` must be a list of maps, found text",
            ),
        ];
        for (rule, expected) in cases {
            assert_eq!(
                faults(&format!("{HEAD}{rule}\n")),
                [format!("p.yml:5: {expected}")],
                "{rule}"
            );
        }
    }

    #[test]
    fn the_hash_depends_on_the_texts_alone() {
        let one = Sources::new()
            .with_yaml("a", "x")
            .with_yaml("b", "y")
            .hash();
        assert_eq!(
            one,
            Sources::new()
                .with_yaml("c", "y")
                .with_yaml("d", "x")
                .hash()
        );
        assert_ne!(
            one,
            Sources::new()
                .with_yaml("a", "xy")
                .with_yaml("b", "")
                .hash()
        );
        assert_ne!(
            Sources::new().with_yaml("a", "x").hash(),
            Sources::new().with_cedar("a", "x").hash()
        );
        assert_eq!(one.len(), 64);
    }
}
