//! One record: its fields, what a caller fills, and the one line of bytes it becomes.
//!
//! Specified in `docs/audit-format.md`, "The record". Knows nothing of files.

mod line;
mod object;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{error::AuditError, hash::Hash};

pub(crate) use line::{Body, Sheet, Stamp, moment, parse, render};
pub use object::Object;

/// The longest line, without its newline, in bytes.
///
/// Source: C2SP tlog-tiles, "Log entries": an entry's length is a 16-bit number.
pub const MAX_LINE: usize = 65_535;

/// Actions that only the log itself writes.
pub(crate) const RESERVED: [&str; 4] = [OPENED, RECOVERED, CLOSED, ARCHIVED];
pub(crate) const OPENED: &str = "audit.opened";
pub(crate) const RECOVERED: &str = "audit.recovered";
pub(crate) const CLOSED: &str = "audit.closed";
pub(crate) const ARCHIVED: &str = "audit.archived";

/// Where in the course of an action a record stands. The format fixes the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before a side effect: durable first, then the effect.
    Intent,
    /// After it, whatever came of it.
    Outcome,
    /// Anything that is one record: a read, a refusal, an event of the log itself.
    Event,
}

impl Phase {
    /// As it stands in the line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Event => "event",
        }
    }
}

/// What came of the action. The format fixes the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was done.
    Success,
    /// It was not done, or was undone.
    Failed,
    /// It was refused.
    Denied,
    /// It is about to be done, or waits for a confirmation.
    Pending,
    /// Nobody knows whether it was done.
    Unknown,
}

impl Status {
    /// As it stands in the line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
        }
    }
}

/// What a caller fills; the log adds the sequence number, the time and the hashes.
///
/// Start with [`Draft::intent`], [`Draft::outcome`] or [`Draft::event`] and set the fields that
/// are known. Texts are at most 4,096 bytes, a list of policies at most 256 entries, the JSON
/// objects at most 16 deep, the whole line at most [`MAX_LINE`] bytes.
///
/// In the JSON objects a number that is not an integer of 64 bits is recorded as the string of
/// its digits, since the shortest text of a fraction is not the same in every library.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Where in the course of the action this record stands.
    pub phase: Phase,
    /// What is done: `tools.invoke`, `tools.confirm`, `manifests.register`, ... 1 to 128 bytes.
    pub action: String,
    /// What came of it.
    pub status: Status,
    /// Ties all records of one request together.
    pub corr_id: Option<String>,
    /// Why, in the words the caller was given.
    pub reason: Option<String>,
    /// The kind of thing acted upon.
    pub resource_type: Option<String>,
    /// Which one.
    pub resource_id: Option<String>,
    /// The tool, as `provider:name`.
    pub tool_id: Option<String>,
    /// Who: the subject of the token. Written as `user_id` and `sub`.
    pub sub: Option<String>,
    /// Whose: the tenant. Written as `tenant_id` and `tenant`.
    pub tenant: Option<String>,
    /// Where from.
    pub ip_address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// A digest of the exact arguments.
    pub request_hash: Option<String>,
    /// A digest of the result.
    pub result_hash: Option<String>,
    /// The decision of the policy.
    pub policy_decision: Option<String>,
    /// The policies that made it. Empty is written as absent.
    pub policy_ids: Vec<String>,
    /// The version of the policy set.
    pub policy_version: Option<String>,
    /// The limit that applied and what was left of it.
    pub rate_limit: Option<Object>,
    /// What the provider said about its call.
    pub provider_call_meta: Option<Object>,
    /// Anything else. Secrets must have been removed.
    pub details: Option<Object>,
    /// The durable operation this belongs to.
    pub operation_id: Option<String>,
}

impl Draft {
    /// Returns the draft of a record before a side effect, `pending`.
    pub fn intent(action: impl Into<String>) -> Self {
        Self::new(Phase::Intent, action.into(), Status::Pending)
    }

    /// Returns the draft of a record after a side effect.
    pub fn outcome(action: impl Into<String>, status: Status) -> Self {
        Self::new(Phase::Outcome, action.into(), status)
    }

    /// Returns the draft of a record that stands alone.
    pub fn event(action: impl Into<String>, status: Status) -> Self {
        Self::new(Phase::Event, action.into(), status)
    }

    const fn new(phase: Phase, action: String, status: Status) -> Self {
        Self {
            phase,
            action,
            status,
            corr_id: None,
            reason: None,
            resource_type: None,
            resource_id: None,
            tool_id: None,
            sub: None,
            tenant: None,
            ip_address: None,
            user_agent: None,
            request_hash: None,
            result_hash: None,
            policy_decision: None,
            policy_ids: Vec::new(),
            policy_version: None,
            rate_limit: None,
            provider_call_meta: None,
            details: None,
            operation_id: None,
        }
    }

    /// Returns the members as bytes, checked and ready to be written; not for the log's own events.
    pub(crate) fn render(&self) -> Result<Body, AuditError> {
        if RESERVED.contains(&self.action.as_str()) {
            return Err(AuditError::Draft {
                field: "action",
                problem: format!("`{}` is written by the log itself", self.action),
            });
        }
        render(self)
    }
}

/// One record of the log, as it stands there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Record {
    /// The place in the log, from 0; also the index of its leaf in the tree.
    pub seq: u64,
    /// When the log wrote it; milliseconds, UTC.
    pub ts: Timestamp,
    /// See [`Draft::corr_id`].
    pub corr_id: Option<String>,
    /// See [`Draft::phase`].
    pub phase: Phase,
    /// See [`Draft::action`].
    pub action: String,
    /// See [`Draft::status`].
    pub status: Status,
    /// See [`Draft::reason`].
    pub reason: Option<String>,
    /// See [`Draft::resource_type`].
    pub resource_type: Option<String>,
    /// See [`Draft::resource_id`].
    pub resource_id: Option<String>,
    /// See [`Draft::tool_id`].
    #[serde(rename = "toolId")]
    pub tool_id: Option<String>,
    /// The same as `sub`.
    pub user_id: Option<String>,
    /// See [`Draft::sub`].
    pub sub: Option<String>,
    /// The same as `tenant`.
    pub tenant_id: Option<String>,
    /// See [`Draft::tenant`].
    pub tenant: Option<String>,
    /// See [`Draft::ip_address`].
    pub ip_address: Option<String>,
    /// See [`Draft::user_agent`].
    pub user_agent: Option<String>,
    /// See [`Draft::request_hash`].
    pub request_hash: Option<String>,
    /// See [`Draft::result_hash`].
    pub result_hash: Option<String>,
    /// See [`Draft::policy_decision`].
    pub policy_decision: Option<String>,
    /// See [`Draft::policy_ids`].
    #[serde(default)]
    pub policy_ids: Vec<String>,
    /// See [`Draft::policy_version`].
    pub policy_version: Option<String>,
    /// See [`Draft::rate_limit`].
    pub rate_limit: Option<Map<String, Value>>,
    /// See [`Draft::provider_call_meta`].
    pub provider_call_meta: Option<Map<String, Value>>,
    /// See [`Draft::details`].
    pub details: Option<Map<String, Value>>,
    /// See [`Draft::operation_id`].
    pub operation_id: Option<String>,
    /// The replica that wrote it.
    pub instance: String,
    /// The `event_hash` of the record before it; [`Hash::ZERO`] in the first.
    pub prev_hash: Hash,
    /// The hash of this record's line without this member.
    pub event_hash: Hash,
}
