//! Questions about every request at once, answered by a solver.
//!
//! A decision answers one request. A [`Question`] is about all of them: "nobody without the role `finance-write` calls a tool that is tagged
//! `financial`", "every such call is confirmed by a person", "this policy allows nothing that the one in force refuses". Cedar's symbolic
//! compiler turns policies and question into a formula, and an SMT solver, a program of its own, looks for a request that refutes it.
//!
//! - [`Answer::Proved`]: there is none. That rests on what this product adds to Cedar being said exactly: scopes, tenants, roles, arguments.
//! - [`Answer::Refuted`]: there is one, and [`PolicySet::decide`] agrees. An example that it does not agree with is never shown as one.
//! - [`Answer::Open`]: neither is known. Take it for a refusal.
//!
//! Nothing here starts a program or waits for a clock: the caller brings a [`Solver`], and sets its bounds.

mod answer;
mod formula;
mod question;
mod witness;
mod world;

use std::collections::BTreeSet;

use cedar_policy::{Policy, PolicySet as CedarSet, RequestEnv};
use cedar_policy_symcc::err::Error as SymbolicError;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet};

pub use cedar_policy_symcc::solver::{LocalSolver, Solver, SolverError};

use self::formula::{Named, Side, conditions, implies, permit, unless};
use self::question::{Area, Claim, ID};
use self::world::World;
use crate::action::Action;
use crate::compile::{Role, Unit};
use crate::decision::Reason;
use crate::obligation::Obligation;
use crate::reads::Reads;
use crate::schema::{COMPARED, action_uid};
use crate::set::PolicySet;

pub use self::answer::{Answer, Demands, Example, Refutation, Tool};
pub use self::question::Question;

/// Asks questions of one solver.
///
/// After an [`Answer::Open`] the solver may be in any state: bring a new one.
#[derive(Debug)]
pub struct Prover<S: Solver> {
    compiler: CedarSymCompiler<S>,
}

/// What is asked, once for each action.
struct Asked<'a> {
    left: Side<'a>,
    /// What has to allow whatever the left side allows; without it, nothing may be allowed.
    right: Option<Side<'a>>,
    area: Option<&'a Area>,
    /// Every request of the area has to be allowed by the right side.
    always: bool,
    tools: &'a [Tool],
    sentence: String,
}

impl<S: Solver> Prover<S> {
    /// Takes a solver.
    ///
    /// # Errors
    ///
    /// The compiler's message, if the solver cannot be used.
    pub fn new(solver: S) -> Result<Self, String> {
        let compiler = CedarSymCompiler::new(solver).map_err(told)?;
        Ok(Self { compiler })
    }

    /// Answers a question about a policy. `other` is the policy that [`Question::compares_with`] names. `tools` are the tools that there are;
    /// without any, the question is about all that could ever be registered. Approving and registering are about any tool in either case.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the solver in the midst of its work: drop the prover with it.
    pub async fn ask(
        &mut self,
        question: &Question,
        set: &PolicySet,
        other: Option<&PolicySet>,
        tools: &[Tool],
    ) -> Answer {
        let answered = match (&question.claim, other) {
            (Claim::Never(area, duty), _) => self.never(set, area, duty.as_ref(), tools).await,
            (Claim::Always(area), _) => self.always(set, area, tools).await,
            (Claim::NeverFails, _) => self.never_fails(set).await,
            (Claim::NoMoreThan(_), Some(other)) => self.no_more(set, other, tools, false).await,
            (Claim::SameAs(_), Some(other)) => match self.no_more(set, other, tools, false).await {
                Ok(Answer::Proved) => self.no_more(other, set, tools, true).await,
                answered => answered,
            },
            (Claim::NoMoreThan(_) | Claim::SameAs(_), None) => {
                Err("the policy to compare with is missing".to_owned())
            }
        };
        answered.unwrap_or_else(|why| Answer::Open { why })
    }

    async fn never(
        &mut self,
        set: &PolicySet,
        area: &Area,
        without: Option<&Obligation>,
        tools: &[Tool],
    ) -> Result<Answer, String> {
        let left = Side {
            set,
            scopes: formula::SCOPES,
            without,
        };
        let sentence = match without {
            Some(duty) => format!("this is allowed without `{duty}`"),
            None => "this is allowed".to_owned(),
        };
        let asked = Asked {
            left,
            right: None,
            area: Some(area),
            always: false,
            tools,
            sentence,
        };
        self.each_action(&asked).await
    }

    async fn always(
        &mut self,
        set: &PolicySet,
        area: &Area,
        tools: &[Tool],
    ) -> Result<Answer, String> {
        let side = Side {
            set,
            scopes: formula::SCOPES,
            without: None,
        };
        let asked = Asked {
            left: side,
            right: Some(side),
            area: Some(area),
            always: true,
            tools,
            sentence: "this is refused".to_owned(),
        };
        self.each_action(&asked).await
    }

    /// Whatever `left` allows, `right` allows; and whatever `left` allows without a duty of `right`, `right` allows without it.
    async fn no_more(
        &mut self,
        left: &PolicySet,
        right: &PolicySet,
        tools: &[Tool],
        turned: bool,
    ) -> Result<Answer, String> {
        let scopes = if left.role_scopes() == right.role_scopes() {
            formula::SCOPES
        } else {
            formula::OTHER_SCOPES
        };
        let duties: BTreeSet<&Obligation> =
            right.units().iter().flat_map(|unit| &unit.duties).collect();
        for without in std::iter::once(None).chain(duties.into_iter().map(Some)) {
            let side = |set, scopes| Side {
                set,
                scopes,
                without,
            };
            let (here, there) = if turned {
                ("the other policy", "this one")
            } else {
                ("this policy", "the other one")
            };
            let sentence = match without {
                Some(duty) => format!("{here} allows this without `{duty}`, and {there} does not"),
                None => format!("{here} allows this, and {there} does not"),
            };
            let asked = Asked {
                left: side(left, formula::SCOPES),
                right: Some(side(right, scopes)),
                area: None,
                always: false,
                tools,
                sentence,
            };
            match self.each_action(&asked).await? {
                Answer::Proved => {}
                Answer::Refuted(mut refutation) => {
                    if turned {
                        refutation.turn();
                    }
                    return Ok(Answer::Refuted(refutation));
                }
                open @ Answer::Open { .. } => return Ok(open),
            }
        }
        Ok(Answer::Proved)
    }

    async fn each_action(&mut self, asked: &Asked<'_>) -> Result<Answer, String> {
        for env in COMPARED.request_envs() {
            let Some(action) = action_of(&env) else {
                continue;
            };
            if asked
                .area
                .is_some_and(|area| !area.rule.actions.contains(&action))
            {
                continue;
            }
            match self.one_action(asked, action, &env).await? {
                Answer::Proved => {}
                found => return Ok(found),
            }
        }
        Ok(Answer::Proved)
    }

    async fn one_action(
        &mut self,
        asked: &Asked<'_>,
        action: Action,
        env: &RequestEnv,
    ) -> Result<Answer, String> {
        let world = asked.world(action)?;
        let found = if let Some(right) = &asked.right {
            self.certain(right.set, env).await?;
            let left = if asked.always {
                let area = asked.area.map(conditions).unwrap_or_default();
                vec![permit("the area", &area)?]
            } else {
                asked.left.policies(action)?
            };
            let left = compiled(left.into_iter().chain(world), env)?;
            let right = compiled(right.policies(action)?, env)?;
            let compiler = &mut self.compiler;
            compiler
                .check_implies_with_counterexample_opt(&left, &right)
                .await
        } else {
            let area = asked.area.map(conditions).unwrap_or_default();
            let left = asked.left.policies(action)?;
            let restricted = world.into_iter().chain([unless("the area", &area)?]);
            let left = compiled(left.into_iter().chain(restricted), env)?;
            let compiler = &mut self.compiler;
            compiler
                .check_always_denies_with_counterexample_opt(&left)
                .await
        };
        match found.map_err(told)? {
            None => Ok(Answer::Proved),
            Some(model) => asked.judge(witness::read(&model, action, &asked.reads())?),
        }
    }

    /// A rule that stops calls and cannot be evaluated stops them too; a solver takes it for one that does not apply. Where such a rule
    /// stands on the side that has to allow, nothing could be proved.
    async fn certain(&mut self, set: &PolicySet, env: &RequestEnv) -> Result<(), String> {
        match self.failing(set, env).await? {
            None => Ok(()),
            Some((unit, _)) => Err(format!(
                "rule `{}` can fail to be evaluated, and what follows from that is more than can be proved; guard it (`policy prove \
                 --never-fails` shows an example)",
                unit.id
            )),
        }
    }

    /// A rule that refuses or obliges and may fail. Those of `policies.yml` are compiled so that they never do, which is not taken on trust.
    async fn failing<'a>(
        &mut self,
        set: &'a PolicySet,
        env: &RequestEnv,
    ) -> Result<Option<(&'a Unit, cedar_policy_symcc::Env)>, String> {
        let action = action_of(env);
        let stopping = set.units().iter().filter(|unit| {
            unit.role != Role::Permit && action.is_some_and(|it| unit.reach.actions.contains(&it))
        });
        for unit in stopping {
            let compiled = CompiledPolicy::compile(&unit.policy, env, &COMPARED).map_err(told)?;
            let compiler = &mut self.compiler;
            let found = compiler
                .check_never_errors_with_counterexample_opt(&compiled)
                .await;
            if let Some(model) = found.map_err(told)? {
                return Ok(Some((unit, model)));
            }
        }
        Ok(None)
    }

    async fn never_fails(&mut self, set: &PolicySet) -> Result<Answer, String> {
        for env in COMPARED.request_envs() {
            let Some(action) = action_of(&env) else {
                continue;
            };
            let Some((unit, model)) = self.failing(set, &env).await? else {
                continue;
            };
            let id = unit.id.to_string();
            let alone = Unit {
                role: Role::Forbid,
                ..unit.clone()
            };
            let probe = PolicySet::of(
                set.version().clone(),
                set.role_scopes().clone(),
                vec![alone],
            );
            let fails = |example: &Example| {
                let decision = example.with(|request| probe.decide(request));
                matches!(decision.reason, Reason::RuleFailed { .. })
            };
            let candidates = witness::read(&model, action, set.reads())?;
            let Some(example) = candidates.into_iter().find(fails) else {
                return Err(format!(
                    "rule `{id}` might fail to be evaluated; the solver's example is no possible request"
                ));
            };
            let example = witness::simplify(example, fails);
            return Ok(Answer::Refuted(Box::new(Refutation {
                decision: example.with(|request| set.decide(request)),
                example,
                compared: None,
                sentence: format!("rule `{id}` fails to be evaluated"),
            })));
        }
        Ok(Answer::Proved)
    }
}

impl Asked<'_> {
    fn sides(&self) -> impl Iterator<Item = Side<'_>> {
        std::iter::once(self.left).chain(self.right)
    }

    /// What policies and question read.
    fn reads(&self) -> Reads {
        let mut reads = Reads::default();
        self.sides().for_each(|side| reads.add(side.set.reads()));
        if let Some(area) = self.area {
            reads.add(&area.unit.reads);
        }
        reads
    }

    /// What is true of every request, as policies that refuse whatever cannot be.
    fn world(&self, action: Action) -> Result<Vec<Policy>, String> {
        let mut named = Named::default();
        let sides: Vec<Side<'_>> = self.sides().collect();
        for side in &sides {
            named.add(side.set)?;
        }
        if let Some(area) = self.area {
            named.add_unit(&area.unit)?;
        }
        let nothing = Reads::default();
        let world = World {
            action,
            sides: &sides,
            named: &named,
            reads: &self.reads(),
            asked: self.area.map_or(&nothing, |area| &area.unit.reads),
            tools: self.tools,
        };
        let lines = world.lines();
        let policies = lines.iter().enumerate();
        policies
            .map(|(at, line)| unless(&format!("world {at}"), line))
            .collect()
    }

    /// Holds an example against the evaluator.
    fn judge(&self, candidates: Vec<Example>) -> Result<Answer, String> {
        let like = candidates.first().map(Example::to_string);
        let Some(example) = candidates.into_iter().find(|example| self.refutes(example)) else {
            return Err(format!(
                "the solver's example is no possible request, or the gateway decides it otherwise: {}",
                like.unwrap_or_default()
            ));
        };
        let example = witness::simplify(example, |plainer| self.refutes(plainer));
        let decide = |side: &Side<'_>| example.with(|request| side.set.decide(request));
        let compared = self.right.as_ref().filter(|_| !self.always).map(decide);
        Ok(Answer::Refuted(Box::new(Refutation {
            decision: decide(&self.left),
            compared,
            sentence: self.sentence.clone(),
            example,
        })))
    }

    fn refutes(&self, example: &Example) -> bool {
        let asked = |area: &Area| self.is_within(area, example);
        let right = self.right.as_ref();
        example.is_possible()
            && self.area.is_none_or(asked)
            && self.is_listed(example)
            && (self.always || self.left.allows(example))
            && !right.is_some_and(|side| side.allows(example))
    }

    /// Says whether the question is about this request, by the evaluator.
    fn is_within(&self, area: &Area, example: &Example) -> bool {
        let asked = Unit {
            role: Role::Forbid,
            ..area.unit.clone()
        };
        let set = self.left.set;
        let probe = PolicySet::of(
            set.version().clone(),
            set.role_scopes().clone(),
            vec![asked],
        );
        let decision = example.with(|request| probe.decide(request));
        match &decision.reason {
            Reason::RuleDenies { rules, .. } | Reason::Allowed { rules } => *rules == [ID],
            // The conditions of a permit hold, and only scopes are missing. Approving takes no permit, so that they may be missing without.
            Reason::MissingScope { .. } => decision.policy_ids == [ID],
            _ => false,
        }
    }

    /// Says whether there is such a tool, where it has to be one of today's.
    fn is_listed(&self, example: &Example) -> bool {
        if self.tools.is_empty() || example.action != Action::ToolsInvoke {
            return true;
        }
        let called = example.resource.as_ref();
        called.is_some_and(|called| self.tools.iter().any(|tool| tool.admits(called)))
    }
}

impl Side<'_> {
    /// Says whether this request is allowed without the duty, by the evaluator.
    fn allows(&self, example: &Example) -> bool {
        let decision = example.with(|request| self.set.decide(request));
        let obliged = self
            .without
            .is_some_and(|duty| implies(&decision.obligations, duty));
        decision.is_allowed() && !obliged
    }
}

fn action_of(env: &RequestEnv) -> Option<Action> {
    Action::ALL
        .into_iter()
        .find(|action| action_uid(*action) == *env.action())
}

fn compiled(
    policies: impl IntoIterator<Item = Policy>,
    env: &RequestEnv,
) -> Result<CompiledPolicySet, String> {
    let set = CedarSet::from_policies(policies).map_err(|error| error.to_string())?;
    CompiledPolicySet::compile(&set, env, &COMPARED).map_err(told)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
fn told(error: SymbolicError) -> String {
    match &error {
        SymbolicError::SolverUnknown => "the solver does not know".to_owned(),
        SymbolicError::SolverError(error) => format!("the solver failed: {}", chain(error)),
        SymbolicError::EncodeError(error) if deepest(error).is::<std::io::Error>() => {
            format!("the solver failed: {}", deepest(error))
        }
        SymbolicError::PolicyNotWellTyped { errs } => {
            let first = errs.first().map(ToString::to_string).unwrap_or_default();
            format!("the symbolic compiler does not accept a policy: {first}")
        }
        other => chain(other),
    }
}

fn deepest<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
