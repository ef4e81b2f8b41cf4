//! What policies come to for one caller, action and tool, before the context is known.
//!
//! Most of what a policy says is about who calls what, and that stays the same from call to call: Cedar decides it once, and it is kept.
//! INVARIANT: a policy is satisfied exactly if its known part is and its rest holds; it fails where Cedar would fail on the whole of it. So the
//! known part of a rule, none of whose conditions can fail, may be all that reads no context; that of a policy written in Cedar, whose
//! conditions may, is only what stands before the first that does.

use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, EvalResult, Expression, Policy, PolicyId, Response,
    eval_expression,
};

use crate::check::Check;
use crate::compile::{Role, Unit};
use crate::decision::Reason;
use crate::expression::Term;
use crate::prepare::Question;
use crate::reads::Reads;
use crate::request::Request;
use crate::slice::Slice;

/// What of a policy is open until the context is known.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    /// The policy without it.
    pub(crate) known: Policy,
    pub(crate) rest: Rest,
}

/// Conditions that read the context.
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
    /// The policy as far as caller, action and tool decide it.
    pub(crate) fn known(&self) -> &Policy {
        self.open.as_ref().map_or(&self.policy, |open| &open.known)
    }

    /// Says whether the open part holds; `None` where it cannot be evaluated.
    fn holds(&self, request: &Request<'_>, question: Option<&Question<'_>>) -> Option<bool> {
        match &self.open.as_ref()?.rest {
            Rest::Checks(checks) => Some(checks.iter().all(|check| check.holds(request))),
            Rest::Term(term) => term.holds(request),
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
    /// Asks Cedar. The question needs no context.
    pub(crate) fn new(authorizer: &Authorizer, slice: &Slice, question: &Question<'_>) -> Self {
        let mut settled = Self::default();
        for set in [&slice.denying, &slice.granting] {
            let response = authorizer.is_authorized(&question.request, set, &question.entities);
            let units = |ids: Vec<usize>| {
                let units = ids.into_iter().filter_map(|at| slice.units.get(at));
                units.map(Arc::clone)
            };
            for unit in units(satisfied(&response)) {
                if unit.open.is_some() {
                    settled.open.push(unit);
                } else {
                    settled.sure.push(unit);
                }
            }
            for unit in units(failed(&response)) {
                match unit.role {
                    Role::Permit => {}
                    Role::Forbid => settled.failed.push(unit),
                    Role::Oblige => settled.sure.push(unit),
                }
            }
        }
        for unit in &settled.open {
            if let Some(Open {
                rest: Rest::Cedar(_),
                ..
            }) = &unit.open
            {
                settled.reads.get_or_insert_default().add(&unit.reads);
            }
        }
        settled
    }

    /// Says whether the context changes nothing.
    pub(crate) const fn is_closed(&self) -> bool {
        self.open.is_empty()
    }

    /// Says what matches in this context. `ask` makes a question of it, with as much as is read.
    pub(crate) fn found<'a, 'q>(
        &'a self,
        request: &Request<'_>,
        ask: impl FnOnce(&Reads) -> Result<Question<'q>, Reason>,
    ) -> Result<Found<'a>, Reason> {
        let question = self.reads.as_ref().map(ask).transpose()?;
        let mut found = Found {
            matched: self.sure.iter().map(AsRef::as_ref).collect(),
            failed: self.failed.iter().map(AsRef::as_ref).collect(),
        };
        for unit in &self.open {
            match (unit.holds(request, question.as_ref()), unit.role) {
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

/// Policies of one effect as Cedar takes them, each under its place among the units: the two policies of one rule share its id.
pub(crate) fn by_place<'a>(
    units: impl Iterator<Item = (usize, &'a Unit)>,
) -> impl Iterator<Item = Policy> {
    units.map(|(at, unit)| unit.known().new_id(PolicyId::new(at.to_string())))
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
