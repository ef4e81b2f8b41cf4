//! What a statement is: reading, changing rows, or changing the schema.
//!
//! This is the second opinion, which decides the scopes and tags that a call demands. The wall is
//! [`rules`](super::rules) on a connection that cannot do more than the class allows.

mod shape;

use std::ops::ControlFlow;

use sqlparser::{
    ast::{
        Expr, Insert, ObjectType, SqliteOnConflict, Statement, Update, visit_expressions,
        visit_statements,
    },
    dialect::SQLiteDialect,
    parser::Parser,
};

use self::shape::{Shape, shape};
use crate::provider::{ProviderError, input::shorten};

/// The longest statement, in bytes.
pub(super) const MAX_SQL_BYTES: usize = 64 * 1024;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Reads.
    Read,
    /// Inserts, updates or deletes rows.
    Change,
    /// Changes the schema.
    Define,
}

/// A statement's class, and whether it loses what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) class: Class,
    pub(super) destructive: bool,
}

impl Kind {
    pub(super) const READ: Self = Self {
        class: Class::Read,
        destructive: false,
    };

    const fn of(class: Class, destructive: bool) -> Self {
        Self { class, destructive }
    }

    fn and(self, other: Self) -> Self {
        Self {
            class: self.class.max(other.class),
            destructive: self.destructive || other.destructive,
        }
    }
}

/// Classifies `sql`, which is exactly one statement.
///
/// # Errors
///
/// An invalid-argument error when `sql` does not parse, is too long, is several statements, or is none that is
/// available here (transactions, `PRAGMA`, `ATTACH`, `VACUUM` and the like are not).
pub(super) fn classify(sql: &str) -> Result<Kind, ProviderError> {
    if sql.len() > MAX_SQL_BYTES {
        let message = format!(
            "`query` has {} bytes, more than {MAX_SQL_BYTES}: pass long values through `params`",
            sql.len()
        );
        return Err(ProviderError::invalid(message));
    }
    if sql.contains('\0') {
        return Err(ProviderError::invalid(
            "`query` contains a NUL character: remove it",
        ));
    }
    let tokens = match shape(sql)? {
        // A trigger deletes later, when another statement fires it. SQLite parses its body.
        Shape::Trigger => return Ok(Kind::of(Class::Define, true)),
        Shape::Statement(tokens) => tokens,
    };
    let dialect = SQLiteDialect {};
    let statements = Parser::new(&dialect)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| not_understood(&error.to_string()))?;
    let [statement] = statements.as_slice() else {
        return Err(several(statements.len()));
    };
    kind_of(statement)
}

fn several(count: usize) -> ProviderError {
    ProviderError::invalid(format!(
        "`query` holds {count} statements: send exactly one"
    ))
}

fn not_understood(error: &str) -> ProviderError {
    let error = error.strip_prefix("sql parser error: ").unwrap_or(error);
    ProviderError::invalid(shorten(&format!("`query` cannot be understood: {error}")))
}

fn refused(what: &str) -> ProviderError {
    ProviderError::invalid(shorten(&format!(
        "`query`: `{what}` is not available here; send one SELECT, INSERT, UPDATE, DELETE, or CREATE, ALTER or DROP of a table, view, index or trigger"
    )))
}

/// The kind of `statement` and of every statement within it.
fn kind_of(statement: &Statement) -> Result<Kind, ProviderError> {
    let mut kind = Kind::READ;
    let flow = visit_statements(statement, |inner: &Statement| match own_kind(inner) {
        Ok(own) => {
            kind = kind.and(own);
            ControlFlow::Continue(())
        }
        Err(error) => ControlFlow::Break(error),
    });
    match flow {
        ControlFlow::Continue(()) => Ok(kind),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The kind of `statement`, leaving out what stands within it.
fn own_kind(statement: &Statement) -> Result<Kind, ProviderError> {
    Ok(match statement {
        Statement::Query(_) => Kind::READ,
        Statement::Insert(insert) => Kind::of(Class::Change, insert_replaces(insert)),
        Statement::Update(update) => Kind::of(Class::Change, update_is_broad(update)),
        Statement::Delete(_) => Kind::of(Class::Change, true),
        Statement::CreateTable(create) if create.temporary => {
            return Err(refused("CREATE TEMP TABLE"));
        }
        Statement::CreateView(create) if create.temporary => {
            return Err(refused("CREATE TEMP VIEW"));
        }
        Statement::CreateTable(_) | Statement::CreateView(_) | Statement::CreateIndex(_) => {
            Kind::of(Class::Define, false)
        }
        Statement::DropTrigger(_) | Statement::AlterTable(_) => Kind::of(Class::Define, true),
        Statement::Drop {
            object_type: ObjectType::Table | ObjectType::View | ObjectType::Index,
            ..
        } => Kind::of(Class::Define, true),
        other => return Err(refused(&leading_words(other))),
    })
}

/// `INSERT OR REPLACE` and `REPLACE` delete the rows that are in the way.
fn insert_replaces(insert: &Insert) -> bool {
    insert.replace_into || insert.overwrite || matches!(insert.or, Some(SqliteOnConflict::Replace))
}

/// Whether an update overwrites rows without choosing them: no `WHERE`, or one that names no column.
fn update_is_broad(update: &Update) -> bool {
    let chooses = update.selection.as_ref().is_some_and(names_a_column);
    !chooses || matches!(update.or, Some(SqliteOnConflict::Replace))
}

fn names_a_column(expression: &Expr) -> bool {
    visit_expressions(expression, |inner: &Expr| match inner {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

fn leading_words(statement: &Statement) -> String {
    statement
        .to_string()
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Kind = Kind::READ;
    const CHANGE: Kind = Kind::of(Class::Change, false);
    const DESTROY: Kind = Kind::of(Class::Change, true);
    const DEFINE: Kind = Kind::of(Class::Define, false);
    const ALTER: Kind = Kind::of(Class::Define, true);

    #[test]
    fn statements_have_their_class() {
        for (sql, kind) in [
            ("SELECT * FROM t", READ),
            (
                "select '-- not a comment; DROP TABLE t' -- but this is",
                READ,
            ),
            ("SELECT 'a;b' /* ; DELETE FROM t */ ;", READ),
            ("VALUES (1), (2)", READ),
            ("(SELECT 1)", READ),
            (
                "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
                READ,
            ),
            ("EXPLAIN QUERY PLAN SELECT 1", READ),
            (
                "SELECT a ->> '$.b' FROM t WHERE a GLOB 'x*' AND b = ?1 AND c = :name",
                READ,
            ),
            ("INSERT INTO t VALUES (1)", CHANGE),
            (
                "INSERT INTO t(a) VALUES (1) ON CONFLICT(a) DO UPDATE SET a = 2",
                CHANGE,
            ),
            ("INSERT OR IGNORE INTO t VALUES (1) RETURNING a", CHANGE),
            ("INSERT OR REPLACE INTO t VALUES (1)", DESTROY),
            ("REPLACE INTO t VALUES (1)", DESTROY),
            ("UPDATE t SET a = 1 WHERE id = 2", CHANGE),
            ("UPDATE t SET a = 1", DESTROY),
            ("UPDATE t SET a = 1 WHERE 1 = 1", DESTROY),
            ("DELETE FROM t WHERE id = 1", DESTROY),
            ("WITH x AS (SELECT 1) DELETE FROM t", DESTROY),
            ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", CHANGE),
            (
                "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
                DESTROY,
            ),
            ("EXPLAIN DELETE FROM t", DESTROY),
            ("CREATE TABLE t (a, b TEXT)", DEFINE),
            ("CREATE INDEX i ON t(a)", DEFINE),
            ("CREATE VIEW v AS SELECT 1", DEFINE),
            ("DROP TABLE t", ALTER),
            ("DROP INDEX i", ALTER),
            ("ALTER TABLE t ADD COLUMN c TEXT", ALTER),
            ("CREATE UNIQUE INDEX i ON t(a)", DEFINE),
            (
                "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM u; END;",
                ALTER,
            ),
            ("DROP TRIGGER r", ALTER),
            ("EXPLAIN INSERT INTO t VALUES (1)", CHANGE),
        ] {
            assert_eq!(classify(sql), Ok(kind), "{sql}");
        }
    }

    #[test]
    fn what_is_not_available_is_refused_by_name() {
        for (sql, named) in [
            ("PRAGMA writable_schema = 1", "`PRAGMA` is not available"),
            ("ATTACH DATABASE '/tmp/x' AS x", "`ATTACH` is not available"),
            ("DETACH x", "`DETACH` is not available"),
            ("VACUUM INTO '/tmp/x'", "`VACUUM` is not available"),
            ("BEGIN", "`BEGIN` is not available"),
            ("COMMIT", "`COMMIT` is not available"),
            ("SAVEPOINT s", "`SAVEPOINT` is not available"),
            ("ANALYZE", "`ANALYZE` is not available"),
            ("REINDEX t", "`REINDEX` is not available"),
            ("CREATE TEMP TABLE t (a)", "`CREATE TEMP` is not available"),
            (
                "CREATE VIRTUAL TABLE t USING fts5(a)",
                "`CREATE VIRTUAL` is not available",
            ),
            ("EXPLAIN PRAGMA user_version", "is not available"),
            ("SELECT 1; SELECT 2", "2 statements"),
            ("SELECT 1; DROP TABLE t", "2 statements"),
            ("", "empty"),
            (" ;; -- nothing", "empty"),
            ("SELECT 1\0", "NUL"),
            ("SELEC 1", "`SELEC` is not available"),
            ("SELECT 'unterminated", "cannot be understood"),
        ] {
            let error = classify(sql).unwrap_err();
            assert!(error.invalid_argument, "{sql}");
            assert!(error.message.contains(named), "{sql}: {error}");
        }
    }

    #[test]
    fn long_statements_are_refused() {
        let error = classify(&format!("SELECT '{}'", "x".repeat(MAX_SQL_BYTES))).unwrap_err();
        assert!(error.message.contains("`params`"), "{error}");
    }

    #[test]
    fn deep_statements_do_not_overflow_a_small_stack() {
        let chains = [
            (true, format!("SELECT 1{}", "+1".repeat(199))),
            (true, format!("SELECT a{}", " GLOB a".repeat(70))),
            (true, format!("SELECT 1{} GLOB a", "+1".repeat(70))),
            (true, format!("SELECT 1{}", " UNION SELECT 1".repeat(49))),
            (true, format!("SELECT 1{}", ",1".repeat(1_900))),
            (false, format!("SELECT 1{}", "+1".repeat(1_990))),
            (false, format!("SELECT a{}", " GLOB a".repeat(900))),
            (false, format!("SELECT a{}", " IS NULL".repeat(1_900))),
            (false, format!("SELECT a{}", "::x".repeat(1_900))),
            (
                false,
                format!("SELECT 1{}", " UNION SELECT 1, 1".repeat(500)),
            ),
            (
                false,
                format!("SELECT {}1{}", "(".repeat(1_900), ")".repeat(1_900)),
            ),
            (false, format!("SELECT {}1", "NOT ".repeat(3_900))),
            (false, format!("SELECT {}1", "- ".repeat(3_900))),
            (
                false,
                format!(
                    "SELECT {}1{}",
                    "CASE WHEN ".repeat(600),
                    " THEN 1 END".repeat(600)
                ),
            ),
            (
                false,
                format!("SELECT * FROM {}t{}", "(".repeat(1_900), ")".repeat(1_900)),
            ),
            (false, format!("{}SELECT 1", "EXPLAIN ".repeat(3_900))),
            (
                false,
                format!("SELECT 1; {}SELECT 1", "EXPLAIN ".repeat(3_900)),
            ),
            (
                false,
                format!("EXPLAIN {}SELECT 1", "PREPARE a AS ".repeat(1_200)),
            ),
            (
                false,
                format!("CREATE PROCEDURE p AS BEGIN {}", "IF 1 THEN ".repeat(1_200)),
            ),
        ];
        // Half of what a thread of the runtime has.
        let thread = std::thread::Builder::new().stack_size(1024 * 1024);
        let handle = thread.spawn(move || {
            for (fits, sql) in chains {
                let start: String = sql.chars().take(40).collect();
                assert_eq!(classify(&sql).is_ok(), fits, "{start}");
            }
        });
        handle.unwrap().join().unwrap();
    }

    const WORDS: &[&str] = &[
        "SELECT", "WITH", "x", "AS", "(", ")", "DELETE", "FROM", "t", "INSERT", "INTO", "VALUES",
        "1", ",", ";", "UPDATE", "SET", "=", "WHERE", "'a'", "\"b\"", "[c]", "`d`", "--", "/*",
        "*/", "\n", "EXPLAIN", "QUERY", "PLAN", "CREATE", "TRIGGER", "TABLE", "DROP", "ALTER",
        "UNION", "GLOB", "trim", "?", ":n", "CASE", "WHEN", "END", "NOT", "*", ".", "x'00'", "'",
        "\"", "é", "BEGIN", "REPLACE", "OR", "ON", "CONFLICT",
    ];

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}") {
            let _answer = classify(&text);
        }

        #[test]
        fn no_order_of_words_reads_while_it_writes(
            words in proptest::collection::vec(proptest::sample::select(WORDS), 1..24),
        ) {
            let sql = words.join(" ");
            if classify(&sql) == Ok(Kind::READ) {
                // SQLite's own opinion: what it compiles from this text changes nothing.
                let connection = rusqlite::Connection::open_in_memory().unwrap();
                connection.execute_batch("CREATE TABLE t (x, b, c, d); CREATE TABLE x (t)").unwrap();
                if let Ok(statement) = connection.prepare(&sql) {
                    proptest::prop_assert!(statement.readonly() || statement.is_explain() != 0, "{}", sql);
                }
            }
        }
    }
}
