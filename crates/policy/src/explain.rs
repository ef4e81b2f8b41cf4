//! How a decision came about, evaluated with the same Cedar expressions that decided.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{Authorizer, EvalResult, Expression, PolicySet, eval_expression};
use serde::Serialize;

use crate::compile::{Clause, Role, Unit};
use crate::decision::{Decision, Effect};
use crate::obligation::Obligation;
use crate::prepare::Question;
use crate::request::Request;
use crate::scope::{ScopeSet, needed};

/// A decision with its whole story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// What the caller's roles give, as far as its token leaves it.
    pub effective_scopes: BTreeSet<String>,
    /// The scopes that the request needs.
    pub scopes: Vec<ScopeLine>,
    /// Every rule whose tool, provider, action and roles fit the request. A rule that grants and obliges stands twice.
    pub rules: Vec<RuleLine>,
    /// How many other policies there are, none of which can match.
    pub others: usize,
}

/// A scope that the request needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScopeLine {
    /// The scope.
    pub scope: String,
    /// Whether the caller holds it.
    pub held: bool,
}

/// A rule that could match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleLine {
    /// The rule's id.
    pub id: String,
    /// Where it stands: the file, and the line where it is known.
    pub place: String,
    /// What it does when it matches: `allow`, `deny` or `oblige`.
    pub does: &'static str,
    /// Whether it matched.
    pub outcome: Outcome,
    /// What it obliges to.
    pub obligations: BTreeSet<Obligation>,
    /// The rule's own description.
    pub description: Option<String>,
    /// The rule's conditions; empty for a policy written in Cedar.
    pub conditions: Vec<ConditionLine>,
}

/// A condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConditionLine {
    /// The condition as it is understood.
    pub text: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a rule or a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It holds.
    Met,
    /// It does not hold.
    NotMet,
    /// The attribute is missing, which a grant counts as not met.
    Missing,
    /// The attribute is missing, which a deny rule or an obligation counts as met.
    MissingCountsAsMet,
    /// It could not be evaluated: a grant is void, a deny rule denies, an obligation obliges.
    Failed,
}

impl Explanation {
    /// An explanation of a request that never reached the rules.
    pub(crate) fn bare(
        decision: Decision,
        effective_scopes: BTreeSet<String>,
        others: usize,
    ) -> Self {
        Self {
            decision,
            effective_scopes,
            scopes: Vec::new(),
            rules: Vec::new(),
            others,
        }
    }
}

/// Tells of each scope that the request needs whether it is held.
pub(crate) fn scopes(request: &Request<'_>, held: &ScopeSet) -> Vec<ScopeLine> {
    let needed = needed(request.action, request.resource).into_iter();
    needed
        .map(|scope| ScopeLine {
            scope: scope.to_owned(),
            held: held.covers(scope),
        })
        .collect()
}

/// Evaluates each policy by itself.
pub(crate) fn rules(
    authorizer: &Authorizer,
    units: &[Arc<Unit>],
    question: &Question<'_>,
) -> Vec<RuleLine> {
    let mut lines: Vec<_> = units
        .iter()
        .map(|unit| line(authorizer, unit, question))
        .collect();
    lines.sort_by(|a, b| (&a.id, a.does).cmp(&(&b.id, b.does)));
    lines
}

fn line(authorizer: &Authorizer, unit: &Unit, question: &Question<'_>) -> RuleLine {
    let outcome = match PolicySet::from_policies([unit.policy.clone()]) {
        Ok(alone) => {
            let response = authorizer.is_authorized(&question.request, &alone, &question.entities);
            let matched = response.diagnostics().reason().next().is_some();
            match (matched, response.diagnostics().errors().next()) {
                (_, Some(_)) => Outcome::Failed,
                (true, None) => Outcome::Met,
                (false, None) => Outcome::NotMet,
            }
        }
        Err(_) => Outcome::Failed,
    };
    RuleLine {
        id: unit.id.to_string(),
        place: unit.at.map_or_else(
            || unit.file.to_string(),
            |at| format!("{}:{}", unit.file, at.line),
        ),
        does: match unit.role {
            Role::Permit => "allow",
            Role::Forbid => "deny",
            Role::Oblige => "oblige",
        },
        outcome,
        obligations: unit.duties.clone(),
        description: unit.description.as_deref().map(str::to_owned),
        conditions: unit
            .clauses
            .iter()
            .map(|clause| condition(clause, unit.role, question))
            .collect(),
    }
}

fn condition(clause: &Clause, role: Role, question: &Question<'_>) -> ConditionLine {
    let holds = |expression: &str| {
        let expression: Expression = expression.parse().ok()?;
        match eval_expression(&question.request, &question.entities, &expression) {
            Ok(EvalResult::Bool(holds)) => Some(holds),
            _ => None,
        }
    };
    let is_there = clause.presence.as_deref().map_or(Some(true), holds);
    let outcome = match (is_there, role) {
        (None, _) => Outcome::Failed,
        (Some(false), Role::Permit) => Outcome::Missing,
        (Some(false), Role::Forbid | Role::Oblige) => Outcome::MissingCountsAsMet,
        (Some(true), _) => match holds(&clause.expression) {
            Some(true) => Outcome::Met,
            Some(false) => Outcome::NotMet,
            None => Outcome::Failed,
        },
    };
    ConditionLine {
        text: clause.text.clone(),
        outcome,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::Missing => "missing, not met",
            Self::MissingCountsAsMet => "missing, counts as met",
            Self::Failed => "failed",
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.decision.effect, self.decision.reason)?;
        if self.decision.effect == Effect::Allow {
            self.decision
                .obligations
                .iter()
                .try_for_each(|duty| writeln!(f, "  obligation {duty}"))?;
        }
        if !self.scopes.is_empty() {
            writeln!(f, "scopes needed")?;
        }
        for line in &self.scopes {
            writeln!(
                f,
                "  {:<8} {}",
                if line.held { "held" } else { "missing" },
                line.scope
            )?;
        }
        writeln!(
            f,
            "policies that fit ({} of {})",
            self.rules.len(),
            self.rules.len() + self.others
        )?;
        self.rules.iter().try_for_each(|rule| rule.fmt(f))?;
        write!(f, "policy {}", self.decision.version)
    }
}

impl fmt::Display for RuleLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:<6} {} ({}): {}",
            self.does, self.id, self.place, self.outcome
        )?;
        self.conditions
            .iter()
            .try_for_each(|line| writeln!(f, "           {}: {}", line.text, line.outcome))
    }
}
