//! What a question is asked about, and what becomes of it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

use crate::action::Action;
use crate::decision::Decision;
use crate::request::{Context, Request, Resource, Subject};

/// A tool that there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tool {
    /// As its manifest describes it.
    pub resource: Resource,
    /// Safety tags that the arguments of a call can add.
    pub added_tags: BTreeSet<String>,
    /// Scopes that a call can need on top, by its arguments.
    pub added_scopes: BTreeSet<String>,
    /// Arguments can make a call write, although the tool as such only reads.
    pub may_write: bool,
}

impl Tool {
    /// Says whether this may be a call of the tool.
    pub(super) fn admits(&self, called: &Resource) -> bool {
        let tool = &self.resource;
        let between = |found: &BTreeSet<String>, least: &BTreeSet<String>, more| {
            found.is_superset(least)
                && found
                    .difference(least)
                    .all(|one| BTreeSet::contains(more, one))
        };
        called.tool_id == tool.tool_id
            && called.provider_id == tool.provider_id
            && called.tenant == tool.tenant
            && called.classification == tool.classification
            && between(&called.safety_tags, &tool.safety_tags, &self.added_tags)
            && between(
                &called.required_scopes,
                &tool.required_scopes,
                &self.added_scopes,
            )
            && (called.read_only == tool.read_only || (self.may_write && !called.read_only))
    }
}

/// What is known of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// What is claimed holds for every request.
    Proved,
    /// It does not: here is a request.
    Refuted(Box<Refutation>),
    /// Nobody knows.
    Open {
        /// Why not.
        why: String,
    },
}

/// A request for which a claim does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Refutation {
    /// The request.
    pub example: Example,
    /// What the policy decides, by the evaluator that decides in the gateway.
    pub decision: Decision,
    /// What the policy decides that it was compared with.
    pub compared: Option<Decision>,
    /// The claim that fails, in a sentence.
    pub sentence: String,
}

/// A request that owns its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What is asked for.
    pub action: Action,
    /// Who asks.
    pub subject: Subject,
    /// The tool.
    pub resource: Option<Resource>,
    /// When.
    pub time: Timestamp,
    /// The client program.
    pub client: Option<String>,
    /// The caller's address.
    pub ip: Option<IpAddr>,
    /// The correlation id.
    pub corr_id: Option<String>,
    /// What the caller has read.
    pub labels: BTreeSet<String>,
    /// The call's arguments.
    pub arguments: Value,
}

impl Example {
    /// Uses the example as a request.
    pub fn with<T>(&self, use_it: impl FnOnce(&Request<'_>) -> T) -> T {
        let context = Context {
            time: self.time,
            client: self.client.as_deref(),
            ip: self.ip,
            corr_id: self.corr_id.as_deref(),
            labels: Some(&self.labels),
            arguments: Some(&self.arguments).filter(|_| self.action.is_of_a_call()),
        };
        use_it(&Request {
            action: self.action,
            subject: &self.subject,
            resource: self.resource.as_ref(),
            context: &context,
        })
    }

    /// Says whether the gateway could ever ask this.
    pub(super) fn is_possible(&self) -> bool {
        self.resource.as_ref().is_none_or(|tool| {
            let rest = tool.tool_id.strip_prefix(tool.provider_id.as_str());
            !tool.provider_id.is_empty() && rest.is_some_and(|rest| rest.starts_with(':'))
        })
    }

    pub(super) fn of_tool(&mut self, change: impl FnOnce(&mut Resource)) {
        if let Some(tool) = &mut self.resource {
            change(tool);
        }
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject {
            sub, tenant, roles, ..
        } = &self.subject;
        write!(f, "{} by {sub:?} of {tenant:?} with {roles:?}", self.action)?;
        if let Some(tool) = &self.resource {
            let (id, tags) = (&tool.tool_id, &tool.safety_tags);
            write!(f, " on {id:?} {tags:?} with {}", self.arguments)?;
        }
        write!(f, " at {}", self.time)
    }
}

impl Refutation {
    pub(super) fn turn(&mut self) {
        if let Some(other) = self.compared.take() {
            self.compared = Some(std::mem::replace(&mut self.decision, other));
        }
    }
}
