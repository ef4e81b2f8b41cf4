//! What stands behind a tool: adapters, built in or registered.
//!
//! Every provider, ours too, uses only [`ProviderAdapter`]. An adapter is handed arguments that
//! were validated and permitted; it never sees the caller's token.

pub mod ads;
pub mod database;
mod define;
pub mod filesystem;
mod grant;
mod input;
mod work;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use fastmcp_protocol::{Raw, args::Args};
use futures_util::future::BoxFuture;

use crate::manifest::Manifest;

/// Connects one external system.
///
/// Source: the platform document, "Provider Interface".
pub trait ProviderAdapter: fmt::Debug + Send + Sync + 'static {
    /// The name that manifests carry as `provider_id`.
    fn provider_id(&self) -> &str;

    /// The tools that this adapter brings along; registered at start unless they exist.
    fn manifests(&self) -> Vec<Manifest> {
        Vec::new()
    }

    /// What these arguments demand beyond the manifest: `executeQuery` with a writing statement
    /// needs `database.write`, overwriting a file is destructive.
    ///
    /// # Errors
    ///
    /// When the arguments cannot be understood, for example SQL that does not parse.
    fn demands(&self, endpoint: &str, args: &Args) -> Result<Demands, ProviderError> {
        let _ = (endpoint, args);
        Ok(Demands::default())
    }

    /// The most that [`demands`](Self::demands) may add to a call, whatever its arguments; `None` where that is not known.
    /// What is proved of all calls (`fastmcp policy prove`) rests on it, so it is held to: a call that demands more is
    /// refused.
    fn may_demand(&self, endpoint: &str) -> Option<Demands> {
        let _ = endpoint;
        None
    }

    /// Obtains the credential for one caller and purpose.
    fn exchange<'a>(
        &'a self,
        request: &'a Exchange<'a>,
    ) -> BoxFuture<'a, Result<Grant, ProviderError>>;

    /// Executes `endpoint`.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped only before it has been polled; the pipeline polls it to its end.
    fn call<'a>(
        &'a self,
        endpoint: &'a str,
        payload: &'a Args,
        call: &'a Call<'a>,
    ) -> BoxFuture<'a, Result<Raw, ProviderError>>;

    /// Whether the system behind can be reached, for `/ready`.
    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

/// What arguments demand beyond the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// Scopes that the caller needs as well.
    pub scopes: Vec<String>,
    /// Safety tags that hold for this call as well.
    pub safety_tags: Vec<String>,
    /// Whether this call changes something, whatever the manifest says of the tool.
    pub writes: bool,
}

impl Demands {
    /// Whether `most` has all of it.
    #[must_use]
    pub fn is_within(&self, most: &Self) -> bool {
        self.scopes.iter().all(|scope| most.scopes.contains(scope))
            && self
                .safety_tags
                .iter()
                .all(|tag| most.safety_tags.contains(tag))
            && (most.writes || !self.writes)
    }
}

/// For whom and for what a credential is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The scopes that the call needs.
    pub scopes: &'a [String],
    /// The caller.
    pub subject: &'a str,
    /// The caller's tenant.
    pub tenant: &'a str,
    /// Why: the tool's name.
    pub purpose: &'a str,
}

/// What an adapter may know of the call beside its arguments.
#[derive(Debug)]
pub struct Call<'a> {
    /// The credential for this call.
    pub grant: &'a Grant,
    /// Unique for this call, the same when it is done again; an idempotency key for systems that take one.
    pub operation_id: &'a str,
    /// The caller's tenant.
    pub tenant: &'a str,
    /// The scopes that policy granted for this call: what `demands` asked for is among them.
    pub scopes: &'a [String],
    /// How long the call may take.
    pub timeout: Duration,
}

/// A credential for one provider and caller. Its value never leaves the process.
#[derive(Clone)]
pub struct Grant {
    token_type: String,
    audience: Option<String>,
    expires_in: Duration,
    secret: Arc<str>,
}

impl Grant {
    /// Creates a grant.
    pub fn new(
        token_type: impl Into<String>,
        secret: impl Into<Arc<str>>,
        expires_in: Duration,
    ) -> Self {
        Self {
            token_type: token_type.into(),
            audience: None,
            expires_in,
            secret: secret.into(),
        }
    }

    /// Names the audience.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// `Bearer`, or what the provider calls it.
    #[must_use]
    pub fn token_type(&self) -> &str {
        &self.token_type
    }

    /// For whom the credential is good, where the provider says so.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// How long the credential lives from its making.
    #[must_use]
    pub const fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// The credential itself; do not log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("token_type", &self.token_type)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// Whether something happened behind the adapter before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing happened: the provider proves it.
    None,
    /// The provider gave a definite answer: it refused, or did it and said so.
    Definite,
    /// It may have happened: a timeout, a reset, a broken reply.
    Maybe,
}

/// A failure of a provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// Whether something happened.
    pub effect: Effect,
    /// Whether the arguments are at fault (422) rather than the provider (502).
    pub invalid_argument: bool,
    /// One sentence for the caller.
    pub message: String,
    /// More for the log, never for the caller.
    pub detail: Option<String>,
}

impl ProviderError {
    /// The provider failed; `effect` says how far it came.
    pub fn failed(effect: Effect, message: impl Into<String>) -> Self {
        Self {
            effect,
            invalid_argument: false,
            message: message.into(),
            detail: None,
        }
    }

    /// The arguments are at fault; nothing happened.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self {
            effect: Effect::None,
            invalid_argument: true,
            message: message.into(),
            detail: None,
        }
    }

    /// Adds what only the log may know.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// The adapters by name.
#[derive(Clone, Debug, Default)]
pub struct Adapters(BTreeMap<String, Arc<dyn ProviderAdapter>>);

impl Adapters {
    /// Registers `adapter`, in place of one of the same name.
    pub fn register_adapter(&mut self, adapter: Arc<dyn ProviderAdapter>) {
        self.0.insert(adapter.provider_id().to_owned(), adapter);
    }

    /// The adapter named `provider_id`.
    #[must_use]
    pub fn get(&self, provider_id: &str) -> Option<&Arc<dyn ProviderAdapter>> {
        self.0.get(provider_id)
    }

    /// Every adapter, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn ProviderAdapter>> {
        self.0.values()
    }
}
