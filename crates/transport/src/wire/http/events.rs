//! An answer that is a stream of events, taken up again where it breaks.
//!
//! Source: MCP 2025-11-25, basic/transports, "Resumability and Redelivery".

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use bytestring::ByteString;
use fastmcp_protocol::RequestId;
use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{self, BoxStream},
};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming as Body;
use tokio::time::{Instant, sleep_until};

use super::{Link, answer, media_type, send::Ask};
use crate::{
    sse::{SseEvent, SseParser},
    wire::{WireError, peek::Peek},
};

/// What a line has beside a message: the name of its field.
const FIELD: usize = 64;
/// Longest id of an event that is sent back; it is a header.
const ID_BYTES: usize = 4 * 1024;
/// The longest wait between attempts where the server does not say how long.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// The shortest wait after a stream that brought nothing, whatever the server says.
const SHORTEST_DELAY: Duration = Duration::from_millis(100);

/// A stream that is being read.
pub(in crate::wire) struct Events {
    link: Arc<Link>,
    parser: SseParser,
    body: Option<Body>,
    chunk: Bytes,
    /// The request whose response ends the stream.
    id: Option<RequestId>,
    /// How to take the stream up again.
    again: Option<Ask>,
    /// How often in a row that failed.
    failures: u32,
    /// Whether an event came since the stream was last taken up.
    fruitful: bool,
    deadline: Instant,
}

/// Why no event came.
pub(in crate::wire) enum Lost {
    /// The server ended the stream.
    Ended,
    /// The stream broke: it can be taken up again.
    Broken(WireError),
    /// Nothing can be done.
    Fatal(WireError),
}

impl Lost {
    /// What to say of it.
    pub(in crate::wire) fn error(self) -> WireError {
        match self {
            Self::Ended => WireError::Broken("the server ended the stream".to_owned()),
            Self::Broken(error) | Self::Fatal(error) => error,
        }
    }
}

impl Events {
    pub(super) fn new(
        link: Arc<Link>,
        body: Body,
        id: Option<RequestId>,
        again: Option<Ask>,
    ) -> Self {
        let config = &link.config;
        Self {
            parser: SseParser::new(config.message_bytes.saturating_add(FIELD)),
            deadline: Instant::now() + config.stream_timeout,
            body: Some(body),
            chunk: Bytes::new(),
            id,
            again,
            failures: 0,
            fruitful: false,
            link,
        }
    }

    /// The messages of the events.
    pub(super) fn messages(self) -> BoxStream<'static, Result<ByteString, WireError>> {
        stream::unfold(Some(self), |events| async {
            let mut events = events?;
            let link = Arc::clone(&events.link);
            match link.unless_closed(events.message()).await {
                Ok(Some(message)) if events.body.is_some() => Some((Ok(message), Some(events))),
                Ok(Some(message)) => Some((Ok(message), None)),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    /// The next message. Without a body afterwards it is the last one.
    async fn message(&mut self) -> Result<Option<ByteString>, WireError> {
        loop {
            let lost = match self.event().await {
                Ok(event) => {
                    self.fruitful = true;
                    self.failures = 0;
                    // Other types are other people's; an event without data only sets an id.
                    if event.kind != "message" || event.data.is_empty() {
                        continue;
                    }
                    if self.is_response(&event.data) {
                        self.finish();
                    }
                    return Ok(Some(event.data));
                }
                Err(lost) => lost,
            };
            if !self.take_up(lost).await? {
                return Ok(None);
            }
        }
    }

    /// The next event of the stream as it is, whatever its type.
    pub(in crate::wire) async fn event(&mut self) -> Result<SseEvent, Lost> {
        loop {
            let mut rest = &*self.chunk;
            let event = self
                .parser
                .read(&mut rest)
                .map_err(|e| Lost::Fatal(WireError::Unreadable(e.to_string())))?;
            let read = self.chunk.len() - rest.len();
            self.chunk.advance(read);
            if let Some(event) = event {
                return Ok(event);
            }
            let Some(body) = &mut self.body else {
                return Err(Lost::Ended);
            };
            match self.link.frame(body, self.deadline).await {
                Ok(Some(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
                Ok(None) if self.parser.is_within_event() => {
                    let broken = "the stream ended within an event".to_owned();
                    return Err(Lost::Broken(WireError::Broken(broken)));
                }
                Ok(None) => return Err(Lost::Ended),
                Err(error @ WireError::Broken(_)) => return Err(Lost::Broken(error)),
                Err(error) => return Err(Lost::Fatal(error)),
            }
        }
    }

    /// Whether this is the response that the stream was opened for; one whose request the server
    /// could not read has no id.
    fn is_response(&self, message: &str) -> bool {
        let Some(id) = &self.id else { return false };
        match Peek::of(message) {
            Some(Peek::Response(answered)) => answered.is_none_or(|answered| answered == *id),
            _ => false,
        }
    }

    /// Lets go of a stream that has said everything.
    fn finish(&mut self) {
        let Some(mut body) = self.body.take() else {
            return;
        };
        if !matches!(body.frame().now_or_never(), Some(None)) {
            // The end of the stream is under way, and the connection of use once it is here.
            self.link.config.tasks.spawn(answer::drain(body));
        }
    }

    /// Opens the stream again after the last event that came; `false` where it just ended.
    async fn take_up(&mut self, lost: Lost) -> Result<bool, WireError> {
        self.body = None;
        self.chunk = Bytes::new();
        let (ask, mut error) = match (lost, self.ask_again()) {
            (Lost::Fatal(error), _) | (Lost::Broken(error), None) => return Err(error),
            (Lost::Ended, None) => return Ok(false),
            (lost, Some(ask)) => (ask, lost.error()),
        };
        tracing::debug!(%error, id = %self.parser.last_event_id(), "stream is taken up again");
        self.parser.restart();
        while self.failures < self.link.config.resume_attempts {
            self.wait().await?;
            match self.reopen(&ask).await {
                Ok(body) => {
                    self.body = Some(body);
                    self.fruitful = false;
                    self.failures = 0;
                    return Ok(true);
                }
                Err(Lost::Fatal(error)) => return Err(error),
                Err(Lost::Broken(again)) => error = again,
                Err(Lost::Ended) => {}
            }
            self.failures += 1;
        }
        Err(WireError::Broken(format!(
            "taking it up again failed {} times: {error}",
            self.failures
        )))
    }

    /// The request that goes on after the last event, where that can be asked for.
    fn ask_again(&self) -> Option<Ask> {
        const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
        let again = self.again.as_ref()?;
        let id = self.parser.last_event_id();
        if id.is_empty() || id.len() > ID_BYTES {
            return None;
        }
        // Ids are UTF-8, and so is the header (WHATWG HTML, 9.2.3).
        let id = HeaderValue::from_bytes(id.as_bytes()).ok()?;
        let mut ask = Ask::stream(again.headers.clone());
        ask.headers.insert(LAST_EVENT_ID, id);
        Some(ask)
    }

    /// Waits as long as the server wants, or longer after each failure.
    async fn wait(&self) -> Result<(), WireError> {
        let config = &self.link.config;
        let shortest = if self.fruitful {
            Duration::ZERO
        } else {
            SHORTEST_DELAY
        };
        let delay = self.parser.retry().unwrap_or_else(|| {
            let doubled = 2_u32.saturating_pow(self.failures);
            config
                .resume_delay
                .saturating_mul(doubled)
                .min(LONGEST_DELAY)
        });
        let now = Instant::now();
        let until = now.checked_add(delay.max(shortest));
        match until.filter(|until| *until < self.deadline) {
            Some(until) => {
                sleep_until(until).await;
                Ok(())
            }
            None => {
                sleep_until(self.deadline).await;
                Err(WireError::Timeout(config.stream_timeout))
            }
        }
    }

    async fn reopen(&self, ask: &Ask) -> Result<Body, Lost> {
        let answer = match tokio::time::timeout_at(self.deadline, self.link.send(ask)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error @ (WireError::Unauthorized(_) | WireError::Closed(_)))) => {
                return Err(Lost::Fatal(error));
            }
            Ok(Err(error)) => return Err(Lost::Broken(error)),
            Err(_) => {
                return Err(Lost::Fatal(WireError::Timeout(
                    self.link.config.stream_timeout,
                )));
            }
        };
        let events = media_type(answer.headers()).as_deref() == Some("text/event-stream");
        if answer.status() == StatusCode::OK && events {
            return Ok(answer.into_body());
        }
        let transient = answer.status().is_server_error();
        match answer::read_stream(&self.link, answer, None).await {
            Err(error) if transient => Err(Lost::Broken(error)),
            Err(error) => Err(Lost::Fatal(error)),
            Ok(_) => Err(Lost::Ended),
        }
    }
}
