//! A question as people write it: the conditions of a rule, and what is claimed of the requests that meet them.

use crate::attribute::Attribute;
use crate::compile::{self, Unit};
use crate::condition::{Literal, Test};
use crate::error::{Fault, LoadError, Place, Problem, nearest};
use crate::obligation::Obligation;
use crate::rule::{Report, Rule, read_rule};
use crate::set::PolicySet;
use crate::source::unreadable;
use crate::yaml::{self, Entry, Node, Value};

/// The most bytes of a file of questions.
const TEXT_MAX: usize = 1 << 20;
/// The most questions of one file.
const QUESTIONS_MAX: usize = 1_000;
/// The longest name of a question, in bytes.
const NAME_MAX: usize = 200;
const VERSION: i64 = 1;
const FILE_KEYS: [&str; 2] = ["version", "questions"];
const KEYS: [&str; 7] = [
    "name",
    "never",
    "without",
    "always",
    "no_more_than",
    "same_as",
    "never_fails",
];
/// The keys of which a question has exactly one.
const CLAIMS: [&str; 5] = ["never", "always", "no_more_than", "same_as", "never_fails"];
/// The id under which a question's conditions are compiled. No rule of a policy can have it.
pub(super) const ID: &str = "the question";

/// One question about every request at once.
#[derive(Debug, Clone)]
pub struct Question {
    /// What people call it.
    pub name: String,
    /// The file, as [`Question::read`] was given it.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    pub(super) claim: Claim,
}

/// What is claimed.
#[derive(Debug, Clone)]
pub(super) enum Claim {
    /// No request that meets the conditions is allowed (or: none is allowed without that duty).
    Never(Box<Area>, Option<Obligation>),
    /// Every request that meets the conditions is allowed.
    Always(Box<Area>),
    /// Whatever this policy allows, the other one allows too, and asks no more for it.
    NoMoreThan(String),
    /// Both allow the same and ask the same for it.
    SameAs(String),
    /// No rule can fail to be evaluated.
    NeverFails,
}

/// The requests that a question is about.
#[derive(Debug, Clone)]
pub(super) struct Area {
    pub(super) rule: Rule,
    pub(super) unit: Unit,
}

impl Question {
    /// Reads a file of questions. `name` stands in errors.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text, by line and question. It is read as strictly as a policy.
    pub fn read(name: &str, text: &str) -> Result<Vec<Self>, LoadError> {
        let mut report = Report {
            file: name,
            problems: Vec::new(),
        };
        let mut questions = Vec::new();
        if text.len() > TEXT_MAX {
            report.add(
                0,
                None,
                Fault::TooLarge {
                    what: "the size of a file of questions in bytes",
                    limit: TEXT_MAX,
                },
            );
        } else if let Some(node) = parsed(text, &mut report) {
            read_file(&node, &mut report, &mut questions);
        }
        LoadError::unless_empty(report.problems)?;
        Ok(questions)
    }

    /// Reads one question from its parts, each in the form that it has in a file: `never: {resource.safety_tags: financial}`. `name` says
    /// where it comes from.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the parts.
    pub fn from_parts(name: &str, parts: &[(&str, &str)]) -> Result<Self, LoadError> {
        let mut report = Report {
            file: name,
            problems: Vec::new(),
        };
        let entry = |(key, text): &(&str, &str)| {
            let mut node = parsed(text, &mut report)?;
            forget_lines(&mut node);
            Some(Entry {
                key: (*key).to_owned(),
                line: 0,
                node,
            })
        };
        let entries: Vec<_> = parts.iter().filter_map(entry).collect();
        let question = report
            .problems
            .is_empty()
            .then(|| one(0, &entries, name.to_owned(), &mut report))
            .flatten();
        LoadError::unless_empty(report.problems)?;
        question.ok_or_else(|| LoadError::of(name, "this is no question"))
    }

    /// Returns where the policy stands with which this question compares.
    #[must_use]
    pub fn compares_with(&self) -> Option<&str> {
        match &self.claim {
            Claim::NoMoreThan(path) | Claim::SameAs(path) => Some(path),
            _ => None,
        }
    }

    /// Refuses roles that the policy does not define: a question about a misspelt role would always be answered as one hopes.
    ///
    /// # Errors
    ///
    /// The roles, by line.
    pub fn check(&self, set: &PolicySet) -> Result<(), LoadError> {
        let (area, duty) = match &self.claim {
            Claim::Never(area, duty) => (area, duty.as_ref()),
            Claim::Always(area) => (area, None),
            _ => return Ok(()),
        };
        let conditions = area.rule.when.iter().flat_map(|(line, condition)| {
            let values = match (&condition.attribute, &condition.test) {
                (Attribute::Roles, Test::AnyOf(values) | Test::NoneOf(values)) => values.as_slice(),
                _ => &[],
            };
            let texts = values.iter().filter_map(|value| match value {
                Literal::Text(role) => Some(role),
                Literal::Int(_) | Literal::Bool(_) => None,
            });
            texts.map(|role| (*line, condition.attribute.to_string(), role))
        });
        let approver = duty.and_then(|duty| match duty {
            Obligation::Approver { role } => Some((self.line, "without".to_owned(), role)),
            _ => None,
        });
        let unknown = conditions
            .chain(approver)
            .filter(|(_, _, role)| set.roles().all(|known| known != *role));
        let problems = unknown.map(|(line, key, role)| Problem {
            file: self.file.clone(),
            at: Place::line(line),
            rule: None,
            fault: Fault::UnknownRole {
                key,
                role: role.clone(),
                nearest: nearest(role, set.roles()),
            },
        });
        LoadError::unless_empty(problems.collect())
    }
}

fn parsed(text: &str, report: &mut Report<'_>) -> Option<Node> {
    match yaml::parse(text) {
        Ok(node) => Some(node),
        Err(error) => {
            let line = error.location().map_or(0, |at| at.line());
            report.add(line, None, unreadable(&error, text));
            None
        }
    }
}

/// What comes from a command line has no lines.
fn forget_lines(node: &mut Node) {
    node.line = 0;
    match &mut node.value {
        Value::List(list) => list.iter_mut().for_each(forget_lines),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.line = 0;
            forget_lines(&mut entry.node);
        }),
        _ => {}
    }
}

fn read_file(node: &Node, report: &mut Report<'_>, questions: &mut Vec<Question>) {
    let Value::Map(entries) = &node.value else {
        return report.add(
            node.line,
            None,
            shape(
                "questions",
                "a map with `version` and `questions`",
                &node.value,
            ),
        );
    };
    for key in FILE_KEYS {
        if !entries.iter().any(|entry| entry.key == key) {
            report.add(node.line, None, Fault::MissingKey { key });
        }
    }
    for entry in entries {
        match (entry.key.as_str(), &entry.node.value) {
            ("version", Value::Int(VERSION)) => {}
            ("version", found) => report.add(entry.line, None, shape("version", "1", found)),
            ("questions", Value::List(list)) => {
                for node in list.iter().take(QUESTIONS_MAX) {
                    questions.extend(read(node, report));
                }
                if list.len() > QUESTIONS_MAX {
                    report.add(
                        entry.line,
                        None,
                        Fault::TooLarge {
                            what: "the number of questions",
                            limit: QUESTIONS_MAX,
                        },
                    );
                }
                if list.is_empty() {
                    let key = entry.key.clone();
                    report.add(entry.line, None, Fault::Empty { key });
                }
            }
            ("questions", found) => report.add(
                entry.line,
                None,
                shape("questions", "a list of questions", found),
            ),
            (other, _) => report.add(
                entry.line,
                None,
                Fault::UnknownKey {
                    key: other.to_owned(),
                    nearest: nearest(other, FILE_KEYS),
                },
            ),
        }
    }
}

fn read(node: &Node, report: &mut Report<'_>) -> Option<Question> {
    let Value::Map(entries) = &node.value else {
        report.add(
            node.line,
            None,
            shape("questions", "a list of maps", &node.value),
        );
        return None;
    };
    let Some(entry) = entries.iter().find(|entry| entry.key == "name") else {
        report.add(node.line, None, Fault::MissingKey { key: "name" });
        return None;
    };
    match &entry.node.value {
        Value::Text(name) if (1..=NAME_MAX).contains(&name.len()) => {
            one(node.line, entries, name.clone(), report)
        }
        Value::Text(_) => {
            let what = "the length of a question's name";
            let limit = NAME_MAX;
            report.add(entry.line, None, Fault::TooLarge { what, limit });
            None
        }
        found => {
            report.add(entry.line, None, shape("name", "text", found));
            None
        }
    }
}

fn one(line: u64, entries: &[Entry], name: String, report: &mut Report<'_>) -> Option<Question> {
    let before = report.problems.len();
    for entry in entries {
        if !KEYS.contains(&entry.key.as_str()) {
            report.add(
                entry.line,
                Some(&name),
                Fault::UnknownKey {
                    key: entry.key.clone(),
                    nearest: nearest(&entry.key, KEYS),
                },
            );
        }
    }
    let claims: Vec<_> = entries
        .iter()
        .filter(|entry| CLAIMS.contains(&entry.key.as_str()))
        .collect();
    let [claimed] = claims.as_slice() else {
        report.add(line, Some(&name), Fault::OneClaim);
        return None;
    };
    let without = entries.iter().find(|entry| entry.key == "without");
    let duty = without.and_then(|entry| duty(entry, &name, report));
    if let Some(entry) = without.filter(|_| claimed.key != "never") {
        report.add(entry.line, Some(&name), Fault::WithoutNever);
    }
    let claim = claim(claimed, duty, &name, report)?;
    (report.problems.len() == before).then(|| Question {
        name,
        file: report.file.to_owned(),
        line,
        claim,
    })
}

fn claim(
    entry: &Entry,
    duty: Option<Obligation>,
    name: &str,
    report: &mut Report<'_>,
) -> Option<Claim> {
    match (entry.key.as_str(), &entry.node.value) {
        ("never", _) => Some(Claim::Never(area(entry, "deny", name, report)?, duty)),
        ("always", _) => Some(Claim::Always(area(entry, "allow", name, report)?)),
        ("never_fails", Value::Bool(true)) => Some(Claim::NeverFails),
        ("never_fails", found) => {
            report.add(
                entry.line,
                Some(name),
                shape("never_fails", "`true`", found),
            );
            None
        }
        (key, Value::Text(path)) if !path.is_empty() => Some(if key == "same_as" {
            Claim::SameAs(path.clone())
        } else {
            Claim::NoMoreThan(path.clone())
        }),
        (key, found) => {
            let expected = "the path of a policy file or folder";
            report.add(entry.line, Some(name), shape(key, expected, found));
            None
        }
    }
}

/// Reads the conditions with the reader of rules: what holds for a rule holds for a question, word by word.
fn area(entry: &Entry, effect: &str, name: &str, report: &mut Report<'_>) -> Option<Box<Area>> {
    let text = |key: &str, value: &str| Entry {
        key: key.to_owned(),
        line: entry.line,
        node: Node {
            line: entry.line,
            value: Value::Text(value.to_owned()),
        },
    };
    let rule = Node {
        line: entry.line,
        value: Value::Map(vec![
            text("id", "question"),
            text("effect", effect),
            Entry {
                key: "when".to_owned(),
                ..entry.clone()
            },
        ]),
    };
    let before = report.problems.len();
    let read = read_rule(&rule, report);
    for problem in report.problems.iter_mut().skip(before) {
        problem.rule = Some(name.to_owned());
    }
    let mut rule = read?;
    ID.clone_into(&mut rule.id);
    match compile::compile(&report.file.into(), &rule).map(|units| units.into_iter().next()) {
        Ok(Some(unit)) => Some(Box::new(Area { rule, unit })),
        Ok(None) => None,
        Err(message) => {
            report.add(entry.line, Some(name), Fault::Cedar { message });
            None
        }
    }
}

fn duty(entry: &Entry, name: &str, report: &mut Report<'_>) -> Option<Obligation> {
    let read = match &entry.node.value {
        Value::Text(text) => match text.split_once(':') {
            Some(("approver", role)) => Some(Obligation::Approver {
                role: role.trim().to_owned(),
            }),
            _ => Obligation::from_annotation(text),
        },
        _ => None,
    };
    if read.is_none() {
        let expected =
            "`confirm`, `confirm:person`, `confirm:other_person`, `approver:<role>` or `once`";
        report.add(
            entry.line,
            Some(name),
            shape("without", expected, &entry.node.value),
        );
    }
    read
}

fn shape(key: &str, expected: &'static str, found: &Value) -> Fault {
    Fault::Shape {
        key: key.to_owned(),
        expected,
        found: found.shape(),
    }
}
