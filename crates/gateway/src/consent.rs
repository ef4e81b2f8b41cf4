//! Whether a call may act now, and as which operation: confirmation and exactly-once, for the
//! pipeline.

use std::time::Duration;

use serde_json::json;

use fastmcp_auth::Caller;
use fastmcp_policy::ConsentLevel;

use crate::{
    announce::{Announcer, Notice},
    audit::{Intended, chain, rfc3339},
    call::{Call, CanConfirm, Completed, DoneBefore, Pending, Presented},
    catalog::PastTool,
    confirm::{Config, Confirm, Consent, Issued, Redemption, Refusal},
    error::{Code, Error},
    once::{Begin, Once},
    policy::Permit,
    state::{
        ledger::Ledger,
        machine::Status,
        operation::{Binding, OperationId, Report},
        ticket::Ticket,
    },
};

mod act;
mod answer;
mod duplicate;
mod name;
mod reading;
mod withheld;

pub use act::Act;
use act::Doing;
use answer::{
    away, cannot_be_asked, failed_before, in_progress, lost, refused, replay, settled, told_result,
    unknown_outcome,
};
use duplicate::Earlier;
pub use duplicate::{Busy, OnDuplicate};

const KEY_CONFLICT: &str = "Idempotency key was used with other arguments";
const IN_PROGRESS: &str = "This call is in progress";

/// The room where calls become operations.
#[derive(Clone, Debug)]
pub struct Consents {
    confirm: Confirm,
    once: Once,
    ledger: Ledger,
    wait: Duration,
    announcer: Option<Announcer>,
}

/// What a call holds once it may act.
#[derive(Debug)]
pub enum Hold {
    /// Nothing durable: neither policy nor the caller asked for it.
    None,
    /// A claimed operation.
    Ticket(Ticket),
}

/// What comes of asking for a hold.
#[derive(Debug)]
pub enum Held {
    /// The call may go on.
    Go(Hold),
    /// It may go on where an earlier call waited, whose repetition it is.
    Resumed(Hold),
    /// It was done before.
    Done(Completed),
    /// It waits for a confirmation.
    Pending(Pending),
    /// It repeats a call that is at work, and may wait for that one: see [`Consents::wait`].
    Busy(Busy),
}

impl Consents {
    /// The room over `ledger`.
    ///
    /// # Errors
    ///
    /// Names the setting that is out of its range.
    pub fn new(ledger: Ledger, config: Config) -> Result<Self, crate::confirm::InvalidConfig> {
        Ok(Self {
            confirm: Confirm::new(ledger.clone(), config)?,
            once: Once::new(ledger.clone()),
            ledger,
            wait: Duration::ZERO,
            announcer: None,
        })
    }

    /// Lets a call wait for the one that it repeats (IDEMPOTENCY_WAIT_SEC) and answer with its result, instead of being
    /// told to come back. Default none.
    #[must_use]
    pub const fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Hands every new approval to `announcer`.
    #[must_use]
    pub fn announcing(mut self, announcer: Option<Announcer>) -> Self {
        self.announcer = announcer;
        self
    }

    /// The confirmations.
    #[must_use]
    pub const fn confirm(&self) -> &Confirm {
        &self.confirm
    }

    /// The operations.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether the call may be the repetition of an earlier one, whose answer [`Self::hold`] knows. Changes nothing.
    ///
    /// Finds a keyed call by its key alone: found by what it is, each new key would make another operation.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn may_know(&self, permit: &Permit, call: &Call) -> bool {
        if !matches!(call.presented, Presented::Nothing) {
            return false;
        }
        let Ok(binding) = binding(permit, call) else {
            return false;
        };
        if let Some(key) = &call.idempotency_key {
            self.ledger.knows(&binding, key).await.unwrap_or(false)
        } else if permit.decision().needs_ticket() {
            let waiting = self.ledger.waiting(&binding).await;
            waiting.is_ok_and(|report| report.is_some())
        } else {
            false
        }
    }

    /// Asks whether a permitted call may act. Never waits for another call: [`Held::Busy`] says that it may.
    ///
    /// # Errors
    ///
    /// The refusals of the contract.
    ///
    /// # Cancel safety
    ///
    /// Dropped, an operation may be reserved or claimed; its lease gives it back.
    pub async fn hold(
        &self,
        permit: &Permit,
        call: &Call,
        duplicate: OnDuplicate,
    ) -> Result<Held, Error> {
        let asks = permit.decision().needs_ticket();
        if !asks && matches!(call.presented, Presented::Nothing) && call.idempotency_key.is_none() {
            return Ok(Held::Go(Hold::None));
        }
        let binding = binding(permit, call)?;
        // In boxes of their own, lest every call carries the largest of them.
        match (&call.presented, asks) {
            (Presented::Nothing, true) => {
                Box::pin(self.reserve(permit, call, &binding, duplicate)).await
            }
            (Presented::Nothing, false) => Box::pin(self.begin(call, &binding, duplicate)).await,
            (Presented::Token(_) | Presented::Operation(..), _) => {
                Box::pin(self.redeem(permit, call, &binding, duplicate)).await
            }
        }
    }

    async fn reserve(
        &self,
        permit: &Permit,
        call: &Call,
        binding: &Binding,
        duplicate: OnDuplicate,
    ) -> Result<Held, Error> {
        if let Some(level) = approval(permit) {
            let how = (level, duplicate);
            return self.submit(permit, call, binding, how).await;
        }
        if call.can_confirm != CanConfirm::Yes {
            return Err(cannot_be_asked(call.can_confirm));
        }
        let known = match self.earlier(call, binding, duplicate).await? {
            Earlier::Known(known) => known,
            Earlier::Busy(busy) => return Ok(Held::Busy(busy)),
        };
        let (arguments, key) = (permit.args().canonical(), call.idempotency_key.as_ref());
        let issued = match self.confirm.reserve(binding, &arguments, key).await {
            Ok(issued) => issued,
            Err(refusal) => return self.refused(call, refusal, duplicate),
        };
        let given = (&issued, duplicate);
        match self.meanwhile((call, binding), known, given).await? {
            Earlier::Known(known) => {
                let pending = pending(permit, &issued, known.done.as_deref());
                Ok(Held::Pending(pending))
            }
            Earlier::Busy(busy) => Ok(Held::Busy(busy)),
        }
    }

    /// A call that a person has to approve. Its caller may repeat it without its ticket: it is found again, by its key or
    /// by what it is, and runs once it is approved.
    async fn submit(
        &self,
        permit: &Permit,
        call: &Call,
        binding: &Binding,
        (level, duplicate): (ConsentLevel, OnDuplicate),
    ) -> Result<Held, Error> {
        let known = match self.earlier(call, binding, duplicate).await? {
            Earlier::Known(known) => known,
            Earlier::Busy(busy) => return Ok(Held::Busy(busy)),
        };
        let (arguments, key) = (permit.args().canonical(), call.idempotency_key.as_ref());
        let issued = match self.confirm.submit(binding, &arguments, key).await {
            Ok(issued) => issued,
            Err(refusal) => return self.refused(call, refusal, duplicate),
        };
        let given = (&issued, duplicate);
        let known = match self.meanwhile((call, binding), known, given).await? {
            Earlier::Known(known) => known,
            Earlier::Busy(busy) => return Ok(Held::Busy(busy)),
        };
        if issued.reused {
            let redemption = Redemption {
                presented: binding,
                idempotency_key: None,
                consent: consent(permit),
            };
            let id = &issued.operation_id;
            match self.confirm.redeem_approved(id, &redemption).await {
                Ok(ticket) => return Ok(Held::Resumed(Hold::Ticket(ticket))),
                Err(Refusal::AwaitsApproval { .. }) => {}
                // A rival of the same caller was faster: what it did is this call's answer.
                Err(Refusal::Used { report, .. }) => {
                    let idempotent_replay = true;
                    let used = Refusal::Used {
                        report,
                        idempotent_replay,
                    };
                    return self.refused(call, used, duplicate);
                }
                Err(refusal) => return self.refused(call, refusal, duplicate),
            }
        }
        let mut pending = pending(permit, &issued, known.done.as_deref());
        pending.approval = Some(level);
        if let Some(announcer) = self.announcer.as_ref().filter(|_| !issued.reused) {
            announcer.announce(notice(permit, &pending, level));
        }
        Ok(Held::Pending(pending))
    }

    /// What a caller hears who presents a ticket too early, where the answer can carry the ticket again.
    async fn still_waiting(
        &self,
        permit: &Permit,
        (id, token): (&OperationId, &str),
    ) -> Result<Held, Error> {
        let report = self
            .ledger
            .report(permit.tenant(), id)
            .await
            .map_err(away)?;
        let report = report.ok_or_else(|| refused(Refusal::Unknown))?;
        Ok(Held::Pending(Pending {
            operation_id: id.clone(),
            action_token: token.to_owned(),
            expires_at: rfc3339(report.expires_at),
            summary: summary(permit),
            done_before: None,
            approval: approval(permit),
            again: true,
        }))
    }

    async fn begin(
        &self,
        call: &Call,
        binding: &Binding,
        duplicate: OnDuplicate,
    ) -> Result<Held, Error> {
        let Some(key) = &call.idempotency_key else {
            return Ok(Held::Go(Hold::None));
        };
        let conflict = |operation_id: &OperationId, reason: &str, message: &'static str| {
            Error::new(Code::Conflict, message)
                .with_detail("reason", reason)
                .with_detail("operation_id", operation_id.as_str())
        };
        match self.once.begin(binding, key).await.map_err(away)? {
            Begin::Run(ticket) => Ok(Held::Go(Hold::Ticket(ticket))),
            Begin::Replay(report) => replay(&report).map(Held::Done),
            Begin::Failed(report) => Err(failed_before(&report)),
            Begin::Conflict { operation_id } => Err(conflict(
                &operation_id,
                "idempotency_conflict",
                KEY_CONFLICT,
            )),
            Begin::InProgress { operation_id, .. }
                if duplicate == OnDuplicate::Wait && !self.wait.is_zero() =>
            {
                let wait = self.wait;
                Ok(Held::Busy(Busy { operation_id, wait }))
            }
            Begin::InProgress {
                operation_id,
                retry_after,
            } => {
                Err(conflict(&operation_id, "in_progress", IN_PROGRESS)
                    .with_retry_after(retry_after))
            }
            Begin::Unknown { operation_id } => Err(unknown_outcome(&operation_id)),
            Begin::AwaitsConfirmation {
                operation_id,
                expires_at,
            } => Err(conflict(
                &operation_id,
                "awaits_confirmation",
                "The call under this idempotency key awaits confirmation",
            )
            .with_detail("expires_at", rfc3339(expires_at))),
        }
    }

    async fn redeem(
        &self,
        permit: &Permit,
        call: &Call,
        binding: &Binding,
        duplicate: OnDuplicate,
    ) -> Result<Held, Error> {
        let redemption = Redemption {
            presented: binding,
            idempotency_key: call.idempotency_key.as_ref(),
            consent: consent(permit),
        };
        let redeemed = match &call.presented {
            Presented::Operation(id, token) => {
                self.confirm.redeem_operation(id, token, &redemption).await
            }
            Presented::Token(token) => self.confirm.redeem(token, &redemption).await,
            Presented::Nothing => return Err(Error::internal("nothing is presented")),
        };
        match (redeemed, &call.presented) {
            (Ok(ticket), _) => Ok(Held::Go(Hold::Ticket(ticket))),
            (Err(Refusal::AwaitsApproval { .. }), Presented::Operation(id, token)) => {
                self.still_waiting(permit, (id, token)).await
            }
            (Err(refusal), _) => self.refused(call, refusal, duplicate),
        }
    }

    /// A refusal in the words of the contract; a call that is repeated gets the result instead.
    fn refused(
        &self,
        call: &Call,
        refusal: Refusal,
        duplicate: OnDuplicate,
    ) -> Result<Held, Error> {
        let Refusal::Used {
            report,
            idempotent_replay,
        } = refusal
        else {
            return Err(refused(refusal));
        };
        if !idempotent_replay && !matches!(call.presented, Presented::Operation(..)) {
            return Err(settled(&report));
        }
        if let Some(busy) = self.busy(call, &report, duplicate) {
            return Ok(Held::Busy(busy));
        }
        match report.status {
            Status::Completed => replay(&report).map(Held::Done),
            Status::Failed => Err(failed_before(&report)),
            Status::Unknown => Err(unknown_outcome(&report.operation_id)),
            status if status.is_running() => Err(in_progress(&report)),
            _ => Err(settled(&report)),
        }
    }
}

impl Held {
    /// The operation that the call is, waits as, or repeats; none where nothing durable stands for it.
    #[must_use]
    pub fn operation_id(&self) -> Option<&OperationId> {
        match self {
            Self::Go(hold) | Self::Resumed(hold) => hold.operation_id(),
            Self::Done(done) => done.operation_id.as_ref(),
            Self::Pending(pending) => Some(&pending.operation_id),
            Self::Busy(busy) => Some(&busy.operation_id),
        }
    }
}

impl Hold {
    /// The name of the operation.
    #[must_use]
    pub fn operation_id(&self) -> Option<&OperationId> {
        match self {
            Self::None => None,
            Self::Ticket(ticket) => Some(ticket.operation_id()),
        }
    }

    /// Gives the hold back before anything happened.
    pub async fn release(self) {
        if let Self::Ticket(ticket) = self
            && let Err(error) = ticket.release().await
        {
            tracing::warn!(%error, "claim was not given back; its lease will");
        }
    }

    /// Checks that the hold is still held and says that the call acts from here on, if it is `intended` to do more than read.
    /// Needs the durable intent.
    ///
    /// # Errors
    ///
    /// When the lease was lost; nothing may be done.
    pub async fn act(self, intended: &Intended, lease: Duration) -> Result<Act, Error> {
        match self {
            Self::None => Ok(Act(Doing::Nothing)),
            Self::Ticket(ticket) if !intended.writes() => Ok(Act(Doing::Reads(ticket))),
            Self::Ticket(ticket) => ticket
                .intend(lease)
                .await
                .map(|acting| Act(Doing::Acts(acting)))
                .map_err(lost),
        }
    }
}

/// The consent that policy demands.
fn consent(permit: &Permit) -> Consent {
    match permit.decision().confirmation() {
        None | Some(ConsentLevel::Client) => Consent::Client,
        Some(ConsentLevel::Person) => Consent::Person,
        // What may come after four eyes is at least that strong.
        Some(_) => Consent::OtherPerson,
    }
}

/// Which person has to approve, where one has to.
fn approval(permit: &Permit) -> Option<ConsentLevel> {
    let level = permit.decision().confirmation()?;
    (level != ConsentLevel::Client).then_some(level)
}

/// What the world hears of a call that waits: who asked and for which tool, never with which arguments.
fn notice(permit: &Permit, pending: &Pending, level: ConsentLevel) -> Notice {
    let id = pending.operation_id.as_str();
    let obligations = permit.obligations();
    let words = obligations.split(' ');
    let roles: Vec<_> = words.filter_map(|w| w.strip_prefix("approver:")).collect();
    Notice {
        operation_id: id.to_owned(),
        body: json!({
            "event": "approval.requested",
            "operation_id": id,
            "toolId": permit.target().manifest().tool_id.as_str(),
            "tenant": permit.tenant(),
            "sub": permit.caller().subject(),
            "requires": level.name(),
            "approver_roles": roles,
            "expires_at": pending.expires_at,
            "path": format!("/approvals/{id}"),
        }),
    }
}

fn summary(permit: &Permit) -> String {
    let manifest = permit.target().manifest();
    let arguments = String::from_utf8_lossy(&permit.args().canonical()).into_owned();
    format!("{} ({}) with {arguments}", manifest.name, manifest.tool_id)
}

fn binding(permit: &Permit, call: &Call) -> Result<Binding, Error> {
    let target = permit.target();
    let tool = match permit.decided().resource.as_deref() {
        Some(seen) if !std::ptr::eq(seen, &raw const **target.entry().resource()) => {
            PastTool::of(target.manifest(), seen).to_text()
        }
        _ => Ok(target.entry().past().to_owned()),
    };
    let mut args_digest = [0; 32];
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &permit.args().digest_input());
    args_digest.copy_from_slice(digest.as_ref());
    Ok(Binding {
        tenant: permit.tenant().to_owned(),
        subject: permit.caller().subject().to_owned(),
        actors: actors(permit.caller())?,
        client: permit
            .caller()
            .client_id()
            .or_else(|| call.declared_client())
            // PostgreSQL keeps no text with this character, and a client names itself.
            .map(|client| client.replace('\0', "\u{fffd}")),
        tool_id: target.manifest().tool_id.clone(),
        definition_hash: target.definition_hash(),
        args_digest,
        obligations: permit.obligations(),
        policy_version: permit.decision().version.to_string(),
        labels: permit.labels(),
        tool: tool.map_err(Error::internal)?,
    })
}

/// Who acts for `caller`, as the state keeps it.
fn actors(caller: &Caller) -> Result<String, Error> {
    match caller.actors() {
        [] => Ok(String::new()),
        actors => serde_json::to_string(&chain(actors)).map_err(Error::internal),
    }
}

fn pending(permit: &Permit, issued: &Issued, earlier: Option<&Report>) -> Pending {
    Pending {
        operation_id: issued.operation_id.clone(),
        action_token: issued.action_token.expose().to_owned(),
        expires_at: rfc3339(issued.expires_at),
        summary: summary(permit),
        done_before: earlier.map(|report| DoneBefore {
            operation_id: report.operation_id.clone(),
            at: rfc3339(report.updated_at),
            result: told_result(report),
        }),
        approval: None,
        again: issued.reused,
    }
}
