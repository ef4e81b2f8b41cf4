//! The tables, and what is known of the server before they are used.

use std::{sync::Arc, time::Duration};

use fastmcp_guard::clock::Clock;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::{
    super::{
        Sight, StateError,
        sql::{Migrations, migrating, migrator, newest},
    },
    address::Address,
    bounded, is_outage,
};

/// What brings the schema up to date.
const MIGRATIONS: &Migrations = &[
    (
        "operations",
        include_str!("../../../migrations/postgres/0001_operations.sql"),
    ),
    (
        "revisions",
        include_str!("../../../migrations/postgres/0002_revisions.sql"),
    ),
    (
        "labels",
        include_str!("../../../migrations/postgres/0003_labels.sql"),
    ),
    (
        "tools",
        include_str!("../../../migrations/postgres/0004_tools.sql"),
    ),
    (
        "acts",
        include_str!("../../../migrations/postgres/0005_acts.sql"),
    ),
    (
        "actors",
        include_str!("../../../migrations/postgres/0006_actors.sql"),
    ),
    (
        "indexes",
        include_str!("../../../migrations/postgres/0007_indexes.sql"),
    ),
];
/// Which of them were applied: a table of our own, since a database may be shared with others.
const APPLIED: &str = "fastmcp_migrations";
/// How long a migration may take, and how long a replica waits for another one's.
const MIGRATION: Duration = Duration::from_secs(60);
/// How long a server that is only starting is waited for.
const STARTING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// By how much the clocks of server and replica may differ before it is said.
const SKEW_MILLIS: i64 = 2_000;

/// Brings the schema up to date, and says what is odd about the server.
pub(super) async fn prepare(address: &Address, clock: &dyn Clock) -> Result<(), StateError> {
    let name = address.to_string();
    let mut connection = connect(address, MIGRATION).await?;
    migrate(&mut connection, &name).await?;
    let skew = skew(&mut connection, clock)
        .await
        .map_err(|source| opened(&name, source))?;
    if skew.abs() > SKEW_MILLIS {
        warn_of_clocks(skew);
    }
    if !address.is_guarded() {
        warn_of_strangers();
    }
    connection
        .close()
        .await
        .map_err(|source| opened(&name, source))
}

fn warn_of_clocks(ahead_millis: i64) {
    tracing::warn!(
        ahead_millis,
        "clock of the state database differs from this machine's; leases and tickets end early or late until one is set"
    );
}

fn warn_of_strangers() {
    tracing::warn!(
        "certificate of the state database is not checked; add `sslmode=verify-full` to DATABASE_URL"
    );
}

/// What a look at a database finds.
pub(in crate::state) async fn inspect(
    address: &Address,
    clock: &dyn Clock,
) -> Result<Sight, StateError> {
    let name = address.to_string();
    let mut connection = connect(address, STARTING).await?;
    let found = sight(&mut connection, &name, clock).await;
    let closed = connection.close().await;
    let sight = found?;
    closed.map_err(|source| opened(&name, source))?;
    Ok(sight)
}

async fn sight(
    connection: &mut PgConnection,
    name: &str,
    clock: &dyn Clock,
) -> Result<Sight, StateError> {
    let failed = |source| opened(name, source);
    let schema = version(connection, name).await?;
    let skew = skew(connection, clock).await.map_err(failed)?;
    let server: String = sqlx::query_scalar("SELECT current_setting('server_version')")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let is_encrypted: Option<bool> =
        sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .fetch_optional(connection)
            .await
            .map_err(failed)?;
    Ok(Sight {
        server: Some(server),
        schema,
        known: newest(MIGRATIONS),
        skew_millis: Some(skew),
        is_encrypted,
    })
}

/// Makes a connection, waiting a little for a server that is not there yet.
async fn connect(address: &Address, bound: Duration) -> Result<PgConnection, StateError> {
    let options = bounded(address, bound);
    let until = tokio::time::Instant::now() + STARTING;
    loop {
        let connected = tokio::time::timeout_at(until, options.connect()).await;
        let error = match connected {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
        };
        let is_over = tokio::time::Instant::now() + PAUSE >= until;
        if is_over || !is_starting(&error) {
            return Err(opened(&address.to_string(), error));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a server that starts says so.
fn is_starting(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof,
    };

    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof
        ),
        sqlx::Error::Database(_) => is_outage(error),
        _ => false,
    }
}

async fn migrate(connection: &mut PgConnection, name: &str) -> Result<(), StateError> {
    let known = newest(MIGRATIONS);
    match version(connection, name).await? {
        Some(version) if version > known => return Err(StateError::Newer { version, known }),
        // Nothing is asked of a role that may only use the tables.
        Some(version) if version == known => return Ok(()),
        _ => {}
    }
    let mut migrator = migrator(MIGRATIONS);
    migrator.dangerous_set_table_name(APPLIED);
    // Under an advisory lock: of replicas that start together one migrates, and the others find it done. Each
    // migration is a transaction.
    migrator
        .run(connection)
        .await
        .map_err(|source| migrating(source, known))
}

/// The version of the schema; `None` where nothing of ours is there.
async fn version(connection: &mut PgConnection, name: &str) -> Result<Option<i64>, StateError> {
    let failed = |source| opened(name, source);
    let (is_ours, is_taken): (bool, bool) = sqlx::query_as(
        "SELECT to_regclass('fastmcp_migrations') IS NOT NULL, \
         to_regclass('operations') IS NOT NULL OR to_regclass('manifests') IS NOT NULL",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    match (is_ours, is_taken) {
        (true, _) => sqlx::query_scalar("SELECT max(version) FROM fastmcp_migrations")
            .fetch_one(connection)
            .await
            .map_err(failed),
        (false, true) => Err(StateError::Foreign {
            path: name.to_owned(),
        }),
        (false, false) => Ok(None),
    }
}

/// By how many milliseconds the server's clock is ahead of ours.
async fn skew(connection: &mut PgConnection, clock: &dyn Clock) -> Result<i64, sqlx::Error> {
    let millis = || i64::try_from(clock.now().millis()).unwrap_or(i64::MAX);
    let before = millis();
    let theirs: i64 =
        sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(connection)
            .await?;
    let ours = before.midpoint(millis());
    Ok(theirs.saturating_sub(ours))
}

fn opened(name: &str, source: sqlx::Error) -> StateError {
    StateError::Open {
        path: name.to_owned(),
        source: Arc::new(source),
    }
}
