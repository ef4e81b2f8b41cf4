//! The fetcher against real servers on this machine, and against names that lie.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::header::{self, HeaderValue};
use ::http::{HeaderMap, Method, Request, StatusCode, Version};
use bytes::Bytes;
use futures_core::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use super::*;

type Answer = ::http::Response<Full<Bytes>>;

/// What a server saw of one request.
#[derive(Clone, Debug)]
struct Seen {
    method: Method,
    path: String,
    headers: HeaderMap,
    version: Version,
}

/// A server on a free port of this machine, which ends with the value.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer).await
    }

    async fn start_with(
        tls: Option<tokio_rustls::TlsAcceptor>,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::default());
        let host = Host {
            answer: Arc::new(answer),
            seen: Arc::clone(&seen),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(host.clone().converse(stream, tls.clone()));
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    fn url(&self, host: &str, path: &str) -> Url {
        Url::parse(&format!("http://{host}:{}{path}", self.address.port())).unwrap()
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// What a server answers, and what it notes.
#[derive(Clone)]
struct Host {
    answer: Arc<dyn Fn(&Seen) -> Answer + Send + Sync>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Host {
    async fn converse(self, stream: TcpStream, tls: Option<tokio_rustls::TlsAcceptor>) {
        let service = service_fn(move |request: Request<Incoming>| {
            std::future::ready(Ok::<_, std::convert::Infallible>(self.answer(&request)))
        });
        let builder = hyper::server::conn::http1::Builder::new();
        // A client that breaks off is what some of the tests are about.
        let _ = match tls {
            None => {
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await
            }
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                }
                Ok(stream) => {
                    builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                }
                Err(_) => Ok(()),
            },
        };
    }

    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let seen = Seen {
            method: request.method().clone(),
            path: request.uri().to_string(),
            headers: request.headers().clone(),
            version: request.version(),
        };
        let answer = (self.answer)(&seen);
        self.seen.lock().unwrap().push(seen);
        answer
    }
}

fn text(body: &'static str) -> Answer {
    Answer::new(Full::new(Bytes::from_static(body.as_bytes())))
}

fn redirect(status: StatusCode, to: &str) -> Answer {
    let mut answer = text("");
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_str(to).unwrap());
    answer
}

/// A resolver that gives its answers one after the other; the last one stays.
#[derive(Debug)]
struct Scripted {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| {
            answer
                .iter()
                .map(|address| address.parse().unwrap())
                .collect()
        };
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parse).collect()),
            asked: Mutex::default(),
        })
    }
}

impl Resolver for Scripted {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap().push(host.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        Box::pin(async move { answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)) })
    }
}

/// A resolver that never answers.
#[derive(Debug)]
struct Silent;

impl Resolver for Silent {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::pending())
    }
}

/// May reach these hosts, all of which are this machine.
fn local(hosts: &[&str]) -> Config {
    let mut config = Config::configured(
        hosts
            .iter()
            .map(|host| AllowedHost::new(host).unwrap())
            .collect(),
    );
    config.resolver = Scripted::new(&[&["127.0.0.1"]]);
    config.max_redirects = 3;
    config
}

fn fetcher(config: &Config) -> UrlFetcher {
    UrlFetcher::new(config).unwrap()
}

#[tokio::test]
async fn a_page_is_fetched() {
    let server = Server::start(|_| text("hello")).await;
    let config = local(&["127.0.0.1"]);
    let mut url = server.url("127.0.0.1", "/page?q=1#part");
    let response = fetcher(&config).get(&url).await.unwrap();
    url.set_fragment(None);
    assert_eq!(
        (response.status, &response.body[..], &response.url),
        (StatusCode::OK, &b"hello"[..], &url)
    );
    let seen = &server.seen()[0];
    assert_eq!(
        (&seen.method, seen.path.as_str()),
        (&Method::GET, "/page?q=1")
    );
    assert_eq!(seen.headers[header::HOST], server.address.to_string());
    assert_eq!(
        seen.headers[header::USER_AGENT],
        concat!("fastmcp/", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(seen.headers[header::ACCEPT_ENCODING], "identity");
    config.tasks.close();
    config.tasks.wait().await;
}

#[test]
fn proxies_of_the_environment_are_ignored() {
    // The same test in a process whose every proxy variable names a port where nobody listens.
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "http::tests::a_page_is_fetched"]);
    for variable in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        child.env(variable, "http://127.0.0.1:1");
    }
    let output = child
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
}

#[tokio::test]
async fn public_means_that_nothing_near_is_ever_connected() {
    let server = Server::start(|_| text("secret")).await;
    let mut config = Config::public();
    (config.schemes, config.ports) = (Schemes::HttpAndHttps, Ports::Any);
    for answers in [
        &["127.0.0.1"][..],
        &["93.184.216.34", "127.0.0.1"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["0.0.0.0"],
    ] {
        config.resolver = Scripted::new(&[answers]);
        let error = fetcher(&config)
            .get(&server.url("near.test", "/"))
            .await
            .unwrap_err();
        assert!(
            matches!(error.refusal(), Some(Refusal::Address { .. })),
            "{answers:?}: {error:?}"
        );
        assert!(!error.may_have_been_sent());
    }
    for host in ["127.0.0.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
        let error = fetcher(&config)
            .get(&server.url(host, "/"))
            .await
            .unwrap_err();
        assert!(
            matches!(error.refusal(), Some(Refusal::Address { .. })),
            "{host}: {error:?}"
        );
    }
    // A URI that was not parsed as a URL before is brought to its plain form too.
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = format!("http://0x7f000001:{}/", server.address.port())
        .parse()
        .unwrap();
    let error = fetcher(&config).stream(request).await.unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::Address { .. })));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn the_connector_holds_without_the_fetcher() {
    use tower_service::Service as _;
    let mut connector = Connector::new(&Config::public());
    for uri in [
        "https://127.0.0.1/",
        "https://user@example.com/",
        "ftp://example.com/",
        "https://example.com:22/",
    ] {
        let error = connector.call(uri.parse().unwrap()).await.unwrap_err();
        assert!(
            matches!(error, ConnectError::Refused(_)),
            "{uri}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_at_every_connection() {
    let server = Server::start(|_| {
        let mut answer = text("once");
        answer
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    })
    .await;
    let resolver = Scripted::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let mut config = local(&["flip.test"]);
    config.resolver = resolver.clone();
    let fetcher = fetcher(&config);
    let url = server.url("flip.test", "/");
    assert_eq!(fetcher.get(&url).await.unwrap().body, "once");
    assert_eq!(
        *resolver.asked.lock().unwrap(),
        ["flip.test"],
        "one look-up, and the connection goes to its answer"
    );
    let error = fetcher.get(&url).await.unwrap_err();
    assert!(
        matches!(
            error.refusal(),
            Some(Refusal::Address {
                kind: AddressKind::LinkLocal,
                ..
            })
        ),
        "{error:?}"
    );
    assert_eq!(resolver.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn names_without_a_usable_answer_are_refused() {
    let many: Vec<String> = (0..65).map(|host| format!("10.0.0.{host}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (answers, expected) in [
        (&[&[][..]][..], "has no address"),
        (&[&many[..]], "has more than 64 addresses"),
    ] {
        let mut config = local(&["odd.test"]);
        config.resolver = Scripted::new(answers);
        let error = fetcher(&config)
            .get(&Url::parse("http://odd.test/").unwrap())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let mut config = local(&["odd.test"]);
    config.resolver = Scripted::new(&[]);
    let error = fetcher(&config)
        .get(&Url::parse("http://odd.test/").unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }) && !error.may_have_been_sent());
}

#[tokio::test]
async fn redirects_are_followed_judged_and_counted() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/start" => redirect(StatusCode::FOUND, "next?x=1"),
        "/next?x=1" => redirect(StatusCode::PERMANENT_REDIRECT, "/end"),
        "/end" => text("end"),
        "/loop" => redirect(StatusCode::TEMPORARY_REDIRECT, "/loop"),
        "/metadata" => redirect(
            StatusCode::FOUND,
            "http://169.254.169.254/latest/meta-data/",
        ),
        "/elsewhere" => redirect(StatusCode::MOVED_PERMANENTLY, "http://elsewhere.test/"),
        "/file" => redirect(StatusCode::SEE_OTHER, "file:///etc/passwd"),
        "/userinfo" => redirect(StatusCode::SEE_OTHER, "http://user@here.test/"),
        "/nowhere" => redirect(StatusCode::FOUND, "http://[broken"),
        _ => ::http::Response::builder()
            .status(302)
            .body(Full::default())
            .unwrap(),
    })
    .await;
    let fetcher = fetcher(&local(&["here.test", "169.254.169.254"]));
    let response = fetcher
        .get(&server.url("here.test", "/start"))
        .await
        .unwrap();
    assert_eq!(
        (&response.body[..], response.url.path()),
        (&b"end"[..], "/end")
    );

    let get = async |path| {
        fetcher
            .get(&server.url("here.test", path))
            .await
            .unwrap_err()
    };
    assert!(matches!(
        get("/loop").await,
        FetchError::TooManyRedirects { max: 3, .. }
    ));
    assert!(matches!(get("/nowhere").await, FetchError::Location { .. }));
    assert!(matches!(
        get("/without-location").await,
        FetchError::Location { .. }
    ));
    let error = get("/metadata").await;
    assert!(
        matches!(error.refusal(), Some(Refusal::Address { .. })),
        "{error:?}"
    );
    assert!(error.may_have_been_sent(), "the first host got it");
    assert!(matches!(
        get("/elsewhere").await.refusal(),
        Some(Refusal::HostNotAllowed { .. })
    ));
    assert!(matches!(
        get("/file").await.refusal(),
        Some(Refusal::Scheme { .. })
    ));
    assert!(matches!(
        get("/userinfo").await.refusal(),
        Some(Refusal::UserInfo)
    ));
}

#[tokio::test]
async fn a_redirect_to_loopback_is_refused_where_loopback_is() {
    // Two names for one machine; only one of them may be at loopback.
    let server = Server::start(|_| text("secret")).await;
    let target = server.url("inner.test", "/").to_string();
    let front = Server::start(move |_| redirect(StatusCode::FOUND, &target)).await;
    let mut config = local(&["front.test"]);
    let inner = AllowedHost::new("inner.test")
        .unwrap()
        .within("203.0.113.0/24".parse().unwrap());
    if let Profile::Configured(hosts) = &mut config.profile {
        hosts.push(inner);
    }
    let error = fetcher(&config)
        .get(&front.url("front.test", "/"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error.refusal(),
            Some(Refusal::Address {
                kind: AddressKind::Loopback,
                ..
            })
        ),
        "{error:?}"
    );
    assert_eq!((front.seen().len(), server.seen().len()), (1, 0));
}

#[tokio::test]
async fn another_origin_gets_no_credentials() {
    let other = Server::start(|_| text("other")).await;
    let (near, far) = (
        String::from("/again"),
        other.url("other.test", "/").to_string(),
    );
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/near" => redirect(StatusCode::FOUND, &near),
        "/again" => redirect(StatusCode::FOUND, &far),
        _ => text(""),
    })
    .await;
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = server.url("here.test", "/near").as_str().parse().unwrap();
    let secret = HeaderValue::from_static("secret");
    for name in [
        "authorization",
        "cookie",
        "x-api-key",
        "dpop",
        "mcp-session-id",
    ] {
        request.headers_mut().insert(name, secret.clone());
    }
    for name in ["accept", "user-agent", "accept-language"] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static("kept"));
    }
    let response = fetcher(&local(&["here.test", "other.test"]))
        .request(request)
        .await
        .unwrap();
    assert_eq!(response.body, "other");
    for seen in server.seen() {
        assert_eq!(
            seen.headers[header::AUTHORIZATION],
            "secret",
            "the same origin keeps them"
        );
    }
    let headers = &other.seen()[0].headers;
    assert!(headers.values().all(|value| value != secret), "{headers:?}");
    assert_eq!(
        (&headers[header::ACCEPT], &headers[header::USER_AGENT]),
        (&"kept".parse().unwrap(), &"kept".parse().unwrap())
    );
}

#[tokio::test]
async fn methods_that_act_follow_no_redirect_and_headers_of_the_connection_are_ours() {
    let server = Server::start(|_| redirect(StatusCode::TEMPORARY_REDIRECT, "/again")).await;
    let mut request = Request::new(Bytes::from_static(b"{}"));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = server.url("here.test", "/act").as_str().parse().unwrap();
    *request.version_mut() = ::http::Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_static("evil.test"));
    headers.insert(
        header::TRANSFER_ENCODING,
        HeaderValue::from_static("chunked"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("999"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("h2c"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let response = fetcher(&local(&["here.test"]))
        .request(request)
        .await
        .unwrap();
    assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT);
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    let headers = &seen[0].headers;
    assert_eq!(
        headers[header::HOST],
        format!("here.test:{}", server.address.port())
    );
    assert_eq!(headers[header::CONTENT_LENGTH], "2");
    assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
    assert!(
        !headers.contains_key(header::TRANSFER_ENCODING) && !headers.contains_key(header::UPGRADE)
    );

    let mut tunnel = Request::new(Bytes::new());
    *tunnel.method_mut() = Method::CONNECT;
    *tunnel.uri_mut() = server.url("here.test", "/").as_str().parse().unwrap();
    let error = fetcher(&local(&["here.test"]))
        .request(tunnel)
        .await
        .unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::Method { .. })));
}

/// Answers every connection with these bytes, and then says nothing more.
async fn raw_server(answer: &'static [u8]) -> (Url, JoinSet<()>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!(
        "http://raw.test:{}/",
        listener.local_addr().unwrap().port()
    ))
    .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            open.push(stream);
        }
    });
    (url, tasks)
}

#[tokio::test]
async fn a_body_is_bounded_announced_or_not() {
    let mut config = local(&["raw.test"]);
    config.max_bytes = 8;
    let chunked =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n4\r\n6789\r\n";
    let until_closed = b"HTTP/1.1 200 OK\r\n\r\n123456789";
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n";
    for answer in [&chunked[..], until_closed, announced] {
        let (url, _tasks) = raw_server(answer).await;
        let error = fetcher(&config).get(&url).await.unwrap_err();
        assert!(
            matches!(error, FetchError::TooLarge { max_bytes: 8, .. }),
            "{error:?}"
        );
    }
    let (url, _tasks) = raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n12345678").await;
    assert_eq!(fetcher(&config).get(&url).await.unwrap().body, "12345678");
    let (url, _tasks) =
        raw_server(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx")
            .await;
    assert!(matches!(
        fetcher(&config).get(&url).await,
        Err(FetchError::Encoded { .. })
    ));
    let (url, _tasks) = raw_server(b"SSH-2.0-OpenSSH_9\r\n\r\n").await;
    let error = fetcher(&config).get(&url).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Exchange { .. }) && error.may_have_been_sent(),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    static HEAD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let mut head = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        head.resize(1 << 20, b'x');
        head
    });
    let (url, _tasks) = raw_server(&HEAD).await;
    let error = fetcher(&local(&["raw.test"])).get(&url).await.unwrap_err();
    assert!(matches!(error, FetchError::Exchange { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn the_connector_alone_bounds_its_time() {
    use tower_service::Service as _;
    let mut config = local(&["raw.test"]);
    config.resolver = Arc::new(Silent);
    let error = Connector::new(&config)
        .call("http://raw.test/".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { limit } if limit == Duration::from_secs(5)));
}

#[tokio::test(start_paused = true)]
async fn silence_has_an_end() {
    let mut config = local(&["raw.test"]);
    config.resolver = Arc::new(Silent);
    let error = fetcher(&config)
        .get(&Url::parse("http://raw.test/").unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::ConnectTimeout { limit, .. } if limit == Duration::from_secs(5)),
        "{error:?}"
    );

    let mut config = local(&["raw.test"]);
    config.connect_timeout = Duration::from_secs(60);
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n1"] {
        let (url, _tasks) = raw_server(answer).await;
        let error = fetcher(&config).get(&url).await.unwrap_err();
        assert!(
            matches!(error, FetchError::Timeout { limit, .. } if limit == Duration::from_secs(30)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_port_says_so_and_a_dead_address_is_passed_over() {
    // Bound, so that nobody else gets the port, and not listening.
    let gone = tokio::net::TcpSocket::new_v4().unwrap();
    gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://gone.test:{}/", gone.local_addr().unwrap().port());
    let error = fetcher(&local(&["gone.test"]))
        .get(&Url::parse(&url).unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Connect { .. }) && !error.may_have_been_sent(),
        "{error:?}"
    );

    let server = Server::start(|_| text("second")).await;
    let mut config = local(&["two.test"]);
    // Nothing listens at the first one: servers here bind 127.0.0.1 alone.
    config.resolver = Scripted::new(&[&["127.0.0.2", "127.0.0.1"]]);
    assert_eq!(
        fetcher(&config)
            .get(&server.url("two.test", "/"))
            .await
            .unwrap()
            .body,
        "second"
    );
}

#[tokio::test]
async fn a_stream_is_read_as_it_comes() {
    let (url, _tasks) =
        raw_server(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: first\n\n")
            .await;
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.as_str().parse().unwrap();
    let mut response = fetcher(&local(&["raw.test"]))
        .stream(request)
        .await
        .unwrap();
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "data: first\n\n");
}

#[tokio::test]
async fn certificates_are_checked_for_trust_and_name() {
    let certified = rcgen::generate_simple_self_signed(vec![String::from("tls.test")]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let plain = Server::start(|_| text("plain")).await;
    let downgrade = plain.url("tls.test", "/").to_string();
    let server = Server::start_with(Some(acceptor), move |seen| match seen.path.as_str() {
        "/down" => redirect(StatusCode::FOUND, &downgrade),
        _ => text("sealed"),
    })
    .await;
    let url = |host: &str, path: &str| {
        Url::parse(&format!("https://{host}:{}{path}", server.address.port())).unwrap()
    };

    let mut config = local(&["tls.test", "other.test"]);
    let error = fetcher(&config)
        .get(&url("tls.test", "/"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Connect { .. }),
        "not Mozilla's: {error:?}"
    );
    config.trust = Trust::none()
        .with_pem(certified.cert.pem().as_bytes())
        .unwrap();
    assert_eq!(
        fetcher(&config)
            .get(&url("tls.test", "/"))
            .await
            .unwrap()
            .body,
        "sealed"
    );
    let error = fetcher(&config)
        .get(&url("other.test", "/"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Connect { .. }),
        "not its name: {error:?}"
    );
    let error = fetcher(&config)
        .get(&url("tls.test", "/down"))
        .await
        .unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::Downgrade));
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn http_2_is_spoken_where_the_host_chooses_it() {
    let certified = rcgen::generate_simple_self_signed(vec![String::from("tls.test")]).unwrap();
    for (offered, spoken) in [
        (&b"h2"[..], Version::HTTP_2),
        (b"http/1.1", Version::HTTP_11),
    ] {
        let key =
            rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        tls.alpn_protocols = vec![offered.to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let server = Server::start_with(Some(acceptor), |_| text("sealed")).await;
        let mut config = local(&["tls.test"]);
        config.trust = Trust::none()
            .with_pem(certified.cert.pem().as_bytes())
            .unwrap();
        let fetcher = fetcher(&config);
        let url = format!("https://tls.test:{}/", server.address.port());
        for _ in 0..2 {
            let mut request = Request::new(Bytes::from_static(b"body"));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = url.parse().unwrap();
            let answer = fetcher.stream(request).await.unwrap();
            assert_eq!(answer.version(), spoken);
            assert_eq!(
                answer.into_body().collect().await.unwrap().to_bytes(),
                "sealed"
            );
        }
        let seen = server.seen();
        assert!(seen.iter().all(|seen| seen.version == spoken), "{seen:?}");
    }
}

#[test]
fn the_server_that_a_person_named_is_the_only_one() {
    let url = Url::parse("http://localhost:8080/mcp").unwrap();
    let fetcher = fetcher(&Config::upstream(&url).unwrap());
    assert_eq!(fetcher.check(&url), Ok(()));
    for other in [
        "http://localhost:8081/mcp",
        "http://127.0.0.1:8080/mcp",
        "https://example.com/",
    ] {
        assert!(matches!(
            fetcher.check(&Url::parse(other).unwrap()),
            Err(Refusal::HostNotAllowed { .. })
        ));
    }
    assert!(Config::upstream(&Url::parse("data:text/plain,x").unwrap()).is_err());
}

#[tokio::test]
async fn settings_out_of_range_are_refused_by_name() {
    let changed = |change: fn(&mut Config)| {
        let mut config = Config::public();
        change(&mut config);
        UrlFetcher::new(&config).unwrap_err().to_string()
    };
    assert!(
        changed(|config| config.connect_timeout = Duration::ZERO)
            .starts_with("`connect_timeout`: ")
    );
    assert!(
        changed(|config| config.total_timeout = Duration::from_secs(3_601))
            .starts_with("`total_timeout`: ")
    );
    assert!(changed(|config| config.max_bytes = 0).starts_with("`max_bytes`: "));
    assert!(changed(|config| config.max_redirects = 6).starts_with("`max_redirects`: "));
    assert!(
        changed(|config| config.user_agent = String::from("a\r\nb: c"))
            .starts_with("`user_agent`: ")
    );
}
