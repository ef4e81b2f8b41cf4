//! An enterprise server: tenants, scopes, classification, an audit trail, long work.
//!
//! Run with: `cargo run -p fastmcp-examples --bin enterprise`
//!
//! Request -> `StateManagementMiddleware` (who, for which tenant) -> tool (permission, tenant, operation, record) -> response

use std::sync::{Mutex, PoisonError};

use fastmcp::{
    dependencies::{check_permission, check_tenant_access},
    middleware::{AuditStatus, StateManagementMiddleware, create_audit_record},
    prelude::*,
};

/// How confidential a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Classification {
    Public,
    Internal,
    Confidential,
    Secret,
}

impl Classification {
    const fn is_classified(self) -> bool {
        matches!(self, Self::Confidential | Self::Secret)
    }
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Document {
    id: String,
    tenant_id: String,
    title: String,
    content: String,
    classification: Classification,
}

/// The documents of every tenant; a database would filter by tenant in its queries too.
struct Documents(Mutex<Vec<Document>>);

impl Documents {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Document>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Option<Document> {
        self.all().iter().find(|one| one.id == id).cloned()
    }
}

/// Says in the audit trail what became of it.
async fn audit(ctx: &Context, action: &str, id: Option<&str>, status: AuditStatus) {
    let record = create_audit_record(ctx, action, "document").status(status);
    let record = match id {
        Some(id) => record.resource_id(id),
        None => record,
    };
    // In production: to a database or a SIEM.
    ctx.info(record.to_string()).await;
}

/// Fetches a document of the caller's tenant.
#[tool(read_only)]
async fn fetch_tenant_document(
    document_id: String,
    documents: State<Documents>,
    ctx: Context,
) -> Result<Document> {
    let found = documents.find(&document_id);
    // Whether it exists in another tenant is none of the caller's business.
    let owner = found.as_ref().map_or("", |found| found.tenant_id.as_str());
    if !check_tenant_access(&ctx, owner).await {
        audit(&ctx, "read", Some(&document_id), AuditStatus::Denied).await;
        return Err(ToolError::new("Access denied: no such document in your tenant").into());
    }
    audit(&ctx, "read", Some(&document_id), AuditStatus::Success).await;
    Ok(found.ok_or_else(|| ToolError::new("Access denied: no such document in your tenant"))?)
}

/// Creates a document.
#[tool]
async fn create_secure_document(
    #[arg(min_length = 1, max_length = 200)] title: String,
    #[arg(max_length = 100_000)] content: String,
    #[arg(default = Classification::Internal)] classification: Classification,
    documents: State<Documents>,
    ctx: Context,
) -> Result<Document> {
    if !check_permission(&ctx, "write:documents").await {
        audit(&ctx, "create", None, AuditStatus::Denied).await;
        return Err(ToolError::new("Permission denied").into());
    }
    if classification.is_classified() && !check_permission(&ctx, "write:classified").await {
        audit(&ctx, "create", None, AuditStatus::Denied).await;
        return Err(ToolError::new("Requires 'write:classified' scope").into());
    }
    let tenant_id: Option<String> = ctx.get_state("tenant_id");
    let tenant_id = tenant_id.ok_or_else(|| ToolError::new("No tenant context available"))?;
    let document = {
        let mut all = documents.all();
        let document = Document {
            id: format!("doc-{}", all.len() + 1),
            tenant_id,
            title,
            content,
            classification,
        };
        all.push(document.clone());
        document
    };
    audit(&ctx, "create", Some(&document.id), AuditStatus::Success).await;
    Ok(document)
}

/// What to do with many documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// Counts their characters.
    Measure,
    /// Says whether they are classified.
    Classify,
}

/// What became of many documents.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Bulk {
    processed: usize,
    /// Those that the caller's tenant does not have.
    skipped: Vec<String>,
    results: Vec<usize>,
}

/// Processes several documents, telling how far it is.
#[tool]
async fn bulk_process_documents(
    #[arg(min_items = 1, max_items = 1000)] document_ids: Vec<String>,
    operation: Operation,
    documents: State<Documents>,
    ctx: Context,
) -> Bulk {
    let total = document_ids.len();
    let tenant: Option<String> = ctx.get_state("tenant_id");
    let mut bulk = Bulk {
        processed: 0,
        skipped: Vec::new(),
        results: Vec::new(),
    };
    ctx.report_progress(0.0, Some(total as f64), None).await;
    for (done, id) in (1..).zip(document_ids) {
        // One that cannot be processed does not stop the others.
        match documents
            .find(&id)
            .filter(|found| Some(&found.tenant_id) == tenant.as_ref())
        {
            Some(found) => {
                bulk.processed += 1;
                bulk.results.push(match operation {
                    Operation::Measure => found.content.chars().count(),
                    Operation::Classify => usize::from(found.classification.is_classified()),
                });
            }
            None => bulk.skipped.push(id),
        }
        if done % 10 == 0 || done == total {
            ctx.report_progress(done as f64, Some(total as f64), None)
                .await;
            ctx.info(format!("Progress: {done}/{total}")).await;
        }
    }
    bulk
}

/// Who is calling, and what they may do.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Activity {
    user_id: String,
    tenant_id: Option<String>,
    scopes: Vec<String>,
    can_write: bool,
    can_write_classified: bool,
    documents: usize,
}

/// Tells who the caller is and what the caller may do.
#[tool(read_only)]
async fn get_user_activity_summary(documents: State<Documents>, ctx: Context) -> Activity {
    let tenant_id: Option<String> = ctx.get_state("tenant_id");
    let own = |document: &&Document| Some(&document.tenant_id) == tenant_id.as_ref();
    let count = documents.all().iter().filter(own).count();
    let caller = ctx.caller();
    Activity {
        user_id: ctx.get_state_or("user_id", "anonymous".to_owned()),
        scopes: ctx.get_state_or("scopes", Vec::new()),
        can_write: caller.has_scope("write:documents"),
        can_write_classified: caller.has_scope("write:classified"),
        documents: count,
        tenant_id,
    }
}

fn server() -> FastMcp {
    let document = |id: &str, tenant: &str| Document {
        id: id.to_owned(),
        tenant_id: tenant.to_owned(),
        title: format!("Plans of {tenant}"),
        content: "Grow.".to_owned(),
        classification: Classification::Internal,
    };
    let documents = vec![
        document("doc_in_tenant_a", "tenant_a"),
        document("doc_in_tenant_b", "tenant_b"),
    ];
    FastMcp::new("Enterprise")
        .middleware(StateManagementMiddleware::new())
        .state(Documents(Mutex::new(documents)))
        .tool(fetch_tenant_document)
        .tool(create_secure_document)
        .tool(bulk_process_documents)
        .tool(get_user_activity_summary)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use fastmcp::testing::{MockContext, Recorder, caller, connect, create_mock_context};

    use super::*;

    async fn client(tenant: &str, scopes: &[&str]) -> (Client, Recorder) {
        let caller = caller("ada").tenant(tenant).scopes(scopes.iter().copied());
        connect(&server().build().unwrap(), caller.build())
            .await
            .unwrap()
    }

    fn documents(ctx: &MockContext) -> State<Documents> {
        State(ctx.value::<Documents>().unwrap())
    }

    #[tokio::test]
    async fn tenant_isolation() {
        let ctx = create_mock_context()
            .server(server())
            .tenant("tenant_a")
            .build();
        let ctx = ctx.await.unwrap();
        let id = "doc_in_tenant_b".to_owned();
        let other = fetch_tenant_document::call(id, documents(&ctx), ctx.context()).await;
        assert!(other.unwrap_err().message().contains("Access denied"));
        let own = "doc_in_tenant_a".to_owned();
        let own = fetch_tenant_document::call(own, documents(&ctx), ctx.context()).await;
        assert_eq!(own.unwrap().tenant_id, "tenant_a");
        let logs = ctx.logs().await.unwrap();
        let audited: Vec<_> = logs
            .iter()
            .filter(|l| l.text().starts_with("AUDIT"))
            .collect();
        assert!(audited[0].text().ends_with("denied"), "{audited:?}");
        assert!(
            audited[1]
                .text()
                .contains("test-user@tenant_a read document:doc_in_tenant_a")
        );
    }

    #[tokio::test]
    async fn permission_check() {
        let ctx = create_mock_context()
            .server(server())
            .scopes(["read:documents"]);
        let ctx = ctx.build().await.unwrap();
        let refused = create_secure_document::call(
            "Title".to_owned(),
            "Content".to_owned(),
            Classification::Public,
            documents(&ctx),
            ctx.context(),
        );
        assert_eq!(refused.await.unwrap_err().message(), "Permission denied");
    }

    #[tokio::test]
    async fn classified_documents_need_more() {
        let (writer, recorder) = client("tenant_a", &["write:documents"]).await;
        let write = |classification| json!({"title": "Title", "content": "Content", "classification": classification});
        let created = writer
            .call_tool("create_secure_document", write("internal"))
            .await;
        let created: Document = created.unwrap().data().unwrap();
        assert_eq!(
            (created.id.as_str(), created.tenant_id.as_str()),
            ("doc-3", "tenant_a")
        );
        let refused = writer
            .call_tool("create_secure_document", write("secret"))
            .await;
        assert_eq!(
            refused.unwrap_err().message(),
            "Requires 'write:classified' scope"
        );
        let unfit = writer
            .call_tool("create_secure_document", write("cosmic"))
            .await;
        let unfit = unfit.unwrap_err();
        assert!(unfit.message().contains("classification"), "{unfit}");
        let said = recorder.until("notifications/message", 3).await.unwrap();
        let text = said[0].params["data"].as_str().unwrap_or_default();
        assert!(
            text.contains("ada@tenant_a create document:doc-3"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn many_documents_are_processed_with_progress() {
        let (ada, recorder) = client("tenant_a", &[]).await;
        let mut ids = vec!["doc_in_tenant_a"; 24];
        ids.push("doc_in_tenant_b");
        let arguments = json!({"document_ids": ids, "operation": "measure"});
        let bulk = ada
            .call_tool("bulk_process_documents", arguments)
            .await
            .unwrap();
        let bulk: Bulk = bulk.data().unwrap();
        assert_eq!((bulk.processed, bulk.results[0]), (24, 5));
        assert_eq!(bulk.skipped, ["doc_in_tenant_b"]);
        let told = recorder.until("notifications/message", 3).await.unwrap();
        assert_eq!(told[2].params["data"], "Progress: 25/25");
    }

    #[tokio::test]
    async fn callers_learn_what_they_may_do() {
        let (ada, _) = client("tenant_b", &["write:documents"]).await;
        let told = ada
            .call_tool("get_user_activity_summary", json!({}))
            .await
            .unwrap();
        let expected = Activity {
            user_id: "ada".to_owned(),
            tenant_id: Some("tenant_b".to_owned()),
            scopes: vec!["write:documents".to_owned()],
            can_write: true,
            can_write_classified: false,
            documents: 1,
        };
        assert_eq!(told.data::<Activity>().unwrap(), expected);
    }
}
