//! Completing arguments.

use fastmcp::{
    PromptBuilder,
    auth::Caller,
    prelude::*,
    protocol::completion::{CompleteParams, CompleteResult, Reference},
};
use serde_json::{Map, Value};

#[derive(Deserialize, JsonSchema)]
struct Language {
    language: String,
}

#[derive(Deserialize, JsonSchema)]
struct Page {
    page: String,
}

async fn complete(_: Caller, params: CompleteParams<'static>) -> Result<Vec<String>> {
    tokio::task::yield_now().await;
    if matches!(&params.reference, Reference::Resource { .. }) && params.argument.value == "x" {
        return Err(ToolError::new("the index is away").into());
    }
    let begins = |word: &&str| word.starts_with(&*params.argument.value);
    let words = ["perl", "prolog", "python"];
    Ok(words
        .iter()
        .filter(|w| begins(w))
        .map(|w| (*w).to_owned())
        .collect())
}

fn server() -> Server {
    let review = |args: Language, _: Context| async move { format!("Review {}", args.language) };
    FastMcp::new("completion")
        .prompt(PromptBuilder::new("review", review))
        .prompt(PromptBuilder::new("secret", review).require_scope("admin"))
        .resource(fastmcp::ResourceBuilder::new(
            "wiki://{page}",
            "wiki",
            |args: Page, _: Context| async move { args.page },
        ))
        .completion(complete)
        .build()
        .unwrap()
}

async fn ask(reference: Value, value: &str) -> std::result::Result<Vec<String>, String> {
    let client = Client::connect_as(&server(), Caller::anonymous())
        .await
        .unwrap();
    let argument = json!({"name": "language", "value": value});
    let params = Map::from_iter([
        ("ref".to_owned(), reference),
        ("argument".to_owned(), argument),
    ]);
    let answer = client.request("completion/complete", params).await;
    let answer = answer.map_err(|e| e.message().to_owned())?;
    Ok(answer.decode::<CompleteResult>().unwrap().completion.values)
}

#[tokio::test]
async fn arguments_of_prompts_and_templates_are_completed() {
    let prompt = json!({"type": "ref/prompt", "name": "review"});
    assert_eq!(
        ask(prompt, "p").await.unwrap(),
        ["perl", "prolog", "python"]
    );
    for uri in ["wiki://{page}", "wiki://py"] {
        let template = json!({"type": "ref/resource", "uri": uri});
        assert_eq!(ask(template, "py").await.unwrap(), ["python"]);
    }
    let template = json!({"type": "ref/resource", "uri": "wiki://{page}"});
    assert_eq!(ask(template, "x").await.unwrap_err(), "the index is away");
}

#[tokio::test]
async fn what_a_caller_does_not_see_is_not_completed() {
    let hidden = json!({"type": "ref/prompt", "name": "secret"});
    let unknown = json!({"type": "ref/prompt", "name": "none"});
    assert_eq!(
        ask(hidden, "p").await.unwrap_err(),
        "`params.ref` names the unknown prompt `secret`"
    );
    assert_eq!(
        ask(unknown, "p").await.unwrap_err(),
        "`params.ref` names the unknown prompt `none`"
    );
    let elsewhere = json!({"type": "ref/resource", "uri": "other://x"});
    assert!(ask(elsewhere, "p").await.is_err());
}
