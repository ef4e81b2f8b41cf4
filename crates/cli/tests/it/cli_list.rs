//! What a server has, by `list` and `inspect`, and the ways to name a server.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Home, PATH, Said, Sample};

#[tokio::test]
async fn a_server_at_an_address_is_listed_for_people() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let said = home.say(&["list", &sample.url]).await;
    assert_eq!(said.code, 0, "{said:?}");
    insta::assert_snapshot!(said.stdout, @r"
    Tools (7)
    NAME   ARGUMENTS                                                    DESCRIPTION
    add    a: integer, b: integer                                       Adds two numbers.
    tell   text: string, loud?: boolean, tags?: array, times?: integer  Says what it was given.
    fail   -                                                            Never works.
    draw   -                                                            Draws a dot.
    work   -                                                            Works in steps.
    book   -                                                            Books seats.
    think  -                                                            Asks a model.

    Resources (1)
    URI           NAME      TYPE              DESCRIPTION
    config://app  settings  application/json  The settings.

    Resource templates (1)
    URI                NAME      TYPE        DESCRIPTION
    greeting://{name}  greeting  text/plain  A greeting for somebody.

    Prompts (1)
    NAME    ARGUMENTS     DESCRIPTION
    review  code, style?  Asks for a review.
    ");
    let said = home.say(&["list", &sample.url, "--prompts"]).await;
    assert!(said.stdout.starts_with("Prompts (1)"), "{said:?}");
    assert!(!said.stdout.contains("Tools"), "{said:?}");
    let said = home
        .say(&["list", &sample.url, "--tools", "--schema"])
        .await;
    assert!(said.stdout.contains("add: arguments\n{"), "{said:?}");
}

#[tokio::test]
async fn a_server_is_listed_for_scripts() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let said = home.say(&["list", &sample.url, "--json"]).await;
    let value = said.json();
    let names: Vec<_> = value["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert!(names.contains(&&json!("add")), "{names:?}");
    assert_eq!(value["serverInfo"]["name"], "sample");
    assert_eq!(value["protocolVersion"], "2026-07-28");
    assert_eq!(value["resources"][0]["uri"], "config://app");
    assert_eq!(
        value["resourceTemplates"][0]["uriTemplate"],
        "greeting://{name}"
    );
    assert_eq!(value["prompts"][0]["name"], "review");
    let older = home
        .say(&["list", &sample.url, "--json", "--revision", "2025-06-18"])
        .await
        .json();
    assert_eq!(
        (&older["protocolVersion"], &older["prompts"]),
        (&json!("2025-06-18"), &value["prompts"])
    );
}

#[tokio::test]
async fn a_command_is_a_target_and_so_is_what_run_makes() {
    let (home, sample) = (Home::new(), Sample::start().await);
    // The command itself is a server on standard input and output, in front of the one at the address.
    let said = home
        .say(&["list", "--json", "--", PATH, "run", &sample.url])
        .await;
    assert_eq!(
        said.json()["serverInfo"]["version"],
        "1.2.3",
        "it is described as what it stands for"
    );
    let said = home.say(&["list", "--", "/no/such/program"]).await;
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("process `program` does not start"),
        "{said:?}"
    );
    let said = home
        .say(&["list", "--", "/bin/sh", "-c", "echo broken >&2; exit 3"])
        .await;
    assert!(
        said.code == 1 && said.stderr.contains("it said: broken"),
        "{said:?}"
    );
}

#[tokio::test]
async fn files_and_clients_name_servers() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let servers = json!({"mcpServers": {
        "one": {"url": sample.url, "headers": {"X-Key": "${KEY:-none}"}},
        "two": {"command": PATH, "args": ["run", sample.url], "env": {"A": "b"}}
    }});
    home.write("servers.json", &servers.to_string());
    for target in [
        &["--config", "servers.json", "one"][..],
        &["--config", "servers.json", "two"],
    ] {
        let said = home.say(&[&["list", "--json"], target].concat()).await;
        assert_eq!(said.json()["serverInfo"]["name"], "sample", "{target:?}");
    }
    // All of them as one.
    let all = home.say(&["list", "servers.json", "--json"]).await.json();
    let names: Vec<_> = all["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"one_add") && names.contains(&"two_add"),
        "{names:?}"
    );

    home.write(".cursor/mcp.json", &servers.to_string());
    assert_eq!(home.say(&["list", "one", "--json"]).await.code, 0);
    assert_eq!(home.say(&["list", "cursor:one", "--json"]).await.code, 0);
    let said = home.say(&["list", "oen"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("did you mean `one`?"),
        "{said:?}"
    );

    home.write(
        "fastmcp.json",
        &json!({"name": "demo", "source": {"url": sample.url}}).to_string(),
    );
    assert_eq!(
        home.say(&["list", "--json"]).await.code,
        0,
        "the working folder is the target"
    );
    home.write("fastmcp.json", r#"{"source": {"ulr": "x"}}"#);
    let said = home.say(&["list", "."]).await;
    assert!(
        said.code == 1 && said.stderr.contains("did you mean `url`?"),
        "{said:?}"
    );
}

#[tokio::test]
async fn secrets_go_to_the_server_and_never_to_the_screen() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let url = format!("http://{}/mcp", gateway.address());
    let refused = home.say(&["list", &url]).await;
    assert!(
        refused.code == 1 && refused.stderr.contains("--bearer-env VARIABLE"),
        "{refused:?}"
    );
    let said = home
        .say_with(
            &["list", &url, "--bearer-env", "TOKEN"],
            &[("TOKEN", &token)],
        )
        .await;
    assert!(
        said.code == 0 && said.stdout.contains("database_listTables"),
        "{said:?}"
    );
    let header = "Authorization: Bearer ${TOKEN}";
    let said = home
        .say_with(&["list", &url, "--header", header], &[("TOKEN", &token)])
        .await;
    assert!(
        said.code == 0 && said.stdout.contains("database_listTables"),
        "{said:?}"
    );
    let said = home.say(&["list", &url, "--bearer-env", "TOKEN"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("`TOKEN` is not set"),
        "{said:?}"
    );
    let said = home
        .say_with(
            &["list", "http://example.com/mcp", "--bearer-env", "TOKEN"],
            &[("TOKEN", &token)],
        )
        .await;
    assert!(
        said.code == 1 && said.stderr.contains("unencrypted") && !said.stderr.contains(&token),
        "{said:?}"
    );
}

#[tokio::test]
async fn wrong_usage_is_told_apart() {
    let home = Home::new();
    for (arguments, why) in [
        (&["list"][..], "has neither fastmcp.json nor Cargo.toml"),
        (&["list", "http://h/mcp", "--", "x"], "two targets"),
        (
            &["list", "--header", "X: y", "--", "x"],
            "for a server at an address",
        ),
        (&["list", "http://h/mcp", "--env", "A=b"], "no variables"),
        (&["list", "http://h/mcp", "--release"], "for a package"),
        (
            &["list", "http://h/mcp", "--revision", "2020-01-01"],
            "2026-07-28",
        ),
        (&["call"], "say which tool"),
        (
            &["run", "--host", "0.0.0.0", "-t", "http", "http://h/mcp"],
            "--allowed-host",
        ),
        (&["dev", "http://h/mcp"], "a package or a command"),
    ] {
        let said = home.say(arguments).await;
        assert!(
            said.code == 2 && said.stderr.contains(why),
            "{arguments:?}: {said:?}"
        );
    }
}

#[tokio::test]
async fn a_manifest_is_summed_up_and_written() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let said = home.say(&["inspect", &sample.url]).await;
    insta::assert_snapshot!(said.stdout, @r"
    Name          sample
    Version       1.2.3
    Instructions  Use it for tests.
    Protocol      2026-07-28
    Offers        logging, prompts, resources, tools
    Tools         7
    Resources     1
    Templates     1
    Prompts       1
    ");
    let said = home
        .say(&[
            "inspect",
            &sample.url,
            "--format",
            "mcp",
            "-o",
            "manifest.json",
        ])
        .await;
    assert!(said.code == 0 && said.stdout.is_empty(), "{said:?}");
    let text = fs::read_to_string(home.folder().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest["instructions"], "Use it for tests.");
    assert!(manifest["capabilities"]["tools"].is_object(), "{manifest}");
    let python = home
        .say(&["inspect", &sample.url, "--format", "fastmcp"])
        .await
        .json();
    assert_eq!(python["server"]["name"], "sample");
    let add = python["tools"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["key"] == "add")
        .unwrap();
    assert!(add["input_schema"]["properties"]["a"].is_object(), "{add}");
    assert_eq!(python["templates"][0]["key"], "greeting://{name}");
}

#[tokio::test]
async fn discover_shows_what_clients_have_and_no_secret() {
    let home = Home::new();
    assert!(
        home.say(&["discover"])
            .await
            .stdout
            .contains("fastmcp install")
    );
    home.write(
        ".cursor/mcp.json",
        r#"{"mcpServers": {"files": {"command": "npx", "args": ["--token", "hunter2"], "env": {"KEY": "hunter2"}}}}"#,
    );
    home.write(
        ".config/Code/User/mcp.json",
        "{// mine\n\"servers\": {\"web\": {\"type\": \"http\", \"url\": \"https://u:hunter2@h.example/mcp?k=hunter2\",},}}",
    );
    home.write(
        ".config/goose/config.yaml",
        "extensions:\n  calc:\n    type: stdio\n    cmd: calc\n    args: []\n    enabled: false\n",
    );
    home.write(".gemini/settings.json", "{");
    let said: Said = home.say(&["discover"]).await;
    assert!(!said.stdout.contains("hunter2"), "{said:?}");
    assert!(
        said.stderr.contains("settings.json") && said.stderr.contains("is passed over"),
        "{said:?}"
    );
    insta::assert_snapshot!(said.stdout, @r"
    NAME        SOURCE  KIND   SERVER                         CARRIES
    files       cursor  stdio  npx --token ***                KEY
    web         vscode  http   https://***@h.example/mcp?***  -
    calc (off)  goose   stdio  calc                           -
    ");
    let value = home
        .say(&["discover", "--json", "--source", "vscode"])
        .await
        .json();
    assert_eq!(value["servers"].as_array().unwrap().len(), 1);
    assert_eq!(value["servers"][0]["name"], "web");
    assert!(!value.to_string().contains("hunter2"));
}
