//! Keys that rotate between what is sealed and what is asked for later, whatever database it is.

use std::{sync::Arc, time::Duration};

use fastmcp::seal::{KeyId, KeyRing};

use super::{
    Location, SealedWith, StateError,
    contract_tests::{Fixture, binding, key},
    operation::Stored,
};
use crate::{
    confirm::{Config, Confirm, Consent, Redemption},
    once::{Begin, Once},
};

const LEASE: Duration = Duration::from_secs(60);
const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

/// Between a claim and its replay, and between a ticket and its redemption, on two replicas that take the key up one after
/// the other.
pub(crate) async fn keys_rotate(location: Location) {
    let (one, other) = (ring(&[OLD]), ring(&[OLD]));
    let first = Fixture::replica(location.clone(), Arc::new(one.clone()), "replica-1").await;
    let second = Fixture::replica(location, Arc::new(other.clone()), "replica-2").await;
    let once = |fixture: &Fixture| Once::new(fixture.state.ledger().clone());
    let confirm = |fixture: &Fixture| {
        Confirm::new(fixture.state.ledger().clone(), Config::default()).unwrap()
    };
    let begun = once(&first)
        .begin(&binding(), &key("call-1"))
        .await
        .unwrap();
    let Begin::Run(ticket) = begun else {
        panic!("{begun:?}")
    };
    let acting = ticket.intend(LEASE).await.unwrap();
    let mut asked = binding();
    asked.args_digest = [3; 32];
    let issued = confirm(&first)
        .reserve(&asked, b"{}", Some(&key("ask-1")))
        .await
        .unwrap();
    let pending = first.state.ledger().sealed_with().await.unwrap();
    assert_eq!(pending, [of(OLD, 2)], "arguments and action token");

    // Opens everywhere before it seals anywhere.
    one.replace(&[OLD, NEW]).unwrap();
    other.replace(&[OLD, NEW]).unwrap();
    one.replace(&[NEW, OLD]).unwrap();
    acting.complete(b"done").await.unwrap();
    let found = second.state.ledger().sealed_with().await.unwrap();
    let mut both = [of(OLD, 2), of(NEW, 1)];
    both.sort_by_key(|sealed| sealed.key);
    assert_eq!(found, both);
    match once(&second)
        .begin(&binding(), &key("call-1"))
        .await
        .unwrap()
    {
        Begin::Replay(report) => {
            assert_eq!(report.result, Some(Stored::Bytes(b"done".to_vec())));
        }
        begun => panic!("{begun:?}"),
    }

    other.replace(&[NEW, OLD]).unwrap();
    let again = confirm(&second)
        .reserve(&asked, b"{}", Some(&key("ask-1")))
        .await
        .unwrap();
    assert!(again.reused && again.action_token.expose() == issued.action_token.expose());
    let ledger = second.state.ledger();
    let kept = ledger.arguments("acme", &issued.operation_id).await;
    assert_eq!(kept.unwrap().as_deref(), Some(&b"{}"[..]));

    // Too early: the pending call was sealed with the old key.
    other.replace(&[NEW]).unwrap();
    let lost = confirm(&second)
        .reserve(&asked, b"{}", Some(&key("ask-1")))
        .await;
    assert!(lost.is_err(), "{lost:?}");
    let lost = ledger
        .arguments("acme", &issued.operation_id)
        .await
        .unwrap_err();
    assert!(matches!(lost, StateError::KeyMissing(id) if id == KeyId::of(&OLD)));
    assert!(lost.to_string().contains(&KeyId::of(&OLD).to_string()));
    assert_eq!(ledger.missing_keys(), [KeyId::of(&OLD)]);
    assert!(ledger.missing_told().unwrap().contains("seal.key"));
    other.replace(&[NEW, OLD]).unwrap();
    assert!(ledger.missing_keys().is_empty(), "put back");

    let redeem = Redemption {
        presented: &asked,
        idempotency_key: None,
        consent: Consent::Client,
    };
    let ticket = confirm(&second)
        .redeem(issued.action_token.expose(), &redeem)
        .await
        .unwrap();
    ticket
        .intend(LEASE)
        .await
        .unwrap()
        .complete(b"too")
        .await
        .unwrap();
    let recent = ledger.recent(&asked).await.unwrap();
    assert!(
        recent.is_some(),
        "a client that repeats its call is recognised"
    );
    // What is final keeps neither arguments nor token: nothing needs the old key any more.
    assert_eq!(ledger.sealed_with().await.unwrap(), [of(NEW, 2)]);
    other.replace(&[NEW]).unwrap();
    ledger.sealed_with().await.unwrap();
    assert!(ledger.missing_keys().is_empty());
    first.state.close().await;
    second.state.close().await;
}

fn ring(keys: &[[u8; 32]]) -> KeyRing {
    KeyRing::new(keys).unwrap()
}

fn of(key: [u8; 32], values: u64) -> SealedWith {
    SealedWith {
        key: KeyId::of(&key),
        values,
    }
}

#[tokio::test]
async fn keys_rotate_over_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    keys_rotate(Location::File(folder.path().join("state.db"))).await;
}
