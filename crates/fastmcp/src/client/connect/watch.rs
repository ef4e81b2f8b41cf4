//! What legacy servers do by requests of their own: subscriptions, log level, liveness.
//!
//! Source: MCP 2025-11-25, server/resources, server/utilities/logging, basic/utilities/ping.

use std::sync::Arc;

use fastmcp_protocol::{Raw, logging::LoggingLevel};
use serde_json::{Map, Value, json};

use super::{Agreed, negotiate::ask, notification};
use crate::{
    client::{call::CallOptions, link::Link},
    error::Result,
};

/// Whether resources are subscribed to one by one, and changes come on the common stream.
pub(in crate::client) fn subscribes_one_by_one(link: &Link) -> bool {
    !link.agreed.load().is_stateless()
}

/// Whether the server is told that the roots changed.
pub(in crate::client) async fn announces_roots(link: &Link) -> Result<()> {
    let agreed = link.agreed.load_full();
    if agreed.is_stateless() {
        return Ok(());
    }
    let changed = notification(&agreed, "notifications/roots/list_changed", None);
    Ok(link.wire.notify(changed).await?)
}

/// Asks the server whether it is there.
pub(in crate::client) async fn ping(link: &Arc<Link>) -> Result<()> {
    let method = if link.agreed.load().is_stateless() {
        link.shelf.forget("server/discover");
        "server/discover"
    } else {
        "ping"
    };
    request(link, method, Map::new()).await.map(drop)
}

/// Says which log messages are wanted: with every request, or once.
pub(in crate::client) async fn set_level(link: &Arc<Link>, level: LoggingLevel) -> Result<()> {
    link.set_level(level);
    if link.agreed.load().is_stateless() {
        return Ok(());
    }
    request(link, "logging/setLevel", level_params(level))
        .await
        .map(drop)
}

/// Says to a new session which log messages are wanted, where the server has any.
pub(super) async fn restore_level(link: &Arc<Link>) {
    let level = link.level();
    let agreed = link.agreed.load_full();
    if let (Some(level), true) = (level, agreed.described.capabilities.logging.is_some()) {
        // The session stands without it.
        settle(link, &agreed, "logging/setLevel", &level_params(level)).await;
    }
}

/// Subscribes to what was subscribed to before the session was lost.
pub(super) async fn resume(link: &Arc<Link>) {
    let agreed = link.agreed.load_full();
    if agreed.is_stateless() {
        return;
    }
    let watched: Vec<String> = link.watched().keys().cloned().collect();
    for uri in watched {
        settle(link, &agreed, "resources/subscribe", &uri_params(&uri)).await;
    }
}

/// One request of a session that is being opened; a failure is left to the log.
async fn settle(link: &Arc<Link>, agreed: &Agreed, method: &str, params: &Map<String, Value>) {
    let failed = match ask(link, agreed, method, params).await {
        Ok(answered) => answered.outcome.err().map(|e| e.to_string()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(error) = failed {
        tracing::warn!(method, %error, "the new session lacks something");
    }
}

/// Subscribes to a resource, unless that is so already.
pub(in crate::client) async fn watch(link: &Arc<Link>, uri: &str) -> Result<()> {
    let first = {
        let mut watched = link.watched();
        let count = watched.entry(uri.to_owned()).or_insert(0);
        *count += 1;
        *count == 1
    };
    if !first {
        return Ok(());
    }
    let subscribed = request(link, "resources/subscribe", uri_params(uri)).await;
    if subscribed.is_err() {
        link.watched().remove(uri);
    }
    subscribed.map(drop)
}

/// Ends a subscription to a resource, unless another one wants it.
pub(in crate::client) async fn unwatch(link: &Arc<Link>, uri: &str) {
    let last = {
        let mut watched = link.watched();
        match watched.get_mut(uri) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            Some(_) => watched.remove(uri).is_some(),
            None => false,
        }
    };
    if last && let Err(error) = request(link, "resources/unsubscribe", uri_params(uri)).await {
        tracing::debug!(%error, "a subscription was not ended");
    }
}

async fn request(link: &Arc<Link>, method: &str, params: Map<String, Value>) -> Result<Raw> {
    Box::pin(link.request(method, params, &CallOptions::default())).await
}

fn level_params(level: LoggingLevel) -> Map<String, Value> {
    Map::from_iter([("level".to_owned(), json!(level.as_str()))])
}

fn uri_params(uri: &str) -> Map<String, Value> {
    Map::from_iter([("uri".to_owned(), json!(uri))])
}
