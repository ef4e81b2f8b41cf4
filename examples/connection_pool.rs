//! Pattern 7, connection pools: made once when the server starts, shared by all calls, closed when it ends.
//!
//! Run with: `cargo run -p fastmcp-examples --bin connection_pool`

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fastmcp::prelude::*;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A pool of connections; a database's driver brings a better one.
struct Pool {
    connections: Semaphore,
    queries: AtomicU64,
}

/// One of its connections.
struct Connection<'a> {
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    #[expect(clippy::unused_async, reason = "a pool of a database waits here")]
    async fn connect(max: usize) -> Result<Self> {
        Ok(Self {
            connections: Semaphore::new(max),
            queries: AtomicU64::new(0),
        })
    }

    async fn acquire(&self) -> Result<Connection<'_>> {
        Ok(Connection {
            _permit: self.connections.acquire().await?,
            pool: self,
        })
    }

    fn close(&self) {
        self.connections.close();
    }
}

impl Connection<'_> {
    fn fetch(&self, sql: &str) -> Vec<String> {
        let number = self.pool.queries.fetch_add(1, Ordering::Relaxed) + 1;
        vec![format!("query {number}: {sql}")]
    }
}

/// Runs a query.
#[tool(read_only)]
async fn query_database(sql: String, pool: State<Arc<Pool>>) -> Result<Vec<String>> {
    Ok(pool.acquire().await?.fetch(&sql))
}

fn server() -> FastMcp {
    FastMcp::new("PoolDemo")
        .lifespan(|life| async move {
            let pool = Arc::new(Pool::connect(20).await?);
            life.provide(Arc::clone(&pool))?;
            life.on_end(move || async move { pool.close() });
            Ok(())
        })
        .tool(query_database)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_calls_share_one_pool() {
        let client = Client::connect(&server().build().unwrap()).await.unwrap();
        for expected in ["query 1: SELECT 1", "query 2: SELECT 1"] {
            let rows = client
                .call_tool("query_database", json!({"sql": "SELECT 1"}))
                .await;
            assert_eq!(rows.unwrap().data::<Vec<String>>().unwrap(), [expected]);
        }
    }
}
