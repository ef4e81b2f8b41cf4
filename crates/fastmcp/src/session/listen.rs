//! Streams of change notifications, in both eras.

use std::sync::Arc;

use fastmcp_protocol::{
    Method, Raw, RequestId,
    content::Meta,
    jsonrpc::{encode_call, encode_result},
    meta::SUBSCRIPTION_ID,
    subscription::{AcknowledgedParams, ListenParams, ResourceUpdatedParams},
};
use fastmcp_transport::{Frame, Outlet, Reply};
use serde_json::json;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Change, Kind},
    engine::Engine,
    respond::Answer,
    session::{Exchange, task::Watched},
};

/// Serves one `subscriptions/listen` until the client goes away or the server shuts down.
///
/// Source: MCP 2026-07-28, basic/patterns/subscriptions.
pub(super) async fn modern(
    engine: &Arc<Engine>,
    exchange: Exchange,
    id: &RequestId,
    params: ListenParams,
    answer: Answer<'_>,
) -> Reply {
    // Subscribed before the acknowledgement, so that nothing between the two is missed.
    let changes = engine.registry.subscribe();
    let Ok(_slot) = engine.subscriptions.clone().try_acquire_owned() else {
        return answer.rpc_error(&fastmcp_protocol::RpcError::internal(
            "too many subscriptions are open; try again later",
        ));
    };
    let mut filter = engine.honoured(&exchange.caller, &params.notifications);
    let watched = match Watched::of(engine, &exchange, &params.notifications).await {
        Ok(watched) => watched,
        Err(error) => return answer.error(None, &error),
    };
    filter.task_ids = watched.ids();
    let tag = Meta::default().with(SUBSCRIPTION_ID, json!(id));
    let acknowledged = AcknowledgedParams {
        notifications: filter.clone(),
        meta: Some(tag.clone()),
    };
    let stream = Stream {
        outlet: exchange.outlet,
        cancel: exchange.cancel,
        shutdown: engine.shutdown.clone(),
        tag: Some(tag.clone()),
    };
    let Ok(first) = serde_json::to_string(&acknowledged) else {
        return answer.empty();
    };
    if stream
        .send(Method::NotificationSubscriptionsAcknowledged, Some(&first))
        .await
    {
        tokio::select! {
            () = stream.run(changes, |method, uri| filter.wants(method, uri)) => {}
            () = watched.run(engine, &stream) => {}
        }
    }
    let result = json!({"resultType": "complete", "_meta": tag}).to_string();
    Reply::ok(encode_result(id, &result))
}

/// One open stream.
pub(super) struct Stream {
    pub(super) outlet: Outlet,
    pub(super) cancel: CancellationToken,
    pub(super) shutdown: CancellationToken,
    /// `_meta` of every notification, for modern clients.
    pub(super) tag: Option<Meta>,
}

impl Stream {
    /// Sends what is wanted until somebody ends the stream.
    pub(super) async fn run(
        &self,
        mut changes: broadcast::Receiver<Change>,
        wants: impl Fn(Method, Option<&str>) -> bool,
    ) {
        loop {
            let change = tokio::select! {
                () = self.cancel.cancelled() => return,
                () = self.shutdown.cancelled() => return,
                change = changes.recv() => change,
            };
            let alive = match change {
                Ok(Change::List(kind)) => self.list_changed(kind, &wants).await,
                Ok(Change::Resource(uri)) => self.updated(&uri, &wants).await,
                // A slow reader missed some: tell it once that every list may have changed.
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let mut alive = true;
                    for kind in [Kind::Tool, Kind::Resource, Kind::Prompt] {
                        alive = alive && self.list_changed(kind, &wants).await;
                    }
                    alive
                }
                Err(broadcast::error::RecvError::Closed) => false,
            };
            if !alive {
                return;
            }
        }
    }

    async fn list_changed(
        &self,
        kind: Kind,
        wants: &impl Fn(Method, Option<&str>) -> bool,
    ) -> bool {
        let method = match kind {
            Kind::Tool => Method::NotificationToolsListChanged,
            Kind::Resource | Kind::Template => Method::NotificationResourcesListChanged,
            Kind::Prompt => Method::NotificationPromptsListChanged,
        };
        if !wants(method, None) {
            return true;
        }
        let params = self
            .tag
            .as_ref()
            .map(|tag| json!({"_meta": tag}).to_string());
        self.send(method, params.as_deref()).await
    }

    async fn updated(&self, uri: &str, wants: &impl Fn(Method, Option<&str>) -> bool) -> bool {
        let method = Method::NotificationResourcesUpdated;
        if !wants(method, Some(uri)) {
            return true;
        }
        let params = ResourceUpdatedParams {
            uri: uri.into(),
            meta: self.tag.clone(),
        };
        match serde_json::to_string(&params) {
            Ok(params) => self.send(method, Some(&params)).await,
            Err(_) => true,
        }
    }

    /// Sends a notification; whether anybody still reads.
    pub(super) async fn send(&self, method: Method, params: Option<&str>) -> bool {
        let frame = Frame::message(encode_call(None, method.as_str(), params));
        self.outlet.send(frame).await.is_ok()
    }
}

/// Reads a raw answer of a legacy client; kept here beside what it answers.
pub(super) fn answered(
    outcome: Result<Raw, fastmcp_protocol::RpcError>,
) -> crate::error::Result<Raw> {
    outcome.map_err(|e| {
        crate::error::Error::declined(format!("the client answered with an error: {}", e.message))
    })
}
