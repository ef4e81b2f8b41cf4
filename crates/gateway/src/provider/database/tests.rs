//! Hostile and honest SQL against the sample database.

use fastmcp_guard::random::OsRandom;
use fastmcp_protocol::args::ArgsLimits;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::*;

struct Place {
    folder: tempfile::TempDir,
    provider: DatabaseProvider,
}

fn place_with(options: Options) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.db");
    sample::create(&path).unwrap();
    let provider = DatabaseProvider::open(&path, options, Arc::new(OsRandom)).unwrap();
    Place { folder, provider }
}

fn place() -> Place {
    place_with(Options::default())
}

fn args(value: &Value) -> Args {
    Args::of(value, &ArgsLimits::default()).unwrap()
}

impl Place {
    fn direct(&self) -> Connection {
        Connection::open(self.folder.path().join("sample.db")).unwrap()
    }

    /// Everything that is in the database, as one number.
    fn fingerprint(&self) -> String {
        let connection = self.direct();
        let mut text = String::new();
        for sql in [
            "SELECT group_concat(name || coalesce(sql, ''), ';' ORDER BY name) FROM sqlite_schema",
            "SELECT group_concat(id || name || email, ';' ORDER BY id) FROM customers",
            "SELECT group_concat(id || sku || name || price_cents || stock, ';' ORDER BY id) FROM products",
            "SELECT group_concat(id || customer_id || status, ';' ORDER BY id) FROM orders",
            "SELECT count(*) FROM order_items",
        ] {
            text += &connection
                .query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0))
                .map(|value| format!("{value:?}\n"))
                .unwrap();
        }
        text
    }

    async fn call(
        &self,
        endpoint: &str,
        arguments: Value,
        scopes: &[&str],
    ) -> Result<Value, ProviderError> {
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let grant = grant::internal(PROVIDER_ID, &OsRandom)?;
        let call = Call {
            grant: &grant,
            operation_id: "op",
            tenant: "acme",
            scopes: &scopes,
            timeout: Duration::from_secs(60),
        };
        let raw = self
            .provider
            .call(endpoint, &args(&arguments), &call)
            .await?;
        Ok(raw.decode().unwrap())
    }

    async fn read(&self, sql: &str) -> Result<Value, ProviderError> {
        self.call(EXECUTE_QUERY, json!({"query": sql}), &[SCOPE_EXECUTE])
            .await
    }

    async fn write(&self, sql: &str) -> Result<Value, ProviderError> {
        self.call(
            EXECUTE_QUERY,
            json!({"query": sql}),
            &[SCOPE_EXECUTE, SCOPE_WRITE],
        )
        .await
    }
}

#[tokio::test]
async fn tables_and_schemas_are_told() {
    let place = place();
    let listed = place.call(LIST_TABLES, json!({}), &[]).await.unwrap();
    assert_eq!(
        listed,
        json!({"tables": [
            {"name": "customers", "type": "table", "row_count": 20},
            {"name": "order_items", "type": "table", "row_count": 60},
            {"name": "order_totals", "type": "view", "row_count": null},
            {"name": "orders", "type": "table", "row_count": 30},
            {"name": "products", "type": "table", "row_count": 15},
        ], "truncated": false})
    );
    let schema = place
        .call(GET_SCHEMA, json!({"table_name": "Orders"}), &[])
        .await
        .unwrap();
    assert_eq!(schema["table_name"], "orders");
    assert_eq!(
        schema["columns"][0],
        json!({"name": "id", "type": "INTEGER", "not_null": false, "default": null, "primary_key": 1, "generated": false})
    );
    assert_eq!(
        schema["foreign_keys"],
        json!([{"columns": ["customer_id"], "references_table": "customers", "references_columns": ["id"], "on_update": "NO ACTION", "on_delete": "NO ACTION"}])
    );
    assert_eq!(
        schema["indexes"][0]["columns"],
        json!(["customer_id", "ordered_at"])
    );
    for name in [
        "nobody",
        "sqlite_schema",
        "sqlite_master",
        "",
        "orders; DROP TABLE orders",
    ] {
        let error = place
            .call(GET_SCHEMA, json!({"table_name": name}), &[])
            .await
            .unwrap_err();
        assert!(
            error.invalid_argument && error.message.starts_with("`table_name`"),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn a_list_of_tables_is_kept_until_something_is_written() {
    let place = place();
    let rows = async |table: &str| {
        let listed = place.call(LIST_TABLES, json!({}), &[]).await.unwrap();
        let tables = listed["tables"].as_array().unwrap().clone();
        let found = tables.into_iter().find(|listed| listed["name"] == table);
        found.map(|listed| listed["row_count"].clone())
    };
    let kept = || place.provider.pool.listed();
    assert!(kept().is_none(), "nobody has asked");
    assert_eq!(rows("products").await, Some(json!(15)));
    let first = kept().unwrap();
    assert_eq!(rows("products").await, Some(json!(15)));
    assert_eq!(kept(), Some(first));

    let sql = "DELETE FROM order_items WHERE product_id = 1";
    place.write(sql).await.unwrap();
    place
        .write("DELETE FROM products WHERE id = 1")
        .await
        .unwrap();
    assert!(kept().is_none(), "a call has written");
    assert_eq!(rows("products").await, Some(json!(14)));

    place.direct().execute("CREATE TABLE more (n)", []).unwrap();
    assert!(kept().is_none(), "another program has written");
    assert_eq!(rows("more").await, Some(json!(0)));
    assert!(kept().is_some());

    place
        .direct()
        .execute("CREATE VIRTUAL TABLE texts USING fts5(text)", [])
        .unwrap();
    assert_eq!(rows("texts").await, Some(json!(0)));
    assert!(kept().is_none(), "a virtual table may tell of anything");
}

#[tokio::test]
async fn honest_queries_are_answered() {
    let place = place();
    for (sql, rows) in [
        (
            "SELECT name FROM customers WHERE id = 1",
            json!([{"name": "Amelia Hart"}]),
        ),
        ("SELECT count(*) AS n FROM order_totals", json!([{"n": 30}])),
        (
            "SELECT '-- no comment; DROP TABLE t' AS x /* ; DELETE FROM orders */ -- ;",
            json!([{"x": "-- no comment; DROP TABLE t"}]),
        ),
        (
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5) SELECT sum(x) AS s, count(*) AS n FROM c",
            json!([{"s": 15, "n": 5}]),
        ),
        (
            "WITH c AS (SELECT 1 AS a) SELECT count(*) AS n FROM c",
            json!([{"n": 1}]),
        ),
        (
            "SELECT value FROM json_each('[1,2]')",
            json!([{"value": 1}, {"value": 2}]),
        ),
        (
            "SELECT json_extract('{\"a\":7}', '$.a') AS a, '{\"b\":1}' ->> 'b' AS b",
            json!([{"a": 7, "b": 1}]),
        ),
        (
            "SELECT row_number() OVER (ORDER BY id DESC) AS r, id FROM products ORDER BY id LIMIT 1",
            json!([{"r": 15, "id": 1}]),
        ),
        (
            "SELECT 9223372036854775807 AS big, -9223372036854775808 AS small, 1e999 AS inf, 0.1 AS f",
            json!([{"big": i64::MAX, "small": i64::MIN, "inf": null, "f": 0.1}]),
        ),
        ("SELECT x'00ff' AS b", json!([{"b": {"$base64": "AP8="}}])),
        (
            "SELECT 1 AS id, 2 AS id, 3 AS id_2",
            json!([{"id": 1, "id_3": 2, "id_2": 3}]),
        ),
        ("SELECT name FROM customers WHERE name LIKE 'Z%'", json!([])),
        ("VALUES (1), (2)", json!([{"column1": 1}, {"column1": 2}])),
        (
            "SELECT strftime('%Y', ordered_at) AS y FROM orders ORDER BY id LIMIT 1",
            json!([{"y": "2025"}]),
        ),
    ] {
        let answer = place
            .read(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(answer["rows"], rows, "{sql}");
        assert_eq!(answer["truncated"], false, "{sql}");
        assert_eq!(
            answer["row_count"],
            answer["rows"].as_array().unwrap().len(),
            "{sql}"
        );
    }
    let plan = place
        .read("EXPLAIN QUERY PLAN SELECT * FROM orders WHERE customer_id = 3")
        .await
        .unwrap();
    assert!(
        plan["rows"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("orders_by_customer"),
        "{plan}"
    );
}

/// Calls with `params` as they are written, so that numbers are those of the text.
async fn with_params(place: &Place, sql: &str, params: &str) -> Result<String, ProviderError> {
    let text = format!(r#"{{"query":{},"params":{params}}}"#, json!(sql));
    let args = Args::parse_str(&text, &ArgsLimits::default()).unwrap();
    let grant = grant::internal(PROVIDER_ID, &OsRandom)?;
    let call = Call {
        grant: &grant,
        operation_id: "op",
        tenant: "t",
        scopes: &[],
        timeout: Duration::from_secs(60),
    };
    let raw = place.provider.call(EXECUTE_QUERY, &args, &call).await?;
    Ok(raw.as_str().to_owned())
}

#[tokio::test]
async fn parameters_keep_their_types() {
    let place = place();
    let sql = "SELECT typeof(?1) || typeof(?2) || typeof(?3) || typeof(?4) || typeof(?5) AS t, ?2 AS big, ?5 AS blob";
    let params = r#"[null, 9007199254740993, 0.5, "x", {"$base64":"AQI="}]"#;
    assert_eq!(
        with_params(&place, sql, params).await.unwrap(),
        r#"{"columns":["t","big","blob"],"rows":[{"t":"nullintegerrealtextblob","big":9007199254740993,"blob":{"$base64":"AQI="}}],"row_count":1,"truncated":false}"#
    );
    let sql = "SELECT :a || @b || $c AS t";
    let answer = with_params(&place, sql, r#"{"a":"1", "b":"2", ":c":"3"}"#).await;
    assert!(answer.unwrap().contains(r#"{"t":"123"}"#));
}

#[tokio::test]
async fn parameters_that_do_not_match_are_refused() {
    let place = place();
    for (sql, params, named) in [
        ("SELECT ?, ?", "[1]", "2 placeholders, but `params` has 1"),
        ("SELECT 1", "[1]", "0 placeholders"),
        (
            "SELECT ?",
            "null",
            "1 placeholders, but there are no `params`",
        ),
        ("SELECT :a", r#"{"b":1}"#, "`params.a` is missing"),
        (
            "SELECT :a",
            r#"{"a":1,"b":1}"#,
            "`params.b` belongs to no placeholder",
        ),
        (
            "SELECT ?",
            r#"{"a":1}"#,
            "placeholder 1 of `query` has no name",
        ),
        ("SELECT ?", "[[1]]", "`params[0]`"),
        (
            "SELECT ?",
            "[18446744073709551616]",
            "`params[0]` does not fit",
        ),
    ] {
        let error = with_params(&place, sql, params).await.unwrap_err();
        assert!(
            error.invalid_argument && error.message.contains(named),
            "{sql} {params}: {error}"
        );
    }
}

/// What is refused, and what the refusal names; `{outside}` stands for a file beside the database.
const HOSTILE: &[(&str, &str)] = &[
    ("SELECT 1; DELETE FROM orders", "2 statements"),
    ("SELECT 1;;DROP TABLE orders", "2 statements"),
    ("PRAGMA writable_schema = 1", "`PRAGMA`"),
    ("PRAGMA query_only = 0", "`PRAGMA`"),
    ("ATTACH DATABASE '{outside}' AS x", "`ATTACH`"),
    ("VACUUM INTO '{outside}'", "`VACUUM`"),
    ("DETACH main", "`DETACH`"),
    ("BEGIN; DELETE FROM orders; COMMIT", "`BEGIN`"),
    ("SELECT * FROM sqlite_master", "reading `sqlite_master`"),
    ("SELECT count(*) FROM sqlite_schema", "reading `sqlite_"),
    (
        "SELECT * FROM main.sqlite_master",
        "reading `sqlite_master`",
    ),
    (
        "SELECT * FROM (SELECT sql FROM SQLITE_MASTER)",
        "reading `sqlite_master`",
    ),
    (
        "SELECT (SELECT group_concat(sql) FROM sqlite_schema) AS x",
        "reading `sqlite_",
    ),
    (
        "SELECT * FROM pragma_table_info('orders')",
        "reading `pragma_table_info`",
    ),
    (
        "SELECT count(*) FROM pragma_database_list",
        "reading `pragma_database_list`",
    ),
    ("SELECT * FROM dbstat", "reading `dbstat`"),
    ("SELECT count(*) FROM dbstat", "reading `dbstat`"),
    (
        "SELECT load_extension('/tmp/x.so')",
        "the function `load_extension`",
    ),
    (
        "SELECT fts3_tokenizer('simple')",
        "the function `fts3_tokenizer`",
    ),
    (
        "SELECT sqlite_compileoption_get(0)",
        "the function `sqlite_compileoption_get`",
    ),
    ("SELECT writefile('/tmp/x', 'y')", "no such function"),
    ("SELECT readfile('/etc/passwd')", "no such function"),
    (
        "SELECT * FROM orders WHERE load_extension('x') > 0",
        "the function `load_extension`",
    ),
    (
        "INSERT INTO sqlite_master VALUES ('table','x','x',0,'')",
        "sqlite_master",
    ),
    (
        "UPDATE sqlite_schema SET sql = 'x' WHERE name = 'orders'",
        "sqlite_",
    ),
    ("DELETE FROM sqlite_master", "sqlite_master"),
    (
        "INSERT INTO customers SELECT sql, 1, 1, 1, 1, 1 FROM sqlite_master",
        "sqlite_master",
    ),
    ("CREATE TEMP TABLE t (a)", "`CREATE TEMP`"),
    ("CREATE TABLE temp.t (a)", "not allowed"),
    ("CREATE VIRTUAL TABLE t USING fts5(a)", "`CREATE VIRTUAL`"),
    ("CREATE VIEW v AS SELECT 1; DROP VIEW v", "2 statements"),
    (
        "INSERT INTO orders VALUES (1, 1, 'paid', 'now')",
        "UNIQUE constraint failed: orders.id",
    ),
    (
        "INSERT INTO orders VALUES (99, 77, 'paid', 'now')",
        "FOREIGN KEY constraint failed",
    ),
    ("SELECT * FROM nowhere", "no such table: nowhere"),
    ("SELECT \"nowhere\" FROM orders", "no such column"),
    ("SELECT length(zeroblob(2000000000))", "too large"),
    ("SELECT length(randomblob(1100000))", "too large"),
    ("SELECT hex(zeroblob(400000))", "too large"),
    (
        "SELECT replace(hex(zeroblob(1000)), '0', zeroblob(100000))",
        "too large",
    ),
];

/// None of these changes anything, though the caller may write.
#[tokio::test]
async fn hostile_statements_are_refused_and_change_nothing() {
    let place = place();
    let before = place.fingerprint();
    let outside = place.folder.path().join("outside.db");
    for (sql, named) in HOSTILE {
        let sql = sql.replace("{outside}", &outside.display().to_string());
        for scopes in [&[SCOPE_EXECUTE][..], &[SCOPE_EXECUTE, SCOPE_WRITE][..]] {
            let answer = place
                .call(EXECUTE_QUERY, json!({"query": sql}), scopes)
                .await;
            let error = answer.expect_err(&sql);
            assert_eq!(error.effect, Effect::None, "{sql}");
            assert!(error.invalid_argument, "{sql}: {error:?}");
            let needs_scope = error.message.contains(SCOPE_WRITE) && scopes.len() == 1;
            assert!(
                needs_scope || error.message.contains(named),
                "{sql}: {error}"
            );
        }
    }
    assert_eq!(place.fingerprint(), before);
    assert!(!outside.exists());
}

#[tokio::test]
async fn writes_need_their_scope() {
    let place = place();
    let before = place.fingerprint();
    for sql in [
        "DELETE FROM order_items",
        "WITH x AS (SELECT 1) DELETE FROM order_items",
        "INSERT INTO customers (name, email, city, country, created_at) VALUES ('a', 'b', 'c', 'd', 'e')",
        "UPDATE products SET stock = 0",
        "REPLACE INTO products VALUES (1, 'x', 'x', 'x', 1, 1)",
        "DROP TABLE order_items",
        "ALTER TABLE orders RENAME TO o",
        "CREATE TABLE t (a)",
        "EXPLAIN DELETE FROM orders",
    ] {
        let demands = place
            .provider
            .demands(EXECUTE_QUERY, &args(&json!({"query": sql})))
            .unwrap();
        assert_eq!(demands.scopes, [SCOPE_WRITE], "{sql}");
        let error = place.read(sql).await.unwrap_err();
        assert!(error.message.contains(SCOPE_WRITE), "{sql}: {error}");
    }
    assert_eq!(place.fingerprint(), before);
    let demands = place
        .provider
        .demands(EXECUTE_QUERY, &args(&json!({"query": "SELECT 1"})))
        .unwrap();
    assert_eq!(demands, Demands::default());
    let error = place
        .provider
        .demands(EXECUTE_QUERY, &args(&json!({"query": "PRAGMA x"})))
        .unwrap_err();
    assert!(error.invalid_argument, "{error}");
}

/// The wall holds without the parser: a wrong classification opens nothing.
#[tokio::test]
async fn a_misjudged_statement_meets_the_wall() {
    let place = place();
    let before = place.fingerprint();
    let pool = Arc::clone(&place.provider.pool);
    let attach = format!(
        "ATTACH DATABASE '{}' AS x",
        place.folder.path().join("outside.db").display()
    );
    tokio::task::spawn_blocking(move || {
        let deadline = crate::provider::work::Deadline::after(Duration::from_secs(60));
        let change = classify::Kind {
            class: Class::Change,
            destructive: false,
        };
        let define = classify::Kind {
            class: Class::Define,
            destructive: false,
        };
        let job = |sql: &str, kind| Job {
            sql: sql.to_owned(),
            params: Params::None,
            kind,
        };
        for sql in [
            "DELETE FROM orders",
            "DROP TABLE orders",
            "CREATE TABLE t (a)",
            "UPDATE orders SET status = 'paid'",
            "INSERT INTO orders DEFAULT VALUES",
            "PRAGMA query_only = 0",
            "BEGIN",
            "VACUUM",
            "REINDEX",
            "ANALYZE",
            &attach,
            "SELECT 1; DELETE FROM orders",
            "CREATE TEMP TABLE t (a)",
        ] {
            let error = run::read(&pool, job(sql, classify::Kind::READ), &deadline).expect_err(sql);
            assert!(error.invalid_argument, "{sql}: {error:?}");
        }
        for sql in [
            "DELETE FROM orders",
            "DROP TABLE orders",
            "CREATE TABLE t (a)",
            "ALTER TABLE orders RENAME TO o",
            "PRAGMA user_version = 7",
            "COMMIT",
            &attach,
            "SAVEPOINT s",
            "CREATE TRIGGER r AFTER INSERT ON orders BEGIN SELECT 1; END",
        ] {
            let error = run::write(&pool, job(sql, change), &deadline).expect_err(sql);
            assert!(error.invalid_argument, "{sql}: {error:?}");
        }
        for sql in [
            "DROP TABLE orders",
            "ALTER TABLE orders RENAME TO o",
            "CREATE TEMP TABLE t (a)",
            &attach,
        ] {
            let error = run::write(&pool, job(sql, define), &deadline).expect_err(sql);
            assert!(error.invalid_argument, "{sql}: {error:?}");
        }
    })
    .await
    .unwrap();
    assert_eq!(place.fingerprint(), before);
}

#[tokio::test]
async fn writes_are_done_with_their_scope() {
    let place = place();
    let count = |sql: &str| {
        place
            .direct()
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let answer = place.write("INSERT INTO customers (name, email, city, country, created_at) VALUES ('Zed', 'z@example.com', 'Bonn', 'Germany', '2026-01-01')").await.unwrap();
    assert_eq!(answer, json!({"rows_affected": 1, "last_insert_rowid": 21}));
    let answer = place
        .write("UPDATE products SET stock = stock + 1 WHERE id < 4 RETURNING id, stock")
        .await
        .unwrap();
    assert_eq!(
        answer,
        json!({"rows_affected": 3, "last_insert_rowid": null, "columns": ["id", "stock"],
               "rows": [{"id": 1, "stock": 13}, {"id": 2, "stock": 8}, {"id": 3, "stock": 24}], "row_count": 3, "truncated": false})
    );
    let answer = place
        .write("WITH x AS (SELECT 30 AS id) DELETE FROM orders WHERE id IN (SELECT id FROM x)")
        .await
        .unwrap();
    assert_eq!(answer["rows_affected"], 1);
    assert_eq!(
        count("SELECT count(*) FROM order_items WHERE order_id = 30"),
        0
    );
    let answer = place
        .write("INSERT OR IGNORE INTO order_items VALUES (1, 5, 1, 1)")
        .await
        .unwrap();
    assert_eq!(answer["last_insert_rowid"], Value::Null);
    for sql in [
        "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL)",
        "CREATE UNIQUE INDEX notes_body ON notes(body)",
        "CREATE VIEW short AS SELECT id, substr(body, 1, 5) AS b FROM notes",
        "INSERT INTO notes (body) VALUES ('first note')",
        "ALTER TABLE notes ADD COLUMN stars INTEGER NOT NULL DEFAULT 0 CHECK (stars >= 0)",
        "ALTER TABLE notes RENAME COLUMN stars TO likes",
        "ALTER TABLE notes DROP COLUMN likes",
        "CREATE TABLE copy AS SELECT id, body FROM notes",
        "DROP VIEW short",
        "ALTER TABLE notes RENAME TO memos",
        "DROP INDEX notes_body",
    ] {
        let answer = place
            .write(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert!(answer["rows_affected"].is_u64(), "{sql}");
    }
    assert_eq!(
        place.read("SELECT body FROM memos").await.unwrap()["rows"],
        json!([{"body": "first note"}])
    );
    assert_eq!(
        place.read("SELECT body FROM copy").await.unwrap()["row_count"],
        1
    );
    place.write("DROP TABLE memos").await.unwrap();
    assert!(
        place
            .read("SELECT body FROM memos")
            .await
            .unwrap_err()
            .message
            .contains("no such table")
    );
}

#[tokio::test]
async fn a_trigger_acts_for_the_statement_that_fires_it() {
    let place = place();
    place.direct().execute_batch("CREATE TRIGGER gone AFTER UPDATE ON orders WHEN new.status = 'cancelled' BEGIN DELETE FROM order_items WHERE order_id = new.id; END").unwrap();
    let answer = place
        .write("UPDATE orders SET status = 'cancelled' WHERE id = 1")
        .await
        .unwrap();
    assert_eq!(answer["rows_affected"], 1);
    let left: i64 = place
        .direct()
        .query_row(
            "SELECT count(*) FROM order_items WHERE order_id = 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn full_text_tables_work_behind_the_wall() {
    let place = place();
    place
        .direct()
        .execute_batch(
            "CREATE VIRTUAL TABLE docs USING fts5(body); INSERT INTO docs VALUES ('the quick fox')",
        )
        .unwrap();
    let answer = place.read("SELECT highlight(docs, 0, '[', ']') AS h FROM docs WHERE docs MATCH 'quick' ORDER BY rank").await.unwrap();
    assert_eq!(answer["rows"], json!([{"h": "the [quick] fox"}]));
    let answer = place
        .write("INSERT INTO docs VALUES ('a slow dog')")
        .await
        .unwrap();
    assert_eq!(answer["rows_affected"], 1);
    let listed = place.call(LIST_TABLES, json!({}), &[]).await.unwrap();
    let names: Vec<_> = listed["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"docs") && !names.iter().any(|name| name.starts_with("docs_")),
        "{names:?}"
    );
}

#[tokio::test]
async fn endless_statements_end_at_the_deadline() {
    let place = place_with(Options {
        timeout: Duration::from_millis(300),
        read_connections: 1,
        ..Options::default()
    });
    let before = place.fingerprint();
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)";
    for sql in [
        format!("{endless} SELECT count(*) FROM c"),
        format!("{endless} SELECT x FROM c ORDER BY x"),
        "SELECT count(*) FROM order_items a, order_items b, order_items c, order_items d, order_items e".to_owned(),
    ] {
        let error = place.read(&sql).await.unwrap_err();
        assert!(error.message.contains("was stopped after 300 ms"), "{sql}: {error}");
        assert_eq!((error.effect, error.invalid_argument), (Effect::None, false), "{sql}");
        // The connection is of use again, though a busy machine may not be done in so short a time.
        let answer = loop {
            match place.read("SELECT 1 AS one").await {
                Err(error) if error.message.contains("was stopped after 300 ms") => {}
                answer => break answer.unwrap(),
            }
        };
        assert_eq!(answer["rows"], json!([{"one": 1}]), "{sql}");
    }
    let sql =
        format!("{endless} INSERT INTO customers SELECT x + 1000, 'n', x, 'c', 'c', 'd' FROM c");
    let error = place.write(&sql).await.unwrap_err();
    assert_eq!(error.effect, Effect::None, "{error:?}");
    assert_eq!(place.fingerprint(), before);
}

#[tokio::test]
async fn results_are_cut_at_rows_and_at_bytes() {
    let place = place_with(Options {
        max_rows: 3,
        max_result_bytes: 2_000,
        ..Options::default()
    });
    let answer = place
        .read("SELECT id FROM customers ORDER BY id")
        .await
        .unwrap();
    assert_eq!(
        (answer["row_count"].clone(), answer["truncated"].clone()),
        (json!(3), json!(true))
    );
    let answer = place
        .read("SELECT id FROM customers ORDER BY id LIMIT 3")
        .await
        .unwrap();
    assert_eq!(
        (answer["row_count"].clone(), answer["truncated"].clone()),
        (json!(3), json!(false))
    );
    let answer = place
        .read("SELECT hex(zeroblob(400)) AS h FROM customers")
        .await
        .unwrap();
    assert_eq!(
        (answer["row_count"].clone(), answer["truncated"].clone()),
        (json!(2), json!(true))
    );
    let error = place
        .read("SELECT hex(zeroblob(4000)) AS h")
        .await
        .unwrap_err();
    assert!(
        error.invalid_argument && error.message.contains("first row alone"),
        "{error}"
    );
    let answer = place
        .write("UPDATE order_items SET quantity = 9 WHERE order_id > 0 RETURNING order_id")
        .await
        .unwrap();
    assert_eq!(
        (
            answer["rows_affected"].clone(),
            answer["row_count"].clone(),
            answer["truncated"].clone()
        ),
        (json!(60), json!(3), json!(true))
    );
    let listed = place.call(LIST_TABLES, json!({}), &[]).await.unwrap();
    assert_eq!(
        (
            listed["tables"].as_array().unwrap().len(),
            listed["truncated"].clone()
        ),
        (3, json!(true))
    );
}

#[tokio::test]
async fn memory_stays_bounded_when_many_large_values_are_asked_for() {
    let place = place();
    // What does not fit into a value is NULL here.
    let answer = place
        .read("SELECT printf('%.*c', 600000, 'x') AS x")
        .await
        .unwrap();
    assert_eq!(answer["rows"], json!([{"x": null}]));
    let columns = |function: &str, count: usize| {
        let columns = (0..count).map(|number| format!("{function}, {number})"));
        format!("SELECT {}", columns.collect::<Vec<_>>().join(","))
    };
    for (function, count) in [
        ("substr(hex(zeroblob(200000))", 140),
        ("instr(hex(zeroblob(200000))", 24),
        ("replace('a', 'b'", 26),
    ] {
        let error = place.read(&columns(function, count)).await.unwrap_err();
        assert!(error.message.contains("using so many functions"), "{error}");
    }
    assert!(place.read(&columns("replace('a', 'b'", 25)).await.is_ok());
    let answer = place
        .read("SELECT name LIKE 'a%' OR name LIKE 'b%' AS x, trim(city, ' ') AS c FROM customers")
        .await;
    assert_eq!(answer.unwrap()["row_count"], 20);
}

#[tokio::test]
async fn a_locked_database_is_waited_for_and_then_refused() {
    let place = place_with(Options {
        timeout: Duration::from_secs(5),
        ..Options::default()
    });
    let blocker = place.direct();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = place
        .write("UPDATE orders SET status = 'paid' WHERE id = 1")
        .await
        .unwrap_err();
    assert_eq!(
        (error.effect, error.invalid_argument),
        (Effect::None, false),
        "{error:?}"
    );
    assert!(error.message.contains("locked"), "{error}");
    assert_eq!(place.read("SELECT 1 AS a").await.unwrap()["row_count"], 1);
    blocker.execute_batch("COMMIT").unwrap();
    assert_eq!(
        place
            .write("UPDATE orders SET status = 'paid' WHERE id = 1")
            .await
            .unwrap()["rows_affected"],
        1
    );
}

#[tokio::test]
async fn grants_are_short_lived_and_never_the_same() {
    let place = place();
    let request = Exchange {
        scopes: &[],
        subject: "s",
        tenant: "t",
        purpose: "p",
    };
    let one = place.provider.exchange(&request).await.unwrap();
    let two = place.provider.exchange(&request).await.unwrap();
    assert_eq!(one.audience(), Some("fastmcp:database"));
    assert_eq!(
        (one.token_type(), one.expires_in()),
        ("Bearer", Duration::from_secs(300))
    );
    assert_eq!(one.expose().len(), 43);
    assert_ne!(one.expose(), two.expose());
    assert!(!format!("{one:?}").contains(one.expose()));
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let place = place();
    let open = |path: &Path, options| {
        DatabaseProvider::open(path, options, Arc::new(OsRandom))
            .unwrap_err()
            .to_string()
    };
    let folder = place.folder.path();
    assert!(open(&folder.join("missing.db"), Options::default()).contains("`DATABASE_PATH`"));
    assert!(open(folder, Options::default()).contains("is not a file"));
    assert!(open(Path::new(":memory:"), Options::default()).contains("cannot be found"));
    std::fs::write(
        folder.join("text.db"),
        "no database, though long enough to be read as one".repeat(100),
    )
    .unwrap();
    assert!(
        open(&folder.join("text.db"), Options::default())
            .contains("cannot be opened as an SQLite database")
    );
    let none = Options {
        max_rows: 0,
        ..Options::default()
    };
    assert_eq!(
        open(&folder.join("sample.db"), none),
        "database option `max_rows` is 0; it takes 1 to 1000000"
    );
    assert_eq!(place.provider.ready().await, Ok(()));
}

#[tokio::test]
async fn results_agree_with_the_manifests() {
    let place = place();
    let manifests = manifests::all();
    for (endpoint, arguments) in [
        (LIST_TABLES, json!({})),
        (GET_SCHEMA, json!({"table_name": "order_items"})),
        (GET_SCHEMA, json!({"table_name": "order_totals"})),
        (EXECUTE_QUERY, json!({"query": "SELECT * FROM orders"})),
        (
            EXECUTE_QUERY,
            json!({"query": "UPDATE orders SET status = 'paid' WHERE id = 1"}),
        ),
        (
            EXECUTE_QUERY,
            json!({"query": "DELETE FROM order_items WHERE order_id = 1 RETURNING *"}),
        ),
    ] {
        let manifest = manifests
            .iter()
            .find(|manifest| manifest.tool_id.endpoint() == endpoint)
            .unwrap();
        let answer = place
            .call(endpoint, arguments, &[SCOPE_WRITE])
            .await
            .unwrap();
        let outputs = jsonschema::draft202012::new(&manifest.outputs).unwrap();
        assert!(outputs.is_valid(&answer), "{endpoint}: {answer}");
    }
}
