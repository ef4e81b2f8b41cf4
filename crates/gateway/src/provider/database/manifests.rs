//! How the database's tools present themselves.

use serde_json::{Value, json};

use crate::{manifest::Manifest, provider::define::Definition};

/// JSON Schema's dialect of every schema here.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The manifests of all tools.
pub(super) fn all() -> Vec<Manifest> {
    vec![list_tables(), get_schema(), execute_query()]
}

fn list_tables() -> Manifest {
    Definition {
        id: "database:listTables",
        title: "List Database Tables",
        description: "Lists the tables and views of the database with their numbers of rows. Call it first to learn what can be queried; `getSchema` then tells a table's columns.",
        inputs: json!({"$schema": DIALECT, "type": "object", "properties": {}, "additionalProperties": false}),
        outputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "tables": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": {"type": "string"},
                            "type": {"type": "string", "description": "`table`, `view` or `virtual`"},
                            "row_count": {"type": ["integer", "null"], "minimum": 0, "description": "null for views, and where counting took too long"}
                        },
                        "required": ["name", "type", "row_count"],
                        "additionalProperties": false
                    }
                },
                "truncated": {"type": "boolean", "description": "whether there are more tables than are listed"}
            },
            "required": ["tables", "truncated"],
            "additionalProperties": false
        }),
        scope: super::SCOPE_READ,
        safety_tags: &[],
        read_only: true,
        latency_ms: 20,
        examples: vec![json!({})],
    }
    .manifest()
}

fn get_schema() -> Manifest {
    Definition {
        id: "database:getSchema",
        title: "Get Table Schema",
        description: "Describes one table or view: its columns with types and defaults, primary key, foreign keys, indexes and the SQL that made it. Call it before you write a query.",
        inputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "table_name": {"type": "string", "minLength": 1, "maxLength": 256, "description": "A name that `listTables` gave; upper and lower case do not matter."}
            },
            "required": ["table_name"],
            "additionalProperties": false
        }),
        outputs: schema_outputs(),
        scope: super::SCOPE_READ,
        safety_tags: &[],
        read_only: true,
        latency_ms: 10,
        examples: vec![json!({"table_name": "customers"})],
    }
    .manifest()
}

fn schema_outputs() -> Value {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    json!({
        "$schema": DIALECT,
        "type": "object",
        "properties": {
            "table_name": {"type": "string"},
            "type": {"type": "string"},
            "columns": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "type": {"type": "string"},
                        "not_null": {"type": "boolean"},
                        "default": {"type": ["string", "null"], "description": "an SQL expression"},
                        "primary_key": {"type": "integer", "minimum": 0, "description": "place in the primary key from 1; 0 outside it"},
                        "generated": {"type": "boolean"}
                    },
                    "required": ["name", "type", "not_null", "default", "primary_key", "generated"],
                    "additionalProperties": false
                }
            },
            "foreign_keys": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "columns": texts,
                        "references_table": {"type": "string"},
                        "references_columns": texts,
                        "on_update": {"type": "string"},
                        "on_delete": {"type": "string"}
                    },
                    "required": ["columns", "references_table", "references_columns", "on_update", "on_delete"],
                    "additionalProperties": false
                }
            },
            "indexes": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "unique": {"type": "boolean"},
                        "columns": {"type": "array", "items": {"type": ["string", "null"]}, "description": "null stands for an expression"}
                    },
                    "required": ["name", "unique", "columns"],
                    "additionalProperties": false
                }
            },
            "sql": {"type": ["string", "null"]}
        },
        "required": ["table_name", "type", "columns", "foreign_keys", "indexes", "sql"],
        "additionalProperties": false
    })
}

fn execute_query() -> Manifest {
    let blob = json!({
        "type": "object",
        "properties": {"$base64": {"type": "string", "contentEncoding": "base64"}},
        "required": ["$base64"],
        "additionalProperties": false
    });
    let scalar = json!({"anyOf": [{"type": ["string", "number", "boolean", "null"]}, blob]});
    Definition {
        id: "database:executeQuery",
        title: "Execute SQL Query",
        description: "Runs exactly one SQL statement (SQLite). SELECT needs no more than this tool's scope; INSERT, UPDATE, DELETE and CREATE, ALTER, DROP also need the scope `database.write` and run in a transaction of their own. Pass values through `params` instead of writing them into the SQL. Results stop at a number of rows and of bytes: look at `truncated`, and use LIMIT. PRAGMA, ATTACH, VACUUM and transactions are not available; use `listTables` and `getSchema` instead of sqlite_master.",
        inputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "query": {"type": "string", "minLength": 1, "maxLength": super::classify::MAX_SQL_BYTES, "description": "One SQL statement with `?` or `:name` placeholders."},
                "params": {
                    "description": "Values for the placeholders: an array in their order, or an object by name. A blob is {\"$base64\": \"...\"}.",
                    "anyOf": [
                        {"type": "array", "items": scalar, "maxItems": super::value::MAX_PARAMS},
                        {"type": "object", "additionalProperties": scalar, "maxProperties": super::value::MAX_PARAMS},
                        {"type": "null"}
                    ]
                }
            },
            "required": ["query"],
            "additionalProperties": false
        }),
        outputs: query_outputs(),
        scope: super::SCOPE_EXECUTE,
        safety_tags: &[],
        read_only: false,
        latency_ms: 50,
        examples: vec![
            json!({"query": "SELECT country, count(*) AS customers FROM customers GROUP BY country ORDER BY customers DESC LIMIT 5"}),
            json!({"query": "SELECT id, name FROM products WHERE price_cents < :limit", "params": {"limit": 2000}}),
            json!({"query": "UPDATE orders SET status = ? WHERE id = ?", "params": ["shipped", 17]}),
        ],
    }
    .manifest()
}

/// What reads give, and what writes give; a write with RETURNING gives both.
fn query_outputs() -> Value {
    json!({
        "$schema": DIALECT,
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}, "description": "names in order; one that occurs again has a number behind it"},
            "rows": {"type": "array", "items": {"type": "object"}},
            "row_count": {"type": "integer", "minimum": 0, "description": "rows in this result"},
            "truncated": {"type": "boolean", "description": "whether there were more rows"},
            "rows_affected": {"type": "integer", "minimum": 0},
            "last_insert_rowid": {"type": ["integer", "null"]}
        },
        "anyOf": [
            {"required": ["columns", "rows", "row_count", "truncated"]},
            {"required": ["rows_affected", "last_insert_rowid"]}
        ],
        "additionalProperties": false
    })
}
