//! Completing arguments.

use std::collections::BTreeMap;

use fastmcp::{
    CompletionBuilder, PromptBuilder,
    auth::Caller,
    prelude::*,
    protocol::completion::{CompleteContext, CompleteParams, CompleteResult, Reference},
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

struct Index(Vec<&'static str>);

impl Index {
    fn beginning_with(&self, typed: &str) -> Vec<&'static str> {
        let all = self.0.iter().copied();
        all.filter(|word| word.starts_with(typed)).collect()
    }
}

/// Reviews a file.
#[prompt(inline)]
fn review(language: String, file: String) -> String {
    format!("Review {file}, which is {language}.")
}

#[completion(prompt = "review", argument = "language")]
async fn languages(typed: &str, State(index): State<Index>, ctx: Context) -> Vec<&'static str> {
    ctx.info("languages").await;
    index.beginning_with(typed)
}

/// On the blocking pool, by what is settled.
#[completion(prompt = "review", argument = "file")]
fn files(typed: String, language: String, none: Option<String>) -> Result<Vec<String>> {
    if language == "cobol" {
        return Err(ToolError::new("nobody knows any").into());
    }
    Ok(vec![format!(
        "{typed}.{language}{}",
        none.unwrap_or_default()
    )])
}

fn reviews() -> FastMcp {
    FastMcp::new("reviews")
        .state(Index(vec!["perl", "prolog", "rust"]))
        .prompt(review)
        .completion(languages)
        .completion(files)
}

/// What the server completes for an argument of a prompt, with what is settled for others.
async fn values(
    client: &Client,
    reference: Reference<'static>,
    (argument, typed): (&str, &str),
    settled: &[(&str, &str)],
) -> std::result::Result<Vec<String>, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let arguments: BTreeMap<_, _> = settled.iter().map(owned).collect();
    let context = CompleteContext {
        arguments: (!arguments.is_empty()).then_some(arguments),
    };
    let completed = client
        .complete(reference, argument, typed, Some(context))
        .await;
    completed
        .map(|completion| completion.values)
        .map_err(|e| e.message().to_owned())
}

fn prompt_of(name: &'static str) -> Reference<'static> {
    Reference::Prompt { name: name.into() }
}

#[tokio::test]
async fn functions_complete_the_arguments_that_they_name() {
    let client = Client::connect(&reviews().build().unwrap()).await.unwrap();
    let review = || prompt_of("review");
    let found = values(&client, review(), ("language", "p"), &[]).await;
    assert_eq!(found.unwrap(), ["perl", "prolog"]);
    let unsettled = values(&client, review(), ("file", "a"), &[]).await;
    assert!(unsettled.unwrap().is_empty(), "the language is not known");
    let by = |language| [("language", language)];
    let found = values(&client, review(), ("file", "a"), &by("rs")).await;
    assert_eq!(found.unwrap(), ["a.rs"]);
    let failed = values(&client, review(), ("file", "a"), &by("cobol")).await;
    assert_eq!(failed.unwrap_err(), "nobody knows any");
    let other = values(&client, review(), ("none", ""), &[]).await;
    assert!(other.unwrap().is_empty(), "nothing completes it");
    assert_eq!(
        languages::call(
            "r",
            State(std::sync::Arc::new(Index(vec!["rust"]))),
            context().await
        )
        .await,
        ["rust"]
    );
}

/// A context, for a function that is called by itself.
async fn context() -> Context {
    let kept = std::sync::Arc::new(std::sync::OnceLock::new());
    let keep = std::sync::Arc::clone(&kept);
    let tool = fastmcp::ToolBuilder::new("keep", move |(): (), ctx: Context| {
        drop(keep.set(ctx));
        async { "kept" }
    });
    let server = FastMcp::new("kept").tool(tool).build().unwrap();
    let client = Client::connect(&server).await.unwrap();
    client.call_tool("keep", json!({})).await.unwrap();
    kept.get().unwrap().clone()
}

#[completion]
async fn by_index(typed: &str, index: State<Index>) -> Option<Vec<&'static str>> {
    (!typed.is_empty()).then(|| index.beginning_with(typed))
}

async fn pages(typed: String, ctx: Context) -> Vec<String> {
    vec![format!("{typed} for {}", ctx.caller().subject())]
}

/// A page.
#[resource("wiki://{language}/{page}", inline)]
fn wiki(
    #[arg(complete = by_index)] language: String,
    #[arg(complete = pages)] page: String,
) -> String {
    format!("{language}: {page}")
}

/// Translates.
#[prompt(inline)]
fn translate(#[arg(complete = by_index, rename = "to")] language: String) -> String {
    language
}

#[tokio::test]
async fn arguments_name_what_completes_them() {
    let server = FastMcp::new("wiki")
        .state(Index(vec!["perl", "rust"]))
        .resource(wiki)
        .prompt(translate);
    let client = Client::connect(&server.build().unwrap()).await.unwrap();
    let wiki = || Reference::Resource {
        uri: "wiki://{language}/{page}".into(),
    };
    let found = values(&client, wiki(), ("language", "p"), &[]).await;
    assert_eq!(found.unwrap(), ["perl"]);
    let found = values(&client, wiki(), ("page", "p"), &[]).await;
    assert_eq!(found.unwrap(), ["p for local"]);
    let found = values(&client, prompt_of("translate"), ("to", "r"), &[]).await;
    assert_eq!(found.unwrap(), ["rust"]);
    let found = values(&client, prompt_of("translate"), ("to", ""), &[]).await;
    assert!(found.unwrap().is_empty());
    let lacking = FastMcp::new("wiki").prompt(translate).build();
    let lacking = lacking.unwrap_err();
    assert!(lacking.message().contains("Index"), "{lacking}");
}

struct Library(Vec<&'static str>);

#[tools]
impl Library {
    /// Lends a book.
    #[prompt]
    async fn lend(&self, title: String) -> String {
        format!("Lend me {title}; there are {}.", self.0.len())
    }

    #[completion(prompt = "lend", argument = "title")]
    async fn titles(&self, typed: &str) -> Vec<&'static str> {
        let all = self.0.iter().copied();
        all.filter(|title| title.starts_with(typed)).collect()
    }
}

#[tokio::test]
async fn methods_complete_here_and_where_their_server_is_mounted_or_copied() {
    let library = || FastMcp::new("library").tools(Library(vec!["Emma", "Ulysses"]));
    let own = library().build().unwrap();
    let reviews = reviews().build().unwrap();
    let whole = FastMcp::new("whole")
        .mount(&own, "lib")
        .import_server(&reviews, "copied")
        .build()
        .unwrap();
    for (server, lend) in [(&own, "lend"), (&whole, "lib_lend")] {
        let client = Client::connect(server).await.unwrap();
        let found = values(&client, prompt_of(lend), ("title", "E"), &[]).await;
        assert_eq!(found.unwrap(), ["Emma"]);
    }
    let client = Client::connect(&whole).await.unwrap();
    let found = values(&client, prompt_of("copied_review"), ("language", "r"), &[]).await;
    assert_eq!(
        found.unwrap(),
        ["rust"],
        "with the values of where it came from"
    );
}

#[tokio::test]
async fn a_completion_cannot_ask_the_user() {
    async fn asks(_: String, ctx: Context) -> Result<Vec<String>> {
        #[derive(Deserialize, JsonSchema)]
        struct Name {
            name: String,
        }
        Ok(vec![ctx.elicit::<Name>("name", "Whose?").await?.name])
    }
    let server = FastMcp::new("asks")
        .mask_error_details(false)
        .prompt(translate)
        .state(Index(Vec::new()))
        .prompt(review)
        .completion(CompletionBuilder::new(asks).prompt("review", "file"));
    let client = Client::builder()
        .on_elicit(|_| async { Err(Error::declined("nobody is asked")) })
        .connect_server(&server.build().unwrap())
        .await
        .unwrap();
    let asked = values(&client, prompt_of("review"), ("file", ""), &[]).await;
    let asked = asked.unwrap_err();
    assert!(asked.contains("about calls alone"), "{asked}");
}

#[test]
fn what_completes_nothing_is_refused_when_the_server_is_built() {
    let refusal = |server: FastMcp| server.build().unwrap_err().message().to_owned();
    let indexed = || FastMcp::new("x").state(Index(Vec::new()));
    let unknown = refusal(indexed().completion(languages));
    assert!(
        unknown.contains("prompt `review` is completed, and the server has no such prompt"),
        "{unknown}"
    );
    let twice = refusal(reviews().completion(languages));
    assert!(twice.contains("`language` is completed twice"), "{twice}");
    let nowhere = refusal(indexed().prompt(review).completion(by_index));
    assert!(
        nowhere.contains("does not say what it completes"),
        "{nowhere}"
    );
    let other = CompletionBuilder::new(pages).prompt("review", "path");
    let other = refusal(indexed().prompt(review).completion(other));
    assert!(
        other.contains("prompt `review`: its argument `path` is completed"),
        "{other}"
    );
    let wrong = PromptBuilder::new("p", |(): (), _: Context| async { "" }).completion("a", pages);
    let wrong = refusal(FastMcp::new("x").prompt(wrong));
    assert!(wrong.contains("its argument `a` is completed"), "{wrong}");
}
