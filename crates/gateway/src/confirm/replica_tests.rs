//! Two replicas over one state, under every order of events that proptest thinks of.
//!
//! One caller asks for one call, under one key, of either replica, and redeems whatever tickets it was ever given. The
//! replicas act, give up, crash, come back late, sweep, and their clocks differ by more and more; policy is reloaded to
//! other obligations and back; people refuse and settle. Whatever happens: of everything that was ever asked for under
//! the key at most one happens, never under obligations that it was not asked under, and whoever asks again is told its
//! recorded result.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};

use super::*;
use crate::state::{
    contract_tests::{Fixture, binding, key},
    machine::{Effect, Settlement},
    operation::Stored,
    ticket::Acting,
};

const TTL: u64 = 1_000;
const LEASE: u64 = 30_000;
const RESULT: &[u8] = br#"{"campaign":"c-7"}"#;

#[derive(Clone, Debug)]
enum Move {
    /// The caller asks, or repeats that it asks.
    Ask,
    /// It presents the ticket that it was given this many tickets ago, perhaps under a key of its own.
    Redeem {
        ago: usize,
        keyed: bool,
    },
    /// What the replica does with what it holds.
    Release,
    Fail,
    Intend,
    Complete,
    FailActing(Effect),
    Doubt,
    Crash,
    Sweep,
    /// Nothing happens at both for a while.
    Pass(u64),
    /// The clock of this replica runs ahead.
    Skew(u64),
    /// Policy demands something else, or the same as before.
    Reload(bool),
    Decline,
    Settle(Settlement),
}

fn moves() -> impl Strategy<Value = Vec<(usize, Move)>> {
    let effect = || select(vec![Effect::None, Effect::Definite]);
    let settlement = select(vec![Settlement::Completed, Settlement::Failed]);
    let one = prop_oneof![
        6 => Just(Move::Ask),
        8 => (0..3_usize, any::<bool>()).prop_map(|(ago, keyed)| Move::Redeem { ago, keyed }),
        1 => Just(Move::Release),
        1 => Just(Move::Fail),
        8 => Just(Move::Intend),
        4 => Just(Move::Complete),
        2 => effect().prop_map(Move::FailActing),
        1 => Just(Move::Doubt),
        3 => Just(Move::Crash),
        3 => Just(Move::Sweep),
        3 => select(vec![1, TTL / 2, TTL, LEASE]).prop_map(Move::Pass),
        2 => select(vec![TTL / 2, TTL, LEASE]).prop_map(Move::Skew),
        2 => any::<bool>().prop_map(Move::Reload),
        1 => Just(Move::Decline),
        1 => settlement.prop_map(Move::Settle),
    ];
    vec((0..2_usize, one), 1..50)
}

/// What a replica has in memory, which a crash takes from it.
#[derive(Debug, Default)]
struct Hands {
    ticket: Option<Ticket>,
    acting: Option<Acting>,
}

/// What is true, by what was answered.
#[derive(Debug, Default)]
struct Truth {
    /// Every ticket that was handed out, with the obligations under which it was asked for.
    issued: Vec<(Issued, bool)>,
    /// Effects that happened, or may have.
    effects: i32,
    /// Whether a person's word stands in the place of a result.
    is_settled: bool,
    strict: bool,
}

/// Plays `cases` random stories on two replicas that share their state.
pub(crate) fn replicas(runtime: &tokio::runtime::Runtime, pair: &[Fixture; 2], cases: u32) {
    // Each story has a caller of its own.
    let story = AtomicU64::new(0);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&moves(), |moves| {
            let subject = format!("caller-{}", story.fetch_add(1, Ordering::Relaxed));
            runtime.block_on(play(pair, &subject, moves))
        })
        .unwrap();
}

async fn play(
    pair: &[Fixture; 2],
    subject: &str,
    moves: Vec<(usize, Move)>,
) -> Result<(), TestCaseError> {
    let config = Config {
        ttl: Duration::from_millis(TTL),
        ..Config::default()
    };
    let rooms = [&pair[0], &pair[1]]
        .map(|fixture| Confirm::new(fixture.state.ledger().clone(), config).unwrap());
    let (asking, confirming) = (key("asking"), key("confirming"));
    let bound = |strict: bool| Binding {
        subject: subject.to_owned(),
        obligations: if strict {
            "confirm:client once"
        } else {
            "confirm:client"
        }
        .to_owned(),
        policy_version: format!("v{}", u8::from(strict)),
        ..binding()
    };
    let lease = Duration::from_millis(LEASE);
    let mut hands = [Hands::default(), Hands::default()];
    let mut truth = Truth::default();
    for (replica, step) in moves {
        let (room, ledger) = (&rooms[replica], pair[replica].state.ledger());
        let hand = &mut hands[replica];
        match step {
            Move::Ask => match room
                .reserve(&bound(truth.strict), b"{}", Some(&asking))
                .await
            {
                Ok(issued) => truth.issued.push((issued, truth.strict)),
                Err(Refusal::Used { report, .. }) => told(&truth, &report)?,
                Err(other) => prop_assert!(false, "{other:?}"),
            },
            Move::Redeem { ago, keyed } => {
                let Some((issued, strict)) = truth.issued.iter().rev().nth(ago) else {
                    continue;
                };
                let presented = bound(truth.strict);
                let redemption = Redemption {
                    presented: &presented,
                    idempotency_key: keyed.then_some(&confirming),
                    consent: Consent::Client,
                };
                match room.redeem(issued.action_token.expose(), &redemption).await {
                    Ok(ticket) => {
                        prop_assert_eq!(*strict, truth.strict, "other obligations");
                        prop_assert_eq!(truth.effects, 0, "it has happened");
                        hand.ticket = Some(ticket);
                    }
                    Err(Refusal::Used { report, .. }) => told(&truth, &report)?,
                    Err(
                        Refusal::Expired { .. }
                        | Refusal::ObligationsChanged
                        | Refusal::KeyConflict { .. },
                    ) => {}
                    Err(other) => prop_assert!(false, "{other:?}"),
                }
            }
            Move::Release => {
                if let Some(ticket) = hand.ticket.take() {
                    let _lost_or_given_back = ticket.release().await;
                }
            }
            Move::Fail => {
                if let Some(ticket) = hand.ticket.take() {
                    let _lost_or_failed = ticket.fail("before the effect").await;
                }
            }
            Move::Intend => {
                if let Some(ticket) = hand.ticket.take()
                    && let Ok(acting) = ticket.intend(lease).await
                {
                    truth.effects += 1;
                    hand.acting = Some(acting);
                }
            }
            Move::Complete => {
                if let Some(acting) = hand.acting.take() {
                    // Too late only where a person has settled it.
                    prop_assert!(acting.complete(RESULT).await.is_ok() || truth.is_settled);
                }
            }
            Move::FailActing(effect) => {
                if let Some(acting) = hand.acting.take() {
                    let failed = acting.fail(effect, "the provider said so").await;
                    prop_assert!(failed.is_ok() || truth.is_settled);
                    if failed.is_ok() && effect == Effect::None {
                        // Proved not to have happened, so that it may be done again.
                        truth.effects -= 1;
                    }
                }
            }
            Move::Doubt => {
                if let Some(acting) = hand.acting.take() {
                    let _doubted_already = acting.unknown("timed out").await;
                }
            }
            Move::Crash => *hand = Hands::default(),
            Move::Sweep => {
                ledger.sweep(1_000).await.unwrap();
            }
            Move::Pass(millis) => pair.iter().for_each(|fixture| fixture.pass(millis)),
            Move::Skew(millis) => pair[replica].pass(millis),
            Move::Reload(strict) => truth.strict = strict,
            Move::Decline => {
                if let Some((issued, _)) = truth.issued.last() {
                    let _declined_or_too_late = room
                        .decline(&issued.operation_id, "acme", subject, "no")
                        .await;
                }
            }
            Move::Settle(settlement) => {
                if let Some((issued, _)) = truth.issued.last() {
                    let id = &issued.operation_id;
                    let settled = ledger.settle(id, settlement, "looked it up").await;
                    truth.is_settled |= settled.is_ok();
                }
            }
        }
        prop_assert!((0..=1).contains(&truth.effects), "{truth:?}");
    }
    // When every lease is over nothing is at work, and what may have acted is said to be unknown.
    for fixture in pair {
        fixture.pass(LEASE * 4);
        fixture.state.ledger().sweep(1_000).await.unwrap();
    }
    for (issued, _) in &truth.issued {
        let row = pair[0].state.ledger().row(&issued.operation_id).await;
        let status = row.unwrap().unwrap().machine.status();
        prop_assert!(!status.is_running(), "{status}");
        prop_assert!(status != Status::Unknown || truth.effects == 1, "{truth:?}");
    }
    Ok(())
}

/// Whoever asks again hears what was recorded.
fn told(truth: &Truth, report: &Report) -> Result<(), TestCaseError> {
    if report.status == Status::Completed && !truth.is_settled {
        prop_assert_eq!(truth.effects, 1);
        prop_assert_eq!(report.result.as_ref().and_then(Stored::bytes), Some(RESULT));
    }
    Ok(())
}

#[test]
fn of_what_two_replicas_are_asked_for_one_happens() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let location = crate::state::Location::File(folder.path().join("state.db"));
    let keys = std::sync::Arc::new(fastmcp::seal::KeyRing::ephemeral().unwrap());
    let pair = runtime.block_on(async {
        [
            Fixture::replica(location.clone(), keys.clone(), "replica-1").await,
            Fixture::replica(location, keys, "replica-2").await,
        ]
    });
    replicas(&runtime, &pair, 48);
}
