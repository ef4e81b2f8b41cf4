//! Attacks 26 and 29 where something is away: the gateway itself, killed in the middle of calls, and the issuer whose
//! keys say who is believed. The numbers are those of the table in `docs/attacks.md`.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use fastmcp_auth::{Algorithm, testing::SigningKey};
use futures_util::future::{join, join_all};
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::support::{Gateway, Home, until};

/// The names of all files that tenants have; what was being written has none yet.
fn files(home: &Home) -> BTreeSet<String> {
    let tenants = fs::read_dir(home.data().join("files")).unwrap().flatten();
    tenants
        .filter_map(|tenant| fs::read_dir(tenant.path()).ok())
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with(".fastmcp-tmp-"))
        .collect()
}

/// The correlation ids of all records of a phase.
fn of_phase(records: &[Value], phase: &str) -> BTreeSet<String> {
    records
        .iter()
        .filter(|record| record["phase"] == phase)
        .filter_map(|record| record["corr_id"].as_str().map(str::to_owned))
        .collect()
}

/// Writes files, one after the other, until the gateway is gone; gives those that it was told are written.
async fn write_on(gateway: &Gateway, token: &str, next: &AtomicUsize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let name = format!("w-{}", next.fetch_add(1, Ordering::Relaxed));
        let arguments = json!({"path": name, "content": "x"});
        let ask = gateway.invoke(token, "filesystem:writeFile", &arguments);
        match ask.header("x-correlation-id", &name).attempt().await {
            Ok(reply) => {
                assert_eq!(reply.status, 200, "{}", reply.text());
                acknowledged.push(name);
            }
            Err(_) => return acknowledged,
        }
    }
}

#[tokio::test]
async fn attack_26_a_kill_in_the_middle_of_calls_leaves_no_effect_without_its_intent() {
    let home = Home::new();
    let vars = [("REQUEST_TIMEOUT", "10")];
    let gateway = home.start_with(&vars).await;
    let token = home
        .mint("writer", &["--role", "fs-writer", "--role", "data-admin"])
        .await;
    // One call is certainly under way when the kill comes: its statement would run for minutes.
    let slow = json!({
        "query": "INSERT INTO orders (customer_id, status, ordered_at) SELECT 1, 'pending', 'slow' FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500000000) SELECT count(*) FROM c)",
    });
    let ask = |gateway: &Gateway| {
        gateway
            .invoke(&token, "database:executeQuery", &slow)
            .header("x-correlation-id", "slow")
            .header("idempotency-key", "slow")
    };
    let next = AtomicUsize::new(0);
    let load = join_all((0..6).map(|_| write_on(&gateway, &token, &next)));
    let kill = async {
        until("the slow call and some writes", async || {
            let begun = of_phase(&home.audit(), "intent").contains("slow");
            (begun && next.load(Ordering::Relaxed) > 12).then_some(())
        })
        .await;
        gateway.signal(Signal::KILL);
    };
    let (answer, (acknowledged, ())) = join(ask(&gateway).attempt(), join(load, kill)).await;
    assert!(answer.is_err(), "{answer:?}");
    gateway.kill().await;
    let acknowledged: BTreeSet<String> = acknowledged.into_iter().flatten().collect();

    // As the kill left it, before anything could be mended.
    let (records, files) = (home.audit(), files(&home));
    let (intents, outcomes) = (of_phase(&records, "intent"), of_phase(&records, "outcome"));
    assert!(acknowledged.len() > 5, "{acknowledged:?}");
    assert!(
        acknowledged.is_subset(&files) && acknowledged.is_subset(&outcomes),
        "what was acknowledged happened, and is recorded"
    );
    let unsaid: Vec<_> = files.difference(&intents).collect();
    assert!(unsaid.is_empty(), "effects without an intent: {unsaid:?}");
    assert!(intents.contains("slow") && !outcomes.contains("slow"));

    // It comes back by itself, says what happened to it, and does not do again what may have been done.
    let gateway = home.start_with(&vars).await;
    let recovered = |record: &Value| record["action"] == "audit.recovered";
    assert!(home.audit().iter().any(recovered));
    until("the doubt to be told", async || {
        let error = ask(&gateway).send().await.error(409, "CONFLICT");
        (error["details"]["reason"] == "unknown_outcome").then_some(())
    })
    .await;
    let mut intents = home.audit().into_iter().filter(|r| r["phase"] == "intent");
    let slow = intents.rfind(|r| r["corr_id"] == "slow").unwrap();
    let doubted = until("the doubt to be recorded", async || {
        let records = home.audit().into_iter();
        let doubted: Vec<_> = records
            .filter(|r| r["action"] == "operations.recovered")
            .filter(|r| r["operation_id"] == slow["operation_id"])
            .collect();
        (!doubted.is_empty()).then_some(doubted)
    })
    .await;
    assert_eq!(doubted.len(), 1, "{doubted:?}");
    for name in ["operation_id", "toolId", "sub", "tenant"] {
        assert_eq!(doubted[0][name], slow[name], "{doubted:?}");
    }
    assert_eq!(
        (&doubted[0]["phase"], &doubted[0]["status"]),
        (&json!("outcome"), &json!("unknown"))
    );
    let metrics = gateway.get("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("fastmcp_operations_unknown_total 1")
    );
    let ready = gateway.get("/ready").await.ok();
    let told = &ready["dependencies"]["state"];
    assert_eq!(told.get("unsettled"), None, "it is for who has a token");
    let unsettled = metrics.text().lines().find_map(|line| {
        let operations = line.strip_prefix("fastmcp_operations_unsettled ")?;
        operations.parse::<u64>().ok()
    });
    assert!(unsettled >= Some(1), "{}", metrics.text());
    until(
        "every write that had begun to have an outcome",
        async || {
            let records = home.audit();
            let mut begun = of_phase(&records, "intent");
            begun.remove("slow");
            begun
                .is_subset(&of_phase(&records, "outcome"))
                .then_some(())
        },
    )
    .await;
    gateway.stop().await;
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");
    let again = of_phase(&home.audit(), "outcome");
    assert!(
        outcomes.is_subset(&again),
        "nothing that was durable is gone"
    );
}

#[tokio::test]
async fn attack_26_without_a_place_for_the_log_it_does_not_start() {
    let home = Home::new();
    home.start().await.stop().await;
    let folder = home.data().join("audit");
    fs::rename(&folder, home.data().join("elsewhere")).unwrap();
    fs::write(&folder, "no folder").unwrap();
    let output = home.run(&["serve", "--bind", "127.0.0.1:0"], &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("audit"), "{said}");
}

/// How an issuer answers who asks for its keys.
#[derive(Clone)]
enum Answer {
    Text(u16, String),
    /// It takes the request and says nothing.
    Silence,
}

/// An issuer whose keys stand at an address of its own.
struct Issuer {
    url: String,
    answer: Mutex<Answer>,
    asked: AtomicUsize,
}

impl Issuer {
    async fn start(answer: Answer) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Arc::new(Self {
            url: format!("http://{}/keys", listener.local_addr().unwrap()),
            answer: Mutex::new(answer),
            asked: AtomicUsize::new(0),
        });
        Arc::clone(&issuer).serve(listener);
        issuer
    }

    /// Answers until the runtime of its test ends.
    fn serve(self: Arc<Self>, listener: TcpListener) {
        let tasks = TaskTracker::new();
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(Arc::clone(&self).connected(stream));
            }
        });
    }

    async fn connected(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |_: Request<Incoming>| {
            let issuer = Arc::clone(&self);
            async move { Ok::<_, Infallible>(issuer.answered().await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let _ = connection.await;
    }

    async fn answered(&self) -> Response<Full<Bytes>> {
        let answer = self.answer.lock().unwrap().clone();
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (status, text) = match answer {
            Answer::Text(status, text) => (status, text),
            Answer::Silence => std::future::pending().await,
        };
        Response::builder()
            .status(status)
            .body(Full::new(Bytes::from(text)))
            .unwrap()
    }

    fn says(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn publishes(&self, keys: &[&SigningKey]) {
        self.says(published(keys));
    }

    /// Waits until it was asked again, from now on.
    async fn asked_again(&self) {
        let before = self.asked.load(Ordering::SeqCst);
        until("another fetch of the keys", async || {
            (self.asked.load(Ordering::SeqCst) > before).then_some(())
        })
        .await;
    }
}

fn published(keys: &[&SigningKey]) -> Answer {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    Answer::Text(200, json!({"keys": keys}).to_string())
}

/// What an issuer should not say.
fn wrong() -> Vec<(&'static str, Answer)> {
    let text = |text: &str| Answer::Text(200, text.to_owned());
    vec![
        ("away", Answer::Text(503, String::new())),
        ("a page", text("<html><body>Sign in</body></html>")),
        ("no keys", text(r#"{"keys": []}"#)),
        ("half a set", text(r#"{"keys": [{"kty": "EC", "crv""#)),
        ("too much", text(&" ".repeat(8 << 20))),
        ("silence", Answer::Silence),
    ]
}

/// A token that nobody has seen, so that no cache answers for its key.
fn token(key: &SigningKey, kid: &str, number: &AtomicUsize) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let number = number.fetch_add(1, Ordering::Relaxed);
    let claims = json!({
        "iss": "https://idp.example", "aud": "fastmcp", "sub": format!("ada-{number}"), "tenant": "acme",
        "iat": now, "exp": now + 600, "roles": ["data-admin"],
    });
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid});
    key.sign_as(Algorithm::Es256, &header, &claims)
}

const WRITE: &str =
    "INSERT INTO orders (customer_id, status, ordered_at) VALUES (1, 'pending', 'outage')";

#[tokio::test]
async fn attack_29_an_issuer_that_is_away_silent_or_wrong_lets_nobody_in_and_nobody_else() {
    let home = Home::new();
    let issuer = Issuer::start(Answer::Silence).await;
    let issuers = format!(
        "issuers:\n  - issuer: https://idp.example\n    tenants: '*'\n    algorithms: [ES256]\n    jwks_url: {}\n    \
         keys: {{refresh_sec: 1, cooldown_sec: 1, stale_sec: 12}}\n",
        issuer.url
    );
    fs::write(home.folder().join("issuers.yml"), issuers).unwrap();
    let gateway = home
        .start_with(&[("JWT_ISSUERS_FILE", "issuers.yml")])
        .await;
    let (first, second, strange) = (
        SigningKey::ec("first"),
        SigningKey::ec("second"),
        SigningKey::ec("strange"),
    );
    let number = AtomicUsize::new(0);
    let write = async |key: &SigningKey, kid: &str| {
        let token = token(key, kid, &number);
        gateway.query(&token, WRITE).await
    };
    let refused = |reply: &crate::support::Reply, what: &str| {
        assert!([401, 503].contains(&reply.status), "{what}: {reply:?}");
    };

    // Without any keys nobody is believed, however that came about.
    for (what, answer) in wrong() {
        issuer.says(answer);
        issuer.asked_again().await;
        refused(&write(&first, "first").await, what);
    }
    let acted = |record: &Value| record["phase"] == "intent";
    assert!(!home.audit().iter().any(acted), "nothing was done");

    // It comes back by itself.
    issuer.publishes(&[&first]);
    until("the keys", async || {
        (write(&first, "first").await.status == 200).then_some(())
    })
    .await;

    // What it says wrongly later replaces no good keys, and opens no door to others.
    for (what, answer) in wrong() {
        issuer.publishes(&[&first]);
        issuer.asked_again().await;
        issuer.asked_again().await;
        issuer.says(answer);
        issuer.asked_again().await;
        let reply = write(&first, "first").await;
        assert_eq!(reply.status, 200, "{what}: {reply:?}");
        refused(&write(&strange, "first").await, what);
        refused(&write(&strange, "strange").await, what);
    }

    // New keys are taken, withdrawn ones are not kept.
    issuer.publishes(&[&second]);
    until("the new key", async || {
        (write(&second, "second").await.status == 200).then_some(())
    })
    .await;
    refused(&write(&first, "first").await, "a withdrawn key");

    // For a while it may be away; not for ever.
    issuer.says(Answer::Text(503, String::new()));
    issuer.asked_again().await;
    let reply = write(&second, "second").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    until("the keys to be too old", async || {
        let reply = write(&second, "second").await;
        (reply.status != 200).then(|| refused(&reply, "old keys"))
    })
    .await;
    let metrics = gateway.get("/metrics").await;
    assert!(
        metrics.text().contains("fastmcp_door_refusals_total"),
        "{}",
        metrics.text()
    );
    let turned_away = |record: &Value| record["action"] == "door.refused";
    until("its record", async || {
        home.audit().iter().any(turned_away).then_some(())
    })
    .await;
    gateway.stop().await;
}
