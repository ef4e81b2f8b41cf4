//! The ads adapter: `createCampaign` in a sandbox account.
//!
//! There is no connection to an advertising platform here: campaigns are kept in a file, are paused, and every result
//! says `"mode": "sandbox"`. Arguments, scopes, confirmation, idempotency and audit are those of the real thing, so a
//! policy can be tried out without spending money. The campaign's id follows from the tenant and the operation's id:
//! the same operation done again answers with the same campaign.

mod budget;
mod manifests;
mod sandbox;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fastmcp_guard::random::Random;
use fastmcp_protocol::{Raw, args::Args};
use futures_util::future::BoxFuture;
use jiff::civil::Date;
use serde::{Deserialize, de::IgnoredAny};

use self::{
    budget::Budget,
    sandbox::{Campaign, Sandbox},
};
use super::{
    Call, Demands, Effect, Exchange, Grant, ProviderAdapter, ProviderError, grant,
    input::{decode, raw, unknown_endpoint},
    work::Workers,
};
use crate::manifest::Manifest;

/// The adapter's name.
pub const PROVIDER_ID: &str = "ads";
/// What creating campaigns needs.
pub const SCOPE_WRITE: &str = "ads.write";

const CREATE_CAMPAIGN: &str = "createCampaign";
/// The longest name of a campaign, in characters.
const MAX_NAME: usize = 255;
/// How long a call waits for the sandbox's file; the call's own time bounds it as well.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long `/ready` waits for it.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the sandbox account could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "ads sandbox `{path}` cannot be opened; it must be a file of this program in a folder that exists"
)]
pub struct OpenError {
    /// The path as given.
    pub path: PathBuf,
    /// SQLite's word.
    #[source]
    pub source: rusqlite::Error,
}

/// The adapter for the sandbox account.
#[derive(Debug)]
pub struct AdsProvider {
    sandbox: Arc<Sandbox>,
    workers: Workers,
    random: Arc<dyn Random>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CampaignInput {
    name: String,
    /// Read from the arguments themselves, where numbers are exact.
    #[serde(rename = "budget")]
    _budget: IgnoredAny,
    #[serde(rename = "startDate")]
    start_date: String,
    #[serde(default, rename = "endDate")]
    end_date: Option<String>,
}

impl AdsProvider {
    /// Opens the sandbox account kept in the file at `path`, which is created if it is not there; `random` makes the
    /// grants. Blocks.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when the file cannot be used.
    pub fn open(path: &Path, random: Arc<dyn Random>) -> Result<Self, OpenError> {
        let sandbox = Sandbox::open(path).map_err(|source| OpenError {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            sandbox: Arc::new(sandbox),
            workers: Workers::new("the ads sandbox", 1),
            random,
        })
    }

    async fn create(&self, payload: &Args, call: &Call<'_>) -> Result<String, ProviderError> {
        let campaign = campaign(payload)?;
        let sandbox = Arc::clone(&self.sandbox);
        let (tenant, operation) = (call.tenant.to_owned(), call.operation_id.to_owned());
        let timeout = TIMEOUT.min(call.timeout);
        self.workers
            .run(timeout, Effect::Maybe, move |deadline| {
                sandbox.create(&tenant, &operation, &campaign, deadline.left())
            })
            .await
    }
}

fn campaign(payload: &Args) -> Result<Campaign, ProviderError> {
    let input: CampaignInput = decode(payload)?;
    let name = input.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME {
        let message = format!("`name` must have 1 to {MAX_NAME} characters");
        return Err(ProviderError::invalid(message));
    }
    if name.chars().any(char::is_control) {
        return Err(ProviderError::invalid(
            "`name` contains a control character: remove it",
        ));
    }
    let start = date("startDate", &input.start_date)?;
    let end = input
        .end_date
        .as_deref()
        .map(|text| date("endDate", text))
        .transpose()?;
    if end.is_some_and(|end| end < start) {
        return Err(ProviderError::invalid("`endDate` is before `startDate`"));
    }
    Ok(Campaign {
        name: name.to_owned(),
        budget: Budget::read(payload.member("budget"))?,
        start,
        end,
    })
}

/// Reads `YYYY-MM-DD`.
fn date(field: &str, text: &str) -> Result<Date, ProviderError> {
    let form = text.len() == 10
        && text.bytes().enumerate().all(|(index, byte)| {
            if matches!(index, 4 | 7) {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        });
    let parsed = if form { text.parse().ok() } else { None };
    parsed.ok_or_else(|| {
        ProviderError::invalid(format!(
            "`{field}` must be a day of the calendar, as in `2026-03-31`"
        ))
    })
}

impl ProviderAdapter for AdsProvider {
    fn provider_id(&self) -> &str {
        PROVIDER_ID
    }

    fn manifests(&self) -> Vec<Manifest> {
        manifests::all()
    }

    fn may_demand(&self, _endpoint: &str) -> Option<Demands> {
        Some(Demands::default())
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
        Box::pin(async move {
            match endpoint {
                CREATE_CAMPAIGN => raw(self.create(payload, call).await?),
                _ => Err(unknown_endpoint(PROVIDER_ID, endpoint)),
            }
        })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let sandbox = Arc::clone(&self.sandbox);
            let look = self
                .workers
                .run(READY_TIMEOUT, Effect::None, move |deadline| {
                    sandbox.look(deadline.left())
                });
            look.await.map_err(|error| error.message)
        })
    }
}
