//! The desk of those who decide on what others asked for.
//!
//! A call for which policy demands a person waits as an operation, with its exact arguments sealed in the row. Here
//! they are shown to whoever may decide, and the decision is taken for exactly what was shown: an approval names the
//! digest of the arguments. Deciding takes the scope [`APPROVE`](crate::policy::APPROVE), every role that a rule's
//! `approver` names, and the consent of the rules about `approvals.decide`, where there are any; where policy demands another person, the one who asked cannot approve.
//!
//! Those rules are asked about the tool as it was when the call was asked for, which is kept with the operation: it may have
//! been registered anew since, or be one that this replica does not know. Where it is another one by now, they are asked
//! about that as well, and both have to be allowed.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use fastmcp_policy::{ConsentLevel, Obligation, Resource};
use fastmcp_protocol::{
    Raw,
    args::{Args, ArgsLimits},
};
use serde_json::{Map, Value, json};

use crate::{
    audit::{Record, rfc3339},
    call::{Call, Completed, Done, TokenMeta},
    catalog::PastTool,
    confirm::{Consent, Refusal, approval::Approval},
    error::{Code, Error},
    pipeline::Pipeline,
    policy::Decided,
    state::{
        machine::Status,
        operation::{OperationId, Report},
    },
};

/// The most approvals that one list holds.
pub const MAX_LISTED: u32 = 500;
/// The longest note, in bytes.
pub const MAX_NOTE_BYTES: usize = 1_024;

/// A call that waits for a person.
#[derive(Clone, Debug)]
pub struct Waiting {
    report: Report,
    level: ConsentLevel,
    roles: Vec<String>,
}

/// What a person says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, to the arguments of this digest.
    Approve {
        /// As [`Waiting::digest`] told it.
        digest: String,
    },
    /// No.
    Deny,
}

impl Verdict {
    const fn word(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "approve",
            Self::Deny => "deny",
        }
    }
}

impl Waiting {
    /// `None` for what waits for nobody but its client.
    fn of(report: Report) -> Option<Self> {
        let words = || report.binding.obligations.split(' ');
        let is = |level| {
            let duty = Obligation::Confirm { level }.to_string();
            words().any(|word| word == duty)
        };
        let level = [ConsentLevel::OtherPerson, ConsentLevel::Person]
            .into_iter()
            .find(|level| is(*level))?;
        let roles = words().filter_map(|word| word.strip_prefix("approver:"));
        let roles = roles.map(str::to_owned).collect();
        Some(Self {
            level,
            roles,
            report,
        })
    }

    /// The digest of the exact arguments: SHA-256 of their canonical form under its domain.
    #[must_use]
    pub fn digest(&self) -> String {
        format!(
            "sha256:{}",
            HEXLOWER.encode(&self.report.binding.args_digest)
        )
    }

    /// Whether it still awaits its decision.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.report.status == Status::Reserved
    }

    /// What the one who asked had read by then: the labels of results.
    #[must_use]
    pub fn labels(&self) -> BTreeSet<String> {
        self.report.binding.labels()
    }

    /// As both doors and the command show it, without arguments.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let (report, binding) = (&self.report, &self.report.binding);
        let members = [
            ("operation_id", json!(report.operation_id.as_str())),
            ("status", json!(report.status.as_str())),
            ("toolId", json!(binding.tool_id.as_str())),
            ("sub", json!(binding.subject)),
            ("actors", json!(binding.actors())),
            ("client", json!(binding.client)),
            ("requires", json!(self.level.name())),
            ("approver_roles", json!(self.roles)),
            ("labels", json!(self.labels())),
            ("digest", json!(self.digest())),
            ("created_at", json!(rfc3339(report.created_at))),
            ("expires_at", json!(rfc3339(report.expires_at))),
        ];
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

impl Pipeline {
    /// What awaits a decision that the caller may take, the newest first: its own calls too, although another person may have to
    /// decide them.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`] for those who may decide nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the look may not be recorded.
    pub async fn approvals(&self, call: &Call, limit: u32) -> Result<Vec<Waiting>, Error> {
        let mut record = self.audit.open(call, "approvals.list");
        record.resource("catalog", None);
        let listed = self.waiting(call, limit).await;
        let outcome = listed.as_ref().map(|_| ()).map_err(Clone::clone);
        self.audit.close(record, &nothing(outcome)).await;
        listed
    }

    async fn waiting(&self, call: &Call, limit: u32) -> Result<Vec<Waiting>, Error> {
        self.limit.admit_request(&call.caller)?;
        self.policy.permit_approval(&call.caller, &[])?;
        let ledger = self.consents.ledger();
        let found = ledger
            .approvals(tenant(call), limit.clamp(1, MAX_LISTED))
            .await
            .map_err(away)?;
        let mut shown = Vec::new();
        for waiting in found.into_iter().filter_map(Waiting::of) {
            if self.may_decide(call, &waiting).await {
                shown.push(waiting);
            }
        }
        Ok(shown)
    }

    /// Whether the caller may decide on it. What cannot be judged is not shown.
    async fn may_decide(&self, call: &Call, waiting: &Waiting) -> bool {
        let permitted = self.policy.permit_approval(&call.caller, &waiting.roles);
        if permitted.is_err() || !self.policy.current().judges_approvals() {
            return permitted.is_ok();
        }
        let args = self.args(call, waiting).await;
        args.is_ok_and(|args| {
            let judged = self.judge(call, waiting, args.as_ref(), |_| {});
            judged.is_ok()
        })
    }

    /// The exact arguments, as long as they are kept.
    async fn args(&self, call: &Call, waiting: &Waiting) -> Result<Option<Args>, Error> {
        let ledger = self.consents.ledger();
        let id = &waiting.report.operation_id;
        let bytes = ledger.arguments(tenant(call), id).await.map_err(away)?;
        bytes.map(|bytes| exactly(&bytes, waiting)).transpose()
    }

    /// Asks the rules that are about approving. `note` is told of the decision that refused.
    fn judge(
        &self,
        call: &Call,
        waiting: &Waiting,
        args: Option<&Args>,
        note: impl FnOnce(&Decided),
    ) -> Result<Option<Decided>, Error> {
        if !self.policy.current().judges_approvals() {
            return Ok(None);
        }
        let mut judged = Ok(None);
        for resource in self.tools_of(call, waiting, args)?.into_iter().rev() {
            judged = self
                .policy
                .judge_approval(call, resource, args, waiting.labels());
            if judged.is_err() {
                break;
            }
        }
        judged.map_err(|denial| {
            note(&denial.decided);
            denial.error
        })
    }

    /// The tool of a call that waits, as rules have to judge it: as it was when the call was asked for and, where it is
    /// another one by now, as it is.
    fn tools_of(
        &self,
        call: &Call,
        waiting: &Waiting,
        args: Option<&Args>,
    ) -> Result<Vec<Resource>, Error> {
        let binding = &waiting.report.binding;
        let known = self
            .catalog
            .resolve(&call.caller, binding.tool_id.as_str())
            .ok();
        let unchanged = known
            .as_ref()
            .filter(|target| target.definition_hash() == binding.definition_hash);
        let then = match (PastTool::read(&binding.tool), unchanged, args) {
            (Some(past), ..) => past.resource().clone(),
            // Of a call from before it was kept, the definition says what it was, and the arguments what they demanded.
            (None, Some(target), Some(args)) => {
                let demands = target.demands(args)?;
                let mut resource = Resource::clone(target.entry().resource());
                resource.safety_tags.extend(demands.safety_tags);
                resource.required_scopes.extend(demands.scopes);
                resource.read_only &= !demands.writes;
                return Ok(vec![resource]);
            }
            _ => return Err(unjudged(&waiting.report)),
        };
        let mut tools = vec![then.clone()];
        if let (Some(target), None) = (&known, unchanged) {
            let mut now = Resource::clone(target.entry().resource());
            now.safety_tags.extend(then.safety_tags);
            now.required_scopes.extend(then.required_scopes);
            now.read_only &= then.read_only;
            tools.push(now);
        }
        Ok(tools)
    }

    /// One such call with its exact arguments, for somebody who may decide on it.
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`] for what is of another tenant or waits for nobody; [`Code::Forbidden`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the look may not be recorded.
    pub async fn approval(
        &self,
        call: &Call,
        id: &OperationId,
    ) -> Result<(Waiting, Option<Raw>), Error> {
        let mut record = self.audit.open(call, "approvals.show");
        record.resource("operation", Some(id.as_str()));
        let shown = self.shown(call, id, &mut record).await;
        let outcome = shown.as_ref().map(|_| ()).map_err(Clone::clone);
        self.audit.close(record, &nothing(outcome)).await;
        let (waiting, args) = shown?;
        Ok((waiting, args.map(|args| args.to_raw())))
    }

    async fn shown(
        &self,
        call: &Call,
        id: &OperationId,
        record: &mut Record,
    ) -> Result<(Waiting, Option<Args>), Error> {
        let (waiting, args, decided) = self.open(call, id, record).await?;
        if let Some(args) = &args {
            record.approval(&self.audit, &waiting.report, args, json!({}));
        }
        if let Some(decided) = decided {
            record.decision(&self.audit, &decided);
        }
        Ok((waiting, args))
    }

    /// The operation with its arguments as long as they are kept, if the caller may decide on it.
    async fn open(
        &self,
        call: &Call,
        id: &OperationId,
        record: &mut Record,
    ) -> Result<(Waiting, Option<Args>, Option<Decided>), Error> {
        self.limit.admit_request(&call.caller)?;
        self.policy.permit_approval(&call.caller, &[])?;
        let ledger = self.consents.ledger();
        let report = ledger.report(tenant(call), id).await.map_err(away)?;
        let waiting = report
            .and_then(Waiting::of)
            .ok_or_else(|| Error::new(Code::NotFound, "Approval not found"))?;
        self.policy.permit_approval(&call.caller, &waiting.roles)?;
        let args = self.args(call, &waiting).await?;
        let decided = self.judge(call, &waiting, args.as_ref(), |decided| {
            record.decision(&self.audit, decided);
        })?;
        Ok((waiting, args, decided))
    }

    /// Takes a decision and records who took it, from where and about which arguments.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::approval`]; [`Code::Conflict`] when the digest is another one, or nothing is open any more;
    /// [`Code::Forbidden`] when policy demands another person than the one who asked.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: polled to its end.
    pub async fn decide(
        &self,
        call: &Call,
        id: &OperationId,
        verdict: &Verdict,
        note: Option<&str>,
    ) -> Result<Waiting, Error> {
        let mut record = self.audit.open(call, "approvals.decide");
        record.resource("operation", Some(id.as_str()));
        let decided = self.decided(call, id, (verdict, note), &mut record).await;
        let outcome = decided.as_ref().map(|_| ()).map_err(Clone::clone);
        self.audit.close(record, &nothing(outcome)).await;
        decided
    }

    async fn decided(
        &self,
        call: &Call,
        id: &OperationId,
        (verdict, note): (&Verdict, Option<&str>),
        record: &mut Record,
    ) -> Result<Waiting, Error> {
        check_note(note)?;
        let (waiting, args, decided) = self.open(call, id, record).await?;
        let Some(args) = args else {
            return Err(closed(&waiting.report));
        };
        let details = json!({
            "decision": verdict.word(),
            "note": note,
            "requires": waiting.level.name(),
            "operation_sub": waiting.report.binding.subject,
        });
        record.approval(&self.audit, &waiting.report, &args, details);
        if let Some(decided) = decided {
            record.decision(&self.audit, &decided);
        }
        if let Verdict::Approve { digest } = verdict
            && *digest != waiting.digest()
        {
            return Err(Error::new(
                Code::Conflict,
                "The arguments are others than those that were shown; look again",
            )
            .with_detail("reason", "digest_mismatch")
            .with_detail("digest", waiting.digest()));
        }
        self.audit.intend_change(record).await?;
        let who = call.caller.subject();
        let confirm = self.consents.confirm();
        let answered = match verdict {
            Verdict::Approve { .. } => {
                let approval = Approval {
                    tenant: tenant(call),
                    approver: who,
                    consent: match waiting.level {
                        ConsentLevel::Person => Consent::Person,
                        _ => Consent::OtherPerson,
                    },
                };
                confirm.approve(id, &approval).await
            }
            Verdict::Deny => {
                let reason = note.unwrap_or("no reason given");
                confirm.decline(id, tenant(call), who, reason).await
            }
        };
        let report = answered.map_err(refused)?;
        Ok(Waiting { report, ..waiting })
    }
}

fn tenant(call: &Call) -> &str {
    call.caller.tenant().unwrap_or_default()
}

/// The arguments, if they are those that the operation is bound to. Anything else must not be shown, let alone approved.
fn exactly(bytes: &[u8], waiting: &Waiting) -> Result<Args, Error> {
    let text = std::str::from_utf8(bytes).map_err(Error::internal)?;
    let args = Args::parse_str(text, &ArgsLimits::default()).map_err(Error::internal)?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &args.digest_input());
    if digest.as_ref() != waiting.report.binding.args_digest {
        return Err(Error::internal(
            "sealed arguments do not have the digest of their operation",
        ));
    }
    Ok(args)
}

fn check_note(note: Option<&str>) -> Result<(), Error> {
    let fits = |note: &str| note.len() <= MAX_NOTE_BYTES && !note.contains(char::is_control);
    if note.is_none_or(fits) {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "`note` takes one line of at most {MAX_NOTE_BYTES} bytes"
        )))
    }
}

fn refused(refusal: Refusal) -> Error {
    let text = refusal.to_string();
    match refusal {
        Refusal::SelfApproval => Error::denied(text),
        Refusal::Used { report, .. } => closed(&report),
        Refusal::Expired { operation_id } => Error::new(Code::Conflict, "Approval has expired")
            .with_detail("operation_id", operation_id.as_str())
            .with_detail("status", Status::Expired.as_str()),
        Refusal::Unknown => Error::new(Code::NotFound, "Approval not found"),
        Refusal::State(error) => away(error),
        _ => Error::new(Code::Conflict, text),
    }
}

fn closed(report: &Report) -> Error {
    let message = format!(
        "Nothing is to be decided any more: operation is {}",
        report.status
    );
    Error::new(Code::Conflict, message)
        .with_detail("operation_id", report.operation_id.as_str())
        .with_detail("status", report.status.as_str())
        .with_detail("decided_by", json!(report.confirmed_by))
}

/// Nothing is known of the tool by which a rule could refuse, so nobody decides.
fn unjudged(report: &Report) -> Error {
    Error::new(
        Code::Conflict,
        "No rule can judge this call: its tool is not known here as it was when the call was asked for. Look again in a \
         moment or at another replica, or have the call asked for again",
    )
    .with_detail("operation_id", report.operation_id.as_str())
    .with_detail("reason", "tool_unknown")
}

fn away(error: crate::state::StateError) -> Error {
    let Some(key) = error.missing_key() else {
        return Error::unavailable("State is unavailable; nothing was decided", error);
    };
    let told = format!(
        "What is kept of this call is sealed with key `{key}`, which the gateway does not have any more; nothing was decided. Ask its operator to put the key back"
    );
    Error::unavailable(told, error).with_detail("reason", "seal_key_missing")
}

/// The outcome of what has no result of its own, for the record.
fn nothing(outcome: Result<(), Error>) -> Result<Done, Error> {
    outcome.and_then(|()| {
        Ok(Done::Complete(Completed {
            result: Raw::of(&Map::<String, Value>::new()).map_err(Error::internal)?,
            token_meta: TokenMeta::default(),
            replay: false,
            operation_id: None,
        }))
    })
}
