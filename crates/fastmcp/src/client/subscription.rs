//! Hearing of changes.
//!
//! Source: MCP 2026-07-28, basic/patterns/subscriptions.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fastmcp_protocol::{
    Message, RequestId,
    jsonrpc::DEFAULT_DEPTH,
    subscription::{AcknowledgedParams, SubscriptionFilter},
};
use fastmcp_transport::{Messages, WireError};
use futures_util::{Stream, StreamExt as _};
use serde_json::{Map, json};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    time::{Instant, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    call::{Attending, Call, CallOptions, Cancel},
    connect,
    link::Link,
    notice::Change,
    round::failure,
};
use crate::error::{Error, Result};

/// Changes that wait for a slow reader before the server is made to wait too.
const WAITING: usize = 64;

/// What changes at a server, as it changes. Dropped, it ends.
///
/// A connection that breaks is made again, and everything that was asked for counts as changed
/// then: what happened meanwhile is not known.
pub struct Subscription {
    changes: mpsc::Receiver<Change>,
    honoured: SubscriptionFilter,
    _open: DropGuard,
}

impl Subscription {
    /// The next change; none when the server does not tell of changes any more, or the client was
    /// closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }

    /// What the server tells of, out of what was asked for.
    #[must_use]
    pub const fn honoured(&self) -> &SubscriptionFilter {
        &self.honoured
    }
}

impl Stream for Subscription {
    type Item = Change;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        self.changes.poll_recv(cx)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("honoured", &self.honoured)
            .finish_non_exhaustive()
    }
}

/// Opens a subscription for what `filter` asks for.
pub(super) async fn subscribe(
    link: &Arc<Link>,
    filter: SubscriptionFilter,
) -> Result<Subscription> {
    let (sender, changes) = mpsc::channel(WAITING);
    let ended = CancellationToken::new();
    let open = ended.clone().drop_guard();
    let honoured = if connect::subscribes_one_by_one(link) {
        watch(link, filter, sender, ended).await?
    } else {
        let stream = open_stream(link, &filter).await?;
        let honoured = stream.honoured.clone();
        let following = Arc::clone(link);
        link.tasks.spawn(async move {
            tokio::select! {
                () = follow(&following, &filter, stream, &sender) => {}
                () = ended.cancelled() => {}
                () = following.stop.cancelled() => {}
            }
        });
        honoured
    };
    Ok(Subscription {
        changes,
        honoured,
        _open: open,
    })
}

/// An open stream of changes.
struct Open {
    honoured: SubscriptionFilter,
    messages: Messages,
    cancel: Cancel,
    id: Option<RequestId>,
}

/// Asks for a stream and reads to its acknowledgement, which is the first message.
async fn open_stream(link: &Arc<Link>, filter: &SubscriptionFilter) -> Result<Open> {
    let params = Map::from_iter([("notifications".to_owned(), json!(filter))]).into();
    let options = CallOptions::default();
    let call = Call {
        method: "subscriptions/listen",
        params: &params,
        options: &options,
    };
    let outgoing = connect::dress(link, &link.agreed.load(), call)?;
    let until = Instant::now() + link.config.timeout;
    let mut cancel = Cancel::armed(link, &outgoing);
    let id = outgoing.id.clone();
    let opened = async {
        let mut messages = link.wire.request(outgoing).await?.messages;
        let first = messages.next().await;
        let first = first.ok_or_else(|| WireError::Broken("it ended at once".to_owned()))??;
        Ok::<_, WireError>((first, messages))
    };
    let opened = timeout_at(until, opened).await;
    let (first, messages) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            cancel.disarm();
            return Err(failure(error));
        }
        Err(_) => return Err(Error::timeout()),
    };
    match Message::parse(&first, DEFAULT_DEPTH) {
        Ok(Message::Notification(n)) if n.method == "notifications/subscriptions/acknowledged" => {
            let params = n.params.as_ref().map(|p| p.decode::<AcknowledgedParams>());
            let honoured = params.transpose()?.unwrap_or_default().notifications;
            Ok(Open {
                honoured,
                messages,
                cancel,
                id,
            })
        }
        Ok(Message::Response(response)) => {
            cancel.disarm();
            Err(match response.outcome {
                Err(error) => Error::protocol(error),
                Ok(_) => Error::internal("the server ended the subscription at once"),
            })
        }
        _ => Err(Error::internal(
            "the server did not acknowledge the subscription first",
        )),
    }
}

/// Says that everything may have changed while the stream was broken; whether anybody listens.
async fn missed(
    link: &Link,
    honoured: &SubscriptionFilter,
    changes: &mpsc::Sender<Change>,
) -> bool {
    for change in Change::all(honoured) {
        link.shelf.changed(&change);
        link.notices.tell_change(change.clone());
        if changes.send(change).await.is_err() {
            return false;
        }
    }
    true
}

/// Passes changes on, and opens the stream again when it breaks, until the server refuses that.
async fn follow(
    link: &Arc<Link>,
    filter: &SubscriptionFilter,
    stream: Open,
    changes: &mpsc::Sender<Change>,
) {
    let mut stream = Some(stream);
    let mut attempts = 0;
    loop {
        match stream.take() {
            Some(open) => {
                if pass_on(link, open, changes).await {
                    attempts = 0;
                }
            }
            None => match Box::pin(open_stream(link, filter)).await {
                Ok(open) => {
                    if !missed(link, &open.honoured, changes).await {
                        return;
                    }
                    stream = Some(open);
                    continue;
                }
                Err(error) => {
                    let last = is_final(&error);
                    tracing::warn!(%error, last, "the subscription is broken");
                    if last {
                        return;
                    }
                }
            },
        }
        tokio::time::sleep(link.backoff(attempts)).await;
        attempts = attempts.saturating_add(1);
    }
}

/// Whether trying again is of no use.
fn is_final(error: &Error) -> bool {
    let refused = matches!(error.kind(), crate::error::ErrorKind::Protocol(_));
    let gone = error
        .source()
        .and_then(|source| source.downcast_ref::<WireError>())
        .is_some_and(|e| matches!(e, WireError::Closed(_) | WireError::Unauthorized(_)));
    refused || gone
}

/// Reads a stream to its end. Whether anything came.
async fn pass_on(link: &Arc<Link>, mut open: Open, changes: &mpsc::Sender<Change>) -> bool {
    let mut came = false;
    while let Some(message) = open.messages.next().await {
        let Ok(text) = message else { break };
        match Message::parse(&text, DEFAULT_DEPTH) {
            Ok(Message::Notification(notification)) => {
                came = true;
                link.heard(&notification, None, Attending::default());
                if let Some(change) = Change::of(&notification)
                    && changes.send(change).await.is_err()
                {
                    return came;
                }
            }
            Ok(Message::Response(response)) if response.id.is_none() || response.id == open.id => {
                break;
            }
            _ => {}
        }
    }
    open.cancel.disarm();
    came
}

/// Subscribes to resources one by one, and picks changes out of what the server says.
async fn watch(
    link: &Arc<Link>,
    filter: SubscriptionFilter,
    sender: mpsc::Sender<Change>,
    ended: CancellationToken,
) -> Result<SubscriptionFilter> {
    let heard = link.notices.changes();
    connect::listens(link).await;
    let mut watched = Vec::new();
    for uri in &filter.resource_subscriptions {
        match connect::watch(link, uri).await {
            Ok(()) => watched.push(uri.clone()),
            Err(error) => {
                for uri in &watched {
                    connect::unwatch(link, uri).await;
                }
                return Err(error);
            }
        }
    }
    let honoured = filter.clone();
    let watching = Arc::clone(link);
    link.tasks.spawn(async move {
        tokio::select! {
            () = pick(heard, &filter, &sender) => {}
            () = ended.cancelled() => {}
            () = watching.stop.cancelled() => return,
        }
        for uri in &watched {
            connect::unwatch(&watching, uri).await;
        }
    });
    Ok(honoured)
}

/// Passes on what `filter` asks for, until nobody listens.
async fn pick(
    mut heard: broadcast::Receiver<Change>,
    filter: &SubscriptionFilter,
    changes: &mpsc::Sender<Change>,
) {
    loop {
        let picked = match heard.recv().await {
            Ok(change) if change.wanted(filter) => vec![change],
            Ok(_) => continue,
            Err(RecvError::Lagged(_)) => Change::all(filter),
            Err(RecvError::Closed) => return,
        };
        for change in picked {
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }
}
