//! What every store of operations and manifests must do, whatever database it is.
//!
//! Generic over the implementation; each one runs all of it. Also what the tests of the rooms above stand on.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fastmcp::seal::KeyRing;
use fastmcp_guard::{
    clock::{Clock as _, ManualClock, Timestamp},
    random::{self, OsRandom},
};

use super::{
    Backend, Location, Options, State, StateError,
    act::{Act, ActStore, RECOVERED, Untold},
    label::{Carried, Carry, Holder, LabelStore},
    machine::{Claim, Effect, Event, Machine, Owner, Refused, Settlement, Status},
    manifest::{After, ManifestStore, Registration},
    operation::{
        Binding, Create, Created, Filter, IdempotencyKey, Note, OperationId, OperationStore,
        Recent, Recovered, Row, Step, Stepped,
    },
    sql::Store,
    sqlite::Sqlite,
};
use crate::manifest::{Manifest, ToolId};

/// The moment at which tests begin.
pub(crate) const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);

/// An open state whose time stands still.
pub(crate) struct Fixture {
    pub(crate) state: State,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keys: Arc<KeyRing>,
}

impl Fixture {
    pub(crate) async fn memory() -> Self {
        Self::open(Location::Memory, Arc::new(KeyRing::ephemeral().unwrap())).await
    }

    pub(crate) async fn open(location: Location, keys: Arc<KeyRing>) -> Self {
        Self::replica(location, keys, "replica-1").await
    }

    pub(crate) async fn replica(location: Location, keys: Arc<KeyRing>, name: &str) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let mut options = Options::new(location, Arc::clone(&keys), name).unwrap();
        options.clock = clock.clone();
        // A machine that is busy with other tests is no outage.
        options.patience = Duration::from_secs(60);
        options.recording = Duration::from_secs(60);
        Self {
            state: State::open(options).await.unwrap(),
            clock,
            keys,
        }
    }

    pub(crate) async fn create(&self, row: &Row) {
        let created = self.state.backend.create(create(row)).await;
        assert!(matches!(created, Ok(Created::New)));
    }

    pub(crate) fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    pub(crate) async fn status(&self, tenant: &str, id: &OperationId) -> Status {
        // The row as it is, without what reading a report brings up to date.
        let row = self.state.ledger().row(id).await.unwrap().unwrap();
        assert_eq!(row.binding.tenant, tenant);
        row.machine.status()
    }
}

pub(crate) fn binding() -> Binding {
    Binding {
        tenant: "acme".to_owned(),
        subject: "alice".to_owned(),
        actors: String::new(),
        client: Some("desktop".to_owned()),
        tool_id: ToolId::parse("ads:create").unwrap(),
        definition_hash: [1; 32],
        args_digest: [2; 32],
        obligations: r#"["confirm"]"#.to_owned(),
        policy_version: "v1".to_owned(),
        labels: String::new(),
        tool: String::new(),
    }
}

pub(crate) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(text).unwrap()
}

pub(crate) fn owner() -> Owner {
    Owner::parse("replica-1").unwrap()
}

/// Who is asked about has a token.
pub(crate) fn row(binding: Binding, machine: Machine, now: Timestamp) -> Row {
    let asked = machine.status() == Status::Reserved;
    let token = || random::array(&OsRandom).unwrap();
    Row {
        id: OperationId::generate(now, &OsRandom).unwrap(),
        binding,
        machine,
        redeemed_policy_version: None,
        token_hash: asked.then(token),
        token_sealed: None,
        args_sealed: Some(b"sealed arguments".to_vec()),
        confirmed_by: None,
        created_at: now,
        updated_at: now,
        retain_until: after(now, 1_000_000),
        result_sealed: None,
        result_bytes: None,
        detail_sealed: None,
    }
}

pub(crate) fn after(now: Timestamp, millis: u64) -> Timestamp {
    now.saturating_add(Duration::from_millis(millis))
}

fn reserved(now: Timestamp) -> Row {
    row(binding(), Machine::reserved(after(now, 1_000)), now)
}

fn create(row: &Row) -> Create {
    Create {
        row: row.clone(),
        key: None,
        max_pending: None,
        attaches: false,
    }
}

fn step(row: &Row, event: Event, now: Timestamp) -> Step {
    Step {
        tenant: row.binding.tenant.clone(),
        id: row.id.clone(),
        event,
        now,
        note: Note::default(),
    }
}

async fn moved(store: &impl OperationStore, row: &Row, event: Event, now: Timestamp) -> Machine {
    let held = event.claim().is_some();
    match store.step(step(row, event, now)).await.unwrap() {
        Stepped::Moved(machine) if !held => machine,
        Stepped::Held if held => {
            let row = store.by_id(row.id.clone()).await.unwrap();
            row.unwrap().machine
        }
        other => panic!("{other:?}"),
    }
}

/// Everything, on a fresh and empty store.
pub(crate) async fn holds(store: &impl Backend) {
    acts_wait_until_they_are_told(store).await;
    rows_come_back(store).await;
    steps_are_conditional(store).await;
    tenants_are_apart(store).await;
    keys_name_one_operation(store).await;
    who_attaches_finds_no_keyed_call(store).await;
    pending_is_bounded(store).await;
    recent_finds_what_counts(store).await;
    sweeps_are_bounded(store).await;
    lists_are_ordered(store).await;
    manifests_are_kept(store).await;
    labels_are_carried(store).await;
}

async fn rows_come_back(store: &impl OperationStore) {
    let now = START;
    let mut row = reserved(now);
    row.token_hash = Some([9; 32]);
    row.token_sealed = Some(vec![1, 2, 3]);
    row.binding.client = None;
    assert!(matches!(
        store.create(create(&row)).await.unwrap(),
        Created::New
    ));
    for found in [
        store.by_id(row.id.clone()).await.unwrap(),
        store.by_token([9; 32]).await.unwrap(),
    ] {
        let found = found.unwrap();
        assert_eq!(format!("{found:?}"), format!("{row:?}"));
    }
    assert!(store.by_token([8; 32]).await.unwrap().is_none());
    let twice = store.create(create(&row)).await;
    assert!(
        matches!(twice, Err(StateError::Write(_))),
        "an id is used once"
    );
}

async fn steps_are_conditional(store: &impl OperationStore) {
    let now = START;
    let row = reserved(now);
    store.create(create(&row)).await.unwrap();
    let until = after(now, 100);
    let claimed = moved(
        store,
        &row,
        Event::Redeem {
            owner: owner(),
            until,
        },
        now,
    )
    .await;
    assert_eq!(claimed.fence, 1);
    let again = store
        .step(step(
            &row,
            Event::Redeem {
                owner: owner(),
                until,
            },
            now,
        ))
        .await
        .unwrap();
    assert!(
        matches!(again, Stepped::Refused(Refused::Status(Status::Claimed))),
        "{again:?}"
    );
    let stale = Claim {
        owner: owner(),
        fence: 0,
    };
    let fenced = store
        .step(step(
            &row,
            Event::Intend {
                claim: stale,
                until,
            },
            now,
        ))
        .await
        .unwrap();
    assert!(
        matches!(fenced, Stepped::Refused(Refused::Fenced)),
        "{fenced:?}"
    );
    let claim = Claim {
        owner: owner(),
        fence: 1,
    };
    let late = store
        .step(step(
            &row,
            Event::Intend {
                claim: claim.clone(),
                until,
            },
            until,
        ))
        .await
        .unwrap();
    assert!(
        matches!(late, Stepped::Refused(Refused::LeaseOver)),
        "{late:?}"
    );
    moved(
        store,
        &row,
        Event::Intend {
            claim: claim.clone(),
            until,
        },
        now,
    )
    .await;

    let note = Note {
        result_sealed: Some(b"result".to_vec()),
        result_bytes: Some(6),
        detail_sealed: Some(b"detail".to_vec()),
        policy_version: Some("v2".to_owned()),
        retain_until: Some(after(now, 9_000_000)),
        ..Note::default()
    };
    let complete = Step {
        note,
        ..step(&row, Event::Complete { claim }, after(now, 5))
    };
    assert!(matches!(store.step(complete).await.unwrap(), Stepped::Held));
    let found = store.by_id(row.id.clone()).await.unwrap().unwrap();
    assert_eq!(found.machine.status(), Status::Completed);
    assert_eq!(found.result_sealed.as_deref(), Some(b"result".as_slice()));
    assert_eq!(
        (found.result_bytes, found.detail_sealed.as_deref()),
        (Some(6), Some(b"detail".as_slice()))
    );
    assert_eq!(found.redeemed_policy_version.as_deref(), Some("v2"));
    assert_eq!(
        (found.updated_at, found.retain_until),
        (after(now, 5), after(now, 9_000_000))
    );
    assert_eq!(
        (found.args_sealed, found.token_sealed),
        (None, None),
        "what is final keeps no secrets of its call"
    );

    let missing = Step {
        tenant: "other".to_owned(),
        ..step(&row, Event::Cancel, now)
    };
    assert!(matches!(
        store.step(missing).await.unwrap(),
        Stepped::Missing
    ));
}

async fn tenants_are_apart(store: &impl OperationStore) {
    let now = START;
    let mine = reserved(now);
    let mut theirs = reserved(now);
    theirs.binding.tenant = "globex".to_owned();
    let shared = Some(key("shared-between-tenants"));
    let mut other_subject = reserved(now);
    other_subject.binding.subject = "bob".to_owned();
    let mut other_tool = reserved(now);
    other_tool.binding.tool_id = ToolId::parse("ads:delete").unwrap();
    for row in [&mine, &theirs, &other_subject, &other_tool] {
        let created = store
            .create(Create {
                key: shared.clone(),
                ..create(row)
            })
            .await
            .unwrap();
        assert!(
            matches!(created, Created::New),
            "a key counts within tenant, subject and tool"
        );
    }
    let stranger = Step {
        tenant: "globex".to_owned(),
        ..step(&mine, Event::Cancel, now)
    };
    assert!(matches!(
        store.step(stranger).await.unwrap(),
        Stepped::Missing
    ));
}

async fn keys_name_one_operation(store: &impl OperationStore) {
    let now = START;
    let (first, second) = (reserved(now), reserved(now));
    let named = key("names-one");
    let with_key = |row: &Row, at| Create {
        row: Row {
            created_at: at,
            updated_at: at,
            ..row.clone()
        },
        key: Some(named.clone()),
        max_pending: None,
        attaches: false,
    };
    assert!(matches!(
        store.create(with_key(&first, now)).await.unwrap(),
        Created::New
    ));
    match store.create(with_key(&second, now)).await.unwrap() {
        Created::Existing(row) => assert_eq!(row.id, first.id),
        other => panic!("{other:?}"),
    }
    assert!(
        store.by_id(second.id.clone()).await.unwrap().is_none(),
        "nothing was made"
    );
    assert!(store.has_key(&first, &named).await.unwrap());
    let found = store.keyed(&first.binding, &named).await.unwrap().unwrap();
    assert_eq!(found.id, first.id);
    let mut theirs = first.binding.clone();
    theirs.subject.push('2');
    assert!(store.keyed(&theirs, &named).await.unwrap().is_none());
    assert!(!store.has_key(&first, &key("another")).await.unwrap());

    // A confirmation may bring a key of its own, unless it names another operation.
    let third = reserved(now);
    store.create(create(&third)).await.unwrap();
    let redeem = |key: &IdempotencyKey| {
        let note = Note {
            key: Some((
                third.binding.subject.clone(),
                third.binding.tool_id.clone(),
                key.clone(),
            )),
            ..Note::default()
        };
        Step {
            note,
            ..step(
                &third,
                Event::Redeem {
                    owner: owner(),
                    until: after(now, 100),
                },
                now,
            )
        }
    };
    match store.step(redeem(&named)).await.unwrap() {
        Stepped::KeyTaken(id) => assert_eq!(id, first.id),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        store
            .by_id(third.id.clone())
            .await
            .unwrap()
            .unwrap()
            .machine
            .status(),
        Status::Reserved
    );
    assert!(matches!(
        store.step(redeem(&key("its-own"))).await.unwrap(),
        Stepped::Moved(_)
    ));
    assert!(store.has_key(&third, &key("its-own")).await.unwrap());

    // What expired gives its key back.
    let late = after(now, 1_000);
    let fresh = Row {
        machine: Machine::reserved(after(late, 1_000)),
        ..second
    };
    assert!(matches!(
        store.create(with_key(&fresh, late)).await.unwrap(),
        Created::New
    ));
    assert!(store.has_key(&fresh, &named).await.unwrap());
    assert!(!store.has_key(&first, &named).await.unwrap());
    // It has ended with that: a replica whose clock is behind can do nothing with it any more.
    let behind = Event::Redeem {
        owner: owner(),
        until: late,
    };
    assert!(matches!(
        store.step(step(&first, behind, now)).await.unwrap(),
        Stepped::Refused(Refused::Status(Status::Expired))
    ));
}

async fn who_attaches_finds_no_keyed_call(store: &impl OperationStore) {
    let now = START;
    let mut attaching = binding();
    attaching.subject = "attaching".to_owned();
    let one = |at| row(attaching.clone(), Machine::reserved(after(at, 1_000)), at);
    let attach = |row: &Row| Create {
        attaches: true,
        ..create(row)
    };
    let (keyed, plain) = (one(now), one(after(now, 1)));
    let named = Create {
        key: Some(key("a-call-of-its-own")),
        ..create(&keyed)
    };
    store.create(named).await.unwrap();
    moved(store, &keyed, Event::Confirm, now).await;
    let made = store.create(attach(&plain)).await.unwrap();
    assert!(matches!(made, Created::New), "{made:?}");
    match store.create(attach(&one(after(now, 2)))).await.unwrap() {
        Created::Existing(row) => assert_eq!(row.id, plain.id),
        other => panic!("{other:?}"),
    }
}

async fn pending_is_bounded(store: &impl OperationStore) {
    let now = START;
    let mut busy = binding();
    busy.subject = "busy".to_owned();
    let one = |at| row(busy.clone(), Machine::reserved(after(at, 1_000)), at);
    let limited = |row: Row| Create {
        row,
        key: None,
        max_pending: Some(2),
        attaches: false,
    };
    let first = one(now);
    assert!(matches!(
        store.create(limited(first.clone())).await.unwrap(),
        Created::New
    ));
    assert!(matches!(
        store.create(limited(one(now))).await.unwrap(),
        Created::New
    ));
    assert!(matches!(
        store.create(limited(one(now))).await.unwrap(),
        Created::TooManyPending
    ));
    moved(store, &first, Event::Decline, now).await;
    assert!(matches!(
        store.create(limited(one(now))).await.unwrap(),
        Created::New
    ));
    let later = after(now, 1_000);
    assert!(
        matches!(
            store.create(limited(one(later))).await.unwrap(),
            Created::New
        ),
        "what expired does not count"
    );
}

async fn recent_finds_what_counts(store: &impl OperationStore) {
    let now = START;
    let mut mine = binding();
    mine.args_digest = [77; 32];
    let open = row(mine.clone(), Machine::reserved(after(now, 1_000)), now);
    store.create(create(&open)).await.unwrap();
    let ask = |binding: &Binding, now: Timestamp, since: Timestamp| Recent {
        binding: binding.clone(),
        now,
        since,
    };
    let found = store.recent(ask(&mine, now, now)).await.unwrap().unwrap();
    assert_eq!(found.id, open.id);
    for other in [
        Binding {
            tenant: "globex".to_owned(),
            ..mine.clone()
        },
        Binding {
            subject: "bob".to_owned(),
            ..mine.clone()
        },
        Binding {
            client: None,
            ..mine.clone()
        },
        Binding {
            args_digest: [78; 32],
            ..mine.clone()
        },
        Binding {
            tool_id: ToolId::parse("ads:delete").unwrap(),
            ..mine.clone()
        },
    ] {
        assert!(
            store.recent(ask(&other, now, now)).await.unwrap().is_none(),
            "{other:?}"
        );
    }
    assert!(
        store
            .recent(ask(&mine, now, after(now, 1)))
            .await
            .unwrap()
            .is_none(),
        "too long ago"
    );
    assert!(
        store
            .recent(ask(&mine, after(now, 1_000), now))
            .await
            .unwrap()
            .is_none(),
        "expired"
    );

    let until = after(now, 10);
    moved(
        store,
        &open,
        Event::Redeem {
            owner: owner(),
            until,
        },
        now,
    )
    .await;
    let claim = Claim {
        owner: owner(),
        fence: 1,
    };
    moved(
        store,
        &open,
        Event::Intend {
            claim: claim.clone(),
            until,
        },
        now,
    )
    .await;
    moved(store, &open, Event::Doubt { claim }, now).await;
    let newer = row(
        mine.clone(),
        Machine::reserved(after(now, 9_000)),
        after(now, 500),
    );
    store.create(create(&newer)).await.unwrap();
    let far = after(now, 600_000);
    let found = store.recent(ask(&mine, far, far)).await.unwrap().unwrap();
    assert_eq!(
        (found.id, found.machine.status()),
        (open.id.clone(), Status::Unknown),
        "however old"
    );
    moved(store, &open, Event::Settle(Settlement::Failed), far).await;
    let found = store
        .recent(ask(&mine, after(now, 600), now))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.id, newer.id, "what failed does not count");

    moved(
        store,
        &newer,
        Event::Redeem {
            owner: owner(),
            until: after(now, 5_000),
        },
        after(now, 700),
    )
    .await;
    let asked_again = row(
        mine.clone(),
        Machine::reserved(after(now, 9_000)),
        after(now, 800),
    );
    store.create(create(&asked_again)).await.unwrap();
    let found = store
        .recent(ask(&mine, after(now, 900), now))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.id, newer.id, "asking again hides nothing");

    let mut unasked = mine.clone();
    unasked.args_digest = [79; 32];
    let running = Machine::claimed(owner(), after(now, 5_000), after(now, 9_000));
    let running = row(unasked.clone(), running, after(now, 800));
    store.create(create(&running)).await.unwrap();
    let found = store.recent(ask(&unasked, after(now, 900), now)).await;
    assert!(found.unwrap().is_none(), "nobody was asked about it");
}

async fn sweeps_are_bounded(store: &(impl OperationStore + ActStore)) {
    // In the year 2100 nothing else of this suite is in the way.
    let now = Timestamp::from_unix_seconds(4_102_444_800);
    while store.recover(now, 100).await.unwrap() != Recovered::default() {}
    while store.expire(now, 100).await.unwrap() > 0 {}
    while store.purge(now, 100).await.unwrap() > 0 {}

    let until = after(now, 50);
    let mut rows = Vec::new();
    for _ in 0..5 {
        let row = row(
            binding(),
            Machine::claimed(owner(), until, after(now, 1_000)),
            now,
        );
        store.create(create(&row)).await.unwrap();
        rows.push(row);
    }
    let claim = Claim {
        owner: owner(),
        fence: 1,
    };
    for row in &rows[..2] {
        moved(
            store,
            row,
            Event::Intend {
                claim: claim.clone(),
                until: after(now, 60),
            },
            now,
        )
        .await;
    }
    assert_eq!(
        store.recover(after(now, 49), 100).await.unwrap(),
        Recovered::default(),
        "leases hold"
    );
    let unsettled = store.unsettled().await.unwrap();
    assert_eq!(
        store.recover(after(now, 60), 2).await.unwrap(),
        Recovered {
            released: 2,
            unknown: Vec::new()
        }
    );
    let recovered = store.recover(after(now, 60), 100).await.unwrap();
    assert_eq!((recovered.released, recovered.unknown.len()), (1, 2));
    let told = store.untold(None, 100).await.unwrap().acts;
    for id in recovered.unknown {
        let told = told.iter().find(|untold| untold.id == id).unwrap();
        assert_eq!(told.act.as_ref().unwrap().action, RECOVERED);
        let row = store.by_id(id).await.unwrap().unwrap();
        assert_eq!(row.machine.status(), Status::Unknown);
    }
    assert_eq!(store.unsettled().await.unwrap(), unsettled + 2);
    assert_eq!(
        store.recover(after(now, 60), 100).await.unwrap(),
        Recovered::default(),
        "each is told once"
    );
    assert_eq!(store.expire(after(now, 999), 100).await.unwrap(), 0);
    assert_eq!(store.expire(after(now, 1_000), 2).await.unwrap(), 2);
    assert_eq!(store.expire(after(now, 1_000), 2).await.unwrap(), 1);
    let retained = after(now, 1_000_000);
    assert_eq!(store.purge(after(now, 999_999), 100).await.unwrap(), 0);
    assert_eq!(store.purge(retained, 2).await.unwrap(), 2);
    assert_eq!(store.purge(retained, 100).await.unwrap(), 1);
    assert_eq!(
        store.purge(Timestamp::MAX, 100).await.unwrap(),
        0,
        "what is unknown is never purged"
    );
    for row in &rows[..2] {
        let fail = Event::Fail {
            claim: claim.clone(),
            effect: Effect::None,
        };
        assert_eq!(
            moved(store, row, fail, retained).await.status(),
            Status::Failed
        );
    }
    assert_eq!(store.purge(Timestamp::MAX, 100).await.unwrap(), 2);
}

async fn lists_are_ordered(store: &impl OperationStore) {
    let now = START;
    let mut quiet = binding();
    quiet.tenant = "quiet".to_owned();
    let mut ids = Vec::new();
    for at in 0..4 {
        let row = row(
            quiet.clone(),
            Machine::reserved(after(now, 1_000)),
            after(now, at),
        );
        store.create(create(&row)).await.unwrap();
        ids.insert(0, row.id.clone());
        if at == 3 {
            moved(store, &row, Event::Cancel, after(now, at)).await;
        }
    }
    let filter = |status, limit| Filter {
        tenant: Some("quiet".to_owned()),
        status,
        limit,
    };
    let list = |filter| async move {
        let rows = store.list(filter).await.unwrap();
        assert!(
            rows.iter()
                .all(|row| row.args_sealed.is_none() && row.result_sealed.is_none())
        );
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(list(filter(None, 0)).await, ids);
    assert_eq!(list(filter(None, 2)).await, ids[..2]);
    assert_eq!(list(filter(Some(Status::Reserved), 10)).await, ids[1..]);
    assert_eq!(list(filter(Some(Status::Unknown), 10)).await, []);
}

fn manifest(tenant: &str, tool_id: &str, description: &str) -> Manifest {
    serde_json::from_value(serde_json::json!({
        "toolId": tool_id, "name": "A tool", "description": description, "inputs": {"type": "object"},
        "provider_id": "ads", "tenant": tenant, "cost_estimate": 0.25, "examples": [{"n": 1}],
    }))
    .unwrap()
}

async fn manifests_are_kept(store: &impl ManifestStore) {
    let now = START;
    let mine = manifest("acme", "ads:create", "first");
    assert_eq!(store.put(&mine, now).await.unwrap(), Registration::Created);
    let changed = manifest(
        "acme",
        "ads:create",
        "it's \"second\"; DROP TABLE manifests; --",
    );
    assert_eq!(
        store.put(&changed, after(now, 5)).await.unwrap(),
        Registration::Replaced
    );
    let found = store.get("acme", &changed.tool_id).await.unwrap().unwrap();
    assert_eq!(
        (found.manifest, found.created_at, found.updated_at),
        (changed.clone(), now, after(now, 5))
    );
    assert_eq!(store.get("globex", &changed.tool_id).await.unwrap(), None);

    for (tenant, tool) in [
        ("public", "b:one"),
        ("public", "a:two"),
        ("globex", "ads:create"),
    ] {
        store.put(&manifest(tenant, tool, "d"), now).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut from = None;
    loop {
        let page = store.page(from, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        from = Some(After {
            tenant: last.manifest.tenant.clone(),
            tool_id: last.manifest.tool_id.clone(),
        });
        seen.extend(
            page.into_iter()
                .map(|found| (found.manifest.tenant, found.manifest.tool_id.to_string())),
        );
    }
    let expected = [
        ("acme", "ads:create"),
        ("globex", "ads:create"),
        ("public", "a:two"),
        ("public", "b:one"),
    ];
    assert_eq!(
        seen,
        expected.map(|(tenant, tool)| (tenant.to_owned(), tool.to_owned()))
    );

    let revision = store.revision().await.unwrap();
    assert!(store.remove("acme", &changed.tool_id).await.unwrap());
    assert_ne!(store.revision().await.unwrap(), revision);
    let revision = store.revision().await.unwrap();
    store
        .put(&manifest("public", "a:two", "d"), now)
        .await
        .unwrap();
    assert_ne!(store.revision().await.unwrap(), revision);
    assert!(!store.remove("acme", &changed.tool_id).await.unwrap());
    assert_eq!(store.get("acme", &changed.tool_id).await.unwrap(), None);
    assert!(
        store
            .get("globex", &changed.tool_id)
            .await
            .unwrap()
            .is_some()
    );
    let huge = manifest(
        "acme",
        "ads:huge",
        &"x".repeat(super::manifest::MAX_MANIFEST_BYTES),
    );
    assert!(matches!(
        store.put(&huge, now).await,
        Err(StateError::TooLarge {
            field: "manifest",
            ..
        })
    ));
}

fn untold(number: u64, action: &str) -> Untold {
    let act = Act {
        action: action.to_owned(),
        tenant: Some("acme".to_owned()),
        resource_type: "caller".to_owned(),
        resource_id: None,
        details: serde_json::Map::new(),
    };
    Untold {
        id: OperationId::parse(&format!("00000000-0000-7000-8000-{number:012x}")).unwrap(),
        at: after(START, number),
        act: Some(act),
    }
}

async fn acts_wait_until_they_are_told(store: &impl ActStore) {
    let [first, second, third] = [1, 2, 3].map(|number| untold(number, "thing.done"));
    for act in [&third, &first, &second, &first] {
        store.leave(act.clone()).await.unwrap();
    }
    let other = untold(1, "another.thing");
    store.leave(other).await.unwrap();
    let page = store.untold(None, 2).await.unwrap();
    assert_eq!(
        page.acts,
        [first.clone(), second.clone()],
        "the oldest, once"
    );
    let rest = store.untold(page.next, 2).await.unwrap();
    assert_eq!(
        (rest.acts, rest.next),
        (vec![third.clone()], None),
        "those behind"
    );
    for act in [first.id.clone(), first.id, second.id] {
        store.told(act).await.unwrap();
    }
    let last = third.id.clone();
    assert_eq!(store.untold(None, 10).await.unwrap().acts, [third]);
    store.told(last).await.unwrap();
    assert_eq!(store.untold(None, 10).await.unwrap().acts, []);
}

async fn labels_are_carried(store: &(impl LabelStore + ActStore)) {
    let holder = |session: Option<&'static str>| Holder::new("acme", "alice", session);
    let carry =
        async |session: Option<&'static str>, labels: &[&str], until: (Option<u64>, u64)| {
            let carry = Carry {
                holder: holder(session),
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                caller_until: until.0.map(|millis| after(START, millis)),
                session_until: after(START, until.1),
            };
            store.carry(carry).await.unwrap();
        };
    let carried = async |holder: Holder, millis| {
        let mut found = store.carried(holder, after(START, millis)).await.unwrap();
        found.sort();
        let told = |one: &Carried| {
            let left = one.expires_at.millis() - START.millis();
            format!(
                "{}{}@{left}",
                if one.by_session { "s:" } else { "" },
                one.label
            )
        };
        found.iter().map(told).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(carried(holder(None), 0).await, "");
    carry(None, &["pii", "secret"], (Some(100), 500)).await;
    carry(Some("one"), &["pii"], (Some(50), 500)).await;
    // Never shorter, and a session's own beside the caller's.
    assert_eq!(carried(holder(None), 0).await, "pii@100 secret@100");
    assert_eq!(
        carried(holder(Some("one")), 99).await,
        "pii@100 s:pii@500 secret@100"
    );
    assert_eq!(carried(holder(Some("two")), 100).await, "");
    assert_eq!(carried(holder(Some("one")), 100).await, "s:pii@500");
    carry(Some("one"), &["pii"], (None, 900)).await;
    assert_eq!(carried(holder(Some("one")), 100).await, "s:pii@900");
    for stranger in [
        Holder::new("acme", "bob", Some("one")),
        Holder::new("globex", "alice", Some("one")),
        Holder::new("acmealice", "", None),
    ] {
        assert_eq!(carried(stranger, 0).await, "");
    }
    // What has time left stays; the rest goes in portions.
    assert_eq!(store.forget(after(START, 99), 10).await.unwrap(), 0);
    assert_eq!(store.forget(after(START, 100), 1).await.unwrap(), 1);
    assert_eq!(store.forget(after(START, 100), 10).await.unwrap(), 1);
    assert_eq!(carried(holder(Some("one")), 0).await, "s:pii@900");
    // Cleared, it is cleared in every session, and of this caller alone.
    store
        .carry(Carry {
            holder: Holder::new("acme", "bob", None),
            labels: BTreeSet::from(["pii".to_owned()]),
            caller_until: Some(after(START, 100)),
            session_until: START,
        })
        .await
        .unwrap();
    let told = untold(1, "labels.cleared");
    let cleared = store.clear(holder(None), Some(told.clone())).await;
    assert_eq!(cleared.unwrap(), 1);
    let left = store.untold(None, 100).await.unwrap().acts;
    let left = left.into_iter().find(|left| left.id == told.id).unwrap();
    assert_eq!(left.at, told.at);
    assert_eq!(left.act.unwrap().details["cleared"], 1);
    store.told(told.id).await.unwrap();
    assert_eq!(carried(holder(Some("one")), 0).await, "");
    assert_eq!(
        carried(Holder::new("acme", "bob", None), 0).await,
        "pii@100"
    );
}

#[tokio::test]
async fn sqlite_in_memory_holds_the_contract() {
    holds(&Store::over(Sqlite::memory().await.unwrap())).await;
}

#[tokio::test]
async fn sqlite_in_a_file_holds_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::file(&folder.path().join("state.db"), 3).await;
    let store = Store::over(sqlite.unwrap());
    holds(&store).await;
    store.close().await;
}

#[tokio::test]
async fn the_clock_of_a_fixture_is_the_ledgers() {
    let fixture = Fixture::memory().await;
    fixture.pass(1);
    assert_eq!(fixture.state.ledger().now(), fixture.clock.now());
}
