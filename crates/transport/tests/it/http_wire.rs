//! Streamable HTTP.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp_guard::http::{Config, UrlFetcher};
use fastmcp_transport::{
    Challenge, Credentials, HttpWire, HttpWireConfig, Incoming, Wire, WireError,
};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, header};
use tokio::time::Instant;

use crate::server::{
    Act, Open, Read, SSE, Scripted, chunked, claimed, event, notification, progress, request,
    response, whole,
};

fn wire(url: &str) -> HttpWire {
    HttpWire::new(url, HttpWireConfig::default()).unwrap()
}

fn wire_with(url: &str, change: impl FnOnce(&mut HttpWireConfig)) -> HttpWire {
    let mut config = HttpWireConfig::default();
    change(&mut config);
    HttpWire::new(url, config).unwrap()
}

async fn read(incoming: Incoming) -> Read {
    incoming.messages.collect().await
}

async fn texts(incoming: Incoming) -> Vec<String> {
    let read = read(incoming).await.into_iter();
    read.map(|message| message.unwrap().to_string()).collect()
}

/// What came of a request to a server with this script.
async fn outcome(script: Vec<Act>) -> Result<Read, WireError> {
    let server = Scripted::start(script).await;
    let incoming = wire(&server.url).request(request(1, "ping")).await?;
    Ok(read(incoming).await)
}

fn session() -> HeaderMap {
    HeaderMap::from_iter([(
        header::HeaderName::from_static("mcp-session-id"),
        HeaderValue::from_static("s1"),
    )])
}

#[tokio::test]
async fn one_text_streams_and_refusals_are_answers() {
    let server = Open::start().await;
    let wire = wire(&server.url);
    let answer = wire.request(request(1, "ping")).await.unwrap();
    assert_eq!(
        (answer.status, texts(answer).await),
        (200, vec![response(1)])
    );
    let answer = wire.request(request(2, "tools/call")).await.unwrap();
    let expected = vec![progress(1), progress(2), progress(3), response(2)];
    assert_eq!((answer.status, texts(answer).await), (200, expected));
    let answer = wire.request(request(3, "no/such")).await.unwrap();
    assert_eq!(answer.status, 404);
    assert!(texts(answer).await[0].contains("no such method"));
    wire.notify(notification("notifications/initialized"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_is_used_again_also_after_streams() {
    let server = Open::start().await;
    let config = HttpWireConfig::default();
    let tasks = config.tasks.clone();
    // Connections have tasks elsewhere, so that these are the remainders of streams alone.
    let fetch = Config::upstream(&server.url.parse().unwrap()).unwrap();
    let fetcher = UrlFetcher::new(&fetch).unwrap();
    let wire = HttpWire::with_fetcher(&server.url, fetcher, config).unwrap();
    for id in 0..5 {
        let answer = wire.request(request(id, "tools/call")).await.unwrap();
        texts(answer).await;
        while !tasks.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    let addresses: Vec<_> = server.seen().iter().map(|seen| seen.0).collect();
    assert!(
        addresses.iter().all(|other| *other == addresses[0]),
        "{addresses:?}"
    );
}

#[tokio::test]
async fn letting_go_of_an_answer_cancels_before_its_head_and_after() {
    let server = Open::start().await;
    let wire = wire(&server.url);
    {
        let mut pending = wire.request(claimed(1, "prompts/get"));
        tokio::select! {
            _ = &mut pending => panic!("it answers when it is cancelled"),
            () = server.door.begun.notified() => {}
        }
    }
    server.door.cancelled.notified().await;
    let mut answer = wire.request(claimed(2, "resources/read")).await.unwrap();
    assert_eq!(answer.messages.next().await.unwrap().unwrap(), progress(1));
    drop(answer);
    server.door.cancelled.notified().await;
}

#[tokio::test]
async fn a_closed_wire_ends_its_session_and_what_is_under_way() {
    let server = Open::start().await;
    let wire = wire(&server.url);
    let mut answer = wire.request(claimed(1, "resources/read")).await.unwrap();
    answer.messages.next().await.unwrap().unwrap();
    let mut pending = wire.request(claimed(2, "prompts/get"));
    tokio::select! {
        _ = &mut pending => panic!("it answers when it is cancelled"),
        () = server.door.begun.notified() => {}
    }
    wire.close(session()).await;
    assert_eq!(server.seen().last().unwrap().1, "s1");
    assert!(matches!(pending.await, Err(WireError::Closed(_))));
    let last = answer.messages.next().await;
    assert!(matches!(last, Some(Err(WireError::Closed(_)))), "{last:?}");
    let refused = wire.notify(notification("notifications/progress")).await;
    assert!(matches!(refused, Err(WireError::Closed(_))));
}

#[tokio::test]
async fn a_server_is_listened_to() {
    let server = Open::start().await;
    let wire = wire(&server.url);
    let heard = wire.listen(session()).await.unwrap();
    assert_eq!(texts(heard).await, [progress(1), progress(2)]);
    let refused = wire.listen(HeaderMap::new()).await.unwrap_err();
    assert!(
        matches!(refused, WireError::Status { status: 405, .. }),
        "{refused}"
    );
}

/// Tokens that are tried one after the other.
#[derive(Debug, Default)]
struct Tokens {
    tokens: Vec<&'static str>,
    next: AtomicUsize,
    challenges: Mutex<Vec<Challenge>>,
}

impl Credentials for Tokens {
    fn headers<'a>(
        &'a self,
        http_method: &'a str,
        url: &'a str,
    ) -> BoxFuture<'a, Result<HeaderMap, WireError>> {
        assert!(http_method == "POST" && url.ends_with("/mcp"));
        let token = self.tokens[self.next.load(Ordering::SeqCst)];
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        async { Ok(headers) }.boxed()
    }

    fn challenged<'a>(
        &'a self,
        challenge: &'a Challenge,
    ) -> BoxFuture<'a, Result<bool, WireError>> {
        self.challenges.lock().unwrap().push(challenge.clone());
        let next = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(next < self.tokens.len()) }.boxed()
    }
}

fn tokens(tokens: &[&'static str]) -> Arc<Tokens> {
    Arc::new(Tokens {
        tokens: tokens.to_vec(),
        ..Tokens::default()
    })
}

#[tokio::test]
async fn credentials_are_bettered_until_they_do() {
    let server = Open::start().await;
    let tokens = tokens(&["bad", "worse", "good"]);
    let wire = wire_with(&server.url, |config| {
        config.credentials = Some(tokens.clone());
        let static_one = HeaderValue::from_static("Bearer replaced");
        config.headers.insert(header::AUTHORIZATION, static_one);
    });
    let answer = wire.request(request(1, "ping")).await.unwrap();
    assert_eq!(texts(answer).await, [response(1)]);
    let challenges = tokens.challenges.lock().unwrap();
    assert_eq!(challenges.len(), 2);
    assert_eq!(challenges[0].status, 401);
    assert_eq!(challenges[0].method, "ping");
    assert_eq!(challenges[0].url, server.url);
    assert!(
        challenges[0].headers[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap()
            .contains("invalid_token")
    );
}

#[tokio::test]
async fn credentials_that_stay_bad_are_an_error() {
    let server = Open::start().await;
    let refused = async |tokens: Option<Arc<Tokens>>| {
        let wire = wire_with(&server.url, |config| {
            let bad = HeaderValue::from_static("Bearer bad");
            config.headers.insert(header::AUTHORIZATION, bad);
            config.credentials = tokens.map(|tokens| tokens as _);
        });
        match wire.request(request(1, "ping")).await {
            Err(WireError::Unauthorized(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    let text = refused(None).await;
    assert!(text.starts_with("the server asks for credentials (HTTP status 401, `Bearer"));
    assert!(text.contains("who are you"), "{text}");
    let few = tokens(&["bad", "worse"]);
    refused(Some(few.clone())).await;
    assert_eq!(few.challenges.lock().unwrap().len(), 2);
    let many = tokens(&["bad"; 10]);
    refused(Some(many.clone())).await;
    assert_eq!(many.challenges.lock().unwrap().len(), 3, "three rounds");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_stream_is_taken_up_after_its_last_event_when_the_server_wants() {
    let first = format!(
        "{SSE}id: e1\nretry: 300\ndata: \n\nid: e2\n{}",
        event(&progress(1))
    );
    let second = format!("{SSE}id: e3\n{}", event(&progress(2)));
    let third = format!("{SSE}id: e4\n{}", event(&response(1)));
    let server = Scripted::start([first, second, third].map(Act::Close).into()).await;
    // Without the server's word nobody would wait to see it taken up.
    let wire = wire_with(&server.url, |config| {
        config.resume_delay = Duration::from_secs(600);
    });
    let mut outgoing = request(1, "tools/call");
    outgoing.resumable = true;
    outgoing.headers = session();
    let mut messages = wire.request(outgoing).await.unwrap().messages;
    assert_eq!(messages.next().await.unwrap().unwrap(), progress(1));
    for expected in [progress(2), response(1)] {
        let began = Instant::now();
        assert_eq!(messages.next().await.unwrap().unwrap(), expected);
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(300), "{waited:?}");
    }
    assert!(messages.next().await.is_none());
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[0].starts_with("POST /mcp"));
    for (request, id) in requests[1..].iter().zip(["e2", "e3"]) {
        assert!(request.starts_with("GET /mcp"), "{request}");
        assert!(request.contains(&format!("last-event-id: {id}\r\n")));
        assert!(request.contains("mcp-session-id: s1\r\n"));
        assert!(request.contains("accept: text/event-stream\r\n"));
    }
}

#[tokio::test]
async fn taking_up_a_stream_has_an_end() {
    let begun = format!("{SSE}id: e1\nretry: 1\n{}", event(&progress(1)));
    let resumed = async |answer: String| {
        let server = Scripted::start(vec![Act::Close(begun.clone()), Act::Close(answer)]).await;
        let mut outgoing = request(1, "tools/call");
        outgoing.resumable = true;
        let answer = wire(&server.url).request(outgoing).await.unwrap();
        let mut read = read(answer).await;
        assert_eq!(read.len(), 2, "{read:?}");
        (read.pop().unwrap().unwrap_err(), server.requests().len())
    };
    let (error, requests) = resumed(whole("503 Away", "")).await;
    assert!(matches!(error, WireError::Broken(_)), "{error}");
    assert!(error.to_string().contains("failed 5 times"), "{error}");
    assert_eq!(requests, 6);
    let (error, requests) = resumed(whole("404 Gone", "")).await;
    assert!(
        matches!(error, WireError::Status { status: 404, .. }),
        "{error}"
    );
    assert_eq!(requests, 2, "the session is gone");
}

#[tokio::test]
async fn what_cannot_be_taken_up_is_broken() {
    let within = format!("{SSE}id: e1\n{}data: half", event(&progress(1)));
    let read = outcome(vec![Act::Close(within)]).await.unwrap();
    assert!(
        matches!(&read[1], Err(WireError::Broken(text)) if text.contains("within an event")),
        "{read:?}"
    );
    let cut = chunked(&event(&progress(1)));
    let read = outcome(vec![Act::Close(cut)]).await.unwrap();
    assert!(matches!(read[1], Err(WireError::Broken(_))), "{read:?}");
    let ended = format!("{SSE}{}", event(&progress(1)));
    let read = outcome(vec![Act::Close(ended)]).await.unwrap();
    assert_eq!(read.len(), 1, "the server may end it");
    let error = outcome(vec![Act::Close(String::new())]).await.unwrap_err();
    assert!(matches!(error, WireError::Broken(_)), "{error}");
    assert!(error.may_have_been_sent());
}

#[tokio::test]
async fn a_response_is_the_end_though_the_server_goes_on() {
    let open = chunked(&(event(&response(1)) + &event(&progress(1))));
    let read = outcome(vec![Act::Hold(open)]).await.unwrap();
    assert_eq!(read.len(), 1);
    let other = format!("{SSE}{}{}", event(&response(7)), event(&response(1)));
    let read = outcome(vec![Act::Close(other)]).await.unwrap();
    assert_eq!(read.len(), 2, "the response to another is not the end");
}

#[tokio::test]
async fn answers_that_are_none_are_refused() {
    let json = "200 OK\r\ncontent-type: application/json";
    for (answer, expected) in [
        (
            whole("200 OK\r\ncontent-type: text/html", "<p>"),
            "`text/html`",
        ),
        (whole("200 OK", "{}"), "no content type"),
        (
            whole(&format!("{json}\r\ncontent-encoding: gzip"), "x"),
            "encoding",
        ),
        (whole(json, "\u{fffd}").replace('\u{fffd}', "abc"), ""),
    ] {
        let outcome = outcome(vec![Act::Close(answer)]).await;
        match outcome {
            Err(WireError::Unreadable(text)) => assert!(text.contains(expected), "{text}"),
            Ok(read) if expected.is_empty() => assert_eq!(*read[0].as_ref().unwrap(), "abc"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn statuses_without_a_message_are_told_apart() {
    let failed = async |answer| match outcome(vec![Act::Close(answer)]).await {
        Err(WireError::Status { status, body, .. }) => (status, body),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        failed(whole("502 Bad", "<html>proxy")).await,
        (502, "<html>proxy".to_owned())
    );
    let json = "content-type: application/json";
    let (status, body) = failed(whole(&format!("400 Bad\r\n{json}"), r#"{"detail":1}"#)).await;
    assert_eq!((status, &*body), (400, r#"{"detail":1}"#));
    let (status, body) = failed(whole("307 Other\r\nlocation: /mcp/", "")).await;
    assert_eq!(status, 307);
    assert!(body.contains("redirects to `/mcp/`"), "{body}");
    let (_, body) = failed(whole("500 Oh", &"x".repeat(100_000))).await;
    assert_eq!(body.len(), 4096);
    let empty = outcome(vec![Act::Close(whole("202 Accepted", ""))]).await;
    assert!(empty.unwrap().is_empty());
}

#[tokio::test]
async fn messages_are_bounded_however_they_come() {
    let long = format!(r#""{}""#, "x".repeat(2_000));
    let json = "200 OK\r\ncontent-type: application/json";
    let line = format!("{SSE}data: {long}\n\n");
    let lines = format!("{SSE}{}\n", "data: 123456789\n".repeat(200));
    let endless = format!("{SSE}{}", "x".repeat(2_000));
    for answer in [whole(json, &long), line, lines, endless] {
        let server = Scripted::start(vec![Act::Hold(answer)]).await;
        let wire = wire_with(&server.url, |config| config.message_bytes = 1_000);
        let answer = wire.request(request(1, "ping")).await.unwrap();
        let read = read(answer).await;
        assert!(
            matches!(&read[..], [Err(WireError::Unreadable(_))]),
            "{read:?}"
        );
    }
}

#[tokio::test]
async fn silence_ends_an_answer() {
    let silent = [SSE, "HTTP/1.1 "].map(|head| Act::Hold(head.to_owned()));
    let server = Scripted::start(silent.into()).await;
    let wire = wire_with(&server.url, |config| {
        config.idle_timeout = Duration::from_millis(50);
        config.answer_timeout = Duration::from_secs(30);
    });
    let read = read(wire.request(request(1, "ping")).await.unwrap()).await;
    assert!(
        matches!(&read[..], [Err(WireError::Broken(text))] if text.contains("silent")),
        "{read:?}"
    );
    let hurried = wire_with(&server.url, |config| {
        config.answer_timeout = Duration::from_millis(500);
    });
    let late = hurried.request(request(2, "ping")).await.unwrap_err();
    assert!(matches!(late, WireError::Timeout(_)), "{late}");
}

#[tokio::test]
async fn comments_are_no_silence_but_have_an_end() {
    let act = Act::Repeat(SSE.to_owned(), ": alive\n\n", Duration::from_millis(20));
    let server = Scripted::start(vec![act]).await;
    let wire = wire_with(&server.url, |config| {
        config.idle_timeout = Duration::from_secs(5);
        config.stream_timeout = Duration::from_secs(6);
    });
    let began = Instant::now();
    let read = read(wire.request(request(1, "ping")).await.unwrap()).await;
    assert!(
        matches!(&read[..], [Err(WireError::Timeout(_))]),
        "{read:?}"
    );
    assert!(began.elapsed() >= Duration::from_secs(6));
}

#[tokio::test]
async fn a_server_that_is_not_there_got_nothing() {
    let server = Scripted::start(vec![]).await;
    let url = server.url.clone();
    drop(server);
    let error = wire(&url).request(request(1, "ping")).await.unwrap_err();
    assert!(matches!(error, WireError::Unreachable(_)), "{error}");
    assert!(!error.may_have_been_sent());
    for (url, shown) in [
        ("mcp?key=secret", "`mcp`"),
        ("ftp://localhost/", "`ftp://localhost/`"),
        ("http://u:secret@localhost/?secret", "`http://localhost/`"),
        ("http://169.254.169.254/", "`http://169.254.169.254/`"),
    ] {
        let error = HttpWire::new(url, HttpWireConfig::default()).unwrap_err();
        assert!(error.to_string().contains(shown), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let mut config = HttpWireConfig::default();
    config.answer_timeout = Duration::ZERO;
    let error = HttpWire::new(&url, config).unwrap_err();
    assert!(error.to_string().contains("`answer_timeout`"), "{error}");
}

#[test]
fn secrets_are_not_shown() {
    let mut config = HttpWireConfig::default();
    let secret = HeaderValue::from_static("secret");
    config.headers.insert(header::AUTHORIZATION, secret);
    assert!(!format!("{config:?}").contains("secret"));
    let wire = wire("http://localhost/mcp?key=secret");
    assert!(!format!("{wire:?}").contains("secret"));
    assert!(wire.url().contains("secret"), "it is sent all the same");
}
