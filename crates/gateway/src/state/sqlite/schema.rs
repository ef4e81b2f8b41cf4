//! The tables, and whose file it is.
//!
//! Which migrations were applied stands in the table in which `sqlx` keeps it, in the same form, so that any version of
//! this program can open the files of any other that knows their schema.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};
use sqlx::migrate::{MigrateError, Migration};
use tokio::time::Instant;

use super::{
    super::{
        StateError,
        sql::{Migrations, migrating, migrator, newest},
    },
    connection::{connect, opened},
};

/// What brings the schema up to date.
const MIGRATIONS: &Migrations = &[
    (
        "operations",
        include_str!("../../../migrations/sqlite/0001_operations.sql"),
    ),
    (
        "revisions",
        include_str!("../../../migrations/sqlite/0002_revisions.sql"),
    ),
    (
        "labels",
        include_str!("../../../migrations/sqlite/0003_labels.sql"),
    ),
    (
        "tools",
        include_str!("../../../migrations/sqlite/0004_tools.sql"),
    ),
    (
        "acts",
        include_str!("../../../migrations/sqlite/0005_acts.sql"),
    ),
    (
        "actors",
        include_str!("../../../migrations/sqlite/0006_actors.sql"),
    ),
    (
        "indexes",
        include_str!("../../../migrations/sqlite/0007_indexes.sql"),
    ),
];
/// Which of them were applied.
const APPLIED: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
)";
/// Says that a file is ours: "FMCP" in ASCII. Source: sqlite.org, "PRAGMA application_id".
const APPLICATION_ID: i64 = 0x464d_4350;

/// A migration was not made.
#[derive(Debug, thiserror::Error)]
enum Unmade {
    #[error("while executing migrations: {0}")]
    Around(#[from] rusqlite::Error),
    #[error("while executing migration {1}: {0}")]
    Within(#[source] rusqlite::Error, i64),
    #[error(transparent)]
    Refused(#[from] MigrateError),
}

/// Marks an empty database as ours; says whether it is.
pub(super) fn adopt(connection: &mut Connection) -> rusqlite::Result<bool> {
    // In one look, or it may seem to have had our tables before our mark while somebody else makes it ours.
    let look = connection.transaction()?;
    let id = application(&look)?;
    let tables: i64 = look.query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    look.rollback()?;
    if id == 0 && tables == 0 {
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        return Ok(true);
    }
    Ok(id == APPLICATION_ID)
}

fn application(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

/// Brings the schema up to date.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StateError> {
    migrate_to(connection, MIGRATIONS)
}

fn migrate_to(connection: &mut Connection, migrations: &Migrations) -> Result<(), StateError> {
    make(connection, migrations).map_err(|unmade| match unmade {
        Unmade::Refused(refused) => migrating(refused, newest(migrations)),
        unmade => StateError::Migrate(std::sync::Arc::new(unmade)),
    })
}

fn make(connection: &mut Connection, migrations: &Migrations) -> Result<(), Unmade> {
    // Two processes that start on one new file take turns; the later one finds everything done.
    let turn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    turn.execute_batch(APPLIED)?;
    let dirty =
        "SELECT version FROM _sqlx_migrations WHERE success = FALSE ORDER BY version LIMIT 1";
    if let Some(version) = turn.query_one(dirty, [], |row| row.get(0)).optional()? {
        return Err(MigrateError::Dirty(version).into());
    }
    let applied = applied(&turn)?;
    let migrator = migrator(migrations);
    for (version, _) in &applied {
        if !migrator.version_exists(*version) {
            return Err(MigrateError::VersionMissing(*version).into());
        }
    }
    for migration in migrator.iter() {
        match applied
            .iter()
            .find(|(version, _)| *version == migration.version)
        {
            Some((version, checksum)) if migration.checksum != *checksum => {
                return Err(MigrateError::VersionMismatch(*version).into());
            }
            Some(_) => {}
            None => apply(&turn, migration)?,
        }
    }
    Ok(turn.commit()?)
}

/// The versions that were applied, with the checksums of what they were made by.
fn applied(connection: &Connection) -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
    connection
        .prepare("SELECT version, checksum FROM _sqlx_migrations ORDER BY version")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn apply(connection: &Connection, migration: &Migration) -> Result<(), Unmade> {
    let start = Instant::now();
    connection
        .execute_batch(migration.sql.as_str())
        .map_err(|source| Unmade::Within(source, migration.version))?;
    let took = i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
    connection.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (?1, ?2, TRUE, ?3, ?4)",
        params![
            migration.version,
            migration.description,
            migration.checksum,
            took
        ],
    )?;
    Ok(())
}

/// The version of the schema in the file, and the one that this program knows; `None` where there is no file.
pub(super) fn versions(path: &Path) -> Result<(Option<i64>, i64), StateError> {
    let known = newest(MIGRATIONS);
    if !path.is_file() {
        return Ok((None, known));
    }
    let failed = |source| opened(path, source);
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, |_| Ok(())).map_err(failed)?;
    let found = version(&connection).map_err(failed)?;
    connection.close().map_err(|(_, source)| failed(source))?;
    match found {
        Some(_) => Ok((found, known)),
        None => Err(StateError::Foreign {
            path: path.display().to_string(),
        }),
    }
}

/// The version of the schema; `None` where the file is another application's.
fn version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    if application(connection)? != APPLICATION_ID {
        return Ok(None);
    }
    let newest = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";
    connection.query_one(newest, [], |row| row.get(0)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sqlx` writes about the first versions: it made the files until now.
    const WRITTEN: [(&str, &str); 4] = [
        (
            "operations",
            "9c116e8db09c512f2c63e0c63323ff90470b756e52365c8c40ecbb057efd0fe2b2ebab417546cfb3d1968744f4efe46a",
        ),
        (
            "revisions",
            "1c86486ac8ffa0d765bcb0bf2ad9b5055b24db971739bcf0ad59c579e69d15f3da69233f53c295187a3f4c9c3c9cadfa",
        ),
        (
            "labels",
            "292974eb0f297cedd84633df26694fb32068d11f016cff664faf5ebdcad1f2fa4e632400252f2af00cf294a4d17bf994",
        ),
        (
            "tools",
            "094f599dd9e5fa3d1894ad62289ba3fea8a8aef812bc3ae8da10ad282b0f5551095625fe9c1baeed2fd9188581c2db72",
        ),
    ];

    /// A file as `sqlx` left it, of the schema's `version`.
    fn made_before(version: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(APPLIED).unwrap();
        let made = (1_i64..).zip(MIGRATIONS).zip(WRITTEN).take(version);
        for ((number, (_, sql)), (name, checksum)) in made {
            connection.execute_batch(sql).unwrap();
            connection
                .execute(
                    "INSERT INTO _sqlx_migrations ( version, description, success, checksum, execution_time ) \
                     VALUES ( ?1, ?2, TRUE, unhex(?3), 1234 )",
                    params![number, name, checksum],
                )
                .unwrap();
        }
        connection
    }

    fn written(connection: &Connection) -> Vec<(String, String)> {
        connection
            .prepare(
                "SELECT description, lower(hex(checksum)) FROM _sqlx_migrations \
                 WHERE success = 1 AND execution_time > 0 AND installed_on LIKE '20__-__-__ __:__:__' ORDER BY version",
            )
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap()
    }

    #[test]
    fn files_of_earlier_versions_are_brought_up_to_date() {
        for version in 0..=WRITTEN.len() {
            let mut connection = made_before(version);
            migrate(&mut connection).unwrap();
            let expected = WRITTEN.map(|(name, checksum)| (name.to_owned(), checksum.to_owned()));
            assert_eq!(written(&connection)[..4], expected, "from {version}");
            let columns = "SELECT labels, tool FROM operations";
            assert!(connection.prepare(columns).is_ok(), "from {version}");
        }
    }

    #[test]
    fn what_a_file_holds_is_kept() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .pragma_update(None, "foreign_keys", true)
            .unwrap();
        migrate_to(&mut connection, &MIGRATIONS[..6]).unwrap();
        let made = "INSERT INTO operations (operation_id, tenant, subject, tool_id, definition_hash, args_digest, obligations, \
             policy_version, state, owner, fence, lease_until, created_at, updated_at, expires_at, retain_until) \
             SELECT format('0190%032d', value), 'acme', 'alice', 'ads:create', zeroblob(32), zeroblob(32), '[]', 'v1', \
             iif(value % 2, 'claimed', 'completed'), 'replica-1', value, iif(value % 2, 5, NULL), 1, 2, 3, 4 \
             FROM (WITH RECURSIVE n(value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM n WHERE value < 100) \
             SELECT value FROM n)";
        connection.execute(made, []).unwrap();
        let named = "INSERT INTO idempotency_keys SELECT tenant, subject, tool_id, 'key-' || fence, operation_id FROM operations";
        connection.execute(named, []).unwrap();
        let held = |connection: &Connection| -> (String, String) {
            let all = "SELECT (SELECT group_concat(format('%s %s %d %s %s', operation_id, state, fence, lease_until, actors)) \
                 FROM operations), (SELECT group_concat(format('%s %s %s', tenant, key, operation_id)) FROM idempotency_keys)";
            connection
                .query_one(all, [], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap()
        };
        let before = held(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(held(&connection), before);
        let wrong = "SELECT count(*) FROM pragma_foreign_key_check";
        let wrong: i64 = connection.query_one(wrong, [], |row| row.get(0)).unwrap();
        assert_eq!(wrong, 0);
        connection
            .execute("DELETE FROM operations WHERE fence <= 40", [])
            .unwrap();
        let left = "SELECT count(*) FROM idempotency_keys";
        let left: i64 = connection.query_one(left, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 60, "a key goes with its operation");
    }

    #[test]
    fn what_is_up_to_date_stays_as_it_is() {
        let mut connection = made_before(WRITTEN.len());
        migrate_to(&mut connection, &MIGRATIONS[..4]).unwrap();
        assert_eq!(connection.total_changes(), made_before(4).total_changes());
    }

    #[test]
    fn schemas_that_are_not_what_they_say_are_refused() {
        for (damage, expected) in [
            (
                "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 2",
                "migration 2 was previously applied but has been modified",
            ),
            (
                "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 3",
                "migration 3 is partially applied; fix and remove row from `_sqlx_migrations` table",
            ),
            (
                "INSERT INTO _sqlx_migrations VALUES (-1, 'other', CURRENT_TIMESTAMP, TRUE, x'00', 1)",
                "migration -1 was previously applied but is missing in the resolved migrations",
            ),
        ] {
            let mut connection = made_before(WRITTEN.len());
            connection.execute_batch(damage).unwrap();
            let StateError::Migrate(refused) = migrate(&mut connection).unwrap_err() else {
                panic!("{damage}");
            };
            assert_eq!(refused.to_string(), expected);
        }
        let mut connection = made_before(WRITTEN.len());
        let newer =
            "INSERT INTO _sqlx_migrations VALUES (99, 'newer', CURRENT_TIMESTAMP, TRUE, x'00', 1)";
        connection.execute_batch(newer).unwrap();
        let refused = migrate(&mut connection).unwrap_err();
        assert!(
            matches!(refused, StateError::Newer { version: 99, .. }),
            "{refused:?}"
        );
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing() {
        let mut connection = made_before(WRITTEN.len());
        let broken: Vec<_> = MIGRATIONS
            .iter()
            .copied()
            .chain([("broken", "CREATE TABLE half (a); CREATE TABLE half (b)")])
            .collect();
        let StateError::Migrate(failed) = migrate_to(&mut connection, &broken).unwrap_err() else {
            panic!("what fails is a migration");
        };
        let told = format!(
            "while executing migration {}: table half already exists",
            broken.len()
        );
        assert!(failed.to_string().starts_with(&told), "{failed}");
        assert!(connection.prepare("SELECT a FROM half").is_err());
        migrate(&mut connection).unwrap();
    }
}
