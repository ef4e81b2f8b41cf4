//! HTTP with SSE, as servers spoke it before Streamable HTTP: a stream on which everything comes, and
//! an endpoint, named by its first event, that takes messages.
//!
//! Source: MCP 2024-11-05, basic/transports, "HTTP with SSE".

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::HeaderMap;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;
use url::Url;

use super::{
    HttpWire, HttpWireConfig, Incoming, Outgoing, Wire, WireError, WireKind,
    http::{
        Link,
        answer::{acknowledged, read_stream},
        events::Events,
        send::Ask,
        shown,
    },
    mux::Mux,
};

/// How long the stream may take to name its endpoint: servers do so at once.
const FIRST_EVENT: Duration = Duration::from_secs(30);

/// A way to a server over HTTP with SSE.
///
/// The stream is the session: when it ends, so does the wire. Its time is bounded by
/// [`HttpWireConfig::stream_timeout`].
pub struct SseWire {
    /// Where messages are posted.
    messages: Arc<Link>,
    mux: Arc<Mux>,
    /// Ends the stream with the wire.
    _open: DropGuard,
}

impl SseWire {
    /// Opens the stream at `url`, and waits until it names the endpoint for messages.
    ///
    /// # Errors
    ///
    /// [`WireError::Unreachable`] as [`HttpWire::new`]; [`WireError::Status`] and
    /// [`WireError::Unreadable`] where there is no such stream, or its endpoint is of another origin.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it closes the stream.
    pub async fn connect(url: &str, config: HttpWireConfig) -> Result<Self, WireError> {
        Self::over(&HttpWire::new(url, config)?).await
    }

    /// The same by the URL, the connector and the settings of `wire`: for a server that turned out to
    /// know nothing newer. Closing one closes both.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, it closes the stream.
    pub async fn over(wire: &HttpWire) -> Result<Self, WireError> {
        let link = &wire.link;
        let answer = link.send(&Ask::stream(HeaderMap::new())).await?;
        let opening = async {
            let (_, mut events) = read_stream(link, answer, None).await?;
            let endpoint = endpoint(link, &mut events).await?;
            Ok((events, endpoint))
        };
        let (events, endpoint) = timeout(FIRST_EVENT, link.unless_closed(opening))
            .await
            .map_err(|_| WireError::Timeout(FIRST_EVENT))??;
        let mux = Arc::new(Mux::new(link.config.message_bytes));
        link.config
            .tasks
            .spawn(pump(Arc::clone(link), events, Arc::clone(&mux)));
        Ok(Self {
            messages: Arc::new(link.to(&endpoint)?),
            mux,
            _open: link.closed.clone().drop_guard(),
        })
    }

    /// Where messages are posted, as the server said.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.messages.url()
    }

    async fn post(&self, outgoing: Outgoing) -> Result<(), WireError> {
        if let Some(reason) = self.mux.closed() {
            return Err(WireError::Closed(reason));
        }
        let answer = self.messages.send(&Ask::message(outgoing)).await?;
        acknowledged(&self.messages, answer).await
    }
}

impl fmt::Debug for SseWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseWire")
            .field("endpoint", &shown(self.messages.url()))
            .finish_non_exhaustive()
    }
}

impl Wire for SseWire {
    fn kind(&self) -> WireKind {
        WireKind::Sse
    }

    fn request(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Incoming, WireError>> {
        async move {
            // The response may be there before the post is acknowledged.
            let answer = self.mux.expect(outgoing.id.clone())?;
            self.post(outgoing).await?;
            Ok(answer.incoming())
        }
        .boxed()
    }

    fn notify(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<(), WireError>> {
        self.post(outgoing).boxed()
    }

    fn listen(&self, _: HeaderMap) -> BoxFuture<'_, Result<Incoming, WireError>> {
        async { self.mux.listen() }.boxed()
    }

    fn close(&self, _: HeaderMap) -> BoxFuture<'_, ()> {
        async {
            self.mux.close("it was closed on this side");
            self.messages.closed.cancel();
        }
        .boxed()
    }
}

/// Reads the first event: where messages are posted.
async fn endpoint(link: &Link, events: &mut Events) -> Result<Url, WireError> {
    let event = events.event().await.map_err(|lost| lost.error())?;
    if event.kind != "endpoint" {
        let text = format!("its first event is `{}`, not `endpoint`", event.kind);
        return Err(WireError::Unreadable(text));
    }
    let unusable =
        |reason: &str| WireError::Unreadable(format!("its endpoint `{}` {reason}", event.data));
    let stream = Url::parse(link.url()).map_err(|_| unusable("belongs to no url"))?;
    let mut endpoint = stream
        .join(event.data.trim())
        .map_err(|_| unusable("is no url"))?;
    // Messages carry credentials: they go nowhere but to the server that they are for.
    if endpoint.origin() != stream.origin() {
        return Err(unusable("is of another origin"));
    }
    endpoint.set_fragment(None);
    Ok(endpoint)
}

/// Brings what comes on the stream to whom it is for, until it ends.
async fn pump(link: Arc<Link>, mut events: Events, mux: Arc<Mux>) {
    let reading = async {
        loop {
            match events.event().await {
                Ok(event) if event.kind == "message" && !event.data.is_empty() => {
                    mux.deliver(event.data).await;
                }
                Ok(_) => {}
                Err(lost) => return Err::<(), _>(lost.error()),
            }
        }
    };
    if let Err(error) = link.unless_closed(reading).await {
        mux.close(&reason(error));
    }
}

fn reason(error: WireError) -> String {
    match error {
        WireError::Closed(reason) => reason,
        error => error.to_string(),
    }
}
