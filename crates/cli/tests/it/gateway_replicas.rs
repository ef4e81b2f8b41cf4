//! Three replicas over one PostgreSQL, behind a plain round-robin.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fastmcp_services::{Postgres, Redis};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use crate::{
    gateway_labels,
    support::{Ask, Gateway, Home, accept, can_be_asked, modern, until, within},
};

const QUERY: &str = "database:executeQuery";
/// How long a call is repeated: longer than every lease.
const REPEATED: Duration = Duration::from_secs(90);

/// Replicas that share a PostgreSQL server, their keys and the database that they work on.
struct Replicas {
    postgres: Postgres,
    url: String,
    homes: Vec<Home>,
    gateways: Vec<Gateway>,
}

impl Replicas {
    async fn start(count: usize, vars: &[(&str, &str)]) -> Self {
        let postgres = tokio::task::spawn_blocking(Postgres::start)
            .await
            .unwrap()
            .unwrap();
        // Nobody asks for the password; it is there to be looked for afterwards.
        let url = postgres.url().replace("fastmcp@", "fastmcp:hunter2@");
        let mut replicas = Self {
            postgres,
            url,
            homes: Vec::new(),
            gateways: Vec::new(),
        };
        for _ in 0..count {
            replicas.add(vars).await;
        }
        replicas
    }

    /// One more replica: a data folder of its own with the keys of the first.
    async fn add(&mut self, vars: &[(&str, &str)]) {
        let home = Home::new();
        let shared = self.homes.first().map(Home::data);
        let sample = shared.as_ref().map(|data| data.join("sample.db"));
        let mut vars = vars.to_vec();
        vars.push(("DATABASE_URL", &self.url));
        if let (Some(data), Some(sample)) = (&shared, &sample) {
            copy_keys(data, &home.data());
            vars.push(("DATABASE_PATH", sample.to_str().unwrap()));
        }
        let gateway = home.start_with(&vars).await;
        self.homes.push(home);
        self.gateways.push(gateway);
    }

    fn vars(&self) -> [(&str, &str); 1] {
        [("DATABASE_URL", &self.url)]
    }

    /// What a replica's `fastmcp` says beside it.
    async fn run(&self, replica: usize, arguments: &[&str]) -> String {
        let output = self.homes[replica].run(arguments, &self.vars()).await;
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{told}");
        told
    }

    /// Stops the database, and waits until a replica knows.
    async fn outage(&mut self, replica: usize) {
        tokio::task::block_in_place(|| self.postgres.stop());
        let gateway = &self.gateways[replica];
        until("the outage to be noticed", async || {
            (gateway.get("/ready").await.status == 503).then_some(())
        })
        .await;
    }

    fn start_postgres_again(&mut self) {
        tokio::task::block_in_place(|| self.postgres.start_again()).unwrap();
    }
}

/// What replicas share beside the database: the folder of keys, for its owner alone.
fn copy_keys(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;

    let keys = to.join("keys");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&keys)
        .unwrap();
    for entry in fs::read_dir(from.join("keys")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), keys.join(entry.file_name())).unwrap();
    }
}

/// A plain round-robin: each connection goes to the next replica that takes it. It knows nothing of HTTP.
async fn round_robin(replicas: &[Gateway]) -> SocketAddr {
    let addresses: Vec<_> = replicas.iter().map(Gateway::address).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    let tracker = TaskTracker::new();
    let connections = tracker.clone();
    tracker.spawn(async move {
        let mut next = addresses.iter().copied().cycle();
        while let Ok((mut client, _)) = listener.accept().await {
            let turns: Vec<_> = next.by_ref().take(addresses.len() + 1).collect();
            connections.spawn(async move { pass_on(&mut client, turns).await });
        }
    });
    front
}

/// Joins a connection with the first replica that takes one.
async fn pass_on(client: &mut TcpStream, replicas: Vec<SocketAddr>) {
    for address in replicas {
        if let Ok(mut replica) = TcpStream::connect(address).await {
            // Either side may go at any time.
            let _ended = copy_bidirectional(client, &mut replica).await;
            return;
        }
    }
}

fn insert(id: &str) -> Value {
    json!({
        "query": "INSERT INTO orders (customer_id, status, ordered_at) VALUES (1, 'pending', ?)",
        "params": [id],
    })
}

fn write(front: SocketAddr, token: &str, id: &str) -> Ask {
    Ask::to(front, "POST", &format!("/tools/{QUERY}/invoke"))
        .bearer(token)
        .json(&insert(id))
        .header("idempotency-key", id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_begun_on_one_replica_goes_on_on_another() {
    let replicas = Replicas::start(3, &[]).await;
    let [first, second, third] = &replicas.gateways[..] else {
        panic!("three replicas")
    };
    let home = &replicas.homes[0];
    let token = home.role("writer", "data-admin").await;

    // Asked on one, confirmed on another, told by the third: done once.
    let delete = json!({"query": "DELETE FROM orders WHERE status = ?", "params": ["cancelled"]});
    let asked = first.invoke(&token, QUERY, &delete).send().await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let mut body = delete.clone();
    body["action_token"] = asked.json()["action_token"].clone();
    let done = second.confirm(&token, QUERY, &body).send().await.ok();
    assert!(done["result"]["rows_affected"].as_i64().unwrap() > 0);
    let again = third.confirm(&token, QUERY, &body).send().await;
    let details = again.error(409, "CONFLICT")["details"].clone();
    assert_eq!(details["status"], "completed", "{details}");
    assert_eq!(details["result"], done["result"], "{details}");

    // The same over MCP: asked on one, answered on another, and the sealed state is good once, on whichever it is shown again.
    let (name, capabilities) = ("database_executeQuery", can_be_asked());
    let delete = json!({"query": "DELETE FROM orders WHERE status = ?", "params": ["pending"]});
    let asked_by_mcp = first.modern_call(&token, name, &delete, &json!({})).await;
    let more = json!({"inputResponses": {"confirm": accept()}, "requestState": asked_by_mcp["requestState"]});
    let answered = second.modern_call(&token, name, &delete, &more).await;
    assert_eq!(answered["resultType"], "complete", "{answered}");
    let affected = &answered["structuredContent"]["rows_affected"];
    assert!(affected.as_i64().unwrap() > 0, "{answered}");
    for replica in [third, first] {
        let again = replica.modern_call(&token, name, &delete, &more).await;
        let replay = &again["_meta"]["dev.fastmcp/idempotentReplay"];
        assert_eq!(replay, true, "{again}");
        assert_eq!(again["structuredContent"], answered["structuredContent"]);
    }
    let mut moved = json!({"name": name, "arguments": insert("moved")});
    for (member, value) in more.as_object().unwrap() {
        moved[member] = value.clone();
    }
    let other = third.modern(&token, &modern("tools/call", moved, &capabilities));
    let other = other.send().await;
    assert_eq!(other.json()["error"]["code"], -32602, "{}", other.text());

    // Through the round-robin, every replica gives the same answer to the same key.
    let front = round_robin(&replicas.gateways).await;
    let call = write(front, &token, "k-1").send().await;
    assert_eq!(call.header("x-idempotent-replay"), None);
    for _ in 0..6 {
        let replay = write(front, &token, "k-1").send().await;
        assert_eq!(
            (replay.ok(), replay.header("x-idempotent-replay")),
            (call.ok(), Some("true"))
        );
    }
    let count = "SELECT count(*) AS n FROM orders WHERE ordered_at = 'k-1'";
    assert_eq!(third.number(&token, count).await, 1);
    let other = Ask::to(front, "POST", &format!("/tools/{QUERY}/invoke"))
        .bearer(&token)
        .json(&insert("k-2"))
        .header("idempotency-key", "k-1");
    let error = other.send().await.error(409, "CONFLICT");
    assert_eq!(error["details"]["reason"], "idempotency_conflict");

    // At once on all of them: one acts.
    let replies =
        futures_util::future::join_all((0..24).map(|_| write(front, &token, "crowd").send())).await;
    let acted = replies
        .iter()
        .filter(|reply| reply.status == 200 && reply.header("x-idempotent-replay").is_none());
    assert_eq!(acted.count(), 1);
    let crowd = "SELECT count(*) AS n FROM orders WHERE ordered_at = 'crowd'";
    assert_eq!(first.number(&token, crowd).await, 1);

    // A tool that is registered on one is soon there on the others.
    let admin = home
        .mint("boss", &["--role", "admin", "--tenant", "acme"])
        .await;
    let ours = home
        .mint("agent", &["--role", "data-analyst", "--tenant", "acme"])
        .await;
    let manifest = json!({
        "toolId": "database:ourTables", "name": "Tables of our shop", "description": "Lists what our shop keeps.",
        "inputs": {"type": "object", "properties": {}, "additionalProperties": false}, "outputs": {"type": "object"},
        "required_scopes": ["database.read"], "provider_id": "database", "read_only": true,
    });
    let registered = first
        .ask("POST", "/manifests/register")
        .bearer(&admin)
        .json(&manifest)
        .send()
        .await;
    assert_eq!(registered.status, 201, "{}", registered.text());
    until("the tool on another replica", async || {
        let tools = third.catalogue(&ours).await.ok()["tools"].to_string();
        tools.contains("database:ourTables").then_some(())
    })
    .await;

    // What an operator sees is the same beside each of them, and the doctor says where it lies.
    let listed = replicas.run(1, &["operations", "list", "--json"]).await;
    assert_eq!(
        listed,
        replicas.run(2, &["operations", "list", "--json"]).await
    );
    assert!(listed.contains(asked.json()["operation_id"].as_str().unwrap()));
    let doctor = replicas.run(2, &["doctor", "--json"]).await;
    assert!(
        doctor.contains("postgres://fastmcp@127.0.0.1") && doctor.contains("PostgreSQL 1"),
        "{doctor}"
    );
    for text in [&doctor, &listed, &first.stderr(), &second.stderr()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_limit_holds_across_replicas() {
    let redis = tokio::task::spawn_blocking(Redis::start)
        .await
        .unwrap()
        .unwrap();
    let url = redis.url();
    // Nothing comes back within the time of the test.
    let vars = [
        ("REDIS_URL", url.as_str()),
        ("RATE_LIMIT_DEFAULT_RPS", "0.0001"),
        ("RATE_BUCKET_BURST", "7"),
    ];
    let replicas = Replicas::start(3, &vars).await;
    let front = round_robin(&replicas.gateways).await;
    let token = replicas.homes[0].role("writer", "data-admin").await;
    let mut statuses = BTreeMap::new();
    for call in 0..15 {
        let reply = write(front, &token, &format!("limited-{call}"))
            .send()
            .await;
        *statuses.entry(reply.status).or_insert(0) += 1;
    }
    // Each replica alone would have let seven through.
    assert_eq!(statuses, BTreeMap::from([(200, 7), (429, 8)]));
}

/// What a caller knows of its call in the end.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Done,
    Unknown(String),
}

/// Repeats a call under its key until its caller knows what became of it.
async fn insist(front: SocketAddr, token: &str, id: &str) -> Known {
    let until = Instant::now() + REPEATED;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        let reply = write(front, token, id).attempt().await;
        assert!(Instant::now() < until, "{id}: {reply:?}");
        // A replica may go before it answers.
        let Ok(reply) = reply else { continue };
        match reply.status {
            200 => return Known::Done,
            409 => {
                let details = reply.json()["error"]["details"].clone();
                if details["reason"] == "unknown_outcome" {
                    return Known::Unknown(details["operation_id"].as_str().unwrap().to_owned());
                }
                assert_eq!(details["reason"], "in_progress", "{id}: {details}");
            }
            // The shared SQLite file was busy for too long, which has no effect, or the state was away.
            502 | 503 => {}
            _ => panic!("{id}: {reply:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_under_load_loses_and_repeats_nothing() {
    const CALLS: usize = 90;
    let redis = tokio::task::spawn_blocking(Redis::start).await;
    let redis = redis.unwrap().unwrap();
    let url = redis.url();
    let vars = [
        ("REQUEST_TIMEOUT", "20"),
        ("REDIS_URL", url.as_str()),
        ("RATE_LIMIT_DEFAULT_RPS", "1000"),
        ("RATE_BUCKET_BURST", "1000"),
    ];
    let mut replicas = Replicas::start(3, &vars).await;
    let front = round_robin(&replicas.gateways).await;
    let token = replicas.homes[0].role("writer", "data-admin").await;
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let caller = async || {
        let mut known = Vec::new();
        loop {
            let call = next.fetch_add(1, Ordering::Relaxed);
            if call >= CALLS {
                return known;
            }
            let id = format!("call-{call:03}");
            let outcome = insist(front, &token, &id).await;
            finished.fetch_add(1, Ordering::Relaxed);
            known.push((id, outcome));
        }
    };
    let load = futures_util::future::join_all((0..9).map(|_| caller()));
    let killed = replicas.gateways.remove(1);
    let kill = async {
        until("some of the calls", async || {
            (finished.load(Ordering::Relaxed) > 12).then_some(())
        })
        .await;
        killed.signal(rustix::process::Signal::KILL);
    };
    let (known, ()) = futures_util::future::join(load, kill).await;
    killed.kill().await;
    let known: BTreeMap<String, Known> = known.into_iter().flatten().collect();
    assert_eq!(known.len(), CALLS);

    let rows = replicas.gateways[0]
        .query(
            &token,
            "SELECT ordered_at AS id, count(*) AS n FROM orders WHERE ordered_at LIKE 'call-%' GROUP BY 1",
        )
        .await
        .ok();
    let effects: BTreeMap<String, i64> = rows["result"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let id = row["id"].as_str().unwrap().to_owned();
            (id, row["n"].as_i64().unwrap())
        })
        .collect();
    assert!(effects.values().all(|count| *count == 1), "{effects:?}");
    for (id, outcome) in &known {
        let happened = effects.contains_key(id);
        match outcome {
            Known::Done => assert!(happened, "{id} was acknowledged and did not happen"),
            Known::Unknown(operation) => {
                // A person finds out, and says so beside a gateway that runs.
                let verdict = if happened { "--completed" } else { "--failed" };
                let settle = [
                    "operations",
                    "settle",
                    operation,
                    verdict,
                    "--note",
                    "looked at the orders",
                ];
                replicas.run(2, &settle).await;
                let told = write(front, &token, id).send().await;
                assert_ne!(told.json()["error"]["details"]["reason"], "unknown_outcome");
            }
        }
    }
    let count = "SELECT count(*) AS n FROM orders WHERE ordered_at LIKE 'call-%'";
    assert_eq!(
        replicas.gateways[1].number(&token, count).await,
        i64::try_from(effects.len()).unwrap(),
        "settling and asking did nothing"
    );
    let unknown = known.values().filter(|known| **known != Known::Done);
    assert!(unknown.count() <= 9, "what one replica had in hand at most");
    for gateway in replicas.gateways {
        gateway.stop().await;
    }
    let mut intents = 0;
    for home in &replicas.homes {
        let (is_whole, told) = home.verify().await;
        assert!(is_whole, "{told}");
        let records = home.audit().into_iter();
        let intended = records.filter(|r| r["phase"] == "intent" && r["toolId"] == QUERY);
        intents += intended.count();
    }
    assert!(
        intents >= effects.len(),
        "{intents} intents for {} effects",
        effects.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_a_replica_refuses_and_comes_back_by_itself() {
    let mut replicas = Replicas::start(1, &[]).await;
    let token = replicas.homes[0].role("writer", "data-admin").await;
    let address = replicas.gateways[0].address();
    write(address, &token, "before").send().await.ok();

    replicas.outage(0).await;
    let refused = write(address, &token, "during").send().await;
    refused.error(503, "UNAVAILABLE");
    let ready = replicas.gateways[0].get("/ready").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(
        ready.text().contains("state database cannot be reached"),
        "{}",
        ready.text()
    );
    // What needs no state goes on.
    let read = "SELECT count(*) AS n FROM orders WHERE ordered_at IN ('before', 'during')";
    assert_eq!(replicas.gateways[0].number(&token, read).await, 1);
    let vars = replicas.vars();
    let doctor = replicas.homes[0].run(&["doctor"], &vars).await;
    let told = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        !doctor.status.success()
            && told.contains("state database `postgres://fastmcp@127.0.0.1")
            && !told.contains("hunter2"),
        "{told}"
    );

    replicas.start_postgres_again();
    until("the gateway to be ready again", async || {
        (replicas.gateways[0].get("/ready").await.status == 200).then_some(())
    })
    .await;
    let replay = write(address, &token, "before").send().await;
    assert_eq!(replay.header("x-idempotent-replay"), Some("true"));
    write(address, &token, "during").send().await.ok();
    assert_eq!(replicas.gateways[0].number(&token, read).await, 2);
    let gateway = replicas.gateways.remove(0);
    let log = gateway.stderr();
    assert!(
        log.contains("state database is reached again") && !log.contains("hunter2"),
        "{log}"
    );
    within("the end", gateway.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_on_one_replica_is_carried_on_every_other() {
    const CREATE: &str = "ads:createCampaign";
    const TABLES: &str = "database:listTables";
    let policies = Home::new();
    let policy = policies.folder().join("policies.yml");
    fs::write(&policy, gateway_labels::POLICY).unwrap();
    let vars = [("FASTMCP_POLICY", policy.to_str().unwrap())];
    let mut replicas = Replicas::start(3, &vars).await;
    let home = &replicas.homes[0];
    let admin = home
        .mint("boss", &["--role", "admin", "--role", "agent"])
        .await;
    let agent = home.role("agent-1", "agent").await;
    let other = home.role("agent-2", "agent").await;
    let labelled = json!({"labels": ["pii"]});
    let reply = gateway_labels::register(&replicas.gateways[0], &admin, TABLES, &labelled).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let campaign = json!({"name": "Spring", "budget": 250, "startDate": "2027-03-01"});
    until("the label on another replica", async || {
        let tools = replicas.gateways[1].catalogue(&agent).await.ok()["tools"].to_string();
        tools.contains("pii").then_some(())
    })
    .await;
    replicas.gateways[1]
        .invoke(&agent, TABLES, &json!({}))
        .send()
        .await
        .ok();
    for gateway in &replicas.gateways {
        let refused = gateway.invoke(&agent, CREATE, &campaign).send().await;
        refused.error(403, "FORBIDDEN");
        let session = gateway.legacy(&agent, json!({"elicitation": {}})).await;
        let params = json!({"name": "ads_createCampaign", "arguments": campaign});
        let answer = session.answer("tools/call", params).await;
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let free = gateway.invoke(&other, CREATE, &campaign).send().await;
        assert_eq!(free.status, 200, "{}", free.text());
    }

    // What was read cannot be known, so nothing is decided; a rule that does not ask for it makes no difference.
    replicas.outage(2).await;
    for tool in [CREATE, TABLES] {
        let arguments = if tool == CREATE {
            campaign.clone()
        } else {
            json!({})
        };
        let refused = replicas.gateways[2]
            .invoke(&other, tool, &arguments)
            .send()
            .await;
        let error = refused.error(503, "UNAVAILABLE");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("nothing was done"),
            "{error}"
        );
    }
    replicas.start_postgres_again();
    until("the state again", async || {
        let reply = replicas.gateways[2]
            .invoke(&other, CREATE, &campaign)
            .send()
            .await;
        (reply.status == 200).then_some(())
    })
    .await;
    let refused = replicas.gateways[2]
        .invoke(&agent, CREATE, &campaign)
        .send()
        .await;
    refused.error(403, "FORBIDDEN");
}
