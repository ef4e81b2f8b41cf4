//! A real server, its outages among them.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp::seal::KeyRing;
use fastmcp_guard::clock::{ManualClock, SystemClock, Timestamp};
use fastmcp_services::Postgres as Server;
use futures_util::{future::join_all, poll};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    confirm::{Config, Confirm, Consent, Redemption, Refusal, replica_tests::replicas},
    once::{Begin, Once},
    state::{
        Backend as _, Location, Options, State,
        contract_tests::{Fixture, START, after, binding, holds, key, row},
        ledger::RECENT_WINDOW,
        machine::{Machine, Settlement, Status},
        operation::{Binding, Create, OperationStore as _, Recovered, Stored},
        sql::{Store, operation::model_tests::steps_as_the_machine_does},
        ticket::Lost,
    },
};

const LEASE: Duration = Duration::from_secs(10);

/// An empty database of its own on a server that several tests share.
async fn fresh(server: &Server, name: &str) -> Address {
    let mut connection = plain(&server.url()).await;
    let make = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(make))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    address(&server.url().replace("/postgres", &format!("/{name}")))
}

fn address(url: &str) -> Address {
    Address::parse(url).unwrap()
}

async fn plain(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    PgConnection::connect_with(&options).await.unwrap()
}

async fn store(address: &Address) -> Store<Postgres> {
    let patience = Duration::from_secs(60);
    let opened = Postgres::open(address, 8, patience, Arc::new(SystemClock)).await;
    Store::over(opened.unwrap())
}

/// Two replicas over one database.
async fn pair(address: &Address) -> [Fixture; 2] {
    let keys = Arc::new(KeyRing::ephemeral().unwrap());
    let location = Location::Postgres(address.clone());
    [
        Fixture::replica(location.clone(), Arc::clone(&keys), "replica-1").await,
        Fixture::replica(location, keys, "replica-2").await,
    ]
}

fn rooms(pair: &[Fixture; 2]) -> [Confirm; 2] {
    [&pair[0], &pair[1]].map(|fixture| {
        let config = Config {
            max_pending_per_subject: 5,
            ..Config::default()
        };
        Confirm::new(fixture.state.ledger().clone(), config).unwrap()
    })
}

/// Everything that SQLite's tests ask, and what only several replicas can do to each other. One story, since a server
/// of its own for each chapter would cost more than the chapters.
#[test]
fn postgres_holds_the_contract_under_replicas() {
    let server = Server::start().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let contract = store(&fresh(&server, "contract").await).await;
        holds(&contract).await;
        contract.ready().await.unwrap();
        contract.close().await;
        assert!(matches!(contract.ready().await, Err(StateError::Closed)));

        replicas_that_start_together_migrate_once(&fresh(&server, "together").await).await;
        of_a_thousand_rivals_one_acts(&fresh(&server, "rivals").await).await;
        a_key_that_is_free_again_is_taken_once(&fresh(&server, "again").await).await;
        what_waits_is_counted_in_turns(&fresh(&server, "turns").await).await;
        sweeps_of_replicas_share_the_work(&fresh(&server, "sweeps").await).await;
        what_one_does_the_other_sees(&fresh(&server, "sees").await).await;
        let keys = fresh(&server, "keys").await;
        crate::state::rotation_tests::keys_rotate(Location::Postgres(keys)).await;
    });
    let model = runtime.block_on(async { store(&fresh(&server, "model").await).await });
    steps_as_the_machine_does(&runtime, &model, 40);
    let pair = runtime.block_on(async { pair(&fresh(&server, "replicas").await).await });
    replicas(&runtime, &pair, 30);
}

async fn replicas_that_start_together_migrate_once(address: &Address) {
    let stores = join_all((0..6).map(|_| store(address))).await;
    let seen = inspect(address, &SystemClock).await.unwrap();
    assert_eq!(seen.schema, Some(seen.known));
    assert_eq!(seen.is_encrypted, Some(false));
    assert!(seen.skew_millis.unwrap().abs() < 2_000, "{seen:?}");
    let revisions = join_all(stores.iter().map(|store| {
        use crate::state::manifest::ManifestStore as _;
        store.revision()
    }));
    for revision in revisions.await {
        assert_eq!(revision.unwrap(), 0);
    }
    join_all(stores.iter().map(|store| store.close())).await;
}

async fn of_a_thousand_rivals_one_acts(address: &Address) {
    let pair = pair(address).await;
    let rooms = rooms(&pair);
    let issued = rooms[0].reserve(&binding(), b"{}", None).await.unwrap();
    let mut rivals = tokio::task::JoinSet::new();
    for rival in 0..1_000 {
        let (room, token) = (rooms[rival % 2].clone(), issued.action_token.clone());
        rivals.spawn(async move {
            let presented = binding();
            let redemption = Redemption {
                presented: &presented,
                idempotency_key: None,
                consent: Consent::Client,
            };
            room.redeem(token.expose(), &redemption).await
        });
    }
    let mut tickets = Vec::new();
    for outcome in rivals.join_all().await {
        match outcome {
            Ok(ticket) => tickets.push(ticket),
            Err(Refusal::Used { report, .. }) => assert_eq!(report.status, Status::Claimed),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(tickets.len(), 1);

    let call = Binding {
        args_digest: [5; 32],
        ..binding()
    };
    let onces = [&pair[0], &pair[1]].map(|fixture| Once::new(fixture.state.ledger().clone()));
    let named = key("thousand");
    let begun = join_all((0..1_000).map(|rival| onces[rival % 2].begin(&call, &named))).await;
    let mut running = 0;
    for outcome in begun {
        match outcome.unwrap() {
            Begin::Run(_) => running += 1,
            Begin::InProgress { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(running, 1);
}

/// What failed without an effect gives its key back, and clients repeat such calls: on any replica, at the same time.
async fn a_key_that_is_free_again_is_taken_once(address: &Address) {
    let pair = pair(address).await;
    let onces = [&pair[0], &pair[1]].map(|fixture| Once::new(fixture.state.ledger().clone()));
    for round in 0..10 {
        let (call, named) = (binding(), key(&format!("again-{round}")));
        match onces[0].begin(&call, &named).await.unwrap() {
            Begin::Run(ticket) => ticket.fail("nothing was sent").await.unwrap(),
            other => panic!("{other:?}"),
        }
        let begun = join_all((0..100).map(|rival| onces[rival % 2].begin(&call, &named))).await;
        let mut running = 0;
        for outcome in begun {
            match outcome.unwrap() {
                Begin::Run(_) => running += 1,
                Begin::InProgress { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(running, 1, "round {round}");
    }
}

async fn what_waits_is_counted_in_turns(address: &Address) {
    let pair = pair(address).await;
    let rooms = rooms(&pair);
    let calls: Vec<_> = (0..60_u8)
        .map(|rival| Binding {
            args_digest: [rival; 32],
            ..binding()
        })
        .collect();
    // The same call many times over is one that waits, whichever replica it comes to.
    let same = (0..60).map(|rival| rooms[rival % 2].reserve(&calls[0], b"{}", None));
    let mut waiting: Vec<_> = join_all(same)
        .await
        .into_iter()
        .map(|outcome| outcome.unwrap().operation_id)
        .collect();
    waiting.sort();
    waiting.dedup();
    assert_eq!(waiting.len(), 1);
    let asked = calls.iter().zip(0..);
    let asked = asked.map(|(call, rival): (_, usize)| rooms[rival % 2].reserve(call, b"{}", None));
    let (mut issued, mut refused) = (0, 0);
    for outcome in join_all(asked).await {
        match outcome {
            Ok(_) => issued += 1,
            Err(Refusal::TooManyPending { limit: 5 }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((issued, refused), (5, 55));
}

async fn sweeps_of_replicas_share_the_work(address: &Address) {
    let stores = [store(address).await, store(address).await];
    let owner = crate::state::contract_tests::owner();
    for _ in 0..40 {
        let machine = Machine::claimed(owner.clone(), after(START, 10), after(START, 1_000));
        let create = Create {
            row: row(binding(), machine, START),
            key: None,
            max_pending: None,
            attaches: false,
        };
        stores[0].create(create).await.unwrap();
    }
    let late = after(START, 20);
    let swept = join_all((0..8).map(|turn| stores[turn % 2].recover(late, 10))).await;
    let released: u64 = swept
        .iter()
        .map(|found| found.as_ref().unwrap().released)
        .sum();
    let rest = stores[0].recover(late, 100).await.unwrap();
    assert_eq!(released + rest.released, 40, "each row once");
    assert_eq!(
        stores[1].recover(late, 100).await.unwrap(),
        Recovered::default()
    );
}

async fn what_one_does_the_other_sees(address: &Address) {
    let pair = pair(address).await;
    let onces = [&pair[0], &pair[1]].map(|fixture| Once::new(fixture.state.ledger().clone()));
    let (call, named) = (binding(), key("seen"));
    let Begin::Run(ticket) = onces[0].begin(&call, &named).await.unwrap() else {
        panic!("nobody else has begun");
    };
    let id = ticket.operation_id().clone();
    let acting = ticket.intend(LEASE).await.unwrap();
    // The other one's recovery leaves what is at work alone, and calls it unknown when its time is over.
    let swept = pair[1].state.ledger().sweep(100).await.unwrap();
    assert_eq!(swept.recovered, Recovered::default());
    pair[1].pass(11_000);
    let swept = pair[1].state.ledger().sweep(100).await.unwrap();
    assert_eq!(swept.recovered.unknown.len(), 1);
    let Begin::Unknown { operation_id } = onces[1].begin(&call, &named).await.unwrap() else {
        panic!("nobody knows");
    };
    assert_eq!(operation_id, id);
    // Whoever acted may still say how it ended, and a person cannot contradict it then.
    acting.complete(b"done").await.unwrap();
    let ledger = pair[1].state.ledger();
    assert!(ledger.settle(&id, Settlement::Failed, "no").await.is_err());
    match onces[1].begin(&call, &named).await.unwrap() {
        Begin::Replay(report) => {
            assert_eq!(report.result.unwrap().bytes(), Some(&b"done"[..]));
        }
        other => panic!("{other:?}"),
    }
    pair[0].pass(u64::try_from(RECENT_WINDOW.as_millis()).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_refused_with_its_reason() {
    let server = Server::start().unwrap();
    let open = async |address: &Address| {
        let clock = Arc::new(SystemClock);
        Postgres::open(address, 2, LEASE, clock).await.map(drop)
    };
    let newer = fresh(&server, "newer").await;
    open(&newer).await.unwrap();
    let url = server.url().replace("/postgres", "/newer");
    let mut connection = plain(&url).await;
    sqlx::query("INSERT INTO fastmcp_migrations VALUES (99, 'newer', now(), TRUE, '', 1)")
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = open(&newer).await.unwrap_err();
    assert!(
        matches!(refused, StateError::Newer { version: 99, .. }),
        "{refused:?}"
    );

    let taken = fresh(&server, "taken").await;
    let mut connection = plain(&server.url().replace("/postgres", "/taken")).await;
    sqlx::raw_sql("CREATE TABLE operations (surgeon TEXT)")
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = open(&taken).await.unwrap_err();
    assert!(matches!(refused, StateError::Foreign { .. }), "{refused:?}");

    // A role that may use the tables and make none is enough once they are there.
    fresh(&server, "modest").await;
    let url = server.url().replace("/postgres", "/modest");
    open(&address(&url)).await.unwrap();
    sqlx::raw_sql(
        "CREATE ROLE modest LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO modest",
    )
    .execute(&mut plain(&url).await)
    .await
    .unwrap();
    let modest = address(&url.replace("fastmcp@", "modest:hunter2@"));
    let store = store(&modest).await;
    holds(&store).await;

    // Whatever is wrong is said without the password.
    for wrong in [
        url.replace("fastmcp@", "nobody:hunter2@"),
        url.replace("fastmcp@", "fastmcp:hunter2@")
            .replace("/modest", "/missing"),
        format!("{}?sslmode=require", url.replace("fastmcp@", "x:hunter2@")),
    ] {
        let refused = open(&address(&wrong)).await.unwrap_err();
        let mut told = format!("{refused} {refused:?}");
        let mut cause: Option<&dyn std::error::Error> = Some(&refused);
        while let Some(error) = cause {
            write!(told, " {error}").unwrap();
            cause = error.source();
        }
        assert!(!told.contains("hunter2"), "{told}");
        assert!(matches!(refused, StateError::Open { .. }), "{told}");
    }

    // Read-only is not ready, and is ready again by itself.
    let mut connection = plain(&url).await;
    let say = async |connection: &mut PgConnection, sql: &'static str| {
        sqlx::raw_sql(sql).execute(connection).await.unwrap();
    };
    say(
        &mut connection,
        "ALTER DATABASE modest SET default_transaction_read_only = on",
    )
    .await;
    let frozen = self::store(&modest).await;
    assert!(matches!(frozen.ready().await, Err(StateError::ReadOnly)));
    let create = Create {
        row: row(binding(), Machine::reserved(after(START, 1)), START),
        key: None,
        max_pending: None,
        attaches: false,
    };
    let refused = frozen.create(create.clone()).await.unwrap_err();
    assert!(matches!(refused, StateError::ReadOnly), "{refused:?}");
    say(
        &mut connection,
        "SET default_transaction_read_only = off; ALTER DATABASE modest RESET default_transaction_read_only",
    )
    .await;
    until(async || {
        // Connections that were made meanwhile are given up one by one.
        let _refused = frozen.create(create.clone()).await;
        frozen.ready().await.is_ok()
    })
    .await;
}

/// Looks again and again, but not for ever.
async fn until(mut look: impl AsyncFnMut() -> bool) {
    let patience = Duration::from_secs(60);
    let looked = tokio::time::timeout(patience, async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !look().await {
            ticks.tick().await;
        }
    });
    looked.await.expect("it to come true in time");
}

/// A certificate authority of its own, and a server that shows a certificate of it for 127.0.0.1. Returns the folder
/// with the authority's `ca.pem` and a stranger's `stranger.pem`.
async fn with_tls(server: &Server) -> tempfile::TempDir {
    use std::{fs, os::unix::fs as unix};

    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (
            params.self_signed(&key).unwrap(),
            rcgen::Issuer::new(params, key),
        )
    };
    let ((ca, issuer), (stranger, _)) = (authority("ours"), authority("theirs"));
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();

    let mut connection = plain(&server.url()).await;
    let data: String = sqlx::query_scalar("SELECT current_setting('data_directory')")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("ca.pem"), ca.pem()).unwrap();
    fs::write(file("stranger.pem"), stranger.pem()).unwrap();
    // Where tests run as root the server runs as another user, who owns its data.
    let owner = fs::metadata(&data).unwrap();
    for (name, text) in [
        ("server.crt", certificate.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        let path = std::path::Path::new(&data).join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, unix::PermissionsExt::from_mode(0o600)).unwrap();
        let (user, group) = (
            unix::MetadataExt::uid(&owner),
            unix::MetadataExt::gid(&owner),
        );
        unix::chown(&path, Some(user), Some(group)).unwrap();
    }
    for sql in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_is_encrypted_and_the_server_is_who_it_must_be() {
    let server = Server::start().unwrap();
    let folder = with_tls(&server).await;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ours, stranger) = (path("ca.pem"), path("stranger.pem"));
    let checked = |root: &str| {
        address(&format!(
            "{}?sslmode=verify-full&sslrootcert={root}",
            server.url()
        ))
    };
    let address = checked(&ours);
    // The server takes its new settings over a moment after it is told to.
    until(async || inspect(&address, &SystemClock).await.is_ok()).await;
    let seen = inspect(&address, &SystemClock).await.unwrap();
    assert_eq!(seen.is_encrypted, Some(true), "{seen:?}");
    let store = store(&address).await;
    store.ready().await.unwrap();
    for refused in [
        checked(&stranger),
        self::address(&format!("{}?sslmode=verify-full", server.url())),
        // Its certificate names 127.0.0.1 alone.
        self::address(&format!(
            "{}?sslmode=verify-full&sslrootcert={ours}",
            server.url().replace("127.0.0.1", "localhost")
        )),
    ] {
        let clock = Arc::new(SystemClock);
        let refused = Postgres::open(&refused, 1, LEASE, clock).await;
        assert!(
            matches!(refused, Err(StateError::Open { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_refuses_and_is_over_by_itself() {
    let mut server = Server::start().unwrap();
    let location = Location::Postgres(address(&server.url()));
    let keys = Arc::new(KeyRing::ephemeral().unwrap());
    let mut options = Options::new(location, keys, "replica-1").unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1)));
    options.clock = clock.clone();
    options.recording = Duration::ZERO;
    let state = State::open(options).await.unwrap();
    let once = Once::new(state.ledger().clone());
    let call = binding();
    let begin = async |name: &str| match once.begin(&call, &key(name)).await {
        Ok(Begin::Run(ticket)) => Ok(ticket),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    state.ready().await.unwrap();
    let acting = async |name: &str| begin(name).await.unwrap().intend(LEASE).await.unwrap();
    let [acts, leaves] = [acting("acts").await, acting("leaves").await];
    let ids = [acts.operation_id().clone(), leaves.operation_id().clone()];

    server.stop();
    until(async || matches!(state.ready().await, Err(StateError::Unreachable(_)))).await;
    let rounds = AtomicUsize::new(0);
    let many = async || {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let names: Vec<_> = (0..64).map(|name| format!("away-{round}-{name}")).collect();
        join_all(names.iter().map(|name| begin(name))).await
    };
    // Its processes see a moment later than others that the server is gone.
    until(async || many().await.iter().all(Result::is_err)).await;
    // Who comes now is told soon, and all of them at once: nobody queues before a closed door.
    let asked = tokio::time::Instant::now();
    for refused in many().await {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, StateError::Unreachable(_) | StateError::Busy),
            "{refused:?}"
        );
        assert!(refused.is_passing());
    }
    assert!(asked.elapsed() < Duration::from_secs(30), "{asked:?}");

    // What has acted meanwhile is told so, and recorded once the server is back: also where recovery was faster.
    let late = acts.complete(b"done").await.unwrap_err();
    assert!(matches!(late, Lost::Late { .. }), "{late:?}");
    {
        let mut leaving = Box::pin(leaves.complete(b"done"));
        // Left at once; a server may be faster.
        let _polled = poll!(&mut leaving);
    }
    tokio::task::block_in_place(|| server.start_again()).unwrap();
    until(async || state.ready().await.is_ok()).await;
    clock.advance(LEASE);
    let swept = state.ledger().sweep(10).await.unwrap();
    assert_eq!(swept.recovered.unknown.len(), 2);
    let shutdown = CancellationToken::new();
    tokio::join!(state.ledger().record_late(shutdown.clone()), async {
        for id in &ids {
            let report = async || state.ledger().report("acme", id).await.unwrap().unwrap();
            until(async || report().await.status == Status::Completed).await;
            let result = report().await.result;
            assert_eq!(result, Some(Stored::Bytes(b"done".to_vec())));
        }
        shutdown.cancel();
    });
    let _held = begin("back").await.unwrap();

    // What is not recorded yet at the end is tried once more.
    let last = acting("last").await;
    let id = last.operation_id().clone();
    {
        let mut leaving = Box::pin(last.complete(b"done"));
        // Left at once; a server may be faster.
        let _polled = poll!(&mut leaving);
    }
    state.close().await;
    let mut seeing = plain(&server.url()).await;
    let status: String = sqlx::query_scalar("SELECT state FROM operations WHERE operation_id = $1")
        .bind(id.as_str())
        .fetch_one(&mut seeing)
        .await
        .unwrap();
    assert_eq!(status, "completed");
}
