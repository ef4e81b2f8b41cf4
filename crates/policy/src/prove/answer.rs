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
    /// What the arguments of a call can demand on top.
    pub demands: Demands,
}

/// What the arguments of a call can demand beyond the manifest of its tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Demands {
    /// Nobody knows: any tags, any scopes, and that the call writes.
    #[default]
    Anything,
    /// No more than this. It has to be certain: what is proved rests on it.
    AtMost {
        /// Safety tags that arguments can add.
        tags: BTreeSet<String>,
        /// Scopes that a call can need on top.
        scopes: BTreeSet<String>,
        /// Arguments can make a call write, although the tool as such only reads.
        writes: bool,
    },
}

impl Demands {
    /// Arguments demand nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self::AtMost {
            tags: BTreeSet::new(),
            scopes: BTreeSet::new(),
            writes: false,
        }
    }

    /// The tags that can be added; `None` for any.
    pub(super) const fn tags(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Anything => None,
            Self::AtMost { tags, .. } => Some(tags),
        }
    }

    /// The scopes that can be added; `None` for any.
    pub(super) const fn scopes(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Anything => None,
            Self::AtMost { scopes, .. } => Some(scopes),
        }
    }

    /// Whether arguments can make a call write.
    pub(super) const fn may_write(&self) -> bool {
        match self {
            Self::Anything => true,
            Self::AtMost { writes, .. } => *writes,
        }
    }
}

impl Tool {
    /// Says whether this may be a call of the tool.
    pub(super) fn admits(&self, called: &Resource) -> bool {
        let (tool, demands) = (&self.resource, &self.demands);
        let between = |found: &BTreeSet<String>,
                       least: &BTreeSet<String>,
                       more: Option<&BTreeSet<String>>| {
            let mut added = found.difference(least);
            found.is_superset(least) && more.is_none_or(|more| added.all(|one| more.contains(one)))
        };
        called.tool_id == tool.tool_id
            && called.provider_id == tool.provider_id
            && called.tenant == tool.tenant
            && called.classification == tool.classification
            && between(&called.safety_tags, &tool.safety_tags, demands.tags())
            && between(
                &called.required_scopes,
                &tool.required_scopes,
                demands.scopes(),
            )
            && (called.read_only == tool.read_only || (demands.may_write() && !called.read_only))
    }
}

/// What is known of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// What is claimed holds for every request within the bounds of what policy judges: names of 1,024 bytes, sets of 512 names. Beyond
    /// them every policy refuses, whatever it says.
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
