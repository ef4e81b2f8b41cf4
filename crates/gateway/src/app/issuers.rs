//! Who is believed about callers, read again when a file that says so changes.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use fastmcp_audit::Status;
use fastmcp_auth::{ApiKeyVerifier, Caller, TokenVerifier, verifier::VerifyError};
use fastmcp_guard::clock::Clock;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Error,
    verifier::{Fetched, verifier},
    watch::{Stamp, Watch},
};
use crate::{
    audit::Audit,
    config::{Config, Jwt, JwtKeys, Proof},
    error::told_of,
    rest::Admission,
};

/// How often the files are looked at: the longest that an issuer is believed who is not named any more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The issuers and their files.
#[derive(Clone)]
pub(super) struct Issuers {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    clock: Arc<dyn Clock>,
    believed: Arc<Believed>,
    /// Nothing where API keys are all that there is.
    is_empty: bool,
    state: Mutex<State>,
}

struct State {
    /// The files, and how they were when they were read.
    seen: Vec<(PathBuf, Option<Stamp>)>,
    /// The key sets that are kept fresh, with what ends that.
    fetched: Vec<(Fetched, Option<CancellationToken>)>,
}

impl Issuers {
    /// Reads the files that `config` names. What it says of issuers may be older than their file: that is read again.
    pub(super) async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let (seen, jwt) = read(&config.jwt)
            .await
            .map_err(Error::part("JWT_ISSUERS_FILE"))?;
        let config = &Config {
            jwt,
            ..config.clone()
        };
        let (verifier, fetched) = verifier(config, clock, Vec::new()).await?;
        let is_empty = verifier.is_none();
        let now = Now {
            verifier,
            named: named(&config.jwt),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                config: config.clone(),
                clock: Arc::clone(clock),
                is_empty,
                believed: Arc::new(Believed(RwLock::new(now))),
                state: Mutex::new(State {
                    seen,
                    fetched: fetched.into_iter().map(|one| (one, None)).collect(),
                }),
            }),
        })
    }

    /// Verifies with what is in force, whatever that will be.
    pub(super) fn verifier(&self) -> Option<Arc<dyn TokenVerifier>> {
        let believed = Arc::clone(&self.inner.believed) as Arc<dyn TokenVerifier>;
        (!self.inner.is_empty).then_some(believed)
    }

    /// The issuers in force whose tokens come from elsewhere.
    pub(super) fn named(&self) -> Arc<[String]> {
        self.inner.believed.now().named
    }

    /// The same, each with the reason why its tokens cannot be checked now, if they cannot.
    fn health(&self) -> Vec<(String, Option<String>)> {
        let fetched = self.fetched();
        let named = self.named();
        let health = named.iter().map(|issuer| {
            let keys = fetched.iter().find(|one| one.issuer == *issuer);
            (issuer.clone(), keys.and_then(Fetched::trouble))
        });
        health.collect()
    }

    /// Keeps key sets fresh, and reads the files whenever one changed or `asked` says so, until `shutdown` fires. What cannot
    /// be used changes nothing, and is tried again until it can.
    pub(super) async fn watch(
        self,
        audit: Audit,
        tracker: TaskTracker,
        asked: watch::Receiver<()>,
        shutdown: CancellationToken,
    ) {
        self.keep_fresh(&tracker, &shutdown);
        let seen = self.seen();
        if seen.is_empty() {
            return;
        }
        let watch = Watch {
            seen,
            every: LOOK_EVERY,
            asked,
            shutdown: shutdown.clone(),
        };
        watch
            .run(
                || self.look(),
                || self.reload(&audit, &tracker, &shutdown),
                |error| {
                    tracing::warn!(error, "issuers not loaded; those in force stay");
                    audit.event("issuers.reloaded", Status::Failed, json!({"error": error}));
                },
            )
            .await;
    }

    fn seen(&self) -> Vec<(PathBuf, Option<Stamp>)> {
        self.state().seen.clone()
    }

    fn fetched(&self) -> Vec<Fetched> {
        let state = self.state();
        state.fetched.iter().map(|(one, _)| one.clone()).collect()
    }

    /// How the files are by now.
    fn look(&self) -> Vec<(PathBuf, Option<Stamp>)> {
        let seen = self.seen().into_iter();
        seen.map(|(path, _)| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        })
        .collect()
    }

    async fn reload(
        &self,
        audit: &Audit,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<(), String> {
        let (seen, jwt) = read(&self.inner.config.jwt).await?;
        let config = Config {
            jwt,
            ..self.inner.config.clone()
        };
        let (verifier, fetched) = verifier(&config, &self.inner.clock, self.fetched())
            .await
            .map_err(|error| told_of(&error))?;
        self.inner.believed.replace(Now {
            verifier,
            named: named(&config.jwt),
        });
        {
            let mut state = self.state();
            let before = std::mem::take(&mut state.fetched);
            state.seen = seen;
            state.fetched = kept(before, fetched);
        }
        self.keep_fresh(tracker, shutdown);
        let issuers = config.jwt.issuers.len();
        tracing::info!(issuers, "issuers loaded");
        audit.event(
            "issuers.reloaded",
            Status::Success,
            json!({"issuers": issuers}),
        );
        Ok(())
    }

    /// Begins to keep those key sets fresh that are new.
    fn keep_fresh(&self, tracker: &TaskTracker, shutdown: &CancellationToken) {
        for (fetched, ends) in &mut self.state().fetched {
            if ends.is_none() {
                let (keys, token) = (Arc::clone(&fetched.keys), shutdown.child_token());
                *ends = Some(token.clone());
                tracker.spawn(async move { keys.run(token).await });
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who can be let in: callers of issuers, and holders of API keys.
#[derive(Debug)]
pub(super) struct Callers {
    pub(super) issuers: Issuers,
    pub(super) keys: Arc<ApiKeyVerifier>,
}

impl Admission for Callers {
    fn issuers(&self) -> Vec<(String, Option<String>)> {
        self.issuers.health()
    }

    fn does_without(&self) -> bool {
        let own = &self.issuers.inner.config.jwt.keys;
        *own == JwtKeys::Development || !self.keys.is_empty()
    }
}

/// The new key sets, with what keeps those fresh that there were; the others end.
fn kept(
    before: Vec<(Fetched, Option<CancellationToken>)>,
    now: Vec<Fetched>,
) -> Vec<(Fetched, Option<CancellationToken>)> {
    let now = now.into_iter().map(|fetched| {
        let same = |(one, _): &&(Fetched, _)| Arc::ptr_eq(&one.keys, &fetched.keys);
        let ends = before.iter().find(same).and_then(|(_, ends)| ends.clone());
        (fetched, ends)
    });
    let now: Vec<_> = now.collect();
    for (fetched, ends) in before {
        let stays = now
            .iter()
            .any(|(one, _)| Arc::ptr_eq(&one.keys, &fetched.keys));
        if let Some(ends) = ends.filter(|_| !stays) {
            ends.cancel();
        }
    }
    now
}

/// The settings with the issuers that their file names now, and how the files are. That is looked at before they are read,
/// so that what changes meanwhile is seen as a change.
async fn read(jwt: &Jwt) -> Result<(Vec<(PathBuf, Option<Stamp>)>, Jwt), String> {
    let before = jwt.clone();
    let read = tokio::task::spawn_blocking(move || {
        let named = before.issuers_file.as_deref().map(Stamp::of);
        let jwt = before.again()?;
        let mut seen = stamps(&jwt);
        for (path, stamp) in &mut seen {
            if let Some(named) = named.filter(|_| Some(&*path) == jwt.issuers_file.as_ref()) {
                *stamp = named;
            }
        }
        Ok((seen, jwt))
    });
    read.await.map_err(|error| told_of(&error))?
}

/// The files that say who is believed, and how they are.
fn stamps(jwt: &Jwt) -> Vec<(PathBuf, Option<Stamp>)> {
    let own = match &jwt.keys {
        JwtKeys::File(path) => Some(path),
        JwtKeys::Development | JwtKeys::None | JwtKeys::Url(_) => None,
    };
    let theirs = jwt.issuers.iter().filter_map(|issuer| match &issuer.proof {
        Proof::File(path) => Some(path),
        Proof::Introspection {
            client_secret_file, ..
        } => Some(client_secret_file),
        Proof::Discovered | Proof::Url(_) => None,
    });
    let paths = own.into_iter().chain(&jwt.issuers_file).chain(theirs);
    paths.map(|path| (path.clone(), Stamp::of(path))).collect()
}

/// The issuers whose tokens are accepted. That of development keys is no one to ask: its tokens are made on this machine.
fn named(jwt: &Jwt) -> Arc<[String]> {
    let own = match &jwt.keys {
        JwtKeys::File(_) | JwtKeys::Url(_) => Some(&jwt.issuer),
        JwtKeys::Development | JwtKeys::None => None,
    };
    let theirs = jwt.issuers.iter().map(|issuer| &issuer.issuer);
    own.into_iter().chain(theirs).cloned().collect()
}

/// Verifies with what is in force.
struct Believed(RwLock<Now>);

/// What is in force.
#[derive(Clone)]
struct Now {
    verifier: Option<Arc<dyn TokenVerifier>>,
    named: Arc<[String]>,
}

impl Believed {
    fn now(&self) -> Now {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace(&self, now: Now) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl TokenVerifier for Believed {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
        Box::pin(async move {
            match self.now().verifier {
                Some(verifier) => verifier.verify(token).await,
                // There is one for as long as there is anything to read again.
                None => Err(VerifyError::UnknownKey),
            }
        })
    }
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuers")
            .field("files", &self.seen())
            .finish_non_exhaustive()
    }
}
