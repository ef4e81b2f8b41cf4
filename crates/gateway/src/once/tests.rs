use std::sync::Arc;

use fastmcp::seal::KeyRing;
use futures_util::{future::join_all, poll};

use super::*;
use crate::{
    confirm::{Config, Confirm, Consent, Redemption},
    state::{
        Location,
        contract_tests::{Fixture, binding, key},
        ledger::End,
        machine::{Claim, Effect, Settlement},
        operation::Stored,
        ticket::Acting,
    },
};

const LEASE: Duration = Duration::from_secs(10);

async fn run(once: &Once) -> Ticket {
    match once.begin(&binding(), &key("k")).await.unwrap() {
        Begin::Run(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

async fn acting(once: &Once) -> Acting {
    run(once).await.intend(LEASE).await.unwrap()
}

#[tokio::test]
async fn what_is_done_is_replayed() {
    let fixture = Fixture::memory().await;
    let once = Once::new(fixture.state.ledger().clone());
    let acting = acting(&once).await;
    let id = acting.operation_id().clone();
    match once.begin(&binding(), &key("k")).await.unwrap() {
        Begin::InProgress {
            operation_id,
            retry_after,
        } => {
            assert_eq!(
                (operation_id, retry_after),
                (id.clone(), Duration::from_millis(1_250))
            );
        }
        other => panic!("{other:?}"),
    }
    acting.complete(b"done").await.unwrap();
    match once.begin(&binding(), &key("k")).await.unwrap() {
        Begin::Replay(report) => {
            assert_eq!(
                (report.operation_id, report.result),
                (id, Some(Stored::Bytes(b"done".to_vec())))
            );
        }
        other => panic!("{other:?}"),
    }
}

/// A disk that is full, or a file that cannot be written any more.
#[tokio::test]
async fn what_was_done_is_told_where_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.db");
    let keys = Arc::new(KeyRing::ephemeral().unwrap());
    let fixture = Fixture::open(Location::File(file.clone()), keys).await;
    let once = Once::new(fixture.state.ledger().clone());
    acting(&once).await.complete(b"done").await.unwrap();
    let other = rusqlite::Connection::open(&file).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON operations BEGIN SELECT RAISE(ABORT, 'full'); END",
        )
        .unwrap();
    assert!(matches!(
        once.begin(&binding(), &key("k")).await.unwrap(),
        Begin::Replay(_)
    ));
    let refused = once.begin(&binding(), &key("new")).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_key_belongs_to_one_call_of_one_subject() {
    let fixture = Fixture::memory().await;
    let once = Once::new(fixture.state.ledger().clone());
    acting(&once)
        .await
        .complete(b"secret of alice")
        .await
        .unwrap();
    let changed = Binding {
        args_digest: [3; 32],
        ..binding()
    };
    assert!(matches!(
        once.begin(&changed, &key("k")).await.unwrap(),
        Begin::Conflict { .. }
    ));
    for other in [
        Binding {
            tenant: "globex".to_owned(),
            ..binding()
        },
        Binding {
            subject: "bob".to_owned(),
            ..binding()
        },
        Binding {
            tool_id: crate::manifest::ToolId::parse("ads:delete").unwrap(),
            ..binding()
        },
    ] {
        assert!(
            matches!(once.begin(&other, &key("k")).await.unwrap(), Begin::Run(_)),
            "{other:?}"
        );
    }
    assert!(matches!(
        once.begin(&binding(), &key("other")).await.unwrap(),
        Begin::Run(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_calls_at_once_one_runs() {
    let fixture = Fixture::memory().await;
    let once = Once::new(fixture.state.ledger().clone());
    let (call, named) = (binding(), key("k"));
    let outcomes = join_all((0..100).map(|_| once.begin(&call, &named))).await;
    let mut running = 0;
    for outcome in outcomes {
        match outcome.unwrap() {
            Begin::Run(_) => running += 1,
            Begin::InProgress { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(running, 1);
}

#[tokio::test]
async fn only_what_had_no_effect_runs_again() {
    let fixture = Fixture::memory().await;
    let once = Once::new(fixture.state.ledger().clone());
    let first = acting(&once).await;
    let id = first.operation_id().clone();
    first
        .fail(Effect::None, "connection refused")
        .await
        .unwrap();
    let second = run(&once).await;
    assert_ne!(second.operation_id(), &id, "the failed one stays on record");
    second.fail("no credential to be had").await.unwrap();
    acting(&once)
        .await
        .fail(Effect::Definite, "no such campaign")
        .await
        .unwrap();
    match once.begin(&binding(), &key("k")).await.unwrap() {
        Begin::Failed(report) => {
            assert_eq!(report.effect, Some(Effect::Definite));
            assert_eq!(report.detail.as_deref(), Some("no such campaign"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_given_back_is_claimed_again() {
    let fixture = Fixture::memory().await;
    let once = Once::new(fixture.state.ledger().clone());
    let first = run(&once).await;
    let id = first.operation_id().clone();
    first.release().await.unwrap();
    let second = run(&once).await;
    assert_eq!((second.operation_id(), second.fence()), (&id, 2));
    drop(second);
    fixture.pass(30_000);
    let third = run(&once).await;
    assert_eq!(
        (third.operation_id(), third.fence()),
        (&id, 3),
        "a crash before the intent"
    );
    third.release().await.unwrap();

    let redefined = Binding {
        definition_hash: [9; 32],
        ..binding()
    };
    match once.begin(&redefined, &key("k")).await.unwrap() {
        Begin::Run(ticket) => {
            assert_ne!(ticket.operation_id(), &id, "today's tool, a new operation")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_crash_after_the_intent_is_never_repeated() {
    let fixture = Fixture::memory().await;
    let ledger = fixture.state.ledger();
    let once = Once::new(ledger.clone());
    let lost = acting(&once).await;
    let id = lost.operation_id().clone();
    drop(lost);
    fixture.pass(10_000);
    assert!(
        matches!(once.begin(&binding(), &key("k")).await.unwrap(), Begin::Unknown { operation_id } if operation_id == id)
    );
    // Not even after the key's time: what is unknown stays until settled.
    fixture.pass(10 * 86_400_000);
    ledger.sweep(100).await.unwrap();
    assert!(matches!(
        once.begin(&binding(), &key("k")).await.unwrap(),
        Begin::Unknown { .. }
    ));
    ledger
        .settle(&id, Settlement::Completed, "it is there")
        .await
        .unwrap();
    match once.begin(&binding(), &key("k")).await.unwrap() {
        Begin::Replay(report) => assert_eq!(
            (report.result, report.detail.as_deref()),
            (None, Some("it is there"))
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_is_honoured_for_its_time() {
    let fixture = Fixture::memory().await;
    let once = Once::new(fixture.state.ledger().clone());
    acting(&once).await.complete(b"done").await.unwrap();
    fixture.pass(86_399_999);
    assert!(matches!(
        once.begin(&binding(), &key("k")).await.unwrap(),
        Begin::Replay(_)
    ));
    fixture.pass(1);
    let swept = fixture.state.ledger().sweep(100).await.unwrap();
    assert_eq!(swept.purged, 1);
    assert!(matches!(
        once.begin(&binding(), &key("k")).await.unwrap(),
        Begin::Run(_)
    ));
}

#[tokio::test]
async fn confirmations_and_calls_share_their_keys() {
    let fixture = Fixture::memory().await;
    let ledger = fixture.state.ledger();
    let once = Once::new(ledger.clone());
    let confirm = Confirm::new(ledger.clone(), Config::default()).unwrap();
    let (call, named) = (binding(), key("k"));
    let issued = confirm.reserve(&call, b"{}", Some(&named)).await.unwrap();
    assert!(matches!(
        once.begin(&call, &named).await.unwrap(),
        Begin::AwaitsConfirmation { .. }
    ));
    let redemption = Redemption {
        presented: &call,
        idempotency_key: None,
        consent: Consent::Client,
    };
    let ticket = confirm
        .redeem(issued.action_token.expose(), &redemption)
        .await
        .unwrap();
    assert!(matches!(
        once.begin(&call, &named).await.unwrap(),
        Begin::InProgress { .. }
    ));
    ticket
        .intend(LEASE)
        .await
        .unwrap()
        .complete(b"done")
        .await
        .unwrap();
    assert!(matches!(
        once.begin(&call, &named).await.unwrap(),
        Begin::Replay(_)
    ));

    // The other way round: a call that was given back and now needs consent.
    let named = key("k2");
    match once.begin(&call, &named).await.unwrap() {
        Begin::Run(ticket) => ticket.release().await.unwrap(),
        other => panic!("{other:?}"),
    }
    assert!(
        !confirm
            .reserve(&call, b"{}", Some(&named))
            .await
            .unwrap()
            .reused
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_attaches_to_the_call_that_runs() {
    let fixture = Fixture::memory().await;
    let (call, named) = (binding(), key("waits"));
    let ledger = fixture.state.ledger();
    let once = Once::new(ledger.clone());
    let acting = run(&once).await.intend(LEASE).await.unwrap();
    let named_first = key("k");
    let before = fixture.state.load().changes;
    let duplicate = async {
        let Begin::InProgress { operation_id, .. } = once.begin(&call, &named_first).await.unwrap()
        else {
            panic!("it runs");
        };
        let minute = Duration::from_secs(60);
        ledger
            .attach(&call.tenant, &operation_id, minute)
            .await
            .unwrap();
        once.begin(&call, &named_first).await
    };
    let (second, ()) = futures_util::future::join(duplicate, async {
        // The duplicate has asked and knows by now that somebody is at work.
        while fixture.state.load().changes == before {
            tokio::task::yield_now().await;
        }
        acting.complete(b"done").await.unwrap();
    })
    .await;
    match second.unwrap() {
        Begin::Replay(report) => assert_eq!(report.result.unwrap().bytes(), Some(&b"done"[..])),
        other => panic!("{other:?}"),
    }
    // Its patience has an end, and then it is told to come back.
    let Begin::Run(held) = once.begin(&call, &named).await.unwrap() else {
        panic!("the key is new");
    };
    let asked = tokio::time::Instant::now();
    let patience = Duration::from_millis(30);
    let told = ledger
        .attach(&call.tenant, held.operation_id(), patience)
        .await;
    assert!(told.unwrap().unwrap().status.is_running());
    assert!(asked.elapsed() >= Duration::from_millis(30));
}

/// What is recorded and not told was not done, and so must not become what nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_told_that_it_may_act_can_be_called_again() {
    let fixture = Fixture::memory().await;
    let ledger = fixture.state.ledger();
    let once = Once::new(ledger.clone());
    let mut left = None;
    for attempt in 0.. {
        let named = key(&format!("left-{attempt}"));
        let Begin::Run(ticket) = once.begin(&binding(), &named).await.unwrap() else {
            panic!("the key is new");
        };
        let id = ticket.operation_id().clone();
        let mut intending = Box::pin(ticket.intend(LEASE));
        // The state may be faster.
        if poll!(&mut intending).is_pending() {
            left = Some((named, id));
            break;
        }
    }
    let (named, id) = left.unwrap();
    while fixture.status("acme", &id).await == Status::Claimed {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.status("acme", &id).await, Status::Intended);
    ledger.record_owed().await;
    fixture.pass(60_000);
    let swept = ledger.sweep(10).await.unwrap();
    assert!(!swept.recovered.unknown.contains(&id), "{swept:?}");
    let report = ledger.report("acme", &id).await.unwrap().unwrap();
    assert_eq!(
        (report.status, report.effect),
        (Status::Failed, Some(Effect::None))
    );
    let again = once.begin(&binding(), &named).await.unwrap();
    assert!(matches!(again, Begin::Run(_)), "{again:?}");
}

#[tokio::test]
async fn a_claim_whose_intent_is_not_recorded_is_given_back_and_only_that() {
    let fixture = Fixture::memory().await;
    let ledger = fixture.state.ledger();
    let once = Once::new(ledger.clone());
    let ticket = run(&once).await;
    let id = ticket.operation_id().clone();
    let claim = Claim {
        owner: ledger.owner(),
        fence: ticket.fence(),
    };
    let not_told = || drop(ledger.owing(End::not_told("acme", &id, &claim)));
    not_told();
    ledger.record_owed().await;
    assert_eq!(fixture.status("acme", &id).await, Status::Confirmed);

    let again = run(&once).await;
    assert_eq!(again.operation_id(), &id);
    not_told();
    ledger.record_owed().await;
    assert_eq!(fixture.status("acme", &id).await, Status::Claimed);
    let acting = again.intend(LEASE).await.unwrap();
    not_told();
    ledger.record_owed().await;
    acting.complete(b"done").await.unwrap();
    not_told();
    ledger.record_owed().await;
    assert_eq!(fixture.status("acme", &id).await, Status::Completed);
}
