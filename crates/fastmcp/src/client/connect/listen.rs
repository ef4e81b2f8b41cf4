//! The stream on which a server speaks without being asked.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytestring::ByteString;
use fastmcp_protocol::{Message, jsonrpc::DEFAULT_DEPTH};
use fastmcp_transport::{Incoming, WireError, WireKind};
use futures_util::StreamExt as _;

use super::{asked, dress::headers};
use crate::client::{call::Attending, link::Link, notice::Change};

/// Begins to listen, unless somebody does already.
pub(super) fn start(link: &Arc<Link>) {
    if link.listening.swap(true, Ordering::AcqRel) {
        return;
    }
    link.heard_out.send_replace(false);
    let listening = Arc::clone(link);
    link.tasks.spawn(async move {
        tokio::select! {
            () = listen(&listening) => {}
            () = listening.stop.cancelled() => {}
        }
        listening.listening.store(false, Ordering::Release);
    });
}

/// Listens until the server has no such stream, or the connection is gone. A stream over HTTP that
/// breaks is opened again; what was missed meanwhile counts as changed.
async fn listen(link: &Arc<Link>) {
    let mut attempts = 0;
    let mut opened = false;
    loop {
        let asked_with = headers(&link.agreed.load());
        let listened = link.wire.listen(asked_with).await;
        link.heard_out.send_replace(true);
        match listened {
            Ok(incoming) => {
                if opened {
                    missed(link);
                }
                opened = true;
                if read(link, incoming).await {
                    attempts = 0;
                }
            }
            Err(error) => {
                let last = is_final(&error);
                tracing::debug!(%error, last, "the server cannot be listened to");
                if last {
                    return;
                }
            }
        }
        if link.wire.kind() != WireKind::Http {
            return;
        }
        tokio::time::sleep(link.backoff(attempts)).await;
        attempts = attempts.saturating_add(1);
    }
}

/// Whether there is nothing to listen to. 405: the server has no such stream. 404: the session is
/// over, and the next request opens another.
const fn is_final(error: &WireError) -> bool {
    match error {
        WireError::Status { status, .. } => *status < 500,
        WireError::Closed(_) | WireError::Unauthorized(_) => true,
        _ => false,
    }
}

/// How long a server may keep the head of its stream back before the first call is made all the same.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Waits until the server can ask on the stream, where somebody is there to answer: a server may ask
/// there as soon as it has a call.
pub(super) async fn ready(link: &Link) {
    if link.wire.kind() == WireKind::Http && link.handlers().answers_anything() {
        known(link, READY_WITHIN).await;
    }
}

/// Waits until what happens at the server is heard of.
pub(in crate::client) async fn listens(link: &Link) {
    known(link, link.config.timeout).await;
}

/// Waits until the stream is open, or it is known that there is none.
async fn known(link: &Link, within: Duration) {
    let mut heard_out = link.heard_out.subscribe();
    let wait = heard_out.wait_for(|known| *known);
    if tokio::time::timeout(within, wait).await.is_err() {
        tracing::debug!("it is not known whether the server speaks unasked");
    }
}

/// Reads a stream to its end. Whether anything came.
async fn read(link: &Arc<Link>, mut incoming: Incoming) -> bool {
    let mut came = false;
    while let Some(message) = incoming.messages.next().await {
        let text = match message {
            Ok(text) => text,
            Err(error) => {
                tracing::debug!(%error, "the stream broke");
                break;
            }
        };
        came = true;
        hear(link, &text);
    }
    came
}

/// Takes one message that belongs to no request.
fn hear(link: &Arc<Link>, text: &ByteString) {
    match Message::parse(text, DEFAULT_DEPTH) {
        Ok(Message::Notification(notification)) => {
            link.heard(&notification, None, Attending::default());
        }
        Ok(Message::Request(request)) => asked(link, request, None),
        Ok(Message::Response(response)) => {
            tracing::debug!(id = ?response.id, "an answer to nothing is passed over");
        }
        Err(error) => tracing::debug!(%error, "a message cannot be read"),
    }
}

/// Says that everything may have changed.
fn missed(link: &Link) {
    link.shelf.forget_all();
    let lists = [Change::Tools, Change::Prompts, Change::Resources];
    let watched: Vec<String> = link.watched().keys().cloned().collect();
    for change in lists
        .into_iter()
        .chain(watched.into_iter().map(Change::Resource))
    {
        link.notices.tell_change(change);
    }
}
