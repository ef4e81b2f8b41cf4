use fastmcp_guard::random::OsRandom;
use fastmcp_protocol::args::ArgsLimits;
use serde_json::{Value, json};

use super::*;

fn open(folder: &tempfile::TempDir) -> AdsProvider {
    AdsProvider::open(&folder.path().join("ads.db"), Arc::new(OsRandom)).unwrap()
}

async fn create(
    ads: &AdsProvider,
    tenant: &str,
    operation: &str,
    args: &str,
) -> Result<Value, ProviderError> {
    let args = Args::parse_str(args, &ArgsLimits::default()).unwrap();
    let grant = grant::internal(PROVIDER_ID, &OsRandom)?;
    let call = Call {
        grant: &grant,
        operation_id: operation,
        tenant,
        scopes: &[],
        timeout: Duration::from_secs(20),
    };
    let raw = ads.call(CREATE_CAMPAIGN, &args, &call).await?;
    Ok(raw.decode().unwrap())
}

const SPRING: &str =
    r#"{"name":" Spring ","budget":99.90,"startDate":"2026-03-01","endDate":"2026-03-31"}"#;

#[tokio::test]
async fn a_campaign_is_created_paused_in_the_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let made = create(&open(&folder), "acme", "op-1", SPRING)
        .await
        .unwrap();
    let id = made["campaignId"].as_str().unwrap().to_owned();
    assert!(id.starts_with("sandbox-") && id.len() == 30, "{id}");
    assert_eq!(
        made,
        json!({
            "campaignId": id, "status": "PAUSED", "mode": "sandbox", "account": "sandbox",
            "name": "Spring", "budget": 99.9, "startDate": "2026-03-01", "endDate": "2026-03-31"
        })
    );
}

#[tokio::test]
async fn an_operation_done_again_finds_its_campaign() {
    let folder = tempfile::tempdir().unwrap();
    let first = create(&open(&folder), "acme", "op-1", SPRING)
        .await
        .unwrap();
    // Another process, later.
    let ads = open(&folder);
    let again = create(&ads, "acme", "op-1", SPRING).await.unwrap();
    assert_eq!(first, again);
    let other = create(&ads, "acme", "op-2", SPRING).await.unwrap();
    let foreign = create(&ads, "other", "op-1", SPRING).await.unwrap();
    assert_ne!(first["campaignId"], other["campaignId"]);
    assert_ne!(first["campaignId"], foreign["campaignId"]);
    let changed = SPRING.replace("99.90", "99.91");
    let error = create(&ads, "acme", "op-1", &changed).await.unwrap_err();
    assert!(
        error.invalid_argument && error.effect == Effect::None,
        "{error:?}"
    );
    let kept: i64 = rusqlite::Connection::open(folder.path().join("ads.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM campaigns", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 3);
}

#[tokio::test]
async fn what_is_refused_names_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let ads = open(&folder);
    for (args, named) in [
        (json!({"budget": 1, "startDate": "2026-03-01"}), "`name`"),
        (
            json!({"name": " ", "budget": 1, "startDate": "2026-03-01"}),
            "`name`",
        ),
        (
            json!({"name": "x".repeat(256), "budget": 1, "startDate": "2026-03-01"}),
            "`name`",
        ),
        (
            json!({"name": "a\nb", "budget": 1, "startDate": "2026-03-01"}),
            "`name`",
        ),
        (json!({"name": "a", "startDate": "2026-03-01"}), "`budget`"),
        (
            json!({"name": "a", "budget": 0, "startDate": "2026-03-01"}),
            "`budget`",
        ),
        (
            json!({"name": "a", "budget": "1", "startDate": "2026-03-01"}),
            "`budget`",
        ),
        (
            json!({"name": "a", "budget": 1, "startDate": "2026-02-30"}),
            "`startDate`",
        ),
        (
            json!({"name": "a", "budget": 1, "startDate": "20260301"}),
            "`startDate`",
        ),
        (
            json!({"name": "a", "budget": 1, "startDate": "2026-03-01T00:00:00Z"}),
            "`startDate`",
        ),
        (
            json!({"name": "a", "budget": 1, "startDate": "2026-03-02", "endDate": "2026-03-01"}),
            "`endDate`",
        ),
        (
            json!({"name": "a", "budget": 1, "startDate": "2026-03-02", "endDate": ""}),
            "`endDate`",
        ),
        (
            json!({"name": "a", "budget": 1, "startDate": "2026-03-02", "bid": 1}),
            "`bid`",
        ),
    ] {
        let error = create(&ads, "acme", "op", &args.to_string())
            .await
            .unwrap_err();
        assert!(
            error.invalid_argument && error.message.contains(named),
            "{args}: {error}"
        );
    }
    let made = create(
        &ads,
        "acme",
        "op",
        r#"{"name":"a","budget":1,"startDate":"2026-03-02","endDate":null}"#,
    )
    .await;
    assert_eq!(made.unwrap()["endDate"], Value::Null);
}

#[tokio::test]
async fn the_account_answers_for_its_readiness() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(open(&folder).ready().await, Ok(()));
    std::fs::write(folder.path().join("text.db"), "x".repeat(4096)).unwrap();
    let error = AdsProvider::open(&folder.path().join("text.db"), Arc::new(OsRandom)).unwrap_err();
    assert!(error.to_string().contains("text.db"), "{error}");
    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    assert!(AdsProvider::open(&foreign, Arc::new(OsRandom)).is_err());
}
