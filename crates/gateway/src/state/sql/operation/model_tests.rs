//! The SQL against the machine: the same random events, the same answers, the same states.

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::state::{
    Backend,
    contract_tests::{START, binding, row},
    machine::{
        Machine,
        model_tests::{Move, World, moves},
    },
    sqlite::Sqlite,
};

#[test]
fn sql_steps_as_the_machine_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let sqlite = runtime.block_on(Sqlite::memory()).unwrap();
    steps_as_the_machine_does(&runtime, &Store::over(sqlite), 200);
}

/// Plays `cases` random stories on a store and on the machine.
pub(in crate::state) fn steps_as_the_machine_does(
    runtime: &tokio::runtime::Runtime,
    store: &impl Backend,
    cases: u32,
) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&(moves(), any::<bool>()), |(steps, keyed)| {
            let machine = if keyed {
                let owner = Owner::parse("actor-0").unwrap();
                Machine::claimed(owner, World::expires_at(START), World::expires_at(START))
            } else {
                Machine::reserved(World::expires_at(START))
            };
            runtime.block_on(compare(store, machine, &steps))
        })
        .unwrap();
}

async fn compare(
    store: &impl Backend,
    mut machine: Machine,
    steps: &[Move],
) -> Result<(), TestCaseError> {
    let row = row(binding(), machine.clone(), START);
    let id = row.id.clone();
    let tenant = row.binding.tenant.clone();
    let created = store
        .create(Create {
            row,
            key: None,
            max_pending: None,
            attaches: false,
        })
        .await
        .unwrap();
    prop_assert!(matches!(created, Created::New));
    let mut world = World::new(START);
    // Who made a keyed operation holds its first claim.
    world.learn(&Move::Redeem(0), &machine);
    for one in steps {
        let Some(event) = world.event(one) else {
            continue;
        };
        let expected = machine.step(&event, world.now);
        let step = Step {
            tenant: tenant.clone(),
            id: id.clone(),
            event: event.clone(),
            now: world.now,
            note: Note::default(),
        };
        match (store.step(step).await.unwrap(), expected) {
            (Stepped::Held, Ok(after)) if event.claim().is_some() => {
                world.learn(one, &after);
                machine = after;
            }
            (Stepped::Moved(stored), Ok(after)) => {
                prop_assert_eq!(&stored, &after, "{:?} at {}", event, world.now);
                world.learn(one, &after);
                machine = after;
            }
            (Stepped::Refused(stored), Err(refused)) => {
                prop_assert_eq!(stored, refused, "{:?}", event)
            }
            (stored, expected) => prop_assert!(
                false,
                "{event:?}: {stored:?}, but the machine says {expected:?}"
            ),
        }
        let kept = store.by_id(id.clone()).await.unwrap().unwrap();
        prop_assert_eq!(&kept.machine, &machine);
        // The reverse of a final state's bareness: what is open keeps what it needs.
        prop_assert_eq!(kept.args_sealed.is_none(), machine.status().is_final());
    }
    Ok(())
}
