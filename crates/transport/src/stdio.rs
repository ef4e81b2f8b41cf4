//! Lines on standard input and output.
//!
//! Nothing but messages is written. Each line is one message, at most [`Limits::message_bytes`]
//! long. A slow reader makes calls wait, and no more lines are read once [`Limits::concurrent_calls`]
//! of them do; nothing is buffered without end. The end of input, and a reader that is gone, end it.
//!
//! Source: MCP 2026-07-28, basic/transports/stdio.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytestring::ByteString;
use fastmcp_protocol::{
    Message, Method, RequestId, RpcError,
    http::{Mirror, Route, route},
    jsonrpc::{Notification, encode_error},
};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::{Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    door::{Door, Inbound, Reply, What},
    exchange::{Exchange, Step},
    limits::Limits,
    outlet::Outlet,
    peer::{Peer, PeerKind},
};

/// Lines that wait for a slow reader before the calls that write them wait too.
const WAITING_LINES: usize = 64;
/// How long calls may take to finish once input has ended.
const GRACE: Duration = Duration::from_secs(10);
/// The call that never ends by itself. Source: MCP 2026-07-28, basic/patterns/subscriptions.
const LISTEN: &str = Method::SubscriptionsListen.as_str();

/// Serves one peer on a pair of byte streams.
pub struct Stdio<D: Door> {
    shared: Arc<Shared<D>>,
}

struct Shared<D: Door> {
    door: Arc<D>,
    caller: D::Caller,
    limits: Limits,
    peer: Arc<Peer>,
    calls: Arc<Semaphore>,
    under_way: Mutex<HashMap<RequestId, CancellationToken>>,
    /// Ends the streams that would otherwise last as long as the input does.
    ended: CancellationToken,
    tracker: TaskTracker,
}

impl<D: Door> std::fmt::Debug for Stdio<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdio")
            .field("peer", &self.shared.peer)
            .finish_non_exhaustive()
    }
}

impl<D: Door> Stdio<D> {
    /// Creates a server for one peer, which is `caller`.
    #[must_use]
    pub fn new(door: Arc<D>, caller: D::Caller, limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                door,
                caller,
                calls: Arc::new(Semaphore::new(limits.concurrent_calls)),
                limits,
                peer: Arc::new(Peer::connected(PeerKind::Stdio)),
                under_way: Mutex::default(),
                ended: CancellationToken::new(),
                tracker: TaskTracker::new(),
            }),
        }
    }

    /// Serves until `input` ends, which ends subscriptions, or `shutdown` fires; then lets calls
    /// finish for up to 10 s, cancels the rest, and returns once everything is written.
    ///
    /// # Errors
    ///
    /// When a stream fails.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, a line may have been read in part.
    pub async fn run<R, W>(self, input: R, output: W, shutdown: CancellationToken) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (lines, written) = mpsc::channel(WAITING_LINES);
        let tracker = &self.shared.tracker;
        let writer = tracker.spawn(write_lines(written, output));
        let listening = tracker.spawn(Arc::clone(&self.shared).listen(lines.clone()));
        let mut input = BufReader::new(input);
        let mut line = Vec::new();
        let outcome = loop {
            line.clear();
            let read = tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                () = lines.closed() => break Ok(()),
                read = read_line(&mut input, &mut line, self.shared.limits.message_bytes) => read,
            };
            match read {
                Ok(Line::End) => {
                    self.shared.ended.cancel();
                    break Ok(());
                }
                Ok(Line::Text) => self.shared.take(&line, &lines).await,
                Ok(Line::TooLong) => {
                    let limit = self.shared.limits.message_bytes;
                    let error = RpcError::new(
                        fastmcp_protocol::ErrorCode::INVALID_REQUEST,
                        format!("message is longer than {limit} bytes"),
                    );
                    write(&lines, encode_error(None, &error).into()).await;
                }
                Err(error) => break Err(error),
            }
        };
        listening.abort();
        drop(lines);
        self.shared.leave();
        tracker.close();
        // What was asked for before the end is answered: `printf ... | server` must print something.
        let finished = tokio::time::timeout(GRACE, tracker.wait()).await.is_ok() || {
            self.shared.cancel_all();
            tokio::time::timeout(GRACE, tracker.wait()).await.is_ok()
        };
        if !finished {
            tracing::warn!("some calls did not finish in time");
            writer.abort();
            return outcome;
        }
        outcome.and(writer.await.map_err(io::Error::other)?)
    }
}

impl<D: Door> Shared<D> {
    /// Begins to answer one line.
    async fn take(self: &Arc<Self>, line: &[u8], lines: &mpsc::Sender<ByteString>) {
        let parsed = std::str::from_utf8(line)
            .map_err(|_| {
                let error = RpcError::new(
                    fastmcp_protocol::ErrorCode::PARSE_ERROR,
                    "line is not UTF-8",
                );
                encode_error(None, &error)
            })
            .and_then(|text| {
                Message::parse(&ByteString::from(text), self.limits.json_depth)
                    .map_err(|e| encode_error(e.id.as_ref(), &e.error))
            })
            .and_then(|message| match route(Mirror::None, &message) {
                Ok(route) => Ok((message, route)),
                Err(refusal) => Err(encode_error(refusal.id.as_ref(), &refusal.error)),
            });
        match parsed {
            Err(error) => write(lines, error.into()).await,
            Ok((Message::Notification(n), _)) if n.method == "notifications/cancelled" => {
                self.cancel(&n)
            }
            Ok((message, route)) => self.begin(message, route, lines).await,
        }
    }

    async fn begin(
        self: &Arc<Self>,
        message: Message,
        route: Route,
        lines: &mpsc::Sender<ByteString>,
    ) {
        let (id, cancel) = match &message {
            Message::Request(request) if request.method == LISTEN => {
                (Some(request.id.clone()), self.ended.child_token())
            }
            Message::Request(request) => (Some(request.id.clone()), CancellationToken::new()),
            _ => (None, CancellationToken::new()),
        };
        let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() else {
            if let Some(id) = id {
                let error = RpcError::internal("too many calls are under way; try again");
                write(lines, encode_error(Some(&id), &error).into()).await;
            }
            return;
        };
        if let Some(id) = &id
            && !self.enter(id, &cancel)
        {
            let error = RpcError::new(
                fastmcp_protocol::ErrorCode::INVALID_REQUEST,
                "a request with this id is under way; give each an id of its own",
            );
            return write(lines, encode_error(Some(id), &error).into()).await;
        }
        let exchange = self.exchange(What::Message(message, route), cancel.clone());
        let (shared, lines) = (Arc::clone(self), lines.clone());
        self.tracker.spawn(async move {
            let _permit = permit;
            pump(exchange, &lines, &cancel).await;
            if let Some(id) = id {
                shared.lock().remove(&id);
            }
        });
    }

    /// What a legacy server says without being asked goes out here.
    async fn listen(self: Arc<Self>, lines: mpsc::Sender<ByteString>) {
        let cancel = CancellationToken::new();
        let exchange = self.exchange(
            What::Listen {
                last_event_id: None,
            },
            cancel.clone(),
        );
        pump(exchange, &lines, &cancel).await;
    }

    /// Notes a request that can be cancelled; not if another one has its id.
    fn enter(&self, id: &RequestId, cancel: &CancellationToken) -> bool {
        match self.lock().entry(id.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(cancel.clone());
                true
            }
        }
    }

    /// Ends what belongs to the connection. Dropped, the call is finished by the tracker.
    fn leave(&self) {
        drop(self.exchange(What::Terminate, CancellationToken::new()));
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

    fn cancel(&self, notification: &Notification) {
        let Some(id) = cancelled_id(notification) else {
            return;
        };
        if let Some(token) = self.lock().get(&id) {
            token.cancel();
        }
    }

    fn cancel_all(&self) {
        for token in self.lock().values() {
            token.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, CancellationToken>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request that a `notifications/cancelled` names.
fn cancelled_id(notification: &Notification) -> Option<RequestId> {
    #[derive(Deserialize)]
    struct Cancelled {
        #[serde(rename = "requestId")]
        request_id: RequestId,
    }
    let params = notification.params.as_ref()?;
    params.decode::<Cancelled>().ok().map(|c| c.request_id)
}

/// Writes what a call has to say. A cancelled call gets no answer.
async fn pump(
    mut exchange: Exchange,
    lines: &mpsc::Sender<ByteString>,
    cancel: &CancellationToken,
) {
    loop {
        match exchange.next().await {
            Step::Frame(frame) if frame.data.is_empty() => {}
            Step::Frame(frame) => write(lines, frame.data).await,
            Step::Done(Reply::Message { body, .. } | Reply::Denied { body, .. })
                if !cancel.is_cancelled() =>
            {
                return write(lines, body).await;
            }
            Step::Done(_) => return,
        }
    }
}

async fn write(lines: &mpsc::Sender<ByteString>, line: ByteString) {
    if lines.send(line).await.is_err() {
        tracing::debug!("output is closed; message dropped");
    }
}

async fn write_lines<W: AsyncWrite + Unpin>(
    mut lines: mpsc::Receiver<ByteString>,
    mut output: W,
) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        // Between the tokens of a message, where alone it may stand, a line break means nothing.
        let one_line = if line.bytes().any(|b| matches!(b, b'\n' | b'\r')) {
            line.replace(['\n', '\r'], " ").into()
        } else {
            line
        };
        output.write_all(one_line.as_bytes()).await?;
        output.write_all(b"\n").await?;
        output.flush().await?;
    }
    Ok(())
}

/// What was read of a stream of lines.
pub(crate) enum Line {
    Text,
    TooLong,
    End,
}

/// Reads one line that is not blank; the rest of a line that is too long is thrown away.
pub(crate) async fn read_line<R: AsyncBufRead + Unpin>(
    input: &mut R,
    line: &mut Vec<u8>,
    limit: usize,
) -> io::Result<Line> {
    let mut too_long = false;
    loop {
        let chunk = input.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(if line.is_empty() && !too_long {
                Line::End
            } else if too_long {
                Line::TooLong
            } else {
                Line::Text
            });
        }
        let end = chunk.iter().position(|b| *b == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        let used = end.map_or(chunk.len(), |at| at + 1);
        if line.len() + part.len() > limit {
            too_long = true;
        }
        if !too_long {
            line.extend_from_slice(part);
        }
        input.consume(used);
        if end.is_some() {
            if too_long {
                return Ok(Line::TooLong);
            }
            if line.iter().any(|b| !b.is_ascii_whitespace()) {
                return Ok(Line::Text);
            }
            line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded() {
        let mut input = BufReader::with_capacity(4, &b"short\n\n  \nmuch too long\nend"[..]);
        let mut line = Vec::new();
        assert!(matches!(
            read_line(&mut input, &mut line, 8).await,
            Ok(Line::Text)
        ));
        assert_eq!(line, b"short");
        line.clear();
        assert!(matches!(
            read_line(&mut input, &mut line, 8).await,
            Ok(Line::TooLong)
        ));
        line.clear();
        assert!(matches!(
            read_line(&mut input, &mut line, 8).await,
            Ok(Line::Text)
        ));
        assert_eq!(line, b"end");
        line.clear();
        assert!(matches!(
            read_line(&mut input, &mut line, 8).await,
            Ok(Line::End)
        ));
    }

    #[tokio::test]
    async fn a_message_is_one_line_however_it_was_made() {
        let (lines, written) = mpsc::channel(2);
        lines
            .send("{\n  \"a\": \"b\\nc\"\r\n}".into())
            .await
            .unwrap();
        lines.send("{}".into()).await.unwrap();
        drop(lines);
        let mut out = Vec::new();
        write_lines(written, &mut out).await.unwrap();
        assert_eq!(out, b"{   \"a\": \"b\\nc\"  }\n{}\n");
    }
}
