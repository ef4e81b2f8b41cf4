//! Whether a server can be of use.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{component::Json, error::Result};

/// How long what was found counts: anybody may look, and a look may cost a query.
const FRESH: Duration = Duration::from_secs(1);
/// How long a check may take.
const WITHIN: Duration = Duration::from_secs(5);

type Check = Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A check and its name.
pub(super) struct Named {
    name: String,
    check: Check,
}

impl Named {
    pub(super) fn new<F, Fut>(name: String, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        Self {
            name,
            check: Box::new(move || Box::pin(check())),
        }
    }

    /// Whether it passes.
    async fn passes(&self) -> bool {
        let check = self.name.as_str();
        match tokio::time::timeout(WITHIN, (self.check)()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(check, error = error.message(), "not ready");
                false
            }
            Err(_) => {
                tracing::warn!(check, "not ready: the check took too long");
                false
            }
        }
    }
}

/// What decides on `/ready`.
pub(super) struct Checks {
    checks: Vec<Named>,
    draining: CancellationToken,
    found: Mutex<Option<(Instant, Vec<bool>)>>,
}

impl Checks {
    pub(super) fn new(checks: Vec<Named>, draining: CancellationToken) -> Self {
        Self {
            checks,
            draining,
            found: Mutex::default(),
        }
    }

    /// What whoever looks is told.
    pub(super) async fn answer(&self) -> (StatusCode, Json<Value>) {
        let found = self.found().await;
        let is_ready = found.iter().all(|passed| *passed) && !self.draining.is_cancelled();
        let word = |passed: bool| if passed { "ok" } else { "failed" }.into();
        let each = self.checks.iter().zip(&found);
        let checks: Map<_, _> = each
            .map(|(check, passed)| (check.name.clone(), word(*passed)))
            .collect();
        let (code, status) = match (is_ready, self.draining.is_cancelled()) {
            (true, _) => (StatusCode::OK, "ready"),
            (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        };
        (code, Json(json!({"status": status, "checks": checks})))
    }

    async fn found(&self) -> Vec<bool> {
        let mut known = self.found.lock().await;
        if let Some((at, found)) = &*known
            && at.elapsed() < FRESH
        {
            return found.clone();
        }
        let found = join_all(self.checks.iter().map(Named::passes)).await;
        *known = Some((Instant::now(), found.clone()));
        found
    }
}
