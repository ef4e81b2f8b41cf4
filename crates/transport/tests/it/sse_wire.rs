//! HTTP with SSE.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use fastmcp_transport::{HttpWireConfig, SseWire, Wire, WireError};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming as Body},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::server::{Act, SSE, Scripted, notification, progress, request, response, whole};

/// An old server: one stream, and an endpoint that answers on it.
struct Old {
    url: String,
    posts: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    _tasks: JoinSet<()>,
    /// Ends the stream.
    hang_up: CancellationToken,
}

#[derive(Clone)]
struct Session {
    posts: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    stream: Arc<Mutex<Option<mpsc::Sender<String>>>>,
    hang_up: CancellationToken,
}

type Answer = Response<
    Either<
        Full<Bytes>,
        StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>,
    >,
>;

impl Old {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sse", listener.local_addr().unwrap());
        let session = Session {
            posts: Arc::default(),
            stream: Arc::default(),
            hang_up: CancellationToken::new(),
        };
        let (posts, hang_up) = (Arc::clone(&session.posts), session.hang_up.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let session = session.clone();
                let service = service_fn(move |request| session.clone().answer(request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    let _gone = connection.await;
                });
            }
        });
        Self {
            url,
            posts,
            _tasks: tasks,
            hang_up,
        }
    }
}

impl Session {
    async fn answer(self, request: Request<Body>) -> Result<Answer, Infallible> {
        if request.method() == Method::GET {
            return Ok(self.open());
        }
        assert_eq!(request.uri(), "/messages?session=7");
        let headers = request.headers().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let stream = self.stream.lock().unwrap().clone().unwrap();
        let message: serde_json::Value = serde_json::from_str(&body).unwrap();
        if let Some(id) = message["id"].as_i64() {
            for text in [progress(1), response(id)] {
                stream
                    .send(format!("event: message\r\ndata: {text}\r\n\r\n"))
                    .await
                    .unwrap();
            }
        }
        self.posts.lock().unwrap().push((body, headers));
        let mut answer = Response::new(Either::Left(Full::from("Accepted")));
        *answer.status_mut() = http::StatusCode::ACCEPTED;
        Ok(answer)
    }

    fn open(&self) -> Answer {
        let (sender, pieces) = mpsc::channel(16);
        let endpoint = "event: endpoint\ndata: /messages?session=7\n\n".to_owned();
        sender.try_send(endpoint).unwrap();
        *self.stream.lock().unwrap() = Some(sender);
        let pieces = futures_util::stream::unfold(pieces, |mut pieces| async {
            let piece: String = pieces.recv().await?;
            Some((Ok(Frame::data(Bytes::from(piece))), pieces))
        });
        let hung_up = self.hang_up.clone().cancelled_owned();
        let body = StreamBody::new(pieces.take_until(hung_up).boxed());
        let mut answer = Response::new(Either::Right(body));
        answer.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        answer
    }
}

#[tokio::test]
async fn posts_are_answered_on_the_stream() {
    let server = Old::start().await;
    let mut config = HttpWireConfig::default();
    config
        .headers
        .insert("x-key", HeaderValue::from_static("k"));
    let wire = SseWire::connect(&server.url, config).await.unwrap();
    assert!(wire.endpoint().ends_with("/messages?session=7"));
    let mut heard = wire.listen(HeaderMap::new()).await.unwrap().messages;
    for id in 1..4 {
        let answer = wire.request(request(id, "tools/call")).await.unwrap();
        let read: Vec<_> = answer.messages.map(Result::unwrap).collect().await;
        // The server tells of the progress of the first request, whatever it answers.
        if id == 1 {
            assert_eq!(read, [progress(1), response(id)]);
        } else {
            assert_eq!(read, [response(id)]);
            assert_eq!(heard.next().await.unwrap().unwrap(), progress(1));
        }
    }
    let note = notification("notifications/initialized");
    wire.notify(note.clone()).await.unwrap();
    {
        let posts = server.posts.lock().unwrap();
        assert_eq!(posts.len(), 4);
        assert_eq!(*posts[3].0, *note.text());
        assert!(posts.iter().all(|(_, headers)| headers["x-key"] == "k"));
    }
    wire.close(HeaderMap::new()).await;
    assert!(matches!(
        heard.next().await,
        Some(Err(WireError::Closed(_)))
    ));
    let refused = wire.request(request(9, "ping")).await;
    assert!(matches!(refused, Err(WireError::Closed(_))));
}

#[tokio::test]
async fn the_end_of_the_stream_is_the_end() {
    let server = Old::start().await;
    let wire = SseWire::connect(&server.url, HttpWireConfig::default())
        .await
        .unwrap();
    let mut heard = wire.listen(HeaderMap::new()).await.unwrap().messages;
    server.hang_up.cancel();
    let error = heard.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, WireError::Closed(reason) if reason.contains("ended the stream")),
        "{error}"
    );
    let refused = wire.notify(notification("n")).await.unwrap_err();
    assert!(matches!(refused, WireError::Closed(_)), "{refused}");
}

#[tokio::test]
async fn streams_that_are_no_session_are_refused() {
    let connect = async |answer: String| {
        let server = Scripted::start(vec![Act::Hold(answer)]).await;
        SseWire::connect(&server.url, HttpWireConfig::default())
            .await
            .unwrap_err()
    };
    for (event, expected) in [
        (
            "event: endpoint\ndata: https://evil.test/m\n\n",
            "another origin",
        ),
        (
            "event: endpoint\ndata: http://127.0.0.1:1/m\n\n",
            "another origin",
        ),
        ("event: endpoint\ndata: http://[/\n\n", "no url"),
        ("data: {}\n\n", "not `endpoint`"),
    ] {
        let error = connect(format!("{SSE}{event}")).await;
        assert!(matches!(error, WireError::Unreadable(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = connect(whole("405 No", "")).await;
    assert!(
        matches!(error, WireError::Status { status: 405, .. }),
        "{error}"
    );
    let json = whole("200 OK\r\ncontent-type: application/json", "{}");
    assert!(matches!(connect(json).await, WireError::Unreadable(_)));
}
