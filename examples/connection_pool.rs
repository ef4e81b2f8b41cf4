//! Pattern 7, connection pools: made once when the server starts, shared by all calls, closed when it ends.
//!
//! Run with: `cargo run -p fastmcp-examples --bin connection_pool`
//! With `DATABASE_URL=sqlite:some.db`; without it the database is in memory.

use std::time::Duration;

use fastmcp::{
    config::ServerConfig,
    guard::http::{Config, UrlFetcher},
    prelude::*,
};
use secrecy::ExposeSecret;
use sqlx::{
    AssertSqlSafe, Column as _, Row as _,
    sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow},
};

/// A row by the names of its columns.
fn named(row: &SqliteRow) -> Result<serde_json::Map<String, serde_json::Value>> {
    let columns = row.columns().iter();
    columns
        .map(|column| {
            let value: Option<String> = row.try_get_unchecked(column.ordinal())?;
            Ok((column.name().to_owned(), value.into()))
        })
        .collect()
}

/// Runs a query that only reads.
#[tool(read_only)]
async fn query_database(
    #[arg(min_length = 1, max_length = 10_000)] sql: String,
    pool: State<SqlitePool>,
) -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    // Taken out of the pool, and put back when it is dropped, whatever happens in between.
    let mut connection = pool.acquire().await?;
    // What a model wrote may read and nothing else: the connection itself refuses to write.
    sqlx::query("PRAGMA query_only = ON")
        .execute(&mut *connection)
        .await?;
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&mut *connection)
        .await;
    let rows = rows.map_err(|error| ToolError::new(format!("the query failed: {error}")))?;
    rows.iter().map(named).collect()
}

/// Fetches JSON from a public API.
#[tool(read_only, open_world)]
async fn fetch_api(url: String, http_client: State<UrlFetcher>) -> Result<serde_json::Value> {
    let url = url
        .parse()
        .map_err(|_| ToolError::new("`url` is not a URL"))?;
    let answer = http_client.get(&url).await;
    let answer = answer.map_err(|error| ToolError::new(error.to_string()))?;
    if !answer.status.is_success() {
        return Err(ToolError::new(format!("the API answered {}", answer.status)).into());
    }
    Ok(serde_json::from_slice(&answer.body)?)
}

fn server(database: String, size: u32) -> FastMcp {
    FastMcp::new("PoolDemo")
        .lifespan(move |life| async move {
            let pool = SqlitePoolOptions::new()
                .min_connections(5.min(size))
                .max_connections(size)
                .acquire_timeout(Duration::from_secs(30))
                .idle_timeout(Duration::from_secs(300))
                .connect(&database)
                .await?;
            life.provide(pool.clone())?;
            life.on_end(move || async move { pool.close().await });

            let mut config = Config::public();
            config.connect_timeout = Duration::from_secs(5);
            config.total_timeout = Duration::from_secs(30);
            life.provide(UrlFetcher::new(&config)?)
        })
        .tool(query_database)
        .tool(fetch_api)
}

#[tokio::main]
async fn main() -> Result<()> {
    let config = ServerConfig::from_vars(std::env::vars())?;
    let database = config
        .database_url
        .as_ref()
        .map_or("sqlite::memory:", ExposeSecret::expose_secret);
    server(database.to_owned(), config.connection_pool_size)
        .run()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn client() -> Client {
        let server = server("sqlite::memory:".to_owned(), 20).build().unwrap();
        Client::connect(&server).await.unwrap()
    }

    #[tokio::test]
    async fn many_calls_share_the_pool() {
        let client = client().await;
        let calls = (0..50).map(|n| {
            let sql = format!("SELECT {n} AS number");
            client.call_tool("query_database", json!({ "sql": sql }))
        });
        let answers = futures_util::future::try_join_all(calls).await.unwrap();
        for (n, answer) in answers.iter().enumerate() {
            let rows: serde_json::Value = answer.data().unwrap();
            assert_eq!(rows, json!([{"number": n.to_string()}]));
        }
    }

    #[tokio::test]
    async fn a_query_may_not_write_and_an_address_must_be_public() {
        let client = client().await;
        let write = json!({"sql": "CREATE TABLE t (id INTEGER)"});
        let refused = client.call_tool("query_database", write).await.unwrap_err();
        assert!(refused.message().contains("readonly"), "{refused}");
        let inside = json!({"url": "https://127.0.0.1/admin"});
        client.call_tool("fetch_api", inside).await.unwrap_err();
    }
}
