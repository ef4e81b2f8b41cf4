//! Whether this caller may do that, and what it must do first.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use fastmcp_auth::Caller;
use fastmcp_guard::clock::Clock;
use fastmcp_policy::{
    Action, Context, Decision, LoadError, PolicySet, Request, Resource, Sources, Subject,
};
use fastmcp_protocol::args::Args;
use serde_json::Value;

use crate::{
    call::Call,
    catalog::{Entry, Target},
    error::{Code, Error},
    provider::Demands,
};

/// Proof that policy permits this caller to call that tool with these arguments. Only this room
/// makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    caller: Caller,
    target: Target,
    args: Args,
    decision: Decision,
    scopes: Vec<String>,
    attributes: Attributes,
}

/// What rules read, for the record, so that another policy can be asked the same question later.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// The caller.
    pub subject: Subject,
    /// The tool, with what the arguments added.
    pub resource: Resource,
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
        &self.decision
    }

    /// The scopes that the call needs, all of which the caller has.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Whether the call may change something: then it needs a durable intent.
    #[must_use]
    pub const fn writes(&self) -> bool {
        !self.attributes.resource.read_only
    }

    /// What rules read.
    #[must_use]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The caller's tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.caller.tenant().unwrap_or_default()
    }

    /// The obligations in canonical form.
    #[must_use]
    pub fn obligations(&self) -> String {
        self.decision
            .obligations
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    action: Action,
    resource: Option<&'a Resource>,
    arguments: Option<&'a Value>,
}

/// A denial with its decision, for the record.
#[derive(Debug)]
pub struct Denial {
    /// For the caller.
    pub error: Error,
    /// For the record.
    pub decision: Box<Decision>,
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

    /// Permits a call or says why not.
    ///
    /// # Errors
    ///
    /// [`Denial`] with [`Code::Forbidden`].
    pub fn permit(
        &self,
        call: &Call,
        target: Target,
        args: Args,
        demands: Demands,
    ) -> Result<Permit, Denial> {
        let mut resource = target.entry().resource().clone();
        resource.safety_tags.extend(demands.safety_tags);
        resource.required_scopes.extend(demands.scopes);
        resource.read_only = resource.read_only && !demands.writes;
        let subject = subject(&call.caller);
        let arguments = args.to_value();
        let decision = self.decide(
            call,
            &subject,
            Asked {
                action: Action::ToolsInvoke,
                resource: Some(&resource),
                arguments: Some(&arguments),
            },
        );
        if !decision.is_allowed() {
            return Err(Denial {
                error: Error::denied(&decision.reason),
                decision: Box::new(decision),
            });
        }
        if target.manifest().manual_review_required {
            let error = Error::new(
                Code::Forbidden,
                "Access denied: the manifest awaits manual review",
            );
            return Err(Denial {
                error,
                decision: Box::new(decision),
            });
        }
        let scopes = resource.required_scopes.iter().cloned().collect();
        let attributes = Attributes { subject, resource };
        Ok(Permit {
            caller: call.caller.clone(),
            target,
            args,
            decision,
            scopes,
            attributes,
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
        resource: &Resource,
    ) -> Result<Decision, Denial> {
        let subject = subject(&call.caller);
        let decision = self.decide(
            call,
            &subject,
            Asked {
                action: Action::ManifestsRegister,
                resource: Some(resource),
                arguments: None,
            },
        );
        if decision.is_allowed() {
            return Ok(decision);
        }
        Err(Denial {
            error: Error::denied(&decision.reason),
            decision: Box::new(decision),
        })
    }

    /// Permits a look at the catalogue or says why not.
    ///
    /// # Errors
    ///
    /// [`Denial`] with [`Code::Forbidden`].
    pub fn permit_listing(&self, call: &Call) -> Result<Decision, Denial> {
        let decision = self.decide(
            call,
            &subject(&call.caller),
            Asked {
                action: Action::CatalogList,
                resource: None,
                arguments: None,
            },
        );
        if decision.is_allowed() {
            return Ok(decision);
        }
        Err(Denial {
            error: Error::denied(&decision.reason),
            decision: Box::new(decision),
        })
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
        let decision = self.decide(
            call,
            &subject(&call.caller),
            Asked {
                action: Action::ToolsInvoke,
                resource: Some(entry.resource()),
                arguments: None,
            },
        );
        Some(Denial {
            error: Error::denied(&decision.reason),
            decision: Box::new(decision),
        })
    }

    fn decide(&self, call: &Call, subject: &Subject, asked: Asked<'_>) -> Decision {
        let mut context = Context::at(self.now()).corr_id(call.corr_id.as_str());
        if let Some(client) = &call.client {
            context = context.client(client);
        }
        if let Some(ip) = call.caller.client_address() {
            context = context.ip(ip);
        }
        if let Some(arguments) = asked.arguments {
            context = context.arguments(arguments);
        }
        self.set.load().decide(&Request {
            action: asked.action,
            subject,
            resource: asked.resource,
            context: &context,
        })
    }

    fn now(&self) -> jiff::Timestamp {
        let millis = i64::try_from(self.clock.now().millis()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
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
    subject.claims.clone_from(caller.claims());
    subject
}
