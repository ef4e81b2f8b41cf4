//! The record of what was asked, decided and done.
//!
//! A writing call leaves two records: the intent, durable before anything happens, and the outcome.
//! A call that only reads leaves one. Refusals at the door are recorded too, sampled above a rate.

mod act;
mod append;
mod argument;
pub mod export;
mod health;
mod late;
pub mod peers;
mod result;
mod secret;
mod share;
mod who;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use fastmcp_audit::{
    Archive, AuditError, Checkpoint, Draft, Log, Object, Phase, Receipt, Retention, Status,
};
use fastmcp_auth::Caller;
use fastmcp_guard::{
    clock::{Clock, Timestamp},
    redact::Redactor,
};
use fastmcp_protocol::args::Args;
use serde_json::{Map, Value, json};

pub use self::{
    argument::Recorded,
    who::{From, chain},
};
use self::{
    export::Exports, late::Late, result::SecretNames, secret::plain, share::Shares, who::who,
};
use crate::{
    call::{Call, CorrId, Done},
    catalog::Target,
    error::{Code, Error},
    policy::{Decided, Permit},
    state::operation::{OperationId, Report},
};

/// The longest claim that is recorded, in bytes of its texts.
const MAX_CLAIM_BYTES: usize = 1_024;

/// Writes records.
#[derive(Clone, Debug)]
pub struct Audit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Log,
    salt: hmac::Key,
    clock: Arc<dyn Clock>,
    door: Shares,
    late: Late,
    origin: String,
    exports: Exports,
    secret_names: SecretNames,
    redactor: Redactor,
    /// Whose arguments' values are recorded.
    arguments: Vec<Recorded>,
    /// Why old records could not be taken away, or peers not be looked at, by what failed.
    troubles: Mutex<BTreeMap<&'static str, String>>,
}

/// What records hold.
#[derive(Clone, Debug, Default)]
pub struct What {
    /// Says what no record holds.
    pub redactor: Redactor,
    /// Arguments whose values are recorded; those of all others are not, beside their digest.
    pub arguments: Vec<Recorded>,
}

/// The record of one call while it goes on.
#[derive(Debug)]
pub struct Record {
    // Behind a pointer: it goes far with its call, and every move would copy it.
    draft: Box<Draft>,
    writes: bool,
    intended: bool,
}

/// Proof that the intent of a call is durable, or that it needs none. Only this room makes one.
#[derive(Debug)]
pub struct Intended {
    writes: bool,
}

impl Intended {
    /// Whether the call may change something.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.writes
    }
}

impl Audit {
    /// Writes to `log`. Digests of arguments and results are keyed with `salt`, so that they cannot
    /// be guessed from the log alone.
    #[must_use]
    pub fn new(log: Log, salt: &[u8], clock: Arc<dyn Clock>) -> Self {
        Self::with(log, salt, clock, Exports::default(), What::default())
    }

    /// As [`Self::new`]; `exports` are told by the log's tap.
    #[must_use]
    pub fn with(
        log: Log,
        salt: &[u8],
        clock: Arc<dyn Clock>,
        exports: Exports,
        what: What,
    ) -> Self {
        let What {
            redactor,
            arguments,
        } = what;
        let salt = hmac::Key::new(hmac::HMAC_SHA256, salt);
        Self {
            inner: Arc::new(Inner {
                origin: log.origin().to_owned(),
                log,
                salt,
                clock,
                door: Shares::default(),
                late: Late::default(),
                exports,
                secret_names: SecretNames::of(&redactor),
                redactor,
                arguments,
                troubles: Mutex::default(),
            }),
        }
    }

    /// Opens the record of a call.
    #[must_use]
    pub fn open(&self, call: &Call, action: &str) -> Record {
        let mut draft = Draft::event(action, Status::Failed);
        draft.corr_id = Some(call.corr_id.as_str().to_owned());
        draft.tool_id = Some(bounded(&call.tool_id));
        draft.resource_type = Some("tool".to_owned());
        draft.resource_id.clone_from(&draft.tool_id);
        who(&mut draft, &call.caller);
        Record {
            draft: Box::new(draft),
            writes: false,
            intended: false,
        }
    }

    /// Makes the intent of a writing call durable. What follows may act.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`], or [`Code::ValidationError`] where no record can hold it: nothing may be done.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the intent may be recorded; nothing was done.
    pub async fn intend(
        &self,
        record: &mut Record,
        permit: &Permit,
        operation: &OperationId,
    ) -> Result<Intended, Error> {
        record.writes = permit.writes();
        record.operation(operation);
        if !record.writes {
            return Ok(Intended { writes: false });
        }
        self.intend_change(record).await
    }

    /// Makes the intent of a change to the gateway itself durable.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`], or [`Code::ValidationError`] where no record can hold it: nothing may be done.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::intend`].
    pub async fn intend_change(&self, record: &mut Record) -> Result<Intended, Error> {
        record.writes = true;
        let mut intent = record.draft.clone();
        intent.phase = Phase::Intent;
        intent.status = Status::Pending;
        self.redact(&mut intent);
        self.inner.log.append(&intent).await.map_err(not_intended)?;
        record.intended = true;
        Ok(Intended { writes: true })
    }

    /// Writes how the call ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the record may not be durable yet; it is written all the same.
    pub async fn close(&self, mut record: Record, outcome: &Result<Done, Error>) {
        record.draft.phase = if record.intended {
            Phase::Outcome
        } else {
            Phase::Event
        };
        match outcome {
            Ok(Done::Complete(done)) => {
                record.draft.status = Status::Success;
                record.draft.result_hash =
                    Some(self.digest(b"fastmcp/result/v1\n", done.result.as_str().as_bytes()));
                if done.replay {
                    record.draft.reason = Some("replayed an earlier result".to_owned());
                }
            }
            Ok(Done::Pending(pending)) => {
                record.draft.status = Status::Pending;
                record.draft.reason = Some("awaits confirmation".to_owned());
                record.draft.operation_id = Some(pending.operation_id.as_str().to_owned());
            }
            Err(error) => {
                record.draft.status = status_of(error);
                record.draft.reason = Some(bounded(error.message()));
            }
        }
        self.redact(&mut record.draft);
        let written = match self.hand_over(&record.draft) {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::error!(%error, corr_id = record.draft.corr_id, "record was not written; it is kept until the log takes it");
            self.keep(*record.draft);
        }
    }

    /// Records a refusal before there was a call. Of more than some in a second only the number is recorded.
    pub fn refused_at_door(&self, corr_id: &CorrId, why: &str, from: From<'_>) {
        let second = self.inner.clock.now().unix_seconds();
        let Some(suppressed) = self.inner.door.take(second, from) else {
            return;
        };
        let mut draft = Draft::event("door.refused", Status::Denied);
        draft.corr_id = Some(corr_id.as_str().to_owned());
        draft.reason = Some(bounded(why));
        from.name_in(&mut draft);
        if suppressed > 0 {
            let details = draft.details.get_or_insert_default();
            details.put("not_recorded_before", &json!(suppressed));
        }
        self.redact(&mut draft);
        // Nothing was done and nobody waits: the log writes it in its own time.
        self.leave(draft);
    }

    /// Records what `caller` did at the desk of approvals beside deciding, or why not.
    pub fn at_desk(
        &self,
        caller: &Caller,
        corr_id: &CorrId,
        action: &str,
        outcome: Result<(), &Error>,
    ) {
        let mut draft = Draft::event(action, outcome.map_or_else(status_of, |()| Status::Success));
        draft.corr_id = Some(corr_id.as_str().to_owned());
        draft.reason = outcome.err().map(|error| bounded(error.message()));
        who(&mut draft, caller);
        self.redact(&mut draft);
        self.leave(draft);
    }

    /// Records an event of the gateway itself.
    pub fn event(&self, action: &str, status: Status, details: Value) {
        let mut draft = Draft::event(action, status);
        let details = self.redacted(object(details));
        draft.reason = details.get("error").and_then(Value::as_str).map(bounded);
        draft.details = Some(details.into());
        self.leave(draft);
    }

    /// Takes secrets out of what others wrote, before anything is hashed: what is in the log can never be taken out
    /// of it. The members of `details` that calls have are our own; see [`Record::decision`] for the claims.
    fn redact(&self, draft: &mut Draft) {
        // A client by mistake may have asked for a tool by the name of its key.
        let texts = [
            &mut draft.reason,
            &mut draft.user_agent,
            &mut draft.tool_id,
            &mut draft.resource_id,
        ];
        for text in texts.into_iter().flatten() {
            if let Cow::Owned(shown) = plain(&self.inner.redactor, text) {
                *text = shown;
            }
        }
    }

    /// A text from outside without what is secret in it, as records show it.
    #[must_use]
    pub fn plain<'a>(&self, text: &'a str) -> Cow<'a, str> {
        plain(&self.inner.redactor, text)
    }

    fn redacted(&self, object: Map<String, Value>) -> Map<String, Value> {
        let mut value = Value::Object(object);
        self.inner.redactor.redact(&mut value);
        match value {
            Value::Object(redacted) => redacted,
            _ => Map::new(),
        }
    }

    /// Makes a record durable that is neither of a call nor of a refusal.
    ///
    /// # Errors
    ///
    /// As [`Log::append`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the record may be written.
    pub async fn append(&self, draft: &Draft) -> Result<Receipt, AuditError> {
        self.inner.log.append(draft).await
    }

    /// The name of this log, under which its checkpoints are signed.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// A checkpoint over all that is recorded.
    ///
    /// # Errors
    ///
    /// As [`Log::checkpoint`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is written all the same.
    pub async fn checkpoint(&self) -> Result<Checkpoint, AuditError> {
        self.inner.log.checkpoint().await
    }

    /// Takes away what need not stay. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`Log::archive`].
    pub fn archive(&self, retention: &Retention) -> Result<Archive, AuditError> {
        self.inner.log.archive(retention)
    }

    /// Lets the sinks send what waits, after [`Self::close_log`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the sinks go on.
    pub async fn finish_exports(&self) {
        self.inner.exports.finish().await;
    }

    /// The keyed digest of `bytes` under a domain.
    #[must_use]
    pub fn digest(&self, domain: &[u8], bytes: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.inner.salt);
        context.update(domain);
        context.update(bytes);
        let tag = context.sign();
        let mut text = String::with_capacity("hmac-sha256:".len() + 2 * tag.as_ref().len());
        text.push_str("hmac-sha256:");
        HEXLOWER.encode_append(tag.as_ref(), &mut text);
        text
    }

    /// Flushes and closes the log. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When what waits cannot be written.
    pub fn close_log(&self) -> Result<(), AuditError> {
        self.inner.log.close()
    }
}

impl Record {
    /// Names the tool that was found.
    pub fn target(&mut self, target: &Target) {
        self.draft.tool_id = Some(target.manifest().tool_id.as_str().to_owned());
        self.draft.resource_id.clone_from(&self.draft.tool_id);
    }

    /// Names the operation.
    pub fn operation(&mut self, id: &OperationId) {
        self.draft.operation_id = Some(id.as_str().to_owned());
    }

    /// Names the claim under which the call acts, by its number within the operation.
    pub fn claim(&mut self, fence: u64) {
        let details = self.draft.details.get_or_insert_default();
        details.put("claim", &json!(fence));
    }

    /// Names the decision of the policy, and what rules read. A claim whose name is one of a secret is left out, as if it
    /// had not been read.
    pub fn decision(&mut self, audit: &Audit, decided: &Decided) {
        let Decided {
            decision,
            subject,
            resource,
            client,
            labels,
            claims,
        } = decided;
        self.draft.policy_decision = Some(decision.effect.to_string());
        self.draft.policy_ids.clone_from(&decision.policy_ids);
        self.draft.policy_version = Some(decision.version.to_string());
        let redactor = &audit.inner.redactor;
        let recorded = claims
            .iter()
            .filter(|(path, seen)| !redactor.is_secret_name(path) && is_recordable(seen.as_ref()));
        let mut claims = Object::default();
        for (path, seen) in recorded {
            set(&mut claims, path.clone(), seen.as_ref());
        }
        // In the order of their names, in which they are written: so they need not be sorted.
        let mut attributes = Object::default();
        attributes.object("claims", &claims);
        if let Some(resource) = resource {
            attributes.text("classification", resource.classification.as_deref());
        }
        who::program(&mut attributes, redactor, client.as_ref());
        if labels.is_some() {
            set(&mut attributes, "labels", labels.as_ref());
        }
        if let Some(resource) = resource {
            attributes
                .text("provider_id", resource.provider_id.as_str())
                .flag("read_only", resource.read_only);
            let scopes = &resource.required_scopes;
            set(&mut attributes, "required_scopes", Some(scopes));
            attributes.text("resource_tenant", resource.tenant.as_deref());
        }
        set(&mut attributes, "roles", Some(&subject.roles));
        if let Some(resource) = resource {
            set(&mut attributes, "safety_tags", Some(&resource.safety_tags));
        }
        set(&mut attributes, "scopes", subject.scopes.as_ref());
        let details = self.draft.details.get_or_insert_default();
        details.object("attributes", &attributes);
        details.put("obligations", &json!(decision.obligations));
    }

    /// Names the permit: its decision, the digest of the exact arguments, and those values that may be recorded.
    pub fn permit(&mut self, audit: &Audit, permit: &Permit) {
        self.decision(audit, permit.decided());
        let tool_id = permit.target().manifest().tool_id.as_str();
        let Inner {
            arguments,
            redactor,
            ..
        } = &*audit.inner;
        if let Some(values) = argument::values(arguments, redactor, (tool_id, permit.args())) {
            let details = self.draft.details.get_or_insert_default();
            details.object("arguments", &values);
        }
        self.draft.request_hash = Some(audit.digest(b"", &permit.args().digest_input()));
    }

    /// Names what a person decides on: the operation, the tool and the exact arguments that the person was shown.
    pub fn approval(&mut self, audit: &Audit, report: &Report, args: &Args, details: Value) {
        self.operation(&report.operation_id);
        self.draft.resource_id = Some(report.operation_id.as_str().to_owned());
        self.draft.tool_id = Some(report.binding.tool_id.as_str().to_owned());
        self.draft.request_hash = Some(audit.digest(b"", &args.digest_input()));
        self.draft.policy_version = Some(report.binding.policy_version.clone());
        let said = self.draft.details.get_or_insert_default();
        for (name, value) in audit.redacted(object(details)) {
            said.put(name, &value);
        }
    }

    /// Sets the resource of actions that are not calls of a tool.
    pub fn resource(&mut self, kind: &str, id: Option<&str>) {
        self.draft.resource_type = Some(kind.to_owned());
        self.draft.resource_id = id.map(bounded);
        self.draft.tool_id = self.draft.resource_id.clone().filter(|_| kind != "catalog");
    }
}

/// What is said where an intent is not in the log: nothing may be done.
fn not_intended(error: AuditError) -> Error {
    match error {
        AuditError::Draft { field, problem } => Error::invalid(format!(
            "Audit log cannot record this, so nothing was done: `{field}` {problem}"
        ))
        .with_detail("field", field),
        away => Error::unavailable("Audit log is unavailable; nothing was done", away),
    }
}

fn status_of(error: &Error) -> Status {
    match error.code() {
        Code::Unauthorized | Code::Forbidden | Code::NotFound | Code::RateLimited => Status::Denied,
        Code::FailedDependency
            if error
                .details()
                .get("status")
                .is_some_and(|s| s == "unknown") =>
        {
            Status::Unknown
        }
        _ => Status::Failed,
    }
}

/// Whether a claim is small enough for the record. One that is not is left out, as if it had not been read.
fn is_recordable(seen: Option<&BTreeSet<String>>) -> bool {
    let bytes = seen.map_or(0, |texts| texts.iter().map(String::len).sum());
    bytes <= MAX_CLAIM_BYTES
}

/// Texts from outside, cut to what a record takes.
pub(crate) fn bounded(text: &str) -> String {
    match text.char_indices().nth(512) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Puts a list of texts into an object: `null` where there is none.
fn set(object: &mut Object, key: impl Into<Cow<'static, str>>, texts: Option<&BTreeSet<String>>) {
    match texts {
        Some(texts) => object.texts(key, texts.iter().map(String::as_str)),
        None => object.null(key),
    };
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// The moment `timestamp` as RFC 3339 in UTC, with seconds.
#[must_use]
pub fn rfc3339(timestamp: Timestamp) -> String {
    let seconds = i64::try_from(timestamp.unix_seconds()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}
