//! The bodies that we send: nothing, one text, or a stream of events.

use std::{
    convert::Infallible,
    fmt::{self, Write as _},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;
use http_body::{Frame as BodyFrame, SizeHint};
use tokio::time::Sleep;

use crate::{
    door::Reply,
    exchange::{Exchange, Step},
    outlet::Frame,
};

/// A response body.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Empty,
    Full(Bytes),
    Events(Box<Events>),
}

#[derive(Debug)]
struct Events {
    exchange: Exchange,
    first: Option<Frame>,
    done: bool,
    keep_alive: Duration,
    quiet: Pin<Box<Sleep>>,
    shut_out: ShutOut,
}

/// Ends when the caller of a stream would not be let in any more.
pub(crate) struct ShutOut(pub(crate) Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for ShutOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShutOut")
    }
}

impl Body {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// One text.
    pub fn full(text: impl Into<ByteString>) -> Self {
        Self(Kind::Full(text.into().into_bytes()))
    }

    /// Bytes of whatever kind.
    #[must_use]
    pub const fn bytes(bytes: Bytes) -> Self {
        Self(Kind::Full(bytes))
    }

    /// The text, where it is one.
    #[cfg(feature = "compression")]
    pub(super) fn whole(&self) -> Option<Bytes> {
        match &self.0 {
            Kind::Full(bytes) => Some(bytes.clone()),
            Kind::Empty | Kind::Events(_) => None,
        }
    }

    /// One text in some encoding.
    #[cfg(feature = "compression")]
    pub(super) const fn encoded(bytes: Bytes) -> Self {
        Self(Kind::Full(bytes))
    }

    /// `first`, then what `exchange` has to say until the caller is shut out, as `text/event-stream`.
    pub(crate) fn events(
        exchange: Exchange,
        first: Frame,
        keep_alive: Duration,
        shut_out: ShutOut,
    ) -> Self {
        Self(Kind::Events(Box::new(Events {
            exchange,
            first: Some(first),
            done: false,
            keep_alive,
            quiet: Box::pin(tokio::time::sleep(keep_alive)),
            shut_out,
        })))
    }
}

impl Default for Body {
    /// No body.
    fn default() -> Self {
        Self::empty()
    }
}

impl Events {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(event(&first)));
        }
        if self.shut_out.0.as_mut().poll(cx).is_ready() {
            self.done = true;
            return Poll::Ready(None);
        }
        if let Poll::Ready(step) = self.exchange.poll_next(cx) {
            self.quiet
                .as_mut()
                .reset(tokio::time::Instant::now() + self.keep_alive);
            return Poll::Ready(match step {
                Step::Frame(frame) => Some(event(&frame)),
                Step::Done(reply) => {
                    self.done = true;
                    match reply {
                        Reply::Message { body, .. } | Reply::Denied { body, .. } => {
                            Some(event(&Frame::message(body)))
                        }
                        Reply::Accepted | Reply::Status(_) => None,
                    }
                }
            });
        }
        if self.quiet.as_mut().poll(cx).is_ready() {
            self.quiet
                .as_mut()
                .reset(tokio::time::Instant::now() + self.keep_alive);
            cx.waker().wake_by_ref();
            return Poll::Ready(Some(Bytes::from_static(b": keep-alive\n\n")));
        }
        Poll::Pending
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let data = match &mut self.0 {
            Kind::Empty => None,
            Kind::Full(bytes) if bytes.is_empty() => None,
            Kind::Full(bytes) => Some(std::mem::take(bytes)),
            Kind::Events(events) => match events.poll_event(cx) {
                Poll::Ready(data) => data,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(data.map(|data| Ok(BodyFrame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Events(events) => events.done,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

/// One server-sent event. JSON texts have no raw line breaks, so `data` is one line; texts that do
/// are split, as the format demands. A frame with nothing in it is a comment.
fn event(frame: &Frame) -> Bytes {
    if *frame == Frame::comment() {
        return Bytes::from_static(b":\n\n");
    }
    let mut out = String::with_capacity(frame.data.len() + 32);
    if let Some(id) = &frame.id {
        let _infallible = writeln!(out, "id: {id}");
    }
    if let Some(retry) = frame.retry {
        let _infallible = writeln!(out, "retry: {}", retry.as_millis());
    }
    for line in frame.data.split(['\n', '\r']) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_data_line() {
        assert_eq!(event(&Frame::message(r#"{"a":1}"#)), "data: {\"a\":1}\n\n");
    }

    #[test]
    fn id_and_retry_stand_before_the_data() {
        let frame = Frame {
            data: "".into(),
            id: Some("s-1".into()),
            retry: Some(Duration::from_millis(500)),
        };
        assert_eq!(event(&frame), "id: s-1\nretry: 500\ndata: \n\n");
        assert_eq!(event(&Frame::comment()), ":\n\n");
    }
}
