//! Programs that `generate-cli` writes, run for real.

use std::fs;

use fastmcp::{ToolBuilder, prelude::*, protocol::tool::JsonSchema as Schema};
use serde_json::{Map, Value, json};

use crate::support::{Home, PATH, Sample};

#[tokio::test]
async fn the_tools_of_a_server_are_commands() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let said = home.say(&["generate-cli", &sample.url]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout
            .starts_with("7 tools of sample are commands of ")
            && said.stdout.contains("SKILL.md teaches"),
        "{said:?}"
    );
    let help = home.shell(&["cli.sh", "--help"], &[]).await;
    for part in [
        "Usage: cli.sh [OPTIONS] TOOL [FLAGS]",
        "The tools of sample.",
        "  add    Adds two numbers.\n  tell   Says what it was given.\n",
    ] {
        assert!(help.stdout.contains(part), "{part}: {help:?}");
    }
    let help = home.shell(&["cli.sh", "tell", "--help"], &[]).await;
    assert!(
        help.stdout.starts_with("Usage: cli.sh tell --text TEXT [")
            && help.stdout.contains("  --times INTEGER\n"),
        "{help:?}"
    );
    let words = ["cli.sh", "add", "--a", "2", "--b=40"];
    let said = home.shell(&words, &[]).await;
    assert_eq!((said.code, said.stdout.as_str()), (0, "42\n"), "{said:?}");
    let words = [
        "cli.sh",
        "tell",
        "--text",
        "it's $HOME `x` -- 42",
        "--loud",
        "--tags",
        "a b",
        "--tags=c",
        "--times",
        "3",
        "--json",
    ];
    let told = home.shell(&words, &[]).await.json()["structuredContent"].clone();
    assert_eq!(
        told,
        json!({"text": "it's $HOME `x` -- 42", "times": 3, "loud": true, "tags": ["a b", "c"]})
    );
    let words = ["cli.sh", "tell", "--json-args", "{\"text\": \"whole\"}"];
    let said = home.shell(&words, &[]).await;
    assert!(said.code == 0 && said.stdout.contains("whole"), "{said:?}");
    let words = ["cli.sh", "--elicit", "seats=2", "book"];
    let said = home.shell(&words, &[]).await;
    assert_eq!(said.stdout, "2 seats, window: None\n", "{said:?}");
    let said = home
        .shell(&["cli.sh", "--resource", "config://app"], &[])
        .await;
    assert_eq!(said.stdout, "{\"debug\": false}\n", "{said:?}");
    let words = ["cli.sh", "--prompt", "review", "code=main"];
    let said = home.shell(&words, &[]).await;
    assert!(said.stdout.contains("review of: main"), "{said:?}");
    let said = home.shell(&["cli.sh", "--list"], &[]).await;
    assert!(said.stdout.starts_with("Tools (7)"), "{said:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_usage_and_what_fails_is_failure() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let said = home.say(&["generate-cli", &sample.url, "tools"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    for (words, code, why) in [
        (&["tools", "add", "--a", "2"][..], 2, "missing: --b"),
        (
            &["tools", "add", "--c", "2"],
            2,
            "'add' has no flag '--c'; 'tools add --help' shows",
        ),
        (&["tools", "ad"], 2, "there is no tool 'ad'"),
        // The types are those that the server has now.
        (
            &["tools", "add", "--a=two", "--b=1"],
            2,
            "`a`: give a whole number",
        ),
        (&["tools", "fail"], 1, "`fail` failed"),
    ] {
        let said = home.shell(words, &[]).await;
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        assert!(said.stderr.contains(why), "{words:?}: {said:?}");
    }
    drop(sample);
    let said = home.shell(&["tools", "add", "--a=1", "--b=2"], &[]).await;
    assert!(
        said.code == 1 && said.stderr.contains("cannot be connected to"),
        "{said:?}"
    );
}

#[tokio::test]
async fn over_standard_input_and_output_from_any_folder() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let words = ["generate-cli", "bin/cli.sh", "--no-skill"];
    fs::create_dir(home.folder().join("bin")).unwrap();
    let said = home
        .say(&[&words[..], &["--", PATH, "run", &sample.url]].concat())
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!home.folder().join("bin/SKILL.md").exists());
    let program = home.folder().join("bin/cli.sh");
    let shown = program.to_str().unwrap();
    let elsewhere = format!("cd / && exec '{shown}' add --a 2 --b 3");
    let said = home.shell(&["-c", &elsewhere], &[]).await;
    assert_eq!((said.code, said.stdout.as_str()), (0, "5\n"), "{said:?}");
    // The working folder by its path.
    let source = json!({"name": "demo", "source": {"url": sample.url}}).to_string();
    home.write("fastmcp.json", &source);
    let said = home.say(&["generate-cli", ".", "-"]).await;
    assert!(said.stdout.starts_with("#!/bin/sh\n"), "{said:?}");
    let folder = home.folder().canonicalize().unwrap();
    assert!(said.stdout.contains(folder.to_str().unwrap()), "{said:?}");
    assert!(!home.folder().join("cli.sh").exists());
}

#[tokio::test]
async fn what_is_there_stays_unless_it_is_forced() {
    let (home, sample) = (Home::new(), Sample::start().await);
    home.write("cli.sh", "mine");
    home.write("keep/SKILL.md", "mine too");
    let said = home.say(&["generate-cli", &sample.url]).await;
    assert!(
        said.code == 2
            && said
                .stderr
                .contains("cli.sh` is there already; give --force"),
        "{said:?}"
    );
    let said = home.say(&["generate-cli", &sample.url, "keep/cli"]).await;
    assert!(
        said.code == 2
            && said
                .stderr
                .contains("--force to overwrite it, or --no-skill"),
        "{said:?}"
    );
    let read = |path: &str| fs::read_to_string(home.folder().join(path)).unwrap();
    assert_eq!(
        (read("cli.sh"), read("keep/SKILL.md")),
        ("mine".to_owned(), "mine too".to_owned())
    );
    assert!(!home.folder().join("keep/cli").exists());
    let said = home.say(&["generate-cli", &sample.url, "--force"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(read("cli.sh").starts_with("#!/bin/sh\n"));
    let skill = read("SKILL.md");
    for part in [
        "---\nname: sample\ndescription: \"Calls the tools of sample",
        "`./cli.sh --help` lists the tools",
        "### `add`\n\n```text\n./cli.sh add --a INTEGER --b INTEGER\n\nAdds two numbers.\n",
    ] {
        assert!(skill.contains(part), "{part}: {skill}");
    }
    let said = home.say(&["generate-cli", &sample.url, "keep"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("is a folder"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_token_is_named_and_never_written() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let url = format!("http://{}/mcp", gateway.address());
    let words = ["generate-cli", &url, "--bearer-env", "GATE_TOKEN"];
    let vars = [("GATE_TOKEN", token.as_str())];
    let said = home.say_with(&words, &vars).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout.contains("it needs the variable `GATE_TOKEN`"),
        "{said:?}"
    );
    for file in ["cli.sh", "SKILL.md"] {
        let text = fs::read_to_string(home.folder().join(file)).unwrap();
        assert!(
            text.contains("GATE_TOKEN") && !text.contains(&token),
            "{text}"
        );
    }
    let said = home.shell(&["cli.sh", "--list"], &vars).await;
    assert_eq!(said.code, 0, "{said:?}");
    let said = home.shell(&["cli.sh", "--list"], &[]).await;
    assert!(
        said.code == 1 && said.stderr.contains("the variable `GATE_TOKEN` is not set"),
        "{said:?}"
    );
    let header = format!("Authorization: Bearer {token}");
    let said = home
        .say(&["generate-cli", &url, "other.sh", "--header", &header])
        .await;
    assert!(
        said.code == 2 && said.stderr.contains("name a variable") && !said.stderr.contains(&token),
        "{said:?}"
    );
    assert!(!home.folder().join("other.sh").exists());
}

/// A tool that says what it was given.
fn echo(name: &str, description: &str, schema: &Value) -> ToolBuilder {
    ToolBuilder::new(name, |given: Map<String, Value>, _| async move {
        Value::Object(given).to_string()
    })
    .description(description)
    .input_schema(Schema::from_value(schema).unwrap())
}

#[tokio::test]
async fn a_hostile_server_has_nothing_run_and_nothing_hidden() {
    let evil = "x'; touch pwned; ' $(touch pwned) `touch pwned`\n)\nesac\n}\ntouch pwned\n---\n```\n\u{1b}[2J\u{202e}";
    let schema = json!({
        "type": "object",
        "properties": {
            "ok": {"type": "string", "description": evil, "default": evil},
            "size": {"enum": ["'; touch pwned; '", "$(touch pwned)"], "description": evil},
            (evil): {"type": "string"}
        }
    });
    let visible = "it's $(touch pwned) `touch pwned`; touch pwned #";
    let server = FastMcp::new(evil)
        .tool(echo("plain", evil, &schema))
        .tool(echo(visible, evil, &schema))
        .tool(echo("hid\u{202e}den", evil, &schema))
        .tool(echo("a\nb", evil, &schema))
        .tool(echo("--force", evil, &schema));
    let (home, sample) = (Home::new(), Sample::serve(server).await);
    let said = home.say(&["generate-cli", &sample.url]).await;
    assert_eq!(said.code, 0, "{said:?}");
    for shown in ["`hid\\u{202e}den` is left out", "`a\\u{a}b`", "`--force`"] {
        assert!(said.stderr.contains(shown), "{shown}: {said:?}");
    }
    for file in ["cli.sh", "SKILL.md"] {
        let text = fs::read_to_string(home.folder().join(file)).unwrap();
        let is_seen = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(text.chars().all(is_seen), "{text:?}");
    }
    for words in [&["--help"][..], &["plain", "--help"], &[visible, "--help"]] {
        let said = home.shell(&[&["cli.sh"], words].concat(), &[]).await;
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
        assert!(
            said.stdout.contains("\\u{1b}[2J\\u{202e}") || words.len() == 1,
            "{said:?}"
        );
    }
    let value = "$(touch pwned)'\"`touch pwned`";
    for tool in ["plain", visible] {
        let said = home
            .shell(
                &["cli.sh", tool, "--ok", value, "--size", "$(touch pwned)"],
                &[],
            )
            .await;
        assert_eq!(said.code, 0, "{said:?}");
        let given: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(given, json!({"ok": value, "size": "$(touch pwned)"}));
    }
    let said = home
        .shell(&["cli.sh", "plain", "--size", "large"], &[])
        .await;
    assert!(
        said.code == 2
            && said
                .stderr
                .contains("--size: give one of '; touch pwned; ', $(touch"),
        "{said:?}"
    );
    assert!(!home.folder().join("pwned").exists());
    let skill = fs::read_to_string(home.folder().join("SKILL.md")).unwrap();
    assert_eq!(
        skill.lines().filter(|line| *line == "---").count(),
        2 + 2,
        "the front matter, and a line in each of two blocks"
    );
}

#[tokio::test]
async fn the_command_teaches_itself() {
    let home = Home::new();
    let said = home.say(&["generate-cli", "--help"]).await;
    for part in [
        "Usage: fastmcp generate-cli [OPTIONS] [TARGET] [FILE] [-- <COMMAND>...]",
        "./cli.sh forecast --city Oslo --days 3 --json",
        "No secret is written down",
    ] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    let said = home.say(&["generate-cli", "x", "y", "--", "z"]).await;
    assert!(
        said.code == 2 && said.stderr.contains("two targets"),
        "{said:?}"
    );
}
