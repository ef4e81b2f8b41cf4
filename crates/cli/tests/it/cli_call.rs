//! Tools, resources and prompts by `call`.

use serde_json::{Value, json};

use crate::support::{Home, PATH, Sample};

#[tokio::test]
async fn words_are_typed_by_the_schema() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let said = home.say(&["call", &sample.url, "add", "a=2", "b=3"]).await;
    assert_eq!((said.code, said.stdout.as_str()), (0, "5\n"), "{said:?}");
    let words = [
        "call",
        &sample.url,
        "tell",
        "text=42",
        "times=3",
        "loud=true",
        "tags=a",
        "tags=b",
        "--json",
    ];
    let told = home.say(&words).await.json()["structuredContent"].clone();
    assert_eq!(
        told,
        json!({"text": "42", "times": 3, "loud": true, "tags": ["a", "b"]})
    );
    let words = [
        "call",
        &sample.url,
        "tell",
        "--json-args",
        r#"{"text": "x", "times": 1}"#,
        "times:=2",
        "--json",
    ];
    let told = home.say(&words).await.json()["structuredContent"].clone();
    assert_eq!((&told["text"], &told["times"]), (&json!("x"), &json!(2)));
    home.write("args.json", r#"{"a": 20, "b": 22}"#);
    let said = home
        .say(&["call", &sample.url, "add", "--args-file", "args.json"])
        .await;
    assert_eq!(said.stdout, "42\n", "{said:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_said_before_anything_is_called() {
    let (home, sample) = (Home::new(), Sample::start().await);
    for (words, why) in [
        (
            &["add", "a=2", "b=three"][..],
            "`b`: give a whole number of at most 64 bits, not `three`",
        ),
        (&["add", "a=2"], "missing: `b`"),
        (&["add", "a=2"], "`add` takes a: integer, b: integer"),
        (&["ad", "a=2"], "no tool `ad`; did you mean `add`?"),
        (
            &["tell", "text=x", "--json-args", "[]"],
            "--json-args: give a JSON object",
        ),
        (&["config://app", "x=1"], "a resource takes no arguments"),
    ] {
        let said = home.say(&[&["call", &sample.url], words].concat()).await;
        assert!(
            said.code == 2 && said.stderr.contains(why),
            "{words:?}: {said:?}"
        );
    }
}

#[tokio::test]
async fn a_failed_tool_is_a_failure_and_says_so() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let said = home.say(&["call", &sample.url, "fail"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.stdout.contains("the disk is full") && said.stderr.contains("`fail` failed"),
        "{said:?}"
    );
    let said = home.say(&["call", &sample.url, "fail", "--json"]).await;
    assert_eq!((said.code, &said.json()["isError"]), (1, &json!(true)));
    let said = home.say(&["call", &sample.url, "think"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("sampling"),
        "{said:?}"
    );
    let said = home.say(&["call", "http://127.0.0.1:1/mcp", "add"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("cannot be connected to"),
        "{said:?}"
    );
}

#[tokio::test]
async fn progress_is_shown_beside_the_result_and_images_are_kept() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let said = home.say(&["call", &sample.url, "work"]).await;
    assert_eq!(said.stdout, "worked\n");
    assert!(
        said.stderr.contains("1 of 2: step") && said.stderr.contains("2 of 2: step"),
        "{said:?}"
    );
    let said = home.say(&["call", &sample.url, "draw"]).await;
    assert_eq!(
        said.stdout,
        "[image/png, 8 bytes; --output-dir DIR keeps it]\n"
    );
    let said = home
        .say(&["call", &sample.url, "draw", "--output-dir", "pictures"])
        .await;
    assert!(said.code == 0 && said.stdout.is_empty(), "{said:?}");
    let kept = std::fs::read(home.folder().join("pictures/draw-1.png")).unwrap();
    assert_eq!(kept, b"\x89PNG dot");
}

#[tokio::test]
async fn resources_are_read_and_prompts_rendered() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let said = home.say(&["call", &sample.url, "config://app"]).await;
    assert_eq!(said.stdout, "{\"debug\": false}\n", "{said:?}");
    let said = home
        .say(&[
            "call",
            &sample.url,
            "--resource",
            "greeting://Ada",
            "--json",
        ])
        .await;
    assert_eq!(said.json()["contents"][0]["text"], "Hello, Ada!");
    let said = home
        .say(&["call", &sample.url, "--prompt", "review", "code=x=1"])
        .await;
    assert_eq!(
        said.stdout, "[user]\nWrite a short review of: x=1\n",
        "{said:?}"
    );
    let said = home.say(&["call", &sample.url, "--prompt", "review"]).await;
    assert!(
        said.code == 2 && said.stderr.contains("missing: `code`"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_question_is_answered_beforehand_or_refused_where_nobody_is_asked() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let target = ["call", &sample.url, "book"];
    let said = home
        .say(
            &[
                &target[..],
                &["--elicit", "seats=2", "--elicit", "window=true"],
            ]
            .concat(),
        )
        .await;
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "2 seats, window: Some(true)\n"),
        "{said:?}"
    );
    let said = home.say(&target).await;
    assert_eq!(said.code, 1, "{said:?}");
    for part in [
        "the server asks: How many seats?",
        "seats: integer",
        "nobody is at the terminal",
        "--elicit NAME=VALUE",
    ] {
        assert!(said.stderr.contains(part), "{part}: {said:?}");
    }
    let said = home
        .say(&[&target[..], &["--elicit", "seats=many"]].concat())
        .await;
    assert!(
        said.code == 1 && said.stderr.contains("`seats`: give a whole number"),
        "{said:?}"
    );
}

#[tokio::test]
async fn the_gateway_asks_for_confirmation_and_acts_once_it_has_it() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let url = format!("http://{}/mcp", gateway.address());
    let call = [
        "call",
        &url,
        "ads_createCampaign",
        "name=Spring sale",
        "budget=250",
        "startDate=2026-03-01",
        "--bearer-env",
        "TOKEN",
    ];
    let vars = [("TOKEN", token.as_str())];
    let said = home.say_with(&call, &vars).await;
    assert!(
        said.code == 1 && said.stderr.contains("Spring sale"),
        "{said:?}"
    );
    assert!(said.stderr.contains("confirm: boolean"), "{said:?}");
    let said = home
        .say_with(
            &[&call[..], &["--elicit", "confirm=true", "--json"]].concat(),
            &vars,
        )
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.json().to_string().contains("PAUSED"), "{said:?}");
}

#[tokio::test]
async fn through_a_front_on_standard_input_and_output_everything_is_the_same() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let front = ["--", PATH, "run", &sample.url];
    let said = home
        .say(&[&["call", "add", "a=2", "b=3"], &front[..]].concat())
        .await;
    assert_eq!(said.stdout, "5\n", "{said:?}");
    let said = home
        .say(&[&["call", "book", "--elicit", "seats=1"], &front[..]].concat())
        .await;
    assert_eq!(said.stdout, "1 seats, window: None\n", "{said:?}");
    let said = home.say(&[&["call", "work"], &front[..]].concat()).await;
    assert!(said.stderr.contains("2 of 2: step"), "{said:?}");
    let value: Value = home
        .say(&[&["call", "fail", "--json"], &front[..]].concat())
        .await
        .json();
    assert_eq!(value["isError"], true);
}
