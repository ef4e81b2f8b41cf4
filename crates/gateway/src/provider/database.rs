//! The database adapter: `listTables`, `getSchema` and `executeQuery` over one SQLite file.
//!
//! Whatever SQL a caller sends runs behind two walls. Reads run on a connection that is opened read-only, with
//! `query_only`, SQLite's defensive mode, an authorizer that lists what may be touched, bounds on every size, and a
//! deadline. Writes need the scope `database.write`; they run on a fresh connection, alone, in one transaction, behind
//! the same authorizer. A SQL parser says beforehand which of the two a statement is; if it errs, SQLite refuses.
//!
//! Memory is bounded by the greatest value times the uses of functions; what sorts and temporary tables need beyond
//! the cache goes to SQLite's temporary files, for as long as the deadline allows.
//!
//! Two columns of one name become `id` and `id_2`; integers of 64 bits are exact; blobs are `{"$base64": "..."}`.

mod catalog;
mod classify;
mod connection;
mod failure;
mod manifests;
mod rows;
mod rules;
mod run;
pub mod sample;
#[cfg(test)]
mod tests;
mod value;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fastmcp_guard::random::Random;
use fastmcp_protocol::{Raw, args::Args};
use futures_util::future::BoxFuture;
use serde::{Deserialize, de::IgnoredAny};

use self::{
    classify::{Class, classify},
    connection::Pool,
    run::Job,
    value::Params,
};
use super::{
    Call, Demands, Effect, Exchange, Grant, ProviderAdapter, ProviderError, grant,
    input::{decode, unknown_endpoint},
    work::Workers,
};
use crate::manifest::Manifest;

/// The adapter's name.
pub const PROVIDER_ID: &str = "database";
/// What reading the schema needs.
pub const SCOPE_READ: &str = "database.read";
/// What executing statements needs.
pub const SCOPE_EXECUTE: &str = "database.execute";
/// What writing statements need as well.
pub const SCOPE_WRITE: &str = "database.write";
/// The tag of statements that lose what was there.
const DESTRUCTIVE: &str = "destructive";

const LIST_TABLES: &str = "listTables";
const GET_SCHEMA: &str = "getSchema";
const EXECUTE_QUERY: &str = "executeQuery";

/// How much a statement may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Rows of a result, from 1; default 1,000. More are left out, and `truncated` says so.
    pub max_rows: usize,
    /// How long a statement may take; default 30 seconds. The call's own time bounds it as well.
    pub timeout: Duration,
    /// Bytes of a result as JSON, from 1,024; default 1 MiB.
    pub max_result_bytes: usize,
    /// Bytes of one text, blob or row, from 1,024; default 512 KiB. It bounds what a statement can hold in memory, and
    /// how long one function runs, which nothing can stop: about a second at the default, four times that at twice it.
    pub max_value_bytes: usize,
    /// Reads at the same time, from 1 to 64; default 4. More wait. Writes run one at a time.
    pub read_connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_rows: 1_000,
            timeout: Duration::from_secs(30),
            max_result_bytes: 1024 * 1024,
            max_value_bytes: 512 * 1024,
            read_connections: 4,
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), OpenError> {
        let ranges = [
            ("max_rows", self.max_rows, 1, 1_000_000),
            (
                "max_result_bytes",
                self.max_result_bytes,
                1024,
                256 * 1024 * 1024,
            ),
            (
                "max_value_bytes",
                self.max_value_bytes,
                1024,
                256 * 1024 * 1024,
            ),
            ("read_connections", self.read_connections, 1, 64),
        ];
        for (field, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(OpenError::Range {
                    field,
                    value,
                    least,
                    most,
                });
            }
        }
        if self.timeout.is_zero() {
            return Err(OpenError::NoTime);
        }
        Ok(())
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An option is out of its range.
    #[error("database option `{field}` is {value}; it takes {least} to {most}")]
    Range {
        /// The option.
        field: &'static str,
        /// What it was.
        value: usize,
        /// Its least value.
        least: usize,
        /// Its greatest value.
        most: usize,
    },
    /// The timeout is zero.
    #[error("database option `timeout` is zero; statements need some time")]
    NoTime,
    /// There is no such file.
    #[error(
        "database file `{path}` cannot be found; create it, or point `DATABASE_PATH` at another"
    )]
    Missing {
        /// The path as given.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The path is a folder, or something else.
    #[error("`{path}` is not a file; point `DATABASE_PATH` at an SQLite database")]
    NotAFile {
        /// The path as given.
        path: PathBuf,
    },
    /// SQLite cannot use the file.
    #[error("`{path}` cannot be opened as an SQLite database")]
    Sqlite {
        /// The path as given.
        path: PathBuf,
        /// SQLite's word.
        #[source]
        source: rusqlite::Error,
    },
}

/// The adapter for one SQLite database.
#[derive(Debug)]
pub struct DatabaseProvider {
    pool: Arc<Pool>,
    reads: Workers,
    writes: Workers,
    timeout: Duration,
    random: Arc<dyn Random>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoInput {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaInput {
    table_name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryInput {
    query: String,
    /// Read from the arguments themselves, where numbers are exact.
    #[serde(default, rename = "params")]
    _params: Option<IgnoredAny>,
}

impl DatabaseProvider {
    /// Opens the database at `path`, which must exist; `random` makes the grants. Blocks for as long as a look at
    /// the schema takes.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when an option is out of range or the file is no SQLite database.
    pub fn open(path: &Path, options: Options, random: Arc<dyn Random>) -> Result<Self, OpenError> {
        options.check()?;
        // Absolute, so that SQLite never takes it for `:memory:` or a `file:` address.
        let absolute = path.canonicalize().map_err(|source| OpenError::Missing {
            path: path.to_owned(),
            source,
        })?;
        if !absolute.is_file() {
            return Err(OpenError::NotAFile {
                path: path.to_owned(),
            });
        }
        let pool = Pool::open(absolute, options).map_err(|source| OpenError::Sqlite {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            pool: Arc::new(pool),
            reads: Workers::new("the database", options.read_connections),
            writes: Workers::new("the database's writer", 1),
            timeout: options.timeout,
            random,
        })
    }

    async fn execute(&self, payload: &Args, call: &Call<'_>) -> Result<String, ProviderError> {
        let job = job(payload)?;
        let timeout = self.timeout.min(call.timeout);
        let pool = Arc::clone(&self.pool);
        if job.kind.class == Class::Read {
            return self
                .reads
                .run(timeout, Effect::None, move |deadline| {
                    run::read(&pool, job, deadline)
                })
                .await;
        }
        // The pipeline has asked for this scope already; without it nothing here can write.
        if !call.scopes.iter().any(|scope| scope == SCOPE_WRITE) {
            let message = format!("`query` writes, which needs the scope `{SCOPE_WRITE}`");
            return Err(ProviderError::invalid(message));
        }
        self.writes
            .run(timeout, Effect::Maybe, move |deadline| {
                run::write(&pool, job, deadline)
            })
            .await
    }

    async fn answer(
        &self,
        endpoint: &str,
        payload: &Args,
        call: &Call<'_>,
    ) -> Result<Raw, ProviderError> {
        let timeout = self.timeout.min(call.timeout);
        let pool = Arc::clone(&self.pool);
        match endpoint {
            LIST_TABLES => {
                let NoInput {} = decode(payload)?;
                if let Some(list) = pool.listed() {
                    return Ok(list);
                }
                self.reads
                    .run(timeout, Effect::None, move |deadline| {
                        catalog::list_tables(&pool, deadline)
                    })
                    .await
            }
            GET_SCHEMA => {
                let SchemaInput { table_name } = decode(payload)?;
                self.reads
                    .run(timeout, Effect::None, move |deadline| {
                        catalog::schema(&pool, &table_name, deadline)
                    })
                    .await
            }
            EXECUTE_QUERY => super::input::raw(self.execute(payload, call).await?),
            _ => Err(unknown_endpoint(PROVIDER_ID, endpoint)),
        }
    }
}

fn job(payload: &Args) -> Result<Job, ProviderError> {
    let QueryInput { query, .. } = decode(payload)?;
    Ok(Job {
        kind: classify(&query)?,
        params: Params::read(payload.member("params"))?,
        sql: query,
    })
}

impl ProviderAdapter for DatabaseProvider {
    fn provider_id(&self) -> &str {
        PROVIDER_ID
    }

    fn manifests(&self) -> Vec<Manifest> {
        manifests::all()
    }

    fn may_demand(&self, endpoint: &str) -> Option<Demands> {
        if endpoint != EXECUTE_QUERY {
            return Some(Demands::default());
        }
        Some(Demands {
            scopes: vec![SCOPE_WRITE.to_owned()],
            safety_tags: vec![DESTRUCTIVE.to_owned()],
            writes: true,
        })
    }

    fn demands(&self, endpoint: &str, args: &Args) -> Result<Demands, ProviderError> {
        if endpoint != EXECUTE_QUERY {
            return Ok(Demands::default());
        }
        let kind = job(args)?.kind;
        let mut demands = Demands::default();
        if kind.class != Class::Read {
            demands.scopes.push(SCOPE_WRITE.to_owned());
            demands.writes = true;
        }
        if kind.destructive {
            demands.safety_tags.push(DESTRUCTIVE.to_owned());
        }
        Ok(demands)
    }

    fn exchange<'a>(
        &'a self,
        _request: &'a Exchange<'a>,
    ) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        Box::pin(std::future::ready(grant::internal(
            PROVIDER_ID,
            &*self.random,
        )))
    }

    fn call<'a>(
        &'a self,
        endpoint: &'a str,
        payload: &'a Args,
        call: &'a Call<'a>,
    ) -> BoxFuture<'a, Result<Raw, ProviderError>> {
        Box::pin(self.answer(endpoint, payload, call))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let pool = Arc::clone(&self.pool);
            let look = self
                .reads
                .run(READY_TIMEOUT, Effect::None, move |deadline| {
                    run::look(&pool, deadline)
                });
            look.await.map_err(|error| error.message)
        })
    }
}

/// How long `/ready` waits for the database.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
