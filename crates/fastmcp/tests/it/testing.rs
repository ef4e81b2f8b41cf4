//! What tests of servers are written with, by the cases of an enterprise server: tenants, scopes, an
//! audit trail, long work, questions.

use std::{sync::Arc, time::Duration};

use fastmcp::{
    auth::{Authenticator, Challenger, JwtConfig, JwtVerifier},
    error::ErrorKind,
    prelude::*,
    protocol::{
        content::JsonObject, elicit::ElicitResult, logging::LoggingLevel,
        sampling::CreateMessageResult,
    },
    testing::{
        self, Clock as _, ManualClock, MockContextBuilder, Timestamp, caller, create_mock_context,
    },
};
use serde_json::Value;

/// Whether the caller may see what belongs to `tenant`.
async fn check_tenant_access(context: &Context, tenant: &str) -> bool {
    let Some(own) = context.get_state::<String>("tenant_id") else {
        context.warning("No tenant context found for user").await;
        return false;
    };
    if own != tenant {
        let mismatch = format!("Tenant mismatch: user={own}, resource={tenant}");
        context.warning(mismatch).await;
    }
    own == tenant
}

/// Whether the caller has `scope`: by what middleware set, or else by its token.
async fn check_permission(context: &Context, scope: &str) -> bool {
    let scopes: Option<Vec<String>> = context.get_state("scopes");
    let has = match scopes {
        Some(scopes) => scopes.iter().any(|own| own == scope),
        None => context.caller().has_scope(scope),
    };
    if !has {
        let who = context
            .get_state("user_id")
            .unwrap_or_else(|| "unknown".to_owned());
        context
            .warning(format!("Permission denied: {who} lacks scope {scope}"))
            .await;
    }
    has
}

async fn audit(context: &Context, action: &str, id: &str, status: &str) {
    let who: String = context
        .get_state("user_id")
        .unwrap_or_else(|| "anonymous".to_owned());
    let tenant: String = context.get_state("tenant_id").unwrap_or_default();
    let address = context
        .peer()
        .header("x-forwarded-for")
        .unwrap_or("unknown");
    let address = address.split(',').next().unwrap_or_default().trim();
    let record = format!("AUDIT: {who}@{tenant} {action} document:{id} from {address} - {status}");
    context.info(record).await;
}

/// Fetches a document of the caller's tenant.
#[tool]
async fn fetch_tenant_document(context: Context, id: String) -> Result<Value> {
    let tenant = id.rsplit("_in_").next().unwrap_or_default();
    if !check_tenant_access(&context, tenant).await {
        audit(&context, "read", &id, "denied").await;
        Err(ToolError::new("Access denied: wrong tenant"))?;
    }
    audit(&context, "read", &id, "success").await;
    Ok(json!({"id": id, "tenant": tenant}))
}

/// Creates a document.
#[tool]
async fn create_secure_document(context: Context, title: String, content: String) -> Result<Value> {
    if !check_permission(&context, "write:documents").await {
        audit(&context, "create", &title, "denied").await;
        Err(ToolError::new("Permission denied"))?;
    }
    Ok(json!({"title": title, "bytes": content.len(), "by": context.caller().subject()}))
}

/// Goes through many documents.
#[tool]
async fn bulk_process_documents(context: Context, count: usize) -> Value {
    context.report_progress(0.0, Some(count as f64), None).await;
    for done in 1..=count {
        tokio::time::sleep(Duration::from_secs(60)).await;
        if done % 10 == 0 || done == count {
            context
                .report_progress(done as f64, Some(count as f64), Some("processing"))
                .await;
            context.info(format!("Progress: {done}/{count}")).await;
        }
    }
    json!({"processed": count})
}

fn tenant(tenant: &str) -> MockContextBuilder {
    create_mock_context()
        .subject("ada")
        .tenant(tenant)
        .state("tenant_id", tenant)
        .state("user_id", "ada")
        .header("X-Forwarded-For", "10.0.0.7, 10.0.0.1")
}

#[tokio::test]
async fn documents_of_other_tenants_are_not_fetched() {
    let mock = tenant("tenant_a").build().await.unwrap();
    let id = || "doc_in_tenant_b".to_owned();
    let denied = fetch_tenant_document::call(mock.context(), id())
        .await
        .unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Tool);
    assert!(denied.message().contains("Access denied"), "{denied}");
    let logs = mock.logs().await.unwrap();
    let said: Vec<_> = logs
        .iter()
        .map(|logged| (logged.level, logged.text()))
        .collect();
    assert_eq!(
        said,
        [
            (
                LoggingLevel::Warning,
                "Tenant mismatch: user=tenant_a, resource=tenant_b"
            ),
            (
                LoggingLevel::Info,
                "AUDIT: ada@tenant_a read document:doc_in_tenant_b from 10.0.0.7 - denied"
            ),
        ]
    );
    let own = "doc_in_tenant_a".to_owned();
    let found = fetch_tenant_document::call(mock.context(), own)
        .await
        .unwrap();
    assert_eq!(found["tenant"], "tenant_a");
    assert_eq!(mock.logs().await.unwrap().len(), 3, "marks are not shown");

    let nobody = create_mock_context().build().await.unwrap();
    fetch_tenant_document::call(nobody.context(), id())
        .await
        .unwrap_err();
    let logs = nobody.logs().await.unwrap();
    assert_eq!(logs[0].text(), "No tenant context found for user");
    assert!(logs[1].text().contains("anonymous@ read"), "{logs:?}");
    assert!(logs[1].text().contains("from unknown"), "{logs:?}");
}

#[tokio::test]
async fn permissions_are_enforced() {
    let create = |context| create_secure_document::call(context, "Title".into(), "Content".into());
    let reader = create_mock_context()
        .scopes(["read:documents"])
        .build()
        .await
        .unwrap();
    let denied = create(reader.context()).await.unwrap_err();
    assert_eq!(denied.message(), "Permission denied");
    let logs = reader.logs().await.unwrap();
    assert_eq!(
        logs[0].text(),
        "Permission denied: unknown lacks scope write:documents"
    );
    let writer = create_mock_context()
        .scopes(["write:documents"])
        .build()
        .await
        .unwrap();
    assert_eq!(create(writer.context()).await.unwrap()["by"], "test-user");
    assert!(writer.logs().await.unwrap().is_empty());
    // What middleware set counts before the token.
    let lowered = create_mock_context()
        .scopes(["write:documents"])
        .state("scopes", ["read:documents"])
        .build()
        .await
        .unwrap();
    create(lowered.context()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn long_work_reports_how_far_it_is() {
    let mock = create_mock_context().build().await.unwrap();
    let begun = tokio::time::Instant::now();
    let done = bulk_process_documents::call(mock.context(), 25).await;
    assert_eq!(done["processed"], 25);
    assert_eq!(begun.elapsed(), Duration::from_mins(25));
    let progress = mock.progress().await.unwrap();
    let far: Vec<_> = progress.iter().map(|p| (p.progress, p.total)).collect();
    let total = Some(25.0);
    assert_eq!(
        far,
        [(0.0, total), (10.0, total), (20.0, total), (25.0, total)]
    );
    assert_eq!(progress[1].message.as_deref(), Some("processing"));
    assert_eq!(mock.logs().await.unwrap().len(), 3);
}

/// What the user is asked for.
#[derive(Deserialize, JsonSchema)]
struct Confirm {
    /// Whether to go on.
    yes: bool,
}

async fn erase(context: Context) -> Result<bool> {
    Ok(context
        .elicit::<Confirm>("confirm", "Erase everything?")
        .await?
        .yes)
}

#[tokio::test]
async fn questions_are_answered_by_the_test() {
    let mock = create_mock_context()
        .on_elicit(|asked| async move {
            let fastmcp::protocol::elicit::ElicitParams::Form(form) = asked.params else {
                return Err(Error::internal("no form"));
            };
            assert_eq!(form.message, "Erase everything?");
            Ok(ElicitResult::accept(JsonObject::from_iter([(
                "yes".to_owned(),
                json!(true),
            )])))
        })
        .on_sample(|_| async { Ok(CreateMessageResult::text("test-model", "It is fine.")) })
        .build()
        .await
        .unwrap();
    assert!(erase(mock.context()).await.unwrap());
    let mute = create_mock_context().build().await.unwrap();
    let error = erase(mute.context()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingCapability);
}

#[tokio::test]
async fn a_context_knows_its_caller_and_when_it_is_called_off() {
    let mock = create_mock_context()
        .subject("ada")
        .roles(["auditor"])
        .claim("department", "tax")
        .header("x-request-id", "r1")
        .build()
        .await
        .unwrap();
    let context = mock.context();
    assert_eq!(context.caller().subject(), "ada");
    assert_eq!(context.caller().roles(), ["auditor"]);
    assert_eq!(context.caller().claims()["department"], "tax");
    assert_eq!(context.headers()["x-request-id"], "r1");
    assert!(context.request_id().is_some());
    let waits = async {
        context.cancellation().cancelled().await;
        "called off"
    };
    let (ended, cancelled) = tokio::join!(waits, mock.cancel());
    cancelled.unwrap();
    assert_eq!(ended, "called off");
    assert!(mock.logs().await.unwrap().is_empty());

    let other = create_mock_context().caller(caller("bob").tenant("b").build());
    let other = other.subject("ignored").build().await.unwrap();
    assert_eq!(other.caller().tenant(), Some("b"));
    let unfit = create_mock_context()
        .header("a b", "c")
        .build()
        .await
        .unwrap_err();
    assert!(unfit.message().contains("`a b`"), "{unfit}");
}

fn documents() -> FastMcp {
    FastMcp::new("documents")
        .instructions("Documents of tenants.")
        .tool(fetch_tenant_document)
        .tool(create_secure_document)
}

#[tokio::test]
async fn a_server_is_tested_through_a_client_that_records() {
    let server = documents().build().unwrap();
    let (client, recorder) = testing::connect(&server, caller("ada").build())
        .await
        .unwrap();
    let arguments = json!({"id": "doc_in_tenant_a"});
    let refused = client
        .call_tool("fetch_tenant_document", arguments)
        .await
        .unwrap_err();
    assert_eq!(refused.message(), "Access denied: wrong tenant");
    let said = recorder.until("notifications/message", 2).await.unwrap();
    assert_eq!(said[0].params["level"], "warning");
    assert_eq!(recorder.take().len(), 2);
    assert!(recorder.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_is_not_waited_for_without_end() {
    let server = documents().build().unwrap();
    let (_client, recorder) = testing::connect(&server, caller("ada").build())
        .await
        .unwrap();
    let error = recorder
        .until("notifications/tools/list_changed", 1)
        .await
        .unwrap_err();
    assert!(
        error.message().contains("notifications/tools/list_changed"),
        "{error}"
    );
}

#[tokio::test]
async fn the_lists_of_a_server_are_a_text_that_stays() {
    let snapshot = |server: FastMcp| async {
        let server = server.build().unwrap();
        testing::snapshot(&Client::connect(&server).await.unwrap())
            .await
            .unwrap()
    };
    let one = snapshot(documents()).await;
    let other = FastMcp::new("documents")
        .instructions("Documents of tenants.")
        .tool(create_secure_document)
        .tool(fetch_tenant_document);
    assert_eq!(one, snapshot(other).await, "whatever the order");
    insta::assert_snapshot!(one);
}

#[tokio::test]
async fn tokens_of_a_test_are_verified_as_others_are() {
    let key = testing::SigningKey::ec("k1");
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
        1_800_000_000,
    )));
    let token = |scope: &str| {
        let token = key.token("ada", clock.now()).claim("scope", scope).sign();
        format!("Bearer {token}")
            .parse::<http::HeaderValue>()
            .unwrap()
    };
    let config = JwtConfig::new("https://idp.test", "fastmcp");
    let verifier = JwtVerifier::new(config, key.jwks(), clock.clone()).unwrap();
    let authenticator = Authenticator::new(Arc::new(verifier), Challenger::new());
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", token("read:documents"));
    let caller = authenticator.authenticate(&headers).await.unwrap();
    assert_eq!(caller.subject(), "ada");
    // A verified caller is one to call handlers as.
    let mock = create_mock_context().caller(caller).build().await.unwrap();
    assert!(!check_permission(&mock, "write:documents").await);
    assert!(check_permission(&mock, "read:documents").await);
    clock.advance(Duration::from_hours(1));
    assert!(
        authenticator.authenticate(&headers).await.is_err(),
        "expired"
    );
}
