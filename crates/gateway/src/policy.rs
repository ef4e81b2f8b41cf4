//! Whether this caller may do that, and what it must do first.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use fastmcp_auth::{Caller, UserAgent};
use fastmcp_guard::clock::Clock;
use fastmcp_policy::{
    Action, Context, Decision, LoadError, PolicySet, Reason, Request, Resource, Sources, Subject,
};
use fastmcp_protocol::args::Args;
use serde_json::Value;

use crate::{
    call::Call,
    catalog::{Entry, Target},
    error::{Code, Error},
    provider::Demands,
};

/// The scope of those who decide on what others asked for.
pub const APPROVE: &str = "approvals.decide";
/// The scope that lets somebody read the metrics, which tell of every tenant.
pub const METRICS: &str = "metrics.read";

/// The policies in force when a call came, and what its caller carries under them: the labels of what it has read.
#[derive(Clone, Debug)]
pub struct Standing {
    set: Arc<PolicySet>,
    labels: Option<BTreeSet<String>>,
}

impl Standing {
    /// Whether some rule reads what the caller carries, so that it has to be known.
    #[must_use]
    pub fn reads_labels(&self) -> bool {
        self.set.reads_labels()
    }

    /// What the caller carries; `None` where no rule asks.
    #[must_use]
    pub const fn labels(&self) -> Option<&BTreeSet<String>> {
        self.labels.as_ref()
    }

    /// With what the caller carries.
    #[must_use]
    pub fn carrying(self, labels: BTreeSet<String>) -> Self {
        Self {
            labels: Some(labels),
            ..self
        }
    }
}

/// Proof that policy permits this caller to call that tool with these arguments. Only this room
/// makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    caller: Caller,
    target: Target,
    args: Args,
    decided: Decided,
    scopes: Vec<String>,
    writes: bool,
}

/// A decision, and what rules read of the question, for the record: another policy can be asked the same later.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// The caller.
    pub subject: Subject,
    /// The tool, with what the arguments added; `None` for actions that have none.
    pub resource: Option<Arc<Resource>>,
    /// The client program, whose name rules compare.
    pub client: Option<UserAgent>,
    /// What the caller carried: the labels of what it has read; `None` where no rule asked.
    pub labels: Option<BTreeSet<String>>,
    /// The claims that some rule reads, as rules see them.
    pub claims: Vec<(String, Option<BTreeSet<String>>)>,
}

impl Permit {
    /// Who.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// With what.
    #[must_use]
    pub const fn args(&self) -> &Args {
        &self.args
    }

    /// Why, and under which obligations.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decided.decision
    }

    /// The scopes that the call needs, all of which the caller has.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Whether the call may change something: then it needs a durable intent.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.writes
    }

    /// The decision with what rules read.
    #[must_use]
    pub const fn decided(&self) -> &Decided {
        &self.decided
    }

    /// What the caller carried, as operations keep it: in order, separated by spaces.
    #[must_use]
    pub fn labels(&self) -> String {
        let labels = self.decided.labels.iter().flatten();
        labels.cloned().collect::<Vec<_>>().join(" ")
    }

    /// The caller's tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.caller.tenant().unwrap_or_default()
    }

    /// The obligations in canonical form.
    #[must_use]
    pub fn obligations(&self) -> String {
        self.decision()
            .obligations
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A denial with its decision, for the record.
#[derive(Debug)]
pub struct Denial {
    /// For the caller.
    pub error: Error,
    /// For the record.
    pub decided: Box<Decided>,
}

impl Denial {
    fn of(decided: Decided) -> Self {
        Self {
            error: Error::denied(&decided.decision.reason),
            decided: Box::new(decided),
        }
    }
}

/// What a caller asks for.
struct Asked<'a> {
    action: Action,
    resource: Option<Arc<Resource>>,
    arguments: Option<&'a Value>,
}

impl<'a> Asked<'a> {
    const fn to(action: Action) -> Self {
        Self {
            action,
            resource: None,
            arguments: None,
        }
    }

    fn of(self, resource: impl Into<Arc<Resource>>) -> Self {
        Self {
            resource: Some(resource.into()),
            ..self
        }
    }

    fn with(self, arguments: &'a Value) -> Self {
        Self {
            arguments: Some(arguments),
            ..self
        }
    }
}

/// The policies in force.
#[derive(Debug)]
pub struct Policy {
    set: ArcSwap<PolicySet>,
    epoch: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Policy {
    /// Loads `sources`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names file and line.
    pub fn load(sources: &Sources, clock: Arc<dyn Clock>) -> Result<Self, LoadError> {
        Ok(Self {
            set: ArcSwap::from_pointee(PolicySet::load(sources, 1)?),
            epoch: AtomicU64::new(1),
            clock,
        })
    }

    /// Puts `sources` in the place of what is in force, whole; a bad one changes nothing.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names file and line.
    pub fn reload(&self, sources: &Sources) -> Result<String, LoadError> {
        let epoch = self.epoch.load(Ordering::Acquire) + 1;
        let set = PolicySet::load(sources, epoch)?;
        let version = set.version().to_string();
        self.set.store(Arc::new(set));
        self.epoch.store(epoch, Ordering::Release);
        Ok(version)
    }

    /// The set in force.
    #[must_use]
    pub fn current(&self) -> arc_swap::Guard<Arc<PolicySet>> {
        self.set.load()
    }

    /// What a call is decided by from here on, whatever is loaded meanwhile.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            set: self.set.load_full(),
            labels: None,
        }
    }

    /// Permits a call or says why not.
    ///
    /// # Errors
    ///
    /// [`Denial`] with [`Code::Forbidden`].
    pub fn permit(
        &self,
        call: &Call,
        target: Target,
        (args, demands): (Args, Demands),
        standing: &Standing,
    ) -> Result<Permit, Denial> {
        let mut resource = Arc::clone(target.entry().resource());
        // Most calls demand nothing by their arguments, and share the tool's own.
        if demands != Demands::default() {
            let resource = Arc::make_mut(&mut resource);
            resource.safety_tags.extend(demands.safety_tags);
            resource.required_scopes.extend(demands.scopes);
            resource.read_only = resource.read_only && !demands.writes;
        }
        let scopes = resource.required_scopes.iter().cloned().collect();
        let writes = !resource.read_only;
        let arguments = args.to_value();
        let asked = Asked::to(Action::ToolsInvoke);
        let decided = self
            .allowed(call, asked.of(resource).with(&arguments), standing)
            .map_err(|denial| with_step_up(denial, &standing.set))?;
        if target.manifest().manual_review_required {
            let error = Error::new(
                Code::Forbidden,
                "Access denied: the manifest awaits manual review",
            );
            return Err(Denial {
                error,
                decided: Box::new(decided),
            });
        }
        Ok(Permit {
            caller: call.caller.clone(),
            target,
            args,
            decided,
            scopes,
            writes,
        })
    }

    /// Decides about a permitted call once more, with what its operation carries beside its caller.
    ///
    /// # Errors
    ///
    /// [`Denial`] when the rules deny it by now, or demand something else than what was consented to.
    pub fn confirm(&self, call: &Call, permit: &Permit, standing: &Standing) -> Result<(), Denial> {
        let arguments = permit.args.to_value();
        let asked = Asked {
            resource: permit.decided.resource.clone(),
            ..Asked::to(Action::ToolsInvoke)
        };
        let decided = self.allowed(call, asked.with(&arguments), standing)?;
        if decided.decision.obligations == permit.decision().obligations {
            return Ok(());
        }
        Err(Denial {
            error: Error::new(
                Code::Conflict,
                "policy demands something else for what was read before this call was asked for; call the tool again",
            ),
            decided: Box::new(decided),
        })
    }

    /// Permits the registration of a manifest or says why not.
    ///
    /// # Errors
    ///
    /// [`Denial`] with [`Code::Forbidden`].
    pub fn permit_registration(
        &self,
        call: &Call,
        resource: Resource,
        standing: &Standing,
    ) -> Result<Decided, Denial> {
        let asked = Asked::to(Action::ManifestsRegister).of(resource);
        self.allowed(call, asked, standing)
    }

    /// Permits a look at the catalogue or says why not.
    ///
    /// # Errors
    ///
    /// [`Denial`] with [`Code::Forbidden`].
    pub fn permit_listing(&self, call: &Call, standing: &Standing) -> Result<Decided, Denial> {
        self.allowed(call, Asked::to(Action::CatalogList), standing)
    }

    /// Permits somebody to decide on what others asked for: a holder of the scope [`APPROVE`] who has all of `roles`.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`] names what is missing.
    pub fn permit_approval(&self, caller: &Caller, roles: &[String]) -> Result<(), Error> {
        let subject = subject(caller);
        if let Some(actor) = caller.actors().first() {
            return Err(Error::denied(format!(
                "approvals are given in person, and by this token `{}` acts for somebody",
                actor.subject()
            )));
        }
        if !self.set.load().holds_scope(&subject, APPROVE) {
            return Err(Error::denied(format!("missing scope `{APPROVE}`")));
        }
        match roles.iter().find(|role| !subject.roles.contains(*role)) {
            Some(role) => Err(Error::denied(format!(
                "it takes a holder of the role `{role}`"
            ))),
            None => Ok(()),
        }
    }

    /// Permits somebody to read the metrics: a holder of the scope [`METRICS`].
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`] names what is missing.
    pub fn permit_metrics(&self, caller: &Caller) -> Result<(), Error> {
        if self.set.load().holds_scope(&subject(caller), METRICS) {
            return Ok(());
        }
        Err(Error::denied(format!("missing scope `{METRICS}`")))
    }

    /// Asks the rules about an approval by somebody who holds what [`Self::permit_approval`] asks for: of a call of
    /// `resource` whose asker had read `labels`. `None` where no rule is about approving. Without `args`, which are not kept
    /// for ever, only what may not be approved whatever they are is denied.
    ///
    /// # Errors
    ///
    /// [`Denial`] with [`Code::Forbidden`].
    pub fn judge_approval(
        &self,
        call: &Call,
        resource: Resource,
        args: Option<&Args>,
        labels: BTreeSet<String>,
    ) -> Result<Option<Decided>, Denial> {
        let standing = self.standing();
        if !standing.set.judges_approvals() {
            return Ok(None);
        }
        let standing = standing.carrying(labels);
        let asked = Asked::to(Action::ApprovalsDecide);
        if let Some(args) = args {
            let arguments = args.to_value();
            let asked = asked.of(resource).with(&arguments);
            return self.allowed(call, asked, &standing).map(Some);
        }
        let context = Context {
            labels: standing.labels.as_ref(),
            ..Context::at(self.now())
        };
        let visible = standing.set.visible(&Request {
            action: asked.action,
            subject: &subject(&call.caller),
            resource: Some(&resource),
            context: &context,
        });
        if visible {
            return Ok(None);
        }
        let decided = self.decide(call, asked.of(resource), &standing);
        Err(Denial::of(decided))
    }

    /// Whether the caller's catalogue shows the tool.
    #[must_use]
    pub fn shows(&self, caller: &Caller, entry: &Entry) -> bool {
        let context = Context::at(self.now());
        let subject = subject(caller);
        let request = Request {
            action: Action::ToolsInvoke,
            subject: &subject,
            resource: Some(entry.resource()),
            context: &context,
        };
        self.set.load().visible(&request)
    }

    /// Why the caller's catalogue does not show the tool, where it does not.
    #[must_use]
    pub fn hidden(&self, call: &Call, entry: &Entry) -> Option<Denial> {
        if self.shows(&call.caller, entry) {
            return None;
        }
        let asked = Asked::to(Action::ToolsInvoke).of(Arc::clone(entry.resource()));
        let decided = self.decide(call, asked, &self.standing());
        Some(Denial::of(decided))
    }

    fn allowed(
        &self,
        call: &Call,
        asked: Asked<'_>,
        standing: &Standing,
    ) -> Result<Decided, Denial> {
        let decided = self.decide(call, asked, standing);
        if decided.decision.is_allowed() {
            Ok(decided)
        } else {
            Err(Denial::of(decided))
        }
    }

    fn decide(&self, call: &Call, asked: Asked<'_>, standing: &Standing) -> Decided {
        let Asked {
            action,
            resource,
            arguments,
        } = asked;
        let subject = subject(&call.caller);
        let mut context = Context::at(self.now()).corr_id(call.corr_id.as_str());
        let program = call.program();
        if let Some(name) = program.and_then(UserAgent::product) {
            context = context.client(name);
        }
        if let Some(ip) = call.caller.client_address() {
            context = context.ip(ip);
        }
        if let Some(arguments) = arguments {
            context = context.arguments(arguments);
        }
        context.labels = standing.labels.as_ref();
        let set = &standing.set;
        let decision = set.decide(&Request {
            action,
            subject: &subject,
            resource: resource.as_deref(),
            context: &context,
        });
        Decided {
            claims: set.claims_seen(&subject),
            decision,
            subject,
            resource,
            client: program.cloned(),
            labels: standing.labels.clone(),
        }
    }

    fn now(&self) -> jiff::Timestamp {
        let millis = i64::try_from(self.clock.now().millis()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// Adds the scopes of a token that would do, where the caller's roles give them and its token left them out.
fn with_step_up(denial: Denial, set: &PolicySet) -> Denial {
    let Decided {
        decision,
        subject,
        resource,
        ..
    } = &*denial.decided;
    let (Reason::MissingScope { scopes }, Some(resource)) = (&decision.reason, resource) else {
        return denial;
    };
    let whole = Subject {
        scopes: None,
        ..subject.clone()
    };
    let given = |scope: &String| set.holds_scope(&whole, scope);
    if subject.scopes.is_none() || !scopes.iter().all(given) {
        return denial;
    }
    let invoke = if resource.read_only {
        "tools.invoke:read"
    } else {
        "tools.invoke:write"
    };
    let needed: BTreeSet<String> = scopes
        .iter()
        .chain(&resource.required_scopes)
        .cloned()
        .chain([invoke.to_owned()])
        .collect();
    Denial {
        error: denial.error.with_step_up(needed.into_iter().collect()),
        ..denial
    }
}

fn subject(caller: &Caller) -> Subject {
    let mut subject = Subject::new(caller.subject()).roles(caller.roles().iter().cloned());
    if let Some(tenant) = caller.tenant() {
        subject = subject.tenant(tenant);
    }
    if let Some(scopes) = caller.scopes() {
        subject = subject.scopes(scopes.iter().cloned());
    }
    subject.claims = caller.shared_claims();
    subject
}
