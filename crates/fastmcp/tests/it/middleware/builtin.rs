//! The layers that come with the framework.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp::{
    ToolBuilder,
    auth::caller::{Caller, LocalIdentity},
    middleware::{
        AuditMiddleware, AuditRecord, AuditStatus, AuthMiddleware, CircuitBreakerMiddleware,
        ConcurrencyLimitMiddleware, ErrorHandlingMiddleware, MetricsMiddleware,
        RateLimitingMiddleware, RbacMiddleware, ResponseLimitingMiddleware, RetryMiddleware,
        SanitiseMiddleware, SlidingWindowRateLimitingMiddleware, StateManagementMiddleware,
        create_audit_record, handle_mcp_error, prelude::*, rate_limited,
    },
    prelude::*,
    protocol::tool::ToolAnnotations,
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use serde_json::Value;
use tokio::sync::Notify;

/// A tool that fails so many times with `error`, and then says how often it was called.
fn failing(
    name: &str,
    times: usize,
    error: impl Fn() -> Error + Send + Sync + 'static,
) -> (ToolBuilder, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, error) = (Arc::clone(&calls), Arc::new(error));
    let tool = ToolBuilder::new(name, move |(), _| {
        let (n, error) = (counted.fetch_add(1, Ordering::Relaxed), Arc::clone(&error));
        async move {
            if n < times {
                return Err(error());
            }
            Ok(format!("call {}", n + 1))
        }
    });
    (tool, calls)
}

fn reset() -> Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}

fn person(subject: &str, tenant: &str) -> Caller {
    Caller::local_as(LocalIdentity {
        subject: subject.to_owned(),
        tenant: Some(tenant.to_owned()),
        ..LocalIdentity::default()
    })
}

fn with_roles(roles: &[&str], scopes: &[&str]) -> Caller {
    Caller::local_as(LocalIdentity {
        subject: "ada".to_owned(),
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        scopes: Some(scopes.iter().map(|s| (*s).to_owned()).collect()),
        ..LocalIdentity::default()
    })
}

async fn connect(server: &Server) -> Client {
    Client::connect(server).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_where_that_is_safe() {
    let (safe, safe_calls) = failing("safe", 2, reset);
    let (unsafe_, unsafe_calls) = failing("unsafe", 2, reset);
    let (refused, refused_calls) = failing("refused", 9, || Error::tool("no"));
    let (hopeless, hopeless_calls) = failing("hopeless", 9, Error::timeout);
    let idempotent = ToolAnnotations {
        idempotent_hint: Some(true),
        ..ToolAnnotations::default()
    };
    let retry = RetryMiddleware::new().jitter(false);
    let server = FastMcp::new("retry")
        .tool(safe.read_only())
        .tool(unsafe_)
        .tool(refused.read_only())
        .tool(hopeless.annotations(idempotent))
        .middleware(retry)
        .build()
        .unwrap();
    let client = connect(&server).await;
    let start = tokio::time::Instant::now();
    let answer = client.call_tool("safe", json!({})).await.unwrap();
    assert_eq!(answer.text(), "call 3");
    assert_eq!(start.elapsed().as_secs(), 1 + 2);
    client.call_tool("unsafe", json!({})).await.unwrap_err();
    client.call_tool("refused", json!({})).await.unwrap_err();
    client.call_tool("hopeless", json!({})).await.unwrap_err();
    let calls = [safe_calls, unsafe_calls, refused_calls, hopeless_calls];
    let calls = calls.map(|calls| calls.load(Ordering::Relaxed));
    assert_eq!(calls, [3, 1, 1, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_the_callers_own_and_fills_with_time() {
    let (tool, _) = failing("add", 0, reset);
    // What opens a connection is a request too.
    let limit = RateLimitingMiddleware::new(1.0).burst_capacity(3);
    let server = FastMcp::new("rate")
        .tool(tool)
        .middleware(limit)
        .build()
        .unwrap();
    let ada = Client::connect_as(&server, person("ada", "acme"))
        .await
        .unwrap();
    let bob = Client::connect_as(&server, person("bob", "acme"))
        .await
        .unwrap();
    for _ in 0..2 {
        ada.call_tool("add", json!({})).await.unwrap();
    }
    let error = ada.call_tool("add", json!({})).await.unwrap_err();
    assert!(error.message().contains("Rate limit exceeded"), "{error}");
    assert_eq!(error.data().unwrap()["retryAfterMs"], 1_000);
    bob.call_tool("add", json!({})).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    ada.call_tool("add", json!({})).await.unwrap();
    ada.call_tool("add", json!({})).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_window_slides() {
    let (tool, _) = failing("add", 0, reset);
    let (other, _) = failing("other", 0, reset);
    let limit = SlidingWindowRateLimitingMiddleware::new(2, Duration::from_secs(60))
        .get_client_id(|context| context.message.target().unwrap_or_default().to_owned());
    let server = FastMcp::new("rate")
        .tool(tool)
        .tool(other)
        .middleware(limit)
        .build()
        .unwrap();
    let client = connect(&server).await;
    client.call_tool("add", json!({})).await.unwrap();
    tokio::time::advance(Duration::from_secs(30)).await;
    client.call_tool("add", json!({})).await.unwrap();
    let error = client.call_tool("add", json!({})).await.unwrap_err();
    assert_eq!(error.data().unwrap()["retryAfterMs"], 30_000);
    client.call_tool("other", json!({})).await.unwrap();
    tokio::time::advance(Duration::from_secs(30)).await;
    client.call_tool("add", json!({})).await.unwrap();
    client.call_tool("add", json!({})).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn one_tool_may_have_a_limit_of_its_own() {
    let (limited, _) = failing("limited", 0, reset);
    let (free, _) = failing("free", 0, reset);
    let server = FastMcp::new("rate")
        .tool(limited.middleware(rate_limited(1, Duration::from_secs(1))))
        .tool(free)
        .build()
        .unwrap();
    let client = connect(&server).await;
    client.call_tool("limited", json!({})).await.unwrap();
    client.call_tool("limited", json!({})).await.unwrap_err();
    for _ in 0..5 {
        client.call_tool("free", json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn errors_are_counted_told_and_masked() {
    let (internal, _) = failing("internal", 9, || Error::internal("disk sda1 is full"));
    let (own, _) = failing("own", 9, || Error::internal("key 17 is missing"));
    let (shown, _) = failing("shown", 9, || Error::tool("Division by zero"));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let errors = {
        let heard = Arc::clone(&heard);
        ErrorHandlingMiddleware::new()
            .include_traceback(true)
            .mask_errors(false)
            .error_callback(move |error, context| {
                let line = format!("{} {error}", context.message.target().unwrap_or("-"));
                heard.lock().unwrap().push(line);
            })
    };
    let server = FastMcp::new("errors")
        .tool(internal)
        .tool(own.middleware(handle_mcp_error()))
        .tool(shown)
        .middleware(errors.clone())
        .build()
        .unwrap();
    let client = connect(&server).await;
    let told = async |tool| {
        let error = client.call_tool(tool, json!({})).await.unwrap_err();
        error.message().to_owned()
    };
    assert_eq!(told("internal").await, "Internal error: disk sda1 is full");
    assert_eq!(told("own").await, "An internal error occurred");
    assert_eq!(told("shown").await, "Division by zero");
    told("nothing").await;
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "internal disk sda1 is full",
            "own An internal error occurred",
            "shown Division by zero",
            "nothing unknown tool `nothing`"
        ]
    );
    let counted: Vec<_> = errors.statistics().into_iter().collect();
    assert_eq!(
        counted,
        [
            ("internal:tools/call".to_owned(), 1),
            ("not_found:tools/call".to_owned(), 1),
            ("tool:tools/call".to_owned(), 2)
        ]
    );
}

#[tokio::test]
async fn errors_may_become_errors_of_the_protocol() {
    let (tool, _) = failing("slow", 9, Error::timeout);
    let server = FastMcp::new("errors")
        .tool(tool)
        .middleware(ErrorHandlingMiddleware::new().transform_errors(true))
        .build()
        .unwrap();
    let memory = server.memory();
    let call = crate::eras::modern("tools/call", json!({"name": "slow"}), &json!({}));
    let (_, answer) = crate::eras::send(&memory, call).await;
    assert_eq!(answer["error"]["code"], -32000, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("Request timeout: "), "{message}");
}

#[tokio::test]
async fn state_tells_handlers_who_calls() {
    /// Gives the state back.
    #[tool]
    async fn state(ctx: Context) -> String {
        let get = |key: &str| ctx.get_state::<Value>(key).unwrap_or_default();
        let keys = ["user_id", "tenant_id", "scopes", "request_timestamp"];
        json!(keys.map(get)).to_string()
    }
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_millis(
        1_700_000_000_250,
    )));
    let server = FastMcp::new("state")
        .tool(state)
        .clock(clock)
        .middleware(StateManagementMiddleware::new())
        .build()
        .unwrap();
    let client = Client::connect_as(&server, person("ada", "acme"))
        .await
        .unwrap();
    let seen = client.call_tool("state", json!({})).await.unwrap();
    assert_eq!(
        seen.text(),
        r#"["ada","acme",null,"2023-11-14T22:13:20.250Z"]"#
    );
}

type Records = Arc<Mutex<Vec<AuditRecord>>>;

/// A server whose calls are recorded, at a time that stands still.
fn audited() -> (Server, Records) {
    let (done, _) = failing("done", 0, reset);
    let (denied, _) = failing("denied", 0, reset);
    let (failed, _) = failing("failed", 9, || Error::tool("no"));
    let own = ToolBuilder::new("own", |(), ctx: Context| async move {
        let record = create_audit_record(&ctx, "delete", "document")
            .resource_id("7")
            .detail("why", "old")
            .status(AuditStatus::Denied);
        record.to_string()
    });
    let records = Records::default();
    let audit = {
        let records = Arc::clone(&records);
        AuditMiddleware::new(move |record| records.lock().unwrap().push(record))
    };
    let clock = ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000));
    let server = FastMcp::new("audit")
        .tool(done.read_only())
        .tool(denied.require_scope("write"))
        .tool(failed)
        .tool(own)
        .clock(Arc::new(clock))
        .middleware(audit);
    (server.build().unwrap(), records)
}

#[tokio::test]
async fn every_call_leaves_a_record() {
    let (server, records) = audited();
    let caller = Caller::local_as(LocalIdentity {
        subject: "ada".to_owned(),
        tenant: Some("acme".to_owned()),
        scopes: Some(Vec::new()),
        ..LocalIdentity::default()
    });
    let client = Client::connect_as(&server, caller).await.unwrap();
    client.list_tools().await.unwrap();
    client.call_tool("done", json!({})).await.unwrap();
    for tool in ["denied", "failed", "nothing"] {
        client.call_tool(tool, json!({})).await.unwrap_err();
    }
    let own = client.call_tool("own", json!({})).await.unwrap();
    assert_eq!(
        own.text(),
        "AUDIT: ada@acme delete document:7 from unknown - denied"
    );
    let records = records.lock().unwrap();
    let short: Vec<_> = records
        .iter()
        .map(|r| {
            (
                r.action.as_str(),
                r.resource_id.as_deref().unwrap(),
                r.status,
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            ("read", "done", AuditStatus::Success),
            ("call", "denied", AuditStatus::Denied),
            ("call", "failed", AuditStatus::Failed),
            ("call", "nothing", AuditStatus::Failed),
            ("call", "own", AuditStatus::Success),
        ]
    );
    assert_eq!(
        serde_json::to_value(&records[1]).unwrap(),
        json!({
            "action": "call", "resource_type": "tool", "resource_id": "denied",
            "user_id": "ada", "tenant_id": "acme", "timestamp": "2023-11-14T22:13:20.000Z",
            "ip_address": "unknown", "status": "denied",
            "details": {"error": "scope `write` is needed"},
        })
    );
}

#[tokio::test]
async fn a_check_guards_calls_and_lists_alike() {
    let (open, _) = failing("open", 0, reset);
    let (closed, closed_calls) = failing("closed", 0, reset);
    let auth = AuthMiddleware::new(|caller, component| {
        if component.tags().contains("private") && !caller.has_scope("internal") {
            return Err(Error::insufficient_scope(&["internal".to_owned()]));
        }
        Ok(())
    });
    let server = FastMcp::new("auth")
        .tool(open)
        .tool(closed.tag("private"))
        .middleware(auth)
        .build()
        .unwrap();
    let outsider = Client::connect_as(&server, with_roles(&[], &[]))
        .await
        .unwrap();
    let insider = with_roles(&[], &["internal"]);
    let insider = Client::connect_as(&server, insider).await.unwrap();
    assert_eq!(outsider.list_tools().await.unwrap().len(), 1);
    assert_eq!(insider.list_tools().await.unwrap().len(), 2);
    let error = outsider.call_tool("closed", json!({})).await.unwrap_err();
    assert_eq!(error.message(), "scope `internal` is needed");
    assert_eq!(closed_calls.load(Ordering::Relaxed), 0);
    insider.call_tool("closed", json!({})).await.unwrap();
    outsider.call_tool("open", json!({})).await.unwrap();
}

#[tokio::test]
async fn roles_permit_tools() {
    let tools = || {
        let (look, _) = failing("look", 0, reset);
        let (change, _) = failing("change", 0, reset);
        let (purge, _) = failing("purge", 0, reset);
        FastMcp::new("rbac")
            .tool(look.read_only())
            .tool(change)
            .tool(purge)
    };
    let rbac = RbacMiddleware::new()
        .role("admin", ["*"])
        .role("writer", ["read", "write"])
        .role("reader", ["read"])
        .permission("purge", "purge");
    let server = tools()
        .middleware(rbac.clone().default_role("reader"))
        .build()
        .unwrap();
    for (roles, allowed) in [
        (&["admin"][..], &["look", "change", "purge"][..]),
        (&["writer"], &["look", "change"]),
        (&["reader"], &["look"]),
        (&[], &["look"]),
        (&["unheard"], &[]),
    ] {
        let caller = with_roles(roles, &[]);
        let client = Client::connect_as(&server, caller).await.unwrap();
        let listed = client.list_tools().await.unwrap();
        let listed: Vec<_> = listed.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(listed, allowed, "{roles:?}");
        for tool in ["look", "change", "purge"] {
            let called = client.call_tool(tool, json!({})).await;
            assert_eq!(called.is_ok(), allowed.contains(&tool), "{roles:?} {tool}");
        }
    }

    /// Knows roles from elsewhere.
    struct Known;
    impl Middleware for Known {
        async fn on_message(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
            let user = json!({"name": "ada", "role": "writer"});
            context.fastmcp_context().set_state("user", user)?;
            next.run(context).await
        }
    }
    let server = tools()
        .middleware(Known)
        .middleware(rbac.role_from_state("user"))
        .build()
        .unwrap();
    let client = Client::connect_as(&server, with_roles(&["admin"], &[]))
        .await
        .unwrap();
    client.call_tool("change", json!({})).await.unwrap();
    let error = client.call_tool("purge", json!({})).await.unwrap_err();
    assert_eq!(error.message(), "Insufficient permissions for purge");
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_and_measured() {
    let slow = ToolBuilder::new("slow", |(), _| async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        "done"
    });
    let (failing, _) = failing("failing", 9, || Error::tool("no"));
    let metrics = MetricsMiddleware::new();
    let server = FastMcp::new("metrics")
        .tool(slow)
        .tool(failing)
        .middleware(metrics.clone())
        .build()
        .unwrap();
    let client = connect(&server).await;
    for _ in 0..2 {
        client.call_tool("slow", json!({})).await.unwrap();
    }
    for tool in ["failing", "made_up_1", "made_up_2"] {
        client.call_tool(tool, json!({})).await.unwrap_err();
    }
    assert_eq!(metrics.calls("slow"), 2);
    let text = metrics.encode();
    for line in [
        r#"mcp_tool_calls_total{tool_name="failing"} 1"#,
        r#"mcp_tool_calls_total{tool_name="other"} 2"#,
        r#"mcp_tool_errors_total{tool_name="failing"} 1"#,
        r#"mcp_tool_errors_total{tool_name="slow"} 0"#,
        r#"mcp_tool_duration_seconds_bucket{tool_name="slow",le="0.025"} 0"#,
        r#"mcp_tool_duration_seconds_bucket{tool_name="slow",le="0.05"} 2"#,
        r#"mcp_tool_duration_seconds_sum{tool_name="slow"} 0.06"#,
        r#"mcp_tool_duration_seconds_count{tool_name="slow"} 2"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("made_up"));
}

#[tokio::test]
async fn secrets_are_taken_out_of_results() {
    /// Tells too much.
    #[tool]
    async fn account() -> Json<Value> {
        Json(json!({"user": "ada", "nested": [{"db_password": "hunter2"}], "internal_id": 7}))
    }
    /// Tells as it should.
    #[tool]
    async fn harmless() -> Json<Value> {
        Json(json!({"big": 1.10, "z": 1, "a": 2}))
    }
    #[resource("data://settings")]
    async fn settings() -> String {
        r#"{"api_key": "k-123", "region": "eu"}"#.to_owned()
    }
    let server = FastMcp::new("clean")
        .tool(account)
        .tool(harmless)
        .resource(settings)
        .middleware(SanitiseMiddleware::new().sensitive("internal_id").unwrap())
        .build()
        .unwrap();
    let client = connect(&server).await;
    let account = client.call_tool("account", json!({})).await.unwrap();
    let structured = account.structured_content().unwrap().to_string();
    for part in [structured.as_str(), account.text()] {
        assert!(
            !part.contains("hunter2") && part.contains("[REDACTED]"),
            "{part}"
        );
        assert!(part.contains("ada") && !part.contains('7'), "{part}");
    }
    let plain = client.call_tool("harmless", json!({})).await.unwrap();
    assert!(plain.text().contains("1.1"), "{}", plain.text());
    let read = client.read_resource("data://settings").await.unwrap();
    let read = json!(read).to_string();
    assert!(!read.contains("k-123") && read.contains("eu"), "{read}");
}

#[tokio::test]
async fn results_that_are_too_large_are_cut_off() {
    /// Says much.
    #[tool]
    async fn long() -> String {
        "ä".repeat(1_000)
    }
    /// Says little.
    #[tool]
    async fn short() -> String {
        "ok".to_owned()
    }
    let limit = ResponseLimitingMiddleware::new()
        .max_size(101)
        .truncation_suffix("[cut]");
    let server = FastMcp::new("brief")
        .tool(long)
        .tool(short)
        .middleware(limit)
        .build()
        .unwrap();
    let client = connect(&server).await;
    let cut = client.call_tool("long", json!({})).await.unwrap();
    assert_eq!(cut.text(), format!("{}[cut]", "ä".repeat(48)));
    assert!(cut.structured_content().is_none() && cut.content().len() == 1);
    let whole = client.call_tool("short", json!({})).await.unwrap();
    assert_eq!(whole.data::<String>().unwrap(), "ok");
    let tools = client.list_tools().await.unwrap();
    assert!(tools.iter().all(|tool| tool.output_schema.is_none()));
}

#[tokio::test(start_paused = true)]
async fn what_keeps_failing_is_left_alone_for_a_while() {
    let (broken, broken_calls) = failing("broken", 3, || Error::internal("away"));
    let (refusing, refusing_calls) = failing("refusing", 99, || Error::tool("no"));
    let (well, _) = failing("well", 0, reset);
    let breaker = CircuitBreakerMiddleware::new()
        .failure_threshold(2)
        .recovery_timeout(Duration::from_secs(10));
    let server = FastMcp::new("patient")
        .tool(broken)
        .tool(refusing)
        .tool(well)
        .middleware(breaker)
        .build()
        .unwrap();
    let client = connect(&server).await;
    let call = async |tool| client.call_tool(tool, json!({})).await;
    for _ in 0..2 {
        call("broken").await.unwrap_err();
    }
    let open = call("broken").await.unwrap_err();
    assert_eq!(open.data().unwrap()["retryAfterMs"], 10_000, "{open}");
    assert_eq!(broken_calls.load(Ordering::Relaxed), 2);
    call("well").await.unwrap();
    for _ in 0..5 {
        assert_eq!(call("refusing").await.unwrap_err().message(), "no");
    }
    assert_eq!(refusing_calls.load(Ordering::Relaxed), 5);
    // One try, which fails: open again, for as long.
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(
        call("broken").await.unwrap_err().message(),
        "an internal error occurred"
    );
    call("broken").await.unwrap_err();
    assert_eq!(broken_calls.load(Ordering::Relaxed), 3);
    // Another, which goes well.
    tokio::time::advance(Duration::from_secs(10)).await;
    for _ in 0..3 {
        call("broken").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_turn_but_not_for_ever() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let tool = {
        let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
        ToolBuilder::new("wait", move |(), _| {
            let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
            async move {
                entered.notify_one();
                leave.notified().await;
                "done"
            }
        })
    };
    let limit = ConcurrencyLimitMiddleware::new(1).max_wait(Duration::from_secs(2));
    let server = FastMcp::new("calm")
        .tool(tool)
        .middleware(limit)
        .build()
        .unwrap();
    let client = connect(&server).await;
    let first = client.call_tool("wait", json!({}));
    let second = async {
        entered.notified().await;
        // Lists do not count.
        client.list_tools().await.unwrap();
        let late = client.call_tool("wait", json!({})).await.unwrap_err();
        assert!(late.message().contains("Too many calls"), "{late}");
        leave.notify_one();
    };
    let (first, ()) = tokio::join!(first, second);
    assert_eq!(first.unwrap().text(), "done");
    leave.notify_one();
    client.call_tool("wait", json!({})).await.unwrap();
}
