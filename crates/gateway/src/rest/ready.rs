//! Whether calls can be served, and who can be let in to make them.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use super::{Rest, reply};
use crate::error::Error;

/// How long what was found counts: anybody may ask, and a look takes of what calls need.
const FRESH: Duration = Duration::from_secs(1);
/// How long a dependency may take to answer. Ours have shorter limits of their own; this one holds for adapters that have none.
const WITHIN: Duration = Duration::from_secs(5);

/// Who can be let in, as it is by now.
pub trait Admission: fmt::Debug + Send + Sync {
    /// The issuers whose tokens are believed, each with the reason why its tokens cannot be checked now, if they cannot.
    fn issuers(&self) -> Vec<(String, Option<String>)>;

    /// Whether anybody can be let in without them: with an API key, or a token of development keys.
    fn does_without(&self) -> bool;
}

/// One look at a time at the state and the providers. Whoever asks meanwhile, or soon after, is told the same.
#[derive(Debug, Default)]
pub struct Looks {
    last: Arc<Mutex<Option<Known>>>,
}

/// What was found, and when.
type Known = (Instant, Arc<Found>);

/// What cannot be known without asking: for each the reason why it is not ready, if it is not.
#[derive(Debug)]
struct Found {
    state: Option<String>,
    providers: Vec<(String, Option<String>)>,
}

impl Looks {
    /// What was found a moment ago, or else what `look` finds. A look goes on when its asker has gone: who asks and leaves
    /// begins no other.
    async fn found<F>(&self, tracker: &TaskTracker, look: F) -> Result<Arc<Found>, Error>
    where
        F: Future<Output = Found> + Send + 'static,
    {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(found));
        }
        let looking = tracker.spawn(async move {
            let found = Arc::new(look.await);
            *last = Some((Instant::now(), Arc::clone(&found)));
            found
        });
        looking.await.map_err(Error::internal)
    }
}

impl Found {
    async fn look(rest: Arc<Rest>) -> Self {
        let state = async {
            let ready = rest.state.ready();
            answer(async { ready.await.map_err(|error| error.to_string()) }).await
        };
        let adapters = rest.pipeline.catalog.adapters();
        let providers = adapters.iter().map(async |adapter| {
            let reason = answer(adapter.ready()).await;
            (adapter.provider_id().to_owned(), reason)
        });
        let (state, providers) = tokio::join!(state, join_all(providers));
        Self { state, providers }
    }

    fn providers(&self) -> Map<String, Value> {
        let told = |(id, reason): &(String, Option<String>)| {
            let health = json!({"ready": reason.is_none(), "reason": reason});
            (id.clone(), health)
        };
        self.providers.iter().map(told).collect()
    }
}

/// Why a dependency is not ready, if it is not.
async fn answer(ready: impl Future<Output = Result<(), String>>) -> Option<String> {
    match timeout(WITHIN, ready).await {
        Ok(answered) => answered.err(),
        Err(_) => Some("did not answer in time".to_owned()),
    }
}

/// Says whether calls can be served, and what is in the way.
#[utoipa::path(get, path = "/ready", tag = "operation", responses((status = 200, description = "Ready"), (status = 503, description = "Not ready, with the reasons")))]
pub(super) async fn ready(State(rest): State<Arc<Rest>>, headers: HeaderMap) -> Response {
    let look = Found::look(Arc::clone(&rest));
    let found = match rest.looks.found(&rest.tracker, look).await {
        Ok(found) => found,
        Err(error) => return reply::error(&error, &rest.door.corr_id(&headers)),
    };
    // What follows stands in memory, and is as it is now.
    let audit = rest.pipeline.audit.health();
    let limits = rest.pipeline.limit.health();
    let mut degraded = rest.pipeline.audit.degraded();
    if let Some(told) = rest.state.ledger().missing_told() {
        degraded.insert("seal_keys".to_owned(), told);
    }
    let (issuers, admits) = admission(&*rest.admission, &mut degraded);
    let ready =
        audit.ready && found.state.is_none() && limits.as_ref().is_none_or(|l| l.ready) && admits;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = json!({
        "ready": ready,
        "degraded": degraded,
        "dependencies": {
            "audit": {"ready": audit.ready, "reason": audit.failure, "size": audit.size, "checkpointed": audit.checkpointed, "lost": audit.lost,
                "exports": rest.pipeline.audit.exports()},
            "state": {"ready": found.state.is_none(), "reason": found.state},
            "policy": {"ready": true, "version": rest.pipeline.policy.current().version().to_string()},
            "providers": found.providers(),
            "issuers": issuers,
        },
    });
    let dependencies = body.get_mut("dependencies").and_then(|d| d.as_object_mut());
    if let (Some(limits), Some(dependencies)) = (limits, dependencies) {
        let redis =
            json!({"ready": limits.ready, "degraded": limits.degraded, "reason": limits.reason});
        dependencies.insert("redis".to_owned(), redis);
    }
    reply::json(status, &body)
}

/// How the issuers are, and whether anybody can be let in at all. One that is away keeps only its own callers out.
fn admission(
    admission: &dyn Admission,
    degraded: &mut BTreeMap<String, String>,
) -> (Map<String, Value>, bool) {
    let issuers = admission.issuers();
    let admits = admission.does_without() || issuers.iter().any(|(_, away)| away.is_none());
    if !admits {
        let why = "nobody can be let in: no issuer has keys, and there are no API keys";
        degraded.insert("callers".to_owned(), why.to_owned());
    }
    let mut told = Map::new();
    for (issuer, away) in issuers {
        let health = json!({"ready": away.is_none(), "reason": away});
        if let Some(why) = away {
            degraded.insert(format!("issuers.{issuer}"), why);
        }
        told.insert(issuer, health);
    }
    (told, admits)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// A look that waits until it may end; both numbers are counted.
    struct Door {
        looks: Looks,
        tracker: TaskTracker,
        begun: Arc<AtomicUsize>,
        may_end: Arc<Semaphore>,
    }

    impl Door {
        fn new() -> Self {
            Self {
                looks: Looks::default(),
                tracker: TaskTracker::new(),
                begun: Arc::default(),
                may_end: Arc::new(Semaphore::new(0)),
            }
        }

        async fn ask(&self) -> Arc<Found> {
            let (begun, may_end) = (Arc::clone(&self.begun), Arc::clone(&self.may_end));
            let look = async move {
                begun.fetch_add(1, Ordering::Relaxed);
                may_end.acquire().await.unwrap().forget();
                Found {
                    state: None,
                    providers: Vec::new(),
                }
            };
            self.looks.found(&self.tracker, look).await.unwrap()
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_have_one_look_made() {
        let door = Door::new();
        let gone = timeout(Duration::from_secs(1), door.ask()).await;
        assert!(gone.is_err() && door.begun() == 1);
        // One that asked has left, and the look goes on: those who come meanwhile begin none.
        door.may_end.add_permits(200);
        let asked = join_all((0..100).map(|_| door.ask())).await;
        assert!(asked.iter().all(|found| Arc::ptr_eq(found, &asked[0])));
        assert_eq!(door.begun(), 1);

        tokio::time::advance(FRESH).await;
        door.ask().await;
        assert_eq!(door.begun(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_does_not_answer_is_not_waited_for() {
        let told = answer(std::future::pending()).await;
        assert_eq!(told.as_deref(), Some("did not answer in time"));
        assert_eq!(answer(async { Ok(()) }).await, None);
    }
}
