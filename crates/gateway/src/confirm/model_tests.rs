//! Approvals under every order of events that proptest thinks of, against what they promise.
//!
//! One call by alice waits. People approve and refuse, among them alice; its caller comes back with its ticket and
//! without, gives up, crashes, acts; time passes. Whatever happens: the effect happens at most once, only after
//! somebody who may consented, never after a refusal or the end of its time.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{approval::Approval, *};
use crate::state::{
    contract_tests::{Fixture, binding},
    ticket::Ticket,
};

const ARGUMENTS: &[u8] = br#"{"budget":"4711"}"#;
const TTL: u64 = 1_000;
const LEASE: u64 = 30_000;

#[derive(Clone, Debug)]
enum Move {
    Approve(&'static str),
    Deny(&'static str),
    /// The caller repeats its call with its ticket, or without.
    Redeem {
        with_token: bool,
    },
    /// What the latest claim does.
    Release,
    Act,
    Crash,
    Pass(u64),
    /// The caller asks for the same again, instead of presenting anything.
    Again,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let who = || select(vec!["alice", "bob", "carol"]);
    let one = prop_oneof![
        4 => who().prop_map(Move::Approve),
        1 => who().prop_map(Move::Deny),
        6 => any::<bool>().prop_map(|with_token| Move::Redeem { with_token }),
        2 => Just(Move::Release),
        4 => Just(Move::Act),
        1 => Just(Move::Crash),
        2 => select(vec![1, TTL / 2, TTL, LEASE]).prop_map(Move::Pass),
        2 => Just(Move::Again),
    ];
    vec(one, 1..40)
}

/// What is true of the operation, by what was answered.
#[derive(Debug, Default)]
struct Truth {
    approved_by: Vec<&'static str>,
    declined: bool,
    effects: u32,
    elapsed: u64,
}

async fn play(consent: Consent, moves: Vec<Move>) -> Result<(), TestCaseError> {
    let fixture = Fixture::memory().await;
    let config = Config {
        approval_ttl: Duration::from_millis(TTL),
        ..Config::default()
    };
    let confirm = Confirm::new(fixture.state.ledger().clone(), config).expect("a room");
    let presented = binding();
    let issued = confirm
        .submit(&presented, ARGUMENTS, None)
        .await
        .expect("a ticket");
    let redemption = Redemption {
        presented: &presented,
        idempotency_key: None,
        consent,
    };
    let (id, token) = (&issued.operation_id, issued.action_token.expose());
    let mut truth = Truth::default();
    let mut held: Option<Ticket> = None;
    for step in moves {
        match step {
            Move::Approve(approver) => {
                let approval = Approval {
                    tenant: "acme",
                    approver,
                    consent,
                };
                if confirm.approve(id, &approval).await.is_ok() {
                    prop_assert!(truth.elapsed < TTL && !truth.declined);
                    prop_assert!(consent != Consent::OtherPerson || approver != "alice");
                    truth.approved_by.push(approver);
                }
            }
            Move::Deny(who) => {
                if confirm.decline(id, "acme", who, "no").await.is_ok() {
                    prop_assert!(truth.elapsed < TTL && truth.effects == 0);
                    truth.declined = true;
                }
            }
            Move::Redeem { with_token } => {
                let redeemed = if with_token {
                    confirm.redeem(token, &redemption).await
                } else {
                    confirm.redeem_approved(id, &redemption).await
                };
                if let Ok(ticket) = redeemed {
                    prop_assert!(!truth.approved_by.is_empty(), "nobody consented");
                    prop_assert!(!truth.declined && truth.effects == 0 && truth.elapsed < TTL);
                    held = Some(ticket);
                }
            }
            Move::Release => {
                if let Some(ticket) = held.take() {
                    let _lost_or_given_back = ticket.release().await;
                }
            }
            Move::Act => {
                if let Some(ticket) = held.take()
                    && let Ok(acting) = ticket.intend(Duration::from_millis(LEASE)).await
                {
                    truth.effects += 1;
                    prop_assert!(!truth.declined);
                    acting.complete(b"{}").await.expect("recorded");
                }
            }
            Move::Crash => drop(held.take()),
            Move::Pass(millis) => {
                fixture.pass(millis);
                truth.elapsed += millis;
            }
            Move::Again => {
                let again = confirm.submit(&presented, ARGUMENTS, None).await;
                let again = again.expect("a ticket");
                if again.operation_id == *id {
                    prop_assert!(again.reused && again.action_token.expose() == token);
                    prop_assert!(truth.effects == 0 && !truth.declined && truth.elapsed < TTL);
                }
            }
        }
        prop_assert!(truth.effects <= 1, "{truth:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_approved_happens_once_and_nothing_else_does(consent in select(vec![Consent::Person, Consent::OtherPerson]), moves in moves()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(play(consent, moves))?;
    }
}

#[tokio::test]
async fn of_a_thousand_repetitions_of_an_approved_call_one_runs() {
    let fixture = Fixture::memory().await;
    let confirm = Confirm::new(fixture.state.ledger().clone(), Config::default()).unwrap();
    let presented = binding();
    let issued = confirm.submit(&presented, ARGUMENTS, None).await.unwrap();
    let approval = Approval {
        tenant: "acme",
        approver: "bob",
        consent: Consent::OtherPerson,
    };
    confirm
        .approve(&issued.operation_id, &approval)
        .await
        .unwrap();
    let mut rivals = tokio::task::JoinSet::new();
    for rival in 0..1_000 {
        let (confirm, issued, presented) = (confirm.clone(), issued.clone(), presented.clone());
        rivals.spawn(async move {
            let redemption = Redemption {
                presented: &presented,
                idempotency_key: None,
                consent: Consent::OtherPerson,
            };
            // Half of them have their ticket, the others found the operation by what it is.
            let redeemed = if rival % 2 == 0 {
                confirm
                    .redeem(issued.action_token.expose(), &redemption)
                    .await
            } else {
                confirm
                    .redeem_approved(&issued.operation_id, &redemption)
                    .await
            };
            match redeemed {
                Ok(ticket) => Some(ticket),
                Err(Refusal::Used { .. }) => None,
                Err(other) => panic!("{other:?}"),
            }
        });
    }
    let tickets = rivals.join_all().await;
    assert_eq!(tickets.into_iter().flatten().count(), 1);
}

#[tokio::test]
async fn approvals_are_listed_in_their_tenant_while_they_are_open() {
    let fixture = Fixture::memory().await;
    let ledger = fixture.state.ledger();
    let confirm = Confirm::new(ledger.clone(), Config::default()).unwrap();
    let with = |obligations: &str, tenant: &str, digest: u8| Binding {
        obligations: obligations.to_owned(),
        tenant: tenant.to_owned(),
        args_digest: [digest; 32],
        ..binding()
    };
    let person = with("confirm:person", "acme", 1);
    let four_eyes = with("approver:lead confirm:other_person once", "acme", 2);
    for other in [
        with("confirm:client", "acme", 3),
        with("confirm:person", "globex", 4),
    ] {
        confirm.submit(&other, ARGUMENTS, None).await.unwrap();
    }
    let first = confirm.submit(&person, ARGUMENTS, None).await.unwrap();
    fixture.pass(1);
    let second = confirm.submit(&four_eyes, ARGUMENTS, None).await.unwrap();
    let listed = async || -> Vec<OperationId> {
        let found = ledger.approvals("acme", 500).await.unwrap();
        found
            .into_iter()
            .map(|report| report.operation_id)
            .collect()
    };
    assert_eq!(
        listed().await,
        [second.operation_id.clone(), first.operation_id.clone()]
    );
    let waiting = ledger.waiting(&person).await.unwrap().unwrap();
    assert_eq!(waiting.operation_id, first.operation_id);
    assert!(
        ledger
            .waiting(&with("x", "acme", 9))
            .await
            .unwrap()
            .is_none()
    );
    confirm
        .decline(&second.operation_id, "acme", "bob", "no")
        .await
        .unwrap();
    assert_eq!(listed().await, [first.operation_id]);
    fixture.pass(3_600_000);
    assert!(listed().await.is_empty(), "what has expired is not listed");
}
