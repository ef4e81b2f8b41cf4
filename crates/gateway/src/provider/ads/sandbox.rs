//! The sandbox account: campaigns in a file.

use std::{
    fs::OpenOptions,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::budget::Budget;
use crate::provider::{Effect, ProviderError};

/// Campaigns that one tenant may have.
const MAX_CAMPAIGNS: i64 = 10_000;
/// Marks the file as ours: "fmad".
const APPLICATION_ID: i32 = 0x666d_6164;
/// What a campaign that cannot spend anything is.
const STATUS: &str = "PAUSED";

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS campaigns (
    campaign_id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    budget_micros INTEGER NOT NULL,
    start_date TEXT NOT NULL,
    end_date TEXT,
    status TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS campaigns_by_tenant ON campaigns(tenant);
";

/// A campaign as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Campaign {
    pub(super) name: String,
    pub(super) budget: Budget,
    pub(super) start: Date,
    pub(super) end: Option<Date>,
}

/// The account.
#[derive(Debug)]
pub(super) struct Sandbox {
    connection: Mutex<Connection>,
}

#[derive(Serialize)]
struct Created<'a> {
    #[serde(rename = "campaignId")]
    campaign_id: &'a str,
    status: &'a str,
    mode: &'static str,
    account: &'static str,
    name: &'a str,
    budget: Box<RawValue>,
    #[serde(rename = "startDate")]
    start_date: String,
    #[serde(rename = "endDate")]
    end_date: Option<String>,
}

impl Sandbox {
    /// Opens the file at `path`, or creates it.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        // Absolute, so that SQLite never takes it for `:memory:` or a `file:` address.
        let absolute =
            std::path::absolute(path).map_err(|_| rusqlite::Error::InvalidPath(path.to_owned()))?;
        make_private(&absolute);
        let connection = Connection::open(absolute)?;
        let owner: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let objects: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if owner != APPLICATION_ID && objects > 0 {
            return Err(rusqlite::Error::InvalidPath(path.to_owned()));
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Creates `campaign`, or finds the one that the same operation created; answers with a JSON object.
    pub(super) fn create(
        &self,
        tenant: &str,
        operation: &str,
        campaign: &Campaign,
        wait: Duration,
    ) -> Result<String, ProviderError> {
        let id = campaign_id(tenant, operation);
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let undone = |error| failed(Effect::None, &error);
        connection.busy_timeout(wait).map_err(undone)?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(undone)?;
        match find(&transaction, &id).map_err(undone)? {
            Some(known) if known == *campaign => {}
            Some(_) => {
                return Err(ProviderError::invalid(
                    "this operation created a campaign with other arguments before: start a new operation",
                ));
            }
            None => {
                if count(&transaction, tenant).map_err(undone)? >= MAX_CAMPAIGNS {
                    let message =
                        format!("the sandbox account is full: it holds {MAX_CAMPAIGNS} campaigns");
                    return Err(ProviderError::failed(Effect::None, message));
                }
                insert(&transaction, &id, tenant, campaign).map_err(undone)?;
            }
        }
        transaction
            .commit()
            .map_err(|error| failed(Effect::Maybe, &error))?;
        answer(&id, campaign)
    }

    /// Looks whether the file answers.
    pub(super) fn look(&self, wait: Duration) -> Result<(), ProviderError> {
        let connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connection
            .busy_timeout(wait)
            .and_then(|()| {
                connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            })
            .map_err(|error| failed(Effect::None, &error))
    }
}

/// Makes the file for its owner alone, unless it is there. What goes wrong SQLite will say.
fn make_private(path: &Path) {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    if let Err(error) = options.open(path) {
        tracing::debug!(path = %path.display(), %error, "the ads sandbox could not be created");
    }
}

/// Follows from the tenant and the operation, so that doing it again finds it.
fn campaign_id(tenant: &str, operation: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(b"fastmcp/ads/campaign/v1\n");
    for part in [tenant, operation] {
        // With its length before it no part can run into the next.
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let short = digest.as_ref().get(..16).unwrap_or_default();
    format!("sandbox-{}", URL_SAFE_NO_PAD.encode(short))
}

fn find(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<Campaign>> {
    let row = transaction
        .query_row(
            "SELECT name, budget_micros, start_date, end_date FROM campaigns WHERE campaign_id = ?1",
            [id],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, Option<String>>(3)?,
                ))
            },
        )
        .optional()?;
    let Some((name, micros, start, end)) = row else {
        return Ok(None);
    };
    let date = |text: String| {
        text.parse::<Date>().map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                2,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })
    };
    Ok(Some(Campaign {
        name,
        budget: Budget::from_micros(micros),
        start: date(start)?,
        end: end.map(date).transpose()?,
    }))
}

fn count(transaction: &Transaction<'_>, tenant: &str) -> rusqlite::Result<i64> {
    transaction.query_row(
        "SELECT count(*) FROM campaigns WHERE tenant = ?1",
        [tenant],
        |row| row.get(0),
    )
}

fn insert(
    transaction: &Transaction<'_>,
    id: &str,
    tenant: &str,
    campaign: &Campaign,
) -> rusqlite::Result<usize> {
    transaction.execute(
        "INSERT INTO campaigns (campaign_id, tenant, name, budget_micros, start_date, end_date, status)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            id,
            tenant,
            campaign.name,
            campaign.budget.micros(),
            campaign.start.to_string(),
            campaign.end.map(|date| date.to_string()),
            STATUS,
        ],
    )
}

fn answer(id: &str, campaign: &Campaign) -> Result<String, ProviderError> {
    RawValue::from_string(campaign.budget.to_string())
        .and_then(|budget| {
            serde_json::to_string(&Created {
                campaign_id: id,
                status: STATUS,
                mode: "sandbox",
                account: "sandbox",
                name: &campaign.name,
                budget,
                start_date: campaign.start.to_string(),
                end_date: campaign.end.map(|date| date.to_string()),
            })
        })
        .map_err(|error| {
            ProviderError::failed(
                Effect::Definite,
                "the campaign was created, but has no JSON form",
            )
            .with_detail(error.to_string())
        })
}

fn failed(effect: Effect, error: &rusqlite::Error) -> ProviderError {
    ProviderError::failed(effect, "the ads sandbox does not answer").with_detail(error.to_string())
}
