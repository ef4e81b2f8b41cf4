//! Waits on this machine for a browser that comes back from a login.
//!
//! Source: RFC 8252, sections 7.3 and 8.3; RFC 6749, section 10.12 (`state`).

use std::{
    convert::Infallible,
    io,
    net::Ipv4Addr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Connections at once; further ones wait. Browsers open some that they never use.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of the head of a request, and how long a connection may last.
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_TIME: Duration = Duration::from_secs(10);

/// What the person sees at the end. It says nothing of how it ended: who answered is not known yet.
const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Login</title>\
<body style=\"font-family:sans-serif;margin:4em auto;max-width:30em\">\
<h1>You can close this window</h1><p>The program that sent you here goes on.</p>";

/// Where browsers come back to: a path on a port of 127.0.0.1, for one login.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    authority: String,
    path: String,
    redirect_uri: String,
}

impl Loopback {
    /// Listens at `path` on `port` of 127.0.0.1; port 0 is any that is free. A port is only to be chosen for
    /// authorization servers that want to know it beforehand.
    ///
    /// # Errors
    ///
    /// When the port is taken, or `path` does not begin with `/` or has characters that paths do not have.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn bind(port: u16, path: &str) -> io::Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
        if !path.starts_with('/') || !path.bytes().all(plain) {
            let problem = "`path` must begin with `/` and have letters, digits and `-._~` alone";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let authority = listener.local_addr()?.to_string();
        Ok(Self {
            redirect_uri: format!("http://{authority}{path}"),
            path: path.to_owned(),
            authority,
            listener,
        })
    }

    /// Where an authorization server is to send the browser.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Waits for the browser that brings `state` back, and returns the query that it brings.
    ///
    /// Whoever comes without it gets an error, and does not end the wait: any page in any browser on this machine can
    /// make a request to any port.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops listening and closes every connection.
    pub async fn wait(self, state: &str) -> io::Result<String> {
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                    // What a peer did to its own connection ends no wait.
                    if let Ok((stream, _)) = accepted {
                        connections.push(self.serve(stream, state));
                    }
                }
                Some(Some(query)) = connections.next() => return Ok(query),
            }
        }
    }

    /// Serves one request, and returns the query if it is the one that is waited for.
    async fn serve(&self, stream: TcpStream, state: &str) -> Option<String> {
        let found = Arc::new(OnceLock::new());
        let service = service_fn(|request: Request<Incoming>| {
            let answer = match self.judge(&request, state) {
                Ok(query) => {
                    // The first one counts; a connection has only one.
                    let _ = found.set(query);
                    page(StatusCode::OK, PAGE)
                }
                Err(status) => page(status, ""),
            };
            async { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(MAX_TIME)
            .max_buf_size(MAX_HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = timeout(MAX_TIME, connection).await {
            tracing::debug!(%error, "connection ended");
        }
        found.get().cloned()
    }

    fn judge<B>(&self, request: &Request<B>, state: &str) -> Result<String, StatusCode> {
        let host = request.headers().get(header::HOST);
        // A name that leads here but is not ours: somebody rebinds it.
        if host.is_none_or(|host| host.as_bytes() != self.authority.as_bytes()) {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        if request.uri().path() != self.path {
            return Err(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::GET {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let query = request.uri().query().unwrap_or_default();
        // States are made here, of characters that need no encoding.
        let mut values = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("state="));
        match (values.next(), values.next()) {
            (Some(answered), None) if answered == state => Ok(query.to_owned()),
            _ => Err(StatusCode::BAD_REQUEST),
        }
    }
}

fn page(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn send(authority: &str, request: &str) -> String {
        let mut stream = TcpStream::connect(authority).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn status(answer: &str) -> &str {
        answer.split(' ').nth(1).unwrap()
    }

    #[tokio::test]
    async fn only_the_browser_that_was_sent_ends_the_wait() {
        let loopback = Loopback::bind(0, "/callback").await.unwrap();
        let authority = loopback.authority.clone();
        assert_eq!(
            loopback.redirect_uri(),
            format!("http://{authority}/callback")
        );
        // One that says nothing holds up nobody.
        let _silent = TcpStream::connect(&authority).await.unwrap();
        let browser = async {
            for (expected, line, host) in [
                ("404", "GET /favicon.ico HTTP/1.1", authority.as_str()),
                ("404", "GET /callback/?state=s HTTP/1.1", &authority),
                ("400", "GET /callback HTTP/1.1", &authority),
                ("400", "GET /callback?code=c&state=x HTTP/1.1", &authority),
                (
                    "400",
                    "GET /callback?code=c&state=s&state=s HTTP/1.1",
                    &authority,
                ),
                ("400", "GET /callback?code=c&xstate=s HTTP/1.1", &authority),
                ("405", "POST /callback?code=c&state=s HTTP/1.1", &authority),
                (
                    "421",
                    "GET /callback?code=c&state=s HTTP/1.1",
                    "evil.example",
                ),
            ] {
                let answer = send(&authority, &format!("{line}\r\nhost: {host}\r\n\r\n")).await;
                assert_eq!(status(&answer), expected, "{line}");
            }
            send(
                &authority,
                &format!(
                    "GET /callback?code=a%26b&state=s&iss=i HTTP/1.1\r\nhost: {authority}\r\n\r\n"
                ),
            )
            .await
        };
        let (query, answer) = tokio::join!(loopback.wait("s"), browser);
        assert_eq!(query.unwrap(), "code=a%26b&state=s&iss=i");
        assert_eq!(status(&answer), "200");
        assert!(
            answer.contains("close this window") && answer.contains("no-store"),
            "{answer}"
        );
        assert!(!answer.contains("a%26b"), "nothing of the answer is shown");
        assert!(
            TcpStream::connect(&authority).await.is_err(),
            "nobody listens any more"
        );
    }

    #[tokio::test]
    async fn giving_up_stops_listening() {
        let loopback = Loopback::bind(0, "/").await.unwrap();
        let authority = loopback.authority.clone();
        let wait = timeout(Duration::from_millis(1), loopback.wait("s"));
        assert!(wait.await.is_err());
        assert!(TcpStream::connect(&authority).await.is_err());
    }

    #[tokio::test]
    async fn a_path_is_a_path() {
        for path in ["", "callback", "/a b", "/a?b", "/a#b", "/%2e"] {
            assert!(Loopback::bind(0, path).await.is_err(), "{path}");
        }
        let taken = Loopback::bind(0, "/").await.unwrap();
        let port = taken.listener.local_addr().unwrap().port();
        assert!(Loopback::bind(port, "/").await.is_err());
    }
}
