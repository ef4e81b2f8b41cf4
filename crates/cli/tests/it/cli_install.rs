//! Servers that are given to clients.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    process::Stdio,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::support::{Home, PATH, Sample, within};

fn read(home: &Home, file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(home.folder().join(file)).unwrap()).unwrap()
}

#[tokio::test]
async fn a_client_keeps_what_it_has_and_can_use_what_it_got() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let before = "{\n  // mine\n  \"mcpServers\": {\n    \"old\": {\"command\": \"old\"}\n  },\n  \"theme\": \"dark\"\n}\n";
    home.write(".cursor/mcp.json", before);
    let install = [
        "install",
        "cursor",
        &sample.url,
        "--name",
        "sample",
        "--header",
        "X-Key: hunter2",
    ];
    let shown = home.say(&[&install[..], &["--dry-run"]].concat()).await;
    assert!(
        shown.code == 0 && shown.stdout.contains("+ ") && !shown.stdout.contains("hunter2"),
        "{shown:?}"
    );
    let file = home.folder().join(".cursor/mcp.json");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        before,
        "nothing was written"
    );

    let said = home.say(&install).await;
    assert_eq!(said.code, 0, "{said:?}");
    let after = fs::read_to_string(&file).unwrap();
    for part in [
        "// mine",
        "\"old\": {\"command\": \"old\"}",
        "\"theme\": \"dark\"",
        "hunter2",
    ] {
        assert!(after.contains(part), "{part}: {after}");
    }
    assert_eq!(
        fs::read_to_string(home.folder().join(".cursor/mcp.json.bak")).unwrap(),
        before
    );
    let again = home.say(&install).await;
    assert!(
        again.code == 0 && again.stdout.contains("already"),
        "{again:?}"
    );
    let other = ["install", "cursor", "--name", "sample", "--", "other"];
    let refused = home.say(&other).await;
    assert!(
        refused.code == 1 && refused.stderr.contains("--force"),
        "{refused:?}"
    );
    // What was installed is a target.
    assert_eq!(
        home.say(&["call", "cursor:sample", "add", "a=1", "b=1"])
            .await
            .stdout,
        "2\n"
    );
    assert_eq!(
        home.say(&[
            "install", "cursor", "--name", "sample", "--force", "--", "other"
        ])
        .await
        .code,
        0
    );
    assert!(!fs::read_to_string(&file).unwrap().contains("hunter2"));
}

#[tokio::test]
async fn what_would_change_is_shown_without_what_is_there() {
    let home = Home::new();
    // One line, as programs write it.
    let before = "{\"mcpServers\":{\"old\":{\"command\":\"old\",\"env\":{\"KEY\":\"hunter2\"}},\"new\":{\"command\":\"hunter3\"}}}";
    home.write(".cursor/mcp.json", before);
    let install = |name: &'static str| {
        [
            "install",
            "cursor",
            "--dry-run",
            "--force",
            "--name",
            name,
            "--env",
            "A=hunter4",
            "--",
            "npx",
            "fresh",
        ]
    };
    for name in ["new", "other"] {
        let shown = home.say(&install(name)).await;
        assert_eq!(shown.code, 0, "{shown:?}");
        assert!(shown.stdout.contains("\"fresh\""), "{shown:?}");
        assert!(!shown.stdout.contains("hunter"), "{shown:?}");
        let replaces = shown.stdout.contains("that is there now");
        assert_eq!(replaces, name == "new", "{shown:?}");
    }
    let after = fs::read_to_string(home.folder().join(".cursor/mcp.json"));
    assert_eq!(after.unwrap(), before);
}

#[tokio::test]
async fn a_folder_runs_nothing_by_a_name_alone() {
    let home = Home::new();
    let mark = home.folder().join("ran");
    let server = json!({"command": "touch", "args": [mark]});
    let file = json!({"mcpServers": {"evil": server}}).to_string();
    for (place, name) in [
        (".mcp.json", "evil"),
        (".mcp.json", "claude-code:evil"),
        ("mcp.json", "evil"),
        (".vscode/mcp.json", "vscode:evil"),
    ] {
        let text = if place == ".vscode/mcp.json" {
            file.replace("mcpServers", "servers")
        } else {
            file.clone()
        };
        home.write(place, &text);
        for command in [&["list", name][..], &["call", name, "tool"]] {
            let refused = home.say(command).await;
            assert_eq!(refused.code, 2, "{refused:?}");
            assert!(
                refused.stderr.contains("--trust") && refused.stderr.contains("start `touch"),
                "{refused:?}"
            );
            assert!(!mark.exists(), "{place} {name}");
        }
        // It is no server, but it is started.
        let trusted = home.say(&["list", name, "--trust"]).await;
        assert_eq!(trusted.code, 1, "{trusted:?}");
        assert!(mark.exists(), "{place} {name}");
        fs::remove_file(&mark).unwrap();
        fs::remove_file(home.folder().join(place)).unwrap();
    }
    // What the person has set up is the person's.
    home.write(".cursor/mcp.json", &file);
    home.say(&["list", "evil"]).await;
    assert!(mark.exists());
}

#[tokio::test]
async fn whoever_is_at_the_terminal_is_asked_and_only_yes_is_a_yes() {
    let home = Home::new();
    let mark = home.folder().join("ran");
    let server = json!({"command": "touch", "args": [mark, "x\u{1b}[2K"]});
    let file = json!({"mcpServers": {"evil": server}}).to_string();
    home.write(".mcp.json", &file);
    // The last one is the end of what is typed.
    for typed in ["no\n", "y\n", "\n", "yes, but\n", "\u{4}"] {
        let (code, seen) = at_terminal(&home, &["list", "evil"], typed).await;
        assert_eq!(code, 1, "{typed:?}: {seen}");
        assert!(seen.contains("would start `touch"), "{seen}");
        assert!(seen.contains("go on? [yes/no]"), "{seen}");
        assert!(seen.contains("nothing was done"), "{typed:?}: {seen}");
        assert!(!seen.contains('\u{1b}'), "{seen:?}");
        assert!(!mark.exists(), "{typed:?}");
    }
    let (_, seen) = at_terminal(&home, &["list", "evil"], "yes\n").await;
    assert!(mark.exists(), "{seen}");
    // Who says so beforehand is not asked.
    let (_, seen) = at_terminal(&home, &["list", "evil", "--trust"], "").await;
    assert!(!seen.contains("go on?"), "{seen}");
}

/// Runs a command for a person who types this, and says how it ended and what was to be seen.
async fn at_terminal(home: &Home, arguments: &[&str], typed: &str) -> (i32, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(name).unwrap();
    let mut ours = File::from(ours);
    // It waits in the terminal until it is read.
    ours.write_all(typed.as_bytes()).unwrap();
    let mut command = home.plain(arguments, &[]);
    command.stdin(theirs.try_clone().unwrap());
    command.stdout(Stdio::null()).stderr(theirs);
    let ended = within("the command", command.status()).await.unwrap();
    // Nobody has the other end any more, so that what was written there has an end.
    drop(command);
    let seen = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        let _hung_up = ours.read_to_end(&mut seen);
        String::from_utf8(seen).unwrap()
    });
    (
        ended.code().unwrap(),
        within("the terminal", seen).await.unwrap(),
    )
}

#[tokio::test]
async fn a_client_of_processes_reaches_an_address_by_the_command() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let missing = home.say(&["install", "claude-desktop", &sample.url]).await;
    assert!(
        missing.code == 1 && missing.stderr.contains("is not set up here"),
        "{missing:?}"
    );
    fs::create_dir_all(home.folder().join(".config/Claude")).unwrap();
    let said = home
        .say(&["install", "claude-desktop", &sample.url, "--name", "sample"])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    let entry =
        read(&home, ".config/Claude/claude_desktop_config.json")["mcpServers"]["sample"].clone();
    assert_eq!(entry, json!({"command": PATH, "args": ["run", sample.url]}));
    assert_eq!(
        home.say(&["call", "claude-desktop:sample", "add", "a=1", "b=1"])
            .await
            .stdout,
        "2\n"
    );
}

#[tokio::test]
async fn files_of_a_project_keep_variables_open() {
    let home = Home::new();
    let with = [
        "--workspace",
        ".",
        "--name",
        "w",
        "--env-file",
        "vars",
        "--",
        "npx",
        "-y",
        "w",
    ];
    home.write("vars", "KEY='${SECRET}'\n");
    for (client, file, pointer, value) in [
        (
            "claude-code",
            ".mcp.json",
            "/mcpServers/w/env/KEY",
            "${SECRET}",
        ),
        (
            "vscode",
            ".vscode/mcp.json",
            "/servers/w/env/KEY",
            "${env:SECRET}",
        ),
        (
            "gemini-cli",
            ".gemini/settings.json",
            "/mcpServers/w/env/KEY",
            "${SECRET}",
        ),
    ] {
        let said = home.say(&[&["install", client], &with[..]].concat()).await;
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(
            read(&home, file).pointer(pointer).unwrap(),
            value,
            "{client}"
        );
    }
    let said = home.say(&[&["install", "goose"], &with[..]].concat()).await;
    assert!(
        said.code == 2 && said.stderr.contains("leave out --workspace"),
        "{said:?}"
    );
    let said = home
        .say(&[
            "install",
            "goose",
            "--config-path",
            "goose.yaml",
            "--name",
            "w",
            "--",
            "npx",
            "w",
        ])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        fs::read_to_string(home.folder().join("goose.yaml"))
            .unwrap()
            .starts_with("extensions:\n  \"w\": ")
    );
}

#[tokio::test]
async fn a_shared_file_names_variables_and_a_backup_leads_nowhere_else() {
    let home = Home::new();
    home.write(".mcp.json", "{}");
    home.write("elsewhere", "mine");
    let kept = home.folder().join(".mcp.json.bak");
    std::os::unix::fs::symlink(home.folder().join("elsewhere"), &kept).unwrap();
    let said = home
        .say(&[
            "install",
            "claude-code",
            "--workspace",
            ".",
            "--name",
            "w",
            "--env",
            "HOME",
            "--",
            "npx",
            "w",
        ])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    let entry = read(&home, ".mcp.json")["mcpServers"]["w"].clone();
    assert_eq!(entry["env"]["HOME"], "${HOME}");
    assert_eq!(fs::read_to_string(kept).unwrap(), "{}");
    let elsewhere = fs::read_to_string(home.folder().join("elsewhere"));
    assert_eq!(elsewhere.unwrap(), "mine");
}

#[tokio::test]
async fn other_clients_get_it_on_standard_output() {
    let home = Home::new();
    let said = home
        .say(&[
            "install", "mcp-json", "--name", "w", "--env", "A=b", "--", "npx", "-y", "w",
        ])
        .await;
    assert_eq!(
        said.json(),
        json!({"mcpServers": {"w": {"command": "npx", "args": ["-y", "w"], "env": {"A": "b"}}}})
    );
    let said = home.say(&["install", "stdio", "--", "npx", "it's"]).await;
    assert_eq!(said.stdout, "npx 'it'\\''s'\n");
    let said = home
        .say(&["install", "mcp-json", "--name", "a b", "--", "npx"])
        .await;
    assert!(said.code == 2 && said.stderr.contains("--name"), "{said:?}");
}
