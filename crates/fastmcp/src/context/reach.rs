//! What a context tells of its request, beyond what most handlers ask.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
};

use fastmcp_protocol::jsonrpc::encode_call;
use fastmcp_transport::{Peer, PeerKind};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Context, Kept};
use crate::error::{Error, Result};

/// Calls of the own server that may be under way in one request, one within the other or at once.
const MAX_NESTED: usize = 64;

/// Counts one of them.
pub(crate) struct Nested<'a>(&'a Context);

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        self.0.rare().nested.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Context {
    /// Whether the request goes on with an earlier round of its call: it brings answers, or the state of that round.
    #[must_use]
    pub fn continues(&self) -> bool {
        self.0.origin.peek.continues
    }

    /// Counts a call of the own server: handlers that call one another come to an end.
    pub(crate) fn nest(&self) -> Result<Nested<'_>> {
        let before = self.rare().nested.fetch_add(1, Ordering::Relaxed);
        let counted = Nested(self);
        if before < MAX_NESTED {
            return Ok(counted);
        }
        Err(Error::internal(format!(
            "one request has {MAX_NESTED} calls of its own server under way; do its handlers call one another?"
        )))
    }

    /// Sets `key` for the rest of this request.
    ///
    /// # Errors
    ///
    /// When `value` cannot be represented as JSON.
    pub fn set_state<T: Serialize>(&self, key: impl Into<String>, value: T) -> Result<()> {
        let value = Kept::Value(serde_json::to_value(value)?);
        self.state().insert(Cow::Owned(key.into()), value);
        Ok(())
    }

    /// As [`Self::set_state`], for what is set in every request and seldom read.
    pub(crate) fn keep(&self, key: &'static str, value: Kept) {
        self.state().insert(Cow::Borrowed(key), value);
    }

    /// What was set for `key` during this request, where it has the shape of `T`. See also
    /// [`Self::get_state_or`].
    #[must_use]
    pub fn get_state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.state().get(key).cloned()?;
        serde_json::from_value(value.into()).ok()
    }

    fn state(&self) -> MutexGuard<'_, BTreeMap<Cow<'static, str>, Kept>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call of the own server is under way in this request.
    pub(crate) fn is_nested(&self) -> bool {
        let rare = self.0.rare.get();
        rare.is_some_and(|rare| rare.nested.load(Ordering::Relaxed) > 0)
    }

    /// Begins the round again, for a call that is made once more: what it asked, it may ask again. Within
    /// a handler's own call nothing is forgotten, since the handler asks too.
    pub(crate) fn restart(&self) {
        if !self.is_nested() {
            self.asking().replay().restart();
        }
    }

    /// What was set for `key` during this request, or `default` where nothing was, or nothing of the shape
    /// of `T`.
    #[must_use]
    pub fn get_state_or<T: DeserializeOwned>(&self, key: &str, default: T) -> T {
        self.get_state(key).unwrap_or(default)
    }

    /// Forgets what was set for `key`; whether something was.
    pub fn delete_state(&self, key: &str) -> bool {
        self.state().remove(key).is_some()
    }

    /// The HTTP request; absent on other transports.
    #[must_use]
    pub fn http_request(&self) -> Option<&Peer> {
        Some(self.peer()).filter(|peer| peer.kind == PeerKind::Http)
    }

    pub(crate) fn shared_peer(&self) -> &Arc<Peer> {
        &self.0.origin.peer
    }

    /// Whether the client declared an extension of the protocol.
    #[must_use]
    pub fn client_supports_extension(&self, name: &str) -> bool {
        self.client_extension_settings(name).is_some()
    }

    /// What the client said of an extension of the protocol, where it declared it.
    #[must_use]
    pub fn client_extension_settings(&self, name: &str) -> Option<&Value> {
        self.client_capabilities().extensions.as_ref()?.get(name)
    }

    /// Sends the client a notification of one's own on the stream of this request. For what the protocol
    /// has itself there are methods: [`Self::log`], [`Self::report_progress`], [`Self::notify`].
    ///
    /// # Errors
    ///
    /// When `method` does not begin with `notifications/`, or `params` are no object.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for a slow reader, nothing is sent.
    pub async fn send_notification(
        &self,
        method: &str,
        params: impl Serialize + Send,
    ) -> Result<()> {
        let params = serde_json::to_value(params)?;
        if !method.starts_with("notifications/") || !params.is_object() {
            return Err(Error::internal(
                "a notification is named `notifications/...`, and its parameters are an object",
            ));
        }
        self.send(encode_call(None, method, Some(&params.to_string())))
            .await;
        Ok(())
    }
}
