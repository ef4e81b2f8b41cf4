//! The answer to a request: one message, a stream of them, none, or a status that says it all.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use bytestring::ByteString;
use fastmcp_protocol::{Message, RequestId, jsonrpc::DEFAULT_DEPTH};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Response, header, response::Parts};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming as Body;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Link, events::Events, media_type, send::Ask};
use crate::wire::{BODY_EXCERPT, Incoming, WireError};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// How long the body of a refusal is waited for: the status has said what matters.
const REFUSAL: Duration = Duration::from_secs(5);

/// Reads the answer to a request with `id`; a stream of events that breaks is taken up by `again`.
pub(super) async fn read(
    link: &Arc<Link>,
    answer: Response<Body>,
    id: Option<RequestId>,
    again: Option<Ask>,
) -> Result<Incoming, WireError> {
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        return refused(link, head, body).await;
    }
    plain(&head.headers)?;
    let messages = match media_type(&head.headers).as_deref() {
        _ if head.status.as_u16() == 202 || body.is_end_stream() => stream::empty().boxed(),
        Some(EVENTS) => Events::new(Arc::clone(link), body, id, again).messages(),
        Some(JSON) => whole(Arc::clone(link), body),
        other => return Err(neither(other)),
    };
    Ok(Incoming {
        status: head.status.as_u16(),
        headers: head.headers,
        messages: messages.into(),
    })
}

/// Reads the answer to a request for a stream, which is taken up by `again` when it breaks.
pub(in crate::wire) async fn read_stream(
    link: &Arc<Link>,
    answer: Response<Body>,
    again: Option<Ask>,
) -> Result<(Parts, Events), WireError> {
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        return Err(status(head, &beginning(body).await));
    }
    plain(&head.headers)?;
    match media_type(&head.headers).as_deref() {
        Some(EVENTS) => Ok((head, Events::new(Arc::clone(link), body, None, again))),
        other => Err(neither(other)),
    }
}

/// Reads the answer to a message that wants none.
pub(in crate::wire) async fn acknowledged(
    link: &Link,
    answer: Response<Body>,
) -> Result<(), WireError> {
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        let body = link.unless_closed(async { Ok(beginning(body).await) });
        return Err(status(head, &body.await?));
    }
    // A body that nobody wants would keep the connection from the next request.
    if !body.is_end_stream() && media_type(&head.headers).as_deref() != Some(EVENTS) {
        link.config.tasks.spawn(drain(body));
    }
    Ok(())
}

/// An answer with a status that refuses is a message where there is one.
async fn refused(link: &Link, head: Parts, body: Body) -> Result<Incoming, WireError> {
    let is_json = media_type(&head.headers).as_deref() == Some(JSON);
    if !is_json || plain(&head.headers).is_err() {
        let body = link.unless_closed(async { Ok(beginning(body).await) });
        return Err(status(head, &body.await?));
    }
    let deadline = Instant::now() + REFUSAL.max(link.config.idle_timeout);
    let text = link.unless_closed(collect(link, body, deadline)).await?;
    match Message::parse(&text, DEFAULT_DEPTH) {
        Ok(Message::Response(_)) => Ok(Incoming {
            status: head.status.as_u16(),
            headers: head.headers,
            messages: stream::once(async { Ok(text) }).boxed().into(),
        }),
        _ => Err(status(head, &text)),
    }
}

fn status(head: Parts, body: &str) -> WireError {
    let location = head.headers.get(header::LOCATION);
    let body = match location.and_then(|value| value.to_str().ok()) {
        Some(to) if head.status.is_redirection() => {
            format!("it redirects to `{to}`: use that url if you trust it")
        }
        _ => crate::wire::beginning(body),
    };
    WireError::Status {
        status: head.status.as_u16(),
        headers: Box::new(head.headers),
        body,
    }
}

fn neither(media_type: Option<&str>) -> WireError {
    WireError::Unreadable(match media_type {
        Some(other) => format!("it is `{other}`, neither `{JSON}` nor `{EVENTS}`"),
        None => format!("it has no content type; `{JSON}` or `{EVENTS}` was asked for"),
    })
}

/// Refuses what is compressed: that was not asked for, and would evade the bound on bytes.
fn plain(headers: &HeaderMap) -> Result<(), WireError> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    if encodings.all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    Err(WireError::Unreadable(
        "it has an encoding that was not asked for".to_owned(),
    ))
}

/// The one message of a body, once it is polled for.
fn whole(
    link: Arc<Link>,
    body: Body,
) -> futures_util::stream::BoxStream<'static, Result<ByteString, WireError>> {
    let deadline = Instant::now() + link.config.stream_timeout;
    stream::once(async move { link.unless_closed(collect(&link, body, deadline)).await }).boxed()
}

async fn collect(link: &Link, mut body: Body, deadline: Instant) -> Result<ByteString, WireError> {
    let limit = link.config.message_bytes;
    let too_large = || WireError::Unreadable(format!("it is larger than {limit} bytes"));
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large());
    }
    let mut bytes = BytesMut::with_capacity(announced);
    while let Some(frame) = link.frame(&mut body, deadline).await? {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > limit.saturating_sub(bytes.len()) {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    ByteString::try_from(bytes.freeze())
        .map_err(|_| WireError::Unreadable("it is not UTF-8".to_owned()))
}

impl Link {
    /// The next piece of a body, within the time that it may be silent.
    pub(super) async fn frame(
        &self,
        body: &mut Body,
        deadline: Instant,
    ) -> Result<Option<http_body::Frame<bytes::Bytes>>, WireError> {
        let idle = self.config.idle_timeout;
        let silent = Instant::now() + idle;
        match timeout_at(silent.min(deadline), body.frame()).await {
            Ok(Some(Ok(frame))) => Ok(Some(frame)),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(WireError::Broken(super::send::chain(&error))),
            Err(_) if silent <= deadline => {
                let seconds = idle.as_secs_f64();
                Err(WireError::Broken(format!("it was silent for {seconds} s")))
            }
            Err(_) => Err(WireError::Timeout(self.config.stream_timeout)),
        }
    }
}

/// The first bytes of a body as text, as far as they come within a few seconds.
pub(super) async fn beginning(mut body: Body) -> String {
    let mut bytes = BytesMut::new();
    let reading = async {
        while bytes.len() < BODY_EXCERPT
            && let Some(Ok(frame)) = body.frame().await
        {
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
    };
    if timeout(REFUSAL, reading).await.is_err() {
        tracing::debug!("the body of a refusal did not come in time");
    }
    bytes.truncate(BODY_EXCERPT);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads what is left of a finished answer, if it is little, so that its connection is free again.
pub(super) async fn drain(mut body: Body) {
    const LITTLE: usize = 64 * 1024;
    let mut left = LITTLE;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.into_data().map_or(0, |data| data.len());
            if read > left {
                return;
            }
            left -= read;
        }
    };
    let _ended = timeout(Duration::from_secs(1), reading).await;
}
