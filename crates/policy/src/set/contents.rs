//! What a set of policies holds, and what its rules read.

use std::collections::BTreeSet;
#[cfg(feature = "prove")]
use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Note, PolicySet, note};
use crate::action::Action;
use crate::argument;
use crate::compile::Role;
#[cfg(feature = "prove")]
use crate::compile::Unit;
use crate::decision::PolicyVersion;
#[cfg(feature = "prove")]
use crate::reads::Reads;
#[cfg(feature = "prove")]
use crate::scope::ScopeSet;

impl PolicySet {
    /// Every policy.
    #[cfg(feature = "prove")]
    pub(crate) fn units(&self) -> &[Arc<Unit>] {
        self.index.units()
    }

    /// Whether a rule says who may approve.
    #[cfg(feature = "prove")]
    pub(crate) const fn names_approvers(&self) -> bool {
        self.names_approvers
    }

    /// The scopes that each role gives.
    #[cfg(feature = "prove")]
    pub(crate) const fn role_scopes(&self) -> &BTreeMap<String, ScopeSet> {
        &self.roles
    }

    /// What all policies read together.
    #[cfg(feature = "prove")]
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Returns the paths of the claims that some rule reads, sorted.
    pub fn claims_read(&self) -> impl Iterator<Item = &str> {
        self.reads.claims.iter().map(String::as_str)
    }

    /// Says whether any rule reads what the caller has read (`context.labels`), so that it has to be known.
    #[must_use]
    pub fn reads_labels(&self) -> bool {
        self.reads.reads_labels()
    }

    /// Says whether some rule may read this very label.
    #[must_use]
    pub fn reads_label(&self, label: &str) -> bool {
        self.reads.any_label || self.reads.labels.contains(label)
    }

    /// Says whether some rule is about who approves. Where none is, whoever holds the scope `approvals.decide` may.
    #[must_use]
    pub fn judges_approvals(&self) -> bool {
        let mut units = self.index.units().iter();
        units.any(|unit| unit.reach.actions.contains(&Action::ApprovalsDecide))
    }

    /// Returns which policy this is.
    #[must_use]
    pub const fn version(&self) -> &PolicyVersion {
        &self.version
    }

    /// Returns what loaded and yet deserves a look.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Returns a note for every argument by which a rule denies or obliges although none of the tools that it names takes it. `tools` are those that
    /// are known, each by its id, with the JSON Schema of its arguments. A rule that names others, or none, may be about any argument.
    #[must_use]
    pub fn notes_on(&self, tools: &[(&str, &Value)]) -> Vec<Note> {
        let mut notes = Vec::new();
        let units = self.index.units().iter();
        for unit in units.filter(|unit| unit.role != Role::Permit) {
            let Some(named) = &unit.reach.tools else {
                continue;
            };
            let is_known = |id: &String| tools.iter().any(|(known, _)| known == id);
            if !named.iter().all(is_known) {
                continue;
            }
            for path in unit.reads.argument_paths() {
                let mut all = tools.iter().filter(|(id, _)| named.contains(*id));
                if !all.any(|(_, schema)| argument::is_taken(schema, path)) {
                    let text = format!("no tool that it names takes the argument `{path}`");
                    notes.push(note(unit, &text));
                }
            }
        }
        notes
    }

    /// Returns the names of the defined roles, sorted.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// Returns the ids of all rules, in the order of loading. A rule that grants and obliges stands once.
    #[must_use]
    pub fn rule_ids(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        self.index
            .units()
            .iter()
            .map(|unit| &*unit.id)
            .filter(|id| seen.insert(*id))
            .collect()
    }
}
