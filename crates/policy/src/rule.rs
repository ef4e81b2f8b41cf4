//! A rule and a role, as a policy file states them, and the strict reading of both.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::condition::Condition;
use crate::error::{Fault, Place, Problem, nearest};
use crate::obligation::{ConsentLevel, Obligation};
use crate::scope;
use crate::yaml::{Entry, Node, Value};

const CONDITIONS_MAX: usize = 64;
const DESCRIPTION_MAX: usize = 1_000;
const ID_MAX: usize = 128;
const SCOPES_MAX: usize = 1_000;
const KEYS: [&str; 7] = [
    "id",
    "effect",
    "when",
    "require_confirmation",
    "approver",
    "once",
    "description",
];
const EFFECTS: [&str; 2] = ["allow", "deny"];

/// A role and the scopes that it gives.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) line: u64,
}

/// A rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) line: u64,
    pub(crate) allows: bool,
    /// The actions that the rule is about: those that it names, less those that lack what it reads.
    pub(crate) actions: BTreeSet<Action>,
    /// In the order of the file, each with its line.
    pub(crate) when: Vec<(u64, Condition)>,
    pub(crate) duties: BTreeSet<Obligation>,
    pub(crate) description: Option<String>,
}

/// Collects what is wrong with one file.
pub(crate) struct Report<'a> {
    pub(crate) file: &'a str,
    pub(crate) problems: Vec<Problem>,
}

impl Report<'_> {
    pub(crate) fn add(&mut self, line: u64, rule: Option<&str>, fault: Fault) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            at: Place::line(line),
            rule: rule.map(str::to_owned),
            fault,
        });
    }
}

/// Reads `roles`.
pub(crate) fn read_roles(node: &Node, report: &mut Report<'_>) -> Vec<Role> {
    let Value::Map(entries) = &node.value else {
        report.add(
            node.line,
            None,
            shape("roles", "a map from role to scopes", &node.value),
        );
        return Vec::new();
    };
    if entries.is_empty() {
        report.add(
            node.line,
            None,
            Fault::Empty {
                key: "roles".to_owned(),
            },
        );
    }
    entries
        .iter()
        .filter_map(|entry| read_role(entry, report))
        .collect()
}

fn read_role(entry: &Entry, report: &mut Report<'_>) -> Option<Role> {
    if !is_id(&entry.key) {
        report.add(
            entry.line,
            None,
            Fault::Id {
                id: entry.key.clone(),
            },
        );
    }
    let Value::List(list) = &entry.node.value else {
        report.add(
            entry.line,
            None,
            shape(&entry.key, "a list of scopes", &entry.node.value),
        );
        return None;
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
    if list.len() > SCOPES_MAX {
        report.add(
            entry.line,
            None,
            Fault::TooLarge {
                what: "the number of scopes of a role",
                limit: SCOPES_MAX,
            },
        );
    }
    let mut scopes = Vec::new();
    for node in list {
        match &node.value {
            Value::Text(text) if scope::is_well_formed(text) => scopes.push(text.clone()),
            Value::Text(text) => report.add(
                node.line,
                None,
                Fault::Scope {
                    scope: text.clone(),
                },
            ),
            other => report.add(
                node.line,
                None,
                shape(&entry.key, "a list of scopes", other),
            ),
        }
    }
    Some(Role {
        name: entry.key.clone(),
        scopes,
        line: entry.line,
    })
}

/// Reads one entry of `rules`. `None` if it cannot be used; the report says why.
pub(crate) fn read_rule(node: &Node, report: &mut Report<'_>) -> Option<Rule> {
    let Value::Map(entries) = &node.value else {
        report.add(
            node.line,
            None,
            shape("rules", "a list of maps", &node.value),
        );
        return None;
    };
    let before = report.problems.len();
    let id = read_id(node, entries, report)?;
    for entry in entries
        .iter()
        .filter(|entry| !KEYS.contains(&entry.key.as_str()))
    {
        report.add(
            entry.line,
            Some(&id),
            Fault::UnknownKey {
                key: entry.key.clone(),
                nearest: nearest(&entry.key, KEYS),
            },
        );
    }
    let mut reader = RuleReader {
        id: &id,
        entries,
        line: node.line,
        report,
    };
    let allows = reader.effect();
    let duties = reader.duties(allows);
    let description = reader.description();
    let (actions, when) = reader.when(allows);
    if allows && actions.contains(&Action::ApprovalsDecide) && !duties.is_empty() {
        report.add(node.line, Some(&id), Fault::DutyOnApproval);
    }
    // A rule with any fault is not used, but its other faults are told all the same.
    (report.problems.len() == before).then_some(Rule {
        id,
        line: node.line,
        allows,
        actions,
        when,
        duties,
        description,
    })
}

fn read_id(node: &Node, entries: &[Entry], report: &mut Report<'_>) -> Option<String> {
    let Some(entry) = entries.iter().find(|entry| entry.key == "id") else {
        report.add(node.line, None, Fault::MissingKey { key: "id" });
        return None;
    };
    match &entry.node.value {
        Value::Text(id) if is_id(id) => Some(id.clone()),
        Value::Text(id) => {
            report.add(entry.line, None, Fault::Id { id: id.clone() });
            None
        }
        other => {
            report.add(entry.line, None, shape("id", "text", other));
            None
        }
    }
}

/// Says whether a text can be an id of a rule or the name of a role.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=ID_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

fn shape(key: &str, expected: &'static str, found: &Value) -> Fault {
    Fault::Shape {
        key: key.to_owned(),
        expected,
        found: found.shape(),
    }
}

struct RuleReader<'a, 'b> {
    id: &'a str,
    entries: &'a [Entry],
    line: u64,
    report: &'a mut Report<'b>,
}

impl<'a> RuleReader<'a, '_> {
    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn fault(&mut self, line: u64, fault: Fault) {
        self.report.add(line, Some(self.id), fault);
    }

    /// Returns whether the rule allows.
    fn effect(&mut self) -> bool {
        let Some(entry) = self.entry("effect") else {
            self.fault(self.line, Fault::MissingKey { key: "effect" });
            return false;
        };
        match &entry.node.value {
            Value::Text(text) if EFFECTS.contains(&text.as_str()) => text == "allow",
            Value::Text(text) => {
                let fault = Fault::UnknownValue {
                    key: "effect".to_owned(),
                    value: text.clone(),
                    valid: EFFECTS.to_vec(),
                };
                self.fault(entry.line, fault);
                false
            }
            other => {
                self.fault(entry.line, shape("effect", "`allow` or `deny`", other));
                false
            }
        }
    }

    fn duties(&mut self, allows: bool) -> BTreeSet<Obligation> {
        let mut duties = BTreeSet::new();
        duties.extend(self.confirmation());
        duties.extend(self.approver());
        duties.extend(self.once());
        for key in ["require_confirmation", "approver", "once"] {
            if let Some(entry) = self
                .entry(key)
                .filter(|_| !allows && self.entry("effect").is_some())
            {
                self.fault(entry.line, Fault::DutyOnDeny { key });
            }
        }
        duties
    }

    fn confirmation(&mut self) -> Option<Obligation> {
        const EXPECTED: &str = "`true`, `false`, `client`, `person` or `other_person`";
        let entry = self.entry("require_confirmation")?;
        let level = match &entry.node.value {
            Value::Bool(true) => Some(ConsentLevel::Client),
            Value::Bool(false) => None,
            Value::Text(text) => {
                let level = ConsentLevel::from_name(text);
                if level.is_none() {
                    let names = ConsentLevel::ALL.map(ConsentLevel::name);
                    let fault = Fault::UnknownValue {
                        key: entry.key.clone(),
                        value: text.clone(),
                        valid: names.to_vec(),
                    };
                    self.fault(entry.line, fault);
                }
                level
            }
            other => {
                self.fault(entry.line, shape("require_confirmation", EXPECTED, other));
                None
            }
        };
        level.map(|level| Obligation::Confirm { level })
    }

    fn approver(&mut self) -> Option<Obligation> {
        let entry = self.entry("approver")?;
        match &entry.node.value {
            Value::Text(role) => Some(Obligation::Approver { role: role.clone() }),
            other => {
                self.fault(entry.line, shape("approver", "a role", other));
                None
            }
        }
    }

    fn once(&mut self) -> Option<Obligation> {
        let entry = self.entry("once")?;
        match &entry.node.value {
            Value::Bool(once) => once.then_some(Obligation::Once),
            other => {
                self.fault(entry.line, shape("once", "`true` or `false`", other));
                None
            }
        }
    }

    fn description(&mut self) -> Option<String> {
        let entry = self.entry("description")?;
        match &entry.node.value {
            Value::Text(text) if text.len() <= DESCRIPTION_MAX => Some(text.trim().to_owned()),
            Value::Text(_) => {
                self.fault(
                    entry.line,
                    Fault::TooLarge {
                        what: "the length of a description",
                        limit: DESCRIPTION_MAX,
                    },
                );
                None
            }
            other => {
                self.fault(entry.line, shape("description", "text", other));
                None
            }
        }
    }

    fn when(&mut self, allows: bool) -> (BTreeSet<Action>, Vec<(u64, Condition)>) {
        let mut when = Vec::new();
        let Some(entry) = self.entry("when") else {
            self.fault(self.line, Fault::MissingKey { key: "when" });
            return (BTreeSet::new(), when);
        };
        let Value::Map(conditions) = &entry.node.value else {
            let fault = if entry.node.value == Value::Null {
                Fault::NoCondition
            } else {
                shape("when", "a map of conditions", &entry.node.value)
            };
            self.fault(entry.line, fault);
            return (BTreeSet::new(), when);
        };
        if conditions.is_empty() {
            self.fault(entry.line, Fault::NoCondition);
        }
        if conditions.len() > CONDITIONS_MAX {
            self.fault(
                entry.line,
                Fault::TooLarge {
                    what: "the number of conditions of a rule",
                    limit: CONDITIONS_MAX,
                },
            );
        }
        for condition in conditions
            .iter()
            .filter(|condition| condition.key != "action")
        {
            match Condition::parse(&condition.key, &condition.node) {
                Ok(parsed) => when.push((condition.line, parsed)),
                Err(fault) => self.fault(condition.line, fault),
            }
        }
        let named = conditions
            .iter()
            .find(|condition| condition.key == "action")
            .map(|condition| self.named_actions(condition));
        (self.actions(allows, named, &when), when)
    }

    /// A rule that reads the resource is about actions that have one. Naming another by name is a mistake; naming none is not.
    /// Who may call whatever it is may not therefore approve whatever it is: to allow that, it has to be named.
    fn actions(
        &mut self,
        allows: bool,
        named: Option<BTreeSet<Action>>,
        when: &[(u64, Condition)],
    ) -> BTreeSet<Action> {
        let reads_resource = when.iter().find(|(_, condition)| {
            condition
                .attributes()
                .any(|attribute| attribute.is_resource())
        });
        let bare = named.iter().flatten().find(|action| !action.has_resource());
        if let (Some(action), Some((line, condition))) = (bare, reads_resource) {
            let key = condition.attribute.to_string();
            self.fault(
                *line,
                Fault::NoResource {
                    key,
                    action: *action,
                },
            );
        }
        let all = || {
            Action::ALL
                .into_iter()
                .filter(|action| !allows || *action != Action::ApprovalsDecide)
                .filter(|action| reads_resource.is_none() || action.has_resource())
                .collect()
        };
        named.unwrap_or_else(all)
    }

    fn named_actions(&mut self, entry: &Entry) -> BTreeSet<Action> {
        let nodes = match &entry.node.value {
            Value::List(list) => list.as_slice(),
            _ => std::slice::from_ref(&entry.node),
        };
        if nodes.is_empty() {
            self.fault(
                entry.line,
                Fault::Empty {
                    key: "action".to_owned(),
                },
            );
        }
        let mut actions = BTreeSet::new();
        for node in nodes {
            let Value::Text(name) = &node.value else {
                self.fault(
                    node.line,
                    shape("action", "the name of an action", &node.value),
                );
                continue;
            };
            match Action::from_name(name) {
                Some(action) => {
                    actions.insert(action);
                }
                None => {
                    let valid = Action::ALL.map(Action::name).to_vec();
                    self.fault(
                        node.line,
                        Fault::UnknownValue {
                            key: "action".to_owned(),
                            value: name.clone(),
                            valid,
                        },
                    );
                }
            }
        }
        actions
    }
}
