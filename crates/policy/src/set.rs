//! The compiled policy: loaded once, immutable, asked by many at the same time.

mod contents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Decision as CedarDecision, PolicySet as CedarSet, Response,
};
use serde::Serialize;

use crate::action::Action;
use crate::cache::Cache;
use crate::compile::{self, Role, Unit};
use crate::decision::{Decision, Effect, PolicyVersion, Reason};
use crate::error::{Fault, LoadError, Place, Problem};
use crate::explain::{self, Explanation};
use crate::native;
use crate::obligation::join;
use crate::outlook::{self, Outlook, Part, Standing, Unknown};
use crate::prepare::{Asked, Kept, Prepared, PreparedKey, claims};
use crate::reads::Reads;
use crate::request::{Request, Subject};
use crate::scope::ScopeSet;
use crate::settle::Found;
use crate::slice::{Index, Slice};
use crate::source::{self, RULES_MAX, Sources};

/// The most preparations of one generation of the cache.
const PREPARED_MAX: usize = 4_096;

/// Something that loads and yet deserves a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file.
    pub file: String,
    /// The rule's id.
    pub rule: String,
    /// What there is to know.
    pub text: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: rule `{}`: {}", self.file, self.rule, self.text)
    }
}

/// A compiled policy. Replace it whole to change it.
#[derive(Debug)]
pub struct PolicySet {
    version: PolicyVersion,
    roles: BTreeMap<String, ScopeSet>,
    index: Index,
    /// Some rule says who may approve; then the others may not.
    names_approvers: bool,
    /// What all policies read together.
    reads: Arc<Reads>,
    notes: Vec<Note>,
    prepared: Cache<Arc<PreparedKey>, Prepared>,
    authorizer: Authorizer,
}

impl PolicySet {
    /// Compiles texts. `epoch` is the owner's number for this load; decisions carry it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the texts, by file, line and rule. Nothing is loaded then; keep the set that you have.
    pub fn load(sources: &Sources, epoch: u64) -> Result<Self, LoadError> {
        LoadError::unless_empty(sources.check())?;
        let mut loader = Loader::default();
        let document = source::read(&sources.yaml, &mut loader.problems);
        let roles: BTreeSet<&str> = document.roles.keys().map(String::as_str).collect();
        for source in &sources.cedar {
            for (unit, notice) in native::read(source, &roles, &mut loader.problems) {
                loader.notes.extend(notice.map(|text| note(&unit, text)));
                loader.units.push(unit);
            }
        }
        loader.compile(&document.rules);
        LoadError::unless_empty(std::mem::take(&mut loader.problems))?;
        loader.check_ids();
        LoadError::unless_empty(std::mem::take(&mut loader.problems))?;
        loader.validate(sources);
        LoadError::unless_empty(std::mem::take(&mut loader.problems))?;
        let scopes = |(_, role): (String, crate::rule::Role)| role.scopes.into_iter().collect();
        let version = PolicyVersion {
            hash: sources.hash().into(),
            epoch,
        };
        let roles = document.roles.into_iter();
        let roles = roles.map(|(name, role)| (name, scopes(role))).collect();
        Ok(Self {
            notes: loader.notes,
            ..Self::of(version, roles, loader.units)
        })
    }

    /// A set of policies that are known to fit the schema.
    pub(crate) fn of(
        version: PolicyVersion,
        roles: BTreeMap<String, ScopeSet>,
        units: Vec<Unit>,
    ) -> Self {
        let mut reads = Reads::default();
        units.iter().for_each(|unit| reads.add(&unit.reads));
        let names_approvers = units.iter().any(|unit| {
            unit.role == Role::Permit && unit.reach.actions.contains(&Action::ApprovalsDecide)
        });
        Self {
            version,
            roles,
            index: Index::new(units.into_iter().map(Arc::new).collect()),
            names_approvers,
            reads: Arc::new(reads),
            notes: Vec::new(),
            prepared: Cache::new(PREPARED_MAX),
            authorizer: Authorizer::new(),
        }
    }

    /// Decides a request. Default deny; a deny rule always wins; the order of rules never matters.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        self.judge(request)
            .unwrap_or_else(|reason| Decision::deny(reason, Vec::new(), &self.version))
    }

    /// Says whether a listing shows the tool: whether calling it could be allowed with some arguments.
    ///
    /// Ask with the action of the call, `tools.invoke`, and without arguments. Where no rule reads arguments, this is what
    /// [`PolicySet::decide`] answers.
    #[must_use]
    pub fn visible(&self, request: &Request<'_>) -> bool {
        let shown = || {
            let kept = self.prepare(request)?;
            let Some(listing) = kept.1.cut.1.listing()? else {
                return self.judge(request).map(|decision| decision.is_allowed());
            };
            let context = crate::request::Context {
                arguments: None,
                ..request.context.clone()
            };
            let question = kept.1.question(&Request {
                context: &context,
                ..*request
            })?;
            let response =
                self.authorizer
                    .is_authorized(&question.request, listing, &question.entities);
            let failed = failed_forbids(&response, &kept.1.cut.1);
            Ok::<_, Reason>(
                failed.is_empty()
                    && (response.decision() == CedarDecision::Allow
                        || (self.needs_no_grant(request)
                            && response.diagnostics().reason().next().is_none()))
                    && kept.1.missing_scopes.is_empty(),
            )
        };
        shown().unwrap_or(false)
    }

    /// Decides a request and tells how: each rule that could match, each of its conditions, each scope.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let decision = self.decide(request);
        let held = self.effective_scopes(request.subject);
        let Ok(kept) = self.prepare(request) else {
            return Explanation::bare(decision, held, self.index.units().len());
        };
        let Ok(question) = kept.1.question(request) else {
            return Explanation::bare(decision, held, self.index.units().len());
        };
        let rules = explain::rules(&self.authorizer, &kept.1.cut.1.units, &question);
        let scopes = explain::scopes(request, &kept.1.held);
        let others = self.index.units().len().saturating_sub(rules.len());
        Explanation {
            decision,
            effective_scopes: held,
            scopes,
            rules,
            others,
        }
    }

    /// Says what may be decided of a request of which some parts are not known.
    #[must_use]
    pub fn outlook(&self, request: &Request<'_>, unknown: &Unknown) -> Outlook {
        let looked = || {
            let kept = self.prepare(request)?;
            // What is not known is not refused either.
            let arguments = request.context.arguments;
            let context = crate::request::Context {
                arguments: arguments.filter(|_| !unknown.has(Part::Arguments)),
                ..request.context.clone()
            };
            let question = kept.1.question(&Request {
                context: &context,
                ..*request
            })?;
            let standing = Standing {
                lacks_scopes: !kept.1.missing_scopes.is_empty(),
                needs_no_grant: self.needs_no_grant(request),
            };
            let units = &kept.1.cut.1.units;
            Ok::<_, Reason>(outlook::outlook(
                &self.authorizer,
                units,
                &question,
                unknown,
                standing,
            ))
        };
        looked().unwrap_or_else(|_| Outlook::denied(BTreeSet::new()))
    }

    /// Returns the claims of this caller that some rule reads, each as rules see it: a set of texts, or nothing.
    #[must_use]
    pub fn claims_seen(&self, subject: &Subject) -> Vec<(String, Option<BTreeSet<String>>)> {
        claims(subject, &self.reads.claims)
    }

    /// Returns what the caller's roles give, as far as its token leaves it, wildcards as they are written.
    #[must_use]
    pub fn effective_scopes(&self, subject: &Subject) -> BTreeSet<String> {
        self.held(subject).listed().clone()
    }

    /// Says whether the caller effectively holds a scope, wildcards included.
    #[must_use]
    pub fn holds_scope(&self, subject: &Subject, scope: &str) -> bool {
        self.held(subject).covers(scope)
    }

    /// Returns everything as Cedar, obligations after the grants, for those who want to read what was made of their rules.
    #[must_use]
    pub fn to_cedar(&self) -> String {
        let text = |wanted: fn(Role) -> bool| {
            let units = self
                .index
                .units()
                .iter()
                .filter(move |unit| wanted(unit.role));
            units
                .map(|unit| format!("{}\n\n", unit.policy))
                .collect::<String>()
        };
        format!(
            "// grants\n\n{}// obligations\n\n{}",
            text(|role| role != Role::Oblige),
            text(|role| role == Role::Oblige)
        )
    }

    fn judge(&self, request: &Request<'_>) -> Result<Decision, Reason> {
        let kept = self.prepare(request)?;
        let prepared = &kept.1;
        prepared.check(request.context)?;
        if let Some(decision) = &prepared.decided {
            return Ok(decision.clone());
        }
        let ask = |reads: &Reads| prepared.ask(request.context, reads);
        let found = prepared.settled.found(prepared.facts(request), ask)?;
        Ok(self.conclude(request, prepared, &found))
    }

    fn held(&self, subject: &Subject) -> ScopeSet {
        let mut held = ScopeSet::default();
        subject
            .roles
            .iter()
            .filter_map(|role| self.roles.get(role))
            .for_each(|scopes| held.add(scopes));
        match &subject.scopes {
            Some(token) => held.narrow(&token.iter().cloned().collect()),
            None => held,
        }
    }

    fn prepare(&self, request: &Request<'_>) -> Result<Kept, Reason> {
        request.check()?;
        let tool = request
            .resource
            .map(|tool| (tool.tool_id.as_str(), tool.provider_id.as_str()));
        let slice = || {
            let roles = &request.subject.roles;
            self.index.slice(request.action, tool, roles)
        };
        // Where no policy at all tells callers apart, those of the slice need not be known to look it up.
        let mut cut = None;
        let asked = if self.reads.tells_apart() {
            let cut = cut.insert(slice()?);
            Asked::of(request, &cut.1.reads)
        } else {
            Asked::of(request, &self.reads)
        };
        let hash = self.prepared.hash(&asked);
        if let Some(kept) = self.prepared.find(hash, |key| asked.is(key)) {
            return Ok(kept);
        }
        let cut = cut.map_or_else(slice, Ok)?;
        let key = Arc::new(asked.into_key());
        let (held, reads) = (self.held(request.subject), Arc::clone(&self.reads));
        let mut prepared = Prepared::new(Arc::clone(&key), cut, held, reads);
        prepared.settle(&self.authorizer)?;
        if prepared.settled.is_closed() {
            let ask = |reads: &Reads| prepared.ask(request.context, reads);
            let found = prepared.settled.found(prepared.facts(request), ask)?;
            prepared.decided = Some(self.conclude(request, &prepared, &found));
        }
        let kept = Arc::new((key, prepared));
        self.prepared.put(hash, Arc::clone(&kept));
        Ok(kept)
    }

    /// Where no rule says who may approve, whoever holds the scope may.
    fn needs_no_grant(&self, request: &Request<'_>) -> bool {
        request.action == Action::ApprovalsDecide && !self.names_approvers
    }

    /// Makes a decision of the policies that match.
    fn conclude(&self, request: &Request<'_>, prepared: &Prepared, found: &Found<'_>) -> Decision {
        let deny = |reason, ids| Decision::deny(reason, ids, &self.version);
        let denying = found.ids(Role::Forbid);
        if !denying.is_empty() {
            let (rules, description) = (denying.clone(), found.description());
            return deny(Reason::RuleDenies { rules, description }, denying);
        }
        let failed = found.failed_ids();
        if !failed.is_empty() {
            let rules = failed.clone();
            return deny(Reason::RuleFailed { rules }, failed);
        }
        let rules = found.ids(Role::Permit);
        if rules.is_empty() && !self.needs_no_grant(request) {
            let tool = request.resource.map(|tool| tool.tool_id.clone());
            let action = request.action;
            return deny(Reason::NoRuleAllows { action, tool }, Vec::new());
        }
        if !prepared.missing_scopes.is_empty() {
            let scopes = prepared.missing_scopes.clone();
            return deny(Reason::MissingScope { scopes }, rules);
        }
        let mut policy_ids = found.ids(Role::Oblige);
        policy_ids.extend(rules.iter().cloned());
        policy_ids.sort_unstable();
        policy_ids.dedup();
        Decision {
            effect: Effect::Allow,
            reason: Reason::Allowed { rules },
            policy_ids,
            obligations: join(found.matched.iter().flat_map(|unit| &unit.duties)),
            version: self.version.clone(),
        }
    }
}

fn failed_ids(response: &Response) -> impl Iterator<Item = String> {
    response.diagnostics().errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
    })
}

/// Cedar skips a policy that fails; a forbid that is skipped would let pass what it was written to stop.
fn failed_forbids(response: &Response, slice: &Slice) -> Vec<String> {
    let mut failed: Vec<_> = failed_ids(response)
        .filter(|id| slice.is_forbid(id))
        .collect();
    failed.sort();
    failed
}

/// What is gathered while loading.
#[derive(Default)]
struct Loader {
    units: Vec<Unit>,
    problems: Vec<Problem>,
    notes: Vec<Note>,
}

impl Loader {
    fn compile(&mut self, rules: &[(String, crate::rule::Rule)]) {
        const OBLIGES_ONLY: &str = "it asks for a confirmation without naming who may call, so it only obliges and never grants";
        for (file, rule) in rules {
            if rule.allows && !compile::grants(rule) {
                self.notes.push(Note {
                    file: file.clone(),
                    rule: rule.id.clone(),
                    text: OBLIGES_ONLY.to_owned(),
                });
            }
            match compile::compile(&file.as_str().into(), rule) {
                Ok(units) => self.units.extend(units),
                Err(message) => self.problems.push(Problem {
                    file: file.clone(),
                    at: Place::line(rule.line),
                    rule: Some(rule.id.clone()),
                    fault: Fault::Cedar {
                        message: source::one_line(&message),
                    },
                }),
            }
        }
    }

    /// An id stands for one rule. The two policies of one rule share it, side by side.
    fn check_ids(&mut self) {
        if self.units.len() > 2 * RULES_MAX {
            let fault = Fault::TooLarge {
                what: "the number of rules",
                limit: RULES_MAX,
            };
            self.problems.push(Problem {
                file: "policy".to_owned(),
                at: None,
                rule: None,
                fault,
            });
        }
        let mut first: BTreeMap<&str, &Unit> = BTreeMap::new();
        for unit in &self.units {
            let Some(other) = first.insert(&unit.id, unit) else {
                continue;
            };
            let is_pair = (other.role, unit.role) == (Role::Permit, Role::Oblige)
                && other.file == unit.file
                && other.at == unit.at;
            // In Cedar, nothing comes in pairs.
            let is_rule = unit.at.is_some_and(|at| at.column.is_none());
            if !is_pair || !is_rule {
                let fault = Fault::DuplicateId {
                    id: unit.id.to_string(),
                    first: other.file.to_string(),
                };
                self.problems.push(Problem {
                    file: unit.file.to_string(),
                    at: unit.at,
                    rule: None,
                    fault,
                });
            }
        }
    }

    /// Lets Cedar check every policy against the schema.
    fn validate(&mut self, sources: &Sources) {
        for wanted in
            [|role| role != Role::Oblige, |role| role == Role::Oblige] as [fn(Role) -> bool; 2]
        {
            let policies = self
                .units
                .iter()
                .filter(|unit| wanted(unit.role))
                .map(|unit| unit.policy.clone());
            let set = match CedarSet::from_policies(policies) {
                Ok(set) => set,
                Err(error) => {
                    let fault = Fault::Cedar {
                        message: source::one_line(&error.to_string()),
                    };
                    self.problems.push(Problem {
                        file: "policy".to_owned(),
                        at: None,
                        rule: None,
                        fault,
                    });
                    continue;
                }
            };
            let findings = native::validate(&set);
            for unit in self.units.iter().filter(|unit| wanted(unit.role)) {
                let source = sources
                    .cedar
                    .iter()
                    .find(|source| source.name == *unit.file);
                let text = source.map_or("", |source| source.text.as_str());
                let of = |finding: &&native::Finding| *finding.id == *unit.id;
                let errors = findings.errors.iter().filter(of);
                self.problems
                    .extend(errors.map(|finding| problem(unit, finding, text)));
                let warnings = findings.warnings.iter().filter(of);
                self.notes
                    .extend(warnings.map(|finding| note(unit, &finding.message)));
            }
        }
    }
}

fn note(unit: &Unit, text: &str) -> Note {
    Note {
        file: unit.file.to_string(),
        rule: unit.id.to_string(),
        text: text.to_owned(),
    }
}

fn problem(unit: &Unit, finding: &native::Finding, text: &str) -> Problem {
    let within = finding.offset.and_then(|offset| Place::of(text, offset));
    // A rule is compiled from another text than its own.
    let is_native = unit.at.is_some_and(|at| at.column.is_some());
    let at = within.filter(|_| is_native).or(unit.at);
    let fault = Fault::Cedar {
        message: finding.message.clone(),
    };
    Problem {
        file: unit.file.to_string(),
        at,
        rule: Some(unit.id.to_string()),
        fault,
    }
}

#[cfg(test)]
mod tests;
