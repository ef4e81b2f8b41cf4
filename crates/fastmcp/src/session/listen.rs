//! Streams of change notifications, in both eras.

use std::{borrow::Cow, sync::Arc, time::Duration};

use fastmcp_auth::Caller;
use fastmcp_guard::clock::Clock;
use fastmcp_protocol::{
    Method, Raw, RequestId,
    content::Meta,
    jsonrpc::{encode_call, encode_result},
    meta::SUBSCRIPTION_ID,
    subscription::{AcknowledgedParams, ListenParams, ResourceUpdatedParams, SubscriptionFilter},
};
use fastmcp_transport::{Frame, Outlet, Reply};
use serde_json::json;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Change, Kind, Told},
    engine::Engine,
    registry::Rules,
    respond::Answer,
    session::{Exchange, task::Watched},
};

/// How often a stream looks at the clock while it waits for its caller's token to expire: clocks are
/// set, and machines sleep.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Serves one `subscriptions/listen` until the caller's token expires, the client goes away or the server shuts down.
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
    let mut changes = engine.registry.hear();
    let Ok(_slot) = engine.subscriptions.clone().try_acquire_owned() else {
        return answer.rpc_error(&fastmcp_protocol::RpcError::internal(
            "too many subscriptions are open; try again later",
        ));
    };
    let sight = engine.sight(&exchange.caller, None);
    let mut filter = engine.honoured(&sight, &params.notifications);
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
        engine,
        caller: &exchange.caller,
        reader: exchange.outlet.clone(),
        outlet: exchange.outlet,
        cancel: exchange.cancel,
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
            () = stream.run(&mut changes, &filter) => {}
            () = watched.run(engine, &stream) => {}
        }
    }
    let result = json!({"resultType": "complete", "_meta": tag}).to_string();
    Reply::ok(encode_result(id, &result))
}

/// What is told on a stream.
pub(super) trait Wishes {
    /// Whether a change is wanted.
    fn wants(&self, method: Method, uri: Option<&str>) -> bool;

    /// The resources that are subscribed to.
    fn resources(&self) -> Cow<'_, [String]>;

    /// What the session shows and hides in place of the server.
    fn rules(&self) -> Option<Arc<Rules>> {
        None
    }
}

impl Wishes for SubscriptionFilter {
    fn wants(&self, method: Method, uri: Option<&str>) -> bool {
        Self::wants(self, method, uri)
    }

    fn resources(&self) -> Cow<'_, [String]> {
        Cow::Borrowed(&self.resource_subscriptions)
    }
}

/// One open stream.
pub(super) struct Stream<'a> {
    pub(super) engine: &'a Engine,
    pub(super) caller: &'a Caller,
    /// Who reads.
    pub(super) reader: Outlet,
    /// What they read, kept for those who come back or not.
    pub(super) outlet: Outlet,
    pub(super) cancel: CancellationToken,
    /// `_meta` of every notification, for modern clients.
    pub(super) tag: Option<Meta>,
}

impl Stream<'_> {
    /// Sends what is wanted until somebody ends the stream, or the caller's token expires.
    pub(super) async fn run(&self, changes: &mut broadcast::Receiver<Told>, wishes: &impl Wishes) {
        loop {
            let told = tokio::select! {
                () = self.cancel.cancelled() => return,
                () = self.engine.shutdown.cancelled() => return,
                () = self.reader.closed() => return,
                () = expired(self.engine.clock(), self.caller) => return,
                told = changes.recv() => told,
            };
            let Ok(Told { change, moved }) = told else {
                let lagged = matches!(told, Err(broadcast::error::RecvError::Lagged(_)));
                if lagged && self.anything(wishes).await {
                    continue;
                }
                return;
            };
            let alive = match change {
                Change::List(kind) => {
                    let registry = &self.engine.registry;
                    let sight = self.engine.sight(self.caller, wishes.rules());
                    !registry.concerns(&sight, moved.as_ref())
                        || self.list_changed(kind, wishes).await
                }
                Change::Resource(uri) => self.updated(&uri, wishes).await,
            };
            if !alive {
                return;
            }
        }
    }

    /// A slow reader missed some changes: tell it once that everything may have changed.
    async fn anything(&self, wishes: &impl Wishes) -> bool {
        for kind in [Kind::Tool, Kind::Resource, Kind::Prompt] {
            if !self.list_changed(kind, wishes).await {
                return false;
            }
        }
        for uri in wishes.resources().iter() {
            if !self.updated(uri, wishes).await {
                return false;
            }
        }
        true
    }

    async fn list_changed(&self, kind: Kind, wishes: &impl Wishes) -> bool {
        let method = match kind {
            Kind::Tool => Method::NotificationToolsListChanged,
            Kind::Resource | Kind::Template => Method::NotificationResourcesListChanged,
            Kind::Prompt => Method::NotificationPromptsListChanged,
        };
        if !wishes.wants(method, None) {
            return true;
        }
        let params = self
            .tag
            .as_ref()
            .map(|tag| json!({"_meta": tag}).to_string());
        self.send(method, params.as_deref()).await
    }

    async fn updated(&self, uri: &str, wishes: &impl Wishes) -> bool {
        let method = Method::NotificationResourcesUpdated;
        // What the caller may see can have changed since it subscribed.
        let sight = self.engine.sight(self.caller, wishes.rules());
        if !wishes.wants(method, Some(uri)) || !self.engine.shows(&sight, uri) {
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

/// Waits until the caller's token is no longer accepted; for ever where it has none.
async fn expired(clock: &dyn Clock, caller: &Caller) {
    let Some(until) = caller.valid_until() else {
        return std::future::pending().await;
    };
    loop {
        let left = until.since(clock.now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
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
