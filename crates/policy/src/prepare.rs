//! What is the same for every request of one caller for one tool, built once and kept.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context as CedarContext, Entities, EntityUid, Request as CedarRequest,
};

use crate::action::Action;
use crate::argument;
use crate::decision::{Decision, Reason};
use crate::entity::{self, Claim, unusable};
use crate::reads::Reads;
use crate::request::{Context, Request, Resource, Subject};
use crate::schema::{action_uid, uid};
use crate::scope::{ScopeSet, needed};
use crate::settle::Settled;
use crate::slice::Cut;

/// What a preparation is for: everything of the request but its context. Of the claims, those that some policy reads.
#[derive(Debug, Clone)]
pub(crate) struct PreparedKey {
    action: Action,
    sub: String,
    tenant: Option<String>,
    roles: BTreeSet<String>,
    scopes: Option<BTreeSet<String>>,
    claims: Vec<Claim>,
    resource: Option<Resource>,
}

impl PreparedKey {
    pub(crate) fn new(request: &Request<'_>, claims: Vec<Claim>) -> Self {
        let Subject {
            sub,
            tenant,
            roles,
            scopes,
            ..
        } = request.subject.clone();
        Self {
            action: request.action,
            sub,
            tenant,
            roles,
            scopes,
            claims,
            resource: request.resource.cloned(),
        }
    }

    pub(crate) fn is_of(&self, request: &Request<'_>, claims: &[Claim]) -> bool {
        let subject = request.subject;
        self.action == request.action
            && self.sub == subject.sub
            && self.tenant == subject.tenant
            && self.roles == subject.roles
            && self.scopes == subject.scopes
            && self.claims == claims
            && self.resource.as_ref() == request.resource
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
    /// Builds the entities. `mentioned` are the scopes with which any policy compares.
    pub(crate) fn new(
        request: &Request<'_>,
        cut: Cut,
        held: ScopeSet,
        claims: &[Claim],
        mentioned: &BTreeSet<String>,
    ) -> Result<Self, Reason> {
        let needed = needed(request.action, request.resource);
        let missing_scopes = needed
            .iter()
            .filter(|scope| !held.covers(scope))
            .map(|scope| (*scope).to_owned())
            .collect();
        let mut scopes = held.listed().clone();
        let comparable = needed
            .into_iter()
            .chain(mentioned.iter().map(String::as_str));
        scopes.extend(
            comparable
                .filter(|scope| held.covers(scope))
                .map(str::to_owned),
        );
        let mut entities = vec![entity::caller(request.subject, &scopes, claims)?];
        let resource = match request.resource {
            Some(tool) => {
                entities.push(entity::tool(tool, request.subject, request.action)?);
                uid("Tool", &tool.tool_id)
            }
            None => uid("Catalog", "catalog"),
        };
        let entities = Entities::from_entities(entities, None)
            .map_err(|error| unusable("the request", &error))?;
        let (principal, action) = (
            uid("Caller", &request.subject.sub),
            action_uid(request.action),
        );
        Ok(Self {
            cut,
            held,
            missing_scopes,
            settled: Settled::default(),
            decided: None,
            principal,
            action,
            resource,
            entities,
        })
    }

    /// Lets Cedar decide what needs no context.
    pub(crate) fn settle(&mut self, authorizer: &Authorizer) -> Result<(), Reason> {
        let question = self.with(CedarContext::empty(), Cow::Borrowed(&self.entities))?;
        self.settled = Settled::new(authorizer, &self.cut.1, &question);
        Ok(())
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
                let entities = self.entities.clone().add_entities(more, None);
                Cow::Owned(entities.map_err(|error| unusable("the arguments", &error))?)
            }
            None => Cow::Borrowed(&self.entities),
        };
        self.with(entity::circumstances(context, reads)?, entities)
    }

    fn with<'a>(
        &self,
        context: CedarContext,
        entities: Cow<'a, Entities>,
    ) -> Result<Question<'a>, Reason> {
        let ids = (
            self.principal.clone(),
            self.action.clone(),
            self.resource.clone(),
        );
        let request = CedarRequest::new(ids.0, ids.1, ids.2, context, None)
            .map_err(|error| unusable("the request", &error))?;
        Ok(Question { request, entities })
    }
}

/// A preparation from the cache.
pub(crate) type Kept = Arc<(PreparedKey, Prepared)>;
