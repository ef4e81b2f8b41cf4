//! What is the same for every request of callers whom no policy tells apart, for one tool: made once and kept.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use cedar_policy::{
    Authorizer, Context as CedarContext, Entities, EntityUid, Request as CedarRequest,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::action::Action;
use crate::argument;
use crate::check::Facts;
use crate::decision::{Decision, Reason};
use crate::entity::{self, Claim, unusable};
use crate::reads::Reads;
use crate::request::{Context, Request, Resource, Subject};
use crate::schema::{action_uid, uid};
use crate::scope::{ScopeSet, needed};
use crate::settle::Settled;
use crate::slice::Cut;

/// What a preparation is for: everything of the request but its context. Of the caller's name and claims, what some policy of the slice reads,
/// so that callers whom no policy tells apart share it.
#[derive(Debug, Clone)]
pub(crate) struct PreparedKey {
    action: Action,
    /// `None` where nobody's name is read.
    sub: Option<String>,
    tenant: Option<String>,
    roles: BTreeSet<String>,
    scopes: Option<BTreeSet<String>>,
    claims: Vec<Claim>,
    resource: Option<Resource>,
}

/// The same, borrowed from a request.
#[derive(Debug, Hash)]
pub(crate) struct Asked<'a> {
    action: Action,
    sub: Option<&'a str>,
    tenant: Option<&'a str>,
    roles: &'a BTreeSet<String>,
    scopes: Option<&'a BTreeSet<String>>,
    claims: Vec<Claim>,
    resource: Option<&'a Resource>,
}

impl<'a> Asked<'a> {
    /// Takes of a request what a preparation may depend on, for policies that read so much.
    pub(crate) fn of(request: &Request<'a>, reads: &Reads) -> Self {
        let subject = request.subject;
        Self {
            action: request.action,
            sub: reads.sub.then_some(&subject.sub),
            tenant: subject.tenant.as_deref(),
            roles: &subject.roles,
            scopes: subject.scopes.as_ref(),
            claims: claims(subject, &reads.claims),
            resource: request.resource,
        }
    }

    pub(crate) fn is(&self, key: &PreparedKey) -> bool {
        self.action == key.action
            && self.sub == key.sub.as_deref()
            && self.tenant == key.tenant.as_deref()
            && *self.roles == key.roles
            && self.scopes == key.scopes.as_ref()
            && self.claims == key.claims
            && self.resource == key.resource.as_ref()
    }

    pub(crate) fn into_key(self) -> PreparedKey {
        PreparedKey {
            action: self.action,
            sub: self.sub.map(str::to_owned),
            tenant: self.tenant.map(str::to_owned),
            roles: self.roles.clone(),
            scopes: self.scopes.cloned(),
            claims: self.claims,
            resource: self.resource.cloned(),
        }
    }
}

impl PreparedKey {
    /// The caller, as far as it is known: with nobody's name where none is read, and with the claims that are.
    fn subject(&self) -> Subject {
        let claims = self.claims.iter();
        let claims = claims.filter_map(|(path, values)| {
            let values = values.as_ref()?.iter().cloned().map(Value::from);
            Some((path.clone(), values.collect()))
        });
        Subject {
            sub: self.sub.clone().unwrap_or_default(),
            tenant: self.tenant.clone(),
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            claims: Arc::new(claims.collect()),
        }
    }
}

/// The claims of this caller that some policy reads.
pub(crate) fn claims(subject: &Subject, read: &BTreeSet<String>) -> Vec<Claim> {
    read.iter()
        .map(|path| (path.clone(), argument::claim(&subject.claims, path)))
        .collect()
}

/// Everything but the context.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) cut: Cut,
    pub(crate) held: ScopeSet,
    pub(crate) missing_scopes: Vec<String>,
    /// What the policies of the slice come to, as far as that is known.
    pub(crate) settled: Settled,
    /// The decision itself, where the context changes nothing.
    pub(crate) decided: Option<Decision>,
    key: Arc<PreparedKey>,
    /// What all policies read together.
    reads: Arc<Reads>,
    /// Made when Cedar is asked.
    parts: OnceLock<Parts>,
}

/// What Cedar is told of a request but for its context.
#[derive(Debug)]
struct Parts {
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    entities: Entities,
}

/// A whole question, ready for Cedar.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) request: CedarRequest,
    pub(crate) entities: Cow<'a, Entities>,
}

impl Prepared {
    /// Prepares what a key stands for. `reads` is what all policies read together.
    ///
    /// INVARIANT: all of it comes from the key (what is held, too: by roles and scopes), so that it is the same whoever asked first.
    pub(crate) fn new(key: Arc<PreparedKey>, cut: Cut, held: ScopeSet, reads: Arc<Reads>) -> Self {
        let missing_scopes = needed(key.action, key.resource.as_ref())
            .into_iter()
            .filter(|scope| !held.covers(scope))
            .map(str::to_owned)
            .collect();
        Self {
            cut,
            held,
            missing_scopes,
            settled: Settled::default(),
            decided: None,
            key,
            reads,
            parts: OnceLock::new(),
        }
    }

    /// Evaluates what needs no context.
    pub(crate) fn settle(&mut self, authorizer: &Authorizer) -> Result<(), Reason> {
        let (subject, context) = (self.key.subject(), Context::at(Timestamp::UNIX_EPOCH));
        let request = Request {
            action: self.key.action,
            subject: &subject,
            resource: self.key.resource.as_ref(),
            context: &context,
        };
        let facts = self.facts(&request);
        let ask = || {
            let entities = Cow::Borrowed(&self.parts()?.entities);
            self.with(CedarContext::empty(), entities)
        };
        self.settled = Settled::new(authorizer, &self.cut.1, facts, ask)?;
        Ok(())
    }

    /// What conditions are tested on.
    pub(crate) const fn facts<'a>(&'a self, request: &Request<'a>) -> Facts<'a> {
        Facts {
            request: *request,
            held: &self.held,
        }
    }

    fn parts(&self) -> Result<&Parts, Reason> {
        if let Some(parts) = self.parts.get() {
            return Ok(parts);
        }
        let (key, subject) = (&*self.key, self.key.subject());
        let needed = needed(key.action, key.resource.as_ref()).into_iter();
        let mut scopes = self.held.listed().clone();
        // Those with which any policy compares.
        let comparable = needed.chain(self.reads.scopes.iter().map(String::as_str));
        scopes.extend(
            comparable
                .filter(|scope| self.held.covers(scope))
                .map(str::to_owned),
        );
        let mut entities = vec![entity::caller(&subject, &scopes, &key.claims)?];
        let resource = match &key.resource {
            Some(tool) => {
                entities.push(entity::tool(tool, &subject, key.action)?);
                uid("Tool", &tool.tool_id)
            }
            None => uid("Catalog", "catalog"),
        };
        let entities = Entities::from_entities(entities, None)
            .map_err(|error| unusable("the request", &error))?;
        let parts = Parts {
            principal: uid("Caller", &subject.sub),
            action: action_uid(key.action),
            resource,
            entities,
        };
        Ok(self.parts.get_or_init(|| parts))
    }

    /// Adds the context, as far as the slice reads it.
    pub(crate) fn question(&self, request: &Request<'_>) -> Result<Question<'_>, Reason> {
        self.check(request.context)?;
        self.ask(request.context, &self.cut.1.reads)
    }

    /// Refuses a context that the slice cannot judge exactly.
    pub(crate) fn check(&self, context: &Context<'_>) -> Result<(), Reason> {
        entity::check(context, &self.cut.1.reads)
    }

    /// Adds a context that is checked, as far as `reads` says.
    pub(crate) fn ask(&self, context: &Context<'_>, reads: &Reads) -> Result<Question<'_>, Reason> {
        let entities = match context.arguments.filter(|_| reads.reads_arguments()) {
            Some(arguments) => {
                let more = entity::arguments(arguments, reads)?;
                let entities = self.parts()?.entities.clone().add_entities(more, None);
                Cow::Owned(entities.map_err(|error| unusable("the arguments", &error))?)
            }
            None => Cow::Borrowed(&self.parts()?.entities),
        };
        self.with(entity::circumstances(context, reads)?, entities)
    }

    fn with<'a>(
        &self,
        context: CedarContext,
        entities: Cow<'a, Entities>,
    ) -> Result<Question<'a>, Reason> {
        let parts = self.parts()?;
        let (principal, action) = (parts.principal.clone(), parts.action.clone());
        let request = CedarRequest::new(principal, action, parts.resource.clone(), context, None)
            .map_err(|error| unusable("the request", &error))?;
        Ok(Question { request, entities })
    }
}

/// A preparation from the cache.
pub(crate) type Kept = Arc<(Arc<PreparedKey>, Prepared)>;
