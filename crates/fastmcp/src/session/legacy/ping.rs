//! Pinging the client at the other end of an open stream.

use std::sync::{Arc, atomic::Ordering};

use fastmcp_protocol::{Method, RequestId, jsonrpc::encode_call};
use fastmcp_transport::{Frame, Outlet};
use tokio::sync::oneshot;

use super::{ask::Forget, stream::Heard};
use crate::{
    engine::{
        Engine,
        session::{Session, lock},
    },
    middleware::PingMiddleware,
};

/// Pings whoever has a session on a stream, and ends the session of who does not answer. It goes on for as
/// long as the stream does, where something else may begin a session.
pub(super) async fn run(engine: &Engine, heard: &Heard<'_>, outlet: &Outlet) {
    let Some(ping) = &engine.ping else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(ping.pause()).await;
        let Some(session) = heard.session() else {
            continue;
        };
        if !is_there(ping, &session, outlet).await {
            tracing::info!(session = %session.id, "the client does not answer pings; its session ends");
            engine.sessions.end(&session, "timeout");
        }
    }
}

/// Whether the client answers, whatever it says.
async fn is_there(ping: &PingMiddleware, session: &Arc<Session>, outlet: &Outlet) -> bool {
    let id = session.next_id.fetch_add(1, Ordering::Relaxed);
    let (answer, answered_by) = oneshot::channel();
    lock(&session.asked).insert(id, answer);
    let _forget = Forget { session, id };
    let text = encode_call(Some(&RequestId::Number(id)), Method::Ping.as_str(), None);
    let asked = async {
        // A reader that is gone ends the stream, and with it this; it says nothing of the client.
        let _sent = outlet.send(Frame::message(text)).await;
        answered_by.await.is_ok()
    };
    tokio::select! {
        answered = tokio::time::timeout(ping.patience(), asked) => answered.unwrap_or(false),
        () = session.closed.cancelled() => true,
    }
}
