//! What policies come to for one caller, action and tool, before the context is known.
//!
//! Most of what a policy says is about who calls what, and that stays the same from call to call: it is evaluated once, and kept.
//! INVARIANT: a policy is satisfied exactly if its known part is and its rest holds; it fails where Cedar would fail on the whole of it. So the
//! known part of a rule, none of whose conditions can fail, may be all that reads no context; that of a policy written in Cedar, whose
//! conditions may, is only what stands before the first that does.

use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, EvalResult, Expression, Policy, PolicyId, PolicySet, Response,
    eval_expression,
};

use crate::check::{Check, Facts};
use crate::compile::{Role, Unit};
use crate::decision::Reason;
use crate::expression::Term;
use crate::prepare::Question;
use crate::reads::Reads;
use crate::slice::{Slice, clash};

/// What of a policy needs no context.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// Conditions of a rule.
    Checks(Vec<Check>),
    /// Head and conditions of a policy written in Cedar, of forms that are known.
    Term(Term),
    /// One that is left to Cedar, without the rest.
    Cedar(Box<Policy>),
}

/// Conditions that read the context, and what stands behind them.
#[derive(Debug, Clone)]
pub(crate) enum Rest {
    /// Those of a rule.
    Checks(Vec<Check>),
    /// Those of a policy written in Cedar, of forms that are known.
    Term(Term),
    /// Those that are left to Cedar, as one expression.
    Cedar(Box<Expression>),
}

/// The policies of a slice that can still match.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// They match, whatever the context.
    sure: Vec<Arc<Unit>>,
    /// Deny rules that cannot be evaluated, whatever the context.
    failed: Vec<Arc<Unit>>,
    /// Their known part is satisfied.
    open: Vec<Arc<Unit>>,
    /// What those of the open ones read that are left to Cedar; `None` where none is.
    reads: Option<Reads>,
}

/// The policies that match a request, and the deny rules that could not be evaluated.
#[derive(Debug, Default)]
pub(crate) struct Found<'a> {
    pub(crate) matched: Vec<&'a Unit>,
    pub(crate) failed: Vec<&'a Unit>,
}

impl Unit {
    /// Says whether the open part holds; `None` where it cannot be evaluated.
    fn holds(&self, facts: Facts<'_>, question: Option<&Question<'_>>) -> Option<bool> {
        match self.rest.as_ref()? {
            Rest::Checks(checks) => Some(checks.iter().all(|check| check.holds(facts))),
            Rest::Term(term) => term.holds(facts),
            Rest::Cedar(rest) => {
                let question = question?;
                match eval_expression(&question.request, &question.entities, rest) {
                    Ok(EvalResult::Bool(holds)) => Some(holds),
                    _ => None,
                }
            }
        }
    }
}

impl Settled {
    /// Evaluates what needs no context. `ask` makes a question of it, for what is left to Cedar.
    pub(crate) fn new<'q>(
        authorizer: &Authorizer,
        slice: &Slice,
        facts: Facts<'_>,
        ask: impl FnOnce() -> Result<Question<'q>, Reason>,
    ) -> Result<Self, Reason> {
        let mut settled = Self::default();
        for unit in &slice.units {
            match &unit.known {
                Known::Checks(checks) => {
                    settled.enter(unit, Some(checks.iter().all(|check| check.holds(facts))));
                }
                Known::Term(term) => settled.enter(unit, term.holds(facts)),
                Known::Cedar(_) => {}
            }
        }
        if let Some(left) = &slice.left {
            let question = ask()?;
            for set in [&left.denying, &left.granting] {
                let response = authorizer.is_authorized(&question.request, set, &question.entities);
                let found = satisfied(&response).into_iter().map(|at| (at, Some(true)));
                let found = found.chain(failed(&response).into_iter().map(|at| (at, None)));
                for (at, holds) in found {
                    let unit = slice.units.get(at).ok_or_else(|| unknown(at))?;
                    settled.enter(unit, holds);
                }
            }
        }
        for unit in &settled.open {
            if let Some(Rest::Cedar(_)) = &unit.rest {
                settled.reads.get_or_insert_default().add(&unit.reads);
            }
        }
        Ok(settled)
    }

    /// Enters a policy by what is known of it; `None` is what cannot be evaluated.
    fn enter(&mut self, unit: &Arc<Unit>, holds: Option<bool>) {
        let list = match (holds, unit.role) {
            (Some(true), _) if unit.rest.is_some() => &mut self.open,
            (Some(true), _) | (None, Role::Oblige) => &mut self.sure,
            (None, Role::Forbid) => &mut self.failed,
            (Some(false), _) | (None, Role::Permit) => return,
        };
        list.push(Arc::clone(unit));
    }

    /// Says whether the context changes nothing.
    pub(crate) const fn is_closed(&self) -> bool {
        self.open.is_empty()
    }

    /// Says what matches in this context. `ask` makes a question of it, with as much as is read.
    pub(crate) fn found<'a, 'q>(
        &'a self,
        facts: Facts<'_>,
        ask: impl FnOnce(&Reads) -> Result<Question<'q>, Reason>,
    ) -> Result<Found<'a>, Reason> {
        let question = self.reads.as_ref().map(ask).transpose()?;
        let mut found = Found {
            matched: self.sure.iter().map(AsRef::as_ref).collect(),
            failed: self.failed.iter().map(AsRef::as_ref).collect(),
        };
        for unit in &self.open {
            match (unit.holds(facts, question.as_ref()), unit.role) {
                (Some(true), _) | (None, Role::Oblige) => found.matched.push(unit),
                (None, Role::Forbid) => found.failed.push(unit),
                (Some(false), _) | (None, Role::Permit) => {}
            }
        }
        Ok(found)
    }
}

impl Found<'_> {
    /// The ids of those that matched in one role, sorted.
    pub(crate) fn ids(&self, role: Role) -> Vec<String> {
        sorted(self.matched.iter().filter(|unit| unit.role == role))
    }

    /// The ids of the deny rules that could not be evaluated, sorted.
    pub(crate) fn failed_ids(&self) -> Vec<String> {
        sorted(self.failed.iter())
    }

    /// The description of the first deny rule that has one.
    pub(crate) fn description(&self) -> Option<String> {
        let denying = self.matched.iter().filter(|unit| unit.role == Role::Forbid);
        let first = denying
            .filter_map(|unit| Some((&unit.id, unit.description.as_deref()?)))
            .min_by_key(|(id, _)| *id)?;
        Some(first.1.to_owned())
    }
}

fn sorted<'a>(units: impl Iterator<Item = &'a &'a Unit>) -> Vec<String> {
    let mut ids: Vec<_> = units.map(|unit| unit.id.to_string()).collect();
    ids.sort_unstable();
    ids
}

/// Policies that are left to Cedar, each under its place among the units: the two policies of one rule share its id.
#[derive(Debug)]
pub(crate) struct Left {
    denying: PolicySet,
    /// Cedar does not tell which permits are satisfied once a forbid is.
    granting: PolicySet,
}

impl Left {
    /// Gathers those of a slice; `None` where none is.
    pub(crate) fn of(units: &[Arc<Unit>]) -> Result<Option<Self>, Reason> {
        let is_left = |unit: &Arc<Unit>| matches!(unit.known, Known::Cedar(_));
        if !units.iter().any(is_left) {
            return Ok(None);
        }
        let set = |denies: bool| {
            let units = units.iter().enumerate();
            let left = units.filter_map(|(at, unit)| match &unit.known {
                Known::Cedar(policy) if (unit.role == Role::Forbid) == denies => {
                    Some(policy.new_id(PolicyId::new(at.to_string())))
                }
                _ => None,
            });
            PolicySet::from_policies(left).map_err(clash)
        };
        Ok(Some(Self {
            denying: set(true)?,
            granting: set(false)?,
        }))
    }
}

fn unknown(at: usize) -> Reason {
    Reason::Undecidable {
        what: format!("Cedar names a policy that it was not given: {at}"),
    }
}

fn place(id: &PolicyId) -> Option<usize> {
    let id: &str = id.as_ref();
    id.parse().ok()
}

fn satisfied(response: &Response) -> Vec<usize> {
    response.diagnostics().reason().filter_map(place).collect()
}

fn failed(response: &Response) -> Vec<usize> {
    let errors = response.diagnostics().errors();
    errors
        .filter_map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => place(error.policy_id()),
        })
        .collect()
}
