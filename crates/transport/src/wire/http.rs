//! Streamable HTTP, as a client speaks it.
//!
//! Each message is a POST of its own; its answer is one JSON text or a stream of events. What is
//! asked goes through [`UrlFetcher`], to the one server that the wire was made for.
//!
//! Source: MCP 2026-07-28, basic/transports/streamable-http; MCP 2025-11-25, basic/transports.

pub(super) mod answer;
pub(super) mod events;
pub(super) mod send;

use std::{fmt, sync::Arc, time::Duration};

use bytestring::ByteString;
use fastmcp_guard::http::{Config, UrlFetcher};
use fastmcp_protocol::header::SESSION_ID;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Method, Uri, header};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use self::send::Ask;
use super::{Credentials, Incoming, Outgoing, Wire, WireError, WireKind};

/// How long a server may take to end a session before it is left alone.
const GOODBYE: Duration = Duration::from_secs(5);

/// How a wire over HTTP is set up. Begin with the default and change fields.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpWireConfig {
    /// Headers of every request, such as an API key; those of credentials and of a message replace
    /// them by name. Default none.
    pub headers: HeaderMap,
    /// Who proves to the server who is asking. Default nobody.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// Bytes of one message. Default 16 MiB.
    pub message_bytes: usize,
    /// How long the head of an answer may take, at most 1 hour: the whole call where the server
    /// answers with one JSON text. Default 10 min, as long as our own server lets a call take.
    pub answer_timeout: Duration,
    /// How long the body of an answer may be silent; a comment is a sign of life. Default 5 min.
    pub idle_timeout: Duration,
    /// How long an answer may take as a whole, resumptions included. Default 1 hour.
    pub stream_timeout: Duration,
    /// How long to wait before a stream is taken up again where the server does not say: twice as
    /// long after each failure, at most 30 s. Default 1 s.
    pub resume_delay: Duration,
    /// How often in a row taking a stream up again may fail. Default 5.
    pub resume_attempts: u32,
    /// Where connections, and what is left to read of finished answers, are looked after.
    pub tasks: TaskTracker,
}

impl Default for HttpWireConfig {
    fn default() -> Self {
        Self {
            headers: HeaderMap::new(),
            credentials: None,
            message_bytes: 16 * 1024 * 1024,
            answer_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            stream_timeout: Duration::from_secs(3_600),
            resume_delay: Duration::from_secs(1),
            resume_attempts: 5,
            tasks: TaskTracker::new(),
        }
    }
}

impl fmt::Debug for HttpWireConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("HttpWireConfig")
            .field("headers", &names)
            .field("credentials", &self.credentials)
            .field("message_bytes", &self.message_bytes)
            .field("answer_timeout", &self.answer_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("stream_timeout", &self.stream_timeout)
            .field("resume_delay", &self.resume_delay)
            .field("resume_attempts", &self.resume_attempts)
            .finish_non_exhaustive()
    }
}

/// A way to a server over Streamable HTTP. Clones share their connections.
///
/// HTTP/2 where a server over TLS chooses it, else HTTP/1.1. Dropping an answer before its end closes
/// its stream, by which the newest revision cancels. Redirects are not followed: they are an error
/// that says where they lead.
#[derive(Clone)]
pub struct HttpWire {
    pub(super) link: Arc<Link>,
}

/// What requests and the streams of their answers share.
pub(super) struct Link {
    /// The URL as it was given: to servers of tokens it is a name, and no spelling of it is another's.
    url: String,
    uri: Uri,
    fetcher: UrlFetcher,
    pub(super) config: HttpWireConfig,
    /// Fires when the wire is closed.
    pub(super) closed: CancellationToken,
}

impl HttpWire {
    /// A wire to the server at `url`, which a person gave at a terminal or in a configuration: it may
    /// be on this machine or in a private network, and `http` will do. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`WireError::Unreachable`] where the URL cannot be used, or a setting is out of its range.
    pub fn new(url: &str, config: HttpWireConfig) -> Result<Self, WireError> {
        if config.answer_timeout.is_zero() || config.answer_timeout > Duration::from_secs(3_600) {
            return Err(WireError::Unreachable(
                "`answer_timeout`: give more than 0 seconds and at most 1 hour".to_owned(),
            ));
        }
        let mut fetch = Config::upstream(&parsed(url)?).map_err(|e| unusable(url, &e))?;
        fetch.total_timeout = config.answer_timeout;
        fetch.tasks = config.tasks.clone();
        let fetcher = UrlFetcher::new(&fetch).map_err(|e| unusable(url, &e))?;
        Self::with_fetcher(url, fetcher, config)
    }

    /// A wire to the server at `url` through `fetcher`, for other rules of who may be reached, for
    /// certificates of one's own, or for connections that are shared. The fetcher's total timeout
    /// bounds the wait for the head of an answer too.
    ///
    /// # Errors
    ///
    /// [`WireError::Unreachable`] where the URL cannot be used or the fetcher refuses it.
    pub fn with_fetcher(
        url: &str,
        fetcher: UrlFetcher,
        config: HttpWireConfig,
    ) -> Result<Self, WireError> {
        let mut parsed = parsed(url)?;
        fetcher.check(&parsed).map_err(|e| unusable(url, &e))?;
        parsed.set_fragment(None);
        let uri = parsed.as_str().parse().map_err(|e| unusable(url, &e))?;
        Ok(Self {
            link: Arc::new(Link {
                url: url.to_owned(),
                uri,
                fetcher,
                config,
                closed: CancellationToken::new(),
            }),
        })
    }

    /// The URL, as it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.link.url
    }
}

impl fmt::Debug for HttpWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWire")
            .field("url", &shown(&self.link.url))
            .finish_non_exhaustive()
    }
}

impl Wire for HttpWire {
    fn kind(&self) -> WireKind {
        WireKind::Http
    }

    fn request(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Incoming, WireError>> {
        async move {
            let (id, resumable) = (outgoing.id.clone(), outgoing.resumable);
            let again = resumable.then(|| Ask::stream(outgoing.headers.clone()));
            let answer = self.link.send(&Ask::message(outgoing)).await?;
            answer::read(&self.link, answer, id, again).await
        }
        .boxed()
    }

    fn notify(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<(), WireError>> {
        async move {
            let answer = self.link.send(&Ask::message(outgoing)).await?;
            answer::acknowledged(&self.link, answer).await
        }
        .boxed()
    }

    fn listen(&self, headers: HeaderMap) -> BoxFuture<'_, Result<Incoming, WireError>> {
        async move {
            let ask = Ask::stream(headers);
            let answer = self.link.send(&ask).await?;
            let (head, events) = answer::read_stream(&self.link, answer, Some(ask)).await?;
            Ok(Incoming {
                status: head.status.as_u16(),
                headers: head.headers,
                messages: events.messages().into(),
            })
        }
        .boxed()
    }

    fn close(&self, headers: HeaderMap) -> BoxFuture<'_, ()> {
        async move {
            let link = &self.link;
            if headers.contains_key(SESSION_ID) && !link.closed.is_cancelled() {
                let ask = Ask {
                    method: Method::DELETE,
                    accept: "application/json, text/event-stream",
                    headers,
                    body: ByteString::new(),
                    rpc_method: ByteString::new(),
                };
                match tokio::time::timeout(GOODBYE, link.send(&ask)).await {
                    Ok(Ok(answer)) => tracing::debug!(status = %answer.status(), "session ended"),
                    Ok(Err(error)) => tracing::debug!(%error, "session not ended"),
                    Err(_) => tracing::debug!("session not ended in time"),
                }
            }
            link.closed.cancel();
        }
        .boxed()
    }
}

impl Link {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The same way to another endpoint of the server.
    pub(super) fn to(&self, url: &Url) -> Result<Self, WireError> {
        Ok(Self {
            url: url.as_str().to_owned(),
            uri: url
                .as_str()
                .parse()
                .map_err(|e| unusable(url.as_str(), &e))?,
            fetcher: self.fetcher.clone(),
            config: self.config.clone(),
            closed: self.closed.clone(),
        })
    }

    /// The outcome of `work`, unless the wire is closed first.
    pub(super) async fn unless_closed<T>(
        &self,
        work: impl Future<Output = Result<T, WireError>>,
    ) -> Result<T, WireError> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(WireError::Closed(
                "it was closed on this side".to_owned(),
            )),
            outcome = work => outcome,
        }
    }
}

fn parsed(url: &str) -> Result<Url, WireError> {
    Url::parse(url).map_err(|e| unusable(url, &e))
}

fn unusable(url: &str, error: &dyn std::error::Error) -> WireError {
    let (url, error) = (shown(url), send::chain(error));
    WireError::Unreachable(format!("`{url}` cannot be used: {error}"))
}

/// A URL without what may be a secret: a user's name and password, and the query.
pub(super) fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return url.split(['?', '#']).next().unwrap_or_default().to_owned();
    };
    url.set_query(None);
    url.set_fragment(None);
    // A URL that cannot have these has none.
    let _none = (url.set_username(""), url.set_password(None));
    url.into()
}

/// The media type of an answer, without its parameters and in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    (!essence.is_empty()).then(|| essence.to_ascii_lowercase())
}
