//! Checks: who sees what, and what the others are told.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fastmcp::{
    PromptBuilder, ResourceBuilder, ToolBuilder,
    auth::{
        Authenticator, Caller, Challenger,
        caller::LocalIdentity,
        testing,
        verifier::{StaticIdentity, StaticTokens},
    },
    authorize::{Decision, all, any, require_roles, require_scopes, restrict_tag},
    prelude::*,
    protocol::{completion::CompleteParams, subscription::SubscriptionFilter},
    registry::{Change, Kind},
    transport::{Limits, http::HttpConfig, stdio::Stdio},
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex, split};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    eras::{modern, send},
    http::{Running, call, modern as head},
};

fn tool(name: &str) -> ToolBuilder {
    ToolBuilder::new(name, |(), _: Context| async { "done" })
}

/// One of each kind, for admins.
fn admins() -> FastMcp {
    FastMcp::new("authorize")
        .tool(tool("open"))
        .tool(tool("admin").auth(require_roles(["admin"])))
        .prompt(
            PromptBuilder::new("admin", |_: Word, _: Context| async { "p" })
                .auth(require_roles(["admin"])),
        )
        .resource(
            ResourceBuilder::new("data://admin", "r", |(), _: Context| async { "secret" })
                .auth(require_roles(["admin"])),
        )
        .resource(
            ResourceBuilder::new("data://admin/{word}", "t", |word: Word, _: Context| async {
                word.word
            })
            .auth(require_roles(["admin"])),
        )
}

#[derive(Deserialize, JsonSchema)]
struct Word {
    word: String,
}

async fn names(server: &Server, caller: &Caller) -> BTreeSet<String> {
    let client = Client::connect_as(server, caller.clone()).await.unwrap();
    let mut names: BTreeSet<_> = client
        .list_tools()
        .await
        .unwrap()
        .into_iter()
        .map(|t| t.name)
        .collect();
    names.extend(
        client
            .list_prompts()
            .await
            .unwrap()
            .into_iter()
            .map(|p| format!("p {}", p.name)),
    );
    names.extend(
        client
            .list_resources()
            .await
            .unwrap()
            .into_iter()
            .map(|r| r.uri),
    );
    let templates = client.list_resource_templates().await.unwrap();
    names.extend(templates.into_iter().map(|t| t.uri_template));
    names
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[tokio::test]
async fn a_check_filters_every_list_and_refuses_every_call() {
    let server = admins().build().unwrap();
    let (admin, dev) = (
        testing::caller("ada").roles(["admin"]).build(),
        testing::caller("bob").roles(["dev"]).build(),
    );
    let everything = [
        "admin",
        "data://admin",
        "data://admin/{word}",
        "open",
        "p admin",
    ];
    // Whoever comes first, and whoever comes again.
    for _ in 0..2 {
        assert_eq!(names(&server, &admin).await, set(&everything));
        assert_eq!(names(&server, &dev).await, set(&["open"]));
    }
    let client = Client::connect_as(&server, admin).await.unwrap();
    assert_eq!(
        client.call_tool("admin", json!({})).await.unwrap().text(),
        "done"
    );
    client.read_resource("data://admin").await.unwrap();
    client.read_resource("data://admin/x").await.unwrap();
    client
        .get_prompt("admin", json!({"word": "x"}))
        .await
        .unwrap();
    let client = Client::connect_as(&server, dev).await.unwrap();
    let refused = [
        client.call_tool("admin", json!({})).await.map(drop),
        client.read_resource("data://admin").await.map(drop),
        client.read_resource("data://admin/x").await.map(drop),
        client
            .get_prompt("admin", json!({"word": "x"}))
            .await
            .map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert_eq!(error.message(), "role `admin` is needed");
    }
    client.call_tool("open", json!({})).await.unwrap();
}

#[tokio::test]
async fn what_is_hidden_is_unknown() {
    let server = admins()
        .tool(
            tool("tenant").auth(|caller, _| Decision::hide_unless(caller.tenant() == Some("acme"))),
        )
        .build()
        .unwrap();
    let of = |tenant: &str| testing::caller("ada").tenant(tenant).build();
    let client = Client::connect_as(&server, of("other")).await.unwrap();
    let unknown = client.call_tool("never", json!({})).await.unwrap_err();
    let hidden = client.call_tool("tenant", json!({})).await.unwrap_err();
    assert_eq!(
        hidden.message().replace("tenant", "never"),
        unknown.message()
    );
    assert_eq!(hidden.kind(), unknown.kind());
    let client = Client::connect_as(&server, of("acme")).await.unwrap();
    client.call_tool("tenant", json!({})).await.unwrap();
}

#[tokio::test]
async fn the_server_checks_everything_it_has() {
    let server = admins()
        .tool(tool("wipe").tag("danger"))
        .authorize(restrict_tag("danger", ["data:wipe"]))
        .authorize(|caller, _| Decision::hide_unless(caller.tenant() == Some("acme")))
        .build()
        .unwrap();
    let outsider = testing::caller("eve").roles(["admin"]).build();
    let member = testing::caller("bob").tenant("acme").scopes([]).build();
    let wiper = testing::caller("ada")
        .tenant("acme")
        .scopes(["data:wipe"])
        .build();
    assert_eq!(names(&server, &outsider).await, set(&[]));
    assert_eq!(names(&server, &member).await, set(&["open"]));
    assert_eq!(names(&server, &wiper).await, set(&["open", "wipe"]));
    let client = Client::connect_as(&server, member).await.unwrap();
    let refused = client.call_tool("wipe", json!({})).await.unwrap_err();
    assert_eq!(refused.message(), "scope `data:wipe` is needed");
    // What is added while it runs is checked as well.
    server
        .registry()
        .edit(|components| {
            let tool = fastmcp::Component::new(
                fastmcp::component::Definition::Tool(fastmcp::protocol::tool::Tool::new(
                    "later",
                    fastmcp::protocol::tool::JsonSchema::empty(),
                )),
                |_: Context, _| -> futures_util::future::BoxFuture<'static, Result<fastmcp::Outcome>> {
                    Box::pin(async { Ok(ToolResult::text("late").into()) })
                },
            );
            components.push(Arc::new(tool.with_check(require_roles(["admin"]))));
        })
        .unwrap();
    assert_eq!(names(&server, &wiper).await, set(&["open", "wipe"]));
}

#[tokio::test]
async fn over_http_a_lack_of_scopes_is_a_challenge() {
    let identity = |scopes: &[&str]| StaticIdentity {
        subject: "ada".to_owned(),
        scopes: Some(scopes.iter().map(|s| (*s).to_owned()).collect()),
        ..StaticIdentity::default()
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
    let tokens = StaticTokens::new()
        .token("the-token-of-the-reader", identity(&["read"]))
        .and_then(|t| t.token("the-token-of-the-writer", identity(&["read", "write"])))
        .unwrap()
        .build(clock)
        .unwrap();
    let server = FastMcp::new("authorize")
        .tool(tool("write").auth(all((require_scopes(["read"]), require_scopes(["write"])))))
        .tool(tool("either").auth(any((require_roles(["admin"]), require_scopes(["sudo"])))))
        .auth(Authenticator::new(Arc::new(tokens), Challenger::new()))
        .build()
        .unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let head = |name: &str, who: &str| {
        format!(
            "{}\r\nAuthorization: Bearer the-token-of-the-{who}",
            head(name)
        )
    };
    let body = call("write", &json!({}));
    let (status, response) = running.send(&head("write", "reader"), &body).await;
    assert_eq!(status, 403, "{response}");
    assert!(response.contains("scope=\"write\""), "{response}");
    let (status, response) = running.send(&head("write", "writer"), &body).await;
    assert!(status == 200 && response.contains("done"), "{response}");
    let body = call("either", &json!({}));
    let (status, response) = running.send(&head("either", "writer"), &body).await;
    assert!(
        status == 403 && response.contains("scope=\"sudo\""),
        "{response}"
    );
}

#[tokio::test]
async fn a_local_caller_is_checked_as_any_other() {
    let server = admins().build().unwrap();
    assert_eq!(names(&server, server.local_caller()).await, set(&["open"]));
    let named = admins()
        .local_caller(LocalIdentity {
            subject: "ada".to_owned(),
            roles: vec!["admin".to_owned()],
            ..LocalIdentity::default()
        })
        .build()
        .unwrap();
    let client = Client::connect(&named).await.unwrap();
    client.call_tool("admin", json!({})).await.unwrap();
    for (server, allowed) in [(server, false), (named, true)] {
        let (ours, theirs) = duplex(64 * 1024);
        let (input, output) = split(theirs);
        let door = Arc::clone(server.door());
        let stdio = Stdio::new(door, server.local_caller().clone(), Limits::default());
        let end = CancellationToken::new();
        let running = TaskTracker::new().spawn(stdio.run(input, output, end.clone()));
        let (read, mut write) = split(ours);
        let message = modern("tools/call", json!({"name": "admin"}), &json!({}));
        write
            .write_all(format!("{message}\n").as_bytes())
            .await
            .unwrap();
        let line = BufReader::new(read)
            .lines()
            .next_line()
            .await
            .unwrap()
            .unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["result"]["isError"] != true, allowed, "{answer}");
        end.cancel();
        running.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn completions_and_subscriptions_are_checked() {
    async fn complete(_: Caller, _: CompleteParams<'static>) -> Result<Vec<String>> {
        Ok(vec!["value".to_owned()])
    }
    let server = admins().completion(complete).build().unwrap();
    let (admin, dev) = (
        testing::caller("ada").roles(["admin"]).build(),
        testing::caller("bob").build(),
    );
    for (caller, allowed) in [(admin, true), (dev, false)] {
        let client = Client::connect_as(&server, caller).await.unwrap();
        for reference in [
            json!({"type": "ref/prompt", "name": "admin"}),
            json!({"type": "ref/resource", "uri": "data://admin/{word}"}),
        ] {
            let params = Map::from_iter([
                ("ref".to_owned(), reference),
                ("argument".to_owned(), json!({"name": "word", "value": ""})),
            ]);
            let answer = client.request("completion/complete", params).await;
            assert_eq!(answer.is_ok(), allowed, "{answer:?}");
        }
        let wanted = SubscriptionFilter {
            resource_subscriptions: vec!["data://admin".to_owned()],
            ..SubscriptionFilter::default()
        };
        let subscription = client.subscribe(wanted).await.unwrap();
        let honoured = &subscription.honoured().resource_subscriptions;
        assert_eq!(honoured.len(), usize::from(allowed));
        server
            .registry()
            .notify(Change::Resource("data://admin".to_owned()));
    }
}

#[tokio::test]
async fn each_check_is_asked_once_for_a_list() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = FastMcp::new("authorize")
        .tool(tool("one").auth(move |_, _| {
            // Says something else each time: what is shown must be what was said.
            Decision::hide_unless(counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2))
        }))
        .build()
        .unwrap();
    let memory = server.memory();
    for (round, shown) in [(1, true), (2, false), (3, true), (4, false)] {
        let (_, answer) = send(&memory, modern("tools/list", json!({}), &json!({}))).await;
        let listed = !answer["result"]["tools"].as_array().unwrap().is_empty();
        assert_eq!((listed, asked.load(Ordering::SeqCst)), (shown, round));
    }
    assert!(server.registry().snapshot().has(Kind::Tool));
}

/// Something of a caller that its gate does not know it by.
#[derive(Clone, Copy, Debug)]
enum Trait {
    Subject(u8),
    Tenant(u8),
    Client(u8),
    Claim(u8),
}

impl Trait {
    fn holds(self, caller: &Caller) -> bool {
        match self {
            Self::Subject(n) => caller.subject() == format!("s{n}"),
            Self::Tenant(n) => caller.tenant() == Some(&format!("t{n}")),
            Self::Client(n) => caller.client_id() == Some(&format!("c{n}")),
            Self::Claim(n) => caller.claims().get("claim") == Some(&Value::from(n)),
        }
    }
}

fn traits() -> impl Strategy<Value = Trait> {
    prop_oneof![
        (0..3_u8).prop_map(Trait::Subject),
        (0..3_u8).prop_map(Trait::Tenant),
        (0..3_u8).prop_map(Trait::Client),
        (0..3_u8).prop_map(Trait::Claim),
    ]
}

fn callers() -> impl Strategy<Value = Caller> {
    (0..3_u8, 0..3_u8, 0..3_u8, 0..3_u8).prop_map(|(subject, tenant, client, claim)| {
        testing::caller(&format!("s{subject}"))
            .tenant(&format!("t{tenant}"))
            .client_id(&format!("c{client}"))
            .claims(Map::from_iter([("claim".to_owned(), claim.into())]))
            .build()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Lists are encoded once for all callers who see the same: never for one who sees less.
    #[test]
    fn nobody_is_shown_the_list_of_another(
        tools in proptest::collection::vec(traits(), 1..6),
        callers in proptest::collection::vec(callers(), 1..12),
        page_size in 1..4_usize,
        mounted: bool,
    ) {
        let mut server = FastMcp::new("authorize").list_page_size(page_size);
        for (n, wanted) in tools.iter().copied().enumerate() {
            let check = move |caller: &Caller, _: &fastmcp::Component| Decision::hide_unless(wanted.holds(caller));
            server = server.tool(tool(&format!("{n}")).auth(check));
        }
        let mut server = server.build().unwrap();
        if mounted {
            // Checks of a server that is shown in another hold there as well.
            let around = FastMcp::new("around").list_page_size(page_size).mount(&server, None);
            server = around.build().unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for caller in &callers {
            let expected: BTreeSet<_> = tools
                .iter()
                .enumerate()
                .filter(|(_, wanted)| wanted.holds(caller))
                .map(|(n, _)| n.to_string())
                .collect();
            let client = runtime.block_on(Client::connect_as(&server, caller.clone())).unwrap();
            let listed = runtime.block_on(client.list_tools()).unwrap();
            let listed: BTreeSet<_> = listed.into_iter().map(|t| t.name).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}
