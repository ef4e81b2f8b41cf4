//! The machine under every interleaving that proptest thinks of.
//!
//! Three claimants race for one operation, crash, come back late with an old claim, while recovery, expiry, refusals
//! and a settling person interfere. An effect happens exactly where the product makes it happen: after an accepted
//! `Intend`, and before anything else.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::*;

const ACTORS: usize = 3;
const TTL: u64 = 60;
const LEASE: u64 = 20;

/// What happens next. Actors act on what they remember, not on what is true.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    Redeem(usize),
    Claim(usize),
    Intend(usize),
    Renew(usize),
    Release(usize),
    Answer(usize),
    Complete(usize),
    Fail(usize, Effect),
    Doubt(usize),
    /// The actor forgets its claim, as a process does that is killed.
    Crash(usize),
    Pass(u64),
    Confirm,
    Recover,
    Expire,
    Decline,
    Cancel,
    Settle(Settlement),
}

pub(crate) fn moves() -> impl Strategy<Value = Vec<Move>> {
    let actor = 0..ACTORS;
    let effect = prop_oneof![Just(Effect::None), Just(Effect::Definite)];
    let settlement = prop_oneof![Just(Settlement::Completed), Just(Settlement::Failed)];
    let one = prop_oneof![
        8 => actor.clone().prop_map(Move::Redeem),
        4 => actor.clone().prop_map(Move::Claim),
        8 => actor.clone().prop_map(Move::Intend),
        2 => actor.clone().prop_map(Move::Renew),
        2 => actor.clone().prop_map(Move::Release),
        1 => actor.clone().prop_map(Move::Answer),
        4 => actor.clone().prop_map(Move::Complete),
        4 => (actor.clone(), effect).prop_map(|(actor, effect)| Move::Fail(actor, effect)),
        2 => actor.clone().prop_map(Move::Doubt),
        2 => actor.prop_map(Move::Crash),
        6 => prop_oneof![Just(1), Just(LEASE - 1), Just(LEASE), Just(LEASE + 1)].prop_map(Move::Pass),
        2 => Just(Move::Confirm),
        6 => Just(Move::Recover),
        1 => Just(Move::Expire),
        1 => Just(Move::Decline),
        1 => Just(Move::Cancel),
        1 => settlement.prop_map(Move::Settle),
    ];
    vec(one, 1..60)
}

/// The moves' actors and their time.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    memory: Vec<Option<Claim>>,
}

impl World {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            now,
            memory: vec![None; ACTORS],
        }
    }

    pub(crate) fn expires_at(now: Timestamp) -> Timestamp {
        now.saturating_add(Duration::from_millis(TTL))
    }

    fn until(&self) -> Timestamp {
        self.now.saturating_add(Duration::from_millis(LEASE))
    }

    /// The event that a move puts to the operation, if it puts one.
    pub(crate) fn event(&mut self, step: &Move) -> Option<Event> {
        let until = self.until();
        let remembered = |actor: &usize| self.memory[*actor].clone();
        Some(match step {
            Move::Redeem(actor) => Event::Redeem {
                owner: owner(*actor),
                until,
            },
            Move::Claim(actor) => Event::Claim {
                owner: owner(*actor),
                until,
            },
            Move::Intend(actor) => Event::Intend {
                claim: remembered(actor)?,
                until,
            },
            Move::Renew(actor) => Event::Renew {
                claim: remembered(actor)?,
                until,
            },
            Move::Release(actor) => Event::Release {
                claim: remembered(actor)?,
            },
            Move::Answer(actor) => Event::Answer {
                claim: remembered(actor)?,
            },
            Move::Complete(actor) => Event::Complete {
                claim: remembered(actor)?,
            },
            Move::Fail(actor, effect) => Event::Fail {
                claim: remembered(actor)?,
                effect: *effect,
            },
            Move::Doubt(actor) => Event::Doubt {
                claim: remembered(actor)?,
            },
            Move::Crash(actor) => {
                self.memory[*actor] = None;
                return None;
            }
            Move::Pass(millis) => {
                self.now = self.now.saturating_add(Duration::from_millis(*millis));
                return None;
            }
            Move::Confirm => Event::Confirm,
            Move::Recover => Event::Recover,
            Move::Expire => Event::Expire,
            Move::Decline => Event::Decline,
            Move::Cancel => Event::Cancel,
            Move::Settle(settlement) => Event::Settle(*settlement),
        })
    }

    /// What the actor of an accepted event remembers.
    pub(crate) fn learn(&mut self, step: &Move, after: &Machine) {
        if let (Move::Redeem(actor) | Move::Claim(actor), State::Claimed(lease)) =
            (step, &after.state)
        {
            self.memory[*actor] = Some(lease.claim.clone());
        }
    }
}

fn owner(actor: usize) -> Owner {
    Owner::parse(&format!("actor-{actor}")).unwrap()
}

fn beyond_intent(state: &State) -> bool {
    matches!(
        state,
        State::Intended(_) | State::Unknown(_) | State::Completed | State::Failed(_)
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_operation_happens_at_most_once(steps in moves()) {
        let start = Timestamp::from_unix_seconds(1_700_000_000);
        let mut world = World::new(start);
        let mut machine = Machine::reserved(World::expires_at(start));
        let (mut effects, mut intended_by) = (0, None);
        for step in &steps {
            let Some(event) = world.event(step) else { continue };
            let before = machine.clone();
            let Ok(after) = before.step(&event, world.now) else { continue };
            world.learn(step, &after);

            // No effect without a claim: the only way into `intended` is from `claimed`, by its own claim.
            if let Event::Intend { claim, .. } = &event {
                prop_assert!(matches!(&before.state, State::Claimed(lease) if lease.claim == *claim && world.now < lease.until));
                effects += 1;
                intended_by = Some(claim.clone());
            }
            prop_assert!(effects <= 1, "a second effect by {event:?} after {before:?}");
            // What was intended never becomes claimable again.
            if beyond_intent(&before.state) && !matches!(before.state, State::Failed(_)) {
                prop_assert!(beyond_intent(&after.state), "{before:?} went back to {after:?}");
            }
            // Nothing leaves a final state.
            prop_assert!(!before.status().is_final(), "{event:?} moved {before:?}");
            // Unknown is left only by the claim that acted or by a person.
            if let State::Unknown(holder) = &before.state {
                let allowed = match &event {
                    Event::Complete { claim } | Event::Fail { claim, .. } => claim == holder && Some(claim) == intended_by.as_ref(),
                    Event::Settle(_) => true,
                    _ => false,
                };
                prop_assert!(allowed, "{event:?} moved {before:?}");
            }
            // A completion tells the truth, unless a person said so; what only read has done nothing.
            if after.state == State::Completed && !matches!(event, Event::Settle(_)) {
                let happened = usize::from(!matches!(event, Event::Answer { .. }));
                prop_assert_eq!(effects, happened);
            }
            // Fences only grow, and by claims alone.
            let claims = matches!(event, Event::Redeem { .. } | Event::Claim { .. });
            prop_assert_eq!(after.fence, before.fence + u64::from(claims));
            prop_assert_eq!(after.expires_at, before.expires_at);
            machine = after;
        }
    }
}

#[test]
fn every_step_of_the_picture_is_possible() {
    let now = Timestamp::from_unix_seconds(1_700_000_000);
    let later = now.saturating_add(Duration::from_millis(LEASE));
    let reserved = Machine::reserved(World::expires_at(now));
    let confirmed = reserved.step(&Event::Confirm, now).unwrap();
    let claimed = confirmed
        .step(
            &Event::Claim {
                owner: owner(0),
                until: later,
            },
            now,
        )
        .unwrap();
    let claim = Claim {
        owner: owner(0),
        fence: 1,
    };
    let answer = Event::Answer {
        claim: claim.clone(),
    };
    assert_eq!(
        claimed.step(&answer, later).unwrap().status(),
        Status::Completed,
        "nobody else has claimed it"
    );
    let intended = claimed
        .step(
            &Event::Intend {
                claim: claim.clone(),
                until: later,
            },
            now,
        )
        .unwrap();
    assert_eq!(
        intended.step(&answer, now),
        Err(Refused::Status(Status::Intended)),
        "what acts is no reading"
    );
    let unknown = intended.step(&Event::Recover, later).unwrap();
    assert_eq!(unknown.state, State::Unknown(claim.clone()));
    assert_eq!(
        unknown
            .step(
                &Event::Complete {
                    claim: claim.clone()
                },
                later
            )
            .unwrap()
            .status(),
        Status::Completed
    );
    assert_eq!(
        unknown
            .step(&Event::Settle(Settlement::Failed), later)
            .unwrap()
            .status(),
        Status::Failed
    );
    assert_eq!(
        claimed.step(&Event::Recover, later).unwrap().status(),
        Status::Confirmed
    );
    assert_eq!(
        claimed.step(&Event::Cancel, now).unwrap().status(),
        Status::Cancelled
    );
    assert_eq!(
        intended.step(&Event::Cancel, now),
        Err(Refused::Status(Status::Intended))
    );
    assert_eq!(
        claimed.step(
            &Event::Fail {
                claim: claim.clone(),
                effect: Effect::Definite
            },
            now
        ),
        Err(Refused::Status(Status::Claimed)),
        "what has not acted cannot have a definite answer"
    );
    let again = claimed
        .step(&Event::Recover, later)
        .unwrap()
        .step(
            &Event::Redeem {
                owner: owner(1),
                until: World::expires_at(now),
            },
            later,
        )
        .unwrap();
    assert_eq!(
        again.step(
            &Event::Intend {
                claim,
                until: later
            },
            later
        ),
        Err(Refused::Fenced),
        "the old claim is fenced off"
    );
}

#[test]
fn time_is_over_at_the_very_millisecond() {
    let now = Timestamp::from_unix_seconds(1_700_000_000);
    let expires_at = World::expires_at(now);
    let before = expires_at.saturating_sub(Duration::from_millis(1));
    let machine = Machine::reserved(expires_at);
    let redeem = Event::Redeem {
        owner: owner(0),
        until: expires_at,
    };
    assert_eq!(machine.step(&redeem, expires_at), Err(Refused::Expired));
    assert_eq!(machine.step(&Event::Expire, before), Err(Refused::NotDue));
    let claimed = machine.step(&redeem, before).unwrap();
    let intend = Event::Intend {
        claim: Claim {
            owner: owner(0),
            fence: 1,
        },
        until: expires_at,
    };
    assert_eq!(claimed.step(&intend, expires_at), Err(Refused::LeaseOver));
    assert!(claimed.step(&intend, before).is_ok());
}

#[test]
fn words_read_back() {
    for status in Status::ALL {
        assert_eq!(Status::parse(status.as_str()), Some(status));
    }
    assert_eq!(Status::parse("Reserved"), None);
    assert_eq!(Effect::parse("none"), Some(Effect::None));
    assert_eq!(Owner::parse("two words"), Err(InvalidOwner));
}
