//! The fetcher: a request in, a bounded answer out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use url::Url;

use super::config::Config;
use super::connector::{Connector, Deadline};
use super::error::{FetchError, Refusal};
use super::profile::Destination;

/// Most bytes of the head of an answer.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The same, as HTTP/2 announces it.
const MAX_HEAD_BYTES_HTTP2: u32 = 64 * 1024;

/// Most header fields of an answer.
const MAX_HEADERS: usize = 128;

/// How long a connection waits for the next request, and how many of one host do.
const IDLE: Duration = Duration::from_secs(30);
const MAX_IDLE_PER_HOST: usize = 8;

/// Headers that belong to the connection or to the client, not to the caller (RFC 9110, 7.6.1).
const NOT_THE_CALLERS: [HeaderName; 11] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Headers that go along to another origin: what says nothing about who asks. All others may be credentials.
const FIT_FOR_STRANGERS: [HeaderName; 4] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::USER_AGENT,
];

/// Headers that describe a body, which a redirected request has no more.
const OF_THE_BODY: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
];

/// A whole answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Response {
    /// The status; one that tells of an error is an answer too.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, as the host sent it.
    pub body: Bytes,
    /// The URL that gave the answer, the last one of the redirects. A fragment that was asked for is not sent and not here.
    pub url: Url,
}

/// Makes HTTP requests to where they may go.
///
/// Cheap to clone; clones share their connections, which stay open for 30 s. TLS 1.2 or 1.3; HTTP/2 where a host
/// chooses it by ALPN, else HTTP/1.1.
#[derive(Clone)]
pub struct UrlFetcher {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client<Deadline<HttpsConnector<Connector>>, Full<Bytes>>,
    connector: Connector,
    user_agent: HeaderValue,
    total_timeout: Duration,
    max_bytes: usize,
    max_redirects: u8,
}

impl fmt::Debug for UrlFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlFetcher")
            .field("rules", self.inner.connector.rules())
            .finish_non_exhaustive()
    }
}

impl UrlFetcher {
    /// A fetcher that is set up so.
    ///
    /// # Errors
    ///
    /// [`FetchError::Config`] for a setting out of its range.
    pub fn new(config: &Config) -> Result<Self, FetchError> {
        let user_agent = config.check()?;
        let connector = Connector::new(config);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(config.trust.client_config()?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector.clone());
        let client = Client::builder(Tracked(config.tasks.clone()))
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEAD_BYTES_HTTP2)
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .pool_timer(TokioTimer::new())
            .build(Deadline::new(https, config.connect_timeout));
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                connector,
                user_agent,
                total_timeout: config.total_timeout,
                max_bytes: config.max_bytes,
                max_redirects: config.max_redirects,
            }),
        })
    }

    /// Judges a URL without making a request: its text, and an address that stands in it. A name is not looked up.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] that a request to it would meet.
    pub fn check(&self, url: &Url) -> Result<(), Refusal> {
        self.inner.connector.rules().destination(url).map(|_| ())
    }

    /// Gets what is at `url`, redirects followed.
    ///
    /// # Errors
    ///
    /// As [`UrlFetcher::request`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the exchange.
    pub async fn get(&self, url: &Url) -> Result<Response, FetchError> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri(url)?;
        self.request(request).await
    }

    /// Makes a request and returns its whole answer.
    ///
    /// Redirects are followed for `GET` and `HEAD` alone; to others they are the answer. Headers of the connection
    /// (`host`, `connection`, `transfer-encoding` and their like) are replaced by the client's own.
    ///
    /// # Errors
    ///
    /// [`FetchError::Refused`] before anything is sent, or behind a redirect within [`FetchError::Redirect`]; the other
    /// variants tell what broke. [`FetchError::may_have_been_sent`] tells whether a host may have acted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the exchange; the host may have got the request.
    pub async fn request(&self, request: Request<Bytes>) -> Result<Response, FetchError> {
        let url = parsed(request.uri())?;
        let host = self.destination(&url)?.name;
        let limit = self.inner.total_timeout;
        // Boxed, for the state of an exchange is large and callers nest futures.
        match timeout(limit, Box::pin(self.follow(request, url))).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchError::Timeout { host, limit }),
        }
    }

    /// Makes a request and returns its answer as soon as the head is there, the body still to be read.
    ///
    /// For event streams and what is too large to hold. The total timeout bounds the wait for the head alone; bytes and
    /// time of the body are the caller's to bound. Redirects are not followed.
    ///
    /// # Errors
    ///
    /// As [`UrlFetcher::request`], without those of the body and of redirects.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the exchange; the host may have got the request.
    pub async fn stream(
        &self,
        request: Request<Bytes>,
    ) -> Result<http::Response<Incoming>, FetchError> {
        let url = parsed(request.uri())?;
        let to = self.destination(&url)?;
        let limit = self.inner.total_timeout;
        match timeout(limit, Box::pin(self.send(request, &url, &to))).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchError::Timeout {
                host: to.name,
                limit,
            }),
        }
    }

    fn destination(&self, url: &Url) -> Result<Destination, Refusal> {
        self.inner.connector.rules().destination(url)
    }

    /// Sends a request, and what its redirects ask for.
    async fn follow(
        &self,
        mut request: Request<Bytes>,
        mut url: Url,
    ) -> Result<Response, FetchError> {
        let first_host = self.destination(&url)?.name;
        let mut redirected_by: Option<String> = None;
        for _ in 0..=self.inner.max_redirects {
            let again = successor(&request);
            let hop = self
                .hop(request, url.clone(), again)
                .await
                .map_err(|error| behind(redirected_by.take(), error))?;
            let (mut again, to, by) = match hop {
                Hop::Answer(answer) => return Ok(answer),
                Hop::Redirect { again, to, by } => (again, to, by),
            };
            if url.scheme() == "https" && to.scheme() != "https" {
                return Err(behind(Some(by), Refusal::Downgrade.into()));
            }
            if url.origin() != to.origin() {
                keep_only(again.headers_mut(), &FIT_FOR_STRANGERS);
            }
            (request, url, redirected_by) = (again, to, Some(by));
        }
        Err(FetchError::TooManyRedirects {
            host: first_host,
            max: self.inner.max_redirects,
        })
    }

    /// One exchange: a whole answer, or where to go next with `again`, where there is such a request.
    async fn hop(
        &self,
        request: Request<Bytes>,
        url: Url,
        again: Option<Request<Bytes>>,
    ) -> Result<Hop, FetchError> {
        let destination = self.destination(&url)?;
        let answer = self.send(request, &url, &destination).await?;
        let host = destination.name;
        if let Some(again) = again
            && is_redirect(answer.status())
        {
            return match location(&url, answer.headers()) {
                Some(to) => Ok(Hop::Redirect {
                    again,
                    to,
                    by: host,
                }),
                None => Err(FetchError::Location { host }),
            };
        }
        if is_encoded(answer.headers()) {
            return Err(FetchError::Encoded { host });
        }
        let (head, body) = answer.into_parts();
        let body = collect(body, &host, self.inner.max_bytes).await?;
        Ok(Hop::Answer(Response {
            status: head.status,
            headers: head.headers,
            body,
            url,
        }))
    }

    async fn send(
        &self,
        request: Request<Bytes>,
        url: &Url,
        to: &Destination,
    ) -> Result<http::Response<Incoming>, FetchError> {
        if request.method() == Method::CONNECT {
            return Err(Refusal::Method {
                method: request.method().to_string(),
            }
            .into());
        }
        let (mut head, body) = request.into_parts();
        // As the URL spells it, so that the host that was judged is the host that is named.
        head.uri = uri(url)?;
        // What the connection speaks is settled when it is made.
        head.version = Version::HTTP_11;
        for name in &NOT_THE_CALLERS {
            head.headers.remove(name);
        }
        head.headers
            .entry(header::USER_AGENT)
            .or_insert_with(|| self.inner.user_agent.clone());
        head.headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        let request = Request::from_parts(head, Full::new(body));
        self.inner
            .client
            .request(request)
            .await
            .map_err(|error| FetchError::from_client(&to.name, error))
    }
}

/// What one exchange came to.
enum Hop {
    Answer(Response),
    Redirect {
        again: Request<Bytes>,
        to: Url,
        by: String,
    },
}

/// Says that an error came behind a redirect, if it did.
fn behind(redirected_by: Option<String>, error: FetchError) -> FetchError {
    match redirected_by {
        Some(host) => FetchError::Redirect {
            host,
            source: Box::new(error),
        },
        None => error,
    }
}

/// The request that a redirect of this one would make: the same without its body; none for methods that act.
fn successor(request: &Request<Bytes>) -> Option<Request<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let mut again = Request::new(Bytes::new());
    *again.method_mut() = request.method().clone();
    *again.headers_mut() = request.headers().clone();
    for name in &OF_THE_BODY {
        again.headers_mut().remove(name);
    }
    Some(again)
}

fn keep_only(headers: &mut HeaderMap, names: &[HeaderName]) {
    let mut kept = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    *headers = kept;
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// Where a redirect leads; relative to the URL that redirects (RFC 9110, 10.2.2).
fn location(url: &Url, headers: &HeaderMap) -> Option<Url> {
    let mut values = headers.get_all(header::LOCATION).iter();
    // Two of them may be read differently by two readers.
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    url.join(value.to_str().ok()?).ok()
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Reads a body, as long as it stays within the bound.
async fn collect(mut body: Incoming, host: &str, max_bytes: usize) -> Result<Bytes, FetchError> {
    let too_large = || FetchError::TooLarge {
        host: host.to_owned(),
        max_bytes,
    };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max_bytes {
        return Err(too_large());
    }
    let mut bytes = BytesMut::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::Exchange {
            host: host.to_owned(),
            source: error.into(),
        })?;
        // Trailers are bounded by the head's bound, and nobody asks for them.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > max_bytes.saturating_sub(bytes.len()) {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// A URL in the client's type; the fragment is not sent.
fn uri(url: &Url) -> Result<Uri, Refusal> {
    let text = url.as_str();
    text.split_once('#')
        .map_or(text, |(sent, _)| sent)
        .parse()
        .map_err(|_| Refusal::Unparsable)
}

/// A URI in the type that brings every spelling of an address to its plain form.
fn parsed(uri: &Uri) -> Result<Url, Refusal> {
    Url::parse(&uri.to_string()).map_err(|_| Refusal::Unparsable)
}

/// Runs the tasks of connections where their owner can wait for them.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
