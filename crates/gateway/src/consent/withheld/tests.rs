use fastmcp_auth::{Caller, caller::LocalIdentity};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    call::{CanConfirm, CorrId, Presented},
    confirm::Config,
    state::{
        contract_tests::{Fixture, after, binding, row},
        machine::{Machine, Status},
    },
};

/// A call of alice at the tool of [`binding`].
fn call() -> Call {
    let caller = Caller::local_as(LocalIdentity {
        subject: "alice".to_owned(),
        tenant: Some("acme".to_owned()),
        roles: Vec::new(),
        scopes: None,
    });
    Call {
        caller,
        corr_id: CorrId::parse("c-1").unwrap(),
        tool_id: binding().tool_id.as_str().to_owned(),
        args: None,
        client: None,
        session: None,
        idempotency_key: None,
        presented: Presented::Nothing,
        can_confirm: CanConfirm::Yes,
        can_attach: false,
        cancel: CancellationToken::new(),
    }
}

/// Lets a call of `actors`, that act for alice, wait under `token`.
async fn waits(fixture: &Fixture, actors: &str, token: &str) -> OperationId {
    let now = fixture.state.ledger().now();
    let mut binding = binding();
    binding.client = None;
    binding.actors = actors.to_owned();
    let mut row = row(binding, Machine::reserved(after(now, 1_000)), now);
    row.token_hash = token::hash(token);
    fixture.create(&row).await;
    row.id
}

#[tokio::test]
async fn only_who_asked_withdraws_by_token() {
    let fixture = Fixture::memory().await;
    let consents = Consents::new(fixture.state.ledger().clone(), Config::default()).unwrap();
    let own = waits(&fixture, "", "own").await;
    assert_eq!(consents.own(&call(), "own").await.unwrap(), own);
    waits(&fixture, r#"[{"sub":"agent"}]"#, "of an agent").await;
    let refused = consents.own(&call(), "of an agent").await.unwrap_err();
    assert_eq!(refused.code(), Code::Forbidden);
}

/// Both are refusals to the caller; what is recorded differs.
#[tokio::test]
async fn who_withholds_succeeds_once() {
    let fixture = Fixture::memory().await;
    let consents = Consents::new(fixture.state.ledger().clone(), Config::default()).unwrap();
    for (how, status) in [
        (Withheld::Declined, Status::Declined),
        (Withheld::Dismissed, Status::Cancelled),
    ] {
        let id = waits(&fixture, "", status.as_str()).await;
        let withhold = || async { consents.withhold(&call(), &id, how).await };
        assert!(withhold().await.is_ok());
        assert_eq!(fixture.status("acme", &id).await, status);
        assert!(withhold().await.is_err());
    }
    let id = waits(&fixture, "", "unanswered").await;
    let unanswered = consents.withhold(&call(), &id, Withheld::Unanswered).await;
    assert!(unanswered.is_err());
}
