//! Before a receiver on a real socket.

use std::collections::BTreeSet;

use axum::{Router, extract::State as Given, routing::post};
use fastmcp_audit::{Filter, Log, Options, Record, Signer, generate_key};
use fastmcp_guard::clock::SystemClock;
use http::HeaderMap;
use tokio::net::TcpListener;

use super::*;

const PATIENCE: Duration = Duration::from_secs(40);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what}: not in time"))
}

fn secret() -> SecretString {
    SecretString::from("It's a Secret to Everybody")
}

/// What a receiver hears of, and how it answers: `bad-*` with 503, `slow-*` never, all others well.
#[derive(Clone)]
struct Hook {
    heard: mpsc::Sender<String>,
}

async fn answer(Given(hook): Given<Hook>, headers: HeaderMap) -> StatusCode {
    let id = headers[DELIVERY].to_str().unwrap().to_owned();
    hook.heard.send(id.clone()).await.unwrap();
    if id.starts_with("slow-") {
        std::future::pending::<()>().await;
    }
    if id.starts_with("bad-") {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::NO_CONTENT
    }
}

/// A webhook at work with its receiver, its log and its numbers.
struct Bench {
    folder: tempfile::TempDir,
    audit: Audit,
    telemetry: Telemetry,
    announcer: Announcer,
    heard: mpsc::Receiver<String>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Bench {
    async fn start() -> Self {
        let (sender, heard) = mpsc::channel(10_000);
        let router = Router::new()
            .route("/hook", post(answer))
            .with_state(Hook { heard: sender });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
        let log = Log::open(folder.path(), Options::new("gw-1", signer)).unwrap();
        let audit = Audit::new(log, b"salt", Arc::new(SystemClock));
        let (webhook, announcer) =
            Webhook::new(url.parse().unwrap(), &secret(), Arc::new(SystemClock)).unwrap();
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let telemetry = Telemetry::new();
        tracker.spawn(webhook.run(
            audit.clone(),
            telemetry.clone(),
            tracker.clone(),
            shutdown.clone(),
        ));
        Self {
            folder,
            audit,
            telemetry,
            announcer,
            heard,
            tracker,
            shutdown,
        }
    }

    fn announce(&self, id: impl Into<String>) {
        self.announcer.announce(Notice {
            operation_id: id.into(),
            body: json!({}),
        });
    }

    /// Waits until it was asked about all of these; whatever else was heard of is passed over.
    async fn hears(&mut self, mut wanted: BTreeSet<String>) {
        within("the receiver", async {
            while !wanted.is_empty() {
                wanted.remove(&self.heard.recv().await.unwrap());
            }
        })
        .await;
    }

    /// Ends it, and gives what was recorded.
    async fn end(self) -> Vec<Record> {
        self.shutdown.cancel();
        self.tracker.close();
        within("the end", self.tracker.wait()).await;
        self.audit.close_log().unwrap();
        let records = fastmcp_audit::read(self.folder.path(), Filter::default()).unwrap();
        records
            .map(Result::unwrap)
            .filter(|record| record.action == "approvals.announced")
            .collect()
    }
}

fn ids(kind: &str, count: usize) -> BTreeSet<String> {
    (0..count).map(|n| format!("{kind}-{n}")).collect()
}

fn detail<'a>(record: &'a Record, name: &str) -> &'a Value {
    let details = record.details.as_ref().unwrap();
    details.get(name).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn what_fails_delays_nothing_else_and_the_end_is_recorded() {
    let mut bench = Bench::start().await;
    // More than there are slots of either kind, and each of them fails for over a minute.
    let bad = ids("bad", 3 * FIRST_AT_ONCE);
    bad.iter().for_each(|id| bench.announce(id));
    bench.hears(bad.clone()).await;
    // Repeated ones that hang take no slot of a first attempt.
    let good = ids("good", 50);
    good.iter().for_each(|id| bench.announce(id));
    bench.hears(good.clone()).await;
    let slow = ids("slow", 2);
    slow.iter().for_each(|id| bench.announce(id));
    bench.hears(slow.clone()).await;

    let records = bench.end().await;
    let told = |status, wanted: &BTreeSet<String>| {
        let named = records
            .iter()
            .filter(|record| record.status == status)
            .map(|record| detail(record, "operation_id").as_str().unwrap().to_owned());
        assert_eq!(&named.collect::<BTreeSet<_>>(), wanted);
    };
    told(Status::Success, &good);
    told(Status::Failed, &bad.union(&slow).cloned().collect());
    let given_up = records.iter().filter(|r| r.status == Status::Failed);
    assert!(given_up.into_iter().all(|r| detail(r, "error") == ENDED));
}

#[tokio::test]
async fn what_there_is_no_place_for_is_recorded_and_counted() {
    let mut bench = Bench::start().await;
    for n in 0..PLACES + 150 {
        bench.announce(format!("slow-{n}"));
    }
    // As long as its receiver takes none of them, all places are taken.
    bench.hears(ids("slow", FIRST_AT_ONCE)).await;
    bench.announce("late");
    let telemetry = bench.telemetry.clone();
    let records = bench.end().await;
    let left: Vec<_> = records
        .iter()
        .filter(|record| !detail(record, "not_announced").is_null())
        .collect();
    let count = |record: &&Record| detail(record, "not_announced").as_u64().unwrap();
    assert_eq!(left.iter().map(count).sum::<u64>(), 151);
    let first = left.first().unwrap();
    assert_eq!(
        (first.status, &detail(first, "operations")[0]),
        (Status::Failed, &json!(format!("slow-{PLACES}")))
    );
    assert_eq!(detail(first, "operations").as_array().unwrap().len(), NAMED);
    assert_eq!(
        records.len() - left.len(),
        PLACES,
        "each has its own record"
    );
    let text = telemetry.render(Duration::ZERO).unwrap();
    for (outcome, count) in [("dropped", 151), ("failed", PLACES)] {
        let line =
            format!("fastmcp_approval_announcements_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn the_signature_covers_time_and_body() {
    let url = Url::parse("https://hooks.example/x?secret=1").unwrap();
    let (webhook, _) = Webhook::new(url, &secret(), Arc::new(SystemClock)).unwrap();
    // By Python's hmac: hmac.new(b"It's a Secret to Everybody", b"1800000000.{}", "sha256").hexdigest()
    assert_eq!(webhook.signature(1_800_000_000, "{}"), EXPECTED);
    assert_ne!(webhook.signature(1_800_000_001, "{}"), EXPECTED);
    assert_ne!(webhook.signature(1_800_000_000, "{ }"), EXPECTED);
    assert!(!format!("{webhook:?}").contains("secret"));
}

const EXPECTED: &str = "v1=6422e3bb4da0bc7d1e129379bef470793e3509fb2a321b4f7784f81e39f54c62";
