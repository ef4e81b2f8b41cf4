use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{approval::Approval, *};
use crate::{
    manifest::ToolId,
    state::{
        Location,
        contract_tests::{Fixture, START, after, binding, key},
        machine::{Effect, Refused, Settlement},
        operation::{Filter, Stored},
        ticket::Lost,
    },
};
use fastmcp::seal::KeyRing;

const ARGUMENTS: &[u8] = br#"{"budget":"4711-canary"}"#;
const LEASE: Duration = Duration::from_secs(10);

fn room(fixture: &Fixture) -> Confirm {
    Confirm::new(fixture.state.ledger().clone(), Config::default()).unwrap()
}

fn with(presented: &Binding) -> Redemption<'_> {
    Redemption {
        presented,
        idempotency_key: None,
        consent: Consent::Client,
    }
}

/// A ticket of an operation of its own: its key says that it is another call.
async fn issue(confirm: &Confirm) -> Issued {
    static ISSUED: AtomicU64 = AtomicU64::new(0);
    let named = key(&format!(
        "issued-{}",
        ISSUED.fetch_add(1, Ordering::Relaxed)
    ));
    confirm
        .reserve(&binding(), ARGUMENTS, Some(&named))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_ticket_is_issued_redeemed_and_done() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let issued = issue(&confirm).await;
    assert_eq!(issued.expires_at, after(START, 300_000));
    assert!(
        !format!("{issued:?}").contains(issued.action_token.expose()),
        "Debug hides the token"
    );
    let ledger = fixture.state.ledger();
    assert_eq!(
        ledger
            .arguments("acme", &issued.operation_id)
            .await
            .unwrap()
            .as_deref(),
        Some(ARGUMENTS)
    );
    assert_eq!(
        ledger
            .arguments("globex", &issued.operation_id)
            .await
            .unwrap(),
        None
    );

    let presented = Binding {
        policy_version: "v2".to_owned(),
        ..binding()
    };
    let ticket = confirm
        .redeem(issued.action_token.expose(), &with(&presented))
        .await
        .unwrap();
    assert_eq!(
        (ticket.operation_id(), ticket.fence()),
        (&issued.operation_id, 1)
    );
    assert_eq!(ticket.lease_until(), after(START, 30_000));
    let acting = ticket.intend(LEASE).await.unwrap();
    assert_eq!(acting.lease_until(), after(START, 10_000));
    acting.complete(b"done").await.unwrap();

    let report = ledger
        .report("acme", &issued.operation_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.status, Status::Completed);
    assert_eq!(report.result, Some(Stored::Bytes(b"done".to_vec())));
    assert_eq!(
        report.binding.policy_version, "v1",
        "both policy versions are kept"
    );
    assert_eq!(report.redeemed_policy_version.as_deref(), Some("v2"));
    assert_eq!(
        ledger.report("globex", &issued.operation_id).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn what_is_not_the_same_call_is_refused_and_uses_nothing_up() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let issued = issue(&confirm).await;
    let token = issued.action_token.expose();
    let same = binding();
    let cases = [
        (
            Binding {
                tenant: "globex".to_owned(),
                ..same.clone()
            },
            "OtherCaller",
        ),
        (
            Binding {
                subject: "bob".to_owned(),
                ..same.clone()
            },
            "OtherCaller",
        ),
        (
            Binding {
                client: None,
                ..same.clone()
            },
            "OtherCaller",
        ),
        (
            Binding {
                client: Some("other".to_owned()),
                ..same.clone()
            },
            "OtherCaller",
        ),
        (
            Binding {
                tool_id: ToolId::parse("ads:delete").unwrap(),
                ..same.clone()
            },
            "Unknown",
        ),
        (
            Binding {
                definition_hash: [9; 32],
                ..same.clone()
            },
            "DefinitionChanged",
        ),
        (
            Binding {
                args_digest: [9; 32],
                ..same.clone()
            },
            "ChangedArguments",
        ),
        (
            Binding {
                obligations: "[]".to_owned(),
                ..same.clone()
            },
            "ObligationsChanged",
        ),
    ];
    for (presented, expected) in cases {
        let refused = confirm.redeem(token, &with(&presented)).await.unwrap_err();
        assert_eq!(format!("{refused:?}"), expected, "{presented:?}");
    }
    for wrong in [
        "",
        "wrong",
        &token[1..],
        &format!("{token}x"),
        &"a".repeat(10_000),
        "ä\0",
    ] {
        let refused = confirm.redeem(wrong, &with(&same)).await.unwrap_err();
        assert!(matches!(refused, Refusal::Unknown), "{refused:?}");
    }
    let other = confirm
        .reserve(
            &Binding {
                args_digest: [3; 32],
                ..same.clone()
            },
            ARGUMENTS,
            None,
        )
        .await
        .unwrap();
    let mixed = confirm
        .redeem_operation(&other.operation_id, token, &with(&same))
        .await
        .unwrap_err();
    assert!(
        matches!(mixed, Refusal::Unknown),
        "the token of another operation"
    );
    assert!(
        confirm
            .redeem_operation(&issued.operation_id, token, &with(&same))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_ticket_ends_at_its_very_millisecond() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let (early, late) = (issue(&confirm).await, issue(&confirm).await);
    fixture.pass(299_999);
    assert!(
        confirm
            .redeem(early.action_token.expose(), &with(&binding()))
            .await
            .is_ok()
    );
    fixture.pass(1);
    let refused = confirm
        .redeem(late.action_token.expose(), &with(&binding()))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Refusal::Expired { operation_id } if operation_id == late.operation_id)
    );
    // A stranger does not even learn that it expired.
    let stranger = Binding {
        subject: "bob".to_owned(),
        ..binding()
    };
    let refused = confirm
        .redeem(late.action_token.expose(), &with(&stranger))
        .await
        .unwrap_err();
    assert!(matches!(refused, Refusal::OtherCaller));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_redemptions_one_gets_the_ticket() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::File(folder.path().join("state.db"));
    let fixture = Fixture::open(location, Arc::new(KeyRing::ephemeral().unwrap())).await;
    let confirm = room(&fixture);
    let issued = issue(&confirm).await;
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (confirm, token) = (confirm.clone(), issued.action_token.clone());
        attempts.spawn(async move { confirm.redeem(token.expose(), &with(&binding())).await });
    }
    let outcomes = attempts.join_all().await;
    let mut tickets = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(ticket) => tickets.push(ticket),
            Err(Refusal::Used {
                report,
                idempotent_replay: false,
            }) => assert_eq!(report.status, Status::Claimed),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(tickets.len(), 1);
    assert_eq!(tickets[0].fence(), 1);
    fixture.state.close().await;
}

#[tokio::test]
async fn what_was_used_answers_with_its_state_and_result() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let issued = issue(&confirm).await;
    let presented = binding();
    let own_key = key("confirm-1");
    let keyed = Redemption {
        idempotency_key: Some(&own_key),
        ..with(&presented)
    };
    let token = issued.action_token.expose();
    let ticket = confirm.redeem(token, &keyed).await.unwrap();
    let used = |outcome: Result<Ticket, Refusal>| match outcome.unwrap_err() {
        Refusal::Used {
            report,
            idempotent_replay,
        } => (report.status, report.result, idempotent_replay),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        used(confirm.redeem(token, &keyed).await),
        (Status::Claimed, None, true)
    );
    ticket
        .intend(LEASE)
        .await
        .unwrap()
        .complete(b"done")
        .await
        .unwrap();
    let result = Some(Stored::Bytes(b"done".to_vec()));
    assert_eq!(
        used(confirm.redeem(token, &keyed).await),
        (Status::Completed, result.clone(), true)
    );
    assert_eq!(
        used(confirm.redeem(token, &with(&presented)).await),
        (Status::Completed, result.clone(), false)
    );
    let other_key = key("confirm-2");
    let other = Redemption {
        idempotency_key: Some(&other_key),
        ..with(&presented)
    };
    assert_eq!(
        used(confirm.redeem(token, &other).await),
        (Status::Completed, result, false)
    );
    let stranger = Binding {
        subject: "bob".to_owned(),
        ..binding()
    };
    assert!(
        matches!(
            confirm.redeem(token, &with(&stranger)).await,
            Err(Refusal::OtherCaller)
        ),
        "no result for others"
    );

    let second = issue(&confirm).await;
    let clash = confirm
        .redeem(second.action_token.expose(), &keyed)
        .await
        .unwrap_err();
    assert!(
        matches!(clash, Refusal::KeyConflict { operation_id } if operation_id == issued.operation_id)
    );
    assert!(
        confirm
            .redeem(second.action_token.expose(), &other)
            .await
            .is_ok(),
        "the clash used nothing up"
    );
}

#[tokio::test]
async fn the_same_key_reserves_once() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let (same, named) = (binding(), key("call-1"));
    let first = confirm
        .reserve(&same, ARGUMENTS, Some(&named))
        .await
        .unwrap();
    let second = confirm
        .reserve(&same, ARGUMENTS, Some(&named))
        .await
        .unwrap();
    assert!(!first.reused && second.reused);
    assert_eq!(first.operation_id, second.operation_id);
    assert_eq!(first.action_token.expose(), second.action_token.expose());
    assert_eq!(first.expires_at, second.expires_at);

    let other_args = Binding {
        args_digest: [3; 32],
        ..same.clone()
    };
    let clash = confirm
        .reserve(&other_args, b"{}", Some(&named))
        .await
        .unwrap_err();
    assert!(matches!(clash, Refusal::KeyConflict { .. }), "{clash:?}");
    let other_client = Binding {
        client: None,
        ..same.clone()
    };
    let clash = confirm
        .reserve(&other_client, ARGUMENTS, Some(&named))
        .await
        .unwrap_err();
    assert!(
        matches!(clash, Refusal::KeyConflict { .. }),
        "another client gets no token: {clash:?}"
    );
    let other_subject = Binding {
        subject: "bob".to_owned(),
        ..same.clone()
    };
    let theirs = confirm
        .reserve(&other_subject, ARGUMENTS, Some(&named))
        .await
        .unwrap();
    assert_ne!(
        theirs.operation_id, first.operation_id,
        "keys are a subject's own"
    );

    // What could not be redeemed any more is replaced.
    let redefined = Binding {
        definition_hash: [9; 32],
        ..same.clone()
    };
    let replaced = confirm
        .reserve(&redefined, ARGUMENTS, Some(&named))
        .await
        .unwrap();
    assert_ne!(replaced.operation_id, first.operation_id);
    assert_eq!(
        fixture.status("acme", &first.operation_id).await,
        Status::Cancelled
    );
    fixture.pass(300_000);
    let renewed = confirm
        .reserve(&redefined, ARGUMENTS, Some(&named))
        .await
        .unwrap();
    assert!(!renewed.reused, "an expired one is asked for again");

    let ticket = confirm
        .redeem(renewed.action_token.expose(), &with(&redefined))
        .await
        .unwrap();
    ticket
        .intend(LEASE)
        .await
        .unwrap()
        .complete(b"done")
        .await
        .unwrap();
    match confirm
        .reserve(&redefined, ARGUMENTS, Some(&named))
        .await
        .unwrap_err()
    {
        Refusal::Used {
            report,
            idempotent_replay: true,
        } => {
            assert_eq!(report.result, Some(Stored::Bytes(b"done".to_vec())));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn pending_tickets_are_capped_for_each_subject() {
    let fixture = Fixture::memory().await;
    let config = Config {
        max_pending_per_subject: 2,
        ..Config::default()
    };
    let confirm = Confirm::new(fixture.state.ledger().clone(), config).unwrap();
    let first = issue(&confirm).await;
    let plain = confirm.reserve(&binding(), ARGUMENTS, None).await.unwrap();
    assert!(!plain.reused, "what waits under a key is another call");
    let refused = confirm
        .reserve(&binding(), ARGUMENTS, Some(&key("third")))
        .await
        .unwrap_err();
    assert!(matches!(refused, Refusal::TooManyPending { limit: 2 }));
    let attached = confirm.reserve(&binding(), ARGUMENTS, None).await.unwrap();
    assert!(
        attached.reused && attached.operation_id == plain.operation_id,
        "who attaches adds nothing to what waits"
    );
    let bob = Binding {
        subject: "bob".to_owned(),
        ..binding()
    };
    assert!(confirm.reserve(&bob, ARGUMENTS, None).await.is_ok());
    confirm
        .decline(&first.operation_id, "acme", "alice", "too dear")
        .await
        .unwrap();
    let freed = confirm
        .reserve(&binding(), ARGUMENTS, Some(&key("third")))
        .await;
    assert!(freed.is_ok_and(|issued| !issued.reused));
}

#[tokio::test]
async fn the_same_call_attaches_to_the_one_that_waits_and_acts_once() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let reserve = async |binding: &Binding| confirm.reserve(binding, ARGUMENTS, None).await;
    let same = binding();
    let first = reserve(&same).await.unwrap();
    let again = reserve(&same).await.unwrap();
    assert!(!first.reused && again.reused);
    assert_eq!(again.operation_id, first.operation_id);
    assert_eq!(again.action_token.expose(), first.action_token.expose());
    assert_eq!(
        again.expires_at, first.expires_at,
        "who asks again gets no more time"
    );
    // Whoever differs in anything has a call of its own.
    let others = [
        Binding {
            tenant: "globex".to_owned(),
            ..same.clone()
        },
        Binding {
            subject: "bob".to_owned(),
            ..same.clone()
        },
        Binding {
            client: None,
            ..same.clone()
        },
        Binding {
            tool_id: ToolId::parse("ads:delete").unwrap(),
            ..same.clone()
        },
        Binding {
            args_digest: [9; 32],
            ..same.clone()
        },
    ];
    for other in others {
        let issued = reserve(&other).await.unwrap();
        assert!(!issued.reused, "{other:?}");
    }
    // A key says that it is another call, though everything else is the same.
    let keyed = confirm
        .reserve(&same, ARGUMENTS, Some(&key("another")))
        .await
        .unwrap();
    assert_ne!(keyed.operation_id, first.operation_id);
    let again = reserve(&same).await.unwrap();
    assert_eq!(
        again.operation_id, first.operation_id,
        "though the other one is newer"
    );
    confirm
        .decline(&keyed.operation_id, "acme", "alice", "no")
        .await
        .unwrap();
    let mut rivals = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (confirm, token) = (confirm.clone(), again.action_token.clone());
        rivals.spawn(async move {
            let redeemed = confirm.redeem(token.expose(), &with(&binding())).await;
            redeemed.ok()
        });
    }
    let tickets: Vec<_> = rivals.join_all().await.into_iter().flatten().collect();
    assert_eq!(tickets.len(), 1, "one effect, whoever confirms");
    let next = reserve(&same).await.unwrap();
    assert_ne!(
        next.operation_id, first.operation_id,
        "what is at work waits for nobody"
    );
}

#[tokio::test]
async fn a_call_that_changed_takes_the_place_of_the_one_that_waits() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let same = binding();
    for changed in [
        Binding {
            definition_hash: [9; 32],
            ..same.clone()
        },
        Binding {
            obligations: "confirm:person".to_owned(),
            ..same.clone()
        },
    ] {
        let first = confirm.reserve(&same, ARGUMENTS, None).await.unwrap();
        let next = confirm.reserve(&changed, ARGUMENTS, None).await.unwrap();
        assert!(!next.reused && next.operation_id != first.operation_id);
        assert_eq!(
            fixture.status("acme", &first.operation_id).await,
            Status::Cancelled
        );
        confirm
            .decline(&next.operation_id, "acme", "alice", "no")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn of_many_calls_at_once_one_waits() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(KeyRing::ephemeral().unwrap());
    let location = Location::File(folder.path().join("state.db"));
    let pair = [
        Fixture::replica(location.clone(), Arc::clone(&keys), "one").await,
        Fixture::replica(location, keys, "two").await,
    ];
    let mut rivals = tokio::task::JoinSet::new();
    for rival in 0..40 {
        let confirm = room(&pair[rival % 2]);
        rivals.spawn(async move {
            let issued = confirm.reserve(&binding(), ARGUMENTS, None).await.unwrap();
            (issued.operation_id, issued.action_token.expose().to_owned())
        });
    }
    let mut issued = rivals.join_all().await;
    issued.sort();
    issued.dedup();
    assert_eq!(issued.len(), 1, "one operation with one token");
}

#[tokio::test]
async fn what_recovery_doubts_is_told_once_and_says_what_to_do() {
    let fixture = Fixture::memory().await;
    let (confirm, ledger) = (room(&fixture), fixture.state.ledger());
    let issued = issue(&confirm).await;
    let id = &issued.operation_id;
    let ticket = confirm
        .redeem(issued.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    drop(ticket.intend(LEASE).await.unwrap());
    fixture.pass(10_000);
    // Whoever looks sees it, and takes nothing from the sweep.
    let report = ledger.report("acme", id).await.unwrap().unwrap();
    assert_eq!(report.status, Status::Unknown);
    assert!(report.detail.unwrap().contains("settle"));
    assert_eq!(fixture.status("acme", id).await, Status::Intended);
    let swept = ledger.sweep(100).await.unwrap().recovered;
    assert_eq!(swept.unknown, std::slice::from_ref(id));
    assert_eq!(fixture.status("acme", id).await, Status::Unknown);
    let swept = ledger.sweep(100).await.unwrap().recovered;
    assert!(swept.unknown.is_empty());
}

#[tokio::test]
async fn a_person_consents_and_another_person_where_four_eyes_are_wanted() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let presented = binding();
    let demands = |consent| Redemption {
        consent,
        ..with(&presented)
    };
    let approval = |approver, consent| Approval {
        tenant: "acme",
        approver,
        consent,
    };
    let issued = issue(&confirm).await;
    let token = issued.action_token.expose();
    for consent in [Consent::Person, Consent::OtherPerson] {
        let refused = confirm.redeem(token, &demands(consent)).await.unwrap_err();
        assert!(
            matches!(refused, Refusal::AwaitsApproval { .. }),
            "{refused:?}"
        );
    }
    let refused = confirm
        .redeem_approved(&issued.operation_id, &with(&presented))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Refusal::AwaitsApproval { .. }),
        "no token, no approval"
    );
    let alone = confirm
        .approve(
            &issued.operation_id,
            &approval("alice", Consent::OtherPerson),
        )
        .await;
    assert!(matches!(alone, Err(Refusal::SelfApproval)));
    let foreign = Approval {
        tenant: "globex",
        ..approval("carol", Consent::OtherPerson)
    };
    assert!(matches!(
        confirm.approve(&issued.operation_id, &foreign).await,
        Err(Refusal::Unknown)
    ));
    let report = confirm
        .approve(
            &issued.operation_id,
            &approval("carol", Consent::OtherPerson),
        )
        .await
        .unwrap();
    assert_eq!(
        (report.status, report.confirmed_by.as_deref()),
        (Status::Confirmed, Some("carol"))
    );
    let stranger = Binding {
        subject: "bob".to_owned(),
        ..binding()
    };
    let refused = confirm
        .redeem_approved(&issued.operation_id, &with(&stranger))
        .await
        .unwrap_err();
    assert!(matches!(refused, Refusal::OtherCaller));
    assert!(
        confirm
            .redeem_approved(&issued.operation_id, &demands(Consent::OtherPerson))
            .await
            .is_ok()
    );

    let own = issue(&confirm).await;
    confirm
        .approve(&own.operation_id, &approval("alice", Consent::Person))
        .await
        .unwrap();
    let refused = confirm
        .redeem(own.action_token.expose(), &demands(Consent::OtherPerson))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Refusal::AwaitsApproval { .. }),
        "her own consent is not another person's"
    );
    assert!(
        confirm
            .redeem(own.action_token.expose(), &demands(Consent::Person))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_refusal_of_consent_is_final() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let named = key("call-1");
    let issued = confirm
        .reserve(&binding(), ARGUMENTS, Some(&named))
        .await
        .unwrap();
    let foreign = confirm
        .decline(&issued.operation_id, "globex", "mallory", "")
        .await;
    assert!(matches!(foreign, Err(Refusal::Unknown)));
    let report = confirm
        .decline(&issued.operation_id, "acme", "carol", "not this week")
        .await
        .unwrap();
    assert_eq!(
        report.detail.as_deref(),
        Some("declined by carol: not this week")
    );
    for refused in [
        confirm
            .redeem(issued.action_token.expose(), &with(&binding()))
            .await
            .unwrap_err(),
        confirm
            .reserve(&binding(), ARGUMENTS, Some(&named))
            .await
            .unwrap_err(),
        confirm
            .decline(&issued.operation_id, "acme", "carol", "")
            .await
            .unwrap_err(),
    ] {
        assert!(
            matches!(&refused, Refusal::Used { report, .. } if report.status == Status::Declined),
            "{refused:?}"
        );
    }
    let late = issue(&confirm).await;
    fixture.pass(300_000);
    let refused = confirm
        .decline(&late.operation_id, "acme", "carol", "")
        .await
        .unwrap_err();
    assert!(matches!(refused, Refusal::Expired { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_withdrawn_claim_cannot_act() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let issued = issue(&confirm).await;
    let ticket = confirm
        .redeem(issued.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    confirm
        .cancel(&issued.operation_id, "acme", "the session ended")
        .await
        .unwrap();
    let lost = ticket.intend(LEASE).await.unwrap_err();
    assert!(
        matches!(
            lost,
            Lost::Taken {
                source: Refused::Status(Status::Cancelled),
                ..
            }
        ),
        "{lost:?}"
    );

    let issued = issue(&confirm).await;
    let ticket = confirm
        .redeem(issued.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    let acting = ticket.intend(LEASE).await.unwrap();
    assert!(
        confirm
            .cancel(&issued.operation_id, "acme", "too late")
            .await
            .is_err()
    );
    acting.complete(b"").await.unwrap();
}

#[tokio::test]
async fn recovery_gives_claims_back_and_doubts_intents() {
    let fixture = Fixture::memory().await;
    let (confirm, ledger) = (room(&fixture), fixture.state.ledger());
    let (claimed, intended) = (issue(&confirm).await, issue(&confirm).await);
    let presented = binding();
    let stale = confirm
        .redeem(claimed.action_token.expose(), &with(&presented))
        .await
        .unwrap();
    let ticket = confirm
        .redeem(intended.action_token.expose(), &with(&presented))
        .await
        .unwrap();
    let acting = ticket.intend(LEASE).await.unwrap();
    assert_eq!(
        ledger.sweep(100).await.unwrap().recovered,
        Default::default(),
        "leases hold"
    );
    fixture.pass(30_000);
    let swept = ledger.sweep(100).await.unwrap().recovered;
    assert_eq!((swept.released, swept.unknown.len()), (1, 1));

    let again = confirm
        .redeem(claimed.action_token.expose(), &with(&presented))
        .await
        .unwrap();
    assert_eq!(again.fence(), 2);
    let lost = stale.intend(LEASE).await.unwrap_err();
    assert!(
        matches!(
            lost,
            Lost::Taken {
                source: Refused::Fenced,
                ..
            }
        ),
        "{lost:?}"
    );
    let acting_again = again.intend(LEASE).await.unwrap();
    acting_again
        .fail(Effect::Definite, "no such campaign")
        .await
        .unwrap();

    let refused = confirm
        .redeem(intended.action_token.expose(), &with(&presented))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, Refusal::Used { report, .. } if report.status == Status::Unknown),
        "{refused:?}"
    );
    // The one that acted comes back after all.
    acting.complete(b"late but done").await.unwrap();
    assert_eq!(
        fixture.status("acme", &intended.operation_id).await,
        Status::Completed
    );
}

#[tokio::test]
async fn nobody_waits_for_the_sweep() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let issued = issue(&confirm).await;
    let dropped = confirm
        .redeem(issued.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    drop(dropped);
    assert!(
        confirm
            .redeem(issued.action_token.expose(), &with(&binding()))
            .await
            .is_err()
    );
    fixture.pass(30_000);
    assert_eq!(
        confirm
            .redeem(issued.action_token.expose(), &with(&binding()))
            .await
            .unwrap()
            .fence(),
        2
    );
}

#[tokio::test]
async fn a_person_settles_what_is_unknown_and_nothing_else() {
    let fixture = Fixture::memory().await;
    let (confirm, ledger) = (room(&fixture), fixture.state.ledger());
    let issued = issue(&confirm).await;
    let id = &issued.operation_id;
    let refused = ledger
        .settle(id, Settlement::Completed, "")
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("operation `{id}` cannot be settled")
    );
    let ticket = confirm
        .redeem(issued.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    ticket
        .intend(LEASE)
        .await
        .unwrap()
        .unknown("connection reset")
        .await
        .unwrap();
    let listed = ledger
        .list(Filter {
            status: Some(Status::Unknown),
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].detail.as_deref(), Some("connection reset"));
    assert_eq!(
        ledger.recent(&binding()).await.unwrap().unwrap().status,
        Status::Unknown
    );
    let report = ledger
        .settle(id, Settlement::Failed, "asked the provider: no campaign")
        .await
        .unwrap();
    assert_eq!(
        (report.status, report.effect),
        (Status::Failed, Some(Effect::Definite))
    );
    assert_eq!(
        report.detail.as_deref(),
        Some("asked the provider: no campaign")
    );
    assert!(
        ledger.settle(id, Settlement::Completed, "").await.is_err(),
        "settled once"
    );
    assert_eq!(ledger.recent(&binding()).await.unwrap(), None);
}

#[tokio::test]
async fn a_repetition_without_a_ticket_is_recognised_for_ten_minutes() {
    let fixture = Fixture::memory().await;
    let (confirm, ledger) = (room(&fixture), fixture.state.ledger());
    let issued = confirm.reserve(&binding(), ARGUMENTS, None).await.unwrap();
    assert_eq!(
        ledger
            .recent(&binding())
            .await
            .unwrap()
            .unwrap()
            .operation_id,
        issued.operation_id
    );
    let ticket = confirm
        .redeem(issued.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    ticket
        .intend(LEASE)
        .await
        .unwrap()
        .complete(b"done")
        .await
        .unwrap();
    fixture.pass(600_000);
    let report = ledger.recent(&binding()).await.unwrap().unwrap();
    assert_eq!(
        (report.status, report.updated_at),
        (Status::Completed, START)
    );
    assert_eq!(report.result, Some(Stored::Bytes(b"done".to_vec())));
    fixture.pass(1);
    assert_eq!(ledger.recent(&binding()).await.unwrap(), None);
}

#[tokio::test]
async fn whoever_attaches_gets_the_outcome() {
    let fixture = Fixture::memory().await;
    let (confirm, ledger) = (room(&fixture), fixture.state.ledger());
    let issued = issue(&confirm).await;
    let ticket = confirm
        .redeem(issued.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    let id = &issued.operation_id;
    let at_once = ledger
        .attach("acme", id, Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(at_once.status, Status::Claimed);
    let work = async {
        ticket
            .intend(LEASE)
            .await
            .unwrap()
            .complete(b"done")
            .await
            .unwrap()
    };
    let (attached, ()) =
        futures_util::future::join(ledger.attach("acme", id, Duration::from_secs(60)), work).await;
    assert_eq!(
        attached.unwrap().unwrap().result,
        Some(Stored::Bytes(b"done".to_vec()))
    );
    assert_eq!(
        ledger.attach("globex", id, Duration::ZERO).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn large_results_are_noted_and_not_kept() {
    let fixture = Fixture::memory().await;
    let (confirm, ledger) = (room(&fixture), fixture.state.ledger());
    for (size, kept) in [
        (1024 * 1024 - 33, true),
        (1024 * 1024 - 32, false),
        (3 * 1024 * 1024, false),
    ] {
        let issued = issue(&confirm).await;
        let ticket = confirm
            .redeem(issued.action_token.expose(), &with(&binding()))
            .await
            .unwrap();
        let acting = ticket.intend(LEASE).await.unwrap();
        acting.complete(&vec![b'x'; size]).await.unwrap();
        let report = ledger
            .report("acme", &issued.operation_id)
            .await
            .unwrap()
            .unwrap();
        match report.result.unwrap() {
            Stored::Bytes(bytes) => assert!(kept && bytes.len() == size),
            Stored::TooLarge { bytes } => assert!(!kept && bytes == size as u64),
        }
    }
    let refused = confirm
        .reserve(&binding(), &vec![b' '; MAX_ARGUMENT_BYTES + 1], None)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`arguments` takes at most 1048576 bytes"
    );
    let long = Binding {
        subject: "s".repeat(1_025),
        ..binding()
    };
    let refused = confirm.reserve(&long, b"{}", None).await.unwrap_err();
    assert_eq!(refused.to_string(), "`subject` takes at most 1024 bytes");
}

#[tokio::test]
async fn a_restart_forgets_nothing_and_the_file_tells_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let keys = Arc::new(KeyRing::ephemeral().unwrap());
    let fixture = Fixture::open(Location::File(path.clone()), keys).await;
    let confirm = room(&fixture);
    let open = confirm
        .reserve(&binding(), ARGUMENTS, Some(&key("call-1")))
        .await
        .unwrap();
    let done = issue(&confirm).await;
    let failed = issue(&confirm).await;
    let ticket = confirm
        .redeem(done.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    ticket
        .intend(LEASE)
        .await
        .unwrap()
        .complete(b"result-canary")
        .await
        .unwrap();
    let ticket = confirm
        .redeem(failed.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    ticket
        .intend(LEASE)
        .await
        .unwrap()
        .fail(Effect::Definite, "reason-canary")
        .await
        .unwrap();

    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    fixture.state.close().await;
    bytes.extend(std::fs::read(&path).unwrap());
    let contains = |needle: &str| {
        bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    assert!(
        contains("alice") && contains(open.operation_id.as_str()),
        "the search finds what is there"
    );
    let token = open.action_token.expose();
    for secret in [
        "4711-canary",
        "result-canary",
        "reason-canary",
        token,
        done.action_token.expose(),
    ] {
        assert!(!contains(secret), "{secret} lies open in the file");
    }

    let Fixture { keys, .. } = fixture;
    let fixture = Fixture::open(Location::File(path.clone()), keys).await;
    let confirm = room(&fixture);
    let again = confirm
        .reserve(&binding(), ARGUMENTS, Some(&key("call-1")))
        .await
        .unwrap();
    assert!(again.reused && again.action_token.expose() == token);
    let ticket = confirm.redeem(token, &with(&binding())).await.unwrap();
    assert_eq!(ticket.operation_id(), &open.operation_id);
    let report = fixture
        .state
        .ledger()
        .report("acme", &done.operation_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        report.result,
        Some(Stored::Bytes(b"result-canary".to_vec()))
    );
    let report = fixture
        .state
        .ledger()
        .report("acme", &failed.operation_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.detail.as_deref(), Some("reason-canary"));
    fixture.state.ready().await.unwrap();
    fixture.state.close().await;

    // Without its keys the file answers nothing that was sealed.
    let stranger = Fixture::open(
        Location::File(path),
        Arc::new(KeyRing::ephemeral().unwrap()),
    )
    .await;
    let sealed = stranger
        .state
        .ledger()
        .report("acme", &done.operation_id)
        .await;
    assert!(
        matches!(sealed, Err(StateError::KeyMissing(_))),
        "{sealed:?}"
    );
    stranger.state.close().await;
    assert!(matches!(
        stranger.state.ready().await,
        Err(StateError::Closed)
    ));
}

#[tokio::test]
async fn a_sealed_value_opens_in_its_own_row_and_column_only() {
    let fixture = Fixture::memory().await;
    let (confirm, ledger) = (room(&fixture), fixture.state.ledger());
    let (one, other) = (issue(&confirm).await, issue(&confirm).await);
    let row = ledger.row(&one.operation_id).await.unwrap().unwrap();
    let sealed = row.args_sealed.unwrap();
    assert_eq!(
        ledger
            .open(&one.operation_id, Field::Arguments, &sealed)
            .unwrap(),
        ARGUMENTS
    );
    assert!(
        ledger
            .open(&other.operation_id, Field::Arguments, &sealed)
            .is_err()
    );
    assert!(
        ledger
            .open(&one.operation_id, Field::Result, &sealed)
            .is_err()
    );
    assert_ne!(
        row.token_hash.unwrap().as_slice(),
        one.action_token.expose().as_bytes()
    );
}

#[tokio::test]
async fn tokens_differ_and_settings_are_checked() {
    let fixture = Fixture::memory().await;
    let confirm = room(&fixture);
    let mut tokens = HashSet::new();
    for _ in 0..50 {
        tokens.insert(issue(&confirm).await.action_token.expose().to_owned());
    }
    assert_eq!(tokens.len(), 50);
    let ledger = fixture.state.ledger();
    let config = Config {
        ttl: Duration::from_millis(999),
        ..Config::default()
    };
    let refused = Confirm::new(ledger.clone(), config).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`CONFIRM_TTL_SEC` takes 1 to 604800 seconds"
    );
    let config = Config {
        max_pending_per_subject: 0,
        ..Config::default()
    };
    assert!(Confirm::new(ledger.clone(), config).is_err());
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(KeyRing::ephemeral().unwrap());
    let location = Location::File(folder.path().join("state.db"));
    let fixture = Fixture::open(location, Arc::clone(&keys)).await;
    let confirm = room(&fixture);
    let issued = issue(&confirm).await;
    let ticket = confirm
        .redeem(issued.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    let acting = ticket.intend(LEASE).await.unwrap();

    // What the disk holds at this moment, without any closing.
    let crashed = tempfile::tempdir().unwrap();
    for name in ["state.db", "state.db-wal"] {
        std::fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    let location = Location::File(crashed.path().join("state.db"));
    let after_crash = Fixture::open(location, keys).await;
    assert_eq!(
        after_crash.status("acme", &issued.operation_id).await,
        Status::Intended
    );
    after_crash.pass(10_000);
    let swept = after_crash.state.ledger().sweep(100).await.unwrap();
    assert_eq!(
        swept.recovered.unknown.len(),
        1,
        "nobody knows whether it happened"
    );
    after_crash.state.close().await;
    acting.complete(b"done").await.unwrap();
    fixture.state.close().await;
}

#[tokio::test]
async fn two_processes_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(KeyRing::ephemeral().unwrap());
    let location = Location::File(folder.path().join("state.db"));
    let (server, command) = futures_util::future::join(
        Fixture::open(location.clone(), Arc::clone(&keys)),
        Fixture::open(location, keys),
    )
    .await;
    let confirm = room(&server);
    let issued = issue(&confirm).await;
    let ticket = confirm
        .redeem(issued.action_token.expose(), &with(&binding()))
        .await
        .unwrap();
    ticket
        .intend(LEASE)
        .await
        .unwrap()
        .unknown("reset")
        .await
        .unwrap();
    let settled = command
        .state
        .ledger()
        .settle(&issued.operation_id, Settlement::Completed, "it is there")
        .await;
    assert_eq!(settled.unwrap().status, Status::Completed);
    assert_eq!(
        server.status("acme", &issued.operation_id).await,
        Status::Completed
    );
    command.state.close().await;
    issue(&confirm).await;
    server.state.close().await;
}
