//! The way of a call, from a caller to a provider and back. The only room that knows the order.

use std::time::Duration;

use fastmcp_policy::Resource;
use fastmcp_protocol::Raw;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    audit::{Audit, Record},
    broker::{Broker, Brokered},
    call::{Call, Completed, Done, TokenMeta},
    catalog::{self, Catalog, Target},
    consent::{Busy, Consents, Held, Hold, OnDuplicate},
    error::{Code, Error},
    label::Labels,
    limit::{Limit, Slot},
    manifest::Manifest,
    policy::{Permit, Policy, Standing},
    provider::{self, Effect, ProviderError},
    telemetry::{Stage, Telemetry},
};

mod reading;
mod refusing;

/// How much longer than its call a claim is held, for what comes before and after.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// How many others one call waits for, one after the other.
const ROUNDS: usize = 20;

/// How long a call that may take `timeout` holds its claim.
pub(crate) fn lease(timeout: Duration) -> Duration {
    timeout.saturating_add(LEASE_MARGIN)
}

/// Every stage, built once at start.
#[derive(Debug)]
pub struct Pipeline {
    /// Records.
    pub audit: Audit,
    /// What can be called.
    pub catalog: Catalog,
    /// Who may.
    pub policy: Policy,
    /// What callers have read.
    pub labels: Labels,
    /// How often.
    pub limit: Limit,
    /// Asked first, done once.
    pub consents: Consents,
    /// With which credential.
    pub broker: Broker,
    /// How long a provider may take. `REQUEST_TIMEOUT`, default 30 s.
    pub timeout: Duration,
    /// What is counted.
    pub telemetry: Telemetry,
}

impl Pipeline {
    /// How long a call may take once it acts, with what comes after.
    pub(crate) fn longest(&self) -> Duration {
        lease(self.timeout)
    }

    /// Takes one call to its end, whatever that is, and records it.
    ///
    /// # Errors
    ///
    /// The refusal or failure of the stage that ended the call.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: whoever polls it polls it to its end. [`Call::cancel`] ends it before its
    /// intent; afterwards the result is recorded.
    pub async fn invoke(&self, call: &Call) -> Result<Done, Error> {
        let action = if matches!(call.presented, crate::call::Presented::Nothing) {
            "tools.invoke"
        } else {
            "tools.confirm"
        };
        let watch = Watch::start(&self.telemetry);
        let mut way = Way {
            call,
            record: self.audit.open(call, action),
            watch,
        };
        // On the heap once, rather than copied into the future of each caller's caller.
        let outcome = Box::pin(self.run(&mut way)).await;
        let Way {
            record, mut watch, ..
        } = way;
        self.note(call, &outcome, watch.begun.elapsed());
        watch.last = Instant::now();
        self.audit.close(record, &outcome).await;
        watch.lap(Stage::AuditClose);
        outcome
    }

    async fn run(&self, way: &mut Way<'_>) -> Result<Done, Error> {
        let Way {
            call,
            record,
            watch,
        } = way;
        self.limit.admit_request(&call.caller)?;
        let target = self.catalog.resolve(&call.caller, &call.tool_id)?;
        record.target(&target);
        let fitting = target
            .validate(call)
            .and_then(|args| target.demands(&args).map(|demands| (args, demands)));
        // Policy reads the arguments, so they are validated first; but who may not even see the tool
        // learns nothing of what it wants.
        let (args, demands) =
            fitting.map_err(|unfit| match self.policy.hidden(call, target.entry()) {
                Some(denial) => {
                    record.decision(&self.audit, &denial.decided);
                    denial.error
                }
                None => unfit,
            })?;
        watch.lap(Stage::Validate);
        let standing = self.standing(call).await?;
        let permit = self
            .policy
            .permit(call, target, (args, demands), &standing)
            .map_err(|denial| self.denied(record, denial))?;
        record.permit(&self.audit, &permit);
        watch.lap(Stage::Policy);
        let (hold, mut slot) = match self.place(way, &permit, &standing).await? {
            Place::Taken(hold, slot) => (hold, slot),
            Place::Answered(done) => return Ok(done),
        };
        let done = self.act(way, &permit, hold, &mut slot).await;
        slot.end().await;
        done.map(Done::Complete)
    }

    /// Asks the limits and then for consent. A call is charged once: what is answered with an earlier call's result, or
    /// goes on where an earlier one waited, gives back what it took, and is not refused for want of it. One that waits for
    /// its duplicate has nothing meanwhile, and is as one that has just come when that has ended: where that has failed and yet
    /// another was faster, it waits for that one, for as long as is left.
    async fn place(
        &self,
        way: &mut Way<'_>,
        permit: &Permit,
        standing: &Standing,
    ) -> Result<Place, Error> {
        let (begun, mut duplicate) = (way.watch.last, OnDuplicate::Wait);
        let mut placed = self.placed(way, permit, standing, duplicate).await?;
        for round in 1..=ROUNDS {
            let busy = match placed {
                Ok(place) => return Ok(place),
                Err(busy) => busy,
            };
            let wait = self.consents.wait(way.call, &busy, begun.elapsed());
            // What few calls need stands in a box of its own, lest every call carries it.
            Box::pin(wait).await?;
            way.watch.lap(Stage::Consent);
            if round == ROUNDS || busy.is_over(begun.elapsed()) {
                duplicate = OnDuplicate::Tell;
            }
            let standing = self.decided_again(way, permit).await?;
            placed = self.placed(way, permit, &standing, duplicate).await?;
        }
        placed.map_err(|_| Error::internal("a call waits for its duplicate again"))
    }

    async fn placed(
        &self,
        way: &mut Way<'_>,
        permit: &Permit,
        standing: &Standing,
        duplicate: OnDuplicate,
    ) -> Result<Result<Place, Busy>, Error> {
        let Way {
            call,
            record,
            watch,
        } = way;
        let admitted = self.limit.admit(permit, call).await;
        let (mut slot, refused) = match admitted {
            Ok(slot) => (slot, None),
            Err(refused) => {
                record.rate_limit(refused.details().clone().into());
                if !self.consents.may_know(permit, call).await {
                    return Err(refused);
                }
                (self.limit.free(), Some(refused))
            }
        };
        if refused.is_none() {
            record.rate_limit(slot.describe());
        }
        watch.lap(Stage::Limit);
        wanted(call)?;
        let held = self.consents.hold(permit, call, duplicate).await;
        watch.lap(Stage::Consent);
        let held = match held {
            Ok(held) => held,
            Err(error) => return Err(self.refuse(call, record, error).await),
        };
        if let Some(id) = held.operation_id() {
            record.operation(id);
        }
        match (held, refused) {
            (Held::Go(hold), None) => Ok(Ok(Place::Taken(hold, slot))),
            (Held::Go(hold), Some(refused)) => {
                hold.release().await;
                Err(refused)
            }
            (Held::Resumed(hold), _) => {
                slot.end().await;
                let resumed = Box::pin(self.resume(way, permit, hold, standing)).await?;
                Ok(Ok(resumed))
            }
            (Held::Pending(pending), Some(refused)) if !pending.again => Err(refused),
            (Held::Pending(mut pending), _) => {
                if !pending.again {
                    slot.keep();
                }
                slot.end().await;
                Box::pin(self.tell_before(call, record, permit, &mut pending)).await;
                Ok(Ok(Place::Answered(Done::Pending(pending))))
            }
            (Held::Done(done), _) => {
                slot.end().await;
                self.carry_again(
                    call,
                    record,
                    (Some(permit.target()), done.operation_id.as_ref()),
                )
                .await?;
                Ok(Ok(Place::Answered(Done::Complete(done))))
            }
            (Held::Busy(busy), _) => {
                slot.end().await;
                Ok(Err(busy))
            }
        }
    }

    /// Goes on where an earlier call waited, once that is allowed still.
    async fn resume(
        &self,
        way: &mut Way<'_>,
        permit: &Permit,
        hold: Hold,
        standing: &Standing,
    ) -> Result<Place, Error> {
        let resumed = match self.confirmed(way, permit, &hold, standing).await {
            Ok(()) => self.limit.resume(permit, way.call).await,
            Err(error) => Err(error),
        };
        match resumed {
            Ok(slot) => Ok(Place::Taken(hold, slot)),
            Err(error) => {
                hold.release().await;
                Err(error)
            }
        }
    }

    /// From here on the order is: credential, durable intent, fence, act, record.
    async fn act(
        &self,
        way: &mut Way<'_>,
        permit: &Permit,
        hold: Hold,
        slot: &mut Slot,
    ) -> Result<Completed, Error> {
        let Way {
            call,
            record,
            watch,
        } = way;
        let operation_id = hold.operation_id().cloned();
        let granted = self.broker.grant(permit).await.and_then(|grant| {
            wanted(call)?;
            Ok((grant, self.consents.name(&hold)?))
        });
        let (grant, operation) = match granted {
            Ok(granted) => granted,
            Err(error) => {
                hold.release().await;
                return Err(error);
            }
        };
        let told = grant.meta();
        record.grant(&self.audit, &told);
        watch.lap(Stage::Broker);
        // Before anything is done, so that nothing is where it cannot be; and so before the result is anybody's.
        if let Err(error) = self.carry(call, record, permit.target()).await {
            hold.release().await;
            return Err(error);
        }
        if let Hold::Ticket(ticket) = &hold {
            record.claim(ticket.fence());
        }
        let intended = match self.audit.intend(record, permit, &operation).await {
            Ok(intended) => intended,
            Err(error) => {
                hold.release().await;
                return Err(error);
            }
        };
        watch.lap(Stage::AuditIntend);
        let act = hold.act(&intended, self.longest()).await?;
        watch.lap(Stage::Fence);
        slot.keep();
        let mut outcome = self.call_provider(permit, &grant, operation.as_str()).await;
        if let Err(error) = &mut outcome
            && !permit.writes()
        {
            // Whatever became of it, it can be read again.
            error.effect = Effect::None;
        }
        watch.lap(Stage::Provider);
        let outcome = outcome.map(|result| (result, told));
        act.end(&outcome).await;
        watch.lap(Stage::ConsentEnd);
        let (result, token_meta) =
            outcome.map_err(|error| failed(&error, operation_id.is_some()))?;
        Ok(Completed {
            result,
            token_meta,
            replay: false,
            operation_id,
        })
    }

    async fn call_provider(
        &self,
        permit: &Permit,
        grant: &Brokered,
        operation: &str,
    ) -> Result<Raw, ProviderError> {
        let manifest = permit.target().manifest();
        let call = provider::Call {
            grant: grant.grant(),
            operation_id: operation,
            tenant: permit.tenant(),
            scopes: permit.scopes(),
            timeout: self.timeout,
        };
        let answer =
            permit
                .target()
                .adapter()
                .call(manifest.tool_id.endpoint(), permit.args(), &call);
        // The adapter's own limit is the same; this one holds for adapters that have none.
        let result = tokio::time::timeout(self.timeout + Duration::from_secs(1), answer)
            .await
            .unwrap_or_else(|_| {
                let effect = if permit.writes() {
                    Effect::Maybe
                } else {
                    Effect::None
                };
                Err(ProviderError::failed(
                    effect,
                    "provider did not answer in time",
                ))
            })?;
        if result.is_object() {
            return Ok(result);
        }
        Err(ProviderError::failed(
            Effect::Maybe,
            "provider answered with something that is no object",
        ))
    }

    /// The tools that the caller's catalogue shows.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`] when the caller may not look.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the look may not be recorded.
    pub async fn list(&self, call: &Call) -> Result<Vec<Target>, Error> {
        self.admit_listing(call).await?;
        let mut targets = self.catalog.of(&call.caller);
        targets.retain(|t| self.policy.shows(&call.caller, t.entry()));
        Ok(targets)
    }

    /// Decides whether the caller may see its catalogue at all, and records that it looked.
    ///
    /// # Errors
    ///
    /// As [`Self::list`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::list`].
    pub async fn admit_listing(&self, call: &Call) -> Result<(), Error> {
        let mut record = self.audit.open(call, "catalog:list");
        record.resource("catalog", None);
        let admitted = self.look(call, &mut record).await;
        let outcome = match &admitted {
            Ok(()) => done(Raw::of(&Map::<String, Value>::new())),
            Err(error) => Err(error.clone()),
        };
        self.audit.close(record, &outcome).await;
        admitted
    }

    async fn look(&self, call: &Call, record: &mut Record) -> Result<(), Error> {
        self.limit.admit_request(&call.caller)?;
        let standing = self.standing(call).await?;
        let decided = self
            .policy
            .permit_listing(call, &standing)
            .map_err(|denial| self.denied(record, denial))?;
        record.decision(&self.audit, &decided);
        Ok(())
    }

    /// Registers a manifest. `call.tool_id` names it in the record.
    ///
    /// # Errors
    ///
    /// When the manifest cannot be used, the policy denies, or a part of the gateway is away.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: polled to its end.
    pub async fn register(&self, call: &Call, manifest: Manifest) -> Result<(), Error> {
        let mut record = self.audit.open(call, "manifests.register");
        record.resource("manifest", Some(&call.tool_id));
        let outcome = self.registered(call, &mut record, manifest).await;
        let closed = match &outcome {
            Ok(()) => done(Raw::of(&Map::<String, Value>::new())),
            Err(error) => Err(error.clone()),
        };
        self.audit.close(record, &closed).await;
        outcome
    }

    async fn registered(
        &self,
        call: &Call,
        record: &mut Record,
        manifest: Manifest,
    ) -> Result<(), Error> {
        self.limit.admit_request(&call.caller)?;
        // What is public is everybody's: only callers of tenant `public` may change it.
        if call.caller.tenant() != Some(manifest.tenant.as_str()) {
            return Err(Error::denied(
                "a manifest belongs to your own tenant; those of `public` are registered by callers of tenant `public`",
            ));
        }
        let standing = self.standing(call).await?;
        let decision = self
            .policy
            .permit_registration(call, catalog::resource(&manifest), &standing)
            .map_err(|denial| self.denied(record, denial))?;
        record.decision(&self.audit, &decision);
        let target = self.catalog.examine(manifest)?;
        self.audit.intend_change(record).await?;
        self.catalog.register(&target).await?;
        self.telemetry.count_tools(self.catalog.all().len());
        Ok(())
    }

    /// The name of a tool in metrics. They are everybody's who may read them, so a tenant's own tools have none there.
    fn label<'a>(&self, call: &'a Call) -> &'a str {
        let resolved = self.catalog.resolve(&call.caller, &call.tool_id);
        match resolved {
            Ok(target) if target.manifest().tenant == Resource::PUBLIC => &call.tool_id,
            _ => "own",
        }
    }

    fn note(&self, call: &Call, outcome: &Result<Done, Error>, took: Duration) {
        let status = match outcome {
            Ok(Done::Complete(_)) => "success",
            Ok(Done::Pending(_)) => "pending",
            Err(error) => error.code().as_str(),
        };
        // Only names of registered tools become labels: the others are anybody's invention.
        if !matches!(outcome, Err(error) if error.code() == Code::NotFound) {
            self.telemetry.called(self.label(call), status, took);
        }
        let (subject, tenant) = (
            call.caller.subject(),
            call.caller.tenant().unwrap_or_default(),
        );
        // What others wrote is shown as in the record; it is looked at only where the line is written.
        let plain = |text| self.audit.plain(text);
        match outcome {
            Err(error) => tracing::info!(
                tool_id = &*plain(&call.tool_id), subject, tenant, correlation_id = %call.corr_id, status,
                error = &*plain(error.message()), cause = error.log().map(plain).as_deref(), "tool.invoked"
            ),
            Ok(_) => {
                tracing::info!(tool_id = &*plain(&call.tool_id), subject, tenant, correlation_id = %call.corr_id, status, "tool.invoked")
            }
        }
    }
}

/// Ends a call whose answer is no longer wanted. Called until the intent, never after.
fn wanted(call: &Call) -> Result<(), Error> {
    if call.cancel.is_cancelled() {
        return Err(Error::new(
            Code::Conflict,
            "The call was cancelled; nothing was done",
        ));
    }
    Ok(())
}

fn failed(error: &ProviderError, durable: bool) -> Error {
    let shown = if error.invalid_argument {
        Error::invalid(error.message.clone())
    } else {
        Error::new(
            Code::FailedDependency,
            format!("Provider invocation failed: {}", error.message),
        )
    };
    let shown = match error.effect {
        Effect::Maybe => shown
            .with_detail("status", "unknown")
            .with_detail("settled_by", if durable { "operator" } else { "nobody" }),
        Effect::None | Effect::Definite => shown,
    };
    match &error.detail {
        Some(detail) => shown.with_log(detail),
        None => shown,
    }
}

fn done(result: Result<Raw, serde_json::Error>) -> Result<Done, Error> {
    let result = result.map_err(Error::internal)?;
    Ok(Done::Complete(Completed {
        result,
        token_meta: TokenMeta::default(),
        replay: false,
        operation_id: None,
    }))
}

/// What became of asking for a place.
enum Place {
    /// The call may act.
    Taken(Hold, Slot),
    /// Its answer is known already.
    Answered(Done),
}

/// One call on its way.
struct Way<'a> {
    call: &'a Call,
    record: Record,
    watch: Watch<'a>,
}

/// Measures the stages.
struct Watch<'a> {
    telemetry: &'a Telemetry,
    begun: Instant,
    last: Instant,
}

impl<'a> Watch<'a> {
    fn start(telemetry: &'a Telemetry) -> Self {
        let begun = Instant::now();
        Self {
            telemetry,
            begun,
            last: begun,
        }
    }

    fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        self.telemetry.stage(stage, now.duration_since(self.last));
        self.last = now;
    }
}
