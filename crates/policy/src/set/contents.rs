//! What a set of policies holds, and what its rules read.

use std::collections::BTreeSet;
#[cfg(feature = "prove")]
use std::{collections::BTreeMap, sync::Arc};

use super::{Note, PolicySet};
use crate::action::Action;
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
    pub(crate) const fn reads(&self) -> &Reads {
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
