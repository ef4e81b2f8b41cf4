//! Each sink before a receiver of its own, on a real socket.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU16, AtomicUsize},
};

use axum::{Router, body::Bytes, extract::State as Given, routing::post};
use http::{HeaderMap, StatusCode, header};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, UdpSocket},
    sync::mpsc,
    time::Instant,
};

use super::{sending::*, *};

const PATIENCE: Duration = Duration::from_secs(40);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what}: not in time"))
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    within(what, async {
        while !is() {
            ticks.tick().await;
        }
    })
    .await;
}

const fn collector(url: Url) -> Collector {
    Collector {
        url,
        token_file: None,
    }
}

fn line(seq: u64, status: &str) -> String {
    json!({"seq": seq, "ts": "2026-11-20T12:00:00.250Z", "corr_id": format!("c-{seq}"), "phase": "event",
        "action": "tools.invoke", "status": status, "sub": "agent-1", "tenant": "acme", "instance": "gw-1"})
    .to_string()
}

fn start(sink: Sink, queue: usize) -> (Exports, Arc<dyn Tap>, Telemetry) {
    let telemetry = Telemetry::new();
    let origin = Origin {
        service: "fast mcp".to_owned(),
        instance: "gw-1".to_owned(),
        version: "1.2.3".to_owned(),
    };
    let (exports, tap) = Exports::start(&[sink], queue, &origin, &telemetry).unwrap();
    (exports, tap, telemetry)
}

fn count(exports: &Exports, sink: &str, what: &str) -> u64 {
    exports.health()[sink][what].as_u64().unwrap()
}

/// An HTTP server that tells what it got, and answers as it is told.
#[derive(Clone)]
struct Answering {
    got: mpsc::Sender<(HeaderMap, Bytes)>,
    /// Answers before the last one, which is for all further requests.
    answers: Arc<[(u16, &'static str)]>,
    asked: Arc<AtomicUsize>,
}

async fn receiver(answers: &[(u16, &'static str)]) -> (Url, mpsc::Receiver<(HeaderMap, Bytes)>) {
    let (got, requests) = mpsc::channel(64);
    let given = Answering {
        got,
        answers: answers.into(),
        asked: Arc::default(),
    };
    let answer = async |Given(to): Given<Answering>, headers: HeaderMap, body: Bytes| {
        to.got.send((headers, body)).await.unwrap();
        let n = to.asked.fetch_add(1, Ordering::SeqCst);
        let (status, body) = to.answers[n.min(to.answers.len() - 1)];
        (StatusCode::from_u16(status).unwrap(), body)
    };
    let router = Router::new().route("/in", post(answer)).with_state(given);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
    (url.parse().unwrap(), requests)
}

fn port(address: SocketAddr) -> (String, u16) {
    (address.ip().to_string(), address.port())
}

#[tokio::test]
async fn syslog_gets_a_datagram_for_each_record() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (host, port) = port(socket.local_addr().unwrap());
    let (exports, tap, _) = start(Sink::Syslog(Receiving::Udp(host, port)), 100);
    tap.durable(&line(0, "success"));
    tap.durable(&line(1, "denied"));
    // Too long for a datagram: the next one comes all the same.
    tap.durable(&line(2, &"x".repeat(70_000)));
    tap.durable(&line(3, "failed"));
    let mut buffer = vec![0; 65_536];
    for (seq, status, priority) in [(0, "success", 110), (1, "denied", 108), (3, "failed", 107)] {
        let length = within("a datagram", socket.recv(&mut buffer))
            .await
            .unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let record = line(seq, status);
        assert_eq!(
            text,
            format!(
                "<{priority}>1 2026-11-20T12:00:00.250Z gw-1 fast_mcp - tools.invoke - {record}"
            )
        );
    }
    until("all to be counted", || {
        count(&exports, "syslog", "waiting") == 0
    })
    .await;
    assert_eq!(
        (
            count(&exports, "syslog", "sent"),
            count(&exports, "syslog", "dropped")
        ),
        (3, 1)
    );
    assert_eq!(exports.degraded()[0].0, "audit.syslog");
    drop(tap);
    within("the sinks to end", exports.finish()).await;
}

/// The messages of a stream, by their octet counts.
async fn framed(stream: &mut tokio::net::TcpStream, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        let mut length = 0_usize;
        loop {
            match stream.read_u8().await.unwrap() {
                b' ' => break,
                digit => length = length * 10 + usize::from(digit - b'0'),
            }
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).await.unwrap();
        found.push(String::from_utf8(message).unwrap());
    }
    found
}

#[tokio::test]
async fn syslog_over_tcp_counts_octets_and_connects_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (host, port) = port(listener.local_addr().unwrap());
    let (exports, tap, _) = start(Sink::Syslog(Receiving::Tcp(host, port)), 100);
    tap.durable(&line(0, "grüße"));
    let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
    let first = within("a message", framed(&mut stream, 1)).await;
    assert!(first[0].ends_with(&line(0, "grüße")), "{first:?}");
    until("it to be counted", || {
        count(&exports, "syslog", "sent") == 1
    })
    .await;
    drop(stream);
    tap.durable(&line(1, "success"));
    let (mut stream, _) = within("another connection", listener.accept())
        .await
        .unwrap();
    let second = within("a message", framed(&mut stream, 1)).await;
    assert!(
        second[0].ends_with(&line(1, "success")),
        "nothing is lost where the other end had closed: {second:?}"
    );
    drop(tap);
    within("the sinks to end", exports.finish()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn syslog_at_a_local_socket_may_come_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (exports, tap, _) = start(Sink::Syslog(Receiving::Unix(path.clone())), 100);
    tap.durable(&line(0, "success"));
    until("it to be away", || !exports.degraded().is_empty()).await;
    let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
    let mut buffer = vec![0; 4_096];
    let length = within("a datagram", socket.recv(&mut buffer))
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&buffer[..length]).ends_with(&line(0, "success")));
    until("it to be well", || exports.degraded().is_empty()).await;
    drop(tap);
    exports.finish().await;
}

#[tokio::test]
async fn a_collector_that_was_away_gets_everything_in_order() {
    let (url, mut requests) = receiver(&[(503, ""), (401, ""), (200, "")]).await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "first\n").unwrap();
    let collector = Collector {
        url,
        token_file: Some(token_file.clone()),
    };
    let (exports, tap, telemetry) = start(Sink::Http(collector), 1_000);
    let lines: Vec<_> = (0..600).map(|n| line(n, "success")).collect();
    lines.iter().for_each(|line| tap.durable(line));
    let mut tokens = Vec::new();
    let mut taken = Vec::new();
    while taken.len() < lines.len() {
        let (headers, body) = within("a request", requests.recv()).await.unwrap();
        assert_eq!(headers[header::CONTENT_TYPE], "application/x-ndjson");
        tokens.push(headers[header::AUTHORIZATION].to_str().unwrap().to_owned());
        if tokens.len() == 1 {
            assert!(!exports.health().is_empty());
            // It is put right while the collector refuses the old one.
            std::fs::write(&token_file, "second").unwrap();
        }
        if tokens.len() > 2 {
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(text.ends_with('\n'));
            taken.extend(text.lines().map(str::to_owned));
        }
    }
    assert_eq!(taken, lines);
    assert_eq!(tokens[0], "Bearer first");
    assert_eq!(tokens.last().unwrap(), "Bearer second");
    drop(tap);
    within("the sinks to end", exports.finish()).await;
    assert_eq!(count(&exports, "http", "sent"), 600);
    assert_eq!(
        (
            count(&exports, "http", "waiting"),
            count(&exports, "http", "dropped")
        ),
        (0, 0)
    );
    let metrics = telemetry.render(Duration::ZERO).unwrap();
    let counted = "fastmcp_audit_exported_records_total{sink=\"http\",outcome=\"sent\"} 600";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn an_otlp_collector_that_is_misconfigured_for_a_while_loses_nothing() {
    let collector = |url| Collector {
        url,
        token_file: None,
    };
    for status in [400, 401, 403, 404, 408, 413, 429, 500, 503] {
        let (url, mut requests) = receiver(&[(status, ""), (200, "{}")]).await;
        let (exports, tap, _) = start(Sink::Otlp(collector(url)), 10);
        tap.durable(&line(0, "success"));
        for _ in 0..2 {
            within("a request", requests.recv()).await.unwrap();
        }
        until("it to be well", || exports.degraded().is_empty()).await;
        drop(tap);
        within("the sink to end", exports.finish()).await;
        let counted = |what| count(&exports, "otlp", what);
        assert_eq!((counted("sent"), counted("dropped")), (1, 0), "{status}");
    }
}

/// An HTTP server that answers each request as its body deserves, and tells which records it took, by their numbers.
async fn judge(judged: impl Fn(&str) -> u16 + Send + Sync + 'static) -> (Url, mpsc::Receiver<u64>) {
    let (took, taken) = mpsc::channel(4_096);
    let judged = Arc::new(judged);
    let answer = async move |body: String| {
        let status = judged(&body);
        if status == 200 {
            for seq in numbers(&body) {
                took.send(seq).await.unwrap();
            }
        }
        StatusCode::from_u16(status).unwrap()
    };
    let router = Router::new().route("/in", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
    (url.parse().unwrap(), taken)
}

/// The numbers of the records in a body of either form.
fn numbers(body: &str) -> Vec<u64> {
    let of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64();
    if let Some(lines) = body.strip_suffix('\n') {
        return lines.lines().filter_map(of).collect();
    }
    let body: Value = serde_json::from_str(body).unwrap();
    let records = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    let records = records.as_array().unwrap().iter();
    records
        .filter_map(|record| of(record["body"]["stringValue"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_record_that_a_collector_refuses_is_passed_by_and_holds_back_no_other() {
    let sinks: [fn(Collector) -> Sink; 2] = [Sink::Otlp, Sink::Http];
    for (sink, status) in sinks.into_iter().zip([500, 422]) {
        let (url, mut taken) = judge(move |body| match numbers(body).contains(&301) {
            true => status,
            false => 200,
        })
        .await;
        let collector = collector(url);
        let (sink, name) = (sink(collector.clone()), sink(collector).name());
        let (exports, tap, telemetry) = start(sink, 1_000);
        (0..600).for_each(|seq| tap.durable(&line(seq, "success")));
        let mut arrived = Vec::new();
        while arrived.len() < 599 {
            arrived.push(within("a record", taken.recv()).await.unwrap());
        }
        let wanted: Vec<_> = (0..600).filter(|seq| *seq != 301).collect();
        assert_eq!(arrived, wanted, "{name}");
        // It is refused for the third time among others that are taken.
        assert_eq!(count(&exports, name, "dropped"), 0, "{name}");
        tap.durable(&line(600, "success"));
        assert_eq!(within("a record", taken.recv()).await, Some(600), "{name}");
        until("it to be counted", || count(&exports, name, "dropped") == 1).await;
        drop(tap);
        within("the sink to end", exports.finish()).await;
        let counted = ["sent", "dropped", "waiting"].map(|what| count(&exports, name, what));
        assert_eq!(counted, [600, 1, 0], "{name}");
        let metrics = telemetry.render(Duration::ZERO).unwrap();
        let counted = format!(
            "fastmcp_audit_exported_records_total{{sink=\"{name}\",outcome=\"dropped\"}} 1\n"
        );
        assert!(metrics.contains(&counted), "{metrics}");
    }
}

#[tokio::test]
async fn what_is_refused_each_time_keeps_the_collector_from_nothing_else() {
    let (url, mut taken) = judge(|body| match numbers(body).iter().any(|seq| seq % 2 == 0) {
        true => 400,
        false => 200,
    })
    .await;
    let collector = collector(url);
    let (exports, tap, _) = start(Sink::Http(collector), 1_000);
    (0..600).for_each(|seq| tap.durable(&line(seq, "success")));
    let mut arrived = Vec::new();
    while arrived.len() < 300 {
        arrived.push(within("a record", taken.recv()).await.unwrap());
    }
    let wanted: Vec<_> = (0..600).filter(|seq| seq % 2 == 1).collect();
    assert_eq!(arrived, wanted);
    drop(tap);
    within("the sink to end", exports.finish()).await;
}

#[tokio::test]
async fn a_record_is_passed_by_only_where_the_collector_takes_another() {
    let (url, mut taken) = judge(|body| match numbers(body).contains(&0) {
        true => 400,
        false => 200,
    })
    .await;
    let collector = collector(url);
    let (exports, tap, _) = start(Sink::Otlp(collector), 10);
    tap.durable(&line(0, "success"));
    until("it to be told", || !exports.degraded().is_empty()).await;
    // It may be the collector that is wrong.
    let counted = |what| count(&exports, "otlp", what);
    assert_eq!((counted("waiting"), counted("dropped")), (1, 0));
    for seq in 1..=3 {
        assert_eq!(counted("dropped"), 0);
        tap.durable(&line(seq, "success"));
        assert_eq!(within("a record", taken.recv()).await, Some(seq));
    }
    until("it to be passed by", || counted("dropped") == 1).await;
    assert!(exports.degraded()[0].1.contains("400"));
    tap.durable(&line(4, "success"));
    assert_eq!(within("a record", taken.recv()).await, Some(4));
    until("it to be well", || exports.degraded().is_empty()).await;
    drop(tap);
    within("the sink to end", exports.finish()).await;
}

#[tokio::test]
async fn a_collector_that_fails_in_the_middle_of_a_batch_loses_nothing() {
    let answers = [500, 200, 500, 500, 500, 200].map(|status| (status, ""));
    let (url, mut requests) = receiver(&answers).await;
    let collector = collector(url);
    let (exports, tap, _) = start(Sink::Http(collector), 10);
    (0..2).for_each(|seq| tap.durable(&line(seq, "success")));
    for seqs in [&[0, 1][..], &[0], &[1], &[1], &[1], &[1]] {
        let (_, body) = within("a request", requests.recv()).await.unwrap();
        assert_eq!(numbers(std::str::from_utf8(&body).unwrap()), seqs);
    }
    drop(tap);
    within("the sink to end", exports.finish()).await;
    let counted = ["sent", "dropped"].map(|what| count(&exports, "http", what));
    assert_eq!(counted, [2, 0]);
}

#[tokio::test]
async fn a_batch_that_is_too_large_arrives_in_parts() {
    let (url, mut taken) = judge(|body| match numbers(body).len() {
        0..=10 => 200,
        _ => 413,
    })
    .await;
    let collector = collector(url);
    let (exports, tap, _) = start(Sink::Http(collector), 1_000);
    (0..300).for_each(|seq| tap.durable(&line(seq, "success")));
    for seq in 0..300 {
        assert_eq!(within("a record", taken.recv()).await, Some(seq));
    }
    drop(tap);
    within("the sink to end", exports.finish()).await;
    assert_eq!(count(&exports, "http", "dropped"), 0);
}

#[tokio::test(start_paused = true)]
async fn not_even_a_full_batch_of_what_is_refused_holds_others_back_for_ever() {
    let nobody = Collector {
        url: "http://127.0.0.1:9/".parse().unwrap(),
        token_file: None,
    };
    // These are refused before anybody is asked.
    let (exports, tap, _) = start(Sink::Otlp(nobody), 1_000);
    (0..2 * MAX_BATCH).for_each(|_| tap.durable("no record"));
    let began = Instant::now();
    let dropped = || count(&exports, "otlp", "dropped");
    while dropped() == 0 {
        tokio::time::sleep(LONGEST_WAIT).await;
    }
    assert!(began.elapsed() >= LONGEST_DOUBT);
    // Nothing waits behind the others.
    tokio::time::sleep(3 * LONGEST_DOUBT).await;
    assert_eq!(dropped(), MAX_BATCH as u64);
    assert_eq!(count(&exports, "otlp", "waiting"), MAX_BATCH as u64);
}

#[tokio::test]
async fn a_collector_that_refuses_everything_is_asked_little() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let sizes = Arc::clone(&asked);
    let (url, _taken) = judge(move |body| {
        sizes.lock().unwrap().push(numbers(body).len());
        500
    })
    .await;
    let collector = collector(url);
    let (_exports, tap, _) = start(Sink::Http(collector), 1_000);
    (0..300).for_each(|seq| tap.durable(&line(seq, "success")));
    // Each round begins with all that is in hand.
    let begun = || {
        let asked = asked.lock().unwrap();
        let all = asked.iter().enumerate().filter(|(_, n)| **n == MAX_BATCH);
        all.map(|(at, _)| at).collect::<Vec<_>>()
    };
    until("a second round", || begun().len() > 1).await;
    assert!((2..32).contains(&begun()[1]), "{:?}", begun());
}

#[tokio::test]
async fn what_a_collector_takes_arrives_whatever_it_refuses_before() {
    let (url, mut taken) = judge(|body| match numbers(body).iter().any(|seq| *seq < 20) {
        true => 422,
        false => 200,
    })
    .await;
    let collector = collector(url);
    let (_exports, tap, _) = start(Sink::Http(collector), 1_000);
    (0..300).for_each(|seq| tap.durable(&line(seq, "success")));
    for seq in 20..300 {
        assert_eq!(within("a record", taken.recv()).await, Some(seq));
    }
}

#[tokio::test]
async fn an_hour_in_which_a_collector_is_away_is_none_in_which_it_refuses() {
    let status = Arc::new(AtomicU16::new(500));
    let answer = Arc::clone(&status);
    let (url, _taken) = judge(move |_| answer.load(Ordering::SeqCst)).await;
    let collector = collector(url);
    let (exports, tap, _) = start(Sink::Http(collector), 1_000);
    (0..300).for_each(|seq| tap.durable(&line(seq, "success")));
    let told = |status: &str| {
        let degraded = exports.degraded();
        degraded.iter().any(|(_, why)| why.contains(status))
    };
    until("all to be refused", || told("500")).await;
    status.store(503, Ordering::SeqCst);
    until("it to be away", || told("503")).await;
    tokio::time::pause();
    tokio::time::advance(LONGEST_DOUBT).await;
    tokio::time::resume();
    status.store(500, Ordering::SeqCst);
    until("all to be refused again", || told("500")).await;
    status.store(200, Ordering::SeqCst);
    until("nothing to wait", || {
        count(&exports, "http", "waiting") == 0
    })
    .await;
    let counted = ["sent", "dropped"].map(|what| count(&exports, "http", what));
    assert_eq!(counted, [300, 0]);
    drop(tap);
    within("the sink to end", exports.finish()).await;
}

#[tokio::test]
async fn a_sink_that_takes_nothing_holds_nobody_up() {
    // It accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let collector = Collector {
        url: url.parse().unwrap(),
        token_file: None,
    };
    let (exports, tap, telemetry) = start(Sink::Http(collector), 4);
    let told = Arc::new(AtomicBool::new(false));
    let (teller, done) = (Arc::clone(&tap), Arc::clone(&told));
    let thread = tokio::task::spawn_blocking(move || {
        (0..1_000).for_each(|n| teller.durable(&line(n, "success")));
        done.store(true, Ordering::SeqCst);
    });
    within("the tap", thread).await.unwrap();
    assert!(told.load(Ordering::SeqCst));
    let dropped = count(&exports, "http", "dropped");
    assert!((490..=996).contains(&dropped), "{dropped}");
    assert_eq!(exports.degraded()[0].1, "its queue is full");
    drop(tap);
    within("the sinks to end", exports.finish()).await;
    assert_eq!(
        (
            count(&exports, "http", "sent"),
            count(&exports, "http", "dropped")
        ),
        (0, 1_000)
    );
    assert_eq!(count(&exports, "http", "waiting"), 0);
    let metrics = telemetry.render(Duration::ZERO).unwrap();
    let counted = "fastmcp_audit_exported_records_total{sink=\"http\",outcome=\"dropped\"} 1000";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn otlp_gets_records_in_its_json_form() {
    let answers = [
        (
            200,
            r#"{"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "no"}}"#,
        ),
        (200, "{}"),
    ];
    let (url, mut requests) = receiver(&answers).await;
    let collector = collector(url);
    let (exports, tap, _) = start(Sink::Otlp(collector), 100);
    tap.durable(&line(7, "denied"));
    let (headers, body) = within("a request", requests.recv()).await.unwrap();
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    let body: Value = serde_json::from_slice(&body).unwrap();
    let logs = &body["resourceLogs"][0];
    assert_eq!(
        logs["resource"]["attributes"][1],
        json!({"key": "service.instance.id", "value": {"stringValue": "gw-1"}})
    );
    let record = &logs["scopeLogs"][0]["logRecords"][0];
    // 2026-11-20T12:00:00.250Z, by date(1).
    assert_eq!(record["timeUnixNano"], "1795176000250000000");
    assert_eq!(
        (&record["severityNumber"], &record["eventName"]),
        (&json!(13), &json!("tools.invoke"))
    );
    assert_eq!(record["body"]["stringValue"], line(7, "denied"));
    let attributes = record["attributes"].as_array().unwrap();
    for (key, value) in [
        ("fastmcp.audit.seq", json!({"intValue": "7"})),
        ("user.id", json!({"stringValue": "agent-1"})),
        ("fastmcp.tenant", json!({"stringValue": "acme"})),
    ] {
        assert!(
            attributes.contains(&json!({"key": key, "value": value})),
            "{key}: {attributes:?}"
        );
    }
    until("the rejected one to be counted", || {
        count(&exports, "otlp", "dropped") == 1
    })
    .await;
    tap.durable(&line(9, "success"));
    let (_, body) = within("a request", requests.recv()).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("c-9"));
    until("it to be counted", || count(&exports, "otlp", "sent") == 1).await;
    assert!(exports.degraded().is_empty());
    drop(tap);
    exports.finish().await;
}

#[test]
fn batches_have_a_bound_in_bytes_and_at_least_one_record() {
    let long: Arc<str> = "x".repeat(400 << 10).into();
    let lines = vec![long; 5];
    assert_eq!(fitting(&lines), 2);
    let huge: Arc<str> = "x".repeat(2 << 20).into();
    assert_eq!(fitting(&[huge]), 1);
}
