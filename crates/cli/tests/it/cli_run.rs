//! Servers that are run, as they are and behind a front.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};

use crate::support::{Home, PATH, Sample, within};

/// A front that listens. Dropped, it is killed.
struct Front {
    child: tokio::process::Child,
    lines: Lines<BufReader<tokio::process::ChildStdout>>,
    url: String,
}

impl Front {
    async fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut child = home.plain(arguments, &[]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("listening", lines.next_line())
            .await
            .unwrap()
            .expect("it ended");
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { child, lines, url }
    }

    async fn stop(mut self) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
        let status = within("the end", self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(
            self.lines.next_line().await.unwrap(),
            None,
            "stdout has its one line"
        );
    }
}

#[tokio::test]
async fn several_servers_are_one_over_http() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let servers = json!({"mcpServers": {
        "near": {"url": sample.url},
        "child": {"command": PATH, "args": ["run", sample.url]},
        "away": {"url": "http://127.0.0.1:1/mcp"}
    }});
    home.write("mcp.json", &servers.to_string());
    let front = Front::start(
        &home,
        &["run", "mcp.json", "-t", "http", "-p", "0", "--path", "/all"],
    )
    .await;
    assert!(front.url.ends_with("/all"), "{}", front.url);
    for tool in ["near_add", "child_add"] {
        let said = home.say(&["call", &front.url, tool, "a=1", "b=2"]).await;
        assert_eq!(said.stdout, "3\n", "{tool}: {said:?}");
    }
    let elsewhere = front.url.replace("/all", "/mcp");
    assert_eq!(home.say(&["list", &elsewhere]).await.code, 1);
    front.stop().await;
}

#[tokio::test]
async fn a_declared_server_runs_as_it_says_and_the_command_line_wins() {
    let (home, sample) = (Home::new(), Sample::start().await);
    let declared = json!({
        "name": "demo",
        "source": {"command": PATH, "args": ["run"]},
        "deployment": {"transport": "http", "port": 0, "path": "/x", "args": [sample.url], "env": {"A": "${HOME}"}}
    });
    home.write("fastmcp.json", &declared.to_string());
    let front = Front::start(&home, &["run"]).await;
    assert!(front.url.ends_with("/x"), "{}", front.url);
    let said = home.say(&["call", &front.url, "add", "a=1", "b=2"]).await;
    assert_eq!(said.stdout, "3\n", "{said:?}");
    front.stop().await;
    // On standard input and output it is the server itself.
    let said = home
        .say(&[
            "call",
            "add",
            "a=1",
            "b=2",
            "--",
            PATH,
            "run",
            "--transport",
            "stdio",
        ])
        .await;
    assert_eq!(said.stdout, "3\n", "{said:?}");
}

#[tokio::test]
async fn a_process_takes_the_place_of_the_command_and_its_exit_code() {
    let home = Home::new();
    let said = home
        .say(&["run", "--", "/bin/sh", "-c", "echo \"$A\"; exit 7"])
        .await;
    assert_eq!((said.code, said.stdout.as_str()), (7, "\n"), "{said:?}");
    let said = home
        .say_with(
            &[
                "run",
                "--env",
                "A=set",
                "--",
                "/bin/sh",
                "-c",
                "echo \"$A $B\"",
            ],
            &[("B", "kept")],
        )
        .await;
    assert_eq!(said.stdout, "set kept\n", "{said:?}");
    let said = home.say(&["run", "--", "/no/such/program"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("cannot be started"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_front_that_reaches_nothing_says_so_at_once() {
    let home = Home::new();
    let said = home.say(&["run", "http://127.0.0.1:1/mcp"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("cannot be connected to"),
        "{said:?}"
    );
}

#[tokio::test]
async fn an_interrupt_ends_the_command_and_its_processes() {
    let home = Home::new();
    // A server that never answers, and says who it is.
    let script = "echo $$ > pid; exec sleep 600";
    let child = home
        .plain(&["list", "--", "/bin/sh", "-c", script], &[])
        .spawn()
        .unwrap();
    let pid = crate::support::until("its process", async || {
        let text = std::fs::read_to_string(home.folder().join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    })
    .await;
    let own = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(own, Signal::INT).unwrap();
    let output = within("the end", child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    crate::support::until("the end of its process", async || {
        rustix::process::test_kill_process(pid)
            .is_err()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_description_of_the_file_is_printed() {
    let home = Home::new();
    let schema = home.say(&["run", "--print-schema"]).await.json();
    assert_eq!(schema["title"], "fastmcp.json");
    assert!(schema["properties"]["source"].is_object(), "{schema}");
}
