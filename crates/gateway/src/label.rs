//! What a caller has read, and what may follow from it.
//!
//! A manifest gives its tool's results labels, and its classification is one of them. Whoever is given such a result
//! carries its labels from then on: the caller, whichever session, client, door or replica it comes by, for a time; its
//! session for as long as it goes on; and each operation that it asks for meanwhile, to its end. Rules read what is
//! carried as `context.labels`.
//!
//! A label is added before the provider is called, and durably: a result is never delivered whose labels are not carried,
//! and where they cannot be added, nothing was done. A call that was decided before goes on: its arguments were sent by
//! somebody who had not read the result. What waits for a confirmation is decided again when it is confirmed.
//!
//! Labels are kept while some rule reads labels; without such a rule none of this costs anything.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    call::Call,
    error::Error,
    state::{
        State, StateError,
        label::{Carried, Carry, Holder},
    },
};

/// How long a session carries what it has read since its last call, at least: longer than a session may sit idle.
const SESSION: Duration = Duration::from_secs(2 * 3_600);

/// The room where labels are carried.
#[derive(Clone, Debug)]
pub struct Labels {
    state: State,
    ttl: Duration,
}

impl Labels {
    /// The room over `state`. A caller carries a label for `ttl` after it was last given a result that has it
    /// (LABEL_TTL_SEC; default 8 hours).
    #[must_use]
    pub const fn new(state: State, ttl: Duration) -> Self {
        Self { state, ttl }
    }

    /// What the caller of `call` carries, its session included.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`](crate::error::Code::Unavailable) when that cannot be known.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn carried(&self, call: &Call) -> Result<BTreeSet<String>, Error> {
        let holder = holder(call);
        let now = self.state.ledger().now();
        let found = self.state.labels().carried(holder.clone(), now).await;
        let found = found.map_err(away)?;
        self.renew(&holder, &found).await.map_err(away)?;
        Ok(found.into_iter().map(|carried| carried.label).collect())
    }

    /// A session that goes on carries what it has read as long as it does.
    async fn renew(&self, holder: &Holder, found: &[Carried]) -> Result<(), StateError> {
        let now = self.state.ledger().now();
        let soon = now.saturating_add(self.session_ttl() / 2);
        let of_session = || found.iter().filter(|carried| carried.by_session);
        if of_session().all(|carried| carried.expires_at > soon) {
            return Ok(());
        }
        let carry = Carry {
            holder: holder.clone(),
            labels: of_session().map(|carried| carried.label.clone()).collect(),
            caller_until: None,
            session_until: now.saturating_add(self.session_ttl()),
        };
        self.state.labels().carry(carry).await
    }

    /// Lets the caller of `call` carry `labels`, whose result it is about to be given.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`](crate::error::Code::Unavailable): the result must not be delivered.
    ///
    /// # Cancel safety
    ///
    /// Dropped, they may be carried.
    pub async fn carry(&self, call: &Call, labels: BTreeSet<String>) -> Result<(), Error> {
        let now = self.state.ledger().now();
        let carry = Carry {
            holder: holder(call),
            labels,
            caller_until: Some(now.saturating_add(self.ttl)),
            session_until: now.saturating_add(self.session_ttl()),
        };
        self.state.labels().carry(carry).await.map_err(away)
    }

    /// Removes at most `limit` labels whose time is over.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be written.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn forget(&self, limit: u32) -> Result<u64, StateError> {
        let now = self.state.ledger().now();
        self.state.labels().forget(now, limit).await
    }

    fn session_ttl(&self) -> Duration {
        self.ttl.max(SESSION)
    }
}

fn holder(call: &Call) -> Holder {
    let tenant = call.caller.tenant().unwrap_or_default();
    Holder::new(tenant, call.caller.subject(), call.session.as_deref())
}

fn away(error: StateError) -> Error {
    Error::unavailable(
        "What you have read cannot be known; nothing was done",
        error,
    )
}

#[cfg(test)]
mod tests {
    use fastmcp_auth::{Caller, caller::LocalIdentity};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        call::{CorrId, Presented},
        state::contract_tests::Fixture,
    };

    fn call(subject: &str, session: Option<&str>) -> Call {
        Call {
            caller: Caller::local_as(LocalIdentity {
                subject: subject.to_owned(),
                tenant: Some("acme".to_owned()),
                roles: Vec::new(),
                scopes: None,
            }),
            corr_id: CorrId::parse("c-1").unwrap(),
            tool_id: "a:b".to_owned(),
            args: None,
            client: None,
            session: session.map(str::to_owned),
            idempotency_key: None,
            presented: Presented::Nothing,
            can_confirm: crate::call::CanConfirm::Undeclared,
            can_attach: false,
            cancel: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn a_caller_forgets_in_time_and_a_session_only_when_it_rests() {
        let fixture = Fixture::memory().await;
        let labels = Labels::new(fixture.state.clone(), Duration::from_secs(60));
        let (here, elsewhere) = (call("ann", Some("s-1")), call("ann", Some("s-2")));
        let pii = BTreeSet::from(["pii".to_owned()]);
        labels.carry(&here, pii.clone()).await.unwrap();
        for other in [&here, &elsewhere, &call("ann", None)] {
            assert_eq!(labels.carried(other).await.unwrap(), pii);
        }
        assert!(
            labels
                .carried(&call("bob", Some("s-1")))
                .await
                .unwrap()
                .is_empty()
        );
        // The caller's time is over, while the session that goes on keeps what it has read.
        fixture.pass(60_000);
        assert!(labels.carried(&elsewhere).await.unwrap().is_empty());
        for _ in 0..10 {
            fixture.pass(3_600_000);
            assert_eq!(labels.carried(&here).await.unwrap(), pii);
        }
        fixture.pass(7_200_000);
        assert!(labels.carried(&here).await.unwrap().is_empty());
        assert_eq!(labels.forget(100).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn what_cannot_be_known_is_unavailable() {
        let fixture = Fixture::memory().await;
        let labels = Labels::new(fixture.state.clone(), Duration::from_secs(60));
        fixture.state.close().await;
        let call = call("ann", None);
        let read = labels.carried(&call).await.unwrap_err();
        let added = labels.carry(&call, BTreeSet::new()).await.unwrap_err();
        for error in [read, added] {
            assert_eq!(error.code(), crate::error::Code::Unavailable);
        }
    }
}
