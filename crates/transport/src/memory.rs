//! A client in the same process: no socket, no thread, no task.

mod wire;

use std::sync::Arc;

use bytestring::ByteString;
use fastmcp_protocol::{
    Message,
    http::{Mirror, route, route_read},
    jsonrpc::{Malformed, encode_error},
    meta::Peek,
};
use http::HeaderMap;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    door::{Door, Inbound, Reply, What},
    exchange::Exchange,
    limits::Limits,
    outlet::Outlet,
    peer::{Peer, PeerKind},
    wire::{Body, Outgoing},
};

/// A connection to a door of this process.
pub struct Memory<D: Door> {
    door: Arc<D>,
    caller: D::Caller,
    peer: Arc<Peer>,
    limits: Limits,
    tracker: TaskTracker,
    /// Fires when the wire is closed.
    closed: CancellationToken,
}

impl<D: Door> std::fmt::Debug for Memory<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl<D: Door> Memory<D> {
    /// Connects to `door` as `caller`.
    #[must_use]
    pub fn connect(door: Arc<D>, caller: D::Caller) -> Self {
        Self {
            door,
            caller,
            peer: Arc::new(Peer::connected(PeerKind::Memory)),
            limits: Limits::default(),
            tracker: TaskTracker::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Has every message come with `headers`, as if it came over HTTP.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.peer = Arc::new(Peer {
            headers,
            ..Peer::clone(&self.peer)
        });
        self
    }

    /// Sends one message. Dropping the exchange cancels the call.
    #[must_use]
    pub fn send(&self, text: &ByteString) -> Exchange {
        self.begin(Message::parse(text, self.limits.json_depth), None)
    }

    /// As [`Self::send`]; a call is never written, and never read.
    fn carry(&self, outgoing: Outgoing) -> Exchange {
        match outgoing.body {
            Body::Text(text) => self.send(&text),
            Body::Call { params, peek } => {
                let depth = self.limits.json_depth;
                let message = Message::call(outgoing.id, outgoing.method, params, depth);
                self.begin(message, peek)
            }
        }
    }

    fn begin(&self, message: Result<Message, Malformed>, peek: Option<Arc<Peek>>) -> Exchange {
        let cancel = CancellationToken::new();
        let checked = message
            .map_err(|e| encode_error(e.id.as_ref(), &e.error))
            .and_then(|message| {
                let route = match peek {
                    Some(peek) => route_read(Mirror::None, &message, peek),
                    None => route(Mirror::None, &message),
                };
                match route {
                    Ok(route) => Ok(What::Message(message, route)),
                    Err(refusal) => Err(encode_error(refusal.id.as_ref(), &refusal.error)),
                }
            });
        match checked {
            Ok(what) => self.exchange(what, cancel),
            Err(error) => {
                let refused = Box::pin(async move { Reply::with_status(400, error) });
                Exchange::new(refused, Outlet::new(1), cancel, self.tracker.clone())
            }
        }
    }

    /// Listens for what a legacy server says without being asked.
    #[must_use]
    pub fn listen(&self) -> Exchange {
        self.exchange(
            What::Listen {
                last_event_id: None,
            },
            CancellationToken::new(),
        )
    }

    fn exchange(&self, what: What, cancel: CancellationToken) -> Exchange {
        let outlet = Outlet::new(self.limits.outlet_frames);
        let inbound = Inbound {
            what,
            peer: Arc::clone(&self.peer),
            outlet: outlet.clone(),
            cancel: cancel.clone(),
        };
        let call = self.door.call(self.caller.clone(), inbound);
        Exchange::new(call, outlet, cancel, self.tracker.clone())
    }

    /// Ends what belongs to the connection, and waits for calls that were abandoned.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn close(&self) {
        drop(self.exchange(What::Terminate, CancellationToken::new()));
        self.tracker.close();
        self.tracker.wait().await;
    }
}
